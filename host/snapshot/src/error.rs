//! Why a snapshot cannot be opened, or a place in it not read.
//!
//! [`OpenError`] ends everything: there is no database in the file. [`ReadError`] is one fault at one place; the check
//! turns the same values into findings, so that reading and checking never disagree about what is damaged.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bolt::{PageId, PageKind};

/// The file is not a snapshot that can be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be opened or mapped.
    #[error("cannot open `{}`", path.display())]
    Io {
        /// The file asked for.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Too short to hold the two meta pages.
    #[error("the file has {size_bytes} bytes, too few for a database")]
    TooShort {
        /// The file's length.
        size_bytes: u64,
    },
    /// No meta page anywhere: the file is something else.
    #[error("the file is not an etcd database: {first}")]
    NotADatabase {
        /// What is wrong with the page at the file's start.
        first: MetaFault,
    },
    /// It was a database, but neither meta page is whole, so its root is not known.
    #[error("both meta pages are damaged: page 0: {first}; page 1: {second}")]
    NoValidMeta {
        /// What is wrong with page 0.
        first: MetaFault,
        /// What is wrong with page 1.
        second: MetaFault,
    },
    /// Larger than this library addresses (2^32 pages, 2^48 bytes).
    #[error("the database is too large: {pages} pages of {page_size} bytes")]
    TooLarge {
        /// Pages, by the high water mark or by the file's length.
        pages: u64,
        /// Bytes a page.
        page_size: u32,
    },
}

impl OpenError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("check the path")
            }
            Self::Io { .. } | Self::TooLarge { .. } => None,
            Self::TooShort { .. } => Some("the file was cut short: take another copy of the backup"),
            Self::NotADatabase { first: MetaFault::BigEndian } => Some(
                "take the snapshot from a member on a little-endian machine, or use etcdutl where the file was written",
            ),
            Self::NotADatabase { .. } => Some(
                "a snapshot is the file that `etcdctl snapshot save` writes; unpack it first if it is compressed or encrypted",
            ),
            Self::NoValidMeta { .. } => {
                Some("the start of the file is damaged: take another copy of the backup")
            }
        }
    }
}

/// What is wrong with a meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaFault {
    /// The file ends before it.
    #[error("it lies beyond the end of the file")]
    Missing,
    /// The page's header does not say "meta", or names another page.
    #[error("its page header is not that of meta page {expected}: id {id}, flags {flags:#x}")]
    Header {
        /// The id it should have.
        expected: u64,
        /// The id it has.
        id: u64,
        /// The flags it has; 0x04 is right.
        flags: u16,
    },
    /// The first four bytes are not bbolt's.
    #[error("magic number {0:#010x}, not 0xed0cdaed")]
    Magic(u32),
    /// bbolt's magic number the other way round: written on a big-endian machine.
    #[error("it was written by a big-endian machine, which is not supported")]
    BigEndian,
    /// A file format other than bbolt's second.
    #[error("format version {0}, not 2")]
    Version(u32),
    /// The checksum is not that of the bytes.
    #[error("checksum {stored:#018x}, but its bytes give {computed:#018x}")]
    Checksum {
        /// As stored.
        stored: u64,
        /// As computed.
        computed: u64,
    },
    /// Not a power of two between 1 KiB and 16 MiB.
    #[error("page size {0}")]
    PageSize(u32),
}

/// A place in the file that cannot be read, or a question it cannot answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A page id, or a page's overflow, at or beyond the high water mark.
    #[error("page {page} with {overflow} overflow pages lies beyond the high water mark {high_water}")]
    PageOutOfRange {
        /// The page.
        page: PageId,
        /// Further pages it says it takes.
        overflow: u32,
        /// Pages of the database.
        high_water: u64,
    },
    /// The file ends before the page does.
    #[error("page {page} lies beyond the end of the file")]
    PageBeyondFile {
        /// The page.
        page: PageId,
    },
    /// The page says it is another one.
    #[error("page {page} says it is page {found}")]
    PageIdWrong {
        /// Where it lies.
        page: PageId,
        /// What it says.
        found: u64,
    },
    /// The page has no kind, or not the one needed here.
    #[error("page {page} has flags {flags:#x}, not those of a {expected} page")]
    PageKindWrong {
        /// The page.
        page: PageId,
        /// What its place in the tree asks for.
        expected: PageKind,
        /// Its flags as stored.
        flags: u16,
    },
    /// More elements than the page's bytes can hold.
    #[error("page {page} says it has {count} elements, more than it can hold")]
    PageOverfull {
        /// The page.
        page: PageId,
        /// Elements it says it has.
        count: u16,
    },
    /// Overflow pages that the content does not reach.
    #[error("page {page} takes {overflow} overflow pages, more than its content needs")]
    PageOverflow {
        /// The page.
        page: PageId,
        /// Further pages it says it takes.
        overflow: u32,
    },
    /// A page without elements where there must be some.
    #[error("page {page} is empty")]
    PageEmpty {
        /// The page.
        page: PageId,
    },
    /// A key or value reaches beyond its page.
    #[error("element {index} of page {page} reaches beyond the page")]
    ElementOutOfBounds {
        /// The page.
        page: PageId,
        /// The element, from 0.
        index: u16,
    },
    /// Keys and values do not follow each other as bbolt lays them out.
    #[error("element {index} of page {page} does not begin where the one before it ends")]
    ElementLayout {
        /// The page.
        page: PageId,
        /// The element, from 0.
        index: u16,
    },
    /// A leaf element with flags that do not exist.
    #[error("element {index} of page {page} has flags {flags:#x}")]
    ElementFlags {
        /// The page.
        page: PageId,
        /// The element, from 0.
        index: u16,
        /// The flags; 0 and 1 exist.
        flags: u32,
    },
    /// An empty key, or one longer than bbolt allows.
    #[error("element {index} of page {page} has a key of {length} bytes")]
    KeyLength {
        /// The page.
        page: PageId,
        /// The element, from 0.
        index: u16,
        /// Bytes of the key.
        length: u32,
    },
    /// A key not greater than the one before it.
    #[error("the key of element {index} of page {page} is not greater than the one before it")]
    KeysUnordered {
        /// The page.
        page: PageId,
        /// The element, from 0.
        index: u16,
    },
    /// A key outside the range that the pages above allow.
    #[error("the key of element {index} of page {page} is outside the range that the branch above gives")]
    KeyOutsideBranch {
        /// The page.
        page: PageId,
        /// The element, from 0.
        index: u16,
    },
    /// The tree is deeper than any real one.
    #[error("the tree at page {page} is deeper than {limit} levels")]
    TooDeep {
        /// Where the limit was met.
        page: PageId,
        /// The limit.
        limit: usize,
    },
    /// More pages, or bytes, are reached than the file has: some are reached twice.
    #[error("page {page} is reached a second time")]
    ReachedTwice {
        /// The page.
        page: PageId,
    },
    /// A bucket's header is too short, or its inline page is.
    #[error("the bucket `{bucket}` has a header of {length} bytes")]
    BucketHeader {
        /// The bucket's name, printable.
        bucket: String,
        /// Bytes of its header.
        length: usize,
    },
    /// The root of the file has no such bucket.
    #[error("the bucket `{bucket}` is missing")]
    BucketMissing {
        /// The bucket's name.
        bucket: &'static str,
    },
    /// An item that does not have the form its bucket asks for.
    #[error("at offset {offset} of the bucket `{bucket}`: {reason}")]
    Malformed {
        /// The bucket.
        bucket: &'static str,
        /// Byte of the file at which the item's element lies.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The revision asked for was compacted away.
    #[error("revision {revision} was compacted: the snapshot keeps history from {compact_revision}")]
    Compacted {
        /// The revision asked for.
        revision: i64,
        /// The oldest revision that can be asked for.
        compact_revision: i64,
    },
    /// The revision asked for is newer than the snapshot.
    #[error("revision {revision} is newer than the snapshot, which ends at {newest}")]
    Future {
        /// The revision asked for.
        revision: i64,
        /// The snapshot's own.
        newest: i64,
    },
}

impl ReadError {
    /// The page at fault, if it is one.
    pub fn page(&self) -> Option<PageId> {
        match self {
            Self::PageOutOfRange { page, .. }
            | Self::PageBeyondFile { page }
            | Self::PageIdWrong { page, .. }
            | Self::PageKindWrong { page, .. }
            | Self::PageOverfull { page, .. }
            | Self::PageOverflow { page, .. }
            | Self::PageEmpty { page }
            | Self::ElementOutOfBounds { page, .. }
            | Self::ElementLayout { page, .. }
            | Self::ElementFlags { page, .. }
            | Self::KeyLength { page, .. }
            | Self::KeysUnordered { page, .. }
            | Self::KeyOutsideBranch { page, .. }
            | Self::TooDeep { page, .. }
            | Self::ReachedTwice { page } => Some(*page),
            Self::BucketHeader { .. }
            | Self::BucketMissing { .. }
            | Self::Malformed { .. }
            | Self::Compacted { .. }
            | Self::Future { .. } => None,
        }
    }

    /// A stable word for programs: `damaged`, `compacted` or `future`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Compacted { .. } => "compacted",
            Self::Future { .. } => "future",
            _ => "damaged",
        }
    }
}
