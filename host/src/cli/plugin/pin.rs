//! `holdfast plugin pin`: the lines of configuration that let nothing but these very files be loaded.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::super::Context;
use super::super::failure::FailureExt as _;
use crate::pack::hex;

/// Print the configuration that pins plugin files by their digest
///
/// With these lines in the configuration, the agent loads no other content under the plugin's name. Nothing is changed; look at the
/// files first, with `holdfast plugin check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin pin required-keys.wasm
  holdfast plugin pin /etc/holdfast/plugins/*.wasm >> /etc/holdfast/holdfast.toml")]
pub struct Args {
    /// The components, `NAME.wasm`
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Pin {
    name: String,
    file: String,
    sha256: String,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let pins = args.files.iter().map(|file| pin(file)).collect::<Result<Vec<Pin>>>()?;
    context.printer.show(&pins, |printer| {
        for (index, pin) in pins.iter().enumerate() {
            if index > 0 {
                printer.blank();
            }
            printer.line(format_args!("[plugin.{}]\nsha256 = \"{}\"", pin.name, pin.sha256));
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn pin(file: &Path) -> Result<Pin> {
    let name = holdfast_runtime::plugin_name(file)
        .ok_or_else(|| anyhow!("`{}` has no plugin's name", file.display()))
        .hint("the name is lower case, digits and dashes, then `.wasm`: `required-keys.wasm`")?;
    let bytes = std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    Ok(Pin { name, file: file.display().to_string(), sha256: hex(&Sha256::digest(&bytes)) })
}
