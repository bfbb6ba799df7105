//! etcd's own buckets besides the records: names, keys and values.
//!
//! | bucket | key | value |
//! | --- | --- | --- |
//! | `meta` | `consistent_index`, `term` | 8 bytes big-endian |
//! | | `confState` | JSON |
//! | | `scheduledCompactRev`, `finishedCompactRev` | a revision, 17 bytes |
//! | | `storageVersion` | text |
//! | `lease` | id, 8 bytes big-endian | `leasepb.Lease` |
//! | `alarm` | `AlarmMember` | empty |
//! | `auth` | `authEnabled`, `authRevision` | 1 byte; 8 bytes big-endian |
//! | `authUsers`, `authRoles` | name | `authpb.User`, `authpb.Role` |
//! | `cluster` | `clusterVersion`, `downgrade` | text; JSON |
//! | `members`, `members_removed` | id in hex | JSON; `removed` |
//!
//! Sources: etcd `server/storage/schema/*.go`.

use std::fmt;

use serde::Deserialize;

use crate::bolt::{Database, LeafItem};
use crate::error::ReadError;
use crate::proto::LeaseMessage;
use crate::revision::Revision;

pub(crate) const META: &str = "meta";
pub(crate) const LEASE: &str = "lease";
pub(crate) const ALARM: &str = "alarm";
pub(crate) const AUTH: &str = "auth";
pub(crate) const AUTH_USERS: &str = "authUsers";
pub(crate) const AUTH_ROLES: &str = "authRoles";
pub(crate) const CLUSTER: &str = "cluster";
pub(crate) const MEMBERS: &str = "members";
pub(crate) const MEMBERS_REMOVED: &str = "members_removed";

/// Every bucket that an etcd of any version makes when it starts.
pub(crate) const KNOWN_BUCKETS: [&str; 10] =
    [ALARM, AUTH, AUTH_ROLES, AUTH_USERS, CLUSTER, "key", LEASE, MEMBERS, MEMBERS_REMOVED, META];

/// Whether etcd makes a bucket of this name.
pub(crate) fn is_known_bucket(name: &[u8]) -> bool {
    KNOWN_BUCKETS.iter().any(|known| known.as_bytes() == name)
}

/// What a file says of its compactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compactions {
    /// The revision of the last compaction that ended, -1 for none.
    pub finished: i64,
    /// The revision of the last compaction that was begun, -1 for none.
    pub scheduled: i64,
}

impl Compactions {
    /// The later of the two: history before it may have gaps.
    pub fn furthest(&self) -> i64 {
        self.finished.max(self.scheduled)
    }
}

/// A lease: keys that belong to it go when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Its id.
    pub id: i64,
    /// Seconds that it was granted.
    pub ttl: i64,
    /// Seconds that were left when the leader last wrote them down; 0 when it never did. A restored server grants
    /// these, or the whole time.
    pub remaining_ttl: i64,
}

/// Reads an item of `lease`.
pub(crate) fn lease(item: &LeafItem<'_>) -> Result<Lease, ReadError> {
    match LeaseMessage::decode(item.value) {
        Some(LeaseMessage { id, ttl, remaining_ttl }) => Ok(Lease { id, ttl, remaining_ttl }),
        None => Err(ReadError::Malformed {
            bucket: LEASE,
            offset: item.offset,
            reason: "the value is not a lease message",
        }),
    }
}

/// Reads the two compact revisions.
pub(crate) fn compactions(database: Database<'_>) -> Result<Compactions, ReadError> {
    let mut found = Compactions { finished: -1, scheduled: -1 };
    let Some(meta) = database.bucket(META.as_bytes())? else { return Ok(found) };
    for item in meta.items() {
        let item = item?;
        let place = match item.key {
            b"finishedCompactRev" => &mut found.finished,
            b"scheduledCompactRev" => &mut found.scheduled,
            _ => continue,
        };
        *place = compact_revision(&item)?;
    }
    Ok(found)
}

pub(crate) fn compact_revision(item: &LeafItem<'_>) -> Result<i64, ReadError> {
    match Revision::decode(item.value) {
        Some((Revision { main, sub: 0 }, false)) => Ok(main),
        _ => Err(ReadError::Malformed {
            bucket: META,
            offset: item.offset,
            reason: "the compact revision is not a revision",
        }),
    }
}

/// A version of etcd or of its storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
}

impl Version {
    /// Parses `3.6.0`; what follows the patch number is let be.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.splitn(3, '.');
        let number = |part: Option<&str>| -> Option<u32> {
            let part = part?;
            (part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse().ok())?
        };
        let (major, minor) = (number(parts.next())?, number(parts.next())?);
        let patch = number(parts.next()?.split(['-', '+']).next())?;
        Some(Self { major, minor, patch })
    }

    /// `3.6`.
    pub(crate) fn minor_text(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    pub(crate) fn minor(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The voters and learners that raft knew when the snapshot was taken (`meta/confState`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfState {
    #[serde(deserialize_with = "null_as_empty")]
    pub(crate) voters: Vec<u64>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(crate) learners: Vec<u64>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(crate) voters_outgoing: Vec<u64>,
    #[serde(deserialize_with = "null_as_empty")]
    pub(crate) learners_next: Vec<u64>,
    #[serde(rename = "auto_leave")]
    _auto_leave: bool,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// An item of `members`.
#[derive(Debug, Deserialize)]
pub(crate) struct MemberJson {
    pub(crate) id: u64,
    #[serde(rename = "peerURLs", default, deserialize_with = "null_as_empty")]
    pub(crate) peer_urls: Vec<String>,
    #[serde(rename = "isLearner", default)]
    pub(crate) is_learner: bool,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(rename = "clientURLs", default, deserialize_with = "null_as_empty")]
    pub(crate) client_urls: Vec<String>,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `cluster/downgrade`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DowngradeJson {
    #[serde(rename = "target-version")]
    pub(crate) target_version: String,
    pub(crate) enabled: bool,
}

/// Fields that no known etcd writes.
pub(crate) type Unknown = std::collections::BTreeMap<String, serde_json::Value>;

/// Go writes an empty list as `null`.
fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_and_order() {
        assert_eq!(Version::parse(b"3.6.0").unwrap().minor(), (3, 6));
        assert_eq!(Version::parse(b"3.7.0-rc.1").unwrap().to_string(), "3.7.0");
        assert!(Version::parse(b"3.10.0") > Version::parse(b"3.9.9"));
        for bad in [&b""[..], b"3", b"3.6", b"a.b.c", b"3.6.x", b"99999.1.1", b"\xff"] {
            assert!(Version::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn ids_beyond_the_range_of_doubles_are_exact() {
        let state: ConfState =
            serde_json::from_str(r#"{"voters":[18446744073709551615,1],"learners":null,"auto_leave":false}"#)
                .unwrap();
        assert_eq!(state.voters, [u64::MAX, 1]);
        assert!(state.learners.is_empty());
    }
}
