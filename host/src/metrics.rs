//! What the agent tells of itself: counts and times that runs, stores and plugins left, as Prometheus reads them.
//!
//! Nothing is asked of anybody when they are read: all is told to [`Metrics`] when it happens, and a scrape takes what is
//! there. One value for the agent, passed to whoever has something to tell.

mod exposition;
mod families;
mod measurements;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use etcd_snapshot::Outcome;
use holdfast_runtime::{Ledger, PluginHost, Registry};
use jiff::Timestamp;

pub use exposition::{Format, expose};
pub use families::{Definition, FAMILIES, Kind};
pub use measurements::{ATTRIBUTES, MEASUREMENTS};

use crate::config::{Config, StepKind};
use crate::pipeline::single_flight::SingleFlightError;
use crate::pipeline::{BackupError, Report};
use crate::prune::Pruned;
use measurements::Measurements;

/// An agent whose schedule was not looked at for so long is stuck: it looks at it every half minute, and a changed
/// configuration may have plugins compiled meanwhile.
const STUCK: Duration = Duration::from_mins(5);

/// What a run of the agent came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunOutcome {
    /// There is a backup, where it must be, and its proof passed.
    Passed,
    /// There is a backup; its proof failed, or it is not where it must be.
    Failed,
    /// There is a backup, and its proof could not be decided.
    Inconclusive,
    /// There is no backup.
    Error,
    /// It was stopped with the agent, and undone.
    Cancelled,
    /// It was due while another was under way.
    Skipped,
}

impl RunOutcome {
    const ALL: [RunOutcome; 6] =
        [Self::Passed, Self::Failed, Self::Inconclusive, Self::Error, Self::Cancelled, Self::Skipped];

    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl From<&Result<Report, BackupError>> for RunOutcome {
    fn from(ended: &Result<Report, BackupError>) -> Self {
        match ended {
            Ok(report) => match report.outcome {
                Outcome::Passed => Self::Passed,
                Outcome::Failed => Self::Failed,
                Outcome::Inconclusive => Self::Inconclusive,
            },
            Err(BackupError::Cancelled) => Self::Cancelled,
            Err(BackupError::SingleFlight(SingleFlightError::Busy { .. })) => Self::Skipped,
            Err(_) => Self::Error,
        }
    }
}

/// What a look into one store found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Backups in it.
    pub backups: u64,
    /// Bytes of their data.
    pub stored_bytes: u64,
    /// When the newest was committed.
    pub newest: Option<Timestamp>,
    /// When the newest proof that passed ended.
    pub proved: Option<Timestamp>,
}

/// All that is told, by whoever knows it.
#[derive(Debug)]
pub struct Metrics {
    /// What plugins did; the plugin hosts count in it.
    pub ledger: Ledger,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    beat: Instant,
    stopping: bool,
    in_force: InForce,
    next_run: Option<Timestamp>,
    running: bool,
    runs: BTreeMap<RunOutcome, u64>,
    reloads: [u64; 2],
    last_success: Option<Timestamp>,
    last_proved: Option<Timestamp>,
    newest: Option<Newest>,
    stores: BTreeMap<String, StoreState>,
    measurements: Measurements,
}

/// Which config the agent runs by, as far as it is told.
#[derive(Default)]
struct InForce {
    cluster: String,
    host: Option<Arc<PluginHost>>,
    /// Plugins that steps name.
    wanted: BTreeSet<String>,
    /// Stores of backups.
    stores: BTreeSet<String>,
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("InForce").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl InForce {
    fn registry(&self) -> Arc<Registry> {
        self.host.as_ref().map(|host| host.registry()).unwrap_or_default()
    }
}

/// The newest backup that this agent made.
#[derive(Debug)]
struct Newest {
    duration: Duration,
    stages: BTreeMap<String, Duration>,
    plain_bytes: u64,
    stored_bytes: u64,
    revision: i64,
    live_keys: u64,
}

#[derive(Debug, Default)]
struct StoreState {
    /// None until it was used.
    up: Option<bool>,
    missed: u64,
    last_success: Option<Timestamp>,
    survey: Option<Survey>,
    removed: u64,
    freed_bytes: u64,
    prune_errors: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        let state = State {
            beat: Instant::now(),
            stopping: false,
            in_force: InForce::default(),
            next_run: None,
            running: false,
            runs: BTreeMap::new(),
            reloads: [0; 2],
            last_success: None,
            last_proved: None,
            newest: None,
            stores: BTreeMap::new(),
            measurements: Measurements::default(),
        };
        Self { ledger: Ledger::default(), state: Mutex::new(state) }
    }
}

impl Metrics {
    /// A config is in force, with these plugins. What is told of stores that it does not name any more goes.
    pub fn in_force(&self, config: &Config, host: Arc<PluginHost>) {
        let steps = config.chains.values().flat_map(|chain| &chain.steps);
        let wanted = steps.filter_map(|step| match &step.kind {
            StepKind::Plugin { name, .. } => Some(name.clone()),
            _ => None,
        });
        let in_force = InForce {
            cluster: config.cluster.name.clone(),
            host: Some(host),
            wanted: wanted.collect(),
            stores: config.backup.stores.iter().cloned().collect(),
        };
        let mut state = self.lock();
        state.stores.retain(|name, _| in_force.stores.contains(name));
        for name in &in_force.stores {
            state.stores.entry(name.clone()).or_default();
        }
        state.in_force = in_force;
    }

    /// The schedule was looked at; this is when the next run is due.
    pub fn beat(&self, next_run: Option<Timestamp>) {
        let mut state = self.lock();
        state.beat = Instant::now();
        state.next_run = next_run;
    }

    /// The agent is being stopped.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// A changed config was taken, or refused.
    pub fn reloaded(&self, taken: bool) {
        self.lock().reloads[usize::from(taken)] += 1;
    }

    /// A run has begun.
    pub fn run_began(&self) {
        self.lock().running = true;
    }

    /// A run was due while another was under way.
    pub fn run_skipped(&self) {
        *self.lock().runs.entry(RunOutcome::Skipped).or_default() += 1;
    }

    /// A run could not begin, or broke off.
    pub fn run_broke(&self) {
        let mut state = self.lock();
        state.running = false;
        *state.runs.entry(RunOutcome::Error).or_default() += 1;
    }

    /// A run has ended.
    pub fn run_ended(&self, ended: &Result<Report, BackupError>) {
        let mut state = self.lock();
        state.running = false;
        *state.runs.entry(ended.into()).or_default() += 1;
        match ended {
            Ok(report) => state.take(report),
            Err(BackupError::Store { name, .. }) => {
                let store = state.stores.entry(name.clone()).or_default();
                store.missed += 1;
                store.up = Some(false);
            }
            Err(_) => {}
        }
    }

    /// A store was pruned.
    pub fn pruned(&self, pruned: &Pruned) {
        let mut state = self.lock();
        let store = state.stores.entry(pruned.store.clone()).or_default();
        store.removed += pruned.removed.len() as u64;
        store.freed_bytes += pruned.freed_bytes;
        store.prune_errors += u64::from(!pruned.is_complete());
    }

    /// A store was looked into; without a survey it could not be.
    pub fn surveyed(&self, name: &str, survey: Option<Survey>) {
        let mut state = self.lock();
        let Some(store) = state.stores.get_mut(name) else { return };
        store.up = Some(survey.is_some());
        let Some(survey) = survey else { return };
        store.survey = Some(survey);
        store.last_success = store.last_success.max(survey.newest);
        state.last_success = state.last_success.max(survey.newest);
        state.last_proved = state.last_proved.max(survey.proved);
    }

    /// Why the agent is stuck, if it is.
    pub fn stuck(&self, now: Instant) -> Option<String> {
        let quiet = now.saturating_duration_since(self.lock().beat);
        (quiet > STUCK).then(|| format!("the schedule was not looked at for {} s", quiet.as_secs()))
    }

    /// Why the agent could not make and prove a backup now, as far as it knows without asking anybody.
    pub fn unready(&self) -> Vec<String> {
        let state = self.lock();
        let mut reasons = Vec::new();
        if state.stopping {
            reasons.push("the agent is being stopped".to_owned());
        }
        if state.in_force.host.is_none() {
            reasons.push("no configuration is in force".to_owned());
        }
        let registry = state.in_force.registry();
        let unavailable = state.in_force.wanted.iter().filter_map(|name| registry.plugin(name).err());
        reasons.extend(unavailable.map(|error| error.to_string()));
        reasons
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counts are whole after a panic as well.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, report: &Report) {
        let time = |began: Timestamp, ended: Timestamp| {
            Duration::try_from(ended.duration_since(began)).unwrap_or_default()
        };
        let proof = &report.verification;
        let began = report.stages.iter().map(|stage| stage.started).min().unwrap_or(proof.started);
        let ended = report.stages.iter().map(|stage| stage.ended).max().unwrap_or(proof.ended);
        let stages = report.stages.iter();
        self.newest = Some(Newest {
            duration: time(began, ended),
            stages: stages.map(|stage| (stage.name.clone(), time(stage.started, stage.ended))).collect(),
            plain_bytes: report.size_bytes,
            stored_bytes: report.stored_bytes,
            revision: report.revision,
            live_keys: report.live_keys,
        });
        // The manifest was written right before the proof.
        let committed = proof.started;
        for result in &report.stores {
            let store = self.stores.entry(result.store.clone()).or_default();
            store.up = Some(result.committed);
            if result.committed {
                store.last_success = Some(committed);
            } else {
                store.missed += 1;
            }
        }
        self.last_success = Some(committed);
        if proof.outcome == Outcome::Passed {
            self.last_proved = Some(proof.ended);
        }
        self.measurements = Measurements::of(proof);
    }
}

#[cfg(test)]
mod tests;
