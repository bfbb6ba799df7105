//! The manifest: what a backup is, where it came from and what must be found again in the store.

use etcd_snapshot::{Facts, Integrity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BackupId, Link};
use crate::pipeline::agreement::Agreement;
use crate::pipeline::continuity::Continuity;
use crate::pipeline::preflight::PreflightFinding;
use crate::session::{SessionId, Stage};
use crate::store::ObjectPath;

/// The format written here.
pub const MANIFEST_FORMAT: &str = "holdfast-manifest/1";
/// The edition that a backup's own run writes.
pub const FIRST_EDITION: u32 = 1;

/// Which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterIdentity {
    /// The operator's name for it.
    pub name: String,
    /// etcd's own id, 16 hex digits.
    pub id: String,
}

/// The file that etcd sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainInfo {
    /// Size, etcd's trailing hash included.
    pub size_bytes: u64,
    /// SHA-256 of the whole file, hex.
    pub sha256: String,
}

/// The object in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredInfo {
    /// Its path. The manifest is the only place that knows which object is a backup's.
    pub path: ObjectPath,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, hex; compared once more after writing.
    pub sha256: String,
}

/// How the file became the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackInfo {
    /// Always `zstd`.
    pub compression: String,
    /// zstd level.
    pub level: i32,
    /// `age`, or `none`.
    pub encryption: String,
    /// Fingerprints of those who can read it.
    pub recipients: Vec<String>,
}

/// How a later edition came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repack {
    /// When.
    pub at: Timestamp,
    /// The run.
    pub session: SessionId,
    /// The release that did it.
    pub holdfast_version: String,
}

/// A committed backup. Immutable once written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: String,
    /// The backup's id.
    pub id: BackupId,
    /// Which edition this is: 1 by the run that made the backup, one more each time that it was packed anew.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub edition: u32,
    /// The release that wrote it.
    pub holdfast_version: String,
    /// Which cluster.
    pub cluster: ClusterIdentity,
    /// The member asked, 16 hex digits.
    pub member_id: String,
    /// The endpoint asked.
    pub endpoint: String,
    /// etcd version of that member.
    pub server_version: String,
    /// The run that made it.
    pub session: SessionId,
    /// When the run began.
    pub started: Timestamp,
    /// When the stream ended: the data is no newer than this.
    pub fetched: Timestamp,
    /// When the manifest was written.
    pub committed: Timestamp,
    /// The file that etcd sent.
    pub plain: PlainInfo,
    /// The object in the store.
    pub stored: StoredInfo,
    /// How the one became the other.
    pub pack: PackInfo,
    /// What is in it.
    pub facts: Facts,
    /// What the check of its structure and invariants found when it was made.
    pub integrity: Integrity,
    /// What the living members said of the same revision when it was made.
    pub agreement: Agreement,
    /// How it follows on from the backup before; none in what older releases wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continuity: Option<Continuity>,
    /// The backup before it; none of the first, and of what was made without a signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Link>,
    /// Of a later edition: when it was packed anew, and by what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repacked: Option<Repack>,
    /// What was found before it began.
    pub preflight: Vec<PreflightFinding>,
    /// The stages of the run, up to the commit.
    pub stages: Vec<Stage>,
}

fn first() -> u32 {
    FIRST_EDITION
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_first(edition: &u32) -> bool {
    *edition == FIRST_EDITION
}
