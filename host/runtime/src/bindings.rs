//! Host side of the plugin contract in `wit/`, generated. Nothing else belongs here.

pub(crate) mod store;

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

pub(crate) mod notifier;

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

/// Scripts: the world `holdfast:script/script`.
pub(crate) mod script {
    wasmtime::component::bindgen!({
        path: ["../../wit/host-0.1.0", "../../wit/script-0.1.0"],
        world: "holdfast:script/script",
        imports: {
            // These wait for the database.
            "holdfast:script/database.[method]cursor.next": async | trappable,
            "holdfast:script/database.[method]lease.keep-alive": async | trappable,
            "holdfast:script/database.[method]lease.time-to-live": async | trappable,
            "holdfast:script/database.[method]lease.revoke": async | trappable,
            "holdfast:script/database.[method]watch.next": async | trappable,
            "holdfast:script/database.[method]database.status": async | trappable,
            "holdfast:script/database.[method]database.hash-kv": async | trappable,
            "holdfast:script/database.[method]database.get": async | trappable,
            "holdfast:script/database.[method]database.count": async | trappable,
            "holdfast:script/database.[method]database.open": async | trappable,
            "holdfast:script/database.[method]database.put": async | trappable,
            "holdfast:script/database.[method]database.delete": async | trappable,
            "holdfast:script/database.[method]database.commit": async | trappable,
            "holdfast:script/database.[method]database.grant": async | trappable,
            "holdfast:script/database.[method]database.leases": async | trappable,
            "holdfast:script/database.[method]database.watch": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "holdfast:host/log": crate::bindings::holdfast::host::log,
            "holdfast:script/database.database": crate::capability::database::Subject,
            "holdfast:script/database.query": crate::capability::database::Query,
            "holdfast:script/database.cursor": crate::capability::database::Cursor,
            "holdfast:script/database.transaction": crate::capability::database::Making,
            "holdfast:script/database.lease": crate::capability::database::Lease,
            "holdfast:script/database.watch": crate::capability::database::Watch,
        },
    });
}
