//! The scratch file, packed once while it comes and streamed into every store; read back; committed.

use std::convert::Infallible;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use etcd_snapshot::Outcome;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::fetch::Fetched;
use super::growing::{BrokenOff, Follower, FollowingReader};
use super::inventory::{self, Signer};
use super::{BackupError, SharedSession, StoreResult};
use crate::bridge::{self, ChunkWriter, Outlet};
use crate::catalog::{self, CatalogError, Manifest, Sealed, StoredInfo};
use crate::pack::{self, Packed};
use crate::progress::Progress;
use crate::session::Session;
use crate::signing::SigningKey;
use crate::store::{self, ObjectPath, Store, StoreError};

/// How far the packing threads stand back, as `nice` counts: 0 to 19.
const NICENESS: i32 = 10;
/// The least that a store may take longer than the first one that has all.
const LEAST_PATIENCE: Duration = Duration::from_mins(1);

/// A store and its name in the config.
#[derive(Clone)]
pub struct NamedStore {
    /// The name.
    pub name: String,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Where this machine notes the newest backup that it knows there, when manifests are signed: without signatures
    /// anybody may plant a newer one.
    pub guard: Option<PathBuf>,
}

/// Why a store missed a backup.
#[derive(Debug, thiserror::Error)]
pub enum StoreFailure {
    /// The store or the catalog in it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// What lies there is not what was sent.
    #[error(
        "`{path}` in {store} reads back as {found_bytes} bytes with sha256 {found}, sent were {sent_bytes} bytes with sha256 {sent}"
    )]
    ReadBack {
        /// The object.
        path: String,
        /// The store, as it describes itself.
        store: String,
        /// Digest of what lies there.
        found: String,
        /// Its size.
        found_bytes: u64,
        /// Digest of what was sent.
        sent: String,
        /// Its size.
        sent_bytes: u64,
    },
    /// The snapshot could not be packed.
    #[error("cannot pack `{path}`")]
    Pack {
        /// The scratch file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// No id is free.
    #[error("the store already holds backups in every minute of the next hour")]
    NoFreeId,
}

impl StoreFailure {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Catalog(error) => error.hint(),
            Self::ReadBack { .. } => {
                Some("the disk or the file system below the store is not to be trusted: check it".to_owned())
            }
            Self::NoFreeId => Some("check the clock of this machine".to_owned()),
            Self::Pack { .. } => None,
        }
    }
}

impl From<StoreError> for StoreFailure {
    fn from(error: StoreError) -> Self {
        Self::Catalog(error.into())
    }
}

/// What was packed, and how each store took it.
pub struct Stored {
    /// The object, the same in every store.
    pub object: StoredInfo,
    /// Bytes that were packed: the size of the scratch file.
    pub plain_bytes: u64,
    outcomes: Vec<(String, Result<(), StoreFailure>)>,
}

/// How one store came out of the run.
#[derive(Debug)]
pub struct StoreOutcome {
    /// Its name.
    pub store: String,
    /// Whether the manifest is there.
    pub committed: bool,
    failure: Option<StoreFailure>,
}

impl StoreOutcome {
    /// A store that does not hold the backup.
    pub fn missed(store: &str, failure: StoreFailure) -> Self {
        Self { store: store.to_owned(), committed: false, failure: Some(failure) }
    }

    /// The backup is there, and its proof could not be written beside it.
    pub fn misses_proof(&mut self, failure: StoreFailure) {
        self.failure = Some(failure);
    }

    /// For the report.
    pub fn into_result(self) -> StoreResult {
        let error = self.failure.map(|failure| with_causes(&failure));
        StoreResult { store: self.store, committed: self.committed, error }
    }
}

/// An error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

pub(super) fn failed(name: &str, source: impl Into<StoreFailure>) -> BackupError {
    BackupError::Store { name: name.to_owned(), source: source.into() }
}

/// What is stored, and where.
pub struct Order<'a> {
    /// The stores.
    pub stores: &'a [NamedStore],
    /// The stored form.
    pub pack: &'a pack::Options,
    /// Under which path.
    pub data: &'a ObjectPath,
    /// The scratch file.
    pub scratch: &'a Path,
}

/// Follows the scratch file, packs it into every store, and reads back what lies there. None when the file never became
/// whole: the fetch tells why, and nothing is left in the stores.
///
/// # Errors
/// When no store holds it afterwards, or the run was stopped.
pub async fn store(
    order: &Order<'_>,
    mut scratch: Follower,
    session: &SharedSession<'_>,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Result<Option<Stored>, BackupError> {
    let Order { stores, data, .. } = order;
    let started = session.now();
    let sent = tokio::select! {
        () = cancel.cancelled() => return Err(BackupError::Cancelled),
        sent = send_until_whole(order, &mut scratch, progress) => sent?,
    };
    let Some((packed, mut outcomes)) = sent else { return Ok(None) };
    let object = StoredInfo {
        path: (*data).clone(),
        size_bytes: packed.stored_bytes,
        sha256: packed.stored_sha256.clone(),
    };
    session.ended("store", started, verdict(&outcomes), format!("{} bytes as {data}", packed.stored_bytes));

    let started = session.now();
    let reads = stores.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.1.is_ok());
    let reads = reads.map(|(named, outcome)| async {
        outcome.1 = read_back(named.store.as_ref(), data, &packed).await;
    });
    tokio::select! {
        () = cancel.cancelled() => return Err(BackupError::Cancelled),
        _ = futures::future::join_all(reads) => {}
    }
    session.ended("read back", started, verdict(&outcomes), "digests compared".to_owned());
    if outcomes.iter().all(|(_, outcome)| outcome.is_err()) {
        let (name, outcome) = outcomes.swap_remove(0);
        if let Err(failure) = outcome {
            return Err(failed(&name, failure));
        }
    }
    Ok(Some(Stored { object, plain_bytes: packed.plain_bytes, outcomes }))
}

/// Sends each attempt of the fetch until one becomes the whole file.
async fn send_until_whole(
    order: &Order<'_>,
    scratch: &mut Follower,
    progress: &dyn Progress,
) -> Result<Option<Sent>, BackupError> {
    while let Some(reader) = scratch.next_attempt().await {
        match send(order, reader, scratch.clone(), progress).await? {
            Some(sent) => return Ok(Some(sent)),
            // Another member was asked, or the fetch has failed: the next look tells.
            None => {
                tracing::debug!(data = %order.data, "the snapshot was not whole; its data was taken back");
            }
        }
    }
    Ok(None)
}

fn verdict(outcomes: &[(String, Result<(), StoreFailure>)]) -> Outcome {
    if outcomes.iter().any(|(_, outcome)| outcome.is_err()) { Outcome::Failed } else { Outcome::Passed }
}

type Sent = (Packed, Vec<(String, Result<(), StoreFailure>)>);

/// Sends one attempt. None when it broke off.
async fn send(
    order: &Order<'_>,
    reader: FollowingReader,
    scratch: Follower,
    progress: &dyn Progress,
) -> Result<Option<Sent>, BackupError> {
    let laggards = Laggards::default();
    let mut outlets = Vec::new();
    let mut puts = Vec::new();
    for named in order.stores {
        let (sender, receiver) = bridge::channel();
        let given_up = CancellationToken::new();
        laggards.watch(&given_up);
        outlets.push(Outlet { sender, given_up: given_up.clone() });
        let laggards = &laggards;
        puts.push(async move {
            let outcome = tokio::select! {
                put = named.store.put(order.data, bridge::stream(receiver)) => put.map(drop),
                () = given_up.cancelled() => Err(took_nothing(order.data)),
            };
            laggards.ended(outcome.is_ok());
            (named.name.clone(), outcome.map_err(StoreFailure::from))
        });
    }
    let packing = Packing { source: reader, options: order.pack.clone(), read: Arc::default() };
    let read = Arc::clone(&packing.read);
    let both = async {
        let packed = async {
            let packed = packing.start(outlets).await;
            laggards.packed();
            packed
        };
        let puts = async {
            tokio::select! {
                outcomes = futures::future::join_all(puts) => outcomes,
                never = laggards.release() => match never {},
            }
        };
        futures::join!(packed, puts)
    };
    let (packed, outcomes) = watched(both, &read, scratch, progress).await;
    match packed {
        Ok(packed) => Ok(Some((packed, outcomes))),
        Err(error) if BrokenOff::is_reason_of(&error) => Ok(None),
        // The stores stopped taking: one of them says why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            let cause = outcomes.into_iter().find_map(|(name, outcome)| Some((name, outcome.err()?)));
            let (name, failure) = cause.unwrap_or_else(|| (String::new(), pack_failed(order.scratch, error)));
            Err(failed(&name, failure))
        }
        Err(error) => Err(failed(&order.stores[0].name, pack_failed(order.scratch, error))),
    }
}

/// Stores that are still at it when another has all: these are waited for, but not for ever.
struct Laggards {
    begun: Instant,
    /// Whether all was handed over, and how many stores have it.
    state: watch::Sender<(bool, usize)>,
    tokens: Mutex<Vec<CancellationToken>>,
}

impl Default for Laggards {
    fn default() -> Self {
        Self { begun: Instant::now(), state: watch::Sender::new((false, 0)), tokens: Mutex::default() }
    }
}

impl Laggards {
    fn watch(&self, token: &CancellationToken) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token.clone());
    }

    fn packed(&self) {
        self.state.send_modify(|state| state.0 = true);
    }

    fn ended(&self, well: bool) {
        self.state.send_modify(|state| state.1 += usize::from(well));
    }

    /// Once all was handed over and one store has it: gives the others as long again as it took so far, and a minute at
    /// least; then they are given up.
    async fn release(&self) -> Infallible {
        let _ = self.state.subscribe().wait_for(|(packed, done)| *packed && *done > 0).await;
        tokio::time::sleep(self.begun.elapsed().max(LEAST_PATIENCE)).await;
        for token in self.tokens.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            token.cancel();
        }
        std::future::pending().await
    }
}

fn took_nothing(data: &ObjectPath) -> StoreError {
    let source =
        io::Error::new(io::ErrorKind::TimedOut, "it took nothing for too long; the other stores went on");
    StoreError::Io { path: data.to_string(), action: "write", source }
}

/// The error of a run whose two sides saw different files: the scratch file was changed by somebody else.
pub fn packed_other(order: &Order<'_>, fetched: &Fetched, stored: Option<&Stored>) -> BackupError {
    let packed = stored.map_or(0, |stored| stored.plain_bytes);
    let reason = format!("{packed} bytes were packed, {} were fetched", fetched.size_bytes);
    failed(
        &order.stores[0].name,
        pack_failed(order.scratch, io::Error::new(io::ErrorKind::InvalidData, reason)),
    )
}

fn pack_failed(scratch: &Path, source: io::Error) -> StoreFailure {
    StoreFailure::Pack { path: scratch.display().to_string(), source }
}

/// Awaits `work` and tells `progress` how far the counter has come meanwhile. Until the scratch file is whole the bar is
/// the fetch's.
async fn watched<T>(
    work: impl Future<Output = T>,
    counter: &AtomicU64,
    mut scratch: Follower,
    progress: &dyn Progress,
) -> T {
    let mut work = std::pin::pin!(work);
    let total = tokio::select! {
        biased;
        done = &mut work => return done,
        total = scratch.whole() => total,
    };
    let Some(total) = total else { return work.await };
    progress.start("store", Some(total));
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut told = 0;
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                let now = counter.load(Ordering::Relaxed);
                progress.advance(now - told);
                told = now;
            }
        }
    };
    progress.finish();
    done
}

/// The blocking half of `send`.
struct Packing {
    source: FollowingReader,
    options: pack::Options,
    read: Arc<AtomicU64>,
}

impl Packing {
    /// Runs on a thread of its own, which the compressor's threads take after: all of them let others go first. What holds
    /// up the stream holds up etcd, and on a control-plane node everybody has something better to do.
    async fn start(self, outlets: Vec<Outlet>) -> io::Result<Packed> {
        let (done, packed) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            // A reader that takes nothing is waited for by the runtime's clock.
            let _within = runtime.enter();
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "packing runs at the priority of everything else");
            }
            // Nobody waits any more when the run was stopped.
            let _ = done.send(self.run(outlets));
        };
        std::thread::Builder::new().name("pack".to_owned()).spawn(work)?;
        packed.await.unwrap_or_else(|_| Err(io::Error::other("the packing thread died")))
    }

    fn run(self, outlets: Vec<Outlet>) -> io::Result<Packed> {
        let mut source = Counted { source: self.source, read: self.read };
        let mut writer = ChunkWriter::new(outlets);
        let packed = pack::pack(&mut source, &self.options, &mut writer)?;
        writer.finish()?;
        Ok(packed)
    }
}

struct Counted {
    source: FollowingReader,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Reads what lies in the store and compares it with what was sent.
async fn read_back(store: &dyn Store, path: &ObjectPath, packed: &Packed) -> Result<(), StoreFailure> {
    let (found_bytes, found) = store::digest(store, path, |_| ()).await?;
    if found == packed.stored_sha256 && found_bytes == packed.stored_bytes {
        return Ok(());
    }
    Err(StoreFailure::ReadBack {
        path: path.to_string(),
        store: store.describe(),
        found,
        found_bytes,
        sent: packed.stored_sha256.clone(),
        sent_bytes: packed.stored_bytes,
    })
}

/// Writes the manifest into each store that holds the object, behind its signature when there is one.
pub async fn commit(
    stores: &[NamedStore],
    manifest: &Manifest,
    sealed: &Sealed,
    key: Option<&SigningKey>,
    stored: Stored,
    session: &mut Session,
) -> Vec<StoreOutcome> {
    let (started, id) = (session.now(), &manifest.id);
    let signer = key.map(|key| Signer { key, session: &session.id, now: started });
    let commits = stores.iter().zip(stored.outcomes).map(|(named, (store, held))| async move {
        let committing = async {
            held?;
            if let Some(signer) = signer {
                let previous = manifest.previous.as_ref();
                inventory::before_commit(named, signer, &manifest.cluster, id, previous).await?;
            }
            Ok(catalog::commit(named.store.as_ref(), sealed).await?)
        };
        let committed: Result<(), StoreFailure> = committing.await;
        StoreOutcome { store, committed: committed.is_ok(), failure: committed.err() }
    });
    let outcomes = futures::future::join_all(commits).await;
    let committed = outcomes.iter().filter(|outcome| outcome.committed).count();
    let outcome = if committed == outcomes.len() { Outcome::Passed } else { Outcome::Failed };
    session.ended("commit", started, outcome, format!("{id} in {committed} of {} stores", outcomes.len()));
    outcomes
}

/// The error of a run that no store took; none when at least one did.
pub fn none_committed(outcomes: &mut [StoreOutcome]) -> Option<BackupError> {
    if outcomes.iter().any(|outcome| outcome.committed) {
        return None;
    }
    let first =
        outcomes.iter_mut().find_map(|outcome| Some((outcome.store.clone(), outcome.failure.take()?)))?;
    Some(failed(&first.0, first.1))
}
