//! Which items of the database a restore changes.

use super::plan::{Cluster, Plan};
use super::{RestoreError, TERM};
use crate::bolt::Database;
use crate::error::ReadError;
use crate::revision::Revision;
use crate::write::{BucketChange, Changes, Put};

const KEY: &str = "key";
const META: &str = "meta";
const MEMBERS: &str = "members";
const MEMBERS_REMOVED: &str = "members_removed";
const CLUSTER: &str = "cluster";
const ALARM: &str = "alarm";
/// Users, roles, and whether anybody has to log in. Empty ones are those of a server that never had any.
const AUTH: [&str; 3] = ["auth", "authUsers", "authRoles"];

/// The changes, and the revision at which the store starts after them.
pub(super) struct Edits {
    pub(super) changes: Changes,
    pub(super) revision: i64,
}

pub(super) fn of(database: Database<'_>, plan: &Plan, cluster: &Cluster) -> Result<Edits, RestoreError> {
    if database.bucket(KEY.as_bytes())?.is_none() {
        return Err(RestoreError::NotEtcd);
    }
    let before = current_revision(database)?;
    let mut changes = Changes::from([
        (MEMBERS, BucketChange { clear: true, puts: member_items(cluster) }),
        (MEMBERS_REMOVED, BucketChange { clear: true, puts: Vec::new() }),
        (CLUSTER, BucketChange::default()),
        (META, BucketChange { clear: false, puts: raft_position(cluster.voters.len() as u64) }),
    ]);
    let emptied =
        plan.clear_alarms.then_some(ALARM).into_iter().chain(AUTH.into_iter().filter(|_| plan.strip_auth));
    changes.extend(emptied.map(|bucket| (bucket, BucketChange { clear: true, puts: Vec::new() })));
    let bump = plan.bump_revision.unwrap_or(0);
    if bump == 0 {
        return Ok(Edits { changes, revision: before.max(1) });
    }
    let revision = i64::try_from(bump)
        .ok()
        .and_then(|bump| before.checked_add(bump))
        .ok_or(RestoreError::BumpTooLarge { revision: before, bump })?;
    let key = Revision { main: revision, sub: 0 }.encode().to_vec();
    changes.entry(META).or_default().puts.push((b"scheduledCompactRev".to_vec(), key.clone()));
    changes.entry(KEY).or_default().puts.push((key, Vec::new()));
    Ok(Edits { changes, revision })
}

/// The newest revision the cluster has given out, 0 in a store without any: that of the last record, or that of the
/// last compaction when it took even the newest record away (a tombstone, before etcd 3.5.16).
///
/// etcdutl looks at the records alone, and so may bump to a revision that clients have passed.
fn current_revision(database: Database<'_>) -> Result<i64, RestoreError> {
    let last = database.bucket(KEY.as_bytes())?.map(|bucket| bucket.last()).transpose()?.flatten();
    let last = match last {
        Some(item) => main_revision(item.key).ok_or(RestoreError::NoRevision)?,
        None => 0,
    };
    let mut newest = last;
    for key in ["scheduledCompactRev", "finishedCompactRev"] {
        let compacted = get(database, META, key.as_bytes())?.and_then(main_revision);
        newest = newest.max(compacted.unwrap_or(0));
    }
    Ok(newest)
}

fn main_revision(key: &[u8]) -> Option<i64> {
    Revision::decode(key).map(|(revision, _)| revision.main)
}

fn get<'a>(database: Database<'a>, bucket: &str, key: &[u8]) -> Result<Option<&'a [u8]>, ReadError> {
    let item = database.bucket(bucket.as_bytes())?.map(|bucket| bucket.get(key)).transpose()?.flatten();
    Ok(item.map(|item| item.value))
}

pub(super) fn member_items(cluster: &Cluster) -> Vec<Put> {
    cluster.voters.iter().map(|voter| (voter.hex_id().into_bytes(), voter.to_json().into_bytes())).collect()
}

/// Where the log stands that is written beside: its last entry is already applied.
pub(super) fn raft_position(index: u64) -> Vec<Put> {
    vec![
        (b"consistent_index".to_vec(), index.to_be_bytes().to_vec()),
        (b"term".to_vec(), TERM.to_be_bytes().to_vec()),
    ]
}

/// Whether a written database says what [`of`] made of it.
pub(super) fn hold_in(
    database: Database<'_>,
    cluster: &Cluster,
    revision: i64,
) -> Result<bool, RestoreError> {
    let expected = [(MEMBERS, member_items(cluster)), (META, raft_position(cluster.voters.len() as u64))];
    for (bucket, items) in expected {
        for (key, value) in items {
            if get(database, bucket, &key)? != Some(&*value) {
                return Ok(false);
            }
        }
    }
    Ok(current_revision(database)?.max(1) == revision)
}
