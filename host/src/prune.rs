//! Removes what the retention rules do not keep, and what runs that died left behind, from one store.
//!
//! The decision is [`retain`]'s; this carries it out. Each backup goes manifest first, newest first, so that an interruption at
//! any point leaves whole backups and orphans, which the next run takes away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_snapshot::Outcome;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::catalog::{self, BackupId, CatalogError, Entry, Listing, pin};
use crate::pipeline::inventory::{self, Signer};
use crate::pipeline::store::{NamedStore, with_causes};
use crate::retain::{self, Candidate, Decision, Pinned, Policy, Proof};
use crate::session::SessionId;
use crate::signing::SigningKey;
use crate::store::{ObjectInfo, ObjectPath, Store};

/// Backups looked up side by side for locks.
const LOOKERS: usize = 16;

/// What pruning one store came to.
#[derive(Debug, Serialize)]
pub struct Pruned {
    /// The store.
    pub store: String,
    /// Every backup in it, newest first: stays or goes, and why.
    pub backups: Vec<Decision>,
    /// Backups that were removed; those that would be in a dry run.
    pub removed: Vec<BackupId>,
    /// Objects that belonged to no backup and were removed; those that would be in a dry run.
    pub swept: Vec<ObjectPath>,
    /// Bytes of all these.
    pub freed_bytes: u64,
    /// Objects that belong to no backup and are too young to be told from those being written.
    pub young: Vec<ObjectPath>,
    /// Objects that belong to no backup, or are checks and inventories that nobody needs, and that the store keeps locked. A later run removes them.
    pub locked: Vec<ObjectPath>,
    /// Whether it was known what belongs to no backup: not when a manifest cannot be read, which may name any data.
    pub orphans_known: bool,
    /// What could not be read. The backups concerned were left alone.
    pub unreadable: Vec<String>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Pruned {
    fn of(store: &str) -> Self {
        Self {
            store: store.to_owned(),
            backups: Vec::new(),
            removed: Vec::new(),
            swept: Vec::new(),
            freed_bytes: 0,
            young: Vec::new(),
            locked: Vec::new(),
            orphans_known: false,
            unreadable: Vec::new(),
            error: None,
        }
    }

    /// Whether all was done that the rules ask for.
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && self.unreadable.is_empty()
    }
}

/// How a store is pruned.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// By these rules.
    pub policy: &'a Policy,
    /// What signs for it that backups were removed by rule. Without it nobody can tell that from theft.
    pub signing: Option<&'a SigningKey>,
    /// The time.
    pub now: Timestamp,
    /// Decide, and touch nothing.
    pub dry_run: bool,
}

/// Prunes one store.
pub async fn prune(named: &NamedStore, order: &Order<'_>, cancel: &CancellationToken) -> Pruned {
    let store = named.store.as_ref();
    let mut pruned = Pruned::of(&named.name);
    let listing = match catalog::list(store).await {
        Ok(listing) => listing,
        Err(error) => {
            pruned.error = Some(with_causes(&error));
            return pruned;
        }
    };
    pruned.orphans_known = listing.orphans_known;
    pruned.unreadable = listing.unreadable.iter().map(|error| with_causes(error)).collect();
    // What a newer release wrote may build on any of these.
    let newer = listing.unreadable.iter().find(|error| matches!(error, CatalogError::Format { .. }));
    if let Some(newer) = newer {
        pruned.error = Some(format!("nothing is removed: {newer}"));
        return pruned;
    }
    match decide(store, &listing, order.policy, order.now).await {
        Ok(decisions) => pruned.backups = decisions,
        Err(error) => {
            pruned.error = Some(with_causes(&error));
            return pruned;
        }
    }
    if let Err(error) = carry_out(named, &listing, order, cancel, &mut pruned).await {
        pruned.error = Some(with_causes(&error));
    }
    pruned
}

/// What the planner is told of a store.
pub fn candidates(listing: &Listing) -> Vec<Candidate> {
    let candidate = |entry: &Entry| {
        let id = &entry.manifest.id;
        let doubtful = || Pinned { reason: Some("its pin cannot be read".to_owned()), until: None };
        let pinned = pin::in_force(&entry.pins)
            .map(|pin| Pinned { reason: pin.reason.clone(), until: pin.until })
            .filter(|_| !listing.doubtful_pins.contains(id))
            .or_else(|| listing.doubtful_pins.contains(id).then(doubtful));
        Candidate {
            id: id.clone(),
            stored_bytes: entry.manifest.stored.size_bytes,
            proof: proof(entry),
            pinned,
            // Asked for when it is to go: that takes requests of its own.
            locked_until: None,
            // Every backup is whole by itself.
            needs: Vec::new(),
        }
    };
    listing.entries.iter().map(candidate).collect()
}

/// Decides on every backup. Those that are to go are looked up for locks; what is locked stays, and may make others go in its place.
async fn decide(
    store: &dyn Store,
    listing: &Listing,
    policy: &Policy,
    now: Timestamp,
) -> Result<Vec<Decision>, CatalogError> {
    let entries = by_id(listing);
    let mut candidates = candidates(listing);
    let mut asked = BTreeSet::new();
    loop {
        let decisions = retain::plan(&candidates, policy, now);
        let going = decisions.iter().filter(|decision| !decision.keep).map(|decision| &decision.id);
        let unasked =
            going.filter(|id| asked.insert((*id).clone())).filter_map(|id| entries.get(id).copied());
        let looks: Vec<_> = unasked.map(|entry| lock_of(store, entry)).collect();
        let locks: Vec<(BackupId, Option<Timestamp>)> =
            futures::stream::iter(looks).buffered(LOOKERS).try_collect().await?;
        let locks: BTreeMap<BackupId, Timestamp> = locks
            .into_iter()
            .filter_map(|(id, until)| Some((id, until.filter(|until| *until > now)?)))
            .collect();
        if locks.is_empty() {
            return Ok(decisions);
        }
        for candidate in &mut candidates {
            candidate.locked_until = locks.get(&candidate.id).copied().or(candidate.locked_until);
        }
    }
}

async fn lock_of(store: &dyn Store, entry: &Entry) -> Result<(BackupId, Option<Timestamp>), CatalogError> {
    let locked_until = catalog::locked_until(store, &entry.manifest).await?;
    Ok((entry.manifest.id.clone(), locked_until))
}

fn by_id(listing: &Listing) -> BTreeMap<&BackupId, &Entry> {
    listing.entries.iter().map(|entry| (&entry.manifest.id, entry)).collect()
}

/// The newest verdict on a backup.
pub fn proof(entry: &Entry) -> Proof {
    let verdicts = entry.records.iter().rev().map(|record| record.outcome);
    match verdicts.into_iter().find(|outcome| *outcome != Outcome::Inconclusive) {
        Some(Outcome::Passed) => Proof::Passed,
        Some(_) => Proof::Failed,
        None => Proof::Unknown,
    }
}

async fn carry_out(
    named: &NamedStore,
    listing: &Listing,
    order: &Order<'_>,
    cancel: &CancellationToken,
    pruned: &mut Pruned,
) -> Result<(), CatalogError> {
    let Order { policy, now, dry_run, .. } = *order;
    let store = named.store.as_ref();
    let entries = by_id(listing);
    let going: Vec<&Entry> = pruned
        .backups
        .iter()
        .filter(|decision| !decision.keep)
        .filter_map(|decision| entries.get(&decision.id).copied())
        .collect();
    if let (Some(key), false) = (order.signing, dry_run) {
        let signer = Signer { key, session: &SessionId::random(), now };
        let going = going.iter().map(|entry| entry.manifest.id.clone()).collect();
        inventory::before_removal(named, signer, listing, &going).await?;
    }
    let mut shared = Shared::of(&listing.entries);
    for entry in going {
        if cancel.is_cancelled() {
            return Ok(());
        }
        let manifest = &entry.manifest;
        // Whoever pins a backup while we work shall not come too late.
        if !dry_run && catalog::pins(store, &manifest.id).await?.len() != entry.pins.len() {
            continue;
        }
        let keep_data = shared.let_go(&manifest.stored.path) || !pruned.unreadable.is_empty();
        if !dry_run {
            catalog::remove(store, manifest, keep_data).await?;
        }
        pruned.removed.push(manifest.id.clone());
        pruned.freed_bytes += if keep_data { 0 } else { manifest.stored.size_bytes };
    }
    let mut superfluous = catalog::old_checks(store).await?;
    superfluous.extend(catalog::old_inventories(store).await?);
    if !dry_run {
        pruned.locked = catalog::remove_all(store, superfluous).await?;
    }
    let (old, young): (Vec<&ObjectInfo>, Vec<&ObjectInfo>) =
        listing.orphans.iter().partition(|object| is_abandoned(object, policy.orphan_grace, now));
    pruned.young = young.into_iter().map(|object| object.path.clone()).collect();
    let paths: Vec<ObjectPath> = old.iter().map(|object| object.path.clone()).collect();
    let locked = if dry_run { Vec::new() } else { catalog::remove_all(store, paths).await? };
    for object in old.into_iter().filter(|object| !locked.contains(&object.path)) {
        pruned.swept.push(object.path.clone());
        pruned.freed_bytes += object.size_bytes;
    }
    pruned.locked.extend(locked);
    Ok(())
}

/// How many manifests name each data object.
struct Shared<'a>(BTreeMap<&'a ObjectPath, usize>);

impl<'a> Shared<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let mut counts = BTreeMap::new();
        for entry in entries {
            *counts.entry(&entry.manifest.stored.path).or_default() += 1;
        }
        Self(counts)
    }

    /// One manifest fewer names this. Whether others still do.
    fn let_go(&mut self, path: &ObjectPath) -> bool {
        self.0.get_mut(path).is_some_and(|count| {
            *count = count.saturating_sub(1);
            *count > 0
        })
    }
}

/// Whether an object that belongs to no backup is too old to be one that is being written.
fn is_abandoned(object: &ObjectInfo, grace: Duration, now: Timestamp) -> bool {
    let age = object.modified.and_then(|modified| Duration::try_from(now.duration_since(modified)).ok());
    age.is_some_and(|age| age >= grace)
}

#[cfg(test)]
mod tests;
