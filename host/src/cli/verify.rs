//! `holdfast verify`: is a backup good?

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use etcd_snapshot::Outcome;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::agent::stop_on_signals;
use super::failure::FailureExt;
use super::open::{self, Missed, Need, Sources};
use super::report;
use super::target::{PointArgs, Target};
use crate::agent;
use crate::catalog::{self, Record, Trigger};
use crate::config::{Chain, Config};
use crate::pack::UnpackError;
use crate::pipeline::continuity::{self, State};
use crate::pipeline::inspect;
use crate::pipeline::remembered::Remembered;
use crate::pipeline::store::with_causes;
use crate::pipeline::verify::{self, Subject, Took};
use crate::retrieve::{self, RetrieveError};
use crate::session::Session;
use crate::source::{Found, Place, SourceError};

/// Prove that a backup, or a snapshot file, is good
///
/// Fetches the backup from its store, decrypts and unpacks it, compares its digests with the manifest, and runs a chain of
/// steps on it: the structure of the file and its records, the members' own hashes where they were taken, and
/// plugins that look into the keys. The outcome is recorded beside the backup. A snapshot file is read where it lies.
///
/// Where nothing opens an encrypted backup, its stored bytes are compared with the manifest's digest, and the proof is inconclusive:
/// verify it on a machine that has the identity.
///
/// Exits 0 when it passed, 1 when it failed or could not be decided.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast verify                                       the newest backup
  holdfast verify 20261121T030000Z-48213 --chain deep
  holdfast verify --at 2026-11-20T02:00:00Z             the nearest backup at that time or before
  holdfast verify latest --identity ~/age.key
  holdfast verify /tmp/snapshot.db                      a file from `etcdctl snapshot save`")]
pub struct Args {
    /// The id of a backup, `latest`, or a snapshot file
    #[arg(value_name = "ID|latest|FILE", default_value = "latest")]
    pub backup: Target,
    /// By time or revision.
    #[command(flatten)]
    pub point: PointArgs,
    /// The store to read from; the first that has it otherwise
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// The chain of steps to run; those of `backup.verify` otherwise. May be given more than once
    #[arg(long, value_name = "NAME")]
    pub chain: Vec<String>,
    /// A file with the age identity (secret key) that decrypts it, besides those of `decrypt.identity_files`. May be given more than once
    #[arg(long, short, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let args = &Args { backup: args.point.or(&args.backup), ..args.clone() };
    let sources = Sources::new(context, &args.backup, args.store.as_deref(), &args.identity, Need::Config)?;
    let config = sources.config.as_ref();
    let chains = chains(config, &args.chain)?;
    let cancel = stop_on_signals()?;
    let mut session = Session::begin(context.now);
    let name = session.id.to_string();
    let found = open::unless_stopped(&cancel, sources.find(&args.backup, context)).await??;
    let scratch = scratch(config);
    let mut missed = Vec::new();
    let fetching = sources.fetch(&args.backup, found, Place::passing(&scratch, &name), context, &mut missed);
    let fetched = open::unless_stopped(&cancel, fetching).await?;
    // What lies in a store is not what was written: that is a verdict on this copy, and kept as one.
    for Missed { found, error } in &missed {
        if let (Some(found), Some(record)) = (found, damaged(found.as_ref(), error, &mut session)) {
            keep(found, &record, context).await;
        }
    }
    let opened = match fetched {
        Ok(opened) => opened,
        Err(Missed {
            found: Some(found),
            error: SourceError::Retrieve(RetrieveError::Unpack { source, .. }),
        }) if source.is_missing_key() => {
            return sealed(&found, &source, &chains, &mut session, &cancel, context).await;
        }
        Err(Missed { found, error }) => {
            if let (Some(found), Some(record)) = (&found, damaged(found.as_ref(), &error, &mut session)) {
                conclude(found, &record, context).await;
            }
            return open::answered(Err(error));
        }
    };
    let inspected = inspect::inspect(opened.file.path(), opened.hash(false)).await;
    let inspected = inspected.answer_is_no()?;
    let plugins = match config {
        Some(config) => agent::plugins_for(config, &chains).await?,
        None => Arc::default(),
    };
    let remembered = match &opened.found {
        Some(found) => {
            let wanted = verify::remembering(&chains, &plugins);
            Remembered::of(std::slice::from_ref(&found.named), &found.entry.manifest.id, &wanted).await
        }
        None => Remembered::default(),
    };
    let continuity = match &opened.found {
        Some(found) => {
            let manifest = &found.entry.manifest;
            let state = State {
                id: &manifest.id,
                cluster_id: &manifest.cluster.id,
                facts: &inspected.inspection.facts,
            };
            Some(continuity::continuity(std::slice::from_ref(&found.named), state).await)
        }
        None => None,
    };
    let stages = opened.found.as_ref().map(|found| found.entry.manifest.stages.as_slice());
    let subject = Subject {
        continuity,
        took: Took::of(inspected.took, stages.unwrap_or_default()),
        file: Arc::clone(&inspected.file),
        inspection: inspected.inspection,
        agreement: opened.found.as_ref().map(|found| found.entry.manifest.agreement.clone()),
        cluster: config.map(|config| config.cluster.name.clone()).unwrap_or_default(),
        backup: opened.found.as_ref().map(|found| found.entry.manifest.id.clone()),
        remembered,
    };
    let record = verify::prove(&subject, &chains, &plugins, Trigger::Verify, &mut session, &cancel).await;
    if cancel.is_cancelled() {
        bail!("stopped; nothing was recorded");
    }
    match &opened.found {
        Some(found) => conclude(found, &record, context).await,
        None => context.printer.show(&record, |printer| report::steps(printer, &record)),
    }
    Ok(super::answer(record.outcome == Outcome::Passed))
}

/// What can be known of a backup that nothing here opens: whether its stored bytes are those that were written. That is no
/// proof, and is told as what it is.
async fn sealed(
    found: &Found,
    reason: &UnpackError,
    chains: &[Chain],
    session: &mut Session,
    cancel: &CancellationToken,
    context: &Context,
) -> Result<ExitCode> {
    let manifest = &found.entry.manifest;
    let reading = retrieve::read_stored(found.named.store.as_ref(), manifest, context.progress.as_ref());
    match open::unless_stopped(cancel, reading).await? {
        Ok(()) => {
            let bytes = manifest.stored.size_bytes;
            let record = verify::sealed(&manifest.id, chains, bytes, &reason.to_string(), session);
            conclude(found, &record, context).await;
            context.printer.warn(format_args!("{reason}: its content could not be proved here"));
            if let Some(hint) = reason.hint() {
                context.printer.message(format_args!("hint: {hint}; or verify it on a machine that has it"));
            }
            Ok(super::answer(false))
        }
        Err(error) => {
            let error = SourceError::Retrieve(error);
            if let Some(record) = damaged(Some(found), &error, session) {
                conclude(found, &record, context).await;
            }
            open::answered(Err(error))
        }
    }
}

/// The record of a copy that is damaged; none for one that is only away.
fn damaged(found: Option<&Found>, error: &SourceError, session: &mut Session) -> Option<Record> {
    match (found, error) {
        (Some(found), SourceError::Retrieve(damage)) if damage.is_damage() => {
            let reason = with_causes(damage);
            Some(verify::damaged(&found.entry.manifest.id, reason, damage.is_of_one_copy(), session))
        }
        _ => None,
    }
}

/// Prints a record and keeps it beside its backup.
async fn conclude(found: &Found, record: &Record, context: &Context) {
    context.printer.show(record, |printer| {
        printer.line(format_args!("backup {} in store {}", record.backup, found.named.name));
        report::steps(printer, record);
    });
    keep(found, record, context).await;
}

/// Keeps a record beside its backup. The verdict stands where the store takes none.
async fn keep(found: &Found, record: &Record, context: &Context) {
    if let Err(error) = catalog::add_record(found.named.store.as_ref(), record).await {
        context.printer.warn(format_args!(
            "the proof could not be recorded in store `{}`: {}",
            found.named.name,
            with_causes(&error)
        ));
    }
}

/// The chains asked for, those of the config, or the default one.
fn chains(config: Option<&Config>, names: &[String]) -> Result<Vec<Chain>> {
    let Some(config) = config else {
        if let Some(name) = names.first() {
            let missing: Result<()> =
                Err(anyhow::anyhow!("there is no chain `{name}`: no configuration was found"));
            missing.hint("name the configuration with `--config FILE`")?;
        }
        return Ok(vec![verify::default_chain()]);
    };
    if let Some(unknown) = names.iter().find(|name| !config.chains.contains_key(*name)) {
        let known: Vec<&str> = config.chains.keys().map(String::as_str).collect();
        let missing: Result<()> = Err(anyhow::anyhow!("there is no chain `{unknown}` in the configuration"));
        missing.hint(format!("it has: {}", known.join(", ")))?;
    }
    Ok(agent::chains(config, if names.is_empty() { &config.backup.verify } else { names }))
}

/// Where packed files are unpacked to.
pub(super) fn scratch(config: Option<&Config>) -> PathBuf {
    config.map_or_else(
        || Path::new(&std::env::temp_dir()).join("holdfast"),
        |config| config.backup.scratch.clone(),
    )
}
