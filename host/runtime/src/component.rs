//! From a core module, which is what compilers of most languages write, to the component that a plugin is.
//!
//! The module's functions are matched with a world of the contract, and what its language's library wants of WASI preview 1 is
//! served by the adapter that comes with the engine. Nothing of the module is run here.

use std::path::{Path, PathBuf};

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER;
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The name under which compilers import WASI preview 1.
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// Why a module does not become a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// It does not begin as a WebAssembly module does, or breaks off.
    #[error("it is no WebAssembly module: {0}")]
    NotAModule(String),
    /// There is nothing left to do.
    #[error("it is a component already")]
    IsAComponent,
    /// The contract cannot be read.
    #[error("the contract in `{}` cannot be used: {reason}", path.display())]
    Contract {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The module lacks what the world asks for, or asks for what the world does not have.
    #[error("the module does not fit the contract: {0}")]
    DoesNotFit(String),
}

/// Makes a core module a component of a world of the contract that lies in the folder `contract`: WIT, with the packages that it uses
/// below `deps`. `world` may be left out when there is only one.
///
/// # Errors
/// When the bytes are no module, the contract is none, or the two do not fit.
pub fn component(core: &[u8], contract: &Path, world: Option<&str>) -> Result<Vec<u8>, ComponentError> {
    match Parser::new(0).parse_all(core).next() {
        Some(Ok(Payload::Version { encoding: Encoding::Module, .. })) => {}
        Some(Ok(Payload::Version { encoding: Encoding::Component, .. })) => {
            return Err(ComponentError::IsAComponent);
        }
        Some(Err(error)) => return Err(ComponentError::NotAModule(error.message().to_owned())),
        _ => return Err(ComponentError::NotAModule("it is empty".to_owned())),
    }
    let unusable =
        |error: anyhow::Error| ComponentError::Contract { path: contract.to_owned(), reason: chain(&error) };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(contract).map_err(unusable)?;
    let world = resolve.select_world(&[package], world).map_err(unusable)?;

    let misfit = |error: anyhow::Error| ComponentError::DoesNotFit(chain(&error));
    let mut module = core.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(misfit)?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.adapter(PREVIEW_1, ADAPTER))
        .and_then(|mut encoder| encoder.encode())
        .map_err(misfit)
}

/// An error with all its causes, in one line.
fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
