//! Verifier `query`: expressions in CEL that must hold of a snapshot, so that many checks need no code.
//!
//! An expression asks for counts, sizes, keys, values and Kubernetes objects. It is evaluated inside the sandbox; a value
//! appears in no message, and neither does anything computed from one.

mod answers;
mod config;

pub use config::{Config, Level, Measure, Question};

use answers::{Answers, Problem};
use cel::{Program, Value};
use holdfast_plugin::{
    Context, Error, Finding, Findings, Outcome, Report, Severity, SnapshotView, Verifier, export_verifier,
};

/// Findings of one code; there are as many as queries.
const FINDINGS: usize = 1000;

/// The verifier.
pub struct QueryVerifier;

impl Verifier for QueryVerifier {
    const NAME: &'static str = "query";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Checks that expressions over counts, keys, values and objects hold";
    type Config = Config;

    fn verify(snapshot: &SnapshotView<'_>, context: &Context, config: Config) -> Result<Report, Error> {
        if config.queries.is_empty() {
            return Err(Error::config("`queries`: there is none, so nothing would be checked"));
        }
        let queries = compile_all("queries", "expect", config.queries.iter().map(|query| &query.expect))?;
        let measures = compile_all("measure", "value", config.measure.iter().map(|measure| &measure.value))?;
        let answers = Answers::new(snapshot, context, &config.registry)
            .map_err(|problem| failed("`queries`", problem))?;

        let mut findings = Findings::new(FINDINGS);
        let mut tally = Tally::default();
        for (index, (query, program)) in config.queries.iter().zip(&queries).enumerate() {
            let place = format!("`queries[{index}].expect`");
            match answers.evaluate(program) {
                Ok(Value::Bool(true)) => tally.holds += 1,
                Ok(Value::Bool(false)) => {
                    let message = format!("does not hold: {}", query.title());
                    tally.broken(query.severity, &message);
                    findings.push(finding(query, "query-false", message));
                }
                Ok(_) => return Err(Error::config(format!("{place} is not true or false"))),
                Err(Problem::Unknown(reason)) => {
                    let message = format!("cannot be told: {}: {reason}", query.title());
                    tally.unknown(query.severity, &message);
                    findings.push_undecided(finding(query, "query-unknown", message));
                }
                Err(problem) => return Err(failed(&place, problem)),
            }
        }
        let mut report = findings.into_report(tally.summary(config.queries.len()));
        report.outcome = tally.outcome();
        for (index, (measure, program)) in config.measure.iter().zip(&measures).enumerate() {
            let place = format!("`measure[{index}].value`");
            let value = match answers.evaluate(program) {
                Ok(Value::Int(value)) => value as f64,
                Ok(Value::UInt(value)) => value as f64,
                Ok(Value::Float(value)) => value,
                Ok(_) => return Err(Error::config(format!("{place} is no number"))),
                // A metric that is missing tells as much as one that is wrong.
                Err(Problem::Unknown(_)) => continue,
                Err(problem) => return Err(failed(&place, problem)),
            };
            report = report.measure(&measure.name, value, &measure.unit);
        }
        Ok(report.measure("queries", config.queries.len(), "queries"))
    }
}

export_verifier!(QueryVerifier);

fn compile_all<'a>(
    list: &str,
    key: &str,
    sources: impl Iterator<Item = &'a String>,
) -> Result<Vec<Program>, Error> {
    sources
        .enumerate()
        .map(|(index, source)| {
            Program::compile(source).map_err(|errors| {
                let first = errors.errors.first();
                let place = first.map_or_else(String::new, |error| {
                    format!(" at line {}, column {}: {}", error.pos.0, error.pos.1, error.msg)
                });
                Error::config(format!("`{list}[{index}].{key}` is not an expression in CEL{place}"))
            })
        })
        .collect()
}

fn failed(place: &str, problem: Problem) -> Error {
    match problem {
        Problem::Expression(reason) => Error::config(format!("{place}: {reason}")),
        Problem::Unknown(reason) => Error::new("query", format!("{place}: {reason}")),
        Problem::Read(error) => error.into(),
    }
}

fn finding(query: &Question, code: &str, message: String) -> Finding {
    let severity = match query.severity {
        Level::Fail => Severity::Error,
        Level::Warn => Severity::Warning,
    };
    let finding = Finding::new(severity, code, message);
    match &query.name {
        Some(name) => finding.attribute("query", name).attribute("expression", &query.expect),
        None => finding,
    }
}

/// How many queries hold.
#[derive(Default)]
struct Tally {
    holds: usize,
    failed: usize,
    undecided: usize,
    first: Option<String>,
}

impl Tally {
    fn broken(&mut self, level: Level, message: &str) {
        self.failed += usize::from(level == Level::Fail);
        self.first.get_or_insert_with(|| message.to_owned());
    }

    fn unknown(&mut self, level: Level, message: &str) {
        self.undecided += usize::from(level == Level::Fail);
        self.first.get_or_insert_with(|| message.to_owned());
    }

    fn outcome(&self) -> Outcome {
        match (self.failed, self.undecided) {
            (0, 0) => Outcome::Passed,
            (0, _) => Outcome::Inconclusive,
            _ => Outcome::Failed,
        }
    }

    fn summary(&self, queries: usize) -> String {
        match &self.first {
            None => format!("all {queries} queries hold"),
            Some(first) => format!("{} of {queries} queries hold; first: {first}", self.holds),
        }
    }
}
