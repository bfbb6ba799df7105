//! The folder of a throwaway etcd: private, held while its owner lives, and found again by the next when it did not.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::atomic;
use crate::session::SessionId;

/// What the names of these folders begin with.
const PREFIX: &str = "boot-";
/// The file that the owner holds.
const LOCK: &str = "lock";
const DATA: &str = "data";
/// The sockets, as etcd names them when it is told `unix://client:0` in its working directory.
pub(super) const CLIENT_SOCKET: &str = "client:0";
pub(super) const PEER_SOCKET: &str = "peer:0";
/// The longest path of a socket, without the zero at its end.
const SOCKET_PATH_BYTES: usize = 107;
/// How often a folder is made before it is given up.
const TRIES: u32 = 5;
/// How often it is looked whether a process that was killed is gone, and how often at most.
const LOOK: std::time::Duration = std::time::Duration::from_millis(10);
const LOOKS: usize = 500;

/// A folder of one etcd. It goes with this value.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Held open: a long path leads through it.
    directory: File,
    _lock: File,
}

impl Place {
    /// Makes a folder, after taking away what dead owners left.
    pub(super) fn create(scratch: &Path) -> io::Result<Self> {
        atomic::create_directory(scratch)?;
        // Absolute, for it is the working directory of another process.
        let scratch = scratch.canonicalize()?;
        sweep(&scratch);
        let mut tries = TRIES;
        loop {
            let path = scratch.join(format!("{PREFIX}{}", SessionId::random()));
            let made = || -> io::Result<(File, File)> {
                atomic::create_directory(&path)?;
                let lock = atomic::create_file(&path.join(LOCK))?;
                atomic::hold(&lock)?;
                Ok((File::open(&path)?, lock))
            };
            tries -= 1;
            match made() {
                Ok((directory, lock)) => return Ok(Self { path, directory, _lock: lock }),
                // The sweep of another process took it for abandoned before it was held.
                Err(error) if tries > 0 && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let _ = fs::remove_dir_all(&path);
                    return Err(error);
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn data_directory(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Makes the ids of this cluster differ from those of any other.
    pub(super) fn token(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where etcd is asked.
    pub(super) fn client_socket(&self) -> PathBuf {
        let path = self.path.join(CLIENT_SOCKET);
        if path.as_os_str().len() <= SOCKET_PATH_BYTES {
            return path;
        }
        PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd())).join(CLIENT_SOCKET)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the folder of a throwaway etcd; the next one tries again");
        }
    }
}

/// Takes away the folders whose owners are dead, and kills the etcds that still run in them. Returns how many folders.
pub fn sweep(scratch: &Path) -> u64 {
    let Ok(scratch) = scratch.canonicalize() else { return 0 };
    let Ok(entries) = fs::read_dir(&scratch) else { return 0 };
    let mut swept = 0;
    for entry in entries.flatten() {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_one || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        match take_away(&path) {
            Ok(true) => {
                tracing::info!(path = %path.display(), "took away a throwaway etcd whose owner died");
                swept += 1;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot take away what a dead run left");
            }
        }
    }
    swept
}

/// Whether the folder was abandoned, and is gone now.
fn take_away(path: &Path) -> io::Result<bool> {
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => Some(lock),
        // Its owner is about to make it, or died before: an empty folder can go, and one with something in it cannot be made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let Some(lock) = lock else {
        return Ok(fs::remove_dir(path).is_ok());
    };
    if atomic::hold(&lock).is_err() {
        return Ok(false);
    }
    for _ in 0..LOOKS {
        let running = processes_in(path)?;
        if running.is_empty() {
            fs::remove_dir_all(path)?;
            return Ok(true);
        }
        for process in running {
            // Gone meanwhile is as good.
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(LOOK);
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "the etcd in it cannot be killed"))
}

/// The processes that work in this folder. An etcd is started in its own, so no note of its id is needed, which a crash
/// could keep from being written.
fn processes_in(path: &Path) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        // Those of other users cannot be read, and are none of ours.
        if fs::read_link(entry.path().join("cwd")).is_ok_and(|works_in| works_in == path) {
            found.push(pid);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_folder_is_private_and_goes_with_its_owner() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::create(&scratch.path().join("deep/er")).unwrap();
        let path = place.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(sweep(path.parent().unwrap()), 0, "its owner lives");
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_owner_left_is_killed_and_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::create(scratch.path()).unwrap();
        let path = place.path().to_owned();
        let mut child =
            Command::new("sleep").arg("600").current_dir(&path).stdin(Stdio::null()).spawn().unwrap();
        // As a kill leaves it: the lock is free, the folder and the process are there.
        let Place { path: _, directory, _lock: lock } = &place;
        rustix::fs::flock(lock, rustix::fs::FlockOperation::Unlock).unwrap();
        assert!(directory.metadata().unwrap().is_dir());
        // The child is ours and stays a zombie until it is waited for, without a working directory.
        assert_eq!(sweep(scratch.path()), 1);
        assert!(!child.wait().unwrap().success());
        assert!(!path.exists());
        std::mem::forget(place);
    }

    #[test]
    fn a_long_path_has_a_short_way_to_its_socket() {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::create(&scratch.path().join("x".repeat(120))).unwrap();
        let socket = place.client_socket();
        assert!(socket.as_os_str().len() <= SOCKET_PATH_BYTES);
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(place.path().join(CLIENT_SOCKET).exists());
        std::os::unix::net::UnixStream::connect(&socket).unwrap();
    }
}
