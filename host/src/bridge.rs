//! The one bridge between sync and async: bounded channels of byte chunks.
//!
//! Packing and unpacking are sync and run on blocking threads; stores are async. A full channel holds the faster side
//! back, so memory stays flat whatever the size.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use crate::store::ByteStream;

/// Bytes of one chunk. A chunk this small comes from the allocator's own pages and not from fresh ones of the kernel, and is
/// in the processor's cache when the other side takes it.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks under way in one channel: a megabyte, so that neither side waits for a hiccup of the other.
const CHANNEL_CHUNKS: usize = 8;

/// What goes through a channel. The end of a stream is a chunk of its own, an empty one: a writer that goes away without
/// [`ChunkWriter::finish`] has failed, and half a stream is never taken for a whole one.
pub type Chunk = io::Result<Bytes>;

/// A channel for one stream.
pub fn channel() -> (mpsc::Sender<Chunk>, mpsc::Receiver<Chunk>) {
    mpsc::channel(CHANNEL_CHUNKS)
}

/// The async side of a [`ChunkWriter`]'s channel as a stream.
pub fn stream(receiver: mpsc::Receiver<Chunk>) -> ByteStream {
    Box::pin(futures::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Ok(end)) if end.is_empty() => None,
            Some(chunk) => Some((chunk, Some(receiver))),
            None => Some((Err(io::Error::new(io::ErrorKind::Interrupted, "packing was given up")), None)),
        }
    }))
}

/// How long a reader may take nothing while others wait for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes the same bytes into several channels, from a blocking thread. A channel whose reader has gone is left out: its
/// reader knows why. So is one whose reader takes nothing for half a minute while there are others. When all have
/// gone, writing fails.
pub struct ChunkWriter {
    outlets: Vec<Option<Outlet>>,
    pending: BytesMut,
    patience: Duration,
}

/// One reader's channel.
pub struct Outlet {
    /// Where its chunks go.
    pub sender: mpsc::Sender<Chunk>,
    /// Told when the reader is given up.
    pub given_up: CancellationToken,
}

impl ChunkWriter {
    /// Writes into these.
    pub fn new(outlets: Vec<Outlet>) -> Self {
        Self {
            outlets: outlets.into_iter().map(Some).collect(),
            pending: BytesMut::with_capacity(CHUNK_BYTES),
            patience: PATIENCE,
        }
    }

    /// Hands over the rest and ends the streams well.
    pub fn finish(mut self) -> io::Result<()> {
        self.hand_over()?;
        self.send(&Bytes::new());
        Ok(())
    }

    fn hand_over(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            let chunk = std::mem::replace(&mut self.pending, BytesMut::with_capacity(CHUNK_BYTES)).freeze();
            self.send(&chunk);
        }
        if self.outlets.iter().all(Option::is_none) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the bytes any more"));
        }
        Ok(())
    }
}

impl ChunkWriter {
    /// Those that have room get it at once; then those are waited for that have none.
    fn send(&mut self, chunk: &Bytes) {
        let mut full = Vec::new();
        for (index, slot) in self.outlets.iter_mut().enumerate() {
            match slot.as_ref().map(|outlet| outlet.sender.try_send(Ok(chunk.clone()))) {
                None | Some(Ok(())) => {}
                Some(Err(TrySendError::Full(_))) => full.push(index),
                Some(Err(TrySendError::Closed(_))) => *slot = None,
            }
        }
        for index in full {
            let alone = self.outlets.iter().flatten().count() == 1;
            let Some(outlet) = &self.outlets[index] else { continue };
            let taken = if alone {
                outlet.sender.blocking_send(Ok(chunk.clone())).is_ok()
            } else {
                let sending = tokio::time::timeout(self.patience, outlet.sender.send(Ok(chunk.clone())));
                let sent = tokio::runtime::Handle::current().block_on(sending);
                if sent.is_err() {
                    outlet.given_up.cancel();
                }
                matches!(sent, Ok(Ok(())))
            };
            if !taken {
                self.outlets[index] = None;
            }
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.pending.len();
        let taken = bytes.len().min(room);
        self.pending.extend_from_slice(&bytes[..taken]);
        if self.pending.len() == CHUNK_BYTES {
            self.hand_over()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a channel from a blocking thread.
pub struct ChunkReader {
    receiver: mpsc::Receiver<Chunk>,
    current: Bytes,
}

impl ChunkReader {
    /// Reads from this.
    pub fn new(receiver: mpsc::Receiver<Chunk>) -> Self {
        Self { receiver, current: Bytes::new() }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Feeds a stream into a channel until it ends, fails, or nobody reads any more. `passed` hears of the bytes of each chunk.
pub async fn feed(mut body: ByteStream, sender: mpsc::Sender<Chunk>, passed: impl Fn(u64)) {
    while let Some(chunk) = body.next().await {
        let failed = chunk.is_err();
        passed(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        if sender.send(chunk).await.is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlet() -> (Outlet, mpsc::Receiver<Chunk>) {
        let (sender, receiver) = channel();
        (Outlet { sender, given_up: CancellationToken::new() }, receiver)
    }

    #[tokio::test]
    async fn a_reader_that_hangs_holds_up_no_other() {
        let (hung_outlet, hung) = outlet();
        let given_up = hung_outlet.given_up.clone();
        let (living_outlet, living) = outlet();
        let sent: Vec<u8> = (0..3_500_000_u32).map(|index| (index % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::task::spawn_blocking(move || {
            let mut writer = ChunkWriter::new(vec![hung_outlet, living_outlet]);
            writer.patience = Duration::from_millis(20);
            writer.write_all(&sent)?;
            writer.finish()
        });
        assert!(collect(stream(living)).await.unwrap() == expected);
        writer.await.unwrap().unwrap();
        assert!(given_up.is_cancelled());
        // What it took so far is not taken for the whole.
        assert!(collect(stream(hung)).await.is_err());
    }

    async fn collect(mut body: ByteStream) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn every_reader_gets_every_byte() {
        let (first_sender, first) = outlet();
        let (second_sender, second) = outlet();
        let (gone_sender, gone) = outlet();
        drop(gone);
        let sent: Vec<u8> = (0..3_500_000_u32).map(|index| (index % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::task::spawn_blocking(move || {
            let mut writer = ChunkWriter::new(vec![first_sender, gone_sender, second_sender]);
            writer.write_all(&sent)?;
            writer.finish()
        });
        let (first, second) = tokio::join!(collect(stream(first)), collect(stream(second)));
        writer.await.unwrap().unwrap();
        assert!(first.unwrap() == expected && second.unwrap() == expected);
    }

    #[tokio::test]
    async fn a_writer_that_fails_is_no_end() {
        let (sender, receiver) = outlet();
        let writer = tokio::task::spawn_blocking(move || {
            ChunkWriter::new(vec![sender]).write_all(b"half").unwrap();
        });
        assert!(collect(stream(receiver)).await.is_err());
        writer.await.unwrap();
    }
}
