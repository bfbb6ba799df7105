//! Host side of the plugin contract in `wit/`, generated. Nothing else belongs here.

wasmtime::component::bindgen!({
    path: ["../../wit/snapshot-0.1.0", "../../wit/host-0.1.0", "../../wit/verifier-0.1.0"],
    world: "holdfast:verifier/verifier",
    imports: {
        // These two may pass over many rows before they have an answer, and let others run meanwhile.
        "holdfast:snapshot/reader.[method]cursor.next": async | trappable,
        "holdfast:snapshot/reader.[method]snapshot.totals": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "holdfast:snapshot/reader.snapshot": crate::capability::snapshot::Subject,
        "holdfast:snapshot/reader.query": crate::capability::snapshot::Query,
        "holdfast:snapshot/reader.cursor": crate::capability::snapshot::Cursor,
    },
});

/// What `holdfast:host` has since 0.1.1. Its log is that of 0.1.0, which serves guests of either version.
pub(crate) mod host {
    wasmtime::component::bindgen!({
        path: "../../wit/host-0.1.1",
        world: "holdfast:host/imports",
        imports: {
            // These wait for the disk.
            "holdfast:host/state.get": async | trappable,
            "holdfast:host/state.set": async | trappable,
            "holdfast:host/state.delete": async | trappable,
            "holdfast:host/state.keys": async | trappable,
            default: trappable,
        },
    });
}
