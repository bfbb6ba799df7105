//! The catalog and the retention rules on a real S3 server: many backups, listed with and without what is remembered; locked ones.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_snapshot::Outcome;
use futures::StreamExt;
use holdfast_tests::relay::Fault;
use holdfast_tests::s3::Server;
use holdfast_tests::toxiproxy::Toxiproxy;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{BUCKET, Options, Site, body, options, store};
use crate::catalog::testing::{packed, record, sample};
use crate::catalog::{self, BackupId, Manifest};
use crate::pack;
use crate::progress::Silent;
use crate::prune::{Order, prune};
use crate::rekey;
use crate::retain::{Policy, Reason};
use crate::signing::SigningKey;
use crate::store::s3::{Lock, LockMode, S3Store};
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
