//! Walks the branch pages of a tree and hands out its leaves in groups.
//!
//! A group is the children of one lowest branch page: small enough to share work between threads, and few enough to keep
//! in memory whatever the file's size (some 250 KB of leaves each). Leaves themselves are not touched here, but for one
//! of each group, which tells that its branch is a lowest one.

use super::bucket::Bucket;
use super::page::{Page, PageKind};
use super::{Database, MAX_DEPTH};
use crate::error::ReadError;

/// What a walk does with the faults and the pages it meets.
pub(crate) trait Faults {
    /// A fault was met. With `Ok` the walk goes on beside it, with `Err` it ends.
    fn fault(&mut self, fault: ReadError) -> Result<(), ReadError>;
    /// A branch page is entered. False if it was before: then it is a fault and is not entered.
    fn reach(&mut self, page: &Page<'_>) -> bool;
}

/// Ends the walk at the first fault: for reading.
pub(crate) struct Refuse {
    pages_left: u64,
}

impl Refuse {
    pub(crate) fn new(database: &Database<'_>) -> Self {
        // The high water mark is what the file says; more pages than it has cannot be reached once each.
        let pages = database.bytes().len() as u64 / u64::from(database.page_size());
        Self { pages_left: pages.min(database.high_water()) }
    }
}

impl Faults for Refuse {
    fn fault(&mut self, fault: ReadError) -> Result<(), ReadError> {
        Err(fault)
    }

    fn reach(&mut self, page: &Page<'_>) -> bool {
        // Without a map of the pages, more pages than there are tells that some are reached twice.
        match self.pages_left.checked_sub(u64::from(page.count())) {
            Some(left) => {
                self.pages_left = left;
                true
            }
            None => false,
        }
    }
}

/// Leaves next to each other: the children of one lowest branch page, or the one leaf of a small bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeafGroup<'a> {
    database: Database<'a>,
    parent: Page<'a>,
    /// Every key of the group is less than this.
    high: Option<&'a [u8]>,
}

impl<'a> LeafGroup<'a> {
    pub(crate) fn len(&self) -> u16 {
        if self.is_single() { 1 } else { self.parent.count() }
    }

    /// A leaf, its page checked but not its content.
    pub(crate) fn leaf(&self, index: u16) -> Result<Page<'a>, ReadError> {
        if self.is_single() {
            return Ok(self.parent);
        }
        self.database.page(self.parent.branch_item(index)?.child)?.expect(PageKind::Leaf)
    }

    /// The bounds that the branches give for the keys of a leaf: the first inclusive, the second exclusive.
    pub(crate) fn bounds(&self, index: u16) -> Result<(&'a [u8], Option<&'a [u8]>), ReadError> {
        if self.is_single() {
            return Ok((&[], self.high));
        }
        let low = self.parent.branch_item(index)?.key;
        let next = index + 1;
        let high =
            if next < self.parent.count() { Some(self.parent.branch_item(next)?.key) } else { self.high };
        Ok((low, high))
    }

    /// Whether the leaves hang below a branch; else the one leaf is the bucket's root.
    pub(crate) fn has_branch(&self) -> bool {
        !self.is_single()
    }

    fn is_single(&self) -> bool {
        self.parent.kind() == PageKind::Leaf
    }
}

struct Frame<'a> {
    page: Page<'a>,
    next: u16,
    high: Option<&'a [u8]>,
}

/// The leaf groups of a bucket in key order.
pub(crate) fn walk<'a>(
    bucket: &Bucket<'a>,
    faults: &mut impl Faults,
) -> Result<Vec<LeafGroup<'a>>, ReadError> {
    let database = bucket.database();
    let mut groups = Vec::new();
    let mut stack: Vec<Frame<'a>> = Vec::new();
    match bucket.root_page() {
        Ok(page) => enter(database, page, &[], None, &mut stack, &mut groups, faults)?,
        Err(fault) => faults.fault(fault)?,
    }
    while let Some(frame) = stack.last_mut() {
        if frame.next == frame.page.count() {
            stack.pop();
            continue;
        }
        let index = frame.next;
        frame.next += 1;
        // `enter` has checked the elements of the page. Its first child is a branch, and so are all: the leaves of a tree
        // lie on one level. Without this each element of a forged branch would make a group of its own.
        let item = frame.page.branch_item(index)?;
        let high = if frame.next < frame.page.count() {
            Some(frame.page.branch_item(frame.next)?.key)
        } else {
            frame.high
        };
        match database.page(item.child).and_then(|page| page.expect(PageKind::Branch)) {
            Ok(page) => enter(database, page, item.key, high, &mut stack, &mut groups, faults)?,
            Err(fault) => faults.fault(fault)?,
        }
    }
    Ok(groups)
}

fn enter<'a>(
    database: Database<'a>,
    page: Page<'a>,
    low: &[u8],
    high: Option<&'a [u8]>,
    stack: &mut Vec<Frame<'a>>,
    groups: &mut Vec<LeafGroup<'a>>,
    faults: &mut impl Faults,
) -> Result<(), ReadError> {
    match page.kind() {
        PageKind::Leaf => {
            groups.push(LeafGroup { database, parent: page, high });
            return Ok(());
        }
        PageKind::Branch => {}
        PageKind::Meta | PageKind::Freelist => {
            let flags = page.kind().flags();
            return faults.fault(ReadError::PageKindWrong {
                page: page.id(),
                expected: PageKind::Leaf,
                flags,
            });
        }
    }
    if stack.len() == MAX_DEPTH {
        return faults.fault(ReadError::TooDeep { page: page.id(), limit: MAX_DEPTH });
    }
    if !faults.reach(&page) {
        return faults.fault(ReadError::ReachedTwice { page: page.id() });
    }
    if let Err(fault) = check_branch(&page, low, high) {
        return faults.fault(fault);
    }
    if has_leaf_children(database, &page) {
        groups.push(LeafGroup { database, parent: page, high });
    } else {
        stack.push(Frame { page, next: 0, high });
    }
    Ok(())
}

/// Whether the children are leaves, by the first of them that can be read. If none can, they are taken as leaves: whoever
/// reads them meets the fault.
fn has_leaf_children(database: Database<'_>, page: &Page<'_>) -> bool {
    (0..page.count())
        .filter_map(|index| database.page(page.branch_item(index).ok()?.child).ok())
        .find_map(|child| match child.kind() {
            PageKind::Leaf => Some(true),
            PageKind::Branch => Some(false),
            PageKind::Meta | PageKind::Freelist => None,
        })
        .unwrap_or(true)
}

fn check_branch(page: &Page<'_>, low: &[u8], high: Option<&[u8]>) -> Result<(), ReadError> {
    if page.count() == 0 {
        return Err(ReadError::PageEmpty { page: page.id() });
    }
    let mut previous: Option<&[u8]> = None;
    page.check_branch_layout()?;
    for index in 0..page.count() {
        let key = page.branch_item(index)?.key;
        if previous.is_some_and(|previous| key <= previous) {
            return Err(ReadError::KeysUnordered { page: page.id(), index });
        }
        if key < low || high.is_some_and(|high| key >= high) {
            return Err(ReadError::KeyOutsideBranch { page: page.id(), index });
        }
        previous = Some(key);
    }
    Ok(())
}
