//! What backups there are. The only place that knows object names.
//!
//! ```text
//! data/<utc>-<session>.db.zst[.age]            the packed snapshot
//! backups/<id>/manifest.json                   written last: the commit. Names its data. Immutable afterwards
//! backups/<id>/manifest-<n>.json               the n-th edition: the same backup, packed anew. The highest counts
//! backups/<id>/manifest.json.minisig           the signature over it, written before it. Each edition has its own
//! records/<id>/<utc>-<session>.json            verification records: added, never rewritten
//! pins/<id>/<utc>-<session>.json               this backup stays, or may go again: added, never rewritten
//! checks/<utc>-<session>.json                  what a check of the whole store saw: added, never rewritten
//! inventory/<utc>-<session>.json               what this store should hold, signed: added, never rewritten
//! repository.json                              whose repository this is
//! ```
//!
//! Order is safety: data, then manifest; on removal the manifest goes first. What no manifest names is an orphan.

mod checkup;
mod id;
mod lineage;
mod listing;
mod manifest;
pub mod pin;
mod reading;
mod record;
mod removal;
mod seal;
mod trust;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use checkup::{CHECK_FORMAT, Check, Depth, Seen};
pub use id::BackupId;
pub use lineage::{
    Gap, GapKind, INVENTORY_FORMAT, Inventory, Known, Link, Stamp, add_inventory, link, newest_inventory,
    old_inventories,
};
pub use listing::{Editions, Listing, editions, editions_of, ids, ids_from, list, next_edition, order_of};
pub use manifest::{
    ClusterIdentity, FIRST_EDITION, MANIFEST_FORMAT, Manifest, PackInfo, PlainInfo, Repack, StoredInfo,
};
pub use pin::{PIN_FORMAT, Pin, PinAction};
use reading::{Bounds, Document, read_document};
pub use record::{Measured, RECORD_FORMAT, Record, StepRecord, Trigger, Used};
pub use removal::{earlier_data, locked_until, remove, remove_all, remove_uncommitted};
pub use seal::{Sealed, commit, is_signed_by, seal, sign};
pub use trust::{Trust, TrustedStore};

use crate::session::SessionId;
use crate::signing::SigningError;
use crate::store::{self, ObjectPath, Store, StoreError};

/// Largest manifest or record that is read: they are a few kilobytes, and findings are capped.
pub const MAX_DOCUMENT_BYTES: u64 = 16 << 20;
const DATA_PREFIX: &str = "data/";
/// Checks of a store that are kept.
const KEPT_CHECKS: usize = 30;
const CHECKS_PREFIX: &str = "checks/";
const REPOSITORY: &str = "repository.json";
const REPOSITORY_FORMAT: &str = "holdfast-repository/1";

fn path(text: String) -> ObjectPath {
    ObjectPath::new(text).expect("names made of ids and fixed words are object paths")
}

/// Where a run puts its packed snapshot. Named after the run and not after the backup, whose id holds the revision: that
/// is only known once the whole snapshot is there, and by then most of it is packed and stored.
pub fn data_path(started: Timestamp, session: &SessionId, encrypted: bool) -> ObjectPath {
    let suffix = if encrypted { ".age" } else { "" };
    path(format!("{DATA_PREFIX}{}-{session}.db.zst{suffix}", id::compact_utc(started)))
}

/// Where a backup's manifest lies: the first, with which it exists.
pub fn manifest_path(id: &BackupId) -> ObjectPath {
    edition_path(id, FIRST_EDITION)
}

/// Where an edition of a backup's manifest lies.
pub fn edition_path(id: &BackupId, edition: u32) -> ObjectPath {
    match edition {
        FIRST_EDITION => path(format!("backups/{id}/manifest.json")),
        later => path(format!("backups/{id}/manifest-{later}.json")),
    }
}

fn record_path(record: &Record) -> ObjectPath {
    path(format!("records/{}/{}-{}.json", record.backup, id::precise_utc(record.started), record.session))
}

fn pin_path(pin: &Pin) -> ObjectPath {
    path(format!("pins/{}/{}-{}.json", pin.backup, id::precise_utc(pin.at), pin.session))
}

/// What is added beside a backup after it was committed lies below these.
pub const BESIDE_FOLDERS: [&str; 2] = ["records/", "pins/"];

/// The backup that an object lies beside, by its path.
pub fn id_beside(path: &ObjectPath) -> Option<BackupId> {
    let folder = BESIDE_FOLDERS.into_iter().find_map(|folder| path.as_str().strip_prefix(folder))?;
    folder.split_once('/')?.0.parse().ok()
}

/// Where all lies that belongs to a backup beside its data.
pub fn beside(id: &BackupId) -> [String; 3] {
    ["backups", "records", "pins"].map(|folder| format!("{folder}/{id}/"))
}

/// Whose repository a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// `holdfast-repository/1`.
    pub format: String,
    /// The cluster whose backups lie here.
    pub cluster: ClusterIdentity,
    /// When the first backup was written.
    pub created: Timestamp,
}

/// One backup as a store holds it.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The manifest.
    pub manifest: Manifest,
    /// Verification records, oldest first.
    pub records: Vec<Record>,
    /// What was said about keeping it, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
}

impl Entry {
    /// The newest verification.
    pub fn last_record(&self) -> Option<&Record> {
        self.records.last()
    }
}

/// A document in a store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The store's own error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not the JSON it should be.
    #[error("`{path}` in {store} is damaged")]
    Damaged {
        /// The object.
        path: String,
        /// The store, as it describes itself.
        store: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// Written by a newer release.
    #[error("`{path}` in {store} has format `{format}`, this release reads `{known}`")]
    Format {
        /// The object.
        path: String,
        /// The store, as it describes itself.
        store: String,
        /// The format it names.
        format: String,
        /// The format known here.
        known: &'static str,
    },
    /// Its signature is missing, or not one that counts.
    #[error("`{path}` in {store} is refused: {reason}")]
    Untrusted {
        /// The object.
        path: String,
        /// The store, as it describes itself.
        store: String,
        /// What is wrong with the signature.
        reason: String,
    },
    /// It could not be signed.
    #[error("`{path}` cannot be signed")]
    Unsigned {
        /// The object.
        path: String,
        /// The cause.
        source: SigningError,
    },
    /// A document that names another backup than its place does.
    #[error("`{path}` in {store} belongs to backup `{found}`: it was moved or planted")]
    Misplaced {
        /// The object.
        path: String,
        /// The store, as it describes itself.
        store: String,
        /// The id it names.
        found: String,
    },
    /// It held backups, and nothing says so any more.
    #[error("{store} held this machine's backups and is empty now")]
    Emptied {
        /// The store, as it describes itself.
        store: String,
        /// Where it is written that it held backups.
        marker: std::path::PathBuf,
    },
    /// Its newest backups are gone.
    #[error("{store} was rolled back: its newest backup is {newest}, and this machine knows `{known}` there")]
    RolledBack {
        /// The store, as it describes itself.
        store: String,
        /// The newest that is there now, or `none`.
        newest: String,
        /// The newest that was there.
        known: Box<BackupId>,
        /// Where that is written.
        marker: std::path::PathBuf,
    },
    /// It kept a signed inventory, and has none any more, or that of another store.
    #[error("{store} {found}, and this machine knows its inventory `{known}`")]
    InventoryLost {
        /// The store, as it describes itself.
        store: String,
        /// What is there.
        found: String,
        /// What was there.
        known: String,
        /// Where that is written.
        marker: std::path::PathBuf,
    },
    /// Another cluster's repository.
    #[error("{store} holds the backups of cluster `{found}` (id {found_id}), not of `{name}` (id {id})")]
    OtherCluster {
        /// The store, as it describes itself.
        store: String,
        /// The name of the cluster whose repository it is.
        found: String,
        /// Its id.
        found_id: String,
        /// The name of the cluster that was to be written.
        name: String,
        /// Its id.
        id: String,
    },
}

impl CatalogError {
    /// The object that it is about.
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::Damaged { path, .. }
            | Self::Format { path, .. }
            | Self::Untrusted { path, .. }
            | Self::Unsigned { path, .. }
            | Self::Misplaced { path, .. } => Some(path),
            Self::Store(_)
            | Self::Emptied { .. }
            | Self::RolledBack { .. }
            | Self::InventoryLost { .. }
            | Self::OtherCluster { .. } => None,
        }
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Damaged { .. } | Self::Misplaced { .. } => {
                Some("take the backup from another store; this object was changed after it was written".to_owned())
            }
            Self::Untrusted { .. } => Some(
                "it was planted or changed, or is older than the signing: take another backup, or, once you know it to be good, \
                 `holdfast sign ID`"
                    .to_owned(),
            ),
            Self::Unsigned { source, .. } => source.hint(),
            Self::Format { .. } => Some("read it with the release that wrote it, or a newer one".to_owned()),
            Self::Emptied { marker, .. } => Some(format!(
                "is its disk mounted? If the store was emptied on purpose, remove `{}` and it is begun anew",
                marker.display()
            )),
            Self::RolledBack { marker, .. } => Some(format!(
                "take the backups from another store, or name the one you want by its id. If they were removed on purpose, remove `{}`",
                marker.display()
            )),
            Self::InventoryLost { marker, .. } => Some(format!(
                "somebody else removed it, and may have removed backups as well: compare with another store. If it was done on purpose, \
                 remove `{}`",
                marker.display()
            )),
            Self::OtherCluster { .. } => Some(
                "give each cluster a store of its own; after a restore, which makes a new cluster id, begin a new one as well"
                    .to_owned(),
            ),
        }
    }
}

async fn write_document(
    store: &dyn Store,
    object: &ObjectPath,
    document: &impl Serialize,
) -> Result<(), CatalogError> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(|source| CatalogError::Damaged {
        path: object.to_string(),
        store: store.describe(),
        source,
    })?;
    bytes.push(b'\n');
    store.put(object, store::body(bytes)).await?;
    Ok(())
}

/// Makes sure that a store holds this cluster's backups and no other's; the first run writes whose it is.
pub async fn claim(store: &dyn Store, cluster: &ClusterIdentity, now: Timestamp) -> Result<(), CatalogError> {
    let object = path(REPOSITORY.to_owned());
    let mine = Repository { format: REPOSITORY_FORMAT.to_owned(), cluster: cluster.clone(), created: now };
    let held: Repository = match read_document(store, &object).await {
        Ok(held) => held,
        Err(CatalogError::Store(StoreError::NotFound { .. })) => {
            match write_document(store, &object, &mine).await {
                Ok(()) => return Ok(()),
                // Another agent was first: see what it wrote.
                Err(CatalogError::Store(StoreError::Exists { .. })) => read_document(store, &object).await?,
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    if held.cluster.id == cluster.id {
        return Ok(());
    }
    Err(CatalogError::OtherCluster {
        store: store.describe(),
        found: held.cluster.name,
        found_id: held.cluster.id,
        name: cluster.name.clone(),
        id: cluster.id.clone(),
    })
}

/// Whether a store says whose repository it is.
pub async fn is_claimed(store: &dyn Store) -> Result<bool, CatalogError> {
    Ok(store.head(&path(REPOSITORY.to_owned())).await?.is_some())
}

/// Adds a verification record.
pub async fn add_record(store: &dyn Store, record: &Record) -> Result<(), CatalogError> {
    write_document(store, &record_path(record), record).await
}

/// Adds a word about keeping a backup.
pub async fn add_pin(store: &dyn Store, pin: &Pin) -> Result<(), CatalogError> {
    write_document(store, &pin_path(pin), pin).await
}

/// Adds what a check saw.
pub async fn add_check(store: &dyn Store, check: &Check) -> Result<(), CatalogError> {
    let object = path(format!("{CHECKS_PREFIX}{}-{}.json", id::precise_utc(check.started), check.session));
    write_document(store, &object, check).await
}

/// The newest check that can be read.
pub async fn last_check(store: &dyn Store) -> Result<Option<Check>, CatalogError> {
    let objects = store::list_all(store, CHECKS_PREFIX).await?;
    for object in objects.iter().rev() {
        match read_document(store, &object.path).await {
            Err(CatalogError::Damaged { .. } | CatalogError::Format { .. }) => {}
            read => return read.map(Some),
        }
    }
    Ok(None)
}

/// Checks that newer ones have made superfluous: each carries on what the one before knew.
pub async fn old_checks(store: &dyn Store) -> Result<Vec<ObjectPath>, CatalogError> {
    let mut checks = store::list_all(store, CHECKS_PREFIX).await?;
    checks.truncate(checks.len().saturating_sub(KEPT_CHECKS));
    Ok(checks.into_iter().map(|object| object.path).collect())
}

fn misplaced(store: &dyn Store, object: &ObjectPath, found: &BackupId) -> CatalogError {
    CatalogError::Misplaced { path: object.to_string(), store: store.describe(), found: found.to_string() }
}

/// One backup's manifest, in its highest edition; none if there is no such backup.
pub async fn manifest(store: &dyn Store, id: &BackupId) -> Result<Option<Manifest>, CatalogError> {
    let objects = store::list_all(store, &format!("backups/{id}/")).await?;
    let Some(editions) = listing::editions_in(&objects).remove(id) else { return Ok(None) };
    let (found, refused) = newest_edition(store, id, &editions).await;
    tell_of(&refused);
    found
}

fn tell_of(refused: &[CatalogError]) {
    for error in refused {
        tracing::warn!(%error, "an edition of this backup is passed over");
    }
}

/// A manifest, none when it is not there, or why it is not to be had.
type ReadManifest = Result<Option<Manifest>, CatalogError>;

/// The highest edition of a manifest that is not refused, and those above it that are. What is planted in front of a good
/// edition does not take it away.
async fn newest_edition(
    store: &dyn Store,
    id: &BackupId,
    editions: &BTreeSet<u32>,
) -> (ReadManifest, Vec<CatalogError>) {
    let mut refused = Vec::new();
    for edition in editions.iter().rev() {
        match read_edition(store, id, *edition).await {
            Err(error @ CatalogError::Untrusted { .. }) => refused.push(error),
            read => return (read, refused),
        }
    }
    match refused.pop() {
        Some(error) => (Err(error), refused),
        None => (Ok(None), refused),
    }
}

/// One edition of a manifest; none when it is not there.
pub async fn read_edition(
    store: &dyn Store,
    id: &BackupId,
    edition: u32,
) -> Result<Option<Manifest>, CatalogError> {
    let object = edition_path(id, edition);
    match read_document::<Manifest>(store, &object).await {
        Ok(manifest) if manifest.id == *id && manifest.edition == edition => Ok(Some(manifest)),
        Ok(manifest) => Err(CatalogError::Misplaced {
            path: object.to_string(),
            store: store.describe(),
            found: format!("{} (edition {})", manifest.id, manifest.edition),
        }),
        Err(CatalogError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A backup's verification records, oldest first.
pub async fn records(store: &dyn Store, id: &BackupId) -> Result<Vec<Record>, CatalogError> {
    let read = documents(store, &format!("records/{id}/")).await?;
    read.into_iter().collect::<Result<_, _>>().map(in_order)
}

/// Those of a backup's verification records that can be read, oldest first, and why the others cannot.
///
/// # Errors
/// When the store cannot be listed.
pub async fn readable_records(
    store: &dyn Store,
    id: &BackupId,
) -> Result<(Vec<Record>, Vec<CatalogError>), CatalogError> {
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    for read in documents(store, &format!("records/{id}/")).await? {
        match read {
            Ok(record) => records.push(record),
            // Removed since it was listed.
            Err(CatalogError::Store(StoreError::NotFound { .. })) => {}
            Err(error) => errors.push(error),
        }
    }
    Ok((in_order(records), errors))
}

/// What was said about keeping one backup, in the order of names.
pub async fn pins(store: &dyn Store, id: &BackupId) -> Result<Vec<Pin>, CatalogError> {
    documents(store, &format!("pins/{id}/")).await?.into_iter().collect()
}

/// Every document under a prefix, in the order of names.
async fn documents<T: Document>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<Result<T, CatalogError>>, CatalogError> {
    let objects = store::list_all(store, prefix).await?;
    let bounds = &Bounds::of(store);
    let reads = objects.into_iter().map(|object| async move {
        bounds.read(object.size_bytes, read_document::<T>(store, &object.path)).await
    });
    Ok(futures::future::join_all(reads).await)
}

/// Oldest first, by their own word: names may come from clocks that differ.
fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.ended);
    records
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
