//! What the keys and values of a real cluster say of their objects, against what its API server said of the same objects at the
//! same revision.

use std::path::Path;

use etcd_snapshot::SnapshotFile;
use kubernetes_objects::{Completeness, DEFAULT_PREFIX, Object, ObjectKey, Stored, to_yaml};
use serde_json::Value;

const SNAPSHOTS: [&str; 2] = ["kubernetes-t1", "kubernetes-t2"];

fn unpack(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
    zstd::decode_all(std::fs::File::open(path).expect("the file is there")).expect("it unpacks")
}

fn truth(name: &str) -> Value {
    serde_json::from_slice(&unpack(&format!("{name}.truth.json.zst"))).expect("the truth is JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[test]
fn every_key_tells_the_object_that_the_api_server_listed() {
    for name in SNAPSHOTS {
        let file = SnapshotFile::from_bytes(unpack(&format!("{name}.db.zst"))).expect("it is a snapshot");
        let live = file.live().expect("the keys can be read");
        let truth = truth(name);
        let keys = truth["keys"].as_array().expect("the truth lists the keys");
        assert_eq!(live.len(), keys.len());
        let mut objects = 0;
        for expected in keys {
            let place = text(expected, "key");
            let key = ObjectKey::parse(DEFAULT_PREFIX, place.as_bytes());
            let key = key.unwrap_or_else(|| panic!("{place} is built like an object's key"));
            // An Event is served in two groups; the first listed is the one it is stored in.
            let Some(api) = expected["api"].as_array().and_then(|objects| objects.first()) else {
                assert!(!key.is_api_object(), "{place}");
                continue;
            };
            objects += 1;
            assert!(key.is_api_object(), "{place}");
            assert_eq!(key.resource, text(api, "resource"), "{place}");
            assert_eq!(key.group, Some(text(api, "group")), "{place}");
            assert!(key.kind.is_none_or(|kind| kind == text(api, "kind")), "{place}");
            assert_eq!(key.namespace.unwrap_or_default(), text(api, "namespace"), "{place}");
            assert_eq!(key.name, text(api, "name"), "{place}");
        }
        assert_eq!(Some(objects), truth["api_objects"].as_u64());
    }
}

#[test]
fn every_value_tells_the_object_that_the_api_server_listed() {
    for name in SNAPSHOTS {
        let file = SnapshotFile::from_bytes(unpack(&format!("{name}.db.zst"))).expect("it is a snapshot");
        let live = file.live().expect("the keys can be read");
        let (mut protobuf, mut json) = (0, 0);
        for expected in truth(name)["keys"].as_array().expect("the truth lists the keys") {
            let place = text(expected, "key");
            let entry = live.get(place.as_bytes()).expect("the key is live");
            let object = Object::decode(entry.value).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(object.completeness, Completeness::Whole, "{place}");
            match Stored::of(entry.value) {
                Stored::Protobuf => protobuf += 1,
                Stored::Json => json += 1,
                other => panic!("{place}: {other:?}"),
            }
            if let Some(api) = expected["api"].as_array().and_then(|objects| objects.first()) {
                assert_eq!(object.kind(), text(api, "kind"), "{place}");
                assert_eq!(object.group(), text(api, "group"), "{place}");
                assert_eq!(object.namespace(), text(api, "namespace"), "{place}");
                assert_eq!(object.name(), text(api, "name"), "{place}");
                assert_eq!(object.uid(), text(api, "uid"), "{place}");
            }
            for shown in [&object.json, &object.applicable()] {
                let yaml = to_yaml(shown);
                let read: Value =
                    serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{place}: {error}"));
                assert_eq!(&read, shown, "{place}");
            }
        }
        assert!(protobuf > 900 && json > 40, "{name} has {protobuf} of protobuf, {json} of JSON");
    }
}

/// Read through by hand when they were made. `UPDATE_GOLDEN=1` writes them anew.
#[test]
fn golden_objects() {
    let file = SnapshotFile::from_bytes(unpack("kubernetes-t2.db.zst")).expect("it is a snapshot");
    let live = file.live().expect("the keys can be read");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    for (name, prefix) in [
        ("secret", "/registry/secrets/"),
        ("configmap", "/registry/configmaps/web/"),
        ("deployment", "/registry/deployments/"),
        ("service", "/registry/services/specs/"),
        ("clusterrole", "/registry/clusterroles/system:basic-user"),
        ("definition", "/registry/apiextensions.k8s.io/customresourcedefinitions/"),
        ("custom-resource", "/registry/ops.sample.example/"),
        ("lease", "/registry/leases/"),
        ("event", "/registry/events/"),
        ("apiservice", "/registry/apiregistration.k8s.io/apiservices/"),
    ] {
        let position = live.prefix(prefix.as_bytes()).start;
        let entry = live.entry(position);
        assert!(entry.key.starts_with(prefix.as_bytes()), "there is no key with {prefix}");
        let mut object = Object::decode(entry.value).expect("it is an object");
        object.set_resource_version(entry.mod_revision);
        let yaml = format!("{}---\n{}", to_yaml(&object.json), to_yaml(&object.applicable()));
        let golden = directory.join(format!("{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &yaml).expect("a file can be written");
        }
        assert_eq!(std::fs::read_to_string(&golden).expect("the file is there"), yaml, "{name}");
    }
}
