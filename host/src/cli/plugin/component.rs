//! `holdfast plugin component`: a core module, as compilers of C and Go write it, becomes the component that a plugin is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use holdfast_runtime::ComponentError;
use serde::Serialize;

use super::super::Context;
use super::super::failure::FailureExt as _;
use crate::atomic;

/// A plugin is read by the agent, and written by nobody but its owner.
const MODE: u32 = 0o644;

/// Make a component of a core module
///
/// Compilers of C, Go and others write core modules. This matches one with the contract that lies in the project, serves what the
/// language's library wants of WASI preview 1 by an adapter, and writes the component whole or not at all. `wasm-tools component
/// embed` and `wasm-tools component new` do the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin component core.wasm enough-secrets.wasm
  holdfast plugin component core.wasm enough-secrets.wasm --wit ../contract --world verifier")]
pub struct Args {
    /// The core module
    #[arg(value_name = "MODULE")]
    pub module: PathBuf,
    /// Where the component is written, `NAME.wasm`
    #[arg(value_name = "COMPONENT")]
    pub component: PathBuf,
    /// The folder with the contract, and what it uses below `deps`
    #[arg(long, value_name = "DIR", default_value = "wit")]
    pub wit: PathBuf,
    /// The world of the contract, when there are several
    #[arg(long, value_name = "NAME")]
    pub world: Option<String>,
}

#[derive(Serialize)]
struct Written {
    file: String,
    size_bytes: usize,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let module =
        fs::read(&args.module).with_context(|| format!("`{}` cannot be read", args.module.display()))?;
    let component =
        holdfast_runtime::component(&module, &args.wit, args.world.as_deref()).map_err(|error| {
            let hint = hint(&error);
            let error = anyhow::Error::new(error)
                .context(format!("`{}` becomes no component", args.module.display()));
            Err::<(), _>(error).hint(hint).expect_err("it is an error")
        })?;
    let file = args.component.display().to_string();
    atomic::write(&args.component, &component)
        .and_then(|()| fs::set_permissions(&args.component, Permissions::from_mode(MODE)))
        .with_context(|| format!("`{file}` cannot be written"))?;
    let written = Written { file, size_bytes: component.len() };
    context.printer.show(&written, |printer| printer.line(&written.file));
    Ok(ExitCode::SUCCESS)
}

fn hint(error: &ComponentError) -> &'static str {
    match error {
        ComponentError::NotAModule(_) => {
            "compile for WebAssembly: clang --target=wasm32-wasi, GOOS=wasip1 GOARCH=wasm go build"
        }
        ComponentError::IsAComponent => "use it as it is; `holdfast plugin check` says what it is",
        ComponentError::Contract { .. } => {
            "run this where the project's folder `wit` lies, or name it with `--wit DIR`"
        }
        ComponentError::DoesNotFit(_) => {
            "were the bindings made from this very contract, and is everything compiled in that they export?"
        }
    }
}
