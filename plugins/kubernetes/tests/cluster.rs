//! The verifier over a real cluster's snapshots, whole and damaged in the ways that it is there to find.

#[path = "../../sdk/tests/support/mod.rs"]
mod support;

use holdfast_plugin::{Context, MemorySnapshot, Outcome, Report, Severity, SnapshotSource, run};
use kubernetes::Kubernetes;
use serde_json::{Value, json};

fn verify(snapshot: &MemorySnapshot, config: &Value) -> Report {
    run::<Kubernetes>(snapshot, &Context::default(), &config.to_string()).expect("the verifier can work")
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn measured(report: &Report, name: &str, attribute: Option<(&str, &str)>) -> Option<u64> {
    let found = report.measurements.iter().find(|measurement| {
        measurement.name == name
            && attribute.is_none_or(|(key, value)| {
                measurement.attributes.contains(&(key.to_owned(), value.to_owned()))
            })
    });
    found.map(|measurement| measurement.value as u64)
}

fn value(snapshot: &MemorySnapshot, key: &str) -> Vec<u8> {
    snapshot.get(key.as_bytes()).expect("reads").unwrap_or_else(|| panic!("{key} is live")).value
}

/// Puts what an API server would put there with encryption at rest on.
fn encrypt(snapshot: &mut MemorySnapshot, prefix: &str) -> usize {
    let rows: Vec<_> =
        snapshot.iter().filter(|row| row.key.starts_with(prefix.as_bytes())).cloned().collect();
    for row in &rows {
        let sealed: Vec<u8> = row.value.iter().map(|byte| byte ^ 0xa5).collect();
        snapshot.put(&row.key, [b"k8s:enc:aescbc:v1:key1:", &sealed[..]].concat());
    }
    rows.len()
}

#[test]
fn a_whole_cluster_passes_without_any_config() {
    for (name, objects, kinds) in [("kubernetes-t1", 1053, 42), ("kubernetes-t2", 1173, 42)] {
        let report = verify(&support::snapshot(name), &json!({}));
        assert_eq!(report.outcome, Outcome::Passed, "{name}: {:?}", report.findings);
        assert_eq!(report.findings, [], "{name}");
        let expected = format!("{objects} objects of {kinds} kinds in 9 namespaces; all decode");
        assert_eq!(report.summary, expected);
    }
}

#[test]
fn every_kind_is_counted_as_the_api_server_counted_it() {
    for name in ["kubernetes-t1", "kubernetes-t2"] {
        let truth: Value = serde_json::from_slice(&support::unpack(&format!("{name}.truth.json.zst")))
            .expect("the truth is JSON");
        let mut kinds = std::collections::BTreeMap::<&str, u64>::new();
        for key in truth["keys"].as_array().expect("the truth lists the keys") {
            if let Some(kind) = key["api"][0]["kind"].as_str() {
                *kinds.entry(kind).or_default() += 1;
            }
        }
        let rules: Vec<Value> = kinds
            .iter()
            .map(|(kind, count)| json!({ "kind": kind, "least": count, "most": count }))
            .collect();
        let snapshot = support::snapshot(name);
        let report = verify(&snapshot, &json!({ "kinds": rules }));
        assert_eq!(report.outcome, Outcome::Passed, "{:?}", report.findings);
        for (kind, count) in &kinds {
            assert_eq!(measured(&report, "objects", Some(("kind", kind))), Some(*count), "{kind}");
        }
        let bytes: usize = snapshot.iter().map(|row| row.value.len()).sum();
        assert_eq!(measured(&report, "bytes", None), Some(bytes as u64));

        // The same counts, when nothing can be read but the keys.
        let mut sealed = snapshot;
        encrypt(&mut sealed, "/registry/");
        let report = verify(&sealed, &json!({ "kinds": rules, "namespaces": ["web", "kube-system"] }));
        assert_eq!(report.outcome, Outcome::Passed, "{:?}", report.findings);
    }
}

#[test]
fn a_missing_namespace_is_named() {
    let mut snapshot = support::snapshot("kubernetes-t1");
    let config = json!({ "namespaces": ["web", "orders", "kube-system"] });
    assert_eq!(verify(&snapshot, &config).outcome, Outcome::Passed);

    snapshot.remove("/registry/namespaces/orders");
    let report = verify(&snapshot, &config);
    assert_eq!((report.outcome, codes(&report)), (Outcome::Failed, vec!["namespace-missing"]));
    let message = &report.findings[0].message;
    assert!(message.starts_with("namespace `orders` is missing, though "), "{message}");
    assert!(report.summary.ends_with(message), "{}", report.summary);

    // Nobody asked for it, but its objects are still there.
    let report = verify(&snapshot, &json!({}));
    assert_eq!((report.outcome, codes(&report)), (Outcome::Passed, vec!["namespace-orphaned"]));
    assert_eq!(verify(&snapshot, &json!({ "orphans": "fail" })).outcome, Outcome::Failed);
    assert_eq!(verify(&snapshot, &json!({ "orphans": "ignore" })).findings, []);

    let gone: Vec<_> = snapshot
        .iter()
        .filter(|row| String::from_utf8_lossy(&row.key).contains("/orders/"))
        .map(|row| row.key.clone())
        .collect();
    for key in gone {
        snapshot.remove(key);
    }
    assert_eq!(verify(&snapshot, &config).findings[0].message, "namespace `orders` is missing");
}

#[test]
fn kinds_are_counted_by_version_and_namespace() {
    let snapshot = support::snapshot("kubernetes-t1");
    let config = json!({ "kinds": [
        { "kind": "Deployment", "api_version": "apps/v1", "least": 60 },
        { "kind": "Secret", "namespace": "web", "least": 1 },
        { "kind": "Event", "most": 100 },
        { "kind": "Deployment", "api_version": "apps/v1beta1" },
        { "kind": "secrets" },
        { "kind": "Secret", "namespace": "nowhere", "severity": "warn" },
        { "kind": "Node", "least": 5 },
        { "kind": "Pod", "most": 0, "severity": "warn" },
    ]});
    let report = verify(&snapshot, &config);
    let messages: Vec<_> =
        report.findings.iter().map(|finding| (finding.severity, finding.message.as_str())).collect();
    assert_eq!(
        messages,
        [
            (Severity::Error, "237 `Event`, more than 100"),
            (Severity::Error, "no `Deployment` (apps/v1beta1) is there"),
            (Severity::Error, "no `secrets` is there; did you mean `Secret`?"),
            (Severity::Error, "3 `Node`, fewer than 5"),
            (Severity::Warning, "no `Secret` in namespace `nowhere` is there"),
            (Severity::Warning, "138 `Pod`, more than 0"),
        ]
    );
    assert_eq!(report.outcome, Outcome::Failed);
    let summary =
        "1053 objects of 42 kinds in 9 namespaces; 4 problems, 2 warnings: 237 `Event`, more than 100";
    assert_eq!(report.summary, summary);
}

#[test]
fn broken_and_misplaced_objects_are_named_and_never_quoted() {
    let mut snapshot = support::snapshot("kubernetes-t1");
    let pod = "/registry/pods/web/";
    let pods: Vec<String> = snapshot
        .iter()
        .map(|row| String::from_utf8_lossy(&row.key).into_owned())
        .filter(|key| key.starts_with(pod))
        .take(3)
        .collect();
    // Two objects that changed places, one that lost its end, one that is no object, a JSON with a wrong type.
    let (first, second) = (value(&snapshot, &pods[0]), value(&snapshot, &pods[1]));
    snapshot.put(&pods[0], second);
    snapshot.put(&pods[1], &first);
    let cut = value(&snapshot, &pods[2]);
    snapshot.put(&pods[2], &cut[..cut.len() - 9]);
    snapshot.put("/registry/secrets/web/plain", "password=hunter2");
    let thing = r#"{"apiVersion":"a.example/v1","kind":"Thing","metadata":{"name":{"password":"hunter2"}}}"#;
    snapshot.put("/registry/a.example/things/broken", thing);

    let report = verify(&snapshot, &json!({}));
    assert_eq!(report.outcome, Outcome::Failed);
    let mut found: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            let key = finding.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            (finding.code.as_str(), key)
        })
        .collect();
    found.sort();
    let mut expected = vec![
        ("object-broken", "/registry/a.example/things/broken".to_owned()),
        ("object-broken", "/registry/secrets/web/plain".to_owned()),
        ("object-broken", pods[2].clone()),
        ("object-misplaced", pods[0].clone()),
        ("object-misplaced", pods[1].clone()),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert!(!format!("{report:?}").contains("hunter2"));

    // Not asked to decode, it counts what it can and says nothing.
    let report = verify(&snapshot, &json!({ "decode": false }));
    assert_eq!((report.outcome, report.findings.len()), (Outcome::Passed, 0));
}

#[test]
fn secrets_in_the_clear_are_named() {
    let mut snapshot = support::snapshot("kubernetes-t1");
    let report = verify(&snapshot, &json!({ "secrets_encrypted": "warn" }));
    assert_eq!((report.outcome, report.findings.len()), (Outcome::Passed, 30));
    assert!(report.findings.iter().all(|finding| finding.code == "secret-not-encrypted"));
    assert_eq!(measured(&report, "secrets-not-encrypted", None), Some(30));

    let report = verify(&snapshot, &json!({ "secrets_encrypted": "fail", "max_findings": 2 }));
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(codes(&report), ["secret-not-encrypted", "secret-not-encrypted", "more-findings"]);

    let sealed = encrypt(&mut snapshot, "/registry/secrets/");
    assert_eq!(sealed, 30);
    let config =
        json!({ "secrets_encrypted": "fail", "kinds": [{ "kind": "Secret", "least": 30, "most": 30 }] });
    let report = verify(&snapshot, &config);
    assert_eq!((report.outcome, codes(&report)), (Outcome::Passed, vec!["encrypted"]));
    assert_eq!(report.findings[0].message, "30 `secrets` are encrypted at rest and were not looked into");
    assert_eq!(measured(&report, "secrets-encrypted", None), Some(30));
    assert!(report.summary.ends_with(", 30 of them encrypted; all others decode"), "{}", report.summary);
}

/// A custom resource may have any plural. Where its objects are encrypted, its kind cannot be told from the key, and
/// saying that it is missing would be a guess.
#[test]
fn what_cannot_be_told_is_inconclusive() {
    let snapshot = MemorySnapshot::new()
        .with("/registry/zoo.example/mice/web/jerry", "k8s:enc:secretbox:v1:key1:x")
        .with("/registry/zoo.example/mice/web/itchy", "k8s:enc:secretbox:v1:key1:y")
        .with("/registry/namespaces/web", "k8s:enc:secretbox:v1:key1:z");
    let ask = |least: u64, api_version: &str| {
        let kinds = json!([{ "kind": "Mouse", "api_version": api_version, "least": least }]);
        verify(&snapshot, &json!({ "kinds": kinds })).outcome
    };
    assert_eq!(ask(2, "zoo.example/v1"), Outcome::Inconclusive);
    assert_eq!(ask(3, "zoo.example/v1"), Outcome::Failed);
    assert_eq!(ask(2, "farm.example/v1"), Outcome::Failed);
}

#[test]
fn nothing_at_all_is_not_a_whole_cluster() {
    let elsewhere = MemorySnapshot::new().with("/other/key", "1").with("/registryx/pods/a/b", "2");
    let report = verify(&elsewhere, &json!({}));
    assert_eq!((report.outcome, codes(&report)), (Outcome::Failed, vec!["no-objects"]));

    let only_its_own = MemorySnapshot::new().with(
        "/registry/ranges/x",
        value(&support::snapshot("kubernetes-t1"), "/registry/ranges/servicenodeports"),
    );
    assert_eq!(codes(&verify(&only_its_own, &json!({}))), ["no-objects"]);
}

#[test]
fn another_prefix_is_read_the_same() {
    let mut moved = MemorySnapshot::new();
    for row in support::snapshot("kubernetes-t1").iter() {
        moved.put([b"/kubernetes.io", &row.key["/registry".len()..]].concat(), &row.value);
    }
    for prefix in ["/kubernetes.io", "/kubernetes.io/"] {
        let report = verify(&moved, &json!({ "prefix": prefix, "namespaces": ["web"] }));
        assert_eq!((report.outcome, report.findings.len()), (Outcome::Passed, 0), "{}", report.summary);
    }
}

#[test]
fn keys_that_are_not_built_like_an_objects_do_not_fail_it() {
    let mut snapshot = support::snapshot("kubernetes-t1");
    let node =
        snapshot.iter().find(|row| row.key.starts_with(b"/registry/minions/")).expect("there is one").clone();
    snapshot.put("/registry/a/b/c/d/e", &node.value);
    snapshot.put("/registry/health", "ok");
    let report = verify(&snapshot, &json!({}));
    let found: Vec<_> =
        report.findings.iter().map(|finding| (finding.severity, finding.code.as_str())).collect();
    assert_eq!(found, [(Severity::Warning, "key-unusual"), (Severity::Info, "key-unusual")]);
    assert_eq!(report.outcome, Outcome::Passed);
}

#[test]
fn a_file_that_breaks_off_is_an_error_and_no_verdict() {
    let snapshot = support::snapshot("kubernetes-t1").damaged_after(300);
    let error = run::<Kubernetes>(&snapshot, &Context::default(), "{}").expect_err("it cannot read on");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("snapshot", "the file breaks off (damaged)"));
}
