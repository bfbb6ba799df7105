//! The view of a snapshot that a verifier works on: facts, single keys, scans in batches of columns, and sums made by
//! the host.
//!
//! Rows cross the boundary in columns because that costs a few allocations a batch instead of two a row; [`Rows`] turns
//! them back into rows without copying.

use crate::error::ReadError;

/// Rows asked for at once: more make a row no cheaper, and these still fit into a processor's cache.
pub const BATCH_ROWS: u32 = 1024;
/// Bytes of keys and values asked for at once. One value can be 1.5 MiB, so rows alone are no bound.
pub const BATCH_BYTES: u32 = 1 << 20;

/// One live key, owned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Revision at which the key's present life began.
    pub create_revision: i64,
    /// Revision of the last change.
    pub mod_revision: i64,
    /// Changes in this life; 1 at creation.
    pub version: i64,
    /// Lease id, 0 for none.
    pub lease: i64,
}

/// One row of a scan. What the query's columns left out is empty or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Revision at which the key's present life began.
    pub create_revision: i64,
    /// Revision of the last change.
    pub mod_revision: i64,
    /// Changes in this life; 1 at creation.
    pub version: i64,
    /// Lease id, 0 for none.
    pub lease: i64,
}

/// Sums over the rows of a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows.
    pub keys: u64,
    /// Bytes of their keys.
    pub key_bytes: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
}

/// Which columns a scan fills. Values that are left out are never read from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Keys.
    pub keys: bool,
    /// Values.
    pub values: bool,
    /// The four integers: create revision, mod revision, version and lease.
    pub revisions: bool,
}

impl Columns {
    /// Keys, values and revisions.
    pub const ALL: Columns = Columns { keys: true, values: true, revisions: true };
    /// Keys and nothing else.
    pub const KEYS: Columns = Columns { keys: true, values: false, revisions: false };
    /// Keys and values.
    pub const KEYS_AND_VALUES: Columns = Columns { keys: true, values: true, revisions: false };
}

/// Which rows, in which order, with which columns. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// Only keys that begin with these bytes.
    pub prefix: Vec<u8>,
    /// Only keys at or after this one.
    pub start: Vec<u8>,
    /// Only keys before this one; empty for no bound.
    pub end: Vec<u8>,
    /// Only keys that contain these bytes.
    pub key_contains: Vec<u8>,
    /// Only values that begin with these bytes.
    pub value_prefix: Vec<u8>,
    /// Only rows changed after this revision.
    pub changed_after: Option<i64>,
    /// Descending key order.
    pub descending: bool,
    /// At most this many rows.
    pub limit: Option<u64>,
    /// Which columns to fill.
    pub columns: Columns,
}

impl Query {
    /// Every live key, ascending, with all columns.
    pub fn all() -> Query {
        Query {
            prefix: Vec::new(),
            start: Vec::new(),
            end: Vec::new(),
            key_contains: Vec::new(),
            value_prefix: Vec::new(),
            changed_after: None,
            descending: false,
            limit: None,
            columns: Columns::ALL,
        }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Query {
        Query { prefix: prefix.as_ref().to_vec(), ..Query::all() }
    }

    /// One key, alone.
    pub fn key(key: impl AsRef<[u8]>) -> Query {
        let start = key.as_ref().to_vec();
        // The least key after `start`: nothing lies between.
        let end = [&start[..], &[0]].concat();
        Query { start, end, ..Query::all() }
    }

    /// Only keys in `[start, end)`; an empty end means no upper bound.
    #[must_use]
    pub fn range(mut self, start: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Query {
        self.start = start.as_ref().to_vec();
        self.end = end.as_ref().to_vec();
        self
    }

    /// Only keys that contain these bytes.
    #[must_use]
    pub fn key_contains(mut self, needle: impl AsRef<[u8]>) -> Query {
        self.key_contains = needle.as_ref().to_vec();
        self
    }

    /// Only values that begin with these bytes.
    #[must_use]
    pub fn value_prefix(mut self, prefix: impl AsRef<[u8]>) -> Query {
        self.value_prefix = prefix.as_ref().to_vec();
        self
    }

    /// Only rows changed after this revision.
    #[must_use]
    pub fn changed_after(mut self, revision: i64) -> Query {
        self.changed_after = Some(revision);
        self
    }

    /// Descending key order.
    #[must_use]
    pub fn descending(mut self) -> Query {
        self.descending = true;
        self
    }

    /// At most this many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Query {
        self.limit = Some(rows);
        self
    }

    /// Fills these columns only. At least one must be asked for: rows without any column could not be counted.
    #[must_use]
    pub fn columns(mut self, columns: Columns) -> Query {
        self.columns = columns;
        self
    }

    /// Keys and nothing else: values are never read.
    #[must_use]
    pub fn keys_only(self) -> Query {
        self.columns(Columns::KEYS)
    }
}

impl Default for Query {
    fn default() -> Query {
        Query::all()
    }
}

/// The columns of a batch as they cross the boundary: row `i`'s key is `keys[key_ends[i-1]..key_ends[i]]` (from 0 for
/// the first row), its value likewise; the integer columns have one item a row. A column left out is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchColumns {
    /// All keys, one after the other.
    pub keys: Vec<u8>,
    /// Where each key ends.
    pub key_ends: Vec<u32>,
    /// All values, one after the other.
    pub values: Vec<u8>,
    /// Where each value ends.
    pub value_ends: Vec<u32>,
    /// Revisions at which the keys' present lives began.
    pub create_revisions: Vec<i64>,
    /// Revisions of the last changes.
    pub mod_revisions: Vec<i64>,
    /// Changes in these lives.
    pub versions: Vec<i64>,
    /// Lease ids.
    pub leases: Vec<i64>,
}

impl BatchColumns {
    /// Adds a row, as far as it was asked for.
    pub(crate) fn push(&mut self, row: &KeyValue, asked: Columns) {
        if asked.keys {
            self.keys.extend_from_slice(&row.key);
            self.key_ends.push(self.keys.len() as u32);
        }
        if asked.values {
            self.values.extend_from_slice(&row.value);
            self.value_ends.push(self.values.len() as u32);
        }
        if asked.revisions {
            self.create_revisions.push(row.create_revision);
            self.mod_revisions.push(row.mod_revision);
            self.versions.push(row.version);
            self.leases.push(row.lease);
        }
    }
}

/// Some rows of a scan, in columns that are known to fit together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    columns: BatchColumns,
    len: usize,
}

impl Batch {
    /// Checks that the columns fit together, so that no row can reach outside of them.
    ///
    /// # Errors
    /// `damaged`, when they do not: they did not come from a working host.
    pub fn new(columns: BatchColumns) -> Result<Batch, ReadError> {
        let BatchColumns { key_ends, value_ends, create_revisions, mod_revisions, versions, leases, .. } =
            &columns;
        let lengths = [
            key_ends.len(),
            value_ends.len(),
            create_revisions.len(),
            mod_revisions.len(),
            versions.len(),
            leases.len(),
        ];
        let len = lengths.into_iter().max().unwrap_or(0);
        let whole = lengths.into_iter().all(|length| length == 0 || length == len)
            && ends_fit(&columns.key_ends, columns.keys.len())
            && ends_fit(&columns.value_ends, columns.values.len());
        if !whole {
            return Err(ReadError::new("damaged", "a batch of rows has columns that do not fit together"));
        }
        Ok(Batch { columns, len })
    }

    /// Rows in this batch.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none, which is how a scan ends.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One row, or `None` past the last one.
    pub fn row(&self, index: usize) -> Option<Row<'_>> {
        if index >= self.len {
            return None;
        }
        let columns = &self.columns;
        let integer = |column: &[i64]| column.get(index).copied().unwrap_or(0);
        Some(Row {
            key: slice(&columns.keys, &columns.key_ends, index),
            value: slice(&columns.values, &columns.value_ends, index),
            create_revision: integer(&columns.create_revisions),
            mod_revision: integer(&columns.mod_revisions),
            version: integer(&columns.versions),
            lease: integer(&columns.leases),
        })
    }

    /// All rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        (0..self.len).map(|index| self.row(index).expect("the index is below the length"))
    }
}

/// Whether the ends rise, and the last one is the end of the bytes.
fn ends_fit(ends: &[u32], len: usize) -> bool {
    ends.is_sorted() && ends.last().map_or(0, |end| *end as usize) == len
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], index: usize) -> &'a [u8] {
    let Some(end) = ends.get(index) else { return &[] };
    let start = if index == 0 { 0 } else { ends[index - 1] };
    &bytes[start as usize..*end as usize]
}

/// A position in the rows of a query.
pub trait Cursor {
    /// The next rows: at most `max_rows`, and no more than `max_bytes` of keys and values, but for a single row that is
    /// larger alone. Fewer may come at any time; none is the end, and stays the end.
    fn next_batch(&mut self, max_rows: u32, max_bytes: u32) -> Result<Batch, ReadError>;
}

/// Where a snapshot's rows come from: the agent, on `wasm32`; a [`crate::MemorySnapshot`] in tests.
///
/// The answers never change while a verifier runs.
pub trait SnapshotSource {
    /// The newest revision in the file.
    fn revision(&self) -> i64;
    /// The revision up to which history was compacted, 0 if it never was.
    fn compact_revision(&self) -> i64;
    /// Size of the snapshot file in bytes.
    fn size_bytes(&self) -> u64;
    /// Live keys at the snapshot's revision.
    fn live_keys(&self) -> Result<u64, ReadError>;
    /// A further fact by name.
    fn fact(&self, name: &str) -> Option<String>;
    /// One live key; `None` when there is none.
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, ReadError>;
    /// Starts a scan.
    fn open(&self, query: &Query) -> Result<Box<dyn Cursor + '_>, ReadError>;
    /// Sums over the rows of a query. The columns asked for do not matter.
    fn totals(&self, query: &Query) -> Result<Totals, ReadError>;
}

/// The snapshot that a verifier looks into.
#[derive(Clone, Copy)]
pub struct SnapshotView<'a> {
    source: &'a dyn SnapshotSource,
}

impl<'a> SnapshotView<'a> {
    /// A view of a source.
    pub fn new(source: &'a dyn SnapshotSource) -> SnapshotView<'a> {
        SnapshotView { source }
    }

    /// The newest revision in the file.
    pub fn revision(&self) -> i64 {
        self.source.revision()
    }

    /// The revision up to which history was compacted, 0 if it never was.
    pub fn compact_revision(&self) -> i64 {
        self.source.compact_revision()
    }

    /// Size of the snapshot file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    /// Live keys at the snapshot's revision.
    pub fn live_keys(&self) -> Result<u64, ReadError> {
        self.source.live_keys()
    }

    /// A further fact by name, e.g. `storage-version`, `cluster-version`, `hash`, `records`. `None` if unknown.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.source.fact(name)
    }

    /// One live key with its value; `None` when there is none.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<KeyValue>, ReadError> {
        self.source.get(key.as_ref())
    }

    /// Whether a key is live. Its value is not read.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool, ReadError> {
        Ok(self.totals(&Query::key(key))?.keys > 0)
    }

    /// Sums over the rows of a query, made by the host without handing the rows over.
    pub fn totals(&self, query: &Query) -> Result<Totals, ReadError> {
        self.source.totals(query)
    }

    /// Scans the rows of a query.
    pub fn rows(&self, query: &Query) -> Result<Rows<'a>, ReadError> {
        Ok(Rows { cursor: self.source.open(query)?, batch: Batch::default(), position: 0, ended: false })
    }
}

/// A scan. Rows are borrowed from the batch at hand, so this lends one at a time instead of being an `Iterator`:
///
/// ```
/// # use holdfast_plugin::{MemorySnapshot, Query, SnapshotView};
/// # let memory = MemorySnapshot::new().with("/a", "1").with("/b", "22");
/// # let snapshot = SnapshotView::new(&memory);
/// let mut bytes = 0;
/// let mut rows = snapshot.rows(&Query::all())?;
/// while let Some(row) = rows.next_row()? {
///     bytes += row.value.len();
/// }
/// # assert_eq!(bytes, 3);
/// # Ok::<(), holdfast_plugin::ReadError>(())
/// ```
///
/// [`Rows::next_batch`] hands out a whole batch, whose rows are an iterator and live together.
pub struct Rows<'a> {
    cursor: Box<dyn Cursor + 'a>,
    batch: Batch,
    position: usize,
    ended: bool,
}

impl Rows<'_> {
    /// The next row; `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, ReadError> {
        if self.position == self.batch.len() {
            self.refill()?;
        }
        let row = self.batch.row(self.position);
        self.position += usize::from(row.is_some());
        Ok(row)
    }

    /// The next batch of rows; `None` at the end. What is left of the batch that [`Rows::next_row`] was in is skipped,
    /// so use one or the other.
    pub fn next_batch(&mut self) -> Result<Option<&Batch>, ReadError> {
        self.refill()?;
        self.position = self.batch.len();
        Ok(if self.ended { None } else { Some(&self.batch) })
    }

    fn refill(&mut self) -> Result<(), ReadError> {
        if !self.ended {
            self.position = 0;
            self.batch = self.cursor.next_batch(BATCH_ROWS, BATCH_BYTES)?;
            self.ended = self.batch.is_empty();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, BatchColumns, Query};

    #[test]
    fn columns_become_rows() {
        let batch = Batch::new(BatchColumns {
            keys: b"abccc".to_vec(),
            key_ends: vec![1, 2, 5],
            values: b"x".to_vec(),
            value_ends: vec![0, 1, 1],
            ..BatchColumns::default()
        })
        .expect("the columns fit");
        let rows: Vec<_> = batch.rows().map(|row| (row.key, row.value, row.lease)).collect();
        assert_eq!(rows, [(&b"a"[..], &b""[..], 0), (b"b", b"x", 0), (b"ccc", b"", 0)]);
        assert_eq!(batch.row(3), None);
    }

    #[test]
    fn integers_alone_count_rows_too() {
        let columns = BatchColumns {
            create_revisions: vec![1, 2],
            mod_revisions: vec![3, 4],
            versions: vec![1, 1],
            leases: vec![0, 9],
            ..BatchColumns::default()
        };
        let batch = Batch::new(columns).expect("the columns fit");
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.row(1).map(|row| (row.key, row.mod_revision, row.lease)), Some((&b""[..], 4, 9)));
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        let broken = [
            BatchColumns { keys: b"ab".to_vec(), key_ends: vec![2, 1], ..BatchColumns::default() },
            BatchColumns { keys: b"ab".to_vec(), key_ends: vec![1, 3], ..BatchColumns::default() },
            BatchColumns { keys: b"ab".to_vec(), key_ends: vec![1], ..BatchColumns::default() },
            BatchColumns { keys: b"ab".to_vec(), ..BatchColumns::default() },
            BatchColumns { key_ends: vec![0, 0], value_ends: vec![0], ..BatchColumns::default() },
            BatchColumns { leases: vec![0, 0], versions: vec![1], ..BatchColumns::default() },
        ];
        for columns in broken {
            assert_eq!(Batch::new(columns).expect_err("they do not fit").code, "damaged");
        }
    }

    #[test]
    fn one_key_is_a_range_of_its_own() {
        let query = Query::key("/a");
        assert_eq!((query.start.as_slice(), query.end.as_slice()), (&b"/a"[..], &b"/a\0"[..]));
    }
}
