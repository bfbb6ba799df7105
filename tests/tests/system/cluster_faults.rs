//! Clusters that hang, die or lag while they are backed up.

use holdfast_tests::{Cluster, Process, Site, objects, wait};

/// More than what is on its way when a member is paused or dies: gRPC sends some 8 MiB ahead.
const BALLAST_BYTES: usize = 16 << 20;
/// Slow enough that a test can interfere with the stream.
const SLOW: &str = "\"4MiB\"";

/// Starts a backup, and waits until its stream is under way: a megabyte lies in the scratch folder.
fn start_and_wait_for_stream(site: &Site) -> Process {
    let mut backup = site.start(&["backup"]);
    wait::until("a scratch file to grow", || {
        assert!(!backup.has_ended(), "the backup ended too soon:\n{}", backup.log());
        let sizes = site.scratch_files().into_iter().filter_map(|file| file.metadata().ok());
        sizes.map(|metadata| metadata.len()).any(|bytes| bytes >= 1 << 20).then_some(())
    });
    backup
}

/// The backup failed with one message and left nothing.
fn failed_cleanly(site: &Site, mut backup: Process, texts: &[&str]) {
    let code = backup.wait().code();
    let log = backup.log();
    assert_eq!(code, Some(2), "{log}");
    for text in texts {
        assert!(log.to_lowercase().contains(&text.to_lowercase()), "`{text}` is missing in:\n{log}");
    }
    assert!(log.contains("hint: "), "no next step in:\n{log}");
    site.has_no_leftovers();
    assert_eq!(site.manifests().len(), 0);
}

#[test]
fn a_cluster_that_hangs_from_the_start() {
    let cluster = Cluster::builder().start();
    cluster.pause();
    let site = Site::of(&cluster).set("cluster", "dial_timeout", "\"2s\"").set(
        "cluster",
        "request_timeout",
        "\"2s\"",
    );
    let output = site.holdfast(&["backup"]);
    output.exits(2).explains(&[&cluster.endpoints()[0]]);
    site.has_no_leftovers();
    assert_eq!(site.backups().len(), 0);
}

#[test]
fn a_cluster_that_hangs_in_mid_stream() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::ballast(BALLAST_BYTES, 64 << 10));
    let site = Site::of(&cluster)
        .set("cluster", "request_timeout", "\"3s\"")
        .set("backup", "rate_limit", SLOW)
        .set("backup", "stall_timeout", "\"2s\"");
    let backup = start_and_wait_for_stream(&site);
    cluster.pause();
    failed_cleanly(&site, backup, &[&cluster.endpoints()[0]]);
}

#[test]
fn a_cluster_that_dies_in_mid_stream() {
    let mut cluster = Cluster::builder().start();
    cluster.fill(objects::ballast(BALLAST_BYTES, 64 << 10));
    let site = Site::of(&cluster).set("cluster", "dial_timeout", "\"3s\"").set("backup", "rate_limit", SLOW);
    let backup = start_and_wait_for_stream(&site);
    cluster.kill();
    failed_cleanly(&site, backup, &[&cluster.endpoints()[0]]);
}

#[test]
fn another_member_takes_over_when_one_dies_in_mid_stream() {
    let mut cluster = Cluster::builder().members(3).start();
    cluster.fill(objects::ballast(BALLAST_BYTES, 64 << 10));
    cluster.settle();
    let before = cluster.keyspace();
    let site = Site::of(&cluster)
        .set("cluster", "dial_timeout", "\"5s\"")
        .set("cluster", "request_timeout", "\"5s\"")
        .set("backup", "rate_limit", SLOW);
    let mut backup = start_and_wait_for_stream(&site);
    let sender = cluster.wait_for_sender();
    let dead = sender.endpoint.clone();
    sender.process().kill();
    let status = backup.wait();
    assert!(status.success(), "{}", backup.log());
    let manifest = site.newest_manifest();
    assert_ne!(manifest["endpoint"], dead.as_str(), "the dead member's data was taken");
    assert_eq!(manifest["facts"]["live_keys"], before.len());
    site.has_no_leftovers();
    site.has_no_committed_lie();
    site.holdfast(&["verify", "latest"]).exits(0);
}

#[test]
fn the_others_are_asked_when_one_member_hangs() {
    let mut cluster = Cluster::builder().members(3).start();
    cluster.fill(objects::kubernetes(2, 5));
    let hanging = &cluster.members()[0];
    let endpoint = hanging.endpoint.clone();
    cluster.members()[0].process().pause();
    let site = Site::of(&cluster).set("cluster", "dial_timeout", "\"2s\"").set(
        "cluster",
        "request_timeout",
        "\"2s\"",
    );
    // The others may have to elect a leader first.
    wait::until("the rest of the cluster to be backed up", || {
        (site.holdfast(&["backup"]).code == Some(0)).then_some(())
    });
    let manifest = site.newest_manifest();
    assert_ne!(manifest["endpoint"], endpoint.as_str());
    assert!(manifest["preflight"].to_string().contains(&endpoint), "{}", manifest["preflight"]);

    let strict = Site::of(&cluster)
        .set("cluster", "dial_timeout", "\"2s\"")
        .set("cluster", "request_timeout", "\"2s\"")
        .set("preflight", "unhealthy_member", "\"stop\"");
    strict.holdfast(&["backup"]).exits(2).explains(&[&endpoint]);
    assert_eq!(strict.backups().len(), 0);
    cluster.resume();
}

#[test]
fn a_learner_is_not_asked_while_a_voting_member_can_be() {
    let mut cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(2, 5));
    let learner = cluster.add_learner();
    let voter = cluster.endpoints().remove(0);
    let site = Site::with_endpoints(&[&learner, &voter]);
    assert_eq!(site.backup()["endpoint"], voter.as_str());

    let strict = Site::with_endpoints(&[&learner, &voter]).set("preflight", "learner", "\"stop\"");
    strict.holdfast(&["backup"]).exits(2).explains(&["learner"]);
    assert_eq!(strict.backups().len(), 0);
}

#[test]
fn an_alarm_is_told_and_can_stop_a_backup() {
    let cluster = Cluster::builder().quota_bytes(4 << 20).start();
    // Fill until etcd has no space left: then it raises its alarm and takes no more writes.
    for object in objects::ballast(16 << 20, 1 << 20) {
        let value = String::from_utf8(object.value).expect("ballast is text");
        if !cluster.try_etcdctl(&["put", &object.key], Some(&value)).status.success() {
            break;
        }
    }
    let site = Site::of(&cluster);
    site.holdfast(&["backup"]).exits(0).says(&["alarm"]);
    let strict = Site::of(&cluster).set("preflight", "alarm", "\"stop\"");
    strict.holdfast(&["backup"]).exits(2).explains(&["alarm"]);
    assert_eq!(strict.backups().len(), 0);
}
