//! Everything about a snapshot that can be told and checked from the file alone.
//!
//! One thread hashes the image while the others read each page once: bounds, kinds, order, and on the way every record
//! and the CRC of every leaf. Each key's history is followed from notes of the records, in parts where there are too many for
//! the memory; only if something does not fit, a second walk over the file tells what. `HashKV` is then put together from the leaves' CRCs,
//! reading again only those leaves of which etcd passes over a record.
//!
//! Memory does not grow with the file, but for a few bytes a branch page and two bits a record: notes, key tables and the
//! leaves' CRCs have their bounds. No count or length in the file is taken at its word.

mod buckets;
mod collector;
mod file;
mod ledger;
mod records;
mod structure;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bolt::printable;
use crate::codes;
use crate::content::Content;
use crate::facts::{BucketFacts, Facts, HashKv};
use crate::finding::{Finding, Outcome};
use crate::record::KEY_BUCKET;
use crate::schema;
use crate::snapshot::{Snapshot, SnapshotFile, Trailer};
use crate::threads;
use buckets::StoreFacts;
use collector::Collector;
use structure::{BucketScan, Structure};

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOptions {
    /// Compute the SHA-256 of the image and compare it with the trailer. It takes most of the time of a check.
    pub sha256: bool,
    /// A file without a hash is fine: a copied `db` file.
    pub allow_missing_hash: bool,
    /// Findings to list; further ones are counted. Errors are listed before warnings.
    pub max_findings: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { sha256: true, allow_missing_hash: false, max_findings: 1000 }
    }
}

/// What [`inspect`] found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Inspection {
    /// What the snapshot is; in JSON its fields stand at the top.
    #[serde(flatten)]
    pub facts: Facts,
    /// Whether it is sound.
    pub integrity: Integrity,
}

/// Whether a snapshot is sound.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Integrity {
    /// Failed exactly if there is an error among the findings, listed or not.
    pub outcome: Outcome,
    /// What was found: errors first, then by code and place.
    pub findings: Vec<Finding>,
    /// Findings that were counted but not listed.
    pub suppressed: u64,
}

/// Checks a snapshot and tells its facts. Never panics, whatever the bytes; uses all cores.
///
/// Facts that damage hides are 0, -1, `None` or empty; a finding says why.
///
/// ```
/// use etcd_snapshot::{CheckOptions, Outcome, SnapshotFile, inspect};
///
/// fn is_sound(bytes: Vec<u8>) -> bool {
///     match SnapshotFile::from_bytes(bytes) {
///         Ok(file) => inspect(&file, &CheckOptions::default()).integrity.outcome == Outcome::Passed,
///         Err(_) => false,
///     }
/// }
/// assert!(!is_sound(vec![0; 8192]));
/// ```
pub fn inspect(file: &SnapshotFile, options: &CheckOptions) -> Inspection {
    let snapshot = file.snapshot();
    let findings = Collector::new(options.max_findings);
    let (sha256, facts) = if options.sha256 {
        // One thread more than cores: the hash alone takes about as long as all the rest, and the cores are shared evenly.
        std::thread::scope(|scope| {
            let digest = scope.spawn(|| Sha256::digest(snapshot.image()).into());
            let facts = examine(snapshot, &findings, threads::available());
            (digest.join().ok(), facts)
        })
    } else {
        (None, examine(snapshot, &findings, threads::available()))
    };
    file::check(snapshot, options, sha256, &findings);
    let facts = Facts { sha256: sha256.map(|digest: [u8; 32]| hex(&digest)), ..facts };
    Inspection { facts, integrity: findings.into_integrity() }
}

/// All but the file's hash and shape.
fn examine(snapshot: Snapshot<'_>, findings: &Collector, workers: usize) -> Facts {
    let mut structure = Structure::new(snapshot.db(), findings, workers);
    let root = structure.scan_root();
    // The leases are looked up and the compact revisions needed while the records are read; both are found by name.
    let context = records::Context::read(snapshot, findings);
    let mut hash = Some(Content::default());
    let mut buckets = Vec::new();
    let mut store = StoreFacts::default();
    let mut records = None;
    for (item, bucket) in &root.buckets {
        let name = printable(item.key);
        let is_key_bucket = item.key == KEY_BUCKET.as_bytes();
        let (scan, groups) = if is_key_bucket {
            records::scan(&mut structure, bucket, &context)
        } else if schema::is_known_bucket(item.key) {
            (structure.scan_plain(&name, bucket), Vec::new())
        } else {
            (structure.scan_unknown(&name, bucket), Vec::new())
        };
        if scan.sound && !is_key_bucket {
            buckets::check(item.key, &name, bucket, findings, &mut store);
        }
        hash = join(hash, item.key, &scan);
        buckets.push(bucket_facts(&name, &scan));
        if is_key_bucket {
            records = Some((scan, groups));
        }
    }
    structure.check_freelist();
    if root.sound {
        check_present(&buckets, findings);
    }
    let has_records = buckets.iter().any(|bucket| bucket.name == KEY_BUCKET && bucket.items > 0);
    buckets::check_together(&store, has_records, findings);
    let history = records.map_or_else(records::History::default, |(scan, mut groups)| {
        records::check_history(snapshot, &scan, &mut groups, &context, findings, workers)
    });
    file::check_quota(snapshot.db().size_bytes(), findings);
    let hash = hash.filter(|_| root.sound).map_or(0, |content| content.crc);
    facts(snapshot, hash, structure.in_use_bytes(), buckets, store, &history)
}

fn check_present(buckets: &[BucketFacts], findings: &Collector) {
    for name in schema::KNOWN_BUCKETS.iter().filter(|name| buckets.iter().all(|bucket| bucket.name != **name))
    {
        let message = format!("the bucket `{name}` is missing");
        findings.report(Finding::new(&codes::BUCKET_MISSING, message).bucket(name));
    }
}

fn facts(
    snapshot: Snapshot<'_>,
    hash: u32,
    in_use_bytes: u64,
    buckets: Vec<BucketFacts>,
    store: StoreFacts<'_>,
    history: &records::History,
) -> Facts {
    let none = schema::Compactions { finished: -1, scheduled: -1 };
    let compactions = snapshot.compactions().unwrap_or(none);
    Facts {
        revision: history.revision,
        compact_revision: compactions.finished,
        scheduled_compact_revision: compactions.scheduled,
        hash,
        hashkv: HashKv {
            hash: history.hash,
            revision: history.revision,
            compact_revision: compactions.finished,
        },
        live_keys: history.live_keys,
        records: history.records,
        total_keys: buckets.iter().map(|bucket| bucket.items).sum(),
        size_bytes: snapshot.bytes().len() as u64,
        image_bytes: snapshot.db().size_bytes(),
        in_use_bytes,
        page_size: snapshot.db().page_size(),
        etcd_version: store.has_meta.then(|| store.etcd_version()),
        storage_version: store.storage_version.map(|version| version.to_string()),
        cluster_version: store.cluster_version.map(|version| version.to_string()),
        consistent_index: store.consistent_index.unwrap_or(0),
        term: store.term,
        alarms: store.alarms,
        members: store.members,
        leases: store.leases,
        auth_enabled: store.auth_enabled,
        buckets,
        sha256: None,
        trailer: match snapshot.trailer() {
            Trailer::Present(_) => "present",
            Trailer::Zeros => "zeros",
            Trailer::Absent => "absent",
        }
        .to_owned(),
        kubernetes: history.kubernetes,
    }
}

/// The hash so far with a bucket behind it; none once a bucket cannot be read whole.
fn join(hash: Option<Content>, name: &[u8], scan: &BucketScan<'_>) -> Option<Content> {
    let hash = hash.filter(|_| scan.sound)?.append(name);
    Some(scan.segments.iter().fold(hash, |content, segment| content.join(segment.content)))
}

fn bucket_facts(name: &str, scan: &BucketScan<'_>) -> BucketFacts {
    BucketFacts {
        name: name.to_owned(),
        items: scan.segments.iter().map(|segment| segment.items).sum(),
        key_bytes: scan.key_bytes,
        value_bytes: scan.value_bytes,
        pages: scan.pages,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
