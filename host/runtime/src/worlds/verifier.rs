//! The world `holdfast:verifier/verifier`: describes itself, and judges one snapshot per call.

use etcd_snapshot::Outcome;
use serde::Serialize;
use wasmtime::component::Resource;

use crate::bindings::exports::holdfast::verifier::verify;
use crate::bindings::{Verifier, VerifierPre};
use crate::call::{self, CallState, CallStats, Reach};
use crate::capability::snapshot::Subject;
use crate::engine::Engine;
use crate::error::{CallError, CallErrorKind};
use crate::grants::{Denial, Redactor};
use crate::limits::Limits;
use crate::report::{self, Measurement, Raw, RawFinding, Report};

/// How one verification ended.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyRun {
    /// The report, or why there is none. Without one, nothing was verified.
    pub result: Result<Report, CallError>,
    /// What the call used.
    pub stats: CallStats,
    /// The end of what the plugin wrote to standard error, safe to show.
    pub stderr: String,
    /// What it asked for and was refused.
    pub denied: Vec<Denial>,
}

impl VerifyRun {
    /// A call that was not made.
    pub(crate) fn rejected(code: &str, message: impl Into<String>) -> VerifyRun {
        VerifyRun {
            result: Err(CallError::new(CallErrorKind::Rejected, code, message)),
            stats: CallStats::default(),
            stderr: String::new(),
            denied: Vec::new(),
        }
    }
}

/// What a verifier is given.
pub(crate) struct Input {
    pub(crate) subject: Subject,
    pub(crate) context: Vec<(String, String)>,
    pub(crate) config: String,
}

/// Lets a plugin judge a snapshot.
pub(crate) async fn verify(
    engine: &Engine,
    verifier: &VerifierPre<CallState>,
    name: &str,
    limits: &Limits,
    reach: Reach,
    input: Input,
) -> VerifyRun {
    let Input { subject, context, config } = input;
    let verifier = verifier.clone();
    let finished = call::run(engine, name, limits, reach, |store| {
        Box::pin(async move {
            let instance: Verifier = verifier.instantiate_async(&mut *store).await?;
            let subject = store.data_mut().table.push(subject)?;
            // The guest borrows; the host's own handle stays in the table until the store is dropped.
            let borrowed = Resource::new_borrow(subject.rep());
            instance.holdfast_verifier_verify().call_verify(store, borrowed, &context, &config).await
        })
    })
    .await;
    let result = finished.result.and_then(|answer| match answer {
        Ok(report) => accept(report, limits, &finished.redactor),
        Err(error) => Err(report::own_error(error.code, error.message, &finished.redactor)),
    });
    VerifyRun { result, stats: finished.stats, stderr: finished.stderr, denied: finished.denied }
}

pub(crate) fn accept(
    report: verify::Report,
    limits: &Limits,
    redactor: &Redactor,
) -> Result<Report, CallError> {
    let size_bytes = report_bytes(&report);
    if size_bytes > limits.report_bytes {
        let message = format!("its report has {size_bytes} bytes; at most {} are taken", limits.report_bytes);
        return Err(CallError::new(CallErrorKind::Rejected, "report", message));
    }
    let raw = raw(report);
    if let Some(memo) = raw.memo.as_ref().filter(|memo| memo.len() > report::MEMO_BYTES) {
        let message = format!("its memo has {} bytes; at most {} are kept", memo.len(), report::MEMO_BYTES);
        return Err(CallError::new(CallErrorKind::Rejected, "memo", message));
    }
    Ok(raw.redacted(redactor).bounded(limits.findings))
}

/// The sum of a report's texts.
fn report_bytes(report: &verify::Report) -> u64 {
    let pairs = |pairs: &[(String, String)]| -> usize {
        pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    let findings: usize = report
        .findings
        .iter()
        .map(|finding| {
            let key = finding.key.as_ref().map_or(0, Vec::len);
            finding.code.len() + finding.message.len() + key + pairs(&finding.attributes)
        })
        .sum();
    let measurements: usize = report
        .measurements
        .iter()
        .map(|measurement| measurement.name.len() + measurement.unit.len() + pairs(&measurement.attributes))
        .sum();
    (report.summary.len() + findings + measurements + pairs(&report.attributes)) as u64
}

fn raw(report: verify::Report) -> Raw {
    let (memos, attributes): (Vec<_>, Vec<_>) =
        report.attributes.into_iter().partition(|(name, _)| name == report::MEMO);
    Raw {
        memo: memos.into_iter().next().map(|(_, memo)| memo),
        outcome: match report.outcome {
            verify::Outcome::Passed => Outcome::Passed,
            verify::Outcome::Failed => Outcome::Failed,
            verify::Outcome::Inconclusive => Outcome::Inconclusive,
        },
        summary: report.summary,
        findings: report
            .findings
            .into_iter()
            .map(|finding| RawFinding {
                severity: finding.severity,
                code: finding.code,
                message: finding.message,
                key: finding.key,
                attributes: finding.attributes,
            })
            .collect(),
        measurements: report
            .measurements
            .into_iter()
            .map(|measurement| Measurement {
                name: measurement.name,
                value: measurement.value,
                unit: measurement.unit,
                attributes: measurement.attributes,
            })
            .collect(),
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memo_is_taken_out_of_the_attributes_and_bounded() {
        let report = |memo: String| verify::Report {
            outcome: verify::Outcome::Passed,
            summary: String::new(),
            findings: Vec::new(),
            measurements: Vec::new(),
            attributes: vec![("memo".to_owned(), memo), ("a".to_owned(), "b".to_owned())],
        };
        let taken =
            accept(report("x\n".to_owned()), &Limits::default(), &Redactor::default()).expect("it is small");
        assert_eq!(taken.memo.as_deref(), Some("x\n"), "it comes back as it was");
        assert_eq!(taken.attributes, [("a".to_owned(), "b".to_owned())]);
        let error =
            accept(report("x".repeat(report::MEMO_BYTES + 1)), &Limits::default(), &Redactor::default())
                .expect_err("too large");
        assert_eq!((error.kind, error.code.as_str()), (CallErrorKind::Rejected, "memo"));
    }
}
