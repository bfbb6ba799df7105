//! Copying between directory stores.

use std::fs;
use std::sync::Arc;

use etcd_snapshot::Outcome;
use jiff::tz::TimeZone;

use super::*;
use crate::catalog::testing::walk::{
    DISK_FAULTS, FAULTS, InTurn, breaking, breaking_in_turn, is_healed, look, walk,
};
use crate::catalog::testing::{Repository, record, repository, repository_in};
use crate::progress::Silent;
use crate::store::plugin::testing::Share;
use crate::store::{DirectoryStore, FailingDisk, list_all};

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
    let target = Target { named: target, policy, signing: None };
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
    catalog::testing::commit_plain(&to.store, &other).await.unwrap();
    let error = copy(&from.store, &to.store, &IDS[0].parse().unwrap(), Timestamp::now(), &Silent).await;
    assert!(matches!(error, Err(SyncError::Conflict { .. })), "{error:?}");
}

/// A backup that failed its proof in one store must not count as good in the other: a prune there would go by it.
#[tokio::test]
async fn proofs_and_pins_that_came_later_are_brought_and_verdicts_on_one_copy_are_not() {
    let (from, to) = (three().await, repository());
    let (source, target) = (named("from", from.store.clone()), named("to", to.store.clone()));
    bring(&target, None, &source).await;
    catalog::add_record(&from.store, &record(IDS[0], 100, Outcome::Failed)).await.unwrap();
    let mut session = crate::session::Session::begin(Timestamp::now);
    let id = IDS[1].parse().unwrap();
    let of_the_copy = verify::damaged(&id, "a bit has flipped".to_owned(), true, &mut session);
    catalog::add_record(&from.store, &of_the_copy).await.unwrap();
    let pin = catalog::Pin {
        format: catalog::PIN_FORMAT.to_owned(),
        backup: IDS[2].parse().unwrap(),
        session: crate::session::SessionId::random(),
        at: Timestamp::now(),
        action: catalog::PinAction::Pin,
        until: None,
        reason: None,
    };
    catalog::add_pin(&from.store, &pin).await.unwrap();

    let synced = bring(&target, None, &source).await;
    assert_eq!((synced.documents, synced.copied.len()), (2, 0), "{synced:?}");
    let listing = catalog::list(&to.store).await.unwrap();
    let proofs: Vec<retain::Proof> = listing.entries.iter().map(prune::proof).collect();
    assert_eq!(proofs, [retain::Proof::Failed, retain::Proof::Passed, retain::Proof::Passed]);
    assert_eq!(listing.entries[2].pins, [pin]);
    assert_eq!(bring(&target, None, &source).await.documents, 0);

    // A store that gets the backup only now does not take the copy's verdict over either.
    let third = repository();
    bring(&named("third", third.store.clone()), None, &source).await;
    let listing = catalog::list(&third.store).await.unwrap();
    let proofs: Vec<retain::Proof> = listing.entries.iter().map(prune::proof).collect();
    assert_eq!(proofs, [retain::Proof::Failed, retain::Proof::Passed, retain::Proof::Passed]);
}

/// Another backup of the same id is not judged by the proofs of this one.
#[tokio::test]
async fn proofs_of_another_backup_of_the_same_id_are_not_brought() {
    let (from, to) = (three().await, repository());
    let mut other = from.manifest(IDS[0]).await;
    other.plain.sha256 = "0".repeat(64);
    catalog::testing::commit_plain(&to.store, &other).await.unwrap();
    bring(&named("to", to.store.clone()), None, &named("from", from.store.clone())).await;
    assert!(catalog::records(&to.store, &other.id).await.unwrap().is_empty());
}

/// Every call of either side breaks once: what is committed is whole, what is not is an orphan, and the next run heals.
#[tokio::test]
async fn nothing_is_lost_wherever_it_breaks() {
    let all = IDS.map(|id| id.parse::<BackupId>().unwrap());
    let from = three().await;
    let good = named("from", from.store.clone());
    for source_breaks in [false, true] {
        let run = if source_breaks { "sync, the source breaks" } else { "sync, the target breaks" };
        walk(run, &FAULTS, 10, async |fault, at| {
            let to = repository();
            let breaking = breaking(if source_breaks { &from.store } else { &to.store }, fault, at);
            let broken = crate::pipeline::named("broken", Arc::clone(&breaking) as _);
            let (source, target) =
                if source_breaks { (broken, named("to", to.store.clone())) } else { (good.clone(), broken) };
            bring(&target, None, &source).await;
            let left = look(&to.store, &[]).await;
            let healed = bring(&named("to", to.store.clone()), None, &good).await;
            assert!(healed.errors.is_empty(), "{fault:?} at {at}: {healed:?}");
            is_healed(&to.store, &all).await;
            (breaking.has_struck(), left)
        })
        .await;
    }
    // Who is copied from is only read.
    is_healed(&from.store, &all).await;
}

/// EIO and ENOSPC at each change that a copy makes to the disk of its target.
#[tokio::test]
async fn nothing_is_lost_wherever_the_disk_of_the_target_fails() {
    let from = repository();
    from.backup(IDS[0], Outcome::Passed).await;
    let source = named("from", from.store.clone());
    walk("sync, disk", &DISK_FAULTS, 20, async |fault, at| {
        let to = repository();
        let disk = FailingDisk::new(fault, at);
        let broken = DirectoryStore::on(to.directory.path().to_owned(), &disk);
        bring(&named("to", broken), None, &source).await;
        let left = look(&to.store, &[]).await;
        let healed = bring(&named("to", to.store.clone()), None, &source).await;
        assert!(healed.errors.is_empty(), "{fault:?} at {at}: {healed:?}");
        is_healed(&to.store, &[IDS[0].parse().unwrap()]).await;
        (disk.has_struck(), left)
    })
    .await;
}

/// Every call of a target that is a plugin breaks, with a real server behind it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_wherever_a_target_that_is_a_plugin_breaks() {
    let Some(share) = Share::start().await else { return };
    let from = repository();
    from.backup(IDS[0], Outcome::Passed).await;
    let source = named("from", from.store.clone());
    walk("sync, to a plugin", &[InTurn], 8, async |_, at| {
        let to = repository_in(share.folder());
        let plugin = share.plugin(&to.directory);
        let breaking = breaking_in_turn(&plugin, at);
        bring(&crate::pipeline::named("broken", Arc::clone(&breaking) as _), None, &source).await;
        let left = look(&to.store, &[]).await;
        let healed = bring(&crate::pipeline::named("to", plugin), None, &source).await;
        assert!(healed.errors.is_empty(), "{:?} at {at}: {healed:?}", InTurn::fault(at));
        is_healed(&to.store, &[IDS[0].parse().unwrap()]).await;
        (breaking.has_struck(), left)
    })
    .await;
}
