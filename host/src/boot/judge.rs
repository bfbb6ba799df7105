//! What came back, compared with what was backed up.

use std::time::Duration;

use etcd_snapshot::{CheckOptions, Facts, Outcome, SnapshotFile};
use holdfast_runtime::{Database as _, DatabaseError, KeyRange};

use super::database::Client;
use super::place::Place;
use super::{BootError, Source, Throwaway, in_words};
use crate::units::{counted, format_duration};

/// What a restore came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
    /// How long the restore took, and how long etcd took to answer, in seconds.
    pub took: Vec<(&'static str, Duration)>,
}

/// Asks the restored etcd for its revision, its keys and their hash, and compares them with the backup's. Other scripts may have
/// written meanwhile: what is compared is of the backup's revision.
pub async fn judge(throwaway: &Throwaway, source: &Source) -> Result<Judged, BootError> {
    let client = throwaway.client().await?;
    let (restored_in, booted_in) = throwaway.took();
    let took = vec![("restored", restored_in), ("booted", booted_in)];
    let compared = Box::pin(compare(&client, source)).await;
    let (outcome, what) = match compared {
        Ok(told) => told,
        Err(error) => (Outcome::Inconclusive, format!("it could not be asked: {error}")),
    };
    let summary = format!(
        "etcd {} runs on it, {what} (restored in {}, booted in {})",
        throwaway.version(),
        format_duration(restored_in),
        format_duration(booted_in)
    );
    Ok(Judged { outcome, summary, took })
}

async fn compare(client: &Client, source: &Source) -> Result<(Outcome, String), DatabaseError> {
    let facts = &source.facts;
    let revision = client.revision().await?;
    if revision < facts.revision {
        let summary = format!("but it is at revision {revision}, not {}", facts.revision);
        return Ok((Outcome::Failed, summary));
    }
    let keys = client.count(KeyRange::default(), facts.revision).await?;
    if keys != facts.live_keys {
        let expected = counted(facts.live_keys, "key");
        return Ok((Outcome::Failed, format!("but it holds {keys} of {expected}")));
    }
    let hash = client.hash_kv(facts.revision).await?;
    // Only a hash that leaves out as much of the history can be compared.
    let expected = if hash.compact_revision == facts.hashkv.compact_revision {
        Ok(facts.hashkv.hash)
    } else {
        hash_file(source, hash.compact_revision).await
    };
    let keys = counted(keys, "key");
    Ok(match expected {
        Ok(expected) if expected == hash.hash => (
            Outcome::Passed,
            format!("with {keys} at revision {} and their hash as in the backup", facts.revision),
        ),
        Ok(expected) => {
            (Outcome::Failed, format!("but the hash of its keys is {:08x}, not {expected:08x}", hash.hash))
        }
        Err(error) => (Outcome::Inconclusive, format!("with {keys}, whose hash cannot be compared: {error}")),
    })
}

async fn hash_file(source: &Source, compact_revision: i64) -> Result<u32, String> {
    let (file, revision) = (std::sync::Arc::clone(&source.file), source.facts.revision);
    let hashing = tokio::task::spawn_blocking(move || {
        etcd_snapshot::hash::hash_kv(file.snapshot(), revision, Some(compact_revision)).map(|hash| hash.hash)
    });
    match hashing.await {
        Ok(hash) => hash.map_err(|error| in_words(&error)),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Reads back the database that a restore wrote. Blocking.
pub(super) fn judge_written(place: &Place, facts: &Facts, took: Duration) -> Judged {
    let path = place.data_directory().join("member/snap/db");
    let told = |outcome, summary| Judged { outcome, summary, took: vec![("restored", took)] };
    let file = match SnapshotFile::open(&path) {
        Ok(file) => file,
        Err(error) => {
            return told(Outcome::Failed, format!("what was restored cannot be read: {}", in_words(&error)));
        }
    };
    let options = CheckOptions { sha256: false, allow_missing_hash: true, ..CheckOptions::default() };
    let written = etcd_snapshot::inspect(&file, &options);
    let same = |facts: &Facts| (facts.revision, facts.live_keys, facts.hashkv.hash);
    if same(&written.facts) != same(facts) {
        return told(Outcome::Failed, "what was restored is not what is in the backup".to_owned());
    }
    let errors = written
        .integrity
        .findings
        .iter()
        .find(|finding| finding.severity == etcd_snapshot::Severity::Error)
        .map(|finding| finding.message.clone());
    match errors {
        Some(first) => told(Outcome::Failed, format!("what was restored is not sound: {first}")),
        None => told(
            Outcome::Passed,
            format!(
                "restored in {} and read back: revision {}, {}; no etcd was started",
                format_duration(took),
                facts.revision,
                counted(facts.live_keys, "key")
            ),
        ),
    }
}
