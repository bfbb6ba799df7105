//! Objects stored as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::{DecodeError, Encoding, Object};

/// The part that every object has. All of the value is parsed, so a value that breaks off is found.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

#[derive(Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

pub(super) fn object(value: &[u8]) -> Result<Object<'_>, DecodeError> {
    let envelope: Envelope<'_> = serde_json::from_slice(value).map_err(|error| broken(&error))?;
    let metadata = envelope.metadata;
    let labels = metadata.labels.unwrap_or_default();
    Ok(Object {
        encoding: Encoding::Json,
        api_version: envelope.api_version,
        kind: envelope.kind,
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    })
}

/// The parser's own message can quote the value, so only its category and place are passed on.
fn broken(error: &serde_json::Error) -> DecodeError {
    let reason = match error.classify() {
        serde_json::error::Category::Eof => "it breaks off",
        serde_json::error::Category::Data => "a field has the wrong type",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
    };
    DecodeError::Json { line: error.line(), column: error.column(), reason }
}

#[cfg(test)]
mod tests {
    use super::object;

    const TENANT: &str = r#"{"apiVersion":"ops.sample.example/v1","kind":"Tenant","metadata":{"labels":{"tier":"gold"},
        "name":"acme","namespace":"web","uid":"1f86"},"spec":{"note":"a \"quoted\" word"}}"#;

    #[test]
    fn the_metadata_is_read() {
        let tenant = object(TENANT.as_bytes()).expect("is JSON");
        assert_eq!((&*tenant.namespace, &*tenant.name, &*tenant.uid), ("web", "acme", "1f86"));
        assert_eq!(tenant.group(), "ops.sample.example");
        assert_eq!(tenant.label("tier"), Some("gold"));
        assert_eq!(tenant.label("team"), None);
    }

    #[test]
    fn every_cut_is_found_and_no_message_quotes_the_value() {
        for end in 1..TENANT.len() {
            let error = object(&TENANT.as_bytes()[..end]).expect_err("breaks off").to_string();
            assert!(error.ends_with("it breaks off"), "{end}: {error}");
        }
        let error = object(br#"{"kind": {"password": "hunter2"}}"#).expect_err("not a text").to_string();
        assert_eq!(error, "broken JSON at line 1, column 9: a field has the wrong type");
    }

    #[test]
    fn labels_may_be_null() {
        let value = br#"{"apiVersion":"v1","kind":"A","metadata":{"labels":null,"name":"\u0061"}}"#;
        let object = object(value).expect("is JSON");
        assert_eq!((&*object.name, object.labels.len()), ("a", 0));
    }
}
