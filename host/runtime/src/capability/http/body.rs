//! Bodies with a bound on their bytes, and on how long the other side may stand still.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::Traffic;

/// What a guest sends, counted.
pub(super) struct Sent {
    body: WasiBody,
    traffic: Arc<Traffic>,
    progress: Progress,
}

impl Sent {
    /// `is_sent`: whether the body goes over the wire at all, and is asked for its bytes.
    pub(super) fn new(body: WasiBody, is_sent: bool, traffic: Arc<Traffic>) -> (Sent, Progress) {
        let progress = Progress::new(!is_sent || body.is_end_stream());
        (Sent { body, traffic, progress: progress.clone() }, progress)
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.progress.set(if frame.is_pending() { Turn::Guest } else { Turn::Server });
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.traffic.pace.moved();
            if !self.traffic.sent.take(data.len() as u64) {
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.traffic.sent.limit)))));
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How far a request has been sent. Clones are the same one.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<(Turn, Instant)>>);

/// Who has to do something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The guest: the body's next bytes are not there yet.
    Guest,
    /// The server: there are bytes for it to take, or it has them all and is to answer.
    Server,
}

impl Progress {
    fn new(whole: bool) -> Progress {
        let turn = if whole { Turn::Server } else { Turn::Guest };
        Progress(Arc::new(Mutex::new((turn, Instant::now()))))
    }

    fn set(&self, turn: Turn) {
        *self.lock() = (turn, Instant::now());
    }

    /// Returns once it has been the server's turn for so long, with nothing taken and nothing answered.
    pub(super) async fn server_stalled(&self, patience: Duration) {
        loop {
            let (turn, since) = *self.lock();
            let left = match turn {
                Turn::Guest => patience,
                Turn::Server => patience.saturating_sub(since.elapsed()),
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// A pair that is replaced as one is whole whoever panicked.
    fn lock(&self) -> MutexGuard<'_, (Turn, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a server answers, counted and not waited for too long.
pub(super) struct Received {
    body: hyper::body::Incoming,
    traffic: Arc<Traffic>,
    patience: Duration,
    /// While the next bytes are waited for. A guest that reads slowly is not the server's fault.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Received {
    pub(super) fn new(body: hyper::body::Incoming, traffic: Arc<Traffic>, patience: Duration) -> Received {
        Received { body, traffic, patience, pause: None }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_pending() {
            let patience = self.patience;
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            return match pause.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                Poll::Pending => Poll::Pending,
            };
        }
        self.pause = None;
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.traffic.pace.moved();
                if !self.traffic.received.take(length) {
                    let limit = self.traffic.received.limit;
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(limit)))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            other => other.map(|ended| ended.map(|error| error.map_err(Error::Hyper))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_server_is_not_blamed_for_what_a_guest_has_not_sent() {
        Progress::new(true).server_stalled(PATIENCE).await;
        let progress = Progress::new(false);
        let blamed = || tokio::time::timeout(10 * PATIENCE, progress.server_stalled(PATIENCE));
        assert!(blamed().await.is_err(), "the guest takes its time");
        progress.set(Turn::Server);
        progress.server_stalled(PATIENCE).await;
        progress.set(Turn::Guest);
        assert!(blamed().await.is_err(), "the guest takes its time again");
    }
}
