//! The keys of a store that is a plugin.

use super::Kind::{self, Duration, Integer, Json, Text};
use super::Presence::{Default, Optional, Required};
use super::{ALLOW, Table, key};

pub(super) static STORE_PLUGIN: Table = Table {
    doc: "A plugin of the kind `store`: any place that one was written for.",
    keys: &[
        key("name", Text, Required("\"webdav\""), "Its name: NAME.wasm in the plugin directory."),
        key(
            "config",
            Json,
            Optional("{ url = \"https://nas.example.org/dav/etcd\" }"),
            "What is passed to it; its README tells what it takes.",
        ),
        key(
            "attempts",
            Integer(1, 100),
            Default("8"),
            "Tries of one call, with growing pauses up to 15 s, when the plugin says that a further one may help. An upload of more\nthan 5 MiB that breaks off is left to the next run, or `holdfast sync`.",
        ),
        key(
            "request_timeout",
            Duration,
            Default("\"2m\""),
            "How long a call may take that moves no object's bytes: one page of a listing, one removal.",
        ),
        key("stall_timeout", Duration, Default("\"30s\""), "How long one that does may stand still."),
        key(
            "stale_after",
            Duration,
            Default("\"1d\""),
            "What an upload left that was begun so long ago and never ended is removed. No backup may take longer.",
        ),
        key("allow", Kind::Table(&ALLOW), Default("{}"), ""),
    ],
    mistaken: &[
        ("plugin", "did you mean `name`?"),
        ("url", "it belongs in what the plugin is passed: `config = { url = \"…\" }`"),
        ("secrets", "it belongs in `allow`: `allow = { secrets = [\"…\"] }`"),
        ("http", "it belongs in `allow`: `allow = { http = [\"https://…\"] }`"),
        ("timeout", "how long an upload may take stands in the store's own table: `[store.NAME]`"),
    ],
};
