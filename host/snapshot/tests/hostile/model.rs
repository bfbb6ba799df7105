//! The slow way to each answer: maps instead of an index, one pass instead of many threads, etcd's own steps.
//!
//! Sources: etcd `server/storage/mvcc/{hash,kvstore,key_index}.go`.

use std::collections::{BTreeMap, BTreeSet};

use etcd_snapshot::{Record, Revision, Snapshot};

/// A record with the two parts of its item.
struct Row<'a> {
    record: Record<'a>,
    key: &'a [u8],
    value: &'a [u8],
}

fn rows(snapshot: Snapshot<'_>) -> Option<Vec<Row<'_>>> {
    snapshot
        .records()
        .ok()?
        .items()
        .map(|item| {
            let item = item.ok()?;
            Some(Row { record: Record::decode(&item).ok()?, key: item.key, value: item.value })
        })
        .collect()
}

/// The live keys at a revision with their modification revisions.
pub(crate) fn live(snapshot: Snapshot<'_>, revision: i64) -> Option<BTreeMap<&[u8], i64>> {
    let mut live = BTreeMap::new();
    for Row { record, .. } in rows(snapshot)? {
        let key = record.key_value.key;
        if record.revision.main > revision || key.is_empty() {
            continue;
        }
        if record.tombstone {
            live.remove(key);
        } else {
            live.insert(key, record.key_value.mod_revision);
        }
    }
    Some(live)
}

/// The changes of one key, oldest first. The mark of a raised revision is no key's.
pub(crate) fn history<'a>(snapshot: Snapshot<'a>, key: &[u8]) -> Option<Vec<Record<'a>>> {
    let records = rows(snapshot)?.into_iter().map(|row| row.record);
    Some(records.filter(|record| !key.is_empty() && record.key_value.key == key).collect())
}

/// `HashKV`, step by step as etcd computes it.
pub(crate) fn hash_kv(snapshot: Snapshot<'_>, revision: i64, compact_revision: i64) -> Option<u32> {
    let rows = rows(snapshot)?;
    let mut keys: BTreeMap<&[u8], Vec<Vec<Revision>>> = BTreeMap::new();
    for Row { record, .. } in &rows {
        let generations = keys.entry(record.key_value.key).or_insert_with(|| vec![Vec::new()]);
        if let Some(last) = generations.last_mut() {
            last.push(record.revision);
        }
        if record.tombstone {
            generations.push(Vec::new());
        }
    }
    let mut keep = BTreeSet::new();
    for generations in keys.values() {
        keep_at(generations, revision, &mut keep);
    }
    let mut crc = crc32c::crc32c(b"key");
    for Row { record, key, value } in &rows {
        let at = record.revision;
        let dropped = at.main <= compact_revision && !keep.is_empty() && !keep.contains(&at);
        let dead = record.tombstone && at.main == compact_revision;
        if at.main <= revision && !dropped && !dead {
            crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value);
        }
    }
    Some(crc)
}

fn keep_at(generations: &[Vec<Revision>], revision: i64, keep: &mut BTreeSet<Revision>) {
    let last = generations.len() - 1;
    let chosen = (0..last)
        .find(|&number| generations[number].last().is_some_and(|end| end.main >= revision))
        .unwrap_or(last);
    let generation = &generations[chosen];
    let Some(place) = generation.iter().rposition(|at| at.main <= revision) else { return };
    let is_tombstone = place == generation.len() - 1 && chosen != last;
    if !is_tombstone {
        keep.insert(generation[place]);
    }
}
