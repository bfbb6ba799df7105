//! The meta pages: where a database begins.
//!
//! | offset in page | size | field |
//! | --- | --- | --- |
//! | 0 | 16 | page header: id 0 or 1, flags 0x04 |
//! | 16 | 4 | magic 0xED0CDAED |
//! | 20 | 4 | version 2 |
//! | 24 | 4 | page size |
//! | 28 | 4 | flags, 0 |
//! | 32 | 8 | root bucket: page |
//! | 40 | 8 | root bucket: sequence |
//! | 48 | 8 | freelist page, all ones for none |
//! | 56 | 8 | high water mark |
//! | 64 | 8 | transaction id |
//! | 72 | 8 | FNV-1a 64 over the 56 bytes from the magic on |
//!
//! Source: bbolt `internal/common/meta.go`, `db.go` (`getPageSize`, `meta`).

use super::{PAGE_HEADER_BYTES, PageId, u16_at, u32_at, u64_at};
use crate::error::{MetaFault, OpenError};

/// Where the meta lies within its page.
pub const META_OFFSET: usize = PAGE_HEADER_BYTES;
/// Bytes of a meta, with its checksum.
pub const META_BYTES: usize = 64;
/// The freelist page id that means "no freelist is stored".
pub const NO_FREELIST: u64 = u64::MAX;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const META_FLAG: u16 = 0x04;
const CHECKSUM_OFFSET: usize = META_BYTES - 8;
const MIN_PAGE_BYTES: u32 = 1 << 10;
/// bbolt looks for the second meta page at 1024 << 0..=14.
const MAX_PAGE_BYTES: u32 = MIN_PAGE_BYTES << 14;

/// A meta page's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Bytes a page; the creating host's, often 4096.
    pub page_size: u32,
    /// Reserved, 0.
    pub flags: u32,
    /// Root page of the root bucket.
    pub root: PageId,
    /// Sequence of the root bucket; etcd leaves it 0.
    pub sequence: u64,
    /// Page of the freelist, or [`NO_FREELIST`].
    pub freelist: u64,
    /// The first page id never given out: pages of the database.
    pub high_water: u64,
    /// Transaction that wrote it; its page is `txid % 2`, but for a snapshot's copies.
    pub txid: u64,
}

impl Meta {
    /// Reads and checks the meta of the page that begins at `offset` and has the id `id`.
    pub(crate) fn read(bytes: &[u8], offset: u64, id: u64) -> Result<Self, MetaFault> {
        let page =
            usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).ok_or(MetaFault::Missing)?;
        let header_id = u64_at(page, 0).ok_or(MetaFault::Missing)?;
        let flags = u16_at(page, 8).ok_or(MetaFault::Missing)?;
        let meta = page.get(META_OFFSET..META_OFFSET + META_BYTES).ok_or(MetaFault::Missing)?;
        let meta = Self::decode(meta)?;
        if header_id != id || flags != META_FLAG {
            return Err(MetaFault::Header { expected: id, id: header_id, flags });
        }
        Ok(meta)
    }

    /// Decodes the 64 bytes of a meta, checking magic, version, checksum and page size.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetaFault> {
        let word = |at| u32_at(bytes, at).ok_or(MetaFault::Missing);
        let long = |at| u64_at(bytes, at).ok_or(MetaFault::Missing);
        let magic = word(0)?;
        if magic == MAGIC.swap_bytes() {
            return Err(MetaFault::BigEndian);
        }
        if magic != MAGIC {
            return Err(MetaFault::Magic(magic));
        }
        let version = word(4)?;
        if version != VERSION {
            return Err(MetaFault::Version(version));
        }
        let stored = long(CHECKSUM_OFFSET)?;
        let computed = fnv1a(bytes.get(..CHECKSUM_OFFSET).ok_or(MetaFault::Missing)?);
        if stored != computed {
            return Err(MetaFault::Checksum { stored, computed });
        }
        let page_size = word(8)?;
        if !page_size.is_power_of_two() || !(MIN_PAGE_BYTES..=MAX_PAGE_BYTES).contains(&page_size) {
            return Err(MetaFault::PageSize(page_size));
        }
        Ok(Self {
            page_size,
            flags: word(12)?,
            root: PageId(long(16)?),
            sequence: long(24)?,
            freelist: long(32)?,
            high_water: long(40)?,
            txid: long(48)?,
        })
    }

    /// The 64 bytes of this meta with a fresh checksum. They belong at [`META_OFFSET`] of page 0 or 1.
    pub fn encode(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.page_size.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.root.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.freelist.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.high_water.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.txid.to_le_bytes());
        let checksum = fnv1a(&bytes[..CHECKSUM_OFFSET]);
        bytes[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// The meta in force and the page it is on.
pub(super) fn choose(bytes: &[u8]) -> Result<(Meta, u8), OpenError> {
    if bytes.len() < 2 * MIN_PAGE_BYTES as usize {
        return Err(OpenError::TooShort { size_bytes: bytes.len() as u64 });
    }
    let first = Meta::read(bytes, 0, 0);
    let second = match &first {
        Ok(meta) => Meta::read(bytes, u64::from(meta.page_size), 1),
        Err(_) => find_second(bytes),
    };
    match (first, second) {
        (Ok(first), Ok(second)) if second.txid > first.txid => Ok((second, 1)),
        (Ok(first), _) => Ok((first, 0)),
        (Err(_), Ok(second)) => Ok((second, 1)),
        (
            Err(first @ (MetaFault::Magic(_) | MetaFault::BigEndian)),
            Err(MetaFault::Missing | MetaFault::Magic(_)),
        ) => Err(OpenError::NotADatabase { first }),
        (Err(first), Err(second)) => Err(OpenError::NoValidMeta { first, second }),
    }
}

/// Page 1 when page 0 does not tell the page size: bbolt tries each power of two.
fn find_second(bytes: &[u8]) -> Result<Meta, MetaFault> {
    let mut closest = MetaFault::Missing;
    for shift in 0..=14 {
        let offset = u64::from(MIN_PAGE_BYTES) << shift;
        match Meta::read(bytes, offset, 1) {
            Ok(meta) if u64::from(meta.page_size) == offset => return Ok(meta),
            // The fault of a page that is at least a meta page tells more than "no magic number here".
            Err(fault @ (MetaFault::Checksum { .. } | MetaFault::Version(_) | MetaFault::Header { .. })) => {
                closest = fault;
            }
            Ok(_) | Err(_) => {}
        }
    }
    Err(closest)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta = Meta {
        page_size: 4096,
        flags: 0,
        root: PageId(7),
        sequence: 0,
        freelist: NO_FREELIST,
        high_water: 12,
        txid: 9,
    };

    #[test]
    fn a_meta_reads_back_as_written() {
        assert_eq!(Meta::decode(&META.encode()), Ok(META));
    }

    #[test]
    fn every_flipped_bit_of_a_meta_is_noticed() {
        for bit in 0..META_BYTES * 8 {
            let mut bytes = META.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_big_endian_file_is_named_as_such() {
        let mut bytes = META.encode();
        bytes[..4].reverse();
        assert_eq!(Meta::decode(&bytes), Err(MetaFault::BigEndian));
    }
}
