//! A small writer of bbolt files, so that hostile items come in pages that hold: what is not in question is right.

use std::collections::BTreeMap;

use etcd_snapshot::Revision;
use etcd_snapshot::bolt::{BUCKET_FLAG, META_BYTES, META_OFFSET, Meta, NO_FREELIST, PageId};
use sha2::{Digest, Sha256};

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const HEADER: usize = 16;

/// Every bucket that an etcd makes.
pub(crate) const BUCKETS: [&str; 10] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    "key",
    "lease",
    "members",
    "members_removed",
    "meta",
];

/// A key and its value.
pub(crate) type Item = (Vec<u8>, Vec<u8>);

/// A bucket to write: its items in any order; of one key the last counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct BucketOf {
    pub(crate) name: Vec<u8>,
    pub(crate) items: Vec<Item>,
    /// Buckets within it, which etcd has none of.
    pub(crate) within: Vec<BucketOf>,
}

impl BucketOf {
    pub(crate) fn new(name: impl Into<Vec<u8>>, items: Vec<Item>) -> Self {
        Self { name: name.into(), items, within: Vec::new() }
    }
}

/// An element on its way into a page: flags, key, and value or child.
type Element = (u32, Vec<u8>, Vec<u8>);

struct Writer {
    page_bytes: usize,
    pages: Vec<u8>,
}

/// A whole snapshot file with its hash. Buckets that etcd makes and that are not given are there, empty. With `inline`,
/// small buckets lie in the root, as bbolt has it; else each has pages of its own.
pub(crate) fn snapshot(page_bytes: usize, inline: bool, buckets: Vec<BucketOf>) -> Vec<u8> {
    let mut all: BTreeMap<Vec<u8>, BucketOf> =
        BUCKETS.iter().map(|name| (name.as_bytes().to_vec(), BucketOf::default())).collect();
    for bucket in buckets {
        let known = all.entry(bucket.name).or_default();
        known.items.extend(bucket.items);
        known.within.extend(bucket.within);
    }
    let mut writer = Writer { page_bytes, pages: vec![0; 2 * page_bytes] };
    let mut root = Vec::new();
    for (name, bucket) in all {
        root.push((BUCKET_FLAG, name, writer.bucket(bucket, inline)));
    }
    let root = writer.tree(root);
    let mut file = writer.pages;
    let meta = Meta {
        page_size: page_bytes as u32,
        flags: 0,
        root: PageId(root),
        sequence: 0,
        freelist: NO_FREELIST,
        high_water: (file.len() / page_bytes) as u64,
        txid: 10,
    };
    file[..META_BYTES_WITH_HEADER].copy_from_slice(&meta_page(0, &meta));
    file[page_bytes..page_bytes + META_BYTES_WITH_HEADER]
        .copy_from_slice(&meta_page(1, &Meta { txid: 9, ..meta }));
    seal(&mut file);
    file
}

/// Bytes of a meta page that are in use.
pub(crate) const META_BYTES_WITH_HEADER: usize = META_OFFSET + META_BYTES;

/// The used part of a meta page, its checksum made to fit.
pub(crate) fn meta_page(page: usize, meta: &Meta) -> [u8; META_BYTES_WITH_HEADER] {
    let mut bytes = [0; META_BYTES_WITH_HEADER];
    bytes[0] = page as u8;
    bytes[8] = 0x04;
    bytes[META_OFFSET..].copy_from_slice(&meta.encode());
    bytes
}

/// Puts the hash behind an image.
pub(crate) fn seal(image: &mut Vec<u8>) {
    let hash = Sha256::digest(&*image);
    image.extend_from_slice(&hash);
}

/// Makes the hash at the end of a file fit again, as if the disk below etcd had done the damage.
pub(crate) fn reseal(file: &mut [u8]) {
    let Some(image) = file.len().checked_sub(32) else { return };
    let hash = Sha256::digest(&file[..image]);
    file[image..].copy_from_slice(&hash);
}

/// The key of a record.
pub(crate) fn record_key(main: i64, sub: i64, tombstone: bool) -> Vec<u8> {
    let mut key = Revision { main, sub }.encode().to_vec();
    if tombstone {
        key.push(b't');
    }
    key
}

/// A `KeyValue` message: key, create revision, modification revision, version, value, lease; zeros are left out.
pub(crate) fn key_value(key: &[u8], numbers: [i64; 3], value: &[u8], lease: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let bytes = |out: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
        if !bytes.is_empty() {
            out.push(tag);
            varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    };
    bytes(&mut out, 0x0a, key);
    for (tag, number) in [0x10, 0x18, 0x20].into_iter().zip(numbers) {
        number_field(&mut out, tag, number);
    }
    bytes(&mut out, 0x2a, value);
    number_field(&mut out, 0x30, lease);
    out
}

pub(crate) fn number_field(out: &mut Vec<u8>, tag: u8, number: i64) {
    if number != 0 {
        out.push(tag);
        varint(out, number as u64);
    }
}

pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

impl Writer {
    /// The value of a bucket's item.
    fn bucket(&mut self, bucket: BucketOf, inline: bool) -> Vec<u8> {
        let (small_inline, inline) = (inline, inline && bucket.within.is_empty());
        let mut all: BTreeMap<Vec<u8>, (u32, Vec<u8>)> =
            bucket.items.into_iter().map(|(key, value)| (key, (0, value))).collect();
        for inner in bucket.within {
            let name = inner.name.clone();
            all.insert(name, (BUCKET_FLAG, self.bucket(inner, small_inline)));
        }
        let elements: Vec<Element> =
            all.into_iter().map(|(key, (flags, value))| (flags, key, value)).collect();
        let leaf = encode(0, LEAF, 0, &elements);
        if inline && leaf.len() <= self.page_bytes / 4 {
            return [&[0; 16], &leaf[..]].concat();
        }
        [&self.tree(elements).to_le_bytes()[..], &[0; 8]].concat()
    }

    /// Writes a tree and gives back its root page.
    fn tree(&mut self, elements: Vec<Element>) -> u64 {
        let (mut level, mut kind) = (elements, LEAF);
        loop {
            let nodes = self.split(level);
            let written: Vec<(Vec<u8>, u64)> = nodes
                .into_iter()
                .map(|node| {
                    (node.first().map(|first| first.1.clone()).unwrap_or_default(), self.write(kind, &node))
                })
                .collect();
            if let [(_, root)] = written[..] {
                return root;
            }
            level = written.into_iter().map(|(key, page)| (0, key, page.to_le_bytes().to_vec())).collect();
            kind = BRANCH;
        }
    }

    /// Elements by the page; at least two in each, so that a tree ends.
    fn split(&self, elements: Vec<Element>) -> Vec<Vec<Element>> {
        let mut nodes: Vec<Vec<Element>> = vec![Vec::new()];
        let (mut used, mut left) = (HEADER, elements.len());
        for element in elements {
            let bytes = 16 + element.1.len() + element.2.len();
            let node = nodes.last().map_or(0, Vec::len);
            if node >= 2 && left >= 2 && used + bytes > self.page_bytes {
                nodes.push(Vec::new());
                used = HEADER;
            }
            used += bytes;
            left -= 1;
            if let Some(node) = nodes.last_mut() {
                node.push(element);
            }
        }
        nodes
    }

    fn write(&mut self, kind: u16, node: &[Element]) -> u64 {
        let id = (self.pages.len() / self.page_bytes) as u64;
        let bytes = encode(id, kind, 0, node);
        let pages = bytes.len().div_ceil(self.page_bytes);
        self.pages.extend_from_slice(&encode(id, kind, pages as u32 - 1, node));
        self.pages.resize((id as usize + pages) * self.page_bytes, 0);
        id
    }
}

/// A page without the rest behind its last value.
fn encode(id: u64, kind: u16, overflow: u32, node: &[Element]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(node.len() as u16).to_le_bytes());
    out.extend_from_slice(&overflow.to_le_bytes());
    let mut position = node.len() * 16;
    for (flags, key, value) in node {
        if kind == LEAF {
            for word in [*flags, position as u32, key.len() as u32, value.len() as u32] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            position += value.len();
        } else {
            for word in [position as u32, key.len() as u32] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(value);
        }
        position = position + key.len() - 16;
    }
    for (_, key, value) in node {
        out.extend_from_slice(key);
        if kind == LEAF {
            out.extend_from_slice(value);
        }
    }
    out
}
