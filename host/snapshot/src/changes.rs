//! The changes of one key, as far as they were not compacted.
//!
//! Records lie in the order of revisions, not of keys, so all are looked at: their keys alone, on all cores.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::bolt::{LeafGroup, Refuse, walk};
use crate::error::ReadError;
use crate::proto::KeyValueMessage;
use crate::record::{KEY_BUCKET, NOT_A_KEY_VALUE, Record};
use crate::snapshot::Snapshot;
use crate::threads;

/// What happened to one key, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChanges<'a> {
    records: Vec<Record<'a>>,
}

impl<'a> KeyChanges<'a> {
    /// Looks for the key in all records. The mark of a raised revision has no key, and is none's.
    pub(crate) fn read(snapshot: Snapshot<'a>, key: &[u8]) -> Result<Self, ReadError> {
        if key.is_empty() {
            return Ok(Self::default());
        }
        let groups = walk(&snapshot.records()?, &mut Refuse::new(&snapshot.db()))?;
        let workers = if groups.len() < 4 { 1 } else { threads::available() };
        let bytes_left = AtomicU64::new(snapshot.bytes().len() as u64);
        let found =
            threads::map_pieces(workers, groups.len(), |index| records_of(&groups[index], key, &bytes_left));
        let found = found.into_iter().collect::<Result<Vec<_>, ReadError>>()?;
        Ok(Self { records: found.into_iter().flatten().collect() })
    }

    /// Every change, by revision.
    pub fn records(&self) -> &[Record<'a>] {
        &self.records
    }

    /// The lives of the key, oldest first: each from the put that created it, or from what a compaction left of it, to the
    /// deletion that ended it. The last one has no deletion if the key is live.
    pub fn generations(&self) -> impl Iterator<Item = &[Record<'a>]> {
        self.records.split_inclusive(|record| record.tombstone)
    }

    /// The key as it was at a revision: nothing if it was not there then. Below the compact revision that cannot be told.
    pub fn at(&self, revision: i64) -> Option<&Record<'a>> {
        let until = self.records.partition_point(|record| record.revision.main <= revision);
        self.records[..until].last().filter(|record| !record.tombstone)
    }
}

fn records_of<'a>(
    group: &LeafGroup<'a>,
    key: &[u8],
    bytes_left: &AtomicU64,
) -> Result<Vec<Record<'a>>, ReadError> {
    let mut records = Vec::new();
    for leaf in 0..group.len() {
        let page = group.leaf(leaf)?;
        // Leaves that are reached again and again come to more bytes than the file has.
        let page_bytes = page.bytes().len() as u64;
        let take = |left: u64| left.checked_sub(page_bytes);
        if bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(ReadError::ReachedTwice { page: page.id() });
        }
        for item in page.leaf_items() {
            let item = item?;
            let own = KeyValueMessage::key_of(item.value).ok_or(ReadError::Malformed {
                bucket: KEY_BUCKET,
                offset: item.offset,
                reason: NOT_A_KEY_VALUE,
            })?;
            if own == key {
                records.push(Record::decode(&item)?);
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::SnapshotFile;

    fn open(path: &str) -> SnapshotFile {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        SnapshotFile::from_bytes(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn all_changes_of_each_key_are_found_in_order() {
        for path in ["tests/data/etcd-3.6-history.db.zst", "tests/data/bumped.db.zst"] {
            let file = open(path);
            let mut expected: BTreeMap<&[u8], Vec<Record<'_>>> = BTreeMap::new();
            for item in file.snapshot().records().unwrap().items() {
                let record = Record::decode(&item.unwrap()).unwrap();
                expected.entry(record.key_value.key).or_default().push(record);
            }
            expected.remove(&b""[..]);
            assert!(!expected.is_empty());
            for (key, records) in expected {
                let changes = file.history(key).unwrap();
                assert_eq!(changes.records(), records, "{path}");
                let ended = records.iter().filter(|record| record.tombstone).count();
                let is_live = records.last().is_some_and(|record| !record.tombstone);
                assert_eq!(changes.generations().count(), ended + usize::from(is_live), "{path}");
                for record in &records {
                    let at = changes.at(record.revision.main);
                    // Of several changes in one transaction the last is what is seen.
                    assert!(
                        record.tombstone || at.is_some_and(|at| at.revision.main == record.revision.main)
                    );
                    assert_eq!(changes.at(records[0].revision.main - 1), None);
                }
            }
        }
    }

    #[test]
    fn a_key_that_never_was_has_no_changes() {
        let file = open("tests/data/bumped.db.zst");
        assert_eq!(file.history(b"no such key").unwrap(), KeyChanges::default());
        assert_eq!(file.history(b"").unwrap(), KeyChanges::default());
    }
}
