//! Is this the snapshot that a manifest, a proof or an earlier look describes?

use std::fmt;

use etcd_snapshot::{Facts, Outcome};
use serde::Serialize;
use serde_json::Value;

use crate::catalog::{MANIFEST_FORMAT, Manifest, RECORD_FORMAT, Record};

/// What a snapshot is expected to be.
#[derive(Debug)]
pub struct Expected {
    /// Where that is written: a path, or a backup's id.
    source: String,
    said: Said,
}

#[derive(Debug)]
enum Said {
    /// A manifest, or what `holdfast inspect` printed.
    Facts(Box<Facts>),
    /// A proof: which revision, and that it passed.
    Proof { revision: i64, outcome: Outcome },
}

/// One thing that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// What: `sha256`, `revision` …
    pub what: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// Whether these are the same.
    pub equal: bool,
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is {} and should be {}", self.what, self.found, self.expected)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`", self.source)
    }
}

/// A file that says nothing a snapshot could be compared with.
#[derive(Debug, thiserror::Error)]
pub enum AgainstError {
    /// It does not parse as what it says it is.
    #[error("`{path}` cannot be read as what it says it is")]
    Damaged {
        /// The file.
        path: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// It is something else.
    #[error("`{path}` is no manifest, no proof and no output of `holdfast inspect`")]
    Unknown {
        /// The file.
        path: String,
    },
}

impl AgainstError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        Some(
            "give a backup's id, its `manifest.json`, one of its records, or what `holdfast show --output json` or \
             `holdfast inspect --output json` printed"
                .to_owned(),
        )
    }
}

impl Expected {
    /// What a manifest says.
    pub fn manifest(manifest: &Manifest) -> Self {
        Self { source: manifest.id.to_string(), said: Said::Facts(Box::new(manifest.facts.clone())) }
    }

    /// Reads a manifest, a proof, or what `holdfast show` or `holdfast inspect` printed as JSON.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, AgainstError> {
        let damaged = |source| AgainstError::Damaged { path: path.to_owned(), source };
        let value: Value = serde_json::from_slice(bytes).map_err(damaged)?;
        // `show` prints the manifest beside the records.
        let value = value.get("manifest").cloned().unwrap_or(value);
        let facts = |value| serde_json::from_value::<Facts>(value).map(|facts| Said::Facts(Box::new(facts)));
        let said = match value.get("format").and_then(Value::as_str) {
            Some(MANIFEST_FORMAT) => {
                let manifest: Manifest = serde_json::from_value(value).map_err(damaged)?;
                Said::Facts(Box::new(manifest.facts))
            }
            Some(RECORD_FORMAT) => {
                let record: Record = serde_json::from_value(value).map_err(damaged)?;
                Said::Proof { revision: record.backup.revision(), outcome: record.outcome }
            }
            None if value.get("hashkv").is_some() => facts(value).map_err(damaged)?,
            _ => return Err(AgainstError::Unknown { path: path.to_owned() }),
        };
        Ok(Self { source: path.to_owned(), said })
    }

    /// Compares a snapshot with it.
    pub fn compare(&self, found: &Facts) -> Vec<Comparison> {
        match &self.said {
            Said::Facts(expected) => compare_facts(expected, found),
            Said::Proof { revision, outcome } => vec![
                comparison("revision", revision, found.revision),
                // Not of this file, but of the one that was proved: what failed then is not to be relied on now.
                comparison("proof", Outcome::Passed, outcome),
            ],
        }
    }
}

fn comparison(what: &'static str, expected: impl fmt::Display, found: impl fmt::Display) -> Comparison {
    let (expected, found) = (expected.to_string(), found.to_string());
    Comparison { what, equal: expected == found, expected, found }
}

fn compare_facts(expected: &Facts, found: &Facts) -> Vec<Comparison> {
    let mut all = vec![
        comparison("revision", expected.revision, found.revision),
        comparison("compact_revision", expected.compact_revision, found.compact_revision),
        comparison("live_keys", expected.live_keys, found.live_keys),
        comparison("records", expected.records, found.records),
        comparison("size_bytes", expected.size_bytes, found.size_bytes),
        comparison("hash", expected.hash, found.hash),
    ];
    if expected.hashkv.compact_revision == found.hashkv.compact_revision {
        all.push(comparison("hashkv", expected.hashkv.hash, found.hashkv.hash));
    }
    // A quick look computes none.
    if let (Some(expected), Some(found)) = (&expected.sha256, &found.sha256) {
        all.push(comparison("sha256", expected, found));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        serde_json::from_value(serde_json::json!({
            "revision": 7, "compact_revision": -1, "scheduled_compact_revision": -1, "hash": 1,
            "hashkv": { "hash": 2, "revision": 7, "compact_revision": -1 },
            "live_keys": 3, "records": 6, "total_keys": 9, "size_bytes": 4128, "image_bytes": 4096,
            "in_use_bytes": 4096, "page_size": 4096, "consistent_index": 8, "alarms": [], "members": [],
            "leases": 0, "auth_enabled": false, "buckets": [], "sha256": "11", "trailer": "present",
            "kubernetes": false
        }))
        .unwrap()
    }

    #[test]
    fn what_inspect_printed_describes_its_file_and_no_other() {
        let facts = facts();
        let expected = Expected::read("look.json", &serde_json::to_vec(&facts).unwrap()).unwrap();
        assert!(expected.compare(&facts).iter().all(|it| it.equal));
        let mut other = facts;
        (other.revision, other.sha256) = (8, Some("00".repeat(32)));
        let different: Vec<_> = expected.compare(&other).into_iter().filter(|it| !it.equal).collect();
        assert_eq!(different.iter().map(|it| it.what).collect::<Vec<_>>(), ["revision", "sha256"]);
        assert_eq!(different[0].to_string(), "revision is 8 and should be 7");
        // Without a sha256, the rest is compared.
        other.sha256 = None;
        assert_eq!(expected.compare(&other).iter().filter(|it| !it.equal).count(), 1);
    }

    #[test]
    fn a_proof_tells_the_revision_and_that_it_passed() {
        let record = |outcome: &str| {
            let text = format!(
                r#"{{"format":"holdfast-record/1","backup":"20261121T030000Z-7","session":"00","trigger":"verify",
                "started":"2026-11-21T03:00:00Z","ended":"2026-11-21T03:00:00Z","outcome":"{outcome}","steps":[]}}"#
            );
            Expected::read("record.json", text.as_bytes()).unwrap().compare(&facts())
        };
        assert!(record("passed").iter().all(|it| it.equal));
        assert_eq!(record("failed").iter().filter(|it| !it.equal).count(), 1);
    }

    #[test]
    fn other_files_are_told_apart() {
        assert!(matches!(Expected::read("x", b"no json"), Err(AgainstError::Damaged { .. })));
        assert!(matches!(Expected::read("x", b"{}"), Err(AgainstError::Unknown { .. })));
        let newer = br#"{"format":"holdfast-manifest/9"}"#;
        assert!(matches!(Expected::read("x", newer), Err(AgainstError::Unknown { .. })));
        let cut = br#"{"format":"holdfast-manifest/1"}"#;
        assert!(matches!(Expected::read("x", cut), Err(AgainstError::Damaged { .. })));
    }
}
