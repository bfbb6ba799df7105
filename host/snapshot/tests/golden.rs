//! The engine against snapshots that real servers of each version wrote (`make-golden.sh`), and what their tools said.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod support;

use etcd_snapshot::{CheckOptions, Finding, Inspection, Outcome, ReadError, Severity, hash, inspect};
use serde_json::Value;
use support::{facts, open};

const VERSIONS: [&str; 4] = ["3.4", "3.5", "3.6", "3.7"];
const KINDS: [&str; 5] = ["empty", "history", "tombstone", "compacted", "auth"];

fn all() -> impl Iterator<Item = String> {
    VERSIONS
        .iter()
        .flat_map(|version| KINDS.iter().map(move |kind| format!("etcd-{version}-{kind}")))
        .chain(["alarm".to_owned(), "bumped".to_owned()])
}

fn check(name: &str) -> Inspection {
    inspect(&open(name), &CheckOptions::default())
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn no_good_snapshot_gives_a_false_alarm() {
    for name in all() {
        let found = check(&name);
        let alarms: Vec<_> =
            found.integrity.findings.iter().filter(|it| it.severity == Severity::Error).collect();
        assert!(alarms.is_empty(), "{name}: {alarms:#?}");
        assert_eq!(found.integrity.outcome, Outcome::Passed, "{name}");
        let expected: &[&str] = match name.as_str() {
            "alarm" => &["alarm-standing"],
            "bumped" => &["revision-bumped"],
            // etcd 3.4.23 drops the deletion at the compact revision, which was the newest change.
            "etcd-3.4-tombstone" => &["compaction-ahead"],
            // The members of 3.4 stand in its v2 store, but those it adds are in the bucket as well.
            _ if name.ends_with("-auth") => &["member-learner"],
            _ => &[],
        };
        assert_eq!(codes(&found.integrity.findings), expected, "{name}: {:#?}", found.integrity.findings);
    }
}

#[test]
fn facts_are_those_of_etcds_tools() {
    for name in all().chain(["copied-db".to_owned()]) {
        let (found, said) = (check(&name).facts, facts(&name));
        let status = &said["etcdutl_status"];
        assert_eq!(found.hash, status["hash"], "{name}");
        assert_eq!(found.image_bytes, status["totalSize"], "{name}");
        // The tool takes the last record's revision; the server goes on from the last compaction if that is later.
        let ahead = found.records == 0 || name == "etcd-3.4-tombstone";
        assert!(ahead || found.revision == status["revision"], "{name}");
        if let Some(live) = said.get("live_keys") {
            assert_eq!(found.live_keys, *live, "{name}");
            assert_eq!(found.revision, said["revision"], "{name}");
        }
        // Up to 3.5 the tool counts the items of all buckets, from 3.6 on the live keys, with the mark of a raised revision.
        let total = if found.storage_version.is_some() {
            found.live_keys + u64::from(name == "bumped")
        } else {
            found.total_keys
        };
        assert_eq!(total, status["totalKey"], "{name}");
    }
}

#[test]
fn hashkv_is_what_the_server_answered_at_every_revision() {
    let mut compared = 0;
    for name in all() {
        let (file, said) = (open(&name), facts(&name));
        let found = check(&name).facts;
        for answer in said["hashkv"].as_array().unwrap() {
            let (revision, compact) = (number(&answer["revision"]), number(&answer["compact_revision"]));
            let computed = hash::hash_kv(file.snapshot(), revision, Some(compact));
            // For a revision it has compacted at, a server answers with the hash it kept from before.
            if compact < found.compact_revision {
                assert!(matches!(computed, Err(ReadError::Compacted { .. })), "{name}: {computed:?}");
                continue;
            }
            let computed = computed.unwrap();
            assert_eq!(computed.hash, answer["hash"], "{name} at {revision}, compacted at {compact}");
            if revision == found.revision {
                assert_eq!(found.hashkv, computed, "{name}");
            }
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared}");
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

#[test]
fn a_snapshot_hashed_as_if_compacted_later_equals_the_compacted_one() {
    for version in VERSIONS {
        let before = open(&format!("etcd-{version}-history"));
        let after = check(&format!("etcd-{version}-history")).facts;
        for revision in 2..=after.revision {
            let whole = hash::hash_kv(before.snapshot(), after.revision, Some(revision));
            assert!(whole.is_ok(), "{version} {revision}: {whole:?}");
        }
        let future = hash::hash_kv(before.snapshot(), after.revision + 1, None);
        assert!(matches!(future, Err(ReadError::Future { .. })));
    }
}

#[test]
fn typed_facts_are_read() {
    for version in VERSIONS {
        let found = check(&format!("etcd-{version}-auth")).facts;
        assert_eq!(found.etcd_version.as_deref(), Some(version));
        assert!(found.auth_enabled, "{version}");
        assert_eq!(found.leases, 2, "{version}");
        assert!(found.consistent_index > 60, "{version}");
        assert_eq!(found.members.len(), 2, "{version}");
        assert!(found.members.iter().any(|member| member.is_learner), "{version}");
        assert_eq!(found.trailer, "present");
        assert!(!found.kubernetes);
        assert!(found.in_use_bytes <= found.image_bytes);
    }
    let alarms = check("alarm").facts.alarms;
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].alarm, "NOSPACE");
}

#[test]
fn a_copied_database_passes_only_where_a_missing_hash_is_allowed() {
    let file = open("copied-db");
    let strict = inspect(&file, &CheckOptions::default());
    assert_eq!(strict.integrity.outcome, Outcome::Failed);
    assert!(codes(&strict.integrity.findings).contains(&"hash-missing"));
    let allowed = inspect(&file, &CheckOptions { allow_missing_hash: true, ..CheckOptions::default() });
    assert_eq!(allowed.integrity.outcome, Outcome::Passed, "{:#?}", allowed.integrity.findings);
    assert_eq!(allowed.facts.trailer, "absent");
}

#[test]
fn live_keys_at_older_revisions_are_what_they_were() {
    let file = open("etcd-3.6-history");
    let at = |revision: i64, key: &str| {
        let live = file.live_at(revision).unwrap();
        live.get(key.as_bytes()).map(|entry| String::from_utf8_lossy(entry.value).into_owned())
    };
    for revision in 2..=6 {
        assert_eq!(at(revision, "/app/config").as_deref(), Some(format!("v{}", revision - 1).as_str()));
    }
    assert_eq!(at(8, "/app/user/2").as_deref(), Some("u2"));
    assert_eq!(at(10, "/app/user/2"), None);
    assert_eq!(at(11, "/app/user/2").as_deref(), Some("again"));
    assert_eq!(at(0, "/app/user/2").as_deref(), Some("third"));
    assert!(matches!(file.live_at(1000), Err(ReadError::Future { .. })));
    let compacted = open("etcd-3.6-compacted");
    assert!(matches!(compacted.live_at(3), Err(ReadError::Compacted { .. })));
}

#[test]
fn in_json_the_facts_stand_at_the_top() {
    let found = check("etcd-3.6-history");
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["revision"], found.facts.revision);
    assert_eq!(json["integrity"]["outcome"], "passed");
    assert!(json.get("facts").is_none());
    let again: Inspection = serde_json::from_value(json).unwrap();
    assert_eq!(again.facts.hashkv, found.facts.hashkv);
    assert_eq!(again.integrity.findings.len(), found.integrity.findings.len());
}
