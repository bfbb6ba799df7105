//! Folders that became empty: taken away, and never one in which another writer has just made something.
//!
//! WebDAV removes a folder with all that lies in it, whatever that is by then. So the folder is locked first (RFC 4918, section 6), looked
//! into under the lock, and removed under it. A server may know no locks, or hand them out and not heed them: whether this lock keeps
//! others out is tried, and where it does not the folder stays. It harms nobody.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use holdfast_plugin::log;
use holdfast_plugin::store::StoreError;

use crate::server::Server;

/// Removes the folders above an object that was removed, as far as they are empty. Those right in the store's own folder stay: each
/// store has them.
pub(crate) fn remove_empty_above(server: &Server, path: &str) {
    let above: Vec<&str> = path.match_indices('/').skip(1).map(|(at, _)| &path[..=at]).collect();
    for folder in above.into_iter().rev() {
        match remove_empty(server, folder) {
            Ok(true) => {}
            Ok(false) => return,
            // The object is gone, and that is what was asked for.
            Err(error) => return log::debug(format!("`{folder}` may stay behind empty: {error}")),
        }
    }
}

/// Removes one folder. False: it stays.
fn remove_empty(server: &Server, folder: &str) -> Result<bool, StoreError> {
    match server.children(folder)? {
        None => return Ok(true),
        Some(children) if !children.entries.is_empty() => return Ok(false),
        Some(_) => {}
    }
    let Some(lock) = server.lock(folder)? else { return Ok(false) };
    let removed = if lock.made {
        // Somebody else has removed the folder: what is locked is a file that the lock itself has made.
        server.delete_locked(folder, &lock)
    } else {
        remove_locked(server, folder, &lock)
    };
    // Where the folder is gone, its lock may be as well.
    let unlocked = server.unlock(folder, &lock);
    let removed = removed?;
    if !removed {
        unlocked?;
    }
    Ok(removed)
}

fn remove_locked(server: &Server, folder: &str, lock: &crate::server::Lock) -> Result<bool, StoreError> {
    // Whoever lacks the lock must be kept out, and that is what this is.
    let intruder = format!("{folder}.lock-{:016x}/", RandomState::new().build_hasher().finish());
    if !server.is_kept_out(&intruder)? {
        server.delete(&intruder)?;
        return Ok(false);
    }
    let is_empty = server.children(folder)?.is_some_and(|children| children.entries.is_empty());
    Ok(is_empty && server.delete_locked(folder, lock)?)
}
