//! How a backup is removed: the manifest first, and with it the backup is gone; then all that belonged to it. What an
//! interruption leaves is named by no manifest, and goes with the next sweep.

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::{
    BackupId, CatalogError, Manifest, beside, editions_of, manifest, manifest_path, read_edition, seal,
};
use crate::store::{self, ObjectPath, Store, StoreError};

/// Objects removed side by side.
const REMOVERS: usize = 8;

/// Removes a backup. Its data stays when `keep_data`: another manifest names it as well. What lies beside it and is locked in
/// the store stays until its lock has ended: it belongs to no backup then, and goes with a later sweep.
///
/// # Errors
/// The store's. Before the manifest is gone the backup is untouched; afterwards it does not exist any more.
pub async fn remove(store: &dyn Store, manifest: &Manifest, keep_data: bool) -> Result<(), CatalogError> {
    let id = &manifest.id;
    store.delete(&manifest_path(id)).await?;
    let mut rest = Vec::new();
    if !keep_data {
        rest.push(manifest.stored.path.clone());
    }
    for prefix in beside(id) {
        let objects = store::list_all(store, &prefix).await?;
        let others = objects.into_iter().map(|object| object.path);
        rest.extend(others.filter(|path| *path != manifest.stored.path));
    }
    remove_all(store, rest).await.map(drop)
}

/// Removes objects, in no order. Returns those that the store keeps locked.
pub async fn remove_all(store: &dyn Store, paths: Vec<ObjectPath>) -> Result<Vec<ObjectPath>, CatalogError> {
    let removals = futures::stream::iter(paths).map(|path| async move {
        match store.delete(&path).await {
            Ok(()) => Ok(None),
            Err(StoreError::Locked { .. }) => Ok(Some(path)),
            Err(error) => Err(CatalogError::from(error)),
        }
    });
    removals.buffer_unordered(REMOVERS).try_filter_map(|locked| async move { Ok(locked) }).try_collect().await
}

/// Data that earlier editions of a backup name, that this one does not, and that is still there.
///
/// # Errors
/// The store's.
pub async fn earlier_data(store: &dyn Store, manifest: &Manifest) -> Result<Vec<ObjectPath>, CatalogError> {
    let mut found = Vec::new();
    let editions = editions_of(store, &manifest.id).await?;
    for edition in editions.into_iter().filter(|edition| *edition < manifest.edition) {
        // One that is not read here names nothing that may be removed.
        let Ok(Some(earlier)) = read_edition(store, &manifest.id, edition).await else { continue };
        let path = earlier.stored.path;
        if path != manifest.stored.path && store.head(&path).await?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Until when the store refuses to remove a backup's manifest or data; none where it is not locked, or the store does not tell.
pub async fn locked_until(store: &dyn Store, manifest: &Manifest) -> Result<Option<Timestamp>, CatalogError> {
    let (id, data) = (manifest_path(&manifest.id), &manifest.stored.path);
    let (manifest, data) = futures::try_join!(store.head(&id), store.head(data))?;
    Ok([manifest, data].into_iter().flatten().filter_map(|info| info.locked_until).max())
}

/// Removes the data of a run that did not commit it, and the signatures of manifests that would have named it. Refuses, and
/// says false, when the run's backup is there and names this data: then it was committed after all.
pub async fn remove_uncommitted(
    store: &dyn Store,
    data: &ObjectPath,
    backup: Option<&BackupId>,
) -> Result<bool, CatalogError> {
    if let Some(id) = backup {
        if manifest(store, id).await?.is_some_and(|manifest| manifest.stored.path == *data) {
            return Ok(false);
        }
        for signature in seal::signatures_for(store, id, data).await? {
            store.delete(&signature).await?;
        }
    }
    store.delete(data).await?;
    Ok(true)
}
