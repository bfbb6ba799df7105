//! Damaged snapshots: every reader ends with an answer or an error, and the check finds the damage. Single flipped bits
//! are in `flips.rs`, sizes that would take all time or memory in `bounds.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod hostile;
mod support;

use etcd_snapshot::bolt::{Meta, PageId};
use etcd_snapshot::{CheckOptions, Finding, Outcome, Severity, SnapshotFile, inspect};
use hostile::build::{BucketOf, key_value, record_key, reseal, snapshot};
use hostile::examine::examine;
use proptest::prelude::*;
use support::bytes;

const SNAPSHOTS: [&str; 10] = [
    "etcd-3.4-history",
    "etcd-3.4-compacted",
    "etcd-3.5-tombstone",
    "etcd-3.5-auth",
    "etcd-3.6-compacted",
    "etcd-3.6-auth",
    "etcd-3.7-history",
    "etcd-3.7-auth",
    "bumped",
    "alarm",
];

/// The errors and warnings found; an open error counts as one.
fn found(bytes: Vec<u8>) -> Vec<Finding> {
    match SnapshotFile::from_bytes(bytes) {
        Ok(file) => {
            let mut findings = inspect(&file, &CheckOptions::default()).integrity.findings;
            findings.retain(|finding| finding.severity != Severity::Info);
            findings
        }
        Err(error) => vec![
            serde_json::from_value(serde_json::json!({
                "code": "open", "severity": "error", "message": error.to_string()
            }))
            .unwrap(),
        ],
    }
}

/// Asks everything there is to ask.
fn read_everything(bytes: Vec<u8>) {
    if let Ok(file) = SnapshotFile::from_bytes(bytes) {
        examine(&file);
    }
}

#[test]
fn every_cut_is_found() {
    for name in ["etcd-3.6-compacted", "etcd-3.4-history", "bumped"] {
        let good = bytes(name);
        let mut lengths: Vec<usize> = (0..good.len()).step_by(good.len() / 100).collect();
        lengths.extend(good.len() - 40..good.len());
        lengths.extend((0..good.len()).step_by(4096));
        for length in lengths {
            let found = found(good[..length].to_vec());
            assert!(found.iter().any(|it| it.severity == Severity::Error), "{name} cut at {length}");
        }
    }
}

#[test]
fn each_fault_of_the_hash_has_a_code_of_its_own() {
    let good = bytes("etcd-3.6-history");
    let image = good.len() - 32;
    let codes = |bytes: Vec<u8>| -> Vec<String> { found(bytes).into_iter().map(|it| it.code).collect() };
    assert!(codes(good.clone()).is_empty());
    assert_eq!(codes(good[..image].to_vec()), ["hash-missing"]);
    assert_eq!(codes([&good[..image], &[0; 32]].concat()), ["hash-zeros"]);
    assert_eq!(codes([&good[..image], &[7; 32]].concat()), ["hash-mismatch"]);
    assert_eq!(codes([&good[..], &good[image..]].concat()), ["hash-twice"]);
    assert_eq!(codes(good[..image + 20].to_vec()), ["file-tail", "hash-missing"]);
}

#[test]
fn a_check_without_the_hash_says_so_and_passes() {
    let mut bad = bytes("etcd-3.6-history");
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let file = SnapshotFile::from_bytes(bad).unwrap();
    let quick = inspect(&file, &CheckOptions { sha256: false, ..CheckOptions::default() });
    assert_eq!(quick.integrity.outcome, Outcome::Passed);
    assert_eq!(quick.integrity.findings[0].code, "hash-not-compared");
    assert_eq!(quick.facts.sha256, None);
}

/// Both metas of a snapshot, changed and sealed.
fn with_meta(name: &str, change: impl Fn(&mut Meta)) -> Vec<u8> {
    let mut bytes = bytes(name);
    let page_size = SnapshotFile::from_bytes(bytes.clone()).unwrap().snapshot().db().page_size() as usize;
    for page in 0..2 {
        let at = page * page_size + 16;
        let mut meta = Meta::decode(&bytes[at..at + 64]).unwrap();
        change(&mut meta);
        bytes[at..at + 64].copy_from_slice(&meta.encode());
    }
    reseal(&mut bytes);
    bytes
}

#[test]
fn a_forged_high_water_mark_takes_no_memory() {
    for high_water in [0, 1, 3, 1 << 20, u64::from(u32::MAX)] {
        let forged = with_meta("etcd-3.6-history", |meta| meta.high_water = high_water);
        read_everything(forged.clone());
        assert!(!found(forged).is_empty(), "{high_water}");
    }
    let forged = with_meta("etcd-3.6-history", |meta| meta.high_water = u64::MAX);
    assert!(SnapshotFile::from_bytes(forged).is_err());
}

#[test]
fn a_forged_root_is_found() {
    for root in [0, 1, 2, 3, 5, 1 << 40, u64::MAX] {
        let forged = with_meta("etcd-3.6-compacted", |meta| {
            if meta.root != PageId(root) {
                meta.root = PageId(root);
            }
        });
        read_everything(forged.clone());
    }
}

/// The ids of the branch pages of a snapshot.
fn branches(bytes: &[u8]) -> Vec<usize> {
    (2..(bytes.len() - 32) / 4096).filter(|page| bytes[page * 4096 + 8] == 1).collect()
}

#[test]
fn cycles_end() {
    let good = bytes("etcd-3.6-compacted");
    for branch in branches(&good) {
        let mut bad = good.clone();
        for element in 0..3 {
            let at = branch * 4096 + 16 + element * 16 + 8;
            bad[at..at + 8].copy_from_slice(&(branch as u64).to_le_bytes());
        }
        reseal(&mut bad);
        read_everything(bad);
    }
}

#[test]
fn a_page_used_twice_is_found() {
    let good = bytes("etcd-3.6-compacted");
    let codes: Vec<String> = branches(&good)
        .into_iter()
        .flat_map(|branch| {
            let mut bad = good.clone();
            let at = branch * 4096 + 16;
            let second = bad[at + 24..at + 32].to_vec();
            bad[at + 8..at + 16].copy_from_slice(&second);
            reseal(&mut bad);
            found(bad).into_iter().map(|it| it.code)
        })
        .collect();
    assert!(codes.iter().any(|code| code == "page-twice"), "{codes:?}");
}

/// A snapshot of these items in one bucket, checked: the codes of its errors.
fn errors_of(bucket: &str, items: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<String> {
    let file = snapshot(4096, true, vec![BucketOf::new(bucket, items)]);
    let mut found = found(file);
    found.retain(|finding| finding.severity == Severity::Error);
    found.into_iter().map(|finding| finding.code).collect()
}

fn put(main: i64, key: &str, numbers: [i64; 3]) -> (Vec<u8>, Vec<u8>) {
    (record_key(main, 0, false), key_value(key.as_bytes(), numbers, b"v", 0))
}

#[test]
fn what_a_compaction_takes_away_is_gone() {
    let with = |finished: i64, rows: Vec<(Vec<u8>, Vec<u8>)>| {
        let mark = |name: &[u8]| (name.to_vec(), record_key(finished, 0, false));
        let meta = vec![
            mark(b"finishedCompactRev"),
            mark(b"scheduledCompactRev"),
            (b"consistent_index".to_vec(), vec![0, 0, 0, 0, 0, 0, 0, 9]),
        ];
        let buckets = vec![BucketOf::new("key", rows), BucketOf::new("meta", meta)];
        let mut found = found(snapshot(4096, true, buckets));
        found.retain(|finding| finding.severity == Severity::Error);
        found.into_iter().map(|finding| (finding.code, finding.revision)).collect::<Vec<_>>()
    };
    let row = |number| put(number, "a", [2, number, number - 1]);
    let gone = |revision: &str| vec![("not-compacted".to_owned(), Some(revision.to_owned()))];
    assert_eq!(with(3, vec![row(3), row(4)]), []);
    assert_eq!(with(3, vec![row(2), row(3), row(4)]), gone("2/0"));
    let deletion = |main| (record_key(main, 0, true), key_value(b"b", [0; 3], b"", 0));
    assert_eq!(with(3, vec![deletion(3), row(4)]).len(), 1, "a version without what it counts on");
    assert_eq!(with(3, vec![deletion(2), row(3)]), gone("2/0"));
    assert_eq!(with(3, vec![row(2), deletion(3)]), [], "since 3.4.34 a deletion at the very revision stays");
}

#[test]
fn json_longer_than_etcd_writes_is_not_decoded() {
    let members = format!(r#"{{"id":1,"x":[{}1]}}"#, "1,".repeat(40_000));
    assert_eq!(errors_of("members", vec![(b"1".to_vec(), members.into_bytes())]), ["member-value"]);
    let text = format!(r#"{{"id":"{}"}}"#, r"\u001b".repeat(9_000));
    let found =
        found(snapshot(4096, true, vec![BucketOf::new("members", vec![(b"1".to_vec(), text.into_bytes())])]));
    assert!(found.iter().all(|it| it.message.len() < 1100), "a message does not repeat the file");
}

#[test]
fn a_root_of_too_many_buckets_is_told() {
    let buckets = (0..1200).map(|number| BucketOf::new(format!("b{number:04}"), Vec::new()));
    let found = found(snapshot(4096, true, buckets.collect()));
    assert!(found.iter().any(|it| it.code == "root-item"), "{found:?}");
}

#[test]
fn buckets_inside_buckets_are_told_and_end() {
    // A bucket in a bucket in a bucket, each inline: the value of an item is a header and a leaf, again and again.
    let mut value = [&[0; 16][..], &[0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]].concat();
    for _ in 0..200 {
        let mut outer = vec![0; 24];
        outer.extend_from_slice(&[2, 0, 1, 0, 0, 0, 0, 0]);
        for word in [1, 16, 1, value.len() as u32] {
            outer.extend_from_slice(&word.to_le_bytes());
        }
        outer.push(b'n');
        outer.extend_from_slice(&value);
        value = outer;
    }
    let mut file = snapshot(4096, true, vec![BucketOf::new("nest", vec![(b"n".to_vec(), value)])]);
    // The item's flags: the value is a bucket.
    let key = file.windows(8).rposition(|bytes| bytes == [b'n', 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let element = (0..key).rev().find(|&at| file[at..at + 8] == [0, 0, 0, 0, 16, 0, 0, 0]).unwrap();
    file[element] = 1;
    reseal(&mut file);
    read_everything(file.clone());
    let codes: Vec<String> = found(file).into_iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"element-flags".to_owned()), "{codes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Stretches of bytes overwritten, copied from elsewhere or zeroed: nothing panics, hangs or runs away.
    #[test]
    fn mutations_never_panic(
        which in 0..SNAPSHOTS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..200usize, 0..4u8), 1..8),
        seal in any::<bool>(),
    ) {
        let mut bad = bytes(SNAPSHOTS[which]);
        for (to, from, length, kind) in edits {
            let image = bad.len() - 32;
            let to = to.index(image - 4096);
            let from = from.index(image - 4096);
            match kind {
                0 => bad[to..to + length].fill(0),
                1 => bad[to..to + length].fill(0xff),
                2 => bad.copy_within(from..from + length, to),
                _ => bad.copy_within(from / 4096 * 4096..from / 4096 * 4096 + 4096, to / 4096 * 4096),
            }
        }
        if seal {
            reseal(&mut bad);
        }
        read_everything(bad);
    }

    /// Small edits of numbers where it hurts most: page headers and elements.
    #[test]
    fn forged_headers_never_panic(
        which in 0..SNAPSHOTS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12usize, any::<u32>()), 1..6),
    ) {
        let mut bad = bytes(SNAPSHOTS[which]);
        for (page, word, value) in edits {
            let at = page.index((bad.len() - 32) / 4096) * 4096 + word * 4;
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        reseal(&mut bad);
        read_everything(bad);
    }

    /// Any bytes at all behind a meta that holds.
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..16384)) {
        let mut bad = bytes("etcd-3.6-history");
        let end = (8192 + noise.len()).min(bad.len() - 32);
        bad[8192..end].copy_from_slice(&noise[..end - 8192]);
        reseal(&mut bad);
        read_everything(bad);
        let _ = SnapshotFile::from_bytes(noise);
    }
}
