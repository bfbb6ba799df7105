//! What goes is found, what comes and goes is not, over a real cluster's snapshots and changed ones.

#[path = "../../sdk/tests/support/mod.rs"]
mod support;

use drift::Drift;
use holdfast_plugin::{Context, MemorySnapshot, Outcome, Report, run};
use serde_json::{Value, json};

/// The report on a snapshot, after an earlier one was proved.
fn after(then: &MemorySnapshot, now: &MemorySnapshot, config: &Value) -> Report {
    let config = config.to_string();
    let first = run::<Drift>(then, &Context::default(), &config).expect("it can be counted");
    assert_eq!(first.outcome, Outcome::Passed, "{first:?}");
    let memo = first.memo.expect("a census is remembered");
    let context = [("previous-backup", "20261121T030000Z-1"), ("previous-memo", memo.as_str())];
    let context = context.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    run::<Drift>(now, &Context::new(context), &config).expect("it can be compared")
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// The snapshot without the keys that have this text in them.
fn without(snapshot: &MemorySnapshot, part: &str) -> MemorySnapshot {
    let mut smaller = MemorySnapshot::new();
    for row in snapshot.iter().filter(|row| !String::from_utf8_lossy(&row.key).contains(part)) {
        smaller.insert(row.clone());
    }
    smaller
}

#[test]
fn the_same_again_has_lost_nothing() {
    let snapshot = support::snapshot("kubernetes-t1");
    let report = after(&snapshot, &snapshot, &json!({}));
    assert_eq!((report.outcome, codes(&report)), (Outcome::Passed, vec![]), "{report:?}");
    assert!(
        report.summary.starts_with("nothing has gone since backup `20261121T030000Z-1`"),
        "{}",
        report.summary
    );
}

#[test]
fn a_namespace_that_vanished_is_named() {
    let then = support::snapshot("kubernetes-t1");
    let namespace = "kube-public";
    let now = without(&without(&then, &format!("/{namespace}/")), &format!("/namespaces/{namespace}"));
    let report = after(&then, &now, &json!({}));
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(codes(&report), ["namespace-vanished"], "{report:?}");
    assert!(report.findings[0].message.contains("`kube-public`"), "{report:?}");
    let report = after(&then, &now, &json!({ "may_vanish": ["kube-p*"] }));
    assert_eq!(report.outcome, Outcome::Passed, "{report:?}");
}

#[test]
fn a_fall_that_hides_in_a_growing_whole_is_found() {
    let then = support::snapshot("kubernetes-t1");
    let mut now = without(&then, "/registry/secrets/");
    for index in 0..500 {
        now.put(format!("/registry/configmaps/default/new-{index}"), "k8s");
    }
    let report = after(&then, &now, &json!({}));
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(
        report.findings.iter().any(|finding| finding.message == "resource `secrets` fell from 30 to 0 keys"),
        "{report:?}"
    );

    // The resource grows as well, in another namespace.
    let many = |namespace: &str, keys: u32| {
        let mut snapshot =
            MemorySnapshot::new().with("/registry/namespaces/a", "k8s").with("/registry/namespaces/b", "k8s");
        for index in 0..keys {
            snapshot.put(format!("/registry/secrets/{namespace}/{index}"), "k8s");
            snapshot.put(format!("/registry/configmaps/a/{index}"), "k8s");
            snapshot.put(format!("/registry/configmaps/a/more-{index}"), "k8s");
        }
        snapshot
    };
    let mut then = many("a", 20);
    then.put("/registry/secrets/b/0", "k8s");
    let report = after(&then, &many("b", 40), &json!({ "keys_fall_percent": 50 }));
    assert_eq!(codes(&report), ["resource-in-namespace-fell"], "{report:?}");
    assert!(
        report.summary.contains("resource `secrets` in namespace `a` fell from 20 to 0 keys"),
        "{}",
        report.summary
    );
}

#[test]
fn bytes_fall_as_keys_do_and_other_prefixes_are_groups() {
    let snapshot = |length: usize| {
        let mut snapshot = MemorySnapshot::new();
        for index in 0..50 {
            snapshot.put(format!("/app/users/{index}"), vec![b'x'; length]);
            snapshot.put(format!("loose-{index}"), "y");
        }
        snapshot
    };
    let report = after(&snapshot(1000), &snapshot(10), &json!({}));
    assert_eq!(codes(&report), ["whole-fell", "prefix-fell"], "{report:?}");
    assert!(report.findings[1].message.starts_with("prefix `/app/` fell from "), "{report:?}");
    let report =
        after(&snapshot(1000), &without(&snapshot(1000), "loose-"), &json!({ "keys_fall_percent": 60 }));
    assert_eq!(codes(&report), ["prefix-fell"], "{report:?}");
}

#[test]
fn what_comes_and_goes_and_what_is_few_is_not_judged() {
    let then = support::snapshot("kubernetes-t1");
    let now = without(&then, "/registry/events/");
    assert_eq!(after(&then, &now, &json!({})).outcome, Outcome::Passed);
    assert_eq!(after(&then, &now, &json!({ "ignore": [] })).outcome, Outcome::Failed);
    let now = without(&then, "/registry/storageclasses/");
    assert_eq!(after(&then, &now, &json!({})).outcome, Outcome::Passed);
    assert_eq!(after(&then, &now, &json!({ "least_keys": 1 })).outcome, Outcome::Failed);
}

#[test]
fn real_clusters_that_grew_pass() {
    let report = after(&support::snapshot("kubernetes-t1"), &support::snapshot("kubernetes-t2"), &json!({}));
    assert!(
        report.measurements.iter().any(|one| one.name == "groups-compared" && one.value > 20.0),
        "{report:?}"
    );
    assert_ne!(report.outcome, Outcome::Inconclusive, "{report:?}");
}

#[test]
fn what_is_not_known_is_not_passed_and_what_is_of_another_kind_is_told() {
    let snapshot = MemorySnapshot::new().with("/a", "b");
    let context = |name: &str, value: &str| {
        Context::new(vec![
            ("previous-backup".into(), "20261121T030000Z-1".into()),
            (name.into(), value.into()),
        ])
    };
    let unknown = Context::new(vec![("previous-unknown".into(), "store `s3` does not answer".into())]);
    let report = run::<Drift>(&snapshot, &unknown, "{}").expect("a report");
    assert_eq!(report.outcome, Outcome::Inconclusive);
    assert!(report.summary.contains("store `s3` does not answer"), "{}", report.summary);
    for memo in ["", "{}", "[1]", r#"{"format":"drift/9"}"#] {
        let report = run::<Drift>(&snapshot, &context("previous-memo", memo), "{}").expect("a report");
        assert_eq!((report.outcome, codes(&report)), (Outcome::Passed, vec!["not-comparable"]), "{memo}");
    }
}

#[test]
fn a_memo_holds_no_value_and_stays_small() {
    let mut snapshot = MemorySnapshot::new();
    for namespace in 0..3000 {
        for resource in ["secrets", "configmaps", "pods", "services/specs", "endpointslices"] {
            snapshot.put(format!("/registry/{resource}/namespace-{namespace}/object-name"), "secret-value");
        }
    }
    let report = run::<Drift>(&snapshot, &Context::default(), "{}").expect("a report");
    let memo = report.memo.expect("a census is remembered");
    assert!(memo.len() < 256 << 10, "{} bytes", memo.len());
    assert!(!memo.contains("secret-value") && !memo.contains("object-name"));
}
