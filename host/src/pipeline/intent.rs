//! What a run is about to write, told beforehand, so that the next run can take away what a killed one left.
//!
//! Before the first byte goes to a store, `<session>.intent.json` in the scratch directory names the data and the stores; before
//! the commit, the backup as well. It is removed once the backup is committed or undone. Found by a run that holds the
//! single-flight lock, its writer is dead: where no manifest of that backup names the data, it is taken away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::single_flight::{SingleFlight, SingleFlightError};
use super::store::{NamedStore, StoreOutcome};
use super::{BackupError, SCRATCH_SUFFIX};
use crate::atomic;
use crate::catalog::{self, BackupId};
use crate::session::SessionId;
use crate::store::ObjectPath;

const SUFFIX: &str = ".intent.json";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Document {
    data: ObjectPath,
    /// None until it is about to be committed.
    backup: Option<BackupId>,
    stores: Vec<String>,
}

/// A run's intent, on disk.
#[derive(Debug)]
pub struct Intent {
    path: PathBuf,
    document: Document,
}

/// Writes a run's intent to store this data.
pub fn write(
    scratch: &Path,
    session: &SessionId,
    data: &ObjectPath,
    stores: &[NamedStore],
) -> Result<Intent, BackupError> {
    let intent = Intent {
        path: scratch.join(format!("{session}{SUFFIX}")),
        document: Document {
            data: data.clone(),
            backup: None,
            stores: stores.iter().map(|named| named.name.clone()).collect(),
        },
    };
    intent.save()?;
    Ok(intent)
}

impl Intent {
    /// The data is about to be committed as this backup.
    pub fn commits(&mut self, backup: &BackupId) -> Result<(), BackupError> {
        self.document.backup = Some(backup.clone());
        self.save()
    }

    fn save(&self) -> Result<(), BackupError> {
        let written = serde_json::to_vec(&self.document)
            .map_err(io::Error::other)
            .and_then(|bytes| atomic::write(&self.path, &bytes));
        let scratch = atomic::parent(&self.path).to_owned();
        Ok(written.map_err(|source| SingleFlightError::Scratch { scratch, source })?)
    }

    /// It is committed: nothing is left to be undone.
    pub fn finished(self) {
        self.forget();
    }

    fn forget(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the intent of a finished run");
        }
    }

    /// Takes away what was written of an uncommitted backup, everywhere.
    pub async fn undo(self, stores: &[NamedStore]) {
        self.undo_where(stores.iter()).await;
    }

    /// After the commit: takes away what the stores that missed it hold.
    pub async fn undo_missed(self, stores: &[NamedStore], outcomes: &[StoreOutcome]) {
        let missed = |named: &&NamedStore| {
            outcomes.iter().any(|outcome| outcome.store == named.name && !outcome.committed)
        };
        self.undo_where(stores.iter().filter(missed)).await;
    }

    async fn undo_where(self, stores: impl Iterator<Item = &NamedStore>) {
        let mut undone = true;
        for named in stores {
            undone &= remove(named, &self.document).await;
        }
        // What could not be undone now stays written down for the next run.
        if undone {
            self.forget();
        }
    }
}

async fn remove(named: &NamedStore, document: &Document) -> bool {
    let Document { data, backup, .. } = document;
    match catalog::remove_uncommitted(named.store.as_ref(), data, backup.as_ref()).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(store = named.name, %data, %error, "cannot take away an unfinished backup; the next run tries again");
            false
        }
    }
}

/// Takes away what dead runs left: scratch files, unfinished backups, partial objects. Returns how many things.
///
/// The lock proves that no other run of this scratch directory lives. What cannot be removed is told and left for the
/// next run: a new backup matters more than an old remnant.
pub async fn sweep(scratch: &Path, stores: &[NamedStore], _lock: &SingleFlight) -> u64 {
    let mut swept = 0;
    let entries = match fs::read_dir(scratch) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(scratch = %scratch.display(), %error, "cannot look for what earlier runs left");
            return 0;
        }
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let removed = if name.ends_with(SCRATCH_SUFFIX) || name.ends_with(".partial") {
            // `verify` unpacks into the same directory and takes no lock of it, but holds its file.
            atomic::remove_if_abandoned(&path).unwrap_or_default()
        } else if name.ends_with(SUFFIX) {
            sweep_intent(&path, stores).await
        } else {
            false
        };
        if removed {
            tracing::info!(path = %path.display(), "took away what a run that died had left");
            swept += 1;
        }
    }
    swept += crate::boot::sweep(scratch);
    // A store that is not there yet, or not reachable, is told by the run itself.
    let sweeps = futures::future::join_all(stores.iter().map(|named| named.store.sweep())).await;
    swept + sweeps.into_iter().flatten().sum::<u64>()
}

async fn sweep_intent(path: &Path, stores: &[NamedStore]) -> bool {
    let document = fs::read(path).map_err(io::Error::other);
    let document: Document =
        match document.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other)) {
            Ok(document) => document,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the intent of an earlier run");
                return false;
            }
        };
    let mut undone = true;
    for name in &document.stores {
        if let Some(named) = stores.iter().find(|named| named.name == *name) {
            undone &= remove(named, &document).await;
        } else {
            // Taken out of the config since: nothing of it can be reached.
            tracing::warn!(store = name, data = %document.data, "an unfinished backup may lie in a store that is no longer configured");
        }
    }
    undone && fs::remove_file(path).is_ok()
}
