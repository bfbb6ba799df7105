//! Database files that bbolt itself wrote (`make-bbolt.sh`) in shapes that etcd does not give them on most machines: pages of
//! other sizes, lists of free pages, buckets within buckets. What bbolt says of each stands beside it.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod hostile;
mod support;

use std::path::Path;

use etcd_snapshot::bolt::{Bucket, BucketRoot, PAGE_HEADER_BYTES, PageKind};
use etcd_snapshot::restore::{Plan, restore};
use etcd_snapshot::{CheckOptions, Inspection, OpenError, Outcome, SnapshotFile, hash, inspect};
use hostile::build::reseal;
use hostile::examine::examine;
use serde_json::Value;
use support::{bytes, facts, open};

/// What was put into other pages, its page size, and where it was taken from.
const PAGES: [(&str, u32, &str); 4] = [
    ("pages-1024", 1 << 10, "etcd-3.7-compacted"),
    ("pages-8192", 1 << 13, "etcd-3.4-compacted"),
    ("pages-16384", 1 << 14, "etcd-3.5-compacted"),
    ("pages-65536", 1 << 16, "etcd-3.6-compacted"),
];
/// Etcd's buckets beside others that hold buckets, and where the former were taken from.
const NESTED: [(&str, &str); 2] = [("nested", "etcd-3.6-history"), ("nested-16384", "etcd-3.7-history")];

fn check(file: &SnapshotFile) -> Inspection {
    inspect(file, &CheckOptions { allow_missing_hash: true, ..CheckOptions::default() })
}

fn codes(found: &Inspection) -> Vec<&str> {
    found.integrity.findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// The facts without those that tell how the content is laid out.
fn content(found: &Inspection) -> Value {
    let mut facts = serde_json::to_value(&found.facts).unwrap();
    for name in ["size_bytes", "image_bytes", "in_use_bytes", "page_size", "sha256", "trailer"] {
        assert!(facts.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    for bucket in facts["buckets"].as_array_mut().unwrap() {
        bucket.as_object_mut().unwrap().remove("pages").unwrap();
    }
    facts
}

/// What a restore for a cluster of one makes of it.
fn restored(file: &SnapshotFile, directory: &Path, compact: bool) -> SnapshotFile {
    let data_dir = directory.join(format!("member-{compact}"));
    let members = Plan::parse_initial_cluster("a=http://127.0.0.1:2380").unwrap();
    restore(file, &Plan { compact, ..Plan::new("a", members, "token", &data_dir) }).unwrap();
    SnapshotFile::open(&data_dir.join("member/snap/db")).unwrap()
}

#[test]
fn the_page_size_changes_nothing_that_is_read() {
    for (name, page_size, source) in PAGES {
        let (file, source) = (open(name), open(source));
        let (found, expected) = (check(&file), check(&source));
        assert_eq!(found.integrity.outcome, Outcome::Passed, "{name}: {:#?}", found.integrity.findings);
        assert_eq!(codes(&found), codes(&expected), "{name}");
        assert_eq!(content(&found), content(&expected), "{name}");
        assert_eq!(found.facts.page_size, page_size);
        assert_eq!(found.facts.page_size, facts(name)["page_size"]);
        assert_eq!(found.facts.image_bytes, facts(name)["image_bytes"]);
        assert_eq!(found.facts.hash, facts(name)["hash"]);
        let (live, expected) = (file.live().unwrap(), source.live().unwrap());
        assert!(live.iter().eq(expected.iter()), "{name}");
        examine(&file);
    }
}

#[test]
fn a_restore_keeps_the_page_size() {
    let directory = tempfile::tempdir().unwrap();
    for (name, page_size, _) in PAGES {
        let (file, directory) = (open(name), directory.path().join(name));
        let before = check(&file).facts;
        for compact in [false, true] {
            let written = restored(&file, &directory, compact);
            let after = check(&written);
            assert_eq!(after.integrity.outcome, Outcome::Passed, "{name}: {:#?}", after.integrity.findings);
            assert_eq!(after.facts.page_size, page_size);
            assert_eq!(after.facts.hashkv, before.hashkv);
            assert_eq!(after.facts.live_keys, before.live_keys);
        }
    }
}

/// Out of a data directory: metas that take turns, a list of free pages, pages behind the high water mark.
#[test]
fn a_copied_database_is_read_whatever_its_pages() {
    let (name, source) = ("copied-pages-8192", "etcd-3.6-history");
    let (file, said) = (open(name), facts(name));
    let found = check(&file);
    assert_eq!(codes(&found), ["file-longer", "hash-missing"]);
    assert_eq!(found.integrity.outcome, Outcome::Passed);
    assert_eq!(content(&found), content(&check(&open(source))));
    assert_eq!(found.facts.image_bytes, said["image_bytes"]);
    assert!(found.facts.size_bytes > found.facts.image_bytes);
    let (first, second) =
        (file.snapshot().db().read_meta(0).unwrap(), file.snapshot().db().read_meta(1).unwrap());
    assert_ne!(first.root, second.root);
    let free = file.snapshot().db().freelist().unwrap().unwrap();
    assert_eq!(free.len(), said["free_pages"].as_u64().unwrap() as usize);

    let directory = tempfile::tempdir().unwrap();
    for compact in [false, true] {
        let written = restored(&file, directory.path(), compact);
        let after = check(&written);
        assert_eq!(codes(&after), ["conf-state-differs", "hash-missing"]);
        assert_eq!(after.facts.hashkv, found.facts.hashkv);
        // A list would name pages that are in use since.
        assert_eq!(written.snapshot().db().freelist(), Ok(None));
    }
}

#[test]
fn lists_of_free_pages_are_read_however_long() {
    for name in ["free-few", "free-many"] {
        let (file, said) = (open(name), facts(name));
        let free = file.snapshot().db().freelist().unwrap().unwrap();
        assert_eq!(free.len() as u64, said["free_pages"], "{name}");
        assert!(free.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
        let found = check(&file);
        assert_eq!(found.facts.hash, said["hash"], "{name}");
        // It is not etcd's, and that is all there is to say.
        assert!(
            codes(&found).iter().all(|code| ["bucket-missing", "bucket-unknown"].contains(code)),
            "{name}: {:#?}",
            found.integrity.findings
        );
        let unused = u64::from(found.facts.page_size) * free.len() as u64;
        assert_eq!(found.facts.in_use_bytes, found.facts.image_bytes - unused, "{name}");
    }
}

#[test]
fn a_list_of_free_pages_that_is_wrong_is_told() {
    for (name, first) in [("free-few", 0), ("free-many", 1)] {
        let good = bytes(name);
        let file = SnapshotFile::from_bytes(good.clone()).unwrap();
        let database = file.snapshot().db();
        let list = (database.meta().freelist * u64::from(database.page_size())) as usize;
        let at = list + PAGE_HEADER_BYTES + first * 8;
        let root = database.meta().root.0;
        for id in [0, root, database.meta().freelist, database.high_water(), u64::MAX] {
            let mut bad = good.clone();
            bad[at..at + 8].copy_from_slice(&id.to_le_bytes());
            reseal(&mut bad);
            let found = check(&SnapshotFile::from_bytes(bad).unwrap());
            assert!(codes(&found).contains(&"freelist"), "{name}: {id}");
        }
        // The second in place of the first: one is there twice, one not at all.
        let mut bad = good.clone();
        bad.copy_within(at + 8..at + 16, at);
        reseal(&mut bad);
        let found = check(&SnapshotFile::from_bytes(bad).unwrap());
        assert_eq!(codes(&found).iter().filter(|code| **code == "freelist").count(), 2, "{name}");
    }
}

/// Each bucket that bbolt tells of, by its path, holds what it says.
fn judge_buckets(name: &str, root: Bucket<'_>) -> usize {
    let said = facts(name);
    for bucket in said["buckets"].as_array().unwrap() {
        let found = bucket["path"].as_array().unwrap().iter().fold(root, |outer, name| {
            outer.bucket(name.as_str().unwrap().as_bytes()).unwrap().expect("the bucket is there")
        });
        let (mut items, mut crc) = (0, 0);
        for item in found.items() {
            let item = item.unwrap();
            crc = crc32c::crc32c_append(crc, item.key);
            if !item.is_bucket() {
                crc = crc32c::crc32c_append(crc, item.value);
            }
            assert_eq!(found.get(item.key), Ok(Some(item)));
            items += 1;
        }
        assert_eq!(items, bucket["items"], "{name}: {}", bucket["path"]);
        assert_eq!(crc, bucket["crc32c"], "{name}: {}", bucket["path"]);
        assert_eq!(found.sequence(), bucket["sequence"], "{name}: {}", bucket["path"]);
    }
    said["buckets"].as_array().unwrap().len()
}

#[test]
fn buckets_within_buckets_are_read_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    for (name, source) in NESTED {
        let file = open(name);
        let root = file.snapshot().db().root();
        assert_eq!(judge_buckets(name, root), 10 + 18, "etcd's, and those beside them");
        let outer = root.bucket(b"outer").unwrap().unwrap();
        let is_inline = |name: &[u8]| matches!(outer.bucket(name).unwrap().unwrap().root(), BucketRoot::Inline(page) if page.kind() == PageKind::Leaf);
        assert_eq!(
            [is_inline(b"inner-0"), is_inline(b"inner-3"), is_inline(b"inner-2000")],
            [true, true, false]
        );

        let found = check(&file);
        assert_eq!(codes(&found), ["bucket-unknown"; 3], "{name}: {:#?}", found.integrity.findings);
        assert_eq!(found.facts.hash, facts(name)["hash"], "{name}");
        assert_eq!(hash::status_hash(file.snapshot()), Ok(found.facts.hash));
        assert_eq!(found.facts.hashkv, check(&open(source)).facts.hashkv);
        // Those of the inner buckets count as their outermost one's.
        let root_pages =
            1 + u64::from(file.snapshot().db().page(file.snapshot().db().meta().root).unwrap().overflow());
        let pages = found.facts.buckets.iter().map(|bucket| bucket.pages).sum::<u64>() + root_pages + 2;
        assert_eq!(found.facts.in_use_bytes, pages * u64::from(found.facts.page_size));
        for compact in [false, true] {
            let written = restored(&file, &directory.path().join(name), compact);
            let after = check(&written);
            assert_eq!(after.integrity.outcome, Outcome::Passed, "{name}: {:#?}", after.integrity.findings);
            assert_eq!(after.facts.hashkv, found.facts.hashkv);
            let kept = [&b"plain"[..], b"empty", b"outer"];
            for bucket in kept {
                let before = root.bucket(bucket).unwrap().unwrap();
                let after = written.snapshot().db().root().bucket(bucket).unwrap().unwrap();
                judge_equal(before, after);
            }
        }
    }
}

fn judge_equal(before: Bucket<'_>, after: Bucket<'_>) {
    assert_eq!(before.sequence(), after.sequence());
    assert_eq!(before.items().count(), after.items().count());
    for (before_item, after_item) in before.items().flatten().zip(after.items().flatten()) {
        assert_eq!((before_item.key, before_item.flags), (after_item.key, after_item.flags));
        if before_item.is_bucket() {
            judge_equal(before.child(&before_item).unwrap(), after.child(&after_item).unwrap());
        } else {
            assert_eq!(before_item.value, after_item.value);
        }
    }
}

/// A page of an inner bucket is damaged like any other.
#[test]
fn damage_within_inner_buckets_is_found() {
    let (name, _) = NESTED[0];
    let good = bytes(name);
    let file = SnapshotFile::from_bytes(good.clone()).unwrap();
    let outer = file.snapshot().db().bucket(b"outer").unwrap().unwrap();
    let inner = outer.bucket(b"inner-2000").unwrap().unwrap();
    let leaf = inner.path(b"key-01000").unwrap().last().unwrap().page;
    let at = leaf.offset() as usize;
    for (place, byte, code) in [
        (0, 0x40, "page-id"),
        (8, 0x01, "page-kind"),
        (11, 0x40, "page-overfull"),
        (PAGE_HEADER_BYTES + 4, 0x02, "element-layout"),
        (leaf.leaf_content().unwrap().start, 0xff, "key"),
    ] {
        let mut bad = good.clone();
        bad[at + place] ^= byte;
        reseal(&mut bad);
        let found = check(&SnapshotFile::from_bytes(bad).unwrap());
        assert!(codes(&found).iter().any(|it| it.starts_with(code)), "{code}: {:?}", codes(&found));
    }
}

/// As s390x writes it: the same in the other order of bytes.
#[test]
fn a_big_endian_file_is_refused_by_name() {
    let mut file = bytes("etcd-3.6-history");
    for page in 0..2 {
        let at = page * 4096;
        // Every field of the header and the meta, by its width.
        for (from, width) in [(0, 8), (8, 2), (10, 2), (12, 4), (16, 4), (20, 4), (24, 4), (28, 4)] {
            file[at + from..at + from + width].reverse();
        }
        for from in (32..80).step_by(8) {
            file[at + from..at + from + 8].reverse();
        }
    }
    let error = SnapshotFile::from_bytes(file).unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    let text = error.to_string();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(format!("{text}: {cause}").contains("big-endian"), "{text}: {cause}");
}
