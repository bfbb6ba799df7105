//! One bucket and one request to it: limits of time, tries with growing pauses, credentials read anew, and the headers
//! that the options add to each kind of request.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ObjectLockEnabled, ObjectLockLegalHoldStatus, ObjectLockMode,
    ServerSideEncryption, StorageClass,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use tokio::sync::Mutex;

use super::errors::{Kind, S3Error};
use super::{ConditionalWrites, Encryption, LockMode, Options, client};
use crate::session::{Clock, SessionId};
use crate::store::{Features, ObjectInfo, ObjectPath, Page, RemoteError, StoreError};

/// First pause before another try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Tries with keys that the server refuses outright: one of two files may just be written.
const MAX_REFUSED_KEYS: u32 = 2;
/// Putting the parts of a large object together may take the server minutes.
const COMPLETION_FACTOR: u32 = 10;
/// Objects of one page of a listing: the most that S3 gives.
const PAGE_OBJECTS: i32 = 1000;
/// Pages of uploads that are looked through: a bound against a server that turns the same page for ever.
const MAX_UPLOAD_PAGES: usize = 1000;
/// The metadata that tells our objects from others'.
pub(super) const MARK: &str = "holdfast-upload";
/// Objects that a probe writes. It removes them.
const PROBE: &str = "probe";
/// Bytes of a key of SSE-C.
const CUSTOMER_KEY_BYTES: usize = 32;

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) options: Options,
    pub(super) clock: Clock,
    /// Made at the first request, and made anew when its credentials or certificates have failed.
    client: Mutex<Option<(u64, Client)>>,
    /// The server said that it knows no conditions.
    pub(super) no_conditions: AtomicBool,
    /// Conditions were seen to work.
    conditions_proved: AtomicBool,
    versioned: AtomicBool,
}

/// A multipart upload.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) id: String,
    /// It took several tries, and an answer that was lost may have told of another upload.
    pub(super) strays: bool,
}

/// The key of SSE-C as its three headers want it.
#[derive(Clone, Default)]
pub(super) struct CustomerKey {
    pub(super) algorithm: Option<String>,
    pub(super) key: Option<String>,
    pub(super) md5: Option<String>,
}

impl Bucket {
    pub(super) fn new(options: Options, clock: Clock) -> Self {
        Self {
            options,
            clock,
            client: Mutex::default(),
            no_conditions: AtomicBool::new(false),
            conditions_proved: AtomicBool::new(false),
            versioned: AtomicBool::new(false),
        }
    }

    pub(super) fn describe(&self) -> String {
        let mut place = format!("S3 bucket `{}`", self.options.bucket);
        if !self.options.prefix.is_empty() {
            place = format!("{place}, prefix `{}`", self.options.prefix);
        }
        match &self.options.endpoint {
            Some(endpoint) => format!("{place} at {endpoint}"),
            None => place,
        }
    }

    pub(super) fn features(&self) -> Features {
        let object_lock = self.options.lock.is_some();
        Features {
            exclusive: self.writes_conditionally(),
            object_lock,
            versioning: self.versioned.load(Ordering::Relaxed) || object_lock,
        }
    }

    /// The key of an object.
    pub(super) fn key(&self, path: &ObjectPath) -> String {
        self.key_of(path.as_str())
    }

    fn key_of(&self, path: &str) -> String {
        match self.options.prefix.as_str() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    fn path_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        match self.options.prefix.as_str() {
            "" => Some(key),
            prefix => key.strip_prefix(prefix)?.strip_prefix('/'),
        }
    }

    /// Whether writes carry a condition.
    pub(super) fn writes_conditionally(&self) -> bool {
        self.options.conditional_writes != ConditionalWrites::Off
            && !self.no_conditions.load(Ordering::Relaxed)
    }

    /// `error` is that a server knows no conditions, and that is taken note of.
    pub(super) fn goes_without_conditions(&self, error: &S3Error) -> bool {
        let may = self.options.conditional_writes == ConditionalWrites::Auto
            && error.kind == Kind::NotImplemented
            && self.writes_conditionally();
        if may {
            self.no_conditions.store(true, Ordering::Relaxed);
            tracing::warn!(
                store = self.describe(),
                "the server knows no conditional writes: two agents that write one backup at the same moment may both believe they did"
            );
        }
        may
    }

    async fn client(&self) -> Result<(u64, Client), S3Error> {
        let mut slot = self.client.lock().await;
        if let Some((number, client)) = slot.as_ref() {
            return Ok((*number, client.clone()));
        }
        let client = client::build(&self.options).await?;
        // Only its being another than the last one's matters.
        let number = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        *slot = Some((number, client.clone()));
        Ok((number, client))
    }

    /// Lets go of a client, if it is still that one.
    async fn renew(&self, number: u64) {
        let mut slot = self.client.lock().await;
        if slot.as_ref().is_some_and(|(current, _)| *current == number) {
            *slot = None;
        }
    }

    /// Sends a request until it succeeds, cannot, or was tried often enough.
    pub(super) async fn call<T, E, F>(&self, request: impl Fn(Client) -> F) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.call_within(self.options.request_timeout, request).await
    }

    /// Like [`Self::call`], for the one request that takes long on the server's side.
    pub(super) async fn call_long<T, E, F>(&self, request: impl Fn(Client) -> F) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.call_within(self.options.request_timeout * COMPLETION_FACTOR, request).await
    }

    async fn call_within<T, E, F>(&self, limit: Duration, request: impl Fn(Client) -> F) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.attempt(|client| async {
            match tokio::time::timeout(limit, request(client)).await {
                Ok(answer) => answer.map_err(|error| S3Error::from_sdk(&error)),
                Err(_) => Err(S3Error::stalled(limit)),
            }
        })
        .await
    }

    /// Tries again what may succeed then. `try_once` bounds its own time.
    pub(super) async fn attempt<T, F>(&self, try_once: impl Fn(Client) -> F) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, S3Error>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let (number, client) = self.client().await?;
            let error = match try_once(client).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if error.wants_new_client() {
                self.renew(number).await;
            }
            let most = match error.kind {
                Kind::Expired => self.options.attempts,
                Kind::UnknownKey | Kind::Signature => MAX_REFUSED_KEYS,
                // The SDK has read the server's clock off this answer, and signs by it now.
                Kind::Skew => 2,
                _ if error.is_transient() => self.options.attempts,
                _ => 1,
            };
            if tries >= most {
                return Err(error);
            }
            let pause = pause_before(tries);
            tracing::debug!(%error, tries, ?pause, "a request to S3 is tried again");
            tokio::time::sleep(pause).await;
        }
    }

    /// A failed request as the store's error about one object.
    pub(super) fn failed(&self, path: &ObjectPath, action: &'static str, error: S3Error) -> StoreError {
        match error.kind {
            Kind::NotFound if action == "read" => StoreError::NotFound { path: path.to_string() },
            Kind::Full => StoreError::Full {
                path: path.to_string(),
                place: self.describe(),
                source: std::io::Error::from(error),
            },
            _ => StoreError::Remote {
                action,
                what: format!("`{path}` in {}", self.describe()),
                source: RemoteError::from(error),
            },
        }
    }

    pub(super) fn unusable(&self, action: &'static str, error: S3Error) -> StoreError {
        StoreError::Remote { action, what: self.describe(), source: RemoteError::from(error) }
    }

    // ---- headers that options add ----

    /// The key of SSE-C as it is now.
    pub(super) fn customer_key(&self) -> Result<CustomerKey, S3Error> {
        let Encryption::Customer { key } = &self.options.encryption else {
            return Ok(CustomerKey::default());
        };
        let bad = |reason: String| S3Error::new(Kind::Key, reason);
        let text = key.read().map_err(|error| bad(error.to_string()))?;
        let bytes = BASE64
            .decode(text.expose().trim())
            .ok()
            .filter(|bytes| bytes.len() == CUSTOMER_KEY_BYTES)
            .ok_or_else(|| bad(format!("the key from {key} is not {CUSTOMER_KEY_BYTES} bytes in base64")))?;
        Ok(CustomerKey {
            algorithm: Some("AES256".to_owned()),
            md5: Some(BASE64.encode(Md5::digest(&bytes))),
            key: Some(BASE64.encode(bytes)),
        })
    }

    pub(super) fn server_encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.options.encryption {
            Encryption::Default | Encryption::Customer { .. } => (None, None),
            Encryption::S3 => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms { key_id } => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }

    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.options.storage_class.as_deref().map(StorageClass::from)
    }

    /// `a=1&b=2`, encoded as a query is.
    pub(super) fn tagging(&self) -> Option<String> {
        let encoded = |text: &str| {
            text.bytes().fold(String::new(), |mut encoded, byte| {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    encoded.push(char::from(byte));
                } else {
                    // Writing into a string does not fail.
                    let _ = write!(encoded, "%{byte:02X}");
                }
                encoded
            })
        };
        let pairs: Vec<String> = self
            .options
            .tags
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("&"))
    }

    /// Mode and end of the lock of an object that is written now.
    pub(super) fn lock(&self) -> (Option<ObjectLockMode>, Option<DateTime>) {
        let Some(lock) = &self.options.lock else { return (None, None) };
        let mode = match lock.mode {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        };
        let length = SignedDuration::try_from(lock.retain_for).unwrap_or(SignedDuration::MAX);
        let until = (self.clock)().saturating_add(length).unwrap_or(Timestamp::MAX);
        (Some(mode), Some(DateTime::from_secs(until.as_second())))
    }

    // ---- requests about objects ----

    /// What the server says of an object; none if it is not there.
    pub(super) async fn look(&self, key: &str) -> Result<Option<HeadObjectOutput>, S3Error> {
        let customer = self.customer_key()?;
        let answer = self
            .call(|client| {
                client
                    .head_object()
                    .bucket(&self.options.bucket)
                    .key(key)
                    .set_sse_customer_algorithm(customer.algorithm.clone())
                    .set_sse_customer_key(customer.key.clone())
                    .set_sse_customer_key_md5(customer.md5.clone())
                    .send()
            })
            .await;
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn info(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError> {
        let found = self.look(&self.key(path)).await.map_err(|error| self.failed(path, "read", error))?;
        Ok(found.map(|found| ObjectInfo {
            path: path.clone(),
            size_bytes: size(found.content_length()),
            modified: timestamp(found.last_modified()),
            tag: found.e_tag().map(str::to_owned),
            locked_until: locked_until(&found),
        }))
    }

    pub(super) async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let prefix = self.key_of(prefix);
        // The last path, not the server's token, which no other process may understand.
        let start_after = after.map(|after| self.key_of(after));
        let listed = self
            .call(|client| {
                client
                    .list_objects_v2()
                    .bucket(&self.options.bucket)
                    .prefix(&prefix)
                    .set_start_after(start_after.clone())
                    .max_keys(PAGE_OBJECTS)
                    .send()
            })
            .await
            .map_err(|error| self.unusable("list", error))?;
        let mut page = Page::default();
        for object in listed.contents() {
            let path = object.key().and_then(|key| self.path_of(key));
            // What no path of ours can name is somebody else's.
            let Some(path) = path.and_then(|path| ObjectPath::new(path).ok()) else { continue };
            let (size_bytes, modified) = (size(object.size()), timestamp(object.last_modified()));
            let tag = object.e_tag().map(str::to_owned);
            page.objects.push(ObjectInfo { path, size_bytes, modified, tag, locked_until: None });
        }
        if listed.is_truncated() == Some(true) {
            let last = listed.contents().last().and_then(|object| self.path_of(object.key()?));
            page.next = last.map(str::to_owned);
        }
        Ok(page)
    }

    pub(super) async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError> {
        let key = self.key(path);
        let failed = |error| self.failed(path, "remove", error);
        let Some(found) = self.look(&key).await.map_err(failed)? else {
            // What was never completed is not there to be seen: a killed run's upload under this path.
            self.abort_uploads(&key, |upload, _| upload == key).await.map_err(failed)?;
            return Ok(());
        };
        // A removal by name would succeed and only hide the object, which stays and costs.
        if let Some(until) = locked_until(&found).filter(|until| *until > (self.clock)()) {
            return Err(StoreError::Locked { path: path.to_string(), until });
        }
        self.call(|client| client.delete_object().bucket(&self.options.bucket).key(&key).send())
            .await
            .map(drop)
            .map_err(failed)
    }

    /// Ends an upload that is not to become an object.
    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<(), S3Error> {
        let aborted = self
            .call(|client| {
                let bucket = &self.options.bucket;
                client.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload).send()
            })
            .await;
        match aborted {
            Err(error) if !matches!(error.kind, Kind::NoUpload | Kind::NotFound) => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends an upload, and those of the same key whose ids got lost.
    pub(super) async fn end_upload(&self, key: &str, upload: &Begun) -> Result<(), S3Error> {
        self.abort(key, &upload.id).await?;
        if upload.strays { self.abort_uploads(key, |own, _| own == key).await.map(drop) } else { Ok(()) }
    }

    /// After an upload that was completed: ends those of the same key whose ids got lost.
    pub(super) async fn end_strays(&self, key: &str, upload: &Begun) {
        if upload.strays
            && let Err(error) = self.abort_uploads(key, |own, _| own == key).await
        {
            tracing::warn!(key, %error, "an upload that was begun twice is not aborted; a later sweep takes it away");
        }
    }

    /// Ends the uploads under a prefix that `dead` picks by key and age.
    async fn abort_uploads(
        &self,
        prefix: &str,
        dead: impl Fn(&str, Option<Timestamp>) -> bool,
    ) -> Result<u64, S3Error> {
        let (mut key_marker, mut id_marker) = (None, None);
        let mut aborted = 0;
        for _ in 0..MAX_UPLOAD_PAGES {
            let listed = self
                .call(|client| {
                    client
                        .list_multipart_uploads()
                        .bucket(&self.options.bucket)
                        .prefix(prefix)
                        .set_key_marker(key_marker.clone())
                        .set_upload_id_marker(id_marker.clone())
                        .send()
                })
                .await;
            let listed = match listed {
                // Such a server keeps none, or clears them away by itself.
                Err(error) if error.kind == Kind::NotImplemented => return Ok(aborted),
                listed => listed?,
            };
            for upload in listed.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
                // Not every server takes the prefix to heart.
                if key.starts_with(prefix) && dead(key, timestamp(upload.initiated())) {
                    self.abort(key, id).await?;
                    aborted += 1;
                }
            }
            if listed.is_truncated() != Some(true) {
                break;
            }
            key_marker = listed.next_key_marker().map(str::to_owned);
            id_marker = listed.next_upload_id_marker().map(str::to_owned);
        }
        Ok(aborted)
    }

    pub(super) async fn sweep(&self) -> Result<u64, StoreError> {
        let age = SignedDuration::try_from(self.options.stale_after).unwrap_or(SignedDuration::MAX);
        let now = (self.clock)();
        let dead =
            |_: &str, begun: Option<Timestamp>| begun.is_some_and(|begun| now.duration_since(begun) > age);
        self.abort_uploads(&self.key_of(""), dead).await.map_err(|error| self.unusable("sweep", error))
    }

    // ---- the probe ----

    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let prefix = self.key_of("");
        let bucket = &self.options.bucket;
        self.call(|client| client.list_objects_v2().bucket(bucket).prefix(&prefix).max_keys(1).send())
            .await
            .map_err(|error| self.unusable("list", error))?;
        self.look_for_versions().await;
        if self.options.lock.is_some() {
            self.look_for_lock().await.map_err(|error| self.unusable("use", error))?;
        }
        let proving = self.options.conditional_writes == ConditionalWrites::Required
            && !self.conditions_proved.load(Ordering::Relaxed);
        if proving {
            self.prove_conditions().await?;
        }
        // An upload that is begun and ended needs the same permissions as a backup and leaves nothing, not even under a lock.
        let key = self.key_of(PROBE);
        let upload =
            self.begin_upload(&key, PROBE).await.map_err(|error| self.unusable("write to", error))?;
        self.end_upload(&key, &upload).await.map_err(|error| self.unusable("abort an upload in", error))
    }

    /// Is the bucket versioned? Who may not ask gets no answer, and that does no harm.
    async fn look_for_versions(&self) {
        let bucket = &self.options.bucket;
        let asked = self.call(|client| client.get_bucket_versioning().bucket(bucket).send()).await;
        if let Ok(answer) = asked {
            let enabled = answer.status() == Some(&BucketVersioningStatus::Enabled);
            self.versioned.store(enabled, Ordering::Relaxed);
        }
    }

    async fn look_for_lock(&self) -> Result<(), S3Error> {
        let bucket = &self.options.bucket;
        let asked = self.call(|client| client.get_object_lock_configuration().bucket(bucket).send()).await;
        let enabled = match asked {
            Ok(answer) => answer
                .object_lock_configuration()
                .is_some_and(|found| found.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled)),
            // Who may not ask learns it from the first write.
            Err(error) if error.kind == Kind::Denied => return Ok(()),
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Refused) => false,
            Err(error) => return Err(error),
        };
        if enabled {
            return Ok(());
        }
        Err(S3Error::new(
            Kind::Locked,
            "the bucket has no object lock, which is switched on when a bucket is made; take `object_lock` out or name another bucket",
        ))
    }

    /// Writes one object twice: a server that lets the second one through ignores conditions.
    async fn prove_conditions(&self) -> Result<(), StoreError> {
        let failed = |error| self.unusable("write to", error);
        let path = ObjectPath::new(format!("{PROBE}-{}", SessionId::random()))?;
        let key = self.key(&path);
        let first = self.put_object(&key, bytes::Bytes::from_static(b"probe"), PROBE).await;
        let second = match first {
            Ok(()) => self.put_object(&key, bytes::Bytes::from_static(b"again"), PROBE).await,
            Err(error) => return Err(failed(error)),
        };
        if self.options.lock.is_none() {
            self.delete(&path).await?;
        }
        match second {
            Err(error) if error.kind == Kind::Precondition => {
                self.conditions_proved.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(failed(error)),
            Ok(()) => Err(failed(S3Error::new(
                Kind::NotImplemented,
                "the server ignores `If-None-Match` and replaces objects, but `conditional_writes` is \"required\"",
            ))),
        }
    }
}

/// How long to wait after so many tries: twice as long each time, and not all at the same moment.
pub(super) fn pause_before(tries: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), tries) % 1000;
    longest / 2 + longest.mul_f64(chance as f64 / 2000.0)
}

/// Until when an object is locked. A legal hold has no end.
fn locked_until(found: &HeadObjectOutput) -> Option<Timestamp> {
    if found.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On) {
        return Some(Timestamp::MAX);
    }
    timestamp(found.object_lock_retain_until_date())
}

pub(super) fn size(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or_default()
}

pub(super) fn timestamp(time: Option<&DateTime>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert!(pause_before(1) <= FIRST_PAUSE);
        assert!(pause_before(3) >= FIRST_PAUSE * 2);
        for tries in 1..100 {
            assert!(pause_before(tries) <= LONGEST_PAUSE);
        }
    }
}
