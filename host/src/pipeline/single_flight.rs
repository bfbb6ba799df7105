//! One run at a time in one scratch directory, whoever starts it: the agent or a person.
//!
//! The lock is a `flock` on `holdfast.lock`: the kernel lets go of it when the holder dies, however it dies.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::atomic;

/// Held while a run is under way.
#[derive(Debug)]
pub struct SingleFlight {
    _lock: File,
}

/// Why a run may not begin.
#[derive(Debug, thiserror::Error)]
pub enum SingleFlightError {
    /// Another run is under way.
    #[error("another run is under way (process {holder}, scratch directory `{scratch}`)")]
    Busy {
        /// Who holds the lock, as far as it told.
        holder: String,
        /// The directory.
        scratch: PathBuf,
    },
    /// The scratch directory is not usable.
    #[error("cannot use scratch directory `{scratch}`")]
    Scratch {
        /// The directory.
        scratch: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl SingleFlightError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Busy { .. } => "wait until it has ended; it cannot be joined".to_owned(),
            Self::Scratch { .. } => {
                "create the directory, make it writable, or name another in `scratch` of [backup]".to_owned()
            }
        })
    }
}

impl SingleFlight {
    /// Takes the lock of a scratch directory, which is created if it is missing.
    pub fn acquire(scratch: &Path) -> Result<Self, SingleFlightError> {
        let unusable = |source| SingleFlightError::Scratch { scratch: scratch.to_owned(), source };
        atomic::create_directory(scratch).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(atomic::FILE_MODE)
            .open(scratch.join("holdfast.lock"))
            .map_err(unusable)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = lock.take(20).read_to_string(&mut holder);
                let holder = holder.trim().to_owned();
                return Err(SingleFlightError::Busy { holder, scratch: scratch.to_owned() });
            }
            Err(error) => return Err(unusable(error.into())),
        }
        let note = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        note(&mut lock).map_err(unusable)?;
        Ok(Self { _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_for_nobody_and_is_told_who_runs() {
        let directory = tempfile::tempdir().unwrap();
        let first = SingleFlight::acquire(directory.path()).unwrap();
        let second = SingleFlight::acquire(directory.path()).unwrap_err();
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
        drop(first);
        SingleFlight::acquire(directory.path()).unwrap();
    }
}
