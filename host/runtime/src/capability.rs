//! What a guest can reach. One module per capability, each with one function that adds it to a linker.
//!
//! What is not added cannot be imported; what is added and not granted answers "denied". A verifier gets the snapshot that
//! it judges, a log, a WASI without files, environment, arguments, input or sockets, and what is granted to it: HTTP to
//! some hosts, some secrets, some state.

pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod secrets;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod transfer;
pub(crate) mod wasi;
