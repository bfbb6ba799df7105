//! Plain bytes on their way to disk: digested on one thread and written on another, while the next ones are decrypted and
//! decompressed. Each of the three takes about as long as the others: the page cache is filled no faster than that.
//!
//! What is to stay is also written out while it comes. The disk is then done shortly after the last byte, and whoever syncs the
//! file waits for little; the page cache still has all of it for the check that follows.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::pipeline::fetch::digest::{Digests, TrailerDigest};

/// Bytes handed over at once: few enough that they are still in the processor's cache when they are written.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces on their way.
const PIECES: usize = 8;
/// After so many bytes the disk is asked to take them.
const WRITE_OUT_BYTES: u64 = 32 << 20;

/// Where the bytes go.
#[derive(Debug)]
pub(crate) enum Ground {
    /// Nowhere: only their digest is wanted.
    Nowhere,
    /// Into a file that is read and then removed: if the disk never sees it, so much the better.
    Passing(File),
    /// Into a file that is to last.
    Lasting(File),
}

impl Ground {
    /// An empty file, open for writing.
    pub(crate) fn of(file: File, lasts: bool) -> Self {
        if lasts { Self::Lasting(file) } else { Self::Passing(file) }
    }
}

/// Why not all bytes have landed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// They could not be read.
    Read(io::Error),
    /// There were more than that.
    TooLong,
    /// They could not be written.
    Write(io::Error),
}

/// Bytes that have landed.
#[derive(Debug)]
pub(crate) struct Landed {
    /// What they were.
    pub(crate) digests: Digests,
    /// The disk at work.
    pub(crate) writing_out: Option<WritingOut>,
}

/// A disk that still takes what was written.
#[derive(Debug)]
pub struct WritingOut {
    ask: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl WritingOut {
    fn of(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (ask, asked) = sync_channel::<()>(1);
        let work = move || asked.iter().try_for_each(|()| file.sync_data());
        Ok(Self { ask, thread: thread::Builder::new().name("write-out".to_owned()).spawn(work)? })
    }

    /// Has the disk take what is there now. One that is still busy does so when it is done with what came before.
    fn begin(&self) {
        // Full: that is asked already. A thread that has ended has failed, and tells so at the end.
        let _ = self.ask.try_send(());
    }

    /// Waits for the disk. Blocks.
    ///
    /// # Errors
    /// What the disk did not take. It tells so only once: the file is of no use then.
    pub fn finish(self) -> io::Result<()> {
        drop(self.ask);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Reads to the end, but no more than `limit_bytes`.
pub(crate) fn land(plain: &mut dyn Read, limit_bytes: u64, ground: &Ground) -> Result<Landed, Failure> {
    let (file, writing_out) = match ground {
        Ground::Nowhere => (None, None),
        Ground::Passing(file) => (Some(file), None),
        Ground::Lasting(file) => (Some(file), Some(WritingOut::of(file).map_err(Failure::Write)?)),
    };
    let digests = thread::scope(|scope| {
        let (full, to_digest) = sync_channel::<Vec<u8>>(PIECES);
        let (digested, to_write) = sync_channel::<Vec<u8>>(PIECES);
        let (written, empty) = sync_channel::<Vec<u8>>(PIECES);
        for _ in 0..PIECES {
            // There is room for all of them.
            let _ = written.send(vec![0; PIECE_BYTES]);
        }
        let writing_out = writing_out.as_ref();
        let digesting = scope.spawn(move || digest_all(&to_digest, &digested));
        let writing = scope.spawn(move || write_all(&to_write, &written, file, writing_out));
        let read = read_all(plain, limit_bytes, &full, &empty);
        drop(full);
        let digests = digesting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A writer that failed is why nothing more could be handed on.
        written.map_err(Failure::Write)?;
        read.map(|()| digests)
    })?;
    Ok(Landed { digests, writing_out })
}

fn read_all(
    plain: &mut dyn Read,
    limit_bytes: u64,
    full: &SyncSender<Vec<u8>>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    let gone = || Failure::Write(io::ErrorKind::BrokenPipe.into());
    let mut left = limit_bytes;
    loop {
        let mut piece = empty.recv().map_err(|_| gone())?;
        piece.resize(PIECE_BYTES, 0);
        let count = fill(plain, &mut piece).map_err(Failure::Read)?;
        if count == 0 {
            return Ok(());
        }
        left = left.checked_sub(count as u64).ok_or(Failure::TooLong)?;
        piece.truncate(count);
        full.send(piece).map_err(|_| gone())?;
    }
}

/// Reads until the piece is full or nothing more comes.
fn fill(plain: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < piece.len() {
        match plain.read(&mut piece[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn digest_all(pieces: &Receiver<Vec<u8>>, digested: &SyncSender<Vec<u8>>) -> Digests {
    let mut digest = TrailerDigest::default();
    for piece in pieces {
        digest.update(&piece);
        if digested.send(piece).is_err() {
            // The writer has failed, and knows why.
            break;
        }
    }
    digest.finish()
}

fn ask(disk: Option<&WritingOut>) {
    if let Some(disk) = disk {
        disk.begin();
    }
}

fn write_all(
    pieces: &Receiver<Vec<u8>>,
    written: &SyncSender<Vec<u8>>,
    mut file: Option<&File>,
    writing_out: Option<&WritingOut>,
) -> io::Result<()> {
    let mut since = 0;
    for piece in pieces {
        if let Some(file) = &mut file {
            file.write_all(&piece)?;
        }
        since += piece.len() as u64;
        // At the end nobody wants it back.
        let _ = written.send(piece);
        if since >= WRITE_OUT_BYTES {
            since = 0;
            ask(writing_out);
        }
    }
    ask(writing_out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::pipeline::fetch::digest::Trailer;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index / 3) as u8).collect()
    }

    #[test]
    fn all_lands_in_order_whatever_its_length() {
        let directory = tempfile::tempdir().unwrap();
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES * (PIECES + 2) + 5] {
            let content = content(length);
            for lasting in [false, true] {
                let path = directory.path().join(format!("{length}-{lasting}"));
                let file = File::create_new(&path).unwrap();
                let landed = land(&mut &content[..], length as u64, &Ground::of(file, lasting)).unwrap();
                assert!(std::fs::read(&path).unwrap() == content, "{length}");
                assert_eq!(landed.digests.file_sha256, <[u8; 32]>::from(Sha256::digest(&content)));
                assert_eq!(landed.writing_out.is_some(), lasting);
                landed.writing_out.map_or(Ok(()), WritingOut::finish).unwrap();
            }
            assert_eq!(
                land(&mut &content[..], length as u64, &Ground::Nowhere).unwrap().digests.size_bytes,
                length as u64
            );
        }
    }

    #[test]
    fn the_hash_at_the_end_is_compared_on_the_way() {
        let image = content(PIECE_BYTES * 2);
        let file = [image.as_slice(), &Sha256::digest(&image)].concat();
        let digests = land(&mut &file[..], file.len() as u64, &Ground::Nowhere).unwrap().digests;
        assert_eq!(digests.trailer, Trailer::Right);
        assert_eq!(digests.image_sha256, <[u8; 32]>::from(Sha256::digest(&image)));
    }

    #[test]
    fn no_more_is_written_than_was_promised() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let ground = Ground::Passing(File::create_new(&path).unwrap());
        let endless = &mut io::repeat(7);
        let limit = PIECE_BYTES as u64 * 3;
        assert!(matches!(land(endless, limit, &ground), Err(Failure::TooLong)));
        assert!(std::fs::metadata(&path).unwrap().len() <= limit);
    }

    #[test]
    fn what_cannot_be_written_is_told_rather_than_that_nobody_takes_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"").unwrap();
        // Open for reading alone.
        for lasting in [false, true] {
            let file = File::open(&path).unwrap();
            let ground = Ground::of(file, lasting);
            let failure = land(&mut io::repeat(7).take(100 << 20), u64::MAX, &ground).unwrap_err();
            assert!(
                matches!(&failure, Failure::Write(error) if error.raw_os_error().is_some()),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        struct Torn;
        impl Read for Torn {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("torn"))
            }
        }
        let failure = land(&mut io::repeat(7).take(1000).chain(Torn), u64::MAX, &Ground::Nowhere);
        assert!(matches!(failure, Err(Failure::Read(error)) if error.to_string() == "torn"));
    }
}
