//! Components built against each released version of the contract, as they lie in `fixtures`: they run for ever, or as long as
//! their major version is served.

use std::fs;
use std::path::Path;

use holdfast_runtime::{Allow, CallErrorKind, Grants, SecretText};
use serde_json::json;

use crate::grants::FACTS;
use crate::harness::{Setup, refusal, subject};

fn fixture(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let bytes = fs::read(file).expect("the fixture is there");
    assert!(bytes.len() < 100 << 10, "{name} has {} bytes", bytes.len());
    bytes
}

fn granted() -> Grants {
    let allow =
        Allow { secrets: ["token".to_owned()].into(), state: ["seen".to_owned()].into(), ..Allow::default() };
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
async fn one_that_was_built_for_a_newer_contract_is_refused_with_what_to_do() {
    let setup = Setup::new().with("frozen.wasm", &fixture("newer-0.2.0.wasm"));
    let host = setup.host();
    let reason = refusal(&host.scan().await);
    for package in ["snapshot@0.2.0`; this agent serves 0.1.0", "host@0.2.0`; this agent serves 0.1.1"] {
        assert!(reason.contains(&format!("was built for `holdfast:{package}: update the agent")), "{reason}");
    }
    assert!(host.registry().plugin("frozen").is_err());
}
