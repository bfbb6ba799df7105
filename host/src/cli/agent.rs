//! `holdfast agent`: backups on the schedule, until stopped.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::agent::{self, AgentError};
use crate::config::ConfigErrors;

/// Back up on the schedule, until stopped
///
/// Runs in the foreground. Plugins that are added, changed or removed are taken up without a restart. A run that is due while
/// another is under way is skipped and counted. SIGTERM and SIGINT finish or undo what is under way, then exit 0.
///
/// A step of a chain whose plugin is a notifier or a store is refused at the start; a plugin that is not there may come later.
///
/// SIGHUP reads the configuration again and checks it as `holdfast config check` does, except that buckets are not asked. A sound
/// one is in force from the next run on; of one that is not, nothing is taken, and the log says what is wrong with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast agent
  holdfast --config prod.toml --log-format json agent")]
pub struct Args {}

/// Runs the command.
pub async fn run(_args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let stop = stop_on(&[SignalKind::terminate(), SignalKind::interrupt()])?;
    match Box::pin(agent::run(config, context.now, reload_on_hangup()?, stop)).await {
        // Shown like every config that cannot be used.
        Err(AgentError::Config(invalid)) => Err(ConfigErrors::Invalid(invalid).into()),
        ended => Ok(ended.map(|_| ExitCode::SUCCESS)?),
    }
}

/// Gives something at each SIGHUP. Those that come while one is waiting are the same wish.
fn reload_on_hangup() -> Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let (ask, asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // Full: it is asked already.
            let _ = ask.try_send(());
        }
    });
    Ok(asked)
}

/// A token that is cancelled by SIGTERM, SIGINT or SIGHUP (a terminal that went away). A second signal ends the process at once, as everywhere.
pub(super) fn stop_on_signals() -> Result<CancellationToken> {
    stop_on(&[SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()])
}

fn stop_on(kinds: &[SignalKind]) -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    for &kind in kinds {
        let number = kind.as_raw_value();
        let mut signals = signal(kind).with_context(|| format!("cannot listen for signal {number}"))?;
        let told = stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if told.is_cancelled() {
                    std::process::exit(128 + number);
                }
                told.cancel();
            }
        });
    }
    Ok(stop)
}
