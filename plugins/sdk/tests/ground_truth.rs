//! The Kubernetes helpers against a real cluster: for every live key of two snapshots, what they say of it must be what
//! the API server said of the same object at the same revision.

mod support;

use holdfast_plugin::SnapshotSource;
use holdfast_plugin::kubernetes::{Encoding, ObjectKey, Stored, parse, resource_of};
use serde_json::Value;

const SNAPSHOTS: [&str; 2] = ["kubernetes-t1", "kubernetes-t2"];

fn truth(name: &str) -> Value {
    serde_json::from_slice(&support::unpack(&format!("{name}.truth.json.zst"))).expect("the truth is JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[test]
fn every_object_is_what_the_api_server_said_it_was() {
    for name in SNAPSHOTS {
        let snapshot = support::snapshot(name);
        let truth = truth(name);
        let keys = truth["keys"].as_array().expect("the truth lists the keys");
        assert_eq!(snapshot.live_keys().ok(), Some(keys.len() as u64));
        let mut objects = 0;
        for expected in keys {
            let row =
                snapshot.get(text(expected, "key").as_bytes()).expect("reads").expect("the key is live");
            assert_eq!(row.mod_revision, expected["mod_revision"].as_i64().unwrap_or_default());
            match expected["api"].as_array().and_then(|objects| objects.first()) {
                Some(api) => {
                    check_object(&row.key, &row.value, api);
                    objects += 1;
                }
                None => check_servers_own(&row.key, &row.value),
            }
        }
        assert_eq!(Some(objects), truth["api_objects"].as_u64());
    }
}

fn check_object(row_key: &[u8], value: &[u8], api: &Value) {
    let place = String::from_utf8_lossy(row_key);
    let key = ObjectKey::parse("/registry", row_key).unwrap_or_else(|| panic!("{place} is an object's key"));
    let Ok(Stored::Object(object)) = parse(value) else { panic!("{place} holds an object") };

    assert_eq!(object.kind, text(api, "kind"), "{place}");
    assert_eq!(object.namespace, text(api, "namespace"), "{place}");
    assert_eq!(object.name, text(api, "name"), "{place}");
    assert_eq!(object.uid, text(api, "uid"), "{place}");
    assert_eq!(object.group(), text(api, "group"), "{place}");

    assert!(key.is_api_object(), "{place}");
    assert!(key.agrees_with(&object), "{place}");
    assert_eq!(key.resource, text(api, "resource"), "{place}");
    assert_eq!(key.namespace.unwrap_or_default(), text(api, "namespace"), "{place}");
    assert_eq!(key.name, text(api, "name"), "{place}");
    assert!(key.group.is_none_or(|group| group == text(api, "group")), "{place}");
    assert!(key.is_of_kind(text(api, "kind"), Some(text(api, "group"))), "{place}");
    assert_eq!(resource_of(text(api, "kind")), text(api, "resource"), "{place}");
}

fn check_servers_own(row_key: &[u8], value: &[u8]) {
    let place = String::from_utf8_lossy(row_key);
    let key = ObjectKey::parse("/registry", row_key).unwrap_or_else(|| panic!("{place} is built like a key"));
    assert!(!key.is_api_object(), "{place}");
    let Ok(Stored::Object(object)) = parse(value) else { panic!("{place} is encoded like an object") };
    assert_eq!((&*object.name, &*object.uid), ("", ""), "{place}");
}

#[test]
fn encodings_and_labels_are_as_stored() {
    for name in SNAPSHOTS {
        let snapshot = support::snapshot(name);
        let (mut protobuf, mut json, mut labelled) = (0_u64, 0_u64, 0_u64);
        for row in snapshot.iter() {
            let Ok(Stored::Object(object)) = parse(&row.value) else { panic!("every value is an object") };
            match object.encoding {
                Encoding::Protobuf => protobuf += 1,
                Encoding::Json => json += 1,
            }
            // Every namespace is given this label by the API server itself.
            if object.kind == "Namespace" {
                assert_eq!(object.label("kubernetes.io/metadata.name"), Some(&*object.name));
                labelled += 1;
            }
        }
        let encodings = &truth(name)["value_encodings"];
        assert_eq!(Some(protobuf), encodings["k8s-protobuf"].as_u64());
        assert_eq!(Some(json), encodings["json"].as_u64());
        assert_eq!(labelled, 9);
    }
}

/// A value that lost its end is never taken for whole, wherever it was cut, unless the cut fell between two fields of
/// the envelope: what is left is a whole message then.
#[test]
fn a_cut_value_is_found() {
    let snapshot = support::snapshot("kubernetes-t1");
    for row in snapshot.iter().step_by(7) {
        for end in (5..row.value.len()).step_by(11) {
            let Ok(Stored::Object(object)) = parse(&row.value[..end]) else { continue };
            let is_json = object.encoding == Encoding::Json;
            // JSON ends in a newline that nothing depends on; of protobuf the last two fields are empty, and a cut
            // right behind the type leaves an object without a name.
            let is_harmless = if is_json { end + 1 == row.value.len() } else { end + 4 >= row.value.len() };
            assert!(is_harmless || object.name.is_empty(), "{} at {end}", String::from_utf8_lossy(&row.key));
        }
    }
}
