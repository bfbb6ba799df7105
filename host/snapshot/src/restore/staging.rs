//! Directories that get their final names when all is written, and vanish when it is not.
//!
//! A new data directory is built beside its place as `.<name>.holdfast-restore-<random>` and renamed. Into one that is
//! there and empty, a mount point perhaps, nothing can be renamed from outside: there the same directory stands inside
//! it, and its entries are moved up one level. A WAL directory apart is built beside its own place.
//!
//! Each such directory is held under `flock` by its process. One that nobody holds was left by a process that was killed:
//! the next restore to the same place takes it away.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::hash::BuildHasher as _;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::RestoreError;
use super::plan::{STAGING_MARK, absolute};

/// How many taken names are tried before it is given up: more than one clash is no accident.
const MAX_ATTEMPTS: u32 = 16;

/// The directories of a restore that is under way.
pub(super) struct Staging {
    /// Stands for the data directory.
    data: PathBuf,
    /// Stands for the WAL directory.
    wal: PathBuf,
    /// Renames that finish the work, in order: what etcd looks at first comes last.
    moves: Vec<Move>,
    /// What to remove when this is dropped: new directories, parents first.
    made: Vec<PathBuf>,
    /// Tell others that these directories have a living owner.
    held: Vec<File>,
    committed: bool,
}

/// Several members' directories, which get their names together. Dropped in reverse: what the first made, the others
/// stand in.
#[derive(Default)]
pub(super) struct Stagings(Vec<Staging>);

impl Stagings {
    pub(super) fn push(&mut self, staging: Staging) {
        self.0.push(staging);
    }

    /// Gives all their names, or none.
    pub(super) fn commit(mut self) -> Result<(), RestoreError> {
        for index in 0..self.0.len() {
            if let Err(error) = self.0[index].publish() {
                self.0[..index].iter().rev().for_each(Staging::undo);
                return Err(error);
            }
        }
        self.0.iter_mut().for_each(Staging::finish);
        Ok(())
    }
}

impl Drop for Stagings {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

struct Move {
    from: PathBuf,
    to: PathBuf,
}

impl Staging {
    /// Creates the directories, private to their owner.
    pub(super) fn create(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Self, RestoreError> {
        let target = absolute(data_dir)?;
        let mut staging = Self {
            data: PathBuf::new(),
            wal: PathBuf::new(),
            moves: Vec::new(),
            made: Vec::new(),
            held: Vec::new(),
            committed: false,
        };
        let wal_target = wal_dir.map(absolute).transpose()?;
        let wal_inside = match &wal_target {
            None => Some(PathBuf::from("member/wal")),
            Some(wal) => wal.strip_prefix(&target).ok().map(Path::to_owned),
        };
        if let (None, Some(wal)) = (&wal_inside, wal_target) {
            staging.wal = staging.make_beside(&wal)?;
            staging.moves.push(Move { from: staging.wal.clone(), to: wal });
        }
        staging.make_data_dir(&target)?;
        staging.make_all(&staging.snap_dir())?;
        if let Some(inside) = wal_inside {
            staging.wal = staging.data.join(inside);
            staging.make_all(&staging.wal_dir())?;
        }
        staging.plan_moves_into(&target)?;
        Ok(staging)
    }

    /// Where the database and the `.snap` file go.
    pub(super) fn snap_dir(&self) -> PathBuf {
        self.data.join("member").join("snap")
    }

    /// Where the database goes.
    pub(super) fn database(&self) -> PathBuf {
        self.snap_dir().join("db")
    }

    /// Where the log goes.
    pub(super) fn wal_dir(&self) -> PathBuf {
        self.wal.clone()
    }

    /// Syncs the directories and gives them their names.
    pub(super) fn commit(mut self) -> Result<(), RestoreError> {
        self.publish()?;
        self.finish();
        Ok(())
    }

    /// All but the last step of [`Self::commit`]: it can be undone.
    fn publish(&mut self) -> Result<(), RestoreError> {
        for directory in [&self.data, &self.wal] {
            sync_tree(directory)?;
        }
        for Move { from, to } in &self.moves {
            let moved = fs::rename(from, to).map_err(RestoreError::write("move the restored files to", to));
            if let Err(error) = moved.and_then(|()| sync_parents(to)) {
                self.undo();
                return Err(error);
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.committed = true;
        // Inside a target that was there, the entries were moved up and an empty directory is left.
        let _ = fs::remove_dir(&self.data);
    }

    /// Takes back the moves that were made, so that what is removed is all under its own name again.
    fn undo(&self) {
        for Move { from, to } in self.moves.iter().rev().filter(|step| !step.from.exists()) {
            let _ = fs::rename(to, from);
        }
    }

    fn make_data_dir(&mut self, target: &Path) -> Result<(), RestoreError> {
        self.data = if target.is_dir() {
            let name = target.file_name().unwrap_or("etcd".as_ref()).to_owned();
            self.make_beside(&target.join(name))?
        } else {
            self.make_beside(target)?
        };
        Ok(())
    }

    fn plan_moves_into(&mut self, target: &Path) -> Result<(), RestoreError> {
        if self.data.parent() != Some(target) {
            self.moves.push(Move { from: self.data.clone(), to: target.to_owned() });
            return Ok(());
        }
        let unreadable = || RestoreError::write("read", &self.data);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.data).map_err(unreadable())? {
            names.push(entry.map_err(unreadable())?.file_name());
        }
        // `member` is what etcd looks at, so it comes last.
        names.sort_by_key(|name| name == "member");
        let moves = names.iter().map(|name| Move { from: self.data.join(name), to: target.join(name) });
        self.moves.extend(moves);
        Ok(())
    }

    /// A new directory with a hidden name beside `target`, its parents created where they are missing. What killed
    /// restores to the same place left there is taken away.
    fn make_beside(&mut self, target: &Path) -> Result<PathBuf, RestoreError> {
        let parent = target.parent().unwrap_or(Path::new("/"));
        self.make_all(parent)?;
        let name = hidden_name(target);
        sweep(parent, &name);
        let mut failed = io::Error::from(io::ErrorKind::AlreadyExists);
        for attempt in 0..MAX_ATTEMPTS {
            let mut name = name.clone();
            // The standard library's hasher is seeded by the system: chance enough for a name.
            name.push(format!("{:08x}", RandomState::new().hash_one(attempt) as u32));
            let path = parent.join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                // In the moment before it is held, another restore may take it for a dead one's.
                Ok(()) => match hold(&path) {
                    Hold::Taken(handle) => {
                        self.held.push(handle);
                        self.made.push(path.clone());
                        return Ok(path);
                    }
                    // Where nothing can be held, nothing is swept either.
                    Hold::Unknown if path.is_dir() => {
                        self.made.push(path.clone());
                        return Ok(path);
                    }
                    Hold::Unknown | Hold::Others => {}
                },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => failed = error,
                Err(error) => return Err(RestoreError::write("create a directory in", parent)(error)),
            }
        }
        Err(RestoreError::write("create a directory in", parent)(failed))
    }

    /// Creates a directory and the parents that are missing, and remembers which.
    fn make_all(&mut self, path: &Path) -> Result<(), RestoreError> {
        let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        for directory in missing.into_iter().rev() {
            DirBuilder::new()
                .mode(0o700)
                .create(directory)
                .map_err(RestoreError::write("create", directory))?;
            self.made.push(directory.to_owned());
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // Only what this made, and only directories that nobody else has put anything into: but those with a hidden name
        // are its own throughout.
        for path in self.made.iter().rev() {
            let own = path.file_name().is_some_and(|name| name.to_string_lossy().contains(STAGING_MARK));
            let _ = if own { fs::remove_dir_all(path) } else { fs::remove_dir(path) };
        }
    }
}

/// What the names of the directories begin with that are to become `target`.
fn hidden_name(target: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or("etcd".as_ref()));
    name.push(STAGING_MARK);
    name
}

/// Whose a directory is.
enum Hold {
    /// Ours as long as the handle is open.
    Taken(File),
    /// Somebody holds it.
    Others,
    /// It is gone, or its file system has no locks.
    Unknown,
}

fn hold(directory: &Path) -> Hold {
    let Ok(handle) = File::open(directory) else { return Hold::Unknown };
    match rustix::fs::flock(&handle, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        // It may have been removed, and its name been taken, before it was locked.
        Ok(()) if is_at(&handle, directory) => Hold::Taken(handle),
        Err(rustix::io::Errno::WOULDBLOCK) => Hold::Others,
        _ => Hold::Unknown,
    }
}

fn is_at(handle: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|it| (it.dev(), it.ino()));
    let held = identity(handle.metadata());
    held.is_some() && held == identity(fs::symlink_metadata(path))
}

/// Whether something in an empty target is from a restore into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leftover {
    /// Something else.
    No,
    /// Of a restore that is under way.
    Living,
    /// Of one that was killed.
    Dead,
}

/// What `entry`, which lies in the data directory `target`, is.
pub(super) fn leftover(target: &Path, entry: &Path) -> Leftover {
    let Ok(target) = absolute(target) else { return Leftover::No };
    if !is_named(entry, &hidden_name(&target)) {
        return Leftover::No;
    }
    match hold(entry) {
        Hold::Taken(_) => Leftover::Dead,
        Hold::Others => Leftover::Living,
        Hold::Unknown => Leftover::No,
    }
}

/// Whether `path` is a directory of the name that this makes: the prefix and eight hex digits.
fn is_named(path: &Path, prefix: &OsStr) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let random = name.strip_prefix(prefix.as_encoded_bytes());
    let random = random.is_some_and(|random| random.len() == 8 && random.iter().all(u8::is_ascii_hexdigit));
    random && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Takes away what killed restores left in `parent`. What cannot be taken away is in nobody's way.
fn sweep(parent: &Path, prefix: &OsStr) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_named(path, prefix)) {
        if let Hold::Taken(_held) = hold(&path) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Syncs a directory and all below it; the files in it are synced already.
fn sync_tree(directory: &Path) -> Result<(), RestoreError> {
    let failed = || RestoreError::write("sync", directory);
    for entry in fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if entry.file_type().map_err(failed())?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_directory(directory)
}

/// Syncs the two directories above `path`: the one that has the new entry, and the one that has that, which may be new
/// too.
fn sync_parents(path: &Path) -> Result<(), RestoreError> {
    path.ancestors().skip(1).take(2).try_for_each(|directory| match sync_directory(directory) {
        // One may be allowed to write into a directory that one may not read, and reading is what a sync asks for.
        Err(RestoreError::Write { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    })
}

fn sync_directory(directory: &Path) -> Result<(), RestoreError> {
    let synced = File::open(directory).and_then(|file| file.sync_all());
    synced.map_err(RestoreError::write("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn fill(staging: &Staging) {
        fs::write(staging.snap_dir().join("db"), b"database").unwrap();
        fs::write(staging.wal_dir().join("wal"), b"log").unwrap();
    }

    #[test]
    fn a_new_directory_appears_whole_with_its_missing_parents() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("a/b/etcd");
        let staging = Staging::create(&target, None).unwrap();
        fill(&staging);
        assert!(!target.exists());
        staging.commit().unwrap();
        assert_eq!(entries(&target.join("member/snap")), ["db"]);
        assert_eq!(entries(&target.join("member/wal")), ["wal"]);
        assert_eq!(entries(&root.path().join("a/b")), ["etcd"]);
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (target, wal) = (root.path().join("a/etcd"), root.path().join("w/x/wal"));
        let staging = Staging::create(&target, Some(&wal)).unwrap();
        fill(&staging);
        drop(staging);
        assert_eq!(entries(root.path()), [""; 0]);
    }

    #[test]
    fn an_empty_target_is_kept_and_filled() {
        use std::os::unix::fs::MetadataExt as _;
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("etcd");
        fs::create_dir(&target).unwrap();
        let inode = fs::metadata(&target).unwrap().ino();

        drop(Staging::create(&target, None).unwrap());
        assert_eq!(entries(&target), [""; 0]);

        let staging = Staging::create(&target, Some(&target.join("log"))).unwrap();
        fill(&staging);
        staging.commit().unwrap();
        assert_eq!(entries(&target), ["log", "member"]);
        assert_eq!(entries(&target.join("log")), ["wal"]);
        assert_eq!(fs::metadata(&target).unwrap().ino(), inode);
    }

    #[test]
    fn a_target_that_was_taken_meanwhile_stays_and_the_rest_goes() {
        let root = tempfile::tempdir().unwrap();
        let (target, wal) = (root.path().join("etcd"), root.path().join("wal"));
        let staging = Staging::create(&target, Some(&wal)).unwrap();
        fill(&staging);
        fs::create_dir(&target).unwrap();
        fs::write(target.join("theirs"), b"").unwrap();
        assert!(matches!(staging.commit(), Err(RestoreError::Write { .. })));
        assert_eq!(entries(root.path()), ["etcd"]);
        assert_eq!(entries(&target), ["theirs"]);
    }

    #[test]
    fn what_a_killed_restore_left_goes_and_what_a_living_one_has_stays() {
        let root = tempfile::tempdir().unwrap();
        let (target, inside) = (root.path().join("etcd"), root.path().join("empty"));
        fs::create_dir(&inside).unwrap();
        for (target, place) in [(&target, root.path()), (&inside, &*inside)] {
            let name = target.file_name().unwrap().to_string_lossy().into_owned();
            let dead = place.join(format!(".{name}.holdfast-restore-0123abcd"));
            fs::create_dir_all(dead.join("member/snap")).unwrap();
            let other = place.join(format!(".{name}.holdfast-restore-mine"));
            let living = Staging::create(target, None).unwrap();
            assert!(!dead.exists(), "{dead:?}");
            fs::create_dir(&other).unwrap();
            let second = Staging::create(target, None).unwrap();
            assert!(living.snap_dir().is_dir() && other.is_dir());
            let staged = living.data.clone();
            assert_eq!(leftover(target, &staged), Leftover::Living);
            drop((living, second));
            fs::create_dir(&staged).unwrap();
            assert_eq!(leftover(target, &staged), Leftover::Dead);
            assert_eq!(leftover(target, &other), Leftover::No);
            fs::remove_dir(&other).unwrap();
            fs::remove_dir(&staged).unwrap();
        }
    }

    #[test]
    fn several_get_their_names_together_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("all");
        let stage = || {
            let mut stagings = Stagings::default();
            for name in ["a", "b", "c"] {
                let staging = Staging::create(&directory.join(name), None).unwrap();
                fill(&staging);
                stagings.push(staging);
            }
            stagings
        };
        let stagings = stage();
        fs::create_dir(directory.join("b")).unwrap();
        fs::write(directory.join("b/theirs"), b"").unwrap();
        assert!(stagings.commit().is_err());
        assert_eq!(entries(&directory), ["b"]);
        fs::remove_dir_all(&directory).unwrap();
        drop(stage());
        assert_eq!(entries(root.path()), [""; 0]);
        stage().commit().unwrap();
        assert_eq!(entries(&directory), ["a", "b", "c"]);
    }

    #[test]
    fn directories_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("parent/etcd");
        Staging::create(&target, None).unwrap().commit().unwrap();
        for directory in ["parent", "parent/etcd", "parent/etcd/member", "parent/etcd/member/snap"] {
            let mode = fs::metadata(root.path().join(directory)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{directory}");
        }
    }
}
