//! The pages: each within bounds, of the kind its place asks for, reached once, its keys in order and in range.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::collector::{Collector, fault};
use crate::bolt::{
    Bucket, BucketRoot, Database, Faults, LeafGroup, LeafItem, MAX_KEY_BYTES, NO_FREELIST, PAGE_HEADER_BYTES,
    Page, PageId, walk,
};
use crate::codes;
use crate::content::{Segment, keeps_leaf_ends};
use crate::error::ReadError;
use crate::finding::Finding;
use crate::schema;
use crate::threads;

/// The state of one check of all pages.
pub(super) struct Structure<'a, 'c> {
    database: Database<'a>,
    pub(super) findings: &'c Collector,
    workers: usize,
    reached: PageSet,
    /// Pages below the high water mark that the file holds.
    pages: u64,
    /// Buckets that may still be looked into.
    buckets_left: usize,
}

/// What the scan of a bucket found.
pub(super) struct BucketScan<'a> {
    /// Every page and element could be read; only then do the segments stand for the whole bucket.
    pub(super) sound: bool,
    pub(super) groups: Vec<LeafGroup<'a>>,
    pub(super) segments: Vec<Segment>,
    pub(super) key_bytes: u64,
    pub(super) value_bytes: u64,
    /// Pages of its own.
    pub(super) pages: u64,
}

/// The buckets of the root.
pub(super) struct Root<'a> {
    pub(super) sound: bool,
    pub(super) buckets: Vec<(LeafItem<'a>, Bucket<'a>)>,
}

/// Follows the items of one leaf group in key order. Made afresh for each group.
pub(super) trait Items<'a>: Send {
    /// The next item.
    fn item(&mut self, item: &LeafItem<'a>);
    /// Items are missing here: a leaf could not be read.
    fn broken(&mut self);
    /// The group is at its end.
    fn end(&mut self) {}
}

struct NoItems;

impl Items<'_> for NoItems {
    fn item(&mut self, _: &LeafItem<'_>) {}
    fn broken(&mut self) {}
}

/// Buckets looked into, those within others included. etcd has ten; a file of nothing else would take many times its length in memory.
const MAX_BUCKETS: usize = 1000;

/// Keeps the items, as many as there may be buckets and one more.
struct KeepItems<'a>(Vec<LeafItem<'a>>);

/// The same of those items alone that are buckets.
struct KeepBuckets<'a>(KeepItems<'a>);

impl<'a> Items<'a> for KeepBuckets<'a> {
    fn item(&mut self, item: &LeafItem<'a>) {
        if item.is_bucket() {
            self.0.item(item);
        }
    }
    fn broken(&mut self) {}
}

impl<'a> Items<'a> for KeepItems<'a> {
    fn item(&mut self, item: &LeafItem<'a>) {
        if self.0.len() <= MAX_BUCKETS {
            self.0.push(*item);
        }
    }
    fn broken(&mut self) {}
}

impl<'a, 'c> Structure<'a, 'c> {
    pub(super) fn new(database: Database<'a>, findings: &'c Collector, workers: usize) -> Self {
        // The high water mark is what the file says; the pages counted here are those it has.
        let pages =
            database.high_water().min(database.bytes().len() as u64 / u64::from(database.page_size()));
        let reached = PageSet::new(pages);
        reached.insert(0);
        reached.insert(1);
        Self { database, findings, workers, reached, pages, buckets_left: MAX_BUCKETS }
    }

    /// Scans the root's tree and opens the buckets in it.
    pub(super) fn scan_root(&mut self) -> Root<'a> {
        let root = self.database.root();
        let (scan, items) = self.scan("", &root, true, |_| KeepItems(Vec::new()));
        let mut buckets = Vec::new();
        let mut sound = scan.sound;
        for item in items.into_iter().flat_map(|items| items.0) {
            if !self.take_bucket(&item) {
                sound = false;
                break;
            }
            if !item.is_bucket() {
                sound = false;
                let message = "an item of the root is not a bucket";
                self.findings.report(
                    Finding::new(&codes::ROOT_ITEM, message)
                        .key(item.key)
                        .page(item.page)
                        .offset(item.offset),
                );
                continue;
            }
            match root.child(&item) {
                Ok(bucket) => {
                    let name = crate::bolt::printable(item.key);
                    self.check_bucket_header(&name, &item, &bucket, schema::is_known_bucket(item.key));
                    buckets.push((item, bucket));
                }
                Err(error) => {
                    sound = false;
                    self.findings
                        .report(fault(&crate::bolt::printable(item.key), &error).offset(item.offset));
                }
            }
        }
        Root { sound, buckets }
    }

    /// Whether one more bucket may be looked into; `item` holds it.
    fn take_bucket(&mut self, item: &LeafItem<'_>) -> bool {
        let Some(left) = self.buckets_left.checked_sub(1) else {
            let message = format!("there are more than {MAX_BUCKETS} buckets; the rest was not read");
            self.findings.report(Finding::new(&codes::ROOT_ITEM, message).page(item.page));
            return false;
        };
        self.buckets_left = left;
        true
    }

    /// Fields of a bucket's header that no reader needs, but that are always the same in what bbolt or etcd writes.
    fn check_bucket_header(&self, name: &str, item: &LeafItem<'_>, bucket: &Bucket<'_>, is_etcds: bool) {
        let report = |message: &str| {
            let finding = Finding::new(&codes::BUCKET_HEADER, message).bucket(name);
            self.findings.report(finding.page(item.page).offset(item.offset));
        };
        if is_etcds && bucket.sequence() != 0 {
            report("the bucket has a sequence, which etcd does not use");
        }
        let BucketRoot::Inline(page) = bucket.root() else { return };
        let header = page.bytes().get(..PAGE_HEADER_BYTES).unwrap_or_default();
        let (id, overflow) = (header.get(..8), header.get(12..));
        if id != Some(&[0; 8]) || overflow != Some(&[0; 4]) {
            report("the page inside the bucket has an id or overflow pages");
        }
        if page.leaf_content().is_ok_and(|content| content.end != page.bytes().len()) {
            report("the bucket is longer than its items");
        }
    }

    /// Scans a bucket whose items nobody follows.
    pub(super) fn scan_plain(&mut self, name: &str, bucket: &Bucket<'a>) -> BucketScan<'a> {
        self.scan(name, bucket, false, |_| NoItems).0
    }

    /// Scans a bucket that etcd does not make, and the buckets within it; the counts but for the pages are its own.
    pub(super) fn scan_unknown(&mut self, name: &str, bucket: &Bucket<'a>) -> BucketScan<'a> {
        // bbolt gives a bucket that has others within it pages of its own.
        let may_hold = |bucket: &Bucket<'_>| matches!(bucket.root(), BucketRoot::Page(_));
        let (mut scan, inner) =
            self.scan(name, bucket, may_hold(bucket), |_| KeepBuckets(KeepItems(Vec::new())));
        let within = |outer: Bucket<'a>, items: Vec<KeepBuckets<'a>>| {
            items.into_iter().flat_map(|items| items.0.0).map(move |item| (outer, item))
        };
        let mut open: Vec<(Bucket<'a>, LeafItem<'a>)> = within(*bucket, inner).collect();
        while let Some((outer, item)) = open.pop() {
            if !self.take_bucket(&item) {
                scan.sound = false;
                break;
            }
            match outer.child(&item) {
                Ok(bucket) => {
                    self.check_bucket_header(name, &item, &bucket, false);
                    let (found, inner) =
                        self.scan(name, &bucket, may_hold(&bucket), |_| KeepBuckets(KeepItems(Vec::new())));
                    scan.sound &= found.sound;
                    scan.pages += found.pages;
                    open.extend(within(bucket, inner));
                }
                Err(error) => {
                    scan.sound = false;
                    self.findings.report(fault(name, &error).offset(item.offset));
                }
            }
        }
        scan
    }

    /// Scans a bucket. `follow` makes a follower for each group of leaves; they come back in key order.
    pub(super) fn scan<F: Items<'a>>(
        &mut self,
        name: &str,
        bucket: &Bucket<'a>,
        holds_buckets: bool,
        follow: impl Fn(usize) -> F + Sync,
    ) -> (BucketScan<'a>, Vec<F>) {
        let mut note =
            Note { name, findings: self.findings, reached: &self.reached, branches: 0, sound: true };
        let groups = walk(bucket, &mut note).unwrap_or_default();
        let (branches, walk_sound) = (note.branches, note.sound);
        let sound = AtomicBool::new(walk_sound);
        let leaf_check = LeafCheck {
            name,
            findings: self.findings,
            reached: &self.reached,
            sound: &sound,
            holds_buckets,
            inline: matches!(bucket.root(), BucketRoot::Inline(_)),
        };
        let workers = if groups.len() < 4 { 1 } else { self.workers };
        let keeps_leaf_ends = keeps_leaf_ends(&groups);
        let results = threads::map_pieces(workers, groups.len(), |index| {
            let mut items = follow(index);
            let segment = Segment::of(&groups[index], keeps_leaf_ends);
            (leaf_check.group(&groups[index], segment, &mut items), items)
        });
        let mut scan = BucketScan {
            sound: sound.load(Ordering::Relaxed),
            segments: Vec::with_capacity(groups.len()),
            groups,
            key_bytes: 0,
            value_bytes: 0,
            pages: branches,
        };
        let mut followers = Vec::with_capacity(results.len());
        for (counts, items) in results {
            scan.segments.push(counts.segment);
            scan.key_bytes += counts.key_bytes;
            scan.value_bytes += counts.value_bytes;
            scan.pages += counts.pages;
            followers.push(items);
        }
        (scan, followers)
    }

    /// Checks the list of free pages, if there is one, against the pages reached.
    pub(super) fn check_freelist(&mut self) {
        let list = self.database.meta().freelist;
        if list == NO_FREELIST {
            return;
        }
        let report = |message: String, page| {
            self.findings.report(Finding::new(&codes::FREELIST, message).page(page));
        };
        let page = match self.database.page(PageId(list)) {
            Ok(page) => page,
            Err(error) => return report(error.to_string(), PageId(list)),
        };
        if !self.reached.insert_span(&page) {
            report("the list of free pages lies on a page in use".to_owned(), page.id());
        }
        let ids = match self.database.freelist() {
            Ok(ids) => ids.unwrap_or_default(),
            Err(error) => return report(error.to_string(), page.id()),
        };
        let listed = PageSet::new(self.pages);
        for id in ids {
            if id.0 < 2 || id.0 >= self.database.high_water() {
                report("a free page does not exist".to_owned(), id);
            } else if self.reached.contains(id.0) {
                report("a free page is in use".to_owned(), id);
            } else if id.0 < self.pages && !listed.insert(id.0) {
                report("a free page is listed twice".to_owned(), id);
            }
        }
        for id in (2..self.pages).filter(|&id| !self.reached.contains(id) && !listed.contains(id)) {
            report("a page is neither in use nor listed as free".to_owned(), PageId(id));
        }
    }

    pub(super) fn in_use_bytes(&self) -> u64 {
        self.reached.len() * u64::from(self.database.page_size())
    }
}

/// What the walk over the branches tells.
struct Note<'n> {
    name: &'n str,
    findings: &'n Collector,
    reached: &'n PageSet,
    branches: u64,
    sound: bool,
}

impl Faults for Note<'_> {
    fn fault(&mut self, error: ReadError) -> Result<(), ReadError> {
        self.sound = false;
        self.findings.report(fault(self.name, &error));
        Ok(())
    }

    fn reach(&mut self, page: &Page<'_>) -> bool {
        self.branches += 1 + u64::from(page.overflow());
        self.reached.insert_span(page)
    }
}

#[derive(Default)]
struct GroupCounts {
    segment: Segment,
    key_bytes: u64,
    value_bytes: u64,
    pages: u64,
}

struct LeafCheck<'n> {
    name: &'n str,
    findings: &'n Collector,
    reached: &'n PageSet,
    sound: &'n AtomicBool,
    holds_buckets: bool,
    inline: bool,
}

impl LeafCheck<'_> {
    fn group<'a>(&self, group: &LeafGroup<'a>, segment: Segment, items: &mut impl Items<'a>) -> GroupCounts {
        let mut counts = GroupCounts { segment, ..GroupCounts::default() };
        for leaf in 0..group.len() {
            if let Err(error) = self.leaf(group, leaf, items, &mut counts) {
                self.sound.store(false, Ordering::Relaxed);
                self.findings.report(fault(self.name, &error));
                items.broken();
            }
        }
        items.end();
        counts
    }

    fn leaf<'a>(
        &self,
        group: &LeafGroup<'a>,
        leaf: u16,
        items: &mut impl Items<'a>,
        counts: &mut GroupCounts,
    ) -> Result<(), ReadError> {
        let page = group.leaf(leaf)?;
        if !self.inline {
            if !self.reached.insert_span(&page) {
                return Err(ReadError::ReachedTwice { page: page.id() });
            }
            counts.pages += 1 + u64::from(page.overflow());
        }
        if page.count() == 0 && group.has_branch() {
            return Err(ReadError::PageEmpty { page: page.id() });
        }
        let layout = page.leaf_layout()?;
        page.check_overflow(layout.content.end as u64)?;
        let content = counts.segment.content.append_leaf(&page, &layout)?;
        let (low, high) = group.bounds(leaf)?;
        let mut previous: Option<&[u8]> = None;
        for index in 0..page.count() {
            let item = page.leaf_item(index)?;
            if item.key.is_empty() || item.key.len() > MAX_KEY_BYTES as usize {
                return Err(ReadError::KeyLength { page: page.id(), index, length: item.key.len() as u32 });
            }
            if item.is_bucket() && !self.holds_buckets {
                return Err(ReadError::ElementFlags { page: page.id(), index, flags: item.flags });
            }
            if previous.is_some_and(|previous| item.key <= previous) {
                return Err(ReadError::KeysUnordered { page: page.id(), index });
            }
            if previous.is_none() && item.key < low || high.is_some_and(|high| item.key >= high) {
                return Err(ReadError::KeyOutsideBranch { page: page.id(), index });
            }
            previous = Some(item.key);
            counts.key_bytes += item.key.len() as u64;
            counts.value_bytes += item.value.len() as u64;
            items.item(&item);
        }
        counts.segment.content = content;
        counts.segment.items += u64::from(page.count());
        counts.segment.end_leaf();
        Ok(())
    }
}

/// A set of pages that all threads add to.
struct PageSet {
    words: Vec<AtomicU64>,
}

impl PageSet {
    fn new(pages: u64) -> Self {
        let words = usize::try_from(pages.div_ceil(64)).unwrap_or(usize::MAX);
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// False if the page was there before, or lies outside the file.
    fn insert(&self, page: u64) -> bool {
        let bit = 1 << (page % 64);
        usize::try_from(page / 64)
            .ok()
            .and_then(|word| self.words.get(word))
            .is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    /// Adds a page and its overflow pages; false if one of them was there.
    fn insert_span(&self, page: &Page<'_>) -> bool {
        (0..=u64::from(page.overflow())).all(|further| self.insert(page.id().0 + further))
    }

    fn contains(&self, page: u64) -> bool {
        usize::try_from(page / 64)
            .ok()
            .and_then(|word| self.words.get(word))
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (page % 64) & 1 == 1)
    }

    fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }
}
