//! A backup back out of a store, as the file that etcd sent, with both digests of its manifest compared on the way, and the hash
//! at its end.

pub(crate) mod landing;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::bridge::{self, ChunkReader};
use crate::catalog::Manifest;
use crate::pack::{self, Identity, UnpackError, hex};
use crate::pipeline::fetch::digest::Trailer;
use crate::progress::Progress;
use crate::store::{self, Store, StoreError};
use landing::{Failure, Ground, Landed};

pub use landing::WritingOut;

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

    /// Whether only this copy is known to be bad: its stored bytes are gone, or not those that were written.
    pub fn is_of_one_copy(&self) -> bool {
        matches!(self, Self::Stored { .. } | Self::Store { .. })
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

/// The file to unpack into.
#[derive(Debug)]
pub struct Target<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// The file, empty and open for writing.
    pub file: File,
    /// It is to last: the disk is kept busy with it while it comes.
    pub lasts: bool,
}

/// A backup that was unpacked.
#[derive(Debug)]
pub struct Retrieved {
    /// The SHA-256 of the database image, in hex, when the hash at the file's end is right: known then without reading it once
    /// more.
    pub image_sha256: Option<String>,
    /// The disk at work, when the file is to last.
    pub writing_out: Option<WritingOut>,
}

/// Unpacks a backup into a file. After an error it holds nothing to be used.
pub async fn retrieve(
    store: &dyn Store,
    manifest: &Manifest,
    identities: &[Identity],
    target: Target<'_>,
    progress: &dyn Progress,
) -> Result<Retrieved, RetrieveError> {
    let Target { path, file, lasts } = target;
    let landed = unpack_into(store, manifest, identities, path, Ground::of(file, lasts), progress).await?;
    Ok(landed.into())
}

impl From<Landed> for Retrieved {
    fn from(landed: Landed) -> Self {
        let Landed { digests, writing_out } = landed;
        let image_sha256 = (digests.trailer == Trailer::Right).then(|| hex(&digests.image_sha256));
        Self { image_sha256, writing_out }
    }
}

/// Does all that [`retrieve`] does, but keeps nothing of it.
pub async fn read_through(
    store: &dyn Store,
    manifest: &Manifest,
    identities: &[Identity],
    progress: &dyn Progress,
) -> Result<(), RetrieveError> {
    unpack_into(store, manifest, identities, Path::new(""), Ground::Nowhere, progress).await.map(drop)
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
    ground: Ground,
    progress: &dyn Progress,
) -> Result<Landed, RetrieveError> {
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
    let unpacking = tokio::task::spawn_blocking(move || work.run(&ground, ChunkReader::new(receiver)));
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
    fn run(self, ground: &Ground, source: ChunkReader) -> Result<Landed, RetrieveError> {
        let mut stored = DigestReader::new(source);
        let unpacked = self.unpack(ground, &mut stored);
        // Whatever went wrong above, damage of the stored bytes explains it best: read on to know.
        let drained = io::copy(&mut stored, &mut io::sink());
        let (read, found) = stored.finish();
        if let Err(source) = drained {
            let path = self.manifest.stored.path.to_string();
            return Err(RetrieveError::Store {
                id: self.id,
                source: StoreError::Io { path, action: "read", source },
            });
        }
        let unpacked = match unpacked {
            Err(error @ RetrieveError::Write { .. }) => return Err(error),
            Err(RetrieveError::Unpack { id, source }) if source.is_missing_key() => {
                return Err(RetrieveError::Unpack { id, source });
            }
            other => other,
        };
        if found != self.manifest.stored.sha256 {
            return Err(RetrieveError::Stored {
                id: self.id,
                store: self.store,
                size_bytes: read,
                expected_bytes: self.manifest.stored.size_bytes,
                found,
                expected: self.manifest.stored.sha256,
            });
        }
        let landed = unpacked?;
        let found = hex(&landed.digests.file_sha256);
        if found != self.manifest.plain.sha256 {
            return Err(RetrieveError::Plain {
                id: self.id,
                size_bytes: landed.digests.size_bytes,
                found,
                expected: self.manifest.plain.sha256,
            });
        }
        Ok(landed)
    }

    fn unpack(&self, ground: &Ground, stored: &mut DigestReader) -> Result<Landed, RetrieveError> {
        let mut plain = pack::unpack(stored, &self.identities)
            .map_err(|source| RetrieveError::Unpack { id: self.id.clone(), source })?;
        // A forged frame may unpack to anything: no more than the manifest promises goes to disk.
        let promised = self.manifest.plain.size_bytes;
        let torn = |source| RetrieveError::Torn { id: self.id.clone(), source };
        landing::land(&mut *plain, promised, ground).map_err(|failure| match failure {
            Failure::Read(source) => torn(source),
            Failure::TooLong => torn(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it unpacks to more than the {promised} bytes that its manifest names"),
            )),
            Failure::Write(source) => RetrieveError::Write { path: self.target.clone(), source },
        })
    }
}

/// Counts and digests what is read through it.
pub(crate) struct DigestReader {
    source: ChunkReader,
    digest: Sha256,
    read: u64,
}

impl DigestReader {
    pub(crate) fn new(source: ChunkReader) -> Self {
        Self { source, digest: Sha256::new(), read: 0 }
    }

    /// Bytes read, and their SHA-256 in hex.
    pub(crate) fn finish(self) -> (u64, String) {
        (self.read, hex(&self.digest.finalize()))
    }
}

impl Read for DigestReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.digest.update(&buffer[..count]);
        self.read += count as u64;
        Ok(count)
    }
}
