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
use super::notices;
use super::open::{self, Need, Sources};
use super::report;
use super::target::{PointArgs, Target};
use crate::agent;
use crate::boot;
use crate::catalog::Trigger;
use crate::config::{Chain, Config};
use crate::notify::news;
use crate::pipeline::inspect;
use crate::pipeline::remembered::Remembered;
use crate::pipeline::verify::{self, Means, Subject, Took};
use crate::proof::{self, Order, Proof, ProofError, Reached};
use crate::session::Session;
use crate::source::Place;

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
    let found = open::unless_stopped(&cancel, sources.find(&args.backup, context)).await??;
    let plugins = match config {
        Some(config) => agent::plugins_for(config, &chains).await?,
        None => Arc::default(),
    };
    let scratch = scratch(config);
    let boot = config.map_or_else(|| boot::Options::of(scratch.clone()), Config::boot);
    let order = Order {
        stores: &sources.stores,
        identities: &sources.identities,
        chains: &chains,
        means: &Means { plugins, boot },
        cluster: config.map(|config| config.cluster.name.as_str()).unwrap_or_default(),
        scratch: &scratch,
        progress: context.progress.as_ref(),
    };
    let Some(found) = found else {
        return verify_file(&sources, &args.backup, &order, &mut session, &cancel, context).await;
    };
    let proof = match proof::prove(&order, found, &mut session, &cancel, &open::tell_of_copy(context)).await {
        Ok(proof) => proof,
        Err(ProofError::Source(error)) => return open::answered(Err(error)),
        Err(ProofError::Inspect(error)) => return Err(error).answer_is_no(),
        Err(error @ ProofError::Stopped) => return Err(error.into()),
    };
    conclude(proof, config, context).await
}

/// A file is looked into where it lies, and nothing is kept of it.
async fn verify_file(
    sources: &Sources,
    target: &Target,
    order: &Order<'_>,
    session: &mut Session,
    cancel: &CancellationToken,
    context: &Context,
) -> Result<ExitCode> {
    let name = session.id.to_string();
    let fetching = sources.fetch(target, None, Place::passing(order.scratch, &name), context);
    let opened = open::answered(open::unless_stopped(cancel, fetching).await?)?;
    let inspected = inspect::inspect(opened.file.path(), opened.hash(false)).await.answer_is_no()?;
    let subject = Arc::new(Subject {
        continuity: None,
        took: Took::of(inspected.took, &[]),
        file: Arc::clone(&inspected.file),
        inspection: inspected.inspection,
        agreement: None,
        cluster: order.cluster.to_owned(),
        backup: None,
        remembered: Remembered::default(),
    });
    let record = verify::prove(&subject, order.chains, order.means, Trigger::Verify, session, cancel).await;
    if cancel.is_cancelled() {
        bail!("stopped; nothing was recorded");
    }
    context.printer.show(&record, |printer| report::steps(printer, &record));
    Ok(super::answer(record.outcome == Outcome::Passed))
}

/// Prints what came of a backup, tells those who want to know, and answers.
async fn conclude(proof: Proof, config: Option<&Config>, context: &Context) -> Result<ExitCode> {
    let Proof { found, record, reached, unrecorded, drills } = proof;
    context.printer.show(&record, |printer| {
        printer.line(format_args!("backup {} in store {}", record.backup, found.named.name));
        report::steps(printer, &record);
    });
    for (store, error) in unrecorded {
        context.printer.warn(format_args!("the proof could not be recorded in store `{store}`: {error}"));
    }
    if let Some(config) = config {
        let events = notices::events(config, context, |origin| news::of_proof(origin, &record, &drills));
        notices::tell(config, events, None, context).await;
    }
    match reached {
        Reached::Content => Ok(super::answer(record.outcome == Outcome::Passed)),
        Reached::StoredBytes(reason) => {
            context.printer.warn(format_args!("{reason}: its content could not be proved here"));
            if let Some(hint) = reason.hint() {
                context.printer.message(format_args!("hint: {hint}; or verify it on a machine that has it"));
            }
            Ok(super::answer(false))
        }
        Reached::Damage(error) => open::answered(Err(error)),
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
