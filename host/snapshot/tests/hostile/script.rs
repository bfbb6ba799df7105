//! Bytes as a script: of a key-value history with faults in it, or of a log. The pages or frames around it hold.
//!
//! The first byte of a history chooses page size and layout; then each step is one byte that says what comes, and its
//! operands. Histories are right unless a step forges a number, so that the checks deep in them are reached.

use std::collections::BTreeMap;

use super::build::{self, BUCKETS, BucketOf, key_value, number_field, record_key, varint};

/// Steps read at most, so that time goes by the bytes.
const MAX_STEPS: usize = 400;

struct Operands<'a>(&'a [u8]);

impl<'a> Operands<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<i64> {
        let (taken, rest) = self.0.split_at_checked(8)?;
        self.0 = rest;
        Some(i64::from_be_bytes(taken.try_into().ok()?))
    }
}

/// A key's present life: when it began, and its version.
#[derive(Default)]
struct Store {
    main: i64,
    sub: i64,
    lives: BTreeMap<Vec<u8>, (i64, i64)>,
    buckets: BTreeMap<Vec<u8>, BucketOf>,
}

impl Store {
    fn bucket(&mut self, name: &[u8]) -> &mut BucketOf {
        let bucket = self.buckets.entry(name.to_vec()).or_default();
        bucket.name = name.to_vec();
        bucket
    }

    fn put_item(&mut self, bucket: &str, key: Vec<u8>, value: Vec<u8>) {
        self.bucket(bucket.as_bytes()).items.push((key, value));
    }

    fn advance(&mut self, step: u8) {
        if step & 0x10 != 0 {
            self.sub += 1;
        } else {
            (self.main, self.sub) = (self.main.saturating_add(1), 0);
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8], lease: i64, forge: Option<(u8, i64)>) {
        let life = self.lives.entry(key.to_vec()).or_insert((self.main, 0));
        life.1 += 1;
        let mut numbers = [life.0, self.main, life.1];
        if let Some((which, number)) = forge {
            numbers[usize::from(which % 3)] = number;
        }
        let record = key_value(key, numbers, value, lease);
        self.put_item("key", record_key(self.main, self.sub, false), record);
    }

    fn delete(&mut self, key: &[u8]) {
        self.lives.remove(key);
        let record = key_value(key, [0; 3], b"", 0);
        self.put_item("key", record_key(self.main, self.sub, true), record);
    }
}

/// The snapshot file that a script makes.
pub(crate) fn file(script: &[u8]) -> Vec<u8> {
    let mut operands = Operands(script);
    let layout = operands.byte().unwrap_or_default();
    let mut store = Store { main: 1, ..Store::default() };
    store.put_item("meta", b"consistent_index".to_vec(), 7u64.to_be_bytes().to_vec());
    store.put_item("meta", b"term".to_vec(), 2u64.to_be_bytes().to_vec());
    for _ in 0..MAX_STEPS {
        if step(&mut store, &mut operands).is_none() {
            break;
        }
    }
    let buckets = store.buckets.into_values().collect();
    build::snapshot(1 << (10 + (layout & 3)), layout & 4 == 0, buckets)
}

fn step(store: &mut Store, operands: &mut Operands<'_>) -> Option<()> {
    let step = operands.byte()?;
    match step & 0x0f {
        // Puts of a few short keys, so that each has a history.
        0..=5 => {
            store.advance(step);
            let key = format!("k{}", operands.byte()? & 0x0f);
            let value = vec![b'v'; usize::from(step & 0x07) * usize::from(step >> 5) * 20];
            store.put(key.as_bytes(), &value, 0, None);
        }
        6 => {
            store.advance(step);
            let key = operands.bytes()?.to_vec();
            store.put(&key, operands.bytes()?, i64::from(operands.byte()?), None);
        }
        7 => {
            store.advance(step);
            let key = format!("k{}", operands.byte()? & 0x0f);
            store.delete(key.as_bytes());
        }
        8 => {
            store.advance(step);
            let forge = Some((operands.byte()?, operands.number()?));
            store.put(b"k1", b"", 0, forge);
        }
        // The revisions leap, or a compaction lies between.
        9 => store.main = operands.number()?,
        10 => {
            let at = if step & 0x10 == 0 {
                store.main - i64::from(operands.byte()?)
            } else {
                operands.number()?
            };
            let key = record_key(at, 0, false);
            if step & 0x20 == 0 {
                store.put_item("meta", b"finishedCompactRev".to_vec(), key.clone());
            }
            if step & 0x40 == 0 {
                store.put_item("meta", b"scheduledCompactRev".to_vec(), key);
            }
        }
        11 => {
            let lease = i64::from(operands.byte()?);
            let mut value = Vec::new();
            number_field(&mut value, 0x08, lease);
            number_field(&mut value, 0x10, 60);
            store.put_item("lease", lease.to_be_bytes().to_vec(), value);
        }
        // Raw items: into a bucket of etcd's, into any, or as a record.
        12 | 13 => {
            let bucket = BUCKETS[usize::from(operands.byte()?) % BUCKETS.len()];
            let (key, value) = (operands.bytes()?.to_vec(), operands.bytes()?.to_vec());
            store.put_item(bucket, key, value);
        }
        14 => {
            let (name, key) = (operands.bytes()?, operands.bytes()?.to_vec());
            let value = operands.bytes()?.to_vec();
            if step & 0x20 == 0 {
                store.bucket(name).items.push((key, value));
            } else {
                store.bucket(name).within.push(inner(key, value, step >> 6));
            }
        }
        _ => {
            store.advance(step);
            let key = record_key(store.main, store.sub, step & 0x20 != 0);
            store.put_item("key", key, operands.bytes()?.to_vec());
        }
    }
    Some(())
}

/// A bucket with an item, that many levels below the one that it is given back in.
fn inner(name: Vec<u8>, key: Vec<u8>, levels: u8) -> BucketOf {
    let deepest = BucketOf::new(name, vec![(key, b"v".to_vec())]);
    (0..levels).fold(deepest, |within, level| BucketOf {
        within: vec![within],
        ..BucketOf::new([b'l', level], Vec::new())
    })
}

/// A log segment whose frames and checksums hold: each record is a byte for its kind, one for its length, and its data.
pub(crate) fn segment(script: &[u8]) -> Vec<u8> {
    let mut operands = Operands(script);
    let (mut out, mut crc) = (Vec::new(), 0);
    frame(&mut out, 4, 0, &[]);
    while let Some((kind, data)) = operands.byte().zip(operands.bytes()) {
        if kind != 4 {
            crc = crc32c::crc32c_append(crc, data);
        }
        frame(&mut out, kind, crc, if kind == 4 { &[] } else { data });
    }
    out.extend_from_slice(&[0; 24]);
    out
}

fn frame(out: &mut Vec<u8>, kind: u8, crc: u32, data: &[u8]) {
    let mut record = vec![0x08];
    varint(&mut record, u64::from(kind));
    record.push(0x10);
    varint(&mut record, u64::from(crc));
    if !data.is_empty() {
        record.push(0x1a);
        varint(&mut record, data.len() as u64);
        record.extend_from_slice(data);
    }
    let pad = record.len().wrapping_neg() % 8;
    let flag = if pad == 0 { 0 } else { (0x80 | pad as u64) << 56 };
    out.extend_from_slice(&(record.len() as u64 | flag).to_le_bytes());
    out.extend_from_slice(&record);
    out.resize(out.len() + pad, 0);
}

/// Scripts that use every step: short ones, and some whose keys take trees of pages.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut all = vec![
        b"\x00\x00\x01\x00\x02\x10\x03\x07\x01\x00\x01\x00\x02".to_vec(),
        b"\x04\x0b\x07\x06\x03foo\x03bar\x07\x06\x03foo\x00\x00\x00\x01\x07\x01\x0a\x01\x00\x01".to_vec(),
        raw(&[
            (
                "members",
                b"8e9e05c52164694d",
                br#"{"id":10276657743932975437,"peerURLs":["http://a:2380"],"name":"a"}"#,
            ),
            ("meta", b"confState", br#"{"voters":[10276657743932975437],"auto_leave":false}"#),
            ("meta", b"storageVersion", b"3.6.0"),
            ("cluster", b"clusterVersion", b"3.6.0"),
            ("cluster", b"downgrade", br#"{"target-version":"3.5.0","enabled":true}"#),
            ("members_removed", b"91bc3c398fb3c146", b"removed"),
        ]),
        raw(&[
            ("auth", b"authEnabled", b"\x01"),
            ("auth", b"authRevision", b"\0\0\0\0\0\0\0\x05"),
            ("authUsers", b"root", b"\x0a\x04root\x12\x02pw\x1a\x04root"),
            ("authUsers", b"eve", b"\x0a\x03eve\x1a\x04none\x22\x02\x08\x01"),
            ("authRoles", b"root", b"\x0a\x04root\x12\x06\x08\x02\x12\x00\x1a\x00"),
            ("alarm", b"\x08\x01\x10\x01", b""),
        ]),
        b"\x00\x0e\x04test\x01k\x01v\x0f\x00\x08\x02\x00\x00\x00\x00\x00\x00\x00\x09\x2f\x03\x0a\x01x"
            .to_vec(),
        b"\x00\x00\x01\x00\x02\x09\x00\x00\x00\x00\x3b\x9a\xca\x00\x0f\x00\x5a\x00\x00\x01".to_vec(),
    ];
    // Buckets within others, beside items, in pages of their own and inline.
    for layout in [0, 4] {
        let mut nested = vec![layout, 0, 1];
        for number in 0..40u8 {
            nested.extend_from_slice(&[0x0e, 1, b'x', 2, b'k', number, 1, b'v']);
        }
        nested.extend_from_slice(b"\x2e\x01x\x01a\x01b\xae\x01x\x01c\x01d\x2e\x03key\x01a\x01b");
        all.push(nested.clone());
        nested.truncate(nested.len() - 9);
        all.push(nested);
    }
    // Histories long enough for branches, the second with a compaction in the middle and pages for every bucket.
    for layout in [0, 4, 5] {
        let mut long = vec![layout];
        for number in 0..120u8 {
            long.extend_from_slice(&[[0, 0x21, 0x10, 0x07][usize::from(number % 4)], number]);
        }
        if layout != 0 {
            long.extend_from_slice(&[0x0a, 40]);
        }
        all.push(long);
    }
    let mut large = vec![0];
    for number in 0..12u8 {
        large.extend_from_slice(&[0xe5, number]);
    }
    all.push(large);
    all
}

fn raw(items: &[(&str, &[u8], &[u8])]) -> Vec<u8> {
    let mut script = vec![0, 0, 1];
    for (bucket, key, value) in items {
        let number = BUCKETS.iter().position(|name| name == bucket).unwrap_or(0);
        script.extend_from_slice(&[12, number as u8, key.len() as u8]);
        script.extend_from_slice(key);
        script.push(value.len() as u8);
        script.extend_from_slice(value);
    }
    script
}
