//! Buckets: a tree of items by key, looked up, walked in order, and opened one inside another.

use super::page::{BUCKET_HEADER_BYTES, LeafItem, Page, PageKind};
use super::{Database, MAX_DEPTH, PageId, u64_at};
use crate::error::ReadError;

/// Where a bucket's items are.
#[derive(Debug, Clone, Copy)]
pub enum BucketRoot<'a> {
    /// In a tree of pages of its own.
    Page(PageId),
    /// In a single leaf inside the value of the bucket's item.
    Inline(Page<'a>),
}

/// A tree of items in key order.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    database: Database<'a>,
    root: BucketRoot<'a>,
    sequence: u64,
}

/// One page on the way from a bucket's root to a leaf.
#[derive(Debug, Clone, Copy)]
pub struct PathStep<'a> {
    /// The page.
    pub page: Page<'a>,
    /// The element taken: in a branch the child followed, in the leaf the first one not less than the key, which may be
    /// one past the last.
    pub index: u16,
}

impl<'a> Bucket<'a> {
    pub(super) fn new(database: Database<'a>, root: BucketRoot<'a>, sequence: u64) -> Self {
        Self { database, root, sequence }
    }

    /// The database it lies in.
    pub fn database(&self) -> Database<'a> {
        self.database
    }

    /// Where its items are.
    pub fn root(&self) -> BucketRoot<'a> {
        self.root
    }

    /// The number it gives out next; etcd leaves it 0.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The bucket that `item`, one of this bucket's items, holds.
    pub fn child(&self, item: &LeafItem<'a>) -> Result<Bucket<'a>, ReadError> {
        let short = || ReadError::BucketHeader { bucket: printable(item.key), length: item.value.len() };
        let page = u64_at(item.value, 0).ok_or_else(short)?;
        let sequence = u64_at(item.value, 8).ok_or_else(short)?;
        let root = if page == 0 {
            let inline = item.value.get(BUCKET_HEADER_BYTES..).ok_or_else(short)?;
            let offset = offset_of(inline, self.database.bytes()).ok_or_else(short)?;
            BucketRoot::Inline(Page::inline(inline, offset, item.page).map_err(|error| match error {
                ReadError::BucketHeader { .. } => short(),
                other => other,
            })?)
        } else {
            BucketRoot::Page(PageId(page))
        };
        Ok(Bucket::new(self.database, root, sequence))
    }

    /// A bucket inside this one by name. None if there is no such item, or it is not a bucket.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'a>>, ReadError> {
        match self.get(name)? {
            Some(item) if item.is_bucket() => self.child(&item).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// The item with this key.
    pub fn get(&self, key: &[u8]) -> Result<Option<LeafItem<'a>>, ReadError> {
        let path = self.path(key)?;
        let Some(step) = path.last().filter(|step| step.index < step.page.count()) else { return Ok(None) };
        let item = step.page.leaf_item(step.index)?;
        Ok((item.key == key).then_some(item))
    }

    /// The pages from the root to the leaf where `key` is or would be, root first. An inline bucket's path is its one
    /// leaf.
    pub fn path(&self, key: &[u8]) -> Result<Vec<PathStep<'a>>, ReadError> {
        let mut path = Vec::new();
        let mut page = self.root_page()?;
        loop {
            if path.len() == MAX_DEPTH {
                return Err(ReadError::TooDeep { page: page.id(), limit: MAX_DEPTH });
            }
            let mut index = page.lower_bound(key)?;
            if page.kind() != PageKind::Branch {
                path.push(PathStep { page: page.expect(PageKind::Leaf)?, index });
                return Ok(path);
            }
            if page.count() == 0 {
                return Err(ReadError::PageEmpty { page: page.id() });
            }
            // The child to follow is the last whose key is not greater.
            if index == page.count() || page.branch_item(index)?.key != key {
                index = index.saturating_sub(1);
            }
            path.push(PathStep { page, index });
            page = self.database.page(page.branch_item(index)?.child)?;
        }
    }

    /// The last item in key order.
    pub fn last(&self) -> Result<Option<LeafItem<'a>>, ReadError> {
        let mut page = self.root_page()?;
        for _ in 0..MAX_DEPTH {
            let Some(index) = page.count().checked_sub(1) else {
                return if page.kind() == PageKind::Leaf {
                    Ok(None)
                } else {
                    Err(ReadError::PageEmpty { page: page.id() })
                };
            };
            match page.kind() {
                PageKind::Branch => page = self.database.page(page.branch_item(index)?.child)?,
                _ => return page.expect(PageKind::Leaf)?.leaf_item(index).map(Some),
            }
        }
        Err(ReadError::TooDeep { page: page.id(), limit: MAX_DEPTH })
    }

    /// All items in key order. After an error it ends.
    pub fn items(&self) -> Items<'a> {
        Items {
            database: self.database,
            start: Some(*self),
            branches: Vec::new(),
            leaf: None,
            bytes_left: self.database.bytes().len() as u64,
        }
    }

    pub(super) fn root_page(&self) -> Result<Page<'a>, ReadError> {
        match self.root {
            BucketRoot::Page(id) => self.database.page(id),
            BucketRoot::Inline(page) => Ok(page),
        }
    }
}

/// The items of a bucket in key order. Ends after the first error, and never reads more than the file holds: a tree that
/// reaches pages twice runs into [`ReadError::ReachedTwice`].
#[derive(Debug)]
pub struct Items<'a> {
    database: Database<'a>,
    start: Option<Bucket<'a>>,
    /// Branch pages above the leaf, each with its next child.
    branches: Vec<(Page<'a>, u16)>,
    leaf: Option<(Page<'a>, u16)>,
    bytes_left: u64,
}

impl<'a> Items<'a> {
    fn advance(&mut self) -> Result<Option<LeafItem<'a>>, ReadError> {
        if let Some(bucket) = self.start.take() {
            let page = bucket.root_page()?;
            self.enter(page)?;
        }
        loop {
            if let Some((page, next)) = &mut self.leaf {
                if *next < page.count() {
                    *next += 1;
                    return page.leaf_item(*next - 1).map(Some);
                }
                self.leaf = None;
            }
            let Some((page, next)) = self.branches.last_mut() else { return Ok(None) };
            if *next == page.count() {
                self.branches.pop();
                continue;
            }
            let child = page.branch_item(*next)?.child;
            *next += 1;
            let page = self.database.page(child)?;
            self.enter(page)?;
        }
    }

    fn enter(&mut self, page: Page<'a>) -> Result<(), ReadError> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(page.bytes().len() as u64)
            .ok_or(ReadError::ReachedTwice { page: page.id() })?;
        if page.kind() == PageKind::Branch {
            if self.branches.len() == MAX_DEPTH {
                return Err(ReadError::TooDeep { page: page.id(), limit: MAX_DEPTH });
            }
            self.branches.push((page, 0));
        } else {
            page.expect(PageKind::Leaf)?.leaf_content()?;
            self.leaf = Some((page, 0));
        }
        Ok(())
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<LeafItem<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance();
        if item.is_err() {
            self.branches.clear();
            self.leaf = None;
        }
        item.transpose()
    }
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset_of(part: &[u8], whole: &[u8]) -> Option<u64> {
    let offset = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (offset <= whole.len()).then_some(offset as u64)
}

/// Bytes as text that can be shown anywhere: what is not printable ASCII is escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const LIMIT: usize = 256;
    let shown = bytes.get(..LIMIT).unwrap_or(bytes);
    let mut text = shown.escape_ascii().to_string();
    if bytes.len() > LIMIT {
        text.push('…');
    }
    text
}
