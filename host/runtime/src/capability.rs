//! What a guest can reach. One module per capability, each with one function that adds it to a linker.
//!
//! What is not added cannot be imported; what is added and not granted answers "denied". A verifier gets the snapshot that
//! it judges, a log, a WASI without files, environment, arguments, input or sockets, and what is granted to it: HTTP to
//! some hosts, some secrets, some state.

use wasmtime::component::Linker;

use crate::call::CallState;
use crate::engine::Engine;

pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod secrets;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod transfer;
pub(crate) mod wasi;

/// What a plugin of any kind may import; its kind's own capability comes on top.
pub(crate) fn in_common(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine.wasmtime());
    wasi::add(&mut linker)?;
    http::add(&mut linker)?;
    log::add(&mut linker)?;
    secrets::add(&mut linker)?;
    state::add(&mut linker)?;
    Ok(linker)
}
