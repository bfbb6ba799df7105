//! Who may import what: the walls between the packages, read from cargo's own account of them.

use std::collections::BTreeMap;
use std::process::Command;

use holdfast_tests::tools;
use serde_json::Value;

/// The direct dependencies of each package of the workspace, those of its tests left out.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(tools::root());
    let metadata: Value = serde_json::from_slice(&tools::run(&mut command)).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let text = |value: &Value| value.as_str().expect("a name is text").to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("there is a list");
            let own = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
            (text(&package["name"]), own.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

fn importers(dependencies: &BTreeMap<String, Vec<String>>, imported: &str) -> Vec<String> {
    let imports = |list: &Vec<String>| list.iter().any(|name| name == imported);
    dependencies.iter().filter(|(_, list)| imports(list)).map(|(name, _)| name.clone()).collect()
}

#[test]
fn each_door_has_one_keeper() {
    let dependencies = dependencies();
    assert_eq!(importers(&dependencies, "wasmtime"), ["holdfast-runtime"]);
    assert_eq!(importers(&dependencies, "wasmtime-wasi"), ["holdfast-runtime"]);
    assert_eq!(importers(&dependencies, "wasmtime-wasi-http"), ["holdfast-runtime"]);
    // The tests fill a real etcd with it; the product has one door.
    assert_eq!(importers(&dependencies, "etcd-client"), ["holdfast", "holdfast-tests"]);
    assert_eq!(importers(&dependencies, "aws-sdk-s3"), ["holdfast"]);
    assert_eq!(importers(&dependencies, "holdfast-runtime"), ["holdfast"]);
    assert_eq!(importers(&dependencies, "etcd-snapshot"), ["holdfast", "holdfast-runtime"]);
    assert_eq!(importers(&dependencies, "kubernetes-objects"), ["holdfast"]);
}

#[test]
fn the_libraries_know_nothing_of_ours_and_no_network() {
    let dependencies = dependencies();
    for library in ["etcd-snapshot", "kubernetes-objects"] {
        for name in &dependencies[library] {
            let foreign =
                ["tokio", "hyper", "tonic", "etcd-client", "wasmtime", "toml"].contains(&name.as_str());
            assert!(!foreign && !name.starts_with("holdfast"), "{library} imports {name}");
        }
    }
}

#[test]
fn plugins_and_host_share_only_the_contract() {
    let dependencies = dependencies();
    let verifiers = ["required-keys", "kubernetes", "query", "drift"];
    let notifiers = ["webhook", "slack", "pagerduty", "alertmanager"];
    let others = ["smoke", "webdav", "holdfast-plugin"];
    for plugin in verifiers.into_iter().chain(notifiers).chain(others) {
        for name in &dependencies[plugin] {
            let host = ["holdfast", "holdfast-runtime", "etcd-snapshot"].contains(&name.as_str());
            assert!(!host, "{plugin} imports {name}");
        }
    }
}
