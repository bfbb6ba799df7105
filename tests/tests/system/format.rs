//! What is written into a repository is what its schema says.

use std::collections::BTreeSet;

use holdfast_tests::site::{files_below, new_identity, quoted_path};
use holdfast_tests::{Cluster, Site};
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../../host/docs/repository.schema.json");

/// The schema of one kind of document, as it stands or with nothing let through that it does not name.
fn validator(kind: &str, is_closed: bool) -> jsonschema::Validator {
    let mut schema: Value = serde_json::from_str(SCHEMA).expect("sound");
    schema.as_object_mut().expect("sound").remove("oneOf");
    schema["$ref"] = json!(format!("#/$defs/{kind}"));
    if is_closed {
        schema["$defs"].as_object_mut().expect("sound").values_mut().for_each(closed);
    }
    jsonschema::draft202012::new(&schema).expect("sound")
}

fn closed(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties") {
        properties.as_object_mut().expect("sound").values_mut().for_each(closed);
        schema["additionalProperties"] = false.into();
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner).filter(|inner| inner.is_object()) {
            closed(inner);
        }
    }
}

fn complaints(document: &Value, kind: &str, is_closed: bool) -> Vec<String> {
    let told = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator(kind, is_closed).iter_errors(document).map(told).collect()
}

fn kind_of(document: &Value) -> String {
    let format = document["format"].as_str().expect("a document names its format");
    format.strip_prefix("holdfast-").and_then(|rest| rest.strip_suffix("/1")).expect("version 1").to_owned()
}

#[test]
fn what_is_written_is_what_the_schema_says() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let site = Site::of(&cluster).encrypted();
    let key = site.path("signing.key");
    site.holdfast(&["key", "signing", &key.display().to_string(), "--no-password"]).exits(0);
    let site = site.set("signing", "key_file", &quoted_path(&key)).set("retention", "last", "2");
    site.backup();
    // A later edition, pins of both kinds, a proof, one that came to no verdict, and a check.
    let new = site.path("new.key");
    let recipient = new_identity(&new);
    let keys = format!("[{}, {}]", quoted_path(&site.identity()), quoted_path(&new));
    let site = site.set("backup.pack", "recipients", &format!("[\"{recipient}\"]")).set(
        "decrypt",
        "identity_files",
        &keys,
    );
    cluster.put("/a", "2");
    site.backup();
    for arguments in [
        &["rekey", "--all"][..],
        &["pin", "latest", "--reason", "a test", "--until", "90d"],
        &["unpin", "latest"],
        &["verify", "latest"],
        &["check", "--read-data"],
        &["backup"],
        &["prune"],
    ] {
        site.holdfast(arguments).exits(0);
    }
    let site = site.set("decrypt", "identity_files", "[]");
    site.holdfast(&["verify", "latest"]).exits(1);

    let whole = jsonschema::draft202012::new(&serde_json::from_str(SCHEMA).expect("sound")).expect("sound");
    let mut kinds = BTreeSet::new();
    let documents = files_below(&site.store());
    for file in documents.iter().filter(|file| file.extension().is_some_and(|end| end == "json")) {
        let document: Value = serde_json::from_slice(&std::fs::read(file).expect("sound")).expect("sound");
        let kind = kind_of(&document);
        assert_eq!(complaints(&document, &kind, true), [""; 0], "{}", file.display());
        assert!(whole.is_valid(&document), "{}: fits no one kind", file.display());
        kinds.insert(kind);
    }
    let all = ["check", "inventory", "manifest", "pin", "record", "repository"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn what_a_release_wrote_fits_the_schema_and_what_does_not_is_told() {
    let text = include_str!("../../../host/src/catalog/testdata/manifest-1.json");
    let manifest: Value = serde_json::from_str(text).expect("sound");
    assert_eq!(complaints(&manifest, "manifest", true), [""; 0]);
    let changed = |field: &str, value: Value| {
        let mut changed = manifest.clone();
        *changed.pointer_mut(field).expect("sound") = value;
        changed
    };
    for (field, value) in [
        ("/format", json!("holdfast-manifest/2")),
        ("/id", json!("latest")),
        ("/stored/path", json!("../../etc/passwd")),
        ("/stored/sha256", json!("00")),
        ("/plain/size_bytes", json!(-1)),
        ("/pack/recipients", json!(["age1x"])),
        ("/cluster/id", json!(7)),
        ("/started", json!("yesterday")),
    ] {
        assert!(!complaints(&changed(field, value), "manifest", false).is_empty(), "{field} was let through");
    }
    // Later releases may add fields.
    let mut later = manifest;
    later["added"] = json!({});
    assert_eq!(complaints(&later, "manifest", false), [""; 0]);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let site = Site::of(&cluster).set("retention", "last", "1");
    site.backup();
    let folder = site.backups().remove(0);
    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).expect("sound");
    std::fs::write(&manifest, text.replace("holdfast-manifest/1", "holdfast-manifest/2")).expect("sound");
    let id = folder.file_name().expect("sound").to_string_lossy().into_owned();
    let newer = ["has format `holdfast-manifest/2`", "this release reads `holdfast-manifest/1`"];
    site.holdfast(&["verify", &id]).exits(2).explains(&newer);
    site.holdfast(&["list"]).exits(2).says(&newer);
    let prune = site.holdfast(&["prune"]);
    prune.exits(2).says(&["nothing is removed"]);
    site.holdfast(&["sync", "--to", "local"]).exits(0);
    assert!(manifest.exists());

    std::fs::write(&manifest, text).expect("sound");
    let repository = site.store().join("repository.json");
    let text = std::fs::read_to_string(&repository).expect("sound");
    std::fs::write(&repository, text.replace("repository/1", "repository/2")).expect("sound");
    site.holdfast(&["backup"]).exits(2).explains(&["has format `holdfast-repository/2`"]);
}
