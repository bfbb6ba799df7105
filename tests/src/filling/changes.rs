//! Which object is written, rewritten or deleted next.

use std::collections::HashSet;

use super::content::{Kind, content};

/// Events that share a lease: the API server attaches a minute's worth to one.
const EVENTS_PER_LEASE: u64 = 1000;

/// One change of one key.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A new object, or a new version of one.
    Put {
        key: String,
        value: Vec<u8>,
        /// A lease, by a number of our own.
        lease: Option<u64>,
    },
    /// An object goes.
    Delete { key: String },
}

impl Change {
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Change::Put { key, value, .. } => key.len() + value.len(),
            Change::Delete { key } => key.len(),
        }
    }
}

/// xorshift: the same content in every run.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random.next();
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Less than `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}

#[derive(Clone, Copy, Debug)]
struct Live {
    kind: Kind,
    version: u32,
    number: u64,
}

/// An endless stream of changes.
pub(super) struct Changes {
    random: Random,
    live: Vec<Live>,
    next: u64,
    made: u64,
}

impl Changes {
    pub(super) fn new() -> Changes {
        Changes { random: Random::new(0x686f_6c64), live: Vec::new(), next: 0, made: 0 }
    }

    /// Changes handed out.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// The changes of one transaction: mostly few, as controllers write, sometimes many. No key twice: etcd refuses that.
    pub(super) fn batch(&mut self, most: usize, most_bytes: usize) -> Vec<Change> {
        let most = if self.random.below(10) == 0 { most } else { 1 + self.random.below(4) as usize };
        let mut changes: Vec<Change> = Vec::new();
        let mut touched = HashSet::new();
        let mut bytes = 0;
        while changes.len() < most && bytes < most_bytes {
            if let Some(change) = self.change(&mut touched) {
                bytes += change.size_bytes();
                changes.push(change);
            }
        }
        self.made += changes.len() as u64;
        changes
    }

    fn change(&mut self, touched: &mut HashSet<u64>) -> Option<Change> {
        let dice = self.random.below(100);
        if dice < 68 || self.live.len() < 50 {
            let live = Live { kind: Kind::of(self.random.below(100)), version: 1, number: self.next };
            self.next += 1;
            touched.insert(live.number);
            self.live.push(live);
            return Some(put(live));
        }
        let index = self.pick(dice < 76);
        let live = self.live[index];
        if !touched.insert(live.number) {
            return None;
        }
        if dice >= 94 && live.kind.goes() {
            self.live.swap_remove(index);
            return Some(Change::Delete { key: live.kind.key(live.number) });
        }
        self.live[index].version += 1;
        Some(put(self.live[index]))
    }

    /// A few hundred objects, such as the nodes' leases, are written all the time; else what is young changes most.
    fn pick(&mut self, hot: bool) -> usize {
        let count = self.live.len() as u64;
        let index = if hot {
            self.random.below(count.min(400))
        } else {
            count - 1 - self.random.below(count).min(self.random.below(count))
        };
        index as usize
    }
}

fn put(live: Live) -> Change {
    Change::Put {
        key: live.kind.key(live.number),
        value: content(live.kind, live.number, live.version),
        lease: (live.kind == Kind::Event).then_some(live.number / EVENTS_PER_LEASE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_such_as_etcd_takes() {
        let mut changes = Changes::new();
        let mut deletes = 0;
        for _ in 0..500 {
            let batch = changes.batch(120, 256 << 10);
            assert!(!batch.is_empty() && batch.len() <= 120);
            let keys: HashSet<&String> = batch
                .iter()
                .map(|change| match change {
                    Change::Put { key, .. } | Change::Delete { key } => key,
                })
                .collect();
            assert_eq!(keys.len(), batch.len(), "a key comes twice");
            deletes += batch.iter().filter(|change| matches!(change, Change::Delete { .. })).count();
        }
        assert!(deletes > 0);
    }

    #[test]
    fn the_same_changes_come_every_time() {
        let stream = || {
            let mut changes = Changes::new();
            (0..200)
                .flat_map(|_| changes.batch(120, 256 << 10))
                .map(|it| format!("{it:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(stream(), stream());
    }
}
