//! A stream of unknown length into one object: whole or not at all, in bounded memory.
//!
//! What fits into one part is one `PutObject`. More is a multipart upload, whose parts are filled from the stream and sent
//! side by side. There may be at most 10,000 of them, so their size doubles every thousand: parts of 8 MiB at the start
//! reach S3's largest object of 5 TiB. A larger part takes the room of several, so that memory stays the same until
//! one part alone exceeds it.
//!
//! Only what is sent is timed, never the stream: whoever fills it may take as long as it takes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::primitives::{ByteStream as SdkStream, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::StreamExt;
use http_body::{Body, Frame, SizeHint};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::bucket::{Begun, Bucket, MARK, pause_before};
use super::errors::{Kind, S3Error};
use super::{Algorithm, Checksums};
use crate::session::SessionId;
use crate::store::{ByteStream, ObjectPath, StoreError};

/// Most parts of one upload. S3's own limit.
const MAX_PARTS: u64 = 10_000;
/// Parts after which their size doubles.
const PARTS_BEFORE_GROWTH: u64 = 1000;
/// Bytes handed to the connection at a time: small, so that a slow connection is seen to move.
const FRAME_BYTES: usize = 64 << 10;
/// How often an object is looked for that the server says is there: some seconds in all.
const LOOKS: u32 = 5;
/// First room for a part that may turn out to be all there is.
const FIRST_ROOM_BYTES: usize = 64 << 10;

/// Writes a new object.
pub(super) async fn put(
    bucket: &Arc<Bucket>,
    path: &ObjectPath,
    body: ByteStream,
) -> Result<u64, StoreError> {
    let key = bucket.key(path);
    let failed = |error| bucket.failed(path, "write", error);
    // Told before the bytes are moved; the condition of the commit decides.
    if bucket.look(&key).await.map_err(failed)?.is_some() {
        return Err(StoreError::Exists { path: path.to_string() });
    }
    let mut source = Source { body, left: Bytes::new(), ended: false, read: 0 };
    let first =
        source.fill(part_bytes(bucket, 1)).await.map_err(|error| StoreError::io(path, "write", error))?;
    let mark = SessionId::random().to_string();
    if source.ended {
        return match commit_whole(bucket, &key, Bytes::from(first), &mark).await {
            Ok(true) => Ok(source.read),
            Ok(false) => Err(StoreError::Exists { path: path.to_string() }),
            Err(error) => Err(failed(error)),
        };
    }
    let upload = Upload::begin(Arc::clone(bucket), key, mark).await.map_err(failed)?;
    match send_and_commit(upload, first, &mut source).await {
        Ok(true) => Ok(source.read),
        Ok(false) => Err(StoreError::Exists { path: path.to_string() }),
        Err(Failure::Source(error)) => Err(StoreError::io(path, "write", error)),
        Err(Failure::Store(error)) => Err(failed(error)),
    }
}

/// Size of a part, by its number from 1.
pub(super) fn part_bytes(bucket: &Bucket, number: u64) -> u64 {
    bucket.options.part_bytes << ((number - 1) / PARTS_BEFORE_GROWTH)
}

/// Parts of the first size in whose place it is sent.
pub(super) fn weight(bucket: &Bucket, number: u64) -> u32 {
    // At most 64 are sent at a time.
    (1_u64 << ((number - 1) / PARTS_BEFORE_GROWTH)).min(bucket.options.parallel as u64) as u32
}

enum Failure {
    Source(std::io::Error),
    Store(S3Error),
}

/// The stream, cut into parts.
struct Source {
    body: ByteStream,
    /// Of the last chunk, what the last part had no room for.
    left: Bytes,
    ended: bool,
    read: u64,
}

impl Source {
    /// The next part: full, or the stream has ended.
    async fn fill(&mut self, part_bytes: u64) -> std::io::Result<Vec<u8>> {
        let want = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let mut part = Vec::with_capacity(want.min(FIRST_ROOM_BYTES));
        loop {
            let take = self.left.len().min(want - part.len());
            if take > part.capacity() - part.len() {
                // Once it is more than little, the whole part: growing step by step would copy and hold it twice.
                part.reserve_exact(want - part.len());
            }
            part.extend_from_slice(&self.left.split_to(take));
            self.read += take as u64;
            if part.len() == want {
                return Ok(part);
            }
            let Some(chunk) = self.body.next().await else {
                self.ended = true;
                return Ok(part);
            };
            self.left = chunk?;
        }
    }
}

/// One multipart upload. Dropped before its end, it is aborted.
struct Upload {
    bucket: Arc<Bucket>,
    key: String,
    begun: Begun,
    mark: String,
    /// The parts under way.
    sending: Sending,
    over: bool,
}

impl Upload {
    /// Begins one. On a task of its own: whoever gives up before the answer has come would leave an upload that nobody knows.
    async fn begin(bucket: Arc<Bucket>, key: String, mark: String) -> Result<Self, S3Error> {
        let (hand_over, begun) = oneshot::channel();
        tokio::spawn(async move {
            let begun = bucket.begin_upload(&key, &mark).await;
            let upload =
                begun.map(|begun| Self { bucket, key, begun, mark, sending: JoinSet::new(), over: false });
            // Not wanted any more: it is dropped, and so aborted.
            let _ = hand_over.send(upload);
        });
        let broke_off = |_| Err(S3Error::new(Kind::Request, "beginning an upload broke off"));
        begun.await.unwrap_or_else(broke_off)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Without a runtime the process is ending: `delete` or `sweep` finds what is left.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (bucket, key, begun) = (Arc::clone(&self.bucket), self.key.clone(), self.begun.clone());
            let mut sending = std::mem::take(&mut self.sending);
            runtime.spawn(async move {
                if let Err(error) = give_up(&bucket, &key, &begun, &mut sending).await {
                    tracing::warn!(key, %error, "an upload that was given up is not aborted; a later sweep takes it away");
                }
            });
        }
    }
}

/// Sends all parts and commits. `false` when the object was there already.
async fn send_and_commit(mut upload: Upload, first: Vec<u8>, source: &mut Source) -> Result<bool, Failure> {
    let committed = match send_parts(&mut upload, first, source).await {
        Ok(parts) => commit_parts(&upload, parts).await.map_err(Failure::Store),
        Err(failure) => Err(failure),
    };
    let Upload { bucket, key, begun, sending, .. } = &mut upload;
    if matches!(committed, Ok(true)) {
        bucket.end_strays(key, begun).await;
    } else if let Err(error) = give_up(bucket, key, begun, sending).await {
        tracing::debug!(key, %error, "aborting an upload failed");
        // The drop tries once more.
        return committed;
    }
    upload.over = true;
    committed
}

/// Aborts an upload. Nothing of it may be on its way then, for a part that arrives later would stay behind, with the upload:
/// what is under way is awaited, unless that takes too long.
async fn give_up(bucket: &Bucket, key: &str, begun: &Begun, sending: &mut Sending) -> Result<(), S3Error> {
    let arrived = async { while sending.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(bucket.options.request_timeout, arrived).await;
    sending.shutdown().await;
    bucket.end_upload(key, begun).await
}

type Sending = JoinSet<Result<CompletedPart, S3Error>>;

async fn send_parts(
    upload: &mut Upload,
    first: Vec<u8>,
    source: &mut Source,
) -> Result<Vec<CompletedPart>, Failure> {
    let Upload { bucket, key, begun, sending, .. } = upload;
    let room = Arc::new(Semaphore::new(bucket.options.parallel));
    let mut parts = Vec::new();
    let mut number = 1;
    let mut permit = acquire(&room, bucket, number, sending, &mut parts).await?;
    let mut part = first;
    loop {
        sending.spawn(send_part(Arc::clone(bucket), key.clone(), begun.id.clone(), number, part, permit));
        if source.ended {
            break;
        }
        number += 1;
        if number > MAX_PARTS {
            return Err(Failure::Store(S3Error::new(
                Kind::Full,
                format!("the object has more than {MAX_PARTS} parts; raise `part_size` in the store's table"),
            )));
        }
        permit = acquire(&room, bucket, number, sending, &mut parts).await?;
        part = {
            let mut filling = std::pin::pin!(source.fill(part_bytes(bucket, number)));
            loop {
                tokio::select! {
                    filled = &mut filling => break filled.map_err(Failure::Source)?,
                    Some(sent) = sending.join_next() => parts.push(landed(sent)?),
                }
            }
        };
        if part.is_empty() {
            break;
        }
    }
    while let Some(sent) = sending.join_next().await {
        parts.push(landed(sent)?);
    }
    parts.sort_unstable_by_key(CompletedPart::part_number);
    Ok(parts)
}

/// Waits for room for a part, and hears of those that are sent meanwhile.
async fn acquire(
    room: &Arc<Semaphore>,
    bucket: &Bucket,
    number: u64,
    sending: &mut Sending,
    parts: &mut Vec<CompletedPart>,
) -> Result<OwnedSemaphorePermit, Failure> {
    let mut free = std::pin::pin!(Arc::clone(room).acquire_many_owned(weight(bucket, number)));
    loop {
        tokio::select! {
            permit = &mut free => {
                return permit.map_err(|error| {
                    Failure::Store(S3Error::new(Kind::Request, error.to_string()))
                });
            }
            Some(sent) = sending.join_next() => parts.push(landed(sent)?),
        }
    }
}

fn landed(
    sent: Result<Result<CompletedPart, S3Error>, tokio::task::JoinError>,
) -> Result<CompletedPart, Failure> {
    sent.unwrap_or_else(|error| {
        Err(S3Error::new(Kind::Request, format!("sending a part broke off: {error}")))
    })
    .map_err(Failure::Store)
}

async fn send_part(
    bucket: Arc<Bucket>,
    key: String,
    id: String,
    number: u64,
    part: Vec<u8>,
    _room: OwnedSemaphorePermit,
) -> Result<CompletedPart, S3Error> {
    let part = Bytes::from(part);
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    let sums = Sums::of(&bucket, &part);
    let customer = bucket.customer_key()?;
    let sent = bucket
        .attempt(|client: Client| {
            let progress = Progress::default();
            let request = client
                .upload_part()
                .bucket(&bucket.options.bucket)
                .key(&key)
                .upload_id(&id)
                .part_number(number)
                .set_checksum_crc32_c(sums.crc32c.clone())
                .set_checksum_sha256(sums.sha256.clone())
                .set_sse_customer_algorithm(customer.algorithm.clone())
                .set_sse_customer_key(customer.key.clone())
                .set_sse_customer_key_md5(customer.md5.clone())
                .body(SdkStream::new(SdkBody::from(part.clone())))
                .customize()
                .interceptor(InFrames { bytes: part.clone(), progress: progress.clone() });
            let limit = bucket.options.stall_timeout;
            async move {
                let sent = moving(&progress, limit, request.send()).await?;
                sent.map_err(|error| S3Error::from_sdk(&error))
            }
        })
        .await?;
    let done = CompletedPart::builder()
        .part_number(number)
        .set_e_tag(sent.e_tag().map(str::to_owned))
        .set_checksum_crc32_c(sums.crc32c)
        .set_checksum_sha256(sums.sha256);
    Ok(done.build())
}

/// Puts the parts together. `false` when the object was there already.
async fn commit_parts(upload: &Upload, parts: Vec<CompletedPart>) -> Result<bool, S3Error> {
    let bucket = &upload.bucket;
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let customer = bucket.customer_key()?;
    loop {
        let condition = bucket.writes_conditionally();
        if !condition && bucket.look(&upload.key).await?.is_some() {
            return Ok(false);
        }
        let completed = bucket
            .call_long(|client| {
                client
                    .complete_multipart_upload()
                    .bucket(&bucket.options.bucket)
                    .key(&upload.key)
                    .upload_id(&upload.begun.id)
                    .set_if_none_match(condition.then(|| "*".to_owned()))
                    .set_sse_customer_algorithm(customer.algorithm.clone())
                    .set_sse_customer_key(customer.key.clone())
                    .set_sse_customer_key_md5(customer.md5.clone())
                    .multipart_upload(parts.clone())
                    .send()
            })
            .await;
        let Err(error) = completed else { return Ok(true) };
        if !bucket.goes_without_conditions(&error) {
            return settle(bucket, &upload.key, &upload.mark, error).await;
        }
    }
}

/// After a commit that failed: is the object there, and is it ours? An answer that was lost makes the next try meet what
/// the first one did.
async fn settle(bucket: &Bucket, key: &str, mark: &str, error: S3Error) -> Result<bool, S3Error> {
    let ambiguous = error.is_transient()
        || matches!(error.kind, Kind::Precondition | Kind::NoUpload | Kind::NotFound | Kind::Locked);
    if !ambiguous {
        return Err(error);
    }
    for tries in 1.. {
        match bucket.look(key).await {
            Ok(Some(found)) => {
                let own = found.metadata().and_then(|metadata| metadata.get(MARK));
                return Ok(own.is_some_and(|own| own == mark));
            }
            // Some servers refuse for the sake of an object that they show a moment later.
            Ok(None) if error.kind == Kind::Precondition && tries < LOOKS => {
                tokio::time::sleep(pause_before(tries)).await;
            }
            // What cannot be looked at now was told by the first error well enough.
            Ok(None) | Err(_) => break,
        }
    }
    Err(error)
}

/// Writes an object that fits into one request. `false` when it was there already.
async fn commit_whole(bucket: &Bucket, key: &str, bytes: Bytes, mark: &str) -> Result<bool, S3Error> {
    loop {
        match bucket.put_object(key, bytes.clone(), mark).await {
            Ok(()) => return Ok(true),
            Err(error) if bucket.goes_without_conditions(&error) => {
                if bucket.look(key).await?.is_some() {
                    return Ok(false);
                }
            }
            Err(error) => return settle(bucket, key, mark, error).await,
        }
    }
}

impl Bucket {
    /// One object in one request.
    pub(super) async fn put_object(&self, key: &str, bytes: Bytes, mark: &str) -> Result<(), S3Error> {
        let sums = Sums::of(self, &bytes);
        let customer = self.customer_key()?;
        let (encryption, kms_key) = self.server_encryption();
        let (lock, until) = self.lock();
        // A lock wants a sum of some kind, and a server without the new ones knows this.
        let md5 = (lock.is_some() && self.options.checksums == Checksums::WhenRequired)
            .then(|| BASE64.encode(Md5::digest(&bytes)));
        self.attempt(|client: Client| {
            let progress = Progress::default();
            let request = client
                .put_object()
                .bucket(&self.options.bucket)
                .key(key)
                .set_if_none_match(self.writes_conditionally().then(|| "*".to_owned()))
                .metadata(MARK, mark)
                .set_server_side_encryption(encryption.clone())
                .set_ssekms_key_id(kms_key.clone())
                .set_sse_customer_algorithm(customer.algorithm.clone())
                .set_sse_customer_key(customer.key.clone())
                .set_sse_customer_key_md5(customer.md5.clone())
                .set_storage_class(self.storage_class())
                .set_tagging(self.tagging())
                .set_object_lock_mode(lock.clone())
                .set_object_lock_retain_until_date(until)
                .set_content_md5(md5.clone())
                .set_checksum_crc32_c(sums.crc32c.clone())
                .set_checksum_sha256(sums.sha256.clone())
                .body(SdkStream::new(SdkBody::from(bytes.clone())))
                .customize()
                .interceptor(InFrames { bytes: bytes.clone(), progress: progress.clone() });
            async move {
                let sent = moving(&progress, self.options.stall_timeout, request.send()).await?;
                sent.map(drop).map_err(|error| S3Error::from_sdk(&error))
            }
        })
        .await
    }

    /// Begins a multipart upload.
    pub(super) async fn begin_upload(&self, key: &str, mark: &str) -> Result<Begun, S3Error> {
        let customer = self.customer_key()?;
        let (encryption, kms_key) = self.server_encryption();
        let (lock, until) = self.lock();
        let (algorithm, kind) = match self.options.checksums {
            Checksums::WhenSupported(Algorithm::Crc32c) => {
                (Some(ChecksumAlgorithm::Crc32C), Some(ChecksumType::Composite))
            }
            Checksums::WhenSupported(Algorithm::Sha256) => {
                (Some(ChecksumAlgorithm::Sha256), Some(ChecksumType::Composite))
            }
            Checksums::WhenRequired => (None, None),
        };
        let tries = AtomicU64::new(0);
        let begun = self
            .call(|client| {
                tries.fetch_add(1, Ordering::Relaxed);
                client
                    .create_multipart_upload()
                    .bucket(&self.options.bucket)
                    .key(key)
                    .metadata(MARK, mark)
                    .set_checksum_algorithm(algorithm.clone())
                    .set_checksum_type(kind.clone())
                    .set_server_side_encryption(encryption.clone())
                    .set_ssekms_key_id(kms_key.clone())
                    .set_sse_customer_algorithm(customer.algorithm.clone())
                    .set_sse_customer_key(customer.key.clone())
                    .set_sse_customer_key_md5(customer.md5.clone())
                    .set_storage_class(self.storage_class())
                    .set_tagging(self.tagging())
                    .set_object_lock_mode(lock.clone())
                    .set_object_lock_retain_until_date(until)
                    .send()
            })
            .await?;
        let id = begun.upload_id().map(str::to_owned);
        let id = id.ok_or_else(|| S3Error::new(Kind::Refused, "the server began an upload without an id"))?;
        Ok(Begun { id, strays: tries.into_inner() > 1 })
    }
}

/// What the server is to compare the bytes with, in base64.
#[derive(Default)]
struct Sums {
    crc32c: Option<String>,
    sha256: Option<String>,
}

impl Sums {
    fn of(bucket: &Bucket, bytes: &[u8]) -> Self {
        match bucket.options.checksums {
            Checksums::WhenSupported(Algorithm::Crc32c) => {
                let sum = BASE64.encode(crc32c::crc32c(bytes).to_be_bytes());
                Self { crc32c: Some(sum), ..Self::default() }
            }
            Checksums::WhenSupported(Algorithm::Sha256) => {
                Self { sha256: Some(BASE64.encode(Sha256::digest(bytes))), ..Self::default() }
            }
            Checksums::WhenRequired => Self::default(),
        }
    }
}

/// Frames that a connection has taken so far.
type Progress = Arc<AtomicU64>;

/// Waits for an answer as long as bytes move.
async fn moving<T>(
    progress: &AtomicU64,
    limit: Duration,
    request: impl Future<Output = T>,
) -> Result<T, S3Error> {
    let mut request = std::pin::pin!(request);
    let mut last = 0;
    loop {
        tokio::select! {
            answer = &mut request => return Ok(answer),
            () = tokio::time::sleep(limit) => {
                let now = progress.load(Ordering::Relaxed);
                if now == last {
                    return Err(S3Error::stalled(limit));
                }
                last = now;
            }
        }
    }
}

/// Hands a signed request's bytes over in small frames, so that their progress can be seen.
#[derive(Debug)]
struct InFrames {
    bytes: Bytes,
    progress: Progress,
}

impl Intercept for InFrames {
    fn name(&self) -> &'static str {
        "InFrames"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let frames = Frames { left: self.bytes.clone(), progress: Arc::clone(&self.progress) };
        *context.request_mut().body_mut() = SdkBody::from_body_1_x(frames);
        Ok(())
    }
}

struct Frames {
    left: Bytes,
    progress: Progress,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.progress.fetch_add(1, Ordering::Relaxed);
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let take = self.left.len().min(FRAME_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(take)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
