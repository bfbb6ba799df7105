//! Files made to take time or memory: small in what they hold, endless in what they say. Each reader ends soon; without its
//! limit it would run for hours, or take many times the file's length in memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod hostile;

use etcd_snapshot::bolt::{Meta, NO_FREELIST, PageId};
use etcd_snapshot::restore::{Plan, restore};
use etcd_snapshot::wal::read_segment;
use etcd_snapshot::{CheckOptions, Inspection, Outcome, SnapshotFile, hash, inspect};
use hostile::build::{BucketOf, META_BYTES_WITH_HEADER, meta_page, seal, snapshot};

const PAGE: usize = 4096;
const BRANCH: u8 = 1;
const LEAF: u8 = 2;
const FREELIST: u8 = 16;
/// Memory that all tests here may take together, with the files themselves: they come to some 150 MiB.
const MOST_BYTES: u64 = 450 << 20;

/// Pages put together by hand.
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        Self { bytes: vec![0; 2 * PAGE] }
    }

    fn next(&self) -> u64 {
        (self.bytes.len() / PAGE) as u64
    }

    /// A page of `count` elements whose bytes are given, with as many overflow pages as it takes.
    fn page(&mut self, kind: u8, count: usize, content: &[u8]) -> u64 {
        let id = self.next();
        let pages = (16 + content.len()).div_ceil(PAGE);
        self.bytes.extend_from_slice(&id.to_le_bytes());
        self.bytes.extend_from_slice(&[kind, 0, count as u8, (count >> 8) as u8]);
        self.bytes.extend_from_slice(&(pages as u32 - 1).to_le_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize((id as usize + pages) * PAGE, 0);
        id
    }

    fn leaf(&mut self, items: &[(u32, Vec<u8>, Vec<u8>)]) -> u64 {
        let (mut heads, mut content) = (Vec::new(), Vec::new());
        for (number, (flags, key, value)) in items.iter().enumerate() {
            let position = (items.len() - number) * 16 + content.len();
            for word in [*flags, position as u32, key.len() as u32, value.len() as u32] {
                heads.extend_from_slice(&word.to_le_bytes());
            }
            content.extend_from_slice(key);
            content.extend_from_slice(value);
        }
        heads.extend_from_slice(&content);
        self.page(LEAF, items.len(), &heads)
    }

    /// A branch with these children, whose keys are their numbers, counted from `first`.
    fn branch(&mut self, first: u32, children: &[u64]) -> u64 {
        let (mut heads, mut keys) = (Vec::new(), Vec::new());
        for (number, child) in children.iter().enumerate() {
            let position = (children.len() - number) * 16 + keys.len();
            heads.extend_from_slice(&(position as u32).to_le_bytes());
            heads.extend_from_slice(&4u32.to_le_bytes());
            heads.extend_from_slice(&child.to_le_bytes());
            keys.extend_from_slice(&(first + number as u32).to_be_bytes());
        }
        heads.extend_from_slice(&keys);
        self.page(BRANCH, children.len(), &heads)
    }

    /// The file with this root, a high water mark if it is not to be the true one, and the hash.
    fn file(mut self, root: u64, high_water: Option<u64>, freelist: u64) -> SnapshotFile {
        let meta = Meta {
            page_size: PAGE as u32,
            flags: 0,
            root: PageId(root),
            sequence: 0,
            freelist,
            high_water: high_water.unwrap_or(self.next()),
            txid: 10,
        };
        self.bytes[..META_BYTES_WITH_HEADER].copy_from_slice(&meta_page(0, &meta));
        self.bytes[PAGE..PAGE + META_BYTES_WITH_HEADER]
            .copy_from_slice(&meta_page(1, &Meta { txid: 9, ..meta }));
        seal(&mut self.bytes);
        SnapshotFile::from_bytes(self.bytes).unwrap()
    }
}

fn bucket(name: String, root: u64) -> (u32, Vec<u8>, Vec<u8>) {
    (1, name.into_bytes(), [root.to_le_bytes(), [0; 8]].concat())
}

/// Everything that reads all of a file.
fn read(file: &SnapshotFile) -> Inspection {
    let found = inspect(file, &CheckOptions::default());
    assert_ne!(found.integrity.outcome, Outcome::Passed);
    let snapshot = file.snapshot();
    let _ = hash::status_hash(snapshot);
    let _ = hash::hash_kv(snapshot, 0, None);
    let _ = (file.live().map(|live| live.len()), snapshot.db().root().items().count());
    for compact in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let members = Plan::parse_initial_cluster("a=http://127.0.0.1:2380").unwrap();
        let plan = Plan { compact, ..Plan::new("a", members, "token", &scratch.path().join("member")) };
        if let Ok(restored) = restore(file, &plan) {
            assert!(restored.bytes_written <= 3 * file.len_bytes() + (1 << 20));
        }
    }
    judge_memory();
    found
}

/// The most memory that this process has had.
fn judge_memory() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib << 10 < MOST_BYTES, "{kib} KiB");
}

fn codes(found: &Inspection) -> Vec<&str> {
    let mut codes: Vec<&str> = found.integrity.findings.iter().map(|it| it.code.as_str()).collect();
    codes.dedup();
    codes
}

/// A leaf of megabytes, and branches that all point to it.
#[test]
fn a_large_leaf_reached_from_everywhere() {
    let mut image = Image::new();
    let leaf = image.leaf(&[(0, vec![0; 4], vec![7; 4 << 20])]);
    let branches: Vec<u64> = (0..100).map(|number| image.branch(number * 4000, &vec![leaf; 4000])).collect();
    // The first keys of the branches are those that the page above gives.
    let (mut heads, mut keys) = (Vec::new(), Vec::new());
    for (number, child) in branches.iter().enumerate() {
        heads.extend_from_slice(&(((branches.len() - number) * 16 + keys.len()) as u32).to_le_bytes());
        heads.extend_from_slice(&4u32.to_le_bytes());
        heads.extend_from_slice(&child.to_le_bytes());
        keys.extend_from_slice(&(number as u32 * 4000).to_be_bytes());
    }
    heads.extend_from_slice(&keys);
    let top = image.page(BRANCH, branches.len(), &heads);
    let root = image.leaf(&[bucket("key".to_owned(), top)]);
    // With a high water mark that leaves room for as many pages as are named.
    let found = read(&image.file(root, Some(u64::from(u32::MAX)), NO_FREELIST));
    assert!(codes(&found).contains(&"page-twice"), "{:?}", codes(&found));
}

/// Thousands of buckets that are all the same tree.
#[test]
fn a_tree_that_every_bucket_has() {
    let mut image = Image::new();
    let leaves: Vec<u64> = (0..60_000).map(|number| 10_000 + number % 7).collect();
    let tree = image.branch(0, &leaves);
    let value = image.leaf(&[(0, vec![1], vec![7; 2 << 20])]);
    let mut buckets: Vec<_> = (0..30_000).map(|number| bucket(format!("b{number:05}"), tree)).collect();
    buckets.extend((0..30_000).map(|number| bucket(format!("c{number:05}"), value)));
    let root = image.leaf(&buckets);
    let found = read(&image.file(root, Some(u64::from(u32::MAX)), NO_FREELIST));
    assert!(codes(&found).contains(&"root-item"), "{:?}", codes(&found));
}

/// A high water mark of terabytes, and buckets that share their pages: a copy would fill any disk.
#[test]
fn a_forged_high_water_mark_is_no_licence_to_write() {
    let mut image = Image::new();
    let shared = image.leaf(&[(0, vec![1], vec![7; 1 << 20])]);
    let records = image.leaf(&[]);
    let mut buckets = vec![bucket("key".to_owned(), records)];
    buckets.extend((0..900).map(|number| bucket(format!("z{number:03}"), shared)));
    let root = image.leaf(&buckets);
    let found = read(&image.file(root, Some(u64::from(u32::MAX)), NO_FREELIST));
    assert!(codes(&found).contains(&"page-twice"), "{:?}", codes(&found));
}

/// Leaves beside branches: each would be a group of its own.
#[test]
fn leaves_beside_branches() {
    let mut image = Image::new();
    let leaf = image.leaf(&[(0, vec![0, 0, 0, 0, 1], vec![7])]);
    let lowest = image.branch(0, &[leaf]);
    let mut level = Vec::new();
    for number in 0..12 {
        // The first child is a branch, so the walk goes into each.
        let mut children = vec![leaf; 60_000];
        if number == 0 {
            children[0] = lowest;
        }
        level.push(image.branch(number * 60_000, &children));
    }
    let root = image.leaf(&[bucket("key".to_owned(), level[0])]);
    let found = read(&image.file(root, None, NO_FREELIST));
    assert!(codes(&found).contains(&"page-kind"), "{:?}", codes(&found));
}

/// A freelist that counts more than there is, and one of garbage as long as the file.
#[test]
fn freelists_out_of_bounds() {
    for (count, first) in [(0xffff, u64::MAX), (0xffff, 1 << 40), (0xffff, 500_000), (0xfffe, 7)] {
        let mut image = Image::new();
        let root = image.leaf(&[]);
        let mut content = first.to_le_bytes().to_vec();
        content.resize(4 << 20, 0xee);
        let free = image.page(FREELIST, count, &content);
        let found = read(&image.file(root, None, free));
        assert!(codes(&found).contains(&"freelist"), "{:?}", codes(&found));
    }
}

/// Two bytes a role: as slices they would be many times as long.
#[test]
fn a_user_of_a_million_roles() {
    let mut user = b"\x0a\x01u".to_vec();
    for _ in 0..12 << 20 {
        user.extend_from_slice(b"\x1a\x00");
    }
    let users = BucketOf::new("authUsers", vec![(b"u".to_vec(), user)]);
    let file = SnapshotFile::from_bytes(snapshot(PAGE, true, vec![users])).unwrap();
    assert_eq!(codes(&read(&file)), ["role-missing"]);
}

/// JSON takes some ten times its length once it is decoded.
#[test]
fn json_of_megabytes() {
    let nested = format!(r#"{{"id":1,"x":[{}0]}}"#, "[],".repeat(5 << 20));
    let members = BucketOf::new("members", vec![(b"1".to_vec(), nested.into_bytes())]);
    let file = SnapshotFile::from_bytes(snapshot(PAGE, true, vec![members])).unwrap();
    assert_eq!(codes(&read(&file)), ["member-value"]);
}

/// Lengths that end nowhere, and records as small as they can be.
#[test]
fn logs_with_forged_lengths() {
    for field in [u64::MAX, 1 << 55, (1 << 56) - 1, 0x87 << 56 | 1 << 40, 0x80 << 56 | u64::from(u32::MAX)] {
        let segment = [&field.to_le_bytes()[..], &[8, 4, 16, 0, 0, 0, 0, 0]].concat();
        assert!(read_segment(&segment, 0).is_err(), "{field:#x}");
    }
    // Ten bytes a record, each an entry without content.
    let mut segment = b"\x02\0\0\0\0\0\0\0\x08\x02".repeat(1 << 20);
    segment.extend_from_slice(&[0; 8]);
    assert_eq!(read_segment(&segment, 0).unwrap().entries.len(), 1 << 20);
    judge_memory();
}
