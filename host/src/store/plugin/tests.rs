//! The store on a plugin that ships, with a real server behind it, and on one that does its worst.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use holdfast_runtime::{Allow, HttpOptions};
use holdfast_tests::relay::{Fault, Relay};
use holdfast_tests::{tools, webdav};
use serde_json::json;

use super::testing::{Bench, webdav_bench};
use super::{Options, PluginStore};
use crate::secret::SecretSource;
use crate::store::{
    ByteStream, DirectoryStore, LimitedStore, ObjectPath, Store, StoreError, body, contract, list_all,
    read_small,
};

/// A store that does what its config says; `keeper` among the runtime's guests.
static KEEPER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/tests/guests/keeper");
    let target = tools::target_directory().join("guests");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target)
        .current_dir(&guest)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the guest builds: is the target wasm32-wasip2 installed?");
    fs::read(target.join("wasm32-wasip2/release/keeper.wasm")).expect("the guest was built")
});

impl Bench {
    async fn keeper() -> Bench {
        Bench::new("keeper", &KEEPER, HttpOptions::default()).await
    }

    /// The hostile store, doing this.
    fn doing(&self, what: &str, size: u64) -> PluginStore {
        self.open(Bench::options("keeper", json!({ "do": what, "size": size })))
    }

    /// The same, with limits that let it be given up soon.
    fn hurried(&self, what: &str) -> PluginStore {
        let soon = Duration::from_millis(400);
        let config = json!({ "do": what, "size": 10_000 });
        self.open(Options {
            attempts: 1,
            request_timeout: soon,
            stall_timeout: soon,
            ..Bench::options("keeper", config)
        })
    }
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).unwrap()
}

/// What is said of an error, its cause included.
fn words(error: &StoreError) -> String {
    crate::pipeline::store::with_causes(error)
}

async fn collected(mut stream: ByteStream) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| error.to_string())?);
    }
    Ok(bytes)
}

fn large() -> Vec<u8> {
    (0..12_000_000_u64).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn stream(content: &[u8]) -> ByteStream {
    let chunks: Vec<_> = content.chunks(700_001).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Box::pin(futures::stream::iter(chunks))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webdav_keeps_the_contract() {
    let Some(server) = webdav::Server::start() else { return };
    let bench = webdav_bench(HttpOptions::default()).await;
    let store = bench.webdav(&server.origin(), "etcd");
    contract::check(&store).await;
    assert_eq!(server.files("etcd"), Vec::<String>::new(), "something is left");
    assert_eq!(folders(&server), Vec::<String>::new(), "folders are left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webdav_keeps_the_contract_over_tls() {
    let Some(server) = webdav::Server::start_with_tls() else { return };
    let bench = webdav_bench(HttpOptions { ca: Some(server.ca()), ..HttpOptions::default() }).await;
    contract::check(&bench.webdav(&server.origin(), "etcd")).await;
    // Without the authority there is no trust, and no retry mends it.
    let bench = webdav_bench(HttpOptions::default()).await;
    let error = bench.webdav(&server.origin(), "etcd").probe().await.unwrap_err();
    assert!(words(&error).contains("certificate is not trusted"), "{}", words(&error));
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webdav_tells_what_is_wrong() {
    let Some(server) = webdav::Server::start() else { return };
    let bench = webdav_bench(HttpOptions::default()).await;
    let options = || bench.webdav_options(&server.origin(), "etcd");

    let error = bench.webdav(&server.origin(), "missing/etcd").probe().await.unwrap_err();
    assert!(error.is_missing_place(), "{}", words(&error));
    // A share that is not there is not one without objects.
    assert!(bench.open(options()).list("", None).await.unwrap_err().is_missing_place());

    let wrong = bench.file("wrong", "another password\n");
    let secrets = [("nas".to_owned(), SecretSource::File(wrong))].into();
    let error = bench.open(Options { secrets, ..options() }).probe().await.unwrap_err();
    assert!(words(&error).contains("answers 401") && words(&error).contains("(denied)"), "{}", words(&error));
    assert!(!words(&error).contains("another password"));

    let denied = Options { allow: Allow { http: Vec::new(), ..options().allow }, ..options() };
    let error = bench.open(denied).probe().await.unwrap_err();
    assert!(words(&error).contains("not granted"), "{}", words(&error));
    assert!(error.hint().unwrap().contains(&format!("add `\"{}\"`", server.origin())), "{:?}", error.hint());

    let not_a_url = Options { config: json!({ "url": "nas/etcd" }), ..options() };
    let error = bench.open(not_a_url).probe().await.unwrap_err();
    assert!(words(&error).contains("`url` has no scheme"), "{}", words(&error));
    let unknown = Options { config: json!({ "uri": server.origin() }), ..options() };
    let error = bench.open(unknown).probe().await.unwrap_err();
    assert!(words(&error).contains("the config does not fit"), "{}", words(&error));

    let missing = Options { plugin: "nextcloud".to_owned(), ..options() };
    let error = bench.open(missing).probe().await.unwrap_err();
    assert!(words(&error).contains("there is no plugin `nextcloud`"), "{}", words(&error));
}

/// The folders that lie two deep or deeper.
fn folders(server: &webdav::Server) -> Vec<String> {
    let root = server.folder("etcd");
    let below = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let all = below(&root).iter().flat_map(|folder| below(folder)).collect::<Vec<_>>();
    let mut names: Vec<_> =
        all.iter().map(|folder| folder.strip_prefix(&root).unwrap().display().to_string()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webdav_removes_the_folders_that_became_empty() {
    let Some(server) = webdav::Server::start() else { return };
    let bench = webdav_bench(HttpOptions::default()).await;
    let store = bench.webdav(&server.origin(), "etcd");
    store.probe().await.unwrap();
    let names = ["data/x", "backups/one/manifest.json", "backups/two/a/b/c", "backups/two/a/d"];
    for name in names {
        store.put(&path(name), body(b"x".to_vec())).await.unwrap();
    }
    store.delete(&path("backups/two/a/b/c")).await.unwrap();
    assert_eq!(server.files("etcd").len(), 3);
    assert!(!server.folder("etcd/backups/two/a/b").exists());
    assert_eq!(folders(&server), ["backups/one", "backups/two"]);
    // Side by side, as a removal does it.
    let rest = [names[0], names[1], names[3]].map(path);
    futures::future::try_join_all(rest.iter().map(|path| store.delete(path))).await.unwrap();
    assert_eq!(folders(&server), Vec::<String>::new());
    assert!(server.folder("etcd/data").is_dir() && server.folder("etcd/backups").is_dir());
    // No lock is left that would keep anybody out.
    for name in names {
        store.put(&path(name), body(b"y".to_vec())).await.unwrap();
        assert_eq!(read_small(&store, &path(name), 10).await.unwrap(), b"y");
    }
}

/// Another writer makes an object at each moment of the removal of a folder: the object stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webdav_never_removes_what_another_writer_has_just_made() {
    let Some(server) = webdav::Server::start() else { return };
    let bench = webdav_bench(HttpOptions::default()).await;
    let other = Arc::new(bench.webdav(&server.origin(), "etcd"));
    other.probe().await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let is_removal = |request: &holdfast_tests::relay::Request| {
        request.method == "DELETE" && request.target.ends_with("/one/")
    };
    // Before the folder is locked, the writer is done; afterwards he is kept out, and comes in when it is over.
    for moment in ["LOCK", "MKCOL", "DELETE", "UNLOCK"] {
        let (kept, gone) = (path(&format!("backups/one/{moment}")), path("backups/one/gone"));
        other.put(&gone, body(b"gone".to_vec())).await.unwrap();
        let writing = Arc::new(std::sync::Mutex::new(None));
        let (handle, begun, writer, target) =
            (runtime.clone(), Arc::clone(&writing), Arc::clone(&other), kept.clone());
        let relay = Relay::to(server.port(), move |request| {
            if request.method == moment && (moment != "DELETE" || is_removal(request)) {
                let (writer, target) = (Arc::clone(&writer), target.clone());
                let put =
                    handle.spawn(async move { writer.put(&target, body(b"kept".to_vec())).await.map(drop) });
                let put = if moment == "LOCK" {
                    handle.block_on(put).unwrap().unwrap();
                    handle.spawn(async { Ok(()) })
                } else {
                    put
                };
                *begun.lock().unwrap() = Some(put);
            }
            Fault::None
        });
        bench.webdav(&relay.endpoint(), "etcd").delete(&gone).await.unwrap();
        let put = writing.lock().unwrap().take().expect("the moment came");
        put.await.unwrap().unwrap();
        assert_eq!(read_small(other.as_ref(), &kept, 10).await.unwrap(), b"kept", "at {moment}");
        if moment == "LOCK" {
            let removed = relay.requests().iter().filter(|request| is_removal(request)).count();
            assert_eq!(removed, 0, "the folder was not empty");
        }
        other.delete(&kept).await.unwrap();
        assert_eq!(folders(&server), Vec::<String>::new(), "at {moment}");
    }
}

/// A server without locks keeps its folders, and so does one that lets others in though it says that it locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webdav_leaves_folders_where_locks_do_not_hold() {
    let Some(server) = webdav::Server::start() else { return };
    let bench = webdav_bench(HttpOptions::default()).await;
    bench.webdav(&server.origin(), "etcd").probe().await.unwrap();
    for (method, status) in [("LOCK", 501), ("LOCK", 200), ("MKCOL", 201)] {
        let name = path(&format!("backups/{method}-{status}/x"));
        bench.webdav(&server.origin(), "etcd").put(&name, body(b"x".to_vec())).await.unwrap();
        let relay = Relay::to(server.port(), move |request| {
            if request.method == method { Fault::Answer(status, String::new()) } else { Fault::None }
        });
        bench.webdav(&relay.endpoint(), "etcd").delete(&name).await.unwrap();
        let folder = server.folder("etcd").join(name.as_str());
        assert!(!folder.exists() && folder.parent().unwrap().is_dir(), "{method} {status}");
        // And no lock is left.
        let store = bench.webdav(&server.origin(), "etcd");
        store.put(&name, body(b"y".to_vec())).await.unwrap();
        store.delete(&name).await.unwrap();
    }
    assert_eq!(folders(&server), Vec::<String>::new());
}

/// Each connection in turn breaks once: the plugin is asked again, and what it stored is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_objects_survive_connections_that_break() {
    let Some(server) = webdav::Server::start() else { return };
    let bench = webdav_bench(HttpOptions::default()).await;
    bench.webdav(&server.origin(), "etcd").probe().await.unwrap();
    let mut broken = 0;
    for at in 0.. {
        let relay =
            Relay::to(
                server.port(),
                move |request| {
                    if request.index == at { Fault::LoseAnswer } else { Fault::None }
                },
            );
        let store = bench.webdav(&relay.endpoint(), "etcd");
        let target = path(&format!("broken/{at}"));
        store.put(&target, body(b"content".to_vec())).await.unwrap();
        assert_eq!(read_small(&store, &target, 10).await.unwrap(), b"content", "cut at {at}");
        if relay.requests().len() <= at {
            broken = at;
            break;
        }
    }
    assert!(broken > 5, "only {broken} requests were cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_large_is_streamed_and_what_is_given_up_is_swept() {
    let Some(server) = webdav::Server::start() else { return };
    let bench = webdav_bench(HttpOptions::default()).await;
    let store = bench.webdav(&server.origin(), "etcd");
    store.probe().await.unwrap();
    let content = large();
    assert_eq!(store.put(&path("data/large"), stream(&content)).await.unwrap(), content.len() as u64);
    let back = collected(store.get(&path("data/large"), None).await.unwrap()).await.unwrap();
    assert!(back == content, "it came back as something else");
    let behind = store.get(&path("data/large"), Some(11_999_999..99_000_000)).await.unwrap();
    assert_eq!(collected(behind).await.unwrap(), content[11_999_999..]);
    let beyond = store.get(&path("data/large"), Some(12_000_000..12_000_001)).await.unwrap();
    assert!(collected(beyond).await.unwrap().is_empty());

    // A killed writer's file, as it would lie there.
    let uploads = server.folder("etcd").join(".uploads");
    fs::write(uploads.join("0123456789abcdef-dead-1"), b"half").unwrap();
    assert_eq!(store.sweep().await.unwrap(), 0, "it may still be written");
    let options = Options { stale_after: Duration::ZERO, ..bench.webdav_options(&server.origin(), "etcd") };
    holdfast_tests::wait::until("the file to be old", || {
        let old = fs::metadata(uploads.join("0123456789abcdef-dead-1")).ok()?.modified().ok()?;
        (old.elapsed().ok()? > Duration::from_secs(2)).then_some(())
    });
    assert_eq!(bench.open(options).sweep().await.unwrap(), 1);
    assert_eq!(server.files("etcd"), ["data/large"]);
    assert_eq!(list_all(&store, "").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_about_an_upload_is_an_error_that_names_it() {
    let bench = Bench::keeper().await;
    for (what, size, named) in [
        ("put-unread", 0, "had taken 0 bytes and not the end"),
        ("put-half", 1000, "had taken 1000 bytes and not the end"),
        ("put-more", 100_001, "says that it stored 100001 bytes, and was given 100000"),
        ("honest", 7, "says that it stored 100000 bytes, and the object has 7"),
        ("head-none", 100_000, "says that it stored it, and it is not there"),
        ("head-other", 100_000, "tells of `another`"),
        ("put-trap", 100_000, "trapped midway"),
        ("put-broken-off", 100_000, "the connection broke (unavailable)"),
    ] {
        let store = bench.doing(what, size);
        let error = store.put(&path("a/b"), body(vec![7; 100_000])).await.unwrap_err();
        assert!(words(&error).contains(named), "{what}: {}", words(&error));
    }
    let store = bench.doing("honest", 100_000);
    assert_eq!(store.put(&path("a/b"), body(vec![7; 100_000])).await.unwrap(), 100_000);
    assert_eq!(
        bench.doing("put-greedy", 9_000_000).put(&path("a"), stream(&large()[..9_000_000])).await.unwrap(),
        9_000_000
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_body_is_never_stored_as_a_whole_one() {
    let bench = Bench::keeper().await;
    for size in [10, 6 << 20] {
        let torn: ByteStream = Box::pin(futures::stream::iter([
            Ok(Bytes::from(vec![7; size])),
            Err(std::io::Error::other("torn on purpose")),
        ]));
        let error = bench.doing("put-deaf", size as u64).put(&path("a/b"), torn).await.unwrap_err();
        assert!(words(&error).contains("torn on purpose"), "{}", words(&error));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_again_and_what_was_stored_is_known_as_ours() {
    let bench = Bench::keeper().await;
    bench.doing("probe-unavailable", 0).probe().await.unwrap();
    let store = bench.doing("put-unavailable", 100_000);
    assert_eq!(store.put(&path("a/b"), body(vec![7; 100_000])).await.unwrap(), 100_000);
    // The second try meets an object; `keeper` hands out another one than ours, and then the very same.
    let error = bench.doing("put-exists", 3).put(&path("a/b"), body(vec![7; 3])).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{}", words(&error));
    let store = bench.doing("put-exists", 3);
    assert_eq!(store.put(&path("a/b"), body(vec![0, 1, 2])).await.unwrap(), 3);
    // What was streamed is gone, and is not tried again.
    let store = bench.doing("put-broken-off", 6 << 20);
    let error = store.put(&path("a/b"), stream(&large())).await.unwrap_err();
    assert!(error.is_transient(), "{}", words(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_about_a_download_is_an_error_that_names_it() {
    let bench = Bench::keeper().await;
    let expected = |start: u64, end: u64| (start..end).map(|at| (at % 251) as u8).collect::<Vec<u8>>();
    let read = |what: &'static str, range| {
        let store = bench.doing(what, 20_000);
        async move {
            match store.get(&path("a/b"), range).await {
                Ok(stream) => collected(stream).await,
                Err(error) => Err(words(&error)),
            }
        }
    };
    for what in ["honest", "no-ranges", "get-resumed"] {
        assert_eq!(read(what, None).await.unwrap(), expected(0, 20_000), "{what}");
        assert_eq!(read(what, Some(7000..19_001)).await.unwrap(), expected(7000, 19_001), "{what}");
        assert_eq!(read(what, Some(19_999..90_000)).await.unwrap(), expected(19_999, 20_000), "{what}");
        assert!(read(what, Some(20_000..20_001)).await.unwrap().is_empty(), "{what}");
    }
    for (what, named) in [
        ("get-nothing", "did not begin"),
        ("get-unbegun", "did not begin"),
        ("get-missing", "there is no object `a/b`"),
        ("get-short", "handed out 1 bytes too few"),
        ("get-endless", "hands out more than"),
        ("get-huge-claim", "bytes too few"),
        ("get-replaced", "was replaced while it was read"),
    ] {
        let error = read(what, None).await.expect_err(what);
        assert!(error.contains(named), "{what}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_in_a_listing_is_an_error_that_names_it() {
    let bench = Bench::keeper().await;
    for (what, named) in [
        ("list-unsorted", "lists `data/a` after `data/b`"),
        ("list-twice", "lists `data/a` after `data/a`"),
        ("list-back", "lists `data/a` after `data/a`"),
        ("list-foreign", "lists `elsewhere`, and was asked for what begins with `data/`"),
        ("list-climbing", "lists `data/../../etc/passwd`, which no object is called"),
        ("list-escape", r"lists `\u{1b}[2J`"),
        ("list-same", "turns the same page again"),
        ("list-empty", "more than 100 empty pages in a row"),
        ("list-endless", "lists more than 1000000 objects"),
        ("list-large", "handed over a page of 1001 objects; 1000 were asked for"),
        ("list-next", "handed on more than 1024 bytes with a page"),
    ] {
        let error = list_all(&bench.doing(what, 0), "data/").await.expect_err(what);
        assert!(words(&error).contains(named), "{what}: {}", words(&error));
    }
    assert_eq!(list_all(&bench.doing("honest", 0), "data/").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_still_or_is_late_is_given_up() {
    let bench = Bench::keeper().await;
    for (what, named) in [("probe-late", "used up its time"), ("probe-loop", "used up its time")] {
        let error = bench.hurried(what).probe().await.unwrap_err();
        assert!(words(&error).contains(named) && error.is_transient(), "{what}: {}", words(&error));
    }
    for what in ["put-late", "put-loop"] {
        let error = bench.hurried(what).put(&path("a/b"), body(vec![7; 100_000])).await.unwrap_err();
        assert!(words(&error).contains("moved no bytes for"), "{what}: {}", words(&error));
    }
    let error = bench.hurried("get-late").get(&path("a/b"), None).await.err().expect("it is late");
    assert!(words(&error).contains("moved no bytes for"), "{}", words(&error));
    let stuck = bench.hurried("get-stuck").get(&path("a/b"), None).await.unwrap();
    assert!(collected(stuck).await.unwrap_err().contains("moved no bytes for"));
}

/// The time that a slow stream takes is not the plugin's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_us_does_not_stand_still() {
    let bench = Bench::keeper().await;
    let slow: ByteStream = Box::pin(futures::stream::iter(0..3).then(|_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Bytes::from(vec![7; 3 << 20]))
    }));
    let options = Options {
        stall_timeout: Duration::from_millis(400),
        ..Bench::options("keeper", json!({ "do": "honest", "size": 9 << 20 }))
    };
    assert_eq!(bench.open(options).put(&path("a/b"), slow).await.unwrap(), 9 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_says_is_safe_to_show() {
    let bench = Bench::keeper().await;
    let token = bench.file("token", "hunter2hunter2");
    let options = Options {
        allow: Allow { secrets: ["token".to_owned()].into(), ..Allow::default() },
        secrets: [("token".to_owned(), SecretSource::File(token))].into(),
        ..Bench::options("keeper", json!({ "do": "probe-secret" }))
    };
    let error = bench.open(options).probe().await.unwrap_err();
    assert!(words(&error).contains("refuses `[secret token]`"), "{}", words(&error));
    assert!(!format!("{error:?}").contains("hunter2"));
    let error = bench.doing("probe-escape", 0).probe().await.unwrap_err();
    assert!(words(&error).ends_with(r"\u{1b}[31mred\u{202e} (own-code)"), "{}", words(&error));
    let error = bench.doing("probe-exit", 0).probe().await.unwrap_err();
    assert!(words(&error).contains("exit status"), "{}", words(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_cannot_promise_is_made_up_for_or_refused() {
    let bench = Bench::keeper().await;
    let error = bench.doing("not-atomic", 0).probe().await.unwrap_err();
    assert!(words(&error).contains("does not promise `atomic`"), "{}", words(&error));
    // `no-ranges` promises `sweep` and not `object-lock`.
    let store = bench.doing("no-ranges", 5);
    assert_eq!(store.sweep().await.unwrap(), 3);
    assert!(store.features().exclusive && !store.features().object_lock);
    let error = bench.doing("probe-missing", 0).probe().await.unwrap_err();
    assert!(error.is_missing_place(), "{}", words(&error));
    bench.doing("delete-missing", 0).delete(&path("a")).await.unwrap();
    let error = bench.doing("delete-locked", 0).delete(&path("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{}", words(&error));
}

/// A hostile store beside a good one: the good one has its object long before the other is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_delays_no_other() {
    let bench = Bench::keeper().await;
    let folder = tempfile::tempdir().unwrap();
    let good = DirectoryStore::new(folder.path().join("store"));
    good.probe().await.unwrap();
    let hanging = LimitedStore::new(Arc::new(bench.doing("put-late", 0)), Duration::from_mins(5));
    let target = path("a/b");
    let upload = hanging.put(&target, body(vec![7; 1000]));
    tokio::pin!(upload);
    let stored = tokio::select! {
        _ = &mut upload => panic!("it never ends"),
        stored = good.put(&target, body(vec![7; 1000])) => stored,
    };
    assert_eq!(stored.unwrap(), 1000);
}
