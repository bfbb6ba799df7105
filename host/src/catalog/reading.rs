//! How a document is read, and how many at once.

use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    CHECK_FORMAT, CatalogError, Check, INVENTORY_FORMAT, Inventory, MANIFEST_FORMAT, MAX_DOCUMENT_BYTES,
    Manifest, PIN_FORMAT, Pin, RECORD_FORMAT, REPOSITORY_FORMAT, Record, Repository,
};
use crate::store::{self, ObjectPath, Store, StoreError};

/// What all documents under way at once may come to, by what the store lists of them. Nearly all are of a few kilobytes: this
/// bounds the others.
const AT_ONCE_KIB: u32 = 64 << 10;

/// A document, which says in which format it is.
pub(super) trait Document: for<'de> Deserialize<'de> + Send {
    /// The format known here.
    const FORMAT: &'static str;

    /// The format it names.
    fn format(&self) -> &str;
}

macro_rules! documents {
    ($($document:ty => $format:expr),* $(,)?) => {$(
        impl Document for $document {
            const FORMAT: &'static str = $format;

            fn format(&self) -> &str {
                &self.format
            }
        }
    )*};
}

documents! {
    Repository => REPOSITORY_FORMAT,
    Manifest => MANIFEST_FORMAT,
    Record => RECORD_FORMAT,
    Pin => PIN_FORMAT,
    Check => CHECK_FORMAT,
    Inventory => INVENTORY_FORMAT,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: String,
}

/// Reads a document.
pub(super) async fn read_document<T: Document>(
    store: &dyn Store,
    object: &ObjectPath,
) -> Result<T, CatalogError> {
    let bytes = store::read_small(store, object, MAX_DOCUMENT_BYTES).await.map_err(|error| match error {
        StoreError::Refused { path, reason } => {
            CatalogError::Untrusted { path, store: store.describe(), reason }
        }
        error => error.into(),
    })?;
    parse(&bytes).map_err(|wrong| match wrong {
        Wrong::Damaged(source) => {
            CatalogError::Damaged { path: object.to_string(), store: store.describe(), source }
        }
        Wrong::Format(format) => CatalogError::Format {
            path: object.to_string(),
            store: store.describe(),
            format,
            known: T::FORMAT,
        },
    })
}

/// Why bytes are not the document that they should be.
enum Wrong {
    Damaged(serde_json::Error),
    Format(String),
}

fn parse<T: Document>(bytes: &[u8]) -> Result<T, Wrong> {
    let found = match serde_json::from_slice::<T>(bytes) {
        Ok(document) if document.format() == T::FORMAT => return Ok(document),
        Ok(document) => document.format().to_owned(),
        // A newer document need not parse as ours.
        Err(error) => match serde_json::from_slice::<FormatOnly>(bytes) {
            Ok(FormatOnly { format }) if format != T::FORMAT => format,
            _ => return Err(Wrong::Damaged(error)),
        },
    };
    Err(Wrong::Format(found))
}

/// How much of a store is read at once, whoever asks for it: so many documents, and so many bytes of them.
pub(super) struct Bounds {
    reads: Semaphore,
    kib: Semaphore,
    /// The reads that may be under way.
    pub(super) at_once: usize,
}

impl Bounds {
    /// As many as are good for that store.
    pub(super) fn of(store: &dyn Store) -> Self {
        let at_once = store.reads_at_once().max(1);
        Self { reads: Semaphore::new(at_once), kib: Semaphore::new(AT_ONCE_KIB as usize), at_once }
    }

    /// Reads what comes to `size_bytes`, once there is room for it.
    pub(super) async fn read<T>(&self, size_bytes: u64, read: impl Future<Output = T>) -> T {
        // What is larger than everything takes all there is. Nobody closes these, so there is always a permit to come.
        let kib = u32::try_from(size_bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).clamp(1, AT_ONCE_KIB);
        let _place = self.reads.acquire().await;
        let _room = self.kib.acquire_many(kib).await;
        read.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::StreamExt;

    use super::*;
    use crate::catalog::testing::{record, repository};

    #[tokio::test]
    async fn what_is_read_at_once_is_bounded_in_number_and_in_bytes() {
        let bounds = Bounds::of(&repository().store);
        let (reads, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let (most_reads, most_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let sizes = (0..3000_u64).map(|number| if number % 10 == 0 { 5 << 20 } else { 3000 });
        let read = async |size: u64| {
            most_reads.fetch_max(reads.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            most_bytes.fetch_max(bytes.fetch_add(size, Ordering::SeqCst) + size, Ordering::SeqCst);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            reads.fetch_sub(1, Ordering::SeqCst);
            bytes.fetch_sub(size, Ordering::SeqCst);
        };
        let all = futures::stream::iter(sizes).map(|size| bounds.read(size, read(size)));
        assert_eq!(all.buffer_unordered(10_000).count().await, 3000);
        let (most_reads, most_bytes) = (most_reads.into_inner(), most_bytes.into_inner());
        assert!(most_reads > 1 && most_reads <= bounds.at_once as u64, "{most_reads} at once");
        assert!(most_bytes > 10 << 20 && most_bytes <= u64::from(AT_ONCE_KIB) << 10, "{most_bytes} bytes");
        // One that is larger than all that may be read at once is read alone.
        bounds.read(u64::MAX, async {}).await;
    }

    #[test]
    fn a_newer_document_is_known_as_one_whether_it_parses_or_not() {
        let id = "20261121T030000Z-1";
        let mut ours = serde_json::to_value(record(id, 0, etcd_snapshot::Outcome::Passed)).unwrap();
        assert!(parse::<Record>(ours.to_string().as_bytes()).is_ok());
        ours["format"] = "holdfast-record/9".into();
        let newer = [ours.to_string(), r#"{"format": "holdfast-record/9", "all": "new"}"#.to_owned()];
        for text in newer {
            let Err(Wrong::Format(format)) = parse::<Record>(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(format, "holdfast-record/9");
        }
        for text in ["", "{}", r#"{"format": "holdfast-record/1"}"#, r#"{"format": "holdfast-rec"#] {
            assert!(matches!(parse::<Record>(text.as_bytes()), Err(Wrong::Damaged(_))), "{text}");
        }
    }
}
