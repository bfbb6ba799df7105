//! The outline of a protobuf message: its fields, with checked lengths.
//!
//! A field is a tag, `number << 3 | wire type`, and then a varint (wire type 0), 8 bytes (1), a length and as many bytes (2) or
//! 4 bytes (5). Groups (3 and 4) are not used by Kubernetes. Source: protobuf encoding, "Message Structure".

use crate::error::DecodeError;

/// A varint holds 64 bits in groups of 7.
const MAX_VARINT_BYTES: usize = 10;

/// What stands behind a tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Content<'a> {
    /// Wire types 0, 1 and 5; fixed ones as their little-endian bits.
    Number(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WireField<'a> {
    pub(crate) number: u64,
    pub(crate) content: Content<'a>,
    /// Where its content begins, from the start of the value.
    pub(crate) offset: usize,
}

impl<'a> WireField<'a> {
    /// The bytes of a text, a message or a list.
    pub(crate) fn bytes(&self) -> Result<&'a [u8], DecodeError> {
        match self.content {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Number(_) => Err(self.broken("a number where bytes belong")),
        }
    }

    /// The text. Kubernetes does not check that it is UTF-8 and shows what is not as a replacement character.
    pub(crate) fn text(&self) -> Result<String, DecodeError> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    /// The bits of a number.
    pub(crate) fn number(&self) -> Result<u64, DecodeError> {
        match self.content {
            Content::Number(bits) => Ok(bits),
            Content::Bytes(_) => Err(self.broken("bytes where a number belongs")),
        }
    }

    /// The fields of the message in it.
    pub(crate) fn message(&self) -> Result<Vec<WireField<'a>>, DecodeError> {
        fields(self.bytes()?, self.offset)
    }

    pub(crate) fn broken(&self, reason: &'static str) -> DecodeError {
        DecodeError::Protobuf { offset: self.offset, reason }
    }
}

/// The fields of a message that begins at `offset` of the value, in order of their numbers; those of one number as they stand.
pub(crate) fn fields(bytes: &[u8], offset: usize) -> Result<Vec<WireField<'_>>, DecodeError> {
    let mut reader = Reader { bytes, position: 0, offset };
    let mut fields = Vec::new();
    while reader.position < bytes.len() {
        fields.push(reader.field()?);
    }
    fields.sort_by_key(|field| field.number);
    Ok(fields)
}

/// The varints in a packed list.
pub(crate) fn packed(bytes: &[u8], offset: usize) -> Result<Vec<u64>, DecodeError> {
    let mut reader = Reader { bytes, position: 0, offset };
    let mut numbers = Vec::new();
    while reader.position < bytes.len() {
        numbers.push(reader.varint()?);
    }
    Ok(numbers)
}

/// The fields of one number in what [`fields`] gave.
pub(crate) fn numbered<'f, 'a>(fields: &'f [WireField<'a>], number: u64) -> &'f [WireField<'a>] {
    let start = fields.partition_point(|field| field.number < number);
    let rest = fields.get(start..).unwrap_or_default();
    rest.get(..rest.partition_point(|field| field.number == number)).unwrap_or_default()
}

/// The last field of a number: a later one takes the place of an earlier one.
pub(crate) fn last<'f, 'a>(fields: &'f [WireField<'a>], number: u64) -> Option<&'f WireField<'a>> {
    numbered(fields, number).last()
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    offset: usize,
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Result<WireField<'a>, DecodeError> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(self.broken("a field without a number"));
        }
        let content = match tag & 7 {
            0 => Content::Number(self.varint()?),
            1 => Content::Number(little_endian(self.take(8)?)),
            5 => Content::Number(little_endian(self.take(4)?)),
            2 => {
                let len = self.varint()?;
                Content::Bytes(self.take(len)?)
            }
            _ => return Err(self.broken("an unknown wire type")),
        };
        let len = if let Content::Bytes(bytes) = content { bytes.len() } else { 0 };
        Ok(WireField { number, content, offset: self.offset + self.position - len })
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let mut value = 0_u64;
        for (index, byte) in rest.iter().take(MAX_VARINT_BYTES).enumerate() {
            // The tenth byte has room for one bit only; what would fall off is dropped, as Go's decoder does.
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.position += index + 1;
                return Ok(value);
            }
        }
        let is_cut = rest.len() < MAX_VARINT_BYTES;
        Err(self.broken(if is_cut { "it breaks off in a number" } else { "a number without end" }))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or_else(|| self.broken("a field is longer than what is left"))?;
        self.position += taken.len();
        Ok(taken)
    }

    fn broken(&self, reason: &'static str) -> DecodeError {
        DecodeError::Protobuf { offset: self.offset + self.position, reason }
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::{Content, fields, last, numbered, packed};

    #[test]
    fn fields_of_every_wire_type() {
        let message = b"\x08\x96\x01\x12\x02hi\x1d\x01\0\0\0\x21\x02\0\0\0\0\0\0\0\x12\x01!";
        let found = fields(message, 100).unwrap();
        assert_eq!(last(&found, 1).unwrap().content, Content::Number(150));
        assert_eq!(numbered(&found, 2).len(), 2);
        assert_eq!(last(&found, 2).unwrap().content, Content::Bytes(b"!"));
        assert_eq!(numbered(&found, 2)[0].offset, 105);
        assert_eq!(last(&found, 3).unwrap().content, Content::Number(1));
        assert_eq!(last(&found, 4).unwrap().content, Content::Number(2));
        assert!(last(&found, 5).is_none());
        assert_eq!(packed(b"\x01\x96\x01", 0).unwrap(), [1, 150]);
    }

    #[test]
    fn errors_say_where() {
        let reasons: [(&[u8], &str); 5] = [
            (b"\x0a\x05\x01", "broken protobuf at byte 6: a field is longer than what is left"),
            (b"\x0a", "broken protobuf at byte 5: it breaks off in a number"),
            (&[0xff; 11], "broken protobuf at byte 4: a number without end"),
            (b"\x02\x00", "broken protobuf at byte 5: a field without a number"),
            (b"\x0b", "broken protobuf at byte 5: an unknown wire type"),
        ];
        for (message, reason) in reasons {
            assert_eq!(fields(message, 4).unwrap_err().to_string(), reason);
        }
    }
}
