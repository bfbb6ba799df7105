//! What a guest can reach. One module per capability, each with one function that adds it to a linker.
//!
//! What is not added cannot be imported; what is added and not granted answers "denied". A verifier gets the snapshot that
//! it judges, a log, and a WASI without files, environment, arguments, input or network.

pub(crate) mod log;
pub(crate) mod snapshot;
pub(crate) mod wasi;
