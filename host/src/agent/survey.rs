//! A look into stores, for those who only want to know what is there.

use std::sync::Arc;

use etcd_snapshot::Outcome;

use super::{any_stores, guarded, stores};
use crate::catalog::{self, CatalogError, Listing};
use crate::config::{Config, StoreConfig};
use crate::metrics::{Metrics, Survey};
use crate::pipeline::known_stores;
use crate::pipeline::store::{NamedStore, with_causes};
use crate::store::CachedStore;

/// Where is remembered what buckets hold, below the scratch directory.
const CACHE_DIRECTORY: &str = "catalog";

/// Lists a store. One that held backups and is empty now cannot be read, most likely.
pub async fn listed(config: &Config, named: &NamedStore, no_cache: bool) -> Result<Listing, CatalogError> {
    let store = named.store.as_ref();
    // A file is read as fast where it lies.
    let is_remote = !matches!(config.stores.get(&named.name), Some(StoreConfig::Directory { .. }));
    let bare = any_stores(config, std::slice::from_ref(&named.name)).pop();
    let listing = if let Some(bare) = bare.filter(|_| is_remote && !no_cache) {
        let directory = config.backup.scratch.join(CACHE_DIRECTORY);
        let cached = Arc::new(CachedStore::open(Arc::clone(&bare.store), &directory));
        // Trust comes after memory: what is remembered is judged by the keys of today.
        let guarded = guarded(config, NamedStore { store: cached.clone(), ..bare });
        let listing = catalog::list(guarded.store.as_ref()).await?;
        cached.save();
        tracing::debug!(store = named.name, read = cached.read(), "what else is there was remembered");
        listing
    } else {
        catalog::list(store).await?
    };
    if listing.entries.is_empty() {
        known_stores::refuse_emptied(&config.backup.scratch, store).await?;
    }
    Ok(listing)
}

/// Looks into every store of backups, side by side, and tells what is there.
pub(super) async fn survey(config: &Config, metrics: &Metrics) {
    let looks = stores(config, &config.backup.stores).into_iter().map(|named| async move {
        let found = listed(config, &named, false).await;
        let found = found.inspect_err(|error| {
            tracing::debug!(store = named.name, error = with_causes(error), "not looked into");
        });
        metrics.surveyed(&named.name, found.ok().as_ref().map(summed));
    });
    futures::future::join_all(looks).await;
}

fn summed(listing: &Listing) -> Survey {
    let entries = || listing.entries.iter();
    let proofs = entries().flat_map(|entry| &entry.records);
    Survey {
        backups: entries().count() as u64,
        stored_bytes: entries().map(|entry| entry.manifest.stored.size_bytes).sum(),
        newest: entries().map(|entry| entry.manifest.committed).max(),
        proved: proofs.filter(|record| record.outcome == Outcome::Passed).map(|record| record.ended).max(),
    }
}
