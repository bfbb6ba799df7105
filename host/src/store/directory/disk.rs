//! Every change that a directory store makes to its disk goes through here, so that tests can have a disk that fails at any of
//! them. Elsewhere this is nothing but the change itself.

use std::io::{self, Write};

/// The disk below a store.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    failing: Option<std::sync::Arc<FailingDisk>>,
}

#[cfg_attr(not(test), expect(clippy::unused_self, reason = "only the disk of a test can fail"))]
impl Disk {
    /// One change: a name made, moved or removed, or what was written made durable.
    pub(super) fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        #[cfg(test)]
        if let Some(disk) = &self.failing {
            return disk.change(change);
        }
        change()
    }

    /// Writes bytes to a file.
    pub(super) fn write(&self, file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(disk) = &self.failing {
            return disk.write(file, bytes);
        }
        file.write_all(bytes)
    }

    #[cfg(test)]
    pub(super) fn failing(disk: &std::sync::Arc<FailingDisk>) -> Self {
        Self { failing: Some(std::sync::Arc::clone(disk)) }
    }
}

#[cfg(test)]
pub(crate) use failing::{DiskFault, FailingDisk};

#[cfg(test)]
mod failing {
    use std::io::{self, Write};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// How a disk fails at its n-th change.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum DiskFault {
        /// EIO, once; nothing is changed.
        Eio,
        /// EIO, then and at each change that follows: the disk has died.
        Died,
        /// EIO, once, after the change was made.
        Late,
        /// Half of the bytes are written, then EIO; at a change that writes none, as [`Self::Eio`].
        Short,
        /// ENOSPC, then and at each change that follows.
        Enospc,
    }

    /// A disk that fails.
    #[derive(Debug)]
    pub(crate) struct FailingDisk {
        fault: DiskFault,
        at: u64,
        changes: AtomicU64,
    }

    impl FailingDisk {
        /// Fails at change `at`, counted from 1.
        pub(crate) fn new(fault: DiskFault, at: u64) -> std::sync::Arc<Self> {
            std::sync::Arc::new(Self { fault, at, changes: AtomicU64::new(0) })
        }

        /// Whether the change has come at which it fails.
        pub(crate) fn has_struck(&self) -> bool {
            self.changes.load(Ordering::SeqCst) >= self.at
        }

        fn fails(&self) -> bool {
            let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
            let lasts = matches!(self.fault, DiskFault::Died | DiskFault::Enospc);
            change == self.at || (lasts && change > self.at)
        }

        fn error(&self) -> io::Error {
            let errno = if self.fault == DiskFault::Enospc {
                rustix::io::Errno::NOSPC
            } else {
                rustix::io::Errno::IO
            };
            errno.into()
        }

        pub(super) fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            if !self.fails() {
                return change();
            }
            if self.fault == DiskFault::Late {
                change()?;
            }
            Err(self.error())
        }

        pub(super) fn write(&self, file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
            if !self.fails() {
                return file.write_all(bytes);
            }
            let written = match self.fault {
                DiskFault::Late => bytes.len(),
                DiskFault::Short | DiskFault::Enospc => bytes.len() / 2,
                DiskFault::Eio | DiskFault::Died => 0,
            };
            file.write_all(&bytes[..written])?;
            Err(self.error())
        }
    }
}
