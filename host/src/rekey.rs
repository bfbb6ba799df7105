//! Encrypts old backups to those who read new ones: what the present recipients, or the present passphrase, do not open yet.
//!
//! Nothing is rewritten. What a store holds is decrypted, its snapshot digested, and encrypted again, all on the way; the
//! result is new data, read back, and then a further edition of the manifest commits it. Only when that edition is what a
//! reader gets does the old data go. Interrupted anywhere, a backup is in the old form or in the new one, and the next run
//! goes on: what is in the new form already is left as it is.
//!
//! The stores of a repository hold the same bytes. So one store's copy is packed anew, and the others get it as `sync`
//! would bring it.

use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::bridge::{self, ChunkReader, ChunkWriter, Outlet};
use crate::catalog::{self, BackupId, CatalogError, FIRST_EDITION, Manifest, PackInfo, Repack, StoredInfo};
use crate::pack::{self, Identity, Packed, RepackError, Repacked};
use crate::pipeline::single_flight::{SingleFlight, SingleFlightError};
use crate::pipeline::store::{NamedStore, with_causes};
use crate::pipeline::{BackupError, intent};
use crate::progress::Progress;
use crate::retrieve::{DigestReader, RetrieveError};
use crate::session::{Clock, SessionId};
use crate::signing::SigningKey;
use crate::store::{self, ObjectPath, StoreError};
use crate::sync::{self, SyncError};

/// How much of an age file holds its header, whoever it is for.
const HEAD_BYTES: u64 = 64 << 10;
/// How often a run under way is asked whether it has ended.
const FLIGHT_POLL: Duration = Duration::from_secs(1);

/// What is wanted.
pub struct Order<'a> {
    /// The stores.
    pub stores: &'a [NamedStore],
    /// Whom to encrypt to.
    pub pack: &'a pack::Options,
    /// What opens the old backups.
    pub identities: &'a [Identity],
    /// What signs the new editions.
    pub signing: Option<&'a SigningKey>,
    /// The scratch folder, where runs are told apart and intents lie. No snapshot does.
    pub scratch: &'a Path,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Where the time comes from.
    pub clock: Clock,
    /// Listens.
    pub progress: &'a dyn Progress,
}

/// What became of one backup in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It was for these readers already.
    Current,
    /// It was encrypted anew; in a dry run, it would be.
    Encrypted,
    /// It was brought from a store that has it for these readers; in a dry run, it would be.
    Brought,
    /// It is as it was.
    Failed,
}

/// One backup in one store.
#[derive(Debug, Clone, Serialize)]
pub struct Rekeyed {
    /// The backup.
    pub backup: BackupId,
    /// The store.
    pub store: String,
    /// What was done.
    pub done: Done,
    /// Bytes that were written.
    pub sent_bytes: u64,
    /// Why it failed, or what is left to do: old data that could not be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a backup could not be encrypted anew.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The store, or the catalog in it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The old form is damaged, or cannot be opened.
    #[error(transparent)]
    Retrieve(#[from] RetrieveError),
    /// Another run, or the scratch folder.
    #[error(transparent)]
    Scratch(#[from] SingleFlightError),
    /// The intent cannot be written.
    #[error(transparent)]
    Intent(#[from] Box<BackupError>),
    /// What lies there is not what was sent.
    #[error("`{path}` reads back with sha256 {found}, sent was {sent}")]
    ReadBack {
        /// The object.
        path: ObjectPath,
        /// What lies there.
        found: String,
        /// What was sent.
        sent: String,
    },
    /// Committed, and not what a reader gets.
    #[error("edition {edition} was written and is not the one that is read: the old data stays")]
    NotRead {
        /// The edition.
        edition: u32,
    },
    /// It could not be brought to another store.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// Told to stop.
    #[error("stopped before the end")]
    Stopped,
}

impl From<StoreError> for RekeyError {
    fn from(error: StoreError) -> Self {
        Self::Catalog(error.into())
    }
}

impl RekeyError {
    /// Whether the same backup may be had from another store.
    fn is_of_one_copy(&self) -> bool {
        match self {
            Self::Retrieve(error) => error.is_damage() || matches!(error, RetrieveError::Store { .. }),
            Self::Catalog(_) | Self::ReadBack { .. } => true,
            _ => false,
        }
    }
}

/// A store's copy of a backup.
struct Held<'a> {
    named: &'a NamedStore,
    manifest: Manifest,
    current: bool,
}

/// Encrypts these backups anew, in the order given, wherever they lie.
pub async fn rekey(order: &Order<'_>, ids: &[BackupId], cancel: &CancellationToken) -> Vec<Rekeyed> {
    let mut all = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let done = async {
            // Held for one backup at a time: a scheduled run comes in between.
            let flight = if order.dry_run { None } else { Some(flight(order.scratch, cancel).await?) };
            if let (0, Some(flight)) = (index, &flight) {
                intent::sweep(order.scratch, order.stores, flight).await;
            }
            Ok::<_, RekeyError>(rekey_one(order, id, cancel).await)
        };
        match done.await {
            Ok(done) => all.extend(done),
            Err(error) => {
                all.push(failed(id, "", &error));
                return all;
            }
        }
        if cancel.is_cancelled() {
            return all;
        }
    }
    all
}

/// Waits for a run under way to end.
async fn flight(scratch: &Path, cancel: &CancellationToken) -> Result<SingleFlight, RekeyError> {
    loop {
        match SingleFlight::acquire(scratch) {
            Err(SingleFlightError::Busy { .. }) => {}
            other => return Ok(other?),
        }
        tokio::select! {
            () = cancel.cancelled() => return Err(RekeyError::Stopped),
            () = tokio::time::sleep(FLIGHT_POLL) => {}
        }
    }
}

fn failed(id: &BackupId, store: &str, error: &RekeyError) -> Rekeyed {
    Rekeyed {
        backup: id.clone(),
        store: store.to_owned(),
        done: Done::Failed,
        sent_bytes: 0,
        error: Some(with_causes(error)),
    }
}

async fn rekey_one(order: &Order<'_>, id: &BackupId, cancel: &CancellationToken) -> Vec<Rekeyed> {
    let mut all = Vec::new();
    let mut copies = Vec::new();
    for named in order.stores {
        match copy_in(order, named, id).await {
            Ok(copy) => copies.extend(copy),
            Err(error) => all.push(failed(id, &named.name, &error)),
        }
    }
    let mut source = copies.iter().position(|copy| copy.current);
    for (index, copy) in copies.iter_mut().enumerate() {
        if source.is_some() {
            break;
        }
        match encrypt(order, copy, cancel).await {
            Ok((manifest, rekeyed)) => {
                (copy.manifest, copy.current) = (manifest, true);
                all.push(rekeyed);
                source = Some(index);
            }
            Err(error) => {
                let goes_on = error.is_of_one_copy() && !cancel.is_cancelled();
                all.push(failed(id, &copy.named.name, &error));
                if !goes_on {
                    return all;
                }
            }
        }
    }
    let Some(source) = source else { return all };
    let has_failed =
        |all: &[Rekeyed], name: &str| all.iter().any(|one| one.store == name && one.done == Done::Failed);
    for copy in &copies {
        let name = &copy.named.name;
        if all.iter().any(|one| one.store == *name && one.done == Done::Encrypted) {
            continue;
        }
        if copy.current {
            let error = left_over(order, copy.named, &copy.manifest).await;
            all.push(Rekeyed {
                backup: id.clone(),
                store: name.clone(),
                done: Done::Current,
                sent_bytes: 0,
                error,
            });
            continue;
        }
        let brought = bring(order, &copies[source], copy, cancel).await;
        // A damaged copy is healed by a good one: then nothing failed.
        if brought.is_ok() && has_failed(&all, name) {
            all.retain(|one| one.store != *name);
        }
        match brought {
            Ok(rekeyed) => all.push(rekeyed),
            Err(error) if !has_failed(&all, name) => all.push(failed(id, name, &error)),
            Err(_) => {}
        }
    }
    all
}

async fn copy_in<'a>(
    order: &Order<'_>,
    named: &'a NamedStore,
    id: &BackupId,
) -> Result<Option<Held<'a>>, RekeyError> {
    let Some(manifest) = catalog::manifest(named.store.as_ref(), id).await? else { return Ok(None) };
    let current = is_current(order, named, &manifest).await?;
    Ok(Some(Held { named, manifest, current }))
}

/// Whether the present readers, and they alone, open it.
async fn is_current(order: &Order<'_>, named: &NamedStore, manifest: &Manifest) -> Result<bool, RekeyError> {
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names.dedup();
        names
    };
    if sorted(order.pack.readers()) != sorted(manifest.pack.recipients.clone()) {
        return Ok(false);
    }
    if order.pack.passphrase.is_none() {
        return Ok(true);
    }
    // The manifest says that there is a passphrase, and not which.
    let stored = &manifest.stored;
    let range = 0..stored.size_bytes.min(HEAD_BYTES);
    let mut body = named.store.get(&stored.path, Some(range)).await?;
    let mut head = Vec::new();
    while let Some(chunk) = futures::StreamExt::next(&mut body).await {
        let path = stored.path.to_string();
        head.extend_from_slice(&chunk.map_err(|source| StoreError::Io { path, action: "read", source })?);
    }
    let options = order.pack.clone();
    let opens = tokio::task::spawn_blocking(move || options.passphrase_opens(&head)).await;
    Ok(opens.unwrap_or(false))
}

/// Packs one store's copy anew. Returns the new edition.
async fn encrypt(
    order: &Order<'_>,
    copy: &Held<'_>,
    cancel: &CancellationToken,
) -> Result<(Manifest, Rekeyed), RekeyError> {
    let Held { named, manifest: old, .. } = copy;
    let rekeyed = |sent_bytes, error| Rekeyed {
        backup: old.id.clone(),
        store: named.name.clone(),
        done: Done::Encrypted,
        sent_bytes,
        error,
    };
    if order.dry_run {
        return Ok((old.clone(), rekeyed(old.stored.size_bytes, None)));
    }
    let store = named.store.as_ref();
    let session = SessionId::random();
    let now = (order.clock)();
    let edition = catalog::next_edition(store, &old.id).await?;
    let data = catalog::data_path(now, &session, true);
    let only = std::slice::from_ref(*named);
    let mut intent = intent::write(order.scratch, &session, &data, only).map_err(Box::new)?;
    intent.commits(&old.id).map_err(Box::new)?;
    let written = async {
        let packed = tokio::select! {
            () = cancel.cancelled() => return Err(RekeyError::Stopped),
            packed = transfer(order, named, old, &data) => packed?,
        };
        let (_, found) = store::digest(store, &data, |_| ()).await?;
        if found != packed.stored_sha256 {
            return Err(RekeyError::ReadBack { path: data.clone(), found, sent: packed.stored_sha256 });
        }
        let manifest = next(order, old, edition, session, now, &data, &packed);
        catalog::commit(store, &catalog::seal(&manifest, order.signing)?).await?;
        Ok((manifest, packed.stored_bytes))
    };
    let (manifest, sent_bytes) = match written.await {
        Ok(written) => written,
        Err(error) => {
            intent.undo(only).await;
            return Err(error);
        }
    };
    intent.finished();
    match catalog::manifest(store, &old.id).await? {
        Some(read) if read.edition == edition => {}
        _ => return Err(RekeyError::NotRead { edition }),
    }
    let error = left_over(order, named, &manifest).await;
    Ok((manifest, rekeyed(sent_bytes, error)))
}

/// The manifest of the new edition: the same backup in another form.
fn next(
    order: &Order<'_>,
    old: &Manifest,
    edition: u32,
    session: SessionId,
    now: Timestamp,
    data: &ObjectPath,
    packed: &Packed,
) -> Manifest {
    let mut manifest = old.clone();
    manifest.edition = edition;
    manifest.stored = StoredInfo {
        path: data.clone(),
        size_bytes: packed.stored_bytes,
        sha256: packed.stored_sha256.clone(),
    };
    manifest.pack =
        PackInfo { encryption: "age".to_owned(), recipients: order.pack.readers(), ..old.pack.clone() };
    manifest.repacked =
        Some(Repack { at: now, session, holdfast_version: env!("CARGO_PKG_VERSION").to_owned() });
    manifest
}

/// Reads the old data, and writes the new, side by side.
async fn transfer(
    order: &Order<'_>,
    named: &NamedStore,
    old: &Manifest,
    data: &ObjectPath,
) -> Result<Packed, RekeyError> {
    let id = old.id.to_string();
    let store = named.store.as_ref();
    let body = store.get(&old.stored.path, None).await;
    let body = body.map_err(|source| RetrieveError::Store { id: id.clone(), source })?;
    let ((in_sender, in_receiver), (out_sender, out_receiver)) = (bridge::channel(), bridge::channel());
    let work = Work {
        manifest: old.clone(),
        store: store.describe(),
        identities: order.identities.to_vec(),
        options: order.pack.clone(),
        data: data.to_string(),
    };
    let outlet = Outlet { sender: out_sender, given_up: CancellationToken::new() };
    let working = tokio::task::spawn_blocking(move || {
        work.run(ChunkReader::new(in_receiver), ChunkWriter::new(vec![outlet]))
    });
    order.progress.start("rekey", Some(old.stored.size_bytes));
    let feeding = bridge::feed(body, in_sender, |bytes| order.progress.advance(bytes));
    let (worked, (), put) = futures::join!(working, feeding, store.put(data, bridge::stream(out_receiver)));
    order.progress.finish();
    let torn = |error| RetrieveError::Torn { id, source: io::Error::other(error) };
    match (worked.map_err(torn)?, put) {
        // A store that took no more says why.
        (Err(RetrieveError::Write { .. }) | Ok(_), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error.into()),
        (Ok(packed), Ok(_)) => Ok(packed),
    }
}

/// The blocking half of `transfer`.
struct Work {
    manifest: Manifest,
    store: String,
    identities: Vec<Identity>,
    options: pack::Options,
    data: String,
}

impl Work {
    /// Ends the new data only when the old was what its manifest names, stored and plain.
    fn run(self, source: ChunkReader, mut sink: ChunkWriter) -> Result<Packed, RetrieveError> {
        let Manifest { id, plain, stored, .. } = &self.manifest;
        let id = || id.to_string();
        let mut source = DigestReader::new(source);
        let repacked =
            pack::repack(&mut source, &self.identities, &self.options, plain.size_bytes, &mut sink);
        let repacked = match repacked {
            Err(RepackError::Unpack(source)) if source.is_missing_key() => {
                return Err(RetrieveError::Unpack { id: id(), source });
            }
            Err(RepackError::Io(source)) if source.kind() == io::ErrorKind::BrokenPipe => {
                return Err(RetrieveError::Write { path: self.data.into(), source });
            }
            other => other,
        };
        // Whatever went wrong above, damage of the stored bytes explains it best: read on to know.
        let drained = io::copy(&mut source, &mut io::sink());
        if let Err(error) = drained {
            let source = StoreError::Io { path: stored.path.to_string(), action: "read", source: error };
            return Err(RetrieveError::Store { id: id(), source });
        }
        let (read, found) = source.finish();
        if found != stored.sha256 {
            return Err(RetrieveError::Stored {
                id: id(),
                store: self.store,
                size_bytes: read,
                expected_bytes: stored.size_bytes,
                found,
                expected: stored.sha256.clone(),
            });
        }
        let Repacked { packed, plain_sha256 } = repacked.map_err(|error| match error {
            RepackError::Unpack(source) => RetrieveError::Unpack { id: id(), source },
            RepackError::Io(source) => RetrieveError::Torn { id: id(), source },
        })?;
        if plain_sha256 != plain.sha256 {
            return Err(RetrieveError::Plain {
                id: id(),
                size_bytes: packed.plain_bytes,
                found: plain_sha256,
                expected: plain.sha256.clone(),
            });
        }
        sink.finish().map_err(|source| RetrieveError::Write { path: self.data.into(), source })?;
        Ok(packed)
    }
}

/// Brings one store what another has in the new form.
async fn bring(
    order: &Order<'_>,
    source: &Held<'_>,
    target: &Held<'_>,
    cancel: &CancellationToken,
) -> Result<Rekeyed, RekeyError> {
    // Two stores that were packed anew each by itself: then this one is as well.
    if target.manifest.edition >= source.manifest.edition && !order.dry_run {
        return Ok(encrypt(order, target, cancel).await?.1);
    }
    let id = &target.manifest.id;
    let rekeyed = |sent_bytes, error| Rekeyed {
        backup: id.clone(),
        store: target.named.name.clone(),
        done: Done::Brought,
        sent_bytes,
        error,
    };
    if order.dry_run {
        return Ok(rekeyed(source.manifest.stored.size_bytes, None));
    }
    let (from, to) = (source.named.store.as_ref(), target.named.store.as_ref());
    let copying = sync::copy(from, to, id, (order.clock)(), order.progress);
    let sent_bytes = tokio::select! {
        () = cancel.cancelled() => return Err(RekeyError::Stopped),
        copied = copying => copied?,
    };
    match catalog::manifest(to, id).await? {
        Some(read) if read.stored == source.manifest.stored => {}
        _ => return Err(RekeyError::NotRead { edition: source.manifest.edition }),
    }
    let error = left_over(order, target.named, &source.manifest).await;
    Ok(rekeyed(sent_bytes.unwrap_or(0), error))
}

/// Removes the data of earlier editions. What cannot be removed is told: it belongs to no edition that counts, and goes with
/// the next run, or with `prune`.
async fn left_over(order: &Order<'_>, named: &NamedStore, manifest: &Manifest) -> Option<String> {
    if order.dry_run || manifest.edition == FIRST_EDITION {
        return None;
    }
    let store = named.store.as_ref();
    let removed = async {
        for path in catalog::earlier_data(store, manifest).await? {
            store.delete(&path).await?;
        }
        Ok::<_, RekeyError>(())
    };
    removed.await.err().map(|error| format!("the old data is still there: {}", with_causes(&error)))
}

#[cfg(test)]
mod tests;
