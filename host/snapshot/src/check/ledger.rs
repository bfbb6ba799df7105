//! The history of every key, followed from what the scan noted of each record, without a second walk over the file.
//!
//! | bits | of a note |
//! | --- | --- |
//! | 48 | the key's hash, keyed afresh for each check |
//! | 35 | the record's number, in file order |
//! | 3 | flags: a deletion; a key of Kubernetes; compacted, that is, at or below the compact revision |
//! | 21 | a print of version and create revision |
//! | 21 | the print that the record before it must have; 0 where a life of the key begins |
//!
//! Sorted, the notes of a key stand together, oldest first. This decides the common case alone: that nothing is wrong. At
//! the first pair that does not fit, or when there are more records than room, nothing is said, and
//! [`walk_history`](crate::history::walk_history) goes over the file with the keys themselves.
//!
//! Two keys of the same hash do no harm. Their records taken as one history fit only if each life begins after the other
//! key's has ended, and then the counts are the same; else they do not fit. A wrong version passes once in a million.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::history::{Bits, Walked};
use crate::keytable::hash;
use crate::proto::KeyValueMessage;
use crate::threads;

/// Notes of all records together: 40 MiB. A file with more records is walked twice.
const MAX_NOTES: usize = if cfg!(test) { 1 << 10 } else { 40 << 16 };
/// Room is taken from what all threads share in pieces of this many notes.
const ROOM_STEP: usize = 1 << 10;
/// Notes sorted at once: 1 MiB, which stays in a core's cache.
const NOTES_AT_ONCE: u64 = 1 << 16;

const HASH_SHIFT: u32 = 80;
const NUMBER_SHIFT: u32 = 45;
const NUMBER_BITS: u32 = HASH_SHIFT - NUMBER_SHIFT;
const TOMBSTONE: u128 = 1 << 44;
const KUBERNETES: u128 = 1 << 43;
const COMPACTED: u128 = 1 << 42;
const PRINT_BITS: u32 = 21;
const PRINT: u128 = (1 << PRINT_BITS) - 1;

/// A record as far as its key's history is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note(u128);

impl Note {
    /// Whether it may be the next newer record of the key after `older`; none: the oldest there is.
    fn follows(self, older: Option<Note>) -> bool {
        match older {
            // A compaction leaves one record of a key.
            older if self.is(COMPACTED) => older.is_none(),
            None => !self.is(TOMBSTONE) && self.begins(),
            Some(older) if older.is(TOMBSTONE) => !self.is(TOMBSTONE) && self.begins(),
            Some(older) => self.is(TOMBSTONE) || self.0 & PRINT == older.0 >> PRINT_BITS & PRINT,
        }
    }

    fn is(self, flag: u128) -> bool {
        self.0 & flag != 0
    }

    fn begins(self) -> bool {
        self.0 & PRINT == 0
    }

    fn number(self) -> u64 {
        (self.0 >> NUMBER_SHIFT) as u64 & ((1 << NUMBER_BITS) - 1)
    }

    /// The same with a number that counts from further back.
    fn counted_from(self, first: u64) -> Note {
        Note(self.0 + (u128::from(first) << NUMBER_SHIFT))
    }

    /// The part of all keys it belongs to, of 2^`bits`.
    fn part(self, bits: u32) -> u128 {
        (self.0 >> HASH_SHIFT) >> (128 - HASH_SHIFT - bits)
    }
}

/// A print of two numbers, never 0. Neighbours differ.
fn print(version: i64, created: i64) -> u128 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (version as u64).wrapping_mul(SPREAD).rotate_left(32) ^ created as u64;
    u128::from(mixed.wrapping_mul(SPREAD) >> (64 - PRINT_BITS) | 1)
}

/// What all threads of a scan share.
pub(super) struct Ledger {
    hasher: RandomState,
    room: AtomicUsize,
    /// There is a record that cannot be noted.
    incomplete: AtomicBool,
}

/// The notes of one group of leaves.
#[derive(Default)]
pub(super) struct Notes {
    notes: Vec<Note>,
    room: usize,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            room: AtomicUsize::new(MAX_NOTES),
            incomplete: AtomicBool::new(false),
        }
    }

    /// There is a record whose history cannot be followed here.
    pub(super) fn give_up(&self) {
        self.incomplete.store(true, Ordering::Relaxed);
    }

    fn take_room(&self) -> usize {
        let step = |left: usize| left.checked_sub(ROOM_STEP);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok() {
            return ROOM_STEP;
        }
        self.give_up();
        0
    }

    /// Follows all histories; nothing if they do not fit, or not all of them are here.
    ///
    /// `groups` are the notes of each group and the number of its first record, `bump_markers` how many records there are
    /// that no key has. The flag tells whether a live key is of Kubernetes.
    pub(super) fn follow(
        &self,
        groups: &[(&Notes, u64)],
        records: u64,
        bump_markers: usize,
        without_lease: Option<&Bits>,
        workers: usize,
    ) -> Option<(Walked, bool)> {
        if self.incomplete.load(Ordering::Relaxed) || bump_markers > 1 || records >> NUMBER_BITS != 0 {
            return None;
        }
        let skipped = Bits::new(records);
        let bits = (records / NOTES_AT_ONCE + 1).next_power_of_two().trailing_zeros();
        let results = threads::map(workers, |worker| {
            let mut counts = Counts::default();
            let mut part_notes = Vec::new();
            for part in (worker as u128..1 << bits).step_by(workers) {
                part_notes.clear();
                for (group, first) in groups {
                    let from = group.notes.partition_point(|note| note.part(bits) < part);
                    let rest = group.notes.get(from..).unwrap_or_default();
                    let count = rest.partition_point(|note| note.part(bits) == part);
                    part_notes.extend(rest[..count].iter().map(|note| note.counted_from(*first)));
                }
                part_notes.sort_unstable();
                counts.follow_part(&part_notes, &skipped, without_lease)?;
            }
            Some(counts)
        });
        let results = results.into_iter().collect::<Option<Vec<_>>>()?;
        let live_keys = results.iter().map(|counts| counts.live_keys).sum();
        let kubernetes = results.iter().any(|counts| counts.kubernetes);
        Some((Walked::new(skipped, live_keys, live_keys > 0 || bump_markers > 0), kubernetes))
    }
}

#[derive(Default)]
struct Counts {
    live_keys: u64,
    kubernetes: bool,
}

impl Counts {
    fn follow_part(&mut self, notes: &[Note], skipped: &Bits, without_lease: Option<&Bits>) -> Option<()> {
        for key in notes.chunk_by(|a, b| a.0 >> HASH_SHIFT == b.0 >> HASH_SHIFT) {
            let mut newest: Option<Note> = None;
            for &note in key {
                if !note.follows(newest) {
                    return None;
                }
                if let Some(older) = newest.filter(|older| older.is(COMPACTED)) {
                    skipped.set(older.number());
                }
                newest = Some(note);
            }
            let newest = newest?;
            if newest.is(TOMBSTONE) {
                if newest.is(COMPACTED) {
                    skipped.set(newest.number());
                }
                continue;
            }
            if without_lease.is_some_and(|marks| marks.get(newest.number())) {
                return None;
            }
            self.live_keys += 1;
            self.kubernetes |= newest.is(KUBERNETES);
        }
        Some(())
    }
}

impl Notes {
    /// Notes the record with this number in its group; `compacted` if it is at or below the compact revision.
    #[inline]
    pub(super) fn add(
        &mut self,
        ledger: &Ledger,
        number: u32,
        tombstone: bool,
        compacted: bool,
        record: &KeyValueMessage<'_>,
    ) {
        if self.room == 0 {
            self.room = ledger.take_room();
            if self.room == 0 {
                return;
            }
        }
        self.room -= 1;
        let flag = |flag: u128, set: bool| if set { flag } else { 0 };
        let prints = if tombstone {
            0
        } else {
            let (version, created) = (record.version, record.create_revision);
            let before = if version == 1 { 0 } else { print(version.wrapping_sub(1), created) };
            print(version, created) << PRINT_BITS | before
        };
        self.notes.push(Note(
            u128::from(hash(&ledger.hasher, record.key)) >> 16 << HASH_SHIFT
                | u128::from(number) << NUMBER_SHIFT
                | flag(TOMBSTONE, tombstone)
                | flag(KUBERNETES, record.key.starts_with(super::records::KUBERNETES_PREFIX))
                | flag(COMPACTED, compacted)
                | prints,
        ));
    }

    /// Sorts them, and gives back room that was not needed.
    pub(super) fn finish(&mut self, ledger: &Ledger) {
        ledger.room.fetch_add(std::mem::take(&mut self.room), Ordering::Relaxed);
        self.notes.sort_unstable();
        self.notes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A put with this version, created at this revision; version 0 is a deletion.
    type Step = (&'static str, i64, i64);

    fn follow(compacted: usize, steps: &[Step]) -> Option<(u64, Vec<u64>)> {
        let ledger = Ledger::new();
        let mut notes = Notes::default();
        for (number, &(key, version, create_revision)) in steps.iter().enumerate() {
            let record =
                KeyValueMessage { key: key.as_bytes(), version, create_revision, ..Default::default() };
            notes.add(&ledger, number as u32, version == 0, number < compacted, &record);
        }
        notes.finish(&ledger);
        let (walked, _) = ledger.follow(&[(&notes, 0)], steps.len() as u64, 0, None, 1)?;
        let skipped = (0..steps.len() as u64).filter(|&number| walked.skips(number)).collect();
        Some((walked.live_keys, skipped))
    }

    #[test]
    fn whole_histories_are_counted() {
        let steps = [
            ("a", 7, 2),
            ("b", 1, 3),
            ("c", 0, 0),
            ("a", 8, 2),
            ("a", 0, 0),
            ("d", 1, 9),
            ("a", 1, 10),
            ("d", 2, 9),
        ];
        // The compaction came behind the third.
        assert_eq!(follow(3, &steps), Some((3, vec![0, 2])));
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_walk() {
        for (compacted, steps) in [
            (0, &[("a", 2, 2)][..]),
            (0, &[("a", 0, 0)]),
            (0, &[("a", 1, 2), ("a", 3, 2)]),
            (0, &[("a", 1, 2), ("a", 2, 3)]),
            (0, &[("a", 1, 2), ("a", 1, 3)]),
            (0, &[("a", 1, 2), ("a", 0, 0), ("a", 0, 0)]),
            (0, &[("a", 1, 2), ("a", 0, 0), ("a", 2, 2)]),
            (2, &[("a", 1, 2), ("a", 2, 2)]),
        ] {
            assert_eq!(follow(compacted, steps), None, "{steps:?}");
        }
    }

    #[test]
    fn more_records_than_room_are_left_to_the_walk() {
        let fits = vec![("a", 0, 0); 0];
        assert!(follow(0, &fits).is_some());
        let keys: Vec<String> = (0..=MAX_NOTES).map(|number| number.to_string()).collect();
        let ledger = Ledger::new();
        let mut notes = Notes::default();
        for key in &keys {
            let record = KeyValueMessage { key: key.as_bytes(), version: 1, ..Default::default() };
            notes.add(&ledger, 0, false, false, &record);
        }
        notes.finish(&ledger);
        assert!(ledger.follow(&[(&notes, 0)], keys.len() as u64, 0, None, 1).is_none());
    }
}
