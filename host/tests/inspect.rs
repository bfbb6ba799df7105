//! `holdfast inspect --output json` is what its schema and its page say.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const SCHEMA: &str = include_str!("../docs/inspect.schema.json");
const PAGE: &str = include_str!("../docs/inspect.md");

fn sample(path: &str, directory: &Path) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let plain = directory.join(packed.file_stem().unwrap());
    let mut file = std::fs::File::create(&plain).unwrap();
    zstd::stream::copy_decode(std::fs::File::open(packed).unwrap(), &mut file).unwrap();
    plain
}

#[track_caller]
fn inspect(file: &Path, flags: &[&str], code: i32) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.env_clear().args(["--output", "json", "inspect"]).arg(file).args(flags).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// As the schema, but nothing is let through that it does not name.
fn closed(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties") {
        properties.as_object_mut().unwrap().values_mut().for_each(closed);
        schema["additionalProperties"] = false.into();
    }
    if let Some(items) = schema.get_mut("items") {
        closed(items);
    }
    if let Some(definitions) = schema.get_mut("$defs") {
        definitions.as_object_mut().unwrap().values_mut().for_each(closed);
    }
}

#[test]
fn what_is_printed_is_what_the_schema_says() {
    let mut schema: Value = serde_json::from_str(SCHEMA).unwrap();
    closed(&mut schema);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let check = |look: &Value| {
        let complaints: Vec<String> =
            validator.iter_errors(look).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    };
    let directory = tempfile::tempdir().unwrap();
    let of_kubernetes = sample("../tests/data/kubernetes-t2.db.zst", directory.path());
    let quick = inspect(&of_kubernetes, &["--quick"], 0);
    let full = inspect(&of_kubernetes, &["--details"], 0);
    let few = inspect(&of_kubernetes, &["--top", "2"], 0);
    let old = sample("snapshot/tests/data/etcd-3.4-tombstone.db.zst", directory.path());
    for look in [&quick, &full, &few, &inspect(&old, &["--details"], 0)] {
        check(look);
    }
    assert!(quick["sha256"].is_null() && quick["hash"] == full["hash"] && quick["hashkv"] == full["hashkv"]);
    assert!(quick.get("details").is_none());
    assert_eq!(few["details"]["largest"].as_array().unwrap().len(), 2);
    assert_eq!(full["details"]["largest"].as_array().unwrap().len(), 10);
    let kinds = &full["details"]["kinds"]["largest"];
    assert!(
        kinds.as_array().unwrap().iter().any(|kind| kind["name"] == "clusterroles.rbac.authorization.k8s.io")
    );

    // Damage is told in the same form.
    let mut bytes = std::fs::read(&of_kubernetes).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&of_kubernetes, &bytes).unwrap();
    let damaged = inspect(&of_kubernetes, &["--details"], 1);
    check(&damaged);
    assert_eq!(damaged["integrity"]["outcome"], "failed");
    assert!(!damaged["integrity"]["findings"].as_array().unwrap().is_empty());
}

#[test]
fn the_page_names_what_is_there() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let named = PAGE.split('`').skip(1).step_by(2);
    let flags = ["--quick", "--details", "--top N"];
    for flag in flags {
        assert!(PAGE.contains(&format!("| `{flag}` |")), "{flag}");
    }
    let first_column = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let fields: Vec<&str> =
        first_column.flat_map(|cell| cell.split("`, `")).map(|name| name.trim_matches('`')).collect();
    for field in fields.iter().filter(|field| !flags.contains(*field)) {
        assert!(schema["properties"].get(*field).is_some(), "`{field}` is not in the schema");
    }
    assert!(named.count() > 20);
}

#[test]
fn what_is_no_database_is_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("text");
    std::fs::write(&file, "no database").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    let output = command.env_clear().arg("inspect").arg(&file).args(["--top", "3"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}
