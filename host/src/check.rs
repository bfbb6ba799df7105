//! Is all there that a store should hold, and is it what was written?
//!
//! Each manifest is read, each data object looked up, and as many as asked for read through the very path that a restore takes.
//! Damage is told apart by three digests: that of the file when it was made and that of the object when it was stored, both in
//! the manifest, and that of what lies there now. The stored digest was compared once more right after the upload; so what
//! differs from it changed in storage, and what fits it and does not unpack was wrong from the start.

pub mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use etcd_snapshot::Outcome;
use futures::StreamExt;
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::catalog::{
    self, BackupId, CHECK_FORMAT, CatalogError, Check, Depth, Entry, Gap, GapKind, Listing, Manifest, Seen,
    Trigger,
};
use crate::pack::Identity;
use crate::pipeline::store::{NamedStore, with_causes};
use crate::pipeline::{inventory, known_stores, verify};
use crate::progress::Progress;
use crate::retrieve::{self, RetrieveError};
use crate::session::{Clock, Session};
use crate::store::{ObjectPath, StoreError};
use pattern::{Pattern, Trend};

/// Manifests looked at side by side.
const LOOKERS: usize = 16;

/// How many backups are read whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// None: manifests, and whether the data is there.
    None,
    /// So many in a hundred, those first that were not read for longest.
    Sample(f64),
    /// All.
    All,
}

/// What is wrong with a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Its data is gone.
    Missing,
    /// Its data changed after it was stored.
    Storage,
    /// Its data is as it was stored, and was wrong by then.
    Creation,
}

impl Kind {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Missing => "data is missing",
            Self::Storage => "changed in storage",
            Self::Creation => "damaged when it was made",
        }
    }
}

/// A backup that cannot be restored from this store.
#[derive(Debug, Clone, Serialize)]
pub struct Damage {
    /// The backup.
    pub backup: BackupId,
    /// What is wrong.
    pub kind: Kind,
    /// What was found.
    pub detail: String,
    /// When its stored bytes were last read and right.
    pub last_good: Timestamp,
    /// Other stores of this check that hold it and found nothing wrong.
    pub good_in: Vec<String>,
}

/// An object that belongs to no backup.
#[derive(Debug, Clone, Serialize)]
pub struct Orphan {
    /// Its path.
    pub path: ObjectPath,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<Timestamp>,
}

/// What the check of one store came to.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The store.
    pub store: String,
    /// Backups in it whose manifest reads.
    pub backups: usize,
    /// Of these, read whole.
    pub read: usize,
    /// Of those read, decrypted and unpacked: the identity was there.
    pub unpacked: usize,
    /// What cannot be restored.
    pub damaged: Vec<Damage>,
    /// Manifests and other documents that are damaged, moved, planted or refused; and when the store was rolled back.
    pub bad_documents: Vec<String>,
    /// Backups that should be here and are not, by what is signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Gap>,
    /// What belongs to no backup: being written, or left by a run that died.
    pub orphans: Vec<Orphan>,
    /// Whether all of those are known: not when a manifest cannot be read, which may name any data.
    pub orphans_known: bool,
    /// What the damaged backups have in common, for each kind of damage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<Pattern>,
    /// How it was at the check before.
    pub trend: Trend,
    /// What could not be looked at.
    pub errors: Vec<String>,
    #[serde(skip)]
    seen: BTreeMap<BackupId, Seen>,
    /// Of which backups the bad documents are the manifests.
    #[serde(skip)]
    unread: Vec<(usize, BackupId)>,
}

impl Checked {
    fn of(store: &str) -> Self {
        Self {
            store: store.to_owned(),
            backups: 0,
            read: 0,
            unpacked: 0,
            damaged: Vec::new(),
            bad_documents: Vec::new(),
            missing: Vec::new(),
            orphans: Vec::new(),
            orphans_known: false,
            patterns: Vec::new(),
            trend: Trend::First,
            errors: Vec::new(),
            seen: BTreeMap::new(),
            unread: Vec::new(),
        }
    }

    /// Passed, failed when something is damaged, inconclusive when something could not be looked at.
    pub fn outcome(&self) -> Outcome {
        let is_missing = self.missing.iter().any(|gap| gap.kind == GapKind::Missing);
        if is_missing || !self.damaged.is_empty() || !self.bad_documents.is_empty() {
            Outcome::Failed
        } else if self.errors.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Inconclusive
        }
    }
}

/// What a check needs besides the store.
pub struct Order<'a> {
    /// How much is read.
    pub reading: Reading,
    /// What decrypts.
    pub identities: &'a [Identity],
    /// Where the time comes from.
    pub clock: Clock,
    /// Listens.
    pub progress: &'a dyn Progress,
}

/// Checks one store, and notes there what was seen.
pub async fn check(named: &NamedStore, order: &Order<'_>, cancel: &CancellationToken) -> Checked {
    let mut session = Session::begin(order.clock);
    let mut checked = Checked::of(&named.name);
    let store = named.store.as_ref();
    let looked =
        async { Ok::<_, CatalogError>((catalog::list(store).await?, catalog::last_check(store).await?)) };
    let (listing, before) = match looked.await {
        Ok(looked) => looked,
        Err(error) => {
            checked.errors.push(with_causes(&error));
            return checked;
        }
    };
    sort_documents(&listing, &mut checked);
    if let Err(error) = known_stores::refuse_rolled_back(named, &listing) {
        checked.bad_documents.push(with_causes(&error));
    }
    match inventory::gaps(named, &listing).await {
        Ok(missing) => checked.missing = missing,
        Err(error @ CatalogError::InventoryLost { .. }) => checked.bad_documents.push(with_causes(&error)),
        Err(error) => checked.errors.push(with_causes(&error)),
    }
    if named.guard.is_some() {
        checked.bad_documents.extend(replaced(named, &listing).await);
    }
    checked.backups = listing.entries.len();
    let last_good = |entry: &Entry| last_good(entry, before.as_ref());
    let chosen = chosen(&listing.entries, order.reading, last_good);
    let mut glances = glances(named, &listing.entries, &chosen, order, cancel).await;
    for (index, entry) in listing.entries.iter().enumerate() {
        if cancel.is_cancelled() {
            checked.errors.push("stopped before the end".to_owned());
            return checked;
        }
        let id = &entry.manifest.id;
        let looked = match glances.remove(&index) {
            Some(looked) => looked,
            None => look(named, &entry.manifest, true, order).await,
        };
        let last_good = last_good(entry);
        match looked {
            Ok(depth) => {
                checked.read += usize::from(depth >= Depth::Stored);
                checked.unpacked += usize::from(depth == Depth::Unpacked);
                // Nor does it take back what a closer look has found.
                if let Some(then) = bad_before(before.as_ref(), id).filter(|then| depth < then.depth) {
                    checked.damaged.push(carried_on(id, then));
                    checked.seen.insert(id.clone(), then.clone());
                    continue;
                }
                let last_good = if depth >= Depth::Stored { session.now() } else { last_good };
                // A glance takes back nothing of what a closer look has seen.
                let then = before.as_ref().and_then(|check| check.backups.get(id)).filter(|then| then.good);
                let depth = then.map_or(depth, |then| depth.max(then.depth));
                checked.seen.insert(id.clone(), Seen { good: true, depth, last_good });
            }
            Err(Looked::Bad(kind, depth, detail)) => {
                checked.read += usize::from(depth >= Depth::Stored);
                checked.seen.insert(id.clone(), Seen { good: false, depth, last_good });
                let damage = Damage { backup: id.clone(), kind, detail, last_good, good_in: Vec::new() };
                note(named, entry, &damage, &mut session, &mut checked).await;
                checked.damaged.push(damage);
            }
            Err(Looked::Unknown(error)) => checked.errors.push(format!("backup `{id}`: {error}")),
        }
    }
    checked.patterns = pattern::patterns(&listing.entries, &checked.damaged);
    checked.trend = pattern::trend(&checked.seen, before.as_ref());
    let document = Check {
        format: CHECK_FORMAT.to_owned(),
        session: session.id.clone(),
        started: session.started,
        ended: session.now(),
        backups: checked.seen.clone(),
    };
    if let Err(error) = catalog::add_check(store, &document).await {
        checked.errors.push(format!("what was seen could not be noted: {}", with_causes(&error)));
    }
    checked
}

/// What the check before knew of a backup that was damaged.
fn bad_before<'a>(before: Option<&'a Check>, id: &BackupId) -> Option<&'a Seen> {
    before?.backups.get(id).filter(|then| !then.good)
}

/// Damage that only shows when it is looked for more closely than now. How closely tells what it was.
fn carried_on(id: &BackupId, then: &Seen) -> Damage {
    let kind = match then.depth {
        Depth::Named => Kind::Missing,
        Depth::Stored => Kind::Storage,
        Depth::Unpacked => Kind::Creation,
    };
    let detail = "a check that read it found it so, and this one did not; `--read-data` reads it again";
    Damage {
        backup: id.clone(),
        kind,
        detail: detail.to_owned(),
        last_good: then.last_good,
        good_in: Vec::new(),
    }
}

/// Backups that are there and are not those that the ones after them follow.
async fn replaced(named: &NamedStore, listing: &Listing) -> Vec<String> {
    let links = listing.entries.iter().filter_map(|entry| {
        let link = entry.manifest.previous.as_ref()?;
        listing.committed.contains(&link.id).then_some((&entry.manifest.id, link))
    });
    let looks = links.map(|(id, link)| async move {
        // What cannot be read was told of.
        let found = catalog::link(named.store.as_ref(), &link.id).await.ok()?;
        (found != *link).then(|| {
            format!("backup {} is another than the one that {id} names as the one before it", link.id)
        })
    });
    futures::stream::iter(looks.collect::<Vec<_>>())
        .buffered(LOOKERS)
        .filter_map(|told| async { told })
        .collect()
        .await
}

/// Tells of each damaged backup in which of the other stores it was found good.
pub fn compare(all: &mut [Checked]) {
    let good: Vec<(String, Vec<BackupId>)> = all
        .iter()
        .map(|checked| {
            let good = checked.seen.iter().filter(|(_, seen)| seen.good);
            (checked.store.clone(), good.map(|(id, _)| id.clone()).collect())
        })
        .collect();
    let good_in = |id: &BackupId| -> Vec<String> {
        good.iter().filter(|(_, ids)| ids.contains(id)).map(|(store, _)| store.clone()).collect()
    };
    for checked in all {
        for damage in &mut checked.damaged {
            damage.good_in = good_in(&damage.backup);
        }
        for (index, id) in &checked.unread {
            let stores = good_in(id);
            if let Some(told) = checked.bad_documents.get_mut(*index).filter(|_| !stores.is_empty()) {
                told.push_str("; the backup is good in ");
                told.push_str(&stores.join(", "));
            }
        }
    }
}

fn sort_documents(listing: &Listing, checked: &mut Checked) {
    for error in &listing.unreadable {
        match error {
            CatalogError::Store(_) | CatalogError::Format { .. } => checked.errors.push(with_causes(error)),
            _ => {
                let manifest = error.object().and_then(|object| object.strip_prefix("backups/"));
                let id = manifest.and_then(|object| object.split_once('/')?.0.parse().ok());
                checked.unread.extend(id.map(|id| (checked.bad_documents.len(), id)));
                checked.bad_documents.push(with_causes(error));
            }
        }
    }
    checked.orphans_known = listing.orphans_known;
    let orphan = |object: &crate::store::ObjectInfo| Orphan {
        path: object.path.clone(),
        size_bytes: object.size_bytes,
        modified: object.modified,
    };
    checked.orphans = listing.orphans.iter().map(orphan).collect();
}

/// When the stored bytes of a backup were last read and right. Its own run read them back before it committed.
fn last_good(entry: &Entry, before: Option<&Check>) -> Timestamp {
    let proofs = entry.records.iter();
    let proofs =
        proofs.filter(|record| record.trigger == Trigger::Verify && record.outcome == Outcome::Passed);
    let proofs = proofs.map(|record| record.ended);
    let check = before.and_then(|check| check.backups.get(&entry.manifest.id)).map(|seen| seen.last_good);
    proofs.chain(check).fold(entry.manifest.committed, Timestamp::max)
}

/// The backups that are read whole: those first that were not for longest, so that samples cover all in time.
fn chosen(
    entries: &[Entry],
    reading: Reading,
    last_good: impl Fn(&Entry) -> Timestamp,
) -> BTreeSet<&BackupId> {
    let count = match reading {
        Reading::None => 0,
        Reading::Sample(percent) => (entries.len() as f64 * percent / 100.0).ceil() as usize,
        Reading::All => entries.len(),
    };
    let mut by_age: Vec<(Timestamp, &BackupId)> =
        entries.iter().map(|entry| (last_good(entry), &entry.manifest.id)).collect();
    by_age.sort_unstable();
    by_age.into_iter().take(count).map(|(_, id)| id).collect()
}

enum Looked {
    Bad(Kind, Depth, String),
    Unknown(String),
}

/// Looks at those that are not read, by their places: side by side, for over a network each look takes a round trip and hardly anything
/// else. None are left out, unless it is cancelled.
async fn glances(
    named: &NamedStore,
    entries: &[Entry],
    chosen: &BTreeSet<&BackupId>,
    order: &Order<'_>,
    cancel: &CancellationToken,
) -> BTreeMap<usize, Result<Depth, Looked>> {
    let unread: Vec<usize> =
        (0..entries.len()).filter(|index| !chosen.contains(&entries[*index].manifest.id)).collect();
    let looks = futures::stream::iter(unread)
        .map(|index| async move { (index, look(named, &entries[index].manifest, false, order).await) });
    looks.buffer_unordered(named.store.reads_at_once()).take_until(cancel.cancelled()).collect().await
}

async fn look(
    named: &NamedStore,
    manifest: &Manifest,
    whole: bool,
    order: &Order<'_>,
) -> Result<Depth, Looked> {
    let store = named.store.as_ref();
    let stored = &manifest.stored;
    if !whole {
        return match store.head(&stored.path).await {
            Ok(Some(info)) if info.size_bytes == stored.size_bytes => Ok(Depth::Named),
            Ok(Some(info)) => {
                let detail = format!(
                    "`{}` has {} bytes, the manifest says {}",
                    stored.path, info.size_bytes, stored.size_bytes
                );
                Err(Looked::Bad(Kind::Storage, Depth::Named, detail))
            }
            Ok(None) => {
                Err(Looked::Bad(Kind::Missing, Depth::Named, format!("there is no object `{}`", stored.path)))
            }
            Err(error) => Err(Looked::Unknown(with_causes(&error))),
        };
    }
    let readable = manifest.pack.encryption == "none" || !order.identities.is_empty();
    let read = if readable {
        retrieve::read_through(store, manifest, order.identities, order.progress)
            .await
            .map(|()| Depth::Unpacked)
    } else {
        retrieve::read_stored(store, manifest, order.progress).await.map(|()| Depth::Stored)
    };
    let read = match read {
        // Encrypted to others than those whose identity is here: as if there were none.
        Err(RetrieveError::Unpack { source, .. }) if source.is_missing_key() => {
            retrieve::read_stored(store, manifest, order.progress).await.map(|()| Depth::Stored)
        }
        other => other,
    };
    read.map_err(|error| {
        let detail = with_causes(&error);
        match error {
            RetrieveError::Stored { .. } => Looked::Bad(Kind::Storage, Depth::Stored, detail),
            RetrieveError::Store { source: StoreError::NotFound { .. }, .. } => {
                Looked::Bad(Kind::Missing, Depth::Named, detail)
            }
            // Only told when the stored bytes are those that were written.
            error if error.is_damage() => Looked::Bad(Kind::Creation, Depth::Unpacked, detail),
            _ => Looked::Unknown(detail),
        }
    })
}

/// Marks a damaged backup as a failed proof does, unless the newest record says so already.
async fn note(
    named: &NamedStore,
    entry: &Entry,
    damage: &Damage,
    session: &mut Session,
    checked: &mut Checked,
) {
    let Damage { kind, detail, .. } = damage;
    let told = entry.last_record().is_some_and(|record| {
        record.outcome == Outcome::Failed && record.steps.iter().any(|step| step.summary == *detail)
    });
    if told {
        return;
    }
    let one_copy = *kind != Kind::Creation;
    let record = verify::damaged(&entry.manifest.id, detail.clone(), one_copy, session);
    if let Err(error) = catalog::add_record(named.store.as_ref(), &record).await {
        checked.errors.push(format!("the damage could not be noted: {}", with_causes(&error)));
    }
}

#[cfg(test)]
mod tests;
