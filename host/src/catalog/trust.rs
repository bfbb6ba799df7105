//! Whose manifests count: what stands between a store and all who read manifests from it.
//!
//! It is a store itself, so that no reader can forget it: the bytes of a manifest, or an inventory, come out of it when a trusted key has
//! signed them, and else an error does. Nothing else is changed on the way. Records, pins and checks are not signed: what
//! these can do, and what not, is told in `docs/trust.md`.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use holdfast_runtime::{Signature, TrustedKey};
use serde::Deserialize;

use super::listing::{Role, role};
use super::seal;
use crate::store::{self, ByteStream, Features, ObjectInfo, ObjectPath, Page, Store, StoreError};

/// Whose manifests count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Whose signatures; at least one.
    pub keys: Vec<TrustedKey>,
    /// Of which clusters, by the operator's names: one key may sign for many, and a backup of one must not pass for
    /// another's.
    pub clusters: Vec<String>,
}

/// A store whose manifests are refused unless they are signed.
pub struct TrustedStore {
    inner: Arc<dyn Store>,
    trust: Arc<Trust>,
}

impl TrustedStore {
    /// Stands before `inner`.
    pub fn new(inner: Arc<dyn Store>, trust: Arc<Trust>) -> Self {
        Self { inner, trust }
    }

    /// The bytes of a manifest, once they are known to be good.
    async fn trusted(&self, path: &ObjectPath) -> Result<Vec<u8>, StoreError> {
        let (bytes, judged) = seal::read_judged(self.inner.as_ref(), path, &self.trust.keys).await?;
        match self.trust.refusal(&bytes, &judged) {
            None => Ok(bytes),
            Some(reason) => Err(StoreError::Refused { path: path.to_string(), reason }),
        }
    }
}

#[derive(Deserialize)]
struct OfCluster {
    cluster: Named,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Trust {
    /// Why a manifest with these signatures does not count; none when it does.
    fn refusal(&self, bytes: &[u8], judged: &[Signature]) -> Option<String> {
        if judged.iter().any(|signature| matches!(signature, Signature::Trusted { .. })) {
            // What does not parse is for the reader to tell.
            let name =
                serde_json::from_slice(bytes).ok().map(|OfCluster { cluster: Named { name } }| name)?;
            return (!self.clusters.contains(&name))
                .then(|| format!("it is signed, and is of another cluster, `{name}`"));
        }
        // The first that is not merely of another key says most.
        let invalid = judged.iter().find(|signature| matches!(signature, Signature::Invalid { .. }));
        Some(match invalid.or(judged.first()) {
            None => "it is not signed".to_owned(),
            Some(signature) => format!("its signature is {signature}"),
        })
    }
}

#[async_trait]
impl Store for TrustedStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn features(&self) -> Features {
        self.inner.features()
    }

    fn reads_at_once(&self) -> usize {
        // With each manifest its signature is asked for.
        self.inner.reads_at_once().div_ceil(2)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }

    async fn put(&self, path: &ObjectPath, body: ByteStream) -> Result<u64, StoreError> {
        self.inner.put(path, body).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        if !matches!(role(path), Some(Role::Manifest(..) | Role::Inventory)) {
            return self.inner.get(path, range).await;
        }
        let mut bytes = self.trusted(path).await?;
        if let Some(range) = range {
            let length = bytes.len() as u64;
            let (start, end) = (range.start.min(length) as usize, range.end.min(length) as usize);
            bytes = bytes.get(start..end).unwrap_or_default().to_vec();
        }
        Ok(store::body(bytes))
    }

    async fn head(&self, path: &ObjectPath) -> Result<Option<ObjectInfo>, StoreError> {
        self.inner.head(path).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), StoreError> {
        self.inner.delete(path).await
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        self.inner.sweep().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Repository, repository, sample};
    use super::super::{CatalogError, Manifest, commit, list, manifest, manifest_path, seal, sign};
    use super::*;
    use crate::signing::SigningKey;

    const ID: &str = "20261121T030000Z-1641";

    fn trusting(repository: &Repository, keys: &[&SigningKey]) -> TrustedStore {
        let trust = Trust {
            keys: keys.iter().map(|key| key.public().clone()).collect(),
            clusters: vec![sample(ID).cluster.name],
        };
        TrustedStore::new(Arc::new(repository.store.clone()), Arc::new(trust))
    }

    async fn put(repository: &Repository, manifest: &Manifest, key: Option<&SigningKey>) {
        commit(&repository.store, &seal(manifest, key).unwrap()).await.unwrap();
    }

    async fn refused(store: &TrustedStore, id: &str) -> String {
        match manifest(store, &id.parse().unwrap()).await {
            Err(CatalogError::Untrusted { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_trusted_key_signed_is_read_and_nothing_else() {
        let repository = repository();
        let (ours, others) = (SigningKey::generate(), SigningKey::generate());
        let store = trusting(&repository, &[&ours]);
        put(&repository, &sample(ID), Some(&ours)).await;
        assert_eq!(manifest(&store, &ID.parse().unwrap()).await.unwrap().unwrap().id.to_string(), ID);

        // Planted: not signed, signed by another, signed for another place, of another cluster.
        put(&repository, &sample("20261121T040000Z-1"), None).await;
        assert_eq!(refused(&store, "20261121T040000Z-1").await, "it is not signed");
        put(&repository, &sample("20261121T040000Z-2"), Some(&others)).await;
        assert!(refused(&store, "20261121T040000Z-2").await.contains("which is not trusted here"));
        let mut foreign = sample("20261121T040000Z-3");
        foreign.cluster.name = "staging".to_owned();
        put(&repository, &foreign, Some(&ours)).await;
        assert!(refused(&store, "20261121T040000Z-3").await.contains("another cluster, `staging`"));
        let moved = repository.file(manifest_path(&ID.parse().unwrap()).as_str());
        let there = repository.file("backups/20261121T040000Z-4");
        std::fs::create_dir(&there).unwrap();
        for suffix in ["", ".minisig"] {
            let from = format!("{}{suffix}", moved.display());
            std::fs::copy(from, there.join(format!("manifest.json{suffix}"))).unwrap();
        }
        let misplaced = manifest(&store, &"20261121T040000Z-4".parse().unwrap()).await;
        assert!(matches!(misplaced, Err(CatalogError::Misplaced { .. })), "{misplaced:?}");

        let listing = list(&store).await.unwrap();
        assert_eq!((listing.entries.len(), listing.unreadable.len()), (1, 4), "{listing:?}");
        assert!(listing.orphans.is_empty(), "what a refused manifest names is no orphan: {listing:?}");

        // Altered.
        let text = std::fs::read_to_string(&moved).unwrap();
        std::fs::write(&moved, text.replace("\"live_keys\": 5", "\"live_keys\": 6")).unwrap();
        assert!(refused(&store, ID).await.contains("is not over these bytes"));
    }

    #[tokio::test]
    async fn a_backup_older_than_the_signing_is_signed_by_hand_and_once_more_by_a_new_key() {
        let repository = repository();
        let (old, new) = (SigningKey::generate(), SigningKey::generate());
        let made = sample(ID);
        put(&repository, &made, None).await;
        assert_eq!(refused(&trusting(&repository, &[&old]), ID).await, "it is not signed");
        sign(&repository.store, &made, &old).await.unwrap();
        assert!(manifest(&trusting(&repository, &[&old]), &made.id).await.unwrap().is_some());
        let refusal = refused(&trusting(&repository, &[&new]), ID).await;
        assert!(refusal.contains("not trusted here"), "{refusal}");
        let further = sign(&repository.store, &made, &new).await.unwrap();
        assert!(
            further.as_str().ends_with(&format!("manifest.json.{}.minisig", new.public().id())),
            "{further}"
        );
        for keys in [vec![&old], vec![&new], vec![&new, &old]] {
            assert!(manifest(&trusting(&repository, &keys), &made.id).await.unwrap().is_some());
        }
        assert!(sign(&repository.store, &made, &new).await.is_err(), "a signature was replaced");
        assert!(list(&repository.store).await.unwrap().orphans.is_empty());
    }

    #[tokio::test]
    async fn what_is_planted_in_front_of_a_good_edition_does_not_take_it_away() {
        let repository = repository();
        let key = SigningKey::generate();
        let store = trusting(&repository, &[&key]);
        put(&repository, &sample(ID), Some(&key)).await;
        let mut planted = sample(ID);
        planted.edition = 2;
        planted.stored.sha256 = "0".repeat(64);
        put(&repository, &planted, None).await;
        let read = manifest(&store, &ID.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(read.edition, 1);
        let listing = list(&store).await.unwrap();
        assert_eq!((listing.entries.len(), listing.unreadable.len()), (1, 1));
        // Where nobody is trusted in particular, the highest counts.
        let read = manifest(&repository.store, &ID.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(read.edition, 2);
    }

    #[tokio::test]
    async fn a_signature_without_its_manifest_is_an_orphan_and_goes_with_its_data() {
        let repository = repository();
        let made = sample(ID);
        let sealed = seal(&made, Some(&SigningKey::generate())).unwrap();
        commit(&repository.store, &sealed).await.unwrap();
        repository.store.delete(&manifest_path(&made.id)).await.unwrap();
        let orphans = list(&repository.store).await.unwrap().orphans;
        assert_eq!(orphans.len(), 1, "{orphans:?}");
        // Another run's is left alone.
        let other = ObjectPath::new("data/20261121T030000Z-00000000000000aa.db.zst").unwrap();
        super::super::remove_uncommitted(&repository.store, &other, Some(&made.id)).await.unwrap();
        assert_eq!(list(&repository.store).await.unwrap().orphans.len(), 1);
        super::super::remove_uncommitted(&repository.store, &made.stored.path, Some(&made.id)).await.unwrap();
        assert!(list(&repository.store).await.unwrap().orphans.is_empty());
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let directory = tempfile::tempdir().unwrap();
        let inner = Arc::new(crate::store::DirectoryStore::new(directory.path().join("store")));
        let trust = Trust { keys: vec![SigningKey::generate().public().clone()], clusters: Vec::new() };
        crate::store::contract::check(&TrustedStore::new(inner, Arc::new(trust))).await;
    }
}
