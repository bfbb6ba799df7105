//! The catalog and the retention rules on a real S3 server: many backups, listed with and without what is remembered; locked ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use etcd_snapshot::Outcome;
use futures::StreamExt;
use holdfast_tests::relay::{Fault, Request};
use holdfast_tests::s3::Server;
use holdfast_tests::toxiproxy::Toxiproxy;
use holdfast_tests::wait::LIMIT;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{BUCKET, Options, Site, body, options, store};
use crate::catalog::testing::{packed, record, sample};
use crate::catalog::{self, BackupId, Manifest};
use crate::check;
use crate::pack;
use crate::progress::Silent;
use crate::prune::{Order, prune};
use crate::rekey;
use crate::retain::{Policy, Reason};
use crate::signing::SigningKey;
use crate::store::s3::{Lock, LockMode, READS_AT_ONCE, S3Store};
use crate::store::{CachedStore, Store};

/// Requests side by side while the bucket is filled.
const WRITERS: usize = 48;

/// A backup with its data and a proof, as far as a listing looks.
async fn add(store: &S3Store, number: i64) -> Manifest {
    let id = BackupId::new(Timestamp::from_second(1_790_000_000 + number).unwrap(), number).to_string();
    let mut manifest = sample(&id);
    manifest.stored.path = catalog::data_path(manifest.id.time(), &manifest.session, false);
    store.put(&manifest.stored.path, body(b"x".to_vec())).await.unwrap();
    catalog::testing::commit_plain(store, &manifest).await.unwrap();
    catalog::add_record(store, &record(&id, number, Outcome::Passed)).await.unwrap();
    manifest
}

/// What a listing comes to, as JSON: entries, then what is wrong.
fn told(listing: &catalog::Listing) -> (Vec<serde_json::Value>, Vec<String>, usize) {
    let entries = listing.entries.iter().map(|entry| json!(entry)).collect();
    (entries, listing.unreadable.iter().map(ToString::to_string).collect(), listing.orphans.len())
}

/// `HOLDFAST_TEST_BACKUPS=10000` tells how long a listing of so many takes: cold, remembered, and over a network where each
/// answer takes 20 ms.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_of_many_backups_is_what_is_there() {
    let Some(site) = Site::new(|_| Fault::None) else { return };
    let asked = std::env::var("HOLDFAST_TEST_BACKUPS").ok().and_then(|count| count.parse().ok());
    let count: i64 = asked.unwrap_or(40);
    let direct = site.direct();
    let filling = futures::stream::iter(0..count).map(|number| add(&direct, number));
    assert_eq!(filling.buffer_unordered(WRITERS).count().await as i64, count);
    let cache = tempfile::tempdir().unwrap();
    let tell = |what: &str, begun: Instant| {
        // Told to who asks, not judged.
        if asked.is_some() {
            writeln!(std::io::stderr(), "{count} backups in S3, {what}: {:?}", begun.elapsed()).unwrap();
        }
    };
    let list = async |what: &str, inner: S3Store| {
        let begun = Instant::now();
        let cached = CachedStore::open(Arc::new(inner), cache.path());
        let listing = catalog::list(&cached).await.unwrap();
        cached.save();
        tell(what, begun);
        (told(&listing), cached.read())
    };
    let begun = Instant::now();
    let plain = told(&catalog::list(&direct).await.unwrap());
    tell("without a cache", begun);
    assert_eq!((plain.0.len() as i64, plain.1.len()), (count, 0), "{:?}", plain.1);

    let documents = 2 * count as u64;
    assert_eq!(list("cold", site.direct()).await, (plain.clone(), documents));
    assert_eq!(list("remembered", site.direct()).await, (plain, 0));
    if asked.is_some() {
        let Some(proxy) = Toxiproxy::to(site.server.port()) else { return };
        proxy.spoil("latency", "downstream", 1.0, &json!({"latency": 20}));
        let far = || store(options(&proxy.endpoint(), site.keys.path()));
        let begun = Instant::now();
        catalog::list(&far()).await.unwrap();
        tell("20 ms away, without a cache", begun);
        list("20 ms away, cold", far()).await;
        list("20 ms away, remembered", far()).await;
    }

    // A manifest that was removed and planted anew, of the same size; a proof that was added; a backup that went.
    let ids: Vec<BackupId> = catalog::ids(&direct).await.unwrap().into_iter().collect();
    let planted = catalog::manifest_path(&ids[0]);
    let bytes = crate::store::read_small(&direct, &planted, 1 << 20).await.unwrap();
    let other = String::from_utf8(bytes).unwrap().replace("passed", "failed");
    direct.delete(&planted).await.unwrap();
    direct.put(&planted, body(other.into_bytes())).await.unwrap();
    catalog::add_record(&direct, &record(&ids[1].to_string(), 99, Outcome::Failed)).await.unwrap();
    let gone = catalog::manifest(&direct, &ids[2]).await.unwrap().unwrap();
    catalog::remove(&direct, &gone, false).await.unwrap();
    let plain = told(&catalog::list(&direct).await.unwrap());
    assert_eq!(list("after changes", site.direct()).await, (plain, 2));
}

/// What holds requests back until something else has come.
#[derive(Default)]
struct Gate {
    /// How many have come of each kind.
    came: Mutex<BTreeMap<&'static str, usize>>,
    more: Condvar,
}

impl Gate {
    fn comes(&self, what: &'static str) {
        *self.came.lock().unwrap().entry(what).or_default() += 1;
        self.more.notify_all();
    }

    /// Whether so many have come.
    fn waits_for(&self, what: &'static str, count: usize) -> bool {
        let came = self.came.lock().unwrap();
        let is_short = |came: &mut BTreeMap<&str, usize>| came.get(what).is_none_or(|came| *came < count);
        !self.more.wait_timeout_while(came, LIMIT, is_short).unwrap().1.timed_out()
    }
}

/// Whether a request lists what lies in one of the catalog's folders.
fn lists(request: &Request, folder: &str) -> bool {
    request.target.contains("list-type=2")
        && request.target.contains(&format!("prefix=prod%2Feu%2F{folder}%2F"))
}

/// Whether it reads an object that is called so.
fn reads(request: &Request, name: &str) -> bool {
    request.is_range() && request.target.contains(name)
}

/// Where the objects of a server's bucket lie as files: many are written faster so.
fn files_of(server: &Server) -> PathBuf {
    server.folder(BUCKET).join("prod/eu")
}

fn plant(folder: &Path, name: &str, bytes: &[u8]) {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

/// A backup with its data and a proof.
fn plant_backup(folder: &Path, number: i64) -> BackupId {
    let id = BackupId::new(Timestamp::from_second(1_790_000_000 + number).unwrap(), number);
    let mut manifest = sample(&id.to_string());
    manifest.stored.path = catalog::data_path(id.time(), &manifest.session, false);
    plant(folder, manifest.stored.path.as_str(), b"x");
    plant(folder, &format!("backups/{id}/manifest.json"), json!(manifest).to_string().as_bytes());
    let record = json!(record(&id.to_string(), number, Outcome::Passed)).to_string();
    plant(folder, &format!("records/{id}/1.json"), record.as_bytes());
    id
}

/// Round trips do not add up: as many documents as are good for a bucket are on their way at once, and none of them waits for the last page
/// of a listing. Each is asked for once, and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn documents_are_read_side_by_side_while_their_names_are_listed() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let Some(site) = Site::new(move |request| {
        let goes_on = if request.is_range() {
            held.comes("document");
            if request.target.contains("/records/") {
                held.comes("record");
            }
            // None is answered before all are on their way.
            held.waits_for("document", READS_AT_ONCE)
        } else if lists(request, "records") && request.target.contains("start-after") {
            held.comes("page");
            held.waits_for("record", 1)
        } else {
            true
        };
        if goes_on { Fault::None } else { Fault::Answer(400, "nothing else has come".to_owned()) }
    }) else {
        return;
    };
    let folder = files_of(&site.server);
    let count = READS_AT_ONCE as i64 / 2 + 2;
    for number in 0..count {
        plant_backup(&folder, number);
    }
    // Somebody else's objects fill the page.
    for number in 0..1000 {
        plant(&folder, &format!("records/somebody/{number}"), b"");
    }
    let listing = catalog::list(&store(site.options())).await.unwrap();
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable.first());
    assert_eq!((listing.entries.len() as i64, listing.orphans.len()), (count, 0));
    assert!(listing.entries.iter().all(|entry| entry.records.len() == 1));
    let requests = site.relay.requests();
    let documents = requests.iter().filter(|request| request.is_range()).count() as i64;
    let pages = requests.iter().filter(|request| request.target.contains("list-type=2")).count();
    assert_eq!((documents, pages, requests.len() as i64), (2 * count, 5, 2 * count + 5));
}

/// A check that reads nothing asks for many objects at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_glance_at_many_backups_waits_for_no_round_trip_twice() {
    const BACKUPS: usize = 30;
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let Some(site) = Site::new(move |request| {
        if request.method != "HEAD" {
            return Fault::None;
        }
        held.comes("look");
        if held.waits_for("look", BACKUPS) { Fault::None } else { Fault::Answer(400, String::new()) }
    }) else {
        return;
    };
    let folder = files_of(&site.server);
    let ids: Vec<BackupId> = (0..BACKUPS as i64).map(|number| plant_backup(&folder, number)).collect();
    let named = crate::pipeline::named("far", Arc::new(store(site.options())));
    let order = check::Order {
        reading: check::Reading::None,
        identities: &[],
        clock: Timestamp::now,
        progress: &Silent,
    };
    let checked = check::check(&named, &order, &CancellationToken::new()).await;
    assert!(checked.errors.is_empty(), "{:?}", checked.errors);
    // Each is of another size than its manifest says, and is told in the order of ids.
    let told: Vec<&BackupId> = checked.damaged.iter().map(|damage| &damage.backup).collect();
    assert_eq!(told, ids.iter().collect::<Vec<_>>());
}

/// A manifest and its signature are asked for at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_does_not_wait_for_its_manifest() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let Some(site) = Site::new(move |request| {
        let goes_on = if reads(request, ".minisig") {
            held.comes("signature");
            true
        } else {
            !reads(request, "manifest.json") || held.waits_for("signature", 1)
        };
        if goes_on { Fault::None } else { Fault::Answer(400, "nothing else has come".to_owned()) }
    }) else {
        return;
    };
    let key = SigningKey::generate();
    let manifest = sample("20261121T030000Z-1");
    catalog::commit(&site.direct(), &catalog::seal(&manifest, Some(&key)).unwrap()).await.unwrap();
    let trust = catalog::Trust { keys: vec![key.public().clone()], clusters: vec![manifest.cluster.name] };
    let trusting = catalog::TrustedStore::new(Arc::new(store(site.options())), Arc::new(trust));
    let listing = catalog::list(&trusting).await.unwrap();
    assert_eq!((listing.entries.len(), listing.unreadable.len()), (1, 0), "{:?}", listing.unreadable);
}

/// Data is listed while manifests are: what is committed in between is a backup, and no orphan.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_while_the_store_is_listed_is_no_orphan() {
    let gate = Arc::new(Gate::default());
    let (held, late) = (Arc::clone(&gate), Arc::new(OnceLock::new()));
    let committed: Arc<OnceLock<PathBuf>> = Arc::clone(&late);
    let Some(site) = Site::new(move |request| {
        if reads(request, "manifest.json") {
            // By then the manifests are listed.
            held.comes("manifest");
        } else if lists(request, "data") && held.waits_for("manifest", 1) {
            plant_backup(late.get().unwrap(), 2);
        }
        Fault::None
    }) else {
        return;
    };
    let folder = files_of(&site.server);
    committed.set(folder.clone()).unwrap();
    let first = plant_backup(&folder, 1);
    plant(&folder, "data/20260101T000000Z-0000000000000000.db.zst", b"left");
    let listing = catalog::list(&store(site.options())).await.unwrap();
    let orphans: Vec<&str> = listing.orphans.iter().map(|orphan| orphan.path.as_str()).collect();
    assert_eq!(orphans, ["data/20260101T000000Z-0000000000000000.db.zst"]);
    let ids: Vec<&BackupId> = listing.entries.iter().map(|entry| &entry.manifest.id).collect();
    assert!(ids.len() == 2 && *ids[0] == first, "{ids:?}");
    assert_eq!(listing.committed.len(), 2);
}

fn later() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(48)
}

/// The rules leave a backup alone while its store keeps it locked, and say until when; afterwards it goes.
#[tokio::test]
async fn a_locked_backup_is_kept_and_it_is_said_until_when() {
    let Some(server) = Server::start() else { return };
    let keys = tempfile::tempdir().unwrap();
    let lock = Some(Lock { mode: LockMode::Governance, retain_for: Duration::from_hours(24) });
    let options = Options { lock, ..options(&server.endpoint(), keys.path()) };
    let locking = store(options.clone());
    let made = locking
        .bucket
        .call(|client| client.create_bucket().bucket(BUCKET).object_lock_enabled_for_bucket(true).send());
    made.await.unwrap();
    let ids = ["20260101T000000Z-1", "20260102T000000Z-2", "20260103T000000Z-3"];
    for id in ids {
        let (manifest, bytes) = packed(id, &pack::Options::default());
        locking.put(&manifest.stored.path, body(bytes)).await.unwrap();
        catalog::testing::commit_plain(&locking, &manifest).await.unwrap();
        catalog::add_record(&locking, &record(id, 0, Outcome::Passed)).await.unwrap();
    }
    let policy = Policy {
        last: Some(1),
        periods: BTreeMap::new(),
        timezone: TimeZone::UTC,
        max_age: None,
        max_size_bytes: None,
        orphan_grace: Duration::from_hours(24),
    };
    let never = CancellationToken::new();
    let locking = crate::pipeline::named("locking", Arc::new(locking));
    for dry_run in [true, false] {
        let pruned = prune(
            &locking,
            &Order { policy: &policy, signing: None, now: Timestamp::now(), dry_run },
            &never,
        )
        .await;
        assert!(pruned.is_complete() && pruned.removed.is_empty(), "{pruned:?}");
        for decision in &pruned.backups[1..] {
            let Reason::Locked { until } = &decision.reasons[0] else { panic!("{decision:?}") };
            let left = until.duration_since(Timestamp::now());
            assert!(decision.keep && left > SignedDuration::ZERO, "{decision:?}");
            assert!(decision.why().starts_with("locked until 20"), "{decision:?}");
        }
    }
    // Two days later.
    let unlocked = crate::pipeline::named("unlocked", Arc::new(S3Store::new(options, later)));
    let pruned =
        prune(&unlocked, &Order { policy: &policy, signing: None, now: later(), dry_run: false }, &never)
            .await;
    assert!(pruned.is_complete(), "{pruned:?}");
    let left = catalog::ids(unlocked.store.as_ref()).await.unwrap();
    assert_eq!(left.into_iter().map(|id| id.to_string()).collect::<Vec<_>>(), ids[2..]);
}

/// In a bucket that locks, the new form is committed beside the old, whose data stays until its lock ends: told, and readable to nobody
/// but who could read it before. The next run has nothing to encrypt; once the lock has ended it removes the old data.
#[tokio::test]
async fn backups_in_a_locking_bucket_are_encrypted_anew() {
    for mode in [LockMode::Governance, LockMode::Compliance] {
        let Some(server) = Server::start() else { return };
        let (keys, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let lock = Some(Lock { mode, retain_for: Duration::from_secs(4) });
        let locking = store(Options { lock, ..options(&server.endpoint(), keys.path()) });
        let made = locking
            .bucket
            .call(|client| client.create_bucket().bucket(BUCKET).object_lock_enabled_for_bucket(true).send());
        made.await.unwrap();
        let (signing, reader) = (SigningKey::generate(), pack::new_identity());
        let id: BackupId = "20260101T000000Z-1".parse().unwrap();
        let (manifest, bytes) = packed(&id.to_string(), &pack::Options::default());
        locking.put(&manifest.stored.path, body(bytes)).await.unwrap();
        let sealed = catalog::seal(&manifest, Some(&signing)).unwrap();
        catalog::commit(&locking, &sealed).await.unwrap();

        let options =
            pack::Options { recipients: vec![reader.recipient.clone()], ..pack::Options::default() };
        let identities = [reader.identity()];
        let stores = [crate::pipeline::named("locking", Arc::new(locking))];
        let order = rekey::Order {
            stores: &stores,
            pack: &options,
            identities: &identities,
            signing: Some(&signing),
            scratch: scratch.path(),
            dry_run: false,
            clock: Timestamp::now,
            progress: &Silent,
        };
        let never = CancellationToken::new();
        let encrypt = async || rekey::rekey(&order, std::slice::from_ref(&id), &never).await.remove(0);
        let first = encrypt().await;
        assert_eq!(first.done, rekey::Done::Encrypted, "{mode:?}: {first:?}");
        let told = first.error.expect("the old data is locked");
        assert!(told.contains("the old data is still there") && told.contains("locked until"), "{told}");
        let read = catalog::manifest(stores[0].store.as_ref(), &id).await.unwrap().unwrap();
        assert_eq!((read.edition, &read.pack.encryption[..]), (2, "age"));
        assert!(stores[0].store.head(&manifest.stored.path).await.unwrap().is_some());
        let (store, silent) = (stores[0].store.as_ref(), &Silent);
        crate::retrieve::read_through(store, &read, &identities, silent).await.unwrap();

        // Nothing is encrypted twice, and the old data goes as soon as it may.
        let mut second = encrypt().await;
        for _ in 0..100 {
            assert_eq!(second.done, rekey::Done::Current, "{second:?}");
            if second.error.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            second = encrypt().await;
        }
        assert_eq!(second.error, None);
        assert!(stores[0].store.head(&manifest.stored.path).await.unwrap().is_none());
    }
}
