//! Editing a bbolt file without a database: changed pages are appended, then the metas point to them.
//!
//! The image itself is never rewritten. A change to a bucket copies the pages on its path to new ids at the high water
//! mark; the old ones are reached no more and so are free, since the freelist is declared absent and a database that
//! opens such a file finds its free pages by a scan. Both meta pages are written anew and name the same root, as in a
//! snapshot that etcd streams: no valid meta is left that leads to the state before.
//!
//! [`load`] is the other way: it writes all items anew, without the holes.
//!
//! Inserts and whole-bucket replacements only: a restore needs nothing else, and so nothing has to be rebalanced. Nodes
//! that outgrow a page take overflow pages, which bbolt splits when it next touches them. Sources: bbolt `node.go`,
//! `bucket.go`, `tx.go` (`writeMeta`).

mod load;
mod node;

use std::borrow::Cow;
use std::collections::BTreeMap;

#[cfg(test)]
pub(crate) use load::load_pages;
pub(crate) use load::{LoadError, load};
use node::{Child, Item, Node};

use crate::bolt::{
    BUCKET_FLAG, Bucket, BucketRoot, Database, MAX_DEPTH, META_BYTES, META_OFFSET, Meta, NO_FREELIST, PageId,
    PageKind,
};
use crate::error::ReadError;

/// A key and its new value.
pub(crate) type Put = (Vec<u8>, Vec<u8>);

/// What becomes of a bucket. One that is missing is created.
#[derive(Debug, Default)]
pub(crate) struct BucketChange {
    /// Drop all items first.
    pub(crate) clear: bool,
    /// Items to insert or overwrite; later ones of the same key win.
    pub(crate) puts: Vec<Put>,
}

/// Changes by bucket name.
pub(crate) type Changes = BTreeMap<&'static str, BucketChange>;

/// Why an image cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A page on the way is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The image ends before its last page.
    #[error("the database has {expected} bytes, and the file only {found} of them")]
    Short {
        /// Bytes up to the high water mark.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// An item of the root has the name of a bucket, but is none.
    #[error("the root item `{0}` is not a bucket")]
    NotABucket(&'static str),
    /// Something is where etcd has only buckets, or a bucket where it has none.
    #[error("its buckets are not laid out as etcd's are")]
    NotEtcd,
    /// A page would not fit the format's fields.
    #[error("a page has no room for another item")]
    TooLarge,
}

/// What has to be written over a copy of the image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    /// How much of the image is kept, in bytes; the new pages follow.
    pub(crate) kept_bytes: u64,
    /// The new pages.
    pub(crate) pages: Vec<u8>,
    /// Written over those of the image.
    pub(crate) metas: Metas,
}

/// The two meta pages as far as they are used, page header included, each with its offset in the file.
pub(crate) type Metas = [(u64, [u8; META_OFFSET + META_BYTES]); 2];

/// Works the changes out. Nothing is written.
pub(crate) fn edit(database: Database<'_>, changes: Changes) -> Result<Patch, EditError> {
    let (expected, found) = (database.size_bytes(), database.bytes().len() as u64);
    if found < expected {
        return Err(EditError::Short { expected, found });
    }
    let mut appender = Appender { database, pages: Vec::new(), next: database.high_water() };
    let mut buckets = Vec::new();
    for (name, change) in changes {
        let item = database.root().get(name.as_bytes())?;
        if item.is_some_and(|item| !item.is_bucket()) {
            return Err(EditError::NotABucket(name));
        }
        let bucket = item.map(|item| database.root().child(&item)).transpose()?;
        let value = appender.change_bucket(bucket, change)?;
        buckets.push(Item::owned(BUCKET_FLAG, name.as_bytes().to_vec(), value));
    }
    // A map's names come sorted, as `insert` wants them.
    let root = appender.insert(database.meta().root, buckets, 0)?;
    let meta = Meta { root, freelist: NO_FREELIST, high_water: appender.next, ..*database.meta() };
    Ok(Patch { kept_bytes: expected, pages: appender.pages, metas: successors(meta) })
}

/// `meta` as the next two transactions would leave it, each with the offset of the page where a writer puts it.
fn successors(meta: Meta) -> Metas {
    [1, 2].map(|step| {
        let meta = Meta { txid: meta.txid.wrapping_add(step), ..meta };
        let page = meta.txid % 2;
        let mut bytes = [0; META_OFFSET + META_BYTES];
        bytes[..8].copy_from_slice(&page.to_le_bytes());
        bytes[8..10].copy_from_slice(&PageKind::Meta.flags().to_le_bytes());
        bytes[META_OFFSET..].copy_from_slice(&meta.encode());
        (page * u64::from(meta.page_size), bytes)
    })
}

/// New pages behind the image.
struct Appender<'a> {
    database: Database<'a>,
    pages: Vec<u8>,
    /// The id that the next new page gets.
    next: u64,
}

impl<'a> Appender<'a> {
    /// The bucket's new header, its pages written.
    fn change_bucket(&mut self, old: Option<Bucket<'a>>, change: BucketChange) -> Result<Vec<u8>, EditError> {
        let sequence = old.map_or(0, |bucket| bucket.sequence());
        // Sorted by key, and of one key the last only.
        let puts: BTreeMap<Vec<u8>, Vec<u8>> = change.puts.into_iter().collect();
        let puts: Vec<Item<'a>> = puts.into_iter().map(|(key, value)| Item::owned(0, key, value)).collect();
        match old.filter(|_| !change.clear).map(|bucket| bucket.root()) {
            Some(BucketRoot::Page(root)) if puts.is_empty() => Ok(bucket_header(root, sequence)),
            Some(BucketRoot::Page(root)) => Ok(bucket_header(self.insert(root, puts, 0)?, sequence)),
            Some(BucketRoot::Inline(page)) => self.small_bucket(&Node::of(&page)?.with(puts), sequence),
            None => self.small_bucket(&Node::Leaf(puts), sequence),
        }
    }

    /// A bucket that is one leaf: inline where bbolt would have it so, else on a page of its own.
    fn small_bucket(&mut self, leaf: &Node<'a>, sequence: u64) -> Result<Vec<u8>, EditError> {
        if leaf.size_bytes() > self.database.page_size() as usize / 4 {
            return Ok(bucket_header(self.append(leaf)?, sequence));
        }
        let mut value = bucket_header(PageId(0), sequence);
        value.extend_from_slice(&leaf.encode(PageId(0), 0)?);
        Ok(value)
    }

    /// Inserts sorted items below a page and gives back the page that takes its place.
    fn insert(&mut self, page: PageId, puts: Vec<Item<'a>>, depth: usize) -> Result<PageId, EditError> {
        if depth >= MAX_DEPTH {
            return Err(ReadError::TooDeep { page, limit: MAX_DEPTH }.into());
        }
        let node = match Node::of(&self.database.page(page)?)? {
            leaf @ Node::Leaf(_) => leaf.with(puts),
            Node::Branch(mut children) => {
                let mut shares: BTreeMap<usize, Vec<Item<'a>>> = BTreeMap::new();
                for put in puts {
                    shares.entry(child_of(&children, &put.key)).or_default().push(put);
                }
                for (number, share) in shares {
                    let child = &mut children[number];
                    // Only the first child can get a key below its own; a branch key may not exceed what is under it.
                    if let Some(first) = share.first().filter(|first| first.key < child.key) {
                        child.key = first.key.clone();
                    }
                    child.page = self.insert(child.page, share, depth + 1)?;
                }
                Node::Branch(children)
            }
        };
        self.append(&node)
    }

    fn append(&mut self, node: &Node<'a>) -> Result<PageId, EditError> {
        let page_size = self.database.page_size() as usize;
        let id = PageId(self.next);
        let count = node.size_bytes().div_ceil(page_size);
        let overflow = u32::try_from(count - 1).map_err(|_| EditError::TooLarge)?;
        self.next = self.next.checked_add(count as u64).ok_or(EditError::TooLarge)?;
        let end = self.pages.len() + count * page_size;
        self.pages.extend_from_slice(&node.encode(id, overflow)?);
        self.pages.resize(end, 0);
        Ok(id)
    }
}

/// The child whose subtree holds `key`, or would: the last whose own key is not greater, else the first.
fn child_of(children: &[Child<'_>], key: &[u8]) -> usize {
    children.partition_point(|child| *child.key <= *key).saturating_sub(1)
}

fn bucket_header(root: PageId, sequence: u64) -> Vec<u8> {
    [root.0.to_le_bytes(), sequence.to_le_bytes()].concat()
}

impl<'a> Node<'a> {
    /// A leaf with sorted items in between or in place. A branch stays as it is.
    fn with(self, puts: Vec<Item<'a>>) -> Self {
        let items = match self {
            Node::Leaf(items) => items,
            branch @ Node::Branch(_) => return branch,
        };
        let mut merged: BTreeMap<Cow<'a, [u8]>, Item<'a>> =
            items.into_iter().map(|item| (item.key.clone(), item)).collect();
        merged.extend(puts.into_iter().map(|put| (put.key.clone(), put)));
        Node::Leaf(merged.into_values().collect())
    }
}

#[cfg(test)]
mod tests;
