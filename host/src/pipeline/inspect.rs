//! What is in the file, and is it sound?

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_snapshot::{CheckOptions, Inspection, OpenError, SnapshotFile, codes};

use super::fetch::Fetched;
use crate::units::counted;

/// What is known of the file's trailing hash.
pub enum Hash<'a> {
    /// The stream was digested on its way and the trailer compared: no need to do it again.
    Known(&'a Fetched),
    /// The same of a file that was unpacked: this is the digest of its image, and the trailer says so too.
    Compared(&'a str),
    /// Nothing: compute it.
    Unknown {
        /// Whether a missing hash is accepted.
        allow_missing: bool,
    },
    /// It does not matter now.
    Skip,
}

/// A snapshot file that was opened and checked.
pub struct Inspected {
    /// The file, mapped.
    pub file: Arc<SnapshotFile>,
    /// Facts and integrity.
    pub inspection: Inspection,
    /// How long that took.
    pub took: Duration,
}

impl Inspected {
    /// One line for people.
    pub fn summary(&self) -> String {
        let facts = &self.inspection.facts;
        format!(
            "revision {}, {}, {}",
            facts.revision,
            counted(facts.live_keys, "live key"),
            counted(self.inspection.integrity.findings.len() as u64, "finding")
        )
    }
}

/// Not a snapshot at all.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` is not a readable etcd snapshot")]
pub struct InspectError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub source: OpenError,
}

impl InspectError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        Some("an etcd snapshot is what `etcdctl snapshot save` writes, or `member/snap/db` of a data directory".to_owned())
    }
}

/// Opens a file, off the async threads. Nothing but its header is looked at.
pub async fn open(path: &Path) -> Result<Arc<SnapshotFile>, InspectError> {
    let opened = path.to_owned();
    let file = blocking(move || SnapshotFile::open(&opened)).await;
    file.map(Arc::new).map_err(|source| InspectError { path: path.to_owned(), source })
}

/// Checks a file, off the async threads.
pub async fn check(file: Arc<SnapshotFile>, hash: Hash<'_>) -> Inspected {
    let options = match hash {
        Hash::Known(fetched) => {
            CheckOptions { sha256: false, allow_missing_hash: !fetched.trailer_ok, ..CheckOptions::default() }
        }
        Hash::Compared(_) => CheckOptions { sha256: false, ..CheckOptions::default() },
        Hash::Skip => CheckOptions { sha256: false, allow_missing_hash: true, ..CheckOptions::default() },
        Hash::Unknown { allow_missing } => {
            CheckOptions { allow_missing_hash: allow_missing, ..CheckOptions::default() }
        }
    };
    let known = match hash {
        Hash::Known(fetched) => Some(fetched.image_sha256.clone()),
        Hash::Compared(image_sha256) => Some(image_sha256.to_owned()),
        Hash::Unknown { .. } | Hash::Skip => None,
    };
    blocking(move || {
        let began = Instant::now();
        let mut inspection = etcd_snapshot::inspect(&file, &options);
        if known.is_some() {
            inspection.facts.sha256 = known;
            inspection.integrity.findings.retain(|finding| finding.code != codes::HASH_NOT_COMPARED.name);
        }
        Inspected { file, inspection, took: began.elapsed() }
    })
    .await
}

/// Opens and checks a file.
pub async fn inspect(path: &Path, hash: Hash<'_>) -> Result<Inspected, InspectError> {
    Ok(check(open(path).await?, hash).await)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
