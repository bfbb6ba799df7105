//! Refuses files and folders that somebody else could change.
//!
//! Whoever may write a plugin decides what verifies a backup, and whoever may write the native-code cache runs code as
//! the agent. So each must belong to root or to us and be writable by its owner alone. A file system that is mounted
//! read-only cannot be written by anybody, whatever its modes say: that is how a `ConfigMap` volume comes (mode 0777).

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags};

/// Write permission of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why a file or folder is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It could not be opened or looked at.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Group or others may write it.
    #[error("`{}` is writable by others (mode {mode:04o})", path.display())]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to neither root nor the user we run as.
    #[error("`{}` belongs to user {owner}, who is neither root nor the user this runs as ({us})", path.display())]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Our effective user id.
        us: u32,
    },
    /// It is another kind of thing than it should be.
    #[error("`{}` is not a {expected}", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A link leads out of the folder.
    #[error("`{}` links to `{}`, outside of its folder", path.display(), target.display())]
    Outside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
}

impl Untrusted {
    /// The command or step that mends it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Untrusted::Writable { path, .. } => Some(format!("run `chmod go-w {}`", path.display())),
            Untrusted::Owner { path, us, .. } => Some(format!("run `chown {us} {}`", path.display())),
            Untrusted::Outside { path, .. } => {
                Some(format!("replace `{}` by a copy of the file", path.display()))
            }
            Untrusted::Unreadable { .. } | Untrusted::Kind { .. } => None,
        }
    }

    /// True when the file or folder is simply not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Untrusted::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Opens a folder and checks it. The handle stays the folder that was checked, whatever happens to its name.
pub(crate) fn open_folder(path: &Path) -> Result<std::fs::File, Untrusted> {
    let folder = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, "folder")?;
    check(&folder, path)?;
    Ok(folder)
}

/// Opens a regular file for reading and checks it. `path` must have no link as its last part.
pub(crate) fn open_file(path: &Path) -> Result<std::fs::File, Untrusted> {
    // Without NONBLOCK, opening a named pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(path, flags, "regular file")?;
    check_file(&file, path)?;
    Ok(file)
}

/// Checks an open regular file.
pub(crate) fn check_file(file: &std::fs::File, path: &Path) -> Result<(), Untrusted> {
    let stat = rustix::fs::fstat(file).map_err(|error| unreadable(path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Untrusted::Kind { path: path.to_owned(), expected: "regular file" });
    }
    check(file, path)
}

fn open(path: &Path, flags: OFlags, expected: &'static str) -> Result<std::fs::File, Untrusted> {
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            Err(Untrusted::Kind { path: path.to_owned(), expected })
        }
        Err(error) => Err(unreadable(path, error)),
    }
}

fn check(file: impl AsFd, path: &Path) -> Result<(), Untrusted> {
    let stat = rustix::fs::fstat(&file).map_err(|error| unreadable(path, error))?;
    let mounted = rustix::fs::fstatvfs(&file).map_err(|error| unreadable(path, error))?;
    judge(
        path,
        stat.st_uid,
        rustix::process::geteuid().as_raw(),
        stat.st_mode & 0o7777,
        mounted.f_flag.contains(StatVfsMountFlags::RDONLY),
    )
}

fn judge(path: &Path, owner: u32, us: u32, mode: u32, read_only_mount: bool) -> Result<(), Untrusted> {
    if read_only_mount {
        return Ok(());
    }
    if owner != 0 && owner != us {
        return Err(Untrusted::Owner { path: path.to_owned(), owner, us });
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(Untrusted::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

fn unreadable(path: &Path, error: rustix::io::Errno) -> Untrusted {
    Untrusted::Unreadable { path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_we_may_own_and_only_the_owner_may_write() {
        let path = Path::new("/etc/holdfast/plugins");
        assert!(judge(path, 0, 1000, 0o755, false).is_ok());
        assert!(judge(path, 1000, 1000, 0o700, false).is_ok());
        assert!(matches!(judge(path, 1001, 1000, 0o700, false), Err(Untrusted::Owner { owner: 1001, .. })));
        let error = judge(path, 0, 0, 0o775, false).expect_err("group may write");
        assert_eq!(error.to_string(), "`/etc/holdfast/plugins` is writable by others (mode 0775)");
        assert_eq!(error.hint().as_deref(), Some("run `chmod go-w /etc/holdfast/plugins`"));
    }

    #[test]
    fn a_read_only_mount_may_have_any_mode() {
        assert!(judge(Path::new("/plugins"), 0, 1000, 0o777, true).is_ok());
    }
}
