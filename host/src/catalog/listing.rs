//! All that lies in a store, read in one go: committed backups with their records and pins, and what belongs to none.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use super::{
    BackupId, CatalogError, DATA_PREFIX, Entry, Manifest, PIN_FORMAT, Pin, READERS, RECORD_FORMAT, Record,
    manifest, read_document,
};
use crate::store::{self, ObjectInfo, ObjectPath, Store};

/// What a listing found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Committed backups, oldest first.
    pub entries: Vec<Entry>,
    /// Data that no manifest names, and what lies beside backups that are not there: of a run under way, or left by one that died.
    /// Data is left out when a manifest could not be read, for that one may name any of it.
    pub orphans: Vec<ObjectInfo>,
    /// Documents that could not be read. Reported, so that one bad object does not hide the good ones.
    pub unreadable: Vec<CatalogError>,
    /// Backups with a pin that could not be read: it may be one that holds.
    pub doubtful_pins: BTreeSet<BackupId>,
}

/// What an object is, by its name.
enum Role {
    Manifest(BackupId),
    /// Lies beside the manifest of this backup.
    Beside(BackupId),
    Data,
}

fn role(path: &ObjectPath) -> Option<Role> {
    let mut segments = path.as_str().splitn(3, '/');
    let (Some(folder), Some(second)) = (segments.next(), segments.next()) else { return None };
    match (folder, segments.next()) {
        ("backups", Some("manifest.json")) => Some(Role::Manifest(second.parse().ok()?)),
        ("backups" | "records" | "pins", Some(_)) => Some(Role::Beside(second.parse().ok()?)),
        ("data", None) => Some(Role::Data),
        _ => None,
    }
}

/// The ids of the backups in a store: their names alone, nothing is read.
pub async fn ids(store: &dyn Store) -> Result<BTreeSet<BackupId>, CatalogError> {
    let backups = store::list_all(store, "backups/").await?;
    Ok(backups.iter().filter_map(committed_id).collect())
}

fn committed_id(object: &ObjectInfo) -> Option<BackupId> {
    match role(&object.path) {
        Some(Role::Manifest(id)) => Some(id),
        _ => None,
    }
}

/// Every backup in a store.
pub async fn list(store: &dyn Store) -> Result<Listing, CatalogError> {
    // The data first: what is committed while we look must not be taken for an orphan. What lies beside a backup comes
    // before its manifest for the same reason.
    let mut others = store::list_all(store, DATA_PREFIX).await?;
    let (records, pins) =
        futures::try_join!(store::list_all(store, "records/"), store::list_all(store, "pins/"))?;
    let backups = store::list_all(store, "backups/").await?;
    let committed: BTreeSet<BackupId> = backups.iter().filter_map(committed_id).collect();

    let mut listing = Listing::default();
    let mut records_of =
        read_beside::<Record>(store, &records, RECORD_FORMAT, &committed, &mut listing).await;
    let mut pins_of = read_beside::<Pin>(store, &pins, PIN_FORMAT, &committed, &mut listing).await;
    let manifests: Vec<Result<Option<Manifest>, CatalogError>> = futures::stream::iter(committed.clone())
        .map(|id| async move { manifest(store, &id).await })
        .buffered(READERS)
        .collect()
        .await;
    let mut named: BTreeSet<ObjectPath> = BTreeSet::new();
    let mut all_read = true;
    for read in manifests {
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
    others.extend(records);
    others.extend(pins);
    others.extend(backups);
    let is_orphan = |object: &ObjectInfo| match role(&object.path) {
        Some(Role::Beside(id)) if !committed.contains(&id) => all_read && !named.contains(&object.path),
        Some(Role::Data) => all_read && !named.contains(&object.path),
        _ => false,
    };
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
