//! `holdfast backup`: one backup, now.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use etcd_snapshot::Outcome;

use super::Context;
use super::agent::stop_on_signals;
use super::{notices, report};
use crate::agent;
use crate::notify::news;
use crate::pipeline;
use crate::pipeline::store::with_causes;
use crate::printer::Table;
use crate::units;

/// Back up the cluster once, now
///
/// Streams a snapshot from a healthy member (a follower first), checks it as it arrives, inspects it, compresses and encrypts
/// it, writes it to the stores, reads it back, and runs the chains named in `backup.verify` on it. The backup exists once
/// its manifest does, which is written last.
///
/// Exits 1 when the backup is stored but a proof failed: it is kept and marked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast backup
  holdfast backup --config prod.toml --output json | jq -r .id
  holdfast backup --allow-missing-hash          the server sends no sha256 behind the snapshot")]
pub struct Args {
    /// Take a snapshot behind which etcd sends no sha256, or zeros; it is refused otherwise
    #[arg(long)]
    pub allow_missing_hash: bool,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut config = context.config()?;
    config.backup.allow_missing_hash |= args.allow_missing_hash;
    let chains = agent::chains(&config, &config.backup.verify);
    let plugins = agent::plugins_for(&config, &chains).await?;
    let job = match agent::job(&config, Arc::clone(&plugins), context.now) {
        Ok(job) => job,
        Err(error) => {
            let events = notices::events(&config, context, |origin| {
                vec![news::no_backup(origin, &with_causes(&error), error.hint(), Some("begin"))]
            });
            notices::tell(&config, events, Some(plugins), context).await;
            return Err(error.into());
        }
    };
    let cancel = stop_on_signals()?;
    let run = pipeline::run(&job, context.progress.as_ref(), &cancel).await;
    let caught_up = match &run {
        Ok(report) => agent::catch_up(&job, &agent::retention(&config, &job), report, &cancel).await,
        Err(_) => Vec::new(),
    };
    let events = notices::events(&config, context, |origin| {
        let mut events = news::of_backup(origin, run.as_ref());
        events.extend(caught_up.iter().flat_map(|synced| news::of_sync(origin, synced)));
        events
    });
    let report = match run {
        Ok(report) => report,
        Err(error) => {
            notices::tell(&config, events, Some(plugins), context).await;
            return Err(error.into());
        }
    };
    context.printer.show(&report, |printer| {
        let mut facts = Table::facts();
        facts.fact("backup", &report.id);
        facts.fact("revision", report.revision);
        facts.fact("live keys", report.live_keys);
        facts.fact("size", units::format_size(report.size_bytes));
        facts.fact("stored", units::format_size(report.stored_bytes));
        for store in &report.stores {
            let state = match (&store.error, store.committed) {
                (None, _) => "committed".to_owned(),
                (Some(error), true) => format!("committed, WITHOUT ITS PROOF: {error}"),
                (Some(error), false) => format!("MISSED: {error}"),
            };
            facts.fact(&format!("store {}", store.store), state);
        }
        facts.fact("agreement", format!("{}: {}", report.agreement.outcome, report.agreement.summary()));
        facts.fact("proof", report.outcome);
        printer.table(&facts);
        report::steps(printer, &report.verification);
    });
    for synced in &caught_up {
        if !synced.copied.is_empty() {
            let count = synced.copied.len();
            context
                .printer
                .note(format_args!("store {}: brought {count} backups that it had missed", synced.store));
        }
        if synced.documents > 0 {
            context.printer.note(format_args!(
                "store {}: brought {} that it had missed",
                synced.store,
                units::counted(synced.documents, "document")
            ));
        }
        for error in &synced.errors {
            context.printer.warn(format_args!("store {} could not catch up: {error}", synced.store));
        }
    }
    for finding in &report.preflight {
        context.printer.note(format_args!("preflight: {}", finding.message));
    }
    notices::tell(&config, events, Some(plugins), context).await;
    Ok(super::answer(report.outcome == Outcome::Passed))
}
