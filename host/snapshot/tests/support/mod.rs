//! Snapshots for the tests: unpacked from the packed files kept in the repository.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

use std::path::PathBuf;

use etcd_snapshot::SnapshotFile;
use serde_json::Value;

/// Where a packed test file lies: beside these tests, or with those of the whole system.
pub(crate) fn path(name: &str) -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let own = here.join("tests/data").join(name);
    if own.exists() { own } else { here.join("../../tests/data").join(name) }
}

pub(crate) fn unpack(name: &str) -> Vec<u8> {
    let path = path(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::decode_all(file).unwrap()
}

/// The bytes of a snapshot, by name without `.db.zst`.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    unpack(&format!("{name}.db.zst"))
}

pub(crate) fn open(name: &str) -> SnapshotFile {
    SnapshotFile::from_bytes(bytes(name)).unwrap()
}

/// What etcd's own tools said of a snapshot.
pub(crate) fn facts(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(&format!("{name}.facts.json"))).unwrap()).unwrap()
}

/// Every live key as the server listed it.
pub(crate) fn truth(name: &str) -> Value {
    serde_json::from_slice(&unpack(&format!("{name}.truth.json.zst"))).unwrap()
}
