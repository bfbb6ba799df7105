//! A backup back out of a store, as the file that etcd sent, with both digests of its manifest compared on the way.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::bridge::{self, ChunkReader};
use crate::catalog::Manifest;
use crate::pack::{self, Identity, UnpackError, hex};
use crate::progress::Progress;
use crate::store::{self, Store, StoreError};

/// Bytes written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Why a backup could not be had back.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// The store's own error.
    #[error("cannot read backup `{id}`")]
    Store {
        /// The backup.
        id: String,
        /// The cause.
        source: StoreError,
    },
    /// The stored bytes are not those that were written.
    #[error(
        "backup `{id}` is damaged in {store}: its {size_bytes} stored bytes have sha256 {found}, the manifest says {expected} over {expected_bytes} bytes"
    )]
    Stored {
        /// The backup.
        id: String,
        /// The store, as it describes itself.
        store: String,
        /// Bytes read.
        size_bytes: u64,
        /// Bytes that the manifest names.
        expected_bytes: u64,
        /// Their digest.
        found: String,
        /// The manifest's digest.
        expected: String,
    },
    /// Stored well, yet what comes out is not what went in.
    #[error("backup `{id}` unpacks to {size_bytes} bytes with sha256 {found}, the manifest says {expected}")]
    Plain {
        /// The backup.
        id: String,
        /// Bytes unpacked.
        size_bytes: u64,
        /// Their digest.
        found: String,
        /// The manifest's digest.
        expected: String,
    },
    /// It cannot be unpacked.
    #[error("cannot unpack backup `{id}`")]
    Unpack {
        /// The backup.
        id: String,
        /// The cause.
        source: UnpackError,
    },
    /// The target cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A layer turned out damaged midway although the stored bytes are right.
    #[error("cannot unpack backup `{id}` to its end")]
    Torn {
        /// The backup.
        id: String,
        /// The cause.
        source: io::Error,
    },
}

impl RetrieveError {
    /// Whether the backup itself is bad, as opposed to what is around it.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Stored { .. } | Self::Plain { .. } | Self::Torn { .. })
            || matches!(self, Self::Unpack { source: UnpackError::Damaged { .. }, .. })
            || matches!(self, Self::Store { source: StoreError::NotFound { .. }, .. })
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unpack { source, .. } => source.hint(),
            Self::Stored { .. } | Self::Plain { .. } | Self::Torn { .. } => {
                Some("take it from another store with `--store`, or take an earlier backup: `holdfast list` shows them".to_owned())
            }
            Self::Store { source: StoreError::NotFound { .. }, .. } => Some(
                "it was removed from the store without its manifest; take it from another store with `--store`, or take an earlier backup"
                    .to_owned(),
            ),
            Self::Store { source, .. } => source.hint(),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free space there; the backup unpacks to the size that `holdfast show` prints".to_owned())
            }
            Self::Write { .. } => None,
        }
    }
}

/// Unpacks a backup into `file`, an empty one at `target`. After an error it holds nothing to be used.
pub async fn retrieve(
    store: &dyn Store,
    manifest: &Manifest,
    identities: &[Identity],
    target: &Path,
    file: File,
    progress: &dyn Progress,
) -> Result<(), RetrieveError> {
    unpack_into(store, manifest, identities, target, file, progress).await
}

/// Does all that [`retrieve`] does, but keeps nothing of it.
pub async fn read_through(
    store: &dyn Store,
    manifest: &Manifest,
    identities: &[Identity],
    progress: &dyn Progress,
) -> Result<(), RetrieveError> {
    unpack_into(store, manifest, identities, Path::new(""), io::sink(), progress).await
}

/// Reads the stored bytes and compares their digest: what can be known without an identity.
pub async fn read_stored(
    store: &dyn Store,
    manifest: &Manifest,
    progress: &dyn Progress,
) -> Result<(), RetrieveError> {
    let Manifest { id, stored, .. } = manifest;
    progress.start("read", Some(stored.size_bytes));
    let read = store::digest(store, &stored.path, |bytes| progress.advance(bytes)).await;
    progress.finish();
    let (size_bytes, found) = read.map_err(|source| RetrieveError::Store { id: id.to_string(), source })?;
    if found == stored.sha256 {
        return Ok(());
    }
    Err(RetrieveError::Stored {
        id: id.to_string(),
        store: store.describe(),
        size_bytes,
        expected_bytes: stored.size_bytes,
        found,
        expected: stored.sha256.clone(),
    })
}

async fn unpack_into(
    store: &dyn Store,
    manifest: &Manifest,
    identities: &[Identity],
    target: &Path,
    file: impl Write + Send + 'static,
    progress: &dyn Progress,
) -> Result<(), RetrieveError> {
    let id = manifest.id.to_string();
    let from_store = |source| RetrieveError::Store { id: id.clone(), source };
    let body = store.get(&manifest.stored.path, None).await.map_err(from_store)?;
    let (sender, receiver) = bridge::channel();
    let work = Work {
        id: id.clone(),
        store: store.describe(),
        manifest: manifest.clone(),
        identities: identities.to_vec(),
        target: target.to_owned(),
    };
    let unpacking = tokio::task::spawn_blocking(move || work.run(file, ChunkReader::new(receiver)));
    progress.start("unpack", Some(manifest.stored.size_bytes));
    bridge::feed(body, sender, |bytes| progress.advance(bytes)).await;
    progress.finish();
    unpacking.await.unwrap_or_else(|error| Err(RetrieveError::Torn { id, source: io::Error::other(error) }))
}

/// The blocking half.
struct Work {
    id: String,
    store: String,
    manifest: Manifest,
    identities: Vec<Identity>,
    target: PathBuf,
}

impl Work {
    fn run(self, file: impl Write, source: ChunkReader) -> Result<(), RetrieveError> {
        let mut stored = DigestReader { source, digest: Sha256::new(), read: 0 };
        let unpacked = self.unpack(file, &mut stored);
        // Whatever went wrong above, damage of the stored bytes explains it best: read on to know.
        let drained = io::copy(&mut stored, &mut io::sink());
        let found = hex(&stored.digest.finalize());
        if let Err(source) = drained {
            let path = self.manifest.stored.path.to_string();
            return Err(RetrieveError::Store {
                id: self.id,
                source: StoreError::Io { path, action: "read", source },
            });
        }
        let unpacked = match unpacked {
            Err(
                error @ (RetrieveError::Write { .. }
                | RetrieveError::Unpack {
                    source: UnpackError::NoIdentity | UnpackError::WrongIdentity { .. },
                    ..
                }),
            ) => return Err(error),
            other => other,
        };
        if found != self.manifest.stored.sha256 {
            return Err(RetrieveError::Stored {
                id: self.id,
                store: self.store,
                size_bytes: stored.read,
                expected_bytes: self.manifest.stored.size_bytes,
                found,
                expected: self.manifest.stored.sha256,
            });
        }
        let (size_bytes, found) = unpacked?;
        if found != self.manifest.plain.sha256 {
            return Err(RetrieveError::Plain {
                id: self.id,
                size_bytes,
                found,
                expected: self.manifest.plain.sha256,
            });
        }
        Ok(())
    }

    fn unpack(
        &self,
        mut file: impl Write,
        stored: &mut DigestReader,
    ) -> Result<(u64, String), RetrieveError> {
        let write_failed = |source| RetrieveError::Write { path: self.target.clone(), source };
        let mut plain = pack::unpack(stored, &self.identities)
            .map_err(|source| RetrieveError::Unpack { id: self.id.clone(), source })?;
        let mut digest = Sha256::new();
        let mut written = 0;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = match plain.read(&mut buffer) {
                Ok(0) => return Ok((written, hex(&digest.finalize()))),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(RetrieveError::Torn { id: self.id.clone(), source }),
            };
            // A forged frame may unpack to anything: no more than the manifest promises goes to disk.
            if written + count as u64 > self.manifest.plain.size_bytes {
                let source = io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "it unpacks to more than the {} bytes that its manifest names",
                        self.manifest.plain.size_bytes
                    ),
                );
                return Err(RetrieveError::Torn { id: self.id.clone(), source });
            }
            digest.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(write_failed)?;
            written += count as u64;
        }
    }
}

struct DigestReader {
    source: ChunkReader,
    digest: Sha256,
    read: u64,
}

impl Read for DigestReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.digest.update(&buffer[..count]);
        self.read += count as u64;
        Ok(count)
    }
}
