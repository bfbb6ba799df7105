//! A stored value, and the object in it.

use serde_json::{Map, Value};

use crate::decode::Decoder;
use crate::error::DecodeError;
use crate::schema::Schema;
use crate::wire::{WireField, fields, last};

/// The head of values encrypted at rest: apiserver `pkg/storage/value`.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// The head of protobuf values: apimachinery `pkg/runtime/serializer/protobuf`.
const PROTOBUF: &[u8] = b"k8s\0";

/// How a value is stored, going by its first bytes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Protobuf in an envelope: built-in kinds.
    Protobuf,
    /// JSON: custom resources, and a few built-in kinds.
    Json,
    /// Encrypted at rest.
    Encrypted(Encryption<'a>),
    /// Anything else.
    Unknown,
}

/// What the head of an encrypted value says: `k8s:enc:PROVIDER:VERSION:KEY:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption<'a> {
    /// E.g. `aescbc`, `aesgcm`, `secretbox`, `kms`.
    pub provider: &'a str,
    /// E.g. `v1`.
    pub version: &'a str,
    /// The name of the key, or of the KMS plugin, in the API server's configuration.
    pub key_name: &'a str,
    /// What is encrypted.
    pub sealed: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Looks at the head of a value. One that begins as an encrypted value and does not go on as one is unknown.
    pub fn of(value: &'a [u8]) -> Self {
        if let Some(head) = value.strip_prefix(ENCRYPTED) {
            return encryption(head).map_or(Self::Unknown, Self::Encrypted);
        }
        if value.starts_with(PROTOBUF) {
            Self::Protobuf
        } else if value.trim_ascii_start().first() == Some(&b'{') {
            Self::Json
        } else {
            Self::Unknown
        }
    }
}

/// `PROVIDER:VERSION:KEY:`, and then at least something.
fn encryption(head: &[u8]) -> Option<Encryption<'_>> {
    let mut parts = head.splitn(4, |byte| *byte == b':');
    let mut part = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (provider, version, key_name) = (part()?, part()?, part()?);
    let sealed = parts.next()?;
    let is_whole = !provider.is_empty() && !version.is_empty() && !sealed.is_empty();
    is_whole.then_some(Encryption { provider, version, key_name, sealed })
}

/// How much of an object could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// All of it.
    Whole,
    /// All but fields that this library does not know: the object was written by another version of Kubernetes.
    UnknownFields(usize),
    /// Only what every object has: the kind is not known.
    MetadataOnly,
}

/// An object as the API server would show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// All of it: `apiVersion`, `kind`, `metadata` and the rest.
    pub json: Value,
    /// How much of it that is.
    pub completeness: Completeness,
}

impl Object {
    /// Reads a stored value.
    ///
    /// # Errors
    /// When it is encrypted, no object, or broken. The metadata of kinds that are not known is read.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let object = match Stored::of(value) {
            Stored::Protobuf => protobuf(value)?,
            Stored::Json => json(value)?,
            Stored::Encrypted(encryption) => {
                return Err(DecodeError::Encrypted {
                    provider: encryption.provider.to_owned(),
                    key_name: encryption.key_name.to_owned(),
                });
            }
            Stored::Unknown if value.starts_with(ENCRYPTED) => return Err(DecodeError::Encryption),
            Stored::Unknown => return Err(DecodeError::NotAnObject),
        };
        if object.kind().is_empty() {
            return Err(DecodeError::Missing("kind"));
        }
        if object.api_version().is_empty() {
            return Err(DecodeError::Missing("apiVersion"));
        }
        Ok(object)
    }

    /// Group and version, e.g. `apps/v1`; `v1` for the core group.
    pub fn api_version(&self) -> &str {
        text(&self.json, "apiVersion")
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// Its kind, e.g. `Deployment`.
    pub fn kind(&self) -> &str {
        text(&self.json, "kind")
    }

    /// Its namespace; empty for kinds of the whole cluster.
    pub fn namespace(&self) -> &str {
        text(self.metadata(), "namespace")
    }

    /// Its name; empty for what the API server keeps beside the objects.
    pub fn name(&self) -> &str {
        text(self.metadata(), "name")
    }

    /// Its uid; empty for what the API server keeps beside the objects.
    pub fn uid(&self) -> &str {
        text(self.metadata(), "uid")
    }

    /// Its labels, in order of their names.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        texts(&self.metadata()["labels"])
    }

    /// Its annotations, in order of their names.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        texts(&self.metadata()["annotations"])
    }

    /// Its metadata; null when there is none.
    pub fn metadata(&self) -> &Value {
        &self.json["metadata"]
    }

    /// Says the version of the object as the API server does: the revision at which its key was changed last. It is not stored in
    /// the value.
    pub fn set_resource_version(&mut self, mod_revision: i64) {
        if let Some(Value::Object(metadata)) = self.json.get_mut("metadata") {
            metadata.insert("resourceVersion".to_owned(), Value::String(mod_revision.to_string()));
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

fn json(value: &[u8]) -> Result<Object, DecodeError> {
    let json: Map<String, Value> =
        serde_json::from_slice(value).map_err(|error| DecodeError::json(&error))?;
    Ok(Object { json: Value::Object(json), completeness: Completeness::Whole })
}

/// `runtime.Unknown`: 1 typeMeta (1 apiVersion, 2 kind), 2 raw, 3 contentEncoding, 4 contentType.
fn protobuf(value: &[u8]) -> Result<Object, DecodeError> {
    let envelope = fields(value.get(PROTOBUF.len()..).unwrap_or_default(), PROTOBUF.len())?;
    let type_meta = last(&envelope, 1).map(WireField::message).transpose()?.unwrap_or_default();
    let word = |number| last(&type_meta, number).map(WireField::text).transpose();
    let (api_version, kind) = (word(1)?.unwrap_or_default(), word(2)?.unwrap_or_default());
    for number in [3, 4] {
        if let Some(field) = last(&envelope, number)
            && !field.bytes()?.is_empty()
        {
            return Err(field.broken("the object has an encoding of its own"));
        }
    }
    let raw = last(&envelope, 2).map(WireField::message).transpose()?.unwrap_or_default();
    let schema = Schema::get();
    let mut decoder = Decoder::new(schema, value.len());
    let known = schema.kind(&api_version, &kind);
    let mut object = match known {
        Some(message) => decoder.object(message, &raw)?,
        None => Map::from_iter([("metadata".to_owned(), decoder.metadata(&raw)?)]),
    };
    let completeness = match decoder.unknown_fields {
        _ if known.is_none() => Completeness::MetadataOnly,
        0 => Completeness::Whole,
        count => Completeness::UnknownFields(count),
    };
    object.insert("apiVersion".to_owned(), Value::String(api_version));
    object.insert("kind".to_owned(), Value::String(kind));
    Ok(Object { json: Value::Object(object), completeness })
}
