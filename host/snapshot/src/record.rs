//! Records: one change of one key, an item of the `key` bucket.

use crate::bolt::LeafItem;
use crate::error::ReadError;
use crate::proto::KeyValueMessage;
use crate::revision::Revision;

/// The name of the bucket that holds the records.
pub(crate) const KEY_BUCKET: &str = "key";

/// A key with its value, as etcd answers a get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Revision at which the key's present life began.
    pub create_revision: i64,
    /// Revision of the last change.
    pub mod_revision: i64,
    /// Changes in this life; 1 at creation.
    pub version: i64,
    /// Lease id, 0 for none.
    pub lease: i64,
}

impl<'a> From<KeyValueMessage<'a>> for KeyValue<'a> {
    #[inline]
    fn from(message: KeyValueMessage<'a>) -> Self {
        Self {
            key: message.key,
            value: message.value,
            create_revision: message.create_revision,
            mod_revision: message.mod_revision,
            version: message.version,
            lease: message.lease,
        }
    }
}

/// What there is to know of a live key beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Revision at which the key's present life began.
    pub create_revision: i64,
    /// Revision of the last change.
    pub mod_revision: i64,
    /// Changes in this life; 1 at creation.
    pub version: i64,
    /// Lease id, 0 for none.
    pub lease: i64,
    /// Bytes of the value.
    pub value_len: usize,
}

/// One change of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// When it was made.
    pub revision: Revision,
    /// The key was deleted; then only `key_value.key` is set.
    pub tombstone: bool,
    /// The key as it was after the change.
    pub key_value: KeyValue<'a>,
    /// The message has fields that no known etcd writes.
    pub unknown_fields: bool,
}

impl<'a> Record<'a> {
    /// Decodes an item of the `key` bucket.
    pub fn decode(item: &LeafItem<'a>) -> Result<Self, ReadError> {
        Self::from_parts(item.key, item.value).map_err(|reason| ReadError::Malformed {
            bucket: KEY_BUCKET,
            offset: item.offset,
            reason,
        })
    }

    #[inline]
    pub(crate) fn from_parts(key: &[u8], value: &'a [u8]) -> Result<Self, &'static str> {
        let (revision, tombstone) = Revision::decode(key).ok_or(NOT_A_REVISION)?;
        let message = KeyValueMessage::decode(value).ok_or(NOT_A_KEY_VALUE)?;
        Ok(Self { revision, tombstone, key_value: message.into(), unknown_fields: message.unknown })
    }

    /// The record that a restore with `--bump-revision` leaves behind: no key, nothing else, for good. It raises the
    /// store's revision; no client can see it.
    pub fn is_bump_marker(&self) -> bool {
        let it = &self.key_value;
        !self.tombstone
            && it.key.is_empty()
            && it.value.is_empty()
            && [it.create_revision, it.mod_revision, it.version, it.lease] == [0; 4]
    }
}

pub(crate) const NOT_A_REVISION: &str = "the key is not a revision";
pub(crate) const NOT_A_KEY_VALUE: &str = "the value is not a key-value message";
