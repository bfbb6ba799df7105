//! Which files become plugins, what is said of the others, and what is kept compiled.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use holdfast_runtime::{
    Change, Condition, HostOptions, PluginHost, PluginOptions, ScanReport, StartError, Trust, TrustPolicy,
    TrustedKey, UnavailableReason,
};
use serde_json::json;

use crate::harness::{Setup, hostile, newer, patched, refusal, run};

fn cached(report: &ScanReport) -> bool {
    match report.events.as_slice() {
        [event] => matches!(event.change, Change::Loaded { cached: true, .. }),
        other => panic!("one load was expected: {other:?}"),
    }
}

async fn refused(name: &str, bytes: &[u8]) -> String {
    let setup = Setup::new().with(name, bytes);
    let host = setup.host();
    let report = host.scan().await;
    assert_eq!(host.registry().plugins().count(), 0);
    refusal(&report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_tells_what_it_is() {
    let setup = Setup::new().with("hostile.wasm", &hostile());
    let host = setup.host();
    assert!(host.registry().plugin("hostile").is_err(), "nothing is loaded before the first look");
    host.scan().await;
    let plugin = host.registry().plugin("hostile").expect("it loads");
    assert_eq!((plugin.name(), plugin.version()), ("hostile", "1.0.0+build-aaaa"));
    assert_eq!(plugin.sha256().len(), 64);
    assert_eq!(plugin.description().summary, "does what it is told, most of it bad\\u{1b}[2J");
    assert_eq!(host.registry().states()["hostile"].condition, Condition::Live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_start_does_not_compile() {
    let setup = Setup::with_own_cache().with("hostile.wasm", &hostile());
    assert!(!cached(&setup.host().scan().await));
    let host = setup.host();
    assert!(cached(&host.scan().await));
    let plugin = host.registry().plugin("hostile").expect("it loads");
    assert!(run(&plugin, json!({ "do": "scan" })).await.result.is_ok());
}

/// One way in which a file's bytes go bad.
type Damage = fn(&mut Vec<u8>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_cache_entry_is_compiled_again() {
    let setup = Setup::with_own_cache().with("hostile.wasm", &hostile());
    setup.host().scan().await;
    let entries = || fs::read_dir(setup.cache().join("native")).expect("the cache is there");
    let entry = entries().next().expect("one entry").expect("readable").path();
    assert_eq!(fs::metadata(&entry).expect("metadata").permissions().mode() & 0o777, 0o600);
    let good = fs::read(&entry).expect("readable");
    let damages: [Damage; 4] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
        },
        |bytes| bytes.extend_from_slice(b"more"),
    ];
    for damage in damages {
        let mut bad = good.clone();
        damage(&mut bad);
        fs::write(&entry, &bad).expect("written");
        let host = setup.host();
        assert!(!cached(&host.scan().await), "a damaged entry is not used");
        let plugin = host.registry().plugin("hostile").expect("it loads");
        assert!(run(&plugin, json!({ "do": "pass" })).await.result.is_ok());
        assert!(cached(&setup.host().scan().await), "and is there again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_others_may_write_stops_the_start() {
    let setup = Setup::with_own_cache();
    drop(setup.host());
    let native = setup.cache().join("native");
    fs::set_permissions(&native, fs::Permissions::from_mode(0o777)).expect("chmod");
    let started = PluginHost::start(HostOptions {
        trust: TrustPolicy::default(),
        directory: setup.folder(),
        cache_directory: setup.cache(),
        plugins: [].into(),
        ..HostOptions::default()
    });
    let Err(error @ StartError::Cache(_)) = started else { panic!("it must not start") };
    assert_eq!(error.hint(), Some(format!("run `chmod go-w {}`", native.display())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_cut_anywhere_is_refused() {
    let whole = hostile();
    let setup = Setup::new();
    let host = setup.host();
    for part in 0..20 {
        setup.put("hostile.wasm", &whole[..whole.len() * part / 20]);
        let reason = refusal(&host.scan().await);
        assert!(reason.contains("component"), "{part}: {reason}");
    }
    setup.put("hostile.wasm", &whole);
    host.scan().await;
    assert_eq!(host.registry().states()["hostile"].condition, Condition::Live);
}

/// Every 97th byte changed, one at a time: a plugin or a refusal, never a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_never_crashes_the_host() {
    let whole = hostile();
    let setup = Setup::with_own_cache();
    let host = setup.host();
    let step = whole.len() / 60;
    for place in (0..whole.len()).step_by(step) {
        let mut bad = whole.clone();
        bad[place] ^= 0x15;
        setup.put("hostile.wasm", &bad);
        let report = host.scan().await;
        assert!(report.problem.is_none());
        if let Ok(plugin) = host.registry().plugin("hostile") {
            let _ = run(&plugin, json!({ "do": "pass" })).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_verifier_of_ours_is_refused_in_a_sentence() {
    for (bytes, reason) in [
        (b"#!/bin/sh\n".to_vec(), "is not a WebAssembly component"),
        (b"\0asm\x01\0\0\0".to_vec(), "is a WebAssembly module, not a component"),
        (b"\0asm\x0d\0\x01\0".to_vec(), "is not a plugin"),
        (
            patched(&[("holdfast:snapshot/reader@0.1.0", "holdfast:snapshot/reader@0.2.0")]),
            "was built for `holdfast:snapshot@0.2.0`; this agent serves 0.1.0: update the agent",
        ),
        (
            patched(&[("holdfast:verifier/verify@0.1.0", "holdfast:verifier/verify@0.3.0")]),
            "was built for `holdfast:verifier@0.3.0`; this agent serves 0.1.0",
        ),
        (
            patched(&[("holdfast:host/log@0.1.0", "holdfast:host/web@0.1.0")]),
            "imports `holdfast:host/web@0.1.0`, which this agent does not know",
        ),
    ] {
        let found = refused("hostile.wasm", &bytes).await;
        assert!(found.contains(reason), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_that_lies_or_misbehaves_is_refused() {
    for (patch, reason) in [
        (("holdfast-describe=honestly", "holdfast-describe=looping_"), "used up its"),
        (("holdfast-describe=honestly", "holdfast-describe=panicing"), "describe panics"),
        (("holdfast-describe=honestly", "holdfast-describe=badschem"), "refers to itself"),
        (("holdfast-describe=honestly", "holdfast-describe=hugetext"), "handed over more than"),
        (("hostile", "another"), "calls itself `another`, but its file's name says `hostile`"),
        (("hostile", "Hos\x1bile"), "calls itself `Hos\\u{1b}ile`: a name is lower case"),
    ] {
        let found = refused("hostile.wasm", &patched(&[patch])).await;
        assert!(found.contains(reason), "{found}");
    }
    let found = refused("Not A Name.wasm", &hostile()).await;
    assert!(found.contains("has no plugin's name"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_has_one_file() {
    let hostile = patched(&[("hostile", "hos-ile")]);
    let setup = Setup::new().with("hos-ile.wasm", &hostile);
    let host = setup.loaded().await;
    setup.put("hos_ile.wasm", &newer());
    let reason = refusal(&host.scan().await);
    assert!(reason.contains("are both named `hos-ile`"), "{reason}");
    assert_eq!(host.registry().states()["hos-ile"].condition, Condition::Stale);
    fs::remove_file(setup.file("hos-ile.wasm")).expect("removed");
    setup.put("hos_ile.wasm", &hostile);
    host.scan().await;
    assert_eq!(host.registry().states()["hos-ile"].condition, Condition::Live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_admits_one_content_only() {
    let good = Setup::new().with("hostile.wasm", &hostile()).loaded().await;
    let sha256 = good.registry().plugin("hostile").expect("it loads").sha256().to_owned();
    let pinned = PluginOptions { sha256: Some(sha256.to_uppercase()), ..PluginOptions::default() };
    let setup = Setup::new().with("hostile.wasm", &hostile()).options("hostile", pinned);
    let host = setup.loaded().await;
    assert!(host.registry().plugin("hostile").is_ok());
    setup.put("hostile.wasm", &newer());
    let reason = refusal(&host.scan().await);
    assert!(reason.contains("but the config pins"), "{reason}");
    let registry = host.registry();
    let state = &registry.states()["hostile"];
    assert_eq!(state.condition, Condition::Stale);
    assert_eq!(state.live.as_ref().map(|live| live.sha256.clone()), Some(sha256));
    let hint = state.rejection.as_ref().and_then(|rejection| rejection.hint.clone());
    assert!(hint.is_some_and(|hint| hint.contains("under `[plugin.hostile]`")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_folders_that_others_may_write_are_refused() {
    let setup = Setup::new().with("hostile.wasm", &hostile());
    let file = setup.file("hostile.wasm");
    let chmod = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    chmod(&file, 0o666);
    let host = setup.host();
    let reason = refusal(&host.scan().await);
    assert!(reason.contains("is writable by others (mode 0666)"), "{reason}");
    let error = host.registry().plugin("hostile").expect_err("refused");
    assert!(matches!(error.reason, UnavailableReason::Rejected { .. }));
    assert_eq!(error.hint(), Some(format!("run `chmod go-w {}`", file.display())));
    assert!(host.scan().await.events.is_empty(), "the same refusal is told once");

    chmod(&file, 0o644);
    host.scan().await;
    assert!(host.registry().plugin("hostile").is_ok(), "mended without a restart");

    chmod(&setup.folder(), 0o777);
    let problem = host.scan().await.problem.expect("the folder is refused");
    assert_eq!(problem.hint, Some(format!("run `chmod go-w {}`", setup.folder().display())));
    assert!(host.registry().plugin("hostile").is_ok(), "what was loaded stays");
    let error = host.registry().plugin("other").expect_err("never seen");
    assert!(error.to_string().contains("is writable by others"), "{error}");
    chmod(&setup.folder(), 0o755);
    assert_eq!(host.scan().await, ScanReport::default());
    assert!(host.registry().problem().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_may_not_lead_out_of_the_folder() {
    let elsewhere = Setup::new().with("hostile.wasm", &hostile());
    let setup = Setup::new();
    symlink(elsewhere.file("hostile.wasm"), setup.file("hostile.wasm")).expect("linked");
    let reason = refusal(&setup.host().scan().await);
    assert!(reason.contains("outside of its folder"), "{reason}");
}

/// As a kubelet lays out a `ConfigMap`: `x.wasm -> ..data/x.wasm`, `..data -> ..<time>`, swapped by renaming `..data`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_volume_is_followed() {
    let setup = Setup::new();
    let folder = setup.folder();
    let publish = |time: &str, bytes: &[u8]| {
        fs::create_dir(folder.join(time)).expect("created");
        fs::write(folder.join(time).join("hostile.wasm"), bytes).expect("written");
        symlink(time, folder.join("..data_tmp")).expect("linked");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swapped");
    };
    publish("..2026_11_21_01", &hostile());
    symlink("..data/hostile.wasm", setup.file("hostile.wasm")).expect("linked");
    let host = setup.loaded().await;
    let first = host.registry().plugin("hostile").expect("it loads");
    publish("..2026_11_21_02", &newer());
    host.scan().await;
    let second = host.registry().plugin("hostile").expect("it loads");
    assert_ne!(first.version(), second.version());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_there_is_a_problem_with_a_hint() {
    let setup = Setup::new();
    fs::remove_dir(setup.folder()).expect("removed");
    let host = setup.host();
    let problem = host.scan().await.problem.expect("there is no folder");
    assert!(problem.reason.contains("does not exist"), "{}", problem.reason);
    let error = host.registry().plugin("query").expect_err("nothing there");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("run `mkdir -p")), "{error}");
}

/// A key pair of the tests' own; its secret part signs in the system tests only.
const KEY: &str = "RWQ0c1xvd3jxtVfCo59JtjDxREoAVwaRTYiXHobLKzMJ4w0NYhXYlvtK";

fn policy(mode: Trust) -> TrustPolicy {
    TrustPolicy { mode, keys: vec![TrustedKey::parse(KEY).expect("a key")] }
}

#[tokio::test]
async fn a_pinned_folder_takes_only_what_is_pinned() {
    let setup = Setup::new().with("hostile.wasm", &hostile()).trust(policy(Trust::Pinned));
    let reason = refusal(&setup.host().scan().await);
    assert!(reason.contains("is not pinned"), "{reason}");
    let digest = setup.host().examine(&setup.file("hostile.wasm")).await.expect("readable").sha256;
    let pinned = setup.options("hostile", PluginOptions { sha256: Some(digest), ..PluginOptions::default() });
    assert!(pinned.loaded().await.registry().plugin("hostile").is_ok());
}

#[tokio::test]
async fn a_signed_folder_takes_only_what_is_signed_and_looks_again_when_a_signature_comes() {
    let setup = Setup::new().with("hostile.wasm", &hostile()).trust(policy(Trust::Signed));
    let host = setup.host();
    let reason = refusal(&host.scan().await);
    assert!(reason.contains("is not signed"), "{reason}");
    assert_eq!(host.scan().await.events, [], "the same again is no news");
    for (text, part) in [("garbage", "is not a signature"), (OTHER_BYTES, "not over these bytes")] {
        setup.put("hostile.wasm.minisig", text.as_bytes());
        let reason = refusal(&host.scan().await);
        assert!(reason.contains(part), "{reason}");
    }
    // A key that nobody here trusts.
    let nobody = TrustPolicy { mode: Trust::Signed, keys: Vec::new() };
    let other =
        Setup::new().with("hostile.wasm", &hostile()).with("hostile.wasm.minisig", OTHER_BYTES.as_bytes());
    let reason = refusal(&other.trust(nobody).host().scan().await);
    assert!(reason.contains("B5F178776F5C7334, which is not one of `trusted_keys`"), "{reason}");
}

/// A good signature by [`KEY`], of something else.
const OTHER_BYTES: &str = "untrusted comment: signature from minisign secret key\nRUQ0c1xvd3jxtWQYzw8cn7iQKqLQ9clQI8VkYHTlV//0P80il9FgWh+iI4TMl1yt3H2o9bqWBfOZojlEiVLaarohdMEMP/L9YQ8=\ntrusted comment: example 1.0.0\nw3YtqKgo26hW67s/NWWZiBw6Ggq9bj/O4LNmVv72/tvN+nr61rkrx3rezI/aezZNaoCnLTEBq+YyE4TevferBQ==\n";
