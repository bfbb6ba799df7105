//! One object, or a range of it, out of ranges that are fetched side by side and handed on in order.
//!
//! The first range tells the object's size and its `ETag`; all others ask for that very `ETag`, so that no two ranges come of
//! different objects. A range whose connection breaks or stands still is asked for again from where it broke off. Each piece
//! is handed on as soon as all before it have been: in memory lie at most the ranges that are on their way.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::bucket::{Bucket, size};
use super::errors::{Kind, S3Error};
use crate::store::{ByteStream, ObjectPath, StoreError};

/// Reads an object, or a range of its bytes.
pub(super) async fn get(
    bucket: &Arc<Bucket>,
    path: &ObjectPath,
    range: Option<Range<u64>>,
) -> Result<ByteStream, StoreError> {
    let wanted = range.unwrap_or(0..u64::MAX);
    if wanted.is_empty() {
        return Ok(Box::pin(futures::stream::empty()));
    }
    let key = bucket.key(path);
    let first = wanted.start..wanted.end.min(wanted.start.saturating_add(bucket.options.part_bytes));
    let opened = begin(bucket, &key, &first).await;
    let (output, total) = match opened {
        Ok(opened) => opened,
        // An empty object has no range at all, and a range from its end on is empty.
        Err(error) if error.kind == Kind::Range => {
            return Ok(Box::pin(futures::stream::empty()));
        }
        Err(error) => return Err(bucket.failed(path, "read", error)),
    };
    let end = wanted.end.min(total);
    let object = Object { bucket: Arc::clone(bucket), key, etag: output.e_tag().map(str::to_owned) };
    Ok(Box::pin(stream(Arc::new(object), first, end, output)))
}

/// Asks for the first range, on a task of its own: to make a request and to read its answer takes a processor for a while, and where
/// many small objects are read at once, all processors shall.
async fn begin(
    bucket: &Arc<Bucket>,
    key: &str,
    range: &Range<u64>,
) -> Result<(GetObjectOutput, u64), S3Error> {
    let (bucket, key, range) = (Arc::clone(bucket), key.to_owned(), range.clone());
    let mut opening = JoinSet::new();
    opening.spawn(async move { open(&bucket, &key, &range, None).await });
    match opening.join_next().await {
        Some(Ok(opened)) => opened,
        // One that ended without a word has panicked.
        _ => Err(S3Error::new(Kind::Request, "a download ended without a reason")),
    }
}

/// The object that all ranges come of.
struct Object {
    bucket: Arc<Bucket>,
    key: String,
    etag: Option<String>,
}

/// A range on its way. Dropped, it is given up.
struct Fetching {
    task: JoinHandle<()>,
    /// Its pieces, in order; what is in here is bounded by the length of the range.
    pieces: mpsc::UnboundedReceiver<io::Result<Bytes>>,
    /// Bytes that are still to be handed on.
    left: u64,
}

impl Fetching {
    fn begin(object: Arc<Object>, range: Range<u64>, opened: Option<GetObjectOutput>) -> Self {
        let (sender, pieces) = mpsc::unbounded_channel();
        let left = range.end - range.start;
        let task = tokio::spawn(async move {
            if let Err(error) = fetch(&object, range, opened, &sender).await {
                // Nobody there any more: then it does not matter.
                let _ = sender.send(Err(error.into()));
            }
        });
        Self { task, pieces, left }
    }

    /// The next piece; none when all were handed on.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.left == 0 {
            return None;
        }
        let piece = self.pieces.recv().await;
        // One that ended early without a word has panicked.
        let piece = piece.unwrap_or_else(|| Err(io::Error::other("a download ended without a reason")));
        if let Ok(piece) = &piece {
            self.left = self.left.saturating_sub(piece.len() as u64);
        }
        Some(piece)
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct State {
    object: Arc<Object>,
    fetching: VecDeque<Fetching>,
    /// Where the next range begins.
    next: u64,
    end: u64,
}

impl State {
    /// Keeps as many ranges on their way as are allowed.
    fn fill(&mut self) {
        let options = &self.object.bucket.options;
        while self.fetching.len() < options.parallel && self.next < self.end {
            let range = self.next..self.end.min(self.next.saturating_add(options.part_bytes));
            self.next = range.end;
            self.fetching.push_back(Fetching::begin(Arc::clone(&self.object), range, None));
        }
    }

    /// The next piece of the object; none at its end.
    async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            self.fill();
            if let Some(piece) = self.fetching.front_mut()?.next().await {
                return Some(piece);
            }
            self.fetching.pop_front();
        }
    }
}

fn stream(
    object: Arc<Object>,
    first: Range<u64>,
    end: u64,
    output: GetObjectOutput,
) -> impl futures::Stream<Item = io::Result<Bytes>> {
    let first = first.start..first.end.min(end);
    let next = first.end;
    let begun = Fetching::begin(Arc::clone(&object), first, Some(output));
    let state = State { object, fetching: VecDeque::from([begun]), next, end };
    futures::stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        let piece = state.piece().await?;
        // After an error nothing follows.
        let state = if piece.is_ok() { Some(state) } else { None };
        Some((piece, state))
    })
}

/// Sends on all bytes of a range, however often the connection breaks as long as something comes.
async fn fetch(
    object: &Object,
    range: Range<u64>,
    opened: Option<GetObjectOutput>,
    pieces: &mpsc::UnboundedSender<io::Result<Bytes>>,
) -> Result<(), S3Error> {
    let bucket = &object.bucket;
    let mut at = range.start;
    let mut opened = opened;
    let mut barren = 0;
    while at < range.end {
        let output = match opened.take() {
            Some(output) => output,
            None => open(bucket, &object.key, &(at..range.end), object.etag.as_deref()).await?.0,
        };
        let before = at;
        match drain(bucket, output, range.end - at, pieces, &mut at).await {
            Ok(()) => break,
            Err(error) if at == before && barren + 1 >= bucket.options.attempts => return Err(error),
            Err(error) => {
                tracing::debug!(%error, key = object.key, at, "a download broke off and is taken up again");
                // What moves is worth another try however often; what does not, only a few.
                barren = if at > before { 0 } else { barren + 1 };
            }
        }
    }
    Ok(())
}

/// Reads a body to its end. What came before an error is kept.
async fn drain(
    bucket: &Bucket,
    mut output: GetObjectOutput,
    expected: u64,
    pieces: &mpsc::UnboundedSender<io::Result<Bytes>>,
    at: &mut u64,
) -> Result<(), S3Error> {
    let limit = bucket.options.stall_timeout;
    let mut left = expected;
    while left > 0 {
        let piece =
            tokio::time::timeout(limit, output.body.next()).await.map_err(|_| S3Error::stalled(limit))?;
        match piece {
            Some(Ok(mut piece)) => {
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= piece.len() as u64;
                *at += piece.len() as u64;
                // Whoever wanted it may have gone; then this is aborted.
                let _ = pieces.send(Ok(piece));
            }
            Some(Err(error)) => return Err(S3Error::broken_body(&error)),
            None => {
                return Err(S3Error::new(Kind::Connection, format!("the answer ended {left} bytes early")));
            }
        }
    }
    Ok(())
}

/// Asks for a range. Returns the answer and the size of the whole object.
async fn open(
    bucket: &Bucket,
    key: &str,
    range: &Range<u64>,
    etag: Option<&str>,
) -> Result<(GetObjectOutput, u64), S3Error> {
    let customer = bucket.customer_key()?;
    let header = format!("bytes={}-{}", range.start, range.end - 1);
    let output = bucket
        .call(|client: Client| {
            client
                .get_object()
                .bucket(&bucket.options.bucket)
                .key(key)
                .range(&header)
                .set_if_match(etag.map(str::to_owned))
                .set_sse_customer_algorithm(customer.algorithm.clone())
                .set_sse_customer_key(customer.key.clone())
                .set_sse_customer_key_md5(customer.md5.clone())
                .send()
        })
        .await
        .map_err(|error| match error.kind {
            Kind::Precondition => {
                S3Error::new(Kind::Precondition, "the object was replaced while it was read")
            }
            _ => error,
        })?;
    let total = match output.content_range() {
        // `bytes 0-99/1234`
        Some(text) => text
            .rsplit_once('/')
            .and_then(|(_, total)| total.parse().ok())
            .ok_or_else(|| S3Error::new(Kind::Refused, "the answer does not say how long the object is"))?,
        // A server may send the whole of a small object.
        None if range.start == 0 => size(output.content_length()),
        None => {
            return Err(S3Error::new(Kind::Refused, "the server gave the whole object for a range of it"));
        }
    };
    Ok((output, total))
}
