//! Real snapshots for native tests: the ones of `tests/data`, read by the same engine that the agent reads with.

use std::path::{Path, PathBuf};

use etcd_snapshot::SnapshotFile;
use holdfast_plugin::{KeyValue, MemorySnapshot};

/// A snapshot of a real Kubernetes cluster: `kubernetes-t1` or `kubernetes-t2`.
pub(crate) fn snapshot(name: &str) -> MemorySnapshot {
    let file = SnapshotFile::from_bytes(unpack(&format!("{name}.db.zst"))).expect("the test data is whole");
    let mut memory = MemorySnapshot::new();
    for row in file.live().expect("the test data is whole").iter() {
        memory.insert(KeyValue {
            key: row.key.to_vec(),
            value: row.value.to_vec(),
            create_revision: row.create_revision,
            mod_revision: row.mod_revision,
            version: row.version,
            lease: row.lease,
        });
    }
    memory
}

/// A file of the test data, decompressed.
pub(crate) fn unpack(file: &str) -> Vec<u8> {
    let path = data_directory().join(file);
    let packed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::decode_all(&packed[..]).expect("the test data is zstd")
}

fn data_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}
