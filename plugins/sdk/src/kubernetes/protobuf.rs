//! Objects stored as protobuf, read without their schemas: only the envelope and the metadata have known fields.
//!
//! ```text
//! runtime.Unknown   1 typeMeta (1 apiVersion, 2 kind)   2 raw   3 contentEncoding   4 contentType
//! raw               1 metadata, other fields by kind
//! ObjectMeta        1 name   3 namespace   5 uid   11 labels (map: 1 key, 2 value)
//! ```
//! Source: apimachinery `pkg/runtime/generated.proto` and `pkg/apis/meta/v1/generated.proto`. Every message's outline
//! is walked to its end, so a value that breaks off anywhere above the fields of the kind is found.

use std::borrow::Cow;

use super::{DecodeError, Encoding, Object};

/// Wire types: protobuf encoding, "Message Structure".
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// A varint holds 64 bits in groups of 7.
const MAX_VARINT_BYTES: usize = 10;

/// Reads the object in an envelope that begins `offset` bytes into the value.
pub(super) fn object(envelope: &[u8], offset: usize) -> Result<Object<'_>, DecodeError> {
    let mut object = Object {
        encoding: Encoding::Protobuf,
        api_version: Cow::Borrowed(""),
        kind: Cow::Borrowed(""),
        namespace: Cow::Borrowed(""),
        name: Cow::Borrowed(""),
        uid: Cow::Borrowed(""),
        labels: Vec::new(),
    };
    let mut fields = Fields { bytes: envelope, position: 0, offset };
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => read_type(&mut object, field.message()?)?,
            2 => read_raw(&mut object, field.message()?)?,
            _ => {}
        }
    }
    Ok(object)
}

fn read_type<'a>(object: &mut Object<'a>, mut fields: Fields<'a>) -> Result<(), DecodeError> {
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => object.api_version = field.text()?,
            2 => object.kind = field.text()?,
            _ => {}
        }
    }
    Ok(())
}

fn read_raw<'a>(object: &mut Object<'a>, mut fields: Fields<'a>) -> Result<(), DecodeError> {
    while let Some(field) = fields.next_field()? {
        if field.number == 1 {
            read_metadata(object, field.message()?)?;
        }
    }
    Ok(())
}

fn read_metadata<'a>(object: &mut Object<'a>, mut fields: Fields<'a>) -> Result<(), DecodeError> {
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => object.name = field.text()?,
            3 => object.namespace = field.text()?,
            5 => object.uid = field.text()?,
            11 => object.labels.push(read_label(field.message()?)?),
            _ => {}
        }
    }
    Ok(())
}

fn read_label(mut fields: Fields<'_>) -> Result<(Cow<'_, str>, Cow<'_, str>), DecodeError> {
    let mut label = (Cow::Borrowed(""), Cow::Borrowed(""));
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => label.0 = field.text()?,
            2 => label.1 = field.text()?,
            _ => {}
        }
    }
    Ok(label)
}

/// One field: its number, and its bytes when it has a length.
struct Field<'a> {
    number: u64,
    bytes: Option<&'a [u8]>,
    /// Where its content begins, from the start of the value.
    offset: usize,
}

impl<'a> Field<'a> {
    fn content(&self) -> Result<&'a [u8], DecodeError> {
        self.bytes.ok_or(DecodeError::Protobuf { offset: self.offset, reason: "a number where bytes belong" })
    }

    fn message(&self) -> Result<Fields<'a>, DecodeError> {
        Ok(Fields { bytes: self.content()?, position: 0, offset: self.offset })
    }

    fn text(&self) -> Result<Cow<'a, str>, DecodeError> {
        let text = std::str::from_utf8(self.content()?);
        text.map(Cow::Borrowed)
            .map_err(|_| DecodeError::Protobuf { offset: self.offset, reason: "text is not UTF-8" })
    }
}

/// The fields of one message.
struct Fields<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where the message begins, from the start of the value.
    offset: usize,
}

impl<'a> Fields<'a> {
    fn next_field(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.position == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (number, wire) = (tag >> 3, tag & 7);
        if number == 0 {
            return Err(self.broken("a field without a number"));
        }
        let bytes = match wire {
            VARINT => {
                self.varint()?;
                None
            }
            FIXED_64 => {
                self.take(8)?;
                None
            }
            FIXED_32 => {
                self.take(4)?;
                None
            }
            BYTES => {
                let len = self.varint()?;
                Some(self.take(len)?)
            }
            _ => return Err(self.broken("an unknown wire type")),
        };
        let offset = self.offset + self.position - bytes.map_or(0, <[u8]>::len);
        Ok(Some(Field { number, bytes, offset }))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for (index, byte) in self.bytes[self.position..].iter().take(MAX_VARINT_BYTES).enumerate() {
            // The tenth byte has room for one bit only; what would fall off is dropped, as Go's decoder does.
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.position += index + 1;
                return Ok(value);
            }
        }
        let is_cut = self.bytes.len() - self.position < MAX_VARINT_BYTES;
        Err(self.broken(if is_cut { "it breaks off in a number" } else { "a number without end" }))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or_else(|| self.broken("a field is longer than what is left"))?;
        self.position += taken.len();
        Ok(taken)
    }

    fn broken(&self, reason: &'static str) -> DecodeError {
        DecodeError::Protobuf { offset: self.offset + self.position, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::object;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        assert!(content.len() < 128);
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    fn config_map() -> Vec<u8> {
        let label = [field(1, b"app"), field(2, b"web")].concat();
        let metadata = [
            field(1, b"settings"),
            field(2, b""),
            field(3, b"web"),
            field(5, b"6f1c"),
            vec![7 << 3, 1],
            field(11, &label),
        ];
        let raw = [field(1, &metadata.concat()), field(2, b"anything")].concat();
        let type_meta = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
        [field(1, &type_meta), field(2, &raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn the_metadata_is_read() {
        let value = config_map();
        let object = object(&value, 0).expect("is whole");
        assert_eq!((&*object.api_version, &*object.kind), ("v1", "ConfigMap"));
        assert_eq!((&*object.namespace, &*object.name, &*object.uid), ("web", "settings", "6f1c"));
        assert_eq!(object.label("app"), Some("web"));
    }

    #[test]
    fn every_cut_is_found_but_those_between_the_outer_fields() {
        let value = config_map();
        let whole = (1..value.len()).filter(|end| object(&value[..*end], 0).is_ok()).count();
        // After typeMeta, after raw, and after contentEncoding.
        assert_eq!(whole, 3);
    }

    #[test]
    fn no_flipped_byte_panics() {
        let value = config_map();
        for index in 0..value.len() {
            for byte in 0..=255 {
                let mut broken = value.clone();
                broken[index] = byte;
                let _ = object(&broken, 0);
            }
        }
    }

    #[test]
    fn errors_say_where() {
        let reasons = [
            (vec![0x0a, 0x05, 0x01], "broken protobuf at byte 6: a field is longer than what is left"),
            (vec![0x0a], "broken protobuf at byte 5: it breaks off in a number"),
            (vec![0xff; 11], "broken protobuf at byte 4: a number without end"),
            (vec![0x02, 0x00], "broken protobuf at byte 5: a field without a number"),
            (vec![0x0b], "broken protobuf at byte 5: an unknown wire type"),
            (vec![0x08, 0x01], "broken protobuf at byte 6: a number where bytes belong"),
            (field(1, &field(2, b"\xff")), "broken protobuf at byte 8: text is not UTF-8"),
        ];
        for (value, reason) in reasons {
            assert_eq!(object(&value, 4).expect_err("is broken").to_string(), reason);
        }
    }
}
