//! Writing the files of a data directory: private, synced, nothing overwritten.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::behind::{WriteBehind, write_behind};
use super::{Cluster, RestoreError, edits};
use crate::SnapshotFile;
use crate::bolt::Database;
use crate::write::{self, Changes, LoadError, Metas, Patch};

/// A database holds the cluster's secrets.
const PRIVATE: u32 = 0o600;

/// Creates a file that only its owner may read.
fn create(path: &Path) -> Result<File, RestoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(PRIVATE);
    options.open(path).map_err(RestoreError::write("create", path))
}

/// Makes a file that was moved here as those are that [`create`] makes.
pub(super) fn make_private(path: &Path) -> Result<(), RestoreError> {
    let set = std::fs::set_permissions(path, Permissions::from_mode(PRIVATE));
    set.map_err(RestoreError::write("set the mode of", path))
}

/// Writes a small file and syncs it; zeros are allocated behind the content up to `reserved_bytes`.
pub(super) fn write(path: &Path, content: &[u8], reserved_bytes: u64) -> Result<(), RestoreError> {
    let mut file = create(path)?;
    let written =
        reserve(&file, reserved_bytes).and_then(|()| file.write_all(content)).and_then(|()| file.sync_all());
    written.map_err(RestoreError::write("write", path))
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        let allocated = match bytes {
            0 => Ok(()),
            _ => rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes),
        };
        if !matches!(allocated, Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR)) {
            return Ok(allocated?);
        }
    }
    // Where the file system cannot allocate, the file has its length at least, as etcd's own fallback does it.
    file.set_len(bytes)
}

/// Copies the image into a new file. It is nothing that etcd starts on before [`patch_image`].
pub(super) fn copy_image(
    path: &Path,
    source: &SnapshotFile,
    image_bytes: u64,
    stop: &AtomicBool,
) -> Result<(), RestoreError> {
    let file = create(path)?;
    if clone(source, &file, image_bytes) {
        return Ok(());
    }
    write_behind(&file, path, |out| copy(source, image_bytes, out, stop))
        .map_err(RestoreError::write("write", path))
}

/// Edits a copied image and gives back how many bytes it has then.
pub(super) fn patch_image(path: &Path, patch: &Patch) -> Result<u64, RestoreError> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| {
        file.write_all_at(&patch.pages, patch.kept_bytes)?;
        // A file that was moved here may be longer: a trailer, or what followed a copied database.
        file.set_len(patch.kept_bytes + patch.pages.len() as u64)?;
        finish(&file, &patch.metas)
    })
    .map_err(RestoreError::write("write", path))?;
    Ok(patch.kept_bytes + patch.pages.len() as u64)
}

/// Has the file system share the source's blocks, where it can: then nothing is copied.
fn clone(source: &SnapshotFile, file: &File, length: u64) -> bool {
    #[cfg(target_os = "linux")]
    if let Some(source) = source.file() {
        return rustix::fs::ioctl_ficlone(file, source).is_ok() && file.set_len(length).is_ok();
    }
    let _ = (source, file, length);
    false
}

/// Copies the first bytes of the source.
fn copy(source: &SnapshotFile, length: u64, out: &mut WriteBehind, stop: &AtomicBool) -> io::Result<()> {
    let image = source.snapshot().db().bytes();
    let mut offset = 0;
    while offset < length {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let space = out.space()?;
        let count = usize::try_from(length - offset).unwrap_or(space.len()).min(space.len());
        let piece = &mut space[..count];
        // Read rather than copied out of the map: what else runs does not wait for this thread's page faults.
        match source.file() {
            Some(file) => file.read_exact_at(piece, offset)?,
            // The edit has checked that the image has the bytes that it keeps.
            None => piece.copy_from_slice(&image[offset as usize..][..count]),
        }
        out.advance(count);
        offset += count as u64;
    }
    Ok(())
}

/// Writes the changed database anew, without holes, and gives back how many bytes that was.
pub(super) fn write_compacted(
    path: &Path,
    database: Database<'_>,
    changes: Changes,
) -> Result<u64, RestoreError> {
    let file = create(path)?;
    let loaded = write_behind(&file, path, |out| write::load(database, changes, out));
    let loaded = loaded.map_err(|error| match error {
        LoadError::Edit(error) => RestoreError::Damaged(error),
        LoadError::Write(error) => RestoreError::write("write", path)(error),
    })?;
    finish(&file, &loaded.metas).map_err(RestoreError::write("write", path))?;
    Ok(loaded.bytes)
}

/// The metas come last: until then the file is no database.
fn finish(file: &File, metas: &Metas) -> io::Result<()> {
    metas.iter().try_for_each(|(offset, meta)| file.write_all_at(meta, *offset))?;
    file.sync_all()
}

/// Opens the written database and looks whether the edits are in it.
pub(super) fn check_database(path: &Path, cluster: &Cluster, revision: i64) -> Result<(), RestoreError> {
    let wrong = || RestoreError::ReadBack { path: path.to_owned() };
    let file = SnapshotFile::open(path).map_err(|_| wrong())?;
    if edits::hold_in(file.snapshot().db(), cluster, revision)? { Ok(()) } else { Err(wrong()) }
}
