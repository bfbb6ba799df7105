//! All that lies in a store, read in one go: committed backups with their records and pins, and what belongs to none.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use futures::StreamExt;
use futures::channel::mpsc;

use super::{
    BackupId, Bounds, CatalogError, DATA_PREFIX, Document, Entry, FIRST_EDITION, Pin, ReadManifest, Record,
    lineage, newest_edition, read_document, seal,
};
use crate::store::{self, ObjectInfo, ObjectPath, Store, StoreError};

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
    /// Whether it is known which data belongs to nobody: not when a manifest could not be read.
    pub orphans_known: bool,
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

/// The ids of the backups whose names begin so.
pub async fn ids_from(store: &dyn Store, beginning: &str) -> Result<BTreeSet<BackupId>, StoreError> {
    let objects = store::list_all(store, &format!("backups/{beginning}")).await?;
    // Also of what is there without its first edition: its name is taken.
    let id = |object: &ObjectInfo| match role(&object.path) {
        Some(Role::Manifest(id, _) | Role::Beside(id)) => Some(id),
        _ => None,
    };
    Ok(objects.iter().filter_map(id).collect())
}

/// Every backup in a store.
///
/// Names are listed side by side, and what they name is read while the next page is asked for: over a network a round trip is what
/// costs, and hardly any of them waits for another.
///
/// # Errors
/// When the store cannot be listed. What cannot be read is told in the listing.
pub async fn list(store: &dyn Store) -> Result<Listing, CatalogError> {
    let bounds = Bounds::of(store);
    let (data, records, pins, (backups, mut manifests)) = futures::try_join!(
        async { Ok(store::list_all(store, DATA_PREFIX).await?) },
        read_beside::<Record>(store, &bounds, "records/"),
        read_beside::<Pin>(store, &bounds, "pins/"),
        read_manifests(store, &bounds),
    )?;
    let mut names: BTreeSet<ObjectPath> = backups.iter().map(|object| object.path.clone()).collect();
    let mut others = data;
    others.extend(records.objects.iter().chain(&pins.objects).chain(&backups).cloned());
    let mut orphans = orphans_among(&others, &names, &manifests);
    if !orphans.is_empty() {
        // What was committed while we looked must not be taken for an orphan: whatever was there by then is named now.
        let again = store::list_all(store, "backups/").await?;
        read_further(store, &bounds, &again, &mut manifests).await;
        names.extend(again.into_iter().map(|object| object.path));
        orphans = orphans_among(&others, &names, &manifests);
    }
    let mut listing = Listing {
        orphans,
        orphans_known: all_read(&manifests),
        committed: manifests.keys().cloned().collect(),
        ..Listing::default()
    };
    let (mut records, _) = records.of(&listing.committed, &mut listing.unreadable);
    let (mut pins, doubtful) = pins.of(&listing.committed, &mut listing.unreadable);
    listing.doubtful_pins = doubtful;
    for (id, read) in manifests {
        listing.unreadable.extend(read.refused);
        match read.manifest {
            Ok(Some(manifest)) => {
                let records = super::in_order(records.remove(&id).unwrap_or_default());
                let pins = pins.remove(&id).unwrap_or_default();
                listing.entries.push(Entry { manifest, records, pins });
            }
            // Removed since it was listed.
            Ok(None) => {}
            Err(error) => listing.unreadable.push(error),
        }
    }
    Ok(listing)
}

/// What of these belongs to no backup. `names` are all that lie in `backups/`.
fn orphans_among(
    objects: &[ObjectInfo],
    names: &BTreeSet<ObjectPath>,
    manifests: &Manifests,
) -> Vec<ObjectInfo> {
    let all_read = all_read(manifests);
    let named = manifests.values().filter_map(|read| read.manifest.as_ref().ok()?.as_ref());
    let named: BTreeSet<&ObjectPath> = named.map(|manifest| &manifest.stored.path).collect();
    let is_orphan = |object: &&ObjectInfo| match role(&object.path) {
        Some(Role::Beside(id)) if manifests.contains_key(&id) => {
            seal::signed_document(&object.path).is_some_and(|document| !names.contains(&document))
        }
        // Also an edition without the first.
        Some(Role::Beside(id) | Role::Manifest(id, _)) if !manifests.contains_key(&id) => {
            all_read && !named.contains(&object.path)
        }
        Some(Role::Data) => all_read && !named.contains(&object.path),
        _ => false,
    };
    objects.iter().filter(is_orphan).cloned().collect()
}

/// What a manifest names that was not read, or was refused, may be needed: by whoever finds out that it was right after all.
fn all_read(manifests: &Manifests) -> bool {
    manifests.values().all(|read| read.manifest.is_ok() && read.refused.is_empty())
}

/// What lies in a backup's folder, as far as it is read together.
struct Folder {
    id: BackupId,
    editions: BTreeSet<u32>,
    /// Of manifests and signatures.
    size_bytes: u64,
}

impl Folder {
    /// As one object tells.
    fn of(object: &ObjectInfo) -> Option<Self> {
        let size_bytes = object.size_bytes;
        match role(&object.path)? {
            Role::Manifest(id, edition) => Some(Self { id, editions: BTreeSet::from([edition]), size_bytes }),
            Role::Beside(id) if seal::signed_document(&object.path).is_some() => {
                Some(Self { id, editions: BTreeSet::new(), size_bytes })
            }
            _ => None,
        }
    }

    fn add(&mut self, other: Self) {
        self.editions.extend(other.editions);
        self.size_bytes = self.size_bytes.saturating_add(other.size_bytes);
    }

    /// Without the first edition there is no backup.
    fn is_backup(&self) -> bool {
        self.editions.contains(&FIRST_EDITION)
    }

    async fn read(self, store: &dyn Store, bounds: &Bounds) -> (BackupId, ReadBackup) {
        let Self { id, editions, size_bytes } = self;
        let (manifest, refused) = bounds.read(size_bytes, newest_edition(store, &id, &editions)).await;
        (id, ReadBackup { editions, manifest, refused })
    }
}

/// What reading the manifest of a backup came to.
struct ReadBackup {
    editions: BTreeSet<u32>,
    manifest: ReadManifest,
    refused: Vec<CatalogError>,
}

/// Of every backup there is.
type Manifests = BTreeMap<BackupId, ReadBackup>;

/// Lists all that lies in the folders of backups, and reads each manifest as soon as its folder was listed.
async fn read_manifests(
    store: &dyn Store,
    bounds: &Bounds,
) -> Result<(Vec<ObjectInfo>, Manifests), CatalogError> {
    let (sender, folders) = mpsc::unbounded();
    let listing = async move {
        // Whoever reads has gone only when the listing is dropped as well.
        let send = |folder: Folder| drop(folder.is_backup().then(|| sender.unbounded_send(folder)));
        let mut open: Option<Folder> = None;
        let objects = store::list_each(store, "backups/", |object| {
            let Some(part) = Folder::of(object) else { return };
            match &mut open {
                Some(folder) if folder.id == part.id => folder.add(part),
                _ => open.replace(part).into_iter().for_each(&send),
            }
        });
        let objects = objects.await?;
        open.into_iter().for_each(send);
        Ok::<_, StoreError>(objects)
    };
    let reading = folders.map(|folder: Folder| folder.read(store, bounds)).buffer_unordered(bounds.at_once);
    let (objects, mut manifests) = futures::try_join!(listing, async { Ok(reading.collect().await) })?;
    // A store that lists in no order tells of a folder in pieces.
    read_further(store, bounds, &objects, &mut manifests).await;
    Ok((objects, manifests))
}

/// Reads of what is listed in the folders of backups what was not read yet.
async fn read_further(store: &dyn Store, bounds: &Bounds, objects: &[ObjectInfo], read: &mut Manifests) {
    let mut folders: BTreeMap<BackupId, Folder> = BTreeMap::new();
    for part in objects.iter().filter_map(Folder::of) {
        match folders.entry(part.id.clone()) {
            btree_map::Entry::Vacant(place) => {
                place.insert(part);
            }
            btree_map::Entry::Occupied(mut place) => place.get_mut().add(part),
        }
    }
    let is_new = |folder: &Folder| {
        folder.is_backup() && read.get(&folder.id).is_none_or(|read| read.editions != folder.editions)
    };
    let unread: Vec<Folder> = folders.into_values().filter(is_new).collect();
    let reads = unread.into_iter().map(|folder| folder.read(store, bounds));
    let found: Vec<_> = futures::stream::iter(reads).buffer_unordered(bounds.at_once).collect().await;
    read.extend(found);
}

/// A document that lies beside a backup and names it.
trait Beside: Document {
    /// Whether not to know one may do harm.
    const IS_NEEDED: bool;

    fn backup(&self) -> &BackupId;
}

impl Beside for Record {
    const IS_NEEDED: bool = false;

    fn backup(&self) -> &BackupId {
        &self.backup
    }
}

impl Beside for Pin {
    const IS_NEEDED: bool = true;

    fn backup(&self) -> &BackupId {
        &self.backup
    }
}

/// Documents of one kind, by their paths, and what reading them came to.
struct ReadBeside<T> {
    objects: Vec<ObjectInfo>,
    read: BTreeMap<ObjectPath, (BackupId, Result<T, CatalogError>)>,
}

/// Lists the documents below a prefix, and reads each as soon as it was listed. One that lies beside another backup than it names is
/// not used.
async fn read_beside<T: Beside>(
    store: &dyn Store,
    bounds: &Bounds,
    prefix: &str,
) -> Result<ReadBeside<T>, CatalogError> {
    let (sender, listed) = mpsc::unbounded();
    let listing = async move {
        let send = |object: &ObjectInfo| {
            if let Some(Role::Beside(id)) = role(&object.path) {
                // Whoever reads has gone only when this is dropped as well.
                let _ = sender.unbounded_send((object.path.clone(), object.size_bytes, id));
            }
        };
        store::list_each(store, prefix, send).await
    };
    let reading = listed.map(|(path, size_bytes, id): (ObjectPath, u64, BackupId)| async move {
        let document = bounds.read(size_bytes, read_document::<T>(store, &path)).await;
        let document = document.and_then(|document| {
            let found = document.backup();
            if *found == id { Ok(document) } else { Err(super::misplaced(store, &path, found)) }
        });
        (path, (id, document))
    });
    let reading = reading.buffer_unordered(bounds.at_once).collect();
    let (objects, read) = futures::try_join!(listing, async { Ok(reading.await) })?;
    Ok(ReadBeside { objects, read })
}

impl<T: Beside> ReadBeside<T> {
    /// By the backup that they are about, in the order of names; and of which of these backups one that is needed could not be read.
    fn of(
        self,
        committed: &BTreeSet<BackupId>,
        unreadable: &mut Vec<CatalogError>,
    ) -> (BTreeMap<BackupId, Vec<T>>, BTreeSet<BackupId>) {
        let mut by_backup: BTreeMap<BackupId, Vec<T>> = BTreeMap::new();
        let mut doubtful = BTreeSet::new();
        for (id, document) in self.read.into_values().filter(|(id, _)| committed.contains(id)) {
            match document {
                Ok(document) => by_backup.entry(id).or_default().push(document),
                Err(CatalogError::Store(StoreError::NotFound { .. })) => {}
                Err(error) => {
                    doubtful.extend(T::IS_NEEDED.then_some(id));
                    unreadable.push(error);
                }
            }
        }
        (by_backup, doubtful)
    }
}
