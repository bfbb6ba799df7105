//! Proof: the chains of a config, run over one snapshot file.
//!
//! Every step ends as passed, failed or inconclusive. A step that could not run is inconclusive, never passed; a step whose
//! verdict does not count (`on_error = "warn"`) is told all the same.

mod chain;
pub(crate) mod restored;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use etcd_snapshot::{Finding, Inspection, Outcome, Severity, SnapshotFile};
use holdfast_runtime::{Denial, Kind, Plugin, Registry, VerifyRun};
use tokio_util::sync::CancellationToken;

use self::chain::Bench;
use super::agreement::Agreement;
use super::continuity::Continuity;
use super::remembered::Remembered;
use super::store::with_causes;
use crate::boot;
use crate::catalog::{BackupId, Measured, RECORD_FORMAT, Record, StepRecord, Trigger, Used};
use crate::config::Granted;
pub use crate::config::{Chain, OnError, Order, Step, StepKind};
use crate::session::{Session, Stage, worst};
use crate::units::counted;

/// What a plugin may find is bounded by its report; what a record keeps of it is bounded here.
const MAX_FINDINGS: usize = 1000;

/// The snapshot that is to be proved, and what is known of it.
pub struct Subject {
    /// The file as etcd sent it.
    pub file: Arc<SnapshotFile>,
    /// What the engine found in it.
    pub inspection: Inspection,
    /// What the living members said when it was made; none for a file from elsewhere.
    pub agreement: Option<Agreement>,
    /// How it follows on from the backup before; none for a file from elsewhere.
    pub continuity: Option<Continuity>,
    /// How long it took to find these out.
    pub took: Took,
    /// The operator's name for the cluster.
    pub cluster: String,
    /// The backup; none for a file from elsewhere.
    pub backup: Option<BackupId>,
    /// What plugins remember of older backups.
    pub remembered: Remembered,
}

/// What was found out before the chains run, and how long each took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    /// The check of the file.
    pub integrity: Duration,
    /// Asking the members, when that was.
    pub agreement: Duration,
}

impl Took {
    /// The time of the check, and that of the agreement as the stages of a backup's run tell it.
    pub fn of(integrity: Duration, stages: &[Stage]) -> Self {
        let agreement = stages.iter().find(|stage| stage.name == "agreement");
        let agreement = agreement.and_then(|stage| stage.ended.duration_since(stage.started).try_into().ok());
        Self { integrity, agreement: agreement.unwrap_or_default() }
    }
}

/// The chain that proves a backup when the config names none.
pub fn default_chain() -> Chain {
    let step = |kind, on_error| Step { kind, on_error, fresh: false };
    Chain {
        name: "default".to_owned(),
        steps: vec![
            step(StepKind::Integrity, OnError::Fail),
            step(StepKind::Agreement, OnError::Warn),
            step(StepKind::Continuity, OnError::Fail),
        ],
        order: Order::InTurn,
        timeout: Duration::from_mins(10),
    }
}

/// The plugins of these chains that remember something and want it back.
pub fn remembering<'a>(chains: &'a [Chain], plugins: &Registry) -> BTreeSet<&'a str> {
    chains
        .iter()
        .flat_map(|chain| &chain.steps)
        .filter_map(|step| match &step.kind {
            StepKind::Plugin { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .filter(|name| plugins.plugin(name).is_ok_and(|plugin| plugin.remembers()))
        .collect()
}

/// Whether a step is of a restore drill: an etcd is booted on the restored backup for it. Of a plugin that is not there nobody knows.
pub fn is_drill(kind: &StepKind, plugins: &Registry) -> bool {
    match kind {
        StepKind::Restore { boot } => *boot,
        StepKind::Plugin { name, .. } => {
            plugins.plugin(name).is_ok_and(|plugin| plugin.kind() == Kind::Script)
        }
        StepKind::Integrity | StepKind::Agreement | StepKind::Continuity => false,
    }
}

/// The names of the chains that are restore drills.
pub fn drills(chains: &[Chain], plugins: &Registry) -> Vec<String> {
    let drills = |chain: &&Chain| chain.steps.iter().any(|step| is_drill(&step.kind, plugins));
    chains.iter().filter(drills).map(|chain| chain.name.clone()).collect()
}

/// What proofs are made with.
#[derive(Clone)]
pub struct Means {
    /// The plugins, as they were when the run began.
    pub plugins: Arc<Registry>,
    /// How an etcd is booted on a restored backup.
    pub boot: boot::Options,
}

/// Runs the chains one after the other.
pub async fn prove(
    subject: &Arc<Subject>,
    chains: &[Chain],
    means: &Means,
    trigger: Trigger,
    session: &mut Session,
    cancel: &CancellationToken,
) -> Record {
    let started = session.now();
    let mut steps = Vec::new();
    for chain in chains {
        steps.extend(chain::run(subject, chain, means, started, session, cancel).await);
    }
    let outcome = worst(steps.iter().filter(|step| step.counts).map(|step| step.outcome));
    let count = |outcome| steps.iter().filter(|step| step.outcome == outcome && !step.skipped).count();
    let skipped = match steps.iter().filter(|step| step.skipped).count() {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    let summary = format!(
        "{} passed, {} failed, {} inconclusive{skipped}",
        count(Outcome::Passed),
        count(Outcome::Failed),
        count(Outcome::Inconclusive)
    );
    session.ended("verify", started, outcome, summary);
    Record {
        format: RECORD_FORMAT.to_owned(),
        // A file from elsewhere has no record that is kept; its id says when it was looked at.
        backup: subject
            .backup
            .clone()
            .unwrap_or_else(|| BackupId::new(started, subject.inspection.facts.revision)),
        session: session.id.clone(),
        trigger,
        started,
        ended: session.now(),
        outcome,
        steps,
    }
}

/// What stands in a record for the way back out of a store.
const STORE_CHAIN: &str = "store";
/// The stored bytes, compared with what was written.
const STORED_STEP: &str = "read back";
/// What they unpack to.
const UNPACK_STEP: &str = "unpack";

/// Whether a record is about the bytes in the store that it lies in, and says nothing of another store's copy.
pub fn is_of_one_copy(record: &Record) -> bool {
    let of_copy = |step: &StepRecord| step.chain == STORE_CHAIN && step.step == STORED_STEP;
    !record.steps.is_empty() && record.steps.iter().all(of_copy)
}

/// The record of a backup that cannot be opened here: its stored bytes are those that were written, and that is all that is
/// known. No step has run, so none has passed.
pub fn sealed(
    backup: &BackupId,
    chains: &[Chain],
    stored_bytes: u64,
    reason: &str,
    session: &mut Session,
) -> Record {
    let started = session.started;
    let elapsed_ms = u64::try_from(session.now().duration_since(started).as_millis()).unwrap_or_default();
    let summary = format!(
        "the {stored_bytes} stored bytes have the sha256 that the manifest names; what is in them was not looked at"
    );
    session.ended("retrieve", started, Outcome::Passed, summary.clone());
    let mut steps = vec![stored_step(STORED_STEP, Outcome::Passed, summary, elapsed_ms)];
    for chain in chains {
        steps.extend(chain.steps.iter().map(|step| StepRecord {
            chain: chain.name.clone(),
            step: step.kind.name().to_owned(),
            counts: step.on_error.counts(),
            skipped: true,
            drill: matches!(step.kind, StepKind::Restore { boot: true }),
            ..stored_step(STORED_STEP, Outcome::Inconclusive, format!("not run: {reason}"), 0)
        }));
    }
    session.ended("verify", started, Outcome::Inconclusive, reason.to_owned());
    stored_record(backup, Outcome::Inconclusive, steps, session)
}

/// What was found out about the stored bytes.
fn stored_step(step: &str, outcome: Outcome, summary: String, elapsed_ms: u64) -> StepRecord {
    StepRecord {
        chain: STORE_CHAIN.to_owned(),
        step: step.to_owned(),
        plugin_version: None,
        plugin_sha256: None,
        outcome,
        skipped: false,
        drill: false,
        counts: true,
        summary,
        error: None,
        findings: Vec::new(),
        measurements: Vec::new(),
        memo: None,
        used: None,
        elapsed_ms,
    }
}

/// The record of a backup that cannot be had out of its store, so that there is nothing to run steps on: because the stored bytes are
/// not those that were written (`one_copy`: another store's may be), or because these unpack to something else.
pub fn damaged(backup: &BackupId, reason: String, one_copy: bool, session: &mut Session) -> Record {
    let started = session.started;
    session.ended("retrieve", started, Outcome::Failed, reason.clone());
    let elapsed_ms = u64::try_from(session.now().duration_since(started).as_millis()).unwrap_or_default();
    let name = if one_copy { STORED_STEP } else { UNPACK_STEP };
    let step = stored_step(name, Outcome::Failed, reason, elapsed_ms);
    stored_record(backup, Outcome::Failed, vec![step], session)
}

/// The record of a proof that did not come to a snapshot.
fn stored_record(backup: &BackupId, outcome: Outcome, steps: Vec<StepRecord>, session: &Session) -> Record {
    Record {
        format: RECORD_FORMAT.to_owned(),
        backup: backup.clone(),
        session: session.id.clone(),
        trigger: Trigger::Verify,
        started: session.started,
        ended: session.now(),
        outcome,
        steps,
    }
}

/// What a step comes to, whatever time it takes.
async fn judge(bench: &Bench, step: &Step) -> Verdict {
    match &step.kind {
        StepKind::Integrity => integrity(&bench.subject.inspection),
        StepKind::Agreement => agreed(bench.subject.agreement.as_ref()),
        StepKind::Continuity => followed(bench.subject.continuity.as_ref()),
        StepKind::Restore { boot } => restored::restore(&bench.restored, *boot).await,
        StepKind::Plugin { name, config, granted } => plugin(bench, name, config, granted, step.fresh).await,
    }
}

/// What one step says.
struct Verdict {
    outcome: Outcome,
    /// It was not run, because of what happened before it.
    skipped: bool,
    summary: String,
    error: Option<String>,
    findings: Vec<Finding>,
    measurements: Vec<Measured>,
    memo: Option<String>,
    used: Option<Used>,
    version: Option<String>,
    sha256: Option<String>,
}

impl Verdict {
    fn new(outcome: Outcome, summary: impl Into<String>) -> Self {
        Self {
            outcome,
            skipped: false,
            summary: summary.into(),
            error: None,
            findings: Vec::new(),
            measurements: Vec::new(),
            memo: None,
            used: None,
            version: None,
            sha256: None,
        }
    }

    fn unknown(summary: impl Into<String>) -> Self {
        Self::new(Outcome::Inconclusive, summary)
    }

    /// A step that was not run. It has not passed.
    fn skipped(reason: impl std::fmt::Display) -> Self {
        Self { skipped: true, ..Self::unknown(format!("skipped: {reason}")) }
    }

    fn because(mut self, error: &str) -> Self {
        self.error = Some(error.to_owned());
        self
    }
}

fn integrity(inspection: &Inspection) -> Verdict {
    let integrity = &inspection.integrity;
    let count = |severity, what| {
        let found = integrity.findings.iter().filter(|finding| finding.severity == severity);
        counted(found.count() as u64, what)
    };
    let (errors, warnings) = (count(Severity::Error, "error"), count(Severity::Warning, "warning"));
    let summary = match integrity.findings.iter().find(|finding| finding.severity == Severity::Error) {
        Some(first) => format!("{errors}, {warnings}; first: {}", first.message),
        None => format!("{}, {errors}, {warnings}", counted(inspection.facts.records, "record")),
    };
    Verdict { findings: integrity.findings.clone(), ..Verdict::new(integrity.outcome, summary) }
}

fn agreed(agreement: Option<&Agreement>) -> Verdict {
    match agreement {
        Some(agreement) => Verdict::new(agreement.outcome, agreement.summary()),
        None => Verdict::unknown("nothing is known of the members at the time of this file"),
    }
}

fn followed(continuity: Option<&Continuity>) -> Verdict {
    match continuity {
        Some(continuity) => Verdict {
            findings: continuity.findings.clone(),
            ..Verdict::new(continuity.outcome, continuity.summary())
        },
        None => Verdict::unknown("a file that is no backup follows on from none"),
    }
}

async fn plugin(
    bench: &Bench,
    name: &str,
    config: &serde_json::Value,
    granted: &Granted,
    fresh: bool,
) -> Verdict {
    let subject = &bench.subject;
    let plugin = match bench.plugins.plugin(name) {
        Ok(plugin) => plugin,
        Err(unavailable) => return Verdict::unknown(unavailable.to_string()).because("rejected"),
    };
    let grants = match granted.read() {
        Ok(grants) => grants,
        Err(error) => return Verdict::unknown(with_causes(&error)).because("rejected"),
    };
    let mut context = vec![
        ("cluster".to_owned(), subject.cluster.clone()),
        ("time".to_owned(), bench.started.to_string()),
        ("session".to_owned(), bench.session.to_string()),
    ];
    if let Some(backup) = &subject.backup {
        context.push(("backup-id".to_owned(), backup.to_string()));
    }
    if plugin.kind() == Kind::Script {
        return restored::script(bench, &plugin, fresh, config, &grants, context).await;
    }
    if plugin.remembers() {
        context.extend(subject.remembered.context(name));
    }
    let file = Arc::clone(&subject.file);
    let run = plugin.verify_inspected(file, &subject.inspection.facts, context, config, &grants).await;
    called(&plugin, run)
}

/// What the call of a plugin came to.
fn called(plugin: &Plugin, run: VerifyRun) -> Verdict {
    let used = Used {
        cpu_ms: u64::try_from(run.stats.cpu.as_millis()).unwrap_or(u64::MAX),
        peak_memory_bytes: run.stats.peak_memory_bytes,
        rows: run.stats.rows,
        bytes: run.stats.bytes,
        host_calls: run.stats.host_calls,
        http_requests: run.stats.http_requests,
        denied: run.stats.denied,
    };
    Verdict {
        version: Some(plugin.version().to_owned()),
        sha256: Some(plugin.sha256().to_owned()),
        used: Some(used),
        ..verdict_of(run)
    }
}

fn verdict_of(run: VerifyRun) -> Verdict {
    let denied: Vec<Finding> = run.denied.iter().map(refused).collect();
    let mut verdict = match run.result {
        Ok(report) => Verdict {
            findings: report
                .findings
                .into_iter()
                .take(MAX_FINDINGS)
                .map(|finding| {
                    let key = finding.key.map(|key| key.escape_ascii().to_string());
                    told(finding.code, finding.severity, finding.message, key)
                })
                .collect(),
            measurements: report
                .measurements
                .into_iter()
                .map(|measured| Measured {
                    name: measured.name,
                    value: measured.value,
                    unit: measured.unit,
                    attributes: measured.attributes.into_iter().collect(),
                })
                .collect(),
            memo: report.memo,
            ..Verdict::new(report.outcome, report.summary)
        },
        Err(error) => {
            let wrote =
                run.stderr.lines().last().map(|line| format!(" (it wrote: {line})")).unwrap_or_default();
            Verdict::unknown(format!("{}{wrote}", error.message)).because(&error.kind.to_string())
        }
    };
    verdict.findings.extend(denied);
    verdict
}

/// What a plugin asked for and is not granted. It says nothing about the snapshot, so it changes no verdict.
fn refused(denial: &Denial) -> Finding {
    let hint = denial.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    let message =
        format!("the plugin asked for {}, which was refused: {}{hint}", denial.asked, denial.reason);
    told("denied".to_owned(), Severity::Warning, message, None)
}

/// What a plugin's call brings to light. Its only place is a key.
fn told(code: String, severity: Severity, message: String, key: Option<String>) -> Finding {
    Finding {
        code,
        severity,
        message,
        key,
        page: None,
        bucket: None,
        revision: None,
        offset: None,
        expected: None,
        found: None,
    }
}
