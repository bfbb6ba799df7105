//! Back to a running cluster: a snapshot file, checked, becomes the data directory of one member, or of all.
//!
//! The engine writes it; here stands what decides whether it may: an integrity check that failed needs the operator's
//! word; a file that is not the one expected, or that has no room, is refused. The disk is kept busy while the check is under
//! way, with a copy under a hidden name that goes away when the answer is no. What was unpacked for the restore is written
//! once: after the check it is moved into its place.

pub mod against;
pub mod bump;
pub mod room;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_snapshot::restore::{CopyAhead, Plan, RestoreError, Restored, restore_ahead, restore_all};
use etcd_snapshot::{Facts, Finding, Inspection, Outcome, Severity, SnapshotFile};
use serde::Serialize;

use crate::pipeline::inspect::{self, InspectError, Inspected};
use crate::source::LocalFile;
use crate::units::counted;
use against::{Comparison, Expected};
use room::{Place, Sizes, Source};

/// What the operator allows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Permissions {
    /// A file without etcd's trailing hash.
    pub missing_hash: bool,
    /// A file whose integrity check failed.
    pub failed_integrity: bool,
}

/// A file that may be restored.
pub struct Checked {
    file: Arc<SnapshotFile>,
    /// What is in it, and what the integrity check found.
    pub inspection: Inspection,
    /// What was compared with what was expected; none if nothing was.
    pub compared: Option<Vec<Comparison>>,
    /// How long the check took.
    pub took: Duration,
    /// The copy that was begun meanwhile.
    ahead: Option<CopyAhead>,
}

/// One member that was restored.
#[derive(Debug, Serialize)]
pub struct MemberReport {
    /// Its name.
    pub name: String,
    /// Its new id, 16 hex digits.
    pub member_id: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its WAL directory, where that is apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_dir: Option<PathBuf>,
    /// Bytes written for it.
    pub bytes_written: u64,
}

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The new cluster's id, 16 hex digits.
    pub cluster_id: String,
    /// The token that every member must be restored with.
    pub token: String,
    /// The newest revision in the snapshot.
    pub snapshot_revision: i64,
    /// The revision at which the cluster starts: the raised one after a bump.
    pub revision: i64,
    /// Live keys.
    pub live_keys: u64,
    /// Bytes written for all members.
    pub bytes_written: u64,
    /// The members whose directories were written.
    pub members: Vec<MemberReport>,
    /// What the integrity check found.
    pub integrity: etcd_snapshot::Integrity,
    /// What was compared with what was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Vec<Comparison>>,
}

/// Why nothing was restored. The target is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFailure {
    /// Not a snapshot.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The integrity check failed.
    #[error("the snapshot failed its integrity check ({} found); the first: {first}", counted(*errors, "error"))]
    Integrity {
        /// How many findings are errors.
        errors: u64,
        /// The first.
        first: String,
    },
    /// The check could not be made whole.
    #[error("the integrity of the snapshot could not be decided: {reason}")]
    Undecided {
        /// Why.
        reason: String,
    },
    /// Another snapshot than the one expected.
    #[error("the snapshot is not the one that {expected} describes: {differences}")]
    Differs {
        /// What it was compared with.
        expected: String,
        /// Every difference, in one line.
        differences: String,
    },
    /// The target's file system is too small.
    #[error("{}", no_room(.0))]
    NoRoom(
        /// The places without room.
        Vec<Place>,
    ),
    /// The engine could not write it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

fn no_room(places: &[Place]) -> String {
    let each: Vec<String> = places.iter().map(Place::shortage).collect();
    each.join("; ")
}

impl RestoreFailure {
    /// Whether the answer is no, as opposed to a restore that could not be tried.
    pub fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Integrity { .. } | Self::Undecided { .. } | Self::Inspect(_) | Self::Differs { .. }
        )
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Inspect(error) => return error.hint(),
            Self::Integrity { .. } | Self::Undecided { .. } => {
                "take another backup (`holdfast list`), look closer with `holdfast inspect`, or restore this one all the same with `--force`; \
                 a database file copied from a data directory has no trailing hash and wants `--skip-hash-check`"
            }
            Self::Differs { .. } => {
                "find the right file, or the right manifest, or leave `--verify-against` out"
            }
            Self::NoRoom(_) => {
                "free some space, restore to a larger disk, or try `--compact`, which writes no free pages; \
                 `--dry-run` tells what is needed where"
            }
            Self::Restore(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

/// Opens and checks a snapshot file, and compares it with what is expected. Meanwhile it is copied for the plans in
/// `ahead`, if there is room; whether they are carried out is told by [`write()`]. One that was unpacked for this is not
/// copied for the last plan: [`write()`] moves it there.
pub async fn check(
    file: &LocalFile,
    allowed: Permissions,
    expected: Option<&Expected>,
    ahead: &[Plan],
) -> Result<Checked, RestoreFailure> {
    let began = Instant::now();
    let snapshot = inspect::open(file.path()).await?;
    let ahead = copy_ahead(file, &snapshot, ahead).await?;
    let inspected = inspect::check(snapshot, file.hash(allowed.missing_hash)).await;
    let compared = expected.map(|expected| expected.compare(&inspected.inspection.facts));
    // Another file than the one meant is told before what is wrong with it.
    if let (Some(expected), Some(compared)) = (expected, &compared)
        && compared.iter().any(|it| !it.equal)
    {
        let differences: Vec<String> =
            compared.iter().filter(|it| !it.equal).map(Comparison::to_string).collect();
        let expected = expected.to_string();
        return Err(RestoreFailure::Differs { expected, differences: differences.join("; ") });
    }
    judge(&inspected.inspection, allowed)?;
    let Inspected { file, inspection, .. } = inspected;
    Ok(Checked { file, inspection, compared, took: began.elapsed(), ahead })
}

impl Checked {
    /// Whether the copy was begun, and with it the room for it was looked at.
    pub fn is_being_copied(&self) -> bool {
        self.ahead.is_some()
    }
}

/// Begins to copy; nothing where there is no room for it, or too little is known to tell.
async fn copy_ahead(
    file: &LocalFile,
    snapshot: &Arc<SnapshotFile>,
    plans: &[Plan],
) -> Result<Option<CopyAhead>, RestoreFailure> {
    if plans.is_empty() || plans.iter().any(|plan| plan.compact) {
        return Ok(None);
    }
    let image_bytes = snapshot.snapshot().db().size_bytes();
    let sizes = Sizes { image_bytes, in_use_bytes: image_bytes, unpacked_bytes: 0 };
    let (own, path) = (file.is_own(), file.path().to_owned());
    let (snapshot, plans) = (Arc::clone(snapshot), plans.to_owned());
    let begin = move || {
        let source = if own { Source::Own(&path) } else { Source::Theirs(&path) };
        if room::refuse_short(&room::places(&plans, sizes, source)).is_err() {
            return Ok(None);
        }
        let begun = if own {
            CopyAhead::begin_taking(snapshot, &plans, &path)
        } else {
            CopyAhead::begin(snapshot, &plans)
        };
        begun.map(Some)
    };
    match tokio::task::spawn_blocking(begin).await {
        Ok(begun) => Ok(begun?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Writes the data directories that the plans ask for: all or none.
pub async fn write(checked: Checked, plans: Vec<Plan>) -> Result<Report, RestoreFailure> {
    let Checked { file: snapshot, inspection, compared, ahead, .. } = checked;
    let (plans, restored) = {
        let work = move || {
            let restored = match ahead {
                Some(ahead) => restore_ahead(&snapshot, &plans, ahead),
                None => restore_all(&snapshot, &plans),
            };
            (restored, plans)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok((restored, plans)) => (plans, restored?),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    };
    let member = |(plan, restored): (&Plan, &Restored)| MemberReport {
        name: plan.name.clone(),
        member_id: format!("{:016x}", restored.member_id),
        data_dir: plan.data_dir.clone(),
        wal_dir: plan.wal_dir.clone(),
        bytes_written: restored.bytes_written,
    };
    let first = restored.first();
    Ok(Report {
        cluster_id: format!("{:016x}", first.map_or(0, |restored| restored.cluster_id)),
        token: plans.first().map(|plan| plan.token.clone()).unwrap_or_default(),
        snapshot_revision: inspection.facts.revision,
        revision: first.map_or(0, |restored| restored.revision),
        live_keys: inspection.facts.live_keys,
        bytes_written: restored.iter().map(|restored| restored.bytes_written).sum(),
        members: plans.iter().zip(&restored).map(member).collect(),
        integrity: inspection.integrity,
        compared,
    })
}

/// What the operator should know before the restored cluster is started.
pub fn cautions(facts: &Facts, plan: &Plan) -> Vec<String> {
    let mut cautions = Vec::new();
    if !plan.clear_alarms {
        cautions.extend(facts.alarms.iter().map(|alarm| {
            format!(
                "alarm {} of member {} stands in the backup, and the restored cluster will have it again; `--clear-alarms` takes it out",
                alarm.alarm, alarm.member_id
            )
        }));
    }
    if facts.auth_enabled && !plan.strip_auth {
        cautions.push(
            "authentication is on in the backup: the restored cluster asks for its users' passwords; `--strip-auth` takes users and roles out"
                .to_owned(),
        );
    }
    if facts.kubernetes && plan.bump_revision.unwrap_or(0) == 0 {
        cautions.push(
            "these are a Kubernetes cluster's keys and the revision is not raised: its controllers would miss changes; \
             `--bump-revision auto` raises it"
                .to_owned(),
        );
    }
    cautions
}

fn judge(inspection: &Inspection, allowed: Permissions) -> Result<(), RestoreFailure> {
    let integrity = &inspection.integrity;
    if allowed.failed_integrity || integrity.outcome == Outcome::Passed {
        return Ok(());
    }
    let errors: Vec<&Finding> =
        integrity.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    if integrity.outcome == Outcome::Failed {
        let first = errors.first().map_or_else(String::new, |finding| finding.message.clone());
        return Err(RestoreFailure::Integrity { errors: errors.len() as u64, first });
    }
    let reason = integrity
        .findings
        .first()
        .map_or_else(|| "no reason was given".to_owned(), |finding| finding.message.clone());
    Err(RestoreFailure::Undecided { reason })
}
