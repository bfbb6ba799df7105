//! Does a backup follow on from the one before it?
//!
//! A backup may be sound in itself and yet not be of what it should be: another cluster behind the same endpoints, a member
//! that came back from an old disk, a cluster restored from an older state. Only the backup before tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use etcd_snapshot::codes::Code;
use etcd_snapshot::{Facts, Finding, Member, Outcome, Severity};
use serde::{Deserialize, Serialize};

use super::store::{NamedStore, with_causes};
use super::{inventory, known_stores};
use crate::catalog::{self, BackupId, CatalogError, Gap, GapKind, Link};

/// Backups that are tried when those after them cannot be read.
const TRIES: usize = 5;

macro_rules! codes {
    ($($constant:ident $name:literal $severity:ident $meaning:literal;)*) => {
        $(const $constant: Code = Code { name: $name, severity: Severity::$severity, meaning: $meaning };)*

        /// All codes of findings of continuity. They are stable; new ones may be added.
        pub const CODES: &[Code] = &[$($constant),*];
    };
}

codes! {
    CLUSTER_CHANGED "cluster-changed" Error "the backup before is of another cluster";
    REVISION_LOWER "revision-lower" Error
        "the revision is lower than in the backup before: this is an older state of the same cluster, of a member that lags far behind or came back from an old disk";
    CLUSTER_RESTORED "cluster-restored" Warning
        "revision, raft index and raft term are lower than in the backup before: the cluster was restored from an older state, and kept its id";
    MEMBERS_CHANGED "members-changed" Info "members were added or removed since the backup before";
    MEMBERS_REPLACED "members-replaced" Warning
        "no member is the same as in the backup before, although the cluster is";
    PREVIOUS_MISSING "previous-missing" Error
        "the newest backup that this machine knows in a store is gone from it, and it has none newer";
    BACKUP_MISSING "backup-missing" Warning
        "a backup is gone from a store, and no retention rule removed it: a signed inventory lists it, or this backup names it as the one before";
    PREVIOUS_UNREADABLE "previous-unreadable" Warning
        "the manifest of a backup before cannot be read; an older one was compared with, if there is one";
}

/// How a backup follows on from the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuity {
    /// Failed: it does not. Inconclusive: the backups before cannot be read.
    pub outcome: Outcome,
    /// The backup before; none for the first.
    pub previous: Option<BackupId>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// How long it took to find out.
    pub elapsed_ms: u64,
}

impl Continuity {
    /// One line for people.
    pub fn summary(&self) -> String {
        let serious = self.findings.iter().find(|finding| finding.severity > Severity::Info);
        match (&self.previous, serious.or(self.findings.first())) {
            (_, Some(finding)) => finding.message.clone(),
            (Some(previous), None) => format!("follows on from {previous}"),
            (None, None) => "the first backup here: there is none before".to_owned(),
        }
    }
}

/// What is compared of a backup.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The backup.
    pub id: &'a BackupId,
    /// etcd's id of its cluster, 16 hex digits.
    pub cluster_id: &'a str,
    /// What is in it.
    pub facts: &'a Facts,
    /// What it names as the one before it, when it is signed.
    pub previous: Option<&'a Link>,
}

/// Compares a backup with the newest before it in these stores. Never an error: what could not be found out is said.
pub async fn continuity(stores: &[NamedStore], now: State<'_>) -> Continuity {
    let began = Instant::now();
    let mut before: BTreeMap<BackupId, Vec<&NamedStore>> = BTreeMap::new();
    let mut findings = Vec::new();
    for named in stores {
        let ids = catalog::ids(named.store.as_ref()).await;
        let gone = missing(named, &now, ids.as_ref().ok()).await;
        match ids {
            Ok(ids) => {
                let known = known_stores::newest_known(named).filter(|known| known < now.id);
                let newest = ids.range(..now.id.clone()).next_back();
                if let Some(known) = known.filter(|known| newest.is_none_or(|newest| newest < known)) {
                    let message = format!("backup {known} is gone from store `{}`", named.name);
                    findings.push(finding(&PREVIOUS_MISSING, message));
                }
                ids.into_iter()
                    .filter(|id| id < now.id)
                    .for_each(|id| before.entry(id).or_default().push(named));
            }
            Err(error) => findings.push(unreadable(&named.name, &with_causes(&error))),
        }
        findings.extend(gone);
    }
    let mut previous = None;
    'found: for (id, holders) in before.iter().rev().take(TRIES) {
        for named in holders {
            match catalog::manifest(named.store.as_ref(), id).await {
                Ok(Some(manifest)) => {
                    previous = Some(manifest);
                    break 'found;
                }
                // Removed since it was listed.
                Ok(None) => {}
                Err(error) => findings.push(unreadable(&named.name, &with_causes(&error))),
            }
        }
    }
    if let Some(previous) = &previous {
        let state = State {
            id: &previous.id,
            cluster_id: &previous.cluster.id,
            facts: &previous.facts,
            previous: previous.previous.as_ref(),
        };
        findings.splice(0..0, compare(state, now));
    }
    let is_unknown = previous.is_none() && !findings.is_empty();
    let outcome = match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Error) => Outcome::Failed,
        _ if is_unknown => Outcome::Inconclusive,
        _ => Outcome::Passed,
    };
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Continuity { outcome, previous: previous.map(|previous| previous.id), findings, elapsed_ms }
}

/// What somebody took away from a store. That speaks against the store, not against this backup.
async fn missing(
    named: &NamedStore,
    now: &State<'_>,
    present: Option<&BTreeSet<BackupId>>,
) -> Option<Finding> {
    let gaps = match inventory::gaps_before(named, now.id, now.previous, present).await {
        Ok(gaps) => gaps,
        Err(error @ CatalogError::InventoryLost { .. }) => {
            return Some(finding(&BACKUP_MISSING, error.to_string()));
        }
        Err(CatalogError::Store(_)) => return None,
        Err(error) => return Some(unreadable(&named.name, &with_causes(&error))),
    };
    let missing: Vec<&Gap> = gaps.iter().filter(|gap| gap.kind == GapKind::Missing).collect();
    let others = match missing.len() {
        0 => return None,
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let message = format!("store `{}`: {}{others}", named.name, missing.last()?);
    Some(finding(&BACKUP_MISSING, message))
}

fn unreadable(store: &str, reason: &str) -> Finding {
    finding(&PREVIOUS_UNREADABLE, format!("a backup before cannot be read in store `{store}`: {reason}"))
}

/// What does not follow on.
fn compare(before: State<'_>, now: State<'_>) -> Vec<Finding> {
    if before.cluster_id != now.cluster_id {
        let message = format!("the backup before, {}, is of another cluster", before.id);
        return vec![finding(&CLUSTER_CHANGED, message).values(before.cluster_id, now.cluster_id)];
    }
    let mut findings = Vec::new();
    let (old, new) = (before.facts, now.facts);
    if new.revision < old.revision {
        // A restore begins raft's log anew. A member that lags has an index that is lower, but has not lost its terms.
        let restored = new.consistent_index < old.consistent_index && new.term < old.term;
        let (code, what) = if restored {
            (&CLUSTER_RESTORED, "the cluster was restored from an older state")
        } else {
            (&REVISION_LOWER, "this is an older state of the cluster")
        };
        let message =
            format!("{what}: revision {} after {} in backup {}", new.revision, old.revision, before.id);
        findings.push(finding(code, message).values(old.revision, new.revision));
    }
    findings.extend(compare_members(&old.members, &new.members, before.id));
    findings
}

/// Up to 3.4 the database does not know the members: then nothing is said of them.
fn compare_members(old: &[Member], new: &[Member], before: &BackupId) -> Option<Finding> {
    let missing_in = |others: &[Member], members: &[Member]| -> Vec<String> {
        let is_missing = |member: &&Member| others.iter().all(|other| other.id != member.id);
        members.iter().filter(is_missing).map(|member| format!("`{}` ({})", member.name, member.id)).collect()
    };
    let (added, removed) = (missing_in(old, new), missing_in(new, old));
    if old.is_empty() || new.is_empty() || (added.is_empty() && removed.is_empty()) {
        return None;
    }
    let said = [("added", &added), ("removed", &removed)];
    let said: Vec<String> = said
        .into_iter()
        .filter(|(_, members)| !members.is_empty())
        .map(|(what, members)| format!("{what} {}", members.join(", ")))
        .collect();
    let code = if removed.len() == old.len() { &MEMBERS_REPLACED } else { &MEMBERS_CHANGED };
    Some(finding(code, format!("members since backup {before}: {}", said.join("; "))))
}

fn finding(code: &Code, message: String) -> Finding {
    Finding::new(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(revision: i64, raft: (u64, u64), members: &[&str]) -> Facts {
        let members: Vec<serde_json::Value> = members
            .iter()
            .map(|name| {
                serde_json::json!({ "id": format!("{name}0"), "name": name, "peer_urls": [], "client_urls": [], "is_learner": false })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "revision": revision, "compact_revision": -1, "scheduled_compact_revision": -1, "hash": 1,
            "hashkv": { "hash": 2, "revision": revision, "compact_revision": -1 },
            "live_keys": 3, "records": 6, "total_keys": 9, "size_bytes": 4128, "image_bytes": 4096,
            "in_use_bytes": 4096, "page_size": 4096, "consistent_index": raft.0, "term": raft.1, "alarms": [],
            "members": members, "leases": 0, "auth_enabled": false, "buckets": [], "sha256": "11",
            "trailer": "present", "kubernetes": false
        }))
        .unwrap()
    }

    fn codes(old: (&str, &Facts), new: (&str, &Facts)) -> Vec<String> {
        let (before, now) = ("20261121T030000Z-7".parse().unwrap(), "20261121T040000Z-9".parse().unwrap());
        let before = State { id: &before, cluster_id: old.0, facts: old.1, previous: None };
        let now = State { id: &now, cluster_id: new.0, facts: new.1, previous: None };
        compare(before, now).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn what_follows_on_is_not_remarked() {
        let old = facts(100, (200, 5), &["a", "b", "c"]);
        for new in [&old, &facts(101, (201, 5), &["a", "b", "c"]), &facts(100, (199, 5), &["c", "a", "b"])] {
            assert_eq!(codes(("x", &old), ("x", new)), [""; 0]);
        }
        // Up to 3.4 members are not known.
        assert_eq!(codes(("x", &old), ("x", &facts(101, (201, 5), &[]))), [""; 0]);
    }

    #[test]
    fn what_does_not_is_named() {
        let old = facts(100, (200, 5), &["a", "b", "c"]);
        let three = ["a", "b", "c"];
        assert_eq!(codes(("x", &old), ("y", &facts(7, (9, 2), &["d"]))), ["cluster-changed"]);
        assert_eq!(codes(("x", &old), ("x", &facts(99, (190, 5), &three))), ["revision-lower"]);
        assert_eq!(codes(("x", &old), ("x", &facts(99, (9, 2), &three))), ["cluster-restored"]);
        assert_eq!(codes(("x", &old), ("x", &facts(101, (201, 5), &["a", "b", "d"]))), ["members-changed"]);
        assert_eq!(codes(("x", &old), ("x", &facts(101, (201, 5), &["d"]))), ["members-replaced"]);
    }

    #[test]
    fn the_page_lists_every_code() {
        let page = include_str!("../../docs/continuity.md");
        for code in CODES {
            let severity = code.severity;
            assert!(
                page.contains(&format!("| `{}` | {severity} | {} |", code.name, code.meaning)),
                "{}",
                code.name
            );
        }
        let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
        assert_eq!(rows.count(), CODES.len());
    }
}
