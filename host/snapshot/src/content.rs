//! CRC-32C over the items of buckets, in pieces that can be computed in any order and put together.
//!
//! bbolt lays out the keys and values of a leaf one after the other, which is just what etcd's hashes read: a leaf is one
//! piece. Two pieces join without their bytes: appending n bytes multiplies a CRC, taken as a polynomial, by x^8n.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::bolt::{Bucket, LeafGroup, LeafLayout, Page, Refuse, walk};
use crate::error::ReadError;
use crate::threads;

/// The CRC-32C of some bytes, and how many they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) crc: u32,
    pub(crate) bytes: u64,
}

impl Content {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::default().append(bytes)
    }

    /// With more bytes behind it.
    #[inline]
    pub(crate) fn append(self, bytes: &[u8]) -> Self {
        Self { crc: crc32c::crc32c_append(self.crc, bytes), bytes: self.bytes + bytes.len() as u64 }
    }

    /// With another piece behind it.
    pub(crate) fn join(self, next: Self) -> Self {
        let bytes = self.bytes + next.bytes;
        if next.bytes == 0 {
            return Self { bytes, ..self };
        }
        Self { crc: multiply(power_of_x8(next.bytes), self.crc) ^ next.crc, bytes }
    }

    /// With the items of a leaf behind it.
    pub(crate) fn append_leaf(self, page: &Page<'_>, layout: &LeafLayout) -> Result<Self, ReadError> {
        if !layout.has_bucket {
            return Ok(self.append(page.bytes().get(layout.content.clone()).unwrap_or_default()));
        }
        // A bucket inside the bucket counts with its name alone.
        page.leaf_items().try_fold(self, |content, item| {
            let item = item?;
            let content = content.append(item.key);
            Ok(if item.is_bucket() { content } else { content.append(item.value) })
        })
    }
}

/// Some leaves next to each other, hashed together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) content: Content,
    pub(crate) items: u64,
    /// What there is up to each leaf's end; empty where that would take too much memory.
    pub(crate) leaves: Vec<LeafEnd>,
}

/// Leaves of which the ends are noted: 12 MiB.
const MAX_LEAF_ENDS: usize = 1 << 20;

/// A segment up to the end of one of its leaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LeafEnd {
    crc: u32,
    bytes: u32,
    pub(crate) items: u32,
}

impl LeafEnd {
    /// What lies between two ends of a segment.
    pub(crate) fn since(self, earlier: Self) -> Content {
        let bytes = u64::from(self.bytes - earlier.bytes);
        Content { crc: self.crc ^ multiply(power_of_x8(bytes), earlier.crc), bytes }
    }
}

impl Segment {
    /// An empty one, for a group of the bucket.
    pub(crate) fn of(group: &LeafGroup<'_>, keeps_leaf_ends: bool) -> Self {
        let leaves = if keeps_leaf_ends { usize::from(group.len()) } else { 0 };
        Self { leaves: Vec::with_capacity(leaves), ..Self::default() }
    }

    /// Notes the end of a leaf whose content and items were added.
    pub(crate) fn end_leaf(&mut self) {
        if self.leaves.len() == self.leaves.capacity() {
            return;
        }
        match (u32::try_from(self.content.bytes), u32::try_from(self.items)) {
            (Ok(bytes), Ok(items)) => self.leaves.push(LeafEnd { crc: self.content.crc, bytes, items }),
            // Without all of them none is of use.
            _ => self.leaves = Vec::new(),
        }
    }
}

/// Whether there are few enough leaves to note the end of each.
pub(crate) fn keeps_leaf_ends(groups: &[LeafGroup<'_>]) -> bool {
    groups.iter().map(|group| usize::from(group.len())).sum::<usize>() <= MAX_LEAF_ENDS
}

/// The bytes that leaves may still come to. Leaves that are reached again and again come to more than the file has; so
/// this is shared by all threads, and by all buckets that are read one after the other.
pub(crate) struct Budget(AtomicU64);

impl Budget {
    /// Every byte of the file once.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(AtomicU64::new(bytes.len() as u64))
    }

    /// Takes a page's bytes off, before they are read.
    pub(crate) fn take(&self, page: &Page<'_>) -> Result<(), ReadError> {
        let page_bytes = page.bytes().len() as u64;
        let taken =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(page_bytes));
        taken.map(drop).map_err(|_| ReadError::ReachedTwice { page: page.id() })
    }
}

/// The leaves of a bucket, each group with its segment.
pub(crate) fn segments<'a>(
    bucket: &Bucket<'a>,
    branches: &mut Refuse,
    leaves: &Budget,
) -> Result<(Vec<LeafGroup<'a>>, Vec<Segment>), ReadError> {
    let groups = walk(bucket, branches)?;
    let threads = if groups.len() < 4 { 1 } else { threads::available() };
    let keeps_leaf_ends = keeps_leaf_ends(&groups);
    let results = threads::map_pieces(threads, groups.len(), |index| {
        let mut segment = Segment::of(&groups[index], keeps_leaf_ends);
        for leaf in 0..groups[index].len() {
            let page = groups[index].leaf(leaf)?;
            leaves.take(&page)?;
            segment.content = segment.content.append_leaf(&page, &page.leaf_layout()?)?;
            segment.items += u64::from(page.count());
            segment.end_leaf();
        }
        Ok(segment)
    });
    let segments = results.into_iter().collect::<Result<_, ReadError>>()?;
    Ok((groups, segments))
}

/// The reflected Castagnoli polynomial; bit 31 is the coefficient of x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;

/// The product of two polynomials modulo the CRC's.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = b >> 1 ^ if b & 1 == 0 { 0 } else { POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// x^(8n) modulo the CRC's polynomial, by squaring.
fn power_of_x8(mut n: u64) -> u32 {
    let mut power = ONE;
    for square in SQUARES {
        if n == 0 {
            break;
        }
        if n & 1 == 1 {
            power = multiply(power, square);
        }
        n >>= 1;
    }
    power
}

/// x^8, and each the square of the one before it.
const SQUARES: [u32; 64] = {
    let mut squares = [1 << 23; 64];
    let mut index = 1;
    while index < squares.len() {
        squares[index] = multiply(squares[index - 1], squares[index - 1]);
        index += 1;
    }
    squares
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_pieces_hash_like_the_whole() {
        let bytes: Vec<u8> = (0..5000u32).map(|n| ((n * 31) >> 3) as u8).collect();
        let whole = Content::of(&bytes);
        for cut in [0, 1, 2, 7, 8, 255, 4096, 4999, 5000] {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(Content::of(a).join(Content::of(b)), whole, "cut at {cut}");
            let end = |content: Content| LeafEnd { crc: content.crc, bytes: content.bytes as u32, items: 0 };
            assert_eq!(end(whole).since(end(Content::of(a))), Content::of(b), "cut at {cut}");
        }
    }
}
