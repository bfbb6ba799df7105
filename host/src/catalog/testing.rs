//! A small repository in a directory, for the tests of whoever works on one.

pub(crate) mod walk;

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::*;
use crate::pack::{self, hex};
use crate::store::{DirectoryStore, body};

pub(crate) struct Repository {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: DirectoryStore,
}

pub(crate) fn repository() -> Repository {
    repository_in(tempfile::tempdir().unwrap())
}

pub(crate) fn repository_in(directory: tempfile::TempDir) -> Repository {
    let store = DirectoryStore::new(directory.path().to_owned());
    Repository { directory, store }
}

/// A manifest as a release wrote it: what is committed must stay readable.
pub(crate) fn sample(id: &str) -> Manifest {
    let text = include_str!("testdata/manifest-1.json").replace("20261121T030000Z-1641", id);
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn record(id: &str, second: i64, outcome: etcd_snapshot::Outcome) -> Record {
    let time = Timestamp::from_second(1_790_000_000 + second).unwrap();
    Record {
        format: RECORD_FORMAT.to_owned(),
        backup: id.parse().unwrap(),
        session: crate::session::SessionId::random(),
        trigger: Trigger::Verify,
        started: time,
        ended: time,
        outcome,
        steps: Vec::new(),
    }
}

/// What the backup of this id unpacks to.
pub(crate) fn content(id: &str) -> Vec<u8> {
    id.repeat(500).into_bytes()
}

/// A manifest and the packed bytes that it is about.
pub(crate) fn packed(id: &str, options: &pack::Options) -> (Manifest, Vec<u8>) {
    let plain = content(id);
    let mut bytes = Vec::new();
    let packed = pack::pack(&mut &plain[..], options, &mut bytes).unwrap();
    let mut manifest = sample(id);
    manifest.started = manifest.id.time();
    manifest.plain = PlainInfo { size_bytes: plain.len() as u64, sha256: hex(&Sha256::digest(&plain)) };
    manifest.stored = StoredInfo {
        path: data_path(manifest.started, &SessionId::random(), options.is_encrypted()),
        size_bytes: packed.stored_bytes,
        sha256: packed.stored_sha256,
    };
    (manifest, bytes)
}

/// Commits a manifest that nobody signs.
pub(crate) async fn commit_plain(store: &dyn Store, manifest: &Manifest) -> Result<(), CatalogError> {
    commit(store, &seal(manifest, None)?).await
}

impl Repository {
    /// Where an object lies.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(crate) async fn put(&self, path: &str, bytes: &[u8]) {
        self.store.put(&ObjectPath::new(path).unwrap(), body(bytes.to_vec())).await.unwrap();
    }

    /// A backup that reads back, and the verdict on it.
    pub(crate) async fn backup(&self, id: &str, outcome: etcd_snapshot::Outcome) -> Manifest {
        let (manifest, bytes) = packed(id, &pack::Options::default());
        self.put(manifest.stored.path.as_str(), &bytes).await;
        commit_plain(&self.store, &manifest).await.unwrap();
        add_record(&self.store, &record(id, 0, outcome)).await.unwrap();
        manifest
    }

    pub(crate) async fn manifest(&self, id: &str) -> Manifest {
        manifest(&self.store, &id.parse().unwrap()).await.unwrap().expect("the backup is there")
    }

    /// Retrieves a backup as a restore does, and compares it with what it was made of.
    pub(crate) async fn reads_back(&self, id: &str) {
        self.reads_back_with(&self.store, id, &[]).await;
    }

    /// The same, of an encrypted one, as it is read from `store`.
    pub(crate) async fn reads_back_with(&self, store: &dyn Store, id: &str, identities: &[pack::Identity]) {
        let manifest = manifest(store, &id.parse().unwrap()).await.unwrap().expect("the backup is there");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("read-back");
        let file = crate::atomic::create_file(&path).unwrap();
        let silent = crate::progress::Silent;
        let target = crate::retrieve::Target { path: &path, file, lasts: false };
        crate::retrieve::retrieve(store, &manifest, identities, target, &silent).await.unwrap();
        assert!(std::fs::read(&path).unwrap() == content(id), "{id} reads back as something else");
    }
}
