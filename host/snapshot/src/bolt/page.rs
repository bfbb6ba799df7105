//! Pages and their elements.
//!
//! | offset | size | page header |
//! | --- | --- | --- |
//! | 0 | 8 | id |
//! | 8 | 2 | flags: 0x01 branch, 0x02 leaf, 0x04 meta, 0x10 freelist |
//! | 10 | 2 | count of elements |
//! | 12 | 4 | overflow: further pages that belong to this one |
//!
//! Elements of 16 bytes follow, then keys and values in the same order. `pos` counts from the element's own start.
//!
//! | offset | size | branch element | | offset | size | leaf element |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | 0 | 4 | pos | | 0 | 4 | flags: 0x01 = the value is a bucket |
//! | 4 | 4 | key size | | 4 | 4 | pos |
//! | 8 | 8 | child page | | 8 | 4 | key size |
//! | | | | | 12 | 4 | value size |
//!
//! Source: bbolt `internal/common/page.go`.

use std::fmt;
use std::ops::Range;

use super::{PageId, u16_at, u32_at, u64_at};
use crate::error::ReadError;

/// Bytes of a page's header.
pub const PAGE_HEADER_BYTES: usize = 16;
/// Bytes of an element's header, in a branch and in a leaf.
pub const ELEMENT_BYTES: usize = 16;
/// Bytes of a bucket's header: root page and sequence.
pub const BUCKET_HEADER_BYTES: usize = 16;
/// Leaf element flag: the value is a bucket header.
pub const BUCKET_FLAG: u32 = 0x01;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Keys and child pages.
    Branch,
    /// Keys and values.
    Leaf,
    /// The database's description.
    Meta,
    /// Ids of free pages.
    Freelist,
}

impl PageKind {
    fn from_flags(flags: u16) -> Option<Self> {
        match flags {
            0x01 => Some(Self::Branch),
            0x02 => Some(Self::Leaf),
            0x04 => Some(Self::Meta),
            0x10 => Some(Self::Freelist),
            _ => None,
        }
    }

    /// The flags that a page of this kind carries.
    pub fn flags(self) -> u16 {
        match self {
            Self::Branch => 0x01,
            Self::Leaf => 0x02,
            Self::Meta => 0x04,
            Self::Freelist => 0x10,
        }
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Branch => "branch",
            Self::Leaf => "leaf",
            Self::Meta => "meta",
            Self::Freelist => "freelist",
        })
    }
}

/// A page with its overflow pages, or the page inside an inline bucket.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Its id; for an inline bucket's page, the page that holds it.
    id: PageId,
    kind: PageKind,
    count: u16,
    overflow: u32,
    bytes: &'a [u8],
    /// Byte of the file at which it begins.
    offset: u64,
}

/// How a leaf is laid out.
#[derive(Debug, Clone)]
pub(crate) struct LeafLayout {
    /// Where the keys and values lie, one after the other.
    pub(crate) content: Range<usize>,
    /// Whether one of the items is a bucket.
    pub(crate) has_bucket: bool,
}

/// An element of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafItem<'a> {
    /// [`BUCKET_FLAG`] or 0.
    pub flags: u32,
    /// The key.
    pub key: &'a [u8],
    /// The value, or a bucket's header and inline page.
    pub value: &'a [u8],
    /// Byte of the file at which the element's header lies.
    pub offset: u64,
    /// The page it lies on.
    pub page: PageId,
}

impl LeafItem<'_> {
    /// Whether the value is a bucket.
    pub fn is_bucket(&self) -> bool {
        self.flags & BUCKET_FLAG != 0
    }
}

/// An element of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BranchItem<'a> {
    /// Not greater than any key below the child.
    pub key: &'a [u8],
    /// The child.
    pub child: PageId,
}

/// Reads the page `id` of a database of `high_water` pages.
pub(super) fn read(bytes: &[u8], page_size: u32, high_water: u64, id: PageId) -> Result<Page<'_>, ReadError> {
    if id.0 >= high_water {
        return Err(ReadError::PageOutOfRange { page: id, overflow: 0, high_water });
    }
    let beyond_file = ReadError::PageBeyondFile { page: id };
    let offset = id.0.checked_mul(u64::from(page_size)).ok_or_else(|| beyond_file.clone())?;
    let start = usize::try_from(offset).map_err(|_| beyond_file.clone())?;
    let header =
        bytes.get(start..).filter(|rest| rest.len() >= page_size as usize).ok_or(beyond_file.clone())?;
    let (found, flags, count, overflow) = read_header(header).ok_or(beyond_file.clone())?;
    if found != id.0 {
        return Err(ReadError::PageIdWrong { page: id, found });
    }
    if u64::from(overflow) >= high_water - id.0 {
        return Err(ReadError::PageOutOfRange { page: id, overflow, high_water });
    }
    let span = (u64::from(overflow) + 1) * u64::from(page_size);
    let bytes = usize::try_from(span).ok().and_then(|span| header.get(..span)).ok_or(beyond_file)?;
    Page::checked(id, flags, count, overflow, bytes, offset)
}

fn read_header(bytes: &[u8]) -> Option<(u64, u16, u16, u32)> {
    Some((u64_at(bytes, 0)?, u16_at(bytes, 8)?, u16_at(bytes, 10)?, u32_at(bytes, 12)?))
}

impl<'a> Page<'a> {
    fn checked(
        id: PageId,
        flags: u16,
        count: u16,
        overflow: u32,
        bytes: &'a [u8],
        offset: u64,
    ) -> Result<Self, ReadError> {
        let kind = PageKind::from_flags(flags).ok_or(ReadError::PageKindWrong {
            page: id,
            expected: PageKind::Leaf,
            flags,
        })?;
        let holds_elements = matches!(kind, PageKind::Branch | PageKind::Leaf);
        if holds_elements && PAGE_HEADER_BYTES + usize::from(count) * ELEMENT_BYTES > bytes.len() {
            return Err(ReadError::PageOverfull { page: id, count });
        }
        Ok(Self { id, kind, count, overflow, bytes, offset })
    }

    /// The leaf page inside a bucket's value; `bytes` begin at `offset` of the file, on page `host`.
    pub(super) fn inline(bytes: &'a [u8], offset: u64, host: PageId) -> Result<Self, ReadError> {
        let (_, flags, count, _) = read_header(bytes)
            .ok_or(ReadError::BucketHeader { bucket: String::new(), length: bytes.len() })?;
        let page = Self::checked(host, flags, count, 0, bytes, offset)?;
        page.expect(PageKind::Leaf)
    }

    /// This page if it is of the kind, else the error that says so.
    pub fn expect(self, expected: PageKind) -> Result<Self, ReadError> {
        if self.kind == expected {
            return Ok(self);
        }
        Err(ReadError::PageKindWrong { page: self.id, expected, flags: self.kind.flags() })
    }

    /// Its id; for an inline bucket's page, that of the page that holds it.
    pub fn id(&self) -> PageId {
        self.id
    }

    /// What it holds.
    pub fn kind(&self) -> PageKind {
        self.kind
    }

    /// Its elements.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Further pages that belong to it.
    pub fn overflow(&self) -> u32 {
        self.overflow
    }

    /// All its bytes, header and overflow pages included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Byte of the file at which it begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// An element of a leaf page.
    #[inline]
    pub fn leaf_item(&self, index: u16) -> Result<LeafItem<'a>, ReadError> {
        let start = PAGE_HEADER_BYTES + usize::from(index) * ELEMENT_BYTES;
        let (flags, key, value) = (index < self.count)
            .then(|| leaf_element(self.bytes, start))
            .flatten()
            .ok_or(ReadError::ElementOutOfBounds { page: self.id, index })?;
        Ok(LeafItem { flags, key, value, offset: self.offset + start as u64, page: self.id })
    }

    /// An element of a branch page.
    pub fn branch_item(&self, index: u16) -> Result<BranchItem<'a>, ReadError> {
        (index < self.count)
            .then(|| branch_element(self.bytes, PAGE_HEADER_BYTES + usize::from(index) * ELEMENT_BYTES))
            .flatten()
            .ok_or(ReadError::ElementOutOfBounds { page: self.id, index })
    }

    /// The elements of a leaf page in order.
    pub fn leaf_items(&self) -> impl Iterator<Item = Result<LeafItem<'a>, ReadError>> + 'a {
        let page = *self;
        (0..page.count).map(move |index| page.leaf_item(index))
    }

    /// The first element whose key is at or after `key`, by binary search; `count` if there is none.
    pub fn lower_bound(&self, key: &[u8]) -> Result<u16, ReadError> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = match self.kind {
                PageKind::Branch => self.branch_item(middle)?.key,
                _ => self.leaf_item(middle)?.key,
            };
            if at < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Where the keys and values of a leaf lie, one after the other without a gap, as bbolt writes them. So these bytes
    /// are at once what a hash over the items reads.
    ///
    /// # Errors
    /// The first element that is out of bounds, has unknown flags or does not begin where the one before it ends.
    pub fn leaf_content(&self) -> Result<Range<usize>, ReadError> {
        self.leaf_layout().map(|layout| layout.content)
    }

    /// As [`Self::leaf_content`], with what else the elements' headers tell.
    pub(crate) fn leaf_layout(&self) -> Result<LeafLayout, ReadError> {
        let mut all_flags = 0;
        let begin = PAGE_HEADER_BYTES + usize::from(self.count) * ELEMENT_BYTES;
        let mut end = begin;
        for index in 0..self.count {
            let start = PAGE_HEADER_BYTES + usize::from(index) * ELEMENT_BYTES;
            let header: &[u8; ELEMENT_BYTES] = self
                .bytes
                .get(start..start + ELEMENT_BYTES)
                .and_then(|header| header.try_into().ok())
                .ok_or(ReadError::PageOverfull { page: self.id, count: self.count })?;
            let [flags, pos, key, value] = split_words(header);
            if flags & !BUCKET_FLAG != 0 {
                return Err(ReadError::ElementFlags { page: self.id, index, flags });
            }
            all_flags |= flags;
            if start as u64 + u64::from(pos) != end as u64 {
                return Err(ReadError::ElementLayout { page: self.id, index });
            }
            end = usize::try_from(end as u64 + u64::from(key) + u64::from(value))
                .ok()
                .filter(|&end| end <= self.bytes.len())
                .ok_or(ReadError::ElementOutOfBounds { page: self.id, index })?;
        }
        Ok(LeafLayout { content: begin..end, has_bucket: all_flags & BUCKET_FLAG != 0 })
    }

    /// Checks that the keys of a branch lie one after the other without a gap, as bbolt writes them.
    pub(super) fn check_branch_layout(&self) -> Result<(), ReadError> {
        let mut end = PAGE_HEADER_BYTES as u64 + u64::from(self.count) * ELEMENT_BYTES as u64;
        for index in 0..self.count {
            let start = PAGE_HEADER_BYTES + usize::from(index) * ELEMENT_BYTES;
            let (Some(pos), Some(key)) = (u32_at(self.bytes, start), u32_at(self.bytes, start + 4)) else {
                return Err(ReadError::PageOverfull { page: self.id, count: self.count });
            };
            if start as u64 + u64::from(pos) != end {
                return Err(ReadError::ElementLayout { page: self.id, index });
            }
            end += u64::from(key);
        }
        self.check_overflow(end)
    }

    /// Checks that content up to `end` needs all the pages that this one takes. bbolt gives a page one more only when its
    /// content ends just at a page's end.
    pub(crate) fn check_overflow(&self, end: u64) -> Result<(), ReadError> {
        let page_bytes = self.bytes.len() as u64 / (u64::from(self.overflow) + 1);
        if end < u64::from(self.overflow) * page_bytes {
            return Err(ReadError::PageOverflow { page: self.id, overflow: self.overflow });
        }
        Ok(())
    }

    /// The ids on a freelist page.
    pub(super) fn free_pages(&self) -> Result<Vec<PageId>, ReadError> {
        self.expect(PageKind::Freelist)?;
        let overfull = || ReadError::PageOverfull { page: self.id, count: self.count };
        // A count that does not fit 16 bits is the first id instead.
        let (count, first) = if self.count == u16::MAX {
            (u64_at(self.bytes, PAGE_HEADER_BYTES).ok_or_else(overfull)?, 1)
        } else {
            (u64::from(self.count), 0)
        };
        let ids = self.bytes.get(PAGE_HEADER_BYTES + first * 8..).ok_or_else(overfull)?;
        let count =
            usize::try_from(count).ok().filter(|&count| count <= ids.len() / 8).ok_or_else(overfull)?;
        Ok(ids.chunks_exact(8).take(count).filter_map(|id| u64_at(id, 0)).map(PageId).collect())
    }
}

/// The leaf element whose header lies at `offset` of a whole file's bytes. For offsets that were valid when noted.
#[inline]
pub(crate) fn element_at(bytes: &[u8], offset: u64) -> Option<(&[u8], &[u8])> {
    leaf_element(bytes, usize::try_from(offset).ok()?).map(|(_, key, value)| (key, value))
}

#[inline]
fn leaf_element(bytes: &[u8], start: usize) -> Option<(u32, &[u8], &[u8])> {
    let header: &[u8; ELEMENT_BYTES] =
        bytes.get(start..start.checked_add(ELEMENT_BYTES)?)?.try_into().ok()?;
    let [flags, pos, key_bytes, value_bytes] = split_words(header);
    let key_start = start.checked_add(pos as usize)?;
    let value_start = key_start.checked_add(key_bytes as usize)?;
    let end = value_start.checked_add(value_bytes as usize)?;
    Some((flags, bytes.get(key_start..value_start)?, bytes.get(value_start..end)?))
}

fn branch_element(bytes: &[u8], start: usize) -> Option<BranchItem<'_>> {
    let key_start = start.checked_add(u32_at(bytes, start)? as usize)?;
    let key_end = key_start.checked_add(u32_at(bytes, start + 4)? as usize)?;
    Some(BranchItem { key: bytes.get(key_start..key_end)?, child: PageId(u64_at(bytes, start + 8)?) })
}

#[inline]
fn split_words(header: &[u8; ELEMENT_BYTES]) -> [u32; 4] {
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    [word(0), word(4), word(8), word(12)]
}
