//! Images written anew, read back, and compared with what they were made of.

use super::*;
use crate::bolt::{Refuse, walk};

/// An image with one bucket of these items, written by the loader itself from an empty one.
fn image(page_size: u32, items: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let change = BucketChange { clear: false, puts: items.to_vec() };
    loaded(&super::super::tests::empty(page_size), Changes::from([("key", change)]))
}

fn loaded(source: &[u8], changes: Changes) -> Vec<u8> {
    let mut bytes = Vec::new();
    let loaded = load(Database::open(source).unwrap(), changes, &mut bytes).unwrap();
    assert_eq!(loaded.bytes, bytes.len() as u64);
    for (offset, meta) in &loaded.metas {
        bytes[*offset as usize..][..meta.len()].copy_from_slice(meta);
    }
    super::super::tests::check(&bytes);
    bytes
}

fn items(bytes: &[u8], bucket: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bucket =
        Database::open(bytes).unwrap().bucket(bucket.as_bytes()).unwrap().expect("the bucket is there");
    bucket.items().map(|item| item.map(|item| (item.key.to_vec(), item.value.to_vec())).unwrap()).collect()
}

fn numbered(count: usize, value_bytes: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..count).map(|number| (format!("{number:08}").into_bytes(), vec![number as u8; value_bytes])).collect()
}

/// Pages reached, by kind of their node.
fn pages(bytes: &[u8]) -> u64 {
    let database = Database::open(bytes).unwrap();
    let groups = walk(&database.bucket(b"key").unwrap().unwrap(), &mut Refuse::new(&database)).unwrap();
    let leaves =
        groups.iter().flat_map(|group| (0..group.len()).map(move |index| group.leaf(index).unwrap()));
    leaves.map(|leaf| 1 + u64::from(leaf.overflow())).sum()
}

#[test]
fn trees_of_all_sizes_hold_what_was_put() {
    for page_size in [1024, 4096] {
        for count in [0, 1, 2, 3, 20, 50, 51, 52, 1000, 1500, 20_000] {
            let expected = numbered(count, 10);
            assert_eq!(items(&image(page_size, &expected), "key"), expected, "{count}");
        }
    }
}

#[test]
fn every_key_is_found_by_its_path() {
    let expected = numbered(5000, 30);
    let bytes = image(1024, &expected);
    let bucket = Database::open(&bytes).unwrap().bucket(b"key").unwrap().unwrap();
    for (key, value) in &expected {
        assert_eq!(bucket.get(key).unwrap().map(|item| item.value), Some(&**value));
    }
    assert!(bucket.path(b"00002500").unwrap().len() >= 3, "the tree has branches over branches");
}

#[test]
fn values_larger_than_pages_take_overflow_pages() {
    let expected = numbered(40, 10_000);
    let bytes = image(4096, &expected);
    assert_eq!(items(&bytes, "key"), expected);
    // Two in a node take five pages, where each alone would take three.
    assert_eq!(pages(&bytes), 20 * 5);
}

#[test]
fn pages_are_full_and_none_is_free() {
    let expected = numbered(10_000, 50);
    let bytes = image(4096, &expected);
    let content: usize = expected.iter().map(|(key, value)| ELEMENT_BYTES + key.len() + value.len()).sum();
    assert!(bytes.len() < content * 21 / 20, "{} bytes for {content}", bytes.len());
}

#[test]
fn changes_are_those_that_an_edit_makes() {
    let source = image(1024, &numbered(2000, 20));
    let put = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    let changes = || {
        Changes::from([
            ("alarm", BucketChange { clear: true, puts: vec![put("a", "1")] }),
            (
                "key",
                BucketChange {
                    clear: false,
                    puts: vec![
                        put("0", "first"),
                        put("00000100", "new"),
                        put("000001001", "between"),
                        put("z", "last"),
                    ],
                },
            ),
        ])
    };
    let (appended, anew) = (super::super::tests::edited(&source, changes()), loaded(&source, changes()));
    for bucket in ["alarm", "key"] {
        assert_eq!(items(&appended, bucket), items(&anew, bucket));
    }
    assert_eq!(items(&anew, "key").len(), 2003);
    let cleared = loaded(&source, Changes::from([("key", BucketChange { clear: true, puts: vec![] })]));
    assert_eq!(items(&cleared, "key"), []);
    assert_eq!(cleared.len(), 3 * 1024);
}

#[test]
fn shared_pages_do_not_multiply() {
    let source = image(1024, &numbered(2000, 20));
    let root = Database::open(&source).unwrap().root().get(b"key").unwrap().unwrap().value.to_vec();
    // A new root on a page of its own, with many names for the one bucket.
    let items =
        (0..20).map(|number| Item::owned(BUCKET_FLAG, format!("b{number:02}").into_bytes(), root.clone()));
    let meta = *Database::open(&source).unwrap().meta();
    let page = PageId(meta.high_water);
    let mut source = source;
    source.extend(Node::Leaf(items.collect()).encode(page, 0).unwrap());
    source.resize((page.0 as usize + 1) * 1024, 0);
    for (offset, bytes) in successors(Meta { root: page, high_water: page.0 + 1, ..meta }) {
        source[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    let error = load(Database::open(&source).unwrap(), Changes::new(), Vec::new()).err();
    assert!(
        matches!(error, Some(LoadError::Edit(EditError::Read(ReadError::ReachedTwice { .. })))),
        "{error:?}"
    );
}

#[test]
fn no_flipped_bit_makes_it_panic_or_run_on() {
    let good = image(1024, &numbered(60, 20));
    for bit in 2 * 1024 * 8..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut out = Vec::new();
        let _ = load(Database::open(&bytes).unwrap(), Changes::new(), &mut out);
        assert!(out.len() <= 2 * good.len(), "bit {bit}");
    }
}
