//! Pruning a directory store.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::*;
use crate::catalog::testing::walk::{
    DISK_FAULTS, FAULTS, InTurn, Left, breaking, breaking_in_turn, is_healed, look, walk,
};
use crate::catalog::testing::{Repository, record, repository, repository_in, sample};
use crate::catalog::{PIN_FORMAT, Pin, PinAction};
use crate::retain::Period;
use crate::session::SessionId;
use crate::store::plugin::testing::Share;
use crate::store::{DirectoryStore, FailingDisk, Store, list_all};

fn policy(last: u32) -> Policy {
    Policy {
        last: Some(last),
        periods: BTreeMap::new(),
        timezone: TimeZone::UTC,
        max_age: None,
        max_size_bytes: None,
        orphan_grace: Duration::from_hours(24),
    }
}

fn order(policy: &Policy, now: Timestamp, dry_run: bool) -> Order<'_> {
    Order { policy, signing: None, now, dry_run }
}

fn named(repository: &Repository) -> NamedStore {
    crate::pipeline::named("local", std::sync::Arc::new(repository.store.clone()))
}

/// A time at which nothing that lies in the store is young any more.
fn later() -> Timestamp {
    Timestamp::now().checked_add(Duration::from_hours(48)).unwrap()
}

const IDS: [&str; 3] = ["20260101T000000Z-1", "20260102T000000Z-2", "20260103T000000Z-3"];

async fn three_proved() -> Repository {
    three_proved_in(repository()).await
}

async fn three_proved_in(repository: Repository) -> Repository {
    for id in IDS {
        repository.backup(id, Outcome::Passed).await;
    }
    repository
}

fn word(id: &str, action: PinAction) -> Pin {
    Pin {
        format: PIN_FORMAT.to_owned(),
        backup: id.parse().unwrap(),
        session: SessionId::random(),
        at: Timestamp::now(),
        action,
        until: None,
        reason: Some("kept for the audit".to_owned()),
    }
}

async fn pin(repository: &Repository, id: &str, action: PinAction) {
    catalog::add_pin(&repository.store, &word(id, action)).await.unwrap();
}

async fn ids(repository: &Repository) -> Vec<String> {
    let listing = catalog::list(&repository.store).await.unwrap();
    listing.entries.iter().map(|entry| entry.manifest.id.to_string()).collect()
}

#[tokio::test]
async fn what_goes_goes_whole_and_what_stays_stays_whole() {
    let repository = three_proved().await;
    let all = || async { list_all(&repository.store, "").await.unwrap().len() };
    let before = all().await;
    let dry = prune(&named(&repository), &order(&policy(1), later(), true), &CancellationToken::new()).await;
    assert_eq!(all().await, before, "a dry run removed something");
    let done =
        prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert!(done.is_complete(), "{done:?}");
    assert_eq!(
        (&done.removed, done.freed_bytes),
        (&dry.removed, dry.freed_bytes),
        "a dry run says what is done"
    );
    assert_eq!(ids(&repository).await, IDS[2..]);
    // Data, manifest and record of the one that stays.
    assert_eq!(all().await, 3);
    repository.reads_back(IDS[2]).await;
}

#[tokio::test]
async fn a_pin_holds_until_it_is_taken_back() {
    let repository = three_proved().await;
    pin(&repository, IDS[0], PinAction::Pin).await;
    pin(&repository, IDS[1], PinAction::Pin).await;
    pin(&repository, IDS[1], PinAction::Unpin).await;
    let done =
        prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert_eq!(ids(&repository).await, [IDS[0], IDS[2]]);
    assert!(done.backups[2].why().contains("pinned (kept for the audit)"), "{done:?}");
    pin(&repository, IDS[0], PinAction::Unpin).await;
    prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert_eq!(ids(&repository).await, [IDS[2]]);
    assert!(list_all(&repository.store, "pins/").await.unwrap().is_empty(), "pins outlive their backup");
}

#[tokio::test]
async fn a_pin_that_cannot_be_read_holds() {
    let repository = three_proved().await;
    pin(&repository, IDS[0], PinAction::Unpin).await;
    let object = list_all(&repository.store, "pins/").await.unwrap().remove(0);
    std::fs::write(repository.file(object.path.as_str()), b"{ torn").unwrap();
    let done =
        prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert!(!done.is_complete());
    assert!(ids(&repository).await.contains(&IDS[0].to_owned()), "{done:?}");
}

#[tokio::test]
async fn after_a_proof_that_failed_nothing_goes() {
    let repository = three_proved().await;
    catalog::add_record(&repository.store, &record(IDS[2], 90_000, Outcome::Failed)).await.unwrap();
    let done =
        prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert!(done.removed.is_empty() && ids(&repository).await == IDS);
    assert!(done.backups.iter().all(|one| one.why().starts_with("newest backup is not proved")));
}

#[tokio::test]
async fn data_that_two_manifests_name_goes_with_the_last() {
    let repository = three_proved().await;
    let mut twin = sample("20260101T000001Z-1");
    twin.stored = repository.manifest(IDS[2]).await.stored;
    catalog::testing::commit_plain(&repository.store, &twin).await.unwrap();
    prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert_eq!(ids(&repository).await, [IDS[2]]);
    repository.reads_back(IDS[2]).await;
}

#[tokio::test]
async fn only_what_is_abandoned_is_swept() {
    let repository = three_proved().await;
    repository.put("data/20260104T000000Z-dead.db.zst", b"of a run that died").await;
    repository
        .put("records/20250101T000000Z-1/20250101T000000.000Z-x.json", b"of a backup that is gone")
        .await;
    repository.put("elsewhere/README", b"not ours").await;
    let now =
        prune(&named(&repository), &order(&policy(3), Timestamp::now(), false), &CancellationToken::new())
            .await;
    assert_eq!((now.swept.len(), now.young.len()), (0, 2), "what may be being written was swept: {now:?}");
    let later =
        prune(&named(&repository), &order(&policy(3), later(), false), &CancellationToken::new()).await;
    assert_eq!((later.swept.len(), later.young.len()), (2, 0), "{later:?}");
    assert_eq!(list_all(&repository.store, "elsewhere/").await.unwrap().len(), 1);
    assert_eq!(ids(&repository).await, IDS);
}

#[tokio::test]
async fn what_an_unreadable_manifest_may_name_stays() {
    let repository = three_proved().await;
    let data = repository.manifest(IDS[0]).await.stored.path;
    std::fs::write(repository.file(&format!("backups/{}/manifest.json", IDS[0])), b"{ torn").unwrap();
    let done =
        prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert!(!done.is_complete() && done.swept.is_empty(), "{done:?}");
    assert!(repository.file(data.as_str()).exists());
    // What a newer release wrote may need any of the others.
    let newer = br#"{"format": "holdfast-manifest/2"}"#;
    std::fs::write(repository.file(&format!("backups/{}/manifest.json", IDS[0])), newer).unwrap();
    repository.backup("20260104T000000Z-4", Outcome::Passed).await;
    let held =
        prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert!(held.removed.is_empty() && held.error.is_some(), "{held:?}");
}

#[tokio::test]
async fn a_removal_that_is_interrupted_leaves_whole_backups_and_orphans() {
    let repository = three_proved().await;
    // As if the run had died right after the first manifest was gone.
    repository.store.delete(&catalog::manifest_path(&IDS[1].parse().unwrap())).await.unwrap();
    let listing = catalog::list(&repository.store).await.unwrap();
    let orphans: BTreeSet<String> = listing.orphans.iter().map(|object| object.path.to_string()).collect();
    assert_eq!((listing.entries.len(), orphans.len()), (2, 2), "{orphans:?}");
    let mut daily = policy(1);
    daily.periods = BTreeMap::from([(Period::Daily, 7)]);
    let done = prune(&named(&repository), &order(&daily, later(), false), &CancellationToken::new()).await;
    assert_eq!(done.swept.len(), 2, "{done:?}");
    for id in [IDS[0], IDS[2]] {
        repository.reads_back(id).await;
    }
    assert_eq!(list_all(&repository.store, "").await.unwrap().len(), 6);
}

/// A removal over a store that breaks, what it left, and the next one, which ends the work: the newest is all that stays.
async fn breaks_and_heals(repository: &Repository, broken: std::sync::Arc<dyn Store>) -> Left {
    breaks_and_heals_in(repository, broken, named(repository)).await
}

/// The same: `whole` is what the next run goes by.
async fn breaks_and_heals_in(
    repository: &Repository,
    broken: std::sync::Arc<dyn Store>,
    whole: NamedStore,
) -> Left {
    let broken = crate::pipeline::named("broken", broken);
    prune(&broken, &order(&policy(1), later(), false), &CancellationToken::new()).await;
    let newest = [IDS[2].parse().unwrap()];
    let left = look(&repository.store, &newest).await;
    let healed = prune(&whole, &order(&policy(1), later(), false), &CancellationToken::new()).await;
    assert!(healed.is_complete(), "{healed:?}");
    is_healed(&repository.store, &newest).await;
    left
}

/// Every call breaks once, in every way: what is left is whole backups and orphans.
#[tokio::test]
async fn nothing_is_lost_wherever_a_removal_breaks() {
    walk("prune", &FAULTS, 10, async |fault, at| {
        let repository = three_proved().await;
        pin(&repository, IDS[0], PinAction::Unpin).await;
        let breaking = breaking(&repository.store, fault, at);
        let left = breaks_and_heals(&repository, std::sync::Arc::clone(&breaking) as _).await;
        (breaking.has_struck(), left)
    })
    .await;
}

/// EIO and ENOSPC at each change that a removal makes to the disk.
#[tokio::test]
async fn nothing_is_lost_wherever_the_disk_of_a_removal_fails() {
    walk("prune, disk", &DISK_FAULTS, 10, async |fault, at| {
        let repository = three_proved().await;
        let disk = FailingDisk::new(fault, at);
        let broken = DirectoryStore::on(repository.directory.path().to_owned(), &disk);
        let left = breaks_and_heals(&repository, std::sync::Arc::new(broken)).await;
        (disk.has_struck(), left)
    })
    .await;
}

/// A word that was taken holds, one that was refused can be said again, and nothing else changes.
#[tokio::test]
async fn nothing_is_lost_wherever_a_pin_breaks() {
    let all = IDS.map(|id| id.parse::<BackupId>().unwrap());
    walk("pin and unpin", &FAULTS, 4, async |fault, at| {
        let repository = three_proved().await;
        let breaking = breaking(&repository.store, fault, at);
        let pinned = pin::say_in(breaking.as_ref(), &word(IDS[0], PinAction::Pin)).await;
        let unpinned = pin::say_in(breaking.as_ref(), &word(IDS[1], PinAction::Unpin)).await;
        let left = look(&repository.store, &all).await;
        let dry =
            prune(&named(&repository), &order(&policy(1), later(), true), &CancellationToken::new()).await;
        assert!(dry.is_complete() && !dry.removed.contains(&all[2]), "{fault:?} at {at}: {dry:?}");
        assert!(pinned.is_err() || !dry.removed.contains(&all[0]), "{fault:?} at {at}: {dry:?}");
        assert!(unpinned.is_err() || dry.removed.contains(&all[1]), "{fault:?} at {at}: {dry:?}");

        pin(&repository, IDS[0], PinAction::Pin).await;
        prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
        is_healed(&repository.store, &[all[0].clone(), all[2].clone()]).await;
        (breaking.has_struck(), left)
    })
    .await;
}

/// EIO and ENOSPC at each change that a word about keeping a backup makes to the disk.
#[tokio::test]
async fn nothing_is_lost_wherever_the_disk_of_a_pin_fails() {
    let all = IDS.map(|id| id.parse::<BackupId>().unwrap());
    walk("pin and unpin, disk", &DISK_FAULTS, 8, async |fault, at| {
        let repository = three_proved().await;
        let disk = FailingDisk::new(fault, at);
        let broken = DirectoryStore::on(repository.directory.path().to_owned(), &disk);
        let pinned = pin::say_in(&broken, &word(IDS[0], PinAction::Pin)).await;
        let unpinned = pin::say_in(&broken, &word(IDS[1], PinAction::Unpin)).await;
        let left = look(&repository.store, &all).await;
        let dry =
            prune(&named(&repository), &order(&policy(1), later(), true), &CancellationToken::new()).await;
        assert!(dry.is_complete() && !dry.removed.contains(&all[2]), "{fault:?} at {at}: {dry:?}");
        assert!(pinned.is_err() || !dry.removed.contains(&all[0]), "{fault:?} at {at}: {dry:?}");
        assert!(unpinned.is_err() || dry.removed.contains(&all[1]), "{fault:?} at {at}: {dry:?}");

        pin(&repository, IDS[0], PinAction::Pin).await;
        prune(&named(&repository), &order(&policy(1), later(), false), &CancellationToken::new()).await;
        is_healed(&repository.store, &[all[0].clone(), all[2].clone()]).await;
        (disk.has_struck(), left)
    })
    .await;
}

/// Every call of a store that is a plugin breaks, with a real server behind it. What a removal empties it takes away.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_wherever_a_removal_from_a_plugin_breaks() {
    let Some(share) = Share::start().await else { return };
    walk("prune, plugin", &[InTurn], 10, async |_, at| {
        let repository = three_proved_in(repository_in(share.folder())).await;
        pin(&repository, IDS[0], PinAction::Unpin).await;
        let plugin = share.plugin(&repository.directory);
        let breaking = breaking_in_turn(&plugin, at);
        let whole = crate::pipeline::named("plugin", plugin);
        let left = breaks_and_heals_in(&repository, std::sync::Arc::clone(&breaking) as _, whole).await;
        (breaking.has_struck(), left)
    })
    .await;
}

/// The same, of a word about keeping a backup.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_wherever_a_pin_in_a_plugin_breaks() {
    let Some(share) = Share::start().await else { return };
    let all = IDS.map(|id| id.parse::<BackupId>().unwrap());
    walk("pin and unpin, plugin", &[InTurn], 4, async |_, at| {
        let repository = three_proved_in(repository_in(share.folder())).await;
        let plugin = share.plugin(&repository.directory);
        let breaking = breaking_in_turn(&plugin, at);
        let pinned = pin::say_in(breaking.as_ref(), &word(IDS[0], PinAction::Pin)).await;
        let unpinned = pin::say_in(breaking.as_ref(), &word(IDS[1], PinAction::Unpin)).await;
        let left = look(&repository.store, &all).await;
        let whole = crate::pipeline::named("plugin", plugin);
        let dry = prune(&whole, &order(&policy(1), later(), true), &CancellationToken::new()).await;
        let label = format!("{:?} at {at}: {dry:?}", InTurn::fault(at));
        assert!(dry.is_complete() && !dry.removed.contains(&all[2]), "{label}");
        assert!(pinned.is_err() || !dry.removed.contains(&all[0]), "{label}");
        assert!(unpinned.is_err() || dry.removed.contains(&all[1]), "{label}");
        (breaking.has_struck(), left)
    })
    .await;
}

/// Signed removals, with an inventory written first: wherever one breaks, nothing that it removed is missing, and what it did not
/// remove is not forgotten.
#[tokio::test]
async fn no_removal_that_breaks_is_taken_for_a_theft() {
    let scratch = tempfile::tempdir().unwrap();
    walk("prune, signed", &FAULTS, 12, async |fault, at| {
        let (repository, key) = (three_proved().await, SigningKey::generate());
        for id in IDS {
            catalog::sign(&repository.store, &repository.manifest(id).await, &key).await.unwrap();
        }
        let trust = catalog::Trust {
            keys: vec![key.public().clone()],
            clusters: vec![repository.manifest(IDS[0]).await.cluster.name],
        };
        let trust = std::sync::Arc::new(trust);
        let trusted = |store: std::sync::Arc<dyn Store>| NamedStore {
            store: std::sync::Arc::new(catalog::TrustedStore::new(store, std::sync::Arc::clone(&trust))),
            guard: Some(scratch.path().join(format!("{fault:?}-{at}"))),
            name: "local".to_owned(),
        };
        let breaking = breaking(&repository.store, fault, at);
        let signed = policy(1);
        let signed = Order { signing: Some(&key), ..order(&signed, later(), false) };
        prune(&trusted(std::sync::Arc::clone(&breaking) as _), &signed, &CancellationToken::new()).await;
        let whole = trusted(std::sync::Arc::new(repository.store.clone()));
        let missing = async || {
            let listing = catalog::list(whole.store.as_ref()).await.unwrap();
            inventory::gaps(&whole, &listing).await.unwrap()
        };
        assert_eq!(missing().await, [], "{fault:?} at {at}");
        let left = look(&repository.store, &[IDS[2].parse().unwrap()]).await;
        let healed = prune(&whole, &signed, &CancellationToken::new()).await;
        assert!(healed.is_complete(), "{fault:?} at {at}: {healed:?}");
        assert_eq!(missing().await, []);
        is_healed(&repository.store, &[IDS[2].parse().unwrap()]).await;
        (breaking.has_struck(), left)
    })
    .await;
}
