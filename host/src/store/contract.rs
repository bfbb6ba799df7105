//! The suite that every store passes.

use std::io;

use bytes::Bytes;
use futures::StreamExt;

use super::{ObjectPath, Store, StoreError, body, list_all, read_small};

/// Objects beyond the page size of every store, so that listing has to turn a page.
const MANY: usize = 1100;

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a good path")
}

/// Checks an empty store against the contract of [`Store`].
///
/// # Panics
/// On the first breach.
pub(crate) async fn check(store: &dyn Store) {
    store.probe().await.expect("an empty store can be used");
    an_object_comes_back_whole_and_in_ranges(store).await;
    an_object_is_never_replaced(store).await;
    a_broken_stream_leaves_nothing(store).await;
    missing_objects_are_told(store).await;
    removal_can_be_repeated(store).await;
    listing_is_sorted_complete_and_paged(store).await;
}

async fn an_object_comes_back_whole_and_in_ranges(store: &dyn Store) {
    let chunks: Vec<Bytes> = (0..9_u8).map(|index| Bytes::from(vec![index; 700_000])).collect();
    let whole: Vec<u8> = chunks.concat();
    let target = path("whole/object.bin");
    let stream = futures::stream::iter(chunks.into_iter().map(Ok));
    assert_eq!(store.put(&target, Box::pin(stream)).await.expect("put"), whole.len() as u64);
    assert_eq!(read_small(store, &target, u64::MAX).await.expect("get"), whole);
    let info = store.head(&target).await.expect("head").expect("the object is there");
    assert_eq!((info.path, info.size_bytes), (target.clone(), whole.len() as u64));
    let mut part = store.get(&target, Some(699_990..1_400_010)).await.expect("get a range");
    let mut read = Vec::new();
    while let Some(chunk) = part.next().await {
        read.extend_from_slice(&chunk.expect("a chunk"));
    }
    assert_eq!(read, &whole[699_990..1_400_010]);
    store.put(&path("whole/empty"), body(Vec::new())).await.expect("an empty object");
    assert!(read_small(store, &path("whole/empty"), 0).await.expect("get").is_empty());
}

async fn an_object_is_never_replaced(store: &dyn Store) {
    let target = path("once/object");
    store.put(&target, body(b"first".to_vec())).await.expect("put");
    let again = store.put(&target, body(b"second".to_vec())).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    assert_eq!(read_small(store, &target, 100).await.expect("get"), b"first");
}

async fn a_broken_stream_leaves_nothing(store: &dyn Store) {
    let target = path("broken/object");
    let stream = futures::stream::iter([Ok(Bytes::from_static(b"half")), Err(io::Error::other("torn"))]);
    assert!(store.put(&target, Box::pin(stream)).await.is_err());
    assert!(store.head(&target).await.expect("head").is_none());
    assert!(list_all(store, "broken/").await.expect("list").is_empty());
    store.put(&target, body(b"whole".to_vec())).await.expect("the path is free");
}

async fn missing_objects_are_told(store: &dyn Store) {
    assert!(store.head(&path("none/at-all")).await.expect("head").is_none());
    let missing = read_small(store, &path("none/at-all"), 10).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
}

async fn removal_can_be_repeated(store: &dyn Store) {
    let target = path("gone/object");
    store.put(&target, body(b"x".to_vec())).await.expect("put");
    store.delete(&target).await.expect("delete");
    store.delete(&target).await.expect("delete again");
    assert!(store.head(&target).await.expect("head").is_none());
}

async fn listing_is_sorted_complete_and_paged(store: &dyn Store) {
    for index in 0..MANY {
        store.put(&path(&format!("many/{index:05}")), body(Vec::new())).await.expect("put");
    }
    store.put(&path("many-more/x"), body(Vec::new())).await.expect("put");
    let listed: Vec<String> = list_all(store, "many/")
        .await
        .expect("list")
        .into_iter()
        .map(|object| object.path.to_string())
        .collect();
    let expected: Vec<String> = (0..MANY).map(|index| format!("many/{index:05}")).collect();
    assert_eq!(listed, expected);
    let by_part = list_all(store, "many/0001").await.expect("list");
    assert_eq!(by_part.len(), 10);
}
