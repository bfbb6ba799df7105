//! `holdfast:snapshot/reader`: one snapshot file, read in place.
//!
//! A guest pulls rows in batches. Filters run here, so that only what is asked for crosses the boundary, and columns that
//! were not asked for are not even read. A scan that passes over many rows without finding one yields now and then, so
//! that other tasks run and the call's time limits hold.

use std::ops::Range;
use std::sync::Arc;

use etcd_snapshot::{LiveKeys, SnapshotFile};
use memchr::memmem::Finder;
use wasmtime::component::{HasSelf, Linker, Resource};

use crate::bindings::holdfast::snapshot::reader::{
    self, Batch, Error, HostCursor, HostQuery, HostSnapshot, KeyValue, Totals,
};
use crate::call::{CallState, Stop};
use crate::facts::Facts;

/// Bytes in one filter. The longest honest ones are key prefixes.
const FILTER_BYTES: usize = 16 << 10;
/// Rows in one batch, whatever was asked for.
const BATCH_ROWS: usize = 16 << 10;
/// Bytes of keys and values in one batch, but for a single larger row.
const BATCH_BYTES: usize = 1 << 20;
/// Rows looked at before other tasks get their turn.
const ROWS_AT_ONCE: usize = 1024;

/// Adds the interface.
pub(crate) fn add(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    reader::add_to_linker::<CallState, HasSelf<CallState>>(linker, |state| state)
}

/// The snapshot that a guest was given.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Subject {
    pub(crate) file: Arc<SnapshotFile>,
    pub(crate) facts: Arc<Facts>,
}

/// Which rows, in which order, with which columns.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Query {
    prefix: Option<Vec<u8>>,
    range: Option<(Vec<u8>, Vec<u8>)>,
    key_contains: Option<Finder<'static>>,
    value_prefix: Option<Vec<u8>>,
    changed_after: Option<i64>,
    descending: bool,
    limit: u64,
    columns: Columns,
}

#[derive(Clone, Copy)]
struct Columns {
    keys: bool,
    values: bool,
    revisions: bool,
}

impl Default for Query {
    fn default() -> Self {
        Query {
            prefix: None,
            range: None,
            key_contains: None,
            value_prefix: None,
            changed_after: None,
            descending: false,
            limit: u64::MAX,
            columns: Columns { keys: true, values: true, revisions: true },
        }
    }
}

impl Query {
    /// The positions that prefix and range leave.
    fn positions(&self, live: &LiveKeys<'_>) -> Range<usize> {
        let mut positions = 0..live.len();
        let mut narrow = |by: Range<usize>| {
            positions.start = positions.start.max(by.start);
            positions.end = positions.end.min(by.end).max(positions.start);
        };
        if let Some(prefix) = &self.prefix {
            narrow(live.prefix(prefix));
        }
        if let Some((start, end)) = &self.range {
            narrow(live.range(start, end));
        }
        positions
    }

    /// Whether the row passes the filters, cheapest first.
    fn takes(&self, live: &LiveKeys<'_>, position: usize) -> bool {
        self.key_contains.as_ref().is_none_or(|needle| needle.find(live.key(position)).is_some())
            && self.changed_after.is_none_or(|revision| live.metadata(position).mod_revision > revision)
            && self.value_prefix.as_ref().is_none_or(|prefix| live.entry(position).value.starts_with(prefix))
    }
}

/// A place in the rows of a query.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cursor {
    file: Arc<SnapshotFile>,
    scan: Scan,
}

/// The rows still to look at.
struct Scan {
    query: Query,
    positions: Range<usize>,
    rows_left: u64,
}

impl Scan {
    fn new(query: &Query, live: &LiveKeys<'_>) -> Scan {
        Scan { positions: query.positions(live), rows_left: query.limit, query: query.clone() }
    }

    /// The next row that passes, among at most `budget` rows looked at.
    fn next(&mut self, live: &LiveKeys<'_>, budget: &mut usize) -> Step {
        while self.rows_left > 0 {
            if *budget == 0 {
                return Step::Pause;
            }
            let position =
                if self.query.descending { self.positions.next_back() } else { self.positions.next() };
            let Some(position) = position else { break };
            *budget -= 1;
            if self.query.takes(live, position) {
                self.rows_left -= 1;
                return Step::Row(position);
            }
        }
        Step::End
    }

    /// Makes `position`, the last row that [`Self::next`] gave, the next one again.
    fn put_back(&mut self, position: usize) {
        self.rows_left += 1;
        if self.query.descending {
            self.positions.end = position + 1;
        } else {
            self.positions.start = position;
        }
    }
}

enum Step {
    Row(usize),
    Pause,
    End,
}

/// A batch in the making.
struct Filling {
    batch: Batch,
    rows: usize,
    max_rows: usize,
    max_bytes: usize,
}

impl Filling {
    fn new(max_rows: u32, max_bytes: u32) -> Filling {
        let batch = Batch {
            keys: Vec::new(),
            key_ends: Vec::new(),
            values: Vec::new(),
            value_ends: Vec::new(),
            create_revisions: Vec::new(),
            mod_revisions: Vec::new(),
            versions: Vec::new(),
            leases: Vec::new(),
        };
        // An empty batch means the end, so at least one row is always asked for.
        let max_rows = (max_rows as usize).clamp(1, BATCH_ROWS);
        Filling { batch, rows: 0, max_rows, max_bytes: (max_bytes as usize).min(BATCH_BYTES) }
    }

    fn bytes(&self) -> usize {
        self.batch.keys.len() + self.batch.values.len()
    }

    /// False: the row would make the batch too large, and was left out.
    fn push(&mut self, live: &LiveKeys<'_>, position: usize, columns: Columns) -> bool {
        let entry = (columns.values || columns.revisions).then(|| live.entry(position));
        let key = match &entry {
            _ if !columns.keys => &[],
            Some(entry) => entry.key,
            None => live.key(position),
        };
        // The slice is only a place: a value's bytes are not read before they are copied.
        let value = entry.filter(|_| columns.values).map_or(&[][..], |entry| entry.value);
        if self.rows > 0 && self.bytes() + key.len() + value.len() > self.max_bytes {
            return false;
        }
        if self.rows == 0 {
            self.reserve(columns);
        }
        if columns.keys {
            self.batch.keys.extend_from_slice(key);
            self.batch.key_ends.push(self.batch.keys.len() as u32);
        }
        if columns.values {
            self.batch.values.extend_from_slice(value);
            self.batch.value_ends.push(self.batch.values.len() as u32);
        }
        if let Some(entry) = entry.filter(|_| columns.revisions) {
            self.batch.create_revisions.push(entry.create_revision);
            self.batch.mod_revisions.push(entry.mod_revision);
            self.batch.versions.push(entry.version);
            self.batch.leases.push(entry.lease);
        }
        self.rows += 1;
        true
    }

    /// Room for an ordinary batch, so that its columns do not move while they grow.
    fn reserve(&mut self, columns: Columns) {
        let rows = self.max_rows.min(256);
        if columns.keys {
            self.batch.keys.reserve((rows * 64).min(self.max_bytes));
            self.batch.key_ends.reserve(rows);
        }
        if columns.values {
            self.batch.values.reserve((rows * 512).min(self.max_bytes));
            self.batch.value_ends.reserve(rows);
        }
        if columns.revisions {
            for column in [
                &mut self.batch.create_revisions,
                &mut self.batch.mod_revisions,
                &mut self.batch.versions,
                &mut self.batch.leases,
            ] {
                column.reserve(rows);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.rows >= self.max_rows || (self.rows > 0 && self.bytes() >= self.max_bytes)
    }
}

/// Fills a batch until it is full or the rows are at their end.
async fn fill(cursor: &mut Cursor, max_rows: u32, max_bytes: u32) -> Result<(Batch, usize), Error> {
    let file = Arc::clone(&cursor.file);
    let live = live(&file)?;
    let columns = cursor.scan.query.columns;
    let mut filling = Filling::new(max_rows, max_bytes);
    let mut budget = ROWS_AT_ONCE;
    while !filling.is_full() {
        match cursor.scan.next(&live, &mut budget) {
            Step::Row(position) => {
                if !filling.push(&live, position, columns) {
                    cursor.scan.put_back(position);
                    break;
                }
            }
            Step::Pause => {
                tokio::task::yield_now().await;
                budget = ROWS_AT_ONCE;
            }
            Step::End => break,
        }
    }
    Ok((filling.batch, filling.rows))
}

async fn sum(file: &SnapshotFile, query: &Query) -> Result<Totals, Error> {
    let live = live(file)?;
    let mut scan = Scan::new(query, &live);
    let mut totals = Totals { keys: 0, key_bytes: 0, value_bytes: 0 };
    let mut budget = ROWS_AT_ONCE;
    loop {
        match scan.next(&live, &mut budget) {
            Step::Row(position) => {
                totals.keys += 1;
                totals.key_bytes += live.key(position).len() as u64;
                totals.value_bytes += live.metadata(position).value_len as u64;
            }
            Step::Pause => {
                tokio::task::yield_now().await;
                budget = ROWS_AT_ONCE;
            }
            Step::End => return Ok(totals),
        }
    }
}

fn live(file: &SnapshotFile) -> Result<LiveKeys<'_>, Error> {
    file.live().map_err(|error| Error { code: "damaged".into(), message: error.to_string() })
}

impl CallState {
    /// Counts rows that were handed over.
    fn handed_over(&mut self, rows: usize, bytes: usize) {
        self.meter.rows += rows as u64;
        self.meter.bytes += bytes as u64;
    }

    fn query_mut(&mut self, query: &Resource<Query>) -> wasmtime::Result<&mut Query> {
        self.meter.host_call()?;
        Ok(self.table.get_mut(query)?)
    }

    fn file(&mut self, subject: &Resource<Subject>) -> wasmtime::Result<Arc<SnapshotFile>> {
        self.meter.host_call()?;
        Ok(Arc::clone(&self.table.get(subject)?.file))
    }
}

/// A filter's bytes, if they are not too many to keep.
fn filter(bytes: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
    if bytes.len() > FILTER_BYTES {
        return Err(Stop::Filter(bytes.len(), FILTER_BYTES).into());
    }
    Ok(bytes)
}

impl reader::Host for CallState {}

impl HostQuery for CallState {
    fn new(&mut self) -> wasmtime::Result<Resource<Query>> {
        self.meter.host_call()?;
        Ok(self.table.push(Query::default())?)
    }

    fn prefix(&mut self, query: Resource<Query>, prefix: Vec<u8>) -> wasmtime::Result<()> {
        self.query_mut(&query)?.prefix = Some(filter(prefix)?);
        Ok(())
    }

    fn range(&mut self, query: Resource<Query>, start: Vec<u8>, end: Vec<u8>) -> wasmtime::Result<()> {
        self.query_mut(&query)?.range = Some((filter(start)?, filter(end)?));
        Ok(())
    }

    fn key_contains(&mut self, query: Resource<Query>, needle: Vec<u8>) -> wasmtime::Result<()> {
        self.query_mut(&query)?.key_contains = Some(Finder::new(&filter(needle)?).into_owned());
        Ok(())
    }

    fn value_prefix(&mut self, query: Resource<Query>, prefix: Vec<u8>) -> wasmtime::Result<()> {
        self.query_mut(&query)?.value_prefix = Some(filter(prefix)?);
        Ok(())
    }

    fn changed_after(&mut self, query: Resource<Query>, revision: i64) -> wasmtime::Result<()> {
        self.query_mut(&query)?.changed_after = Some(revision);
        Ok(())
    }

    fn descending(&mut self, query: Resource<Query>) -> wasmtime::Result<()> {
        self.query_mut(&query)?.descending = true;
        Ok(())
    }

    fn limit(&mut self, query: Resource<Query>, rows: u64) -> wasmtime::Result<()> {
        self.query_mut(&query)?.limit = rows;
        Ok(())
    }

    fn columns(
        &mut self,
        query: Resource<Query>,
        keys: bool,
        values: bool,
        revisions: bool,
    ) -> wasmtime::Result<()> {
        // Without any column a batch could not tell how many rows it has.
        let keys = keys || !(values || revisions);
        self.query_mut(&query)?.columns = Columns { keys, values, revisions };
        Ok(())
    }

    fn drop(&mut self, query: Resource<Query>) -> wasmtime::Result<()> {
        self.table.delete(query)?;
        Ok(())
    }
}

impl HostCursor for CallState {
    async fn next(
        &mut self,
        cursor: Resource<Cursor>,
        max_rows: u32,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Batch, Error>> {
        self.meter.host_call()?;
        let filled = fill(self.table.get_mut(&cursor)?, max_rows, max_bytes).await;
        Ok(filled.map(|(batch, rows)| {
            self.handed_over(rows, batch.keys.len() + batch.values.len());
            batch
        }))
    }

    fn drop(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<()> {
        self.table.delete(cursor)?;
        Ok(())
    }
}

impl HostSnapshot for CallState {
    fn revision(&mut self, subject: Resource<Subject>) -> wasmtime::Result<i64> {
        let file = self.file(&subject)?;
        Ok(file.snapshot().revision().unwrap_or(0))
    }

    fn compact_revision(&mut self, subject: Resource<Subject>) -> wasmtime::Result<i64> {
        let file = self.file(&subject)?;
        // The engine says -1 for never, the contract 0.
        Ok(file.snapshot().compactions().map_or(0, |compactions| compactions.finished.max(0)))
    }

    fn size_bytes(&mut self, subject: Resource<Subject>) -> wasmtime::Result<u64> {
        Ok(self.file(&subject)?.len_bytes())
    }

    fn live_keys(&mut self, subject: Resource<Subject>) -> wasmtime::Result<Result<u64, Error>> {
        let file = self.file(&subject)?;
        Ok(live(&file).map(|live| live.len() as u64))
    }

    fn fact(&mut self, subject: Resource<Subject>, name: String) -> wasmtime::Result<Option<String>> {
        self.meter.host_call()?;
        Ok(self.table.get(&subject)?.facts.get(&name))
    }

    fn get(
        &mut self,
        subject: Resource<Subject>,
        key: Vec<u8>,
    ) -> wasmtime::Result<Result<Option<KeyValue>, Error>> {
        let file = self.file(&subject)?;
        let live = match live(&file) {
            Ok(live) => live,
            Err(error) => return Ok(Err(error)),
        };
        let Some(entry) = live.get(&key) else { return Ok(Ok(None)) };
        self.handed_over(1, entry.key.len() + entry.value.len());
        Ok(Ok(Some(KeyValue {
            key: entry.key.to_vec(),
            value: entry.value.to_vec(),
            create_revision: entry.create_revision,
            mod_revision: entry.mod_revision,
            version: entry.version,
            lease: entry.lease,
        })))
    }

    fn open(
        &mut self,
        subject: Resource<Subject>,
        query: Resource<Query>,
    ) -> wasmtime::Result<Result<Resource<Cursor>, Error>> {
        let file = self.file(&subject)?;
        let scan = match live(&file) {
            Ok(live) => Scan::new(self.table.get(&query)?, &live),
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok(self.table.push(Cursor { file, scan })?))
    }

    async fn totals(
        &mut self,
        subject: Resource<Subject>,
        query: Resource<Query>,
    ) -> wasmtime::Result<Result<Totals, Error>> {
        let file = self.file(&subject)?;
        let query = self.table.get(&query)?.clone();
        Ok(sum(&file, &query).await)
    }

    fn drop(&mut self, subject: Resource<Subject>) -> wasmtime::Result<()> {
        self.table.delete(subject)?;
        Ok(())
    }
}
