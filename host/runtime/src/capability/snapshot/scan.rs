//! The way through the rows of a query, and the batches that are filled on it.

use std::ops::Range;
use std::sync::Arc;

use etcd_snapshot::{LiveKeys, ReadAhead};

use super::query::{Columns, Query};
use crate::bindings::holdfast::snapshot::reader::{Batch, Totals};

/// Rows in one batch, whatever was asked for.
const BATCH_ROWS: usize = 16 << 10;
/// Bytes of keys and values in one batch, but for a single larger row.
const BATCH_BYTES: usize = 1 << 20;
/// Rows looked at before others get their turn.
const ROWS_AT_ONCE: usize = 1024;

/// The rows still to look at.
#[derive(Clone)]
pub(super) struct Scan {
    query: Arc<Query>,
    positions: Range<usize>,
    rows_left: u64,
    ahead: ReadAhead,
}

impl Scan {
    pub(super) fn new(query: Query, live: &LiveKeys<'_>) -> Scan {
        Scan {
            positions: query.positions(live),
            rows_left: query.limit,
            query: Arc::new(query),
            ahead: ReadAhead::default(),
        }
    }

    /// The next row that passes, among at most `budget` rows looked at.
    fn next(&mut self, live: &LiveKeys<'_>, budget: &mut usize) -> Step {
        while self.rows_left > 0 {
            if *budget == 0 {
                return Step::Pause;
            }
            let position =
                if self.query.descending { self.positions.next_back() } else { self.positions.next() };
            let Some(position) = position else { break };
            *budget -= 1;
            self.ahead.reach(live, position, self.query.touches());
            if self.query.takes(live, position) {
                self.rows_left -= 1;
                return Step::Row(position);
            }
        }
        Step::End
    }

    /// Adds rows to a batch until it is full or there are none left. False: it has looked at many and is not done yet.
    pub(super) fn fill(&mut self, live: &LiveKeys<'_>, filling: &mut Filling) -> bool {
        let columns = self.query.columns;
        let mut budget = ROWS_AT_ONCE;
        while !filling.is_full() {
            match self.next(live, &mut budget) {
                Step::Row(position) if filling.push(live, position, columns) => {}
                Step::Row(position) => {
                    self.put_back(position);
                    return true;
                }
                Step::Pause => return false,
                Step::End => {
                    filling.is_last = true;
                    return true;
                }
            }
        }
        true
    }

    /// Sums up rows until there are none left. False: it has looked at many and is not done yet.
    pub(super) fn sum(&mut self, live: &LiveKeys<'_>, totals: &mut Totals) -> bool {
        let mut budget = ROWS_AT_ONCE;
        loop {
            match self.next(live, &mut budget) {
                Step::Row(position) => {
                    totals.keys += 1;
                    totals.key_bytes += live.key(position).len() as u64;
                    totals.value_bytes += live.metadata(position).value_len as u64;
                }
                Step::Pause => return false,
                Step::End => return true,
            }
        }
    }

    /// Makes `position`, the last row that [`Self::next`] gave, the next one again.
    fn put_back(&mut self, position: usize) {
        self.rows_left += 1;
        if self.query.descending {
            self.positions.end = position + 1;
        } else {
            self.positions.start = position;
        }
    }
}

enum Step {
    Row(usize),
    Pause,
    End,
}

/// How large a batch may become.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    rows: usize,
    bytes: usize,
}

impl Size {
    /// What was asked for, within our own bounds.
    pub(super) fn asked(max_rows: u32, max_bytes: u32) -> Size {
        // An empty batch means the end, so at least one row is always asked for.
        let rows = (max_rows as usize).clamp(1, BATCH_ROWS);
        Size { rows, bytes: (max_bytes as usize).min(BATCH_BYTES) }
    }
}

/// A batch in the making.
pub(super) struct Filling {
    pub(super) batch: Batch,
    pub(super) rows: usize,
    /// Whether no rows are left behind it.
    pub(super) is_last: bool,
    size: Size,
}

impl Filling {
    pub(super) fn new(size: Size) -> Filling {
        let batch = Batch {
            keys: Vec::new(),
            key_ends: Vec::new(),
            values: Vec::new(),
            value_ends: Vec::new(),
            create_revisions: Vec::new(),
            mod_revisions: Vec::new(),
            versions: Vec::new(),
            leases: Vec::new(),
        };
        Filling { batch, rows: 0, is_last: false, size }
    }

    pub(super) fn bytes(&self) -> usize {
        self.batch.keys.len() + self.batch.values.len()
    }

    /// False: the row would make the batch too large, and was left out.
    fn push(&mut self, live: &LiveKeys<'_>, position: usize, columns: Columns) -> bool {
        let entry = (columns.values || columns.revisions).then(|| live.entry(position));
        let key = match &entry {
            _ if !columns.keys => &[],
            Some(entry) => entry.key,
            None => live.key(position),
        };
        // The slice is only a place: a value's bytes are not read before they are copied.
        let value = entry.filter(|_| columns.values).map_or(&[][..], |entry| entry.value);
        if self.rows > 0 && self.bytes() + key.len() + value.len() > self.size.bytes {
            return false;
        }
        if self.rows == 0 {
            self.reserve(columns);
        }
        if columns.keys {
            self.batch.keys.extend_from_slice(key);
            self.batch.key_ends.push(self.batch.keys.len() as u32);
        }
        if columns.values {
            self.batch.values.extend_from_slice(value);
            self.batch.value_ends.push(self.batch.values.len() as u32);
        }
        if let Some(entry) = entry.filter(|_| columns.revisions) {
            self.batch.create_revisions.push(entry.create_revision);
            self.batch.mod_revisions.push(entry.mod_revision);
            self.batch.versions.push(entry.version);
            self.batch.leases.push(entry.lease);
        }
        self.rows += 1;
        true
    }

    /// Room for an ordinary batch, so that its columns do not move while they grow.
    fn reserve(&mut self, columns: Columns) {
        let rows = self.size.rows.min(256);
        if columns.keys {
            self.batch.keys.reserve((rows * 64).min(self.size.bytes));
            self.batch.key_ends.reserve(rows);
        }
        if columns.values {
            self.batch.values.reserve((rows * 512).min(self.size.bytes));
            self.batch.value_ends.reserve(rows);
        }
        if columns.revisions {
            for column in [
                &mut self.batch.create_revisions,
                &mut self.batch.mod_revisions,
                &mut self.batch.versions,
                &mut self.batch.leases,
            ] {
                column.reserve(rows);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.rows >= self.size.rows || (self.rows > 0 && self.bytes() >= self.size.bytes)
    }
}
