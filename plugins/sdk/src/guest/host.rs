//! What the agent offers to every kind of plugin: `holdfast:host` at its newest version.

/// What `wit-bindgen` makes of the world `holdfast:host/imports`.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/host-0.1.1",
        world: "holdfast:host/imports",
        generate_all,
    });
}

pub(crate) use bindings::holdfast::host::{secrets, state};
