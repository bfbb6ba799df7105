//! `holdfast plugin sign`: a signature beside a component, for agents that want one.

use std::io::IsTerminal as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use minisign::{PublicKey, SecretKey, SecretKeyBox};
use serde::Serialize;

use super::super::Context;
use super::super::failure::FailureExt as _;
use crate::atomic;
use crate::secret::{Secret, SecretSource};
use crate::signing::parse_secret_key;

/// Everybody may read a signature, as they may the component: the agent may run as another user.
const SIGNATURE_MODE: u32 = 0o644;

/// Sign plugin files
///
/// Writes FILE.minisig beside each, as `minisign -S` does; an old signature is replaced. An agent with `trust = "signed"` loads only what
/// one of its `trusted_keys` has signed. Put the signature in place before the component, and the component is taken at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin sign required-keys.wasm --key ~/holdfast-plugins.key
  minisign -S -s ~/holdfast-plugins.key -m required-keys.wasm        the same, with minisign itself")]
pub struct Args {
    /// The components, `NAME.wasm`
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The secret key, from `holdfast plugin keygen` or `minisign -G`
    #[arg(long, short, value_name = "FILE")]
    pub key: PathBuf,
    #[command(flatten)]
    pub password: PasswordArgs,
    /// What the signature says and covers; the time and the file's name otherwise
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
}

/// How a key is unlocked.
#[derive(Debug, clap::Args)]
pub struct PasswordArgs {
    /// The file that holds the key's password; asked for on the terminal otherwise
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Signed {
    file: String,
    signature: String,
    key: String,
    comment: String,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    for file in &args.files {
        holdfast_runtime::plugin_name(file)
            .ok_or_else(|| anyhow!("`{}` has no plugin's name", file.display()))
            .hint("the name is lower case, digits and dashes, then `.wasm`: `required-keys.wasm`")?;
    }
    let secret_key = secret_key(args)?;
    let public_key = PublicKey::from_secret_key(&secret_key).context("the key cannot be used")?;
    let signed = args
        .files
        .iter()
        .map(|file| sign(file, &secret_key, &public_key, args, context))
        .collect::<Result<Vec<Signed>>>()?;
    context.printer.show(&signed, |printer| {
        for one in &signed {
            printer.line(&one.signature);
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn secret_key(args: &Args) -> Result<SecretKey> {
    let shown = args.key.display();
    let text = SecretSource::File(args.key.clone()).read()?;
    let key = parse_secret_key(text.expose())
        .ok_or_else(|| anyhow!("`{shown}` is not a secret key of minisign"))
        .hint("make one with `holdfast plugin keygen` or `minisign -G`")?;
    if !key.is_encrypted() {
        return Ok(key);
    }
    let boxed = SecretKeyBox::from_string(text.expose())
        .with_context(|| format!("`{shown}` is not a secret key of minisign"))?;
    let password = password(&args.password, &format!("Password of `{shown}`: "), false)?;
    boxed
        .into_secret_key(Some(password.expose().to_owned()))
        .with_context(|| format!("`{shown}` cannot be unlocked"))
}

/// The password from the file, or asked for.
pub(super) fn password(args: &PasswordArgs, prompt: &str, twice: bool) -> Result<Secret> {
    if let Some(file) = &args.password_file {
        return Ok(SecretSource::File(file.clone()).read()?);
    }
    if !std::io::stdin().is_terminal() {
        return Err(anyhow!("there is no terminal to ask for the key's password"))
            .hint("name a file that holds it with `--password-file FILE`");
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).context("the password cannot be read");
    let password = Secret::new(ask(prompt)?);
    if twice && ask("The same once more: ")? != password.expose() {
        return Err(anyhow!("the passwords differ; nothing was written"));
    }
    Ok(password)
}

fn sign(
    file: &Path,
    secret_key: &SecretKey,
    public_key: &PublicKey,
    args: &Args,
    context: &Context,
) -> Result<Signed> {
    let bytes = std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let comment = args
        .comment
        .clone()
        .unwrap_or_else(|| format!("timestamp:{}\tfile:{name}\thashed", (context.now)().as_second()));
    let signature = minisign::sign(Some(public_key), secret_key, bytes.as_slice(), Some(&comment), None)
        .with_context(|| format!("`{}` cannot be signed", file.display()))?;
    let mut path = file.as_os_str().to_owned();
    path.push(".minisig");
    let path = PathBuf::from(path);
    atomic::write(&path, signature.into_string().as_bytes())
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SIGNATURE_MODE)))
        .with_context(|| format!("`{}` cannot be written", path.display()))?;
    let key = holdfast_runtime::TrustedKey::parse(&public_key.to_base64())?;
    Ok(Signed {
        file: file.display().to_string(),
        signature: path.display().to_string(),
        key: key.id().to_owned(),
        comment,
    })
}
