//! The world `holdfast:script/script`: describes itself, and works with one restored database per call.

use std::sync::Arc;

use wasmtime::component::{Component, Linker, Resource};

use super::description::{Description, RawDescription};
use super::verifier::{self, VerifyRun};
use crate::bindings::exports::holdfast::verifier::verify;
use crate::bindings::script::exports::holdfast::script::{plugin, run};
use crate::bindings::script::{Script, ScriptPre};
use crate::call::{self, CallState, Finished, Reach};
use crate::capability;
use crate::capability::database::Subject;
use crate::database::Database;
use crate::engine::Engine;
use crate::error::{CallError, CallErrorKind};
use crate::limits::Limits;
use crate::report;

/// Everything that a script may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine.wasmtime());
    capability::wasi::add(&mut linker)?;
    capability::http::add(&mut linker)?;
    capability::log::add(&mut linker)?;
    capability::secrets::add(&mut linker)?;
    capability::state::add(&mut linker)?;
    capability::database::add(&mut linker)?;
    Ok(linker)
}

/// Joins a component with what it imports, ahead of its calls.
pub(crate) fn link(
    linker: &Linker<CallState>,
    component: &Component,
) -> wasmtime::Result<ScriptPre<CallState>> {
    ScriptPre::new(linker.instantiate_pre(component)?)
}

/// Asks a plugin what it is. `label` names it in logs until it has told its name.
pub(crate) async fn describe(
    engine: &Engine,
    script: &ScriptPre<CallState>,
    label: &str,
    limits: &Limits,
) -> Result<Description, CallError> {
    let limits = limits.for_description();
    let script = script.clone();
    let finished: Finished<plugin::Description> =
        call::run(engine, label, &limits, Reach::default(), |store| {
            Box::pin(async move {
                let instance: Script = script.instantiate_async(&mut *store).await?;
                instance.holdfast_script_plugin().call_describe(store).await
            })
        })
        .await;
    let raw = finished.result?;
    RawDescription {
        name: raw.name,
        version: raw.version,
        summary: raw.summary,
        config_schema: raw.config_schema,
        wants: raw.wants,
        attributes: raw.attributes,
    }
    .accept()
}

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
        Err(error) => Err(CallError::new(
            CallErrorKind::Error,
            &report::code(&finished.redactor.text(error.code)),
            report::message(&finished.redactor.text(error.message)),
        )),
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
