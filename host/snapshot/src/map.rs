//! The bytes of a snapshot: a file mapped into memory, or a vector. The only unsafe code of the library is here.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::error::OpenError;

/// Bytes that stay where they are as long as this lives.
pub(crate) enum Bytes {
    /// The map, and the file it shows, still open.
    Mapped(memmap2::Mmap, File),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps the file at `path` for reading.
    pub(crate) fn map(path: &Path) -> Result<Self, OpenError> {
        let io = |source: std::io::Error| OpenError::Io { path: path.to_owned(), source: Arc::new(source) };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(io(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
        }
        // An empty file cannot be mapped.
        if metadata.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        map_file(&file).map(|map| Self::Mapped(map, file)).map_err(io)
    }

    /// The file that is mapped, for copies that the system can make better than by reading the map.
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::Mapped(_, file) => Some(file),
            Self::Owned(_) => None,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map, _) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe because others may write or cut it meanwhile")]
fn map_file(file: &File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is read-only, and every read of it is bounds-checked against the length mapped and decodes plain
    // bytes, so bytes that change under it give an error or a finding, not undefined values. What callers must keep is
    // told at `SnapshotFile::open`: nobody cuts the file while it is open.
    unsafe { memmap2::Mmap::map(file) }
}
