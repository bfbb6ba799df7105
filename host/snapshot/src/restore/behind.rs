//! Writing a large new file front to back, on a thread of its own, so that what makes the content and the disk work at the
//! same time.
//!
//! A fast disk is written past the page cache (`O_DIRECT`): to copy into the cache would take longer than the disk does. A
//! slow one is written through it: the copying costs nothing then, and the etcd that starts on the file finds it in memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// What is written at once: long enough for any disk.
const PIECE_BYTES: usize = 4 << 20;
/// Pieces on their way.
const PIECES: usize = 3;
/// After this much it is known whether the disk is fast.
const TRIAL_BYTES: u64 = 64 << 20;
/// The time that a fast disk takes for [`TRIAL_BYTES`] at most: half a gigabyte a second. Then the database is also read
/// back soon enough.
const TRIAL_TIME: Duration = Duration::from_millis(128);
/// How much goes through the page cache between two asks to write it out.
const SYNC_EVERY_BYTES: usize = 64 << 20;

/// Where the content goes.
pub(super) struct WriteBehind {
    piece: Piece,
    offset: u64,
    full: SyncSender<(u64, Piece)>,
    empty: Receiver<Piece>,
}

/// Memory that begins at a page, as direct writes want it.
struct Piece {
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
}

const ALIGNMENT: usize = 4096;

impl Piece {
    fn new() -> Self {
        let bytes = vec![0; PIECE_BYTES + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, filled: 0 }
    }

    fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start + self.filled..self.start + PIECE_BYTES]
    }

    fn content(&self) -> &[u8] {
        &self.bytes[self.start..][..self.filled]
    }
}

/// Has `make` give the content of the new, empty file `file` at `path`.
///
/// # Errors
/// What `make` gives, or else what kept the file from being written.
pub(super) fn write_behind<T, E: From<io::Error>>(
    file: &File,
    path: &Path,
    make: impl FnOnce(&mut WriteBehind) -> Result<T, E>,
) -> Result<T, E> {
    thread::scope(|scope| {
        let (full, to_write) = sync_channel::<(u64, Piece)>(PIECES);
        let (written, empty) = sync_channel::<Piece>(PIECES);
        for _ in 1..PIECES {
            // There is room for all of them.
            let _ = written.send(Piece::new());
        }
        let writer = scope.spawn(move || {
            let mut disk = Disk::new(file, path);
            while let Ok((offset, mut piece)) = to_write.recv() {
                disk.write(offset, piece.content())?;
                piece.filled = 0;
                // At the end nobody wants it back.
                let _ = written.send(piece);
            }
            Ok(())
        });
        let mut out = WriteBehind { piece: Piece::new(), offset: 0, full, empty };
        let made = make(&mut out).and_then(|made| out.hand_on().map(|()| made).map_err(E::from));
        drop(out);
        let finished: io::Result<()> = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A writer that failed is why nothing more could be handed on.
        finished?;
        made
    })
}

impl WriteBehind {
    /// Where the next bytes are to be put; never empty.
    pub(super) fn space(&mut self) -> io::Result<&mut [u8]> {
        if self.piece.filled == PIECE_BYTES {
            self.hand_on()?;
            self.piece = match self.empty.try_recv() {
                Ok(piece) => piece,
                Err(TryRecvError::Empty) => self.empty.recv().map_err(|_| ended())?,
                Err(TryRecvError::Disconnected) => return Err(ended()),
            };
        }
        Ok(self.piece.space())
    }

    /// So many bytes were put there.
    pub(super) fn advance(&mut self, count: usize) {
        self.piece.filled = (self.piece.filled + count).min(PIECE_BYTES);
    }

    fn hand_on(&mut self) -> io::Result<()> {
        // An empty piece in its place: it is exchanged for a real one when there is more to come.
        let nothing = Piece { bytes: Vec::new(), start: 0, filled: PIECE_BYTES };
        let piece = std::mem::replace(&mut self.piece, nothing);
        let offset = self.offset;
        self.offset += piece.filled as u64;
        self.full.send((offset, piece)).map_err(|_| ended())
    }
}

fn ended() -> io::Error {
    io::Error::other("the file cannot be written")
}

impl io::Write for WriteBehind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let space = self.space()?;
        let count = bytes.len().min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        self.advance(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Disk<'f> {
    file: &'f File,
    /// The same file past the page cache, as long as that is the better way.
    direct: Option<File>,
    direct_bytes: u64,
    direct_time: Duration,
    since_sync: usize,
}

impl<'f> Disk<'f> {
    fn new(file: &'f File, path: &Path) -> Self {
        Self { file, direct: open_direct(path), direct_bytes: 0, direct_time: Duration::ZERO, since_sync: 0 }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(direct) = self.direct.as_ref().filter(|_| bytes.len().is_multiple_of(ALIGNMENT)) {
            let began = Instant::now();
            match direct.write_all_at(bytes, offset) {
                Ok(()) => {
                    self.direct_bytes += bytes.len() as u64;
                    self.direct_time += began.elapsed();
                    if self.direct_bytes == TRIAL_BYTES && self.direct_time > TRIAL_TIME {
                        self.direct = None;
                    }
                    return Ok(());
                }
                // The file system opens such files and does not write them, or wants other places.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.direct = None,
                Err(error) => return Err(error),
            }
        }
        self.file.write_all_at(bytes, offset)?;
        self.since_sync += bytes.len();
        if self.since_sync >= SYNC_EVERY_BYTES {
            self.since_sync = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(flags).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn written(lengths: &[usize]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create_new(&path).unwrap();
        let mut expected = Vec::new();
        let made: io::Result<()> = write_behind(&file, &path, |out| {
            for (number, &length) in lengths.iter().enumerate() {
                let content: Vec<u8> = (0..length).map(|at| (at / 7 + number) as u8).collect();
                out.write_all(&content)?;
                expected.extend(content);
            }
            Ok(())
        });
        made.unwrap();
        assert!(fs::read(&path).unwrap() == expected, "{lengths:?}");
    }

    #[test]
    fn all_is_written_in_order_whatever_the_pieces() {
        written(&[]);
        written(&[1]);
        written(&[PIECE_BYTES]);
        written(&[PIECE_BYTES * 5]);
        written(&[PIECE_BYTES - 1, 4096, PIECE_BYTES * 4 + 17, 3]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        File::create_new(&path).unwrap();
        // Open for reading alone; and by a path where there is none to open another way.
        let file = File::open(&path).unwrap();
        let made: io::Result<()> = write_behind(&file, &directory.path().join("none"), |out| {
            out.write_all(&vec![1; PIECE_BYTES * 8])
        });
        assert!(made.unwrap_err().raw_os_error().is_some(), "the cause is lost");
    }

    #[test]
    fn what_the_content_fails_with_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create_new(&path).unwrap();
        let made: io::Result<()> = write_behind(&file, &path, |out| {
            out.write_all(&[1; 10])?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(made.unwrap_err().to_string(), "no more");
    }
}
