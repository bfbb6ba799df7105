//! The database that a script works with, as this crate needs it: whoever runs a script brings one.
//!
//! Nothing here knows etcd or a network. What a guest asks is bounded before it gets here, so an implementation answers one
//! request at a time and needs no limits but those on the size of its own answers.

use async_trait::async_trait;

/// Keys in `[start, end)`, as bytes. An empty start is the first key; an empty end means no upper bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that belongs to it.
    pub start: Vec<u8>,
    /// The first key that no longer does.
    pub end: Vec<u8>,
}

impl KeyRange {
    /// One key alone.
    pub fn key(key: &[u8]) -> KeyRange {
        KeyRange { start: key.to_vec(), end: after(key) }
    }

    /// The keys that begin with these bytes.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        // The least key that is larger than all with the prefix; none when it is all 0xff.
        let end = prefix.iter().rposition(|byte| *byte != u8::MAX).map_or_else(Vec::new, |last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        });
        KeyRange { start: prefix.to_vec(), end }
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.start >= self.end
    }
}

/// The least key after this one: nothing lies between.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// One key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Vec<u8>,
    /// Its value; empty where it was not asked for.
    pub value: Vec<u8>,
    /// Revision at which the key's present life began.
    pub create_revision: i64,
    /// Revision of the last change.
    pub mod_revision: i64,
    /// Changes in this life.
    pub version: i64,
    /// Lease id, 0 for none.
    pub lease: i64,
}

/// A part of the rows of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Which keys.
    pub range: KeyRange,
    /// The revision that they are read at; 0 for the newest.
    pub revision: i64,
    /// Descending key order.
    pub descending: bool,
    /// Whether values are wanted.
    pub values: bool,
    /// At most this many rows, at least 1. The answer may have fewer; it has none only when there is none.
    pub rows: u64,
}

/// The answer to a [`PageRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In key order.
    pub rows: Vec<Row>,
    /// Whether the range has rows beyond these.
    pub more: bool,
    /// The revision of the database when it answered.
    pub revision: i64,
}

/// A checksum over all keys with their history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// The checksum.
    pub hash: u32,
    /// The revision that it is of.
    pub revision: i64,
    /// The revision up to which history was compacted.
    pub compact_revision: i64,
}

/// A number that a database keeps with each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNumber {
    /// Revision at which the key's present life began.
    CreateRevision,
    /// Revision of the last change.
    ModRevision,
    /// Changes in this life.
    Version,
    /// Lease id.
    Lease,
}

/// How two things are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// They are the same.
    Equal,
    /// They differ.
    NotEqual,
    /// The key's is less.
    Less,
    /// The key's is greater.
    Greater,
}

/// A condition of a [`Transaction`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Of a key's value.
    Value {
        /// The key.
        key: Vec<u8>,
        /// How.
        operator: Operator,
        /// With what.
        value: Vec<u8>,
    },
    /// Of a key's number.
    Number {
        /// The key.
        key: Vec<u8>,
        /// Which of its numbers.
        number: KeyNumber,
        /// How.
        operator: Operator,
        /// With what.
        value: i64,
    },
}

/// One thing that a [`Transaction`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// Lease id, 0 for none.
        lease: i64,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: Vec<u8>,
    },
}

/// When all comparisons hold, `success` is done, otherwise `failure`: all of it, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The conditions.
    pub comparisons: Vec<Comparison>,
    /// What is done when they hold.
    pub success: Vec<Operation>,
    /// What is done when they do not.
    pub failure: Vec<Operation>,
}

/// What a [`Transaction`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The database's revision afterwards.
    pub revision: i64,
    /// One for each operation that was done, in their order.
    pub answers: Vec<Answer>,
}

/// What one [`Operation`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The key is set.
    Put,
    /// So many keys were deleted.
    Delete(u64),
    /// What was read.
    Get(Option<Row>),
}

/// How a lease stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeToLive {
    /// Seconds that are left.
    pub remaining_seconds: i64,
    /// Seconds that it was granted.
    pub granted_seconds: i64,
    /// Keys that hang on it.
    pub keys: Vec<Vec<u8>>,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key as the change left it.
    pub row: Row,
    /// The key as it was before, where that is known.
    pub previous: Option<Row>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was set.
    Put,
    /// It was deleted.
    Delete,
}

/// Why the database did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DatabaseError {
    /// One of the codes that the interface `holdfast:script/database` names.
    pub code: &'static str,
    /// One sentence for a person.
    pub message: String,
}

impl DatabaseError {
    /// An error with one of the interface's codes.
    pub fn new(code: &'static str, message: impl Into<String>) -> DatabaseError {
        DatabaseError { code, message: message.into() }
    }
}

/// A database that is thrown away after the script. Each future may be dropped at any time, which gives the request up.
#[async_trait]
pub trait Database: Send + Sync {
    /// What it says of itself, by name.
    async fn status(&self) -> Result<Vec<(String, String)>, DatabaseError>;
    /// The checksum at a revision, 0 for the newest.
    async fn hash_kv(&self, revision: i64) -> Result<KvHash, DatabaseError>;
    /// A part of the rows of a range.
    async fn page(&self, request: PageRequest) -> Result<Page, DatabaseError>;
    /// How many keys are in a range at a revision, 0 for the newest.
    async fn count(&self, range: KeyRange, revision: i64) -> Result<u64, DatabaseError>;
    /// Sets a key. The answer is the revision afterwards.
    async fn put(&self, key: Vec<u8>, value: Vec<u8>, lease: i64) -> Result<i64, DatabaseError>;
    /// Deletes a range. The answer is how many keys there were.
    async fn delete(&self, range: KeyRange) -> Result<u64, DatabaseError>;
    /// Carries out a transaction.
    async fn commit(&self, transaction: Transaction) -> Result<Committed, DatabaseError>;
    /// Grants a lease. The answer is its id.
    async fn grant(&self, seconds: i64) -> Result<i64, DatabaseError>;
    /// Renews a lease. The answer is the time that it has again, in seconds.
    async fn keep_alive(&self, lease: i64) -> Result<i64, DatabaseError>;
    /// How a lease stands.
    async fn time_to_live(&self, lease: i64) -> Result<TimeToLive, DatabaseError>;
    /// Ends a lease.
    async fn revoke(&self, lease: i64) -> Result<(), DatabaseError>;
    /// The ids of all leases.
    async fn leases(&self) -> Result<Vec<i64>, DatabaseError>;
    /// Watches a range, from the change after this revision on where one is given. When it returns, the watch stands.
    async fn watch(
        &self,
        range: KeyRange,
        changed_after: Option<i64>,
    ) -> Result<Box<dyn Watching>, DatabaseError>;
}

/// A watch. It ends when it is dropped.
#[async_trait]
pub trait Watching: Send {
    /// The next changes, at least one. Nothing is lost when the future is dropped before it is ready.
    async fn next(&mut self) -> Result<Vec<Event>, DatabaseError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_larger_key() {
        for (prefix, end) in [(&b"/a/"[..], &b"/a0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b""), (b"", b"")] {
            assert_eq!(KeyRange::prefix(prefix), KeyRange { start: prefix.to_vec(), end: end.to_vec() });
        }
        assert!(!KeyRange::prefix(b"").is_empty() && !KeyRange::key(b"a").is_empty());
        assert!(KeyRange { start: b"b".to_vec(), end: b"a".to_vec() }.is_empty());
    }
}
