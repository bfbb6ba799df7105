//! The whole run, on a real etcd, into stores and onto disks that break at every point.

use std::fs;
use std::path::Path;

use etcd_snapshot::SnapshotFile;
use etcd_snapshot::restore::{Plan, restore};
use holdfast_tests::wait::LIMIT;
use holdfast_tests::{Site, objects, site};
use tempfile::TempDir;

use super::*;
use crate::agent;
use crate::catalog::testing::walk::{
    DISK_FAULTS, FAULTS, InTurn, Left, breaking, breaking_in_turn, is_healed, look, walk,
};
use crate::config::Config;
use crate::progress::Silent;
use crate::store::plugin::testing::Share;
use crate::store::{DirectoryStore, FailingDisk};

/// A cluster, and a store with one backup of it, of which each attempt gets a copy.
struct Bench {
    _cluster: holdfast_tests::Cluster,
    site: Site,
    template: TempDir,
    first: BackupId,
}

/// Where one attempt takes place.
struct Place {
    scratch: TempDir,
    folder: TempDir,
    store: DirectoryStore,
}

impl Bench {
    async fn start() -> Self {
        let cluster = holdfast_tests::Cluster::builder().start();
        cluster.fill(objects::kubernetes(2, 5));
        let site = Site::of(&cluster);
        let (template, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = DirectoryStore::new(template.path().to_owned());
        let job = Self::job(&site, scratch.path(), vec![named("local", Arc::new(store))]);
        let first = ends(&job).await.unwrap().id;
        Self { _cluster: cluster, site, template, first }
    }

    fn place(&self) -> Place {
        self.place_in(tempfile::tempdir().unwrap())
    }

    fn place_in(&self, folder: TempDir) -> Place {
        for file in site::files_below(self.template.path()) {
            let target = folder.path().join(file.strip_prefix(self.template.path()).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(file, target).unwrap();
        }
        let store = DirectoryStore::new(folder.path().to_owned());
        Place { scratch: tempfile::tempdir().unwrap(), folder, store }
    }

    fn job(site: &Site, scratch: &Path, stores: Vec<NamedStore>) -> Job {
        let config = Config::load(&site.config()).unwrap();
        let job = agent::job(&config, Arc::default(), Timestamp::now).unwrap();
        Job { scratch: scratch.to_owned(), stores, require: Require::Any, ..job }
    }

    /// One run that may break, what it left, and the next run, which heals it.
    async fn attempt(&self, place: &Place, broken: Arc<dyn Store>) -> Left {
        self.attempt_in(place, broken, Arc::new(place.store.clone())).await
    }

    /// The same: `whole` is where the next run goes to.
    async fn attempt_in(&self, place: &Place, broken: Arc<dyn Store>, whole: Arc<dyn Store>) -> Left {
        let scratch = place.scratch.path().join("scratch");
        let ended = ends(&Self::job(&self.site, &scratch, vec![named("local", broken)])).await;
        let mut committed = vec![self.first.clone()];
        match &ended {
            Ok(report) if report.stores[0].committed => committed.push(report.id.clone()),
            // The backup is there, its proof is not.
            Err(BackupError::Record { id, .. }) => committed.push(id.clone()),
            _ => {}
        }
        let left = look(&place.store, &committed).await;
        restores(&place.store, left.backups.last().unwrap()).await;

        let next = Self::job(&self.site, &scratch, vec![named("local", whole)]);
        let report = ends(&next).await.unwrap();
        assert_eq!(report.outcome, Outcome::Passed, "{report:?}");
        let expected: Vec<BackupId> = left.backups.iter().cloned().chain([report.id]).collect();
        is_healed(&place.store, &expected).await;
        let remnants = site::files_below(&scratch);
        let is_remnant = |file: &&std::path::PathBuf| {
            let name = file.to_string_lossy();
            name.ends_with(".partial") || name.ends_with(".intent.json")
        };
        assert_eq!(remnants.iter().filter(is_remnant).count(), 0, "{remnants:?}");
        left
    }
}

/// Runs to the end, which comes.
async fn ends(job: &Job) -> Result<Report, BackupError> {
    let never = CancellationToken::new();
    let running = Box::pin(run(job, &Silent, &never));
    tokio::time::timeout(LIMIT, running).await.expect("a run ends")
}

/// A backup becomes a data directory again.
async fn restores(store: &DirectoryStore, id: &BackupId) {
    let manifest = catalog::manifest(store, id).await.unwrap().expect("the backup is there");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot.db");
    let file = crate::atomic::create_file(&path).unwrap();
    let target = crate::retrieve::Target { path: &path, file, lasts: false };
    crate::retrieve::retrieve(store, &manifest, &[], target, &Silent).await.unwrap();
    let members = Plan::parse_initial_cluster("m1=http://127.0.0.1:2380").unwrap();
    let plan = Plan::new("m1", members, "token", &folder.path().join("member"));
    let restored = restore(&SnapshotFile::open(&path).unwrap(), &plan).unwrap();
    assert_eq!(restored.revision, manifest.facts.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_wherever_a_backup_breaks() {
    let bench = Bench::start().await;
    walk("backup", &FAULTS, 9, async |fault, at| {
        let place = bench.place();
        let broken = breaking(&place.store, fault, at);
        let left = bench.attempt(&place, Arc::clone(&broken) as _).await;
        (broken.has_struck(), left)
    })
    .await;
}

/// EIO and ENOSPC at each change that a run makes to the disk of its store.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_wherever_the_disk_of_a_backup_fails() {
    let bench = Bench::start().await;
    walk("backup, disk", &DISK_FAULTS, 15, async |fault, at| {
        let place = bench.place();
        let disk = FailingDisk::new(fault, at);
        let broken = DirectoryStore::on(place.folder.path().to_owned(), &disk);
        let left = bench.attempt(&place, Arc::new(broken)).await;
        (disk.has_struck(), left)
    })
    .await;
}

/// Wherever one of two stores breaks, the other gets the backup and its proof, and the next run brings the first what it missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_breaks_takes_nothing_from_another() {
    let bench = Bench::start().await;
    walk("backup, two stores", &FAULTS, 9, async |fault, at| {
        let (place, other) = (bench.place(), bench.place());
        let broken = breaking(&place.store, fault, at);
        let scratch = place.scratch.path().join("scratch");
        let good = || named("good", Arc::new(other.store.clone()));
        let both = vec![named("broken", Arc::clone(&broken) as _), good()];
        let report = ends(&Bench::job(&bench.site, &scratch, both)).await.unwrap();
        assert_eq!(report.outcome, Outcome::Passed, "{fault:?} at {at}: {report:?}");
        let proofs = catalog::records(&other.store, &report.id).await.unwrap();
        assert_eq!(proofs.len(), 1, "{fault:?} at {at}");
        is_healed(&other.store, &[bench.first.clone(), report.id.clone()]).await;
        let left = look(&place.store, std::slice::from_ref(&bench.first)).await;

        let healed = vec![named("broken", Arc::new(place.store.clone())), good()];
        let next = Bench::job(&bench.site, &scratch, healed);
        let second = ends(&next).await.unwrap();
        let synced = agent::catch_up(&next, &[], &second, &CancellationToken::new()).await;
        assert!(synced.iter().all(|synced| synced.errors.is_empty()), "{fault:?} at {at}: {synced:?}");
        let expected = [bench.first.clone(), report.id.clone(), second.id];
        for store in [&place.store, &other.store] {
            is_healed(store, &expected).await;
            let proofs = catalog::records(store, &report.id).await.unwrap();
            assert_eq!(proofs.len(), 1, "{fault:?} at {at}");
        }
        (broken.has_struck(), left)
    })
    .await;
}

/// Every call of a store that is a plugin breaks, with a real server behind it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_wherever_a_plugin_breaks() {
    let Some(share) = Share::start().await else { return };
    let bench = Bench::start().await;
    walk("backup, plugin", &[InTurn], 9, async |_, at| {
        let place = bench.place_in(share.folder());
        let plugin = share.plugin(&place.folder);
        let broken = breaking_in_turn(&plugin, at);
        let left = bench.attempt_in(&place, Arc::clone(&broken) as _, plugin).await;
        (broken.has_struck(), left)
    })
    .await;
}
