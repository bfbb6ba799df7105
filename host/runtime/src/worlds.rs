//! One call interface for each kind of plugin.

pub(crate) mod verifier;
