//! Disks of a size: file systems in memory that a test can fill, or make read-only.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::cluster::temporary_directory;
use crate::tools;

/// A mounted file system of its own.
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// A disk of this size. None, said loudly, where mounting is not allowed.
    pub fn mount(size_bytes: u64) -> Option<Disk> {
        let directory = temporary_directory();
        let options = format!("size={size_bytes},mode=0755");
        let output = run(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs"], directory.path());
        if output.status.success() {
            return Some(Disk { directory });
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        tools::skip(&format!("no file system can be mounted here ({reason}): run the tests as root"));
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves room for so many more bytes and so many more names; less than a page is none.
    pub fn leave(&self, bytes: u64, names: u64) {
        let disk = rustix::fs::statvfs(self.path()).expect("a mounted file system tells its size");
        let size = (disk.f_blocks - disk.f_bfree) * disk.f_frsize + bytes;
        let inodes = disk.f_files - disk.f_ffree + names;
        let output = run(&["mount", "-o", &format!("remount,size={size},nr_inodes={inodes}")], self.path());
        assert!(output.status.success(), "a file system cannot be resized: {output:?}");
    }

    /// From now on nothing can be written.
    pub fn make_read_only(&self) {
        let output = run(&["mount", "-o", "remount,ro"], self.path());
        assert!(output.status.success(), "a file system cannot be made read-only: {output:?}");
    }

    /// Every file on it.
    pub fn files(&self) -> Vec<PathBuf> {
        crate::site::files_below(self.path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A busy one goes when its last user does.
        run(&["umount", "-l"], self.directory.path());
    }
}

fn run(words: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(directory).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("`{}` does not run: {error}", words[0]))
}
