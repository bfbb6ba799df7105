//! etcd's own hashes, computed from the file.
//!
//! [`status_hash`] is what `etcdutl snapshot status` prints: a hash of everything, which tells files apart. [`hash_kv`] is
//! what a member answers to `HashKV`: a hash of the keys' history alone, equal on all members that agree. Both are
//! CRC-32C. Sources: etcd `etcdutl/snapshot/v3_snapshot.go` (`Status`), `server/storage/mvcc/hash.go`, `kvstore.go`
//! (`hashByRev`), `key_index.go` (`keep`).

use crate::bolt::{LeafGroup, LeafItem, Page, Refuse};
use crate::content::{Budget, Content, LeafEnd, Segment, segments};
use crate::error::ReadError;
use crate::history::{NoVisitor, Records, Walked, Window, walk_history};
use crate::record::{KEY_BUCKET, NOT_A_REVISION};
use crate::revision::Revision;
use crate::snapshot::Snapshot;
use crate::threads;

pub use crate::facts::HashKv;

/// The hash that `etcdutl snapshot status` prints: over each bucket's name, then its keys and values, in order.
///
/// # Errors
/// The first place that cannot be read.
pub fn status_hash(snapshot: Snapshot<'_>) -> Result<u32, ReadError> {
    let mut whole = Content::default();
    let (mut branches, leaves) = (Refuse::new(&snapshot.db()), Budget::of(snapshot.bytes()));
    for bucket in snapshot.db().buckets() {
        let (name, bucket) = bucket?;
        whole = segments(&bucket, &mut branches, &leaves)?
            .1
            .iter()
            .fold(whole.append(name), |content, segment| content.join(segment.content));
    }
    Ok(whole.crc)
}

/// The `HashKV` of the file up to `revision` (0 for the newest), as a member would answer whose compact revision is
/// `compact_revision`. `None` takes the file's own.
///
/// ```
/// use etcd_snapshot::{ReadError, SnapshotFile, hash};
///
/// /// Whether a member answers `HashKV` as the file does: revision, hash and compact revision are its answer.
/// fn agrees(file: &SnapshotFile, revision: i64, answer: u32, compacted: i64) -> Result<bool, ReadError> {
///     Ok(hash::hash_kv(file.snapshot(), revision, Some(compacted))?.hash == answer)
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/etcd-3.6-history.db.zst");
/// # let bytes = zstd::decode_all(std::fs::File::open(packed)?)?;
/// # let file = SnapshotFile::from_bytes(bytes)?;
/// # let own = hash::hash_kv(file.snapshot(), 0, None)?;
/// # assert!(agrees(&file, own.revision, own.hash, own.compact_revision)?);
/// # Ok(())
/// # }
/// ```
///
/// A member that has compacted further than the file at the time of asking is met by giving its compact revision: the
/// result is what the file would give had it been compacted there.
///
/// # Errors
/// [`ReadError::Compacted`] if the revision is below the compact revision, or the file was compacted beyond the one
/// given; [`ReadError::Future`] if the revision is newer than the file; or the first place that cannot be read.
pub fn hash_kv(
    snapshot: Snapshot<'_>,
    revision: i64,
    compact_revision: Option<i64>,
) -> Result<HashKv, ReadError> {
    let own = snapshot.compactions()?.finished;
    let newest = snapshot.revision()?;
    let compact_revision = compact_revision.unwrap_or(own).max(-1);
    if compact_revision < own {
        return Err(ReadError::Compacted { revision: compact_revision, compact_revision: own });
    }
    let revision = if revision == 0 { newest } else { revision };
    if revision < compact_revision {
        return Err(ReadError::Compacted { revision, compact_revision });
    }
    if revision > newest {
        return Err(ReadError::Future { revision, newest });
    }
    let window = Window { revision, compact_revision };
    let (mut branches, leaves) = (Refuse::new(&snapshot.db()), Budget::of(snapshot.bytes()));
    let (groups, segments) = segments(&snapshot.records()?, &mut branches, &leaves)?;
    let records = Records { bytes: snapshot.bytes(), groups: &groups, segments: &segments };
    let threads = if groups.len() < 4 { 1 } else { threads::available() };
    let (walked, _) = walk_history(&records, window, threads, || NoVisitor)?;
    let hash = of_window(&records, &walked, window, threads)?;
    Ok(HashKv { hash, revision, compact_revision })
}

/// The hash over the records of a window, once it is known which of them are passed over.
pub(crate) fn of_window(
    records: &Records<'_, '_>,
    walked: &Walked,
    window: Window,
    threads: usize,
) -> Result<u32, ReadError> {
    let mut first_numbers = Vec::with_capacity(records.groups.len());
    let mut number = 0;
    for segment in records.segments {
        first_numbers.push(number);
        number += segment.items;
    }
    let pieces = threads::map_pieces(threads, records.groups.len(), |index| {
        group_content(&records.groups[index], &records.segments[index], first_numbers[index], walked, window)
    });
    pieces
        .into_iter()
        .try_fold(Content::of(KEY_BUCKET.as_bytes()), |whole, piece| Ok(whole.join(piece?)))
        .map(|it| it.crc)
}

fn group_content(
    group: &LeafGroup<'_>,
    segment: &Segment,
    first_number: u64,
    walked: &Walked,
    window: Window,
) -> Result<Content, ReadError> {
    if segment.items == 0 {
        return Ok(Content::default());
    }
    let within_window = ends(group)?.is_some_and(|(first, last)| window.has_no_edge_between(first, last));
    if within_window && !walked.skips_any(first_number..first_number + segment.items) {
        return Ok(segment.content);
    }
    let reads = |number: u64, item: &LeafItem<'_>| {
        let (revision, tombstone) = Revision::decode(item.key).ok_or(ReadError::Malformed {
            bucket: KEY_BUCKET,
            offset: item.offset,
            reason: NOT_A_REVISION,
        })?;
        Ok(walked.reads(number, window, revision, tombstone))
    };
    let mut content = Content::default();
    if !within_window || segment.leaves.len() != usize::from(group.len()) {
        let mut number = first_number;
        for leaf in 0..group.len() {
            let page = group.leaf(leaf)?;
            content = append_leaf(content, &page, number, reads)?;
            number += u64::from(page.count());
        }
        return Ok(content);
    }
    // Leaves of which all is read are taken by their CRCs, as many as stand together.
    let (mut taken, mut before) = (LeafEnd::default(), LeafEnd::default());
    for (leaf, &end) in (0..group.len()).zip(&segment.leaves) {
        let numbers = first_number + u64::from(before.items)..first_number + u64::from(end.items);
        if walked.skips_any(numbers.clone()) {
            content = content.join(before.since(taken));
            content = append_leaf(content, &group.leaf(leaf)?, numbers.start, reads)?;
            taken = end;
        }
        before = end;
    }
    Ok(content.join(before.since(taken)))
}

/// With the items of a leaf behind it that are to be read; `number` is its first record's.
fn append_leaf(
    content: Content,
    page: &Page<'_>,
    number: u64,
    reads: impl Fn(u64, &LeafItem<'_>) -> Result<bool, ReadError>,
) -> Result<Content, ReadError> {
    (number..).zip(page.leaf_items()).try_fold(content, |content, (number, item)| {
        let item = item?;
        Ok(if reads(number, &item)? { content.append(item.key).append(item.value) } else { content })
    })
}

/// The first and the last main revision of a group, if its outer leaves have items.
fn ends(group: &LeafGroup<'_>) -> Result<Option<(i64, i64)>, ReadError> {
    let first = group.leaf(0)?;
    let last = group.leaf(group.len().saturating_sub(1))?;
    let (Some(_), Some(last_index)) = (first.count().checked_sub(1), last.count().checked_sub(1)) else {
        return Ok(None);
    };
    let main = |key| Revision::decode(key).map(|(revision, _)| revision.main);
    Ok(main(first.leaf_item(0)?.key).zip(main(last.leaf_item(last_index)?.key)))
}
