//! A store whose small objects are read once: what was read of them before is kept in a file on local disk.
//!
//! For looking only. What is known of an object counts as long as a listing made through this very value says that the same
//! object is still there: same size, time and tag. So an object that was removed, or replaced by another, is not taken from the
//! file; what was changed in place without the store's noticing would be. Whoever restores, checks or removes asks the store itself.
//!
//! The file is rebuilt from what was listed last. It may be lost or damaged at any time: its digest is compared, and without it
//! everything is read anew.
//!
//! ```text
//! sha256 of all that follows (32 bytes)
//! zstd of: a line of JSON (format, store), then for each object a line of JSON (path, size, time, tag, length) and its bytes
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ByteStream, Features, ObjectInfo, ObjectPath, Page, Store, StoreError, read_small};
use crate::atomic;
use crate::pack::hex;

const FORMAT: &str = "holdfast-cache/1";
/// Largest object that is kept: what is larger is no document.
const MAX_OBJECT_BYTES: u64 = 1 << 20;
/// Largest file that is read back, unpacked: 10,000 backups with their proofs come to a tenth of it.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Longest line of JSON in it.
const MAX_LINE_BYTES: u64 = 8 << 10;
/// Fast: the file is written after each listing.
const ZSTD_LEVEL: i32 = 1;
const DIGEST_BYTES: usize = 32;
/// Digits of the digest that names a file.
const NAME_DIGITS: usize = 16;

/// What tells an object from another under the same path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size_bytes: u64,
    modified: Option<Timestamp>,
    tag: Option<String>,
}

impl Stamp {
    /// None where the store says too little.
    fn of(info: &ObjectInfo) -> Option<Self> {
        let stamp = Self { size_bytes: info.size_bytes, modified: info.modified, tag: info.tag.clone() };
        (stamp.modified.is_some() && stamp.size_bytes <= MAX_OBJECT_BYTES).then_some(stamp)
    }
}

/// The first line of the file.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    store: String,
}

/// What stands before the bytes of an object.
#[derive(Serialize, Deserialize)]
struct Line {
    path: ObjectPath,
    #[serde(flatten)]
    stamp: Stamp,
}

type Known = HashMap<ObjectPath, (Stamp, Bytes)>;

/// Keeps what was read of another store's small objects.
pub struct CachedStore {
    inner: Arc<dyn Store>,
    file: PathBuf,
    /// What the file had.
    known: Known,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was listed through this value.
    listed: HashMap<ObjectPath, Stamp>,
    /// What was read from the store, or taken from the file, of what was listed.
    used: BTreeMap<ObjectPath, (Stamp, Bytes)>,
    /// Objects that had to be read.
    read: u64,
}

impl CachedStore {
    /// A store with what `directory` has of it.
    pub fn open(inner: Arc<dyn Store>, directory: &Path) -> Self {
        let store = inner.describe();
        let digest = hex(&Sha256::digest(&store));
        let file = directory.join(format!("{}.cache", digest.get(..NAME_DIGITS).unwrap_or(&digest)));
        let known = match load(&file, &store) {
            Ok(known) => known,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!(path = %file.display(), %error, "the cache cannot be used; all is read anew");
                }
                Known::new()
            }
        };
        Self { inner, file, known, state: Mutex::default() }
    }

    /// Writes the file anew, if anything has changed. One that cannot be written is no worse off than before.
    pub fn save(&self) {
        let state = self.state();
        if state.read == 0 && state.used.len() == self.known.len() {
            return;
        }
        if let Err(error) = save(&self.file, &self.inner.describe(), &state.used) {
            tracing::debug!(path = %self.file.display(), %error, "the cache cannot be written");
        }
    }

    /// How many objects had to be read from the store.
    pub fn read(&self) -> u64 {
        self.state().read
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Maps are whole after a panic as well.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(file: &Path, store: &str) -> io::Result<Known> {
    let bytes = fs::read(file)?;
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (digest, packed) = bytes.split_at_checked(DIGEST_BYTES).ok_or_else(|| damaged("it is cut off"))?;
    if Sha256::digest(packed)[..] != *digest {
        return Err(damaged("its digest is another"));
    }
    let mut content = BufReader::new(zstd::Decoder::with_buffer(packed)?.take(MAX_FILE_BYTES));
    let head: Option<Head> = line(&mut content)?;
    if head.is_none_or(|head| head.format != FORMAT || head.store != store) {
        return Err(damaged("it is of another store or release"));
    }
    let mut known = Known::new();
    while let Some(Line { path, stamp }) = line(&mut content)? {
        if stamp.size_bytes > MAX_OBJECT_BYTES {
            return Err(damaged("an object in it is too large"));
        }
        let mut bytes = vec![0; stamp.size_bytes as usize];
        content.read_exact(&mut bytes)?;
        known.insert(path, (stamp, bytes.into()));
    }
    Ok(known)
}

/// A line of JSON; none at the end.
fn line<T: for<'de> Deserialize<'de>>(content: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut text = Vec::new();
    if content.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut text)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

fn save(file: &Path, store: &str, used: &BTreeMap<ObjectPath, (Stamp, Bytes)>) -> io::Result<()> {
    let mut content = zstd::Encoder::new(vec![0; DIGEST_BYTES], ZSTD_LEVEL)?;
    let head = Head { format: FORMAT.to_owned(), store: store.to_owned() };
    writeln!(content, "{}", serde_json::to_string(&head)?)?;
    for (path, (stamp, bytes)) in used {
        let line = Line { path: path.clone(), stamp: stamp.clone() };
        writeln!(content, "{}", serde_json::to_string(&line)?)?;
        content.write_all(bytes)?;
    }
    let mut bytes = content.finish()?;
    let digest = Sha256::digest(&bytes[DIGEST_BYTES..]);
    bytes[..DIGEST_BYTES].copy_from_slice(&digest);
    atomic::create_directory(atomic::parent(file))?;
    sweep(atomic::parent(file))?;
    atomic::write(file, &bytes)
}

/// Takes away what a killed command left half written: nobody else writes there for longer than a moment.
fn sweep(directory: &Path) -> io::Result<()> {
    const DEAD_AFTER: std::time::Duration = std::time::Duration::from_hours(1);
    for entry in fs::read_dir(directory)?.flatten() {
        let is_partial = entry.file_name().to_string_lossy().ends_with(".partial");
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        if is_partial && matches!(age, Ok(Ok(age)) if age > DEAD_AFTER) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[async_trait]
impl Store for CachedStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn features(&self) -> Features {
        self.inner.features()
    }

    fn reads_at_once(&self) -> usize {
        self.inner.reads_at_once()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }

    async fn put(&self, path: &ObjectPath, body: ByteStream) -> Result<u64, StoreError> {
        self.inner.put(path, body).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let stamp = self.state().listed.get(path).cloned();
        let (Some(stamp), None) = (stamp, &range) else { return self.inner.get(path, range).await };
        let known = self.known.get(path).filter(|(known, _)| *known == stamp);
        let bytes = if let Some((_, bytes)) = known {
            bytes.clone()
        } else {
            let bytes = Bytes::from(read_small(self.inner.as_ref(), path, MAX_OBJECT_BYTES).await?);
            self.state().read += 1;
            bytes
        };
        // Replaced since it was listed: good for now, and not for later.
        if bytes.len() as u64 == stamp.size_bytes {
            self.state().used.insert(path.clone(), (stamp, bytes.clone()));
        }
        Ok(Box::pin(futures::stream::once(async move { Ok(bytes) })))
    }

    async fn head(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError> {
        self.inner.head(path).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let page = self.inner.list(prefix, after).await?;
        let mut state = self.state();
        for info in &page.objects {
            if let Some(stamp) = Stamp::of(info) {
                state.listed.insert(info.path.clone(), stamp);
            }
        }
        drop(state);
        Ok(page)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError> {
        self.state().listed.remove(path);
        self.inner.delete(path).await
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        self.inner.sweep().await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::{DirectoryStore, body, contract, list_all};

    struct Bench {
        store: tempfile::TempDir,
        cache: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            Self { store: tempfile::tempdir().unwrap(), cache: tempfile::tempdir().unwrap() }
        }

        fn open(&self) -> CachedStore {
            let inner = Arc::new(DirectoryStore::new(self.store.path().to_owned()));
            CachedStore::open(inner, &self.cache.path().join("catalog"))
        }

        async fn put(&self, name: &str, text: &str) {
            let path = ObjectPath::new(name).unwrap();
            self.open().put(&path, body(text.as_bytes().to_vec())).await.unwrap();
        }

        /// Reads everything; what it read, and how many objects the store was asked for.
        async fn look(&self) -> (Vec<String>, u64) {
            let store = self.open();
            let mut texts = Vec::new();
            for info in list_all(&store, "").await.unwrap() {
                let bytes = read_small(&store, &info.path, MAX_OBJECT_BYTES).await.unwrap();
                texts.push(String::from_utf8(bytes).unwrap());
            }
            store.save();
            (texts, store.read())
        }

        fn file(&self) -> PathBuf {
            self.open().file
        }
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let bench = Bench::new();
        contract::check(&bench.open()).await;
    }

    #[tokio::test]
    async fn what_was_read_once_is_not_read_again_until_it_is_another() {
        let bench = Bench::new();
        bench.put("a", "one").await;
        bench.put("b", "two").await;
        assert_eq!(bench.look().await, (texts(&["one", "two"]), 2));
        assert_eq!(bench.look().await, (texts(&["one", "two"]), 0));
        bench.put("c", "new").await;
        assert_eq!(bench.look().await, (texts(&["one", "two", "new"]), 1));
        // Removed and written again, of the same size.
        let path = ObjectPath::new("b").unwrap();
        bench.open().delete(&path).await.unwrap();
        bench.put("b", "TWO").await;
        assert_eq!(bench.look().await, (texts(&["one", "TWO", "new"]), 1));
        bench.open().delete(&path).await.unwrap();
        assert_eq!(bench.look().await, (texts(&["one", "new"]), 0));
        // What is gone is gone from the file as well.
        assert_eq!(bench.open().known.len(), 2);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&bench.file()), mode(atomic::parent(&bench.file()))), (0o600, 0o700));
    }

    #[tokio::test]
    async fn a_file_that_is_lost_or_damaged_anywhere_costs_reading_and_nothing_else() {
        let bench = Bench::new();
        bench.put("a", "one").await;
        bench.look().await;
        let whole = fs::read(bench.file()).unwrap();
        let mut harmed = vec![Vec::new(), b"no cache at all".to_vec(), whole[..whole.len() - 1].to_vec()];
        for place in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            harmed.push(flipped);
        }
        for bytes in harmed {
            fs::write(bench.file(), bytes).unwrap();
            assert_eq!(bench.look().await, (texts(&["one"]), 1));
        }
        fs::remove_dir_all(atomic::parent(&bench.file())).unwrap();
        assert_eq!(bench.look().await, (texts(&["one"]), 1));
        // Where it cannot be written either.
        fs::remove_dir_all(atomic::parent(&bench.file())).unwrap();
        fs::write(atomic::parent(&bench.file()), b"").unwrap();
        assert_eq!(bench.look().await, (texts(&["one"]), 1));
    }

    #[tokio::test]
    async fn what_was_not_listed_is_read_from_the_store() {
        let bench = Bench::new();
        bench.put("a", "one").await;
        bench.look().await;
        let path = ObjectPath::new("a").unwrap();
        bench.open().delete(&path).await.unwrap();
        let gone = read_small(&bench.open(), &path, 10).await;
        assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
    }

    #[tokio::test]
    async fn the_file_of_another_store_is_not_taken() {
        let (bench, other) = (Bench::new(), Bench::new());
        bench.put("a", "one").await;
        bench.look().await;
        other.put("a", "two").await;
        fs::create_dir_all(atomic::parent(&other.file())).unwrap();
        fs::copy(bench.file(), other.file()).unwrap();
        assert_eq!(other.look().await, (texts(&["two"]), 1));
    }
}
