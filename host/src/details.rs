//! What is in a snapshot beyond its facts: which keys take the room, which change most, what a defragmentation would free.
//!
//! One pass over the live keys in key order. Memory goes by the number of groups, which is bounded, and of keys shown.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use etcd_snapshot::{Facts, KeyValue, LiveKeys, ReadError, SnapshotFile};
use kubernetes_objects::{DEFAULT_PREFIX, ObjectKey};
use serde::Serialize;

/// Groups told apart. A file made to have more has the rest counted together.
const MAX_GROUPS: usize = 1 << 16;
/// Granted times told apart.
const MAX_TTLS: usize = 1 << 12;
/// Bytes of a prefix or key that are shown.
const SHOWN_BYTES: usize = 256;
/// Segments of a key that make its prefix: `/registry/pods/`.
const PREFIX_SEGMENTS: usize = 2;
/// What bbolt stores as the key of a record: a revision.
const REVISION_BYTES: u64 = 17;
/// What is under `/registry/` and no object's key.
const NO_OBJECT: &str = "(no object)";

/// What takes the room in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Live keys by the first two segments of their paths, the largest group first.
    pub prefixes: Groups,
    /// Live keys by Kubernetes resource, as `kubectl` writes it; empty where none is Kubernetes'.
    pub kinds: Groups,
    /// The keys with the largest values.
    pub largest: Vec<KeyFacts>,
    /// The keys changed most often since they were created.
    pub most_rewritten: Vec<KeyFacts>,
    /// Where the bytes are.
    pub space: Space,
    /// The leases.
    pub leases: Leases,
}

/// Groups of keys: the largest, and the rest together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Groups {
    /// The largest, by bytes.
    pub largest: Vec<Group>,
    /// Groups that are not shown.
    pub others: u64,
    /// What these hold.
    pub rest: Holding,
}

/// Keys that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What they have in common: printable, the rest escaped, cut at 256 bytes.
    pub name: String,
    /// What they are.
    #[serde(flatten)]
    pub holding: Holding,
}

/// How much some keys are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// How many.
    pub keys: u64,
    /// Bytes of the keys.
    pub key_bytes: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
}

impl Holding {
    fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.key_bytes += other.key_bytes;
        self.value_bytes += other.value_bytes;
    }

    /// Keys and values together.
    pub fn bytes(&self) -> u64 {
        self.key_bytes + self.value_bytes
    }
}

/// One live key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyFacts {
    /// The key: printable, the rest escaped, cut at 256 bytes.
    pub key: String,
    /// Bytes of its value.
    pub value_bytes: u64,
    /// Changes since it was created; 1 at creation.
    pub version: i64,
    /// The revision that created it.
    pub create_revision: i64,
    /// The revision of its last change.
    pub mod_revision: i64,
    /// The lease it belongs to, in hex as etcdctl writes it; none if it belongs to none.
    pub lease: Option<String>,
}

/// Where the bytes of the database are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Space {
    /// All of it.
    pub image_bytes: u64,
    /// Free pages: what a defragmentation frees at least.
    pub free_bytes: u64,
    /// Records of live keys.
    pub live_bytes: u64,
    /// Records of what was changed or deleted since: what a compaction at the newest revision makes free.
    pub history_bytes: u64,
    /// How many such records.
    pub history_records: u64,
}

/// The leases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Leases {
    /// How many.
    pub count: u64,
    /// Live keys that belong to one.
    pub keys: u64,
    /// By the time they were granted, the most frequent first.
    pub granted: Vec<Granted>,
    /// Leases of other times.
    pub others: u64,
}

/// Leases of one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// Seconds.
    pub ttl_seconds: i64,
    /// How many.
    pub leases: u64,
}

/// Looks at every live key, and keeps the `top` of each list.
///
/// # Errors
/// The first place that cannot be read: damage, which the integrity check has told of in full.
pub fn details(file: &SnapshotFile, facts: &Facts, top: usize) -> Result<Details, ReadError> {
    let live = file.live()?;
    let (mut prefixes, mut kinds) = (Grouping::default(), Grouping::default());
    let (mut largest, mut rewritten) = (Top::new(top), Top::new(top));
    let (mut live_bytes, mut leased) = (0, 0);
    for position in 0..live.len() {
        let it = live.entry(position);
        let holding = Holding { keys: 1, key_bytes: it.key.len() as u64, value_bytes: it.value.len() as u64 };
        prefixes.add(prefix_of(it.key), holding);
        if facts.kubernetes {
            add_kind(&mut kinds, it.key, holding);
        }
        largest.offer(holding.value_bytes, position);
        rewritten.offer(it.version.max(0).cast_unsigned(), position);
        live_bytes += record_bytes(&it);
        leased += u64::from(it.lease != 0);
    }
    let key_bucket = facts.buckets.iter().find(|bucket| bucket.name == "key");
    let all_bytes = key_bucket.map_or(0, |bucket| bucket.key_bytes + bucket.value_bytes);
    Ok(Details {
        prefixes: prefixes.into_groups(top),
        kinds: kinds.into_groups(top),
        largest: largest.into_facts(&live),
        most_rewritten: rewritten.into_facts(&live),
        space: Space {
            image_bytes: facts.image_bytes,
            free_bytes: facts.image_bytes.saturating_sub(facts.in_use_bytes),
            live_bytes,
            history_bytes: all_bytes.saturating_sub(live_bytes),
            history_records: facts.records.saturating_sub(live.len() as u64),
        },
        leases: leases(file, leased, top)?,
    })
}

/// The longest beginning of a key that ends in `/` and has at most two segments: `/registry/pods/` of
/// `/registry/pods/default/a`, and nothing of a key without slashes.
fn prefix_of(key: &[u8]) -> &[u8] {
    let mut end = 0;
    let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(place, _)| place);
    // The slash that a path begins with ends no segment.
    let segments = PREFIX_SEGMENTS + usize::from(key.first() == Some(&b'/'));
    for place in slashes.take(segments) {
        end = place + 1;
    }
    &key[..end.min(SHOWN_BYTES)]
}

fn add_kind(kinds: &mut Grouping, key: &[u8], holding: Holding) {
    let Some(object) = ObjectKey::parse(DEFAULT_PREFIX, key).filter(ObjectKey::is_api_object) else {
        if key.starts_with(DEFAULT_PREFIX.as_bytes()) {
            kinds.add(NO_OBJECT.as_bytes(), holding);
        }
        return;
    };
    let name = object.resource_name();
    // Names are put together once for each kind, not for each key: neighbours are of one.
    let same = |last: &[u8]| {
        let rest = last.strip_prefix(name.resource.as_bytes());
        rest.is_some_and(|rest| match rest.strip_prefix(b".") {
            Some(group) => group == name.group.as_bytes(),
            None => rest.is_empty() && name.group.is_empty(),
        })
    };
    if kinds.last.as_ref().is_some_and(|(last, _)| same(last)) {
        kinds.add_to_last(holding);
    } else {
        kinds.add(name.to_string().as_bytes(), holding);
    }
}

/// Groups by name, of which there are no more than are worth telling apart.
#[derive(Default)]
struct Grouping {
    groups: HashMap<Vec<u8>, Holding>,
    /// The group added to last: neighbours in key order are mostly of one.
    last: Option<(Vec<u8>, Holding)>,
    /// What came when there were too many.
    beyond: Holding,
}

impl Grouping {
    fn add(&mut self, name: &[u8], holding: Holding) {
        if self.last.as_ref().is_none_or(|(last, _)| last != name) {
            self.settle();
            self.last = Some((name.to_vec(), Holding::default()));
        }
        self.add_to_last(holding);
    }

    fn add_to_last(&mut self, holding: Holding) {
        if let Some((_, last)) = &mut self.last {
            last.add(holding);
        }
    }

    fn settle(&mut self) {
        let Some((name, holding)) = self.last.take() else { return };
        if self.groups.len() < MAX_GROUPS || self.groups.contains_key(&name) {
            self.groups.entry(name).or_default().add(holding);
        } else {
            self.beyond.add(holding);
        }
    }

    fn into_groups(mut self, top: usize) -> Groups {
        self.settle();
        let mut groups: Vec<(Vec<u8>, Holding)> = self.groups.into_iter().collect();
        groups.sort_unstable_by(|(a, x), (b, y)| y.bytes().cmp(&x.bytes()).then_with(|| a.cmp(b)));
        let hidden = groups.split_off(top.min(groups.len()));
        let mut rest = self.beyond;
        for (_, holding) in &hidden {
            rest.add(*holding);
        }
        let shown = |(name, holding): (Vec<u8>, Holding)| Group { name: printable(&name), holding };
        let others = hidden.len() as u64 + u64::from(self.beyond.keys > 0);
        Groups { largest: groups.into_iter().map(shown).collect(), others, rest }
    }
}

/// The positions of the keys with the greatest weights.
struct Top {
    limit: usize,
    heaviest: BinaryHeap<Reverse<(u64, Reverse<usize>)>>,
}

impl Top {
    fn new(limit: usize) -> Self {
        Self { limit, heaviest: BinaryHeap::new() }
    }

    fn offer(&mut self, weight: u64, position: usize) {
        if self.heaviest.len() < self.limit {
            self.heaviest.push(Reverse((weight, Reverse(position))));
        } else if let Some(mut lightest) = self.heaviest.peek_mut()
            && lightest.0.0 < weight
        {
            *lightest = Reverse((weight, Reverse(position)));
        }
    }

    /// The heaviest first; of equal ones the first in key order.
    fn into_facts(self, live: &LiveKeys<'_>) -> Vec<KeyFacts> {
        let sorted = self.heaviest.into_sorted_vec();
        sorted.into_iter().map(|Reverse((_, Reverse(position)))| key_facts(&live.entry(position))).collect()
    }
}

fn key_facts(it: &KeyValue<'_>) -> KeyFacts {
    KeyFacts {
        key: printable(it.key),
        value_bytes: it.value.len() as u64,
        version: it.version,
        create_revision: it.create_revision,
        mod_revision: it.mod_revision,
        lease: (it.lease != 0).then(|| format!("{:x}", it.lease)),
    }
}

fn leases(file: &SnapshotFile, keys: u64, top: usize) -> Result<Leases, ReadError> {
    let mut by_ttl: BTreeMap<i64, u64> = BTreeMap::new();
    let (mut count, mut beyond) = (0, 0);
    for lease in file.snapshot().leases()? {
        let ttl = lease?.ttl;
        count += 1;
        if by_ttl.len() < MAX_TTLS || by_ttl.contains_key(&ttl) {
            *by_ttl.entry(ttl).or_default() += 1;
        } else {
            beyond += 1;
        }
    }
    let mut granted: Vec<Granted> =
        by_ttl.into_iter().map(|(ttl_seconds, leases)| Granted { ttl_seconds, leases }).collect();
    granted.sort_by_key(|granted| Reverse(granted.leases));
    let hidden = granted.split_off(top.min(granted.len()));
    let others = beyond + hidden.iter().map(|granted| granted.leases).sum::<u64>();
    Ok(Leases { count, keys, granted, others })
}

/// Bytes of a live key's record in the database, its revision included: what etcd's protobuf library wrote.
fn record_bytes(it: &KeyValue<'_>) -> u64 {
    let bytes = |field: &[u8]| match field.len() as u64 {
        0 => 0,
        length => 1 + varint_bytes(length) + length,
    };
    let number = |number: i64| if number == 0 { 0 } else { 1 + varint_bytes(number.cast_unsigned()) };
    let numbers = [it.create_revision, it.mod_revision, it.version, it.lease];
    REVISION_BYTES + bytes(it.key) + bytes(it.value) + numbers.map(number).iter().sum::<u64>()
}

/// Seven bits a byte.
fn varint_bytes(number: u64) -> u64 {
    u64::from(number.max(1).ilog2()) / 7 + 1
}

fn printable(bytes: &[u8]) -> String {
    let shown = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let mut text = shown.escape_ascii().to_string();
    if bytes.len() > SHOWN_BYTES {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use etcd_snapshot::{CheckOptions, inspect};

    use super::*;

    fn sample() -> (SnapshotFile, Facts) {
        let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/kubernetes-t2.db.zst");
        let bytes = zstd::decode_all(std::fs::File::open(packed).unwrap()).unwrap();
        let file = SnapshotFile::from_bytes(bytes).unwrap();
        let facts = inspect(&file, &CheckOptions::default()).facts;
        (file, facts)
    }

    #[test]
    fn what_is_counted_is_all_there_is() {
        let (file, facts) = sample();
        let all = details(&file, &facts, usize::MAX).unwrap();
        let live = file.live().unwrap();
        let bytes: u64 = live.iter().map(|it| (it.key.len() + it.value.len()) as u64).sum();
        for groups in [&all.prefixes, &all.kinds] {
            let sum = groups.largest.iter().fold(Holding::default(), |mut sum, group| {
                sum.add(group.holding);
                sum
            });
            assert_eq!((sum.keys, sum.bytes(), groups.others), (facts.live_keys, bytes, 0));
            assert!(groups.largest.is_sorted_by(|a, b| a.holding.bytes() >= b.holding.bytes()));
        }
        let secrets = live.prefix(b"/registry/secrets/").len() as u64;
        let named = |groups: &Groups, name: &str| {
            groups.largest.iter().find(|group| group.name == name).unwrap().holding.keys
        };
        assert_eq!(named(&all.prefixes, "/registry/secrets/"), secrets);
        assert_eq!(named(&all.kinds, "secrets"), secrets);
        assert_eq!(all.leases.count, facts.leases);
        assert_eq!(all.leases.granted.iter().map(|granted| granted.leases).sum::<u64>(), facts.leases);
        assert_eq!(all.space.history_records, facts.records - facts.live_keys);
    }

    #[test]
    fn the_top_is_that_of_the_whole() {
        let (file, facts) = sample();
        let (all, few) = (details(&file, &facts, usize::MAX).unwrap(), details(&file, &facts, 3).unwrap());
        assert_eq!(few.largest, all.largest[..3]);
        assert_eq!(few.most_rewritten, all.most_rewritten[..3]);
        assert_eq!(few.prefixes.largest, all.prefixes.largest[..3]);
        assert_eq!(few.prefixes.others, all.prefixes.largest.len() as u64 - 3);
        let shown: u64 = few.prefixes.largest.iter().map(|group| group.holding.keys).sum();
        assert_eq!(shown + few.prefixes.rest.keys, facts.live_keys);
        assert!(all.largest.is_sorted_by(|a, b| a.value_bytes >= b.value_bytes));
        assert_eq!(details(&file, &facts, 0).unwrap().largest, []);
    }

    #[test]
    fn live_records_take_the_bytes_that_they_take() {
        let (file, facts) = sample();
        let snapshot = file.snapshot();
        let live = file.live().unwrap();
        let mut expected = 0;
        for item in snapshot.records().unwrap().items() {
            let item = item.unwrap();
            let record = etcd_snapshot::Record::decode(&item).unwrap();
            let is_live = |it: &KeyValue<'_>| it.mod_revision == record.key_value.mod_revision;
            if !record.tombstone && live.get(record.key_value.key).as_ref().is_some_and(is_live) {
                expected += (item.key.len() + item.value.len()) as u64;
            }
        }
        assert_eq!(details(&file, &facts, 0).unwrap().space.live_bytes, expected);
    }

    #[test]
    fn prefixes_are_two_segments() {
        let cases = [
            ("/registry/pods/default/a", "/registry/pods/"),
            ("/registry/health", "/registry/"),
            ("/a", "/"),
            ("a/b/c/d", "a/b/"),
            ("a/b", "a/"),
            ("plain", ""),
            ("", ""),
        ];
        for (key, prefix) in cases {
            assert_eq!(prefix_of(key.as_bytes()), prefix.as_bytes(), "{key}");
        }
    }
}
