//! The world `holdfast:script/script`: describes itself, and works with one restored database per call.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::verifier::{self, VerifyRun};
use crate::bindings::exports::holdfast::verifier::verify;
use crate::bindings::script::exports::holdfast::script::run;
use crate::bindings::script::{Script, ScriptPre};
use crate::call::{self, CallState, Reach};
use crate::capability::database::Subject;
use crate::database::Database;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::report;

/// What a script is given.
pub(crate) struct Input {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) context: Vec<(String, String)>,
    pub(crate) config: String,
}

/// Lets a script work with a database.
pub(crate) async fn run(
    engine: &Engine,
    script: &ScriptPre<CallState>,
    name: &str,
    limits: &Limits,
    reach: Reach,
    input: Input,
) -> VerifyRun {
    let Input { database, context, config } = input;
    let script = script.clone();
    let finished = call::run(engine, name, limits, reach, |store| {
        Box::pin(async move {
            let instance: Script = script.instantiate_async(&mut *store).await?;
            let subject = store.data_mut().table.push(Subject(database))?;
            // The guest borrows; the host's own handle stays in the table until the store is dropped.
            let borrowed = Resource::new_borrow(subject.rep());
            instance.holdfast_script_run().call_run(store, borrowed, &context, &config).await
        })
    })
    .await;
    let result = finished.result.and_then(|answer| match answer {
        Ok(report) => verifier::accept(in_common(report), limits, &finished.redactor),
        Err(error) => Err(report::own_error(error.code, error.message, &finished.redactor)),
    });
    VerifyRun { result, stats: finished.stats, stderr: finished.stderr, denied: finished.denied }
}

/// A script's report is a verifier's, in a package with versions of its own. It remembers nothing: its attributes are room to grow.
fn in_common(report: run::Report) -> verify::Report {
    let run::Report { outcome, summary, findings, measurements, attributes } = report;
    let finding = |finding: run::Finding| verify::Finding {
        severity: finding.severity,
        code: finding.code,
        message: finding.message,
        key: finding.key,
        attributes: finding.attributes,
    };
    let measurement = |measurement: run::Measurement| verify::Measurement {
        name: measurement.name,
        value: measurement.value,
        unit: measurement.unit,
        attributes: measurement.attributes,
    };
    verify::Report {
        outcome: match outcome {
            run::Outcome::Passed => verify::Outcome::Passed,
            run::Outcome::Failed => verify::Outcome::Failed,
            run::Outcome::Inconclusive => verify::Outcome::Inconclusive,
        },
        summary,
        findings: findings.into_iter().map(finding).collect(),
        measurements: measurements.into_iter().map(measurement).collect(),
        attributes: attributes.into_iter().filter(|(name, _)| name != report::MEMO).collect(),
    }
}
