//! Where backups lie: the contract between Holdfast and a place that keeps objects.
//!
//! A store keeps whole objects under paths. It knows nothing of backups, manifests or keys: names and order are the
//! catalog's business, stored form is `pack`'s. There is one implementation a file below; each passes the same suite,
//! `contract`.

mod cached;
pub mod contract;
mod directory;
pub mod fault;
mod limited;
pub mod plugin;
pub mod s3;

use std::fmt;
use std::io;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use cached::CachedStore;
pub use directory::DirectoryStore;
#[cfg(test)]
pub(crate) use directory::{DiskFault, FailingDisk};
pub use limited::LimitedStore;
pub use plugin::PluginStore;
pub use s3::S3Store;

use crate::pack::hex;

/// Bytes on their way into or out of a store.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Longest object path, in bytes. S3 allows 1,024 for prefix and path together.
const MAX_PATH_BYTES: usize = 512;

/// The name of an object: segments of letters, digits, `.`, `_` and `-`, joined by `/`. Cannot climb out of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectPath(String);

impl ObjectPath {
    /// Checks a path.
    ///
    /// # Errors
    /// Empty or overlong paths, empty segments, segments that begin with `.`, and other characters.
    pub fn new(path: impl Into<String>) -> Result<Self, StoreError> {
        let path = path.into();
        let good = !path.is_empty()
            && path.len() <= MAX_PATH_BYTES
            && path.split('/').all(|segment| {
                !segment.is_empty()
                    && !segment.starts_with('.')
                    && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            });
        if good { Ok(Self(path)) } else { Err(StoreError::InvalidPath { path }) }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ObjectPath {
    type Error = StoreError;

    fn try_from(path: String) -> Result<Self, StoreError> {
        Self::new(path)
    }
}

impl From<ObjectPath> for String {
    fn from(path: ObjectPath) -> Self {
        path.0
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a store tells of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its path.
    pub path: ObjectPath,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<Timestamp>,
    /// Another one for another object under the same path: S3's `ETag`, of a file what the file system knows it by. None where
    /// the store does not tell.
    pub tag: Option<String>,
    /// Until when the store refuses to remove it, as far as [`Store::head`] is told; a listing does not say.
    pub locked_until: Option<Timestamp>,
}

/// One page of a listing, in ascending order of paths.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Objects whose path begins with the prefix asked for.
    pub objects: Vec<ObjectInfo>,
    /// Hand this to the next call; none on the last page.
    pub next: Option<String>,
}

/// What a store can do beyond the required methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Of two writers of one path, one is refused, however close they are. Without it, it is looked first whether an object is
    /// there, and both may be told no.
    pub exclusive: bool,
    /// Objects can be locked against change and removal.
    pub object_lock: bool,
    /// The store keeps older versions of an object.
    pub versioning: bool,
}

/// A place that keeps objects.
///
/// Called by the pipeline, the catalog and the restore path, several calls at a time. After an error nothing of a `put`
/// may be visible under its path; a `put` dropped midway may leave bytes that `sweep` finds.
#[async_trait]
pub trait Store: Send + Sync {
    /// Where it is, for people: `directory /var/lib/holdfast/backups`.
    fn describe(&self) -> String;

    /// Optional abilities.
    fn features(&self) -> Features;

    /// How many small objects are best read at once: enough that round trips do not add up, and no more than the place, and this
    /// process, can bear.
    fn reads_at_once(&self) -> usize;

    /// Is it there and writable? Called before a run begins, so that a run does not fail at its end.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Writes a new object of unknown length. It becomes visible whole, at the end, and is durable when this returns.
    /// An error in the stream leaves nothing. An object of that path that is there already is never replaced:
    /// [`StoreError::Exists`].
    ///
    /// Returns the bytes written.
    async fn put(&self, path: &ObjectPath, body: ByteStream) -> Result<u64, StoreError>;

    /// Reads an object, or a range of its bytes. What of a range lies behind the object's end is not there, and no error: what
    /// comes is shorter, or nothing. For an empty range the object need not be looked for.
    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<ByteStream, StoreError>;

    /// Facts about one object; none if it is not there.
    async fn head(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError>;

    /// One page of the objects whose path begins with `prefix`. `after` is what the last page handed out.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError>;

    /// Removes an object. One that is not there is no error: a removal may be tried again.
    async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError>;

    /// Removes what writers that have died left behind, never what a living one is writing. Returns how many.
    async fn sweep(&self) -> Result<u64, StoreError>;
}

/// Every object under a prefix, page after page.
pub async fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
    list_each(store, prefix, |_| {}).await
}

/// The same. `each` hears of every object as soon as its page has come, before the next is asked for.
pub async fn list_each(
    store: &dyn Store,
    prefix: &str,
    mut each: impl FnMut(&ObjectInfo),
) -> Result<Vec<ObjectInfo>, StoreError> {
    let mut objects = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(prefix, after.as_deref()).await?;
        page.objects.iter().for_each(&mut each);
        objects.extend(page.objects);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(objects),
        }
    }
}

/// A small object, whole.
///
/// # Errors
/// Also when it is larger than `limit_bytes`: a manifest of gigabytes is no manifest.
pub async fn read_small(
    store: &dyn Store,
    path: &ObjectPath,
    limit_bytes: u64,
) -> Result<Vec<u8>, StoreError> {
    use futures::StreamExt;

    let mut body = store.get(path, None).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|source| StoreError::io(path, "read", source))?;
        if bytes.len() as u64 + chunk.len() as u64 > limit_bytes {
            return Err(StoreError::TooLarge { path: path.to_string(), limit_bytes });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads an object to its end: its size, and the SHA-256 of its bytes in hex. `passed` hears of the bytes of each chunk.
pub async fn digest(
    store: &dyn Store,
    path: &ObjectPath,
    passed: impl Fn(u64),
) -> Result<(u64, String), StoreError> {
    use futures::StreamExt;

    let mut body = store.get(path, None).await?;
    let mut digest = Sha256::new();
    let mut size_bytes = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|source| StoreError::io(path, "read", source))?;
        size_bytes += chunk.len() as u64;
        passed(chunk.len() as u64);
        // A chunk takes less than a millisecond: short enough for an async thread.
        digest.update(&chunk);
    }
    Ok((size_bytes, hex(&digest.finalize())))
}

/// A small object's bytes as a stream.
pub fn body(bytes: Vec<u8>) -> ByteStream {
    Box::pin(futures::stream::once(async move { Ok(Bytes::from(bytes)) }))
}

/// What went wrong at a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A path that no store takes.
    #[error("`{path}` is not an object path")]
    InvalidPath {
        /// The path.
        path: String,
    },
    /// Nothing under that path.
    #[error("there is no object `{path}`")]
    NotFound {
        /// The path.
        path: String,
    },
    /// Something is there already, and objects are never replaced.
    #[error("object `{path}` is there already")]
    Exists {
        /// The path.
        path: String,
    },
    /// An object larger than what its kind may be.
    #[error("object `{path}` is larger than {limit_bytes} bytes, which no object of its kind is")]
    TooLarge {
        /// The path.
        path: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// The store's place is not usable.
    #[error("cannot use {place}")]
    Unusable {
        /// The store, as it describes itself.
        place: String,
        /// The cause.
        source: io::Error,
    },
    /// No room.
    #[error("no space is left for `{path}` in {place}")]
    Full {
        /// The object.
        path: String,
        /// The store, as it describes itself.
        place: String,
        /// The cause.
        source: io::Error,
    },
    /// Reading, writing or removing failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// The object.
        path: String,
        /// `read`, `write`, `remove`, `list`.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A lock keeps the object as it is.
    #[error("object `{path}` is locked until {until}")]
    Locked {
        /// The object.
        path: String,
        /// When the lock ends.
        until: Timestamp,
    },
    /// It was read, and is not trusted: told by what stands before a store, never by one itself.
    #[error("`{path}` is refused: {reason}")]
    Refused {
        /// The object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A store behind a network refused, or did not answer.
    #[error("cannot {action} {what}")]
    Remote {
        /// `read`, `write`, `remove`, `list`, `use`.
        action: &'static str,
        /// The object or the store, as people know it.
        what: String,
        /// The cause.
        source: RemoteError,
    },
}

/// What a store behind a network said, in words.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct RemoteError {
    /// What is wrong. Holds no secret.
    pub reason: String,
    /// What a person can do.
    pub hint: Option<String>,
    /// Whether the same call may succeed later.
    pub transient: bool,
}

impl StoreError {
    fn io(path: &ObjectPath, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.to_string(), action, source }
    }

    /// Whether the same call may succeed later without anyone mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::ConnectionReset
            ),
            Self::Remote { source, .. } => source.transient,
            _ => false,
        }
    }

    /// Whether the store's own place is not there: it was never made, or its disk is not mounted.
    pub fn is_missing_place(&self) -> bool {
        matches!(self, Self::Unusable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unusable { .. } => Some(
                "is its disk mounted? Else create the directory, or make it writable for the user that runs holdfast, or name another `path` in the store's table"
                    .to_owned(),
            ),
            Self::Full { .. } => Some("free space there, or let the store point to a larger disk".to_owned()),
            Self::Locked { .. } => Some(
                "it can be removed once the lock has ended; until then it counts, and costs, like any other"
                    .to_owned(),
            ),
            Self::Remote { source, .. } => source.hint.clone(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_climb_or_hide() {
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a/.b", "a b", "a\0", "ä"] {
            assert!(ObjectPath::new(bad).is_err(), "`{bad}` was taken");
        }
        assert!(ObjectPath::new("data/20261121T030000Z-00f1e2d3c4b5a697.db.zst.age").is_ok());
    }
}
