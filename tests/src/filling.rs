//! Fills a real etcd with what a busy Kubernetes cluster keeps in one: objects of many kinds and sizes, some rewritten
//! again and again, some deleted, with compactions on the way, so that the database has history and free pages.
//!
//! The same changes are sent in every run; many at once, so that the order in which they come to pass is not the same.

mod changes;
mod content;

use std::collections::HashMap;
use std::time::Duration;

use etcd_client::{Client, CompactionOptions, Error, GetOptions, LeaseGrantOptions, PutOptions, Txn, TxnOp};
use tokio::task::JoinSet;

use changes::{Change, Changes};

/// Operations in one transaction at most: etcd takes 128.
const OPERATIONS_PER_TRANSACTION: usize = 120;
/// Bytes in one transaction at most: etcd takes 1.5 MiB, and a member's memory is spared.
const BYTES_PER_TRANSACTION: usize = 256 << 10;
/// Transactions on their way at once: etcd writes its log once for all that wait.
const TRANSACTIONS_AT_ONCE: usize = 24;
/// Compactions come at each of these parts of the size.
const QUARTERS: u64 = 4;
/// Longer than any measurement.
const LEASE_SECONDS: i64 = 7 * 24 * 3600;
/// Bytes sent between two looks at the database's size, at most.
const WAVE_BYTES: u64 = 64 << 20;

/// How often etcd commits to its database (`server/storage/backend/backend.go`).
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// What [`fill`] did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filled {
    /// The database's size at the end, in bytes.
    pub database_bytes: u64,
    /// Keys at the end.
    pub live_keys: u64,
    /// Puts and deletes.
    pub changes: u64,
    /// The revision at the end.
    pub revision: i64,
    /// The last compaction.
    pub compact_revision: i64,
}

/// Writes until the database of the first endpoint has `megabytes` million bytes.
///
/// # Errors
/// The server refuses, or cannot be reached.
pub async fn fill(endpoints: &[String], megabytes: u64) -> Result<Filled, Error> {
    let goal = megabytes * 1_000_000;
    let wave_bytes = (goal / 16).clamp(100_000, WAVE_BYTES);
    let mut client = Client::connect(endpoints, None).await?;
    let mut filler = Filler { client: client.clone(), changes: Changes::new(), leases: HashMap::new() };
    let mut filled = Filled::default();
    let mut quarter = 1;
    loop {
        filled.database_bytes = client.status().await?.db_size() as u64;
        if goal.saturating_sub(filled.database_bytes) < 2 * wave_bytes {
            // Near the end it matters what is not committed yet.
            tokio::time::sleep(COMMIT_INTERVAL * 3 / 2).await;
            filled.database_bytes = client.status().await?.db_size() as u64;
        }
        let left = goal.saturating_sub(filled.database_bytes);
        // Pages are not filled to the last byte, and free ones are used again: a little less than what is missing, and
        // another look.
        if left < goal / 100 {
            break;
        }
        if quarter < QUARTERS && filled.database_bytes > goal / QUARTERS * quarter {
            quarter += 1;
            filled.compact_revision = filled.revision;
            client.compact(filled.revision, None).await?;
        }
        filled.revision = filler.wave((left * 7 / 10).clamp(100_000, wave_bytes)).await?;
    }
    // Half of the history goes, so that what it leaves behind is free.
    filled.compact_revision += (filled.revision - filled.compact_revision) / 2;
    client.compact(filled.compact_revision, Some(CompactionOptions::new().with_physical())).await?;
    let all = GetOptions::new().with_all_keys().with_count_only();
    filled.live_keys = client.get("", Some(all)).await?.count() as u64;
    filled.changes = filler.changes.made();
    Ok(filled)
}

/// Bytes of each value that [`put_keys`] writes.
const SMALL_VALUE_BYTES: usize = 200;

/// Writes this many keys with small values, each once: what is measured by the key and not by the byte.
///
/// # Errors
/// The server refuses, or cannot be reached.
pub async fn put_keys(endpoints: &[String], count: u64) -> Result<Filled, Error> {
    let client = Client::connect(endpoints, None).await?;
    let mut tasks: JoinSet<Result<i64, Error>> = JoinSet::new();
    let mut filled = Filled { live_keys: count, changes: count, ..Filled::default() };
    let mut next = 0;
    while next < count || !tasks.is_empty() {
        if next < count && tasks.len() < TRANSACTIONS_AT_ONCE {
            let until = count.min(next + OPERATIONS_PER_TRANSACTION as u64);
            let put = |number: u64| {
                let key = format!("/registry/things/namespace-{}/thing-{number:09}", number % 100);
                TxnOp::put(key, vec![(number % 251) as u8; SMALL_VALUE_BYTES], None)
            };
            let transaction = Txn::new().and_then((next..until).map(put).collect::<Vec<_>>());
            next = until;
            let mut client = client.kv_client();
            tasks.spawn(async move {
                let response = client.txn(transaction).await?;
                Ok(response.header().map_or(0, etcd_client::ResponseHeader::revision))
            });
        } else if let Some(done) = tasks.join_next().await {
            filled.revision = done.expect("a put does not panic")?.max(filled.revision);
        }
    }
    // What is not committed yet would not be counted.
    tokio::time::sleep(COMMIT_INTERVAL * 3 / 2).await;
    filled.database_bytes = client.maintenance_client().status().await?.db_size() as u64;
    Ok(filled)
}

struct Filler {
    client: Client,
    changes: Changes,
    /// etcd's ids of the leases that the changes speak of by number.
    leases: HashMap<u64, i64>,
}

impl Filler {
    /// Sends some `bytes` of changes; the revision after them.
    async fn wave(&mut self, bytes: u64) -> Result<i64, Error> {
        let mut sent = 0;
        let mut revision = 0;
        let mut tasks: JoinSet<Result<i64, Error>> = JoinSet::new();
        while sent < bytes || !tasks.is_empty() {
            if sent < bytes && tasks.len() < TRANSACTIONS_AT_ONCE {
                let batch = self.changes.batch(OPERATIONS_PER_TRANSACTION, BYTES_PER_TRANSACTION);
                sent += batch.iter().map(|change| change.size_bytes() as u64).sum::<u64>();
                let transaction = self.transaction(batch).await?;
                let mut client = self.client.kv_client();
                tasks.spawn(async move {
                    let response = client.txn(transaction).await?;
                    Ok(response.header().map_or(0, etcd_client::ResponseHeader::revision))
                });
            } else if let Some(done) = tasks.join_next().await {
                revision = done.expect("a put does not panic")?.max(revision);
            }
        }
        Ok(revision)
    }

    async fn transaction(&mut self, batch: Vec<Change>) -> Result<Txn, Error> {
        let mut operations = Vec::with_capacity(batch.len());
        for change in batch {
            operations.push(match change {
                Change::Put { key, value, lease: None } => TxnOp::put(key, value, None),
                Change::Put { key, value, lease: Some(number) } => {
                    let lease = self.lease(number).await?;
                    TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)))
                }
                Change::Delete { key } => TxnOp::delete(key, None),
            });
        }
        Ok(Txn::new().and_then(operations))
    }

    async fn lease(&mut self, number: u64) -> Result<i64, Error> {
        if let Some(id) = self.leases.get(&number) {
            return Ok(*id);
        }
        let options = LeaseGrantOptions::new().with_id(0x6e00_0000_0000_0000 + number as i64);
        let id = self.client.lease_grant(LEASE_SECONDS, Some(options)).await?.id();
        self.leases.insert(number, id);
        Ok(id)
    }
}
