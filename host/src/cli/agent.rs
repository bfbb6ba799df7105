//! `holdfast agent`: backups on the schedule, until stopped.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::agent;

/// Back up on the schedule, until stopped
///
/// Runs in the foreground. Plugins that are added, changed or removed are taken up without a restart. A run that is due while
/// another is under way is skipped and counted. SIGTERM and SIGINT finish or undo what is under way, then exit 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast agent
  holdfast --config prod.toml --log-format json agent")]
pub struct Args {}

/// Runs the command.
pub async fn run(_args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    agent::run(config, context.now, stop_on_signals()?).await?;
    Ok(ExitCode::SUCCESS)
}

/// A token that is cancelled by SIGTERM, SIGINT or SIGHUP (a terminal that went away). A second signal ends the process at once, as everywhere.
pub(super) fn stop_on_signals() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let told = stop.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            let number = tokio::select! { _ = terminate.recv() => 15, _ = interrupt.recv() => 2, _ = hangup.recv() => 1 };
            if told.is_cancelled() {
                std::process::exit(128 + number);
            }
            told.cancel();
        }
    });
    Ok(stop)
}
