//! What Kubernetes keeps in etcd: which object a key is for, and what a value says of its object.
//!
//! An API server stores one object under one key, `PREFIX/RESOURCE[/NAMESPACE]/NAME` ([`ObjectKey`]), in one of three
//! ways: protobuf in an envelope, JSON, or encrypted at rest ([`parse`]). These helpers read what every object has
//! (its kind, its names, its labels) and leave the rest alone.
//!
//! Nothing here ever puts a value's content into an error: the value may be a Secret.

mod json;
mod key;
mod protobuf;

pub use key::{ObjectKey, resource_of};

use std::borrow::Cow;

/// How the value of a key is stored, and what could be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<'a> {
    /// An object that can be read.
    Object(Object<'a>),
    /// Encrypted at rest: without the API server's key nothing can be said of the object.
    Encrypted(Encryption<'a>),
    /// None of the ways in which an API server stores objects.
    Unknown,
}

/// The two encodings of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// The envelope `k8s\0`, for built-in kinds.
    Protobuf,
    /// JSON, for custom resources and a few others.
    Json,
}

/// What every object says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<'a> {
    /// How it is stored.
    pub encoding: Encoding,
    /// Group and version, e.g. `apps/v1`; `v1` for the core group.
    pub api_version: Cow<'a, str>,
    /// Its kind, e.g. `Deployment`.
    pub kind: Cow<'a, str>,
    /// Its namespace; empty for kinds of the whole cluster.
    pub namespace: Cow<'a, str>,
    /// Its name; empty for what is stored beside the objects, such as `ranges`.
    pub name: Cow<'a, str>,
    /// Its uid; empty for what is stored beside the objects.
    pub uid: Cow<'a, str>,
    /// Its labels.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Object<'_> {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }
}

/// What the head of an encrypted value says: `k8s:enc:PROVIDER:VERSION:KEY:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption<'a> {
    /// E.g. `aescbc`, `aesgcm`, `secretbox`, `kms`.
    pub provider: &'a str,
    /// E.g. `v1`.
    pub version: &'a str,
    /// The name of the key, or of the KMS plugin, in the API server's config.
    pub key_name: &'a str,
}

/// Why a value that claims to be an object is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The protobuf breaks off or contradicts itself.
    #[error("broken protobuf at byte {offset}: {reason}")]
    Protobuf {
        /// Bytes from the start of the value.
        offset: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// It is not JSON, or not that of an object.
    #[error("broken JSON at line {line}, column {column}: {reason}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// It begins as an encrypted value does, and does not go on as one.
    #[error("broken head of an encrypted value")]
    Encryption,
    /// It does not say what it is.
    #[error("says no `{0}`")]
    Missing(&'static str),
}

/// The head of values encrypted at rest.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// The head of protobuf values: apimachinery `runtime/serializer/protobuf`.
const PROTOBUF: &[u8] = b"k8s\0";

/// Whether a value is encrypted at rest, going by its first bytes alone.
pub fn is_encrypted(value: &[u8]) -> bool {
    value.starts_with(ENCRYPTED)
}

/// Reads what a stored value says of its object.
///
/// The envelope, the metadata and the outline of the rest are checked; the fields of the kind itself are not known here.
///
/// # Errors
/// When the value begins as an object does and is broken further on.
pub fn parse(value: &[u8]) -> Result<Stored<'_>, DecodeError> {
    if let Some(head) = value.strip_prefix(ENCRYPTED) {
        return encryption(head).map(Stored::Encrypted).ok_or(DecodeError::Encryption);
    }
    let object = if let Some(envelope) = value.strip_prefix(PROTOBUF) {
        protobuf::object(envelope, PROTOBUF.len())?
    } else if value.trim_ascii_start().first() == Some(&b'{') {
        json::object(value)?
    } else {
        return Ok(Stored::Unknown);
    };
    if object.kind.is_empty() {
        return Err(DecodeError::Missing("kind"));
    }
    if object.api_version.is_empty() {
        return Err(DecodeError::Missing("apiVersion"));
    }
    Ok(Stored::Object(object))
}

/// `PROVIDER:VERSION:KEY:`, and then at least something.
fn encryption(head: &[u8]) -> Option<Encryption<'_>> {
    let mut parts = head.splitn(4, |byte| *byte == b':');
    let mut part = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let encryption = Encryption { provider: part()?, version: part()?, key_name: part()? };
    let sealed = parts.next()?;
    let is_whole = !encryption.provider.is_empty() && !encryption.version.is_empty() && !sealed.is_empty();
    is_whole.then_some(encryption)
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, Encoding, Encryption, Stored, parse};

    #[test]
    fn encrypted_values_say_by_what() {
        let value = b"k8s:enc:aescbc:v1:key-2026:\x00\xff\x8a:more";
        let expected = Encryption { provider: "aescbc", version: "v1", key_name: "key-2026" };
        assert_eq!(parse(value), Ok(Stored::Encrypted(expected)));
        for broken in [&b"k8s:enc:"[..], b"k8s:enc:aescbc", b"k8s:enc:aescbc:v1:key:", b"k8s:enc::v1:key:x"] {
            assert_eq!(parse(broken), Err(DecodeError::Encryption));
        }
    }

    #[test]
    fn other_values_are_unknown() {
        for value in [&b""[..], b"42", b"k8s", b"\x00\x01", b"plain text"] {
            assert_eq!(parse(value), Ok(Stored::Unknown));
        }
    }

    #[test]
    fn an_object_must_say_what_it_is() {
        let named = br#"{"apiVersion": "a.example/v1", "kind": "Thing", "metadata": {"name": "x"}}"#;
        let Ok(Stored::Object(object)) = parse(named) else { panic!("it is an object") };
        assert_eq!((object.encoding, object.group(), &*object.kind), (Encoding::Json, "a.example", "Thing"));
        assert_eq!(parse(br#"{"kind": "Thing"}"#), Err(DecodeError::Missing("apiVersion")));
        assert_eq!(parse(b"{}"), Err(DecodeError::Missing("kind")));
        assert_eq!(parse(b"k8s\0"), Err(DecodeError::Missing("kind")));
    }
}
