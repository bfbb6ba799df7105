//! The scratch file: made private, written and digested off the async threads, gone unless it is kept.

use std::fs::{DirBuilder, File, OpenOptions};
use std::future::Future;
use std::io::{self, IoSlice, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::digest::{Digests, TrailerDigest};
use super::exactly;
use crate::pipeline::growing::Growth;
use crate::pipeline::preflight::free_bytes;

pub(super) use super::digest::Digests as Written;

/// Pieces that are written, and then digested, at once. A piece is an HTTP/2 frame, 16 KiB as etcd sends them: together they
/// are few enough that the digest finds them in the processor's cache, and enough for the page cache to take them in one.
const WRITE_PIECES: usize = 8;

/// The scratch file cannot be made or written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The directory is not there and cannot be made.
    #[error("the scratch directory `{}` cannot be made", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is there already: another run's, or a killed one's.
    #[error("the scratch file `{}` is there already", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("the scratch file `{}` cannot be made", .path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The disk, or the quota on it, is full.
    #[error("no room for the scratch file `{}`: {}, and {} are free", .path.display(), needed(*.needed_bytes), exactly(*.free_bytes))]
    Full {
        /// The file.
        path: PathBuf,
        /// The size of the snapshot, when the stream had told it.
        needed_bytes: Option<u64>,
        /// What is free for us.
        free_bytes: u64,
    },
    /// The disk takes nothing any more.
    #[error("the scratch file `{}` took no byte for {after:?}", .path.display())]
    Stalled {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// Any other failure.
    #[error("the scratch file `{}` cannot be written", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl WriteError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Directory { .. } | Self::Create { .. } => {
                "make the directory writable for this user, or set `scratch` in `[backup]` to another"
                    .to_owned()
            }
            Self::Exists { .. } => "no other run may use it; remove the file when none does".to_owned(),
            Self::Full { .. } => {
                "free some space, or set `scratch` in `[backup]` to a larger disk".to_owned()
            }
            Self::Stalled { .. } | Self::Io { .. } => {
                "check the disk; `scratch` in `[backup]` names another".to_owned()
            }
        }
    }

    pub(super) fn stalled(path: &Path, after: Duration) -> Self {
        Self::Stalled { path: path.to_owned(), after }
    }
}

fn needed(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "more is needed".to_owned(), |bytes| format!("{} are needed", exactly(bytes)))
}

/// Pieces of the stream on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Batch {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The file of one fetch. Removed when dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    file: Arc<File>,
    kept: AtomicBool,
}

impl Scratch {
    /// Makes the file, and its directory when that is not there.
    pub(super) fn create(path: &Path) -> Result<Self, WriteError> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|source| WriteError::Directory { path: directory.to_owned(), source })?;
        }
        let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        match opened {
            Ok(file) => {
                Ok(Self { path: path.to_owned(), file: Arc::new(file), kept: AtomicBool::new(false) })
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(WriteError::Exists { path: path.to_owned() })
            }
            Err(error) => match failure(path, None, error) {
                WriteError::Io { path, source } => Err(WriteError::Create { path, source }),
                full => Err(full),
            },
        }
    }

    /// Leaves the file in place.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Takes the room before the bytes come: a disk that is too small is told at once, and the file lies in one piece.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<(), WriteError> {
        let file = Arc::clone(&self.file);
        let reserve = move || rustix::fs::fallocate(&*file, FallocateFlags::KEEP_SIZE, 0, bytes);
        match tokio::task::spawn_blocking(reserve).await {
            Ok(Err(error @ (Errno::NOSPC | Errno::DQUOT))) => {
                Err(failure(&self.path, Some(bytes), error.into()))
            }
            // Not every file system can: then writing tells.
            _ => Ok(()),
        }
    }

    /// Empties the file and starts to write what comes, until the channel is closed. Who follows the file hears of it.
    pub(super) fn write(
        &self,
        incoming: mpsc::Receiver<Batch>,
        growth: &Arc<Growth>,
    ) -> Result<Writer, WriteError> {
        let io = |source| WriteError::Io { path: self.path.clone(), source };
        // Told before the file is emptied: then nobody takes what follows for more of the attempt before.
        growth.begin(Arc::clone(&self.file));
        self.file.set_len(0).map_err(io)?;
        let mut file = &*self.file;
        file.rewind().map_err(io)?;
        let file = Arc::clone(&self.file);
        let path = self.path.clone();
        let growth = Arc::clone(growth);
        let work = move || write_all(&file, incoming, &growth).map_err(|source| failure(&path, None, source));
        Ok(Writer { handle: tokio::task::spawn_blocking(work), path: self.path.clone() })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            // It may be gone already, and there is nobody to tell.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The writing thread's result.
pub(super) struct Writer {
    handle: JoinHandle<Result<Digests, WriteError>>,
    path: PathBuf,
}

impl Future for Writer {
    type Output = Result<Written, WriteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(context).map(|joined| {
            joined.unwrap_or_else(|error| {
                Err(WriteError::Io { path: self.path.clone(), source: io::Error::other(error) })
            })
        })
    }
}

fn write_all(mut file: &File, mut incoming: mpsc::Receiver<Batch>, growth: &Growth) -> io::Result<Digests> {
    let mut digest = TrailerDigest::default();
    while let Some(batch) = incoming.blocking_recv() {
        for pieces in batch.pieces.chunks(WRITE_PIECES) {
            write_pieces(&mut file, pieces)?;
            growth.advance(pieces.iter().map(|piece| piece.len() as u64).sum());
            for piece in pieces {
                digest.update(piece);
            }
        }
    }
    Ok(digest.finish())
}

fn write_pieces(file: &mut &File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A full disk says what is needed and what is there.
fn failure(path: &Path, needed_bytes: Option<u64>, source: io::Error) -> WriteError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            let free_bytes = free_bytes(&path).unwrap_or(0);
            WriteError::Full { path, needed_bytes, free_bytes }
        }
        _ => WriteError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pipeline::growing::growing;

    #[tokio::test]
    async fn the_file_is_private_and_goes_unless_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scratch/file");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let scratch = Scratch::create(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert!(matches!(Scratch::create(&path), Err(WriteError::Exists { .. })));
        assert!(path.exists(), "a second fetch does not take the first one's file away");
        drop(scratch);
        assert!(!path.exists());

        let scratch = Scratch::create(&path).unwrap();
        scratch.keep();
        drop(scratch);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_second_attempt_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let scratch = Scratch::create(&path).unwrap();
        let growth = Arc::new(growing().0);
        for content in [vec![1_u8; 3000], vec![2_u8; 1024]] {
            let (batches, incoming) = mpsc::channel(1);
            let writer = scratch.write(incoming, &growth).unwrap();
            scratch.reserve(4000).await.unwrap();
            for piece in content.chunks(100) {
                let mut batch = Batch::default();
                batch.push(Bytes::copy_from_slice(&piece[..piece.len() / 2]));
                batch.push(Bytes::copy_from_slice(&piece[piece.len() / 2..]));
                batches.send(batch).await.unwrap();
            }
            drop(batches);
            let written = writer.await.unwrap();
            assert_eq!(written.size_bytes, content.len() as u64);
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_full_disk_tells_what_is_needed_and_what_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let error = failure(&path, Some(5000), io::ErrorKind::StorageFull.into());
        let text = error.to_string();
        assert!(text.starts_with(&format!("no room for the scratch file `{}`: ", path.display())), "{text}");
        assert!(text.contains("(5000 bytes) are needed, and "), "{text}");
        assert!(text.ends_with(" are free"), "{text}");
    }
}
