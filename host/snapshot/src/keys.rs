//! The live keys of a snapshot in key order.
//!
//! The index is a list of where each key's newest record lies, 8 bytes a key, sorted by key. Each thread walks a stretch of
//! the records from the newest to the oldest and sorts them by key in runs short enough for the processor's caches, from
//! copies of the keys made while their pages are at hand; then the runs are merged, the newest record of a key first, and
//! what is older or deleted falls out. There is no table of keys and hardly any access out of order: waiting for memory is
//! what would take the time. Keys and values stay in the file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;
use std::sync::Arc;

use crate::bolt::{LeafGroup, Refuse, element_at, walk};
use crate::content::Budget;
use crate::error::ReadError;
use crate::keytable::key_at;
use crate::proto::KeyValueMessage;
use crate::record::{KEY_BUCKET, KeyValue, Metadata, NOT_A_KEY_VALUE, NOT_A_REVISION};
use crate::revision::Revision;
use crate::snapshot::Snapshot;
use crate::threads;

/// Where the newest record of each live key lies, in key order.
pub(crate) struct Index {
    offsets: Vec<u64>,
}

/// The keys that live at one revision, in key order; positions count from 0.
///
/// Keys, values and what else is asked for are read from the file when asked for; what isn't is not touched.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/etcd-3.6-history.db.zst");
/// # let bytes = zstd::decode_all(std::fs::File::open(packed)?)?;
/// # let file = etcd_snapshot::SnapshotFile::from_bytes(bytes)?;
/// let live = file.live()?;
/// // Counting reads keys alone, and only as many as a binary search does.
/// assert_eq!(live.prefix(b"/app/leased/").len(), 2);
/// // Pages of a range, backwards; metadata without values.
/// let range = live.range(b"/app/a", b"/app/m");
/// for position in range.rev().take(10) {
///     println!("{}: {} bytes", live.key(position).escape_ascii(), live.metadata(position).value_len);
/// }
/// let last = live.iter().next_back().expect("there are keys");
/// assert_eq!(last.key, b"/app/user/2");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LiveKeys<'a> {
    snapshot: Snapshot<'a>,
    index: Arc<Index>,
}

impl<'a> LiveKeys<'a> {
    pub(crate) fn new(snapshot: Snapshot<'a>, index: Arc<Index>) -> Self {
        Self { snapshot, index }
    }

    /// Live keys.
    pub fn len(&self) -> usize {
        self.index.offsets.len()
    }

    /// Whether no key is live.
    pub fn is_empty(&self) -> bool {
        self.index.offsets.is_empty()
    }

    /// The position of the first key at or after `key`; `len()` if there is none.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        self.index.offsets.partition_point(|&offset| key_at(self.snapshot.bytes(), offset) < key)
    }

    /// The positions of the keys that begin with `prefix`.
    pub fn prefix(&self, prefix: &[u8]) -> Range<usize> {
        let start = self.lower_bound(prefix);
        let rest = self.index.offsets.get(start..).unwrap_or_default();
        start
            ..start
                + rest.partition_point(|&offset| key_at(self.snapshot.bytes(), offset).starts_with(prefix))
    }

    /// The positions of the keys in `[start, end)`; an empty `end` means no upper bound.
    pub fn range(&self, start: &[u8], end: &[u8]) -> Range<usize> {
        let from = self.lower_bound(start);
        let to = if end.is_empty() { self.len() } else { self.lower_bound(end) };
        from..to.max(from)
    }

    /// The key at a position. The value is not touched.
    ///
    /// # Panics
    /// If `position` is not less than `len()`.
    pub fn key(&self, position: usize) -> &'a [u8] {
        key_at(self.snapshot.bytes(), self.index.offsets[position])
    }

    /// What there is to know of a key beside its value, whose bytes are not touched.
    ///
    /// # Panics
    /// If `position` is not less than `len()`.
    pub fn metadata(&self, position: usize) -> Metadata {
        let entry = self.entry(position);
        Metadata {
            create_revision: entry.create_revision,
            mod_revision: entry.mod_revision,
            version: entry.version,
            lease: entry.lease,
            value_len: entry.value.len(),
        }
    }

    /// The key at a position with its value, borrowed from the file.
    ///
    /// # Panics
    /// If `position` is not less than `len()`.
    pub fn entry(&self, position: usize) -> KeyValue<'a> {
        // Every record of the index was decoded when it was built: a default means that the file was changed since.
        let message = element_at(self.snapshot.bytes(), self.index.offsets[position])
            .and_then(|(_, value)| KeyValueMessage::decode(value))
            .unwrap_or_default();
        message.into()
    }

    /// A key by name.
    pub fn get(&self, key: &[u8]) -> Option<KeyValue<'a>> {
        let position = self.lower_bound(key);
        (position < self.len() && self.key(position) == key).then(|| self.entry(position))
    }

    /// All keys in order; backwards too.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = KeyValue<'a>> + ExactSizeIterator + '_ {
        let mut ahead = ReadAhead::default();
        (0..self.len()).map(move |position| {
            ahead.reach(self, position, Touch::Whole);
            self.entry(position)
        })
    }

    /// Asks the memory for the records at some positions, all at once, so that reading them next does not wait for each.
    fn touch(&self, positions: Range<usize>, touch: Touch) {
        let bytes = self.snapshot.bytes();
        let byte_at = |at: usize| bytes.get(at).copied().unwrap_or_default();
        let offsets = self.index.offsets.get(positions).unwrap_or_default();
        // What one step reads, the next takes its addresses from; within a step nothing waits for anything.
        let mut touched = 0_u8;
        for &offset in offsets {
            touched ^= byte_at(offset as usize);
        }
        for &offset in offsets {
            let Some((_, value)) = element_at(bytes, offset) else { continue };
            let begin = match touch {
                Touch::Key => value.get(..1),
                Touch::Whole => value.get(..value.len().min(TOUCHED_BYTES)),
            };
            for byte in begin.unwrap_or_default().iter().step_by(LINE_BYTES) {
                touched ^= byte;
            }
            if touch == Touch::Whole {
                touched ^= value.last().copied().unwrap_or_default();
            }
        }
        // Else nothing would be read: nobody asks for the sum.
        std::hint::black_box(touched);
    }
}

/// What comes from memory at once: a cache line, on every processor in use 64 bytes or twice that.
const LINE_BYTES: usize = 64;
/// The begin of a record that is asked for beforehand. What lies behind it is read in order, and the processor sees that coming.
const TOUCHED_BYTES: usize = 512;

/// How much of a record is about to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Its key.
    Key,
    /// All of it.
    Whole,
}

/// Who reads many records in key order, each somewhere else in the file, waits for the memory at every one. This keeps some
/// dozens of requests to it under way instead.
#[derive(Debug, Clone, Default)]
pub struct ReadAhead {
    /// The stretch that was asked for last, and one: 0 is none yet.
    reached: usize,
}

impl ReadAhead {
    /// As many as are still in the processor's cache when their turn comes.
    const RECORDS: usize = 32;

    /// Tells that the record at `position` is read next, and then its neighbours, in either direction.
    #[inline]
    pub fn reach(&mut self, keys: &LiveKeys<'_>, position: usize, touch: Touch) {
        let stretch = position / Self::RECORDS;
        if self.reached != stretch + 1 {
            self.reached = stretch + 1;
            let start = stretch * Self::RECORDS;
            keys.touch(start..(start + Self::RECORDS).min(keys.len()), touch);
        }
    }
}

impl std::fmt::Debug for LiveKeys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveKeys").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Index {
    /// Builds the index of the keys live at `revision`, from the records up to it.
    pub(crate) fn build(snapshot: Snapshot<'_>, revision: i64) -> Result<Self, ReadError> {
        let bytes = snapshot.bytes();
        let groups = walk(&snapshot.records()?, &mut Refuse::new(&snapshot.db()))?;
        let workers = if groups.len() < 4 { 1 } else { threads::available() };
        let budget = Budget::of(bytes);
        let stretches = threads::map(workers, |worker| {
            let stretch = groups.len() * worker / workers..groups.len() * (worker + 1) / workers;
            sorted_runs(bytes, groups.get(stretch).unwrap_or_default(), revision, &budget)
        });
        let stretches = stretches.into_iter().collect::<Result<Vec<_>, ReadError>>()?;
        // The newest first: the last stretch of the file, and within it the first run.
        let runs: Vec<Vec<Entry>> = stretches.into_iter().rev().flatten().collect();
        Ok(Self { offsets: merge(bytes, &runs, workers) })
    }
}

/// Where a record lies; the highest bit tells that it is a deletion.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const TOMBSTONE: u64 = 1 << 63;

    fn new(offset: u64, tombstone: bool) -> Self {
        Self(offset | if tombstone { Self::TOMBSTONE } else { 0 })
    }

    fn offset(self) -> u64 {
        self.0 & !Self::TOMBSTONE
    }

    fn is_tombstone(self) -> bool {
        self.0 & Self::TOMBSTONE != 0
    }

    fn key(self, bytes: &[u8]) -> &[u8] {
        key_at(bytes, self.offset())
    }
}

/// The newest record of each key in a stretch of the file, as sorted runs, the newest run first.
fn sorted_runs(
    bytes: &[u8],
    groups: &[LeafGroup<'_>],
    revision: i64,
    budget: &Budget,
) -> Result<Vec<Vec<Entry>>, ReadError> {
    let malformed = |offset, reason| ReadError::Malformed { bucket: KEY_BUCKET, offset, reason };
    let mut runs = Runs { bytes, done: Vec::new(), entries: 0, at_last_merge: 0 };
    let mut run = Run::default();
    for group in groups.iter().rev() {
        for leaf in (0..group.len()).rev() {
            let page = group.leaf(leaf)?;
            budget.take(&page)?;
            page.leaf_content()?;
            for index in (0..page.count()).rev() {
                let item = page.leaf_item(index)?;
                let (at, tombstone) =
                    Revision::decode(item.key).ok_or_else(|| malformed(item.offset, NOT_A_REVISION))?;
                if at.main > revision {
                    continue;
                }
                let message = KeyValueMessage::decode(item.value)
                    .ok_or_else(|| malformed(item.offset, NOT_A_KEY_VALUE))?;
                // The key "" is the mark of a raised revision; etcd lets no client write or read it.
                if message.key.is_empty() {
                    continue;
                }
                if run.is_full() {
                    runs.push(run.take());
                }
                run.push(message.key, Entry::new(item.offset, tombstone));
            }
        }
    }
    runs.push(run.take());
    Ok(runs.done)
}

/// Runs so far, the newest first. Where keys are changed often the same keys stand in many of them; then they are merged
/// on the way, so that memory goes by the keys and not by the changes.
struct Runs<'a> {
    bytes: &'a [u8],
    done: Vec<Vec<Entry>>,
    entries: usize,
    at_last_merge: usize,
}

impl Runs<'_> {
    /// Entries not worth a merge: 16 MiB.
    const FEW: usize = if cfg!(test) { 100 } else { 1 << 21 };

    fn push(&mut self, run: Vec<Entry>) {
        self.entries += run.len();
        self.done.push(run);
        if self.entries > Self::FEW.max(2 * self.at_last_merge) {
            let parts = self.done.iter().map(Vec::as_slice).collect();
            let mut merged = Vec::new();
            merge_parts(self.bytes, parts, |entry| merged.push(entry));
            self.entries = merged.len();
            self.at_last_merge = merged.len();
            self.done = vec![merged];
        }
    }
}

/// Keys that are gathered to be sorted together, copied one behind the other.
#[derive(Default)]
struct Run {
    copies: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Clone, Copy)]
struct Item {
    /// Where in the copies the key begins and ends. Later ones are older.
    start: usize,
    end: usize,
    entry: Entry,
}

impl Run {
    /// About what the second-level cache of a core holds.
    const FULL_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

    fn is_full(&self) -> bool {
        self.copies.len() + self.items.len() * size_of::<Item>() > Self::FULL_BYTES
    }

    fn push(&mut self, key: &[u8], entry: Entry) {
        let start = self.copies.len();
        self.copies.extend_from_slice(key);
        self.items.push(Item { start, end: self.copies.len(), entry });
    }

    /// The newest entry of each key, in key order; the run is empty afterwards.
    fn take(&mut self) -> Vec<Entry> {
        let key = |item: &Item| self.copies.get(item.start..item.end).unwrap_or_default();
        self.items.sort_unstable_by(|a, b| key(a).cmp(key(b)).then(a.start.cmp(&b.start)));
        self.items.dedup_by(|later, kept| key(later) == key(kept));
        let sorted = self.items.iter().map(|item| item.entry).collect();
        self.items.clear();
        self.copies.clear();
        sorted
    }
}

/// Merges all runs, the newest first among them, to the offsets of the live keys; each worker a stretch of the keys.
fn merge(bytes: &[u8], runs: &[Vec<Entry>], workers: usize) -> Vec<u64> {
    let longest = runs.iter().max_by_key(|run| run.len()).map(Vec::as_slice).unwrap_or_default();
    // Where in each run the stretches begin and end: at keys that divide the longest one evenly.
    let bound = |worker: usize| -> Vec<usize> {
        let pivot = longest.get(longest.len() * worker / workers).map(|entry| entry.key(bytes));
        let place = |run: &Vec<Entry>| match pivot {
            _ if worker == 0 => 0,
            Some(pivot) => run.partition_point(|entry| entry.key(bytes) < pivot),
            None => run.len(),
        };
        runs.iter().map(place).collect()
    };
    let stretches = threads::map(workers, |worker| {
        let (from, to) = (bound(worker), bound(worker + 1));
        let parts: Vec<&[Entry]> = runs
            .iter()
            .zip(from.into_iter().zip(to))
            .map(|(run, (from, to))| run.get(from..to).unwrap_or_default())
            .collect();
        let mut live = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        merge_parts(bytes, parts, |entry| {
            if !entry.is_tombstone() {
                live.push(entry.offset());
            }
        });
        live
    });
    let mut offsets = Vec::with_capacity(stretches.iter().map(Vec::len).sum());
    for live in &stretches {
        offsets.extend_from_slice(live);
    }
    offsets
}

/// How many turns of a merge before its own an entry is asked of the memory.
const TURNS_AHEAD: usize = 8;

/// Gives the newest entry of each key, in key order, out of sorted runs of which earlier ones are newer.
fn merge_parts(bytes: &[u8], mut parts: Vec<&[Entry]>, mut take: impl FnMut(Entry)) {
    let mut heads: BinaryHeap<Reverse<(&[u8], usize)>> = parts
        .iter()
        .enumerate()
        .filter_map(|(part, entries)| Some(Reverse((entries.first()?.key(bytes), part))))
        .collect();
    let mut last: Option<&[u8]> = None;
    let mut touched = 0_u8;
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((key, part)) = *head;
        let Some((&entry, rest)) = parts[part].split_first() else { break };
        // Each key is somewhere else in the file: asked for some turns before it is compared, first where it lies, then itself.
        if let Some(later) = rest.get(2 * TURNS_AHEAD) {
            touched ^= bytes.get(later.offset() as usize).copied().unwrap_or_default();
        }
        if let Some(soon) = rest.get(TURNS_AHEAD) {
            touched ^= soon.key(bytes).first().copied().unwrap_or_default();
        }
        if last != Some(key) {
            take(entry);
            last = Some(key);
        }
        parts[part] = rest;
        match rest.first() {
            Some(next) => head.0.0 = next.key(bytes),
            None => drop(PeekMut::pop(head)),
        }
    }
    // Else nothing would be read beforehand: nobody asks for the sum.
    std::hint::black_box(touched);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use crate::record::Record;
    use crate::{CheckOptions, SnapshotFile, hash, inspect};

    fn open(path: &str) -> SnapshotFile {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        SnapshotFile::from_bytes(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap()
    }

    /// Limits on memory are small in unit tests, so that runs are merged on the way and tables take several passes.
    #[test]
    fn the_index_is_what_a_map_would_hold() {
        for path in [
            "tests/data/etcd-3.4-tombstone.db.zst",
            "tests/data/etcd-3.7-compacted.db.zst",
            "tests/data/bumped.db.zst",
            "../../tests/data/kubernetes-t2.db.zst",
        ] {
            let file = open(path);
            let snapshot = file.snapshot();
            let newest = snapshot.revision().unwrap();
            let oldest = snapshot.compactions().unwrap().furthest().max(1);
            for revision in [oldest, i64::midpoint(oldest, newest), (newest - 1).max(oldest), newest] {
                let mut expected = BTreeMap::new();
                for item in snapshot.records().unwrap().items() {
                    let record = Record::decode(&item.unwrap()).unwrap();
                    if record.revision.main > revision || record.key_value.key.is_empty() {
                        continue;
                    }
                    if record.tombstone {
                        expected.remove(record.key_value.key);
                    } else {
                        expected.insert(record.key_value.key, record.key_value);
                    }
                }
                let live = file.live_at(revision).unwrap();
                let found: Vec<_> = live.iter().collect();
                assert_eq!(found, expected.into_values().collect::<Vec<_>>(), "{path} at {revision}");
            }
        }
    }

    #[test]
    fn tables_too_small_for_all_keys_give_the_same_answers() {
        let file = open("../../tests/data/kubernetes-t2.db.zst");
        let found = inspect(&file, &CheckOptions::default());
        assert!(found.integrity.findings.is_empty(), "{:?}", found.integrity.findings);
        assert_eq!(found.facts.live_keys, 1175);
        let compacted = hash::hash_kv(file.snapshot(), 0, Some(2000)).unwrap();
        assert_ne!(compacted.hash, found.facts.hashkv.hash);
    }
}
