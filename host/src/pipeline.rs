//! One backup run, as the list of its steps.
//!
//! ```text
//! preflight   members, alarms, room, certificates; stores usable and this cluster's
//! fetch       etcd's stream into a private scratch file, its trailing hash checked
//! inspect     structure, invariants, hashes of that file
//! agreement   beside it: what the living members say of the same revision
//! store       beside these three: packed once while it comes, streamed into every store
//! read back   what lies in each store, compared by digest
//! continuity  does it follow on from the backup before?
//! commit      the manifest, last
//! verify      the chains, over the scratch file; a record in every store
//! ```
//!
//! What one step hands to the next is a type, so steps cannot run out of order. Until the commit a run that fails or is
//! stopped is undone; from the commit on the backup stays, whatever its proof says.

pub mod agreement;
pub mod continuity;
pub mod fetch;
pub mod growing;
pub mod inspect;
pub mod intent;
pub mod inventory;
pub mod known_stores;
mod naming;
pub mod preflight;
pub mod remembered;
pub mod single_flight;
pub mod store;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_snapshot::Outcome;
use holdfast_runtime::Registry;
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::catalog::{
    self, BackupId, CatalogError, ClusterIdentity, Manifest, PackInfo, PlainInfo, Record, Trigger,
};
use crate::etcd::{self, Cluster, EtcdError};
use crate::pack;
use crate::progress::Progress;
use crate::session::{Clock, Session, SessionId, Stage, worst};
use crate::signing::SigningKey;
use crate::store::Store;
use crate::units::counted;
use agreement::Agreement;
use continuity::Continuity;
use fetch::{FetchError, FetchOptions, Fetched};
use growing::Growth;
use inspect::{InspectError, Inspected};
use preflight::{Policy, Preflight, PreflightError};
use remembered::Remembered;
use single_flight::{SingleFlight, SingleFlightError};
use store::{NamedStore, StoreFailure, StoreOutcome, Stored};
use verify::Chain;

/// Everything a backup run needs from outside.
pub struct Job {
    /// The operator's name for the cluster.
    pub cluster_name: String,
    /// How to reach it.
    pub etcd: etcd::Options,
    /// What preflight does about what it finds.
    pub policy: Policy,
    /// Directory for scratch files.
    pub scratch: PathBuf,
    /// Bytes a second that are taken from etcd at most.
    pub rate_limit: Option<u64>,
    /// Longest time without a byte before the next member is asked.
    pub stall_timeout: Duration,
    /// Take a snapshot without etcd's trailing hash.
    pub allow_missing_hash: bool,
    /// Stored form.
    pub pack: pack::Options,
    /// What signs the manifest; none when it is not signed.
    pub signing: Option<Arc<SigningKey>>,
    /// Where it goes.
    pub stores: Vec<NamedStore>,
    /// Where it must arrive.
    pub require: Require,
    /// What proves it.
    pub chains: Vec<Chain>,
    /// How an etcd is booted on the restored backup.
    pub boot: crate::boot::Options,
    /// The plugins, pinned for this run.
    pub plugins: Arc<Registry>,
    /// Where the time comes from.
    pub clock: Clock,
}

/// Which stores must have a backup, or the run has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Require {
    /// Each.
    All,
    /// One.
    Any,
    /// These.
    Named(Vec<String>),
}

impl Require {
    /// Whether a run with these results has what it must.
    fn is_met(&self, results: &[StoreOutcome]) -> bool {
        let has = |result: &StoreOutcome| result.committed;
        match self {
            Self::All => results.iter().all(has),
            Self::Any => results.iter().any(has),
            Self::Named(names) => {
                names.iter().all(|name| results.iter().any(|result| result.store == *name && has(result)))
            }
        }
    }
}

/// What a store came to.
#[derive(Debug, Serialize)]
pub struct StoreResult {
    /// Its name in the config.
    pub store: String,
    /// Whether the backup is committed there.
    pub committed: bool,
    /// Why not; of a backup that is committed, why its proof is not beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The run.
    pub session: SessionId,
    /// The backup.
    pub id: BackupId,
    /// The proof's verdict; `failed` as well when a store was missed that must have the backup.
    pub outcome: Outcome,
    /// Newest revision in the backup.
    pub revision: i64,
    /// Live keys in it.
    pub live_keys: u64,
    /// Size of the file that etcd sent.
    pub size_bytes: u64,
    /// Size of the object stored.
    pub stored_bytes: u64,
    /// Store by store.
    pub stores: Vec<StoreResult>,
    /// What the living members said.
    pub agreement: Agreement,
    /// What was found before the run began.
    pub preflight: Vec<preflight::PreflightFinding>,
    /// The proof, step by step.
    pub verification: Record,
    /// Stage by stage.
    pub stages: Vec<Stage>,
    /// What earlier runs that died had left and this one took away.
    pub swept: u64,
}

/// Why a run ended without a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Another run holds the scratch directory.
    #[error(transparent)]
    SingleFlight(#[from] SingleFlightError),
    /// The cluster cannot be reached.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// Preflight stopped the run.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The stream failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The scratch file cannot be opened as a snapshot.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A store cannot be used, or no store took the backup.
    #[error("store `{name}` cannot take the backup")]
    Store {
        /// The store's name in the config.
        name: String,
        /// The cause.
        source: StoreFailure,
    },
    /// The manifest cannot be made. Nothing of the run was kept.
    #[error(transparent)]
    Manifest(#[from] CatalogError),
    /// A verification record could not be written. The backup itself is committed.
    #[error("backup `{id}` is stored, but its verification record could not be written to `{name}`")]
    Record {
        /// The backup.
        id: BackupId,
        /// The store's name in the config.
        name: String,
        /// The cause.
        source: CatalogError,
    },
    /// The run was told to stop before the commit, and undid what it had done.
    #[error("the backup was stopped; nothing of it was kept")]
    Cancelled,
}

impl BackupError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::SingleFlight(error) => error.hint(),
            Self::Etcd(error) => error.hint(),
            Self::Preflight(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Inspect(error) => error.hint(),
            Self::Store { source, .. } => source.hint(),
            Self::Record { source, .. } => source.hint(),
            Self::Manifest(error) => error.hint(),
            Self::Cancelled => None,
        }
    }
}

/// Runs one backup.
///
/// # Errors
/// When there is no backup afterwards. A backup that exists and failed its proof is a [`Report`].
pub async fn run(
    job: &Job,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Result<Report, BackupError> {
    let mut session = Session::begin(job.clock);
    let flight = SingleFlight::acquire(&job.scratch)?;
    let swept = intent::sweep(&job.scratch, &job.stores, &flight).await;

    let cluster = Cluster::connect(&job.etcd).await?;
    let ready = unless_cancelled(cancel, preflight_step(job, &cluster, &mut session)).await??;
    let identity =
        ClusterIdentity { name: job.cluster_name.clone(), id: format!("{:016x}", ready.cluster_id) };
    let (stores, unusable) = claim_stores(job, &identity, session.now()).await?;

    let scratch = ScratchFile::new(&job.scratch, &session.id);
    let data = catalog::data_path(session.started, &session.id, job.pack.is_encrypted());
    let mut intent = intent::write(&job.scratch, &session.id, &data, &stores)?;
    let order = store::Order { stores: &stores, pack: &job.pack, data: &data, scratch: &scratch.path };
    let gathered = gather(job, &cluster, &ready, &order, &mut session, progress, cancel).await;
    let Gathered { fetched, inspected, agreement, stored } = match gathered {
        Ok(gathered) => gathered,
        Err(error) => {
            intent.undo(&stores).await;
            return Err(error);
        }
    };

    let named = async {
        let id = naming::free_id(&stores, session.started, inspected.inspection.facts.revision).await?;
        intent.commits(&id)?;
        Ok(id)
    };
    let id = match named.await {
        Ok(id) => id,
        Err(error) => {
            intent.undo(&stores).await;
            return Err(error);
        }
    };
    let continuity = continuity_step(&stores, &id, &identity, &inspected, &mut session).await;
    // What a backup follows is said by whoever can vouch for it.
    let previous = match (&job.signing, &continuity.previous) {
        (Some(_), Some(previous)) => inventory::link(&stores, previous).await,
        _ => None,
    };
    let manifest = Manifest {
        format: catalog::MANIFEST_FORMAT.to_owned(),
        id: id.clone(),
        edition: catalog::FIRST_EDITION,
        holdfast_version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: identity,
        member_id: format!("{:016x}", fetched.member_id),
        endpoint: fetched.endpoint.clone(),
        server_version: ready.version_of(fetched.member_id),
        session: session.id.clone(),
        started: session.started,
        fetched: fetched.ended,
        committed: session.now(),
        plain: PlainInfo { size_bytes: fetched.size_bytes, sha256: fetched.sha256.clone() },
        stored: stored.object.clone(),
        pack: pack_info(&job.pack),
        facts: inspected.inspection.facts.clone(),
        integrity: inspected.inspection.integrity.clone(),
        agreement: agreement.clone(),
        continuity: Some(continuity.clone()),
        previous,
        repacked: None,
        preflight: ready.findings.clone(),
        stages: session.stages.clone(),
    };
    let sealed = match catalog::seal(&manifest, job.signing.as_deref()) {
        Ok(sealed) => sealed,
        Err(error) => {
            intent.undo(&stores).await;
            return Err(error.into());
        }
    };
    let mut results =
        store::commit(&stores, &manifest, &sealed, job.signing.as_deref(), stored, &mut session).await;
    intent.undo_missed(&stores, &results).await;
    if let Some(error) = store::none_committed(&mut results) {
        return Err(error);
    }

    for named in stores
        .iter()
        .filter(|named| results.iter().any(|result| result.store == named.name && result.committed))
    {
        known_stores::saw(named, &id);
        known_stores::reached(&job.scratch, named.store.as_ref(), session.now());
    }
    results.extend(unusable);

    // From here on the backup exists: a proof that fails marks it and takes nothing away.
    let subject = Arc::new(verify::Subject {
        file: Arc::clone(&inspected.file),
        inspection: inspected.inspection.clone(),
        agreement: Some(agreement.clone()),
        continuity: Some(continuity),
        took: verify::Took::of(inspected.took, &session.stages),
        cluster: job.cluster_name.clone(),
        backup: Some(id.clone()),
        remembered: Remembered::of(&stores, &id, &verify::remembering(&job.chains, &job.plugins)).await,
    });
    let means = verify::Means { plugins: Arc::clone(&job.plugins), boot: job.boot.clone() };
    let verification =
        verify::prove(&subject, &job.chains, &means, Trigger::Backup, &mut session, cancel).await;
    add_records(&stores, &mut results, &verification).await?;
    let stored = if job.require.is_met(&results) { Outcome::Passed } else { Outcome::Failed };
    let outcome = worst([verification.outcome, stored]);
    Ok(Report {
        session: session.id.clone(),
        id,
        outcome,
        revision: manifest.facts.revision,
        live_keys: manifest.facts.live_keys,
        size_bytes: fetched.size_bytes,
        stored_bytes: manifest.stored.size_bytes,
        stores: results.into_iter().map(store::StoreOutcome::into_result).collect(),
        agreement,
        preflight: ready.findings,
        verification,
        stages: session.stages,
        swept,
    })
}

/// Keeps the proof beside the backup, in every store that has it. A store that could not take it is told of, and gets it
/// with the next sync from one that has.
///
/// # Errors
/// The first store's, when none took it.
async fn add_records(
    stores: &[NamedStore],
    results: &mut [StoreOutcome],
    record: &Record,
) -> Result<(), BackupError> {
    let has =
        |named: &&NamedStore| results.iter().any(|result| result.store == named.name && result.committed);
    let holders: Vec<&NamedStore> = stores.iter().filter(has).collect();
    let adding = holders.iter().map(|named| catalog::add_record(named.store.as_ref(), record));
    let added = futures::future::join_all(adding).await;
    let one_took_it = added.iter().any(Result::is_ok);
    for (named, added) in holders.into_iter().zip(added) {
        let Err(source) = added else { continue };
        if !one_took_it {
            return Err(BackupError::Record { id: record.backup.clone(), name: named.name.clone(), source });
        }
        let error = store::with_causes(&source);
        tracing::warn!(store = named.name, error, "this store misses the proof of the backup");
        if let Some(result) = results.iter_mut().find(|result| result.store == named.name) {
            result.misses_proof(source.into());
        }
    }
    Ok(())
}

/// Awaits a step that may be dropped at any point without leaving anything.
async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    step: impl Future<Output = T>,
) -> Result<T, BackupError> {
    tokio::select! {
        () = cancel.cancelled() => Err(BackupError::Cancelled),
        done = step => Ok(done),
    }
}

async fn preflight_step(
    job: &Job,
    cluster: &Cluster,
    session: &mut Session,
) -> Result<Preflight, BackupError> {
    let started = session.now();
    let ready = preflight::preflight(cluster, &job.policy, &job.scratch, started).await?;
    let endpoints = counted(job.etcd.endpoints.len() as u64, "endpoint");
    let summary = format!("{} of {endpoints} usable", ready.endpoints.len());
    session.ended("preflight", started, Outcome::Passed, summary);
    Ok(ready)
}

/// The stores that are there, writable and this cluster's, told before anything is fetched; and those that are not. One
/// store that is away must not keep the backup from the others.
///
/// # Errors
/// When none can be used.
async fn claim_stores(
    job: &Job,
    cluster: &ClusterIdentity,
    now: Timestamp,
) -> Result<(Vec<NamedStore>, Vec<StoreOutcome>), BackupError> {
    let mut usable = Vec::new();
    let mut unusable = Vec::new();
    let claims = job.stores.iter().map(|named| async move {
        let store = named.store.as_ref();
        store.probe().await?;
        known_stores::refuse_emptied(&job.scratch, store).await?;
        catalog::claim(store, cluster, now).await?;
        known_stores::remember(&job.scratch, store);
        Ok(())
    });
    let claims: Vec<Result<(), CatalogError>> = futures::future::join_all(claims).await;
    for (named, claimed) in job.stores.iter().zip(claims) {
        match claimed {
            Ok(()) => usable.push(named.clone()),
            Err(error) => {
                tracing::warn!(
                    store = named.name,
                    error = store::with_causes(&error),
                    "this store misses the backup"
                );
                unusable.push(StoreOutcome::missed(&named.name, error.into()));
            }
        }
    }
    if usable.is_empty()
        && let Some(error) = store::none_committed(&mut unusable)
    {
        return Err(error);
    }
    Ok((usable, unusable))
}

/// What is there before the commit.
struct Gathered {
    fetched: Fetched,
    inspected: Inspected,
    agreement: Agreement,
    stored: Stored,
}

/// Fetches, inspects and compares on the one side; packs and stores on the other, while the snapshot still comes. Neither
/// side is dropped: when one fails the other is told, and takes back what it has begun.
async fn gather(
    job: &Job,
    cluster: &Cluster,
    ready: &Preflight,
    order: &store::Order<'_>,
    session: &mut Session,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Result<Gathered, BackupError> {
    let session = SharedSession::new(session);
    let stop = cancel.child_token();
    let (growth, follower) = growing::growing();
    let reading = async {
        let read = async {
            let fetched =
                fetch_step(job, cluster, ready, order.scratch, growth, &session, progress, &stop).await?;
            let judged = judge_steps(cluster, ready, &fetched, &session);
            let (inspected, agreement) = unless_cancelled(&stop, judged).await??;
            Ok((fetched, inspected, agreement))
        };
        read.await.inspect_err(|_: &BackupError| stop.cancel())
    };
    let storing = async {
        // A fetch that fails ends the file, and with it the storing: no need to listen to `stop`.
        let stored = store::store(order, follower, &session, progress, cancel).await;
        stored.inspect_err(|_| stop.cancel())
    };
    match futures::join!(reading, storing) {
        _ if cancel.is_cancelled() => Err(BackupError::Cancelled),
        // Stopped because of the other side, which has the reason.
        (Err(BackupError::Cancelled) | Ok(_), Err(error)) | (Err(error), _) => Err(error),
        (Ok((fetched, inspected, agreement)), Ok(Some(stored)))
            if stored.plain_bytes == fetched.size_bytes =>
        {
            Ok(Gathered { fetched, inspected, agreement, stored })
        }
        (Ok((fetched, ..)), Ok(stored)) => Err(store::packed_other(order, &fetched, stored.as_ref())),
    }
}

#[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
async fn fetch_step(
    job: &Job,
    cluster: &Cluster,
    ready: &Preflight,
    scratch: &Path,
    growth: Growth,
    session: &SharedSession<'_>,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Result<Fetched, BackupError> {
    let started = session.now();
    let options = FetchOptions {
        scratch: scratch.to_owned(),
        rate_limit: job.rate_limit,
        stall_timeout: job.stall_timeout,
        allow_missing_hash: job.allow_missing_hash,
    };
    let fetched = fetch::fetch(cluster, &ready.endpoints, &options, growth, progress, cancel).await;
    if cancel.is_cancelled() {
        return Err(BackupError::Cancelled);
    }
    let fetched = fetched?;
    let summary = format!("{} bytes from {}", fetched.size_bytes, fetched.endpoint);
    session.ended("fetch", started, Outcome::Passed, summary);
    Ok(fetched)
}

/// Inspects the file, and asks the members of its newest revision meanwhile: they compact as they go, so the sooner the
/// better.
async fn judge_steps(
    cluster: &Cluster,
    ready: &Preflight,
    fetched: &Fetched,
    session: &SharedSession<'_>,
) -> Result<(Inspected, Agreement), BackupError> {
    let started = session.now();
    let file = inspect::open(&fetched.path).await?;
    let inspecting = async {
        let inspected = inspect::check(Arc::clone(&file), inspect::Hash::Known(fetched)).await;
        session.ended("inspect", started, inspected.inspection.integrity.outcome, inspected.summary());
        inspected
    };
    let asking = async { if ready.is_of_one() { None } else { Some(agreement::ask(cluster, &file).await) } };
    let (inspected, answers) = futures::join!(inspecting, asking);
    let facts = &inspected.inspection.facts;
    let agreement = match answers {
        Some(answers) => agreement::compare(answers, file, facts, fetched.member_id).await,
        None => agreement::alone(facts.revision),
    };
    session.ended("agreement", started, agreement.outcome, agreement.summary());
    Ok((inspected, agreement))
}

async fn continuity_step(
    stores: &[NamedStore],
    id: &BackupId,
    cluster: &ClusterIdentity,
    inspected: &Inspected,
    session: &mut Session,
) -> Continuity {
    let started = session.now();
    let facts = &inspected.inspection.facts;
    let state = continuity::State { id, cluster_id: &cluster.id, facts, previous: None };
    let continuity = continuity::continuity(stores, state).await;
    session.ended("continuity", started, continuity.outcome, continuity.summary());
    continuity
}

/// The session in the hands of steps that run side by side.
pub struct SharedSession<'a>(Mutex<&'a mut Session>);

impl<'a> SharedSession<'a> {
    fn new(session: &'a mut Session) -> Self {
        Self(Mutex::new(session))
    }

    fn now(&self) -> Timestamp {
        self.lock().now()
    }

    /// As [`Session::ended`].
    fn ended(&self, name: &str, started: Timestamp, outcome: Outcome, summary: String) {
        self.lock().ended(name, started, outcome, summary);
    }

    fn lock(&self) -> MutexGuard<'_, &'a mut Session> {
        // A list of stages is whole after a panic as well.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pack_info(options: &pack::Options) -> PackInfo {
    PackInfo {
        compression: "zstd".to_owned(),
        level: options.zstd_level,
        encryption: if options.is_encrypted() { "age" } else { "none" }.to_owned(),
        recipients: options.readers(),
    }
}

/// A file of one run in the scratch directory. Gone when the run is, however it ends; a killed run's is swept.
pub struct ScratchFile {
    /// Where it is.
    pub path: PathBuf,
}

/// What the names of scratch files end in.
pub const SCRATCH_SUFFIX: &str = ".snapshot.partial";

impl ScratchFile {
    /// A name for a run's file; the file itself is not made.
    pub fn new(directory: &Path, session: &SessionId) -> Self {
        Self { path: directory.join(format!("{session}{SCRATCH_SUFFIX}")) }
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // Not there yet, or not there any more: both are what is wanted.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A store that is reached through a name of the config.
pub fn named(name: &str, store: Arc<dyn Store>) -> NamedStore {
    NamedStore { name: name.to_owned(), store, guard: None }
}

#[cfg(test)]
mod tests;
