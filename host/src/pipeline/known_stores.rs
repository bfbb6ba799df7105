//! Which stores this machine has backed up to: so that an empty one is told from one whose disk is not mounted.
//!
//! One small file a store in `known/` of the scratch directory, written when a store was first found to be this cluster's.
//! A store that had a repository and has none any more is not begun anew: most likely what is seen is an empty mount point.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::atomic;
use crate::catalog::{self, CatalogError};
use crate::pack::hex;
use crate::store::Store;

const DIRECTORY: &str = "known";
/// Digits of the digest that names a file: enough for a handful of stores.
const DIGITS: usize = 16;

/// The file that stands for a store.
fn marker(scratch: &Path, store: &dyn Store) -> PathBuf {
    let digest = hex(&Sha256::digest(store.describe()));
    scratch.join(DIRECTORY).join(digest.get(..DIGITS).unwrap_or(&digest))
}

/// Whether this machine has backed up to a store.
pub fn is_known(scratch: &Path, store: &dyn Store) -> bool {
    marker(scratch, store).exists()
}

/// Refuses a store that held backups and is empty now.
///
/// # Errors
/// [`CatalogError::Emptied`], or what keeps the store from being asked.
pub async fn refuse_emptied(scratch: &Path, store: &dyn Store) -> Result<(), CatalogError> {
    let marker = marker(scratch, store);
    if !marker.exists() || catalog::is_claimed(store).await? {
        return Ok(());
    }
    Err(CatalogError::Emptied { store: store.describe(), marker })
}

/// Remembers a store. One that cannot be remembered is no worse off than before.
pub fn remember(scratch: &Path, store: &dyn Store) {
    let marker = marker(scratch, store);
    if marker.exists() {
        return;
    }
    let written = atomic::create_directory(atomic::parent(&marker))
        .and_then(|()| atomic::write(&marker, format!("{}\n", store.describe()).as_bytes()));
    if let Err(error) = written {
        tracing::warn!(path = %marker.display(), %error, "that this store holds backups could not be written down");
    }
}
