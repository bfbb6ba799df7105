//! What members say of themselves, as plain values.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A member's (or a cluster's) id. Written as 16 hexadecimal digits: JSON numbers end at 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for MemberId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl TryFrom<String> for MemberId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MemberId> for String {
    fn from(id: MemberId) -> Self {
        id.to_string()
    }
}

/// A member's answer to `Maintenance/Status`.
#[derive(Debug, Clone)]
pub struct Status {
    /// The cluster it belongs to.
    pub cluster_id: u64,
    /// The member that answered.
    pub member_id: u64,
    /// Its newest revision.
    pub revision: i64,
    /// The server's version, like `3.6.14`.
    pub version: String,
    /// The storage version, since 3.6.
    pub storage_version: Option<String>,
    /// Bytes of the database file.
    pub db_size_bytes: u64,
    /// Bytes in use in it.
    pub db_in_use_bytes: u64,
    /// The quota, told since 3.6.
    pub quota_bytes: Option<u64>,
    /// The leader it knows of; 0 for none.
    pub leader: u64,
    /// Newest raft index committed.
    pub raft_index: u64,
    /// Newest raft index applied.
    pub raft_applied_index: u64,
    /// Current raft term.
    pub raft_term: u64,
    /// Whether it only learns and does not vote.
    pub is_learner: bool,
    /// Alarms raised in the cluster, as this member knows them.
    pub alarms: Vec<Alarm>,
    /// Whatever else it complains of.
    pub complaints: Vec<String>,
}

/// An alarm raised for a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    /// The member it is raised for.
    pub member_id: MemberId,
    /// `NOSPACE` or `CORRUPT`.
    pub alarm: String,
}

impl Alarm {
    /// Reads etcd's text for an alarm in a status, like `memberID:10276657743932975437 alarm:NOSPACE `.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut member_id = 0;
        let mut alarm = None;
        // The two protobuf libraries that etcd has used differ in their blanks.
        for field in text.split_whitespace() {
            match field.split_once(':')? {
                ("memberID", value) => member_id = value.parse().ok()?,
                ("alarm", value) => alarm = Some(value.to_owned()),
                _ => return None,
            }
        }
        Some(Self { member_id: MemberId(member_id), alarm: alarm? })
    }
}

/// A line of the member list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where it listens for clients; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Whether it only learns and does not vote.
    pub is_learner: bool,
}

/// A member's answer to `Maintenance/HashKV`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKv {
    /// The member that answered.
    pub member_id: u64,
    /// CRC-32C over the keyspace up to the revision asked for.
    pub hash: u32,
    /// The member's compact revision; -1 when it never compacted.
    pub compact_revision: i64,
    /// The revision the hash was computed at, told since 3.6.
    pub hash_revision: Option<i64>,
    /// The member's newest revision when it answered; when revision 0 was asked for, the one hashed.
    pub newest_revision: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixteen_digits() {
        let json = serde_json::to_string(&MemberId(0xab)).unwrap();
        assert_eq!(json, "\"00000000000000ab\"");
        assert_eq!(serde_json::from_str::<MemberId>(&json).unwrap(), MemberId(0xab));
        assert!(serde_json::from_str::<MemberId>("\"x\"").is_err());
    }

    #[test]
    fn alarms_of_either_library() {
        let expected = Alarm { member_id: MemberId(10_276_657_743_932_975_437), alarm: "NOSPACE".to_owned() };
        for text in
            ["memberID:10276657743932975437 alarm:NOSPACE ", "memberID:10276657743932975437  alarm:NOSPACE"]
        {
            assert_eq!(Alarm::parse(text), Some(expected.clone()));
        }
        assert_eq!(Alarm::parse("etcdserver: no leader"), None);
    }
}
