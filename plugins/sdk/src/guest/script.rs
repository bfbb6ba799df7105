//! The same for scripts: generated bindings of the world `holdfast:script/script`, and the glue to plain types.

use std::marker::PhantomData;

use crate::Script;
use crate::config;
use crate::context::Context;
use crate::database::{
    Answer, Committed, Comparison, DatabaseError, DatabaseSource, KeyCursor, KeyQuery, KvHash, Operation,
    TimeToLive, Transaction, WatchEvent, WatchEventKind, Watching,
};
use crate::error::Error;
use crate::report;
use crate::snapshot::{Batch, BatchColumns, Columns, KeyValue};

/// What `wit-bindgen` makes of the world `holdfast:script/script`.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/host-0.1.0", "../../wit/script-0.1.0"],
        world: "holdfast:script/script",
        pub_export_macro: true,
        generate_all,
    });
}

use bindings::exports::holdfast::script::{plugin, run};
use bindings::holdfast::script::database;

/// A script as the component's exports.
pub struct Component<S>(PhantomData<S>);

impl<S: Script> plugin::Guest for Component<S> {
    fn describe() -> plugin::Description {
        plugin::Description {
            name: S::NAME.to_owned(),
            version: S::VERSION.to_owned(),
            summary: S::SUMMARY.to_owned(),
            config_schema: config::schema::<S::Config>(),
            wants: S::WANTS.iter().map(|&want| want.to_owned()).collect(),
            attributes: super::attributes(false),
        }
    }
}

impl<S: Script> run::Guest for Component<S> {
    fn run(
        subject: &run::Database,
        context: Vec<(String, String)>,
        config: String,
    ) -> Result<run::Report, run::Error> {
        crate::run_script::<S>(subject, &Context::new(context), &config).map(Into::into).map_err(Into::into)
    }
}

impl DatabaseSource for database::Database {
    fn status(&self) -> Result<Vec<(String, String)>, DatabaseError> {
        Ok(database::Database::status(self)?)
    }

    fn hash_kv(&self, revision: i64) -> Result<KvHash, DatabaseError> {
        let hash = database::Database::hash_kv(self, revision)?;
        Ok(KvHash { hash: hash.hash, revision: hash.revision, compact_revision: hash.compact_revision })
    }

    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, DatabaseError> {
        Ok(database::Database::get(self, key)?.map(Into::into))
    }

    fn count(&self, query: &KeyQuery) -> Result<u64, DatabaseError> {
        Ok(database::Database::count(self, &lower(query))?)
    }

    fn open(&self, query: &KeyQuery) -> Result<Box<dyn KeyCursor + '_>, DatabaseError> {
        Ok(Box::new(database::Database::open(self, &lower(query))?))
    }

    fn put(&self, key: &[u8], value: &[u8], lease: i64) -> Result<i64, DatabaseError> {
        Ok(database::Database::put(self, key, value, lease)?)
    }

    fn delete(&self, query: &KeyQuery) -> Result<u64, DatabaseError> {
        Ok(database::Database::delete(self, &lower(query))?)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Committed, DatabaseError> {
        let lowered = lower_transaction(transaction)?;
        let committed = database::Database::commit(self, &lowered)?;
        let answers = committed.answers.into_iter().map(|answer| match answer.operation.as_str() {
            "put" => Answer::Put,
            "delete" => Answer::Deleted(answer.count),
            _ => Answer::Found(answer.row.map(Into::into)),
        });
        Ok(Committed {
            succeeded: committed.succeeded,
            revision: committed.revision,
            answers: answers.collect(),
        })
    }

    fn grant(&self, seconds: i64) -> Result<i64, DatabaseError> {
        Ok(database::Database::grant(self, seconds)?.id())
    }

    fn keep_alive(&self, lease: i64) -> Result<i64, DatabaseError> {
        Ok(database::Database::lease(self, lease).keep_alive()?)
    }

    fn time_to_live(&self, lease: i64) -> Result<TimeToLive, DatabaseError> {
        let stands = database::Database::lease(self, lease).time_to_live()?;
        Ok(TimeToLive {
            remaining_seconds: stands.remaining_seconds,
            granted_seconds: stands.granted_seconds,
            keys: stands.keys,
        })
    }

    fn revoke(&self, lease: i64) -> Result<(), DatabaseError> {
        Ok(database::Database::lease(self, lease).revoke()?)
    }

    fn leases(&self) -> Result<Vec<i64>, DatabaseError> {
        Ok(database::Database::leases(self)?)
    }

    fn watch(&self, query: &KeyQuery) -> Result<Box<dyn Watching + '_>, DatabaseError> {
        Ok(Box::new(database::Database::watch(self, &lower(query))?))
    }
}

impl KeyCursor for database::Cursor {
    fn revision(&self) -> i64 {
        database::Cursor::revision(self)
    }

    fn next_batch(&mut self, max_rows: u32, max_bytes: u32) -> Result<Batch, DatabaseError> {
        let batch = self.next(max_rows, max_bytes)?;
        Batch::new(BatchColumns {
            keys: batch.keys,
            key_ends: batch.key_ends,
            values: batch.values,
            value_ends: batch.value_ends,
            create_revisions: batch.create_revisions,
            mod_revisions: batch.mod_revisions,
            versions: batch.versions,
            leases: batch.leases,
        })
        .map_err(|error| DatabaseError::new("refused", error.message))
    }
}

impl Watching for database::Watch {
    fn next_events(&mut self, max_events: u32, timeout_ms: u32) -> Result<Vec<WatchEvent>, DatabaseError> {
        let events = self.next(max_events, timeout_ms)?;
        let event = |event: database::Event| WatchEvent {
            kind: if event.kind == "delete" { WatchEventKind::Delete } else { WatchEventKind::Put },
            row: event.row.into(),
            previous: event.previous.map(Into::into),
        };
        Ok(events.into_iter().map(event).collect())
    }
}

/// A query as the agent's resource. Conditions that say nothing are left out: each is a call.
fn lower(query: &KeyQuery) -> database::Query {
    let lowered = database::Query::new();
    if !query.start.is_empty() || !query.end.is_empty() {
        lowered.range(&query.start, &query.end);
    }
    if let Some(revision) = query.changed_after {
        lowered.changed_after(revision);
    }
    if let Some(revision) = query.at {
        lowered.at(revision);
    }
    if query.descending {
        lowered.descending();
    }
    if let Some(rows) = query.limit {
        lowered.limit(rows);
    }
    if query.columns != Columns::ALL {
        lowered.columns(query.columns.keys, query.columns.values, query.columns.revisions);
    }
    lowered
}

fn lower_transaction(transaction: &Transaction) -> Result<database::Transaction, DatabaseError> {
    let lowered = database::Transaction::new();
    for comparison in &transaction.comparisons {
        match comparison {
            Comparison::Value(key, operator, value) => {
                lowered.compare_value(key, operator.symbol(), value)?;
            }
            Comparison::Number(key, number, operator, value) => {
                lowered.compare_number(key, number.name(), operator.symbol(), *value)?;
            }
        }
    }
    for (branch, operations) in [("success", &transaction.success), ("failure", &transaction.failure)] {
        for operation in operations {
            match operation {
                Operation::Put(key, value, lease) => lowered.put(branch, key, value, *lease)?,
                Operation::Delete(key) => lowered.delete(branch, key)?,
                Operation::Get(key) => lowered.get(branch, key)?,
            }
        }
    }
    Ok(lowered)
}

impl From<database::Error> for DatabaseError {
    fn from(error: database::Error) -> DatabaseError {
        DatabaseError { code: error.code, message: error.message }
    }
}

impl From<database::KeyValue> for KeyValue {
    fn from(row: database::KeyValue) -> KeyValue {
        KeyValue {
            key: row.key,
            value: row.value,
            create_revision: row.create_revision,
            mod_revision: row.mod_revision,
            version: row.version,
            lease: row.lease,
        }
    }
}

impl From<Error> for run::Error {
    fn from(error: Error) -> run::Error {
        run::Error { code: error.code, message: error.message }
    }
}

impl From<report::Report> for run::Report {
    fn from(report: report::Report) -> run::Report {
        let findings = report.findings.into_iter().map(|finding| run::Finding {
            severity: finding.severity.name().to_owned(),
            code: finding.code,
            message: finding.message,
            key: finding.key,
            attributes: finding.attributes,
        });
        let measurements = report.measurements.into_iter().map(|measurement| run::Measurement {
            name: measurement.name,
            value: measurement.value,
            unit: measurement.unit,
            attributes: measurement.attributes,
        });
        run::Report {
            outcome: match report.outcome {
                report::Outcome::Passed => run::Outcome::Passed,
                report::Outcome::Failed => run::Outcome::Failed,
                report::Outcome::Inconclusive => run::Outcome::Inconclusive,
            },
            summary: report.summary,
            findings: findings.collect(),
            measurements: measurements.collect(),
            attributes: report.attributes,
        }
    }
}
