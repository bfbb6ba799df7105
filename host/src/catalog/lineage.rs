//! What a store should hold, told by what is signed: so that a backup that somebody took away is told from one that the
//! retention rules removed.
//!
//! Two things are signed. Each manifest names the backup before it ([`Link`]), so the newer vouch for the older. Where that does
//! not tell the whole, an [`Inventory`] does: it lists what one store holds, and is written *before* backups are removed by rule, and
//! before one is committed to a store that lacks the one before it. The newest inventory counts; what is newer than it is told by links. To
//! take an inventory away, or to put an older one in its place, only makes more backups missing, never fewer.

use std::collections::BTreeSet;
use std::fmt;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    BackupId, Bounds, CatalogError, ClusterIdentity, Listing, MAX_DOCUMENT_BYTES, id, listing, manifest_path,
    path, read_document, seal,
};
use crate::pack::hex;
use crate::session::SessionId;
use crate::signing::SigningKey;
use crate::store::{self, ObjectPath, Store, StoreError};

/// The format written here.
pub const INVENTORY_FORMAT: &str = "holdfast-inventory/1";
/// Where inventories lie.
const PREFIX: &str = "inventory/";
/// Older inventories that are kept beside the newest, for people: only the newest counts.
const KEPT: usize = 2;

/// The backup before another, as the run knew it that made the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Which.
    pub id: BackupId,
    /// SHA-256 of its `manifest.json`, hex. Later editions change nothing about that.
    pub sha256: String,
}

/// What one store holds, by the word of whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// [`INVENTORY_FORMAT`].
    pub format: String,
    /// Whose backups these are.
    pub cluster: ClusterIdentity,
    /// Which store, by a name that was drawn for its first inventory: that of one store says nothing of another.
    pub store: String,
    /// The run that wrote it.
    pub session: SessionId,
    /// When. Later than every inventory before it.
    pub at: Timestamp,
    /// Up to which backup it speaks: of newer ones it says nothing.
    pub through: BackupId,
    /// The backups that are there; also those that are missing, until somebody signs that they are gone.
    pub backups: BTreeSet<BackupId>,
    /// Those that are about to be removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removes: BTreeSet<BackupId>,
}

impl Inventory {
    /// Where it lies. What was read may hold anything, so this is no path yet.
    fn place(&self) -> String {
        format!("{PREFIX}{}-{}.json", id::precise_utc(self.at), self.session)
    }
}

/// A backup that should be in a store and is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Which.
    pub backup: BackupId,
    /// The nearest that is there before it.
    pub after: Option<BackupId>,
    /// The nearest that is there behind it.
    pub before: Option<BackupId>,
    /// What that means.
    pub kind: GapKind,
    /// Who says that it should be there: a backup, or an inventory when this is none.
    pub named_by: Option<BackupId>,
}

/// What the lack of a backup means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapKind {
    /// What is removed here by rule is signed for, and this is not: it was taken away, or lost.
    Missing,
    /// No inventory of this store was ever signed: a machine without the key may have pruned it.
    Unexplained,
}

impl GapKind {
    /// What a person can do.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Missing => {
                "another store may have it: `holdfast sync` brings it back. If it was removed on purpose: `holdfast sign --gone --all`"
            }
            Self::Unexplained => "give whoever prunes this store the signing key; see docs/trust.md",
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "backup {} is not there, ", self.backup)?;
        match (&self.after, &self.before) {
            (Some(after), Some(before)) => write!(formatter, "between {after} and {before}")?,
            (Some(after), None) => write!(formatter, "behind {after}")?,
            (None, Some(before)) => write!(formatter, "before {before}")?,
            (None, None) => write!(formatter, "nor any other")?,
        }
        match &self.named_by {
            // What came before the missing one only the missing one could tell.
            Some(by) => write!(formatter, "; {by} names it, and others before it may be gone as well")?,
            None => write!(formatter, "; the signed inventory lists it")?,
        }
        formatter.write_str(match self.kind {
            GapKind::Missing => ". No retention rule removed it: it was taken away, or lost",
            GapKind::Unexplained => {
                ". Nothing signed says why: a machine without the signing key may have pruned it"
            }
        })
    }
}

/// What is known of a store: what lies there, and what that says of what else should.
#[derive(Debug, Default)]
pub struct Known {
    /// The newest inventory that is trusted.
    pub inventory: Option<Inventory>,
    /// The backups that are there, whether they can be read or not: of those that cannot something else is told.
    pub present: BTreeSet<BackupId>,
    /// Those that count: of these, what is read and trusted.
    pub readable: BTreeSet<BackupId>,
    /// Which backup names which as the one before it.
    pub links: Vec<(BackupId, Link)>,
}

impl Known {
    /// From a listing of the whole store.
    pub fn of(listing: &Listing, inventory: Option<Inventory>) -> Self {
        let link = |manifest: &super::Manifest| Some((manifest.id.clone(), manifest.previous.clone()?));
        let manifests = || listing.entries.iter().map(|entry| &entry.manifest);
        Self {
            inventory,
            present: listing.committed.clone(),
            readable: manifests().map(|manifest| manifest.id.clone()).collect(),
            links: manifests().filter_map(link).collect(),
        }
    }

    /// By reading the manifests that the inventory does not list. What cannot be read is there, and vouches for nothing.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn by_reading(store: &dyn Store, inventory: Option<Inventory>) -> Result<Self, CatalogError> {
        let mut editions = listing::editions(store).await?;
        let present: BTreeSet<BackupId> = editions.keys().cloned().collect();
        let mut readable = BTreeSet::new();
        for id in inventory.iter().flat_map(|inventory| &inventory.backups) {
            if editions.remove(id).is_some() {
                readable.insert(id.clone());
            }
        }
        let bounds = &Bounds::of(store);
        let read: Vec<_> = futures::stream::iter(editions)
            .map(|(id, editions)| async move {
                bounds.read(0, super::newest_edition(store, &id, &editions)).await
            })
            .buffered(bounds.at_once)
            .collect()
            .await;
        let mut links = Vec::new();
        for (read, refused) in read {
            super::tell_of(&refused);
            let Ok(Some(manifest)) = read else { continue };
            readable.insert(manifest.id.clone());
            links.extend(manifest.previous.map(|link| (manifest.id, link)));
        }
        Ok(Self { inventory, present, readable, links })
    }

    /// What should be there and is not, oldest first.
    pub fn gaps(&self) -> Vec<Gap> {
        let kind = if self.inventory.is_some() { GapKind::Missing } else { GapKind::Unexplained };
        let gap = |backup: &BackupId, named_by: Option<BackupId>| Gap {
            backup: backup.clone(),
            after: self.present.range(..backup.clone()).next_back().cloned(),
            before: self.present.range(backup.clone()..).next().cloned(),
            kind,
            named_by,
        };
        let listed = self.inventory.iter().flat_map(|inventory| &inventory.backups);
        let listed = listed.filter(|id| !self.present.contains(id)).map(|id| gap(id, None));
        let named = self.missing_links().map(|(by, link)| gap(&link.id, Some(by.clone())));
        let mut gaps: Vec<Gap> = listed.chain(named).collect();
        gaps.sort_by(|one, other| one.backup.cmp(&other.backup));
        gaps.dedup_by(|one, other| one.backup == other.backup);
        gaps
    }

    /// Links to what is not there, newer than the inventory tells.
    fn missing_links(&self) -> impl Iterator<Item = &(BackupId, Link)> {
        let told = self.inventory.as_ref().map(|inventory| &inventory.through);
        self.links.iter().filter(move |(_, link)| {
            !self.present.contains(&link.id) && told.is_none_or(|told| link.id > *told)
        })
    }

    /// The next inventory: what was to be there by the one before and what has come since, without what goes. What is missing
    /// stays in it: an inventory explains what its writer removes, and nothing that others did. The first one begins with what it finds.
    pub fn next(&self, stamp: &Stamp<'_>, going: &BTreeSet<BackupId>) -> Option<Inventory> {
        let mut backups = self.readable.clone();
        if let Some(before) = &self.inventory {
            backups.extend(before.backups.iter().cloned());
            backups.extend(self.missing_links().map(|(_, link)| link.id.clone()));
        }
        let before = self.inventory.as_ref().map(|inventory| &inventory.through);
        let through = backups.iter().chain(before).chain(stamp.through).max()?.clone();
        backups.retain(|id| !going.contains(id));
        // The newest counts, and that is told by the time: a clock that was set back must not hide it.
        let millisecond = SignedDuration::from_millis(1);
        let after = |before: &Inventory| before.at.saturating_add(millisecond).unwrap_or(before.at);
        let later = self.inventory.as_ref().map(after);
        Some(Inventory {
            format: INVENTORY_FORMAT.to_owned(),
            cluster: stamp.cluster.clone(),
            store: self.inventory.as_ref().map_or_else(new_name, |before| before.store.clone()),
            session: stamp.session.clone(),
            at: later.map_or(stamp.now, |later| later.max(stamp.now)),
            through,
            backups,
            removes: going.clone(),
        })
    }

    /// Whether backups that came by another way than a backup's own run are not in the inventory, up to where it speaks.
    pub fn has_unlisted(&self) -> bool {
        self.inventory.as_ref().is_some_and(|inventory| {
            self.readable.iter().any(|id| *id <= inventory.through && !inventory.backups.contains(id))
        })
    }
}

/// What stands in an inventory besides the backups.
pub struct Stamp<'a> {
    /// Whose backups these are.
    pub cluster: &'a ClusterIdentity,
    /// The run.
    pub session: &'a SessionId,
    /// The time.
    pub now: Timestamp,
    /// Backups that it speaks of although this store may not hold them.
    pub through: Option<&'a BackupId>,
}

/// A name for a store. Random, as a session's.
fn new_name() -> String {
    SessionId::random().to_string()
}

/// The newest inventory that can be used, and what stands in front of it and cannot.
///
/// # Errors
/// When the store cannot be read, or a newer release has written one.
pub async fn newest_inventory(
    store: &dyn Store,
) -> Result<(Option<Inventory>, Vec<CatalogError>), CatalogError> {
    let mut refused = Vec::new();
    for object in store::list_all(store, PREFIX).await?.iter().rev() {
        if !is_inventory(&object.path) {
            continue;
        }
        match read_document::<Inventory>(store, &object.path).await {
            Ok(inventory) if inventory.place() == object.path.as_str() => {
                return Ok((Some(inventory), refused));
            }
            Ok(inventory) => refused.push(CatalogError::Misplaced {
                path: object.path.to_string(),
                store: store.describe(),
                found: format!("the inventory of {}", inventory.at),
            }),
            // Removed since it was listed.
            Err(CatalogError::Store(StoreError::NotFound { .. })) => {}
            Err(error @ (CatalogError::Store(_) | CatalogError::Format { .. })) => return Err(error),
            Err(error) => refused.push(error),
        }
    }
    Ok((None, refused))
}

/// Whether this is the name of an inventory.
pub(super) fn is_inventory(object: &ObjectPath) -> bool {
    let name = object.as_str().strip_prefix(PREFIX).and_then(|name| name.strip_suffix(".json"));
    name.is_some_and(|name| !name.contains('/'))
}

/// Signs an inventory and adds it. From here on it counts.
pub async fn add_inventory(
    store: &dyn Store,
    inventory: &Inventory,
    key: &SigningKey,
) -> Result<(), CatalogError> {
    let Inventory { at, store: name, through, .. } = inventory;
    let subject = format!("inventory:{name}\tthrough:{through}");
    let sealed = seal::seal_document(path(inventory.place()), inventory, *at, &subject, Some(key))?;
    seal::commit(store, &sealed).await
}

/// Inventories that a newer one has made superfluous, with their signatures, and signatures that were left without one.
pub async fn old_inventories(store: &dyn Store) -> Result<Vec<ObjectPath>, CatalogError> {
    let objects = store::list_all(store, PREFIX).await?;
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let newest = newest_inventory(store).await?.0.map(|inventory| inventory.place());
    let Some(newest) = newest.and_then(|place| ObjectPath::new(place).ok()) else { return Ok(Vec::new()) };
    let older: Vec<&ObjectPath> = objects
        .iter()
        .map(|object| &object.path)
        .filter(|path| is_inventory(path) && **path < newest)
        .collect();
    let first_kept = older.get(older.len().saturating_sub(KEPT)).map_or(&newest, |path| *path);
    Ok(objects.iter().map(|object| object.path.clone()).filter(|path| path < first_kept).collect())
}

/// What names a backup as the one before another.
///
/// # Errors
/// Also when it is not there any more.
pub async fn link(store: &dyn Store, id: &BackupId) -> Result<Link, CatalogError> {
    let bytes = store::read_small(store, &manifest_path(id), MAX_DOCUMENT_BYTES).await?;
    Ok(Link { id: id.clone(), sha256: hex(&Sha256::digest(&bytes)) })
}

#[cfg(test)]
mod tests;
