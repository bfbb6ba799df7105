//! `holdfast:snapshot/reader`: one snapshot file, read in place.
//!
//! A guest pulls rows in batches. Filters run here, so that only what is asked for crosses the boundary, and columns that
//! were not asked for are not even read. A scan that passes over many rows without finding one yields now and then, so
//! that other tasks run and the call's time limits hold.

mod cursor;
mod query;
mod scan;

use std::sync::Arc;

use etcd_snapshot::{LiveKeys, SnapshotFile};
use memchr::memmem::Finder;
use wasmtime::component::{HasSelf, Linker, Resource};

#[expect(unreachable_pub, reason = "the generated bindings re-export them")]
pub use self::cursor::Cursor;
use self::query::Columns;
#[expect(unreachable_pub, reason = "the generated bindings re-export them")]
pub use self::query::Query;
use self::scan::{Scan, Size};
use crate::bindings::holdfast::snapshot::reader::{
    self, Batch, Error, HostCursor, HostQuery, HostSnapshot, KeyValue, Totals,
};
use crate::call::{CallState, Stop};
use crate::facts::Facts;

/// Bytes in one filter. The longest honest ones are key prefixes.
const FILTER_BYTES: usize = 16 << 10;

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

async fn sum(file: &SnapshotFile, query: Query) -> Result<Totals, Error> {
    let live = live(file)?;
    let mut scan = Scan::new(query, &live);
    let mut totals = Totals { keys: 0, key_bytes: 0, value_bytes: 0 };
    while !scan.sum(&live, &mut totals) {
        tokio::task::yield_now().await;
    }
    Ok(totals)
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
        let size = Size::asked(max_rows, max_bytes);
        let next = match self.table.get_mut(&cursor)?.next(size, &self.read_ahead).await {
            Ok(next) => next,
            Err(error) => return Ok(Err(error)),
        };
        self.handed_over(next.filling.rows, next.filling.bytes());
        self.meter.cpu_elsewhere += next.cpu;
        Ok(Ok(next.filling.batch))
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
            Ok(live) => Scan::new(self.table.get(&query)?.clone(), &live),
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok(self.table.push(Cursor::new(file, scan))?))
    }

    async fn totals(
        &mut self,
        subject: Resource<Subject>,
        query: Resource<Query>,
    ) -> wasmtime::Result<Result<Totals, Error>> {
        let file = self.file(&subject)?;
        let query = self.table.get(&query)?.clone();
        Ok(sum(&file, query).await)
    }

    fn drop(&mut self, subject: Resource<Subject>) -> wasmtime::Result<()> {
        self.table.delete(subject)?;
        Ok(())
    }
}
