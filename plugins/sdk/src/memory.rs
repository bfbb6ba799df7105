//! A snapshot made up in memory, for tests: it answers every query as the agent does.

use std::collections::BTreeMap;

use crate::error::ReadError;
use crate::snapshot::{Batch, BatchColumns, Cursor, KeyValue, Query, SnapshotSource, Totals};

/// A snapshot in memory.
///
/// ```
/// use holdfast_plugin::{MemorySnapshot, SnapshotSource};
///
/// let snapshot = MemorySnapshot::new().with("/a", "1").with("/b", "2").with_fact("storage-version", "3.6.0");
/// assert_eq!(snapshot.revision(), 3);
/// assert_eq!(snapshot.live_keys(), Ok(2));
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemorySnapshot {
    rows: BTreeMap<Vec<u8>, KeyValue>,
    facts: BTreeMap<String, String>,
    compact_revision: i64,
    fails_after: Option<u64>,
}

impl MemorySnapshot {
    /// A snapshot without keys.
    pub fn new() -> MemorySnapshot {
        MemorySnapshot::default()
    }

    /// Adds a key, written at the next revision as etcd would (the first write is revision 2).
    #[must_use]
    pub fn with(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> MemorySnapshot {
        self.put(key, value);
        self
    }

    /// Adds or changes a key at the next revision.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let mod_revision = self.revision() + 1;
        let key = key.as_ref().to_vec();
        let value = value.as_ref().to_vec();
        let (create_revision, version) = match self.rows.get(&key) {
            Some(old) => (old.create_revision, old.version + 1),
            None => (mod_revision, 1),
        };
        let row = KeyValue { key: key.clone(), value, create_revision, mod_revision, version, lease: 0 };
        self.rows.insert(key, row);
    }

    /// Adds a key with everything that is known of it.
    pub fn insert(&mut self, row: KeyValue) {
        self.rows.insert(row.key.clone(), row);
    }

    /// Takes a key away, as if it had never been.
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> Option<KeyValue> {
        self.rows.remove(key.as_ref())
    }

    /// The keys and what is known of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &KeyValue> {
        self.rows.values()
    }

    /// Adds a fact.
    #[must_use]
    pub fn with_fact(mut self, name: impl Into<String>, value: impl Into<String>) -> MemorySnapshot {
        self.facts.insert(name.into(), value.into());
        self
    }

    /// Sets the revision up to which history was compacted.
    #[must_use]
    pub fn compacted_at(mut self, revision: i64) -> MemorySnapshot {
        self.compact_revision = revision;
        self
    }

    /// Makes every scan fail with `damaged` once it has handed out this many rows: a test of what a verifier says about
    /// a file that breaks off.
    #[must_use]
    pub fn damaged_after(mut self, rows: u64) -> MemorySnapshot {
        self.fails_after = Some(rows);
        self
    }

    fn matching<'a: 'q, 'q>(&'a self, query: &'q Query) -> Box<dyn Iterator<Item = &'a KeyValue> + 'q> {
        let rows = self.rows.values().filter(|row| matches(row, query));
        let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if query.descending { Box::new(rows.rev().take(limit)) } else { Box::new(rows.take(limit)) }
    }
}

fn matches(row: &KeyValue, query: &Query) -> bool {
    row.key.starts_with(&query.prefix)
        && row.key >= query.start
        && (query.end.is_empty() || row.key < query.end)
        && contains(&row.key, &query.key_contains)
        && row.value.starts_with(&query.value_prefix)
        && query.changed_after.is_none_or(|revision| row.mod_revision > revision)
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle)
}

impl SnapshotSource for MemorySnapshot {
    fn revision(&self) -> i64 {
        self.rows.values().map(|row| row.mod_revision).max().unwrap_or(1)
    }

    fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    fn size_bytes(&self) -> u64 {
        self.rows.values().map(|row| (row.key.len() + row.value.len()) as u64).sum()
    }

    fn live_keys(&self) -> Result<u64, ReadError> {
        Ok(self.rows.len() as u64)
    }

    fn fact(&self, name: &str) -> Option<String> {
        self.facts.get(name).cloned()
    }

    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, ReadError> {
        Ok(self.rows.get(key).cloned())
    }

    fn open(&self, query: &Query) -> Result<Box<dyn Cursor + '_>, ReadError> {
        let rows: Vec<&KeyValue> = self.matching(query).collect();
        Ok(Box::new(MemoryCursor {
            rows,
            position: 0,
            columns: query.columns,
            fails_after: self.fails_after.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)),
        }))
    }

    fn totals(&self, query: &Query) -> Result<Totals, ReadError> {
        Ok(self.matching(query).fold(Totals::default(), |totals, row| Totals {
            keys: totals.keys + 1,
            key_bytes: totals.key_bytes + row.key.len() as u64,
            value_bytes: totals.value_bytes + row.value.len() as u64,
        }))
    }
}

struct MemoryCursor<'a> {
    rows: Vec<&'a KeyValue>,
    position: usize,
    columns: crate::snapshot::Columns,
    fails_after: Option<usize>,
}

impl Cursor for MemoryCursor<'_> {
    fn next_batch(&mut self, max_rows: u32, max_bytes: u32) -> Result<Batch, ReadError> {
        let mut batch = BatchColumns::default();
        let mut taken = 0;
        while taken < max_rows as usize
            && let Some(row) = self.rows.get(self.position)
        {
            if self.fails_after.is_some_and(|rows| self.position >= rows) {
                if taken > 0 {
                    break;
                }
                return Err(ReadError::new("damaged", "the file breaks off"));
            }
            let bytes = batch.keys.len() + batch.values.len() + row.key.len() + row.value.len();
            if taken > 0 && bytes > max_bytes as usize {
                break;
            }
            batch.push(row, self.columns);
            taken += 1;
            self.position += 1;
        }
        Batch::new(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::MemorySnapshot;
    use crate::snapshot::{BATCH_ROWS, Query, SnapshotSource, SnapshotView};

    fn keys(snapshot: &MemorySnapshot, query: &Query) -> Vec<String> {
        let mut found = Vec::new();
        let mut rows = SnapshotView::new(snapshot).rows(query).expect("opens");
        while let Some(row) = rows.next_row().expect("reads") {
            found.push(String::from_utf8_lossy(row.key).into_owned());
        }
        assert_eq!(found.len() as u64, snapshot.totals(query).expect("sums").keys);
        found
    }

    fn small() -> MemorySnapshot {
        MemorySnapshot::new().with("/a/1", "x").with("/a/2", "y1").with("/b/1", "y2").with("/a/1", "z")
    }

    #[test]
    fn queries_select_as_the_agent_does() {
        let snapshot = small();
        assert_eq!(snapshot.revision(), 5);
        assert_eq!(keys(&snapshot, &Query::all()), ["/a/1", "/a/2", "/b/1"]);
        assert_eq!(keys(&snapshot, &Query::prefix("/a/")), ["/a/1", "/a/2"]);
        assert_eq!(keys(&snapshot, &Query::prefix("/a/").descending().limit(1)), ["/a/2"]);
        assert_eq!(keys(&snapshot, &Query::all().range("/a/2", "")), ["/a/2", "/b/1"]);
        assert_eq!(keys(&snapshot, &Query::all().range("/a/2", "/b/1")), ["/a/2"]);
        assert_eq!(keys(&snapshot, &Query::all().key_contains("/1")), ["/a/1", "/b/1"]);
        assert_eq!(keys(&snapshot, &Query::all().value_prefix("y")), ["/a/2", "/b/1"]);
        assert_eq!(keys(&snapshot, &Query::all().changed_after(4)), ["/a/1"]);
        assert_eq!(keys(&snapshot, &Query::key("/a/1")), ["/a/1"]);
        assert_eq!(keys(&snapshot, &Query::key("/a")), Vec::<String>::new());
    }

    #[test]
    fn a_second_write_keeps_the_life_of_the_key() {
        let snapshot = small();
        let row = snapshot.get(b"/a/1").expect("reads").expect("is there");
        assert_eq!((row.create_revision, row.mod_revision, row.version), (2, 5, 2));
        assert!(SnapshotView::new(&snapshot).contains("/b/1").expect("reads"));
        assert!(!SnapshotView::new(&snapshot).contains("/b/").expect("reads"));
    }

    #[test]
    fn scans_cross_batches_of_rows_and_of_bytes() {
        let mut snapshot = MemorySnapshot::new();
        for index in 0..(BATCH_ROWS + 10) {
            snapshot.put(format!("/k/{index:05}"), vec![b'v'; 10]);
        }
        snapshot.put("/l/large", vec![b'v'; 3 << 20]);
        snapshot.put("/l/small", "v");
        let view = SnapshotView::new(&snapshot);
        let mut sizes = Vec::new();
        let mut rows = view.rows(&Query::all()).expect("opens");
        while let Some(batch) = rows.next_batch().expect("reads") {
            sizes.push(batch.rows().len());
        }
        assert_eq!(sizes, [BATCH_ROWS as usize, 10, 1, 1]);
        assert!(rows.next_batch().expect("reads").is_none());
        assert!(rows.next_row().expect("reads").is_none());
        assert_eq!(keys(&snapshot, &Query::all().keys_only()).len(), BATCH_ROWS as usize + 12);
    }

    #[test]
    fn a_scan_can_break_off() {
        let snapshot = small().damaged_after(2);
        let mut rows = SnapshotView::new(&snapshot).rows(&Query::all()).expect("opens");
        assert!(rows.next_row().expect("reads").is_some());
        assert!(rows.next_row().expect("reads").is_some());
        assert_eq!(rows.next_row().expect_err("breaks off").code, "damaged");
    }
}
