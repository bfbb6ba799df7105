//! `holdfast plugin keygen`: a pair of keys to sign plugins with.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use minisign::KeyPair;
use serde::Serialize;

use super::super::Context;
use super::super::failure::FailureExt as _;
use super::sign::{self, PasswordArgs};
use crate::atomic;

/// Make a pair of keys to sign plugins with
///
/// Writes the secret key to FILE, encrypted with a password, and the public key to FILE.pub, both as `minisign -G` does. A file that is
/// there is never replaced. The public key goes to `trusted_keys` under `[plugins]`; the secret one belongs on no machine that runs
/// an agent.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin keygen ~/holdfast-plugins.key
  holdfast plugin keygen signing.key --password-file password.txt")]
pub struct Args {
    /// Where the secret key is written
    pub file: PathBuf,
    #[command(flatten)]
    pub password: PasswordArgs,
    /// Do not encrypt the secret key: whoever can read the file can sign
    #[arg(long, conflicts_with = "password_file")]
    pub no_password: bool,
}

/// A pair of keys, as it is told.
#[derive(Serialize)]
pub(in crate::cli) struct Made {
    pub(in crate::cli) secret_key_file: String,
    public_key_file: String,
    pub(in crate::cli) public_key: String,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let made = make(&args.file, &args.password, args.no_password)?;
    context.printer.show(&made, |printer| {
        printer.note(format_args!("the secret key is in `{}`", made.secret_key_file));
        printer.line(format_args!("[plugins]\ntrust = \"signed\"\ntrusted_keys = [\"{}\"]", made.public_key));
    });
    Ok(ExitCode::SUCCESS)
}

/// Makes a pair of keys, each in a new file.
pub(in crate::cli) fn make(file: &Path, password: &PasswordArgs, no_password: bool) -> Result<Made> {
    let mut public_file = file.as_os_str().to_owned();
    public_file.push(".pub");
    let public_file = PathBuf::from(public_file);
    for file in [file, &public_file] {
        if file.exists() {
            return Err(anyhow::anyhow!("`{}` is there already", file.display()))
                .hint("name another file; a key that is lost cannot be made again");
        }
    }
    let pair = if no_password {
        KeyPair::generate_unencrypted_keypair()
    } else {
        let password = sign::password(password, "Password for the new key: ", true)?;
        KeyPair::generate_encrypted_keypair(Some(password.expose().to_owned()))
    };
    let KeyPair { pk, sk } = pair.context("no key could be made")?;
    let secret_text = sk.to_box(None).context("no key could be made")?.into_string();
    write_new(file, &secret_text)?;
    let public_text = pk.to_box().context("no key could be made")?.into_string();
    write_new(&public_file, &public_text)?;
    Ok(Made {
        secret_key_file: file.display().to_string(),
        public_key_file: public_file.display().to_string(),
        public_key: pk.to_base64(),
    })
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    atomic::create_file(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .with_context(|| format!("`{}` cannot be written", path.display()))
}
