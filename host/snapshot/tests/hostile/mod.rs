//! Fuzz targets: functions that take any bytes and hold what the library promises of them.
//!
//! They are called from two sides: by libFuzzer (`fuzz/`), and by an ordinary test (`tests/fuzz.rs`) with the corpus and
//! with mutations that are the same on every run.
#![allow(dead_code, reason = "each user takes a part of it")]
#![allow(clippy::unwrap_used, reason = "what cannot fail here is what is tested")]

pub(crate) mod build;
pub(crate) mod examine;
pub(crate) mod model;
pub(crate) mod mutate;
pub(crate) mod script;

use std::path::Path;

use etcd_snapshot::bolt::{META_BYTES, Meta, PageId};
use etcd_snapshot::restore::{Plan, restore};
use etcd_snapshot::wal::{Records, WalError, read_segment};
use etcd_snapshot::{CheckOptions, Outcome, SnapshotFile, inspect};

use build::{META_BYTES_WITH_HEADER, meta_page, seal};
use examine::examine;

/// A target: its name, what it does with bytes, whether they are a whole snapshot file, and what to begin with.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    pub(crate) takes_files: bool,
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub(crate) const TARGETS: [Target; 7] = [
    Target { name: "meta", run: meta, takes_files: false, seeds: meta_seeds },
    Target { name: "pages", run: pages, takes_files: false, seeds: pages_seeds },
    Target { name: "records", run: records, takes_files: false, seeds: script::seeds },
    Target { name: "wal", run: wal, takes_files: false, seeds: wal_seeds },
    Target { name: "plan", run: plan, takes_files: false, seeds: plan_seeds },
    Target { name: "whole", run: whole, takes_files: true, seeds: file_seeds },
    Target { name: "restore", run: restore_file, takes_files: true, seeds: file_seeds },
];

/// Any bytes as a meta; then the same fields with a checksum that fits, in front of the rest as pages.
pub(crate) fn meta(data: &[u8]) {
    if let Ok(meta) = Meta::decode(data) {
        assert_eq!(&meta.encode()[..], &data[..META_BYTES], "a meta is written as it was read");
    }
    let long = |at: usize| data.get(at..at + 8).map_or(0, |it| u64::from_le_bytes(it.try_into().unwrap()));
    let meta = Meta {
        page_size: [1 << 10, 1 << 11, 1 << 12, 1 << 13, long(48) as u32][(long(56) % 5) as usize],
        flags: long(0) as u32,
        root: PageId(long(8)),
        sequence: long(16),
        freelist: long(24),
        high_water: long(32),
        txid: long(40),
    };
    assert_eq!(Meta::decode(&meta.encode()).is_ok(), is_page_size(meta.page_size));
    let rest = data.get(64..).unwrap_or_default();
    let page = if is_page_size(meta.page_size) { meta.page_size as usize } else { 1 << 10 };
    let page = page.min(1 << 13);
    let mut file = vec![0; 2 * page];
    file[..META_BYTES_WITH_HEADER].copy_from_slice(&meta_page(0, &meta));
    let second = Meta { txid: meta.txid.wrapping_sub(1), ..meta };
    file[page..page + META_BYTES_WITH_HEADER].copy_from_slice(&meta_page(1, &second));
    file.extend_from_slice(rest);
    if long(56) & 0x100 != 0 {
        seal(&mut file);
    }
    whole(&file);
}

fn is_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (1 << 10..=1 << 24).contains(&bytes)
}

/// Any bytes as the pages behind two good metas. The first byte says which page is the root.
pub(crate) fn pages(data: &[u8]) {
    const PAGE: usize = 1 << 10;
    let Some((root, pages)) = data.split_first() else { return };
    let meta = Meta {
        page_size: PAGE as u32,
        flags: 0,
        root: PageId(u64::from(*root)),
        sequence: 0,
        freelist: u64::MAX,
        high_water: 2 + pages.len().div_ceil(PAGE) as u64,
        txid: 2,
    };
    let mut file = vec![0; 2 * PAGE];
    file[..META_BYTES_WITH_HEADER].copy_from_slice(&meta_page(0, &meta));
    file[PAGE..PAGE + META_BYTES_WITH_HEADER].copy_from_slice(&meta_page(1, &Meta { txid: 1, ..meta }));
    file.extend_from_slice(pages);
    file.resize(meta.high_water as usize * PAGE, 0);
    seal(&mut file);
    whole(&file);
}

/// Bytes as a script of changes and raw items, put into pages that hold: see [`script`].
pub(crate) fn records(data: &[u8]) {
    whole(&script::file(data));
}

/// Any bytes as a whole file.
pub(crate) fn whole(data: &[u8]) {
    if let Ok(file) = SnapshotFile::from_bytes(data.to_vec()) {
        examine(&file);
    }
}

/// Any bytes as a segment; then as the parts of one whose frames and checksums hold.
pub(crate) fn wal(data: &[u8]) {
    read_wal(data);
    read_wal(&script::segment(data));
}

fn read_wal(segment: &[u8]) {
    let mut end = 0;
    let mut count = 0;
    let mut failed = None;
    let mut records = Records::of(segment, 0);
    while let Some(record) = records.next() {
        assert!(failed.is_none(), "nothing comes behind an error");
        match record {
            Ok(record) => {
                assert_eq!(record.offset, end, "frames follow each other");
                assert!(record.data.len() as u64 <= record.length);
                count += 1;
            }
            Err(error) => {
                let (WalError::Torn { offset }
                | WalError::Damaged { offset, .. }
                | WalError::Checksum { offset, .. }) = error;
                assert_eq!(offset, end, "the fault is where the next frame begins");
                failed = Some(error);
            }
        }
        end = records.position();
    }
    assert!(count <= segment.len() / 8, "a record has at least a frame");
    let position = records.position();
    assert!(position <= segment.len() as u64);
    match (read_segment(segment, 0), failed) {
        (Err(error), Some(first)) => {
            // A message that does not decode is told before a later frame's fault is met.
            assert!(matches!(error, WalError::Damaged { .. }) || error == first);
        }
        (Err(error), None) => assert!(matches!(error, WalError::Damaged { .. })),
        (Ok(contents), None) => {
            assert_eq!(contents.used_bytes, position);
            assert_eq!(contents.crc, records.crc());
            assert!(contents.entries.len() + contents.snapshots.len() <= count);
            let used = &segment[..position as usize];
            assert_eq!(read_segment(used, 0).as_ref(), Ok(&contents), "the rest does not count");
        }
        (Ok(_), Some(error)) => panic!("read in spite of {error}"),
    }
}

/// Text as an initial cluster and a plan.
pub(crate) fn plan(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (cluster, rest) = text.split_once('\n').unwrap_or((&text, "a"));
    let Ok(members) = Plan::parse_initial_cluster(cluster) else { return };
    assert!(!members.is_empty());
    let advertised: Vec<String> = rest.split(',').map(str::to_owned).collect();
    let plan = Plan {
        bump_revision: data.first().map(|&first| u64::from(first) << 56),
        mark_compacted: data.len().is_multiple_of(2),
        ..Plan::new(&members[0].name, members.clone(), rest, Path::new("/nowhere/at/all"))
    };
    let _ = plan.validate();
    let _ = plan.check_advertised(&advertised);
    if let Ok((_, ids)) = plan.ids() {
        assert_eq!(ids.len(), members.len());
        assert!(ids.windows(2).all(|pair| pair[0].1 < pair[1].1));
        assert!(plan.check_advertised(&members[0].peer_urls).is_ok());
    }
}

/// Any bytes as a file to restore, both ways. What comes out is never worse than what went in.
pub(crate) fn restore_file(data: &[u8]) {
    let Ok(file) = SnapshotFile::from_bytes(data.to_vec()) else { return };
    let before = inspect(&file, &CheckOptions::default());
    let members = Plan::parse_initial_cluster("a=http://127.0.0.1:2380,b=http://127.0.0.2:2380").unwrap();
    for compact in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("member");
        let plan = Plan { compact, ..Plan::new("a", members.clone(), "token", &target) };
        let outcome = restore(&file, &plan);
        if before.integrity.outcome == Outcome::Passed {
            assert!(outcome.is_ok(), "a sound file is restored: {outcome:?}");
        }
        match outcome {
            Ok(restored) => {
                assert!(restored.bytes_written <= 4 * data.len() as u64 + (1 << 16));
                let written = SnapshotFile::open(&target.join("member/snap/db")).unwrap();
                compare(&before, &written);
            }
            Err(_) => assert!(!target.exists(), "nothing is left"),
        }
    }
}

fn compare(before: &etcd_snapshot::Inspection, written: &SnapshotFile) {
    let options = CheckOptions { allow_missing_hash: true, ..CheckOptions::default() };
    let after = inspect(written, &options);
    if before.integrity.outcome != Outcome::Passed {
        return;
    }
    assert_eq!(after.integrity.outcome, Outcome::Passed, "{:#?}", after.integrity.findings);
    assert_eq!(after.facts.live_keys, before.facts.live_keys);
    assert_eq!(after.facts.records, before.facts.records);
    assert_eq!(after.facts.hashkv, before.facts.hashkv);
    assert_eq!(after.facts.members.len(), 2);
}

fn meta_seeds() -> Vec<Vec<u8>> {
    let file = script::file(&script::seeds()[0]);
    let fields = |root: u64, freelist: u64, high_water: u64, kind: u64| {
        let mut seed = Vec::new();
        for field in [0, root, 0, freelist, high_water, 9, 1 << 10, kind] {
            seed.extend_from_slice(&field.to_le_bytes());
        }
        seed.extend_from_slice(&file[2048..file.len() - 32]);
        seed
    };
    let meta = Meta::decode(&file[16..80]).unwrap();
    let (root, pages) = (meta.root.0, meta.high_water);
    vec![
        file[16..80].to_vec(),
        fields(root, u64::MAX, pages, 0x100),
        fields(root, root, pages, 0x100),
        fields(root, u64::MAX, u64::from(u32::MAX), 0),
        fields(2, 3, u64::MAX, 4),
    ]
}

fn pages_seeds() -> Vec<Vec<u8>> {
    file_seeds()
        .into_iter()
        .map(|file| {
            let root = Meta::decode(&file[16..80]).unwrap().root.0 as u8;
            [&[root], &file[2048..file.len() - 32]].concat()
        })
        .collect()
}

fn file_seeds() -> Vec<Vec<u8>> {
    script::seeds().iter().map(|seed| script::file(seed)).filter(|file| file.len() < 1 << 16).collect()
}

fn wal_seeds() -> Vec<Vec<u8>> {
    vec![
        script::segment(&[]),
        script::segment(b"\x01\x04\x08\x01\x10\x02\x02\x06\x08\x00\x10\x01\x18\x01\x03\x04\x08\x01\x18\x01"),
        b"\x05\x0a\x08\x01\x10\x01\x1a\x04\x08\x01\x08\x02\x02\x02\x18\x01\x02\x04\x18\x01\x22\x00".to_vec(),
    ]
}

fn plan_seeds() -> Vec<Vec<u8>> {
    [
        "a=http://127.0.0.1:2380\nhttp://127.0.0.1:2380",
        "a=http://a:1,b=https://[::1]:2,a=http://c:3,d=unix://x:0\ntoken",
        "a=b=http://a:1,=,c\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
