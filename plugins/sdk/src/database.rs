//! The database that a script works with: an etcd that was restored from a backup, and is thrown away afterwards.

pub(crate) mod memory;

use std::fmt;

use crate::error::Error;
use crate::snapshot::{BATCH_BYTES, BATCH_ROWS, Batch, Columns, KeyValue, Row};

/// The database could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct DatabaseError {
    /// `invalid`, `not-found`, `compacted`, `future`, `limit`, `no-space`, `refused`, `unavailable` or `unsupported`.
    pub code: String,
    /// For a person.
    pub message: String,
}

impl DatabaseError {
    /// An error with one of the agent's codes.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> DatabaseError {
        DatabaseError { code: code.into(), message: message.into() }
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Error {
        Error::new("database", error.to_string())
    }
}

/// Which keys, in which order, with which columns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyQuery {
    /// Only keys at or after this one.
    pub start: Vec<u8>,
    /// Only keys before this one; empty for no bound.
    pub end: Vec<u8>,
    /// Only rows changed after this revision.
    pub changed_after: Option<i64>,
    /// The keys as they were at this revision; the newest without it.
    pub at: Option<i64>,
    /// Descending key order.
    pub descending: bool,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// Which columns to fill.
    pub columns: Columns,
}

impl KeyQuery {
    /// Every live key, ascending, with all columns.
    pub fn all() -> KeyQuery {
        KeyQuery {
            start: Vec::new(),
            end: Vec::new(),
            changed_after: None,
            at: None,
            descending: false,
            limit: None,
            columns: Columns::ALL,
        }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> KeyQuery {
        let start = prefix.as_ref().to_vec();
        // The least key that is larger than all with the prefix; none when it is all 0xff.
        let end = start.iter().rposition(|byte| *byte != u8::MAX).map_or_else(Vec::new, |last| {
            let mut end = start[..=last].to_vec();
            end[last] += 1;
            end
        });
        KeyQuery { start, end, ..KeyQuery::all() }
    }

    /// One key, alone.
    pub fn key(key: impl AsRef<[u8]>) -> KeyQuery {
        let start = key.as_ref().to_vec();
        let end = [&start[..], &[0]].concat();
        KeyQuery { start, end, ..KeyQuery::all() }
    }

    /// The keys in `[start, end)`; an empty end means no upper bound.
    pub fn range(start: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> KeyQuery {
        KeyQuery { start: start.as_ref().to_vec(), end: end.as_ref().to_vec(), ..KeyQuery::all() }
    }

    /// Only rows changed after this revision.
    #[must_use]
    pub fn changed_after(self, revision: i64) -> KeyQuery {
        KeyQuery { changed_after: Some(revision), ..self }
    }

    /// The keys as they were at this revision.
    #[must_use]
    pub fn at(self, revision: i64) -> KeyQuery {
        KeyQuery { at: Some(revision), ..self }
    }

    /// Descending key order.
    #[must_use]
    pub fn descending(self) -> KeyQuery {
        KeyQuery { descending: true, ..self }
    }

    /// At most this many rows.
    #[must_use]
    pub fn limit(self, rows: u64) -> KeyQuery {
        KeyQuery { limit: Some(rows), ..self }
    }

    /// Which columns to fill. Values that are left out are not fetched.
    #[must_use]
    pub fn columns(self, columns: Columns) -> KeyQuery {
        KeyQuery { columns, ..self }
    }
}

/// `HashKV` of etcd: a checksum over all keys with their history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvHash {
    /// The checksum.
    pub hash: u32,
    /// The revision that it is of.
    pub revision: i64,
    /// The revision up to which history was compacted, -1 for none. Only hashes of equal ones can be compared.
    pub compact_revision: i64,
}

/// How two things are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`: the key's is less.
    Less,
    /// `>`: the key's is greater.
    Greater,
}

impl Operator {
    /// As the agent's interface writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::Greater => ">",
        }
    }
}

/// A number that etcd keeps with each key; all are 0 for a key that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl KeyNumber {
    /// As the agent's interface writes it.
    pub fn name(self) -> &'static str {
        match self {
            KeyNumber::CreateRevision => "create-revision",
            KeyNumber::ModRevision => "mod-revision",
            KeyNumber::Version => "version",
            KeyNumber::Lease => "lease",
        }
    }
}

/// A condition of a [`Transaction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// Of a key's value. A key that is not there compares as false.
    Value(Vec<u8>, Operator, Vec<u8>),
    /// Of one of a key's numbers.
    Number(Vec<u8>, KeyNumber, Operator, i64),
}

/// One thing that a [`Transaction`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key, with a lease or 0.
    Put(Vec<u8>, Vec<u8>, i64),
    /// Deletes a key.
    Delete(Vec<u8>),
    /// Reads a key.
    Get(Vec<u8>),
}

impl Operation {
    /// Sets a key.
    pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Operation {
        Operation::Put(key.as_ref().to_vec(), value.as_ref().to_vec(), 0)
    }

    /// Deletes a key.
    pub fn delete(key: impl AsRef<[u8]>) -> Operation {
        Operation::Delete(key.as_ref().to_vec())
    }

    /// Reads a key.
    pub fn get(key: impl AsRef<[u8]>) -> Operation {
        Operation::Get(key.as_ref().to_vec())
    }
}

/// When all comparisons hold, one list of operations is done, otherwise the other: all of it, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The conditions.
    pub comparisons: Vec<Comparison>,
    /// What is done when they hold.
    pub success: Vec<Operation>,
    /// What is done when they do not.
    pub failure: Vec<Operation>,
}

impl Transaction {
    /// One without conditions.
    pub fn new() -> Transaction {
        Transaction::default()
    }

    /// Adds a condition on a key's value.
    #[must_use]
    pub fn when_value(mut self, key: impl AsRef<[u8]>, operator: Operator, value: impl AsRef<[u8]>) -> Self {
        let (key, value) = (key.as_ref().to_vec(), value.as_ref().to_vec());
        self.comparisons.push(Comparison::Value(key, operator, value));
        self
    }

    /// Adds a condition on one of a key's numbers.
    #[must_use]
    pub fn when(mut self, key: impl AsRef<[u8]>, number: KeyNumber, operator: Operator, value: i64) -> Self {
        self.comparisons.push(Comparison::Number(key.as_ref().to_vec(), number, operator, value));
        self
    }

    /// Adds what is done when all conditions hold.
    #[must_use]
    pub fn then(mut self, operation: Operation) -> Self {
        self.success.push(operation);
        self
    }

    /// Adds what is done when they do not.
    #[must_use]
    pub fn otherwise(mut self, operation: Operation) -> Self {
        self.failure.push(operation);
        self
    }
}

/// What a [`Transaction`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// The database's revision afterwards.
    pub revision: i64,
    /// One for each operation that was done, in their order.
    pub answers: Vec<Answer>,
}

/// What one [`Operation`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The key is set.
    Put,
    /// So many keys were deleted.
    Deleted(u64),
    /// What was read.
    Found(Option<KeyValue>),
}

/// How a lease stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeToLive {
    /// Seconds that are left.
    pub remaining_seconds: i64,
    /// Seconds that it was granted.
    pub granted_seconds: i64,
    /// Keys that hang on it.
    pub keys: Vec<Vec<u8>>,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: WatchEventKind,
    /// The key as the change left it; of a deletion the key and its revision.
    pub row: KeyValue,
    /// The key as it was before, where the database still has it.
    pub previous: Option<KeyValue>,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEventKind {
    /// It was set.
    Put,
    /// It was deleted.
    Delete,
}

/// What a database can do; what an agent, or a [`MemoryDatabase`](crate::MemoryDatabase), is behind a [`DatabaseView`].
pub trait DatabaseSource {
    /// What it says of itself, by name.
    fn status(&self) -> Result<Vec<(String, String)>, DatabaseError>;
    /// The checksum at a revision, 0 for the newest.
    fn hash_kv(&self, revision: i64) -> Result<KvHash, DatabaseError>;
    /// One key.
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, DatabaseError>;
    /// How many keys a query selects.
    fn count(&self, query: &KeyQuery) -> Result<u64, DatabaseError>;
    /// Starts a scan.
    fn open(&self, query: &KeyQuery) -> Result<Box<dyn KeyCursor + '_>, DatabaseError>;
    /// Sets a key, with a lease or 0. The answer is the revision afterwards.
    fn put(&self, key: &[u8], value: &[u8], lease: i64) -> Result<i64, DatabaseError>;
    /// Deletes the keys of a query, of which only the key range counts; the answer is how many there were.
    fn delete(&self, query: &KeyQuery) -> Result<u64, DatabaseError>;
    /// Carries out a transaction.
    fn commit(&self, transaction: &Transaction) -> Result<Committed, DatabaseError>;
    /// Grants a lease. The answer is its id.
    fn grant(&self, seconds: i64) -> Result<i64, DatabaseError>;
    /// Renews a lease. The answer is the time to live that it has again, in seconds.
    fn keep_alive(&self, lease: i64) -> Result<i64, DatabaseError>;
    /// How a lease stands.
    fn time_to_live(&self, lease: i64) -> Result<TimeToLive, DatabaseError>;
    /// Ends a lease and deletes its keys.
    fn revoke(&self, lease: i64) -> Result<(), DatabaseError>;
    /// The ids of all leases.
    fn leases(&self) -> Result<Vec<i64>, DatabaseError>;
    /// Watches the keys of a query, of which the key range and `changed_after` count.
    fn watch(&self, query: &KeyQuery) -> Result<Box<dyn Watching + '_>, DatabaseError>;
}

/// A position in the rows of a query.
pub trait KeyCursor {
    /// The revision that the rows are of.
    fn revision(&self) -> i64;
    /// The next rows; none of them is the end.
    fn next_batch(&mut self, max_rows: u32, max_bytes: u32) -> Result<Batch, DatabaseError>;
}

/// A watch. It ends when it is dropped.
pub trait Watching {
    /// The next changes, oldest first; none when there was none for so many milliseconds.
    fn next_events(&mut self, max_events: u32, timeout_ms: u32) -> Result<Vec<WatchEvent>, DatabaseError>;
}

/// The database that a script works with.
#[derive(Clone, Copy)]
pub struct DatabaseView<'a> {
    source: &'a dyn DatabaseSource,
}

impl fmt::Debug for DatabaseView<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DatabaseView")
    }
}

impl<'a> DatabaseView<'a> {
    /// A view of a database.
    pub fn new(source: &'a dyn DatabaseSource) -> DatabaseView<'a> {
        DatabaseView { source }
    }

    /// What the database says of itself, by name: `version`, `revision`, `db-size` and others.
    pub fn status(&self) -> Result<Vec<(String, String)>, DatabaseError> {
        self.source.status()
    }

    /// The newest revision.
    pub fn revision(&self) -> Result<i64, DatabaseError> {
        let status = self.source.status()?;
        let revision =
            status.iter().find(|(name, _)| name == "revision").and_then(|(_, text)| text.parse().ok());
        revision.ok_or_else(|| DatabaseError::new("unsupported", "the database does not tell its revision"))
    }

    /// `HashKV` at a revision, or of the newest.
    pub fn hash_kv(&self, revision: Option<i64>) -> Result<KvHash, DatabaseError> {
        self.source.hash_kv(revision.unwrap_or(0))
    }

    /// One key with its value; `None` when it is not there.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<KeyValue>, DatabaseError> {
        self.source.get(key.as_ref())
    }

    /// How many keys a query selects.
    pub fn count(&self, query: &KeyQuery) -> Result<u64, DatabaseError> {
        self.source.count(query)
    }

    /// Scans the rows of a query. All are of one revision, whatever is written meanwhile.
    pub fn rows(&self, query: &KeyQuery) -> Result<KeyRows<'a>, DatabaseError> {
        Ok(KeyRows { cursor: self.source.open(query)?, batch: Batch::default(), position: 0, ended: false })
    }

    /// Sets a key. The answer is the revision afterwards.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<i64, DatabaseError> {
        self.source.put(key.as_ref(), value.as_ref(), 0)
    }

    /// Sets a key that goes with a lease.
    pub fn put_leased(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lease: &LeaseHandle<'_>,
    ) -> Result<i64, DatabaseError> {
        self.source.put(key.as_ref(), value.as_ref(), lease.id)
    }

    /// Deletes one key; whether it was there.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, DatabaseError> {
        Ok(self.source.delete(&KeyQuery::key(key))? > 0)
    }

    /// Deletes the keys of a query, of which only the key range counts; how many there were.
    pub fn delete_all(&self, query: &KeyQuery) -> Result<u64, DatabaseError> {
        self.source.delete(query)
    }

    /// Carries out a transaction.
    pub fn commit(&self, transaction: &Transaction) -> Result<Committed, DatabaseError> {
        self.source.commit(transaction)
    }

    /// Grants a lease for so many seconds.
    pub fn grant(&self, seconds: i64) -> Result<LeaseHandle<'a>, DatabaseError> {
        Ok(LeaseHandle { source: self.source, id: self.source.grant(seconds)? })
    }

    /// A lease by its id, also one that came with the backup.
    pub fn lease(&self, id: i64) -> LeaseHandle<'a> {
        LeaseHandle { source: self.source, id }
    }

    /// The ids of all leases.
    pub fn leases(&self) -> Result<Vec<i64>, DatabaseError> {
        self.source.leases()
    }

    /// Watches the keys of a query, of which the key range and `changed_after` count. No change made from now on is missed.
    pub fn watch(&self, query: &KeyQuery) -> Result<WatchHandle<'a>, DatabaseError> {
        Ok(WatchHandle { watching: self.source.watch(query)? })
    }
}

/// A lease. Dropping it does not end the lease.
#[derive(Clone, Copy)]
pub struct LeaseHandle<'a> {
    source: &'a dyn DatabaseSource,
    id: i64,
}

impl fmt::Debug for LeaseHandle<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LeaseHandle({:x})", self.id)
    }
}

impl LeaseHandle<'_> {
    /// Its id.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Renews it; the time to live that it has again, in seconds.
    pub fn keep_alive(&self) -> Result<i64, DatabaseError> {
        self.source.keep_alive(self.id)
    }

    /// How it stands.
    pub fn time_to_live(&self) -> Result<TimeToLive, DatabaseError> {
        self.source.time_to_live(self.id)
    }

    /// Ends it and deletes its keys.
    pub fn revoke(&self) -> Result<(), DatabaseError> {
        self.source.revoke(self.id)
    }
}

/// A watch. It ends when it is dropped.
pub struct WatchHandle<'a> {
    watching: Box<dyn Watching + 'a>,
}

impl fmt::Debug for WatchHandle<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WatchHandle")
    }
}

impl WatchHandle<'_> {
    /// The next changes, oldest first, as soon as there is one; none when there was none for so many milliseconds.
    pub fn next(&mut self, max_events: u32, timeout_ms: u32) -> Result<Vec<WatchEvent>, DatabaseError> {
        self.watching.next_events(max_events, timeout_ms)
    }
}

/// A scan, which lends one row at a time.
pub struct KeyRows<'a> {
    cursor: Box<dyn KeyCursor + 'a>,
    batch: Batch,
    position: usize,
    ended: bool,
}

impl fmt::Debug for KeyRows<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyRows")
    }
}

impl KeyRows<'_> {
    /// The revision that the rows are of.
    pub fn revision(&self) -> i64 {
        self.cursor.revision()
    }

    /// The next row; `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, DatabaseError> {
        if self.position == self.batch.len() && !self.ended {
            self.position = 0;
            self.batch = self.cursor.next_batch(BATCH_ROWS, BATCH_BYTES)?;
            self.ended = self.batch.is_empty();
        }
        let row = self.batch.row(self.position);
        self.position += usize::from(row.is_some());
        Ok(row)
    }
}
