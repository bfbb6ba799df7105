//! Protocol buffers as etcd stores them, decoded by hand: a few flat messages with fields in ascending order.
//!
//! Decoding is strict: a field twice, out of order, of another wire type, or cut, is refused, because etcd never writes
//! such and a flipped bit does. Unknown fields are passed over and told.
//!
//! Sources: etcd `api/mvccpb/kv.proto`, `api/authpb/auth.proto`, `api/etcdserverpb/rpc.proto`,
//! `server/lease/leasepb/lease.proto`.

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed 32 or 64 bits, in no message of etcd's database.
    Other,
}

/// The fields of a message with their numbers, or `None` in place of one that cannot be read.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message, failed: false }
    }

    #[inline]
    fn read(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = varint(&mut self.rest)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut self.rest)?),
            1 => {
                take(&mut self.rest, 8)?;
                Field::Other
            }
            2 => {
                let length = varint(&mut self.rest)?;
                Field::Bytes(take(&mut self.rest, length)?)
            }
            5 => {
                take(&mut self.rest, 4)?;
                Field::Other
            }
            _ => return None,
        };
        (tag >> 3 != 0).then_some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.failed {
            return None;
        }
        let field = self.read();
        self.failed = field.is_none();
        Some(field)
    }
}

#[inline]
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        // The tenth byte holds the last bit of 64.
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

#[inline]
fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

/// A message's fields by number, each at most once, ascending; ones above the highest are noted as unknown.
macro_rules! decode {
    ($message:expr, $unknown:ident, ..=$highest:literal, { $($number:literal => $kind:ident($value:ident) $store:block)* }) => {{
        let mut last = 0;
        for field in Fields::new($message) {
            let (number, field) = field?;
            match (number, field) {
                $(($number, Field::$kind($value)) => {
                    if last >= $number { return None; }
                    $store
                })*
                // A known number with another wire type.
                (..=$highest, _) => return None,
                _ => $unknown = true,
            }
            last = number;
        }
    }};
}

/// `mvccpb.KeyValue`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyValueMessage<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) value: &'a [u8],
    pub(crate) lease: i64,
    pub(crate) unknown: bool,
}

impl<'a> KeyValueMessage<'a> {
    #[inline]
    pub(crate) fn decode(message: &'a [u8]) -> Option<Self> {
        let mut it = Self::default();
        let mut unknown = false;
        decode!(message, unknown, ..=6, {
            1 => Bytes(key) { it.key = key; }
            2 => Varint(number) { it.create_revision = number as i64; }
            3 => Varint(number) { it.mod_revision = number as i64; }
            4 => Varint(number) { it.version = number as i64; }
            5 => Bytes(value) { it.value = value; }
            6 => Varint(number) { it.lease = number as i64; }
        });
        it.unknown = unknown;
        Some(it)
    }

    /// Only the key, the first field: the rest of the record is not touched.
    #[inline]
    pub(crate) fn key_of(mut message: &'a [u8]) -> Option<&'a [u8]> {
        match message.first() {
            Some(0x0a) => {
                message = &message[1..];
                let length = varint(&mut message)?;
                take(&mut message, length)
            }
            // No key: the record that a restore with a raised revision leaves.
            _ => Some(&[]),
        }
    }
}

/// `leasepb.Lease`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeaseMessage {
    pub(crate) id: i64,
    pub(crate) ttl: i64,
    pub(crate) remaining_ttl: i64,
}

impl LeaseMessage {
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let mut it = Self::default();
        let mut unknown = false;
        decode!(message, unknown, ..=3, {
            1 => Varint(number) { it.id = number as i64; }
            2 => Varint(number) { it.ttl = number as i64; }
            3 => Varint(number) { it.remaining_ttl = number as i64; }
        });
        let _ = unknown;
        Some(it)
    }
}

/// `etcdserverpb.AlarmMember`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AlarmMessage {
    pub(crate) member_id: u64,
    pub(crate) alarm: u64,
}

impl AlarmMessage {
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let mut it = Self::default();
        let mut unknown = false;
        decode!(message, unknown, ..=2, {
            1 => Varint(number) { it.member_id = number; }
            2 => Varint(number) { it.alarm = number; }
        });
        let _ = unknown;
        Some(it)
    }
}

/// The parts of `authpb.User` that are checked: name and roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserMessage<'a> {
    pub(crate) name: &'a [u8],
    message: &'a [u8],
}

impl<'a> UserMessage<'a> {
    pub(crate) fn decode(message: &'a [u8]) -> Option<Self> {
        let mut it = Self { name: &[], message };
        for field in Fields::new(message) {
            match field? {
                (1, Field::Bytes(name)) => it.name = name,
                (1..=4, Field::Varint(_) | Field::Other) => return None,
                _ => {}
            }
        }
        Some(it)
    }

    /// The roles, read again from the message: two bytes make one, so that a list of them could be far longer.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        Fields::new(self.message).filter_map(|field| match field? {
            (3, Field::Bytes(role)) => Some(role),
            _ => None,
        })
    }
}

/// The parts of `authpb.Role` that are checked: its name, and that its permissions decode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RoleMessage<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) permissions: usize,
}

impl<'a> RoleMessage<'a> {
    pub(crate) fn decode(message: &'a [u8]) -> Option<Self> {
        let mut it = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, Field::Bytes(name)) => it.name = name,
                (2, Field::Bytes(permission)) => {
                    if Fields::new(permission).any(|field| field.is_none()) {
                        return None;
                    }
                    it.permissions += 1;
                }
                (1 | 2, _) => return None,
                _ => {}
            }
        }
        Some(it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_value_decodes() {
        let message = b"\x0a\x03foo\x10\x02\x18\x05\x20\x03\x2a\x03bar\x30\x07";
        let decoded = KeyValueMessage::decode(message).unwrap();
        assert_eq!((decoded.key, decoded.value), (&b"foo"[..], &b"bar"[..]));
        assert_eq!((decoded.create_revision, decoded.mod_revision), (2, 5));
        assert_eq!((decoded.version, decoded.lease, decoded.unknown), (3, 7, false));
        assert_eq!(KeyValueMessage::key_of(message), Some(&b"foo"[..]));
    }

    #[test]
    fn an_empty_message_is_all_zero() {
        assert_eq!(KeyValueMessage::decode(b""), Some(KeyValueMessage::default()));
    }

    #[test]
    fn cut_doubled_and_disordered_fields_are_refused() {
        let message = b"\x0a\x03foo\x10\x02\x18\x05\x20\x03\x2a\x03bar\x30\x07";
        for cut in 1..message.len() {
            let whole_fields = [5, 7, 9, 11, 16].contains(&cut);
            assert_eq!(KeyValueMessage::decode(&message[..cut]).is_some(), whole_fields, "cut at {cut}");
        }
        assert_eq!(KeyValueMessage::decode(b"\x10\x02\x10\x02"), None);
        assert_eq!(KeyValueMessage::decode(b"\x18\x02\x10\x02"), None);
        assert_eq!(KeyValueMessage::decode(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), None);
    }

    #[test]
    fn unknown_fields_are_told() {
        assert!(KeyValueMessage::decode(b"\x10\x02\x38\x01").unwrap().unknown);
    }
}
