//! `holdfast key`: keys that backups are encrypted to, and signed with.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::failure::FailureExt;
use super::plugin::keygen;
use super::plugin::sign::PasswordArgs;
use crate::{atomic, pack};

/// Make keys
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    Generate(GenerateArgs),
    Signing(SigningArgs),
}

/// Make a pair of keys to sign backups with
///
/// Writes the secret key to FILE and the public key to FILE.pub, both as `minisign -G` does, and prints the configuration. The agent
/// that makes backups needs the secret key; whoever lists, verifies or restores needs the public one alone. A file that is
/// there is never replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast key signing /etc/holdfast/signing.key --no-password
  holdfast key signing signing.key --password-file password.txt
  minisign -V -p signing.key.pub -m manifest.json        checks a backup's signature without Holdfast")]
pub struct SigningArgs {
    /// Where the secret key is written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub password: PasswordArgs,
    /// Do not encrypt the secret key: whoever can read the file can sign
    #[arg(long, conflicts_with = "password_file")]
    pub no_password: bool,
}

/// Make an age identity, and print its recipient
///
/// The identity (secret key) goes to a new file that only this user can read, in the form of `age-keygen`; the recipient goes
/// to `recipients` in [backup.pack]. Keep the identity where backups are restored, not where they are made: a machine
/// that only writes backups needs no key that reads them. Without it no encrypted backup can be opened.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast key generate age.key
  holdfast key generate age.key --output json | jq -r .recipient >> /etc/holdfast/recipients
  age -d -i age.key DATA.db.zst.age | zstd -d > snapshot.db        without Holdfast")]
pub struct GenerateArgs {
    /// The file that gets the identity; it must not be there yet
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Generated {
    file: PathBuf,
    recipient: String,
    fingerprint: String,
}

/// Runs the command.
#[expect(clippy::unused_async, reason = "all commands are called alike")]
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    match &args.command {
        KeyCommand::Generate(args) => generate(args, context),
        KeyCommand::Signing(args) => signing(args, context),
    }
}

fn signing(args: &SigningArgs, context: &Context) -> Result<ExitCode> {
    let made = keygen::make(&args.file, &args.password, args.no_password)?;
    let file = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    context.printer.show(&made, |printer| {
        printer.note(format_args!("the secret key is in `{}`", made.secret_key_file));
        printer.line(format_args!("[signing]\nkey_file = {:?}", file.display().to_string()));
        if let Some(password) = &args.password.password_file {
            let password = std::path::absolute(password).unwrap_or_else(|_| password.clone());
            printer.line(format_args!("password_file = {:?}", password.display().to_string()));
        }
        printer.line(format_args!("\n[trust]\nkeys = [\"{}\"]", made.public_key));
    });
    Ok(ExitCode::SUCCESS)
}

fn generate(args: &GenerateArgs, context: &Context) -> Result<ExitCode> {
    let GenerateArgs { file } = args;
    let identity = pack::new_identity();
    let recipient = &identity.recipient;
    let written = atomic::create_file(file).and_then(|mut target| {
        target.write_all(identity.file_text((context.now)()).expose().as_bytes())?;
        target.sync_all()?;
        atomic::sync_directory(atomic::parent(file))
    });
    written
        .with_context(|| format!("identity file `{}` cannot be written", file.display()))
        .hint("name a file that is not there yet, in a folder that this user may write to")?;
    let generated = Generated {
        file: file.clone(),
        recipient: recipient.to_string(),
        fingerprint: recipient.fingerprint(),
    };
    context.printer.show(&generated, |printer| printer.line(&generated.recipient));
    context.printer.note(format_args!(
        "the identity is in `{}`: keep a copy where a fire does not reach it",
        file.display()
    ));
    Ok(ExitCode::SUCCESS)
}
