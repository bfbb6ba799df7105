//! What plugins did: their calls by version, and what became of their files.
//!
//! The host counts here; whoever holds the [`Ledger`] shows it. It outlives the host, so that a changed configuration does
//! not begin the counts anew. It is bounded whatever happens in the folder: a few versions of each plugin, and only so many
//! names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::call::CallStats;
use crate::error::{CallError, CallErrorKind};
use crate::host::Change;
use crate::report::Report;

/// Versions of one plugin that are kept: the live one, and those that runs may still hold.
const VERSIONS: usize = 4;
/// Plugins of which something is kept.
const PLUGINS: usize = 1000;
/// How long a version that is not live any more stays: longer than any sensible pause between two looks at the ledger.
const GRACE: Duration = Duration::from_mins(5);

/// How a call ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallOutcome {
    /// The plugin answered, where the answer is no verdict.
    Done,
    /// It judged, and all holds.
    Passed,
    /// It judged, and something does not hold.
    Failed,
    /// It could not judge.
    Inconclusive,
    /// The call was given up by the host before it ended.
    Cancelled,
    /// There was no answer that counts.
    Error(CallErrorKind),
}

impl CallOutcome {
    /// Every way in which a call can end.
    pub const ALL: [CallOutcome; 11] = [
        CallOutcome::Done,
        CallOutcome::Passed,
        CallOutcome::Failed,
        CallOutcome::Inconclusive,
        CallOutcome::Cancelled,
        CallOutcome::Error(CallErrorKind::Error),
        CallOutcome::Error(CallErrorKind::Trap),
        CallOutcome::Error(CallErrorKind::Timeout),
        CallOutcome::Error(CallErrorKind::OutOfMemory),
        CallOutcome::Error(CallErrorKind::Denied),
        CallOutcome::Error(CallErrorKind::Rejected),
    ];

    /// How a call ended whose answer is no verdict.
    pub(crate) fn of_call<T>(result: &Result<T, CallError>) -> CallOutcome {
        result.as_ref().map_or_else(|error| CallOutcome::Error(error.kind), |_| CallOutcome::Done)
    }

    /// How a verification ended.
    pub(crate) fn of_verification(result: &Result<Report, CallError>) -> CallOutcome {
        match result {
            Ok(report) => match report.outcome {
                etcd_snapshot::Outcome::Passed => CallOutcome::Passed,
                etcd_snapshot::Outcome::Failed => CallOutcome::Failed,
                etcd_snapshot::Outcome::Inconclusive => CallOutcome::Inconclusive,
            },
            Err(error) => CallOutcome::Error(error.kind),
        }
    }
}

impl std::fmt::Display for CallOutcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallOutcome::Done => formatter.write_str("done"),
            CallOutcome::Passed => formatter.write_str("passed"),
            CallOutcome::Failed => formatter.write_str("failed"),
            CallOutcome::Inconclusive => formatter.write_str("inconclusive"),
            CallOutcome::Cancelled => formatter.write_str("cancelled"),
            CallOutcome::Error(kind) => kind.fmt(formatter),
        }
    }
}

/// The calls of one version of a plugin, summed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    /// Calls by their end. What is not here was never seen.
    pub calls: BTreeMap<CallOutcome, u64>,
    /// What all of them used: sums, and of the memory the most at one time.
    pub used: CallStats,
}

impl CallTotals {
    fn add(&mut self, outcome: CallOutcome, stats: &CallStats) {
        *self.calls.entry(outcome).or_default() += 1;
        let used = &mut self.used;
        used.elapsed += stats.elapsed;
        used.cpu += stats.cpu;
        used.peak_memory_bytes = used.peak_memory_bytes.max(stats.peak_memory_bytes);
        used.rows += stats.rows;
        used.bytes += stats.bytes;
        used.host_calls += stats.host_calls;
        used.log_lines += stats.log_lines;
        used.log_lines_dropped += stats.log_lines_dropped;
        used.http_requests += stats.http_requests;
        used.http_sent_bytes += stats.http_sent_bytes;
        used.http_received_bytes += stats.http_received_bytes;
        used.denied += stats.denied;
    }
}

/// What became of the file of one plugin, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTotals {
    /// Versions that went live.
    pub loaded: u64,
    /// Files that were refused.
    pub rejected: u64,
    /// Files that went.
    pub unloaded: u64,
}

/// All that is counted at one moment.
#[derive(Clone, Debug, Default)]
pub struct LedgerView {
    /// By plugin and SHA-256.
    pub calls: BTreeMap<(String, String), CallTotals>,
    /// By plugin.
    pub files: BTreeMap<String, FileTotals>,
}

/// Counts what plugins do. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    versions: BTreeMap<(String, String), Version>,
    files: BTreeMap<String, (u64, FileTotals)>,
    /// Grows with each change: what has the least of it changed longest ago.
    turn: u64,
}

#[derive(Debug, Default)]
struct Version {
    totals: CallTotals,
    turn: u64,
    /// When it was first seen to be live no more, since its last call.
    gone: Option<Instant>,
}

impl Ledger {
    /// What is counted now. Versions for which `is_live(plugin, sha256)` does not hold, and has not for five minutes, are
    /// forgotten.
    pub fn view(&self, now: Instant, is_live: impl Fn(&str, &str) -> bool) -> LedgerView {
        let mut counted = self.lock();
        counted.versions.retain(|(plugin, sha256), version| {
            if is_live(plugin, sha256) {
                version.gone = None;
                return true;
            }
            let gone = *version.gone.get_or_insert(now);
            now.saturating_duration_since(gone) < GRACE
        });
        LedgerView {
            calls: counted
                .versions
                .iter()
                .map(|(key, version)| (key.clone(), version.totals.clone()))
                .collect(),
            files: counted.files.iter().map(|(name, (_, totals))| (name.clone(), *totals)).collect(),
        }
    }

    /// A call that begins. What is never told to have ended counts as cancelled.
    pub(crate) fn begin(&self, plugin: &str, sha256: &str) -> Recording {
        Recording { ledger: self.clone(), version: Some((plugin.to_owned(), sha256.to_owned())) }
    }

    /// What happened to a plugin's file.
    pub(crate) fn changed(&self, plugin: &str, change: &Change) {
        let mut counted = self.lock();
        if let Change::Loaded { version, .. } = change {
            // From nothing, so that the first call is seen as a rise.
            counted.version((plugin.to_owned(), version.sha256.clone()));
        }
        let turn = counted.next_turn();
        let (changed, totals) = counted.files.entry(plugin.to_owned()).or_default();
        *changed = turn;
        match change {
            Change::Loaded { .. } => totals.loaded += 1,
            Change::Rejected { .. } => totals.rejected += 1,
            Change::Unloaded => totals.unloaded += 1,
        }
        if counted.files.len() > PLUGINS {
            let oldest = counted.files.iter().min_by_key(|(_, (turn, _))| *turn);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                counted.files.remove(&oldest);
            }
        }
    }

    /// Every change under this lock is whole at each point where it could panic, so a poisoned one is still usable.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// The counts of a version; those that were used longest ago make room for it.
    fn version(&mut self, key: (String, String)) -> &mut Version {
        let turn = self.next_turn();
        if !self.versions.contains_key(&key) {
            let siblings = |(plugin, _): &&(String, String)| *plugin == key.0;
            let crowded = self.versions.keys().filter(siblings).count() >= VERSIONS;
            let full = self.versions.len() >= PLUGINS * VERSIONS;
            let oldest = self
                .versions
                .iter()
                .filter(|((plugin, _), _)| full || (crowded && *plugin == key.0))
                .min_by_key(|(_, version)| version.turn)
                .map(|(oldest, _)| oldest.clone());
            if let Some(oldest) = oldest {
                self.versions.remove(&oldest);
            }
        }
        let version = self.versions.entry(key).or_default();
        (version.turn, version.gone) = (turn, None);
        version
    }
}

/// A call under way.
pub(crate) struct Recording {
    ledger: Ledger,
    /// None once it has ended.
    version: Option<(String, String)>,
}

impl Recording {
    /// It ended.
    pub(crate) fn ended(mut self, outcome: CallOutcome, stats: &CallStats) {
        self.count(outcome, stats);
    }

    fn count(&mut self, outcome: CallOutcome, stats: &CallStats) {
        if let Some(version) = self.version.take() {
            self.ledger.lock().version(version).totals.add(outcome, stats);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.count(CallOutcome::Cancelled, &CallStats::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::LiveVersion;

    fn loaded(sha256: &str) -> Change {
        let version = LiveVersion { version: "1".into(), sha256: sha256.into() };
        Change::Loaded { version, replaced: None, cached: false, elapsed: Duration::ZERO }
    }

    #[test]
    fn calls_are_summed_and_one_that_is_dropped_counts_as_cancelled() {
        let ledger = Ledger::default();
        let stats = |memory| CallStats { peak_memory_bytes: memory, rows: 3, ..CallStats::default() };
        ledger.begin("drift", "aa").ended(CallOutcome::Passed, &stats(7));
        ledger.begin("drift", "aa").ended(CallOutcome::Error(CallErrorKind::Trap), &stats(5));
        drop(ledger.begin("drift", "aa"));
        let view = ledger.view(Instant::now(), |_, _| true);
        let totals = &view.calls[&("drift".to_owned(), "aa".to_owned())];
        assert_eq!((totals.used.peak_memory_bytes, totals.used.rows), (7, 6));
        let calls: Vec<String> =
            totals.calls.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        assert_eq!(calls, ["passed 1", "cancelled 1", "trap 1"]);
    }

    #[test]
    fn a_replaced_version_goes_after_a_while_and_a_thousand_of_them_at_once() {
        let ledger = Ledger::default();
        ledger.changed("drift", &loaded("aa"));
        ledger.changed("drift", &loaded("bb"));
        let live = |_: &str, sha256: &str| sha256 == "bb";
        let now = Instant::now();
        assert_eq!(ledger.view(now, live).calls.len(), 2, "the last counts can still be fetched");
        // A run that holds the old version used it once more.
        ledger.begin("drift", "aa").ended(CallOutcome::Passed, &CallStats::default());
        assert_eq!(ledger.view(now + GRACE, live).calls.len(), 2);
        assert_eq!(ledger.view(now + 2 * GRACE, live).calls.len(), 1);

        for number in 0..1000 {
            ledger.changed("drift", &loaded(&format!("{number:04}")));
        }
        let view = ledger.view(now, |_, _| false);
        assert_eq!(view.calls.len(), VERSIONS);
        assert!(view.calls.contains_key(&("drift".to_owned(), "0999".to_owned())));
        assert_eq!(view.files["drift"], FileTotals { loaded: 1002, rejected: 0, unloaded: 0 });
    }

    #[test]
    fn names_are_bounded() {
        let ledger = Ledger::default();
        for number in 0..2 * PLUGINS {
            ledger.changed(&format!("p{number}"), &loaded("aa"));
        }
        let view = ledger.view(Instant::now(), |_, _| true);
        assert_eq!(view.files.len(), PLUGINS);
        assert!(view.calls.len() <= PLUGINS * VERSIONS);
        assert!(view.files.contains_key(&format!("p{}", 2 * PLUGINS - 1)));
    }
}
