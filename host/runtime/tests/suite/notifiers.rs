//! Notifiers: what they are given, what comes back, and every way in which one can misbehave.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_runtime::{
    Allow, CallErrorKind, Grants, Kind, Limits, Notice, NotifyRun, PluginOptions, SecretText,
};
use serde_json::{Value, json};

use crate::harness::{Setup, rogue};

fn notice() -> Notice {
    Notice {
        id: "5f0c".into(),
        time: "2026-11-21T03:00:00Z".into(),
        kind: "backup.failed".into(),
        severity: "error".into(),
        summary: "no backup was made".into(),
        cluster: "prod-eu".into(),
        cloudevent: r#"{"specversion":"1.0"}"#.into(),
        attributes: vec![("session".into(), "77".into())],
    }
}

/// Who sleeps is stopped by the wall clock, who computes by processor time: on a machine that is busy both take long.
fn limits(sleeps: bool) -> Limits {
    Limits {
        timeout: Duration::from_secs(if sleeps { 1 } else { 120 }),
        cpu: Duration::from_millis(500),
        log_bytes: 4 << 10,
        ..Limits::default()
    }
}

fn token() -> Grants {
    let allow = Allow { secrets: ["token".to_owned()].into(), ..Allow::default() };
    Grants::new(allow, BTreeMap::from([("token".to_owned(), SecretText::new("hunter2hunter2"))]))
}

async fn told(what: &str, grants: &Grants) -> NotifyRun {
    told_as(&json!({ "do": what }), grants).await
}

async fn told_as(config: &Value, grants: &Grants) -> NotifyRun {
    let limits = limits(config["do"] == "sleep");
    let setup = Setup::new()
        .with("rogue.wasm", &rogue())
        .options("rogue", PluginOptions { limits, ..PluginOptions::default() });
    let host = setup.loaded().await;
    let plugin = host.registry().plugin("rogue").expect("it is loaded");
    assert_eq!(plugin.kind(), Kind::Notifier);
    let run = plugin.notify(&notice(), config, grants).await;
    // Whatever it did, the next event is delivered.
    let next = plugin.notify(&notice(), &json!({ "do": "deliver" }), &Grants::default()).await;
    assert_eq!(next.result.expect("the next one is delivered").summary, "backup.failed 5f0c");
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_as_it_was_handed_over() {
    let receipt = told("tell", &Grants::default()).await.result.expect("a receipt");
    let summary = "2026-11-21T03:00:00Z|error|no backup was made|prod-eu|{\"specversion\":\"1.0\"}";
    assert_eq!(receipt.summary, summary);
    assert_eq!(receipt.attributes, [("session".to_owned(), "77".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_whether_to_try_again_and_when() {
    let refused = told("refuse", &Grants::default()).await;
    let error = refused.result.expect_err("refused");
    assert_eq!((error.kind, error.code.as_str()), (CallErrorKind::Error, "refused"));
    assert!(!refused.may_pass);
    let later = told("later", &Grants::default()).await;
    assert!(later.may_pass);
    assert_eq!(later.retry_after, Some(Duration::from_secs(7)));
    let odd = told("odd", &Grants::default()).await;
    let error = odd.result.expect_err("odd");
    assert_eq!(error.code, "some-odd-code");
    assert!(!error.message.contains('\x1b'), "{}", error.message);
    assert!(odd.may_pass && odd.retry_after.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_does_not_fit_is_refused_before_it_runs() {
    let run = told_as(&json!({}), &Grants::default()).await;
    let error = run.result.expect_err("no `do`");
    assert_eq!((error.kind, error.code.as_str()), (CallErrorKind::Rejected, "config"));
    assert!(!run.may_pass, "the same config fits no better later");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_misbehave_is_told_apart_and_bounded() {
    for (what, kind, code) in [
        ("trap", CallErrorKind::Trap, "unreachable"),
        ("spin", CallErrorKind::Timeout, "cpu"),
        ("sleep", CallErrorKind::Timeout, "wall-clock"),
        ("devour", CallErrorKind::OutOfMemory, "memory"),
    ] {
        let run = told(what, &Grants::default()).await;
        let error = run.result.expect_err(what);
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{what}: {}", error.message);
        assert!(run.may_pass, "{what}");
    }
    let flood = told("flood", &Grants::default()).await;
    let error = flood.result.expect_err("it never ends by itself");
    assert_eq!(error.kind, CallErrorKind::Timeout, "{}", error.message);
    assert!(flood.stats.log_lines < 100 && flood.stats.log_lines_dropped > 100, "{:?}", flood.stats);
    let bury = told("bury", &Grants::default()).await;
    match bury.result {
        Ok(receipt) => {
            assert!(receipt.summary.len() < 4096 && receipt.attributes.len() < 100);
            assert!(!receipt.summary.contains(['\x1b', '\n']));
        }
        Err(error) => assert_eq!(error.kind, CallErrorKind::Rejected, "{}", error.message),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_comes_back_in_nothing_that_it_says() {
    for what in ["leak", "boast"] {
        let run = told(what, &token()).await;
        let shown = format!("{:?} {}", run.result, run.stderr);
        assert!(!shown.contains("hunter2"), "{what}: {shown}");
        assert!(shown.contains("[secret token]") || shown.contains("secret-token"), "{what}: {shown}");
    }
    let run = told("leak", &Grants::default()).await;
    assert_eq!(run.result.expect_err("not granted").code, "denied");
    assert_eq!(run.denied.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_is_no_notifier() {
    let setup = Setup::new().with("hostile.wasm", &crate::harness::hostile());
    let host = setup.loaded().await;
    let plugin = host.registry().plugin("hostile").expect("it is loaded");
    let run = plugin.notify(&notice(), &json!({}), &Grants::default()).await;
    let error = run.result.expect_err("it is none");
    assert_eq!((error.kind, error.code.as_str()), (CallErrorKind::Rejected, "kind"));
    assert!(error.message.contains("is a verifier, not a notifier"), "{}", error.message);
}
