//! What is worth telling: from the reports of runs to events.
//!
//! Each function takes what one session came to. Where something went well, the end of the problem that it could have been is
//! told as well; admission knows who was told of one.

use std::collections::{BTreeMap, BTreeSet};

use etcd_snapshot::Outcome;
use holdfast_runtime::{Condition, PluginState};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Event, Kind};
use crate::catalog::{Record, StepRecord, Trigger};
use crate::pipeline::single_flight::SingleFlightError;
use crate::pipeline::store::with_causes;
use crate::pipeline::{BackupError, Report};
use crate::prune::Pruned;
use crate::session::{Stage, worst};
use crate::sync::Synced;
use crate::units::counted;

/// Findings of one step, and steps of one proof, that are handed on.
const MOST_STEPS: usize = 50;
const MOST_FINDINGS: usize = 5;

/// Where news come from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The operator's name for the cluster.
    pub cluster: String,
    /// This machine.
    pub host: Option<String>,
    /// When.
    pub time: Timestamp,
}

impl Origin {
    /// This machine, now.
    pub fn here(cluster: &str, time: Timestamp) -> Origin {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
        Origin { cluster: cluster.to_owned(), host, time }
    }

    /// An event from here.
    pub fn event(&self, kind: Kind, summary: impl AsRef<str>) -> Event {
        Event::new(kind, &self.cluster, self.time, summary).maybe("host", self.host.as_ref())
    }
}

/// What a backup run came to.
pub fn of_backup(origin: &Origin, result: Result<&Report, &BackupError>) -> Vec<Event> {
    match result {
        Ok(report) => of_report(origin, report),
        Err(BackupError::Cancelled) => Vec::new(),
        Err(error @ BackupError::SingleFlight(SingleFlightError::Busy { .. })) => {
            vec![skipped(origin, &error.to_string())]
        }
        Err(error @ BackupError::Record { id, name, .. }) => vec![
            origin
                .event(
                    Kind::BackupIncomplete,
                    format!("backup {id} is stored, but its proof is not recorded"),
                )
                .attribute("backup-id", id)
                .attribute("store", name)
                .attribute("error", with_causes(error))
                .maybe("hint", error.hint())
                .firing("backup/incomplete"),
            origin
                .event(Kind::BackupResolved, format!("backup {id} was made"))
                .attribute("backup-id", id)
                .resolved("backup"),
        ],
        Err(error) => vec![no_backup(origin, &with_causes(error), error.hint(), stage_of(error))],
    }
}

/// A run that did not even begin.
pub fn no_backup(origin: &Origin, error: &str, hint: Option<String>, stage: Option<&str>) -> Event {
    origin
        .event(Kind::BackupFailed, format!("no backup was made: {error}"))
        .attribute("error", error)
        .maybe("hint", hint)
        .maybe("stage", stage)
        .firing("backup")
}

/// A run that was due while another was under way.
pub fn skipped(origin: &Origin, why: &str) -> Event {
    origin
        .event(Kind::BackupSkipped, format!("a backup was skipped: {why}"))
        .attribute("error", why)
        .firing("backup/skipped")
}

fn stage_of(error: &BackupError) -> Option<&'static str> {
    Some(match error {
        BackupError::SingleFlight(_) => "begin",
        BackupError::Etcd(_) => "connect",
        BackupError::Preflight(_) => "preflight",
        BackupError::Fetch(_) => "fetch",
        BackupError::Inspect(_) => "inspect",
        BackupError::Store { .. } => "store",
        BackupError::Manifest(_) => "commit",
        BackupError::Record { .. } => "verify",
        BackupError::Cancelled => return None,
    })
}

fn of_report(origin: &Origin, report: &Report) -> Vec<Event> {
    let id = report.id.to_string();
    let of_run = |event: Event| event.attribute("backup-id", &id).attribute("session", &report.session);
    let made = format!("backup {id} was made");
    let mut events = Vec::new();
    for store in &report.stores {
        let problem = format!("store/{}", store.store);
        let event = match (&store.error, store.committed) {
            (Some(error), false) => origin
                .event(
                    Kind::StoreUnreachable,
                    format!("store {} did not take backup {id}: {error}", store.store),
                )
                .attribute("error", error)
                .firing(&problem),
            _ => origin
                .event(Kind::StoreResolved, format!("store {} took backup {id}", store.store))
                .resolved(&problem),
        };
        events.push(of_run(event).attribute("store", &store.store));
    }
    let missing: Vec<&str> = report
        .stores
        .iter()
        .filter(|store| store.error.is_some())
        .map(|store| store.store.as_str())
        .collect();
    // The proof passed and the run did not: a store that must have the backup has it not.
    let incomplete = report.outcome != Outcome::Passed && report.verification.outcome == Outcome::Passed;
    events.push(of_run(if incomplete {
        origin
            .event(
                Kind::BackupIncomplete,
                format!("backup {id} is not where it must be: {}", missing.join(", ")),
            )
            .attribute("store", missing.join(", "))
            .firing("backup/incomplete")
    } else {
        origin.event(Kind::BackupResolved, &made).resolved("backup/incomplete")
    }));
    events.push(of_run(of_preflight(origin, report)));
    // All of its chains have run, and their steps say which are drills.
    events.extend(of_proof(origin, &report.verification, &[]).into_iter().map(of_run));
    for problem in ["backup", "backup/skipped"] {
        events.push(of_run(origin.event(Kind::BackupResolved, &made)).resolved(problem));
    }
    if report.outcome == Outcome::Passed {
        let keys = counted(report.live_keys, "key");
        let summary = format!("backup {id} was made and proved: revision {}, {keys}", report.revision);
        events.push(of_run(origin.event(Kind::BackupSucceeded, summary)).details(json!({
            "revision": report.revision,
            "live_keys": report.live_keys,
            "size_bytes": report.size_bytes,
            "stored_bytes": report.stored_bytes,
            "stores": report.stores,
            "stages": stages(&report.stages),
        })));
    }
    events
}

fn of_preflight(origin: &Origin, report: &Report) -> Event {
    let Some(first) = report.preflight.first() else {
        return origin
            .event(Kind::PreflightResolved, "nothing was found before the backup")
            .resolved("preflight");
    };
    let more = match report.preflight.len() {
        1 => String::new(),
        count => format!(", and {} more", counted(count as u64 - 1, "finding")),
    };
    origin
        .event(Kind::PreflightWarning, format!("{}{more}", first.message))
        .maybe("hint", first.hint.as_ref())
        .details(json!({ "findings": report.preflight }))
        .firing("preflight")
}

/// A proof that was due came to no verdict. A backup that is proved on its own later says that it is over.
pub fn no_proof(origin: &Origin, backup: Option<&str>, error: &str, hint: Option<String>) -> Event {
    let what = backup.map_or_else(
        || "no backup could be proved".to_owned(),
        |id| format!("backup {id} could not be proved"),
    );
    let problem = backup.map_or_else(|| "verify".to_owned(), |id| format!("verify/{id}"));
    origin
        .event(Kind::VerifyInconclusive, format!("{what}: {error}"))
        .maybe("backup-id", backup)
        .attribute("error", error)
        .maybe("hint", hint)
        .firing(&problem)
}

/// A drill that was due did not come about.
pub fn no_drill(
    origin: &Origin,
    chain: &str,
    backup: Option<&str>,
    error: &str,
    hint: Option<String>,
) -> Event {
    let of = backup.map_or_else(|| "a backup".to_owned(), |id| format!("backup {id}"));
    origin
        .event(Kind::DrillInconclusive, format!("the restore of {of} could not be drilled: {error}"))
        .attribute("chain", chain)
        .maybe("backup-id", backup)
        .attribute("error", error)
        .maybe("hint", hint)
        .firing(&drill_problem(chain))
}

/// Whether a restore works is asked anew of each backup, so the problem is the chain's and no backup's.
fn drill_problem(chain: &str) -> String {
    format!("drill/{chain}")
}

/// What a proof came to, and the drills that were part of it; `drills` names those that were meant to be, for one that did not get
/// that far. Of a backup that is proved later on its own, the problem is that backup's.
pub fn of_proof(origin: &Origin, record: &Record, drills: &[String]) -> Vec<Event> {
    let id = record.backup.to_string();
    let of_backup = record.trigger == Trigger::Backup;
    let problem = if of_backup { "verify".to_owned() } else { format!("verify/{id}") };
    let first = record.steps.iter().find(|step| step.counts && step.outcome == record.outcome);
    let of_run = |event| of_session(event, record, record.steps.iter());
    let wrong = |kind: Kind, what: &str| {
        let summary = format!("backup {id} {what}{}", because(first));
        blaming(of_run(origin.event(kind, summary)), first).firing(&problem)
    };
    let mut events = match record.outcome {
        Outcome::Failed => vec![wrong(Kind::VerifyFailed, "failed its proof")],
        Outcome::Inconclusive => vec![wrong(Kind::VerifyInconclusive, "could not be proved")],
        Outcome::Passed => {
            let proved = format!("backup {id} is proved: {}", counted(record.steps.len() as u64, "step"));
            vec![
                of_run(origin.event(Kind::VerifyPassed, &proved)),
                of_run(origin.event(Kind::VerifyResolved, &proved)).resolved(&problem),
            ]
        }
    };
    let begun = record.steps.iter().filter(|step| step.drill).map(|step| step.chain.as_str());
    let drills: BTreeSet<&str> = begun.chain(drills.iter().map(String::as_str)).collect();
    for chain in drills {
        if record.steps.iter().any(|step| step.chain == chain) {
            events.extend(of_drill(origin, record, chain));
        } else {
            let why = first.map_or("nothing was run", |step| step.summary.as_str());
            events.push(no_drill(origin, chain, Some(&id), why, None));
        }
    }
    events
}

/// What a chain that boots an etcd on the restored backup came to: all its steps together are the drill.
fn of_drill(origin: &Origin, record: &Record, chain: &str) -> Vec<Event> {
    let id = record.backup.to_string();
    let all = || record.steps.iter().filter(|step| step.chain == chain);
    // A drill of which nothing counts has not passed because of that.
    let none_counts = !all().any(|step| step.counts);
    let judged = || all().filter(|step| step.counts || none_counts);
    let outcome = worst(judged().map(|step| step.outcome));
    let first = judged().find(|step| step.outcome == outcome);
    let of_run = |event: Event| of_session(event, record, all());
    let wrong = |kind: Kind, what: &str| {
        let summary = format!("the restore of backup {id} {what}{}", because(first));
        blaming(of_run(origin.event(kind, summary)), first).firing(&drill_problem(chain))
    };
    match outcome {
        Outcome::Failed => vec![wrong(Kind::DrillFailed, "failed its drill")],
        Outcome::Inconclusive => vec![wrong(Kind::DrillInconclusive, "could not be drilled")],
        Outcome::Passed => {
            let count = counted(all().count() as u64, "step");
            let lives =
                format!("backup {id} was restored and lives: chain {chain} booted an etcd on it, {count}");
            let of_chain = |kind| of_run(origin.event(kind, &lives)).attribute("chain", chain);
            vec![of_chain(Kind::DrillPassed), of_chain(Kind::DrillResolved).resolved(&drill_problem(chain))]
        }
    }
}

/// With the proof that an event is of, and what its steps came to.
fn of_session<'a>(event: Event, record: &Record, of: impl Iterator<Item = &'a StepRecord>) -> Event {
    let event = event.attribute("backup-id", &record.backup).attribute("session", &record.session);
    event.details(json!({ "trigger": record.trigger, "steps": steps(of) }))
}

/// The end of a sentence: what the step says that decided.
fn because(first: Option<&StepRecord>) -> String {
    first.map(|step| format!(": {} says: {}", step.step, step.summary)).unwrap_or_default()
}

/// With the step that decided.
fn blaming(event: Event, first: Option<&StepRecord>) -> Event {
    event
        .maybe("chain", first.map(|step| &step.chain))
        .maybe("stage", first.map(|step| &step.step))
        .maybe("plugin", first.and_then(|step| step.plugin_version.as_ref().map(|_| &step.step)))
        .maybe("error", first.map(|step| &step.summary))
}

fn stages(stages: &[Stage]) -> Value {
    let stage =
        |stage: &Stage| json!({ "name": stage.name, "outcome": stage.outcome, "summary": stage.summary });
    stages.iter().map(stage).collect()
}

fn steps<'a>(steps: impl Iterator<Item = &'a StepRecord>) -> Value {
    let step = |step: &StepRecord| {
        let findings: Vec<Value> = step
            .findings
            .iter()
            .take(MOST_FINDINGS)
            .map(|finding| json!({ "code": finding.code, "severity": finding.severity, "message": finding.message }))
            .collect();
        json!({
            "chain": step.chain,
            "step": step.step,
            "outcome": step.outcome,
            "counts": step.counts,
            "summary": step.summary,
            "error": step.error,
            "findings": findings,
        })
    };
    steps.take(MOST_STEPS).map(step).collect()
}

/// What bringing a store what it missed came to.
pub fn of_sync(origin: &Origin, synced: &Synced) -> Vec<Event> {
    let (store, problem) = (&synced.store, format!("sync/{}", synced.store));
    let mut events = Vec::new();
    if !synced.copied.is_empty() {
        let count = counted(synced.copied.len() as u64, "backup");
        let ids: Vec<String> = synced.copied.iter().map(|copied| copied.backup.to_string()).collect();
        events.push(
            origin
                .event(Kind::SyncCopied, format!("store {store} was brought {count} that it had missed"))
                .details(json!({ "backups": ids })),
        );
    }
    events.push(match synced.errors.first() {
        Some(error) => origin
            .event(Kind::SyncFailed, format!("store {store} could not be brought what it missed: {error}"))
            .attribute("error", error)
            .firing(&problem),
        None => origin.event(Kind::SyncResolved, format!("store {store} lacks nothing")).resolved(&problem),
    });
    events.into_iter().map(|event| event.attribute("store", store)).collect()
}

/// What pruning a store came to.
pub fn of_prune(origin: &Origin, pruned: &Pruned) -> Vec<Event> {
    let (store, problem) = (&pruned.store, format!("prune/{}", pruned.store));
    let mut events = Vec::new();
    if !pruned.removed.is_empty() {
        let count = counted(pruned.removed.len() as u64, "backup");
        let ids: Vec<String> = pruned.removed.iter().map(ToString::to_string).collect();
        events.push(
            origin
                .event(
                    Kind::PruneRemoved,
                    format!("{count} removed from store {store} by the retention rules"),
                )
                .details(json!({ "backups": ids, "freed_bytes": pruned.freed_bytes })),
        );
    }
    let wrong = pruned.error.as_ref().or(pruned.unreadable.first());
    events.push(match wrong {
        Some(error) => origin
            .event(Kind::PruneFailed, format!("store {store} was not pruned to the end: {error}"))
            .attribute("error", error)
            .firing(&problem),
        None => origin
            .event(Kind::PruneResolved, format!("store {store} was pruned to the end"))
            .resolved(&problem),
    });
    events.into_iter().map(|event| event.attribute("store", store)).collect()
}

/// What a restore came to: the backup or file, and where it went or why not.
pub fn of_restore(origin: &Origin, what: &str, result: Result<&str, &str>) -> Event {
    match result {
        Ok(place) => origin.event(Kind::RestoreSucceeded, format!("{what} was restored to {place}")),
        Err(error) => origin
            .event(Kind::RestoreFailed, format!("{what} was not restored: {error}"))
            .attribute("error", error),
    }
    .attribute("backup-id", what)
}

/// What changed among the plugins between two looks.
pub fn of_plugins(
    origin: &Origin,
    before: &BTreeMap<String, PluginState>,
    now: &BTreeMap<String, PluginState>,
) -> Vec<Event> {
    let mut events = Vec::new();
    for (name, state) in now {
        let old = before.get(name);
        let problem = format!("plugin/{name}");
        let refused = |kind: Kind, what: &str| {
            let rejection = state.rejection.as_ref();
            let reason = rejection.map(|rejection| rejection.reason.as_str()).unwrap_or_default();
            origin
                .event(kind, format!("plugin {name} {what}: `{}` {reason}", state.file.display()))
                .attribute("error", reason)
                .maybe("hint", rejection.and_then(|rejection| rejection.hint.as_ref()))
                .firing(&problem)
        };
        let same_refusal =
            old.is_some_and(|old| old.rejection == state.rejection && old.condition == state.condition);
        match state.condition {
            Condition::Rejected if !same_refusal => events.push(refused(Kind::PluginRejected, "was refused")),
            Condition::Stale if !same_refusal => {
                events.push(refused(Kind::PluginStale, "was refused, and the version before stays in use"));
            }
            Condition::Compiling | Condition::Rejected | Condition::Stale => {}
            Condition::Live => {
                if old.and_then(|old| old.live.as_ref()) != state.live.as_ref() {
                    let version = state.live.as_ref().map(|live| live.version.as_str()).unwrap_or_default();
                    events.push(
                        origin
                            .event(Kind::PluginLoaded, format!("plugin {name} {version} is in use"))
                            .maybe("sha256", state.live.as_ref().map(|live| &live.sha256)),
                    );
                }
                events.push(
                    origin.event(Kind::PluginResolved, format!("plugin {name} is in use")).resolved(&problem),
                );
            }
        }
        for event in events.iter_mut().filter(|event| !event.attributes.contains_key("plugin")) {
            event.attributes.insert("plugin".to_owned(), name.clone());
        }
    }
    for name in before.keys().filter(|name| !now.contains_key(*name)) {
        events.push(
            origin
                .event(Kind::PluginRemoved, format!("plugin {name} is gone: its file was removed"))
                .attribute("plugin", name)
                .firing(&format!("plugin/{name}")),
        );
    }
    events
}

/// An event that somebody sends to try a notifier out.
pub fn sample(origin: &Origin, kind: Kind) -> Event {
    let event = origin
        .event(kind, format!("this is a test of `{kind}`: {}", kind.doc()))
        .attribute("test", "true")
        .attribute("session", "0000000000000000");
    let problem = format!("test/{}", kind.area());
    match kind.resolved() {
        Some(_) => event.attribute("error", "nothing is wrong, this is a test").firing(&problem),
        None if kind.name().ends_with(".resolved") => event.resolved(&problem),
        None => event,
    }
}
