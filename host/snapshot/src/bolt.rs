//! bbolt, the database file inside a snapshot, read in place.
//!
//! The file is a row of equal pages: two meta pages, then the pages of B+trees (branch and leaf) and, in some files, a
//! list of the free ones. The root tree's items are buckets, each a tree of its own or, when small, a single leaf
//! *inline* in the item's value. Structures are memory images: little-endian on every machine etcd is released for but
//! s390x, which is refused.
//!
//! Nothing in the file is believed: each offset, count and page id is checked where it is used, walks are bounded by the
//! file's size, and nothing is allocated by a number that the file gives. What these checks refuse is a [`ReadError`].
//! There is no writer and no locking here; the bytes are taken as they are.
//!
//! ```
//! use etcd_snapshot::bolt::Database;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/etcd-3.6-history.db.zst");
//! # let bytes = zstd::decode_all(std::fs::File::open(packed)?)?;
//! let database = Database::open(&bytes)?;
//! for bucket in database.buckets() {
//!     let (name, bucket) = bucket?;
//!     println!("{}: {} items", name.escape_ascii(), bucket.items().count());
//! }
//! let meta = database.bucket(b"meta")?.expect("every etcd makes it");
//! let item = meta.get(b"storageVersion")?.expect("since etcd 3.6");
//! assert_eq!(item.value, b"3.6.0");
//! # Ok(())
//! # }
//! ```
//!
//! Sources: bbolt `internal/common/{types,meta,page,bucket,inode}.go`, `db.go`, `cursor.go`.

mod bucket;
mod meta;
mod page;
mod tree;

use std::fmt;

pub(crate) use bucket::printable;
pub use bucket::{Bucket, BucketRoot, Items, PathStep};
pub use meta::{META_BYTES, META_OFFSET, Meta, NO_FREELIST};
pub use page::{
    BUCKET_FLAG, BUCKET_HEADER_BYTES, BranchItem, ELEMENT_BYTES, LeafItem, PAGE_HEADER_BYTES, Page, PageKind,
};
pub(crate) use page::{LeafLayout, element_at};
pub(crate) use tree::{Faults, LeafGroup, Refuse, walk};

use crate::error::{MetaFault, OpenError, ReadError};

/// The longest key bbolt takes (`MaxKeySize`).
pub const MAX_KEY_BYTES: u32 = 32_768;

/// Levels of a tree. Two keys a page at least make 2^32 pages no deeper than 32; the rest is room.
pub const MAX_DEPTH: usize = 40;

/// A page's number; it lies at `id * page_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u64);

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A bbolt file with the meta page chosen: where every reading starts.
#[derive(Debug, Clone, Copy)]
pub struct Database<'a> {
    bytes: &'a [u8],
    meta: Meta,
    meta_page: u8,
}

impl<'a> Database<'a> {
    /// Chooses the meta page: the one with the higher transaction id that is whole. `bytes` may be longer or, if the
    /// file was cut, shorter than the database.
    pub fn open(bytes: &'a [u8]) -> Result<Self, OpenError> {
        let (meta, meta_page) = meta::choose(bytes)?;
        let pages = meta.high_water.max(bytes.len() as u64 / u64::from(meta.page_size));
        if pages > u64::from(u32::MAX) || bytes.len() as u64 >= 1 << 48 {
            return Err(OpenError::TooLarge { pages, page_size: meta.page_size });
        }
        Ok(Self { bytes, meta, meta_page })
    }

    /// The same database with parts already known: `open` without reading the meta pages again.
    pub(crate) fn with_meta(bytes: &'a [u8], meta: Meta, meta_page: u8) -> Self {
        Self { bytes, meta, meta_page }
    }

    /// The bytes it was opened on.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The meta page in force.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Which of the two meta pages is in force, 0 or 1.
    pub fn meta_page(&self) -> u8 {
        self.meta_page
    }

    /// One of the two meta pages, 0 or 1, checked.
    pub fn read_meta(&self, page: u8) -> Result<Meta, MetaFault> {
        Meta::read(self.bytes, u64::from(page) * u64::from(self.meta.page_size), u64::from(page))
    }

    /// Bytes a page.
    pub fn page_size(&self) -> u32 {
        self.meta.page_size
    }

    /// Pages of the database, used or free: the first id never given out.
    pub fn high_water(&self) -> u64 {
        self.meta.high_water
    }

    /// Bytes of the database by its meta page: what a snapshot's stream sends before the hash.
    pub fn size_bytes(&self) -> u64 {
        self.meta.high_water.saturating_mul(u64::from(self.meta.page_size))
    }

    /// A page, with its overflow pages, checked: it lies below the high water mark and within the file, says its own id,
    /// has exactly one kind, and its element headers fit.
    pub fn page(&self, id: PageId) -> Result<Page<'a>, ReadError> {
        page::read(self.bytes, self.meta.page_size, self.meta.high_water, id)
    }

    /// The tree whose items are the buckets.
    pub fn root(&self) -> Bucket<'a> {
        Bucket::new(*self, BucketRoot::Page(self.meta.root), self.meta.sequence)
    }

    /// A bucket of the root by name. None if there is no such item, or it is not a bucket.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'a>>, ReadError> {
        self.root().bucket(name)
    }

    /// The buckets of the root in name order. Items that are not buckets are left out.
    pub fn buckets(&self) -> impl Iterator<Item = Result<(&'a [u8], Bucket<'a>), ReadError>> + 'a {
        let root = self.root();
        root.items().filter_map(move |item| match item {
            Ok(item) if item.is_bucket() => Some(root.child(&item).map(|bucket| (item.key, bucket))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// The free pages as the file lists them, `None` if it has no list (then every page not reached is free).
    pub fn freelist(&self) -> Result<Option<Vec<PageId>>, ReadError> {
        if self.meta.freelist == NO_FREELIST {
            return Ok(None);
        }
        self.page(PageId(self.meta.freelist))?.free_pages().map(Some)
    }
}

/// Little-endian reads that answer `None` past the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
