//! `holdfast:host/state`: a few bytes that outlast a call.
//!
//! A store is one file, `<folder>/<plugin>/<name>.json`, 0600 in folders of 0700, replaced whole at each write: written beside,
//! synced, renamed. Calls of the same plugin may overlap, also in other processes, so each change is made under a lock on
//! the plugin's folder, on what the file holds then.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::host::holdfast::host::state::{self, Error};
use crate::call::CallState;
use crate::grants::Denial;
use crate::text;

/// The name of the grant.
const STATE: &str = "state";
/// What a file says it is.
const FORMAT: &str = "holdfast-plugin-state/1";
/// The bounds that the contract names.
const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 16 << 10;
const STORE_BYTES: usize = 64 << 10;
/// A file of a store that is full, with room for quotes and base64.
const FILE_BYTES: u64 = 1 << 20;
/// Writes of one call: each waits for the disk.
const WRITES: u32 = 1000;
/// How much of a name that is not granted is shown.
const NAME_BYTES: usize = 64;

/// Adds the interface.
pub(crate) fn add(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    state::add_to_linker::<CallState, HasSelf<CallState>>(linker, |state| state)
}

/// Whether a store may have this name: it is a file's.
pub fn is_store_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Where one plugin's stores lie.
#[derive(Clone, Debug)]
pub(crate) struct StateFolder {
    folder: Option<PathBuf>,
    writes: u32,
}

impl StateFolder {
    /// `folder` holds the stores of all plugins; without one there are none.
    pub(crate) fn new(folder: Option<&Path>, plugin: &str) -> StateFolder {
        StateFolder { folder: folder.map(|folder| folder.join(plugin)), writes: 0 }
    }
}

/// The file of a store.
#[derive(Default, Serialize, Deserialize)]
struct Store {
    format: String,
    entries: BTreeMap<String, String>,
}

fn error(code: &str, message: impl Into<String>) -> Error {
    Error { code: code.into(), message: message.into() }
}

/// Nothing of paths is told to a guest.
fn storage(what: &str, name: &str, cause: &io::Error) -> Error {
    tracing::warn!(store = name, error = %cause, "a plugin's state cannot be {what}");
    error("storage", format!("the state `{name}` cannot be {what}: {}", cause.kind()))
}

impl CallState {
    /// The folder of a store that is granted.
    fn store(&mut self, name: &str) -> wasmtime::Result<Result<PathBuf, Error>> {
        self.meter.host_call()?;
        if !self.grants.allow().state.contains(name) || !is_store_name(name) {
            let name = text::one_line(name, NAME_BYTES);
            self.meter.denials.add(Denial {
                grant: STATE,
                asked: format!("the state `{name}`"),
                reason: "it is not granted".to_owned(),
                hint: Some(format!(
                    "if that is meant, add `\"{name}\"` to `state` in the `allow` of this use"
                )),
                times: 1,
            });
            return Ok(Err(error("denied", format!("the state `{name}` is not granted"))));
        }
        let none = || error("storage", "this agent keeps no state of plugins");
        Ok(self.state.folder.clone().ok_or_else(none))
    }

    async fn read(&mut self, name: String) -> wasmtime::Result<Result<Store, Error>> {
        let folder = match self.store(&name)? {
            Ok(folder) => folder,
            Err(error) => return Ok(Err(error)),
        };
        let read = blocking({
            let name = name.clone();
            move || load(&folder, &name)
        });
        Ok(read.await.map_err(|cause| storage("read", &name, &cause)))
    }

    async fn change(
        &mut self,
        name: String,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Error> + Send + 'static,
    ) -> wasmtime::Result<Result<(), Error>> {
        let folder = match self.store(&name)? {
            Ok(folder) => folder,
            Err(error) => return Ok(Err(error)),
        };
        self.state.writes += 1;
        if self.state.writes > WRITES {
            return Ok(Err(error("limit", format!("a call may write {WRITES} times"))));
        }
        let written = blocking({
            let name = name.clone();
            move || {
                make_folder(&folder)?;
                // Held until it is dropped.
                let lock = private(&folder.join(".lock"), |options| options.create(true).truncate(false))?;
                flock(&lock, FlockOperation::LockExclusive)?;
                let mut store = load(&folder, &name)?;
                if let Err(refused) = change(&mut store.entries) {
                    return Ok(Err(refused));
                }
                save(&folder, &name, &store).map(Ok)
            }
        });
        Ok(written.await.unwrap_or_else(|cause| Err(storage("written", &name, &cause))))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn private(path: &Path, options: impl FnOnce(&mut OpenOptions) -> &mut OpenOptions) -> io::Result<File> {
    options(OpenOptions::new().write(true).mode(0o600)).open(path)
}

fn file_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

fn load(folder: &Path, name: &str) -> io::Result<Store> {
    let file = match File::open(file_of(folder, name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Store::default()),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(FILE_BYTES).read_to_string(&mut text)?;
    let store: Store = serde_json::from_str(&text)?;
    if store.format == FORMAT { Ok(store) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
}

fn save(folder: &Path, name: &str, store: &Store) -> io::Result<()> {
    let beside = folder.join(format!(".{name}.new"));
    let mut file = private(&beside, |options| options.create(true).truncate(true))?;
    let text = serde_json::to_vec(&Store { format: FORMAT.to_owned(), entries: store.entries.clone() })?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&beside, file_of(folder, name))?;
    File::open(folder)?.sync_all()
}

/// Within the bounds of the contract?
fn set(entries: &mut BTreeMap<String, String>, key: String, value: &[u8]) -> Result<(), Error> {
    if key.is_empty() || key.len() > KEY_BYTES {
        return Err(error("limit", format!("a key has 1 to {KEY_BYTES} bytes")));
    }
    if value.len() > VALUE_BYTES {
        return Err(error("limit", format!("a value has at most {VALUE_BYTES} bytes")));
    }
    entries.insert(key, STANDARD.encode(value));
    let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len() / 4 * 3).sum();
    if bytes > STORE_BYTES {
        return Err(error("limit", format!("a store has at most {STORE_BYTES} bytes: delete what is old")));
    }
    Ok(())
}

impl state::Host for CallState {
    async fn get(&mut self, store: String, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let read = self.read(store.clone()).await?;
        Ok(read.and_then(|found| {
            let Some(value) = found.entries.get(&key) else { return Ok(None) };
            let damaged = |_| storage("read", &store, &io::Error::from(io::ErrorKind::InvalidData));
            STANDARD.decode(value).map(Some).map_err(damaged)
        }))
    }

    async fn set(
        &mut self,
        store: String,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.change(store, move |entries| set(entries, key, &value)).await
    }

    async fn delete(&mut self, store: String, key: String) -> wasmtime::Result<Result<(), Error>> {
        self.change(store, move |entries| {
            entries.remove(&key);
            Ok(())
        })
        .await
    }

    async fn keys(&mut self, store: String) -> wasmtime::Result<Result<Vec<String>, Error>> {
        Ok(self.read(store).await?.map(|found| found.entries.into_keys().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_bounded() {
        let mut entries = BTreeMap::new();
        let full = vec![1; VALUE_BYTES];
        for key in ["a", "b", "c"] {
            assert!(set(&mut entries, key.into(), &full).is_ok(), "{key}");
        }
        let refused = |result: Result<(), Error>| result.expect_err("too much").code;
        assert_eq!(refused(set(&mut entries.clone(), "d".into(), &full)), "limit");
        assert_eq!(refused(set(&mut entries.clone(), "d".into(), &vec![0; VALUE_BYTES + 1])), "limit");
        assert_eq!(refused(set(&mut entries.clone(), "k".repeat(257), b"")), "limit");
        assert_eq!(refused(set(&mut entries.clone(), String::new(), b"")), "limit");
    }

    #[test]
    fn a_store_is_private_and_comes_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("state/slack");
        make_folder(&folder).expect("it is made");
        let mut store = load(&folder, "seen").expect("there is none yet");
        assert!(store.entries.is_empty());
        set(&mut store.entries, "a/../b".into(), b"\xff\0").expect("small");
        save(&folder, "seen", &store).expect("it is written");
        assert_eq!(load(&folder, "seen").expect("it is there").entries, store.entries);
        let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("seen.json"))), (0o700, 0o600));
        std::fs::write(folder.join("seen.json"), "{").expect("written");
        assert!(load(&folder, "seen").is_err(), "damage is told, not taken for an empty store");
    }

    #[test]
    fn names_are_files_names() {
        assert!(is_store_name("seen") && is_store_name("A-1_b"));
        for bad in ["", ".", "..", "a/b", "a.b", "é", &"a".repeat(65)] {
            assert!(!is_store_name(bad), "{bad}");
        }
    }
}
