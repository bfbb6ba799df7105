//! `holdfast notify`: who is told what, and does it arrive?

pub mod kinds;
pub mod list;
pub mod test;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Subcommand;

use super::Context;
use super::failure::FailureExt as _;
use crate::config::Config;
use crate::notify::Notifier;

/// See who is told what happens, and try it out
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: NotifyCommand,
}

/// What can be done with notifiers.
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    List(list::Args),
    Test(test::Args),
    Kinds(kinds::Args),
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    match &args.command {
        NotifyCommand::List(args) => list::run(args, context),
        NotifyCommand::Test(args) => test::run(args, context).await,
        NotifyCommand::Kinds(args) => Ok(kinds::run(args, context)),
    }
}

/// The notifier of this name.
fn notifier<'a>(config: &'a Config, name: &str) -> Result<&'a Notifier> {
    if let Some(notifier) = config.notifiers.get(name) {
        return Ok(notifier);
    }
    let known: Vec<&str> = config.notifiers.keys().map(String::as_str).collect();
    let hint = match known.len() {
        0 => format!("add a table `[notify.{name}]`"),
        _ => format!("it has: {}", known.join(", ")),
    };
    Err(anyhow!("there is no notifier `{name}` in the configuration")).hint(hint)
}
