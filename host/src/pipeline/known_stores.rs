//! Which stores this machine has backed up to: so that an empty one is told from one whose disk is not mounted.
//!
//! One small file a store in `known/` of the scratch directory, written when a store was first found to be this cluster's.
//! A store that had a repository and has none any more is not begun anew: most likely what is seen is an empty mount point.
//!
//! Where manifests are signed, another small file names the newest backup that this machine knows in the store. Retention never
//! removes the newest; so a store whose newest is older has lost backups, or an older copy of it stands in its place. What
//! another machine made meanwhile, and somebody removed before this one looked, cannot be told.
//!
//! A third one names the store as its signed inventories do: that of another store, put in their place, would explain
//! backups away that this one never removed.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::store::NamedStore;
use crate::atomic;
use crate::catalog::{self, BackupId, CatalogError, Inventory, Listing};
use crate::pack::hex;
use crate::store::Store;

const DIRECTORY: &str = "known";
/// Digits of the digest that names a file: enough for a handful of stores.
const DIGITS: usize = 16;

/// The file that stands for a store.
fn marker(scratch: &Path, store: &dyn Store) -> PathBuf {
    let digest = hex(&Sha256::digest(store.describe()));
    scratch.join(DIRECTORY).join(digest.get(..DIGITS).unwrap_or(&digest))
}

/// Whether this machine has backed up to a store.
pub fn is_known(scratch: &Path, store: &dyn Store) -> bool {
    marker(scratch, store).exists()
}

/// Refuses a store that held backups and is empty now.
///
/// # Errors
/// [`CatalogError::Emptied`], or what keeps the store from being asked.
pub async fn refuse_emptied(scratch: &Path, store: &dyn Store) -> Result<(), CatalogError> {
    let marker = marker(scratch, store);
    if !marker.exists() || catalog::is_claimed(store).await? {
        return Ok(());
    }
    Err(CatalogError::Emptied { store: store.describe(), marker })
}

/// Remembers a store. One that cannot be remembered is no worse off than before.
pub fn remember(scratch: &Path, store: &dyn Store) {
    let marker = marker(scratch, store);
    if marker.exists() {
        return;
    }
    let written = atomic::create_directory(atomic::parent(&marker))
        .and_then(|()| atomic::write(&marker, format!("{}\n", store.describe()).as_bytes()));
    if let Err(error) = written {
        tracing::warn!(path = %marker.display(), %error, "that this store holds backups could not be written down");
    }
}

/// The file that says when a store was last reached.
fn reached_marker(scratch: &Path, store: &dyn Store) -> PathBuf {
    marker(scratch, store).with_extension("reached")
}

/// Notes that a store was reached. Who may only read does not note it.
pub fn reached(scratch: &Path, store: &dyn Store, now: Timestamp) {
    let marker = reached_marker(scratch, store);
    let written = atomic::create_directory(atomic::parent(&marker))
        .and_then(|()| atomic::write(&marker, format!("{now}\n").as_bytes()));
    if let Err(error) = written {
        tracing::debug!(path = %marker.display(), %error, "that this store was reached could not be noted");
    }
}

/// When this machine last reached a store: a backup was committed there, or it was listed.
pub fn last_reached(scratch: &Path, store: &dyn Store) -> Option<Timestamp> {
    std::fs::read_to_string(reached_marker(scratch, store)).ok()?.trim().parse().ok()
}

/// The file that names the newest backup known in a store.
fn newest_marker(scratch: &Path, store: &dyn Store) -> PathBuf {
    marker(scratch, store).with_extension("newest")
}

/// The newest backup that this machine knows in a store, where manifests are signed.
pub fn newest_known(named: &NamedStore) -> Option<BackupId> {
    let marker = newest_marker(named.guard.as_ref()?, named.store.as_ref());
    std::fs::read_to_string(marker).ok()?.trim().parse().ok()
}

/// Notes a backup that this machine committed, or read with its signature, when it is newer than what it knew.
pub fn saw(named: &NamedStore, backup: &BackupId) {
    let Some(scratch) = &named.guard else { return };
    if newest_known(named).is_some_and(|known| known >= *backup) {
        return;
    }
    let marker = newest_marker(scratch, named.store.as_ref());
    let written = atomic::create_directory(atomic::parent(&marker))
        .and_then(|()| atomic::write(&marker, format!("{backup}\n").as_bytes()));
    if let Err(error) = written {
        // Who may only read does not note what was seen, and is no worse off than before.
        tracing::debug!(path = %marker.display(), %error, "the newest backup could not be noted");
    }
}

/// Refuses a store whose newest backup is older than one that this machine knows there, and notes the newest otherwise. One
/// that is there and cannot be read has been told of as that.
///
/// # Errors
/// [`CatalogError::RolledBack`].
pub fn refuse_rolled_back(named: &NamedStore, listing: &Listing) -> Result<(), CatalogError> {
    let newest = listing.entries.last().map(|entry| &entry.manifest.id);
    judge_newest(named, newest, &listing.unreadable)?;
    if let Some(newest) = newest {
        saw(named, newest);
    }
    Ok(())
}

/// The same for who did not read them all: the newest there, and what could not be read. Notes nothing.
///
/// # Errors
/// [`CatalogError::RolledBack`].
pub fn judge_newest(
    named: &NamedStore,
    newest: Option<&BackupId>,
    unreadable: &[CatalogError],
) -> Result<(), CatalogError> {
    let Some(known) = newest_known(named) else { return Ok(()) };
    let folder = format!("backups/{known}/");
    let is_there =
        unreadable.iter().any(|error| error.object().is_some_and(|object| object.starts_with(&folder)));
    if is_there || newest.is_some_and(|newest| *newest >= known) {
        return Ok(());
    }
    Err(CatalogError::RolledBack {
        store: named.store.describe(),
        newest: newest.map_or_else(|| "none".to_owned(), ToString::to_string),
        known: Box::new(known),
        marker: newest_marker(named.guard.as_deref().unwrap_or(Path::new("")), named.store.as_ref()),
    })
}

/// The file that names a store as its inventories do.
fn inventory_marker(scratch: &Path, store: &dyn Store) -> PathBuf {
    marker(scratch, store).with_extension("inventory")
}

/// Notes how a store is named by an inventory that this machine wrote, or read with its signature.
pub fn knows_inventory(named: &NamedStore, inventory: &Inventory) {
    let Some(scratch) = &named.guard else { return };
    let marker = inventory_marker(scratch, named.store.as_ref());
    if marker.exists() {
        return;
    }
    let written = atomic::create_directory(atomic::parent(&marker))
        .and_then(|()| atomic::write(&marker, format!("{}\n", inventory.store).as_bytes()));
    if let Err(error) = written {
        tracing::debug!(path = %marker.display(), %error, "the store's inventory could not be noted");
    }
}

/// Refuses a store that had a signed inventory and has none any more, or another store's; notes it otherwise.
///
/// # Errors
/// [`CatalogError::InventoryLost`].
pub fn judge_inventory(named: &NamedStore, inventory: Option<&Inventory>) -> Result<(), CatalogError> {
    let Some(scratch) = &named.guard else { return Ok(()) };
    let marker = inventory_marker(scratch, named.store.as_ref());
    let known = std::fs::read_to_string(&marker).ok().map(|text| text.trim().to_owned());
    let found = match (known.as_deref(), inventory) {
        (Some(known), Some(inventory)) if *known == inventory.store => return Ok(()),
        (None, Some(inventory)) => {
            knows_inventory(named, inventory);
            return Ok(());
        }
        (None, None) => return Ok(()),
        (Some(_), Some(inventory)) => format!("has the inventory of another store, `{}`", inventory.store),
        (Some(_), None) => "has no signed inventory any more".to_owned(),
    };
    let (store, known) = (named.store.describe(), known.unwrap_or_default());
    Err(CatalogError::InventoryLost { store, found, known, marker })
}
