//! The command line: what can be asked for, and how it is answered.
//!
//! One file per command; each has its `Args` and one function `run(args, context) -> Result<ExitCode>`. Exit codes:
//! 0 done, 1 the answer is no (a proof failed, there is nothing to restore), 2 it could not be done.

pub mod agent;
pub mod backup;
pub mod check;
pub mod config;
pub mod diff;
pub mod failure;
pub mod generate;
pub mod get;
pub mod inspect;
pub mod key;
pub mod keys;
pub mod list;
pub mod look;
mod notices;
pub mod notify;
mod open;
pub mod pin;
pub mod plugin;
pub mod prune;
pub mod rekey;
mod report;
pub mod restore;
pub mod show;
pub mod sign;
pub mod sync;
pub mod target;
pub mod verify;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use self::failure::FailureExt;
use crate::config::Config;
use crate::pack::{Identity, UnpackError};
use crate::printer::{Output, Printer};
use crate::progress::{Progress, Silent, Terminal};

/// Where the configuration is looked for when nothing else is said.
pub const DEFAULT_CONFIG: &str = "/etc/holdfast/holdfast.toml";

const LONG_ABOUT: &str = "\
Holdfast backs up etcd, proves every backup, and gets a cluster back.

A backup counts once it is proved: its file is read in place, checked page by page and record by record, compared with \
the members of the cluster, and looked into by sandboxed plugins. Getting back is one command and needs no etcd binary.";

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  the answer is no: a proof failed, there is no such backup
  2  it could not be done

Examples:
  holdfast config check                         is the configuration sound?
  holdfast backup                               back up once, now
  holdfast list                                 what is there?
  holdfast verify latest                        is the newest backup good?
  holdfast restore latest --data-dir /var/lib/etcd
  holdfast prune --dry-run                      what would the retention rules remove?
  holdfast diff 20261121T030000Z-48213 latest   what changed since?
  holdfast get latest --kind secret --namespace web --name tls
  holdfast agent                                back up on the schedule, until stopped";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    about = "Backs up etcd, proves every backup, and gets a cluster back",
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    max_term_width = 100
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// The configuration file [default: /etc/holdfast/holdfast.toml]
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_CONFIG",
        value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from),
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    /// A file with the passphrase that opens backups, besides those of the configuration
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_PASSPHRASE_FILE",
        help_heading = "Global options"
    )]
    pub passphrase_file: Option<PathBuf>,
    /// How data is printed on standard output
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub output: Output,
    /// How logs are printed on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub log_format: LogFormat,
    /// Log more: `-v` what is done, `-vv` how, `-vvv` everything (the variable `HOLDFAST_LOG` overrides it)
    #[arg(long, short, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet", help_heading = "Global options")]
    pub verbose: u8,
    /// No progress and no notes; only data, warnings and errors
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
}

/// How logs are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Backup(backup::Args),
    List(list::Args),
    Show(show::Args),
    Verify(verify::Args),
    Restore(restore::Args),
    Inspect(inspect::Args),
    Check(check::Args),
    Sync(sync::Args),
    Get(get::Args),
    Keys(keys::Args),
    Diff(diff::Args),
    Prune(prune::Args),
    Rekey(rekey::Args),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Sign(sign::Args),
    Agent(agent::Args),
    Notify(notify::Args),
    Config(config::Args),
    Key(key::Args),
    Plugin(plugin::Args),
    Generate(generate::Args),
}

impl Cli {
    /// The log filter that the flags ask for. Libraries are let through only where they warn: their chatter drowns ours.
    pub fn log_filter(&self) -> String {
        // What a plugin logs belongs to what its author asked to see.
        let usual = u8::from(match &self.command {
            Command::Agent(_) => true,
            Command::Plugin(args) => matches!(args.command, plugin::PluginCommand::Run(_)),
            _ => false,
        });
        let level = match (self.global.quiet, usual + self.global.verbose) {
            (true, _) => return "error".to_owned(),
            (_, 0) => "warn",
            (_, 1) => "info",
            (_, 2) => "debug",
            (_, 3..) => "trace",
        };
        let others = if self.global.verbose >= 3 { "debug" } else { "warn" };
        format!("{others},holdfast={level},holdfast_runtime={level},etcd_snapshot={level}")
    }
}

/// Does what the command line asks for.
pub async fn run(cli: Cli) -> Result<ExitCode> {
    let context = Context::new(&cli.global);
    if matches!(context.output, Output::Yaml | Output::Raw) && !matches!(cli.command, Command::Get(_)) {
        let misplaced: Result<ExitCode> =
            Err(anyhow!("only `holdfast get` prints with `--output yaml` or `--output raw`"));
        return misplaced.hint("`--output text` or `--output json`");
    }
    let code = match &cli.command {
        Command::Backup(args) => Box::pin(backup::run(args, &context)).await,
        Command::List(args) => list::run(args, &context).await,
        Command::Show(args) => show::run(args, &context).await,
        Command::Verify(args) => Box::pin(verify::run(args, &context)).await,
        Command::Restore(args) => Box::pin(restore::run(args, &context)).await,
        Command::Inspect(args) => inspect::run(args, &context).await,
        Command::Check(args) => check::run(args, &context).await,
        Command::Sync(args) => sync::run(args, &context).await,
        Command::Get(args) => get::run(args, &context).await,
        Command::Keys(args) => keys::run(args, &context).await,
        Command::Diff(args) => diff::run(args, &context).await,
        Command::Prune(args) => prune::run(args, &context).await,
        Command::Rekey(args) => rekey::run(args, &context).await,
        Command::Pin(args) => pin::pin(args, &context).await,
        Command::Unpin(args) => pin::unpin(args, &context).await,
        Command::Sign(args) => sign::run(args, &context).await,
        Command::Agent(args) => agent::run(args, &context).await,
        Command::Notify(args) => notify::run(args, &context).await,
        Command::Key(args) => key::run(args, &context).await,
        Command::Config(args) => config::run(args, &context).await,
        Command::Plugin(args) => plugin::run(args, &context).await,
        Command::Generate(args) => generate::run(args, &context).await,
    }?;
    context.printer.finish().context("standard output cannot be written")?;
    Ok(code)
}

/// The exit code of a command that answers a question: 0 yes, 1 no.
pub fn answer(yes: bool) -> ExitCode {
    if yes { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// What a command is given besides its own flags.
pub struct Context {
    /// Where the configuration lies.
    pub config_path: PathBuf,
    /// Whether that place was named by the user (flag or variable), and so must be there.
    pub config_named: bool,
    /// A file with the passphrase that opens backups, when one was given.
    pub passphrase_file: Option<PathBuf>,
    /// How data is printed.
    pub output: Output,
    /// Prints it.
    pub printer: Printer,
    /// Shows how far a long step has come: a bar when someone watches, else nothing.
    pub progress: Box<dyn Progress>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl Context {
    fn new(global: &GlobalArgs) -> Self {
        let watched = std::io::stderr().is_terminal() && !global.quiet && global.output == Output::Text;
        // A variable that is set to nothing is not set.
        let named = global.config.as_ref().filter(|path| !path.as_os_str().is_empty());
        Self {
            config_path: named.cloned().unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG)),
            config_named: named.is_some(),
            passphrase_file: global.passphrase_file.clone(),
            output: global.output,
            printer: Printer::new(global.output, global.quiet),
            progress: if watched { Box::new(Terminal::new()) } else { Box::new(Silent) },
            now: Timestamp::now,
        }
    }

    /// What opens backups: these files, `--passphrase-file`, and what the configuration names.
    pub fn identities(
        &self,
        config: Option<&Config>,
        files: &[PathBuf],
    ) -> Result<Vec<Identity>, UnpackError> {
        let given = crate::agent::Keys { identities: files, passphrase: self.passphrase_file.as_deref() };
        crate::agent::identities(config, &given)
    }

    /// Loads the configuration, and prints its warnings to standard error.
    pub fn config(&self) -> Result<Config> {
        let config = Config::load(&self.config_path)?;
        for warning in &config.warnings {
            self.printer.message(config.source.render(warning, self.printer.colour()));
        }
        Ok(config)
    }

    /// The configuration, or `None` when there is no file and the user named none: for commands that work on a file
    /// alone and take from the configuration only what would otherwise be flags.
    pub fn config_if_any(&self) -> Result<Option<Config>> {
        let absent = matches!(self.config_path.try_exists(), Ok(false));
        if !self.config_named && absent { Ok(None) } else { self.config().map(Some) }
    }
}
