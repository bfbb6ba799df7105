//! `holdfast plugin verify`: are these files signed by somebody who is trusted?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use holdfast_runtime::{Signature, Trust, TrustPolicy, TrustedKey};
use serde::Serialize;

use super::super::failure::FailureExt as _;
use super::super::{Context, answer};

/// Check the signatures of plugin files
///
/// Reads FILE.minisig beside each, and checks it over the bytes of the file, as an agent with `trust = "signed"` does. Keys are those of
/// `plugins.trusted_keys`, or those given.
///
/// Exits 0 when all are signed by such a key, 1 when one is not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin verify /etc/holdfast/plugins/*.wasm
  holdfast plugin verify required-keys.wasm --public-key ~/holdfast-plugins.key.pub
  minisign -V -p ~/holdfast-plugins.key.pub -m required-keys.wasm    the same, with minisign itself")]
pub struct Args {
    /// The components, `NAME.wasm`
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A public key: the line that begins with `RW`, or the file that holds it. May be given more than once
    #[arg(long, short, value_name = "KEY|FILE")]
    pub public_key: Vec<String>,
}

#[derive(Serialize)]
struct Verified {
    file: String,
    signature: Signature,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut keys = args.public_key.iter().map(|text| key(text)).collect::<Result<Vec<TrustedKey>>>()?;
    if keys.is_empty() {
        keys = context.config_if_any()?.map(|config| config.plugins.trust.keys).unwrap_or_default();
    }
    if keys.is_empty() {
        return Err(anyhow!("there is no key to check signatures with"))
            .hint("give one with `--public-key`, or set `trusted_keys` under `[plugins]`");
    }
    let policy = TrustPolicy { mode: Trust::Signed, keys };
    let mut verified = Vec::new();
    for file in &args.files {
        let signature =
            policy.check_file(file).await.map_err(|rejection| super::refused(file, &rejection, 2))?;
        verified.push(Verified { file: file.display().to_string(), signature });
    }
    context.printer.show(&verified, |printer| {
        for one in &verified {
            printer.line(format_args!("{}: signed: {}", one.file, one.signature));
        }
    });
    Ok(answer(verified.iter().all(|one| matches!(one.signature, Signature::Trusted { .. }))))
}

fn key(text: &str) -> Result<TrustedKey> {
    if let Ok(key) = TrustedKey::parse(text) {
        return Ok(key);
    }
    let path = Path::new(text);
    let read = std::fs::read_to_string(path)
        .with_context(|| format!("`{}` is neither a public key nor a file that can be read", path.display()))
        .hint("it is the line of the `.pub` file that begins with `RW`, or that file")?;
    TrustedKey::parse(&read).map_err(|error| {
        let hint = error.hint();
        let failed: Result<()> = Err(anyhow!("`{}` {error}", path.display())).hint(hint);
        failed.err().unwrap_or_else(|| error.into())
    })
}
