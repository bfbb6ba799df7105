//! The side of this crate that speaks to the agent: generated bindings, and the glue from them to plain types.
//!
//! Reached only through [`crate::export_verifier!`] and its like; exists on `wasm32` alone.

pub mod host;
pub(crate) mod http;
pub mod notifier;
pub mod store;

pub mod script;

use std::marker::PhantomData;

use crate::context::Context;
use crate::error::{Error, ReadError};
use crate::report;
use crate::snapshot::{Batch, BatchColumns, Cursor, KeyValue, Query, SnapshotSource, Totals};
use crate::{Verifier, config};

/// What `wit-bindgen` makes of the world `holdfast:verifier/verifier`.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/snapshot-0.1.0", "../../wit/host-0.1.0", "../../wit/verifier-0.1.0"],
        world: "holdfast:verifier/verifier",
        pub_export_macro: true,
        generate_all,
    });
}

use bindings::exports::holdfast::verifier::{plugin, verify};
use bindings::holdfast::snapshot::reader;

/// A verifier as the component's exports.
pub struct Component<V>(PhantomData<V>);

impl<V: Verifier> plugin::Guest for Component<V> {
    fn describe() -> plugin::Description {
        plugin::Description {
            name: V::NAME.to_owned(),
            version: V::VERSION.to_owned(),
            summary: V::SUMMARY.to_owned(),
            config_schema: config::schema::<V::Config>(),
            wants: V::WANTS.iter().map(|&want| want.to_owned()).collect(),
            attributes: attributes(V::REMEMBERS),
        }
    }
}

fn attributes(remembers: bool) -> Vec<(String, String)> {
    let sdk = ("sdk", concat!("holdfast-plugin ", env!("CARGO_PKG_VERSION")));
    let memo = remembers.then_some(("memo", "yes"));
    [Some(sdk), memo].into_iter().flatten().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl<V: Verifier> verify::Guest for Component<V> {
    fn verify(
        subject: &verify::Snapshot,
        context: Vec<(String, String)>,
        config: String,
    ) -> Result<verify::Report, verify::Error> {
        crate::run::<V>(subject, &Context::new(context), &config).map(Into::into).map_err(Into::into)
    }
}

impl SnapshotSource for reader::Snapshot {
    fn revision(&self) -> i64 {
        reader::Snapshot::revision(self)
    }

    fn compact_revision(&self) -> i64 {
        reader::Snapshot::compact_revision(self)
    }

    fn size_bytes(&self) -> u64 {
        reader::Snapshot::size_bytes(self)
    }

    fn live_keys(&self) -> Result<u64, ReadError> {
        Ok(reader::Snapshot::live_keys(self)?)
    }

    fn fact(&self, name: &str) -> Option<String> {
        reader::Snapshot::fact(self, name)
    }

    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, ReadError> {
        Ok(reader::Snapshot::get(self, key)?.map(Into::into))
    }

    fn open(&self, query: &Query) -> Result<Box<dyn Cursor + '_>, ReadError> {
        Ok(Box::new(reader::Snapshot::open(self, &lower(query))?))
    }

    fn totals(&self, query: &Query) -> Result<Totals, ReadError> {
        let totals = reader::Snapshot::totals(self, &lower(query))?;
        Ok(Totals { keys: totals.keys, key_bytes: totals.key_bytes, value_bytes: totals.value_bytes })
    }
}

impl Cursor for reader::Cursor {
    fn next_batch(&mut self, max_rows: u32, max_bytes: u32) -> Result<Batch, ReadError> {
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
    }
}

/// A query as the agent's resource. Conditions that say nothing are left out: each is a call.
fn lower(query: &Query) -> reader::Query {
    let lowered = reader::Query::new();
    if !query.prefix.is_empty() {
        lowered.prefix(&query.prefix);
    }
    if !query.start.is_empty() || !query.end.is_empty() {
        lowered.range(&query.start, &query.end);
    }
    if !query.key_contains.is_empty() {
        lowered.key_contains(&query.key_contains);
    }
    if !query.value_prefix.is_empty() {
        lowered.value_prefix(&query.value_prefix);
    }
    if let Some(revision) = query.changed_after {
        lowered.changed_after(revision);
    }
    if query.descending {
        lowered.descending();
    }
    if let Some(rows) = query.limit {
        lowered.limit(rows);
    }
    if query.columns != crate::snapshot::Columns::ALL {
        lowered.columns(query.columns.keys, query.columns.values, query.columns.revisions);
    }
    lowered
}

impl From<reader::Error> for ReadError {
    fn from(error: reader::Error) -> ReadError {
        ReadError { code: error.code, message: error.message }
    }
}

impl From<reader::KeyValue> for KeyValue {
    fn from(row: reader::KeyValue) -> KeyValue {
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

impl From<Error> for verify::Error {
    fn from(error: Error) -> verify::Error {
        verify::Error { code: error.code, message: error.message }
    }
}

impl From<report::Outcome> for verify::Outcome {
    fn from(outcome: report::Outcome) -> verify::Outcome {
        match outcome {
            report::Outcome::Passed => verify::Outcome::Passed,
            report::Outcome::Failed => verify::Outcome::Failed,
            report::Outcome::Inconclusive => verify::Outcome::Inconclusive,
        }
    }
}

impl From<report::Report> for verify::Report {
    fn from(report: report::Report) -> verify::Report {
        let memo = report.memo.map(|memo| ("memo".to_owned(), memo));
        let findings = report.findings.into_iter().map(|finding| verify::Finding {
            severity: finding.severity.name().to_owned(),
            code: finding.code,
            message: finding.message,
            key: finding.key,
            attributes: finding.attributes,
        });
        let measurements = report.measurements.into_iter().map(|measurement| verify::Measurement {
            name: measurement.name,
            value: measurement.value,
            unit: measurement.unit,
            attributes: measurement.attributes,
        });
        verify::Report {
            outcome: report.outcome.into(),
            summary: report.summary,
            findings: findings.collect(),
            measurements: measurements.collect(),
            attributes: report.attributes.into_iter().chain(memo).collect(),
        }
    }
}
