//! What a restore takes, and whether there is room: asked before anything is written.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use etcd_snapshot::restore::Plan;
use etcd_snapshot::wal::SEGMENT_SIZE_BYTES;
use serde::Serialize;

use super::RestoreFailure;
use crate::atomic;
use crate::pipeline::preflight::free_bytes;
use crate::units::format_size;

/// Appended pages, the `.snap` file, directories: some kilobytes, more when pages are large.
const SLACK_BYTES: u64 = 1 << 20;
/// What is written to learn how fast a disk is.
const PROBE_BYTES: usize = 32 << 20;
/// A disk with less room beyond what is needed is not probed.
const PROBE_MARGIN_BYTES: u64 = 4 * PROBE_BYTES as u64;
const PROBE_PIECE_BYTES: usize = 1 << 20;

/// One file system that is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The first directory there.
    pub directory: PathBuf,
    /// Bytes that the restore takes.
    pub needed_bytes: u64,
    /// Bytes that are free; none if that cannot be told.
    pub free_bytes: Option<u64>,
}

impl Place {
    fn is_short(&self) -> bool {
        self.free_bytes.is_some_and(|free| free < self.needed_bytes)
    }

    /// One line for people.
    pub(super) fn shortage(&self) -> String {
        format!(
            "`{}` has {} of space free and the restore needs {}",
            self.directory.display(),
            format_size(self.free_bytes.unwrap_or(0)),
            format_size(self.needed_bytes)
        )
    }
}

/// How large the database of each member becomes.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Bytes up to the high water mark.
    pub image_bytes: u64,
    /// Bytes in use: what is written with `compact`.
    pub in_use_bytes: u64,
    /// Bytes of an unpacked copy that is still to be written beside the last target.
    pub unpacked_bytes: u64,
}

/// What is restored, as far as room goes.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// It is still to be unpacked beside the last target, and then moved there.
    ToCome,
    /// It was unpacked here for the restore alone, and is moved to the last target.
    Own(&'a Path),
    /// It is somebody's, and stays: where its blocks can be shared, a copy of it takes no room.
    Theirs(&'a Path),
}

impl Source<'_> {
    /// Where it is, or will be, when the last of the targets is this.
    fn directory<'b>(&'b self, last: &'b Path) -> &'b Path {
        match self {
            Self::ToCome => atomic::parent(last),
            Self::Own(path) | Self::Theirs(path) => path,
        }
    }

    /// Whether it becomes the database at the last of the targets itself.
    fn moves_to(&self, last: &Path) -> bool {
        !matches!(self, Self::Theirs(_)) && {
            let device = |path: &Path| existing(path).metadata().ok().map(|metadata| metadata.dev());
            let from = device(self.directory(last));
            from.is_some() && from == device(last)
        }
    }

    /// The file, when it is there.
    fn file(&self) -> Option<&Path> {
        match self {
            Self::ToCome => None,
            Self::Own(path) | Self::Theirs(path) => Some(path),
        }
    }
}

impl Sizes {
    /// Bytes of a member's database.
    pub fn database_bytes(&self, plan: &Plan) -> u64 {
        if plan.compact { self.in_use_bytes } else { self.image_bytes }
    }
}

/// What the plans take, file system by file system.
pub fn places(plans: &[Plan], sizes: Sizes, source: Source<'_>) -> Vec<Place> {
    let mut needs: Vec<(PathBuf, u64)> = Vec::new();
    let compact = plans.iter().any(|plan| plan.compact);
    for (number, plan) in plans.iter().enumerate() {
        let is_last = number + 1 == plans.len();
        let moved = is_last && !compact && source.moves_to(&plan.data_dir);
        let free = moved || !plan.compact && shares_blocks(source.file(), &plan.data_dir);
        let database = if free { 0 } else { sizes.database_bytes(plan) };
        needs.push((plan.data_dir.clone(), database + SLACK_BYTES));
        needs.push((plan.wal_dir.as_ref().unwrap_or(&plan.data_dir).clone(), SEGMENT_SIZE_BYTES));
    }
    if let Some(last) = plans.last() {
        needs.push((source.directory(&last.data_dir).to_owned(), sizes.unpacked_bytes));
    }
    let mut places: Vec<(Option<u64>, Place)> = Vec::new();
    for (directory, bytes) in needs {
        let device = existing(&directory).metadata().ok().map(|metadata| metadata.dev());
        if let Some((_, place)) = places.iter_mut().find(|(known, _)| device.is_some() && *known == device) {
            place.needed_bytes += bytes;
            continue;
        }
        let free_bytes = free_bytes(existing(&directory)).ok();
        places.push((device, Place { directory, needed_bytes: bytes, free_bytes }));
    }
    places.into_iter().map(|(_, place)| place).collect()
}

/// Refuses a restore that some file system has no room for.
pub fn refuse_short(places: &[Place]) -> Result<(), RestoreFailure> {
    let short: Vec<Place> = places.iter().filter(|place| place.is_short()).cloned().collect();
    if short.is_empty() { Ok(()) } else { Err(RestoreFailure::NoRoom(short)) }
}

/// The directory, or its nearest ancestor that is there.
fn existing(directory: &Path) -> &Path {
    let there = |place: &&Path| !place.as_os_str().is_empty() && place.exists();
    directory.ancestors().find(there).unwrap_or(Path::new("."))
}

/// Whether a copy of `source`, or of any file there while that is not yet known, shares its blocks: tried on a file that
/// is gone afterwards.
fn shares_blocks(source: Option<&Path>, directory: &Path) -> bool {
    let attempt = || -> io::Result<()> {
        let mut own = tempfile::tempfile_in(existing(directory))?;
        own.write_all(&[1; 4096])?;
        let source = source.map_or_else(|| own.try_clone(), File::open)?;
        let copy = tempfile::tempfile_in(existing(directory))?;
        Ok(rustix::fs::ioctl_ficlone(copy, source)?)
    };
    attempt().is_ok()
}

/// Bytes a second that the disk below `directory` takes, synced; none if it cannot be told, or has too little room to try.
pub fn throughput(directory: &Path, needed_bytes: u64) -> Option<f64> {
    let place = existing(directory);
    if free_bytes(place).ok()? < needed_bytes.saturating_add(PROBE_MARGIN_BYTES) {
        return None;
    }
    let mut file = tempfile::tempfile_in(place).ok()?;
    // Not zeros, which some file systems do not write.
    let piece: Vec<u8> = (0..PROBE_PIECE_BYTES as u64).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let began = Instant::now();
    for _ in 0..PROBE_BYTES / PROBE_PIECE_BYTES {
        file.write_all(&piece).ok()?;
    }
    file.sync_all().ok()?;
    Some(PROBE_BYTES as f64 / began.elapsed().as_secs_f64().max(1e-6))
}

/// How long that many bytes take.
pub fn duration(bytes: u64, bytes_per_second: f64) -> Duration {
    Duration::try_from_secs_f64(bytes as f64 / bytes_per_second.max(1.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(data_dir: &Path) -> Plan {
        let members = Plan::parse_initial_cluster("a=http://localhost:1").unwrap();
        Plan::new("a", members, "token", data_dir)
    }

    #[test]
    fn one_file_system_is_one_place() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("not/there/a"), directory.path().join("b"));
        let with_wal = Plan { wal_dir: Some(directory.path().join("wal")), compact: true, ..plan(&b) };
        let sizes = Sizes { image_bytes: 10 << 30, in_use_bytes: 3 << 30, unpacked_bytes: 10 << 30 };
        let places = places(&[Plan { compact: true, ..plan(&a) }, with_wal], sizes, Source::ToCome);
        assert_eq!(places.len(), 1);
        let expected = (3 << 30) * 2 + (10 << 30) + 2 * SEGMENT_SIZE_BYTES + 2 * SLACK_BYTES;
        assert_eq!((places[0].directory.clone(), places[0].needed_bytes), (a, expected));
    }

    #[test]
    fn what_is_unpacked_for_the_restore_takes_its_room_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("unpacked");
        std::fs::write(&file, b"x").unwrap();
        let plans = [plan(&directory.path().join("a")), plan(&directory.path().join("b"))];
        let sizes = |unpacked_bytes| Sizes { image_bytes: 10 << 30, in_use_bytes: 3 << 30, unpacked_bytes };
        let needed = |plans: &[Plan], unpacked, source| {
            let places = places(plans, sizes(unpacked), source);
            assert_eq!(places.len(), 1, "{places:?}");
            places[0].needed_bytes
        };
        let others = 2 * (SEGMENT_SIZE_BYTES + SLACK_BYTES);
        // Where a copy takes no room, the first target's takes none either.
        let copy = if shares_blocks(Some(&file), directory.path()) { 0 } else { 10 << 30 };
        assert_eq!(needed(&plans, 10 << 30, Source::ToCome), copy + (10 << 30) + others);
        assert_eq!(needed(&plans, 0, Source::Own(&file)), copy + others);
        assert_eq!(needed(&plans, 0, Source::Theirs(&file)), 2 * copy + others);
        // One that is written anew is read to its end.
        let compact = plans.map(|plan| Plan { compact: true, ..plan });
        assert_eq!(needed(&compact, 0, Source::Own(&file)), 2 * (3 << 30) + others);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let place = |needed_bytes, free_bytes| Place { directory: "/x".into(), needed_bytes, free_bytes };
        refuse_short(&[place(10, Some(10)), place(10, None)]).unwrap();
        let error = refuse_short(&[place(5 << 20, Some(1 << 20))]).unwrap_err();
        assert!(error.to_string().starts_with("`/x` has 1.0 MiB of space free"), "{error}");
        assert!(!error.is_answer());
    }

    #[test]
    fn a_disk_is_as_fast_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        assert!(throughput(directory.path(), u64::MAX).is_none());
        assert_eq!(duration(100, 50.0), Duration::from_secs(2));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
