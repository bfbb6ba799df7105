//! A store that answers in time or not at all: what hangs (a dead mount, a network that swallows packets) becomes an error, so
//! that it cannot hold up other stores or the schedule.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;

use super::{ByteStream, Features, ObjectInfo, ObjectPath, Page, Store, StoreError};

/// Longest wait for an answer that is not a transfer.
const LONGEST_ANSWER: Duration = Duration::from_mins(5);

/// Bounds every call of another store.
pub struct LimitedStore {
    inner: Arc<dyn Store>,
    transfer: Duration,
}

impl LimitedStore {
    /// An upload may take this long. Any other answer, and each part of a download, may take five minutes, or this if it is less.
    pub fn new(inner: Arc<dyn Store>, transfer: Duration) -> Self {
        Self { inner, transfer }
    }

    fn answer(&self) -> Duration {
        self.transfer.min(LONGEST_ANSWER)
    }

    fn late(&self, limit: Duration) -> io::Error {
        let place = self.inner.describe();
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{place} gave no answer within {} s", limit.as_secs_f32()),
        )
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, StoreError>> + Send,
        late: impl FnOnce(io::Error) -> StoreError + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(limit, call).await {
            Ok(done) => done,
            Err(_) => Err(late(self.late(limit))),
        }
    }

    fn unusable(&self, source: io::Error) -> StoreError {
        StoreError::Unusable { place: self.inner.describe(), source }
    }
}

#[async_trait]
impl Store for LimitedStore {
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
        self.within(self.answer(), self.inner.probe(), |late| self.unusable(late)).await
    }

    async fn put(&self, path: &ObjectPath, body: ByteStream) -> Result<u64, StoreError> {
        self.within(self.transfer, self.inner.put(path, body), |late| StoreError::io(path, "write", late))
            .await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let limit = self.answer();
        let body = self
            .within(limit, self.inner.get(path, range), |late| StoreError::io(path, "read", late))
            .await?;
        let late = format!("{}", self.late(limit));
        let state = Some((body, late));
        Ok(Box::pin(futures::stream::unfold(state, move |state| async move {
            let (mut body, late) = state?;
            match tokio::time::timeout(limit, body.next()).await {
                Ok(chunk) => chunk.map(|chunk| (chunk, Some((body, late)))),
                Err(_) => Some((Err(io::Error::new(io::ErrorKind::TimedOut, late)), None)),
            }
        })))
    }

    async fn head(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError> {
        self.within(self.answer(), self.inner.head(path), |late| StoreError::io(path, "read", late)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.within(self.answer(), self.inner.list(prefix, after), |late| self.unusable(late)).await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError> {
        self.within(self.answer(), self.inner.delete(path), |late| StoreError::io(path, "remove", late)).await
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        self.within(self.transfer, self.inner.sweep(), |late| self.unusable(late)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fault::{Fault, FaultStore};
    use crate::store::{DirectoryStore, body, contract, read_small};

    fn path(text: &str) -> ObjectPath {
        ObjectPath::new(text).unwrap()
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let directory = tempfile::tempdir().unwrap();
        let inner = Arc::new(DirectoryStore::new(directory.path().join("store")));
        contract::check(&LimitedStore::new(inner, Duration::from_mins(10))).await;
    }

    #[tokio::test]
    async fn what_hangs_becomes_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let inner: Arc<dyn Store> = Arc::new(DirectoryStore::new(directory.path().to_owned()));
        inner.put(&path("a"), body(b"x".to_vec())).await.unwrap();
        // Call 1 and each after it.
        let hanging = Arc::new(FaultStore::new(inner, Fault::Hang, 1));
        let store = LimitedStore::new(hanging, Duration::from_millis(20));
        let errors = [
            store.probe().await.unwrap_err(),
            store.put(&path("b"), body(Vec::new())).await.unwrap_err(),
            store.head(&path("a")).await.unwrap_err(),
            store.list("", None).await.unwrap_err(),
            store.delete(&path("a")).await.unwrap_err(),
            store.sweep().await.unwrap_err(),
            read_small(&store, &path("a"), 10).await.unwrap_err(),
        ];
        for error in errors {
            let cause = std::error::Error::source(&error).expect("a cause").to_string();
            assert!(cause.contains("gave no answer within"), "{error}: {cause}");
        }
    }
}
