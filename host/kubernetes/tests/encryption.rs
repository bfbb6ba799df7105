//! Values that Kubernetes' own code encrypted, opened with a configuration as an API server has it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kubernetes_objects::{ConfigurationError, DecodeError, Keys, Object, UnsealError};
use serde_json::Value;

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encrypted.json");
    serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("it is JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("it is text")
}

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    BASE64.decode(text(value, name)).expect("it is base64")
}

/// A configuration with all keys of the vectors, as an operator writes it.
fn configuration(vectors: &Value) -> String {
    let mut yaml = String::from(
        "# rotated in spring\napiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources: \
         [secrets, configmaps]\n    providers:\n",
    );
    for vector in vectors["vectors"].as_array().expect("there is a list") {
        let entry = [
            ("    - ", "provider", ":\n"),
            ("        keys:\n        - name: ", "name", "\n"),
            ("          secret: ", "secret", "\n"),
        ];
        for (before, name, behind) in entry {
            yaml.extend([before, text(vector, name), behind]);
        }
    }
    yaml + "    - kms:\n        apiVersion: v2\n        name: vault\n        endpoint: unix:///run/kms.sock\n    - identity: {}\n"
}

#[test]
fn every_provider_and_length_of_key_opens() {
    let vectors = vectors();
    let (key, plain) = (text(&vectors, "etcd_key").as_bytes(), bytes(&vectors, "plain"));
    let keys = Keys::from_configuration(&configuration(&vectors)).expect("it is a configuration");
    let list = vectors["vectors"].as_array().expect("there is a list");
    assert_eq!(list.len(), 7);
    for vector in list {
        let sealed = bytes(vector, "value");
        assert_eq!(keys.unseal(key, &sealed).as_deref(), Ok(plain.as_slice()), "{vector}");
        let encrypted = Object::decode(&sealed).expect_err("it is encrypted");
        assert!(matches!(encrypted, DecodeError::Encrypted { .. }), "{encrypted}");
        assert_eq!(Object::decode(&plain).map(|object| object.kind().to_owned()), Ok("Secret".to_owned()));
    }
    assert_eq!(keys.unseal(key, &plain).as_deref(), Ok(plain.as_slice()), "what is not encrypted stays");
}

#[test]
fn what_does_not_open_says_why_and_shows_nothing() {
    let vectors = vectors();
    let key = text(&vectors, "etcd_key").as_bytes();
    let keys = Keys::from_configuration(&configuration(&vectors)).expect("it is a configuration");
    for vector in vectors["vectors"].as_array().expect("there is a list") {
        let (provider, name) = (text(vector, "provider").to_owned(), text(vector, "name").to_owned());
        let refused = UnsealError::Refused { provider: provider.clone(), key_name: name.clone() };
        let sealed = bytes(vector, "value");
        for end in sealed.len() - 20..sealed.len() {
            let cut = keys.unseal(key, &sealed[..end]);
            assert_eq!(cut, Err(refused.clone()), "{provider} {name} cut at {end}");
        }
        if provider == "aesgcm" {
            assert_eq!(keys.unseal(b"/registry/secrets/web/other", &sealed), Err(refused.clone()));
        }
        let empty =
            Keys::from_configuration("kind: EncryptionConfiguration").expect("it is one without keys");
        assert_eq!(empty.unseal(key, &sealed), Err(UnsealError::NoKey { provider, key_name: name }));
        assert!(!format!("{keys:?}").contains(text(vector, "secret")));
    }
    for version in ["v1", "v2"] {
        let value = format!("k8s:enc:kms:{version}:vault:sealed");
        assert_eq!(keys.unseal(key, value.as_bytes()), Err(UnsealError::Kms { plugin: "vault".to_owned() }));
    }
}

#[test]
fn keys_of_one_name_are_all_tried() {
    let vectors = vectors();
    let gcm = vectors["vectors"].as_array().expect("there is a list");
    let vector = gcm.iter().find(|vector| vector["provider"] == "aesgcm").expect("there is one");
    let group = |secret: &str| {
        serde_json::json!({
            "resources": ["secrets"],
            "providers": [{ "aesgcm": { "keys": [{ "name": vector["name"], "secret": secret }] } }]
        })
    };
    let resources = [group(&BASE64.encode([7; 32])), group(text(vector, "secret"))];
    let json = serde_json::json!({ "kind": "EncryptionConfiguration", "resources": resources }).to_string();
    let keys = Keys::from_configuration(&json).expect("JSON is read too");
    let key = text(&vectors, "etcd_key").as_bytes();
    assert_eq!(keys.unseal(key, &bytes(vector, "value")).as_deref(), Ok(bytes(&vectors, "plain").as_slice()));
}

#[test]
fn wrong_configurations_are_refused_without_quoting_them() {
    let key = |provider: &str, secret: &str| {
        format!("resources: [{{providers: [{{{provider}: {{keys: [{{name: one, secret: {secret}}}]}}}}]}}]")
    };
    let name = || "one".to_owned();
    let refused = |text: &str| Keys::from_configuration(text).expect_err("it is refused");
    assert_eq!(
        refused(&key("aescbc", "'hunter2!'")),
        ConfigurationError::NotBase64 { provider: "aescbc", name: name() }
    );
    assert_eq!(
        refused(&key("aesgcm", "aHVudGVyMg==")),
        ConfigurationError::Length { provider: "aesgcm", name: name(), bytes: 7 }
    );
    let sixteen = BASE64.encode([1; 16]);
    assert_eq!(
        refused(&key("secretbox", &sixteen)),
        ConfigurationError::Length { provider: "secretbox", name: name(), bytes: 16 }
    );
    assert_eq!(refused("kind: Secret"), ConfigurationError::Kind("Secret".to_owned()));
    for text in [
        "resources: hunter2",
        "hunter2: [",
        "- hunter2",
        "resources: [{providers: [{aescbc: {keys: [hunter2]}}]}]",
    ] {
        let error = refused(text);
        assert!(matches!(error, ConfigurationError::Form { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
