//! `holdfast plugin`: the plugins there are, and the tools of those who write them.

pub mod bench;
pub mod check;
pub mod component;
pub mod keygen;
pub mod list;
pub mod new;
pub mod pin;
pub mod run;
pub mod settings;
pub mod sign;
pub mod subject;
pub mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Subcommand;
use holdfast_runtime::{Examination, HostOptions, PluginHost, Ready, Rejection};

use super::Context;
use super::failure::Failure;
use crate::agent;
use crate::config::Config;

/// List plugins; begin, check, run, measure, pin and sign those that you write
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// What can be done with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    List(list::Args),
    Check(check::Args),
    Run(run::Args),
    Bench(bench::Args),
    New(new::Args),
    Component(component::Args),
    Pin(pin::Args),
    Keygen(keygen::Args),
    Sign(sign::Args),
    Verify(verify::Args),
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    match &args.command {
        PluginCommand::List(args) => list::run(args, context).await,
        PluginCommand::Check(args) => check::run(args, context).await,
        PluginCommand::Run(args) => run::run(args, context).await,
        PluginCommand::Bench(args) => bench::run(args, context).await,
        PluginCommand::New(args) => new::run(args, context),
        PluginCommand::Component(args) => component::run(args, context),
        PluginCommand::Pin(args) => pin::run(args, context),
        PluginCommand::Keygen(args) => keygen::run(args, context),
        PluginCommand::Sign(args) => sign::run(args, context),
        PluginCommand::Verify(args) => verify::run(args, context).await,
    }
}

/// A plugin host for one file, with the settings that the configuration has for its name. Native code is kept in the user's own
/// cache: an author need not be able to write the agent's.
fn host_for(config: Option<&Config>, cache: PathBuf) -> Result<PluginHost> {
    let configured = config.map(|config| agent::host_options(&config.plugins));
    let options = HostOptions { cache_directory: cache, ..configured.unwrap_or_default() };
    Ok(PluginHost::start(options)?)
}

/// Where native code of files that are looked at by hand is kept.
fn user_cache() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    let temporary = || {
        let user = rustix::process::geteuid().as_raw();
        std::env::temp_dir().join(format!("holdfast-plugins-{user}"))
    };
    cache.filter(|path| path.is_absolute()).map_or_else(temporary, |cache| cache.join("holdfast"))
}

async fn examine(host: &PluginHost, file: &Path) -> Result<Examination> {
    host.examine(file).await.map_err(|rejection| refused(file, &rejection, 2))
}

/// The plugin that a file is, or the reason why it is none.
fn ready(examination: Examination) -> Result<Ready> {
    let file = examination.file;
    examination.plugin.map_err(|rejection| refused(&file, &rejection, 2))
}

fn refused(file: &Path, rejection: &Rejection, code: u8) -> anyhow::Error {
    let error = anyhow!("`{}` {}", file.display(), rejection.reason);
    Failure { error, hint: rejection.hint.clone(), code }.into()
}
