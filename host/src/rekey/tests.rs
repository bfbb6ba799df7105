//! Encrypting the backups of directory stores anew.

use std::io::Write as _;
use std::sync::Arc;

use super::*;
use crate::catalog::testing::walk::{DISK_FAULTS, FAULTS, InTurn, breaking, breaking_in_turn};
use crate::catalog::testing::{Repository, commit_plain, packed, record, repository, repository_in};
use crate::pack::NewIdentity;
use crate::progress::Silent;
use crate::store::plugin::testing::Share;
use crate::store::{DirectoryStore, FailingDisk, Store, list_all};

const IDS: [&str; 3] = ["20260101T000000Z-1", "20260102T000000Z-2", "20260103T000000Z-3"];

struct Keys {
    old: NewIdentity,
    new: NewIdentity,
    signing: Option<SigningKey>,
}

fn keys(signed: bool) -> Keys {
    Keys { old: pack::new_identity(), new: pack::new_identity(), signing: signed.then(SigningKey::generate) }
}

fn options(key: &NewIdentity) -> pack::Options {
    pack::Options { recipients: vec![key.recipient.clone()], ..pack::Options::default() }
}

/// One backup that is not encrypted, one to the old key, one to the new.
async fn mixed(keys: &Keys) -> Repository {
    mixed_in(repository(), keys).await
}

async fn mixed_in(repository: Repository, keys: &Keys) -> Repository {
    for (id, options) in
        IDS.into_iter().zip([pack::Options::default(), options(&keys.old), options(&keys.new)])
    {
        let (mut manifest, bytes) = packed(id, &options);
        manifest.pack.encryption = if options.is_encrypted() { "age" } else { "none" }.to_owned();
        manifest.pack.recipients = options.readers();
        repository.put(manifest.stored.path.as_str(), &bytes).await;
        let sealed = catalog::seal(&manifest, keys.signing.as_ref()).unwrap();
        catalog::commit(&repository.store, &sealed).await.unwrap();
        catalog::add_record(&repository.store, &record(id, 0, etcd_snapshot::Outcome::Passed)).await.unwrap();
    }
    repository
}

/// The store as a machine reads it that trusts the signing key, if there is one.
fn trusting(keys: &Keys, store: Arc<dyn Store>) -> NamedStore {
    let store = match &keys.signing {
        None => store,
        Some(key) => {
            let clusters = vec![crate::catalog::testing::sample(IDS[0]).cluster.name];
            let trust = catalog::Trust { keys: vec![key.public().clone()], clusters };
            Arc::new(catalog::TrustedStore::new(store, Arc::new(trust)))
        }
    };
    crate::pipeline::named("store", store)
}

fn ids() -> Vec<BackupId> {
    IDS.iter().rev().map(|id| id.parse().unwrap()).collect()
}

async fn run(keys: &Keys, stores: &[NamedStore], scratch: &Path, dry_run: bool) -> Vec<Rekeyed> {
    let (pack, identities) = (options(&keys.new), [keys.old.identity(), keys.new.identity()]);
    let order =
        Order { signing: keys.signing.as_ref(), dry_run, ..order(stores, &pack, &identities, scratch) };
    rekey(&order, &ids(), &CancellationToken::new()).await
}

fn order<'a>(
    stores: &'a [NamedStore],
    pack: &'a pack::Options,
    identities: &'a [Identity],
    scratch: &'a Path,
) -> Order<'a> {
    let (clock, progress) = (Timestamp::now as Clock, &Silent);
    Order { stores, pack, identities, signing: None, scratch, dry_run: false, clock, progress }
}

fn done(all: &[Rekeyed]) -> Vec<Done> {
    all.iter().map(|one| one.done).collect()
}

#[tokio::test]
async fn what_is_not_for_the_new_key_is_made_so_and_nothing_else_is_left() {
    for signed in [false, true] {
        let keys = keys(signed);
        let repository = mixed(&keys).await;
        let scratch = tempfile::tempdir().unwrap();
        let stores = [trusting(&keys, Arc::new(repository.store.clone()))];
        let before = list_all(&repository.store, "").await.unwrap();
        let dry = run(&keys, &stores, scratch.path(), true).await;
        assert_eq!(done(&dry), [Done::Current, Done::Encrypted, Done::Encrypted]);
        assert_eq!(list_all(&repository.store, "").await.unwrap(), before, "a dry run wrote something");
        let did = run(&keys, &stores, scratch.path(), false).await;
        assert_eq!(done(&did), done(&dry), "{did:?}");
        assert!(did.iter().all(|one| one.error.is_none()), "{did:?}");
        for id in IDS {
            repository.reads_back_with(stores[0].store.as_ref(), id, &[keys.new.identity()]).await;
        }
        assert_eq!(list_all(&repository.store, "data/").await.unwrap().len(), 3, "old data was left");
        let listing = catalog::list(stores[0].store.as_ref()).await.unwrap();
        assert!(listing.orphans.is_empty() && listing.unreadable.is_empty(), "{listing:?}");
        assert_eq!(listing.entries[0].manifest.edition, 2);
        assert!(listing.entries[0].manifest.repacked.is_some());
        assert_eq!(done(&run(&keys, &stores, scratch.path(), false).await), [Done::Current; 3]);
    }
}

#[tokio::test]
async fn the_other_stores_get_the_same_bytes() {
    let keys = keys(true);
    let (one, other) = (mixed(&keys).await, repository());
    let scratch = tempfile::tempdir().unwrap();
    for object in list_all(&one.store, "").await.unwrap() {
        let bytes = std::fs::read(one.file(object.path.as_str())).unwrap();
        other.put(object.path.as_str(), &bytes).await;
    }
    // The first copy of the second backup is damaged: the other store's is packed anew, and heals it.
    let damaged = one.manifest(IDS[1]).await.stored.path;
    std::fs::write(one.file(damaged.as_str()), b"not what it was").unwrap();
    let mut stores =
        [trusting(&keys, Arc::new(one.store.clone())), trusting(&keys, Arc::new(other.store.clone()))];
    stores[1].name = "other".to_owned();
    let did = run(&keys, &stores, scratch.path(), false).await;
    assert!(did.iter().all(|one| one.done != Done::Failed && one.error.is_none()), "{did:?}");
    for id in IDS {
        for store in &stores {
            one.reads_back_with(store.store.as_ref(), id, &[keys.new.identity()]).await;
        }
        let [here, there] = [one.manifest(id).await, other.manifest(id).await];
        assert_eq!(here.stored, there.stored, "{id}");
    }
    for repository in [&one, &other] {
        assert_eq!(list_all(&repository.store, "data/").await.unwrap().len(), 3, "old data was left");
    }
}

/// A sync brings the new form, and tells of the earlier data that is still there; a machine that reads it takes that away.
#[tokio::test]
async fn a_sync_without_the_key_tells_of_the_data_that_it_leaves() {
    let keys = keys(false);
    let (here, there) = (mixed(&keys).await, repository());
    let scratch = tempfile::tempdir().unwrap();
    let named = |name: &str, repository: &Repository| {
        crate::pipeline::named(name, Arc::new(repository.store.clone()))
    };
    let (source, target) = (named("here", &here), named("there", &there));
    let never = CancellationToken::new();
    let bring = async || {
        let target = sync::Target { named: &target, policy: None, signing: None };
        sync::sync(&target, std::slice::from_ref(&source), Timestamp::now(), &Silent, &never).await
    };
    let first = bring().await;
    assert!(
        first.copied.len() == 3 && first.copied.iter().all(|one| one.earlier_data.is_empty()),
        "{first:?}"
    );
    let earlier: Vec<_> = [IDS[0], IDS[1]].map(|id| here.manifest(id)).into();
    let mut earlier: Vec<_> =
        futures::future::join_all(earlier).await.into_iter().map(|one| one.stored.path).collect();
    run(&keys, std::slice::from_ref(&source), scratch.path(), false).await;
    let second = bring().await;
    assert!(second.errors.is_empty(), "{second:?}");
    let mut told: Vec<_> = second.copied.iter().flat_map(|one| one.earlier_data.clone()).collect();
    earlier.sort();
    told.sort();
    assert_eq!(told, earlier);
    let orphans = catalog::list(&there.store).await.unwrap().orphans;
    assert_eq!(orphans.into_iter().map(|object| object.path).collect::<Vec<_>>(), earlier);
    run(&keys, std::slice::from_ref(&target), scratch.path(), false).await;
    assert!(catalog::list(&there.store).await.unwrap().orphans.is_empty());
}

#[tokio::test]
async fn without_the_old_key_nothing_changes() {
    let keys = keys(false);
    let repository = mixed(&keys).await;
    let scratch = tempfile::tempdir().unwrap();
    let stores = [trusting(&keys, Arc::new(repository.store.clone()))];
    let stranger = Keys { old: pack::new_identity(), new: pack::new_identity(), signing: None };
    let before = list_all(&repository.store, "").await.unwrap();
    let did = run(&stranger, &stores, scratch.path(), false).await;
    // The one that is not encrypted is anybody's to encrypt.
    assert_eq!(done(&did), [Done::Failed, Done::Failed, Done::Encrypted], "{did:?}");
    assert!(did[0].error.as_ref().unwrap().contains("none of the 2 identities"), "{did:?}");
    let after = list_all(&repository.store, "").await.unwrap();
    assert_eq!(after.len(), before.len() + 1, "one edition more, one data for another: {after:?}");
}

#[tokio::test]
async fn what_is_damaged_is_told_and_stays() {
    let keys = keys(false);
    let repository = mixed(&keys).await;
    let scratch = tempfile::tempdir().unwrap();
    // Stored well, and unpacks to something else than its manifest says.
    let (mut wrong, bytes) = packed("20260104T000000Z-4", &pack::Options::default());
    wrong.plain.sha256 = "0".repeat(64);
    repository.put(wrong.stored.path.as_str(), &bytes).await;
    commit_plain(&repository.store, &wrong).await.unwrap();
    let stores = [trusting(&keys, Arc::new(repository.store.clone()))];
    let pack = options(&keys.new);
    let identities = [keys.old.identity()];
    let order = order(&stores, &pack, &identities, scratch.path());
    let did = rekey(&order, std::slice::from_ref(&wrong.id), &CancellationToken::new()).await;
    assert!(did[0].error.as_ref().unwrap().contains("the manifest says 0000"), "{did:?}");
    assert!(repository.store.head(&wrong.stored.path).await.unwrap().is_some());
    assert!(catalog::list(&repository.store).await.unwrap().orphans.is_empty());
}

/// Every call breaks once, in every way: what is committed is whole and opens with the one key or the other, and the next
/// run ends the work.
/// Encrypts anew in a store that breaks, looks at what is left, and lets the next run end the work.
async fn breaks_and_heals(
    label: &str,
    keys: &Keys,
    repository: &Repository,
    broken: Arc<dyn Store>,
    whole: Arc<dyn Store>,
    scratch: &Path,
) {
    let both = [keys.old.identity(), keys.new.identity()];
    run(keys, &[trusting(keys, broken)], scratch, false).await;
    let sound = [trusting(keys, whole)];
    let store = sound[0].store.as_ref();
    let listing = catalog::list(store).await.unwrap();
    assert!(listing.unreadable.is_empty(), "{label}: {:?}", listing.unreadable);
    assert_eq!(listing.entries.len(), 3, "{label}");
    for id in IDS {
        repository.reads_back_with(store, id, &both).await;
    }
    let healed = run(keys, &sound, scratch, false).await;
    assert!(healed.iter().all(|one| one.error.is_none()), "{label}: {healed:?}");
    for id in IDS {
        repository.reads_back_with(store, id, &both[1..]).await;
    }
    let listing = catalog::list(store).await.unwrap();
    assert!(listing.orphans.is_empty(), "{label}: {:?}", listing.orphans);
    assert_eq!(list_all(&repository.store, "data/").await.unwrap().len(), 3, "{label}");
}

#[tokio::test]
async fn nothing_is_lost_wherever_it_breaks() {
    let mut tried = Vec::new();
    for fault in FAULTS {
        let mut at = 1;
        loop {
            let (keys, scratch) = (keys(true), tempfile::tempdir().unwrap());
            let repository = mixed(&keys).await;
            let breaking = breaking(&repository.store, fault, at);
            let label = format!("{fault:?} at {at}");
            let whole = Arc::new(repository.store.clone());
            let broken = Arc::clone(&breaking) as _;
            breaks_and_heals(&label, &keys, &repository, broken, whole, scratch.path()).await;
            if !breaking.has_struck() {
                break;
            }
            at += 1;
        }
        tried.push((fault, at - 1));
    }
    tell("rekey", &tried);
    assert!(tried.iter().all(|(_, points)| *points >= 20), "{tried:?}");
}

/// Every call of a store that is a plugin, with a real server behind it, in the way whose turn it is.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_wherever_a_plugin_breaks() {
    let Some(share) = Share::start().await else { return };
    let mut at = 1;
    loop {
        let (keys, scratch) = (keys(true), tempfile::tempdir().unwrap());
        let repository = mixed_in(repository_in(share.folder()), &keys).await;
        let plugin = share.plugin(&repository.directory);
        let breaking = breaking_in_turn(&plugin, at);
        let label = format!("{:?} at {at}", InTurn::fault(at));
        let broken = Arc::clone(&breaking) as _;
        breaks_and_heals(&label, &keys, &repository, broken, plugin, scratch.path()).await;
        if !breaking.has_struck() {
            break;
        }
        at += 1;
    }
    tell("rekey, plugin", &[(InTurn, at - 1)]);
    assert!(at > 20, "{at}");
}

/// EIO and ENOSPC at each change to the disk.
#[tokio::test]
async fn nothing_is_lost_wherever_the_disk_fails() {
    let mut tried = Vec::new();
    for fault in DISK_FAULTS {
        let mut at = 1;
        loop {
            let (keys, scratch) = (keys(true), tempfile::tempdir().unwrap());
            let repository = mixed(&keys).await;
            let disk = FailingDisk::new(fault, at);
            let broken = DirectoryStore::on(repository.directory.path().to_owned(), &disk);
            let label = format!("{fault:?} at {at}");
            let whole = Arc::new(repository.store.clone());
            breaks_and_heals(&label, &keys, &repository, Arc::new(broken), whole, scratch.path()).await;
            if !disk.has_struck() {
                break;
            }
            at += 1;
        }
        tried.push((fault, at - 1));
    }
    tell("rekey, disk", &tried);
    assert!(tried.iter().all(|(_, points)| *points >= 20), "{tried:?}");
}

fn tell(run: &str, tried: &[(impl std::fmt::Debug, u64)]) {
    for (fault, points) in tried {
        writeln!(std::io::stderr(), "{run:<24} {:<12} {points:>7} {:>8} {:>7}", format!("{fault:?}"), "-", 0)
            .unwrap();
    }
}

#[tokio::test]
async fn another_passphrase_is_found_out() {
    let keys = keys(false);
    let repository = mixed(&keys).await;
    let scratch = tempfile::tempdir().unwrap();
    let stores = [trusting(&keys, Arc::new(repository.store.clone()))];
    let identity = |text: &str| Identity::passphrase(crate::secret::Secret::new(text.to_owned()));
    for (text, expected) in
        [("first", Done::Encrypted), ("first", Done::Current), ("second", Done::Encrypted)]
    {
        let passphrase = Some(crate::secret::Secret::new(text.to_owned()));
        let pack = pack::Options { passphrase, ..pack::Options::default() };
        let identities = [keys.old.identity(), identity("first"), identity(text)];
        let order = order(&stores, &pack, &identities, scratch.path());
        let did = rekey(&order, &ids()[1..2], &CancellationToken::new()).await;
        assert_eq!(done(&did), [expected], "{text}: {did:?}");
    }
    repository.reads_back_with(&repository.store, IDS[1], &[identity("second")]).await;
}
