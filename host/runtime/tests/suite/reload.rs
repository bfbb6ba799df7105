//! Hot reload: what changes in the folder is live a moment later, and no run notices.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_runtime::{Change, Condition, PluginHost, Registry};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::{Setup, hostile, newer, patched, run};

/// A host that follows its folder until dropped.
pub(crate) struct Following {
    pub(crate) host: Arc<PluginHost>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Following {
    pub(crate) async fn start(setup: &Setup) -> Following {
        let host = Arc::new(setup.loaded().await);
        let cancel = CancellationToken::new();
        let task = tokio::spawn({
            let (host, cancel) = (Arc::clone(&host), cancel.clone());
            async move { host.watch(cancel).await }
        });
        // The first look of the follower must not be taken for the one that the test causes.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Following { host, cancel, task }
    }

    /// Waits until the registry is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Registry) -> bool) -> Duration {
        let started = Instant::now();
        let mut changes = self.host.changes();
        let waited = async {
            while !wanted(&changes.borrow_and_update()) {
                changes.changed().await.expect("the host lives");
            }
        };
        tokio::time::timeout(Duration::from_mins(5), waited).await.unwrap_or_else(|_| panic!("{what}"));
        started.elapsed()
    }

    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(Duration::from_mins(5), self.task).await.expect("it stops").expect("no panic");
    }
}

fn version_is(wanted: &'static str) -> impl Fn(&Registry) -> bool {
    move |registry| registry.plugin("hostile").is_ok_and(|plugin| plugin.version() == wanted)
}

const OLD: &str = "1.0.0+build-aaaa";
const NEW: &str = "1.0.0+build-bbbb";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_changed_broken_and_removed_files_are_followed() {
    let setup = Setup::new();
    let following = Following::start(&setup).await;
    setup.put("hostile.wasm", &hostile());
    following.until("the new one is live", version_is(OLD)).await;

    let pinned = following.host.registry();
    setup.put("hostile.wasm", &newer());
    following.until("the changed one is live", version_is(NEW)).await;
    let old = pinned.plugin("hostile").expect("a run keeps what it started with");
    assert_eq!(old.version(), OLD);
    assert!(run(&old, json!({ "do": "pass" })).await.result.is_ok());

    setup.put("hostile.wasm", &newer()[..1000]);
    let stale = |registry: &Registry| registry.states()["hostile"].condition == Condition::Stale;
    following.until("the broken one is refused", stale).await;
    let registry = following.host.registry();
    assert_eq!(registry.plugin("hostile").expect("the one before stays").version(), NEW);
    assert!(registry.states()["hostile"].rejection.is_some());

    fs::remove_file(setup.file("hostile.wasm")).expect("removed");
    let gone = |registry: &Registry| registry.plugin("hostile").is_err() && registry.states().is_empty();
    following.until("it is unloaded", gone).await;
    assert!(run(&old, json!({ "do": "pass" })).await.result.is_ok(), "who holds it can still call it");

    setup.put("hostile.wasm", &hostile());
    following.until("it is back", version_is(OLD)).await;
    fs::rename(setup.file("hostile.wasm"), setup.file("another.wasm")).expect("renamed");
    let renamed = |registry: &Registry| {
        registry.plugin("hostile").is_err()
            && registry.states().get("another").is_some_and(|state| state.condition == Condition::Rejected)
    };
    following.until("the other name does not fit", renamed).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_copy_ends_as_the_new_version() {
    let setup = Setup::new().with("hostile.wasm", &hostile());
    let following = Following::start(&setup).await;
    let bytes = newer();
    let mut file = fs::File::create(setup.file("hostile.wasm")).expect("opened");
    for part in bytes.chunks(bytes.len() / 6) {
        file.write_all(part).expect("written");
        assert!(following.host.registry().plugin("hostile").is_ok(), "the old one stays meanwhile");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    drop(file);
    following.until("the copy is live", version_is(NEW)).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_comes_later_is_noticed() {
    let setup = Setup::new();
    fs::remove_dir(setup.folder()).expect("removed");
    let following = Following::start(&setup).await;
    assert!(following.host.registry().problem().is_some());
    fs::create_dir(setup.folder()).expect("created");
    following.until("the folder is there", |registry| registry.problem().is_none()).await;
    setup.put("hostile.wasm", &hostile());
    following.until("it is live", version_is(OLD)).await;

    // Replaced as a whole by another folder of the same name.
    let aside = setup.folder().with_extension("old");
    fs::rename(setup.folder(), &aside).expect("renamed");
    following.until("the folder is gone", |registry| registry.problem().is_some()).await;
    assert!(following.host.registry().plugin("hostile").is_ok(), "a folder that is gone unloads nothing");
    fs::create_dir(setup.folder()).expect("created");
    setup.put("hostile.wasm", &newer());
    following.until("the new folder's one is live", version_is(NEW)).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_at_once_end_as_the_last() {
    let setup = Setup::new();
    let following = Following::start(&setup).await;
    let (old, new) = (hostile(), newer());
    for _ in 0..50 {
        setup.put("hostile.wasm", &new);
        setup.put("hostile.wasm", &old);
    }
    following.until("the last is live", version_is(OLD)).await;
    following.stop().await;
}

/// Reloads under constant calls: none is lost, each is answered by a whole version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_lose_no_call() {
    let setup = Setup::new().with("hostile.wasm", &hostile());
    let host = Arc::new(setup.loaded().await);
    let stop = Arc::new(AtomicBool::new(false));
    let caller = tokio::spawn({
        let (host, stop) = (Arc::clone(&host), Arc::clone(&stop));
        async move {
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                let plugin = host.registry().plugin("hostile").expect("always there");
                run(&plugin, json!({ "do": "count", "key": "/registry/" }))
                    .await
                    .result
                    .expect("always answers");
                calls += 1;
            }
            calls
        }
    });
    let (old, new) = (hostile(), newer());
    for round in 0..100 {
        setup.put("hostile.wasm", if round % 2 == 0 { &new } else { &old });
        let report = host.scan().await;
        assert!(matches!(report.events[0].change, Change::Loaded { .. }), "{report:?}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(caller.await.expect("no call failed") > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_are_no_change() {
    let setup = Setup::new().with("hostile.wasm", &hostile());
    let host = setup.loaded().await;
    let before = host.registry().plugin("hostile").expect("it loads");
    setup.put("hostile.wasm", &hostile());
    assert!(host.scan().await.events.is_empty());
    let after = host.registry().plugin("hostile").expect("it stays");
    assert!(Arc::ptr_eq(&before, &after));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_file_does_not_touch_the_others() {
    let setup = Setup::new()
        .with("hostile.wasm", &hostile())
        .with("another.wasm", &patched(&[("hostile", "another")]))
        .with("broken.wasm", b"\0asm")
        .with("readme.md", b"not a plugin");
    let host = setup.loaded().await;
    let names: Vec<String> = host.registry().plugins().map(|plugin| plugin.name().to_owned()).collect();
    assert_eq!(names, ["another", "hostile"]);
    assert_eq!(host.registry().states()["broken"].condition, Condition::Rejected);
    assert_eq!(host.registry().states().len(), 3);
}
