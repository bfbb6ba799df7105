//! Asks a file everything there is to ask, and holds the answers against each other.

use std::collections::BTreeSet;

use etcd_snapshot::bolt::{Bucket, Database, MAX_DEPTH, PageId, PageKind};
use etcd_snapshot::{
    CheckOptions, Inspection, LiveKeys, Outcome, Severity, Snapshot, SnapshotFile, codes, hash, inspect,
};

use super::model;

/// Findings listed at most.
const MAX_FINDINGS: usize = 40;
/// Buckets and keys looked at one by one.
const FEW: usize = 30;

/// Checks and reads a file in all ways.
pub(crate) fn examine(file: &SnapshotFile) {
    let options = CheckOptions { max_findings: MAX_FINDINGS, ..CheckOptions::default() };
    let found = inspect(file, &options);
    judge_findings(file, &found);
    judge_repeat(&found, &inspect(file, &options));
    read_pages(file.snapshot().db());
    read_buckets(file.snapshot().db());
    read_keys(file, &found);
    if found.integrity.outcome == Outcome::Passed {
        judge_sound(file, &found);
    }
}

fn judge_findings(file: &SnapshotFile, found: &Inspection) {
    let (facts, integrity) = (&found.facts, &found.integrity);
    let bytes = file.len_bytes();
    assert!(integrity.findings.len() <= MAX_FINDINGS);
    assert!(integrity.suppressed == 0 || integrity.findings.len() == MAX_FINDINGS);
    let has_error = integrity.findings.iter().any(|it| it.severity == Severity::Error);
    assert_eq!(has_error, integrity.outcome == Outcome::Failed, "errors are listed before the rest");
    for finding in &integrity.findings {
        assert!(codes::ALL.iter().any(|code| code.name == finding.code), "{finding:?}");
        assert!(finding.offset.is_none_or(|offset| offset <= bytes), "{finding:?}");
        let texts = [Some(&finding.message), finding.expected.as_ref(), finding.found.as_ref()];
        assert!(texts.into_iter().flatten().all(|text| text.len() <= 4096), "{finding:?}");
        assert!(!finding.message.chars().any(char::is_control), "{finding:?}");
    }
    assert!(facts.records <= bytes / 16 && facts.live_keys <= facts.records);
    assert!(facts.total_keys <= bytes / 16);
    assert!(facts.in_use_bytes <= bytes.max(2 * u64::from(facts.page_size)));
    assert!(facts.revision >= 0);
}

/// The same bytes give the same answer. Which of two ways to a page is told depends on which thread went it first, and
/// with it what else is told.
fn judge_repeat(first: &Inspection, second: &Inspection) {
    assert_eq!(first.integrity.outcome, second.integrity.outcome);
    let by_chance = |it: &Inspection| {
        it.integrity.suppressed > 0 || it.integrity.findings.iter().any(|it| it.code == "page-twice")
    };
    if !by_chance(first) && !by_chance(second) {
        assert_eq!(first.facts, second.facts);
        assert_eq!(first.integrity.findings, second.integrity.findings);
    }
}

/// Each page for itself, reached or not.
fn read_pages(database: Database<'_>) {
    let ids = (0..database.high_water().min(FEW as u64)).chain([database.high_water(), u64::MAX]);
    for id in ids {
        let Ok(page) = database.page(PageId(id)) else { continue };
        assert!(page.offset() as usize + page.bytes().len() <= database.bytes().len());
        let _ = page.leaf_items().flatten().count();
        let _ = (page.branch_item(0), page.branch_item(page.count()), page.branch_item(u16::MAX));
        if matches!(page.kind(), PageKind::Leaf | PageKind::Branch) {
            for key in [&b""[..], b"m", b"\xff"] {
                assert!(page.lower_bound(key).is_ok_and(|place| place <= page.count()) || page.count() > 0);
            }
        }
        if let Ok(content) = page.leaf_content() {
            assert!(content.end <= page.bytes().len());
        }
    }
    if let Ok(Some(free)) = database.freelist() {
        assert!(free.len() <= database.bytes().len() / 8);
    }
}

fn read_buckets(database: Database<'_>) {
    let most = database.bytes().len() / 16;
    assert!(database.buckets().count() <= most);
    for (name, bucket) in database.buckets().take(FEW).flatten() {
        let _ = database.bucket(name);
        let count = read_bucket(&bucket);
        assert!(count <= most, "no more items than the file can hold");
    }
    let _ = read_bucket(&database.root());
}

fn read_bucket(bucket: &Bucket<'_>) -> usize {
    let _ = bucket.last();
    for key in [&b""[..], b"term", b"\xff"] {
        let _ = bucket.get(key);
        assert!(bucket.path(key).is_ok_and(|path| path.len() <= MAX_DEPTH) || bucket.path(key).is_err());
    }
    let mut count = 0;
    for item in bucket.items() {
        count += 1;
        let Ok(item) = item else { continue };
        if count < FEW {
            let _ = bucket.get(item.key);
            let _ = bucket.child(&item).map(|inner| inner.items().count());
        }
    }
    count
}

fn read_keys(file: &SnapshotFile, found: &Inspection) {
    let snapshot = file.snapshot();
    let revision = found.facts.revision;
    let _ = hash::status_hash(snapshot);
    read_leases(snapshot);
    for (revision, compact_revision) in [
        (0, None),
        (revision / 2, Some(-1)),
        (revision, Some(revision)),
        (i64::MAX, None),
        (-1, Some(i64::MIN)),
    ] {
        let _ = hash::hash_kv(snapshot, revision, compact_revision);
    }
    let most = snapshot.bytes().len() / 16;
    for live in [
        file.live(),
        file.live_at(0),
        file.live_at(revision.saturating_sub(1)),
        file.live_at(found.facts.compact_revision),
        file.live_at(i64::MIN),
    ]
    .iter()
    .flatten()
    {
        assert!(live.len() <= most);
        judge_keys(live);
    }
    for key in some_keys(file) {
        let Ok(changes) = file.history(&key) else { continue };
        assert!(changes.records().len() <= most);
        assert!(changes.records().iter().all(|record| record.key_value.key == key));
        assert_eq!(changes.generations().map(<[_]>::len).sum::<usize>(), changes.records().len());
        for revision in [i64::MIN, 0, revision / 2, revision, i64::MAX] {
            assert!(changes.at(revision).is_none_or(|record| !record.tombstone));
        }
    }
}

/// Keys to ask for one by one: some that are there, one that is not, and none.
fn some_keys(file: &SnapshotFile) -> BTreeSet<Vec<u8>> {
    let mut keys: BTreeSet<Vec<u8>> = [&b""[..], b"k1", b"no such key"].map(<[u8]>::to_vec).into();
    if let Ok(live) = file.live() {
        let step = live.len() / 3 + 1;
        keys.extend((0..live.len()).step_by(step).map(|position| live.key(position).to_vec()));
    }
    keys
}

/// The leases, all of which may be anything.
fn read_leases(snapshot: Snapshot<'_>) {
    let Ok(leases) = snapshot.leases() else { return };
    let mut failed = false;
    let count = leases.inspect(|lease| failed |= lease.is_err()).count();
    assert!(count <= snapshot.bytes().len() / 16);
    assert!(!failed || count > 0);
}

fn judge_keys(live: &LiveKeys<'_>) {
    assert_eq!(live.iter().len(), live.len());
    assert!((1..live.len()).all(|position| live.key(position - 1) < live.key(position)), "keys ascend");
    for position in (0..live.len()).step_by(live.len() / FEW + 1) {
        let (key, entry) = (live.key(position), live.entry(position));
        assert_eq!(key, entry.key);
        assert_eq!(live.lower_bound(key), position);
        assert_eq!(live.get(key), Some(entry));
        assert_eq!(live.metadata(position).value_len, entry.value.len());
        assert!(live.prefix(key).contains(&position));
        assert_eq!(live.range(key, b"").start, position);
        assert!(!live.range(b"", key).contains(&position));
    }
    assert!(live.range(b"z", b"a").is_empty());
    judge_ranges(live);
}

/// Ranges lie within the keys, meet where they should, and read backwards what they read forwards.
fn judge_ranges(live: &LiveKeys<'_>) {
    let all = live.range(b"", b"");
    assert_eq!(all, 0..live.len());
    assert_eq!(live.prefix(b""), all);
    let mut backwards: Vec<_> = live.iter().rev().collect();
    backwards.reverse();
    assert_eq!(live.iter().collect::<Vec<_>>(), backwards);
    if live.is_empty() {
        return;
    }
    let (low, high) = (live.key(live.len() / 3), live.key(live.len() * 2 / 3));
    let (below, between, above) = (live.range(b"", low), live.range(low, high), live.range(high, b""));
    assert_eq!((below.start, below.end, between.end, above.end), (0, between.start, above.start, live.len()));
    assert!(between.clone().all(|position| low <= live.key(position) && live.key(position) < high));
    let (mut front, mut back) = (live.iter(), live.iter());
    let halves = (front.nth(live.len() / 3), back.nth_back(live.len() - 1 - live.len() / 3));
    assert_eq!(halves.0, halves.1, "both ways lead to the same key");
}

/// What passed the check reads without an error, and each way of asking gives the same answer.
fn judge_sound(file: &SnapshotFile, found: &Inspection) {
    let (snapshot, facts) = (file.snapshot(), &found.facts);
    let live = file.live().expect("a sound file has an index");
    assert_eq!(live.len() as u64, facts.live_keys);
    assert_eq!(hash::status_hash(snapshot).expect("a sound file has a hash"), facts.hash);
    let whole = hash::hash_kv(snapshot, 0, None).expect("a sound file has a history");
    assert_eq!(whole, facts.hashkv);
    assert_eq!(snapshot.revision().expect("a sound file has a revision"), facts.revision);
    let mut items = 0;
    let mut names = BTreeSet::new();
    for bucket in snapshot.db().buckets() {
        let (name, bucket) = bucket.expect("a sound file's buckets open");
        assert!(names.insert(name));
        for item in bucket.items() {
            let item = item.expect("a sound file's items read");
            assert_eq!(bucket.get(item.key), Ok(Some(item)), "what is there is found");
            items += 1;
        }
    }
    assert_eq!(items, facts.total_keys);
    let furthest = snapshot.compactions().expect("a sound file's compactions read").furthest();
    let leases: Vec<_> = snapshot.leases().expect("a sound file has leases").collect();
    assert!(leases.iter().all(Result::is_ok) && leases.len() as u64 == facts.leases);
    let histories: Vec<_> = some_keys(file)
        .into_iter()
        .map(|key| {
            let changes = file.history(&key).expect("a sound file's history reads");
            let expected = model::history(snapshot, &key).expect("a sound file's records decode");
            assert_eq!(changes.records(), expected);
            (key, changes)
        })
        .collect();
    for revision in [furthest.max(1), i64::midpoint(furthest.max(1), facts.revision), facts.revision] {
        let expected = model::live(snapshot, revision).expect("a sound file's records decode");
        let found = file.live_at(revision).expect("a sound file's history reads");
        for (key, changes) in &histories {
            let by_history = changes.at(revision).map(|record| record.key_value);
            assert_eq!(found.get(key), by_history, "{} at {revision}", key.escape_ascii());
        }
        let found: Vec<_> = found.iter().map(|entry| (entry.key, entry.mod_revision)).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "at {revision}");
        for compact_revision in [facts.compact_revision, revision.max(facts.compact_revision)] {
            let found = hash::hash_kv(snapshot, revision, Some(compact_revision)).map(|it| it.hash).ok();
            let expected = model::hash_kv(snapshot, revision, compact_revision);
            assert!(found.is_none() || found == expected, "hash at {revision}, compacted {compact_revision}");
        }
    }
}
