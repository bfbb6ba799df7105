//! Compiled plugins on disk, so that a start does not compile again.
//!
//! An entry is native code that the agent will run: whoever can write one is the agent. So the folder is ours alone
//! (0700, see [`crate::hygiene`]) and is held open by handle, entries are written beside and renamed, and nothing but
//! what this module wrote is ever read. The digest in an entry guards against damage (a full disk, a torn write, a bad
//! sector), not against somebody with our rights: he could run code without it.
//!
//! An entry is named `<sha256 of the component>-<compatibility>.cwasm`:
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 8 | `HFNATIV1` |
//! | 8 | 32 | SHA-256 of the component |
//! | 40 | 8 | compatibility hash of the engine, little-endian |
//! | 48 | 8 | length of the code, little-endian |
//! | 56 | 32 | SHA-256 of the 56 bytes before and the code |
//! | 88 | … | the code |

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};

use crate::digest::Digest;
use crate::hygiene::{self, Untrusted};

const MAGIC: &[u8; 8] = b"HFNATIV1";
const DIGEST_AT: usize = 56;
const CODE_AT: usize = DIGEST_AT + 32;
/// Entries beyond this sum are removed, least recently used first. Python and JavaScript plugins take some 33 MB each.
const CACHE_BYTES: u64 = 1 << 30;
/// No entry is that large; a larger file is not read.
const ENTRY_BYTES: u64 = 512 << 20;
/// A file that a killed process left half-written is removed once it is this much older than a new entry.
const ABANDONED_SECONDS: i64 = 3600;
const SUFFIX: &str = ".cwasm";
const TEMPORARY: &str = ".new-";

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder could not be made.
    #[error("the plugin cache `{}` cannot be created", path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The folder could be written by somebody else.
    #[error("the plugin cache is not private")]
    Untrusted(#[source] Untrusted),
}

/// Which compiled code is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// SHA-256 of the component.
    pub(crate) component: Digest,
    /// What the engine's version, target and settings hash to.
    pub(crate) compatibility: u64,
}

impl Key {
    fn file_name(self) -> String {
        format!("{}-{:016x}{SUFFIX}", self.component, self.compatibility)
    }

    fn header(self, code_bytes: u64) -> [u8; DIGEST_AT] {
        let mut header = [0; DIGEST_AT];
        header[..8].copy_from_slice(MAGIC);
        header[8..40].copy_from_slice(&self.component.0);
        header[40..48].copy_from_slice(&self.compatibility.to_le_bytes());
        header[48..56].copy_from_slice(&code_bytes.to_le_bytes());
        header
    }
}

/// The open cache folder.
pub(crate) struct Cache {
    folder: File,
    path: PathBuf,
    written: AtomicU64,
}

impl Cache {
    /// Opens `directory/native`, creating it (0700) where it is missing.
    pub(crate) fn open(directory: &Path) -> Result<Cache, CacheError> {
        let path = directory.join("native");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| CacheError::Create { path: path.clone(), source })?;
        let folder = hygiene::open_folder(&path).map_err(CacheError::Untrusted)?;
        Ok(Cache { folder, path, written: AtomicU64::new(0) })
    }

    /// The code stored under `key`, if there is any and it is whole. A damaged entry is removed.
    pub(crate) fn load(&self, key: Key) -> Option<Vec<u8>> {
        let name = key.file_name();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.folder, &name, flags, Mode::empty()).ok()?);
        match self.read(&file, key) {
            Ok(code) => Some(code),
            Err(reason) => {
                tracing::warn!(entry = name, reason, "a cached plugin is not usable and is compiled again");
                let _ = rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty());
                None
            }
        }
    }

    fn read(&self, file: &File, key: Key) -> Result<Vec<u8>, String> {
        hygiene::check_file(file, &self.path.join(key.file_name())).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        file.take(ENTRY_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        let code = bytes.get(CODE_AT..).ok_or("it is cut short")?;
        let header = key.header(code.len() as u64);
        if bytes[..DIGEST_AT] != header {
            return Err("its header does not fit its name and length".into());
        }
        if bytes[DIGEST_AT..CODE_AT] != Digest::of(&[&header, code]).0 {
            return Err("its digest does not fit its content".into());
        }
        // The time of use, for the order of removal; without it the entry is only removed earlier.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now });
        bytes.drain(..CODE_AT);
        Ok(bytes)
    }

    /// Stores `code` under `key` and removes what is over the size of the cache.
    pub(crate) fn store(&self, key: Key, code: &[u8]) -> io::Result<()> {
        let count = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{TEMPORARY}{}-{count}", std::process::id());
        let name = key.file_name();
        let written = self.write(&temporary, key, code).and_then(|()| {
            rustix::fs::renameat(&self.folder, &temporary, &self.folder, &name).map_err(io::Error::from)
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&self.folder, &temporary, AtFlags::empty());
        }
        written?;
        self.prune(&name)
    }

    /// Removes the entry under `key`.
    pub(crate) fn remove(&self, key: Key) {
        let _ = rustix::fs::unlinkat(&self.folder, key.file_name(), AtFlags::empty());
    }

    fn write(&self, name: &str, key: Key, code: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(&self.folder, name, flags, mode)?);
        let header = key.header(code.len() as u64);
        file.write_all(&header)?;
        file.write_all(&Digest::of(&[&header, code]).0)?;
        file.write_all(code)?;
        file.sync_data()
    }

    /// Least recently used first, never the entry `kept`.
    fn prune(&self, kept: &str) -> io::Result<()> {
        let now = rustix::fs::statat(&self.folder, kept, AtFlags::SYMLINK_NOFOLLOW)?.st_mtime;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(stat) = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if name.starts_with(TEMPORARY) && stat.st_mtime + ABANDONED_SECONDS < now {
                rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?;
            } else if name.ends_with(SUFFIX) && name != kept {
                entries.push((stat.st_mtime, stat.st_size as u64, name.to_owned()));
            }
        }
        entries.sort();
        let mut total_bytes: u64 = entries.iter().map(|(_, size_bytes, _)| size_bytes).sum();
        for (_, size_bytes, name) in entries {
            if total_bytes <= CACHE_BYTES {
                break;
            }
            rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty())?;
            total_bytes -= size_bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key() -> Key {
        Key { component: Digest::of(&[b"component"]), compatibility: 7 }
    }

    #[test]
    fn what_was_stored_is_loaded() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::open(directory.path()).expect("a cache");
        assert!(cache.load(key()).is_none());
        cache.store(key(), b"native code").expect("stored");
        assert_eq!(cache.load(key()).as_deref(), Some(&b"native code"[..]));
        let other = Key { compatibility: 8, ..key() };
        assert!(cache.load(other).is_none());
        let mode = std::fs::metadata(directory.path().join("native")).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn each_flipped_byte_and_each_cut_is_noticed() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::open(directory.path()).expect("a cache");
        let path = directory.path().join("native").join(key().file_name());
        cache.store(key(), b"native code").expect("stored");
        let good = std::fs::read(&path).expect("readable");
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(&path, &bad).expect("writable");
            assert!(cache.load(key()).is_none(), "flipped byte {place}");
            assert!(!path.exists(), "a damaged entry is removed");
            std::fs::write(&path, &good[..place]).expect("writable");
            assert!(cache.load(key()).is_none(), "cut at {place}");
        }
    }

    #[test]
    fn an_entry_that_others_may_write_is_not_used() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::open(directory.path()).expect("a cache");
        cache.store(key(), b"native code").expect("stored");
        let path = directory.path().join("native").join(key().file_name());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        assert!(cache.load(key()).is_none());
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let native = directory.path().join("native");
        std::fs::create_dir(&native).expect("created");
        std::fs::set_permissions(&native, std::fs::Permissions::from_mode(0o777)).expect("chmod");
        assert!(matches!(
            Cache::open(directory.path()),
            Err(CacheError::Untrusted(Untrusted::Writable { .. }))
        ));
    }
}
