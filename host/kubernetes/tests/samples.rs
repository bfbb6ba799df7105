//! Objects of every kind, as Kubernetes' own code encoded them, against the JSON that the same code made of them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kubernetes_objects::{Completeness, Object, to_yaml};
use serde_json::Value;

fn samples() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/samples.jsonl.zst");
    let text = zstd::decode_all(std::fs::File::open(path).expect("the file is there")).expect("it unpacks");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("each line is JSON")).collect()
}

fn stored(sample: &Value) -> Vec<u8> {
    BASE64.decode(sample["stored"].as_str().expect("it is text")).expect("it is base64")
}

#[test]
fn every_object_is_shown_as_kubernetes_shows_it() {
    let samples = samples();
    assert!(samples.len() > 100, "there are samples of every kind");
    for sample in samples {
        let stored = stored(&sample);
        let expected = &sample["object"];
        let what = format!("{} {}", expected["apiVersion"], expected["kind"]);
        let object = Object::decode(&stored).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(object.completeness, Completeness::Whole, "{what}");
        if let Some(place) = difference(&object.json, expected, "") {
            panic!("{what}: {place}");
        }
    }
}

#[test]
fn no_cut_and_no_wrong_byte_is_a_panic() {
    for sample in samples().iter().step_by(17) {
        let stored = stored(sample);
        let step = stored.len() / 60 + 1;
        for place in (0..stored.len()).step_by(step) {
            let _ = Object::decode(&stored[..place]);
            for byte in [0, 0x7f, 0x80, 0xff, stored[place].wrapping_add(1), stored[place] ^ 0x08] {
                let mut broken = stored.clone();
                broken[place] = byte;
                if let Ok(object) = Object::decode(&broken) {
                    let _ = (to_yaml(&object.applicable()), object.labels().count());
                }
            }
        }
    }
}

#[test]
fn kinds_that_are_not_known_show_their_metadata() {
    for sample in samples() {
        let (stored, expected) = (stored(&sample), &sample["object"]);
        let kind = expected["kind"].as_str().expect("it is text");
        let Some(place) = stored.windows(kind.len()).position(|window| window == kind.as_bytes()) else {
            panic!("the envelope says the kind")
        };
        let mut unknown = stored.clone();
        unknown[place] = b'X';
        let object = Object::decode(&unknown).expect("it is an object");
        assert_eq!(object.completeness, Completeness::MetadataOnly);
        assert_eq!(object.metadata(), &expected["metadata"]);
    }
}

#[test]
fn fields_of_a_newer_kubernetes_are_counted() {
    // A ConfigMap of empty metadata and a field 200.
    let object = Object::decode(b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x05\x0a\0\xc0\x0c\x01")
        .expect("it is an object");
    assert_eq!(object.completeness, Completeness::UnknownFields(1));
}

#[test]
fn a_small_value_does_not_unfold_without_end() {
    // A Pod whose spec is 100,000 empty containers, two bytes each.
    let containers = [0x12, 0x00].repeat(100_000);
    let field = |number: u8, content: &[u8]| {
        let mut field = vec![number << 3 | 2];
        let mut len = content.len();
        while len > 0x7f {
            field.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        field.push(len as u8);
        [field.as_slice(), content].concat()
    };
    let pod = field(2, &containers);
    let head = field(1, &[field(1, b"v1"), field(2, b"Pod")].concat());
    let value = [b"k8s\0".to_vec(), head, field(2, &pod)].concat();
    let error = Object::decode(&value).expect_err("it is too much").to_string();
    assert!(error.contains("unfolds to too many fields"), "{error}");
}

/// Where two values differ first.
fn difference(found: &Value, expected: &Value, place: &str) -> Option<String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let names = found.keys().chain(expected.keys());
            names.into_iter().find_map(|name| match (found.get(name), expected.get(name)) {
                (Some(found), Some(expected)) => difference(found, expected, &format!("{place}.{name}")),
                (found, expected) => Some(format!("{place}.{name}: {found:?}, expected {expected:?}")),
            })
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            let pairs = found.iter().zip(expected).enumerate();
            pairs.into_iter().find_map(|(index, (a, b))| difference(a, b, &format!("{place}[{index}]")))
        }
        (found, expected) if found == expected => None,
        (found, expected) => Some(format!("{place}: {found}, expected {expected}")),
    }
}
