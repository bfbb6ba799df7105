//! A set of keys in 8 bytes a slot: it holds where a record lies instead of the key.
//!
//! Open addressing with linear probing. A slot is 16 bits of the key's hash above 48 bits of `offset + 1`, so nearly all
//! probes are decided without touching the file. The hash is keyed afresh for each process: no file can be made whose keys
//! all collide.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::bolt::element_at;
use crate::proto::KeyValueMessage;

const OFFSET_BITS: u32 = 48;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;
const FIRST_SLOTS: usize = 1 << 5;

pub(crate) struct KeyTable<'a> {
    bytes: &'a [u8],
    hasher: RandomState,
    slots: Vec<u64>,
    len: usize,
}

/// A slot found for a key: where its record lies, if it is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    index: usize,
    tag: u64,
    pub(crate) offset: Option<u64>,
}

impl<'a> KeyTable<'a> {
    /// An empty table over records of `bytes` with room for some keys: growing means reading all keys again. Tables that
    /// share work share the hasher, see [`hash`].
    pub(crate) fn new(bytes: &'a [u8], hasher: RandomState, room: usize) -> Self {
        let slots = (room / 7 * 8 + 8).next_power_of_two().max(FIRST_SLOTS);
        Self { bytes, hasher, slots: vec![0; slots], len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Finds the slot of a key, or the one it would take.
    #[inline]
    pub(crate) fn find(&mut self, hash: u64, key: &[u8]) -> Slot {
        if self.len >= self.slots.len() / 8 * 7 {
            self.grow();
        }
        let tag = hash & !OFFSET_MASK;
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        loop {
            let slot = self.slots[index];
            if slot == 0 {
                return Slot { index, tag, offset: None };
            }
            if slot & !OFFSET_MASK == tag {
                let offset = (slot & OFFSET_MASK) - 1;
                if key_at(self.bytes, offset) == key {
                    return Slot { index, tag, offset: Some(offset) };
                }
            }
            index = (index + 1) & mask;
        }
    }

    /// Notes in the slot that was found that the key's record lies at `offset`. To be called before the next `find`.
    #[inline]
    pub(crate) fn set(&mut self, slot: Slot, offset: u64) {
        self.len += usize::from(slot.offset.is_none());
        self.slots[slot.index] = slot.tag | ((offset + 1) & OFFSET_MASK);
    }

    /// The offsets noted, in no order.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().filter(|&&slot| slot != 0).map(|slot| (slot & OFFSET_MASK) - 1)
    }

    #[cold]
    fn grow(&mut self) {
        let bigger = vec![0; self.slots.len() * 2];
        let mask = bigger.len() - 1;
        let old = std::mem::replace(&mut self.slots, bigger);
        for slot in old.into_iter().filter(|&slot| slot != 0) {
            let hash = hash(&self.hasher, key_at(self.bytes, (slot & OFFSET_MASK) - 1));
            let mut index = hash as usize & mask;
            while self.slots[index] != 0 {
                index = (index + 1) & mask;
            }
            self.slots[index] = slot;
        }
    }
}

/// The hash of a key for a [`KeyTable`].
#[inline]
pub(crate) fn hash(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// The user's key of the record whose element lies at `offset`; empty if the bytes have changed since it was noted.
#[inline]
pub(crate) fn key_at(bytes: &[u8], offset: u64) -> &[u8] {
    element_at(bytes, offset).and_then(|(_, value)| KeyValueMessage::key_of(value)).unwrap_or_default()
}
