//! Brings a store what it missed, from another that has it: bytes as they are stored, so that no key is needed.
//!
//! The data comes first, its digest compared on the way and read back, then what lies beside it, the manifest last. An
//! object that is there already and right is not sent again: a copy that was interrupted goes on where it stopped, object by object.
//!
//! Of a backup that both have the target gets the proofs and pins that it lacks: what failed its proof in one store is not
//! unproved in the other. A verdict on the stored bytes of one copy stays with that copy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::catalog::{self, BackupId, CatalogError, ClusterIdentity, Entry, Listing, Manifest, Record};
use crate::pack::hex;
use crate::pipeline::inventory::{self, Signer};
use crate::pipeline::store::{NamedStore, with_causes};
use crate::pipeline::verify;
use crate::progress::Progress;
use crate::prune;
use crate::retain::{self, Policy, Reason};
use crate::session::SessionId;
use crate::signing::SigningKey;
use crate::store::{self, ByteStream, ObjectPath, Store, StoreError};

/// What one store got.
#[derive(Debug, Serialize)]
pub struct Synced {
    /// The store.
    pub store: String,
    /// Backups that it did not have and has now.
    pub copied: Vec<Copied>,
    /// Backups that it lacks and its retention rules would not keep.
    pub not_wanted: Vec<BackupId>,
    /// Proofs and pins that it got, of backups that it had.
    pub documents: u64,
    /// What could not be brought, and why.
    pub errors: Vec<String>,
}

/// One backup that was brought.
#[derive(Debug, Clone, Serialize)]
pub struct Copied {
    /// The backup.
    pub backup: BackupId,
    /// The store that it came from.
    pub from: String,
    /// Bytes of its data; 0 when these were there already.
    pub sent_bytes: u64,
    /// Data of its earlier editions that still lies in the target. Who copies without a key has not seen the new data unpack, and so
    /// takes away nothing: `rekey` does, and so does `prune`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_data: Vec<ObjectPath>,
}

/// Why a backup could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A store, or the catalog in it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The target holds another backup under this id.
    #[error("there is another backup of this id in the target: its data has sha256 {found}, not {expected}")]
    Conflict {
        /// The digest in the target's manifest.
        found: String,
        /// The digest in the source's manifest.
        expected: String,
    },
    /// What arrived is not what was sent.
    #[error("`{path}` reads back with sha256 {found}, its manifest says {expected}")]
    ReadBack {
        /// The object.
        path: ObjectPath,
        /// What lies there.
        found: String,
        /// What should.
        expected: String,
    },
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> Self {
        Self::Catalog(error.into())
    }
}

/// A store that is to get what it lacks.
pub struct Target<'a> {
    /// The store.
    pub named: &'a NamedStore,
    /// Its retention rules: what these would remove is not brought.
    pub policy: Option<&'a Policy>,
    /// What signs for what the store holds then; none on a machine without the key.
    pub signing: Option<&'a SigningKey>,
}

/// Brings `target` what it lacks and any of `sources` has. The first that has it is read; when that fails, the next.
pub async fn sync(
    target: &Target<'_>,
    sources: &[NamedStore],
    now: Timestamp,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Synced {
    let name = &target.named.name;
    let mut synced = Synced {
        store: name.clone(),
        copied: Vec::new(),
        not_wanted: Vec::new(),
        documents: 0,
        errors: Vec::new(),
    };
    // A store that is not there yet is made, as a backup would make it.
    let asked = async {
        target.named.store.probe().await?;
        catalog::editions(target.named.store.as_ref()).await
    };
    let there = match asked.await {
        Ok(there) => there,
        Err(error) => {
            synced.errors.push(with_causes(&error));
            return synced;
        }
    };
    let mut missing: BTreeMap<BackupId, Vec<&NamedStore>> = BTreeMap::new();
    let mut outdated = missing.clone();
    for source in sources.iter().filter(|source| source.name != *name) {
        match catalog::editions(source.store.as_ref()).await {
            Ok(editions) => {
                let mut both = BTreeSet::new();
                for (id, editions) in editions {
                    match there.get(&id) {
                        None => missing.entry(id).or_default().push(source),
                        // Packed anew since: what reads it today may not read what lies here.
                        Some(here) if here.last() < editions.last() => {
                            outdated.entry(id).or_default().push(source);
                        }
                        Some(_) => {
                            both.insert(id);
                        }
                    }
                }
                match bring_documents(source.store.as_ref(), target.named.store.as_ref(), &both).await {
                    Ok(brought) => synced.documents += brought,
                    Err(error) => synced.errors.push(format!(
                        "proofs and pins from store `{}`: {}",
                        source.name,
                        with_causes(&error)
                    )),
                }
            }
            Err(error) => synced.errors.push(format!("store `{}`: {}", source.name, with_causes(&error))),
        }
    }
    if let (Some(policy), false) = (target.policy, missing.is_empty())
        && let Err(error) = leave_out_unwanted(target, policy, now, &mut missing, &mut synced).await
    {
        synced.errors.push(with_causes(&error));
        return synced;
    }
    let keeping = keeping(target, &missing).await;
    // Not all may come, and what comes names others: those are not missing.
    keeping.note(target, missing.keys().next_back(), now, &mut synced).await;
    missing.append(&mut outdated);
    for (id, holders) in missing {
        if cancel.is_cancelled() {
            synced.errors.push("stopped before the end".to_owned());
            return synced;
        }
        let mut copied = match copy_from_any(target.named, &id, &holders, now, progress).await {
            Ok(Some(copied)) => copied,
            Ok(None) => continue,
            Err(errors) => {
                synced.errors.extend(errors);
                continue;
            }
        };
        if there.contains_key(&id) {
            match earlier_data(target.named.store.as_ref(), &id).await {
                Ok(earlier) => copied.earlier_data = earlier,
                Err(error) => synced.errors.push(format!("backup `{id}`: {}", with_causes(&error))),
            }
        }
        synced.copied.push(copied);
    }
    if !synced.copied.is_empty() {
        keeping.note(target, None, now, &mut synced).await;
    }
    synced
}

/// What is needed to sign what the target holds; nothing where nothing is brought, or nobody signs.
struct Keeping<'a>(Option<(&'a SigningKey, ClusterIdentity, SessionId)>);

async fn keeping<'a>(target: &Target<'a>, missing: &BTreeMap<BackupId, Vec<&NamedStore>>) -> Keeping<'a> {
    let Some(key) = target.signing else { return Keeping(None) };
    for (id, holders) in missing.iter().rev() {
        for source in holders {
            if let Ok(Some(manifest)) = catalog::manifest(source.store.as_ref(), id).await {
                return Keeping(Some((key, manifest.cluster, SessionId::random())));
            }
        }
    }
    Keeping(None)
}

impl Keeping<'_> {
    /// Signs what the target holds, and that those up to `through` may not come.
    async fn note(
        &self,
        target: &Target<'_>,
        through: Option<&BackupId>,
        now: Timestamp,
        synced: &mut Synced,
    ) {
        let Self(Some((key, cluster, session))) = self else { return };
        let signer = Signer { key, session, now };
        if let Err(error) = inventory::around_sync(target.named, signer, cluster, through).await {
            synced.errors.push(format!("its inventory: {}", with_causes(&error)));
        }
    }
}

/// What the rules would remove again at once stays away.
async fn leave_out_unwanted(
    target: &Target<'_>,
    policy: &Policy,
    now: Timestamp,
    missing: &mut BTreeMap<BackupId, Vec<&NamedStore>>,
    synced: &mut Synced,
) -> Result<(), CatalogError> {
    let mut together: Listing = catalog::list(target.named.store.as_ref()).await?;
    for (id, holders) in missing.iter() {
        for source in holders {
            // One that cannot be read here is told of when it is copied.
            if let Ok(Some(manifest)) = catalog::manifest(source.store.as_ref(), id).await {
                let records = catalog::records(source.store.as_ref(), id).await.unwrap_or_default();
                let pins = catalog::pins(source.store.as_ref(), id).await.unwrap_or_default();
                together.entries.push(Entry { manifest, records, pins });
                break;
            }
        }
    }
    // That nothing goes while the newest is unproved is no reason to bring what the rules have removed.
    let wanted = |decision: &retain::Decision| {
        decision.keep && decision.reasons.iter().any(|reason| *reason != Reason::NewestUnproved)
    };
    let decisions = retain::plan(&prune::candidates(&together), policy, now);
    let unwanted: BTreeSet<BackupId> =
        decisions.into_iter().filter(|decision| !wanted(decision)).map(|decision| decision.id).collect();
    synced.not_wanted = missing.keys().filter(|id| unwanted.contains(id)).cloned().collect();
    missing.retain(|id, _| !unwanted.contains(id));
    Ok(())
}

/// Brings the proofs and pins of backups that both stores have and that the target lacks. Returns how many.
async fn bring_documents(
    source: &dyn Store,
    target: &dyn Store,
    both: &BTreeSet<BackupId>,
) -> Result<u64, SyncError> {
    if both.is_empty() {
        return Ok(0);
    }
    let mut brought = 0;
    let mut same = BTreeMap::new();
    for folder in catalog::BESIDE_FOLDERS {
        let (theirs, ours) =
            futures::try_join!(store::list_all(source, folder), store::list_all(target, folder))?;
        let ours: BTreeSet<ObjectPath> = ours.into_iter().map(|object| object.path).collect();
        for object in theirs.into_iter().filter(|object| !ours.contains(&object.path)) {
            let Some(id) = catalog::id_beside(&object.path).filter(|id| both.contains(id)) else { continue };
            if !same.contains_key(&id) {
                same.insert(id.clone(), is_same(source, target, &id).await?);
            }
            if same[&id] && copy_document(source, target, &object.path).await? {
                brought += 1;
            }
        }
    }
    Ok(brought)
}

/// Whether an id stands for the same backup in both stores. Of one that cannot be read nothing is said.
async fn is_same(source: &dyn Store, target: &dyn Store, id: &BackupId) -> Result<bool, SyncError> {
    let (theirs, ours) = futures::join!(catalog::manifest(source, id), catalog::manifest(target, id));
    match (theirs, ours) {
        (Ok(Some(theirs)), Ok(Some(ours))) => Ok(theirs.plain == ours.plain),
        (Err(error @ CatalogError::Store(_)), _) | (_, Err(error @ CatalogError::Store(_))) => {
            Err(error.into())
        }
        _ => Ok(false),
    }
}

async fn earlier_data(target: &dyn Store, id: &BackupId) -> Result<Vec<ObjectPath>, CatalogError> {
    match catalog::manifest(target, id).await? {
        Some(manifest) => catalog::earlier_data(target, &manifest).await,
        None => Ok(Vec::new()),
    }
}

async fn copy_from_any(
    target: &NamedStore,
    id: &BackupId,
    holders: &[&NamedStore],
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<Option<Copied>, Vec<String>> {
    let mut errors = Vec::new();
    for source in holders {
        match copy(source.store.as_ref(), target.store.as_ref(), id, now, progress).await {
            Ok(sent_bytes) => {
                let from = source.name.clone();
                let copied =
                    |sent_bytes| Copied { backup: id.clone(), from, sent_bytes, earlier_data: Vec::new() };
                return Ok(sent_bytes.map(copied));
            }
            Err(error) => {
                errors.push(format!("backup `{id}` from store `{}`: {}", source.name, with_causes(&error)));
            }
        }
    }
    Err(errors)
}

/// Copies one backup, or a later edition of one that is there. Returns the bytes of data sent; none when it was there
/// already.
pub async fn copy(
    source: &dyn Store,
    target: &dyn Store,
    id: &BackupId,
    now: Timestamp,
    progress: &dyn Progress,
) -> Result<Option<u64>, SyncError> {
    let gone = || StoreError::NotFound { path: catalog::manifest_path(id).to_string() };
    let manifest = catalog::manifest(source, id).await?.ok_or_else(gone)?;
    catalog::claim(target, &manifest.cluster, now).await?;
    if let Some(held) = catalog::manifest(target, id).await? {
        if held.stored.sha256 == manifest.stored.sha256 {
            return Ok(None);
        }
        if held.edition >= manifest.edition || held.plain != manifest.plain {
            let (found, expected) = (held.stored.sha256, manifest.stored.sha256);
            return Err(SyncError::Conflict { found, expected });
        }
    }
    let sent_bytes = copy_data(source, target, &manifest, progress).await?;
    let mut objects = Vec::new();
    for prefix in catalog::beside(id) {
        objects.extend(store::list_all(source, &prefix).await?.into_iter().map(|object| object.path));
    }
    // What makes a backup exist, or be another than before, comes last. What was planted in front of the edition that counts
    // stays behind.
    objects.retain(|path| catalog::order_of(path).2 <= manifest.edition && *path != manifest.stored.path);
    objects.sort_by_cached_key(catalog::order_of);
    for path in &objects {
        copy_document(source, target, path).await?;
    }
    Ok(Some(sent_bytes))
}

async fn copy_data(
    source: &dyn Store,
    target: &dyn Store,
    manifest: &Manifest,
    progress: &dyn Progress,
) -> Result<u64, SyncError> {
    let stored = &manifest.stored;
    if target.head(&stored.path).await?.is_some() {
        // Left by a copy that was interrupted, as no manifest names it yet.
        let (_, found) = store::digest(target, &stored.path, |_| ()).await?;
        if found == stored.sha256 {
            return Ok(0);
        }
        target.delete(&stored.path).await?;
    }
    progress.start("copy", Some(stored.size_bytes));
    let body = source.get(&stored.path, None).await?;
    let sent = target.put(&stored.path, compared(body, stored.sha256.clone())).await;
    progress.advance(stored.size_bytes);
    progress.finish();
    let sent_bytes = sent?;
    let (_, found) = store::digest(target, &stored.path, |_| ()).await?;
    if found == stored.sha256 {
        return Ok(sent_bytes);
    }
    target.delete(&stored.path).await?;
    Err(SyncError::ReadBack { path: stored.path.clone(), found, expected: stored.sha256.clone() })
}

/// A stream that ends in an error when its digest is another: what is damaged does not arrive.
fn compared(body: ByteStream, expected: String) -> ByteStream {
    let state = Some((body, Sha256::new(), expected));
    Box::pin(futures::stream::unfold(state, |state| async move {
        let (mut body, mut digest, expected) = state?;
        match body.next().await {
            Some(Ok(chunk)) => {
                digest.update(&chunk);
                Some((Ok(chunk), Some((body, digest, expected))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                let found = hex(&digest.finalize());
                let damaged = (found != expected).then(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("the source is damaged: sha256 {found}, its manifest says {expected}"),
                    )
                });
                damaged.map(|error| (Err::<Bytes, _>(error), None))
            }
        }
    }))
}

/// A document as it is, byte for byte. One that is there already was copied before. Not a verdict on the stored bytes of the
/// source's copy: what arrives was compared on the way. Says whether it is there now.
async fn copy_document(source: &dyn Store, target: &dyn Store, path: &ObjectPath) -> Result<bool, SyncError> {
    let bytes = store::read_small(source, path, catalog::MAX_DOCUMENT_BYTES).await?;
    if serde_json::from_slice::<Record>(&bytes).is_ok_and(|record| verify::is_of_one_copy(&record)) {
        return Ok(false);
    }
    match target.put(path, store::body(bytes)).await {
        Ok(_) | Err(StoreError::Exists { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
