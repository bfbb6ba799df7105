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
    // Tags, lengths and small numbers: one byte.
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(u64::from(first));
    }
    long_varint(bytes)
}

#[inline]
fn long_varint(bytes: &mut &[u8]) -> Option<u64> {
    // Up to eight bytes in one go: the first without a continuation bit is the last.
    if let Some(word) = bytes.first_chunk() {
        let word = u64::from_le_bytes(*word);
        let ends = !word & 0x8080_8080_8080_8080;
        if ends != 0 {
            *bytes = &bytes[ends.trailing_zeros() as usize / 8 + 1..];
            // All bits up to and with the last byte's; then the sevens are moved together: by twos, fours and eights.
            let word = word & (ends ^ (ends - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
            let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
            let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
            return Some((word & 0x0000_0000_0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4);
        }
    }
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

/// The number of field `field`, below 16, if it comes next; else 0.
#[inline]
fn number_field(rest: &mut &[u8], field: u8) -> Option<i64> {
    match rest.split_first() {
        Some((&tag, behind)) if tag == field << 3 => {
            *rest = behind;
            varint(rest).map(|number| number as i64)
        }
        _ => Some(0),
    }
}

/// The bytes of field `field`, below 16, if it comes next; else none.
#[inline]
fn bytes_field<'a>(rest: &mut &'a [u8], field: u8) -> Option<&'a [u8]> {
    match rest.split_first() {
        Some((&tag, behind)) if tag == field << 3 | 2 => {
            *rest = behind;
            let length = varint(rest)?;
            take(rest, length)
        }
        _ => Some(&[]),
    }
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
        Self::decode_known(message).or_else(|| Self::decode_any(message))
    }

    /// One that etcd wrote: the known fields, each at most once, in order, and nothing else. A scan decodes millions of them.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "handed back through memory, it costs as much as the decoding")]
    fn decode_known(message: &'a [u8]) -> Option<Self> {
        let mut rest = message;
        let it = Self {
            key: bytes_field(&mut rest, 1)?,
            create_revision: number_field(&mut rest, 2)?,
            mod_revision: number_field(&mut rest, 3)?,
            version: number_field(&mut rest, 4)?,
            value: bytes_field(&mut rest, 5)?,
            lease: number_field(&mut rest, 6)?,
            unknown: false,
        };
        rest.is_empty().then_some(it)
    }

    fn decode_any(message: &'a [u8]) -> Option<Self> {
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
    fn both_ways_to_decode_say_the_same() {
        let message = b"\x0a\x03foo\x10\x82\x01\x18\x05\x20\x03\x2a\x03bar\x30\x07";
        let mut told_apart = 0;
        for at in 0..message.len() {
            for byte in 0..=255 {
                let mut changed = *message;
                changed[at] = byte;
                let any = KeyValueMessage::decode_any(&changed);
                assert_eq!(KeyValueMessage::decode(&changed), any, "byte {at} is {byte:#x}");
                if let Some(known) = KeyValueMessage::decode_known(&changed) {
                    assert_eq!(Some(known), any, "byte {at} is {byte:#x}");
                    told_apart += 1;
                }
            }
        }
        assert!(told_apart > 1000, "{told_apart} messages were decoded the short way");
    }

    #[test]
    fn numbers_of_every_length_are_read_alike_with_and_without_bytes_behind_them() {
        for bits in 0..=64 {
            for number in [1_u64.checked_shl(bits).unwrap_or(0), u64::MAX.checked_shr(64 - bits).unwrap_or(0)]
            {
                let mut written = Vec::new();
                let mut rest = number;
                while rest >= 0x80 {
                    written.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                written.push(rest as u8);
                for behind in [0, 1, 9] {
                    let message = [&written[..], &vec![0xff; behind]].concat();
                    let mut left = &message[..];
                    assert_eq!(varint(&mut left), Some(number), "{message:x?}");
                    assert_eq!(left.len(), behind, "{message:x?}");
                }
                for cut in 0..written.len() {
                    assert_eq!(varint(&mut &written[..cut]), None, "{written:x?} cut at {cut}");
                }
            }
        }
        assert_eq!(varint(&mut &[&[0xff; 9][..], &[0x02]].concat()[..]), None, "more than 64 bits");
        assert_eq!(varint(&mut &[0xff; 12][..]), None, "no end");
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
