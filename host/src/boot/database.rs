//! A client of the throwaway etcd: what a script's database is.
//!
//! Each has a connection of its own, so that what one script leaves open ends with its call. Answers are bounded where they
//! are decoded: pages shrink until they fit, and only a single row may be large.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use etcd_client::{
    Compare, CompareOp, DeleteOptions, EventType, GetOptions, GetResponse, KvClient, LeaseTimeToLiveOptions,
    PutOptions, ResponseHeader, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, WatchOptions, WatchStream,
};
use holdfast_runtime::{
    Answer, Committed, Comparison, Database, DatabaseError, Event, EventKind, KeyNumber, KeyRange, KvHash,
    Operation, Operator, Page, PageRequest, Row, TimeToLive, Transaction, Watching,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

/// Bytes of one page of rows.
const PAGE_BYTES: usize = 4 << 20;
/// Bytes of one answer that cannot be made smaller: a single row, or a change with what was before it.
const ANSWER_BYTES: usize = 64 << 20;
/// Rows that a first page asks for; it is not known how large they are.
const FIRST_ROWS: u64 = 64;
/// What etcd may send of one answer before it is taken. A watch that nobody reads holds as much.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same for all of a connection: more than all watches of a call, so that these do not hold up the rest.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// A connection to a throwaway etcd.
pub(super) struct Client {
    etcd: etcd_client::Client,
    /// For pages.
    pages: KvClient,
    /// For what cannot be smaller.
    whole: KvClient,
    /// How many rows fitted into a page of late.
    rows: AtomicU64,
}

impl Client {
    /// Prepares a connection to this socket. It is made with the first request.
    pub(super) async fn connect(socket: PathBuf) -> Result<Self, DatabaseError> {
        let connector = tower::service_fn(move |_: http::Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = tonic::transport::Endpoint::from_static("http://localhost")
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .connect_with_connector_lazy(connector);
        let channel =
            etcd_client::Channel::Custom(BoxCloneSyncService::new(channel.map_err(tower::BoxError::from)));
        let client = etcd_client::Client::from_channel(channel, None).await.map_err(|error| told(&error))?;
        let pages = client.kv_client().max_decoding_message_size(PAGE_BYTES);
        let whole = client.kv_client().max_decoding_message_size(ANSWER_BYTES);
        Ok(Self { etcd: client, pages, whole, rows: AtomicU64::new(FIRST_ROWS) })
    }

    /// The newest revision.
    pub(super) async fn revision(&self) -> Result<i64, DatabaseError> {
        let status = self.etcd.maintenance_client().status().await.map_err(|error| told(&error))?;
        Ok(revision(status.header()))
    }

    async fn get(
        &self,
        kv: &KvClient,
        request: &PageRequest,
        rows: u64,
    ) -> Result<GetResponse, etcd_client::Error> {
        let (key, end) = bounds(request.range.clone());
        let limit = i64::try_from(rows).unwrap_or(i64::MAX);
        let mut options = GetOptions::new().with_range(end).with_limit(limit).with_revision(request.revision);
        if request.descending {
            options = options.with_sort(SortTarget::Key, SortOrder::Descend);
        }
        if !request.values {
            options = options.with_keys_only();
        }
        kv.clone().get(key, Some(options)).await
    }
}

/// A range as etcd writes it: a zero byte is the first key, and as an end it is no bound.
fn bounds(range: KeyRange) -> (Vec<u8>, Vec<u8>) {
    let or_zero = |bytes: Vec<u8>| if bytes.is_empty() { vec![0] } else { bytes };
    (or_zero(range.start), or_zero(range.end))
}

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, ResponseHeader::revision)
}

fn row(row: &etcd_client::KeyValue) -> Row {
    Row {
        key: row.key().to_vec(),
        value: row.value().to_vec(),
        create_revision: row.create_revision(),
        mod_revision: row.mod_revision(),
        version: row.version(),
        lease: row.lease(),
    }
}

/// Whether an answer was larger than it may be.
fn is_too_large(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if status.code() == tonic::Code::OutOfRange && status.message().contains("message length too large"))
}

/// etcd's words, and the code that a script is told with them.
const ANSWERS: [(&str, &str); 14] = [
    ("required revision has been compacted", "compacted"),
    ("required revision is a future revision", "future"),
    ("requested lease not found", "not-found"),
    ("lease not found", "not-found"),
    ("database space exceeded", "no-space"),
    ("request is too large", "limit"),
    ("message length too large", "limit"),
    ("received message larger than max", "limit"),
    ("too many operations in txn request", "limit"),
    ("too many requests", "limit"),
    ("key is not provided", "invalid"),
    ("duplicate key given in txn request", "invalid"),
    ("too large lease TTL", "invalid"),
    ("value is provided", "invalid"),
];

fn told(error: &etcd_client::Error) -> DatabaseError {
    let (text, fallback) = match error {
        etcd_client::Error::GRpcStatus(status) => {
            let code = match status.code() {
                tonic::Code::Unimplemented => "unsupported",
                tonic::Code::Unavailable => "unavailable",
                // Our own side: the connection broke.
                _ if std::error::Error::source(status).is_some() => "unavailable",
                _ => "refused",
            };
            (status.message().to_owned(), code)
        }
        etcd_client::Error::TransportError(_) | etcd_client::Error::IoError(_) => {
            (error.to_string(), "unavailable")
        }
        other => (other.to_string(), "refused"),
    };
    let known = ANSWERS.iter().find(|(words, _)| text.contains(words)).map(|(_, code)| *code);
    DatabaseError::new(known.unwrap_or(fallback), text)
}

/// The error of a request.
trait Told<T> {
    fn told(self) -> Result<T, DatabaseError>;
}

impl<T> Told<T> for Result<T, etcd_client::Error> {
    fn told(self) -> Result<T, DatabaseError> {
        self.map_err(|error| told(&error))
    }
}

#[async_trait]
impl Database for Client {
    async fn status(&self) -> Result<Vec<(String, String)>, DatabaseError> {
        let status = self.etcd.maintenance_client().status().await.told()?;
        let header = status.header();
        let id = |id: fn(&ResponseHeader) -> u64| format!("{:016x}", header.map_or(0, id));
        let mut facts = vec![
            ("version", status.version().to_owned()),
            ("revision", revision(header).to_string()),
            ("db-size", status.db_size().to_string()),
            ("db-size-in-use", status.raft_used_db_size().to_string()),
            ("raft-term", status.raft_term().to_string()),
            ("raft-index", status.raft_index().to_string()),
            ("leader", format!("{:016x}", status.leader())),
            ("member-id", id(ResponseHeader::member_id)),
            ("cluster-id", id(ResponseHeader::cluster_id)),
        ];
        facts.extend(status.errors().iter().map(|error| ("error", error.trim().to_owned())));
        Ok(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    async fn hash_kv(&self, at: i64) -> Result<KvHash, DatabaseError> {
        let hash = self.etcd.maintenance_client().hash_kv(at).await.told()?;
        // Told since 3.6; before, it is of the revision asked for.
        let of = [hash.hash_revision(), at].into_iter().find(|revision| *revision > 0);
        Ok(KvHash {
            hash: hash.hash(),
            revision: of.unwrap_or_else(|| revision(hash.header())),
            compact_revision: hash.compact_version(),
        })
    }

    async fn page(&self, request: PageRequest) -> Result<Page, DatabaseError> {
        let fitted = self.rows.load(Ordering::Relaxed);
        let asked = request.rows.clamp(1, fitted);
        let mut rows = asked;
        let mut answer = self.get(&self.pages, &request, rows).await;
        while rows > 1 && answer.as_ref().is_err_and(is_too_large) {
            rows = (rows / 4).max(1);
            answer = self.get(&self.pages, &request, rows).await;
        }
        if answer.as_ref().is_err_and(is_too_large) {
            answer = self.get(&self.whole, &request, 1).await;
        }
        let answer = answer.told()?;
        let bytes: usize = answer.kvs().iter().map(|row| row.key().len() + row.value().len()).sum();
        if rows < asked {
            self.rows.store(rows, Ordering::Relaxed);
        } else if rows == fitted && bytes * 4 < PAGE_BYTES {
            // The next page may be larger, for this one was small.
            self.rows.store(fitted.saturating_mul(2), Ordering::Relaxed);
        }
        Ok(Page {
            rows: answer.kvs().iter().map(row).collect(),
            more: answer.more(),
            revision: revision(answer.header()),
        })
    }

    async fn count(&self, range: KeyRange, revision: i64) -> Result<u64, DatabaseError> {
        let (key, end) = bounds(range);
        let options = GetOptions::new().with_range(end).with_revision(revision).with_count_only();
        let answer = self.pages.clone().get(key, Some(options)).await.told()?;
        Ok(u64::try_from(answer.count()).unwrap_or(0))
    }

    async fn put(&self, key: Vec<u8>, value: Vec<u8>, lease: i64) -> Result<i64, DatabaseError> {
        let options = PutOptions::new().with_lease(lease);
        let answer = self.pages.clone().put(key, value, Some(options)).await.told()?;
        Ok(revision(answer.header()))
    }

    async fn delete(&self, range: KeyRange) -> Result<u64, DatabaseError> {
        let (key, end) = bounds(range);
        let options = DeleteOptions::new().with_range(end);
        let answer = self.pages.clone().delete(key, Some(options)).await.told()?;
        Ok(u64::try_from(answer.deleted()).unwrap_or(0))
    }

    async fn commit(&self, transaction: Transaction) -> Result<Committed, DatabaseError> {
        let Transaction { comparisons, success, failure } = transaction;
        let operations =
            |operations: Vec<Operation>| operations.into_iter().map(operation).collect::<Vec<TxnOp>>();
        let transaction = Txn::new()
            .when(comparisons.into_iter().map(compare).collect::<Vec<Compare>>())
            .and_then(operations(success))
            .or_else(operations(failure));
        let answer = self.whole.clone().txn(transaction).await.told()?;
        let answers = answer.op_responses().into_iter().map(|answer| match answer {
            TxnOpResponse::Put(_) => Answer::Put,
            TxnOpResponse::Delete(deleted) => Answer::Delete(u64::try_from(deleted.deleted()).unwrap_or(0)),
            TxnOpResponse::Get(found) => Answer::Get(found.kvs().first().map(row)),
            // None of ours has one within.
            TxnOpResponse::Txn(_) => Answer::Get(None),
        });
        Ok(Committed {
            succeeded: answer.succeeded(),
            revision: revision(answer.header()),
            answers: answers.collect(),
        })
    }

    async fn grant(&self, seconds: i64) -> Result<i64, DatabaseError> {
        Ok(self.etcd.lease_client().grant(seconds, None).await.told()?.id())
    }

    async fn keep_alive(&self, lease: i64) -> Result<i64, DatabaseError> {
        // Beginning the stream renews it as well, and keeps its answer to itself.
        let (mut keeper, mut answers) = self.etcd.lease_client().keep_alive(lease).await.told()?;
        keeper.keep_alive().await.told()?;
        let answer = answers.message().await.told()?;
        match answer.map(|answer| answer.ttl()) {
            Some(seconds) if seconds > 0 => Ok(seconds),
            Some(_) => Err(no_lease(lease)),
            None => Err(DatabaseError::new("unavailable", "etcd ended the stream of renewals")),
        }
    }

    async fn time_to_live(&self, lease: i64) -> Result<TimeToLive, DatabaseError> {
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let answer = self.etcd.lease_client().time_to_live(lease, Some(options)).await.told()?;
        if answer.ttl() < 0 {
            return Err(no_lease(lease));
        }
        Ok(TimeToLive {
            remaining_seconds: answer.ttl(),
            granted_seconds: answer.granted_ttl(),
            keys: answer.keys().to_vec(),
        })
    }

    async fn revoke(&self, lease: i64) -> Result<(), DatabaseError> {
        self.etcd.lease_client().revoke(lease).await.told().map(drop)
    }

    async fn leases(&self) -> Result<Vec<i64>, DatabaseError> {
        let answer = self.etcd.lease_client().leases().await.told()?;
        Ok(answer.leases().iter().map(etcd_client::LeaseStatus::id).collect())
    }

    async fn watch(
        &self,
        range: KeyRange,
        changed_after: Option<i64>,
    ) -> Result<Box<dyn Watching>, DatabaseError> {
        let (key, end) = bounds(range);
        let mut options = WatchOptions::new().with_range(end).with_prev_key().with_fragment();
        if let Some(revision) = changed_after {
            options = options.with_start_revision(revision.saturating_add(1).max(1));
        }
        let client = self.etcd.watch_client().max_decoding_message_size(ANSWER_BYTES);
        let mut stream = client.clone().watch(key, Some(options)).await.told()?;
        // The first answer says that it stands.
        let first = stream.message().await.told()?.ok_or_else(ended)?;
        Ok(Box::new(Watch { early: events(&first)?, stream }))
    }
}

fn no_lease(lease: i64) -> DatabaseError {
    DatabaseError::new("not-found", format!("there is no lease {lease:x}"))
}

fn ended() -> DatabaseError {
    DatabaseError::new("unavailable", "etcd ended the watch")
}

fn operation(operation: Operation) -> TxnOp {
    match operation {
        Operation::Put { key, value, lease } => {
            TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)))
        }
        Operation::Delete { key } => TxnOp::delete(key, None),
        Operation::Get { key } => TxnOp::get(key, None),
    }
}

fn compare(comparison: Comparison) -> Compare {
    let how = |operator| match operator {
        Operator::Equal => CompareOp::Equal,
        Operator::NotEqual => CompareOp::NotEqual,
        Operator::Less => CompareOp::Less,
        Operator::Greater => CompareOp::Greater,
    };
    match comparison {
        Comparison::Value { key, operator, value } => Compare::value(key, how(operator), value),
        Comparison::Number { key, number, operator, value } => match number {
            KeyNumber::CreateRevision => Compare::create_revision(key, how(operator), value),
            KeyNumber::ModRevision => Compare::mod_revision(key, how(operator), value),
            KeyNumber::Version => Compare::version(key, how(operator), value),
            KeyNumber::Lease => Compare::lease(key, how(operator), value),
        },
    }
}

/// A watch.
struct Watch {
    /// What came with the word that it stands.
    early: Vec<Event>,
    stream: WatchStream,
}

#[async_trait]
impl Watching for Watch {
    async fn next(&mut self) -> Result<Vec<Event>, DatabaseError> {
        if !self.early.is_empty() {
            return Ok(std::mem::take(&mut self.early));
        }
        loop {
            // Waits in one place only, and what has come is in the stream until it is taken out whole.
            let answer = self.stream.message().await.told()?.ok_or_else(ended)?;
            let events = events(&answer)?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

/// The changes of an answer; an error when it says that the watch has ended.
fn events(answer: &etcd_client::WatchResponse) -> Result<Vec<Event>, DatabaseError> {
    if answer.canceled() {
        let compacted = answer.compact_revision();
        return Err(if compacted > 0 {
            DatabaseError::new("compacted", format!("changes up to revision {compacted} are compacted"))
        } else {
            DatabaseError::new("refused", format!("etcd ended the watch: {}", answer.cancel_reason()))
        });
    }
    let event = |event: &etcd_client::Event| {
        Some(Event {
            kind: match event.event_type() {
                EventType::Put => EventKind::Put,
                EventType::Delete => EventKind::Delete,
            },
            row: event.kv().map(row)?,
            previous: event.prev_kv().map(row),
        })
    };
    Ok(answer.events().iter().filter_map(event).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_their_meaning() {
        let code = |status| told(&etcd_client::Error::GRpcStatus(status)).code;
        let out_of_range = tonic::Status::out_of_range;
        assert_eq!(code(out_of_range("etcdserver: mvcc: required revision has been compacted")), "compacted");
        assert_eq!(code(out_of_range("Error, decoded message length too large: found 9 bytes")), "limit");
        assert_eq!(
            code(tonic::Status::resource_exhausted("etcdserver: mvcc: database space exceeded")),
            "no-space"
        );
        assert_eq!(code(tonic::Status::unimplemented("unknown method")), "unsupported");
        assert_eq!(code(tonic::Status::internal("what")), "refused");
    }

    #[test]
    fn open_bounds_are_a_zero_byte() {
        assert_eq!(bounds(KeyRange::default()), (vec![0], vec![0]));
        assert_eq!(bounds(KeyRange::key(b"a")), (b"a".to_vec(), b"a\0".to_vec()));
    }
}
