//! Files that must survive: temporary beside the target, write, sync, rename, sync the folder.
//!
//! Everything that Holdfast writes on local disks goes through here, so that modes (files 0600, directories 0700) and the
//! order of those five moves are decided once.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Mode of every file: a backup holds the cluster's secrets.
pub const FILE_MODE: u32 = 0o600;
/// Mode of every directory.
pub const DIRECTORY_MODE: u32 = 0o700;

/// Creates a directory and its missing parents, 0700 each. Those that are there keep their mode.
pub fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Creates a file that must not be there yet, 0600, open for reading and writing.
pub fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces `path` with `bytes`, whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = parent(path);
    let mut temporary = tempfile::Builder::new().prefix(".").suffix(".partial").tempfile_in(directory)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Takes a file that no other process may take away: it is held until the handle goes, however the process ends.
pub fn hold(file: &File) -> io::Result<()> {
    Ok(rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)?)
}

/// Removes a temporary file whose writer is dead: one that nobody [`hold`]s. Says whether it was removed.
pub fn remove_if_abandoned(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if hold(&file).is_err() {
        return Ok(false);
    }
    std::fs::remove_file(path)?;
    Ok(true)
}

/// The directory that holds `path`.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates every missing directory between `root` and `leaf` (a path below it), and makes each new name durable.
pub fn create_directory_below(root: &Path, leaf: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut place = leaf;
    while !place.is_dir() {
        missing.push(place.to_owned());
        if place == root {
            break;
        }
        place = parent(place);
    }
    for directory in missing.iter().rev() {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_directory(parent(directory))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_written_file_is_private_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, FILE_MODE);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_what_nobody_holds_is_abandoned() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let file = create_file(&path).unwrap();
        hold(&file).unwrap();
        assert!(!remove_if_abandoned(&path).unwrap());
        drop(file);
        assert!(remove_if_abandoned(&path).unwrap());
        assert!(!path.exists() && !remove_if_abandoned(&path).unwrap());
    }

    #[test]
    fn missing_directories_are_made_private() {
        let directory = tempfile::tempdir().unwrap();
        let leaf = directory.path().join("x/y/z");
        create_directory_below(directory.path(), &leaf).unwrap();
        for place in [&leaf, &directory.path().join("x")] {
            assert_eq!(std::fs::metadata(place).unwrap().permissions().mode() & 0o777, DIRECTORY_MODE);
        }
    }
}
