//! What `holdfast plugin new` writes: the projects, the contract, and for Rust the SDK, all as this agent was built with.

/// A file of a project: its place, and its text with `{{name}}` and the like in it.
pub(super) type Template = (&'static str, &'static str);

/// Files below a folder of `plugins/templates`, which keep their places below it, in the project or in a folder of it. A leading dot is
/// put before `gitignore` when the project is written.
macro_rules! templates {
    ($folder:literal to $place:literal: $($file:literal),* $(,)?) => {
        &[$((concat!($place, $file), include_str!(concat!("../../../../../plugins/templates/", $folder, $file)))),*]
    };
    ($folder:literal: $($file:literal),* $(,)?) => {
        templates![$folder to "": $($file),*]
    };
}

/// Files of `plugins/sdk/src`.
macro_rules! sdk {
    ($($file:literal),* $(,)?) => {
        &[$((concat!("sdk/src/", $file), include_str!(concat!("../../../../../plugins/sdk/src/", $file)))),*]
    };
}

const VERIFIER_CONFIG: &[Template] =
    &[("config.toml", include_str!("../../../../../plugins/templates/config/verifier.toml"))];

const NOTIFIER_CONFIG: &[Template] =
    &[("config.toml", include_str!("../../../../../plugins/templates/config/notifier.toml"))];

const SCRIPT_CONFIG: &[Template] =
    &[("config.toml", include_str!("../../../../../plugins/templates/config/script.toml"))];

const STORE_CONFIG: &[Template] =
    &[("config.toml", include_str!("../../../../../plugins/templates/config/store.toml"))];

pub(super) const RUST_VERIFIER: &[&[Template]] = &[
    templates!["rust/": "Cargo.toml", "src/lib.rs", "sdk/Cargo.toml", "README.md", "gitignore"],
    VERIFIER_CONFIG,
];

pub(super) const RUST_NOTIFIER: &[&[Template]] = &[
    templates!["rust/": "sdk/Cargo.toml", "gitignore"],
    templates!["rust-notifier/": "Cargo.toml", "src/lib.rs", "config.toml", "README.md"],
];

pub(super) const RUST_STORE: &[&[Template]] = &[
    templates!["rust/": "sdk/Cargo.toml", "gitignore"],
    templates!["rust-store/": "Cargo.toml", "src/lib.rs", "README.md"],
    STORE_CONFIG,
];

pub(super) const RUST_SCRIPT: &[&[Template]] = &[
    templates!["rust/": "Cargo.toml", "sdk/Cargo.toml", "gitignore"],
    templates!["rust-script/": "src/lib.rs", "config.toml", "README.md"],
];

const JS: &[Template] = templates!["js/common/": "package.json", "build.mjs", "gitignore", "src/holdfast.js"];
const JS_HTTP: &[Template] = templates!["js/http/": "src/http.js", "src/memory-host.js"];
const JS_GRANTS: &[Template] = templates!["js/grants/": "src/grants.js"];
const JS_REPORT: &[Template] = templates!["js/report/": "src/report.js", "src/rows.js"];

pub(super) const JS_VERIFIER: &[&[Template]] = &[
    JS,
    JS_HTTP,
    JS_GRANTS,
    JS_REPORT,
    WASI_HTTP,
    templates![
        "js/verifier/": "README.md", "src/check.js", "src/memory.js", "src/plugin.js", "src/snapshot.js", "test/check.test.js",
    ],
    VERIFIER_CONFIG,
];

const PYTHON: &[Template] = templates!["python/common/": "requirements.txt", "gitignore", "holdfast.py"];
const PYTHON_HTTP: &[Template] =
    templates!["python/http/": "answer.py", "client.py", "grants.py", "memory_host.py"];
const PYTHON_REPORT: &[Template] = templates!["python/report/": "report.py", "rows.py"];

pub(super) const PYTHON_VERIFIER: &[&[Template]] = &[
    PYTHON,
    PYTHON_HTTP,
    PYTHON_REPORT,
    WASI_HTTP,
    templates!["python/verifier/": "README.md", "app.py", "check.py", "memory.py", "snapshot.py", "test_check.py"],
    VERIFIER_CONFIG,
];

const GO: &[Template] = templates![
    "go/common/": "go.mod", "go.sum", "gitignore", "agent/memory/memory.go", "holdfast/kubernetes.go", "holdfast/plugin.go",
];
const GO_REPORT: &[Template] = templates!["go/report/": "agent/answer/answer.go", "holdfast/report.go"];
const GO_ROWS: &[Template] = templates!["go/rows/": "holdfast/memory_rows.go", "holdfast/rows.go"];
const GO_HTTP: &[Template] = templates!["go/http/": "agent/client/client.go", "holdfast/http.go"];

/// Bindings that several worlds have: of what the agent gives to all of them, and of what those that may send requests are given.
const GO_LOG: &[Template] = templates![
    "generated/log/go/" to "agent/": "holdfast_host_log/empty.s", "holdfast_host_log/wit_bindings.go",
];
const GO_HTTP_BINDINGS: &[Template] = templates![
    "generated/http/go/" to "agent/": "holdfast_host_log/empty.s",
    "holdfast_host_log/wit_bindings.go",
    "holdfast_host_secrets/empty.s",
    "holdfast_host_secrets/wit_bindings.go",
    "holdfast_host_state/empty.s",
    "holdfast_host_state/wit_bindings.go",
    "wasi_clocks_monotonic_clock/empty.s",
    "wasi_clocks_monotonic_clock/wit_bindings.go",
    "wasi_http_outgoing_handler/empty.s",
    "wasi_http_outgoing_handler/wit_bindings.go",
    "wasi_http_types/empty.s",
    "wasi_http_types/wit_bindings.go",
    "wasi_io_error/empty.s",
    "wasi_io_error/wit_bindings.go",
    "wasi_io_poll/empty.s",
    "wasi_io_poll/wit_bindings.go",
    "wasi_io_streams/empty.s",
    "wasi_io_streams/wit_bindings.go",
];

pub(super) const GO_VERIFIER: &[&[Template]] = &[
    GO,
    GO_REPORT,
    GO_ROWS,
    templates![
        "go/verifier/": "README.md",
        "agent/export_holdfast_verifier_plugin/plugin.go",
        "agent/export_holdfast_verifier_verify/verify.go",
        "check/check.go",
        "check/check_test.go",
        "holdfast/memory.go",
        "holdfast/snapshot.go",
    ],
    templates![
        "generated/verifier/go/" to "agent/": "wit_exports.go",
        "holdfast_snapshot_reader/empty.s",
        "holdfast_snapshot_reader/wit_bindings.go",
        "holdfast_verifier_plugin/empty.s",
        "holdfast_verifier_plugin/wit_bindings.go",
        "holdfast_verifier_verify/empty.s",
        "holdfast_verifier_verify/wit_bindings.go",
    ],
    GO_LOG,
    VERIFIER_CONFIG,
];

const C: &[Template] = templates!["c/common/": "gitignore", "holdfast.c", "holdfast.h"];
const C_HTTP: &[Template] =
    templates!["c/http/": "client.c", "client.h", "holdfast_http.c", "holdfast_http.h"];
const C_REPORT: &[Template] =
    templates!["c/report/": "agent_report.h", "holdfast_report.c", "holdfast_report.h"];
const C_ROWS: &[Template] = templates![
    "c/rows/": "agent_rows.h", "holdfast_rows.c", "holdfast_rows.h", "memory_rows.c", "memory_rows.h",
];

pub(super) const C_VERIFIER: &[&[Template]] = &[
    C,
    C_REPORT,
    C_ROWS,
    templates![
        "c/verifier/": "Makefile", "README.md", "agent.c", "check.c", "holdfast_verifier.c", "holdfast_verifier.h", "memory.c", "memory.h",
        "test.c",
    ],
    templates!["generated/verifier/c/" to "bindings/": "verifier.c", "verifier.h"],
    VERIFIER_CONFIG,
];

pub(super) const JS_NOTIFIER: &[&[Template]] = &[
    JS,
    JS_HTTP,
    JS_GRANTS,
    templates!["js/notifier/": "README.md", "src/notify.js", "src/plugin.js", "src/testing.js", "test/notify.test.js"],
    NOTIFIER_CONFIG,
];

pub(super) const PYTHON_NOTIFIER: &[&[Template]] = &[
    PYTHON,
    PYTHON_HTTP,
    templates!["python/notifier/": "README.md", "app.py", "notify.py", "test_notify.py", "testing.py"],
    WASI_HTTP,
    NOTIFIER_CONFIG,
];

pub(super) const GO_NOTIFIER: &[&[Template]] = &[
    GO,
    GO_HTTP,
    templates![
        "go/notifier/": "README.md",
        "agent/export_holdfast_notifier_notify/notify.go",
        "agent/export_holdfast_notifier_plugin/plugin.go",
        "holdfast/event.go",
        "holdfast/testing.go",
        "notify/notify.go",
        "notify/notify_test.go",
    ],
    templates![
        "generated/notifier/go/" to "agent/": "wit_exports.go",
        "holdfast_notifier_notify/empty.s",
        "holdfast_notifier_notify/wit_bindings.go",
        "holdfast_notifier_plugin/empty.s",
        "holdfast_notifier_plugin/wit_bindings.go",
    ],
    GO_HTTP_BINDINGS,
    WASI_HTTP,
    NOTIFIER_CONFIG,
];

pub(super) const C_NOTIFIER: &[&[Template]] = &[
    C,
    C_HTTP,
    templates!["c/notifier/": "Makefile", "README.md", "agent.c", "holdfast_notifier.h", "notify.c", "test.c"],
    templates!["generated/notifier/c/" to "bindings/": "plugin.c", "plugin.h"],
    WASI_HTTP,
    NOTIFIER_CONFIG,
];

pub(super) const JS_SCRIPT: &[&[Template]] = &[
    JS,
    JS_HTTP,
    JS_GRANTS,
    JS_REPORT,
    WASI_HTTP,
    templates![
        "js/script/": "README.md",
        "src/database.js",
        "src/memory.js",
        "src/plugin.js",
        "src/script.js",
        "test/script.test.js",
    ],
    SCRIPT_CONFIG,
];

pub(super) const PYTHON_SCRIPT: &[&[Template]] = &[
    PYTHON,
    PYTHON_HTTP,
    PYTHON_REPORT,
    WASI_HTTP,
    templates!["python/script/": "README.md", "app.py", "database.py", "memory.py", "script.py", "test_script.py"],
    SCRIPT_CONFIG,
];

pub(super) const JS_STORE: &[&[Template]] = &[
    JS,
    JS_GRANTS,
    templates![
        "js/store/": "README.md", "src/http.js", "src/objects.js", "src/plugin.js", "src/store.js", "src/testing.js", "test/store.test.js",
    ],
    WASI_HTTP,
    STORE_CONFIG,
];

pub(super) const PYTHON_STORE: &[&[Template]] = &[
    PYTHON,
    PYTHON_HTTP,
    templates![
        "python/store/": "README.md", "app.py", "objects.py", "store.py", "stream.py", "test_store.py", "testing.py",
    ],
    WASI_HTTP,
    STORE_CONFIG,
];

pub(super) const GO_SCRIPT: &[&[Template]] = &[
    GO,
    GO_REPORT,
    GO_ROWS,
    templates![
        "go/script/": "README.md",
        "agent/export_holdfast_script_plugin/plugin.go",
        "agent/export_holdfast_script_run/run.go",
        "holdfast/database.go",
        "holdfast/memory.go",
        "script/script.go",
        "script/script_test.go",
    ],
    templates![
        "generated/script/go/" to "agent/": "wit_exports.go",
        "holdfast_script_database/empty.s",
        "holdfast_script_database/wit_bindings.go",
        "holdfast_script_plugin/empty.s",
        "holdfast_script_plugin/wit_bindings.go",
        "holdfast_script_run/empty.s",
        "holdfast_script_run/wit_bindings.go",
    ],
    GO_LOG,
    SCRIPT_CONFIG,
];

pub(super) const C_SCRIPT: &[&[Template]] = &[
    C,
    C_REPORT,
    C_ROWS,
    templates![
        "c/script/": "Makefile", "README.md", "agent.c", "contract.h", "holdfast_script.c", "holdfast_script.h", "memory.c", "memory.h",
        "script.c", "test.c",
    ],
    templates!["generated/script/c/" to "bindings/": "script.c", "script.h"],
    SCRIPT_CONFIG,
];

pub(super) const GO_STORE: &[&[Template]] = &[
    GO,
    GO_HTTP,
    templates![
        "go/store/": "README.md",
        "agent/client/stream.go",
        "agent/export_holdfast_store_objects/objects.go",
        "agent/export_holdfast_store_plugin/plugin.go",
        "holdfast/objects.go",
        "holdfast/testing.go",
        "store/store.go",
        "store/store_test.go",
    ],
    templates![
        "generated/store/go/" to "agent/": "wit_exports.go",
        "holdfast_store_objects/empty.s",
        "holdfast_store_objects/wit_bindings.go",
        "holdfast_store_plugin/empty.s",
        "holdfast_store_plugin/wit_bindings.go",
        "holdfast_store_transfer/empty.s",
        "holdfast_store_transfer/wit_bindings.go",
    ],
    GO_HTTP_BINDINGS,
    WASI_HTTP,
    STORE_CONFIG,
];

pub(super) const C_STORE: &[&[Template]] = &[
    C,
    C_HTTP,
    templates![
        "c/store/": "Makefile", "README.md", "agent.c", "holdfast_store.c", "holdfast_store.h", "memory.c", "memory.h", "store.c", "stream.c",
        "test.c",
    ],
    templates!["generated/store/c/" to "bindings/": "plugin.c", "plugin.h"],
    WASI_HTTP,
    STORE_CONFIG,
];

/// The crate `holdfast-plugin`, without its tests.
pub(super) const SDK: &[Template] = sdk![
    "config.rs",
    "context.rs",
    "database.rs",
    "database/memory.rs",
    "error.rs",
    "guest.rs",
    "guest/host.rs",
    "guest/http.rs",
    "guest/http/stream.rs",
    "guest/notifier.rs",
    "guest/script.rs",
    "guest/store.rs",
    "http.rs",
    "http/stream.rs",
    "kubernetes.rs",
    "kubernetes/json.rs",
    "kubernetes/key.rs",
    "kubernetes/protobuf.rs",
    "lib.rs",
    "log.rs",
    "memory.rs",
    "notifier.rs",
    "report.rs",
    "secrets.rs",
    "snapshot.rs",
    "state.rs",
    "store.rs",
    "store/double.rs",
    "store/error.rs",
    "testing.rs",
    "text.rs",
];

/// The contract as far as the SDK has bindings for it: it speaks to every kind of agent's interfaces, whatever the project is for.
pub(super) const SDK_WIT: &[Template] = templates![
    "../../wit/" to "sdk/wit/": "snapshot-0.1.0/snapshot.wit",
    "host-0.1.0/host.wit",
    "host-0.1.1/host.wit",
    "verifier-0.1.0/verifier.wit",
    "script-0.1.0/script.wit",
    "notifier-0.1.0/notifier.wit",
    "store-0.1.0/store.wit",
];

/// The contract of verifiers, package by package.
pub(super) const VERIFIER_WIT: &[Template] = &[
    ("snapshot", include_str!("../../../../../wit/snapshot-0.1.0/snapshot.wit")),
    ("host", include_str!("../../../../../wit/host-0.1.0/host.wit")),
    ("verifier", include_str!("../../../../../wit/verifier-0.1.0/verifier.wit")),
];

/// What else the agent offers to projects of kinds whose own contract has but a log.
pub(super) const GRANTS_WIT: Template =
    ("host-0.1.1", include_str!("../../../../../wit/host-0.1.1/host.wit"));

/// The contract of notifiers, package by package.
pub(super) const NOTIFIER_WIT: &[Template] = &[
    ("host", include_str!("../../../../../wit/host-0.1.1/host.wit")),
    ("notifier", include_str!("../../../../../wit/notifier-0.1.0/notifier.wit")),
];

/// The contract of scripts, package by package.
pub(super) const SCRIPT_WIT: &[Template] = &[
    ("host", include_str!("../../../../../wit/host-0.1.0/host.wit")),
    ("script", include_str!("../../../../../wit/script-0.1.0/script.wit")),
];

/// The contract of stores, package by package.
pub(super) const STORE_WIT: &[Template] = &[
    ("host", include_str!("../../../../../wit/host-0.1.1/host.wit")),
    ("store", include_str!("../../../../../wit/store-0.1.0/store.wit")),
];

/// What a project needs of WASI for HTTP where its language does not bring it, and its own world, which joins the two.
pub(super) const WASI_HTTP: &[Template] = templates!["wasi/" to "wit/": "plugin.wit"];
pub(super) const WASI_HTTP_WIT: &[Template] = templates!["wasi/": "http.wit", "io.wit", "clocks.wit"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_whole_sdk_is_there() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk/src");
        let mut found = BTreeSet::new();
        let mut folders = vec![sdk.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(format!("sdk/src/{}", path.strip_prefix(&sdk).unwrap().display()));
                }
            }
        }
        let known: BTreeSet<String> = SDK.iter().map(|(place, _)| (*place).to_owned()).collect();
        assert_eq!(known, found);
    }

    /// The SDK's own manifest takes its versions from the workspace; the one of projects says the same.
    #[test]
    fn the_sdk_of_a_project_needs_what_the_sdk_needs() {
        let read = |path: &str| -> toml::Table {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
            std::fs::read_to_string(path).unwrap().parse().unwrap()
        };
        let workspace = read("Cargo.toml");
        let sdk = read("plugins/sdk/Cargo.toml");
        let manifest = RUST_VERIFIER.iter().copied().flatten().find(|(place, _)| *place == "sdk/Cargo.toml");
        let project: toml::Table = manifest.unwrap().1.parse().unwrap();
        let wasm = |manifest: &toml::Table| {
            manifest["target"]["cfg(target_arch = \"wasm32\")"]["dependencies"].as_table().unwrap().clone()
        };
        let mut wanted = toml::Table::new();
        for name in sdk["dependencies"].as_table().unwrap().keys().chain(wasm(&sdk).keys()) {
            wanted.insert(name.clone(), workspace["workspace"]["dependencies"][name].clone());
        }
        let mut given = project["dependencies"].as_table().unwrap().clone();
        given.extend(wasm(&project));
        assert_eq!(given, wanted);
    }
}
