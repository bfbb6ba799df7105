//! The scratch file while it grows: the fetch writes it, the packing follows.
//!
//! Packing reads the file and not the stream, so that a slow store never holds up the stream, and with it the read
//! transaction that etcd keeps open for it. An attempt that fails empties the file for another member: whoever followed it
//! gets an error and begins anew.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// Bytes after which who follows is woken. It works on batches of this size anyway, and a wake-up costs as much as copying
/// some of it.
const WAKE_BYTES: u64 = 1 << 20;

/// How far the file is.
#[derive(Debug, Clone)]
enum State {
    /// Nothing came yet.
    Waiting,
    /// `bytes` of attempt `attempt` are there.
    Growing { attempt: u32, file: Arc<File>, bytes: u64 },
    /// The file is whole.
    Whole { attempt: u32, file: Arc<File>, bytes: u64 },
}

impl State {
    /// The attempt, its file, its bytes so far, and whether these are all.
    fn of_attempt(&self) -> Option<(u32, &Arc<File>, u64, bool)> {
        match self {
            Self::Waiting => None,
            Self::Growing { attempt, file, bytes } => Some((*attempt, file, *bytes, false)),
            Self::Whole { attempt, file, bytes } => Some((*attempt, file, *bytes, true)),
        }
    }
}

/// The side that writes. Dropped before the file is whole, it ends those who follow with an error.
#[derive(Debug)]
pub struct Growth {
    state: watch::Sender<State>,
}

/// The side that follows.
#[derive(Debug, Clone)]
pub struct Follower {
    state: watch::Receiver<State>,
    /// The last attempt that was followed; none before the first.
    last: Option<u32>,
}

/// A file that is not there yet.
pub fn growing() -> (Growth, Follower) {
    let (sender, receiver) = watch::channel(State::Waiting);
    (Growth { state: sender }, Follower { state: receiver, last: None })
}

impl Growth {
    /// A new attempt begins: the file is empty.
    pub fn begin(&self, file: Arc<File>) {
        self.state.send_modify(|state| {
            let attempt = state.of_attempt().map_or(0, |(attempt, ..)| attempt + 1);
            *state = State::Growing { attempt, file, bytes: 0 };
        });
    }

    /// So many more bytes are in the file.
    pub fn advance(&self, more: u64) {
        self.state.send_if_modified(|state| {
            let State::Growing { bytes, .. } = state else { return false };
            let before = *bytes;
            *bytes += more;
            before == 0 || before / WAKE_BYTES != *bytes / WAKE_BYTES
        });
    }

    /// What is in the file is the whole of it, and has been judged good.
    pub fn complete(&self) {
        self.state.send_modify(|state| {
            if let State::Growing { attempt, file, bytes } = state {
                *state = State::Whole { attempt: *attempt, file: Arc::clone(file), bytes: *bytes };
            }
        });
    }
}

impl Follower {
    /// Waits for the first bytes of an attempt that was not followed yet. None when there will be no file.
    pub async fn next_attempt(&mut self) -> Option<FollowingReader> {
        let last = self.last;
        let begun = |state: &State| {
            state.of_attempt().is_some_and(|(attempt, _, bytes, _)| Some(attempt) != last && bytes > 0)
        };
        let state = self.state.wait_for(begun).await.ok()?.clone();
        let (attempt, file, ..) = state.of_attempt()?;
        self.last = Some(attempt);
        Some(FollowingReader {
            state: self.state.clone(),
            runtime: Handle::current(),
            attempt,
            file: Arc::clone(file),
            position: 0,
        })
    }

    /// Waits until the file is whole, and tells its size. None when it never will be.
    pub async fn whole(&mut self) -> Option<u64> {
        let state = self.state.wait_for(|state| matches!(state, State::Whole { .. })).await.ok()?;
        state.of_attempt().map(|(_, _, bytes, _)| bytes)
    }
}

/// Reads one attempt from its first byte to its last, on a blocking thread; waits where the writer has not come yet.
#[derive(Debug)]
pub struct FollowingReader {
    state: watch::Receiver<State>,
    runtime: Handle,
    attempt: u32,
    file: Arc<File>,
    position: u64,
}

/// Why a [`FollowingReader`] ended before the file's end.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot is fetched anew, or was given up")]
pub struct BrokenOff;

impl BrokenOff {
    /// Whether this is the reason of an error.
    pub fn is_reason_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

fn broken_off() -> io::Error {
    io::Error::other(BrokenOff)
}

impl FollowingReader {
    /// Bytes that can be read now, after waiting for the first of them; 0 at the end of the whole file.
    fn available(&mut self) -> io::Result<u64> {
        let (attempt, position) = (self.attempt, self.position);
        let moved = |state: &State| {
            state
                .of_attempt()
                .is_none_or(|(now, _, bytes, whole)| now != attempt || bytes > position || whole)
        };
        let state = self.runtime.block_on(self.state.wait_for(moved)).map_err(|_| broken_off())?;
        match state.of_attempt() {
            Some((now, _, bytes, _)) if now == attempt => Ok(bytes.saturating_sub(position)),
            _ => Err(broken_off()),
        }
    }

    /// Whether what was just read is of this attempt still: an attempt that follows empties the file first of all.
    fn is_current(&self) -> bool {
        self.state.borrow().of_attempt().is_some_and(|(attempt, ..)| attempt == self.attempt)
    }
}

impl Read for FollowingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.available()?;
        if available == 0 {
            return Ok(0);
        }
        let wanted = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        if !self.is_current() {
            return Err(broken_off());
        }
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the scratch file was cut"));
        }
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().unwrap())
    }

    async fn read_all(mut reader: FollowingReader) -> io::Result<Vec<u8>> {
        let work = move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    fn append(growth: &Growth, mut file: &File, bytes: &[u8]) {
        file.write_all(bytes).unwrap();
        growth.advance(bytes.len() as u64);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_follower_reads_what_was_there_and_what_comes() {
        let (growth, mut follower) = growing();
        let file = file();
        growth.begin(Arc::clone(&file));
        append(&growth, &file, b"what was there, ");
        let reader = follower.next_attempt().await.unwrap();
        let reading = tokio::spawn(read_all(reader));
        append(&growth, &file, b"what comes");
        growth.complete();
        assert_eq!(reading.await.unwrap().unwrap(), b"what was there, what comes");
        assert_eq!(follower.whole().await, Some(26));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn another_attempt_ends_the_one_before_and_is_followed_from_its_start() {
        let (growth, mut follower) = growing();
        let file = file();
        growth.begin(Arc::clone(&file));
        append(&growth, &file, b"half of the first");
        let first = follower.next_attempt().await.unwrap();
        let first = tokio::spawn(read_all(first));
        growth.begin(Arc::clone(&file));
        file.set_len(0).unwrap();
        let error = first.await.unwrap().unwrap_err();
        assert!(BrokenOff::is_reason_of(&error), "{error}");

        file.write_all_at(b"second", 0).unwrap();
        growth.advance(6);
        let second = follower.next_attempt().await.unwrap();
        growth.complete();
        assert_eq!(read_all(second).await.unwrap(), b"second");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_fetch_that_is_given_up_is_no_end() {
        let (growth, mut follower) = growing();
        let mut early = follower.clone();
        let file = file();
        growth.begin(Arc::clone(&file));
        append(&growth, &file, b"half");
        let reader = follower.next_attempt().await.unwrap();
        drop(growth);
        assert!(BrokenOff::is_reason_of(&read_all(reader).await.unwrap_err()));
        assert!(follower.next_attempt().await.is_none());
        assert_eq!(early.whole().await, None);
    }
}
