//! `holdfast generate`: what is made from the program itself, so that it cannot say something else.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

use super::failure::FailureExt;
use super::{Cli, Context};
use crate::config::reference::reference;

/// Write man pages, shell completions or a commented configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast generate config-reference > holdfast.toml
  holdfast generate completions bash > /etc/bash_completion.d/holdfast
  holdfast generate man /usr/local/share/man/man1")]
pub struct Args {
    /// What to write.
    #[command(subcommand)]
    pub what: What,
}

/// What can be written.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Man pages, one for each command, into a folder
    #[command(
        after_help = "Examples:\n  holdfast generate man /usr/local/share/man/man1\n  holdfast generate man . && man ./holdfast-restore.1"
    )]
    Man {
        /// The folder; it is made when it is not there
        directory: PathBuf,
    },
    /// Completions for a shell, on standard output
    #[command(
        after_help = "Examples:\n  holdfast generate completions bash > /etc/bash_completion.d/holdfast\n  holdfast generate completions zsh > \"${fpath[1]}/_holdfast\"\n  holdfast generate completions fish > ~/.config/fish/completions/holdfast.fish"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// A configuration with every key, its meaning and its default, on standard output
    #[command(
        after_help = "Examples:\n  holdfast generate config-reference > holdfast.toml\n  holdfast generate config-reference | grep -v '^# ' | grep ."
    )]
    ConfigReference,
}

/// Runs the command.
#[expect(clippy::unused_async, reason = "all commands are called alike")]
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    match &args.what {
        What::Man { directory } => {
            std::fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
                .with_context(|| format!("man pages cannot be written to `{}`", directory.display()))
                .hint("name a folder that this user may write to")?;
            context.printer.note(format_args!("man pages are in `{}`", directory.display()));
        }
        What::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "holdfast", &mut script);
            context.printer.text(&String::from_utf8_lossy(&script));
        }
        What::ConfigReference => context.printer.text(&reference()),
    }
    Ok(ExitCode::SUCCESS)
}
