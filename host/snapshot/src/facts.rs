//! What a snapshot is, as far as it can be told without judging it.

use serde::{Deserialize, Serialize};

/// What there is to know of a snapshot. The JSON names are those of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Facts {
    /// The revision that an etcd started on it is at: of the last change, or of the last compaction if that is higher.
    pub revision: i64,
    /// The revision of the last compaction that ended, -1 for none.
    pub compact_revision: i64,
    /// The revision of the last compaction that was begun, -1 for none.
    pub scheduled_compact_revision: i64,
    /// CRC-32C over all buckets: what `etcdutl snapshot status` calls the hash.
    pub hash: u32,
    /// What a member would answer to `HashKV` at `revision`.
    pub hashkv: HashKv,
    /// Keys that live at `revision`.
    pub live_keys: u64,
    /// Changes in the file: items of the bucket `key`.
    pub records: u64,
    /// Items of all buckets together: the `totalKey` of etcd up to 3.5.
    pub total_keys: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Bytes of the database by its high water mark: the `totalSize` of `etcdutl snapshot status`.
    pub image_bytes: u64,
    /// Bytes of the pages in use; the rest is what a defragmentation would free.
    pub in_use_bytes: u64,
    /// Bytes a page.
    pub page_size: u32,
    /// `meta/storageVersion`, since etcd 3.6.
    pub storage_version: Option<String>,
    /// `cluster/clusterVersion`, since etcd 3.5.
    pub cluster_version: Option<String>,
    /// The lowest minor version of etcd that can serve it, e.g. `3.6`.
    pub etcd_version: Option<String>,
    /// Index of the last raft entry applied.
    pub consistent_index: u64,
    /// Term of that entry, since etcd 3.5.
    pub term: Option<u64>,
    /// Alarms that stand.
    pub alarms: Vec<Alarm>,
    /// Members as the database knows them; none in snapshots of etcd up to 3.4.
    pub members: Vec<Member>,
    /// Leases.
    pub leases: u64,
    /// Whether users must log in.
    pub auth_enabled: bool,
    /// Every bucket, in name order.
    pub buckets: Vec<BucketFacts>,
    /// SHA-256 of the image in hex, when it was computed.
    pub sha256: Option<String>,
    /// The hash at the end of the file: `present`, `zeros` or `absent`.
    pub trailer: String,
    /// There are live keys below `/registry/`.
    pub kubernetes: bool,
}

/// `HashKV`: a hash over the history of the keys, equal on all members that agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HashKv {
    /// The hash.
    pub hash: u32,
    /// The revision up to which it was computed.
    pub revision: i64,
    /// The compact revision it was computed for, -1 for none. Only hashes of equal ones can be compared.
    pub compact_revision: i64,
}

/// An alarm that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alarm {
    /// The member that raised it, in hex.
    pub member_id: String,
    /// `NOSPACE`, `CORRUPT`, or the number of an alarm not known here.
    pub alarm: String,
}

/// A member of the cluster the snapshot was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Its id, in hex.
    pub id: String,
    /// Its name; empty if it never started.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// It has no vote.
    pub is_learner: bool,
}

/// A bucket and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BucketFacts {
    /// Its name, printable.
    pub name: String,
    /// Its items.
    pub items: u64,
    /// Bytes of their keys.
    pub key_bytes: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Pages of its own; 0 for a bucket kept inline.
    pub pages: u64,
}
