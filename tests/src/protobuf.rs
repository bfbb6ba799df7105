//! Just enough protobuf to write messages as the API server stores them.

/// A message under construction: each call adds a field.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// The message's bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A field of bytes, text or a ready message.
    #[must_use]
    pub fn bytes(mut self, number: u64, content: &[u8]) -> Message {
        self.varint(number << 3 | 2);
        self.varint(content.len() as u64);
        self.0.extend_from_slice(content);
        self
    }

    /// A field of text.
    #[must_use]
    pub fn text(self, number: u64, content: &str) -> Message {
        self.bytes(number, content.as_bytes())
    }

    /// A field that is a message of its own.
    #[must_use]
    pub fn message(self, number: u64, content: &Message) -> Message {
        self.bytes(number, &content.0)
    }

    /// A number or a boolean.
    #[must_use]
    pub fn number(mut self, number: u64, content: u64) -> Message {
        self.varint(number << 3);
        self.varint(content);
        self
    }

    /// An entry of a map from text to text or bytes.
    #[must_use]
    pub fn entry(self, number: u64, key: &str, content: &[u8]) -> Message {
        self.message(number, &Message::default().text(1, key).bytes(2, content))
    }

    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

/// An object in the envelope of the API server: `k8s\0`, then `runtime.Unknown { typeMeta, raw }`.
pub fn envelope(version: &str, kind: &str, raw: &Message) -> Vec<u8> {
    let type_meta = Message::default().text(1, version).text(2, kind);
    let unknown = Message::default().message(1, &type_meta).message(2, raw).text(3, "").text(4, "");
    [b"k8s\0", &*unknown.into_bytes()].concat()
}
