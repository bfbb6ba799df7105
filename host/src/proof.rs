//! A proof of a backup as it lies in a store: fetched, decrypted and unpacked on the way that a restore takes, then looked into. Its
//! record is kept beside the backup. `holdfast verify` asks for one, and the agent by its own schedule.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::catalog::{self, Record, Trigger};
use crate::config::Chain;
use crate::pack::{Identity, UnpackError};
use crate::pipeline::continuity::{self, State};
use crate::pipeline::inspect::{self, Hash, InspectError};
use crate::pipeline::remembered::Remembered;
use crate::pipeline::store::{NamedStore, with_causes};
use crate::pipeline::verify::{self, Means, Subject, Took};
use crate::progress::Progress;
use crate::retrieve::{self, RetrieveError};
use crate::session::Session;
use crate::source::{self, Found, LocalFile, PassOver, Place, SourceError};

/// What proves backups.
pub struct Order<'a> {
    /// Where a further copy may lie, when the first is damaged or away.
    pub stores: &'a [NamedStore],
    /// What opens them.
    pub identities: &'a [Identity],
    /// What is looked at.
    pub chains: &'a [Chain],
    /// What they are run with.
    pub means: &'a Means,
    /// The operator's name for the cluster.
    pub cluster: &'a str,
    /// Where they are unpacked to.
    pub scratch: &'a Path,
    /// Listens.
    pub progress: &'a dyn Progress,
}

/// What came of a backup.
pub struct Proof {
    /// Where it was read.
    pub found: Found,
    /// The verdict. It lies beside the backup.
    pub record: Record,
    /// How far one got.
    pub reached: Reached,
    /// Stores that did not take their record, and why.
    pub unrecorded: Vec<(String, String)>,
    /// The chains that boot an etcd on the restored backup, whether or not one got that far.
    pub drills: Vec<String>,
}

/// How far a proof got.
pub enum Reached {
    /// The chains have run.
    Content,
    /// Nothing here opens it: its stored bytes were compared.
    StoredBytes(UnpackError),
    /// It is damaged where it lies.
    Damage(SourceError),
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It could not be fetched.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What was fetched is no snapshot.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Told to stop.
    #[error("stopped; nothing was recorded")]
    Stopped,
}

/// Proves a backup, and keeps the record. A copy that is damaged gets a record of that, and the next store's is taken:
/// `pass_over` is told.
///
/// # Errors
/// When there is no verdict. That a backup is bad is a verdict.
pub async fn prove(
    order: &Order<'_>,
    found: Found,
    session: &mut Session,
    cancel: &CancellationToken,
    pass_over: &PassOver<'_>,
) -> Result<Proof, ProofError> {
    tokio::select! {
        () = cancel.cancelled() => Err(ProofError::Stopped),
        proof = prove_to_the_end(order, found, session, cancel, pass_over) => match proof {
            // Its chains end early when they are told to stop, and that is no verdict.
            _ if cancel.is_cancelled() => Err(ProofError::Stopped),
            proof => proof,
        },
    }
}

async fn prove_to_the_end(
    order: &Order<'_>,
    found: Found,
    session: &mut Session,
    cancel: &CancellationToken,
    pass_over: &PassOver<'_>,
) -> Result<Proof, ProofError> {
    let name = session.id.to_string();
    let place = Place::passing(order.scratch, &name);
    let mut missed = Vec::new();
    let fetched = source::unpack_any_copy(
        order.stores,
        found,
        order.identities,
        place,
        order.progress,
        pass_over,
        &mut missed,
    )
    .await;
    let mut unrecorded = Vec::new();
    // What lies in a store is not what was written: that is a verdict on this copy, and kept as one.
    for (copy, error) in &missed {
        if let Some(record) = damaged(copy, error, session) {
            unrecorded.extend(keep(copy, &record).await);
        }
    }
    let (found, record, reached) = match fetched {
        Ok((file, found)) => {
            let record = look_into(order, &file, &found, session, cancel).await?;
            (found, record, Reached::Content)
        }
        Err((found, SourceError::Retrieve(RetrieveError::Unpack { source, .. })))
            if source.is_missing_key() =>
        {
            compare_stored(order, found, source, session).await?
        }
        Err((found, error)) => match damaged(&found, &error, session) {
            Some(record) => (found, record, Reached::Damage(error)),
            None => return Err(error.into()),
        },
    };
    if !cancel.is_cancelled() {
        unrecorded.extend(keep(&found, &record).await);
    }
    let drills = verify::drills(order.chains, &order.means.plugins);
    Ok(Proof { found, record, reached, unrecorded, drills })
}

/// Runs the chains over a backup that was unpacked.
async fn look_into(
    order: &Order<'_>,
    file: &LocalFile,
    found: &Found,
    session: &mut Session,
    cancel: &CancellationToken,
) -> Result<Record, ProofError> {
    let manifest = &found.entry.manifest;
    let inspected = inspect::inspect(file.path(), hash(file, found)).await?;
    let only = std::slice::from_ref(&found.named);
    let wanted = verify::remembering(order.chains, &order.means.plugins);
    let state = State {
        id: &manifest.id,
        cluster_id: &manifest.cluster.id,
        facts: &inspected.inspection.facts,
        previous: manifest.previous.as_ref(),
    };
    let subject = Arc::new(Subject {
        continuity: Some(continuity::continuity(only, state).await),
        took: Took::of(inspected.took, &manifest.stages),
        file: Arc::clone(&inspected.file),
        inspection: inspected.inspection,
        agreement: Some(manifest.agreement.clone()),
        cluster: order.cluster.to_owned(),
        backup: Some(manifest.id.clone()),
        remembered: Remembered::of(only, &manifest.id, &wanted).await,
    });
    Ok(verify::prove(&subject, order.chains, order.means, Trigger::Verify, session, cancel).await)
}

/// Of a backup that etcd sent without a hash none can be asked for.
fn hash<'a>(file: &'a LocalFile, found: &Found) -> Hash<'a> {
    file.hash(found.entry.manifest.facts.trailer != "present")
}

/// What can be known of a backup that nothing here opens: whether its stored bytes are those that were written. That is no
/// proof, and is told as what it is.
async fn compare_stored(
    order: &Order<'_>,
    found: Found,
    reason: UnpackError,
    session: &mut Session,
) -> Result<(Found, Record, Reached), ProofError> {
    let manifest = &found.entry.manifest;
    match retrieve::read_stored(found.named.store.as_ref(), manifest, order.progress).await {
        Ok(()) => {
            let bytes = manifest.stored.size_bytes;
            let record = verify::sealed(&manifest.id, order.chains, bytes, &reason.to_string(), session);
            Ok((found, record, Reached::StoredBytes(reason)))
        }
        Err(error) => {
            let error = SourceError::Retrieve(error);
            match damaged(&found, &error, session) {
                Some(record) => Ok((found, record, Reached::Damage(error))),
                None => Err(error.into()),
            }
        }
    }
}

/// The record of a copy that is damaged; none for one that is only away.
fn damaged(found: &Found, error: &SourceError, session: &mut Session) -> Option<Record> {
    match error {
        SourceError::Retrieve(damage) if damage.is_damage() => {
            let reason = with_causes(damage);
            Some(verify::damaged(&found.entry.manifest.id, reason, damage.is_of_one_copy(), session))
        }
        _ => None,
    }
}

/// Keeps a record beside its backup. The verdict stands where the store takes none.
async fn keep(found: &Found, record: &Record) -> Option<(String, String)> {
    let added = catalog::add_record(found.named.store.as_ref(), record).await;
    added.err().map(|error| (found.named.name.clone(), with_causes(&error)))
}
