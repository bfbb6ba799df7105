//! The topology: builds every part from the config, starts tasks, owns shutdown. The only file that sees all.

mod notices;
mod plugins;
mod reload;
mod survey;
mod verification;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcd_snapshot::Outcome;
use holdfast_runtime::{Registry, StartError};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::notices::{Teller, deliver, enqueue, queue_of};
use self::plugins::when_asked;
pub use self::plugins::{check_plugins, host_options, notifier_plugins, plugins_for};
use self::reload::Live;
pub use self::survey::listed;
use self::verification::Verifications;
use crate::catalog::TrustedStore;
use crate::config::{Chain, Config, Invalid, PluginStoreConfig, RecipientsError, StoreConfig};
use crate::metrics::Metrics;
use crate::notify::{Kind, news};
use crate::pack::{self, Identity, UnpackError};
use crate::pipeline::single_flight::{SingleFlight, SingleFlightError};
use crate::pipeline::store::{NamedStore, with_causes};
use crate::pipeline::{self, BackupError, Job, Report, verify};
use crate::progress::Silent;
use crate::prune;
use crate::retain::Policy;
use crate::secret::{SecretError, SecretSource};
use crate::session::Clock;
use crate::signing::SigningError;
use crate::store::plugin::{self, PluginSource};
use crate::store::{DirectoryStore, LimitedStore, PluginStore, S3Store, Store};
use crate::sync::{self, Synced, Target};

/// Longest wait for a run that was told to stop. A directory store ends within milliseconds; this bounds hung disks.
const GRACE: Duration = Duration::from_secs(30);
/// Longest upload to a store whose table says nothing.
const LONGEST_UPLOAD: Duration = Duration::from_hours(2);
/// Longest single sleep towards the next due time, so that a changed clock is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Without a schedule there is nothing to do.
    #[error("neither [backup] nor a [[verify]] has a `schedule`: the agent would never do anything")]
    NoSchedule,
    /// The config cannot be used with the plugins that are there.
    #[error("{0}")]
    Config(Box<Invalid>),
    /// The plugin host did not start.
    #[error("the plugin host cannot be started")]
    Plugins(#[from] StartError),
    /// Metrics cannot be served.
    #[error("metrics cannot be served at `{address}`")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl AgentError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSchedule => {
                Some("add one, e.g. `schedule = \"0 * * * *\"` for every hour, UTC".to_owned())
            }
            Self::Config(_) | Self::Plugins(_) => None,
            Self::Metrics { .. } => {
                Some("give `metrics.listen` an address of this machine with a free port".to_owned())
            }
        }
    }
}

/// The names of all stores. Those that backups go to come first: they are what a restore reads.
pub fn store_names(config: &Config) -> Vec<String> {
    let others = config.stores.keys().filter(|name| !config.backup.stores.contains(name));
    config.backup.stores.iter().chain(others).cloned().collect()
}

/// The stores of a config that go by these names, whoever signed what lies there; names that it does not define are passed
/// over, as the config was checked for them. Those that are plugins load them when they are first called.
pub fn any_stores(config: &Config, names: &[String]) -> Vec<NamedStore> {
    any_stores_of(config, names, &when_asked(config))
}

fn any_stores_of(config: &Config, names: &[String], plugins: &Arc<dyn PluginSource>) -> Vec<NamedStore> {
    let build = |name: &String| {
        let timeout = config.store_timeouts.get(name).copied().unwrap_or(LONGEST_UPLOAD);
        let store: Arc<dyn Store> = match config.stores.get(name)? {
            StoreConfig::Directory { path } => Arc::new(DirectoryStore::new(path.clone())),
            StoreConfig::S3(options) => Arc::new(S3Store::new(options.as_ref().clone(), Timestamp::now)),
            StoreConfig::Plugin(plugin) => {
                let options = store_options(config, name, plugin, timeout);
                Arc::new(PluginStore::new(options, Arc::clone(plugins), Timestamp::now))
            }
        };
        Some(pipeline::named(name, Arc::new(LimitedStore::new(store, timeout))))
    };
    names.iter().filter_map(build).collect()
}

/// The same stores, and what this config does not trust is refused.
pub fn stores(config: &Config, names: &[String]) -> Vec<NamedStore> {
    stores_of(config, names, &when_asked(config))
}

/// The same, with plugins that were loaded already.
fn stores_of(config: &Config, names: &[String], plugins: &Arc<dyn PluginSource>) -> Vec<NamedStore> {
    any_stores_of(config, names, plugins).into_iter().map(|named| guarded(config, named)).collect()
}

/// How a store's plugin is called.
fn store_options(
    config: &Config,
    name: &str,
    store: &PluginStoreConfig,
    transfer_timeout: Duration,
) -> plugin::Options {
    plugin::Options {
        store: name.to_owned(),
        cluster: config.cluster.name.clone(),
        plugin: store.plugin.clone(),
        config: store.config.clone(),
        allow: store.granted.allow.clone(),
        secrets: store.granted.secrets.clone(),
        attempts: store.attempts,
        request_timeout: store.request_timeout,
        transfer_timeout,
        stall_timeout: store.stall_timeout,
        stale_after: store.stale_after,
    }
}

/// A store out of which comes no manifest that this config does not trust.
pub fn guarded(config: &Config, named: NamedStore) -> NamedStore {
    let Some(trust) = &config.trust else { return named };
    NamedStore {
        store: Arc::new(TrustedStore::new(named.store, Arc::new(trust.clone()))),
        guard: Some(config.backup.scratch.clone()),
        ..named
    }
}

/// The chains of these names, or the default one.
pub fn chains(config: &Config, names: &[String]) -> Vec<Chain> {
    let chains: Vec<Chain> = names.iter().filter_map(|name| config.chains.get(name)).cloned().collect();
    if chains.is_empty() { vec![verify::default_chain()] } else { chains }
}

/// What reads backups: what is given by hand, and what the config names. The passphrase that writes reads as well.
pub fn identities(config: Option<&Config>, given: &Keys<'_>) -> Result<Vec<Identity>, UnpackError> {
    let configured = config.map(|config| config.decrypt.as_slice()).unwrap_or_default();
    let mut identities = Vec::new();
    for path in given.identities.iter().chain(configured) {
        identities.extend(pack::read_identities(path)?);
    }
    let given = given.passphrase.map(|path| SecretSource::File(path.to_owned()));
    let configured = config
        .into_iter()
        .flat_map(|config| config.passphrases.iter().cloned().chain(config.backup.passphrase().cloned()));
    for source in given.into_iter().chain(configured) {
        identities.push(Identity::passphrase(source.read()?));
    }
    Ok(identities)
}

/// What opens backups, given by hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys<'a> {
    /// Files with identities.
    pub identities: &'a [PathBuf],
    /// A file with a passphrase.
    pub passphrase: Option<&'a Path>,
}

/// What a run needs from files beside the config, and did not get.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The recipients.
    #[error(transparent)]
    Recipients(#[from] RecipientsError),
    /// The signing key.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// This machine is not configured for it.
    #[error("this machine makes no backups: its configuration has no `stores` in [backup]")]
    NoBackups,
}

impl JobError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Secret(error) => error.hint(),
            Self::Recipients(error) => error.hint(),
            Self::Signing(error) => error.hint(),
            Self::NoBackups => Some(
                "name in `stores` where they are to go, and the cluster's `endpoints` in [cluster]"
                    .to_owned(),
            ),
        }
    }
}

/// A backup run as the config describes it. Passwords and recipients are read now, so that a change of these files
/// counts from the next run.
pub fn job(config: &Config, plugins: Arc<Registry>, clock: Clock) -> Result<Job, JobError> {
    if config.backup.stores.is_empty() {
        return Err(JobError::NoBackups);
    }
    let source: Arc<dyn PluginSource> = Arc::new(Arc::clone(&plugins));
    Ok(Job {
        cluster_name: config.cluster.name.clone(),
        etcd: config.cluster.etcd()?,
        policy: config.preflight.clone(),
        scratch: config.backup.scratch.clone(),
        rate_limit: config.backup.rate_limit,
        stall_timeout: config.backup.stall_timeout,
        allow_missing_hash: config.backup.allow_missing_hash,
        pack: config.backup.pack()?,
        signing: config.signing_key()?.map(Arc::new),
        stores: stores_of(config, &config.backup.stores, &source),
        require: config.backup.require.clone(),
        chains: chains(config, &config.backup.verify),
        boot: config.boot(),
        plugins,
        clock,
    })
}

/// What the agent did until it was stopped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Runs that ended with a backup whose proof passed.
    pub passed: u64,
    /// Runs that ended with a backup whose proof did not pass.
    pub unproved: u64,
    /// Runs that ended without a backup.
    pub failed: u64,
    /// Due times that met a run under way.
    pub skipped: u64,
    /// Backups that a scheduled verification found good.
    pub verified: u64,
    /// Backups of which it did not say so, and verifications that could not be made.
    pub not_verified: u64,
}

/// Runs backups, and proofs of what lies in the stores, on their schedules until `stop`. What is under way then is finished if it is past its commit, undone if not.
/// Each time that `reload` gives something, the config is read again, checked, and taken whole or refused whole.
pub async fn run(
    config: Config,
    clock: Clock,
    reload: mpsc::Receiver<()>,
    stop: CancellationToken,
) -> Result<Tally, AgentError> {
    let metrics = Arc::new(Metrics::default());
    let live = Live::start(config, Arc::clone(&metrics), clock).await?;
    let verifying = Verifications::of(&live.config, clock());
    tracing::info!(
        cluster = live.config.cluster.name,
        schedule = live.schedule.as_ref().map(ToString::to_string),
        verifications = live.config.verify.len(),
        "the agent has started"
    );
    live.teller().tell(|origin| vec![origin.event(Kind::AgentStarted, "the agent has started")]);
    let (running, surveying) = (JoinSet::new(), JoinSet::new());
    let mut keeper = Keeper { live, clock, metrics, tally: Tally::default(), running, verifying, surveying };
    keeper.survey();
    keeper.keep_schedule(reload, &stop).await;
    let Keeper { live, tally, .. } = keeper;
    live.teller().tell(|origin| vec![origin.event(Kind::AgentStopped, "the agent was stopped")]);
    if tokio::time::timeout(GRACE, live.end()).await.is_err() {
        tracing::warn!("the agent's parts did not all end in time");
    }
    tracing::info!(?tally, "the agent has stopped");
    Ok(tally)
}

/// Starts runs when they are due, one at a time.
struct Keeper {
    live: Live,
    clock: Clock,
    metrics: Arc<Metrics>,
    tally: Tally,
    running: JoinSet<Result<Report, BackupError>>,
    verifying: Verifications,
    /// A look into the stores, for the metrics. Whatever it meets, no run waits for it.
    surveying: JoinSet<()>,
}

impl Keeper {
    async fn keep_schedule(&mut self, mut reload: mpsc::Receiver<()>, stop: &CancellationToken) {
        let clock = self.clock;
        let mut due = self.live.next_backup(clock());
        // Beside the schedule: plugins may have to be compiled for it.
        let mut reloading = JoinSet::new();
        loop {
            self.metrics.beat(due);
            let next = [due, self.verifying.next_due()].into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.running.join_next() => {
                    self.account(ended);
                    self.survey();
                }
                Some(ended) = self.verifying.ended() => {
                    verification::account(ended, &mut self.tally);
                    self.verify_next(stop);
                    self.survey();
                }
                Some(_) = self.surveying.join_next() => {}
                Some(()) = reload.recv(), if reloading.is_empty() => {
                    reloading.spawn(self.live.read_again());
                }
                Some(read) = reloading.join_next() => {
                    let taken = self.live.take(read).await;
                    self.metrics.reloaded(taken);
                    if taken {
                        due = self.live.next_backup(clock());
                        self.verifying.plan(&self.live.config, clock());
                        self.survey();
                    }
                }
                () = sleep_towards(next, clock) => {
                    let now = clock();
                    self.verifying.note_due(now, &mut self.tally);
                    self.verify_next(stop);
                    let Some(time) = due.filter(|due| *due <= now) else { continue };
                    // The next due time counts from now: after a suspended machine one run is made, not one for each hour.
                    due = self.live.next_backup(now);
                    if self.running.is_empty() {
                        self.start_run(stop);
                    } else {
                        self.tally.skipped += 1;
                        self.metrics.run_skipped();
                        tracing::warn!(due = %time, skipped = self.tally.skipped, "skipped: the run before is still under way");
                        self.live.teller().tell(|origin| vec![news::skipped(origin, "the run before is still under way")]);
                    }
                }
            }
        }
        self.metrics.stopping();
        // It has heard of the stop, and leaves nothing.
        if let Ok(Some(ended)) = tokio::time::timeout(GRACE, self.verifying.ended()).await {
            verification::account(ended, &mut self.tally);
        }
        if !self.running.is_empty() {
            tracing::info!("stopping: the run under way is finished or undone");
            match tokio::time::timeout(GRACE, self.running.join_next()).await {
                Ok(Some(ended)) => self.account(ended),
                Ok(None) => {}
                Err(_) => {
                    tracing::warn!(
                        "the run under way did not end in time; the next run takes away what it left"
                    );
                }
            }
        }
    }

    fn verify_next(&mut self, stop: &CancellationToken) {
        let (config, plugins) = (&self.live.config, self.live.plugins());
        self.verifying.start_next(config, &plugins, self.live.teller(), self.clock, stop);
    }

    /// Starts a run by the config and the plugins as they are now; it keeps them to its end.
    fn start_run(&mut self, stop: &CancellationToken) {
        let config = &self.live.config;
        match job(config, self.live.plugins(), self.clock) {
            Ok(job) => {
                let cancel = stop.child_token();
                let rules = retention(config, &job);
                let teller = self.live.teller().clone();
                let metrics = Arc::clone(&self.metrics);
                metrics.run_began();
                self.running.spawn(async move {
                    let run = pipeline::run(&job, &Silent, &cancel).await;
                    teller.tell(|origin| news::of_backup(origin, run.as_ref()));
                    let report = run?;
                    for synced in catch_up(&job, &rules, &report, &cancel).await {
                        tell_of_catch_up(&synced);
                        teller.tell(|origin| news::of_sync(origin, &synced));
                    }
                    if report.outcome == Outcome::Passed {
                        prune_after(&job, &rules, &teller, &metrics, &cancel).await;
                    }
                    Ok(report)
                });
            }
            Err(error) => {
                self.tally.failed += 1;
                self.metrics.run_broke();
                tracing::error!(error = with_causes(&error), hint = error.hint(), "no backup was made");
                self.live.teller().tell(|origin| {
                    vec![news::no_backup(origin, &with_causes(&error), error.hint(), Some("begin"))]
                });
            }
        }
    }

    fn account(&mut self, ended: Result<Result<Report, BackupError>, tokio::task::JoinError>) {
        match &ended {
            Ok(ended) => self.metrics.run_ended(ended),
            Err(_) => self.metrics.run_broke(),
        }
        account(ended, &mut self.tally, self.live.teller());
    }

    /// Looks what the stores hold, when somebody may want to know. One look at a time.
    fn survey(&mut self) {
        if self.live.config.metrics.is_none() || !self.surveying.is_empty() {
            return;
        }
        let (config, metrics) = (self.live.config.clone(), Arc::clone(&self.metrics));
        self.surveying.spawn(async move { survey::survey(&config, &metrics).await });
    }
}

/// The stores of a run that have retention rules, and these.
pub fn retention(config: &Config, job: &Job) -> Vec<(NamedStore, Policy)> {
    let rules = |named: &NamedStore| Some((named.clone(), config.retention.of(&named.name)?.clone()));
    job.stores.iter().filter_map(rules).collect()
}

/// Brings the stores that took this run's backup what they missed of earlier ones.
pub async fn catch_up(
    job: &Job,
    rules: &[(NamedStore, Policy)],
    report: &Report,
    cancel: &CancellationToken,
) -> Vec<Synced> {
    let took = |named: &&NamedStore| {
        report.stores.iter().any(|result| result.store == named.name && result.committed)
    };
    let healthy: Vec<NamedStore> = job.stores.iter().filter(took).cloned().collect();
    if healthy.len() < 2 {
        return Vec::new();
    }
    let mut all = Vec::new();
    for named in &healthy {
        let policy = rules.iter().find(|(other, _)| other.name == named.name).map(|(_, policy)| policy);
        // From the same stores only: one that hangs has cost this run enough.
        let target = Target { named, policy, signing: job.signing.as_deref() };
        all.push(sync::sync(&target, &healthy, (job.clock)(), &Silent, cancel).await);
    }
    all
}

fn tell_of_catch_up(synced: &Synced) {
    for copied in &synced.copied {
        tracing::info!(store = synced.store, backup = %copied.backup, from = copied.from, "caught up");
    }
    for error in &synced.errors {
        tracing::warn!(store = synced.store, error, "could not catch up");
    }
}

/// Prunes after a backup that was proved. What goes wrong is told and changes nothing about the backup; the next run
/// tries again.
async fn prune_after(
    job: &Job,
    rules: &[(NamedStore, Policy)],
    teller: &Teller,
    metrics: &Metrics,
    cancel: &CancellationToken,
) {
    if rules.is_empty() {
        return;
    }
    let _flight = match SingleFlight::acquire(&job.scratch) {
        Ok(flight) => flight,
        Err(error) => {
            tracing::warn!(%error, "not pruned this time");
            return;
        }
    };
    for (named, policy) in rules {
        let order =
            prune::Order { policy, signing: job.signing.as_deref(), now: (job.clock)(), dry_run: false };
        let pruned = prune::prune(named, &order, cancel).await;
        metrics.pruned(&pruned);
        teller.tell(|origin| news::of_prune(origin, &pruned));
        let (removed, swept) = (pruned.removed.len(), pruned.swept.len());
        if let Some(error) = &pruned.error {
            tracing::error!(store = named.name, removed, error, "not pruned to the end");
        } else {
            tracing::info!(store = named.name, removed, swept, freed_bytes = pruned.freed_bytes, "pruned");
        }
        for unreadable in &pruned.unreadable {
            tracing::warn!(store = named.name, unreadable, "left alone");
        }
    }
}

/// Sleeps until a due time, or a while: a clock that was set makes the rest of the time another one.
async fn sleep_towards(due: Option<Timestamp>, clock: Clock) {
    let left = due.map_or(LONGEST_SLEEP, |due| {
        Duration::try_from(due.duration_since(clock())).unwrap_or(Duration::ZERO)
    });
    tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
}

fn account(
    ended: Result<Result<Report, BackupError>, tokio::task::JoinError>,
    tally: &mut Tally,
    teller: &Teller,
) {
    match ended {
        Ok(Ok(report)) if report.outcome == Outcome::Passed => {
            tally.passed += 1;
            tracing::info!(backup = %report.id, revision = report.revision, "backed up and proved");
        }
        Ok(Ok(report)) => {
            tally.unproved += 1;
            tracing::error!(backup = %report.id, outcome = %report.outcome, "backed up, but not proved");
        }
        Ok(Err(error @ BackupError::SingleFlight(SingleFlightError::Busy { .. }))) => {
            tally.skipped += 1;
            tracing::warn!(skipped = tally.skipped, "skipped: {error}");
        }
        Ok(Err(BackupError::Cancelled)) => tracing::info!("the run under way was stopped and undone"),
        Ok(Err(error)) => {
            tally.failed += 1;
            let hint = error.hint().unwrap_or_default();
            tracing::error!(error = with_causes(&error), hint, "no backup was made");
        }
        Err(error) => {
            tally.failed += 1;
            tracing::error!(%error, "a run broke off");
            teller.tell(|origin| vec![news::no_backup(origin, &error.to_string(), None, None)]);
        }
    }
}
