//! What etcd would read out of a database file, by the shortest way and with nothing of the library: a second opinion.
//!
//! It checks no more than it must to go on. What makes etcd itself stop is `None`: a page that is none, a message that
//! does not decode, a record that a search does not find.

use std::collections::BTreeMap;

/// A record without its value: what the key's history is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    pub(crate) tombstone: bool,
    pub(crate) message: Message,
}

/// `mvccpb.KeyValue`; of the value only what tells two apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) key: Vec<u8>,
    pub(crate) create: i64,
    pub(crate) modified: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    pub(crate) value: Vec<u8>,
}

/// All that counts in a file.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) rows: Vec<Row>,
    /// The furthest compaction, begun or ended: below it no client can read.
    pub(crate) compacted: i64,
}

/// The part of a state that a flip has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that a client can see.
    Nothing,
    /// The value of a live key.
    Value,
    /// The value or the lease of a put that is past, or what the numbers of a compacted one counted on.
    Past,
    /// How far history is compacted.
    Compaction,
    /// The key of a put that is a life by itself, under the old key as under the new one.
    LoneKey,
    /// The create revision or version of a live key at or below the compaction: what they counted on is gone.
    CompactedNumbers,
    /// Live keys, their metadata, or the shape of their history.
    Keys,
    /// Everything: etcd would not start on it.
    Unreadable,
}

/// What a client of a cluster started on the file can see: the keys at the compaction, and every change above it.
#[derive(PartialEq, Eq)]
struct Visible<'s> {
    base: BTreeMap<&'s [u8], &'s Message>,
    above: Vec<&'s Row>,
}

impl State {
    fn visible(&self) -> Visible<'_> {
        let mut seen = Visible { base: BTreeMap::new(), above: Vec::new() };
        for row in &self.rows {
            if row.main > self.compacted {
                seen.above.push(row);
            } else if row.tombstone {
                seen.base.remove(&*row.message.key);
            } else {
                seen.base.insert(&*row.message.key, &row.message);
            }
        }
        seen
    }

    /// The keys that live, each with the number of its newest row.
    fn live(&self) -> BTreeMap<&[u8], usize> {
        let mut live = BTreeMap::new();
        for (number, row) in self.rows.iter().enumerate() {
            if row.tombstone {
                live.remove(&*row.message.key);
            } else {
                live.insert(&*row.message.key, number);
            }
        }
        live
    }

    /// Whether a put is a life by itself: its key was not there before it, and nothing came of it since.
    fn is_lone(&self, number: usize) -> bool {
        let row = &self.rows[number];
        let same = |other: &&Row| other.message.key == row.message.key;
        let before = self.rows[..number].iter().rfind(same);
        let after = self.rows[number + 1..].iter().find(same);
        !row.tombstone && before.is_none_or(|before| before.tombstone) && after.is_none()
    }

    /// What became of this state in `after`, which differs from it by one bit of the file at most.
    pub(crate) fn change(&self, after: Option<&State>) -> Change {
        let Some(after) = after else { return Change::Unreadable };
        if self.compacted != after.compacted {
            return Change::Compaction;
        }
        if self.visible() == after.visible() {
            return Change::Nothing;
        }
        let mut changed =
            self.rows.iter().zip(&after.rows).enumerate().filter(|(_, (before, now))| before != now);
        match (changed.next(), changed.next()) {
            (Some((number, (before, now))), None) if self.rows.len() == after.rows.len() => {
                self.change_of_row(after, number, before, now)
            }
            _ => Change::Keys,
        }
    }

    fn change_of_row(&self, after: &State, number: usize, before: &Row, now: &Row) -> Change {
        let (old, new) = (&before.message, &now.message);
        let moved = (before.main, before.sub, before.tombstone) != (now.main, now.sub, now.tombstone);
        let compacted = before.main <= self.compacted.max(1);
        let only = |kept: Message| !moved && *new == kept;
        let lives = self.live().values().any(|&it| it == number);
        if only(Message { value: new.value.clone(), ..old.clone() }) {
            return if lives { Change::Value } else { Change::Past };
        }
        if only(Message { lease: new.lease, ..old.clone() }) && !lives {
            return Change::Past;
        }
        if only(Message { key: new.key.clone(), ..old.clone() }) {
            let alone = self.is_lone(number) && after.is_lone(number);
            return if alone && (compacted || old.version == 1) { Change::LoneKey } else { Change::Keys };
        }
        if compacted && only(Message { create: new.create, version: new.version, ..old.clone() }) {
            return if lives { Change::CompactedNumbers } else { Change::Past };
        }
        Change::Keys
    }
}

/// Reads a file.
pub(crate) fn read(file: &[u8]) -> Option<State> {
    let page_bytes = word(file, 24)? as usize;
    let meta = (0..2)
        .map(|page| page * page_bytes + 16)
        .filter(|&at| meta_holds(file, at))
        .max_by_key(|&at| long(file, at + 48))?;
    let reader = Reader { file, page_bytes, pages: long(file, meta + 40)? };
    let root = long(file, meta + 16)?;
    let mut rows = Vec::new();
    let (_, records) = reader.bucket(root, b"key")?;
    for (key, value) in &records {
        rows.push(row(key, value)?);
    }
    let mut compacted = -1;
    let (_, meta) = reader.bucket(root, b"meta")?;
    for (key, value) in meta {
        if key == b"scheduledCompactRev" || key == b"finishedCompactRev" {
            compacted = compacted.max(i64::from_be_bytes(value.get(..8)?.try_into().ok()?));
        }
    }
    Some(State { rows, compacted })
}

fn meta_holds(file: &[u8], at: usize) -> bool {
    let Some(bytes) = file.get(at..at + 56) else { return false };
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    word(file, at) == Some(0xed0c_daed) && word(file, at + 4) == Some(2) && long(file, at + 56) == Some(sum)
}

/// An item's flags, key and value.
type Item<'a> = (u32, &'a [u8], &'a [u8]);
type Items<'a> = Vec<(&'a [u8], &'a [u8])>;

struct Reader<'a> {
    file: &'a [u8],
    page_bytes: usize,
    pages: u64,
}

impl<'a> Reader<'a> {
    /// A bucket of the root: its item's value, and its items, each of which a search finds as well.
    fn bucket(&self, root: u64, name: &[u8]) -> Option<(&'a [u8], Items<'a>)> {
        let (_, header) = self.find(root, name)?;
        let inner = long(header, 0)?;
        let mut items = Vec::new();
        if inner == 0 {
            items = leaf(header.get(16..)?)?;
        } else {
            self.walk(inner, 0, &mut items)?;
            for (_, key, value) in &items {
                if self.find(inner, key) != Some((0, value)) {
                    return None;
                }
            }
        }
        Some((header, items.into_iter().map(|(_, key, value)| (key, value)).collect()))
    }

    fn page(&self, id: u64) -> Option<&'a [u8]> {
        if id >= self.pages {
            return None;
        }
        let page = self.file.get(usize::try_from(id).ok()?.checked_mul(self.page_bytes)?..)?;
        // bbolt looks at its own id in debug builds only, and stops there; the tool's check does so always.
        (long(page, 0)? == id).then_some(page)
    }

    fn walk(&self, id: u64, depth: usize, items: &mut Vec<Item<'a>>) -> Option<()> {
        let page = self.page(id)?;
        if depth > 20 || items.len() > self.file.len() {
            return None;
        }
        match half(page, 8)? {
            1 => branch(page)?.into_iter().try_for_each(|(_, child)| self.walk(child, depth + 1, items)),
            2 => {
                items.extend(leaf(page)?);
                Some(())
            }
            _ => None,
        }
    }

    /// What bbolt's cursor finds: in each branch it follows the last child whose key is not greater.
    fn find(&self, root: u64, key: &[u8]) -> Option<(u32, &'a [u8])> {
        let mut id = root;
        for _ in 0..20 {
            let page = self.page(id)?;
            match half(page, 8)? {
                1 => {
                    let children = branch(page)?;
                    let place = children.partition_point(|(first, _)| *first <= key).saturating_sub(1);
                    id = children.get(place)?.1;
                }
                2 => {
                    let items = leaf(page)?;
                    let place = items.partition_point(|(_, at, _)| *at < key);
                    let (flags, found, value) = *items.get(place)?;
                    return (found == key).then_some((flags, value));
                }
                _ => return None,
            }
        }
        None
    }
}

fn leaf(page: &[u8]) -> Option<Vec<Item<'_>>> {
    (0..usize::from(half(page, 10)?))
        .map(|index| {
            let at = 16 + 16 * index;
            let start = at + word(page, at + 4)? as usize;
            let middle = start + word(page, at + 8)? as usize;
            let end = middle + word(page, at + 12)? as usize;
            Some((word(page, at)?, page.get(start..middle)?, page.get(middle..end)?))
        })
        .collect()
}

fn branch(page: &[u8]) -> Option<Vec<(&[u8], u64)>> {
    (0..usize::from(half(page, 10)?))
        .map(|index| {
            let at = 16 + 16 * index;
            let start = at + word(page, at)? as usize;
            Some((page.get(start..start + word(page, at + 4)? as usize)?, long(page, at + 8)?))
        })
        .collect()
}

/// A revision and its message, as etcd's `BytesToRev` and `Unmarshal` take them.
fn row(key: &[u8], value: &[u8]) -> Option<Row> {
    let number = |at: usize| Some(i64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?));
    let tombstone = key.len() == 18 && key[17] == b't';
    Some(Row { main: number(0)?, sub: number(9)?, tombstone, message: message(value)? })
}

fn message(mut bytes: &[u8]) -> Option<Message> {
    let mut it = Message::default();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let (mut number, mut text) = (0, &[][..]);
        match tag & 7 {
            0 => number = varint(&mut bytes)? as i64,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (taken, rest) = bytes.split_at_checked(length)?;
                (text, bytes) = (taken, rest);
            }
            1 => bytes = bytes.get(8..)?,
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
        match (tag >> 3, tag & 7) {
            (1, 2) => it.key = text.to_vec(),
            (2, 0) => it.create = number,
            (3, 0) => it.modified = number,
            (4, 0) => it.version = number,
            (5, 2) => it.value = text.to_vec(),
            (6, 0) => it.lease = number,
            (0..=6, _) => return None,
            // A field that etcd does not know is passed over.
            _ => {}
        }
    }
    Some(it)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
