//! What each byte of a good snapshot is for, so that a flipped bit can be told by its place.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

use std::collections::BTreeSet;

use etcd_snapshot::bolt::{
    Bucket, BucketRoot, Database, ELEMENT_BYTES, META_OFFSET, PAGE_HEADER_BYTES, Page, PageId, PageKind,
};
use etcd_snapshot::{Revision, SnapshotFile};

/// The kinds of place a flip can hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Region {
    /// The hash at the end.
    Trailer,
    /// A meta page's header and meta.
    Meta,
    /// The header of a page in use.
    PageHeader,
    /// The elements of a branch.
    BranchElement,
    /// The keys of a branch, which only bound those below.
    BranchKey,
    /// The element headers of a leaf.
    LeafElement,
    /// A bucket's name in the root.
    BucketName,
    /// A bucket's root page, sequence, and its inline page's header.
    BucketHeader,
    /// A record's revision, above the compact revision.
    RevisionAbove,
    /// A record's revision at or below the compact revision.
    RevisionBelow,
    /// A record's numbers and framing, above the compact revision.
    RecordAbove,
    /// The same, at or below the compact revision.
    RecordBelow,
    /// A put's lease behind which the key was put again or deleted: nothing depends on it any more.
    PastLease,
    /// The bytes of a key in a record.
    UserKey,
    /// A value's bytes.
    Value,
    /// An item of another bucket.
    OtherItem,
    /// Bytes of a page in use behind its last item, or of a meta page behind its meta.
    Slack,
    /// Free pages, and nothing else.
    FreePage,
}

pub(crate) struct Regions {
    bytes: Vec<Region>,
    /// The live keys, each with the revision of its last change.
    live: BTreeSet<(Vec<u8>, i64)>,
}

impl Regions {
    pub(crate) fn of(file: &SnapshotFile) -> Self {
        let snapshot = file.snapshot();
        let live =
            file.live().unwrap().iter().map(|entry| (entry.key.to_vec(), entry.mod_revision)).collect();
        let mut map = Self { bytes: vec![Region::FreePage; snapshot.bytes().len()], live };
        let image = snapshot.image().len();
        map.fill(image, snapshot.bytes().len(), Region::Trailer);
        let database = snapshot.db();
        let page_size = database.page_size() as usize;
        for page in 0..2 {
            map.fill(page * page_size, (page + 1) * page_size, Region::Slack);
            map.fill(page * page_size, page * page_size + META_OFFSET + 64, Region::Meta);
        }
        let whole_above = snapshot.compactions().unwrap().furthest().max(1);
        map.tree(database, &database.root(), "", whole_above);
        map
    }

    pub(crate) fn at(&self, byte: usize) -> Region {
        self.bytes[byte]
    }

    fn fill(&mut self, from: usize, to: usize, region: Region) {
        self.bytes[from..to].fill(region);
    }

    fn tree(&mut self, database: Database<'_>, bucket: &Bucket<'_>, name: &str, whole_above: i64) {
        match bucket.root() {
            BucketRoot::Inline(page) => {
                let start = page.offset() as usize;
                self.fill(start, start + PAGE_HEADER_BYTES, Region::BucketHeader);
                self.leaf(bucket, &page, name, whole_above);
            }
            BucketRoot::Page(id) => self.page(database, bucket, id, name, whole_above),
        }
    }

    fn page(
        &mut self,
        database: Database<'_>,
        bucket: &Bucket<'_>,
        id: PageId,
        name: &str,
        whole_above: i64,
    ) {
        let page = database.page(id).unwrap();
        let start = page.offset() as usize;
        self.fill(start, start + page.bytes().len(), Region::Slack);
        self.fill(start, start + PAGE_HEADER_BYTES, Region::PageHeader);
        if page.kind() == PageKind::Leaf {
            return self.leaf(bucket, &page, name, whole_above);
        }
        let elements = start + PAGE_HEADER_BYTES;
        self.fill(elements, elements + usize::from(page.count()) * ELEMENT_BYTES, Region::BranchElement);
        for index in 0..page.count() {
            let item = page.branch_item(index).unwrap();
            self.part(database, item.key, Region::BranchKey);
            self.page(database, bucket, item.child, name, whole_above);
        }
    }

    fn leaf(&mut self, bucket: &Bucket<'_>, page: &Page<'_>, name: &str, whole_above: i64) {
        let database = bucket.database();
        for item in page.leaf_items() {
            let item = item.unwrap();
            let element = item.offset as usize;
            self.fill(element, element + ELEMENT_BYTES, Region::LeafElement);
            if item.is_bucket() {
                self.part(database, item.key, Region::BucketName);
                self.part(database, &item.value[..16], Region::BucketHeader);
                let child = bucket.child(&item).unwrap();
                self.tree(database, &child, &String::from_utf8_lossy(item.key), whole_above);
            } else if name == "key" {
                let above = Revision::decode(item.key).unwrap().0.main > whole_above;
                let (key, record) = if above {
                    (Region::RevisionAbove, Region::RecordAbove)
                } else {
                    (Region::RevisionBelow, Region::RecordBelow)
                };
                self.part(database, item.key, key);
                self.part(database, item.value, record);
                let decoded = etcd_snapshot::Record::decode(&item).unwrap().key_value;
                if decoded.lease != 0 && !self.live.contains(&(decoded.key.to_vec(), decoded.mod_revision)) {
                    let value_end =
                        decoded.value.as_ptr().addr() + decoded.value.len() - item.value.as_ptr().addr();
                    self.part(database, &item.value[value_end..], Region::PastLease);
                }
                for (part, region) in [(decoded.key, Region::UserKey), (decoded.value, Region::Value)] {
                    if !part.is_empty() {
                        self.part(database, part, region);
                    }
                }
            } else {
                self.part(database, item.key, Region::OtherItem);
                self.part(database, item.value, Region::OtherItem);
            }
        }
    }

    fn part(&mut self, database: Database<'_>, part: &[u8], region: Region) {
        let start = part.as_ptr().addr() - database.bytes().as_ptr().addr();
        self.fill(start, start + part.len(), region);
    }
}
