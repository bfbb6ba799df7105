//! `holdfast:script/database`: the restored etcd of a script, and the bounds on what one call does with it.
//!
//! The requests themselves go to the [`Database`] that the caller brought. Here stands what no script may do to it or to us:
//! write without end, hold any number of watches and leases, or have pages of any size pass through this process's memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{HasSelf, Linker, Resource};

use crate::bindings::script::holdfast::script::database::{
    self, Batch, Error, HostCursor, HostDatabase, HostLease, HostQuery, HostTransaction, HostWatch, KeyValue,
};
use crate::call::{CallState, Stop};
use crate::database::{
    Answer, Comparison, Database, DatabaseError, Event, EventKind, KeyNumber, KeyRange, Operation, Operator,
    PageRequest, Row, Transaction, Watching, after,
};

/// Bytes in one key or bound of a range. etcd has no limit of its own; no honest key comes near.
const KEY_BYTES: usize = 64 << 10;
/// Rows in one batch, whatever was asked for.
const BATCH_ROWS: usize = 16 << 10;
/// Bytes of keys and values in one batch, but for a single larger row.
const BATCH_BYTES: usize = 1 << 20;
/// Rows fetched at once for a cursor.
const PAGE_ROWS: u64 = 1024;
/// Bytes of keys and values that one call may write.
pub(crate) const WRITTEN_BYTES: u64 = 64 << 20;
/// Watches that one call may have open at the same time. Each is a stream with a window of its own.
const WATCHES: usize = 16;
/// Cursors that one call may have open at the same time. Each may hold a page.
const CURSORS: usize = 16;
/// Bytes that the transactions in the making may hold together.
const HELD_BYTES: usize = 16 << 20;
/// Leases that one call may be granted.
const LEASES: u64 = 1000;
/// Comparisons and operations of one transaction, together.
const TRANSACTION_PARTS: usize = 512;
/// Events that one answer of a watch may hold.
const EVENTS: usize = 1024;

/// Adds the interface.
pub(crate) fn add(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    database::add_to_linker::<CallState, HasSelf<CallState>>(linker, |state| state)
}

/// The database that a guest was given.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Subject(pub(crate) Arc<dyn Database>);

/// What one call still may.
pub(crate) struct Allowance {
    written_bytes: u64,
    leases: u64,
    watches: Arc<Semaphore>,
    cursors: Arc<Semaphore>,
    held_bytes: Arc<Semaphore>,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance {
            written_bytes: WRITTEN_BYTES,
            leases: LEASES,
            watches: Arc::new(Semaphore::new(WATCHES)),
            cursors: Arc::new(Semaphore::new(CURSORS)),
            held_bytes: Arc::new(Semaphore::new(HELD_BYTES)),
        }
    }
}

impl Allowance {
    /// Counts bytes that are about to be written.
    fn write(&mut self, bytes: usize) -> Result<(), Error> {
        self.written_bytes = self
            .written_bytes
            .checked_sub(bytes as u64)
            .ok_or_else(|| limit(format!("a call may write {WRITTEN_BYTES} bytes of keys and values")))?;
        Ok(())
    }

    fn watch(&self) -> Result<OwnedSemaphorePermit, Error> {
        let permit = Arc::clone(&self.watches).try_acquire_owned();
        permit.map_err(|_| limit(format!("a call may have {WATCHES} watches open")))
    }

    fn cursor(&self) -> Result<OwnedSemaphorePermit, Error> {
        let permit = Arc::clone(&self.cursors).try_acquire_owned();
        permit.map_err(|_| limit(format!("a call may have {CURSORS} cursors open")))
    }

    fn lease(&mut self) -> Result<(), Error> {
        let left = self.leases.checked_sub(1);
        self.leases = left.ok_or_else(|| limit(format!("a call may be granted {LEASES} leases")))?;
        Ok(())
    }
}

/// Which rows, in which order, with which columns.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Query {
    range: KeyRange,
    changed_after: Option<i64>,
    at: i64,
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
            range: KeyRange::default(),
            changed_after: None,
            at: 0,
            descending: false,
            limit: u64::MAX,
            columns: Columns { keys: true, values: true, revisions: true },
        }
    }
}

/// A place in the rows of a query.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cursor {
    database: Arc<dyn Database>,
    query: Query,
    /// What is still to be fetched; its revision is that of the first page.
    rest: Option<PageRequest>,
    /// Fetched, and not handed over yet.
    pending: VecDeque<Row>,
    rows_left: u64,
    revision: i64,
    _permit: OwnedSemaphorePermit,
}

impl Cursor {
    /// Fetches the first page, whose revision is that of all.
    async fn open(
        database: Arc<dyn Database>,
        query: Query,
        permit: OwnedSemaphorePermit,
    ) -> Result<Cursor, Error> {
        let request = PageRequest {
            range: query.range.clone(),
            revision: query.at,
            descending: query.descending,
            values: query.columns.values,
            rows: PAGE_ROWS.min(query.limit.max(1)),
        };
        let rows_left = query.limit;
        let rest = Some(request);
        let mut cursor = Cursor {
            database,
            revision: query.at,
            query,
            rest,
            pending: VecDeque::new(),
            rows_left,
            _permit: permit,
        };
        cursor.fetch().await?;
        Ok(cursor)
    }

    /// Fetches the next page, if there is one.
    async fn fetch(&mut self) -> Result<(), Error> {
        let Some(mut request) = self.rest.clone().filter(|request| !request.range.is_empty()) else {
            self.rest = None;
            return Ok(());
        };
        let page = self.database.page(request.clone()).await.map_err(told)?;
        if request.revision == 0 {
            request.revision = page.revision;
        }
        self.revision = request.revision;
        self.rest = page.rows.last().filter(|_| page.more).map(|last| {
            if request.descending {
                request.range.end.clone_from(&last.key);
            } else {
                request.range.start = after(&last.key);
            }
            request
        });
        let wanted = |row: &Row| self.query.changed_after.is_none_or(|revision| row.mod_revision > revision);
        self.pending.extend(page.rows.into_iter().filter(wanted));
        Ok(())
    }

    /// The next rows. None of them is the end.
    async fn next(&mut self, max_rows: u32, max_bytes: u32) -> Result<Vec<Row>, Error> {
        let max_rows =
            (max_rows as usize).clamp(1, BATCH_ROWS).min(self.rows_left.try_into().unwrap_or(usize::MAX));
        let max_bytes = (max_bytes as usize).min(BATCH_BYTES);
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        while rows.len() < max_rows {
            let Some(row) = self.pending.pop_front() else {
                // What is there is handed over before more is fetched: an error of the next page comes with the next call.
                if !rows.is_empty() || self.rest.is_none() {
                    break;
                }
                self.fetch().await?;
                continue;
            };
            bytes += row.key.len() + row.value.len();
            if !rows.is_empty() && bytes > max_bytes {
                self.pending.push_front(row);
                break;
            }
            rows.push(row);
        }
        self.rows_left -= rows.len() as u64;
        Ok(rows)
    }
}

fn columns(rows: &[Row], filled: Columns) -> Batch {
    let ends = |filled: bool, part: fn(&Row) -> &[u8]| {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for row in rows.iter().filter(|_| filled) {
            bytes.extend_from_slice(part(row));
            ends.push(bytes.len() as u32);
        }
        (bytes, ends)
    };
    let numbers = |number: fn(&Row) -> i64| -> Vec<i64> {
        rows.iter().filter(|_| filled.revisions).map(number).collect()
    };
    let (keys, key_ends) = ends(filled.keys, |row| &row.key);
    let (values, value_ends) = ends(filled.values, |row| &row.value);
    Batch {
        keys,
        key_ends,
        values,
        value_ends,
        create_revisions: numbers(|row| row.create_revision),
        mod_revisions: numbers(|row| row.mod_revision),
        versions: numbers(|row| row.version),
        leases: numbers(|row| row.lease),
    }
}

/// A transaction in the making.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Making {
    transaction: Transaction,
    /// What all transactions of the call may hold.
    held_bytes: Arc<Semaphore>,
    /// What this one does.
    holds: Vec<OwnedSemaphorePermit>,
}

impl Making {
    fn compare(&mut self, comparison: Comparison) -> Result<(), Error> {
        self.hold(match &comparison {
            Comparison::Value { key, value, .. } => key.len() + value.len(),
            Comparison::Number { key, .. } => key.len(),
        })?;
        self.transaction.comparisons.push(comparison);
        Ok(())
    }

    fn operate(&mut self, branch: &str, operation: Operation) -> Result<(), Error> {
        self.hold(bytes(&operation))?;
        match branch {
            "success" => self.transaction.success.push(operation),
            "failure" => self.transaction.failure.push(operation),
            other => return Err(invalid(format!("there is no branch `{}`", other.escape_debug()))),
        }
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        if self.holds.len() >= TRANSACTION_PARTS {
            return Err(limit(format!("a transaction may have {TRANSACTION_PARTS} parts")));
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let held = Arc::clone(&self.held_bytes).try_acquire_many_owned(bytes);
        self.holds.push(held.map_err(|_| limit(format!("transactions may hold {HELD_BYTES} bytes")))?);
        Ok(())
    }

    /// Bytes that it may write.
    fn written_bytes(&self) -> usize {
        self.transaction.success.iter().chain(&self.transaction.failure).map(bytes).sum()
    }
}

fn bytes(operation: &Operation) -> usize {
    match operation {
        Operation::Put { key, value, .. } => key.len() + value.len(),
        Operation::Delete { key } | Operation::Get { key } => key.len(),
    }
}

fn operator(text: &str) -> Result<Operator, Error> {
    Ok(match text {
        "=" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        ">" => Operator::Greater,
        other => return Err(invalid(format!("there is no operator `{}`", other.escape_debug()))),
    })
}

fn number(name: &str) -> Result<KeyNumber, Error> {
    Ok(match name {
        "create-revision" => KeyNumber::CreateRevision,
        "mod-revision" => KeyNumber::ModRevision,
        "version" => KeyNumber::Version,
        "lease" => KeyNumber::Lease,
        other => return Err(invalid(format!("keys have no number `{}`", other.escape_debug()))),
    })
}

/// A lease by its id.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Lease {
    database: Arc<dyn Database>,
    id: i64,
}

/// Changes as they come.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Watch {
    watching: Box<dyn Watching>,
    /// Come, and not handed over yet.
    pending: VecDeque<Event>,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    async fn next(&mut self, max_events: usize, timeout: Duration) -> Result<Vec<Event>, Error> {
        if self.pending.is_empty() {
            match tokio::time::timeout(timeout, self.watching.next()).await {
                Ok(events) => self.pending.extend(events.map_err(told)?),
                Err(_) => return Ok(Vec::new()),
            }
        }
        let mut bytes = 0;
        let mut events = Vec::new();
        while events.len() < max_events
            && let Some(event) = self.pending.pop_front()
        {
            let row = |row: &Row| row.key.len() + row.value.len();
            bytes += row(&event.row) + event.previous.as_ref().map_or(0, row);
            if !events.is_empty() && bytes > BATCH_BYTES {
                self.pending.push_front(event);
                break;
            }
            events.push(event);
        }
        Ok(events)
    }
}

fn told(error: DatabaseError) -> Error {
    Error { code: error.code.to_owned(), message: error.message }
}

fn invalid(message: impl Into<String>) -> Error {
    Error { code: "invalid".to_owned(), message: message.into() }
}

fn limit(message: impl Into<String>) -> Error {
    Error { code: "limit".to_owned(), message: message.into() }
}

/// A key, or a bound of a range, if it is not too long to keep.
fn bound(bytes: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
    if bytes.len() > KEY_BYTES {
        return Err(Stop::Filter(bytes.len(), KEY_BYTES).into());
    }
    Ok(bytes)
}

/// A key that something is done to.
fn key(bytes: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, Error>> {
    let bytes = bound(bytes)?;
    Ok(if bytes.is_empty() { Err(invalid("a key is never empty")) } else { Ok(bytes) })
}

/// Takes the value out of a `Result` within a host function, whose guest gets the error.
macro_rules! answer {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        }
    };
}

impl From<Row> for KeyValue {
    fn from(row: Row) -> KeyValue {
        let Row { key, value, create_revision, mod_revision, version, lease } = row;
        KeyValue { key, value, create_revision, mod_revision, version, lease }
    }
}

impl CallState {
    fn subject(&mut self, database: &Resource<Subject>) -> wasmtime::Result<Arc<dyn Database>> {
        self.meter.host_call()?;
        Ok(Arc::clone(&self.table.get(database)?.0))
    }

    fn database_query(&mut self, query: &Resource<Query>) -> wasmtime::Result<&mut Query> {
        self.meter.host_call()?;
        Ok(self.table.get_mut(query)?)
    }

    fn making(&mut self, transaction: &Resource<Making>) -> wasmtime::Result<&mut Making> {
        self.meter.host_call()?;
        Ok(self.table.get_mut(transaction)?)
    }

    fn held_lease(&mut self, lease: &Resource<Lease>) -> wasmtime::Result<(Arc<dyn Database>, i64)> {
        self.meter.host_call()?;
        let Lease { database, id } = self.table.get(lease)?;
        Ok((Arc::clone(database), *id))
    }

    fn row_handed_over(&mut self, row: &Row) {
        self.meter.rows += 1;
        self.meter.bytes += (row.key.len() + row.value.len()) as u64;
    }
}

impl database::Host for CallState {}

impl HostQuery for CallState {
    fn new(&mut self) -> wasmtime::Result<Resource<Query>> {
        self.meter.host_call()?;
        Ok(self.table.push(Query::default())?)
    }

    fn prefix(&mut self, query: Resource<Query>, prefix: Vec<u8>) -> wasmtime::Result<()> {
        self.database_query(&query)?.range = KeyRange::prefix(&bound(prefix)?);
        Ok(())
    }

    fn range(&mut self, query: Resource<Query>, start: Vec<u8>, end: Vec<u8>) -> wasmtime::Result<()> {
        self.database_query(&query)?.range = KeyRange { start: bound(start)?, end: bound(end)? };
        Ok(())
    }

    fn changed_after(&mut self, query: Resource<Query>, revision: i64) -> wasmtime::Result<()> {
        self.database_query(&query)?.changed_after = Some(revision);
        Ok(())
    }

    fn at(&mut self, query: Resource<Query>, revision: i64) -> wasmtime::Result<()> {
        self.database_query(&query)?.at = revision.max(0);
        Ok(())
    }

    fn descending(&mut self, query: Resource<Query>) -> wasmtime::Result<()> {
        self.database_query(&query)?.descending = true;
        Ok(())
    }

    fn limit(&mut self, query: Resource<Query>, rows: u64) -> wasmtime::Result<()> {
        self.database_query(&query)?.limit = rows;
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
        self.database_query(&query)?.columns = Columns { keys, values, revisions };
        Ok(())
    }

    fn drop(&mut self, query: Resource<Query>) -> wasmtime::Result<()> {
        self.table.delete(query)?;
        Ok(())
    }
}

impl HostCursor for CallState {
    fn revision(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<i64> {
        self.meter.host_call()?;
        Ok(self.table.get(&cursor)?.revision)
    }

    async fn next(
        &mut self,
        cursor: Resource<Cursor>,
        max_rows: u32,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Batch, Error>> {
        self.meter.host_call()?;
        let cursor = self.table.get_mut(&cursor)?;
        let filled = cursor.query.columns;
        let rows = answer!(cursor.next(max_rows, max_bytes).await);
        let batch = columns(&rows, filled);
        self.meter.rows += rows.len() as u64;
        self.meter.bytes += (batch.keys.len() + batch.values.len()) as u64;
        Ok(Ok(batch))
    }

    fn drop(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<()> {
        self.table.delete(cursor)?;
        Ok(())
    }
}

impl HostTransaction for CallState {
    fn new(&mut self) -> wasmtime::Result<Resource<Making>> {
        self.meter.host_call()?;
        let held_bytes = Arc::clone(&self.database.held_bytes);
        let making = Making { transaction: Transaction::default(), held_bytes, holds: Vec::new() };
        Ok(self.table.push(making)?)
    }

    fn compare_value(
        &mut self,
        transaction: Resource<Making>,
        subject: Vec<u8>,
        how: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let making = self.making(&transaction)?;
        let (key, operator) = (answer!(key(subject)?), answer!(operator(&how)));
        Ok(making.compare(Comparison::Value { key, operator, value }))
    }

    fn compare_number(
        &mut self,
        transaction: Resource<Making>,
        subject: Vec<u8>,
        which: String,
        how: String,
        value: i64,
    ) -> wasmtime::Result<Result<(), Error>> {
        let making = self.making(&transaction)?;
        let (key, number, operator) =
            (answer!(key(subject)?), answer!(number(&which)), answer!(operator(&how)));
        Ok(making.compare(Comparison::Number { key, number, operator, value }))
    }

    fn put(
        &mut self,
        transaction: Resource<Making>,
        branch: String,
        subject: Vec<u8>,
        value: Vec<u8>,
        lease: i64,
    ) -> wasmtime::Result<Result<(), Error>> {
        let making = self.making(&transaction)?;
        let key = answer!(key(subject)?);
        Ok(making.operate(&branch, Operation::Put { key, value, lease }))
    }

    fn delete(
        &mut self,
        transaction: Resource<Making>,
        branch: String,
        subject: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let making = self.making(&transaction)?;
        let key = answer!(key(subject)?);
        Ok(making.operate(&branch, Operation::Delete { key }))
    }

    fn get(
        &mut self,
        transaction: Resource<Making>,
        branch: String,
        subject: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let making = self.making(&transaction)?;
        let key = answer!(key(subject)?);
        Ok(making.operate(&branch, Operation::Get { key }))
    }

    fn drop(&mut self, transaction: Resource<Making>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
    }
}

impl HostLease for CallState {
    fn id(&mut self, lease: Resource<Lease>) -> wasmtime::Result<i64> {
        Ok(self.held_lease(&lease)?.1)
    }

    async fn keep_alive(&mut self, lease: Resource<Lease>) -> wasmtime::Result<Result<i64, Error>> {
        let (database, id) = self.held_lease(&lease)?;
        Ok(database.keep_alive(id).await.map_err(told))
    }

    async fn time_to_live(
        &mut self,
        lease: Resource<Lease>,
    ) -> wasmtime::Result<Result<database::TimeToLive, Error>> {
        let (database, id) = self.held_lease(&lease)?;
        Ok(database.time_to_live(id).await.map_err(told).map(|stands| database::TimeToLive {
            remaining_seconds: stands.remaining_seconds,
            granted_seconds: stands.granted_seconds,
            keys: stands.keys,
        }))
    }

    async fn revoke(&mut self, lease: Resource<Lease>) -> wasmtime::Result<Result<(), Error>> {
        let (database, id) = self.held_lease(&lease)?;
        Ok(database.revoke(id).await.map_err(told))
    }

    fn drop(&mut self, lease: Resource<Lease>) -> wasmtime::Result<()> {
        self.table.delete(lease)?;
        Ok(())
    }
}

impl HostWatch for CallState {
    async fn next(
        &mut self,
        watch: Resource<Watch>,
        max_events: u32,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Vec<database::Event>, Error>> {
        self.meter.host_call()?;
        let max_events = (max_events as usize).clamp(1, EVENTS);
        let timeout = Duration::from_millis(timeout_ms.into());
        let events = answer!(self.table.get_mut(&watch)?.next(max_events, timeout).await);
        for event in &events {
            self.row_handed_over(&event.row);
        }
        let event = |event: Event| database::Event {
            kind: match event.kind {
                EventKind::Put => "put".to_owned(),
                EventKind::Delete => "delete".to_owned(),
            },
            row: event.row.into(),
            previous: event.previous.map(Into::into),
        };
        Ok(Ok(events.into_iter().map(event).collect()))
    }

    fn drop(&mut self, watch: Resource<Watch>) -> wasmtime::Result<()> {
        self.table.delete(watch)?;
        Ok(())
    }
}

impl HostDatabase for CallState {
    async fn status(
        &mut self,
        database: Resource<Subject>,
    ) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let database = self.subject(&database)?;
        Ok(database.status().await.map_err(told))
    }

    async fn hash_kv(
        &mut self,
        database: Resource<Subject>,
        revision: i64,
    ) -> wasmtime::Result<Result<database::KvHash, Error>> {
        let database = self.subject(&database)?;
        Ok(database.hash_kv(revision.max(0)).await.map_err(told).map(|hash| database::KvHash {
            hash: hash.hash,
            revision: hash.revision,
            compact_revision: hash.compact_revision,
            attributes: Vec::new(),
        }))
    }

    async fn get(
        &mut self,
        database: Resource<Subject>,
        subject: Vec<u8>,
    ) -> wasmtime::Result<Result<Option<KeyValue>, Error>> {
        let database = self.subject(&database)?;
        let range = KeyRange::key(&answer!(key(subject)?));
        let request = PageRequest { range, revision: 0, descending: false, values: true, rows: 1 };
        let page = answer!(database.page(request).await.map_err(told));
        let row = page.rows.into_iter().next();
        if let Some(row) = &row {
            self.row_handed_over(row);
        }
        Ok(Ok(row.map(Into::into)))
    }

    async fn count(
        &mut self,
        database: Resource<Subject>,
        query: Resource<Query>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let database = self.subject(&database)?;
        let mut query = self.table.get(&query)?.clone();
        if query.range.is_empty() {
            return Ok(Ok(0));
        }
        if query.changed_after.is_none() {
            let count = answer!(database.count(query.range, query.at).await.map_err(told));
            return Ok(Ok(count.min(query.limit)));
        }
        // Which keys changed is told by the keys alone.
        query.columns = Columns { keys: true, values: false, revisions: true };
        let limit = query.limit;
        let permit = answer!(self.database.cursor());
        let mut cursor = answer!(Cursor::open(database, query, permit).await);
        let mut count = cursor.pending.len() as u64;
        while count < limit && cursor.rest.is_some() {
            cursor.pending.clear();
            answer!(cursor.fetch().await);
            count += cursor.pending.len() as u64;
        }
        Ok(Ok(count.min(limit)))
    }

    async fn open(
        &mut self,
        database: Resource<Subject>,
        query: Resource<Query>,
    ) -> wasmtime::Result<Result<Resource<Cursor>, Error>> {
        let database = self.subject(&database)?;
        let query = self.table.get(&query)?.clone();
        let permit = answer!(self.database.cursor());
        let cursor = answer!(Cursor::open(database, query, permit).await);
        Ok(Ok(self.table.push(cursor)?))
    }

    async fn put(
        &mut self,
        database: Resource<Subject>,
        subject: Vec<u8>,
        value: Vec<u8>,
        lease: i64,
    ) -> wasmtime::Result<Result<i64, Error>> {
        let database = self.subject(&database)?;
        let key = answer!(key(subject)?);
        answer!(self.database.write(key.len() + value.len()));
        Ok(database.put(key, value, lease).await.map_err(told))
    }

    async fn delete(
        &mut self,
        database: Resource<Subject>,
        query: Resource<Query>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let database = self.subject(&database)?;
        let range = self.table.get(&query)?.range.clone();
        if range.is_empty() {
            return Ok(Ok(0));
        }
        Ok(database.delete(range).await.map_err(told))
    }

    async fn commit(
        &mut self,
        database: Resource<Subject>,
        transaction: Resource<Making>,
    ) -> wasmtime::Result<Result<database::Committed, Error>> {
        let database = self.subject(&database)?;
        let making = self.table.get(&transaction)?;
        let transaction = making.transaction.clone();
        answer!(self.database.write(making.written_bytes()));
        let committed = answer!(database.commit(transaction).await.map_err(told));
        let answers = committed.answers.into_iter().map(|answer| {
            let (operation, row, count) = match answer {
                Answer::Put => ("put", None, 0),
                Answer::Delete(count) => ("delete", None, count),
                Answer::Get(row) => {
                    let count = u64::from(row.is_some());
                    ("get", row, count)
                }
            };
            if let Some(row) = &row {
                self.row_handed_over(row);
            }
            let (operation, row) = (operation.to_owned(), row.map(Into::into));
            database::Answer { operation, row, count, attributes: Vec::new() }
        });
        let answers = answers.collect();
        Ok(Ok(database::Committed { succeeded: committed.succeeded, revision: committed.revision, answers }))
    }

    async fn grant(
        &mut self,
        database: Resource<Subject>,
        seconds: i64,
    ) -> wasmtime::Result<Result<Resource<Lease>, Error>> {
        let database = self.subject(&database)?;
        if seconds < 1 {
            return Ok(Err(invalid("a lease is granted for at least one second")));
        }
        answer!(self.database.lease());
        let id = answer!(database.grant(seconds).await.map_err(told));
        Ok(Ok(self.table.push(Lease { database, id })?))
    }

    fn lease(&mut self, database: Resource<Subject>, id: i64) -> wasmtime::Result<Resource<Lease>> {
        let database = self.subject(&database)?;
        Ok(self.table.push(Lease { database, id })?)
    }

    async fn leases(&mut self, database: Resource<Subject>) -> wasmtime::Result<Result<Vec<i64>, Error>> {
        let database = self.subject(&database)?;
        Ok(database.leases().await.map_err(told))
    }

    async fn watch(
        &mut self,
        database: Resource<Subject>,
        query: Resource<Query>,
    ) -> wasmtime::Result<Result<Resource<Watch>, Error>> {
        let database = self.subject(&database)?;
        let Query { range, changed_after, .. } = self.table.get(&query)?.clone();
        if range.is_empty() {
            return Ok(Err(invalid("no key is in the range that is to be watched")));
        }
        let permit = answer!(self.database.watch());
        let watching = answer!(database.watch(range, changed_after).await.map_err(told));
        Ok(Ok(self.table.push(Watch { watching, pending: VecDeque::new(), _permit: permit })?))
    }

    fn drop(&mut self, database: Resource<Subject>) -> wasmtime::Result<()> {
        self.table.delete(database)?;
        Ok(())
    }
}
