//! Where a snapshot is read from: a backup in a store, or a file. Ends in a plain snapshot file on local disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::atomic;
use crate::catalog::{self, BackupId, CatalogError, Entry};
use crate::pack::{self, Identity, UnpackError};
use crate::pipeline::inspect::Hash;
use crate::pipeline::store::{NamedStore, with_causes};
use crate::pipeline::{SCRATCH_SUFFIX, known_stores};
use crate::progress::Progress;
use crate::retrieve::landing::{self, Failure, Ground};
use crate::retrieve::{self, RetrieveError, Retrieved, WritingOut};

/// Bytes that tell what a file is.
const HEAD_BYTES: u64 = 32;

/// A backup that was found, and the store that holds it.
#[derive(Clone)]
pub struct Found {
    /// The store.
    pub named: NamedStore,
    /// Manifest and records.
    pub entry: Entry,
    /// Of the newest backup: stores and backups that could not be read, and may hide a newer one.
    pub passed_over: Vec<String>,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such backup.
    #[error("there is no backup `{id}` in {}", stores_text(stores))]
    NoSuchBackup {
        /// The id asked for.
        id: BackupId,
        /// The stores looked in.
        stores: Vec<String>,
    },
    /// No backup that old.
    #[error("there is no backup at that point or before it in {}", stores_text(stores))]
    NothingBefore {
        /// The stores looked in.
        stores: Vec<String>,
    },
    /// No backup at all.
    #[error("there is no backup in {}", stores_text(stores))]
    NoBackup {
        /// The stores looked in.
        stores: Vec<String>,
    },
    /// The catalog cannot be read.
    #[error("cannot look into store `{name}`")]
    Catalog {
        /// The store's name in the config.
        name: String,
        /// The cause.
        source: CatalogError,
    },
    /// The backup cannot be had back.
    #[error(transparent)]
    Retrieve(#[from] RetrieveError),
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A packed file cannot be unpacked.
    #[error("cannot unpack `{path}`")]
    Unpack {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: UnpackError,
    },
    /// There is no place to unpack to.
    #[error("cannot unpack into `{path}`")]
    Scratch {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn stores_text(stores: &[String]) -> String {
    let names: Vec<String> = stores.iter().map(|name| format!("`{name}`")).collect();
    format!("{} {}", if names.len() == 1 { "store" } else { "stores" }, names.join(", "))
}

impl SourceError {
    /// Whether it was looked, and the answer is no.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::NoSuchBackup { .. }
            | Self::NothingBefore { .. }
            | Self::NoBackup { .. }
            | Self::Catalog {
                source: CatalogError::Untrusted { .. } | CatalogError::RolledBack { .. },
                ..
            } => true,
            Self::Retrieve(error) => error.is_damage(),
            Self::Unpack { source, .. } => matches!(source, UnpackError::Damaged { .. }),
            _ => false,
        }
    }

    /// Whether another copy of the backup may be had although this one was not: it is damaged, or its store is away.
    pub fn is_of_one_copy(&self) -> bool {
        match self {
            Self::Retrieve(error) => error.is_damage() || matches!(error, RetrieveError::Store { .. }),
            _ => false,
        }
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchBackup { .. } | Self::NothingBefore { .. } => {
                Some("`holdfast list` shows what is there".to_owned())
            }
            Self::NoBackup { .. } => Some("make one with `holdfast backup`".to_owned()),
            Self::Catalog { source, .. } => source.hint(),
            Self::Retrieve(error) => error.hint(),
            Self::Unpack { source, .. } => source.hint(),
            Self::File { .. } => Some("name a snapshot file, the id of a backup, or `latest`".to_owned()),
            Self::Scratch { .. } => {
                Some("it must be writable and have room for the whole unpacked snapshot".to_owned())
            }
        }
    }
}

/// A moment in the life of a cluster.
#[derive(Debug, Clone, Copy)]
pub enum Point {
    /// By the clock: when a backup was begun.
    Time(Timestamp),
    /// By etcd's count: the newest revision in a backup.
    Revision(i64),
}

/// Finds the backup that is nearest to a point, at it or before. What cannot be read, or is refused, is passed over and
/// named.
///
/// # Errors
/// When there is none, or none can be read. A store that cannot be listed counts only when no other has one.
pub async fn nearest(stores: &[NamedStore], point: Point) -> Result<Found, SourceError> {
    let mut candidates: BTreeSet<BackupId> = BTreeSet::new();
    let mut passed_over = Vec::new();
    let mut failure = None;
    for named in stores {
        match catalog::ids(named.store.as_ref()).await {
            Ok(ids) => candidates.extend(ids.into_iter().filter(|id| match point {
                Point::Time(time) => id.time() <= time,
                Point::Revision(revision) => id.revision() <= revision,
            })),
            Err(source) => {
                passed_over.push(format!("store `{}`: {}", named.name, with_causes(&source)));
                failure = Some(SourceError::Catalog { name: named.name.clone(), source });
            }
        }
    }
    let mut candidates: Vec<BackupId> = candidates.into_iter().collect();
    if let Point::Revision(_) = point {
        candidates.sort_by_key(BackupId::revision);
    }
    for id in candidates.into_iter().rev() {
        match find(stores, &id).await {
            Ok(found) => {
                passed_over.extend(found.passed_over);
                return Ok(Found { passed_over, ..found });
            }
            Err(SourceError::Catalog { name, source }) if source.object().is_some() => {
                passed_over.push(format!("in store `{name}`: {}", with_causes(&source)));
                failure = Some(SourceError::Catalog { name, source });
            }
            // Removed since it was listed.
            Err(SourceError::NoSuchBackup { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let stores = stores.iter().map(|named| named.name.clone()).collect();
    Err(failure.unwrap_or(SourceError::NothingBefore { stores }))
}

/// Finds one backup by its id, in the first store that has it.
///
/// # Errors
/// When no store has it. A store that cannot be read counts only when no other has it; a copy that is refused is named.
pub async fn find(stores: &[NamedStore], id: &BackupId) -> Result<Found, SourceError> {
    let mut failure = None;
    let mut passed_over = Vec::new();
    for named in stores {
        let mut pass_over = |error: &CatalogError| {
            passed_over.push(format!("in store `{}`: {}", named.name, with_causes(error)));
        };
        match read_in(named, id, &mut pass_over).await {
            Ok(Some(entry)) => return Ok(Found { named: named.clone(), entry, passed_over }),
            Ok(None) => {}
            Err(source) => {
                if matches!(source, CatalogError::Untrusted { .. }) {
                    passed_over.push(format!("in store `{}`: {}", named.name, with_causes(&source)));
                }
                failure = Some(SourceError::Catalog { name: named.name.clone(), source });
            }
        }
    }
    let stores = stores.iter().map(|named| named.name.clone()).collect();
    Err(failure.unwrap_or(SourceError::NoSuchBackup { id: id.clone(), stores }))
}

/// The same backup in the next store that has it. Stores that cannot be read are passed over.
pub async fn next_copy(stores: &[NamedStore], found: &Found) -> Option<Found> {
    let after = stores.iter().skip_while(|named| named.name != found.named.name).skip(1);
    for named in after {
        let read = read_in(named, &found.entry.manifest.id, &mut |_: &CatalogError| ()).await;
        if let Ok(Some(entry)) = read {
            return Some(Found { named: named.clone(), entry, passed_over: Vec::new() });
        }
    }
    None
}

/// Finds the newest backup over all stores.
///
/// # Errors
/// When there is none, or the stores were rolled back. Stores and manifests that cannot be read are passed over and named: an older
/// backup that reads is worth more at such a time than an error.
pub async fn latest(stores: &[NamedStore]) -> Result<Found, SourceError> {
    let mut newest: Option<Found> = None;
    let mut passed_over = Vec::new();
    let mut failure = None;
    let mut rolled_back = Vec::new();
    for named in stores {
        let ids = match catalog::ids(named.store.as_ref()).await {
            Ok(ids) => ids,
            Err(source) => {
                passed_over.push(format!("store `{}`: {}", named.name, with_causes(&source)));
                failure = Some(SourceError::Catalog { name: named.name.clone(), source });
                continue;
            }
        };
        // From the newest on, until one reads: of thousands that are there one manifest is read.
        let (mut newest_here, mut unreadable) = (None, Vec::new());
        for id in ids.into_iter().rev() {
            if newest.as_ref().is_some_and(|newest| newest.entry.manifest.id >= id) {
                newest_here = Some(id);
                break;
            }
            let mut pass_over = |error: &CatalogError| {
                passed_over.push(format!("in store `{}`: {}", named.name, with_causes(error)));
            };
            match read_in(named, &id, &mut pass_over).await {
                Ok(Some(entry)) => {
                    newest = Some(Found { named: named.clone(), entry, passed_over: Vec::new() });
                    newest_here = Some(id);
                    break;
                }
                // Removed since it was listed.
                Ok(None) => {}
                Err(source) => {
                    pass_over(&source);
                    unreadable.push(source);
                }
            }
        }
        match known_stores::judge_newest(named, newest_here.as_ref(), &unreadable) {
            Ok(()) => {
                // Only what was read with its signature is noted.
                if let Some(read) = newest.as_ref().filter(|newest| newest.named.name == named.name) {
                    known_stores::saw(named, &read.entry.manifest.id);
                }
            }
            Err(source) => {
                passed_over.push(format!("store `{}`: {source}", named.name));
                rolled_back.extend(
                    known_stores::newest_known(named).map(|known| (known, named.name.clone(), source)),
                );
            }
        }
        if let Some(source) = unreadable.pop() {
            failure = Some(SourceError::Catalog { name: named.name.clone(), source });
        }
    }
    let stores = stores.iter().map(|named| named.name.clone()).collect();
    // Another store may have what this one lost.
    let is_newer = |known: &BackupId| newest.as_ref().is_none_or(|newest| newest.entry.manifest.id < *known);
    if let Some((_, name, source)) = rolled_back.into_iter().find(|(known, ..)| is_newer(known)) {
        return Err(SourceError::Catalog { name, source });
    }
    let newest = newest.ok_or_else(|| failure.unwrap_or(SourceError::NoBackup { stores }))?;
    Ok(Found { passed_over, ..newest })
}

/// Where something is unpacked to.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The directory; created if missing.
    pub directory: &'a Path,
    /// A name for the file, which nobody else takes.
    pub name: &'a str,
    /// What is made of the file is to last: the disk is kept busy with it while it comes.
    pub lasts: bool,
}

impl<'a> Place<'a> {
    /// For a file that is only read.
    pub fn passing(directory: &'a Path, name: &'a str) -> Self {
        Self { directory, name, lasts: false }
    }
}

/// A backup with those of its proofs and pins that can be read.
async fn read_in(
    named: &NamedStore,
    id: &BackupId,
    pass_over: &mut (dyn FnMut(&CatalogError) + Send),
) -> Result<Option<Entry>, CatalogError> {
    let store = named.store.as_ref();
    let Some(manifest) = catalog::manifest(store, id).await? else { return Ok(None) };
    let records = match catalog::readable_records(store, id).await {
        Ok((records, unreadable)) => {
            unreadable.iter().for_each(&mut *pass_over);
            records
        }
        Err(error) => {
            pass_over(&error);
            Vec::new()
        }
    };
    let pins = catalog::pins(store, id).await.inspect_err(pass_over).unwrap_or_default();
    Ok(Some(Entry { manifest, records, pins }))
}

/// A plain snapshot file. One that was unpacked for this is removed when the value goes, unless it has been moved away.
pub struct LocalFile {
    path: PathBuf,
    /// Of an unpacked file: the handle that holds it, so that no sweep takes it away.
    temporary: Option<File>,
    image_sha256: Option<String>,
    writing_out: Option<WritingOut>,
}

impl LocalFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was unpacked for this, and is nobody else's: it may be moved away, and changed.
    pub fn is_own(&self) -> bool {
        self.temporary.is_some()
    }

    /// What is known of its trailing hash. If nothing is, it is computed, and may be missing if that is allowed.
    pub fn hash(&self, allow_missing: bool) -> Hash<'_> {
        match &self.image_sha256 {
            Some(image_sha256) => Hash::Compared(image_sha256),
            None => Hash::Unknown { allow_missing },
        }
    }

    fn knows(&mut self, retrieved: Retrieved) {
        (self.image_sha256, self.writing_out) = (retrieved.image_sha256, retrieved.writing_out);
    }

    /// Waits until the disk has what was unpacked.
    ///
    /// # Errors
    /// When it did not take it: the file is of no use then.
    pub async fn written_out(&mut self) -> Result<(), SourceError> {
        let Some(writing_out) = self.writing_out.take() else { return Ok(()) };
        let finished = tokio::task::spawn_blocking(|| writing_out.finish()).await;
        let finished = finished.unwrap_or_else(|error| Err(io::Error::other(error)));
        finished.map_err(|source| SourceError::Scratch { path: self.path.clone(), source })
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if self.temporary.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Fetches and unpacks a backup, with its digests compared.
pub async fn unpack_backup(
    found: &Found,
    identities: &[Identity],
    place: Place<'_>,
    progress: &dyn Progress,
) -> Result<LocalFile, SourceError> {
    let (mut local, file) = temporary_in(place)?;
    let manifest = &found.entry.manifest;
    let target = retrieve::Target { path: &local.path, file, lasts: place.lasts };
    let retrieved =
        retrieve::retrieve(found.named.store.as_ref(), manifest, identities, target, progress).await?;
    local.knows(retrieved);
    Ok(local)
}

/// Is told of a copy that cannot be used, why, and of the store whose copy is taken in its place.
pub type PassOver<'a> = dyn Fn(&Found, &SourceError, &NamedStore) + Sync + 'a;

/// Fetches and unpacks a backup from the first copy that can be used, beginning with the one that was found. `missed` gets those that
/// could not be, all but the last.
///
/// # Errors
/// The last copy, and why it cannot be used either.
pub async fn unpack_any_copy(
    stores: &[NamedStore],
    mut found: Found,
    identities: &[Identity],
    place: Place<'_>,
    progress: &dyn Progress,
    pass_over: &PassOver<'_>,
    missed: &mut Vec<(Found, SourceError)>,
) -> Result<(LocalFile, Found), (Found, SourceError)> {
    loop {
        let error = match unpack_backup(&found, identities, place, progress).await {
            Ok(file) => return Ok((file, found)),
            Err(error) => error,
        };
        let next = if error.is_of_one_copy() { next_copy(stores, &found).await } else { None };
        let Some(next) = next else { return Err((found, error)) };
        pass_over(&found, &error, &next.named);
        missed.push((std::mem::replace(&mut found, next), error));
    }
}

/// A snapshot file given by a person: used where it lies when it is plain, unpacked when it is packed.
pub async fn open_file(
    path: &Path,
    identities: &[Identity],
    place: Place<'_>,
) -> Result<LocalFile, SourceError> {
    let unreadable = |source| SourceError::File { path: path.to_owned(), source };
    let mut head = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    (&file).take(HEAD_BYTES).read_to_end(&mut head).map_err(unreadable)?;
    if !pack::is_packed(&head) {
        return Ok(LocalFile {
            path: path.to_owned(),
            temporary: None,
            image_sha256: None,
            writing_out: None,
        });
    }
    let (mut local, file) = temporary_in(place)?;
    let ground = Ground::of(file, place.lasts);
    let (from, to, identities) = (path.to_owned(), local.path.clone(), identities.to_vec());
    let unpacking = tokio::task::spawn_blocking(move || unpack_file(&from, &to, &ground, &identities)).await;
    local.knows(unpacking.unwrap_or_else(|error| Err(unreadable(io::Error::other(error))))?);
    Ok(local)
}

fn unpack_file(
    from: &Path,
    to: &Path,
    ground: &Ground,
    identities: &[Identity],
) -> Result<Retrieved, SourceError> {
    let unpack_failed = |source| SourceError::Unpack { path: from.to_owned(), source };
    let source = File::open(from).map_err(|source| SourceError::File { path: from.to_owned(), source })?;
    let mut plain = pack::unpack(source, identities).map_err(unpack_failed)?;
    // How long it should be, nobody has told.
    let landed = landing::land(&mut *plain, u64::MAX, ground).map_err(|failure| match failure {
        Failure::Read(source) => unpack_failed(UnpackError::Damaged { layer: "packed", source }),
        Failure::TooLong => unpack_failed(UnpackError::Damaged {
            layer: "packed",
            source: io::ErrorKind::FileTooLarge.into(),
        }),
        Failure::Write(source) => SourceError::Scratch { path: to.to_owned(), source },
    })?;
    Ok(landed.into())
}

/// What the names of unpacked files begin with.
const TEMPORARY_PREFIX: &str = ".holdfast-";

/// A new, held file, and a second handle to write it with. What killed commands left in the directory is taken away first.
fn temporary_in(place: Place<'_>) -> Result<(LocalFile, File), SourceError> {
    let Place { directory, name, .. } = place;
    let path = directory.join(format!("{TEMPORARY_PREFIX}{name}{SCRATCH_SUFFIX}"));
    let make = || {
        atomic::create_directory(directory)?;
        for entry in std::fs::read_dir(directory)?.flatten() {
            let name = entry.file_name();
            let ours = name
                .to_str()
                .is_some_and(|name| name.starts_with(TEMPORARY_PREFIX) && name.ends_with(SCRATCH_SUFFIX));
            if ours {
                atomic::remove_if_abandoned(&entry.path())?;
            }
        }
        let file = atomic::create_file(&path)?;
        atomic::hold(&file)?;
        Ok((file.try_clone()?, file))
    };
    let (writing, held) =
        make().map_err(|source| SourceError::Scratch { path: directory.to_owned(), source })?;
    let local = LocalFile { path, temporary: Some(held), image_sha256: None, writing_out: None };
    Ok((local, writing))
}
