//! The history of each key, walked over all records from the newest to the oldest.
//!
//! Two questions need it: which records of compacted history a `HashKV` reads (the newest of each live key), and whether
//! each key's records follow each other as they must. A table holds, for each key met, where the record met last lies: 8
//! bytes a slot. So that memory stays bounded whatever the file holds, the keys are divided by hash into as many passes as
//! it takes for the tables to fit.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bolt::{LeafGroup, element_at};
use crate::content::Segment;
use crate::error::ReadError;
use crate::keytable::{KeyTable, Slot, hash};
use crate::proto::KeyValueMessage;
use crate::record::{KEY_BUCKET, NOT_A_KEY_VALUE, NOT_A_REVISION, Record};
use crate::revision::Revision;
use crate::threads;

/// Slots of all tables together: 32 MiB. A table that grows holds its old half beside it for a moment.
const MAX_SLOTS: usize = if cfg!(test) { 1 << 10 } else { 1 << 22 };

/// Who is told of a key's records. Each thread has one.
pub(crate) trait Visitor: Send {
    /// The newest record of a key, and its number in file order.
    fn newest(&mut self, record: Place<'_>, number: u64);
    /// A record of the key and the next newer one.
    fn pair(&mut self, older: Place<'_>, newer: Place<'_>);
    /// The oldest record of a key.
    fn oldest(&mut self, record: Place<'_>);
}

/// A record and where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: u64,
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    pub(crate) key: &'a [u8],
}

impl<'a> Place<'a> {
    fn at(bytes: &'a [u8], offset: u64) -> Option<Self> {
        let (revision_key, value) = element_at(bytes, offset)?;
        let (revision, tombstone) = Revision::decode(revision_key)?;
        Some(Self { bytes, offset, revision, tombstone, key: KeyValueMessage::key_of(value)? })
    }

    /// The whole record, decoded.
    pub(crate) fn record(&self) -> Option<Record<'a>> {
        let (key, value) = element_at(self.bytes, self.offset)?;
        Record::from_parts(key, value).ok()
    }
}

/// For `HashKV` alone.
pub(crate) struct NoVisitor;

impl Visitor for NoVisitor {
    #[inline]
    fn newest(&mut self, _: Place<'_>, _: u64) {}
    #[inline]
    fn pair(&mut self, _: Place<'_>, _: Place<'_>) {}
    #[inline]
    fn oldest(&mut self, _: Place<'_>) {}
}

/// The records to walk: leaves that were read whole before, with the number of items in each group.
pub(crate) struct Records<'a, 's> {
    pub(crate) bytes: &'a [u8],
    pub(crate) groups: &'s [LeafGroup<'a>],
    pub(crate) segments: &'s [Segment],
}

/// Which records `HashKV` reads, up to which revision and for which compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
}

impl Window {
    /// Whether neither edge lies among the records from main revision `first` to `last`: then what is skipped decides.
    pub(crate) fn has_no_edge_between(self, first: i64, last: i64) -> bool {
        last <= self.revision && !(first <= self.compact_revision && self.compact_revision <= last)
    }
}

/// What the walk found.
pub(crate) struct Walked {
    /// Records, by number in file order, that `HashKV` passes over although they are in its window.
    pub(crate) skipped: Bits,
    /// Keys that live at the window's revision, the mark of a raised revision left out.
    pub(crate) live_keys: u64,
    /// Whether etcd would keep any record: if it keeps none, `HashKV` reads them all.
    keeps_any: bool,
}

impl Walked {
    pub(crate) fn new(skipped: Bits, live_keys: u64, keeps_any: bool) -> Self {
        Self { skipped, live_keys, keeps_any }
    }

    /// Whether `HashKV` passes over a record between the window's edges.
    pub(crate) fn skips(&self, number: u64) -> bool {
        self.keeps_any && self.skipped.get(number)
    }

    /// Whether it passes over any of these.
    pub(crate) fn skips_any(&self, numbers: std::ops::Range<u64>) -> bool {
        self.keeps_any && self.skipped.any(numbers)
    }

    /// Whether `HashKV` reads the record with this number; `revision` and `tombstone` are the record's.
    pub(crate) fn reads(&self, number: u64, window: Window, revision: Revision, tombstone: bool) -> bool {
        if revision.main > window.revision {
            return false;
        }
        if tombstone && revision.main == window.compact_revision {
            return false;
        }
        !self.skips(number)
    }
}

/// A bit for each record.
pub(crate) struct Bits {
    words: Vec<AtomicU64>,
}

impl Bits {
    pub(crate) fn new(count: u64) -> Self {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or(usize::MAX);
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    #[inline]
    pub(crate) fn set(&self, number: u64) {
        if let Some(word) = self.words.get((number / 64) as usize) {
            word.fetch_or(1 << (number % 64), Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn get(&self, number: u64) -> bool {
        self.words
            .get((number / 64) as usize)
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (number % 64) & 1 == 1)
    }

    fn any(&self, range: std::ops::Range<u64>) -> bool {
        let mut number = range.start;
        while number < range.end {
            let word = self.words.get((number / 64) as usize).map_or(0, |word| word.load(Ordering::Relaxed));
            let until = (number / 64 + 1) * 64;
            let mut bits = word >> (number % 64);
            if range.end < until {
                bits &= (1 << (range.end - number)) - 1;
            }
            if bits != 0 {
                return true;
            }
            number = until;
        }
        false
    }
}

/// What one pass over the records is to do.
struct Pass<'w> {
    window: Window,
    part: usize,
    parts: usize,
    slots: usize,
    hasher: &'w RandomState,
    skipped: &'w Bits,
}

#[derive(Default)]
struct Counts {
    live_keys: u64,
    kept: u64,
}

/// Walks all records up to the window's revision with `threads` threads, each telling its visitor of the keys it has.
pub(crate) fn walk_history<V: Visitor>(
    records: &Records<'_, '_>,
    window: Window,
    threads: usize,
    visitor: impl Fn() -> V + Sync,
) -> Result<(Walked, Vec<V>), ReadError> {
    let total: u64 = records.segments.iter().map(|segment| segment.items).sum();
    let slots = MAX_SLOTS / threads.next_power_of_two();
    let mut parts = threads;
    loop {
        let skipped = Bits::new(total);
        let hasher = RandomState::new();
        let results = threads::map(threads, |worker| {
            let mut visitor = visitor();
            let mut counts = Counts::default();
            for part in (worker..parts).step_by(threads) {
                let pass = Pass { window, part, parts, slots, hasher: &hasher, skipped: &skipped };
                if !run_pass(records, total, &pass, &mut visitor, &mut counts)? {
                    return Ok(None);
                }
            }
            Ok(Some((counts, visitor)))
        });
        let results = results.into_iter().collect::<Result<Option<Vec<_>>, ReadError>>()?;
        let Some(results) = results else {
            // More keys than the tables hold: divide them further and begin again.
            parts *= 2;
            continue;
        };
        let live_keys = results.iter().map(|(counts, _)| counts.live_keys).sum();
        let keeps_any = results.iter().any(|(counts, _)| counts.kept > 0);
        let visitors = results.into_iter().map(|(_, visitor)| visitor).collect();
        return Ok((Walked { skipped, live_keys, keeps_any }, visitors));
    }
}

/// One pass; false if its table would outgrow its share of memory.
fn run_pass<V: Visitor>(
    records: &Records<'_, '_>,
    total: u64,
    pass: &Pass<'_>,
    visitor: &mut V,
    counts: &mut Counts,
) -> Result<bool, ReadError> {
    let malformed = |offset, reason| ReadError::Malformed { bucket: KEY_BUCKET, offset, reason };
    // There are no more keys than records; a share is as large as another, give or take little.
    let room = (total / pass.parts as u64 * 9 / 8).min(pass.slots as u64 / 8 * 7 - 7) as usize;
    let table = KeyTable::new(records.bytes, pass.hasher.clone(), room);
    let mut keys = Keys { table, same_revision: HashMap::new() };
    let mut number = total;
    for group in records.groups.iter().rev() {
        for leaf in (0..group.len()).rev() {
            let page = group.leaf(leaf)?;
            for index in (0..page.count()).rev() {
                number = number.saturating_sub(1);
                let item = page.leaf_item(index)?;
                let (revision, tombstone) =
                    Revision::decode(item.key).ok_or_else(|| malformed(item.offset, NOT_A_REVISION))?;
                if revision.main > pass.window.revision {
                    continue;
                }
                let key = KeyValueMessage::key_of(item.value)
                    .ok_or_else(|| malformed(item.offset, NOT_A_KEY_VALUE))?;
                let hash = hash(pass.hasher, key);
                if (hash >> 32 & 0xffff) as usize % pass.parts != pass.part {
                    continue;
                }
                let place = Place { bytes: records.bytes, offset: item.offset, revision, tombstone, key };
                keys.take(place, hash, number, pass, visitor, counts);
            }
        }
        // The last partition may not be divided below one hash value: then it grows as it must.
        if keys.table.len() > pass.slots / 8 * 7 && pass.parts < 1 << 15 {
            return Ok(false);
        }
    }
    for offset in keys.table.offsets() {
        if let Some(place) = Place::at(records.bytes, offset) {
            visitor.oldest(place);
        }
    }
    Ok(true)
}

struct Keys<'a> {
    table: KeyTable<'a>,
    /// Puts at the window's very revision, by offset, with their numbers. Only for a window compacted at its end.
    same_revision: HashMap<u64, u64>,
}

impl Keys<'_> {
    #[inline]
    fn take<V: Visitor>(
        &mut self,
        place: Place<'_>,
        hash: u64,
        number: u64,
        pass: &Pass<'_>,
        visitor: &mut V,
        counts: &mut Counts,
    ) {
        let slot = self.table.find(hash, place.key);
        let compacted = place.revision.main <= pass.window.compact_revision;
        if slot.offset.is_none() {
            visitor.newest(place, number);
            if place.tombstone {
                if compacted {
                    pass.skipped.set(number);
                }
            } else {
                counts.live_keys += u64::from(!place.key.is_empty());
                counts.kept += 1;
                if compacted && place.revision.main == pass.window.revision {
                    self.same_revision.insert(place.offset, number);
                }
            }
        } else {
            if compacted {
                pass.skipped.set(number);
            }
            self.pair(place, slot, pass, visitor, counts);
        }
        self.table.set(slot, place.offset);
    }

    fn pair<V: Visitor>(
        &mut self,
        older: Place<'_>,
        slot: Slot,
        pass: &Pass<'_>,
        visitor: &mut V,
        counts: &mut Counts,
    ) {
        let Some(offset) = slot.offset else { return };
        // etcd looks for the life of a key that ends at or after the revision, so a life that began in the very transaction
        // that ended the one before it is not kept (`key_index.go`, `doCompact`).
        if older.tombstone
            && older.revision.main == pass.window.revision
            && let Some(number) = self.same_revision.remove(&offset)
        {
            pass.skipped.set(number);
            counts.kept = counts.kept.saturating_sub(1);
        }
        if let Some(newer) = Place::at(older.bytes, offset) {
            visitor.pair(older, newer);
        }
    }
}
