//! The agent proves what lies in the stores by a schedule of its own: beside the backups, or on a machine that makes none.

use std::fs;

use holdfast_tests::relay::{Fault, Relay};
use holdfast_tests::s3::Server;
use holdfast_tests::site::quoted_path;
use holdfast_tests::{Cluster, Site};
use serde_json::Value;

const EVERY_MINUTE: &str = "\"* * * * *\"";
/// The 29th of February: not today.
const NEVER: &str = "\"0 0 29 2 *\"";
const STARTED: &str = "the agent has started";
const BUCKET: &str = "etcd-backups";

fn verify(site: Site, keys: &[(&str, &str)]) -> Site {
    keys.iter().fold(site, |site, (key, value)| site.set("[verify]", key, value))
}

/// A machine that has the store and a key, and no etcd.
fn reader(of: &Site, identity: &std::path::Path) -> Site {
    Site::with_endpoints(&[""; 0])
        .unset("cluster", "endpoints")
        .unset("cluster", "dial_timeout")
        .unset("cluster", "request_timeout")
        .unset("backup", "stores")
        .set("store.local.directory", "path", &quoted_path(&of.store()))
        .set("decrypt", "identity_files", &format!("[{}]", quoted_path(identity)))
}

fn trigger_and_outcome(record: &Value) -> (&str, &str) {
    (record["trigger"].as_str().expect("text"), record["outcome"].as_str().expect("text"))
}

#[test]
fn a_machine_with_the_key_and_without_the_cluster_proves_what_others_made() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster).encrypted();
    let key = site.path("elsewhere.key");
    fs::rename(site.identity(), &key).expect("a file can be moved");
    let site = site.set("decrypt", "identity_files", "[]");
    for value in ["1", "2"] {
        cluster.put("/a", value);
        site.backup();
    }
    // Nobody is asked who is not there.
    drop(cluster);

    let reader = verify(reader(&site, &key), &[("schedule", EVERY_MINUTE), ("pick", "\"all\"")]);
    reader.holdfast(&["config", "check"]).exits(0);
    reader.holdfast(&["backup"]).exits(2).explains(&["makes no backups"]);
    let mut agent = reader.start(&["agent"]);
    agent.wait_for_line(STARTED);
    agent.wait_for_lines(": verified", 2);
    assert_eq!(trigger_and_outcome(&site.newest_record()), ("verify", "passed"));
    let rows = site.holdfast(&["list", "--output", "json"]).exits(0).json();
    for row in rows.as_array().expect("rows") {
        assert_eq!(
            (&row["proof"], &row["proved_by"]),
            (&"passed".into(), &"verify: default".into()),
            "{rows:#}"
        );
    }

    // What is damaged meanwhile is found, marked, and told; the other is proved all the same.
    let data = site.newest_data();
    let mut bytes = fs::read(&data).expect("data");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&data, bytes).expect("a file can be written");
    let told = agent.wait_for_line("not verified: it is damaged");
    assert!(told.contains(site.newest_manifest()["id"].as_str().expect("an id")), "{told}");
    assert_eq!(trigger_and_outcome(&site.newest_record()), ("verify", "failed"));
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    assert!(!site.leaks(&agent.log()));
    site.has_no_leftovers();
    assert!(reader.scratch_files().is_empty(), "{:?}", reader.scratch_files());
}

#[test]
fn a_verification_is_taken_up_by_a_reload_and_a_wrong_one_is_not() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let site = Site::of(&cluster).set("backup", "schedule", NEVER);
    site.backup();
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line(STARTED);

    let site = verify(site, &[("schedule", EVERY_MINUTE), ("chain", "\"drill\"")]);
    agent.hang_up();
    let told = agent.wait_for_line("there is no chain `drill`");
    assert!(told.contains("holdfast.toml") && told.contains("line="), "{told}");
    agent.wait_for_line("the changed configuration is refused");

    let site = site.set("chain.drill", "steps", "[{ integrity = {} }]").set("[verify]", "store", "\"local\"");
    agent.hang_up();
    agent.wait_for_line("the configuration is reloaded");
    agent.wait_for_line(": verified");
    let record = site.newest_record();
    assert_eq!(trigger_and_outcome(&record), ("verify", "passed"));
    assert_eq!(record["steps"][0]["chain"], "drill", "{record:#}");

    // One without anything to do is no configuration of an agent.
    let site = site.unset("backup", "schedule");
    let site = ["schedule", "chain", "store"].into_iter().fold(site, |site, key| site.unset("[verify]", key));
    fs::write(site.config(), fs::read_to_string(site.config()).expect("a file").replace("[[verify]]", ""))
        .expect("a file can be written");
    agent.hang_up();
    agent.wait_for_lines("the changed configuration is refused", 2);
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn a_verification_that_hangs_holds_up_no_backup_and_ends_at_its_limit() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    // Downloads of data hang; all else goes through.
    let relay = Relay::to(server.port(), |request| {
        let is_data = request.method == "GET" && request.target.contains("/data/");
        if is_data { Fault::Silence } else { Fault::None }
    });
    let site = Site::of(&cluster).remote(&server.endpoint(), BUCKET, true);
    site.holdfast(&["backup"]).exits(0);
    let site = site.remote(&relay.endpoint(), BUCKET, true).set("backup", "stores", "[\"local\"]").set(
        "backup",
        "schedule",
        EVERY_MINUTE,
    );
    let site = verify(
        site,
        &[
            ("schedule", EVERY_MINUTE),
            ("pick", "\"oldest\""),
            ("store", "\"remote\""),
            ("timeout", "\"90s\""),
        ],
    );
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line(STARTED);
    agent.wait_for_line("verifying");
    agent.wait_for_lines("backed up and proved", 2);
    agent.wait_for_line("this verification is still under way");
    agent.wait_for_line("did not end within its `timeout`");
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    site.has_no_leftovers();
}
