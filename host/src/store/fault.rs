//! A store that breaks on purpose: the one double that tests use. It wraps a real store, counts its calls, and from the n-th on
//! fails, hangs, or breaks a stream in its middle. Walking n from 1 until a run succeeds tries every point at which a run can
//! break.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;

use super::{ByteStream, Features, ObjectInfo, ObjectPath, Page, Store, StoreError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th call fails and does nothing; those after it work again.
    Once,
    /// The n-th call and each after it fail: the process or the network has died.
    FromThenOn,
    /// The n-th call does its work and says that it failed: the answer was lost.
    LostAnswer,
    /// The n-th call and each after it never end.
    Hang,
    /// The stream of the n-th call breaks in its middle; another call fails as with [`Self::Once`].
    Torn,
    /// No space is left at the n-th call, if it writes, nor for writes after it.
    Full,
}

/// Wraps a store.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    at: u64,
    calls: AtomicU64,
}

/// What becomes of one call.
enum Verdict {
    Works,
    Fails,
    WorksAndFails,
    Hangs,
    Tears,
}

impl FaultStore {
    /// Breaks at call `at`, counted from 1. 0 never does.
    pub fn new(inner: Arc<dyn Store>, fault: Fault, at: u64) -> Self {
        Self { inner, fault, at, calls: AtomicU64::new(0) }
    }

    /// Whether the call has come at which it breaks.
    pub fn has_struck(&self) -> bool {
        self.at > 0 && self.calls() >= self.at
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn verdict(&self, writes: bool) -> Verdict {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.at == 0 || call < self.at {
            return Verdict::Works;
        }
        match self.fault {
            Fault::Once if call == self.at => Verdict::Fails,
            Fault::FromThenOn => Verdict::Fails,
            Fault::LostAnswer if call == self.at => Verdict::WorksAndFails,
            Fault::Hang => Verdict::Hangs,
            Fault::Torn if call == self.at => Verdict::Tears,
            Fault::Full if writes => Verdict::Fails,
            _ => Verdict::Works,
        }
    }

    fn error(&self, path: &str, action: &'static str) -> StoreError {
        if self.fault == Fault::Full {
            let source = io::ErrorKind::StorageFull.into();
            return StoreError::Full { path: path.to_owned(), place: self.inner.describe(), source };
        }
        let source = io::Error::other("broken on purpose");
        StoreError::Io { path: path.to_owned(), action, source }
    }

    async fn call<T>(
        &self,
        path: &str,
        action: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.verdict(action == "write") {
            Verdict::Works => call.await,
            Verdict::Fails | Verdict::Tears => Err(self.error(path, action)),
            Verdict::WorksAndFails => {
                call.await?;
                Err(self.error(path, action))
            }
            Verdict::Hangs => std::future::pending().await,
        }
    }
}

/// The first chunk's first half, then an error.
fn torn(body: ByteStream) -> ByteStream {
    let half = body.take(1).map(|chunk| chunk.map(|bytes: Bytes| bytes.slice(..bytes.len() / 2)));
    let error = futures::stream::once(async { Err(io::Error::other("torn on purpose")) });
    Box::pin(half.chain(error))
}

#[async_trait]
impl Store for FaultStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn features(&self) -> Features {
        self.inner.features()
    }

    fn reads_at_once(&self) -> usize {
        self.inner.reads_at_once()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.call("", "probe", self.inner.probe()).await
    }

    async fn put(&self, path: &ObjectPath, body: ByteStream) -> Result<u64, StoreError> {
        match self.verdict(true) {
            Verdict::Works => self.inner.put(path, body).await,
            Verdict::Fails => Err(self.error(path.as_str(), "write")),
            Verdict::WorksAndFails => {
                self.inner.put(path, body).await?;
                Err(self.error(path.as_str(), "write"))
            }
            Verdict::Hangs => std::future::pending().await,
            Verdict::Tears => self.inner.put(path, torn(body)).await,
        }
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        match self.verdict(false) {
            Verdict::Works => self.inner.get(path, range).await,
            Verdict::Fails | Verdict::WorksAndFails => Err(self.error(path.as_str(), "read")),
            Verdict::Hangs => std::future::pending().await,
            Verdict::Tears => Ok(torn(self.inner.get(path, range).await?)),
        }
    }

    async fn head(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError> {
        self.call(path.as_str(), "read", self.inner.head(path)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.call(prefix, "list", self.inner.list(prefix, after)).await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError> {
        self.call(path.as_str(), "remove", self.inner.delete(path)).await
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        self.call("", "sweep", self.inner.sweep()).await
    }
}
