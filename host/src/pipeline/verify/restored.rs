//! The steps that need the backup restored: `restore` itself, and scripts.
//!
//! One etcd serves a chain. It is booted when the first step needs it, and all have it but those that ask for a fresh one. The step
//! that meets a boot that failed tells of it; those after it are skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_snapshot::{Severity, SnapshotFile};
use holdfast_runtime::{Grants, Plugin};
use tokio::sync::OnceCell;

use super::chain::Bench;
use super::{Subject, Verdict, called};
use crate::boot::{self, BootError, Judged, Options, Source, Throwaway};
use crate::catalog::Measured;
use crate::pipeline::store::with_causes;

/// The restored etcd of one chain.
pub(super) struct Restored {
    options: Options,
    source: Source,
    shared: OnceCell<Result<Throwaway, String>>,
}

impl Restored {
    pub(super) fn new(options: Options, subject: &Subject) -> Self {
        let source = source_of(&subject.file, &subject.inspection);
        Self { options, source, shared: OnceCell::new() }
    }

    /// The shared one, booted if it is not yet.
    async fn get(&self) -> Result<&Throwaway, Box<Verdict>> {
        let mut failure = None;
        let booting = async {
            Throwaway::boot(&self.options, &self.source).await.map_err(|error| {
                failure = Some(failed(&error));
                with_causes(&error)
            })
        };
        match self.shared.get_or_init(|| booting).await {
            Ok(throwaway) => Ok(throwaway),
            Err(message) => Err(Box::new(failure.unwrap_or_else(|| {
                Verdict::skipped(format!("no etcd runs on the restored backup: {message}"))
            }))),
        }
    }

    /// Ends the etcd, if there is one.
    pub(super) async fn end(self) {
        if let Some(Ok(throwaway)) = self.shared.into_inner() {
            throwaway.end().await;
        }
    }
}

/// What a boot that failed says.
fn failed(error: &BootError) -> Verdict {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    Verdict::new(error.outcome(), format!("{}{hint}", with_causes(error)))
}

/// The step `restore`.
pub(super) async fn restore(restored: &Restored, boot: bool) -> Verdict {
    let judged = if boot {
        match restored.get().await {
            Ok(throwaway) => boot::judge(throwaway, &restored.source).await,
            Err(verdict) => return *verdict,
        }
    } else {
        boot::restore_only(&restored.options, &restored.source).await
    };
    match judged {
        Ok(Judged { outcome, summary, took }) => {
            let seconds = |(name, took): (&str, std::time::Duration)| Measured {
                name: name.to_owned(),
                value: took.as_secs_f64(),
                unit: "seconds".to_owned(),
                attributes: BTreeMap::new(),
            };
            let measurements = took.into_iter().map(seconds).collect();
            Verdict { measurements, ..Verdict::new(outcome, summary) }
        }
        Err(error) => failed(&error),
    }
}

/// A step with a script.
pub(super) async fn script(
    bench: &Bench,
    plugin: &Plugin,
    fresh: bool,
    config: &serde_json::Value,
    grants: &Grants,
    mut context: Vec<(String, String)>,
) -> Verdict {
    let restored = &bench.restored;
    let own = if fresh {
        match Throwaway::boot(&restored.options, &restored.source).await {
            Ok(own) => Some(own),
            Err(error) => return failed(&error),
        }
    } else {
        None
    };
    let throwaway = match &own {
        Some(own) => own,
        None => match restored.get().await {
            Ok(shared) => shared,
            Err(verdict) => return *verdict,
        },
    };
    context.push(("fresh".to_owned(), throwaway.touch().to_string()));
    context.extend(facts_of(&restored.source));
    let database = match throwaway.database().await {
        Ok(database) => database,
        Err(error) => return failed(&error),
    };
    let run = plugin.run_script(database, context, config, grants).await;
    let mut verdict = called(plugin, run);
    if let Some(status) = throwaway.ended() {
        verdict.summary = format!("{}; the restored etcd ended meanwhile ({status})", verdict.summary);
    }
    if let Some(own) = own {
        own.end().await;
    }
    verdict
}

/// What a script is told of the backup.
pub(crate) fn facts_of(source: &Source) -> Vec<(String, String)> {
    let facts = &source.facts;
    let told = [
        ("revision", facts.revision.to_string()),
        ("compact-revision", facts.compact_revision.to_string()),
        ("live-keys", facts.live_keys.to_string()),
        ("leases", facts.leases.to_string()),
        ("hash-kv", facts.hashkv.hash.to_string()),
        ("hash-kv-revision", facts.hashkv.revision.to_string()),
        ("hash-kv-compact-revision", facts.hashkv.compact_revision.to_string()),
    ];
    told.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The backup of a file, for those who run scripts outside of chains.
pub(crate) fn source_of(file: &Arc<SnapshotFile>, inspection: &etcd_snapshot::Inspection) -> Source {
    let first =
        inspection.integrity.findings.iter().max_by_key(|finding| finding.severity == Severity::Error);
    let reason = first.map_or_else(|| "no reason was given".to_owned(), |finding| finding.message.clone());
    Source {
        file: Arc::clone(file),
        facts: Arc::new(inspection.facts.clone()),
        integrity: (inspection.integrity.outcome, reason),
    }
}
