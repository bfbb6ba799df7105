//! A database with all that a busy cluster leaves in one: history, deleted keys, leases, free pages.

use holdfast_tests::site::holdfast;
use holdfast_tests::{Cluster, filling};
use serde_json::Value;

#[test]
fn a_filled_cluster_is_told_as_etcd_tells_it() {
    let cluster = Cluster::builder().start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let filled = runtime.block_on(filling::fill(&cluster.endpoints(), 8)).expect("etcd takes the changes");
    assert!(filled.database_bytes > 7_900_000, "{filled:?}");
    assert!(1 < filled.compact_revision && filled.compact_revision < filled.revision, "{filled:?}");

    let directory = holdfast_tests::cluster::temporary_directory();
    let file = directory.path().join("snapshot.db").display().to_string();
    cluster.etcdctl(&["snapshot", "save", &file]);
    let told = holdfast(&["inspect", &file, "--output", "json"]);
    told.exits(0);
    let told = told.json();
    assert_eq!(told["integrity"]["outcome"], "passed", "{}", told["integrity"]);
    assert_eq!(told["revision"], filled.revision);
    assert_eq!(told["compact_revision"], filled.compact_revision);
    assert_eq!(told["live_keys"], filled.live_keys);
    assert!(told["records"].as_u64() > Some(filled.live_keys), "nothing was rewritten or deleted");
    let answer = cluster.etcdctl(&["endpoint", "hashkv", "--write-out", "json"]);
    let answer: Value = serde_json::from_str(&answer).expect("etcdctl prints JSON");
    assert!(told["hashkv"]["hash"].is_u64());
    assert_eq!(told["hashkv"]["hash"], answer[0]["HashKV"]["hash"]);
}
