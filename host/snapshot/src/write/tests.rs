//! Edits of small images made by hand, read back with the reader that everything else uses.

use super::*;
use crate::bolt::PAGE_HEADER_BYTES;

/// A database with an empty root leaf on page 3, and pages put behind it.
struct Image {
    page_size: u32,
    pages: Vec<u8>,
    next: u64,
}

impl Image {
    fn new(page_size: u32) -> Self {
        Self { page_size, pages: Vec::new(), next: 3 }
    }

    fn add(&mut self, node: &Node<'_>) -> PageId {
        let (id, size) = (PageId(self.next), self.page_size as usize);
        let count = node.size_bytes().div_ceil(size);
        let end = self.pages.len() + count * size;
        self.pages.extend_from_slice(&node.encode(id, count as u32 - 1).unwrap());
        self.pages.resize(end, 0);
        self.next += count as u64;
        id
    }

    fn finish(self, root: PageId) -> Vec<u8> {
        let meta = Meta {
            page_size: self.page_size,
            flags: 0,
            root,
            sequence: 0,
            freelist: 2,
            high_water: self.next,
            txid: 8,
        };
        let size = self.page_size as usize;
        let mut bytes = vec![0; 3 * size];
        for (offset, page) in successors(meta) {
            bytes[offset as usize..][..page.len()].copy_from_slice(&page);
        }
        bytes[2 * size] = 2;
        bytes[2 * size + 8] = PageKind::Freelist.flags() as u8;
        bytes.extend_from_slice(&self.pages);
        bytes
    }
}

fn leaf(items: &[(&str, &str)]) -> Node<'static> {
    Node::Leaf(
        items
            .iter()
            .map(|(key, value)| Item::owned(0, key.as_bytes().into(), value.as_bytes().into()))
            .collect(),
    )
}

fn bucket_item(name: &str, value: Vec<u8>) -> Item<'static> {
    Item::owned(BUCKET_FLAG, name.into(), value)
}

fn inline_bucket(name: &str, items: &[(&str, &str)]) -> Item<'static> {
    let mut value = bucket_header(PageId(0), 5);
    value.extend(leaf(items).encode(PageId(0), 0).unwrap());
    bucket_item(name, value)
}

fn branch(children: &[(&str, PageId)]) -> Node<'static> {
    let child = |&(key, page): &(&str, PageId)| Child { key: key.as_bytes().to_vec().into(), page };
    Node::Branch(children.iter().map(child).collect())
}

pub(super) fn empty(page_size: u32) -> Vec<u8> {
    let mut image = Image::new(page_size);
    let root = image.add(&Node::Leaf(Vec::new()));
    image.finish(root)
}

fn open(bytes: &[u8]) -> Database<'_> {
    Database::open(bytes).unwrap()
}

fn change(puts: &[(&str, &str)]) -> BucketChange {
    let puts = puts.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    BucketChange { clear: false, puts }
}

/// The image as it lies on disk after the patch.
fn patched(image: &[u8], patch: &Patch) -> Vec<u8> {
    let mut bytes = image[..patch.kept_bytes as usize].to_vec();
    bytes.extend_from_slice(&patch.pages);
    for (offset, meta) in &patch.metas {
        bytes[*offset as usize..][..meta.len()].copy_from_slice(meta);
    }
    bytes
}

pub(super) fn edited(image: &[u8], changes: Changes) -> Vec<u8> {
    let bytes = patched(image, &edit(open(image), changes).unwrap());
    check(&bytes);
    bytes
}

/// What must hold of every edited image.
pub(super) fn check(bytes: &[u8]) {
    let database = open(bytes);
    let (first, second) = (database.read_meta(0).unwrap(), database.read_meta(1).unwrap());
    assert_eq!(first.root, second.root);
    assert_eq!(first.txid.abs_diff(second.txid), 1);
    assert_eq!(database.meta().txid, first.txid.max(second.txid));
    assert_eq!(database.meta().txid % 2, u64::from(database.meta_page()));
    assert_eq!(database.size_bytes(), bytes.len() as u64);
    assert_eq!(database.freelist(), Ok(None));
    for bucket in database.buckets() {
        crate::bolt::walk(&bucket.unwrap().1, &mut crate::bolt::Refuse::new(&database)).unwrap();
    }
}

fn items(bytes: &[u8], bucket: &str) -> Vec<(String, String)> {
    let bucket = open(bytes).bucket(bucket.as_bytes()).unwrap().expect("the bucket is there");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    bucket.items().map(|item| item.map(|item| (text(item.key), text(item.value))).unwrap()).collect()
}

fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    items.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn is_inline(bytes: &[u8], bucket: &str) -> bool {
    matches!(open(bytes).bucket(bucket.as_bytes()).unwrap().unwrap().root(), BucketRoot::Inline(_))
}

#[test]
fn missing_buckets_are_created_at_any_page_size() {
    for page_size in [1024, 4096, 16384, 65536] {
        let changes = Changes::from([
            ("members", change(&[("b", "2"), ("a", "1")])),
            ("cluster", BucketChange::default()),
            ("meta", change(&[("term", "1")])),
        ]);
        let bytes = edited(&empty(page_size), changes);
        let names: Vec<_> = open(&bytes).buckets().map(|bucket| bucket.unwrap().0).collect();
        assert_eq!(names, [&b"cluster"[..], b"members", b"meta"]);
        assert_eq!(items(&bytes, "members"), pairs(&[("a", "1"), ("b", "2")]));
        assert_eq!(items(&bytes, "cluster"), []);
        assert!(is_inline(&bytes, "members"));
    }
}

#[test]
fn an_inline_bucket_that_outgrows_its_quarter_page_gets_a_page() {
    let mut image = Image::new(4096);
    let root = image.add(&Node::Leaf(vec![inline_bucket("meta", &[("a", "1"), ("c", "3")])]));
    let image = image.finish(root);

    let small = edited(&image, Changes::from([("meta", change(&[("b", "2")]))]));
    assert!(is_inline(&small, "meta"));
    assert_eq!(items(&small, "meta"), pairs(&[("a", "1"), ("b", "2"), ("c", "3")]));
    assert_eq!(open(&small).bucket(b"meta").unwrap().unwrap().sequence(), 5);

    let (medium, large) = ("m".repeat(1000), "l".repeat(20_000));
    for value in [&*medium, &*large] {
        let grown = edited(&image, Changes::from([("meta", change(&[("b", value)]))]));
        assert!(!is_inline(&grown, "meta"));
        assert_eq!(items(&grown, "meta"), pairs(&[("a", "1"), ("b", value), ("c", "3")]));
        let again = edited(&grown, Changes::from([("meta", change(&[("c", "4"), ("d", "5")]))]));
        assert_eq!(items(&again, "meta"), pairs(&[("a", "1"), ("b", value), ("c", "4"), ("d", "5")]));
    }
}

#[test]
fn a_cleared_tree_is_an_empty_inline_bucket() {
    let mut image = Image::new(4096);
    let low = image.add(&leaf(&[("a", "1")]));
    let high = image.add(&leaf(&[("m", "2")]));
    let tree = image.add(&branch(&[("a", low), ("m", high)]));
    let root = image.add(&Node::Leaf(vec![bucket_item("members", bucket_header(tree, 7))]));
    let image = image.finish(root);
    let cleared = BucketChange { clear: true, puts: vec![(b"x".to_vec(), b"9".to_vec())] };
    let bytes = edited(&image, Changes::from([("members", cleared)]));
    assert!(is_inline(&bytes, "members"));
    assert_eq!(items(&bytes, "members"), pairs(&[("x", "9")]));
    assert_eq!(open(&bytes).bucket(b"members").unwrap().unwrap().sequence(), 7);
}

/// A root of two levels, and a bucket of three, with keys put before, between and behind those that are there.
#[test]
fn paths_are_copied_in_trees_of_any_depth() {
    let mut image = Image::new(4096);
    let leaves = ["b", "d", "f", "h"].map(|key| image.add(&leaf(&[(key, "old")])));
    let low = image.add(&branch(&[("b", leaves[0]), ("d", leaves[1])]));
    let high = image.add(&branch(&[("f", leaves[2]), ("h", leaves[3])]));
    let tree = image.add(&branch(&[("b", low), ("f", high)]));
    let first = image.add(&Node::Leaf(vec![bucket_item("key", bucket_header(tree, 0))]));
    let second = image.add(&Node::Leaf(vec![inline_bucket("meta", &[("term", "1")])]));
    let root = image.add(&branch(&[("key", first), ("meta", second)]));
    let image = image.finish(root);

    let all = Changes::from([
        ("alarm", change(&[("a", "0")])),
        ("key", change(&[("a", "1"), ("c", "2"), ("d", "3"), ("g", "4"), ("z", "5")])),
        ("members", change(&[("m", "6")])),
        ("meta", change(&[("term", "7")])),
        ("zone", BucketChange::default()),
    ]);
    let bytes = edited(&image, all);
    let expected = [
        ("a", "1"),
        ("b", "old"),
        ("c", "2"),
        ("d", "3"),
        ("f", "old"),
        ("g", "4"),
        ("h", "old"),
        ("z", "5"),
    ];
    assert_eq!(items(&bytes, "key"), pairs(&expected));
    assert_eq!(items(&bytes, "meta"), pairs(&[("term", "7")]));
    let names: Vec<_> = open(&bytes).buckets().map(|bucket| bucket.unwrap().0).collect();
    assert_eq!(names, [&b"alarm"[..], b"key", b"members", b"meta", b"zone"]);
    // Looked up, not only walked: the branch keys lead to what was put before the first.
    for (key, value) in expected {
        let item = open(&bytes).bucket(b"key").unwrap().unwrap().get(key.as_bytes()).unwrap().unwrap();
        assert_eq!(item.value, value.as_bytes(), "{key}");
    }
}

#[test]
fn what_lies_behind_the_high_water_mark_is_cut_off() {
    let mut image = empty(4096);
    image.resize(image.len() + 10_000, 0xAA);
    let bytes = edited(&image, Changes::from([("meta", change(&[("term", "1")]))]));
    assert_eq!(bytes.len() % 4096, 0);
}

#[test]
fn damaged_images_are_refused() {
    let image = empty(4096);
    let changes = || Changes::from([("meta", change(&[("term", "1")]))]);
    assert!(matches!(edit(open(&image[..3 * 4096]), changes()), Err(EditError::Short { .. })));

    let mut other = Image::new(4096);
    let root = other.add(&leaf(&[("meta", "no bucket")]));
    let other = other.finish(root);
    assert_eq!(edit(open(&other), changes()), Err(EditError::NotABucket("meta")));

    let mut circle = Image::new(4096);
    let root = circle.add(&branch(&[("a", PageId(3))]));
    let circle = circle.finish(root);
    assert!(matches!(edit(open(&circle), changes()), Err(EditError::Read(ReadError::TooDeep { .. }))));

    let mut unordered = Image::new(4096);
    let root = unordered.add(&Node::Leaf(vec![inline_bucket("z", &[]), inline_bucket("a", &[])]));
    let unordered = unordered.finish(root);
    assert!(matches!(
        edit(open(&unordered), changes()),
        Err(EditError::Read(ReadError::KeysUnordered { .. }))
    ));
}

#[test]
fn no_flipped_bit_makes_an_edit_panic() {
    let mut image = Image::new(1024);
    let tree = image.add(&leaf(&[("a", "1"), ("b", "2")]));
    let root = image.add(&Node::Leaf(vec![
        bucket_item("key", bucket_header(tree, 0)),
        inline_bucket("meta", &[("term", "1")]),
    ]));
    let image = image.finish(root);
    for bit in 3 * 1024 * 8..image.len() * 8 {
        let mut image = image.clone();
        image[bit / 8] ^= 1 << (bit % 8);
        let changes = Changes::from([("key", change(&[("c", "3")])), ("meta", change(&[("term", "2")]))]);
        let _ = edit(open(&image), changes);
    }
}

proptest::proptest! {
    /// Any row of edits leaves what a map would hold.
    #[test]
    fn edits_are_those_of_a_map(
        page_size in proptest::sample::select(vec![1024_u32, 4096]),
        rounds in proptest::collection::vec(
            (proptest::bool::weighted(0.1), proptest::collection::vec(("[a-p]{1,3}", "[a-z]{0,200}"), 0..12)),
            1..8,
        ),
    ) {
        let mut bytes = empty(page_size);
        let mut model = BTreeMap::new();
        for (clear, puts) in rounds {
            if clear {
                model.clear();
            }
            model.extend(puts.iter().cloned());
            let puts = puts.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect();
            bytes = edited(&bytes, Changes::from([("meta", BucketChange { clear, puts })]));
            let expected: Vec<_> = model.clone().into_iter().collect();
            proptest::prop_assert_eq!(items(&bytes, "meta"), expected);
        }
    }
}

#[test]
fn a_node_has_the_size_it_says() {
    for node in [leaf(&[]), leaf(&[("a", "1"), ("bcd", "")]), branch(&[("a", PageId(3)), ("bc", PageId(4))])]
    {
        assert_eq!(node.encode(PageId(3), 0).unwrap().len(), node.size_bytes());
    }
    assert_eq!(leaf(&[]).size_bytes(), PAGE_HEADER_BYTES);
}
