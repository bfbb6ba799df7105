//! One chain: its steps in turn or side by side, within its time, and the restored etcd that they share.
//!
//! No step is left to itself: one that is given up, because the time is over, because the run was told to stop or because nobody waits any
//! more, is ended, and the etcd that it had goes with the chain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_snapshot::Outcome;
use holdfast_runtime::Registry;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::restored::Restored;
use super::{Chain, Means, OnError, Order, Step, StepKind, Subject, Verdict};
use crate::catalog::StepRecord;
use crate::session::{Session, SessionId};

/// What all steps of a chain work with.
pub(super) struct Bench {
    pub(super) subject: Arc<Subject>,
    pub(super) plugins: Arc<Registry>,
    pub(super) started: Timestamp,
    pub(super) session: SessionId,
    pub(super) restored: Restored,
    chain: String,
    deadline: Instant,
    cancel: CancellationToken,
}

/// Runs a chain. There is a record of each step, in the order in which the config names them.
pub(super) async fn run(
    subject: &Arc<Subject>,
    chain: &Chain,
    means: &Means,
    started: Timestamp,
    session: &Session,
    cancel: &CancellationToken,
) -> Vec<StepRecord> {
    let bench = Arc::new(Bench {
        subject: Arc::clone(subject),
        plugins: Arc::clone(&means.plugins),
        started,
        session: session.id.clone(),
        restored: Restored::new(means.boot.clone(), subject),
        chain: chain.name.clone(),
        deadline: Instant::now() + chain.timeout,
        cancel: cancel.clone(),
    });
    let records = match chain.order {
        Order::InTurn => in_turn(&bench, &chain.steps).await,
        Order::SideBySide => side_by_side(&bench, &chain.steps).await,
    };
    // Nobody else has it any more; where a step broke off, its end goes the other way.
    if let Some(bench) = Arc::into_inner(bench) {
        bench.restored.end().await;
    }
    records
}

async fn in_turn(bench: &Arc<Bench>, steps: &[Step]) -> Vec<StepRecord> {
    let mut records: Vec<StepRecord> = Vec::new();
    let mut stopped: Option<String> = None;
    for step in steps {
        let record = match &stopped {
            Some(reason) => bench.record(step, Verdict::skipped(reason), Duration::ZERO),
            None => bench.run(step).await,
        };
        if stopped.is_none() && step.on_error == OnError::Stop && record.outcome != Outcome::Passed {
            let how = if record.outcome == Outcome::Failed { "failed" } else { "was inconclusive" };
            stopped = Some(format!("`{}` before it {how}", record.step));
        }
        records.push(record);
    }
    records
}

async fn side_by_side(bench: &Arc<Bench>, steps: &[Step]) -> Vec<StepRecord> {
    // Tasks of their own, so that they run on all processors. Dropped with this future, which ends them.
    let tasks: Vec<_> = steps
        .iter()
        .map(|step| {
            let (bench, step) = (Arc::clone(bench), step.clone());
            AbortOnDropHandle::new(tokio::spawn(async move { bench.run(&step).await }))
        })
        .collect();
    let mut records = Vec::new();
    for (task, step) in tasks.into_iter().zip(steps) {
        records.push(task.await.unwrap_or_else(|error| {
            let verdict = Verdict::unknown(format!("the step broke off: {error}")).because("error");
            bench.record(step, verdict, Duration::ZERO)
        }));
    }
    records
}

impl Bench {
    async fn run(&self, step: &Step) -> StepRecord {
        let begun = Instant::now();
        let verdict = if self.cancel.is_cancelled() {
            Verdict::skipped("the run was told to stop")
        } else if begun >= self.deadline {
            Verdict::skipped("the chain's time was used up by the steps before")
        } else {
            tokio::select! {
                verdict = super::judge(self, step) => verdict,
                () = tokio::time::sleep_until(self.deadline.into()) => {
                    Verdict::unknown("stopped: the chain's time was used up").because("timeout")
                }
                () = self.cancel.cancelled() => Verdict::unknown("stopped: the run was told to stop"),
            }
        };
        self.record(step, verdict, begun.elapsed())
    }

    fn record(&self, step: &Step, verdict: Verdict, took: Duration) -> StepRecord {
        // What was found out before is part of the step, whenever that was.
        let before = match &step.kind {
            StepKind::Integrity => self.subject.took.integrity,
            StepKind::Agreement => self.subject.took.agreement,
            StepKind::Continuity => Duration::from_millis(
                self.subject.continuity.as_ref().map_or(0, |continuity| continuity.elapsed_ms),
            ),
            StepKind::Restore { .. } | StepKind::Plugin { .. } => Duration::ZERO,
        };
        // A file from elsewhere follows on from nothing, which is no fault of it.
        let applies = step.kind != StepKind::Continuity || self.subject.backup.is_some();
        let record = StepRecord {
            chain: self.chain.clone(),
            step: step.kind.name().to_owned(),
            plugin_version: verdict.version,
            plugin_sha256: verdict.sha256,
            outcome: verdict.outcome,
            skipped: verdict.skipped,
            drill: super::is_drill(&step.kind, &self.plugins),
            counts: step.on_error.counts() && applies,
            summary: verdict.summary,
            error: verdict.error,
            findings: verdict.findings,
            measurements: verdict.measurements,
            memo: verdict.memo,
            used: verdict.used,
            elapsed_ms: u64::try_from((before + took).as_millis()).unwrap_or(u64::MAX),
        };
        tracing::info!(session = %self.session, chain = record.chain, step = record.step, outcome = %record.outcome, "{}", record.summary);
        record
    }
}
