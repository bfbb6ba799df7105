//! Bodies and sinks that a test makes up.

use super::{Body, Sink, StoreError};

/// A body in memory, handed out in pieces.
#[derive(Debug, Clone, Default)]
pub struct MemoryBody {
    left: Vec<u8>,
    piece_bytes: Option<usize>,
    size_bytes: Option<u64>,
    breaks: bool,
}

impl MemoryBody {
    /// A body of these bytes, whose size is not known beforehand.
    pub fn new(bytes: impl Into<Vec<u8>>) -> MemoryBody {
        MemoryBody { left: bytes.into(), ..MemoryBody::default() }
    }

    /// Its size is known beforehand.
    #[must_use]
    pub fn sized(self) -> MemoryBody {
        MemoryBody { size_bytes: Some(self.left.len() as u64), ..self }
    }

    /// It comes in pieces of at most so many bytes.
    #[must_use]
    pub fn in_pieces(self, piece_bytes: usize) -> MemoryBody {
        MemoryBody { piece_bytes: Some(piece_bytes.max(1)), ..self }
    }

    /// It breaks off where its end should be.
    #[must_use]
    pub fn breaking(self) -> MemoryBody {
        MemoryBody { breaks: true, ..self }
    }
}

impl Body for MemoryBody {
    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    fn read(&mut self, max_bytes: u32) -> Result<Vec<u8>, StoreError> {
        if self.left.is_empty() && self.breaks {
            return Err(StoreError::broken("the body broke off"));
        }
        let most = (max_bytes.max(1) as usize).min(self.piece_bytes.unwrap_or(1 << 20)).min(self.left.len());
        let rest = self.left.split_off(most);
        Ok(std::mem::replace(&mut self.left, rest))
    }
}

/// Keeps what it is handed.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    begun: Option<(u64, String)>,
    bytes: Vec<u8>,
    most_bytes: Option<usize>,
}

impl MemorySink {
    /// An empty one.
    pub fn new() -> MemorySink {
        MemorySink::default()
    }

    /// One whose reader goes away after so many bytes.
    #[must_use]
    pub fn closing_after(self, most_bytes: usize) -> MemorySink {
        MemorySink { most_bytes: Some(most_bytes), ..self }
    }

    /// The size and the tag that were told, if any were.
    pub fn begun(&self) -> Option<(u64, &str)> {
        self.begun.as_ref().map(|(size_bytes, tag)| (*size_bytes, tag.as_str()))
    }

    /// What came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Sink for MemorySink {
    fn begin(&mut self, size_bytes: u64, tag: &str) -> Result<(), StoreError> {
        if self.begun.is_some() {
            return Err(StoreError::new("misuse", "`begin` was called before"));
        }
        self.begun = Some((size_bytes, tag.to_owned()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.begun.is_none() {
            return Err(StoreError::new("misuse", "`begin` comes before the first bytes"));
        }
        if self.most_bytes.is_some_and(|most| self.bytes.len() >= most) {
            return Err(StoreError::closed("nobody reads on"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}
