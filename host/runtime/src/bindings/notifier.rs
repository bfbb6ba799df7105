//! The world `holdfast:notifier/notifier`.

wasmtime::component::bindgen!({
    path: ["../../wit/host-0.1.1", "../../wit/notifier-0.1.0"],
    world: "holdfast:notifier/notifier",
    exports: { default: async },
    with: {
        "holdfast:host/log": crate::bindings::host::holdfast::host::log,
        "holdfast:host/secrets": crate::bindings::host::holdfast::host::secrets,
        "holdfast:host/state": crate::bindings::host::holdfast::host::state,
    },
});
