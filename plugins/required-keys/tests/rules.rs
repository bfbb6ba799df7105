//! The verifier's rules: over made-up snapshots, and over a real cluster's.

#[path = "../../sdk/tests/support/mod.rs"]
mod support;

use holdfast_plugin::{Context, Error, MemorySnapshot, Outcome, Report, Severity, SnapshotSource, run};
use required_keys::RequiredKeys;
use serde_json::{Value, json};

fn try_verify(snapshot: &dyn SnapshotSource, rules: &Value) -> Result<Report, Error> {
    run::<RequiredKeys>(snapshot, &Context::default(), &json!({ "rules": rules }).to_string())
}

fn verify(snapshot: &dyn SnapshotSource, rules: &Value) -> Report {
    try_verify(snapshot, rules).expect("the verifier can work")
}

fn messages(report: &Report) -> Vec<(&str, &str)> {
    report.findings.iter().map(|finding| (finding.code.as_str(), finding.message.as_str())).collect()
}

fn small() -> MemorySnapshot {
    MemorySnapshot::new()
        .with("/app/config", "mode=primary\n")
        .with("/app/users/1", "a:secret-one")
        .with("/app/users/2", "b:secret-two")
        .with("/app/users/3", [b"c:".as_slice(), &[0xff, 0x00], b"secret-three"].concat())
        .with(b"/app/users/\xff\n", "d:")
}

#[test]
fn rules_that_hold_pass() {
    let rules = json!([
        { "key": "/app/config" },
        { "key": "/app/lock", "absent": true },
        { "prefix": "/app/users/", "least": 4, "most": 4 },
        { "prefix": "/old/", "most": 0 },
        { "key": "/app/config", "value": { "equals": "mode=primary\n" } },
        { "key": "/app/config", "value": { "prefix": "mode=", "suffix": "\n", "contains": "prim", "least_bytes": 13, "most_bytes": 13 } },
        { "key": "/app/users/3", "value": { "matches": "^c:.+secret-[a-z]+$" } },
        { "prefix": "/app/users/", "value": { "matches": "^[a-d]:" } },
    ]);
    let report = verify(&small(), &rules);
    assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Passed, "all 8 rules hold"));
    assert_eq!(report.findings, []);
    assert_eq!(verify(&small(), &json!([{ "key": "/app/config" }])).summary, "the rule holds");
}

#[test]
fn what_is_missing_is_named() {
    let rules = json!([
        { "key": "/app/gone" },
        { "key": "/app/gone", "value": { "equals": "x" } },
        { "key": "/app/config", "absent": true },
        { "prefix": "/gone/" },
        { "prefix": "/app/users/", "least": 10, "name": "users" },
        { "prefix": "/app/users/", "most": 2 },
        { "prefix": "/app/config", "most": 0 },
        { "key": "/app/config" },
    ]);
    let report = verify(&small(), &rules);
    assert_eq!(
        messages(&report),
        [
            ("key-missing", "key `/app/gone` is missing"),
            ("key-missing", "key `/app/gone` is missing"),
            ("key-unwanted", "key `/app/config` must not be there"),
            ("prefix-missing", "no key begins with `/gone/`"),
            ("too-few-keys", "users: 4 keys begin with `/app/users/`, fewer than 10"),
            ("too-many-keys", "4 keys begin with `/app/users/`, more than 2"),
            ("too-many-keys", "1 key begins with `/app/config`, but none may"),
        ]
    );
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(report.summary, "7 of 8 rules do not hold: key `/app/gone` is missing");
    assert_eq!(report.findings[0].key.as_deref(), Some(&b"/app/gone"[..]));
}

#[test]
fn values_are_compared_and_never_printed() {
    let rules = json!([
        { "key": "/app/config", "value": { "equals": "hunter2", "prefix": "x", "suffix": "x", "contains": "x", "matches": "^x", "least_bytes": 99, "most_bytes": 1 } },
        { "prefix": "/app/users/", "value": { "contains": "secret-t" } },
    ]);
    let report = verify(&small(), &rules);
    assert_eq!(
        messages(&report),
        [
            ("value-mismatch", "the value of `/app/config` is not what `equals` says"),
            ("value-mismatch", "the value of `/app/config` does not begin with what `prefix` says"),
            ("value-mismatch", "the value of `/app/config` does not end with what `suffix` says"),
            ("value-mismatch", "the value of `/app/config` does not contain what `contains` says"),
            ("value-mismatch", "the value of `/app/config` does not match what `matches` says"),
            ("value-mismatch", "the value of `/app/config` has fewer than 99 bytes"),
            ("value-mismatch", "the value of `/app/config` has more than 1 bytes"),
            ("value-mismatch", "the value of `/app/users/1` does not contain what `contains` says"),
            ("value-mismatch", "the value of `/app/users/\\xff\\x0a` does not contain what `contains` says"),
        ]
    );
    let whole = format!("{report:?}");
    for secret in ["hunter2", "secret-one", "primary"] {
        assert!(!whole.contains(secret), "{secret}");
    }
}

#[test]
fn a_warning_does_not_fail_the_verification() {
    let rules = json!([{ "key": "/app/gone", "severity": "warn" }, { "key": "/app/config" }]);
    let report = verify(&small(), &rules);
    assert_eq!((report.outcome, report.findings[0].severity), (Outcome::Passed, Severity::Warning));
    assert_eq!(report.summary, "1 of 2 rules does not hold (warning only): key `/app/gone` is missing");

    let rules = json!([{ "key": "/app/gone", "severity": "warn" }, { "prefix": "/gone/" }]);
    let report = verify(&small(), &rules);
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(report.summary, "2 of 2 rules do not hold: no key begins with `/gone/`");
    assert_eq!(report.findings[0].severity, Severity::Error);
}

#[test]
fn a_million_broken_values_are_counted() {
    let mut snapshot = MemorySnapshot::new();
    for index in 0..1000 {
        snapshot.put(format!("/k/{index:04}"), "v");
    }
    let config = json!({ "rules": [{ "prefix": "/k/", "value": { "equals": "w" } }], "max_findings": 3 });
    let report = run::<RequiredKeys>(&snapshot, &Context::default(), &config.to_string()).expect("works");
    assert_eq!(report.findings.len(), 4);
    assert_eq!(messages(&report)[3], ("more-findings", "997 more of `value-mismatch` are not listed"));
}

#[test]
fn counts_are_measured_by_rule() {
    let rules = json!([{ "prefix": "/app/users/", "name": "users" }, { "prefix": "/app/", "least": 9, "severity": "warn" }]);
    let report = verify(&small(), &rules);
    let measured: Vec<_> = report
        .measurements
        .iter()
        .map(|measurement| {
            let rule = measurement.attributes.first().map_or("", |(_, rule)| rule.as_str());
            (measurement.name.as_str(), rule, measurement.value as u64)
        })
        .collect();
    assert_eq!(
        measured,
        [
            ("keys", "users", 4),
            ("value-bytes", "users", 42),
            ("keys", "/app/", 5),
            ("value-bytes", "/app/", 55),
            ("rules", "", 2),
            ("rules-broken", "", 1),
        ]
    );
}

#[test]
fn a_check_of_nothing_is_refused() {
    assert_eq!(try_verify(&small(), &json!([])).expect_err("no rule").code, "config");
    let error = run::<RequiredKeys>(&small(), &Context::default(), "{}").expect_err("no rules");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("config", "missing field `rules`"));
}

#[test]
fn a_file_that_breaks_off_is_an_error_and_no_verdict() {
    let rules = json!([{ "prefix": "/app/", "value": { "least_bytes": 1 } }]);
    let error = try_verify(&small().damaged_after(2), &rules).expect_err("it cannot read on");
    assert_eq!(error.code, "snapshot");
}

#[test]
fn a_real_cluster_is_counted_as_etcd_counted_it() {
    for name in ["kubernetes-t1", "kubernetes-t2"] {
        let facts = std::fs::read(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("../../tests/data/{name}.facts.json")),
        )
        .expect("the facts are there");
        let facts: Value = serde_json::from_slice(&facts).expect("the facts are JSON");
        let prefixes = facts["count_by_prefix"].as_object().expect("the facts count prefixes");
        let rules: Vec<Value> = prefixes
            .iter()
            .map(|(prefix, count)| json!({ "prefix": format!("{prefix}/"), "least": count, "most": count }))
            .chain([
                json!({ "key": "/registry/namespaces/kube-system", "value": { "prefix": "k8s\u{0}", "matches": "Namespace" } }),
                json!({ "prefix": "/registry/ops.sample.example/", "value": { "prefix": "{", "suffix": "}\n" } }),
            ])
            .collect();
        let report = verify(&support::snapshot(name), &json!(rules));
        assert_eq!(report.outcome, Outcome::Passed, "{:?}", report.findings);
    }
}
