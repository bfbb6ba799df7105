//! Expressions over made-up snapshots and over a real cluster's.

#[path = "../../sdk/tests/support/mod.rs"]
mod support;

use holdfast_plugin::{Context, Error, MemorySnapshot, Outcome, Report, SnapshotSource, run};
use query::QueryVerifier;
use serde_json::json;

fn try_ask(snapshot: &dyn SnapshotSource, expressions: &[&str]) -> Result<Report, Error> {
    let queries: Vec<_> = expressions.iter().map(|expect| json!({ "expect": expect })).collect();
    let context = Context::new(vec![("cluster".into(), "prod".into())]);
    run::<QueryVerifier>(snapshot, &context, &json!({ "queries": queries }).to_string())
}

fn outcome(snapshot: &dyn SnapshotSource, expression: &str) -> Outcome {
    try_ask(snapshot, &[expression]).unwrap_or_else(|error| panic!("`{expression}`: {error:?}")).outcome
}

fn small() -> MemorySnapshot {
    MemorySnapshot::new()
        .with("/app/mode", "primary")
        .with("/app/users/1", "secret-one")
        .with("/app/users/2", "secret-two")
        .with("/app/binary", b"\xff\x00".as_slice())
        .with("/registry/acme.io/widgets/web/a", r#"{"apiVersion":"acme.io/v1","kind":"Widget","metadata":{"name":"a","namespace":"web","uid":"1","labels":{"tier":"gold"}},"spec":{"replicas":3}}"#)
        .with("/registry/acme.io/widgets/web/b", r#"{"apiVersion":"acme.io/v1","kind":"Widget","metadata":{"name":"b","namespace":"web","uid":"2"},"spec":{"replicas":5}}"#)
}

#[test]
fn functions_answer_from_the_snapshot() {
    for (expression, holds) in [
        ("count('/app/') == 4", true),
        ("count('/none/') == 0", true),
        ("count('/app/users/') >= 3", false),
        ("size_bytes('/app/mode') == 16", true),
        ("present('/app/mode') && !present('/app')", true),
        ("value_of('/app/mode') == 'primary'", true),
        ("value_of('/none') == null", true),
        ("value_of('/app/users/1').startsWith('secret-')", true),
        ("value_of('/app/mode').matches('^prim.ry$')", true),
        ("keys('/app/users/') == ['/app/users/1', '/app/users/2']", true),
        ("keys('/app/users/').all(k, value_of(k).contains('secret'))", true),
        ("keys('/app/users/').exists(k, value_of(k) == 'secret-three')", false),
        ("live_keys == 6 && revision > 0 && cluster == 'prod'", true),
        ("objects('acme.io/v1', 'Widget').size() == 2", true),
        ("objects('acme.io/v1', 'Widget').all(w, w.spec.replicas >= 3)", true),
        ("objects('acme.io/v1', 'Widget').exists(w, w.name == 'a' && w.labels.tier == 'gold')", true),
        ("objects('acme.io/v1', 'Widget').filter(w, w.namespace == 'web').size() == 1", false),
        ("objects('v1', 'Secret').size() == 0", true),
        // Each answer leads to the next question.
        (
            "objects('acme.io/v1', 'Widget').all(w, present('/registry/acme.io/widgets/' + w.namespace + '/' + w.name))",
            true,
        ),
    ] {
        let wanted = if holds { Outcome::Passed } else { Outcome::Failed };
        assert_eq!(outcome(&small(), expression), wanted, "{expression}");
    }
}

#[test]
fn a_real_cluster_is_asked() {
    let snapshot = support::snapshot("kubernetes-t1");
    for expression in [
        "objects('v1', 'Namespace').exists(n, n.name == 'kube-system')",
        "objects('v1', 'Namespace').size() == count('/registry/namespaces/')",
        "objects('v1', 'Pod').size() == 138",
        "count('/registry/secrets/') == 30",
        "objects('apps/v1', 'Deployment').all(d, d.namespace != '')",
        "objects('v1', 'Namespace').all(n, present('/registry/serviceaccounts/' + n.name + '/default'))",
    ] {
        assert_eq!(outcome(&snapshot, expression), Outcome::Passed, "{expression}");
    }
    let report =
        try_ask(&snapshot, &["count('/registry/') > 0", "objects('v1', 'Node').size() > 100"]).unwrap();
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(
        report.summary,
        "1 of 2 queries hold; first: does not hold: objects('v1', 'Node').size() > 100"
    );
}

#[test]
fn what_cannot_be_told_is_not_passed() {
    let encrypted = small().with("/registry/secrets/a/b", "k8s:enc:aescbc:v1:key:\x01\x02");
    let report = try_ask(&encrypted, &["objects('v1', 'Secret').all(s, s.name != '')"]).unwrap();
    assert_eq!(report.outcome, Outcome::Inconclusive, "{report:?}");
    assert!(report.findings[0].message.contains("encrypted"), "{report:?}");
    let broken = small().with("/registry/pods/a/b", b"k8s\0\x0a\xff\xff".as_slice());
    let report = try_ask(&broken, &["objects('v1', 'Pod').size() == 0"]).unwrap();
    assert_eq!(report.outcome, Outcome::Inconclusive, "{report:?}");
    assert!(report.findings[0].message.contains("/registry/pods/a/b"), "{report:?}");
    // A field that is not there.
    let report = try_ask(&small(), &["objects('acme.io/v1', 'Widget').all(w, w.spec.size > 3)"]).unwrap();
    assert_eq!(report.outcome, Outcome::Inconclusive, "{report:?}");
    // A clear answer outweighs an unclear one.
    let report =
        try_ask(&encrypted, &["objects('v1', 'Secret').size() == 1", "count('/app/') == 0"]).unwrap();
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
}

#[test]
fn a_wrong_expression_is_an_error_of_the_config() {
    for (expression, part) in [
        ("count('/app/') >=", "queries[0].expect"),
        ("cout('/app/') > 1", "knows no `cout`"),
        ("revisoin > 1", "knows no `revisoin`"),
        ("count('/app/')", "not true or false"),
        ("count('/app/') > 'x'", "no matching overload"),
    ] {
        let error = try_ask(&small(), &[expression]).expect_err(expression);
        assert_eq!(error.code, "config", "{expression}: {error:?}");
        assert!(error.message.contains(part), "{expression}: {error:?}");
    }
    let error = run::<QueryVerifier>(&small(), &Context::default(), r#"{"queries": []}"#).expect_err("none");
    assert!(error.message.contains("nothing would be checked"), "{error:?}");
}

#[test]
fn values_appear_in_no_message() {
    for expression in [
        "value_of('/app/users/1') > 3",
        "value_of('/app/users/1')[0] == 's'",
        "int(value_of('/app/users/1')) == 1",
        "value_of('/app/users/1').nothing == 1",
        "{'a': 1}[value_of('/app/users/1')] == 1",
        "[1][value_of('/app/users/1')] == 1",
        "value_of('/app/users/1') == 'x'",
        "value_of('/app/users/1') in 3",
        "timestamp(value_of('/app/users/1')) == 1",
        "value_of('/app/users/1').matches(value_of('/app/users/2') + '[')",
    ] {
        let said = format!("{:?}", try_ask(&small(), &[expression]));
        assert!(!said.contains("secret-one") && !said.contains("secret-two"), "{expression}: {said}");
    }
}

#[test]
fn numbers_become_measurements_and_warnings_do_not_fail() {
    let config = json!({
        "queries": [{ "expect": "count('/app/') > 100", "name": "many", "severity": "warn" }],
        "measure": [{ "name": "users", "value": "count('/app/users/')", "unit": "keys" }],
    });
    let report = run::<QueryVerifier>(&small(), &Context::default(), &config.to_string()).unwrap();
    assert_eq!(report.outcome, Outcome::Passed, "{report:?}");
    assert_eq!(report.findings[0].message, "does not hold: many");
    assert_eq!((report.measurements[0].name.as_str(), report.measurements[0].value), ("users", 2.0));
}
