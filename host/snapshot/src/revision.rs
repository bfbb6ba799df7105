//! Revisions: the keys of the `key` bucket.
//!
//! A key is `main` as 8 bytes big-endian, `_`, `sub` as 8 bytes big-endian, and for a deletion one more byte `t`; so
//! bytewise order is the order of changes. Source: etcd `server/storage/mvcc/revision.go`.

use std::fmt;

/// Bytes of a put's revision key.
pub(crate) const REVISION_BYTES: usize = 17;
/// Bytes of a deletion's revision key.
pub(crate) const TOMBSTONE_BYTES: usize = 18;

/// One change of the store: `main` counts transactions, `sub` the changes within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The transaction, from 2 on in a new store.
    pub main: i64,
    /// The change within it, from 0 on.
    pub sub: i64,
}

impl Revision {
    /// Decodes a key of the `key` bucket; the flag tells a deletion. None if it is no revision.
    #[inline]
    pub fn decode(key: &[u8]) -> Option<(Self, bool)> {
        let tombstone = match key.len() {
            REVISION_BYTES => false,
            TOMBSTONE_BYTES if key[REVISION_BYTES] == b't' => true,
            _ => return None,
        };
        if key[8] != b'_' {
            return None;
        }
        let main = i64::from_be_bytes(key[..8].try_into().ok()?);
        let sub = i64::from_be_bytes(key[9..REVISION_BYTES].try_into().ok()?);
        (main >= 0 && sub >= 0).then_some((Self { main, sub }, tombstone))
    }

    /// The key of a put at this revision.
    pub fn encode(self) -> [u8; REVISION_BYTES] {
        let mut key = [0; REVISION_BYTES];
        key[..8].copy_from_slice(&self.main.to_be_bytes());
        key[8] = b'_';
        key[9..].copy_from_slice(&self.sub.to_be_bytes());
        key
    }
}

/// `main/sub`.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.main, self.sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_etcd_writes() {
        let revision = Revision { main: 1011, sub: 0 };
        let key = b"\x00\x00\x00\x00\x00\x00\x03\xf3_\x00\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(&revision.encode(), key);
        assert_eq!(Revision::decode(key), Some((revision, false)));
        let tombstone = b"\x00\x00\x00\x00\x00\x00\x00\x0b_\x00\x00\x00\x00\x00\x00\x00\x00t";
        assert_eq!(Revision::decode(tombstone), Some((Revision { main: 11, sub: 0 }, true)));
    }

    #[test]
    fn what_is_no_revision_is_refused() {
        for key in [
            &b""[..],
            b"0123456789abcdef",
            b"\x00\x00\x00\x00\x00\x00\x00\x0b-\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x80\x00\x00\x00\x00\x00\x00\x0b_\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x00\x00\x00\x00\x00\x00\x00\x0b_\x00\x00\x00\x00\x00\x00\x00\x00x",
        ] {
            assert_eq!(Revision::decode(key), None, "{key:?}");
        }
    }
}
