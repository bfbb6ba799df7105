//! All that lies in a store, read in one go: committed backups with their records and pins, and what belongs to none.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use super::{
    BackupId, CatalogError, DATA_PREFIX, Entry, FIRST_EDITION, PIN_FORMAT, Pin, READERS, RECORD_FORMAT,
    ReadManifest, Record, lineage, newest_edition, read_document, seal,
};
use crate::store::{self, ObjectInfo, ObjectPath, Store};

/// What a listing found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Committed backups, oldest first.
    pub entries: Vec<Entry>,
    /// The ids of all, also of those that cannot be read.
    pub committed: BTreeSet<BackupId>,
    /// Data that no manifest names, and what lies beside backups that are not there: of a run under way, or left by one that died.
    /// Data is left out when a manifest could not be read, for that one may name any of it.
    pub orphans: Vec<ObjectInfo>,
    /// Documents that could not be read. Reported, so that one bad object does not hide the good ones.
    pub unreadable: Vec<CatalogError>,
    /// Backups with a pin that could not be read: it may be one that holds.
    pub doubtful_pins: BTreeSet<BackupId>,
}

/// What an object is, by its name.
pub(super) enum Role {
    /// This edition of the manifest of this backup.
    Manifest(BackupId, u32),
    /// Lies beside the manifest of this backup.
    Beside(BackupId),
    Data,
    Inventory,
}

pub(super) fn role(path: &ObjectPath) -> Option<Role> {
    let mut segments = path.as_str().splitn(3, '/');
    let (Some(folder), Some(second)) = (segments.next(), segments.next()) else { return None };
    match (folder, segments.next()) {
        ("backups" | "records" | "pins", Some(name)) => {
            let id = second.parse().ok()?;
            Some(match edition_of(name).filter(|_| folder == "backups") {
                Some(edition) => Role::Manifest(id, edition),
                None => Role::Beside(id),
            })
        }
        ("data", None) => Some(Role::Data),
        ("inventory", None) if lineage::is_inventory(path) => Some(Role::Inventory),
        _ => None,
    }
}

/// Where an object of a backup stands when all of them are written: later editions before the first, with which the
/// backup exists, and all else before these. The number is that of the edition which it is, or is the signature of.
pub fn order_of(path: &ObjectPath) -> (bool, bool, u32) {
    if let Some(Role::Manifest(_, edition)) = role(path) {
        return (true, edition == FIRST_EDITION, edition);
    }
    match seal::signed_document(path).as_ref().and_then(role) {
        Some(Role::Manifest(_, edition)) => (false, false, edition),
        _ => (false, false, 0),
    }
}

/// `manifest.json`, `manifest-2.json`: the number of the edition. One edition, one name.
fn edition_of(name: &str) -> Option<u32> {
    let number = name.strip_prefix("manifest")?.strip_suffix(".json")?;
    if number.is_empty() {
        return Some(FIRST_EDITION);
    }
    let edition: u32 = number.strip_prefix('-')?.parse().ok()?;
    (edition > FIRST_EDITION && number == format!("-{edition}")).then_some(edition)
}

/// The editions of the manifest of each backup there is.
pub type Editions = BTreeMap<BackupId, BTreeSet<u32>>;

/// The editions among these objects. Without the first there is no backup.
pub(super) fn editions_in(objects: &[ObjectInfo]) -> Editions {
    let mut editions = Editions::new();
    for object in objects {
        if let Some(Role::Manifest(id, edition)) = role(&object.path) {
            editions.entry(id).or_default().insert(edition);
        }
    }
    editions.retain(|_, editions| editions.contains(&FIRST_EDITION));
    editions
}

/// The backups in a store and the editions of each: names alone, nothing is read.
pub async fn editions(store: &dyn Store) -> Result<Editions, CatalogError> {
    Ok(editions_in(&store::list_all(store, "backups/").await?))
}

/// The editions of the manifest of one backup; none when there is no such backup.
pub async fn editions_of(store: &dyn Store, id: &BackupId) -> Result<BTreeSet<u32>, CatalogError> {
    let objects = store::list_all(store, &format!("backups/{id}/")).await?;
    Ok(editions_in(&objects).remove(id).unwrap_or_default())
}

/// A number that no edition of a backup has, nor a signature that was left without its edition.
pub async fn next_edition(store: &dyn Store, id: &BackupId) -> Result<u32, CatalogError> {
    let objects = store::list_all(store, &format!("backups/{id}/")).await?;
    let taken = objects.iter().filter_map(|object| {
        let signed = seal::signed_document(&object.path);
        match role(signed.as_ref().unwrap_or(&object.path)) {
            Some(Role::Manifest(_, edition)) => Some(edition),
            _ => None,
        }
    });
    Ok(taken.max().unwrap_or(FIRST_EDITION).saturating_add(1))
}

/// The ids of the backups in a store: their names alone, nothing is read.
pub async fn ids(store: &dyn Store) -> Result<BTreeSet<BackupId>, CatalogError> {
    Ok(editions(store).await?.into_keys().collect())
}

/// Every backup in a store.
pub async fn list(store: &dyn Store) -> Result<Listing, CatalogError> {
    // The data first: what is committed while we look must not be taken for an orphan. What lies beside a backup comes
    // before its manifest for the same reason.
    let mut others = store::list_all(store, DATA_PREFIX).await?;
    let (records, pins) =
        futures::try_join!(store::list_all(store, "records/"), store::list_all(store, "pins/"))?;
    let backups = store::list_all(store, "backups/").await?;
    let editions = editions_in(&backups);
    let committed: BTreeSet<BackupId> = editions.keys().cloned().collect();

    let mut listing = Listing::default();
    let mut records_of =
        read_beside::<Record>(store, &records, RECORD_FORMAT, &committed, &mut listing).await;
    let mut pins_of = read_beside::<Pin>(store, &pins, PIN_FORMAT, &committed, &mut listing).await;
    let manifests: Vec<(ReadManifest, Vec<CatalogError>)> = futures::stream::iter(editions)
        .map(|(id, editions)| async move { newest_edition(store, &id, &editions).await })
        .buffered(READERS)
        .collect()
        .await;
    let mut named: BTreeSet<ObjectPath> = BTreeSet::new();
    let mut all_read = true;
    for (read, refused) in manifests {
        // What a refused one names may be needed: by whoever finds out that it was right after all.
        all_read &= refused.is_empty();
        listing.unreadable.extend(refused);
        match read {
            Ok(Some(manifest)) => {
                named.insert(manifest.stored.path.clone());
                let records = super::in_order(records_of.remove(&manifest.id).unwrap_or_default());
                let pins = pins_of.remove(&manifest.id).unwrap_or_default();
                listing.entries.push(Entry { manifest, records, pins });
            }
            // Removed since it was listed.
            Ok(None) => {}
            Err(error) => {
                all_read = false;
                listing.unreadable.push(error);
            }
        }
    }
    let names: BTreeSet<ObjectPath> = backups.iter().map(|object| object.path.clone()).collect();
    others.extend(records);
    others.extend(pins);
    others.extend(backups);
    let is_orphan = |object: &ObjectInfo| match role(&object.path) {
        Some(Role::Beside(id)) if committed.contains(&id) => {
            seal::signed_document(&object.path).is_some_and(|document| !names.contains(&document))
        }
        // Also an edition without the first.
        Some(Role::Beside(id) | Role::Manifest(id, _)) if !committed.contains(&id) => {
            all_read && !named.contains(&object.path)
        }
        Some(Role::Data) => all_read && !named.contains(&object.path),
        _ => false,
    };
    listing.committed.clone_from(&committed);
    listing.orphans = others.into_iter().filter(is_orphan).collect();
    Ok(listing)
}

/// A document that lies beside a backup and names it.
trait Beside: for<'de> serde::Deserialize<'de> + Send {
    fn backup(&self) -> &BackupId;
}

impl Beside for Record {
    fn backup(&self) -> &BackupId {
        &self.backup
    }
}

impl Beside for Pin {
    fn backup(&self) -> &BackupId {
        &self.backup
    }
}

/// Reads documents, by the backup that they are about. One that lies beside another backup than it names is not used.
async fn read_beside<T: Beside>(
    store: &dyn Store,
    objects: &[ObjectInfo],
    format: &'static str,
    committed: &BTreeSet<BackupId>,
    listing: &mut Listing,
) -> BTreeMap<BackupId, Vec<T>> {
    let ours = objects.iter().filter_map(|object| match role(&object.path) {
        Some(Role::Beside(id)) if committed.contains(&id) => Some((object.path.clone(), id)),
        _ => None,
    });
    let ours: Vec<(ObjectPath, BackupId)> = ours.collect();
    let read: Vec<(BackupId, Result<T, CatalogError>)> = futures::stream::iter(ours)
        .map(|(path, id)| async move {
            let document = read_document::<T>(store, &path, format).await;
            let document = document.and_then(|document| {
                let found = document.backup();
                if *found == id { Ok(document) } else { Err(super::misplaced(store, &path, found)) }
            });
            (id, document)
        })
        .buffered(READERS)
        .collect()
        .await;
    let mut by_backup: BTreeMap<BackupId, Vec<T>> = BTreeMap::new();
    for (id, document) in read {
        match document {
            Ok(document) => by_backup.entry(id).or_default().push(document),
            Err(CatalogError::Store(store::StoreError::NotFound { .. })) => {}
            Err(error) => {
                if format == PIN_FORMAT {
                    listing.doubtful_pins.insert(id);
                }
                listing.unreadable.push(error);
            }
        }
    }
    by_backup
}
