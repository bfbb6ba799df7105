//! Copying the image while the snapshot is still being checked: the disk is what a restore waits for longest.
//!
//! Only what no plan changes is written ahead, under the hidden names that every restore writes to first. Whether it
//! becomes a data directory is decided afterwards, and when it does not, all of it is taken away.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::plan::Plan;
use super::staging::Staging;
use super::{RestoreError, files};
use crate::SnapshotFile;

/// Directories of a restore into which the image is being copied. Dropped, it stops and takes them away.
pub struct CopyAhead {
    prepared: Vec<Prepared>,
    source: Arc<SnapshotFile>,
    stop: Arc<AtomicBool>,
    copying: Option<JoinHandle<Result<(), RestoreError>>>,
}

struct Prepared {
    data_dir: PathBuf,
    wal_dir: Option<PathBuf>,
    staging: Staging,
}

impl CopyAhead {
    /// Begins to copy the image of `source` for each plan, on a thread of its own. Of the plans, only the directories
    /// matter yet; those that `compact` copy nothing.
    ///
    /// # Errors
    /// A plan that cannot be carried out, or a directory that cannot be made.
    pub fn begin(source: Arc<SnapshotFile>, plans: &[Plan]) -> Result<Self, RestoreError> {
        Plan::validate_all(plans)?;
        let image_bytes = source.snapshot().db().size_bytes();
        let mut prepared = Vec::new();
        // What is wrong with a file that was cut is for the restore itself to say.
        let plans = if source.len_bytes() < image_bytes { &[] } else { plans };
        for plan in plans.iter().filter(|plan| !plan.compact) {
            prepared.push(Prepared {
                data_dir: plan.data_dir.clone(),
                wal_dir: plan.wal_dir.clone(),
                staging: Staging::create(&plan.data_dir, plan.wal_dir.as_deref())?,
            });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let paths: Vec<PathBuf> = prepared.iter().map(|it| it.staging.database()).collect();
        let copying = {
            let (source, stop) = (Arc::clone(&source), Arc::clone(&stop));
            thread::spawn(move || {
                paths.iter().try_for_each(|path| files::copy_image(path, &source, image_bytes, &stop))
            })
        };
        Ok(Self { prepared, source, stop, copying: Some(copying) })
    }

    /// Waits until all is copied.
    pub(super) fn wait(&mut self) -> Result<(), RestoreError> {
        match self.copying.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(copied)) => copied,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// The directories for a plan, if the image of this very file was copied into them.
    pub(super) fn take(&mut self, source: &SnapshotFile, plan: &Plan) -> Option<Staging> {
        if plan.compact || !std::ptr::eq(source, &raw const *self.source) {
            return None;
        }
        let is_its = |it: &Prepared| it.data_dir == plan.data_dir && it.wal_dir == plan.wal_dir;
        let index = self.prepared.iter().position(is_its)?;
        Some(self.prepared.swap_remove(index).staging)
    }
}

impl Drop for CopyAhead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(copying) = self.copying.take() {
            // Nobody asks any more how it went.
            let _ = copying.join();
        }
    }
}

impl std::fmt::Debug for CopyAhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directories: Vec<_> = self.prepared.iter().map(|it| &it.data_dir).collect();
        f.debug_struct("CopyAhead").field("directories", &directories).finish_non_exhaustive()
    }
}
