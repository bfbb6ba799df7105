//! Writing an image anew: every bucket's items in key order into full pages, one pass, front to back.
//!
//! The result has no free pages and no path that was copied: what a defragmentation would leave, and smaller, since
//! pages are filled to the end. That suits etcd, whose large bucket only grows at its end.
//!
//! Leaves are written as they fill up, and a branch when its children are, so that little is held in memory: one node a
//! level. etcd has no buckets within buckets; those of somebody else are kept as they are.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::node::{Child, Item, Node};
use super::{BucketChange, Changes, EditError, Metas, bucket_header, successors};
use crate::bolt::{
    BUCKET_FLAG, BUCKET_HEADER_BYTES, Bucket, Database, ELEMENT_BYTES, MAX_DEPTH, Meta, NO_FREELIST,
    PAGE_HEADER_BYTES, PageId,
};
use crate::error::ReadError;

/// Pages are handed on in pieces of this size.
const WRITE_BYTES: usize = 1 << 20;

/// The fewest items of a leaf that has a neighbour, as bbolt has it: large values share the rest of their last page.
const MIN_LEAF_ITEMS: usize = 2;

/// The fewest children of a branch that is written before its level ends, so that one is left for the last.
const MIN_CHILDREN: usize = 3;

/// Buckets within each other. Nobody has so many; each takes room on the stack.
const MAX_NESTING: usize = 100;

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Write(#[from] io::Error),
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        Self::Edit(error.into())
    }
}

/// What was written.
pub(crate) struct Loaded {
    pub(crate) bytes: u64,
    /// To be written over the two first pages, which are zeros so far.
    pub(crate) metas: Metas,
}

/// Writes the buckets of `database`, changed, from the first page on.
pub(crate) fn load(database: Database<'_>, changes: Changes, out: impl Write) -> Result<Loaded, LoadError> {
    load_pages(database, changes, out, database.page_size())
}

/// As [`load`], with pages of this size.
pub(crate) fn load_pages(
    database: Database<'_>,
    mut changes: Changes,
    out: impl Write,
    page_bytes: u32,
) -> Result<Loaded, LoadError> {
    let page_size = page_bytes as usize;
    // By the file's length and not by its high water mark, which may be forged.
    let unread = database.size_bytes().min(database.bytes().len() as u64);
    let mut loader = Loader { page_size, next: 2, pages: vec![0; 2 * page_size], out, unread };
    let mut root = Tree::default();
    for (name, bucket) in buckets(database, &changes)? {
        let change = changes.remove(&*name).unwrap_or_default();
        let value = loader.bucket(bucket, change, 0)?;
        loader.put(&mut root, Item::owned(BUCKET_FLAG, name.into_bytes(), value))?;
    }
    let root = loader.finish(root)?;
    loader.hand_on()?;
    let meta = Meta {
        page_size: page_bytes,
        root,
        freelist: NO_FREELIST,
        high_water: loader.next,
        ..*database.meta()
    };
    Ok(Loaded { bytes: loader.next * page_size as u64, metas: successors(meta) })
}

type Buckets<'a> = BTreeMap<String, Option<Bucket<'a>>>;

/// The buckets that there will be, with those that are there.
fn buckets<'a>(database: Database<'a>, changes: &Changes) -> Result<Buckets<'a>, LoadError> {
    let mut buckets: Buckets<'a> = changes.keys().map(|name| ((*name).to_owned(), None)).collect();
    for item in database.root().items() {
        let item = item?;
        // A name that is no text is not etcd's, as an item that is no bucket is not.
        let name =
            std::str::from_utf8(item.key).ok().filter(|_| item.is_bucket()).ok_or(EditError::NotEtcd)?;
        buckets.insert(name.to_owned(), Some(database.root().child(&item)?));
    }
    Ok(buckets)
}

/// A tree that grows at its end.
#[derive(Default)]
struct Tree<'a> {
    items: Vec<Item<'a>>,
    items_bytes: usize,
    /// Branches that are not full yet, lowest level first.
    levels: Vec<Vec<Child<'a>>>,
}

struct Loader<W> {
    page_size: usize,
    /// The id of the next page.
    next: u64,
    /// Pages that were not handed on yet.
    pages: Vec<u8>,
    out: W,
    /// Bytes of the source that can still come up. Without this, trees that share pages would come out as many times
    /// as they are reached.
    unread: u64,
}

impl<W: Write> Loader<W> {
    /// Writes a bucket and gives back its header, the bucket behind it when it is small.
    fn bucket(
        &mut self,
        old: Option<Bucket<'_>>,
        change: BucketChange,
        depth: usize,
    ) -> Result<Vec<u8>, LoadError> {
        if depth > MAX_NESTING {
            return Err(EditError::NotEtcd.into());
        }
        let sequence = old.map_or(0, |bucket| bucket.sequence());
        let mut holds_buckets = false;
        let mut puts = change.puts.into_iter().collect::<BTreeMap<_, _>>().into_iter().peekable();
        let mut tree = Tree::default();
        let mut previous: &[u8] = &[];
        let kept = old.filter(|_| !change.clear);
        for item in kept.iter().flat_map(Bucket::items) {
            let item = item?;
            if item.key <= previous {
                // The element is not known here, and the page tells enough.
                return Err(ReadError::KeysUnordered { page: item.page, index: 0 }.into());
            }
            previous = item.key;
            // What is in a bucket counts when it is read.
            let value_bytes = if item.is_bucket() { BUCKET_HEADER_BYTES } else { item.value.len() };
            let bytes = (ELEMENT_BYTES + item.key.len() + value_bytes) as u64;
            self.unread =
                self.unread.checked_sub(bytes).ok_or(ReadError::ReachedTwice { page: item.page })?;
            while let Some((key, value)) = puts.next_if(|(key, _)| **key < *item.key) {
                self.put(&mut tree, Item::owned(0, key, value))?;
            }
            match puts.next_if(|(key, _)| **key == *item.key) {
                Some((key, value)) => self.put(&mut tree, Item::owned(0, key, value))?,
                None if item.is_bucket() => {
                    holds_buckets = true;
                    let inner = kept.map(|bucket| bucket.child(&item)).transpose()?;
                    let value = self.bucket(inner, BucketChange::default(), depth + 1)?;
                    self.put(&mut tree, Item::owned(item.flags, item.key.to_vec(), value))?;
                }
                None => self.put(&mut tree, Item::from(item))?,
            }
        }
        for (key, value) in puts {
            self.put(&mut tree, Item::owned(0, key, value))?;
        }
        // bbolt gives a bucket that holds others pages of its own, however small it is.
        let is_small = tree.levels.is_empty() && PAGE_HEADER_BYTES + tree.items_bytes <= self.page_size / 4;
        if is_small && !holds_buckets {
            let mut value = bucket_header(PageId(0), sequence);
            Node::Leaf(tree.items).encode_into(&mut value, PageId(0), 0)?;
            return Ok(value);
        }
        Ok(bucket_header(self.finish(tree)?, sequence))
    }

    fn put<'a>(&mut self, tree: &mut Tree<'a>, item: Item<'a>) -> Result<(), LoadError> {
        let bytes = item.size_bytes();
        let full = PAGE_HEADER_BYTES + tree.items_bytes + bytes > self.page_size;
        if full && tree.items.len() >= MIN_LEAF_ITEMS {
            self.end_leaf(tree)?;
        }
        tree.items_bytes += bytes;
        tree.items.push(item);
        Ok(())
    }

    fn end_leaf(&mut self, tree: &mut Tree<'_>) -> Result<(), LoadError> {
        let mut items = std::mem::take(&mut tree.items);
        tree.items_bytes = 0;
        let leaf = Node::Leaf(items);
        let page = self.write(&leaf)?;
        let Node::Leaf(written) = leaf else { return Ok(()) };
        items = written;
        let first = items.drain(..).next().map(|item| item.key);
        // The vector is used again: a leaf has as many items as the one before.
        tree.items = items;
        match first {
            Some(key) => self.add_child(tree, 0, Child { key, page }),
            None => Ok(()),
        }
    }

    fn add_child<'a>(
        &mut self,
        tree: &mut Tree<'a>,
        level: usize,
        child: Child<'a>,
    ) -> Result<(), LoadError> {
        if level == MAX_DEPTH {
            return Err(EditError::TooLarge.into());
        }
        if level == tree.levels.len() {
            tree.levels.push(Vec::new());
        }
        let children = &mut tree.levels[level];
        let bytes: usize = children.iter().map(Child::size_bytes).sum();
        let full = PAGE_HEADER_BYTES + bytes + child.size_bytes() > self.page_size;
        if full && children.len() >= MIN_CHILDREN {
            // One stays behind, so that no branch ends up with a single child.
            let kept = children.split_off(children.len() - 1);
            let branch = Node::Branch(std::mem::replace(children, kept));
            self.end_branch(tree, level, branch)?;
        }
        tree.levels[level].push(child);
        Ok(())
    }

    fn end_branch<'a>(
        &mut self,
        tree: &mut Tree<'a>,
        level: usize,
        branch: Node<'a>,
    ) -> Result<(), LoadError> {
        let page = self.write(&branch)?;
        let Node::Branch(children) = branch else { return Ok(()) };
        match children.into_iter().next() {
            Some(Child { key, .. }) => self.add_child(tree, level + 1, Child { key, page }),
            None => Ok(()),
        }
    }

    /// Ends the levels from the lowest up, and gives back the root page.
    fn finish(&mut self, mut tree: Tree<'_>) -> Result<PageId, LoadError> {
        if tree.levels.is_empty() {
            return self.write(&Node::Leaf(tree.items));
        }
        self.end_leaf(&mut tree)?;
        let mut level = 0;
        loop {
            let mut children = std::mem::take(&mut tree.levels[level]);
            if level + 1 == tree.levels.len() && children.len() == 1 {
                // The top level has a single child: that is the root.
                return Ok(children.remove(0).page);
            }
            self.end_branch(&mut tree, level, Node::Branch(children))?;
            level += 1;
        }
    }

    fn write(&mut self, node: &Node<'_>) -> Result<PageId, LoadError> {
        let id = PageId(self.next);
        let count = node.size_bytes().div_ceil(self.page_size);
        let overflow = u32::try_from(count - 1).map_err(|_| EditError::TooLarge)?;
        self.next += count as u64;
        let end = self.pages.len() + count * self.page_size;
        node.encode_into(&mut self.pages, id, overflow)?;
        self.pages.resize(end, 0);
        if self.pages.len() >= WRITE_BYTES {
            self.hand_on()?;
        }
        Ok(id)
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.pages)?;
        self.pages.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
