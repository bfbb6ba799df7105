//! Copying between directory stores.

use std::fs;
use std::sync::Arc;

use etcd_snapshot::Outcome;
use jiff::tz::TimeZone;

use super::*;
use crate::catalog::testing::{Repository, repository};
use crate::progress::Silent;
use crate::store::fault::{Fault, FaultStore};
use crate::store::list_all;

const IDS: [&str; 3] = ["20260101T000000Z-1", "20260102T000000Z-2", "20260103T000000Z-3"];

async fn three() -> Repository {
    let repository = repository();
    for id in IDS {
        repository.backup(id, Outcome::Passed).await;
    }
    repository
}

fn named(name: &str, store: impl Store + 'static) -> NamedStore {
    crate::pipeline::named(name, Arc::new(store))
}

async fn bring(target: &NamedStore, policy: Option<&Policy>, source: &NamedStore) -> Synced {
    let target = Target { named: target, policy };
    sync(&target, std::slice::from_ref(source), Timestamp::now(), &Silent, &CancellationToken::new()).await
}

#[tokio::test]
async fn what_is_missing_is_brought_as_it_is() {
    let (from, to) = (three().await, repository());
    let (source, target) = (named("from", from.store.clone()), named("to", to.store.clone()));
    let synced = bring(&target, None, &source).await;
    assert_eq!((synced.copied.len(), synced.errors.len()), (3, 0), "{synced:?}");
    for object in list_all(&from.store, "").await.unwrap() {
        let path = object.path.as_str();
        assert_eq!(fs::read(to.file(path)).unwrap(), fs::read(from.file(path)).unwrap(), "{path}");
    }
    for id in IDS {
        to.reads_back(id).await;
    }
    let again = bring(&target, None, &source).await;
    assert!(again.copied.is_empty() && again.errors.is_empty(), "{again:?}");
}

#[tokio::test]
async fn what_is_damaged_does_not_arrive() {
    let (from, to) = (three().await, repository());
    let path = from.manifest(IDS[1]).await.stored.path;
    let mut bytes = fs::read(from.file(path.as_str())).unwrap();
    bytes[10] ^= 1;
    fs::write(from.file(path.as_str()), bytes).unwrap();
    let synced = bring(&named("to", to.store.clone()), None, &named("from", from.store.clone())).await;
    assert_eq!((synced.copied.len(), synced.errors.len()), (2, 1), "{synced:?}");
    assert!(synced.errors[0].contains("the source is damaged"), "{synced:?}");
    assert!(to.store.head(&path).await.unwrap().is_none());
    assert_eq!(catalog::list(&to.store).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn what_the_rules_have_removed_is_not_brought_back() {
    let (from, to) = (three().await, repository());
    let rules = Policy {
        last: Some(1),
        periods: BTreeMap::new(),
        timezone: TimeZone::UTC,
        max_age: None,
        max_size_bytes: None,
        orphan_grace: std::time::Duration::from_hours(24),
    };
    let target = named("to", to.store.clone());
    let synced = bring(&target, Some(&rules), &named("from", from.store.clone())).await;
    assert_eq!((synced.copied.len(), synced.not_wanted.len()), (1, 2), "{synced:?}");
    to.reads_back(IDS[2]).await;
}

#[tokio::test]
async fn a_copy_that_was_interrupted_goes_on_where_it_stopped() {
    let (from, to) = (three().await, repository());
    let source = named("from", from.store.clone());
    // Data is there, its manifest is not; and data that is not whole.
    let [whole, half] = [IDS[0], IDS[1]].map(|id| async { from.manifest(id).await.stored.path });
    let (whole, half) = (whole.await, half.await);
    to.put(whole.as_str(), &fs::read(from.file(whole.as_str())).unwrap()).await;
    to.put(half.as_str(), b"half").await;
    let synced = bring(&named("to", to.store.clone()), None, &source).await;
    assert!(synced.errors.is_empty(), "{synced:?}");
    let sent: Vec<bool> = synced.copied.iter().map(|copied| copied.sent_bytes > 0).collect();
    assert_eq!(sent, [false, true, true]);
    for id in IDS {
        to.reads_back(id).await;
    }
}

#[tokio::test]
async fn two_backups_of_one_id_are_told() {
    let (from, to) = (three().await, repository());
    let mut other = from.manifest(IDS[0]).await;
    other.stored.sha256 = "0".repeat(64);
    catalog::commit(&to.store, &other).await.unwrap();
    let error = copy(&from.store, &to.store, &IDS[0].parse().unwrap(), Timestamp::now(), &Silent).await;
    assert!(matches!(error, Err(SyncError::Conflict { .. })), "{error:?}");
}

/// Every call of either side breaks once: what is committed is whole, what is not is an orphan, and the next run heals.
#[tokio::test]
async fn nothing_is_lost_wherever_it_breaks() {
    for fault in [Fault::Once, Fault::FromThenOn, Fault::LostAnswer, Fault::Torn, Fault::Full] {
        for source_breaks in [false, true] {
            let mut at = 1;
            loop {
                let (from, to) = (three().await, repository());
                let breaking = Arc::new(FaultStore::new(
                    Arc::new(if source_breaks { from.store.clone() } else { to.store.clone() }),
                    fault,
                    at,
                ));
                let broken = crate::pipeline::named("broken", Arc::clone(&breaking) as Arc<dyn Store>);
                let (source, target) = if source_breaks {
                    (broken, named("to", to.store.clone()))
                } else {
                    (named("from", from.store.clone()), broken)
                };
                bring(&target, None, &source).await;
                let listing = catalog::list(&to.store).await.unwrap();
                assert!(listing.unreadable.is_empty(), "{fault:?} at {at}: {:?}", listing.unreadable);
                for entry in &listing.entries {
                    to.reads_back(&entry.manifest.id.to_string()).await;
                }
                let healed =
                    bring(&named("to", to.store.clone()), None, &named("from", from.store.clone())).await;
                assert!(healed.errors.is_empty(), "{fault:?} at {at}: {healed:?}");
                let listing = catalog::list(&to.store).await.unwrap();
                assert!(
                    listing.entries.len() == 3 && listing.orphans.is_empty(),
                    "{fault:?} at {at}: {listing:?}"
                );
                if !breaking.has_struck() {
                    break;
                }
                at += 1;
            }
            assert!(at > 10, "{fault:?} struck {at} times only");
        }
    }
}
