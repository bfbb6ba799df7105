//! Buckets that keep what is removed: versioned ones, and those with object lock.

use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use holdfast_tests::s3::Server;

use super::{LARGE, Options, content, options, path, read_small, store, stream, told};
use crate::store::s3::{Checksums, Lock, LockMode};
use crate::store::{Store, StoreError, body, list_all};

#[tokio::test]
async fn a_locked_object_stays_and_says_until_when() {
    let Some(server) = Server::start() else { return };
    let keys = tempfile::tempdir().unwrap();
    let lock = Some(Lock { mode: LockMode::Governance, retain_for: Duration::from_hours(24) });
    let sound = Options { bucket: "locked".to_owned(), lock, ..options(&server.endpoint(), keys.path()) };
    let locked = store(sound.clone());
    let made = locked
        .bucket
        .call(|client| client.create_bucket().bucket("locked").object_lock_enabled_for_bucket(true).send())
        .await;
    made.unwrap();
    locked.probe().await.unwrap();
    assert!(locked.features().object_lock);
    let bare = store(Options { checksums: Checksums::WhenRequired, ..sound.clone() });
    for (name, store, length) in
        [("small", &locked, 10), ("large", &locked, LARGE), ("bare", &bare, 10), ("bare-large", &bare, LARGE)]
    {
        store.put(&path(name), stream(&content(length))).await.unwrap();
        let refused = store.delete(&path(name)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Locked { .. }), "{name}: {refused:?}");
        assert!(told(&refused).contains("is locked until 20"), "{refused}");
        assert_eq!(read_small(store, &path(name), LARGE).await.unwrap(), content(length));
    }
    server.bucket("plain");
    let plain = store(Options { bucket: "plain".to_owned(), ..sound });
    let error = told(&plain.probe().await.unwrap_err());
    assert!(error.contains("no object lock"), "{error}");
}

#[tokio::test]
async fn a_removal_from_a_versioned_bucket_hides_the_object() {
    let Some(server) = Server::start() else { return };
    let folder = server.bucket("versioned");
    let keys = tempfile::tempdir().unwrap();
    let store = store(Options { bucket: "versioned".to_owned(), ..options(&server.endpoint(), keys.path()) });
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let call = store.bucket.call(|client| {
        client.put_bucket_versioning().bucket("versioned").versioning_configuration(enabled.clone()).send()
    });
    call.await.unwrap();
    store.probe().await.unwrap();
    assert!(store.features().versioning);
    assert!(folder.exists());
    store.put(&path("data/x"), body(b"first".to_vec())).await.unwrap();
    store.delete(&path("data/x")).await.unwrap();
    assert!(store.head(&path("data/x")).await.unwrap().is_none());
    assert!(list_all(&store, "").await.unwrap().is_empty());
    let versions = store.bucket.call(|client| client.list_object_versions().bucket("versioned").send()).await;
    assert_eq!(versions.unwrap().versions().len(), 1, "the first bytes are kept");
}
