//! How two states of a key space differ: what came, what went, what changed.
//!
//! Both are walked in key order side by side, on all cores. Values are compared as they lie in the file; nothing is decoded.

use std::cmp::Ordering;
use std::ops::Range;

use etcd_snapshot::LiveKeys;

use super::select::Selection;

/// Keys below which threads are not worth their start.
const FEW_KEYS: usize = if cfg!(test) { 100 } else { 10_000 };

/// What became of a key, and where it lies in the two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is only in the second state, there.
    Added(usize),
    /// It is only in the first state, there.
    Removed(usize),
    /// Its value differs: its places in both.
    Changed(usize, usize),
}

/// How two states differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The keys that differ, in key order.
    pub changes: Vec<Change>,
    /// Keys with the same value in both.
    pub same: u64,
    /// Those of them that were written again in between, with the same value.
    pub rewritten: u64,
}

/// Compares the selected keys of two states. `one_file` tells that both are of one file, where a key with one revision in both is
/// the same without a look at its value.
pub fn compare(
    before: &LiveKeys<'_>,
    after: &LiveKeys<'_>,
    selection: &Selection,
    one_file: bool,
) -> Comparison {
    let mut parts = Vec::new();
    for prefix in selection.prefixes() {
        split(before, after, before.prefix(prefix), after.prefix(prefix), &mut parts);
    }
    let walk = |part: &Part| walk(before, after, part, selection, one_file);
    let mut total = Comparison::default();
    let found: Vec<Comparison> = std::thread::scope(|scope| {
        // The last part is walked here: mostly there is only one.
        let (here, elsewhere) =
            parts.split_last().map_or((None, [].as_slice()), |(last, rest)| (Some(last), rest));
        let threads: Vec<_> = elsewhere.iter().map(|part| scope.spawn(move || walk(part))).collect();
        let here = here.map(walk);
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(found) => found,
            Err(panicked) => std::panic::resume_unwind(panicked),
        });
        joined.chain(here).collect()
    });
    for part in found {
        total.changes.extend(part.changes);
        total.same += part.same;
        total.rewritten += part.rewritten;
    }
    total
}

/// The same stretch of keys in both states.
struct Part {
    before: Range<usize>,
    after: Range<usize>,
}

/// Cuts two ranges into stretches that can be walked apart.
fn split(
    before: &LiveKeys<'_>,
    after: &LiveKeys<'_>,
    first: Range<usize>,
    second: Range<usize>,
    parts: &mut Vec<Part>,
) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pieces = if first.len() < FEW_KEYS { 1 } else { cores };
    let mut rest = second;
    let mut start = first.start;
    for piece in 1..=pieces {
        let end = first.start + first.len() * piece / pieces;
        let cut = if piece == pieces {
            rest.end
        } else {
            after.lower_bound(before.key(end)).clamp(rest.start, rest.end)
        };
        parts.push(Part { before: start..end, after: rest.start..cut });
        (start, rest.start) = (end, cut);
    }
}

fn walk(
    before: &LiveKeys<'_>,
    after: &LiveKeys<'_>,
    part: &Part,
    selection: &Selection,
    one_file: bool,
) -> Comparison {
    let mut found = Comparison::default();
    let (mut first, mut second) = (part.before.start, part.after.start);
    let (mut old, mut new) = (next(before, first, &part.before), next(after, second, &part.after));
    loop {
        let order = match (old, new) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.cmp(new),
        };
        let taken = [old, new].into_iter().flatten().min().is_some_and(|key| selection.takes(key));
        if taken {
            match order {
                Ordering::Less => found.changes.push(Change::Removed(first)),
                Ordering::Greater => found.changes.push(Change::Added(second)),
                Ordering::Equal => judge(before, after, (first, second), one_file, &mut found),
            }
        }
        if order.is_le() {
            first += 1;
            old = next(before, first, &part.before);
        }
        if order.is_ge() {
            second += 1;
            new = next(after, second, &part.after);
        }
    }
}

fn next<'a>(live: &LiveKeys<'a>, position: usize, range: &Range<usize>) -> Option<&'a [u8]> {
    (position < range.end).then(|| live.key(position))
}

fn judge(
    before: &LiveKeys<'_>,
    after: &LiveKeys<'_>,
    (first, second): (usize, usize),
    one_file: bool,
    found: &mut Comparison,
) {
    let (old, new) = (before.entry(first), after.entry(second));
    let one_revision = old.mod_revision == new.mod_revision;
    if one_file && one_revision || old.value == new.value {
        found.same += 1;
        found.rewritten += u64::from(!one_revision);
    } else {
        found.changes.push(Change::Changed(first, second));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use etcd_snapshot::LiveKeys;

    use super::{Change, compare};
    use crate::look::select::tests::open;
    use crate::look::select::{Selection, Wanted};

    /// Stretches are short in unit tests, so that every core has one.
    #[test]
    fn states_differ_as_maps_of_them_do() {
        let (first, second) = (open("kubernetes-t1"), open("kubernetes-t2"));
        let (before, after) = (first.live().unwrap(), second.live().unwrap());
        for prefix in ["", "/registry/pods/", "/registry/events", "/registry/z", "/none"] {
            let wanted = Wanted { prefix: Some(prefix.as_bytes().to_vec()), ..Wanted::default() };
            let selection = Selection::new(&wanted, &[]).unwrap();
            for (one, other) in [(&before, &after), (&after, &before), (&before, &before)] {
                check(one, other, &selection);
            }
        }
    }

    fn check(one: &LiveKeys<'_>, other: &LiveKeys<'_>, selection: &Selection) {
        let (old, new) = (map(one, selection), map(other, selection));
        let keys: BTreeSet<&[u8]> = old.keys().chain(new.keys()).copied().collect();
        let differ: Vec<&[u8]> = keys.iter().filter(|key| old.get(*key) != new.get(*key)).copied().collect();
        let found = compare(one, other, selection, false);
        let named: Vec<&[u8]> = found.changes.iter().map(|change| name(one, other, *change)).collect();
        assert_eq!(named, differ);
        assert_eq!(found.same as usize, keys.len() - differ.len());
    }

    fn map<'a>(live: &LiveKeys<'a>, selection: &Selection) -> BTreeMap<&'a [u8], &'a [u8]> {
        let entries = selection.positions(live).map(|position| live.entry(position));
        entries.map(|entry| (entry.key, entry.value)).collect()
    }

    /// The key that changed; that it lies where the change says is checked by the way.
    fn name<'a>(one: &LiveKeys<'a>, other: &LiveKeys<'a>, change: Change) -> &'a [u8] {
        match change {
            Change::Added(position) => {
                assert!(one.get(other.key(position)).is_none());
                other.key(position)
            }
            Change::Removed(position) => {
                assert!(other.get(one.key(position)).is_none());
                one.key(position)
            }
            Change::Changed(first, second) => {
                assert_eq!(one.key(first), other.key(second));
                one.key(first)
            }
        }
    }
}
