//! Components built against each released version of the contract, as they lie in `fixtures`: they run for ever, or as long as
//! their major version is served.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use holdfast_runtime::{
    Allow, CallErrorKind, Got, Grants, Kind, Notice, Piece, SecretText, StoreCall, StorePlugin,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::grants::FACTS;
use crate::harness::{Setup, refusal, subject};

fn fixture(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let bytes = fs::read(file).expect("the fixture is there");
    assert!(bytes.len() < 100 << 10, "{name} has {} bytes", bytes.len());
    bytes
}

fn granted() -> Grants {
    granted_with("seen")
}

/// The secret, and a store of state by this name.
fn granted_with(state: &str) -> Grants {
    let allow =
        Allow { secrets: ["token".to_owned()].into(), state: [state.to_owned()].into(), ..Allow::default() };
    Grants::new(allow, [("token".to_owned(), SecretText::new("hunter2hunter2"))].into())
}

/// What a component sees of the snapshot, computed here without it.
fn expected() -> String {
    let file = subject();
    let live = file.live().expect("readable");
    let wanted: Vec<_> = (0..live.len())
        .map(|position| live.entry(position))
        .filter(|entry| {
            let key = entry.key;
            key >= &b"/registry/configmaps/"[..]
                && key < &b"/registry/t"[..]
                && key.windows(11).any(|part| part == b"kube-system")
                && entry.value.starts_with(b"k8s\0")
                && entry.mod_revision > 1
        })
        .collect();
    let last: Vec<_> = wanted.iter().rev().take(5).collect();
    let key_bytes: usize = last.iter().map(|entry| entry.key.len()).sum();
    let value_bytes: usize = last.iter().map(|entry| entry.value.len()).sum();
    let first = String::from_utf8_lossy(last[0].key).into_owned();
    format!("1641 0 4456480 {} | {} {key_bytes} {value_bytes} | 5 {first}", live.len(), last.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_of_each_released_contract_run_as_they_lie() {
    for (name, imports, beyond) in [
        ("verifier-0.1.0.wasm", "holdfast:host/log@0.1.0", ["", ""]),
        ("host-0.1.1.wasm", "holdfast:host/state@0.1.1", [" | 14 0 calls", " | 14 1 calls"]),
    ] {
        let bytes = fixture(name);
        assert!(String::from_utf8_lossy(&bytes).contains(imports), "{name} is built against its contract");
        let setup = Setup::new().with("frozen.wasm", &bytes);
        let host = setup.loaded().await;
        let plugin = host.registry().plugin("frozen").expect(name);
        assert_eq!(plugin.description().attributes, [("made-for".to_owned(), "the past".to_owned())]);
        // Two calls: what the second knows of the first is what it kept by the contract's own means.
        for beyond in beyond {
            let context = vec![("cluster".to_owned(), "prod-eu".to_owned())];
            let config = json!({ "prefix": "/registry/" });
            let run = plugin.verify_inspected(subject(), &FACTS, context.clone(), &config, &granted()).await;
            let report = run.result.expect(name);
            assert_eq!(report.summary, expected() + beyond, "{name}");
            assert_eq!(report.findings[0].message, config.to_string());
            assert_eq!(report.findings[0].attributes, context);
            assert_eq!(report.measurements[0].attributes, [("of".to_owned(), "a scan".to_owned())]);
            assert_eq!(report.attributes, [("hash".to_owned(), "4145899407".to_owned())]);
            assert_eq!((run.stats.log_lines, run.stats.rows > 0, run.stats.denied), (1, true, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn side_by_side_they_do_not_meet() {
    let first = fixture("verifier-0.1.0.wasm");
    let second = fixture("host-0.1.1.wasm");
    let (older, newer) =
        (Setup::new().with("frozen.wasm", &first), Setup::new().with("frozen.wasm", &second));
    let (older, newer) = (older.loaded().await, newer.loaded().await);
    let (older, newer) = (older.registry().plugin("frozen"), newer.registry().plugin("frozen"));
    let (older, newer) = (older.expect("it loads"), newer.expect("it loads"));
    let config = json!({});
    let run = |grants| {
        let (older, newer, config) = (&older, &newer, &config);
        async move {
            tokio::join!(
                older.verify_inspected(subject(), &FACTS, Vec::new(), config, grants),
                newer.verify_inspected(subject(), &FACTS, Vec::new(), config, grants)
            )
        }
    };
    let (all, nothing) = (granted(), Grants::default());
    let (one, other) = run(&all).await;
    assert!(one.result.is_ok() && other.result.is_ok(), "{one:?} {other:?}");
    // What the older contract does not know it does not miss.
    let (one, other) = run(&nothing).await;
    assert!(one.result.is_ok() && one.stats.denied == 0, "{one:?}");
    assert_eq!(other.result.expect_err("nothing is granted").kind, CallErrorKind::Error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notifier_of_the_released_contract_runs_as_it_lies() {
    let bytes = fixture("notifier-0.1.0.wasm");
    for imports in ["log", "secrets", "state"] {
        let name = format!("holdfast:host/{imports}@0.1.1");
        assert!(String::from_utf8_lossy(&bytes).contains(&name), "it is built against {name}");
    }
    let setup = Setup::new().with("frozen.wasm", &bytes);
    let host = setup.loaded().await;
    let plugin = host.registry().plugin("frozen").expect("it loads");
    assert_eq!(plugin.kind(), Kind::Notifier);
    let notice = |kind: &str| Notice {
        id: "5f0c".into(),
        time: "2026-11-21T03:00:00Z".into(),
        kind: kind.into(),
        severity: "error".into(),
        summary: "no backup was made".into(),
        cluster: "prod-eu".into(),
        cloudevent: r#"{"specversion":"1.0"}"#.into(),
        attributes: vec![("session".into(), "77".into())],
    };
    let config = json!({ "prefix": "/registry/" });
    for before in 0..2 {
        let run = plugin.notify(&notice("backup.failed"), &config, &granted()).await;
        let receipt = run.result.expect("a receipt");
        let told = "5f0c 2026-11-21T03:00:00Z backup.failed error no backup was made prod-eu";
        let kept = format!("{{\"specversion\":\"1.0\"}} | 14 {before} calls");
        assert_eq!(receipt.summary, format!("{told} {kept}"));
        let attributes = [("session", "77".to_owned()), ("config", config.to_string())];
        assert_eq!(receipt.attributes, attributes.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!((run.stats.log_lines, run.stats.denied), (1, 0));
    }
    let later = plugin.notify(&notice("later"), &config, &granted()).await;
    assert_eq!(later.result.expect_err("not now").code, "unavailable");
    assert_eq!((later.may_pass, later.retry_after), (true, Some(Duration::from_secs(30))));
}

/// Stores an object, whose bytes come in two pieces.
async fn stored(store: &StorePlugin, how: &StoreCall, path: &str, content: &[u8]) -> Result<u64, String> {
    let (sender, body) = mpsc::channel(1);
    let (first, second) = content.split_at(content.len() / 2);
    let pieces = [
        Piece::Bytes(Bytes::copy_from_slice(first)),
        Piece::Bytes(Bytes::copy_from_slice(second)),
        Piece::End,
    ];
    let feed = async move {
        for piece in pieces {
            // One that answers before it has read everything is told of by its answer.
            let _ = sender.send(piece).await;
        }
    };
    let (run, ()) = tokio::join!(store.put(how, path, body, Some(content.len() as u64)), feed);
    let stored = run.result.map_err(|failure| failure.error.code)?;
    assert_eq!((stored.claimed_bytes, stored.ended), (stored.taken_bytes, true));
    Ok(stored.claimed_bytes)
}

/// The size and the tag that an object begins with, and the bytes that it hands out.
async fn handed_out(
    store: &StorePlugin,
    how: &StoreCall,
    path: &str,
    range: (u64, Option<u64>),
) -> (Option<(u64, Option<String>)>, Vec<u8>) {
    let (into, mut out) = mpsc::channel(1);
    let taken = async {
        let (mut begun, mut bytes) = (None, Vec::new());
        while let Some(got) = out.recv().await {
            match got {
                Got::Begun { size_bytes, tag } => begun = Some((size_bytes, tag)),
                Got::Bytes(piece) => bytes.extend_from_slice(&piece),
            }
        }
        (begun, bytes)
    };
    let (run, taken) = tokio::join!(store.get(how, path, range, into), taken);
    assert!(run.result.is_ok(), "{run:?}");
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_the_released_contract_runs_as_it_lies() {
    let bytes = fixture("store-0.1.0.wasm");
    for imports in ["holdfast:store/transfer@0.1.0", "holdfast:host/state@0.1.1"] {
        assert!(String::from_utf8_lossy(&bytes).contains(imports), "it is built against {imports}");
    }
    let setup = Setup::new().with("frozen.wasm", &bytes);
    let host = setup.loaded().await;
    let store = host.registry().plugin("frozen").expect("it loads").as_store().expect("it is a store");
    let patience = Duration::from_mins(10);
    let fact = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let how = StoreCall {
        config: json!({ "prefix": "/registry/" }),
        context: [("store", "nas"), ("upload", "0123456789abcdef")].map(fact).to_vec(),
        grants: granted_with("objects"),
        answer: patience,
        transfer: patience,
        stall: patience,
    };

    let features = store.features(&how).await.result.expect("features");
    assert_eq!(features, ["atomic", "exclusive", "ranges", "sweep", &how.config.to_string()]);
    let told = store.probe(&how).await.result.expect_err("it tells what it was told by an error");
    let words = format!("14 store=nas upload=0123456789abcdef {}", how.config);
    assert!(told.error.message.contains(&words), "{}", told.error.message);
    assert_eq!((told.error.code.as_str(), told.attribute("until")), ("told", Some("2026-11-21T03:00:00Z")));

    let content: Vec<u8> = (0..5000_u32).map(|at| (at % 251) as u8).collect();
    for path in ["data/a", "data/b", "data/c", "other"] {
        assert_eq!(stored(&store, &how, path, &content).await, Ok(5000), "{path}");
    }
    assert_eq!(stored(&store, &how, "data/a", &content).await, Err("exists".to_owned()));
    let begun = Some((5000, Some("tag-5000".to_owned())));
    assert_eq!(handed_out(&store, &how, "data/a", (0, None)).await, (begun.clone(), content.clone()));
    let part = content[70..4001].to_vec();
    assert_eq!(handed_out(&store, &how, "data/a", (70, Some(4001))).await, (begun, part));

    let object = store.head(&how, "data/a").await.result.expect("an answer").expect("it is there");
    let known = (object.path.as_str(), object.size_bytes, object.tag.as_deref());
    assert_eq!(known, ("data/a", 5000, Some("tag-5000")));
    let more = (object.modified, object.locked_until.as_deref());
    assert_eq!(more, (Some(1_795_000_000_000), Some("2026-11-21T03:00:00Z")));
    assert_eq!(store.head(&how, "data/none").await.result.expect("an answer"), None);

    let first = store.list(&how, "data/", None, 2).await.result.expect("a page");
    let second = store.list(&how, "data/", first.next.as_deref(), 2).await.result.expect("a page");
    let paths: Vec<&str> =
        first.objects.iter().chain(&second.objects).map(|object| object.path.as_str()).collect();
    assert_eq!((paths, second.next), (vec!["data/a", "data/b", "data/c"], None));

    store.delete(&how, "data/a").await.result.expect("it is removed");
    assert_eq!(store.head(&how, "data/a").await.result.expect("an answer"), None);
    assert_eq!(store.sweep(&how, Duration::from_hours(1)).await.result.expect("an answer"), 3600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_built_for_a_newer_contract_is_refused_with_what_to_do() {
    for (name, packages) in [
        ("newer-0.2.0.wasm", [("verifier", "0.1.0"), ("host", "0.1.1")]),
        ("newer-script-0.2.0.wasm", [("script", "0.1.0"), ("host", "0.1.1")]),
        ("newer-notifier-0.2.0.wasm", [("notifier", "0.1.0"), ("host", "0.1.1")]),
        ("newer-store-0.2.0.wasm", [("store", "0.1.0"), ("host", "0.1.1")]),
    ] {
        let setup = Setup::new().with("frozen.wasm", &fixture(name));
        let host = setup.host();
        let reason = refusal(&host.scan().await);
        for (package, served) in packages {
            let words = format!(
                "was built for `holdfast:{package}@0.2.0`; this agent serves {served}: update the agent"
            );
            assert_eq!(reason.matches(&words).count(), 1, "{name}: {reason}");
        }
        assert!(host.registry().plugin("frozen").is_err());
    }
}
