//! A snapshot file: a database image and the hash behind it.
//!
//! | part | bytes |
//! | --- | --- |
//! | image | high water mark × page size, a multiple of 512 |
//! | trailer | 32: the SHA-256 of the image |
//!
//! There is no mark that says whether the trailer is there: a file length of 32 over a multiple of 512 does (etcd
//! `etcdutl/snapshot/v3_snapshot.go`, `hasChecksum`). A `member/snap/db` copied out of a data directory has none, and may
//! be longer than its high water mark.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::bolt::{Bucket, Database, Meta};
use crate::changes::KeyChanges;
use crate::error::{OpenError, ReadError};
use crate::keys::{Index, LiveKeys};
use crate::map::Bytes;
use crate::record::KEY_BUCKET;
use crate::schema;

/// Bytes of the hash at the end of a snapshot.
pub const TRAILER_BYTES: usize = 32;

/// The hash at the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailer {
    /// These 32 bytes; whether they are right is for the check to say.
    Present([u8; TRAILER_BYTES]),
    /// 32 zero bytes: the file was not fully written out.
    Zeros,
    /// None: a copied `db` file, or the end is missing.
    Absent,
}

/// An open snapshot. It owns the memory map (or the bytes), and caches the index of live keys once something asks for it.
///
/// ```
/// use etcd_snapshot::SnapshotFile;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/etcd-3.6-history.db.zst");
/// # let bytes = zstd::decode_all(std::fs::File::open(packed)?)?;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("snapshot.db");
/// # std::fs::write(&path, bytes)?;
/// let file = SnapshotFile::open(&path)?;
/// let live = file.live()?;
/// for position in live.prefix(b"/app/user/") {
///     println!("{}", live.key(position).escape_ascii());
/// }
/// assert_eq!(live.get(b"/app/config").map(|entry| entry.value), Some(&b"v5"[..]));
/// # Ok(())
/// # }
/// ```
pub struct SnapshotFile {
    bytes: Bytes,
    meta: Meta,
    meta_page: u8,
    live: OnceLock<Result<Arc<Index>, ReadError>>,
}

impl SnapshotFile {
    /// Maps the file at `path` and finds its database. Reads two pages.
    ///
    /// The file must not be cut while it is open: reading a mapped page that is gone ends the process. Bytes that are
    /// overwritten meanwhile are seen as they change, which is at worst a wrong answer.
    ///
    /// # Errors
    /// The file cannot be mapped, or there is no database in it. Damage further in is found by [`crate::inspect`] and by
    /// the readers.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::new(Bytes::map(path)?)
    }

    /// The same over bytes in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, OpenError> {
        Self::new(Bytes::Owned(bytes))
    }

    fn new(bytes: Bytes) -> Result<Self, OpenError> {
        let database = Database::open(bytes.as_slice())?;
        let (meta, meta_page) = (*database.meta(), database.meta_page());
        Ok(Self { bytes, meta, meta_page, live: OnceLock::new() })
    }

    /// A view of the file: what everything else reads from.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { database: Database::with_meta(self.bytes.as_slice(), self.meta, self.meta_page) }
    }

    /// The keys that are live at the snapshot's newest revision. The first call builds the index, on all cores; at most
    /// 64 bytes a live key while it does, 8 afterwards.
    ///
    /// # Errors
    /// The first place of the key space that cannot be read.
    pub fn live(&self) -> Result<LiveKeys<'_>, ReadError> {
        let index =
            self.live.get_or_init(|| Index::build(self.snapshot(), i64::MAX).map(Arc::new)).clone()?;
        Ok(LiveKeys::new(self.snapshot(), index))
    }

    /// The keys that were live at an older revision; `revision` 0 means the newest. Not cached.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/etcd-3.6-history.db.zst");
    /// # let bytes = zstd::decode_all(std::fs::File::open(packed)?)?;
    /// # let file = etcd_snapshot::SnapshotFile::from_bytes(bytes)?;
    /// let then = file.live_at(3)?;
    /// let entry = then.get(b"/app/config").expect("it was there");
    /// assert_eq!((entry.value, entry.version, entry.mod_revision), (&b"v2"[..], 2, 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReadError::Compacted`] or [`ReadError::Future`] if the snapshot does not hold that revision, or the first place
    /// that cannot be read.
    pub fn live_at(&self, revision: i64) -> Result<LiveKeys<'_>, ReadError> {
        let snapshot = self.snapshot();
        let newest = snapshot.revision()?;
        if revision == 0 || revision == newest {
            return self.live();
        }
        if revision > newest || revision < 0 {
            return Err(ReadError::Future { revision, newest });
        }
        // Between the two, a compaction was under way: what it deleted already cannot be told from here.
        let compact_revision = snapshot.compactions()?.furthest();
        if revision < compact_revision {
            return Err(ReadError::Compacted { revision, compact_revision });
        }
        Ok(LiveKeys::new(snapshot, Arc::new(Index::build(snapshot, revision)?)))
    }

    /// The changes of one key that the snapshot still holds, with its deletions. All records are looked at.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/etcd-3.6-history.db.zst");
    /// # let bytes = zstd::decode_all(std::fs::File::open(packed)?)?;
    /// # let file = etcd_snapshot::SnapshotFile::from_bytes(bytes)?;
    /// let changes = file.history(b"/app/user/2")?;
    /// for life in changes.generations() {
    ///     println!("{} changes from revision {} on", life.len(), life[0].revision);
    /// }
    /// assert_eq!(changes.generations().count(), 3);
    /// assert_eq!(changes.at(11).map(|record| record.key_value.value), Some(&b"again"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first place of the key space that cannot be read.
    pub fn history(&self, key: &[u8]) -> Result<KeyChanges<'_>, ReadError> {
        KeyChanges::read(self.snapshot(), key)
    }

    /// The open file, unless the bytes came from memory.
    pub(crate) fn file(&self) -> Option<&std::fs::File> {
        self.bytes.file()
    }

    /// Bytes of the file.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }
}

impl std::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("len_bytes", &self.len_bytes())
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// A view of a snapshot: cheap to copy, borrows the file.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    database: Database<'a>,
}

/// How the file is divided, by its length alone.
struct Layout {
    image_bytes: usize,
    trailer: Trailer,
}

impl<'a> Snapshot<'a> {
    /// The whole file.
    pub fn bytes(&self) -> &'a [u8] {
        self.database.bytes()
    }

    /// The file without its trailer: what the trailer is the hash of.
    pub fn image(&self) -> &'a [u8] {
        let bytes = self.bytes();
        bytes.get(..self.layout().image_bytes).unwrap_or(bytes)
    }

    /// The hash at the end, as it is there.
    pub fn trailer(&self) -> Trailer {
        self.layout().trailer
    }

    /// Whether a second hash follows the first (the file was "completed" twice).
    pub(crate) fn has_second_trailer(&self) -> bool {
        self.bytes().len() as u64 == self.database.size_bytes() + 2 * TRAILER_BYTES as u64
    }

    fn layout(&self) -> Layout {
        let bytes = self.bytes();
        let database = usize::try_from(self.database.size_bytes()).unwrap_or(usize::MAX);
        let image_bytes = if bytes.len() % 512 == TRAILER_BYTES {
            bytes.len() - TRAILER_BYTES
        } else if self.has_second_trailer() {
            database
        } else {
            // Whole pages behind the high water mark belong to a copied file, anything else does not.
            let whole_pages = bytes.len().is_multiple_of(self.database.page_size() as usize);
            let image_bytes = if whole_pages { bytes.len() } else { bytes.len().min(database) };
            return Layout { image_bytes, trailer: Trailer::Absent };
        };
        let hash: Option<[u8; TRAILER_BYTES]> =
            bytes.get(image_bytes..image_bytes + TRAILER_BYTES).and_then(|hash| hash.try_into().ok());
        let trailer = match hash {
            None => Trailer::Absent,
            Some(hash) if hash == [0; TRAILER_BYTES] => Trailer::Zeros,
            Some(hash) => Trailer::Present(hash),
        };
        Layout { image_bytes, trailer }
    }

    /// The database inside.
    pub fn db(&self) -> Database<'a> {
        self.database
    }

    /// The bucket of all records.
    pub fn records(&self) -> Result<Bucket<'a>, ReadError> {
        self.database.bucket(KEY_BUCKET.as_bytes())?.ok_or(ReadError::BucketMissing { bucket: KEY_BUCKET })
    }

    /// The revision an etcd started on this file would be at: of the last record, or of the last compaction if that is
    /// higher, and 1 for an empty store.
    pub fn revision(&self) -> Result<i64, ReadError> {
        let last = match self.records()?.last()? {
            Some(item) => crate::record::Record::decode(&item)?.revision.main,
            None => 1,
        };
        Ok(last.max(self.compactions()?.furthest()).max(1))
    }

    /// The leases, in no order of meaning. After an error it ends.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/etcd-3.6-history.db.zst");
    /// # let bytes = zstd::decode_all(std::fs::File::open(packed)?)?;
    /// # let file = etcd_snapshot::SnapshotFile::from_bytes(bytes)?;
    /// for lease in file.snapshot().leases()? {
    ///     let lease = lease?;
    ///     println!("{:x}: {} seconds", lease.id, lease.ttl);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The bucket of leases cannot be opened. A file without one has no leases.
    pub fn leases(
        &self,
    ) -> Result<impl Iterator<Item = Result<schema::Lease, ReadError>> + use<'a>, ReadError> {
        let bucket = self.database.bucket(schema::LEASE.as_bytes())?;
        Ok(bucket.into_iter().flat_map(|bucket| bucket.items()).map(|item| schema::lease(&item?)))
    }

    /// What the file says of its compactions.
    pub fn compactions(&self) -> Result<schema::Compactions, ReadError> {
        schema::compactions(self.database)
    }
}
