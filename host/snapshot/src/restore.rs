//! Makes a data directory that etcd starts on, out of a snapshot and a [`Plan`], without a database.
//!
//! What is written is what `etcdutl snapshot restore` writes (etcd `etcdutl/snapshot/v3_snapshot.go`):
//!
//! ```text
//! <data_dir>/member/snap/db                                       the image, edited (below)
//! <data_dir>/member/snap/0000000000000001-<members, 16 hex>.snap  see `snap`
//! <wal_dir>/0000000000000000-0000000000000000.wal                 see `wal`
//! ```
//!
//! Edits of the image: `members` has the plan's members and nothing else, `members_removed` is empty,
//! `meta/consistent_index` is the number of members and `meta/term` 1, to fit the log. With a bump, an empty record at
//! the raised revision is put into `key` and `meta/scheduledCompactRev` set to it, so that the server compacts there when
//! it starts. With `clear_alarms`, `alarm` is empty; with `strip_auth`, `auth`, `authUsers` and `authRoles` are. All else stays, to the byte; with `compact`, to the item: then the
//! database is written anew, without the space that deleted items left.
//!
//! Everything is written under names of its own beside the target, synced, read back, and only then given its final
//! name. The snapshot's hash is not compared here: check the file first, with [`inspect`](crate::inspect).

mod ahead;
mod behind;
mod edits;
mod files;
mod plan;
mod staging;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

pub use crate::write::EditError;
pub use ahead::CopyAhead;
pub use plan::{Member, Plan, PlanError};

use crate::bolt::{Database, Refuse, walk};
use crate::error::ReadError;
use crate::membership::Voter;
use crate::wal::{ConfState, Entry, HardState, Metadata, RecordKind, SegmentWriter, SnapshotMark};
use crate::write;
use crate::{SnapshotFile, snap, wal};
use plan::Cluster;
use staging::{Staging, Stagings};

/// The raft term of all that is restored.
const TERM: u64 = 1;

/// What a restore wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The id of the member whose directory it is.
    pub member_id: u64,
    /// The id of the cluster.
    pub cluster_id: u64,
    /// Each member's name and id, ascending by id.
    pub members: Vec<(String, u64)>,
    /// The revision at which the cluster starts; after a bump, the raised one.
    pub revision: i64,
    /// Bytes written to the database, the log and the `.snap` file, without the log's preallocated rest.
    pub bytes_written: u64,
}

/// Why a restore was not done. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The snapshot is damaged.
    #[error("the snapshot cannot be restored")]
    Damaged(
        /// Where and how.
        #[source]
        EditError,
    ),
    /// It is a bbolt database, but not etcd's.
    #[error("the snapshot cannot be restored: it has no bucket `key`, so it is not etcd's")]
    NotEtcd,
    /// The newest record has a key that is no revision.
    #[error("the snapshot cannot be restored: its last record has no revision for a key")]
    NoRevision,
    /// The bump leads past the greatest revision that etcd can count.
    #[error("revision {revision} cannot be bumped by {bump}: revisions end at {}", i64::MAX)]
    BumpTooLarge {
        /// The snapshot's revision.
        revision: i64,
        /// By how much it was to be raised.
        bump: u64,
    },
    /// A file or directory could not be written.
    #[error("cannot {action} `{}`", path.display())]
    Write {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// What lies on disk is not what was written.
    #[error("the restored database at `{}` does not read back as written", path.display())]
    ReadBack {
        /// The database, under the name it had then.
        path: PathBuf,
    },
}

impl From<ReadError> for RestoreError {
    fn from(error: ReadError) -> Self {
        Self::Damaged(error.into())
    }
}

impl RestoreError {
    fn write(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { action, path, source }
    }

    /// A next step, where one is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Plan(error) => return error.hint(),
            Self::Damaged(_) | Self::NoRevision => {
                "check the snapshot, and take an older one if it is damaged"
            }
            Self::NotEtcd => "give the file that `etcdctl snapshot save` wrote",
            Self::BumpTooLarge { .. } => "choose a smaller bump; 1000000000 is usual",
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room: a restore takes the size of the snapshot and 64 MB for the log"
                }
                io::ErrorKind::PermissionDenied => {
                    "run as a user who may write there, best as the one etcd runs as"
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "choose a directory on a file system that can be written"
                }
                _ => return None,
            },
            Self::ReadBack { .. } => "check the disk, and restore to another one",
        };
        Some(hint.to_owned())
    }
}

/// Restores `source` as `plan` says.
///
/// ```no_run
/// use etcd_snapshot::SnapshotFile;
/// use etcd_snapshot::restore::{Plan, restore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source = SnapshotFile::open("backup.db".as_ref())?;
/// let members = Plan::parse_initial_cluster("m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380")?;
/// let plan = Plan { clear_alarms: true, ..Plan::new("m1", members, "restored-monday", "/var/lib/etcd".as_ref()) };
/// let restored = restore(&source, &plan)?;
/// println!("member {:x} of cluster {:x}", restored.member_id, restored.cluster_id);
/// # Ok(())
/// # }
/// ```
///
/// An empty target directory is accepted and kept. On an error, and when the process is stopped by one, nothing is left
/// but the target directory as it was; a process killed meanwhile leaves a directory `.<name>.holdfast-restore-…`, never a
/// target that looks whole. The next restore to the same place takes it away.
///
/// # Errors
/// A plan that cannot be carried out, a snapshot damaged where it has to be edited, or a disk that does not take it.
pub fn restore(source: &SnapshotFile, plan: &Plan) -> Result<Restored, RestoreError> {
    plan.validate()?;
    check_trees(source.snapshot().db())?;
    let (staging, restored) = stage(source, plan, None)?;
    staging.commit()?;
    Ok(restored)
}

/// Restores several members, each as its plan says, all or none: the directories get their names once all are written.
///
/// # Errors
/// As [`restore`], for the first member that cannot be written.
pub fn restore_all(source: &SnapshotFile, plans: &[Plan]) -> Result<Vec<Restored>, RestoreError> {
    Plan::validate_all(plans)?;
    write_all(source, plans, None)
}

/// As [`restore_all`], with the image copied while the snapshot was being checked. The plans are those it was begun with;
/// what they change in the database may be settled only now.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use etcd_snapshot::restore::{CopyAhead, Plan, restore_ahead};
/// use etcd_snapshot::{CheckOptions, Outcome, SnapshotFile, inspect};
///
/// fn restore_if_sound(source: Arc<SnapshotFile>, plan: Plan) -> Result<bool, Box<dyn std::error::Error>> {
///     let ahead = CopyAhead::begin(Arc::clone(&source), std::slice::from_ref(&plan))?;
///     if inspect(&source, &CheckOptions::default()).integrity.outcome != Outcome::Passed {
///         // The copy goes with `ahead`.
///         return Ok(false);
///     }
///     restore_ahead(&source, &[plan], ahead)?;
///     Ok(true)
/// }
/// ```
///
/// # Errors
/// As [`restore`], for the first member that cannot be written.
pub fn restore_ahead(
    source: &SnapshotFile,
    plans: &[Plan],
    ahead: CopyAhead,
) -> Result<Vec<Restored>, RestoreError> {
    plans.iter().try_for_each(Plan::validate_content)?;
    write_all(source, plans, Some(ahead))
}

fn write_all(
    source: &SnapshotFile,
    plans: &[Plan],
    mut ahead: Option<CopyAhead>,
) -> Result<Vec<Restored>, RestoreError> {
    check_trees(source.snapshot().db())?;
    let mut stagings = Stagings::default();
    let mut restored = Vec::with_capacity(plans.len());
    for plan in plans {
        let (staging, member) = stage(source, plan, ahead.as_mut())?;
        stagings.push(staging);
        restored.push(member);
    }
    stagings.commit()?;
    Ok(restored)
}

/// Writes all of one member under names of its own, of which the image may be there already.
fn stage(
    source: &SnapshotFile,
    plan: &Plan,
    ahead: Option<&mut CopyAhead>,
) -> Result<(Staging, Restored), RestoreError> {
    let cluster = Cluster::of(plan)?;
    let database = source.snapshot().db();
    let edits = edits::of(database, plan, &cluster)?;

    let (staging, path, mut bytes_written) = if plan.compact {
        let staging = Staging::create(&plan.data_dir, plan.wal_dir.as_deref())?;
        let path = staging.database();
        let bytes = files::write_compacted(&path, database, edits.changes)?;
        (staging, path, bytes)
    } else {
        let patch = write::edit(database, edits.changes).map_err(RestoreError::Damaged)?;
        let staging = copied(source, plan, ahead, patch.kept_bytes)?;
        let path = staging.database();
        let bytes = files::patch_image(&path, &patch)?;
        (staging, path, bytes)
    };
    files::check_database(&path, &cluster, edits.revision)?;

    let count = cluster.voters.len() as u64;
    let snap = snap::encode(&cluster.voters, count, TERM);
    files::write(&staging.snap_dir().join(snap::file_name(TERM, count)), &snap, 0)?;
    let log = log_of(cluster.own_id, cluster.id, &cluster.voters);
    files::write(&staging.wal_dir().join(wal::FIRST_SEGMENT_NAME), &log, wal::SEGMENT_SIZE_BYTES)?;
    bytes_written += snap.len() as u64 + log.len() as u64;

    let members = cluster.named_ids();
    let revision = edits.revision;
    let restored =
        Restored { member_id: cluster.own_id, cluster_id: cluster.id, members, revision, bytes_written };
    Ok((staging, restored))
}

/// The directories of a plan with the image in them, copied ahead or now.
fn copied(
    source: &SnapshotFile,
    plan: &Plan,
    ahead: Option<&mut CopyAhead>,
    image_bytes: u64,
) -> Result<Staging, RestoreError> {
    if let Some(ahead) = ahead {
        ahead.wait()?;
        if let Some(staging) = ahead.take(source, plan)? {
            return Ok(staging);
        }
        plan.validate()?;
    }
    let staging = Staging::create(&plan.data_dir, plan.wal_dir.as_deref())?;
    files::copy_image(&staging.database(), source, image_bytes, &AtomicBool::new(false))?;
    Ok(staging)
}

/// Goes over the branches of all trees: what a database could not read is not made into one. This touches one page in
/// a hundred; whether the leaves are sound is the check's to say.
fn check_trees(database: Database<'_>) -> Result<(), RestoreError> {
    for bucket in database.buckets() {
        let (_, bucket) = bucket?;
        walk(&bucket, &mut Refuse::new(&database))?;
    }
    Ok(())
}

/// The used part of the log that a restored member starts with: its members join one by one, then a snapshot.
pub(crate) fn log_of(own_id: u64, cluster_id: u64, voters: &[Voter]) -> Vec<u8> {
    let mut writer = SegmentWriter::first(Metadata { node_id: own_id, cluster_id });
    for (index, voter) in (1..).zip(voters) {
        let entry = Entry::add_member(index, TERM, voter.id, voter.to_json().as_bytes());
        writer.record(RecordKind::Entry, &entry.encode());
    }
    let ids: Vec<u64> = voters.iter().map(|voter| voter.id).collect();
    let commit = ids.len() as u64;
    // Any member will do, as long as all directories name the same one: etcdutl takes the smallest.
    let vote = ids.first().copied().unwrap_or(0);
    writer.record(RecordKind::State, &HardState { term: TERM, vote, commit }.encode());
    let conf_state = Some(ConfState { voters: ids, learners: Vec::new() });
    writer.record(RecordKind::Snapshot, &SnapshotMark { index: commit, term: TERM, conf_state }.encode());
    writer.finish()
}

#[cfg(test)]
mod tests;
