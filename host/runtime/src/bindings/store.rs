//! The world `holdfast:store/store`. What it imports of `holdfast:host` is linked by the modules of those interfaces.

wasmtime::component::bindgen!({
    path: ["../../wit/host-0.1.1", "../../wit/store-0.1.0"],
    world: "holdfast:store/store",
    imports: {
        // These wait for the other side.
        "holdfast:store/transfer.[method]body.read": async | trappable,
        "holdfast:store/transfer.[method]sink.begin": async | trappable,
        "holdfast:store/transfer.[method]sink.write": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "holdfast:store/transfer.body": crate::capability::transfer::Body,
        "holdfast:store/transfer.sink": crate::capability::transfer::Sink,
        "holdfast:host/log": crate::bindings::host::holdfast::host::log,
        "holdfast:host/secrets": crate::bindings::host::holdfast::host::secrets,
        "holdfast:host/state": crate::bindings::host::holdfast::host::state,
    },
});
