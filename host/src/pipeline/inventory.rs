//! Who writes what a store should hold, and when: before a backup is committed to a store that lacks the one before it, before
//! backups are removed by rule, and after a sync has brought some. What it means is in `catalog/lineage`.
//!
//! An inventory explains what its writer does, never what was done before: what is missing stays missing, until somebody
//! who has the key signs that it is gone ([`accept`]).

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::known_stores;
use super::store::NamedStore;
use crate::catalog::{
    self, BackupId, CatalogError, ClusterIdentity, Gap, Inventory, Known, Link, Listing, Stamp,
};
use crate::session::SessionId;
use crate::signing::SigningKey;

/// Who signs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// With this key.
    pub key: &'a SigningKey,
    /// The run.
    pub session: &'a SessionId,
    /// The time.
    pub now: Timestamp,
}

/// What should be in a store and is not, where this machine trusts signatures; elsewhere anybody may write what should be there.
///
/// # Errors
/// The store's, or [`CatalogError::InventoryLost`].
pub async fn gaps(named: &NamedStore, listing: &Listing) -> Result<Vec<Gap>, CatalogError> {
    if named.guard.is_none() {
        return Ok(Vec::new());
    }
    Ok(Known::of(listing, newest(named).await?).gaps())
}

/// The same for who looks at one backup: what the inventory lists, and what this backup names as the one before it. Of the other
/// manifests none is read. `present` are the backups that are there; without it, nothing is known to be missing.
///
/// # Errors
/// As [`gaps`].
pub async fn gaps_before(
    named: &NamedStore,
    id: &BackupId,
    previous: Option<&Link>,
    present: Option<&BTreeSet<BackupId>>,
) -> Result<Vec<Gap>, CatalogError> {
    if named.guard.is_none() {
        return Ok(Vec::new());
    }
    let inventory = newest(named).await?;
    let Some(present) = present.cloned() else { return Ok(Vec::new()) };
    let links = previous.map(|link| (id.clone(), link.clone())).into_iter().collect();
    Ok(Known { inventory, present, links, ..Known::default() }.gaps())
}

/// The newest inventory of a store, unless it is not the one that this machine knows.
///
/// # Errors
/// The store's, or [`CatalogError::InventoryLost`].
async fn newest(named: &NamedStore) -> Result<Option<Inventory>, CatalogError> {
    let (inventory, refused) = catalog::newest_inventory(named.store.as_ref()).await?;
    for error in refused {
        tracing::warn!(store = named.name, %error, "an inventory is passed over");
    }
    known_stores::judge_inventory(named, inventory.as_ref())?;
    Ok(inventory)
}

/// What the backup that is about to be committed names as the one before it, as the first store tells that has it.
pub async fn link(stores: &[NamedStore], previous: &BackupId) -> Option<Link> {
    for named in stores {
        match catalog::link(named.store.as_ref(), previous).await {
            Ok(link) => return Some(link),
            Err(error) => tracing::debug!(store = named.name, %error, "the backup before is not read here"),
        }
    }
    None
}

/// Makes a store ready for a backup that names `previous` as the one before it: where the store does not have that, or has others
/// between the two, or no inventory yet, it gets one that says what it does have.
///
/// # Errors
/// The store's. A store whose inventory was taken away gets none: what that means is for people to find out.
pub async fn before_commit(
    named: &NamedStore,
    signer: Signer<'_>,
    cluster: &ClusterIdentity,
    id: &BackupId,
    previous: Option<&Link>,
) -> Result<(), CatalogError> {
    let store = named.store.as_ref();
    let inventory = match newest(named).await {
        Err(error @ CatalogError::InventoryLost { .. }) => {
            tracing::error!(store = named.name, %error, hint = error.hint(), "no inventory is written");
            return Ok(());
        }
        newest => newest?,
    };
    let present = catalog::ids(store).await?;
    let newest_here = present.range(..id.clone()).next_back();
    let follows_on = newest_here == previous.map(|link| &link.id);
    // No rule removes the newest. Behind the backup that comes now nobody else would remember it.
    let lost = known_stores::newest_known(named).filter(|known| known < id && !present.contains(known));
    // The very first backup speaks for itself.
    if follows_on && lost.is_none() && (inventory.is_some() || present.is_empty()) {
        return Ok(());
    }
    let mut known = Known::by_reading(store, inventory).await?;
    known.readable.extend(lost);
    let through = previous.map(|link| &link.id);
    write(named, signer, &known, cluster, &BTreeSet::new(), through).await
}

/// Explains what is about to be removed by rule: an inventory without these.
///
/// # Errors
/// The store's, and [`CatalogError::InventoryLost`]: then nothing is to be removed.
pub async fn before_removal(
    named: &NamedStore,
    signer: Signer<'_>,
    listing: &Listing,
    going: &BTreeSet<BackupId>,
) -> Result<(), CatalogError> {
    let known = Known::of(listing, newest(named).await?);
    let cluster = listing.entries.last().map(|entry| entry.manifest.cluster.clone());
    match cluster {
        Some(cluster) if !going.is_empty() || known.has_unlisted() => {
            write(named, signer, &known, &cluster, going, None).await
        }
        _ => Ok(()),
    }
}

/// Writes what a store holds around a sync: before it, that those up to `through` may not come; after it, what has come.
///
/// # Errors
/// As [`before_removal`].
pub async fn around_sync(
    named: &NamedStore,
    signer: Signer<'_>,
    cluster: &ClusterIdentity,
    through: Option<&BackupId>,
) -> Result<(), CatalogError> {
    let known = Known::by_reading(named.store.as_ref(), newest(named).await?).await?;
    write(named, signer, &known, cluster, &BTreeSet::new(), through).await
}

/// Signs that backups which are missing are gone, and need not be looked for any more. Returns which.
///
/// # Errors
/// As [`gaps`].
pub async fn accept(
    named: &NamedStore,
    signer: Signer<'_>,
    asks_for: impl Fn(&BackupId) -> bool,
) -> Result<BTreeSet<BackupId>, CatalogError> {
    let store = named.store.as_ref();
    let known = Known::by_reading(store, newest(named).await?).await?;
    let gone: BTreeSet<BackupId> =
        known.gaps().into_iter().map(|gap| gap.backup).filter(|id| asks_for(id)).collect();
    let of_backup = match known.readable.last() {
        Some(newest) => catalog::manifest(store, newest).await?.map(|manifest| manifest.cluster),
        None => None,
    };
    let of_inventory = known.inventory.as_ref().map(|inventory| inventory.cluster.clone());
    if let (Some(cluster), false) = (of_backup.or(of_inventory), gone.is_empty()) {
        write(named, signer, &known, &cluster, &gone, gone.last()).await?;
    }
    Ok(gone)
}

async fn write(
    named: &NamedStore,
    signer: Signer<'_>,
    known: &Known,
    cluster: &ClusterIdentity,
    going: &BTreeSet<BackupId>,
    through: Option<&BackupId>,
) -> Result<(), CatalogError> {
    let Signer { key, session, now } = signer;
    let Some(inventory) = known.next(&Stamp { cluster, session, now, through }, going) else { return Ok(()) };
    catalog::add_inventory(named.store.as_ref(), &inventory, key).await?;
    known_stores::knows_inventory(named, &inventory);
    Ok(())
}
