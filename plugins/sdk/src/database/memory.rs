//! A database made up in memory, for tests: it answers as etcd does, history, leases and watches included.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Answer, Committed, Comparison, DatabaseError, DatabaseSource, KeyCursor, KeyNumber, KeyQuery, KvHash,
    Operation, Operator, TimeToLive, Transaction, WatchEvent, WatchEventKind, Watching,
};
use crate::snapshot::{Batch, BatchColumns, KeyValue};

/// A database in memory. Its clock stands still until [`MemoryDatabase::pass`].
///
/// ```
/// use holdfast_plugin::{DatabaseView, KeyQuery, MemoryDatabase};
///
/// let memory = MemoryDatabase::new().with("/a", "1");
/// let database = DatabaseView::new(&memory);
/// let mut watch = database.watch(&KeyQuery::prefix("/"))?;
/// database.put("/b", "2")?;
/// assert_eq!(watch.next(10, 1000)?[0].row.value, b"2");
/// assert_eq!(database.count(&KeyQuery::all())?, 2);
/// # Ok::<(), holdfast_plugin::DatabaseError>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryDatabase {
    state: RefCell<State>,
    fails_after: Cell<Option<u64>>,
}

#[derive(Debug)]
struct State {
    revision: i64,
    /// Every change, oldest first.
    changes: Vec<WatchEvent>,
    leases: BTreeMap<i64, Lease>,
    next_lease: i64,
}

#[derive(Debug)]
struct Lease {
    granted: i64,
    remaining: i64,
}

impl Default for State {
    fn default() -> Self {
        // An empty etcd is at revision 1.
        State { revision: 1, changes: Vec::new(), leases: BTreeMap::new(), next_lease: 0x1000 }
    }
}

impl State {
    /// The keys as they were at a revision.
    fn at(&self, revision: i64) -> BTreeMap<&[u8], &KeyValue> {
        let mut live = BTreeMap::new();
        for change in self.changes.iter().take_while(|change| change.row.mod_revision <= revision) {
            match change.kind {
                WatchEventKind::Put => live.insert(change.row.key.as_slice(), &change.row),
                WatchEventKind::Delete => live.remove(change.row.key.as_slice()),
            };
        }
        live
    }

    fn find(&self, key: &[u8]) -> Option<KeyValue> {
        self.at(self.revision).get(key).map(|row| (*row).clone())
    }

    /// Sets a key at the revision that is being made.
    fn put(&mut self, revision: i64, key: &[u8], value: &[u8], lease: i64) {
        let previous = self.at(revision).get(key).map(|row| (*row).clone());
        let (create_revision, version) =
            previous.as_ref().map_or((revision, 1), |row| (row.create_revision, row.version + 1));
        let (key, value) = (key.to_vec(), value.to_vec());
        let row = KeyValue { key, value, create_revision, mod_revision: revision, version, lease };
        self.changes.push(WatchEvent { kind: WatchEventKind::Put, row, previous });
    }

    fn delete(&mut self, revision: i64, keys: Vec<Vec<u8>>) -> u64 {
        let mut deleted = 0;
        for key in keys {
            let Some(previous) = self.at(revision).get(key.as_slice()).map(|row| (*row).clone()) else {
                continue;
            };
            let row = KeyValue { key, mod_revision: revision, ..KeyValue::default() };
            self.changes.push(WatchEvent { kind: WatchEventKind::Delete, row, previous: Some(previous) });
            deleted += 1;
        }
        deleted
    }

    fn revoke(&mut self, lease: i64) -> bool {
        let known = self.leases.remove(&lease).is_some();
        let keys = self.keys_of(lease);
        if self.delete(self.revision + 1, keys) > 0 {
            self.revision += 1;
        }
        known
    }

    fn keys_of(&self, lease: i64) -> Vec<Vec<u8>> {
        let live = self.at(self.revision);
        live.values().filter(|row| row.lease == lease && lease != 0).map(|row| row.key.clone()).collect()
    }

    fn holds(&self, comparison: &Comparison) -> bool {
        fn compare<T: Ord + ?Sized>(left: &T, operator: Operator, right: &T) -> bool {
            match operator {
                Operator::Equal => left == right,
                Operator::NotEqual => left != right,
                Operator::Less => left < right,
                Operator::Greater => left > right,
            }
        }
        match comparison {
            Comparison::Value(key, operator, value) => {
                self.find(key).is_some_and(|row| compare(&row.value, *operator, value))
            }
            Comparison::Number(key, number, operator, value) => {
                let row = self.find(key).unwrap_or_default();
                let own = match number {
                    KeyNumber::CreateRevision => row.create_revision,
                    KeyNumber::ModRevision => row.mod_revision,
                    KeyNumber::Version => row.version,
                    KeyNumber::Lease => row.lease,
                };
                compare(&own, *operator, value)
            }
        }
    }
}

impl MemoryDatabase {
    /// A database without keys.
    pub fn new() -> MemoryDatabase {
        MemoryDatabase::default()
    }

    /// Adds a key, written at the next revision as etcd would (the first write is revision 2).
    #[must_use]
    pub fn with(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> MemoryDatabase {
        self.insert(key.as_ref(), value.as_ref(), 0);
        self
    }

    /// Lets time pass: leases that end take their keys with them.
    pub fn pass(&self, seconds: i64) {
        let mut state = self.state.borrow_mut();
        let mut ended = Vec::new();
        for (id, lease) in &mut state.leases {
            lease.remaining -= seconds;
            if lease.remaining <= 0 {
                ended.push(*id);
            }
        }
        for lease in ended {
            state.revoke(lease);
        }
    }

    /// Makes every request fail with `unavailable` once so many have been answered: a test of what a script says about a
    /// database that goes away.
    #[must_use]
    pub fn gone_after(self, requests: u64) -> MemoryDatabase {
        self.fails_after.set(Some(requests));
        self
    }

    fn insert(&self, key: &[u8], value: &[u8], lease: i64) -> i64 {
        let mut state = self.state.borrow_mut();
        let revision = state.revision + 1;
        state.put(revision, key, value, lease);
        state.revision = revision;
        revision
    }

    fn asked(&self) -> Result<(), DatabaseError> {
        match self.fails_after.get() {
            Some(0) => Err(DatabaseError::new("unavailable", "the database is gone")),
            left => {
                self.fails_after.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    fn select(&self, query: &KeyQuery) -> Result<(i64, Vec<KeyValue>), DatabaseError> {
        let state = self.state.borrow();
        let revision = query.at.filter(|at| *at > 0).unwrap_or(state.revision);
        if revision > state.revision {
            return Err(DatabaseError::new("future", "required revision is a future revision"));
        }
        let live = state.at(revision);
        let rows = live.into_values().filter(|row| {
            within(&row.key, query) && query.changed_after.is_none_or(|after| row.mod_revision > after)
        });
        let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let rows = if query.descending {
            rows.rev().take(limit).cloned().collect()
        } else {
            rows.take(limit).cloned().collect()
        };
        Ok((revision, rows))
    }
}

fn within(key: &[u8], query: &KeyQuery) -> bool {
    key >= query.start.as_slice() && (query.end.is_empty() || key < query.end.as_slice())
}

fn no_lease() -> DatabaseError {
    DatabaseError::new("not-found", "requested lease not found")
}

fn not_empty(key: &[u8]) -> Result<(), DatabaseError> {
    if key.is_empty() { Err(DatabaseError::new("invalid", "a key is never empty")) } else { Ok(()) }
}

impl DatabaseSource for MemoryDatabase {
    fn status(&self) -> Result<Vec<(String, String)>, DatabaseError> {
        self.asked()?;
        let revision = self.state.borrow().revision.to_string();
        Ok(vec![("version".to_owned(), "3.6.0".to_owned()), ("revision".to_owned(), revision)])
    }

    /// A checksum of its own: equal for equal histories, as etcd's is.
    fn hash_kv(&self, revision: i64) -> Result<KvHash, DatabaseError> {
        self.asked()?;
        let state = self.state.borrow();
        let revision = if revision > 0 { revision } else { state.revision };
        if revision > state.revision {
            return Err(DatabaseError::new("future", "required revision is a future revision"));
        }
        let mut hash = 0x811c_9dc5_u32;
        for change in state.changes.iter().take_while(|change| change.row.mod_revision <= revision) {
            let bytes = change.row.key.iter().chain(&change.row.value).copied();
            for byte in bytes.chain(change.row.mod_revision.to_be_bytes()) {
                hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
            }
        }
        Ok(KvHash { hash, revision, compact_revision: -1 })
    }

    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, DatabaseError> {
        self.asked()?;
        not_empty(key)?;
        Ok(self.state.borrow().find(key))
    }

    fn count(&self, query: &KeyQuery) -> Result<u64, DatabaseError> {
        self.asked()?;
        Ok(self.select(query)?.1.len() as u64)
    }

    fn open(&self, query: &KeyQuery) -> Result<Box<dyn KeyCursor + '_>, DatabaseError> {
        self.asked()?;
        let (revision, rows) = self.select(query)?;
        Ok(Box::new(Rows { database: self, revision, found: rows, position: 0, query: query.clone() }))
    }

    fn put(&self, key: &[u8], value: &[u8], lease: i64) -> Result<i64, DatabaseError> {
        self.asked()?;
        not_empty(key)?;
        if lease != 0 && !self.state.borrow().leases.contains_key(&lease) {
            return Err(no_lease());
        }
        Ok(self.insert(key, value, lease))
    }

    fn delete(&self, query: &KeyQuery) -> Result<u64, DatabaseError> {
        self.asked()?;
        let range = KeyQuery::range(&query.start, &query.end);
        let keys = self.select(&range)?.1.into_iter().map(|row| row.key).collect();
        let mut state = self.state.borrow_mut();
        let revision = state.revision + 1;
        let deleted = state.delete(revision, keys);
        if deleted > 0 {
            state.revision = revision;
        }
        Ok(deleted)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Committed, DatabaseError> {
        self.asked()?;
        let mut state = self.state.borrow_mut();
        let succeeded = transaction.comparisons.iter().all(|comparison| state.holds(comparison));
        let operations = if succeeded { &transaction.success } else { &transaction.failure };
        let mut put = BTreeSet::new();
        for operation in operations {
            if let Operation::Put(key, _, lease) = operation {
                if !put.insert(key) {
                    return Err(DatabaseError::new("invalid", "duplicate key given in txn request"));
                }
                if *lease != 0 && !state.leases.contains_key(lease) {
                    return Err(no_lease());
                }
            }
        }
        let revision = state.revision + 1;
        let before = state.changes.len();
        let mut answers = Vec::new();
        for operation in operations {
            answers.push(match operation {
                Operation::Put(key, value, lease) => {
                    state.put(revision, key, value, *lease);
                    Answer::Put
                }
                Operation::Delete(key) => Answer::Deleted(state.delete(revision, vec![key.clone()])),
                Operation::Get(key) => {
                    Answer::Found(state.at(revision).get(key.as_slice()).map(|row| (*row).clone()))
                }
            });
        }
        if state.changes.len() > before {
            state.revision = revision;
        }
        Ok(Committed { succeeded, revision: state.revision, answers })
    }

    fn grant(&self, seconds: i64) -> Result<i64, DatabaseError> {
        self.asked()?;
        if seconds < 1 {
            return Err(DatabaseError::new("invalid", "a lease is granted for at least one second"));
        }
        let mut state = self.state.borrow_mut();
        state.next_lease += 1;
        let id = state.next_lease;
        state.leases.insert(id, Lease { granted: seconds, remaining: seconds });
        Ok(id)
    }

    fn keep_alive(&self, lease: i64) -> Result<i64, DatabaseError> {
        self.asked()?;
        let mut state = self.state.borrow_mut();
        let lease = state.leases.get_mut(&lease).ok_or_else(no_lease)?;
        lease.remaining = lease.granted;
        Ok(lease.granted)
    }

    fn time_to_live(&self, lease: i64) -> Result<TimeToLive, DatabaseError> {
        self.asked()?;
        let state = self.state.borrow();
        let known = state.leases.get(&lease).ok_or_else(no_lease)?;
        Ok(TimeToLive {
            remaining_seconds: known.remaining,
            granted_seconds: known.granted,
            keys: state.keys_of(lease),
        })
    }

    fn revoke(&self, lease: i64) -> Result<(), DatabaseError> {
        self.asked()?;
        if self.state.borrow_mut().revoke(lease) { Ok(()) } else { Err(no_lease()) }
    }

    fn leases(&self) -> Result<Vec<i64>, DatabaseError> {
        self.asked()?;
        Ok(self.state.borrow().leases.keys().copied().collect())
    }

    fn watch(&self, query: &KeyQuery) -> Result<Box<dyn Watching + '_>, DatabaseError> {
        self.asked()?;
        let state = self.state.borrow();
        let seen = match query.changed_after {
            Some(revision) => state.changes.iter().take_while(|it| it.row.mod_revision <= revision).count(),
            None => state.changes.len(),
        };
        Ok(Box::new(Watch { database: self, query: query.clone(), seen }))
    }
}

struct Rows<'a> {
    database: &'a MemoryDatabase,
    revision: i64,
    found: Vec<KeyValue>,
    position: usize,
    query: KeyQuery,
}

impl KeyCursor for Rows<'_> {
    fn revision(&self) -> i64 {
        self.revision
    }

    fn next_batch(&mut self, max_rows: u32, max_bytes: u32) -> Result<Batch, DatabaseError> {
        self.database.asked()?;
        let mut batch = BatchColumns::default();
        let (mut taken, mut bytes) = (0, 0);
        while taken < max_rows.max(1)
            && let Some(row) = self.found.get(self.position)
        {
            bytes += row.key.len() + row.value.len();
            if taken > 0 && bytes > max_bytes as usize {
                break;
            }
            batch.push(row, self.query.columns);
            taken += 1;
            self.position += 1;
        }
        Batch::new(batch).map_err(|error| DatabaseError::new("refused", error.message))
    }
}

struct Watch<'a> {
    database: &'a MemoryDatabase,
    query: KeyQuery,
    /// Changes that were looked at.
    seen: usize,
}

impl Watching for Watch<'_> {
    fn next_events(&mut self, max_events: u32, _timeout_ms: u32) -> Result<Vec<WatchEvent>, DatabaseError> {
        self.database.asked()?;
        let state = self.database.state.borrow();
        let mut events = Vec::new();
        while events.len() < max_events.max(1) as usize
            && let Some(change) = state.changes.get(self.seen)
        {
            self.seen += 1;
            if within(&change.row.key, &self.query) {
                events.push(change.clone());
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::DatabaseView;

    #[test]
    fn history_leases_and_watches_are_those_of_etcd() {
        let memory = MemoryDatabase::new().with("/a", "1").with("/b", "2");
        let database = DatabaseView::new(&memory);
        let before = database.hash_kv(None).expect("answers");
        let mut watch = database.watch(&KeyQuery::prefix("/")).expect("watches");
        let lease = database.grant(10).expect("grants");
        assert_eq!(database.put_leased("/c", "3", &lease), Ok(4));
        assert_eq!(lease.time_to_live().expect("stands").keys, [b"/c".to_vec()]);
        memory.pass(9);
        assert_eq!(lease.keep_alive(), Ok(10));
        memory.pass(9);
        assert_eq!(database.count(&KeyQuery::all()), Ok(3));
        memory.pass(1);
        assert_eq!(database.count(&KeyQuery::all()), Ok(2));
        assert_eq!(lease.keep_alive().expect_err("ended").code, "not-found");
        let kinds: Vec<WatchEventKind> =
            watch.next(10, 0).expect("reads").iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [WatchEventKind::Put, WatchEventKind::Delete]);
        assert_eq!(database.hash_kv(Some(3)).expect("answers").hash, before.hash);
        assert_ne!(database.hash_kv(None).expect("answers").hash, before.hash);
        assert_eq!(database.count(&KeyQuery::all().at(4)), Ok(3));
        assert_eq!(database.count(&KeyQuery::all().at(9)).expect_err("is to come").code, "future");
    }

    #[test]
    fn transactions_do_one_branch_whole() {
        let memory = MemoryDatabase::new().with("/a", "1");
        let database = DatabaseView::new(&memory);
        let swap = Transaction::new()
            .when_value("/a", Operator::Equal, "1")
            .when("/b", KeyNumber::Version, Operator::Equal, 0)
            .then(Operation::put("/a", "2"))
            .then(Operation::put("/b", "2"))
            .then(Operation::get("/a"))
            .otherwise(Operation::delete("/a"));
        let first = database.commit(&swap).expect("commits");
        assert!(first.succeeded && first.revision == 3);
        assert!(matches!(&first.answers[2], Answer::Found(Some(row)) if row.value == b"2"));
        let second = database.commit(&swap).expect("commits");
        assert!(!second.succeeded);
        assert_eq!(second.answers, [Answer::Deleted(1)]);
        let twice = Transaction::new().then(Operation::put("/a", "1")).then(Operation::put("/a", "2"));
        assert_eq!(database.commit(&twice).expect_err("is refused").code, "invalid");
        assert_eq!(database.get("/a"), Ok(None));
    }

    #[test]
    fn scans_keep_their_revision_and_a_database_can_go_away() {
        let mut memory = MemoryDatabase::new();
        for index in 0..300 {
            memory = memory.with(format!("/k/{index:03}"), "v");
        }
        let database = DatabaseView::new(&memory);
        let mut rows = database.rows(&KeyQuery::prefix("/k/").descending().limit(299)).expect("opens");
        assert_eq!(rows.next_row().expect("reads").expect("a row").key, b"/k/299");
        database.delete_all(&KeyQuery::all()).expect("deletes");
        let mut left = 0;
        while rows.next_row().expect("reads").is_some() {
            left += 1;
        }
        assert_eq!((left, rows.revision()), (298, 301));
        let gone = MemoryDatabase::new().gone_after(1);
        let database = DatabaseView::new(&gone);
        assert!(database.status().is_ok());
        assert_eq!(database.status().expect_err("is gone").code, "unavailable");
    }
}
