//! The records: each for itself, each after the one before it, and each key's history.
//!
//! What must hold of a sound snapshot, with F the furthest compact revision, begun or ended (at least 1):
//!
//! - a key is a revision, a value a key-value message (I1);
//! - above F every main revision occurs (I2), and within it every sub revision from 0 (I3);
//! - a put's own numbers fit its place and each other (I4);
//! - above F each put follows the record before it of the same key, or begins a life (I5, I6), and a deletion ends one (I7);
//! - a live key's lease exists (I8);
//! - a compaction that ended has left of each key one record at or below it, and no deletion below it.
//!
//! The record that a restore with a raised revision leaves has no key and no numbers; it is exempt.

use super::collector::{Collector, fault};
use super::ledger::{Ledger, Notes};
use super::structure::{BucketScan, Items, Structure};
use crate::bolt::{Bucket, LeafItem};
use crate::codes::{self, Code};
use crate::error::ReadError;
use crate::finding::{Finding, Severity};
use crate::hash;
use crate::history::{Bits, Place, Records, Visitor, Walked, Window, walk_history};
use crate::proto::KeyValueMessage;
use crate::record::{KEY_BUCKET, NOT_A_KEY_VALUE, NOT_A_REVISION, Record};
use crate::revision::Revision;
use crate::schema::{self, Version};
use crate::snapshot::Snapshot;

pub(super) const KUBERNETES_PREFIX: &[u8] = b"/registry/";

/// What the records are held against.
pub(super) struct Context<'a, 'c> {
    findings: &'c Collector,
    compactions: schema::Compactions,
    /// F: history above it is whole. The greatest number if the compact revisions cannot be read: then none is.
    whole_above: i64,
    leases: Option<Bucket<'a>>,
    storage_version: Option<Version>,
    ledger: Ledger,
}

impl<'a, 'c> Context<'a, 'c> {
    pub(super) fn read(snapshot: Snapshot<'a>, findings: &'c Collector) -> Self {
        let database = snapshot.db();
        let compactions = snapshot.compactions();
        let whole_above = compactions.as_ref().map_or(i64::MAX, |compactions| compactions.furthest().max(1));
        let storage_version = database
            .bucket(schema::META.as_bytes())
            .ok()
            .flatten()
            .and_then(|meta| meta.get(b"storageVersion").ok().flatten())
            .and_then(|item| Version::parse(item.value));
        Self {
            findings,
            compactions: compactions.unwrap_or(schema::Compactions { finished: -1, scheduled: -1 }),
            whole_above,
            leases: database.bucket(schema::LEASE.as_bytes()).ok().flatten(),
            storage_version,
            ledger: Ledger::new(),
        }
    }

    /// How much a field weighs that is not known here.
    fn unknown_fields(&self) -> Severity {
        match self.storage_version {
            Some(version) if version.minor() > super::buckets::NEWEST_KNOWN => Severity::Warning,
            Some(_) | None => Severity::Error,
        }
    }

    /// Whether the lease exists; one that cannot be looked up is told of elsewhere.
    fn has_lease(&self, lease: i64) -> bool {
        self.leases
            .is_none_or(|leases| leases.get(&lease.to_be_bytes()).map_or(true, |found| found.is_some()))
    }

    /// Whether `revision` may follow `previous`, the one before it in the file (none: it is the first).
    fn check_step(&self, previous: Option<Revision>, revision: Revision, is_bump_marker: bool) {
        if revision.main <= self.whole_above || is_bump_marker {
            return;
        }
        let expected = match previous {
            Some(previous) if previous.main == revision.main => {
                Revision { main: revision.main, sub: previous.sub.saturating_add(1) }
            }
            previous => {
                let before =
                    previous.map_or(self.whole_above, |previous| previous.main.max(self.whole_above));
                Revision { main: before.saturating_add(1), sub: 0 }
            }
        };
        if revision.main != expected.main {
            let message = format!("revisions {} to {} are missing", expected.main, revision.main - 1);
            self.report(
                Finding::new(&codes::REVISION_GAP, message).revision(revision).values(expected, revision),
            );
        } else if revision.sub != expected.sub {
            let message = "a change of the transaction is missing";
            self.report(Finding::new(&codes::SUB_GAP, message).revision(revision).values(expected, revision));
        }
    }

    fn report(&self, finding: Finding) {
        self.findings.report(finding.bucket(KEY_BUCKET));
    }
}

/// The records of one group of leaves.
pub(super) struct GroupRecords<'a, 'c, 's> {
    context: &'s Context<'a, 'c>,
    /// Records so far, readable or not.
    count: u32,
    previous: Option<Revision>,
    /// The first revision, and whether it is the mark of a raised one. None if the group's start is not readable.
    first: Option<(Revision, bool)>,
    last: Option<Revision>,
    broken: bool,
    bump: Option<Revision>,
    bump_markers: usize,
    /// Records, by number in the group, whose lease does not exist. Not wrong yet: the key may have died with the lease.
    without_lease: Vec<u32>,
    lease_seen: (i64, bool),
    notes: Notes,
}

/// Scans the bucket `key`.
pub(super) fn scan<'a, 'c, 's>(
    structure: &mut Structure<'a, 'c>,
    bucket: &Bucket<'a>,
    context: &'s Context<'a, 'c>,
) -> (BucketScan<'a>, Vec<GroupRecords<'a, 'c, 's>>) {
    let (scan, groups) = structure.scan(KEY_BUCKET, bucket, false, |_| GroupRecords {
        context,
        count: 0,
        previous: None,
        first: None,
        last: None,
        broken: false,
        bump: None,
        bump_markers: 0,
        without_lease: Vec::new(),
        lease_seen: (0, true),
        notes: Notes::default(),
    });
    if scan.sound {
        let mut last = None;
        for group in &groups {
            if let Some((first, is_bump_marker)) = group.first {
                context.check_step(last, first, is_bump_marker);
            }
            last = group.last.or(last);
        }
    }
    (scan, groups)
}

impl<'a> Items<'a> for GroupRecords<'a, '_, '_> {
    fn item(&mut self, item: &LeafItem<'a>) {
        let number = self.count;
        self.count += 1;
        let Some((revision, tombstone)) = Revision::decode(item.key) else {
            let finding = Finding::new(&codes::RECORD_KEY, NOT_A_REVISION).key(item.key);
            self.context.ledger.give_up();
            self.context.report(finding.page(item.page).offset(item.offset));
            return;
        };
        let decoded = KeyValueMessage::decode(item.value);
        let is_bump_marker = !tombstone && item.value.is_empty();
        if self.previous.is_some() {
            self.context.check_step(self.previous, revision, is_bump_marker);
        } else if self.first.is_none() && !self.broken {
            self.first = Some((revision, is_bump_marker));
        }
        self.previous = Some(revision);
        self.last = Some(revision);
        if is_bump_marker {
            self.bump = Some(revision);
            self.bump_markers += 1;
            return;
        }
        let Some(message) = decoded else {
            self.report(&codes::RECORD_VALUE, NOT_A_KEY_VALUE, revision, item, None);
            self.context.ledger.give_up();
            return;
        };
        if message.unknown {
            let text = "the record has a field that no known etcd writes";
            let finding =
                Finding::new(&codes::RECORD_UNKNOWN_FIELD, text).severity(self.context.unknown_fields());
            self.context
                .report(finding.revision(revision).key(message.key).page(item.page).offset(item.offset));
        }
        if message.key.is_empty() {
            self.report(&codes::RECORD_EMPTY_KEY, "the record has no key", revision, item, None);
            self.context.ledger.give_up();
        }
        self.note(&message, revision, number, tombstone);
        if tombstone {
            self.check_tombstone(&message, revision, item);
        } else {
            self.check_put(&message, revision, item);
            self.check_lease(message.lease, number);
        }
    }

    fn broken(&mut self) {
        self.previous = None;
        self.broken = true;
    }

    fn end(&mut self) {
        self.notes.finish(&self.context.ledger);
    }
}

impl GroupRecords<'_, '_, '_> {
    fn report(
        &self,
        code: &Code,
        message: &str,
        revision: Revision,
        item: &LeafItem<'_>,
        values: Option<(i64, i64)>,
    ) {
        let finding = Finding::new(code, message).revision(revision).page(item.page).offset(item.offset);
        let finding = match KeyValueMessage::key_of(item.value) {
            Some(key) => finding.key(key),
            None => finding,
        };
        self.context.report(match values {
            Some((expected, found)) => finding.values(expected, found),
            None => finding,
        });
    }

    fn note(&mut self, message: &KeyValueMessage<'_>, revision: Revision, number: u32, tombstone: bool) {
        let (compacted, whole_above) = (self.context.compactions.finished, self.context.whole_above);
        // Between the two, a compaction was under way, and of some keys more than one record may be left. No deletion is
        // left below a compaction that ended.
        let between = compacted < revision.main && revision.main <= whole_above;
        if between || tombstone && revision.main < compacted {
            self.context.ledger.give_up();
        } else {
            let ledger = &self.context.ledger;
            let hash = ledger.hash(message.key);
            self.notes.add(ledger, hash, number, tombstone, revision.main <= compacted, message);
        }
    }

    fn check_tombstone(&self, message: &KeyValueMessage<'_>, revision: Revision, item: &LeafItem<'_>) {
        let numbers = [message.create_revision, message.mod_revision, message.version, message.lease];
        if numbers != [0; 4] || !message.value.is_empty() {
            self.report(&codes::TOMBSTONE_VALUE, "the deletion has more than a key", revision, item, None);
        }
    }

    fn check_put(&self, message: &KeyValueMessage<'_>, revision: Revision, item: &LeafItem<'_>) {
        let (created, modified, version) = (message.create_revision, message.mod_revision, message.version);
        if modified != revision.main {
            let text = "the record's modification revision is not that of its place";
            self.report(&codes::MOD_REVISION, text, revision, item, Some((revision.main, modified)));
            return;
        }
        if created < 1 || created > modified {
            let text = "the create revision is not between 1 and the modification revision";
            self.report(&codes::CREATE_REVISION, text, revision, item, Some((modified, created)));
        } else if version < 1 || version - 1 > modified - created || (version == 1) != (created == modified) {
            // Each change of a key has a revision of its own, so there are at most as many as revisions since its creation.
            let text = "the version does not fit the revisions of creation and modification";
            self.report(&codes::VERSION, text, revision, item, Some((modified - created + 1, version)));
        }
    }

    fn check_lease(&mut self, lease: i64, number: u32) {
        if lease == 0 {
            return;
        }
        if self.lease_seen.0 != lease {
            self.lease_seen = (lease, self.context.has_lease(lease));
        }
        if !self.lease_seen.1 {
            self.without_lease.push(number);
        }
    }
}

/// What the records tell all together.
#[derive(Default)]
pub(super) struct History {
    pub(super) revision: i64,
    pub(super) hash: u32,
    pub(super) live_keys: u64,
    pub(super) records: u64,
    pub(super) kubernetes: bool,
}

/// Follows each key's history and computes `HashKV`.
pub(super) fn check_history(
    snapshot: Snapshot<'_>,
    scan: &BucketScan<'_>,
    groups: &mut [GroupRecords<'_, '_, '_>],
    context: &Context<'_, '_>,
    findings: &Collector,
    workers: usize,
) -> History {
    let last = groups.iter().rev().find_map(|group| group.last);
    let furthest = context.compactions.furthest();
    let revision = last.map_or(1, |last| last.main).max(furthest).max(1);
    let records = groups.iter().map(|group| u64::from(group.count)).sum();
    let unread = History { revision, records, ..History::default() };
    for bump in groups.iter().filter_map(|group| group.bump) {
        let message = "the revision was raised by a restore";
        context.report(Finding::new(&codes::REVISION_BUMPED, message).revision(bump));
    }
    check_compactions(context, last.map_or(1, |last| last.main));
    let not_checked = |reason: &str| {
        context.report(Finding::new(
            &codes::HISTORY_NOT_CHECKED,
            format!("the history was not checked: {reason}"),
        ));
    };
    if !scan.sound {
        not_checked("not all records can be read");
        return unread;
    }
    if context.whole_above == i64::MAX {
        not_checked("the compact revisions cannot be read");
    }
    let without_lease = mark_without_lease(scan, groups);
    let records_view = Records { bytes: snapshot.bytes(), groups: &scan.groups, segments: &scan.segments };
    let window = Window { revision, compact_revision: context.compactions.finished };
    let workers = if scan.groups.len() < 4 { 1 } else { workers };
    let followed = match follow_notes(&records_view, groups, context, window, without_lease.as_ref(), workers)
    {
        Some(followed) => Ok(followed),
        None => walk_history(&records_view, window, workers, || KeyHistory {
            context,
            without_lease: without_lease.as_ref(),
            kubernetes: false,
        })
        .map(|(walked, visitors)| (walked, visitors.iter().any(|visitor| visitor.kubernetes))),
    };
    let (walked, kubernetes) = match followed {
        Ok(followed) => followed,
        Err(error) => {
            not_checked(&error.to_string());
            return unread;
        }
    };
    let hash = hash::of_window(&records_view, &walked, window, workers).unwrap_or_else(|error: ReadError| {
        findings.report(fault(KEY_BUCKET, &error));
        0
    });
    History { hash, live_keys: walked.live_keys, kubernetes, ..unread }
}

/// Follows each key's history by notes of its records; nothing if they do not tell that all is well.
fn follow_notes(
    records: &Records<'_, '_>,
    groups: &mut [GroupRecords<'_, '_, '_>],
    context: &Context<'_, '_>,
    window: Window,
    without_lease: Option<&Bits>,
    workers: usize,
) -> Option<(Walked, bool)> {
    // Afterwards they take no memory any more.
    let notes: Vec<Notes> = groups.iter_mut().map(|group| std::mem::take(&mut group.notes)).collect();
    // With a compaction at the very end, lives that begin in the transaction that ended another are counted otherwise.
    if window.compact_revision >= window.revision {
        return None;
    }
    let bump_markers = groups.iter().map(|group| group.bump_markers).sum();
    let ledger = &context.ledger;
    if ledger.is_full() {
        drop(notes);
        return ledger.follow_in_parts(
            records,
            window.compact_revision,
            bump_markers,
            without_lease,
            workers,
        );
    }
    ledger.follow(&notes, records, bump_markers, without_lease, workers)
}

fn check_compactions(context: &Context<'_, '_>, last: i64) {
    let schema::Compactions { finished, scheduled } = context.compactions;
    let finding = |code, message: &str, expected: i64, found: i64| {
        Finding::new(code, message).bucket(schema::META).values(expected, found)
    };
    if finished > scheduled {
        let message = "a compaction ended that was never begun";
        context.findings.report(finding(&codes::COMPACTION_ORDER, message, scheduled, finished));
    } else if scheduled > finished {
        let message = "a compaction was under way";
        context.findings.report(finding(&codes::COMPACTION_PENDING, message, scheduled, finished));
    }
    if scheduled > last {
        let message = "the last compaction is newer than the last record";
        let finding = finding(&codes::COMPACTION_AHEAD, message, scheduled, last);
        // Before 3.4.34 and 3.5.16 a compaction drops a deletion at its very revision, so that this is usual.
        let is_usual = context.storage_version.is_none() && scheduled == finished;
        context.findings.report(if is_usual { finding.severity(Severity::Info) } else { finding });
    }
}

/// The records without their lease by number in the whole file; none if there are none.
fn mark_without_lease(scan: &BucketScan<'_>, groups: &[GroupRecords<'_, '_, '_>]) -> Option<Bits> {
    if groups.iter().all(|group| group.without_lease.is_empty()) {
        return None;
    }
    let marks = Bits::new(scan.segments.iter().map(|segment| segment.items).sum());
    let mut first = 0;
    for (group, segment) in groups.iter().zip(&scan.segments) {
        for &number in &group.without_lease {
            marks.set(first + u64::from(number));
        }
        first += segment.items;
    }
    Some(marks)
}

/// Follows the keys of one thread.
struct KeyHistory<'a, 'c, 's> {
    context: &'s Context<'a, 'c>,
    without_lease: Option<&'s Bits>,
    kubernetes: bool,
}

impl KeyHistory<'_, '_, '_> {
    fn report(&self, code: &Code, message: &str, place: Place<'_>, values: Option<(i64, i64)>) {
        let finding =
            Finding::new(code, message).key(place.key).revision(place.revision).offset(place.offset);
        self.context.report(match values {
            Some((expected, found)) => finding.values(expected, found),
            None => finding,
        });
    }

    /// Whether the history before this record is whole, so that it must fit.
    fn concerns(&self, place: Place<'_>) -> bool {
        place.revision.main > self.context.whole_above && !place.key.is_empty()
    }

    fn check_chain(&self, older: &Record<'_>, newer: &Record<'_>, place: Place<'_>) {
        let (older, newer) = (&older.key_value, &newer.key_value);
        if newer.version != older.version.saturating_add(1) {
            let message = "the version does not follow that of the record before it";
            let values = (older.version.saturating_add(1), newer.version);
            self.report(&codes::VERSION_CHAIN, message, place, Some(values));
        } else if newer.create_revision != older.create_revision {
            let message = "the create revision is not that of the record before it";
            self.report(
                &codes::CREATE_CHAIN,
                message,
                place,
                Some((older.create_revision, newer.create_revision)),
            );
        }
    }

    /// A put that must begin a life of its key.
    fn check_begin(&self, place: Place<'_>) {
        if let Some(record) = place.record()
            && record.key_value.version != 1
        {
            let message = "what came before this record of the key is missing";
            self.report(&codes::HISTORY_MISSING, message, place, Some((1, record.key_value.version)));
        }
    }
}

impl Visitor for KeyHistory<'_, '_, '_> {
    fn newest(&mut self, place: Place<'_>, number: u64) {
        if place.tombstone {
            if place.revision.main < self.context.compactions.finished {
                let message = "the deletion is older than the last compaction, so it should be gone";
                self.report(&codes::NOT_COMPACTED, message, place, None);
            }
            return;
        }
        self.kubernetes = self.kubernetes || place.key.starts_with(KUBERNETES_PREFIX);
        if self.without_lease.is_some_and(|marks| marks.get(number)) {
            let lease = place.record().map_or(0, |record| record.key_value.lease);
            let message = format!("the live key's lease {lease:x} does not exist");
            self.report(&codes::LEASE_MISSING, &message, place, None);
        }
    }

    fn pair(&mut self, older: Place<'_>, newer: Place<'_>) {
        if newer.revision.main <= self.context.compactions.finished && !newer.key.is_empty() {
            let message = "a newer record of the key is compacted too, so this one should be gone";
            self.report(&codes::NOT_COMPACTED, message, older, None);
        }
        if !self.concerns(newer) {
            return;
        }
        match (older.tombstone, newer.tombstone) {
            (true, true) => {
                self.report(&codes::TOMBSTONE_ORPHAN, "the key was deleted already", newer, None);
            }
            (false, true) => {}
            (true, false) => self.check_begin(newer),
            (false, false) => {
                if let Some((older, record)) = older.record().zip(newer.record()) {
                    self.check_chain(&older, &record, newer);
                }
            }
        }
    }

    fn oldest(&mut self, place: Place<'_>) {
        if !self.concerns(place) {
            return;
        }
        if place.tombstone {
            self.report(&codes::TOMBSTONE_ORPHAN, "the put that this deletion ends is missing", place, None);
        } else {
            self.check_begin(place);
        }
    }
}
