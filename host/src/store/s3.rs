//! A bucket of Amazon S3, or of a server that speaks its protocol. The only importer of the AWS SDK.
//!
//! | module | what it knows |
//! | --- | --- |
//! | `client` | TLS, proxy, region and credentials, put together to the SDK's client |
//! | `credentials` | keys out of files and environment variables |
//! | `bucket` | one request: limits of time, tries, new credentials, the headers that options add |
//! | `upload` | streams of unknown length into one object, in parts, whole or not at all |
//! | `download` | one object out of ranges that are fetched side by side |
//! | `errors` | what the server said, in words |
//!
//! An object is never replaced: each commit carries `If-None-Match: *`. Servers without it are asked first whether the
//! object is there, which leaves a moment in which two agents may both be told no. Each object carries a random
//! mark in its metadata, so that a commit whose answer was lost is known as ours when it is tried again.
//!
//! What is uploaded and never completed is invisible but costs room. It is aborted at the first error or when the `put`
//! is dropped; what a killed process left goes with the `delete` of its path, or with `sweep` once it is old.
//!
//! In a versioned bucket a removal leaves the bytes behind a delete marker: a lifecycle rule of the bucket takes
//! them away. A locked object is not removed: [`StoreError::Locked`].

mod bucket;
mod client;
mod credentials;
mod download;
mod errors;
mod upload;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{ByteStream, Features, ObjectInfo, ObjectPath, Page, Store, StoreError};
use crate::secret::SecretSource;
use crate::session::Clock;
use bucket::Bucket;
pub use credentials::Keys;

/// Smallest part that S3 takes, but for the last: 5 MiB.
pub const MIN_PART_BYTES: u64 = 5 << 20;
/// Largest first part that is taken here: buffers of it lie in memory, several at once.
pub const MAX_PART_BYTES: u64 = 1 << 30;
/// Small objects read at once. Each takes a round trip and hardly anything else, and a connection of its own: 10,000 documents that are
/// 50 ms away come within two seconds.
const READS_AT_ONCE: usize = 256;

/// Where a bucket is, and how objects are kept in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The bucket.
    pub bucket: String,
    /// What the keys begin with, without a slash at either end; empty for none.
    pub prefix: String,
    /// The region; none to look for it where the SDK does.
    pub region: Option<String>,
    /// The URL of a server other than Amazon's.
    pub endpoint: Option<String>,
    /// The bucket's name in the path, not in the host.
    pub path_style: bool,
    /// The authorities that sign the server's certificate, PEM; none for those of the system.
    pub ca: Option<PathBuf>,
    /// Who we are.
    pub credentials: Credentials,
    /// How the server encrypts.
    pub encryption: Encryption,
    /// The storage class, by S3's name for it.
    pub storage_class: Option<String>,
    /// Tags of each object.
    pub tags: Vec<(String, String)>,
    /// The lock that each object gets.
    pub lock: Option<Lock>,
    /// Which checksums travel.
    pub checksums: Checksums,
    /// What keeps two writers from the same object.
    pub conditional_writes: ConditionalWrites,
    /// Size of the first parts, and of the ranges of a download.
    pub part_bytes: u64,
    /// Requests of one upload or download at a time.
    pub parallel: usize,
    /// Tries of one request, the first included.
    pub attempts: u32,
    /// Limit of a connection, the TLS handshake included.
    pub connect_timeout: Duration,
    /// Limit of a request that moves no object's bytes.
    pub request_timeout: Duration,
    /// Limit of standing still, for one that does.
    pub stall_timeout: Duration,
    /// Uploads that were begun so long ago are dead.
    pub stale_after: Duration,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Environment, profile, web identity, container, instance role: the first that has some.
    Chain {
        /// The profile, when it is not the default one.
        profile: Option<String>,
    },
    /// Those keys.
    Keys(Keys),
}

/// How the server encrypts objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket says.
    Default,
    /// SSE-S3.
    S3,
    /// SSE-KMS.
    Kms {
        /// The key; none for the account's own.
        key_id: Option<String>,
    },
    /// SSE-C: the server keeps no key, and the object cannot be read without it.
    Customer {
        /// 32 bytes, in base64.
        key: SecretSource,
    },
}

/// The lock that an object gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Who may lift it.
    pub mode: LockMode,
    /// How long it holds, from the write on.
    pub retain_for: Duration,
}

/// Who may lift a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Those with the permission for it.
    Governance,
    /// Nobody.
    Compliance,
}

/// Which checksums travel beside the signature's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// Each object and part carries one, which the server compares and keeps.
    WhenSupported(Algorithm),
    /// None: for servers that do not know them. The signature still covers the bytes.
    WhenRequired,
}

/// How checksums are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Fast; finds what breaks by itself.
    Crc32c,
    /// Finds what somebody did, too.
    Sha256,
}

/// What keeps two writers from the same object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// A condition, or a look beforehand with servers that know none.
    Auto,
    /// A condition, proved to work before the first write.
    Required,
    /// A look beforehand only.
    Off,
}

/// Keeps objects in a bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
}

impl S3Store {
    /// A store as the options say. Nothing is read and nobody is asked before the first call.
    pub fn new(options: Options, clock: Clock) -> Self {
        Self { bucket: Arc::new(Bucket::new(options, clock)) }
    }
}

#[async_trait]
impl Store for S3Store {
    fn describe(&self) -> String {
        self.bucket.describe()
    }

    fn features(&self) -> Features {
        self.bucket.features()
    }

    fn reads_at_once(&self) -> usize {
        READS_AT_ONCE
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.bucket.probe().await
    }

    async fn put(&self, path: &ObjectPath, body: ByteStream) -> Result<u64, StoreError> {
        upload::put(&self.bucket, path, body).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        download::get(&self.bucket, path, range).await
    }

    async fn head(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError> {
        self.bucket.info(path).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.bucket.list(prefix, after).await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError> {
        self.bucket.delete(path).await
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        self.bucket.sweep().await
    }
}
