//! `holdfast:store/transfer`: an object's bytes on their way into a store and out of it, piece by piece.
//!
//! A piece waits until the other side has room, so memory stays the same however large the object is. What is still missing
//! is never taken for an end: a body ends when its writer says so, and whoever vanishes before has broken it off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use wasmtime::component::{HasSelf, Linker, Resource};

use crate::bindings::store::holdfast::store::transfer::{self, Error};
use crate::call::CallState;
use crate::pace::Pace;
use crate::text;

/// The most that is handed over at once, in either direction.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// How much of a tag is kept. Those of servers have some forty bytes.
const TAG_BYTES: usize = 256;

/// Adds the interface.
pub(crate) fn add(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    transfer::add_to_linker::<CallState, HasSelf<CallState>>(linker, |state| state)
}

/// What is handed to a store that takes an object.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// That was all. Without it, the object is not whole, whatever else happens.
    End,
    /// There will be no more, for this reason.
    Broken(String),
}

/// What a store hands out of an object.
#[derive(Debug)]
pub enum Got {
    /// What is read, before its first bytes.
    Begun {
        /// The size of the whole object.
        size_bytes: u64,
        /// What tells it from another one of the same path, if the store knows.
        tag: Option<String>,
    },
    /// The next bytes: at least one.
    Bytes(Bytes),
}

/// What a guest has taken of a body.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    bytes: AtomicU64,
    ended: AtomicBool,
}

impl Taken {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it was read to its end.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// The bytes to be stored.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Body {
    source: mpsc::Receiver<Piece>,
    /// Of the last piece, what did not fit into the answer.
    left: Bytes,
    /// Why there are no more.
    broken: Option<String>,
    size_bytes: Option<u64>,
    taken: Arc<Taken>,
}

impl Body {
    pub(crate) fn new(source: mpsc::Receiver<Piece>, size_bytes: Option<u64>) -> (Body, Arc<Taken>) {
        let taken = Arc::<Taken>::default();
        let body = Body { source, left: Bytes::new(), broken: None, size_bytes, taken: Arc::clone(&taken) };
        (body, taken)
    }

    /// At least one byte, and at most `most`; none at the end.
    async fn read(&mut self, most: usize, pace: &Pace) -> Result<Bytes, Error> {
        while self.left.is_empty() && !self.taken.ended() {
            if let Some(reason) = &self.broken {
                return Err(error("broken", format!("the body broke off: {reason}")));
            }
            let next = {
                // Who makes the bytes is waited for, not the guest.
                let _waiting = pace.waiting();
                self.source.recv().await
            };
            match next {
                Some(Piece::Bytes(bytes)) => self.left = bytes,
                Some(Piece::End) => self.taken.ended.store(true, Ordering::Relaxed),
                Some(Piece::Broken(reason)) => self.broken = Some(reason),
                None => self.broken = Some("whoever sent it has gone".to_owned()),
            }
        }
        let piece = self.left.split_to(most.min(self.left.len()));
        self.taken.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        pace.moved();
        Ok(piece)
    }
}

/// Takes the bytes that were asked for.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Sink {
    reader: mpsc::Sender<Got>,
    begun: bool,
}

impl Sink {
    pub(crate) fn new(reader: mpsc::Sender<Got>) -> Sink {
        Sink { reader, begun: false }
    }

    async fn hand(&self, got: Got, pace: &Pace) -> Result<(), Error> {
        // Who reads is waited for, not the guest.
        let sent = {
            let _waiting = pace.waiting();
            self.reader.send(got).await
        };
        pace.moved();
        sent.map_err(|_| error("closed", "nobody reads on"))
    }
}

fn error(code: &str, message: impl Into<String>) -> Error {
    Error { code: code.into(), message: message.into() }
}

impl transfer::Host for CallState {}

impl transfer::HostBody for CallState {
    fn size_bytes(&mut self, body: Resource<Body>) -> wasmtime::Result<Option<u64>> {
        self.meter.host_call()?;
        Ok(self.table.get(&body)?.size_bytes)
    }

    async fn read(
        &mut self,
        body: Resource<Body>,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let most = (max_bytes as usize).clamp(1, PIECE_BYTES);
        let pace = self.pace.clone();
        let read = self.table.get_mut(&body)?.read(most, &pace).await;
        Ok(read.map(Into::into))
    }

    fn drop(&mut self, body: Resource<Body>) -> wasmtime::Result<()> {
        self.table.delete(body)?;
        Ok(())
    }
}

impl transfer::HostSink for CallState {
    async fn begin(
        &mut self,
        sink: Resource<Sink>,
        size_bytes: u64,
        tag: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.meter.host_call()?;
        let pace = self.pace.clone();
        let sink = self.table.get_mut(&sink)?;
        if std::mem::replace(&mut sink.begun, true) {
            return Ok(Err(error("misuse", "`begin` was called before")));
        }
        let tag = (!tag.is_empty()).then(|| text::one_line(&tag, TAG_BYTES));
        Ok(sink.hand(Got::Begun { size_bytes, tag }, &pace).await)
    }

    async fn write(&mut self, sink: Resource<Sink>, bytes: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        let pace = self.pace.clone();
        let sink = self.table.get_mut(&sink)?;
        if !sink.begun {
            return Ok(Err(error("misuse", "`begin` comes before the first bytes")));
        }
        if bytes.len() > PIECE_BYTES {
            return Ok(Err(error("misuse", format!("at most {PIECE_BYTES} bytes are taken at once"))));
        }
        if bytes.is_empty() {
            // Nothing is not progress, and a guest that writes it for ever is bounded like any other call.
            self.meter.host_call()?;
            return Ok(Ok(()));
        }
        Ok(sink.hand(Got::Bytes(bytes.into()), &pace).await)
    }

    fn drop(&mut self, sink: Resource<Sink>) -> wasmtime::Result<()> {
        self.table.delete(sink)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_end_that_was_said_is_one() {
        let pace = Pace::default();
        let (sender, receiver) = mpsc::channel(4);
        let (mut body, taken) = Body::new(receiver, None);
        sender.send(Piece::Bytes(Bytes::from_static(b"abc"))).await.expect("room");
        assert_eq!(body.read(2, &pace).await.expect("bytes"), "ab");
        assert_eq!(body.read(2, &pace).await.expect("bytes"), "c");
        drop(sender);
        for _ in 0..2 {
            assert_eq!(body.read(2, &pace).await.expect_err("broken").code, "broken");
        }
        assert_eq!((taken.bytes(), taken.ended()), (3, false));

        let (sender, receiver) = mpsc::channel(4);
        let (mut body, taken) = Body::new(receiver, Some(1));
        sender.send(Piece::Bytes(Bytes::from_static(b"x"))).await.expect("room");
        sender.send(Piece::End).await.expect("room");
        drop(sender);
        assert_eq!(body.read(9, &pace).await.expect("bytes"), "x");
        for _ in 0..2 {
            assert!(body.read(9, &pace).await.expect("the end").is_empty());
        }
        assert!(taken.ended());
    }
}
