//! Copying the image while the snapshot is still being checked: the disk is what a restore waits for longest.
//!
//! Only what no plan changes is written ahead, under the hidden names that every restore writes to first. Whether it
//! becomes a data directory is decided afterwards, and when it does not, all of it is taken away.
//!
//! A file that was unpacked for the restore alone need not be copied at all: once it is decided, it becomes the last member's
//! database itself, by a rename.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
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
    image_bytes: u64,
}

struct Prepared {
    data_dir: PathBuf,
    wal_dir: Option<PathBuf>,
    staging: Staging,
    /// The source's own path, where that is to be moved here and nothing is copied.
    moves: Option<PathBuf>,
}

impl CopyAhead {
    /// Begins to copy the image of `source` for each plan, on a thread of its own. Of the plans, only the directories
    /// matter yet; those that `compact` copy nothing.
    ///
    /// # Errors
    /// A plan that cannot be carried out, or a directory that cannot be made.
    pub fn begin(source: Arc<SnapshotFile>, plans: &[Plan]) -> Result<Self, RestoreError> {
        Self::begin_with(source, plans, None)
    }

    /// As [`Self::begin`], with a source that is nobody else's: the file at `path` becomes the database of the last plan, where it
    /// lies in the same file system. Until [`restore_ahead`](super::restore_ahead) it stays where and as it is; afterwards it is gone
    /// from there, and `source` shows the restored database, so that nothing more can be made of it.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_taking(
        source: Arc<SnapshotFile>,
        plans: &[Plan],
        path: &Path,
    ) -> Result<Self, RestoreError> {
        Self::begin_with(source, plans, Some(path))
    }

    fn begin_with(
        source: Arc<SnapshotFile>,
        plans: &[Plan],
        own: Option<&Path>,
    ) -> Result<Self, RestoreError> {
        Plan::validate_all(plans)?;
        // What is compacted is read out of the source, which has to stay as it is for that.
        let own = own.filter(|_| plans.iter().all(|plan| !plan.compact));
        let image_bytes = source.snapshot().db().size_bytes();
        let mut prepared = Vec::new();
        // What is wrong with a file that was cut is for the restore itself to say.
        let plans = if source.len_bytes() < image_bytes { &[] } else { plans };
        for (number, plan) in plans.iter().enumerate().filter(|(_, plan)| !plan.compact) {
            let staging = Staging::create(&plan.data_dir, plan.wal_dir.as_deref())?;
            // The members are written in order, so the last one may change what the others were copied from.
            let is_last = number + 1 == plans.len();
            let moves = own.filter(|own| is_last && share_a_file_system(own, &staging.snap_dir()));
            prepared.push(Prepared {
                data_dir: plan.data_dir.clone(),
                wal_dir: plan.wal_dir.clone(),
                staging,
                moves: moves.map(Path::to_owned),
            });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let copied = prepared.iter().filter(|it| it.moves.is_none());
        let paths: Vec<PathBuf> = copied.map(|it| it.staging.database()).collect();
        let copying = {
            let (source, stop) = (Arc::clone(&source), Arc::clone(&stop));
            thread::spawn(move || {
                paths.iter().try_for_each(|path| files::copy_image(path, &source, image_bytes, &stop))
            })
        };
        Ok(Self { prepared, source, stop, copying: Some(copying), image_bytes })
    }

    /// Waits until all is copied.
    pub(super) fn wait(&mut self) -> Result<(), RestoreError> {
        match self.copying.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(copied)) => copied,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// The directories for a plan, if the image of this very file was copied into them, or is to be moved there.
    pub(super) fn take(
        &mut self,
        source: &SnapshotFile,
        plan: &Plan,
    ) -> Result<Option<Staging>, RestoreError> {
        if plan.compact || !std::ptr::eq(source, &raw const *self.source) {
            return Ok(None);
        }
        let is_its = |it: &Prepared| it.data_dir == plan.data_dir && it.wal_dir == plan.wal_dir;
        let Some(index) = self.prepared.iter().position(is_its) else { return Ok(None) };
        let Prepared { staging, moves, .. } = self.prepared.swap_remove(index);
        if let Some(own) = moves {
            let database = staging.database();
            if fs::rename(&own, &database).is_ok() {
                files::make_private(&database)?;
            } else {
                // One file system may be mounted twice, and then nothing moves from one place to the other.
                files::copy_image(&database, source, self.image_bytes, &self.stop)?;
            }
        }
        Ok(Some(staging))
    }
}

fn share_a_file_system(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.dev()).ok();
    device(one).is_some_and(|one| device(other) == Some(one))
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
