//! How a backup is removed: the manifest first, and with it the backup is gone; then all that belonged to it. What an
//! interruption leaves is named by no manifest, and goes with the next sweep.

use futures::{StreamExt, TryStreamExt};

use super::{CatalogError, Manifest, beside, manifest_path};
use crate::store::{self, ObjectPath, Store};

/// Objects removed side by side.
const REMOVERS: usize = 8;

/// Removes a backup. Its data stays when `keep_data`: another manifest names it as well.
///
/// # Errors
/// The store's. Before the manifest is gone the backup is untouched; afterwards it does not exist any more.
pub async fn remove(store: &dyn Store, manifest: &Manifest, keep_data: bool) -> Result<(), CatalogError> {
    let id = &manifest.id;
    store.delete(&manifest_path(id)).await?;
    if !keep_data {
        store.delete(&manifest.stored.path).await?;
    }
    for prefix in beside(id) {
        let objects = store::list_all(store, &prefix).await?;
        let others =
            objects.into_iter().map(|object| object.path).filter(|path| *path != manifest.stored.path);
        remove_all(store, others.collect()).await?;
    }
    Ok(())
}

/// Removes objects, in no order.
pub async fn remove_all(store: &dyn Store, paths: Vec<ObjectPath>) -> Result<(), CatalogError> {
    let removals = futures::stream::iter(paths).map(Ok);
    removals.try_for_each_concurrent(REMOVERS, |path| async move { Ok(store.delete(&path).await?) }).await
}
