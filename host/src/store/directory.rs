//! A directory on a local or mounted file system.
//!
//! An object is a file of the same relative path. It is written to `.<random>.partial` beside its place under an exclusive
//! `flock`, synced, renamed without replacing, and its directory synced. A partial file whose lock can be taken has lost
//! its writer: `sweep` removes it.

mod disk;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use rustix::fs::RenameFlags;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use disk::Disk;
#[cfg(test)]
pub(crate) use disk::{DiskFault, FailingDisk};

use super::{ByteStream, Features, ObjectInfo, ObjectPath, Page, Store, StoreError};
use crate::atomic;

/// Bytes of one read. Large enough that a thread hop costs little beside it, small enough to stay in the processor's cache.
const READ_CHUNK_BYTES: usize = 128 << 10;
/// Chunks between the reading or writing thread and the async side.
const CHANNEL_CHUNKS: usize = 4;
/// Objects of one page of a listing.
const PAGE_OBJECTS: usize = 1000;
/// Deepest directory that a listing enters: paths of ours have four segments.
const MAX_DEPTH: usize = 16;
/// Times that a directory is made anew for one object: each time another process had to take it away in between.
const MAX_ATTEMPTS: u32 = 10;
/// Small files read at once: each takes a thread for a moment.
const READS_AT_ONCE: usize = 64;
const PARTIAL_SUFFIX: &str = ".partial";

/// Keeps objects as files below one directory.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
    disk: Disk,
}

impl DirectoryStore {
    /// A store in `root`. [`Store::probe`] creates it, but not the directories above: where these are missing, a disk is
    /// most likely not mounted.
    pub fn new(root: PathBuf) -> Self {
        Self { root, disk: Disk::default() }
    }

    /// A store on a disk that fails.
    #[cfg(test)]
    pub(crate) fn on(root: PathBuf, disk: &std::sync::Arc<FailingDisk>) -> Self {
        Self { root, disk: Disk::failing(disk) }
    }

    fn file(&self, path: &ObjectPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    fn unusable(&self, source: io::Error) -> StoreError {
        StoreError::Unusable { place: self.describe(), source }
    }

    fn failed(&self, path: &ObjectPath, action: &'static str, source: io::Error) -> StoreError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { path: path.to_string(), place: self.describe(), source }
            }
            io::ErrorKind::NotFound if !self.root.is_dir() => self.unusable(source),
            io::ErrorKind::NotFound if action == "read" => StoreError::NotFound { path: path.to_string() },
            io::ErrorKind::AlreadyExists => StoreError::Exists { path: path.to_string() },
            _ => StoreError::io(path, action, source),
        }
    }
}

#[async_trait]
impl Store for DirectoryStore {
    fn describe(&self) -> String {
        format!("directory `{}`", self.root.display())
    }

    fn features(&self) -> Features {
        Features { exclusive: true, ..Features::default() }
    }

    fn reads_at_once(&self) -> usize {
        READS_AT_ONCE
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let Self { root, disk } = self.clone();
        blocking(move || {
            disk.change(|| create_root(&root))?;
            // Permission bits do not tell of read-only mounts and quotas: write a file to know.
            let mut file = disk
                .change(|| tempfile::Builder::new().prefix(".").suffix(PARTIAL_SUFFIX).tempfile_in(&root))?;
            disk.write(&mut file, b"probe")
        })
        .await
        .map_err(|source| self.unusable(source))
    }

    async fn put(&self, path: &ObjectPath, mut body: ByteStream) -> Result<u64, StoreError> {
        let target = self.file(path);
        let Self { root, disk } = self.clone();
        let (sender, receiver) = mpsc::channel::<Bytes>(CHANNEL_CHUNKS);
        // The writer commits only when told that the stream ended well: a dropped future must not look like an end.
        let (commit, committed) = tokio::sync::oneshot::channel::<()>();
        let writer =
            tokio::task::spawn_blocking(move || write_object(&disk, &root, &target, receiver, committed));
        let mut failure = None;
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => {
                    if sender.send(chunk).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if failure.is_none() {
            let _ = commit.send(());
        } else {
            drop(commit);
        }
        drop(sender);
        let written = join(writer.await);
        match failure {
            Some(error) => Err(StoreError::io(path, "write", error)),
            None => written.map_err(|source| self.failed(path, "write", source)),
        }
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Box::pin(futures::stream::empty()));
        }
        let file = self.file(path);
        let opened = blocking(move || {
            let mut file = File::open(file)?;
            let length = file.metadata()?.len();
            let range = range.unwrap_or(0..length);
            file.seek(SeekFrom::Start(range.start))?;
            Ok((file, range.end.min(length).saturating_sub(range.start)))
        })
        .await;
        let (file, length) = opened.map_err(|source| self.failed(path, "read", source))?;
        let (sender, receiver) = mpsc::channel(CHANNEL_CHUNKS);
        tokio::task::spawn_blocking(move || read_object(&file, length, &sender));
        Ok(Box::pin(tokio_stream(receiver)))
    }

    async fn head(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError> {
        let file = self.file(path);
        let info_path = path.clone();
        match blocking(move || fs::metadata(file)).await {
            Ok(metadata) => Ok(Some(info(info_path, &metadata))),
            Err(error) => match self.failed(path, "read", error) {
                StoreError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let root = self.root.clone();
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        blocking(move || list_page(&root, &prefix, after.as_deref()))
            .await
            .map_err(|source| self.unusable(source))
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError> {
        let Self { root, disk } = self.clone();
        let file = self.file(path);
        blocking(move || remove_object(&disk, &root, &file))
            .await
            .map_err(|source| self.failed(path, "remove", source))
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        let root = self.root.clone();
        blocking(move || sweep_partials(&root)).await.map_err(|source| self.unusable(source))
    }
}

/// Runs file-system work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    join(tokio::task::spawn_blocking(work).await)
}

fn join<T>(joined: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    joined.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn tokio_stream(
    receiver: mpsc::Receiver<io::Result<Bytes>>,
) -> impl futures::Stream<Item = io::Result<Bytes>> {
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}

/// Creates the store's own directory and none above it.
fn create_root(root: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(atomic::DIRECTORY_MODE).create(root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && root.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !root.is_symlink() => {
            let parent = atomic::parent(root).display().to_string();
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("`{parent}`, in which it would be made, is not there"),
            ))
        }
        done => done,
    }
}

/// Writes all chunks to a partial file and renames it once `committed` fires.
fn write_object(
    disk: &Disk,
    root: &Path,
    target: &Path,
    mut chunks: mpsc::Receiver<Bytes>,
    committed: tokio::sync::oneshot::Receiver<()>,
) -> io::Result<u64> {
    let directory = atomic::parent(target);
    // Told before the bytes are moved, so that a retry of a finished put costs nothing; the rename below decides.
    if target.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    if !root.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut partial = create_partial(disk, root, directory)?;
    atomic::hold(partial.as_file())?;
    let mut written = 0;
    while let Some(chunk) = chunks.blocking_recv() {
        disk.write(&mut partial, &chunk)?;
        written += chunk.len() as u64;
    }
    if committed.blocking_recv().is_err() {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "the write was given up before its end"));
    }
    disk.change(|| partial.as_file().sync_all())?;
    let partial = partial.into_temp_path();
    disk.change(|| rename_new(&partial, target))?;
    // Renamed: there is nothing left to remove.
    let _ = partial.keep();
    if let Err(error) = disk.change(|| atomic::sync_directory(directory)) {
        // Whoever is told that it failed must not find it there later. A disk that cannot do this either has the last word.
        let _ = disk.change(|| fs::remove_file(target));
        return Err(error);
    }
    Ok(written)
}

/// A partial file in a directory that is made for it. Whoever sweeps or removes may take the directory away again as long
/// as it is empty: then it is made once more.
fn create_partial(disk: &Disk, root: &Path, directory: &Path) -> io::Result<NamedTempFile> {
    let mut attempts = 0;
    loop {
        disk.change(|| atomic::create_directory_below(root, directory))?;
        attempts += 1;
        let made = disk
            .change(|| tempfile::Builder::new().prefix(".").suffix(PARTIAL_SUFFIX).tempfile_in(directory));
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < MAX_ATTEMPTS => {}
            done => return done,
        }
    }
}

/// Renames without replacing. File systems that lack the flag (some network ones) get a hard link instead, which never
/// replaces either.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
    }
}

fn read_object(file: &File, mut left: u64, chunks: &mpsc::Sender<io::Result<Bytes>>) {
    while left > 0 {
        let want = left.min(READ_CHUNK_BYTES as u64);
        let mut chunk = Vec::with_capacity(want as usize);
        let read = file.take(want).read_to_end(&mut chunk);
        let message = match read {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the object ends {left} bytes early"),
            )),
            Ok(count) => {
                left -= count as u64;
                Ok(Bytes::from(chunk))
            }
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        if chunks.blocking_send(message).is_err() || failed {
            return;
        }
    }
}

fn remove_object(disk: &Disk, root: &Path, file: &Path) -> io::Result<()> {
    match disk.change(|| fs::remove_file(file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    remove_empty_directories(disk, root, file)
}

/// A directory is no object: takes away those that became empty above a removed file, up to the root.
fn remove_empty_directories(disk: &Disk, root: &Path, file: &Path) -> io::Result<()> {
    let mut directory = atomic::parent(file);
    match disk.change(|| atomic::sync_directory(directory)) {
        // Taken away already, by the removal of its last other object.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        synced => synced?,
    }
    while directory != root && directory.starts_with(root) && fs::remove_dir(directory).is_ok() {
        directory = atomic::parent(directory);
    }
    Ok(())
}

fn info(path: ObjectPath, metadata: &fs::Metadata) -> ObjectInfo {
    let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    let tag = format!("{:x}-{:x}.{:x}", metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
    ObjectInfo { path, size_bytes: metadata.len(), modified, tag: Some(tag), locked_until: None }
}

/// What lies below a directory.
#[derive(Default)]
struct Tree {
    /// Regular files, whether or not they are objects.
    files: Vec<PathBuf>,
    /// Directories, the start first, each before those within it.
    directories: Vec<PathBuf>,
}

/// Every regular file below `root`. Missing directories are empty ones: another process may remove them meanwhile.
fn walk(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::default();
    let mut directories = VecDeque::from([(root.to_owned(), 0)]);
    while let Some((directory, depth)) = directories.pop_front() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < MAX_DEPTH {
                directories.push_back((entry.path(), depth + 1));
            } else if kind.is_file() {
                tree.files.push(entry.path());
            }
        }
        tree.directories.push(directory);
    }
    Ok(tree)
}

fn list_page(root: &Path, prefix: &str, after: Option<&str>) -> io::Result<Page> {
    // A store that is not there is not one without objects.
    fs::read_dir(root)?;
    let mut found = Vec::new();
    Listing { root, prefix, after, found: &mut found }.directory("", 0)?;
    let next = (found.len() > PAGE_OBJECTS).then(|| found[PAGE_OBJECTS - 1].to_string());
    found.truncate(PAGE_OBJECTS);
    let mut objects = Vec::with_capacity(found.len());
    for path in found {
        match fs::metadata(root.join(path.as_str())) {
            Ok(metadata) => objects.push(info(path, &metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Page { objects, next })
}

/// One page of a listing: walks in the order of paths, enters only directories that hold some of it, and stops when it is
/// known whether there is more.
struct Listing<'a> {
    root: &'a Path,
    prefix: &'a str,
    after: Option<&'a str>,
    found: &'a mut Vec<ObjectPath>,
}

impl Listing<'_> {
    /// `relative` is empty or ends in `/`.
    fn directory(&mut self, relative: &str, depth: usize) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(relative)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // A directory stands where its first object would: `a-b` comes before `a/b`.
        let mut paths: Vec<String> = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                paths.push(format!("{relative}{name}/"));
            } else if kind.is_file() {
                paths.push(format!("{relative}{name}"));
            }
        }
        paths.sort_unstable();
        for path in paths {
            if self.found.len() > PAGE_OBJECTS {
                return Ok(());
            }
            if path.ends_with('/') {
                if depth < MAX_DEPTH && self.enters(&path) {
                    self.directory(&path, depth + 1)?;
                }
            } else if path.starts_with(self.prefix) && self.after.is_none_or(|after| path.as_str() > after) {
                // What is no object, such as a partial file, is passed over.
                self.found.extend(ObjectPath::new(path));
            }
        }
        Ok(())
    }

    /// Whether a directory may hold objects of this page.
    fn enters(&self, directory: &str) -> bool {
        let holds = directory.starts_with(self.prefix) || self.prefix.starts_with(directory);
        let is_behind = self.after.is_some_and(|after| directory < after && !after.starts_with(directory));
        holds && !is_behind
    }
}

fn sweep_partials(root: &Path) -> io::Result<u64> {
    let mut swept = 0;
    let tree = walk(root)?;
    for file in &tree.files {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !(name.starts_with('.') && name.ends_with(PARTIAL_SUFFIX)) {
            continue;
        }
        if atomic::remove_if_abandoned(file)? {
            swept += 1;
        }
    }
    // What was made for these, or by a writer that died before its first byte. Deepest first; a directory that holds
    // something stays.
    for directory in tree.directories.iter().skip(1).rev() {
        let _ = fs::remove_dir(directory);
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{body, contract, list_all, read_small};

    fn path(text: &str) -> ObjectPath {
        ObjectPath::new(text).unwrap()
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let directory = tempfile::tempdir().unwrap();
        contract::check(&DirectoryStore::new(directory.path().join("store"))).await;
    }

    #[tokio::test]
    async fn a_listing_is_in_the_order_of_paths_and_enters_only_what_it_must() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(directory.path().to_owned());
        for name in ["a/b", "a-b", "a.b", "a/a/a", "a/a-a", "b"] {
            store.put(&path(name), body(Vec::new())).await.unwrap();
        }
        let names =
            |page: Page| page.objects.iter().map(|object| object.path.to_string()).collect::<Vec<_>>();
        let all = names(store.list("", None).await.unwrap());
        assert_eq!(all, ["a-b", "a.b", "a/a-a", "a/a/a", "a/b", "b"]);
        for (place, after) in all.iter().enumerate() {
            assert_eq!(names(store.list("", Some(after)).await.unwrap()), all[place + 1..], "after {after}");
        }
        assert_eq!(names(store.list("a/a", Some("a/a-a")).await.unwrap()), ["a/a/a"]);
        assert!(names(store.list("a/a/", Some("b")).await.unwrap()).is_empty());
    }

    #[tokio::test]
    async fn a_put_that_is_dropped_midway_shows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(directory.path().to_owned());
        let stuck = futures::stream::once(async { Ok(Bytes::from_static(b"half")) })
            .chain(futures::stream::pending());
        let target = path("a/b");
        let put = store.put(&target, Box::pin(stuck));
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), put).await.is_err());
        assert!(list_all(&store, "").await.unwrap().is_empty());
        assert!(store.head(&path("a/b")).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn sweep_takes_what_the_dead_left_and_spares_the_living() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(directory.path().to_owned());
        store.put(&path("a/kept"), body(b"x".to_vec())).await.unwrap();
        fs::write(directory.path().join("a/.dead.partial"), b"y").unwrap();
        fs::create_dir_all(directory.path().join("b/made-for-nothing")).unwrap();
        let living = File::create(directory.path().join("a/.living.partial")).unwrap();
        atomic::hold(&living).unwrap();
        assert_eq!(store.sweep().await.unwrap(), 1);
        assert!(directory.path().join("a/.living.partial").exists());
        assert!(!directory.path().join("b").exists(), "an empty directory was left");
        assert_eq!(read_small(&store, &path("a/kept"), 10).await.unwrap(), b"x");
    }
}
