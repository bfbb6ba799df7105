//! Which rows a guest asked for.

use std::ops::Range;

use etcd_snapshot::{LiveKeys, Touch};
use memchr::memmem::Finder;

/// Which rows, in which order, with which columns.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Query {
    pub(super) prefix: Option<Vec<u8>>,
    pub(super) range: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) key_contains: Option<Finder<'static>>,
    pub(super) value_prefix: Option<Vec<u8>>,
    pub(super) changed_after: Option<i64>,
    pub(super) descending: bool,
    pub(super) limit: u64,
    pub(super) columns: Columns,
}

#[derive(Clone, Copy)]
pub(super) struct Columns {
    pub(super) keys: bool,
    pub(super) values: bool,
    pub(super) revisions: bool,
}

impl Default for Query {
    fn default() -> Self {
        Query {
            prefix: None,
            range: None,
            key_contains: None,
            value_prefix: None,
            changed_after: None,
            descending: false,
            limit: u64::MAX,
            columns: Columns { keys: true, values: true, revisions: true },
        }
    }
}

impl Query {
    /// The positions that prefix and range leave.
    pub(super) fn positions(&self, live: &LiveKeys<'_>) -> Range<usize> {
        let mut positions = 0..live.len();
        let mut narrow = |by: Range<usize>| {
            positions.start = positions.start.max(by.start);
            positions.end = positions.end.min(by.end).max(positions.start);
        };
        if let Some(prefix) = &self.prefix {
            narrow(live.prefix(prefix));
        }
        if let Some((start, end)) = &self.range {
            narrow(live.range(start, end));
        }
        positions
    }

    /// How much of each record is looked at.
    pub(super) fn touches(&self) -> Touch {
        // Most rows are passed over for their key.
        if self.key_contains.is_some() {
            return Touch::Key;
        }
        let whole = self.columns.values || self.columns.revisions;
        if whole || self.changed_after.is_some() || self.value_prefix.is_some() {
            Touch::Whole
        } else {
            Touch::Key
        }
    }

    /// Whether the row passes the filters, cheapest first.
    pub(super) fn takes(&self, live: &LiveKeys<'_>, position: usize) -> bool {
        self.key_contains.as_ref().is_none_or(|needle| needle.find(live.key(position)).is_some())
            && self.changed_after.is_none_or(|revision| live.metadata(position).mod_revision > revision)
            && self.value_prefix.as_ref().is_none_or(|prefix| live.entry(position).value.starts_with(prefix))
    }
}
