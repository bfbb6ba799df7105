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
//! the first pair that does not fit nothing is said, and [`walk_history`](crate::history::walk_history) goes over the file with
//! the keys themselves.
//!
//! Of more records than there is room for, the notes of the scan are thrown away, and the keys followed in parts, by their
//! hash: each part is noted by a walk of its own over the file, front to back. That takes far less time than a table of keys,
//! which is read all over the place.
//!
//! Two keys of the same hash do no harm. Their records taken as one history fit only if each life begins after the other
//! key's has ended, and then the counts are the same; else they do not fit. A wrong version passes once in a million.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::bolt::LeafGroup;
use crate::history::{Bits, Records, Walked};
use crate::keytable::hash;
use crate::proto::KeyValueMessage;
use crate::revision::Revision;
use crate::threads;

/// Notes that there are at once: 40 MiB.
const MAX_NOTES: usize = if cfg!(test) { 1 << 9 } else { 40 << 16 };
/// Parts of the keys at most, by bits of the hash that are not in a note.
const MAX_PARTS: u64 = 1 << 16;
/// Room is taken from what all threads share in pieces of this many notes.
const ROOM_STEP: usize = if cfg!(test) { 1 << 4 } else { 1 << 10 };
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
    gave_up: AtomicBool,
    /// There are more records than room.
    full: AtomicBool,
    /// Which of how many parts of the keys is noted.
    part: u64,
    parts: u64,
}

/// The notes of one group of leaves.
#[derive(Default)]
pub(super) struct Notes {
    notes: Vec<Note>,
    room: usize,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self::of_part(RandomState::new(), 0, 1)
    }

    fn of_part(hasher: RandomState, part: u64, parts: u64) -> Self {
        let (room, gave_up, full) = (MAX_NOTES.into(), false.into(), false.into());
        Self { hasher, room, gave_up, full, part, parts }
    }

    /// There is a record whose history cannot be followed here.
    pub(super) fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// Whether there are records that were not noted because there are too many. Then none of the notes is of use.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn take_room(&self) -> usize {
        let step = |left: usize| left.checked_sub(ROOM_STEP);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok() {
            return ROOM_STEP;
        }
        self.full.store(true, Ordering::Relaxed);
        0
    }

    /// Follows all histories by the notes of the scan, one of each group; nothing if they do not fit.
    ///
    /// `bump_markers` is how many records there are that no key has. The flag tells whether a live key is of Kubernetes.
    pub(super) fn follow(
        &self,
        notes: &[Notes],
        records: &Records<'_, '_>,
        bump_markers: usize,
        without_lease: Option<&Bits>,
        workers: usize,
    ) -> Option<(Walked, bool)> {
        let total = total(records);
        if self.gave_up.load(Ordering::Relaxed)
            || self.is_full()
            || bump_markers > 1
            || total >> NUMBER_BITS != 0
        {
            return None;
        }
        let skipped = Bits::new(total);
        let counts = follow_notes(notes, records, &skipped, without_lease, workers)?;
        Some(counts.walked(skipped, bump_markers))
    }

    /// As [`Self::follow`], without the notes of the scan. `compacted` is the revision of the last compaction that ended.
    pub(super) fn follow_in_parts(
        &self,
        records: &Records<'_, '_>,
        compacted: i64,
        bump_markers: usize,
        without_lease: Option<&Bits>,
        workers: usize,
    ) -> Option<(Walked, bool)> {
        let total = total(records);
        // Shares of the keys differ, by those that are changed often above all.
        let parts = total.div_ceil(MAX_NOTES as u64 / 4 * 3).max(1);
        if self.gave_up.load(Ordering::Relaxed)
            || bump_markers > 1
            || total >> NUMBER_BITS != 0
            || parts > MAX_PARTS
        {
            return None;
        }
        let skipped = Bits::new(total);
        let mut counts = Counts::default();
        for part in 0..parts {
            let ledger = Self::of_part(self.hasher.clone(), part, parts);
            let notes = threads::map_pieces(workers, records.groups.len(), |index| {
                ledger.note_group(&records.groups[index], compacted)
            });
            let notes = notes.into_iter().collect::<Option<Vec<_>>>()?;
            counts.add(&follow_notes(&notes, records, &skipped, without_lease, workers)?);
        }
        Some(counts.walked(skipped, bump_markers))
    }

    /// Notes the records of a group that are of the ledger's part; nothing if there is no room for them.
    fn note_group(&self, group: &LeafGroup<'_>, compacted: i64) -> Option<Notes> {
        let mut notes = Notes::default();
        let mut number = 0;
        for leaf in 0..group.len() {
            for item in group.leaf(leaf).ok()?.leaf_items() {
                let item = item.ok()?;
                let (revision, tombstone) = Revision::decode(item.key)?;
                // The mark of a raised revision is empty.
                if tombstone || !item.value.is_empty() {
                    let hash = self.hash(KeyValueMessage::key_of(item.value)?);
                    if self.has(hash) {
                        let record = KeyValueMessage::decode(item.value)?;
                        notes.add(self, hash, number, tombstone, revision.main <= compacted, &record);
                    }
                }
                number += 1;
            }
        }
        notes.finish(self);
        (!self.is_full()).then_some(notes)
    }

    /// The hash of a key.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        hash(&self.hasher, key)
    }

    /// Whether the key with this hash is of the ledger's part. By bits that the notes do not have.
    fn has(&self, hash: u64) -> bool {
        hash % MAX_PARTS % self.parts == self.part
    }
}

fn total(records: &Records<'_, '_>) -> u64 {
    records.segments.iter().map(|segment| segment.items).sum()
}

/// Follows the histories of the keys that are noted; nothing if they do not fit.
fn follow_notes(
    notes: &[Notes],
    records: &Records<'_, '_>,
    skipped: &Bits,
    without_lease: Option<&Bits>,
    workers: usize,
) -> Option<Counts> {
    let mut first = 0;
    let mut groups = Vec::with_capacity(notes.len());
    for (group, segment) in notes.iter().zip(records.segments) {
        groups.push((group, first));
        first += segment.items;
    }
    let count: usize = notes.iter().map(|group| group.notes.len()).sum();
    let bits = (count as u64 / NOTES_AT_ONCE + 1).next_power_of_two().trailing_zeros();
    let results = threads::map(workers, |worker| {
        let mut counts = Counts::default();
        let mut part_notes = Vec::new();
        for part in (worker as u128..1 << bits).step_by(workers) {
            part_notes.clear();
            for (group, first) in &groups {
                let from = group.notes.partition_point(|note| note.part(bits) < part);
                let rest = group.notes.get(from..).unwrap_or_default();
                let count = rest.partition_point(|note| note.part(bits) == part);
                part_notes.extend(rest[..count].iter().map(|note| note.counted_from(*first)));
            }
            part_notes.sort_unstable();
            counts.follow_part(&part_notes, skipped, without_lease)?;
        }
        Some(counts)
    });
    let mut counts = Counts::default();
    for found in results {
        counts.add(&found?);
    }
    Some(counts)
}

#[derive(Default)]
struct Counts {
    live_keys: u64,
    kubernetes: bool,
}

impl Counts {
    fn add(&mut self, more: &Self) {
        self.live_keys += more.live_keys;
        self.kubernetes |= more.kubernetes;
    }

    fn walked(self, skipped: Bits, bump_markers: usize) -> (Walked, bool) {
        (Walked::new(skipped, self.live_keys, self.live_keys > 0 || bump_markers > 0), self.kubernetes)
    }

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
    /// Notes the record with this number in its group, whose key has this hash; `compacted` if it is at or below the compact
    /// revision.
    #[inline]
    pub(super) fn add(
        &mut self,
        ledger: &Ledger,
        hash: u64,
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
            u128::from(hash) >> 16 << HASH_SHIFT
                | u128::from(number) << NUMBER_SHIFT
                | flag(TOMBSTONE, tombstone)
                | flag(KUBERNETES, record.key.starts_with(super::records::KUBERNETES_PREFIX))
                | flag(COMPACTED, compacted)
                | prints,
        ));
    }

    /// Sorts them, and gives back room that was not needed.
    pub(super) fn finish(&mut self, ledger: &Ledger) {
        if ledger.is_full() {
            *self = Self::default();
            return;
        }
        ledger.room.fetch_add(std::mem::take(&mut self.room), Ordering::Relaxed);
        self.notes.sort_unstable();
        self.notes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bolt::Refuse;
    use crate::content::{Budget, Segment, segments};
    use crate::hash::{hash_kv, of_window};
    use crate::history::Window;
    use crate::{CheckOptions, Outcome, SnapshotFile, inspect};

    /// A put with this version, created at this revision; version 0 is a deletion.
    type Step = (&'static str, i64, i64);

    fn follow(compacted: usize, steps: &[Step]) -> Option<(u64, Vec<u64>)> {
        let ledger = Ledger::new();
        let mut notes = Notes::default();
        for (number, &(key, version, create_revision)) in steps.iter().enumerate() {
            let record =
                KeyValueMessage { key: key.as_bytes(), version, create_revision, ..Default::default() };
            let hash = ledger.hash(record.key);
            notes.add(&ledger, hash, number as u32, version == 0, number < compacted, &record);
        }
        notes.finish(&ledger);
        let segments = [Segment { items: steps.len() as u64, ..Segment::default() }];
        let records = Records { bytes: &[], groups: &[], segments: &segments };
        let (walked, _) = ledger.follow(&[notes], &records, 0, None, 1)?;
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
    fn more_records_than_room_leave_no_notes() {
        let ledger = Ledger::new();
        let mut notes = Notes::default();
        let record = KeyValueMessage { version: 1, ..Default::default() };
        for number in 0..=MAX_NOTES as u64 {
            notes.add(&ledger, number << 16, 0, false, false, &record);
        }
        notes.finish(&ledger);
        assert!(ledger.is_full() && notes.notes.is_empty());
        let records = Records { bytes: &[], groups: &[], segments: &[] };
        assert!(ledger.follow(&[notes], &records, 0, None, 1).is_none());
    }

    /// In unit tests there is room for fewer notes than these files have records.
    #[test]
    fn keys_followed_in_parts_give_the_answers_of_a_walk() {
        for name in ["alarm", "etcd-3.4-auth", "etcd-3.5-compacted", "etcd-3.6-compacted", "etcd-3.7-auth"] {
            let path = format!("{}/tests/data/{name}.db.zst", env!("CARGO_MANIFEST_DIR"));
            let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
            let file = SnapshotFile::from_bytes(bytes).unwrap();
            let snapshot = file.snapshot();
            let (mut branches, leaves) = (Refuse::new(&snapshot.db()), Budget::of(snapshot.bytes()));
            let (groups, segments) = segments(&snapshot.records().unwrap(), &mut branches, &leaves).unwrap();
            let records = Records { bytes: snapshot.bytes(), groups: &groups, segments: &segments };
            assert!(total(&records) > MAX_NOTES as u64, "{name}");
            let compact_revision = snapshot.compactions().unwrap().finished;
            let window = Window { revision: snapshot.revision().unwrap(), compact_revision };
            for workers in [1, 2] {
                let (walked, kubernetes) = Ledger::new()
                    .follow_in_parts(&records, compact_revision, 0, None, workers)
                    .expect("nothing is wrong");
                let expected = hash_kv(snapshot, 0, None).unwrap();
                assert_eq!(of_window(&records, &walked, window, workers), Ok(expected.hash), "{name}");
                assert_eq!(walked.live_keys, file.live().unwrap().len() as u64, "{name}");
                assert!(!kubernetes, "{name}");
            }
            assert_eq!(inspect(&file, &CheckOptions::default()).integrity.outcome, Outcome::Passed, "{name}");
        }
    }
}
