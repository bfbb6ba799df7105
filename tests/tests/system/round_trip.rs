//! The main job: backup, list, show, verify, inspect, restore, and etcd boots on it with the same keys at the same revisions.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use holdfast_tests::cluster::{RestorePlan, temporary_directory};
use holdfast_tests::site::{files_below, holdfast, sha256};
use holdfast_tests::tools::{self, Etcd};
use holdfast_tests::{Cluster, Site, objects};
use serde_json::Value;

/// One row of what is tested together: chosen so that each value of each column comes up.
struct Row {
    version: &'static str,
    members: usize,
    tls_and_auth: bool,
    encrypted: bool,
}

impl Row {
    /// A member that is alone agrees with nobody: that is no proof, and should not count as a failed one.
    fn agreement(&self) -> &'static str {
        if self.members > 1 { "passed" } else { "inconclusive" }
    }

    fn agreement_step(&self) -> &'static str {
        if self.members > 1 { "{ agreement = {} }" } else { "{ agreement = {}, on_error = \"warn\" }" }
    }
}

#[test]
fn etcd_3_4() {
    if Etcd::find("3.4").is_some() {
        there_and_back(&Row { version: "3.4", members: 3, tls_and_auth: false, encrypted: true });
    }
}

#[test]
fn etcd_3_5() {
    there_and_back(&Row { version: "3.5", members: 1, tls_and_auth: true, encrypted: false });
}

#[test]
fn etcd_3_6_three_members_with_tls_and_authentication() {
    there_and_back(&Row { version: "3.6", members: 3, tls_and_auth: true, encrypted: true });
}

#[test]
fn etcd_3_7() {
    there_and_back(&Row { version: "3.7", members: 3, tls_and_auth: false, encrypted: false });
}

fn there_and_back(row: &Row) {
    let cluster = Cluster::builder()
        .version(row.version)
        .members(row.members)
        .tls(row.tls_and_auth)
        .auth(row.tls_and_auth)
        .start();
    fill(&cluster);
    let before = cluster.keyspace();
    let site = Site::of(&cluster).chain("sanity", &["{ integrity = {} }", row.agreement_step()]);
    let site = if row.encrypted { site.encrypted() } else { site };

    let backup = site.holdfast(&["--output", "json", "backup"]);
    let id = backup.exits(0).json()["id"].as_str().expect("a backup has an id").to_owned();
    site.has_no_leftovers();
    let manifest = site.newest_manifest();
    assert_eq!(manifest["id"], id.as_str());
    assert_eq!(manifest["facts"]["revision"], cluster.revision());
    assert_eq!(manifest["facts"]["live_keys"], before.len());
    assert_eq!(manifest["agreement"]["outcome"], row.agreement(), "{manifest}");
    assert_eq!(site.newest_record()["outcome"], "passed");
    only_the_owner_can_read(&site);
    assert!(!site.leaks(&backup.stderr), "a secret was printed: {backup}");

    let list = site.holdfast(&["--output", "json", "list"]);
    assert_eq!(list.exits(0).json()[0]["id"], id.as_str(), "{list}");
    let show = site.holdfast(&["--output", "json", "show", &id]);
    assert_eq!(show.exits(0).json()["manifest"]["id"], id.as_str(), "{show}");
    site.holdfast(&["verify", &id]).exits(0);

    // What anyone gets with the stock tools is what etcd sent: its own tools accept it, and see what Holdfast sees.
    let plain = site.path("plain.db");
    unpack_with_stock_tools(&site, row.encrypted, &plain);
    assert_eq!(manifest["plain"]["sha256"], sha256(&fs::read(&plain).expect("a file can be read")));
    let status = status_by_etcd(cluster.etcd(), &plain);
    let inspection = holdfast(&["--output", "json", "inspect", &plain.display().to_string()]);
    for facts in [&manifest["facts"], &inspection.exits(0).json()] {
        assert_eq!(facts["hash"], status["hash"], "{facts}\n{status}");
        assert_eq!(facts["revision"], status["revision"], "{facts}\n{status}");
        // Up to 3.5 etcd counts the items of all buckets, from 3.6 on the keys that are there.
        let counted = if cluster.etcd().is_at_least(6) { "live_keys" } else { "total_keys" };
        assert_eq!(facts[counted], status["totalKey"], "{facts}\n{status}");
        assert_eq!(facts["image_bytes"], status["totalSize"], "{facts}\n{status}");
    }
    etcd_restores(cluster.etcd(), &plain);

    let plan = RestorePlan::members(1);
    restore(&site, &plan, 0, &[]);
    let restored = plan.boot(row.version, row.tls_and_auth);
    assert_eq!(restored.keyspace(), before);
    restored.put("/registry/after", "the restored cluster takes writes");
}

#[test]
fn a_cluster_of_three_comes_back_with_a_raised_revision() {
    let cluster = Cluster::builder().start();
    fill(&cluster);
    let (before, revision) = (cluster.keyspace(), cluster.revision());
    let site = Site::of(&cluster);
    site.backup();

    let plan = RestorePlan::members(3);
    for index in 0..3 {
        restore(&site, &plan, index, &["--bump-revision=1000000", "--mark-compacted"]);
    }
    let restored = plan.boot("3.6", false);
    assert_eq!(restored.keyspace(), before);
    assert_eq!(restored.revision(), revision + 1_000_000);
    // Whoever watches from before the restore is told to start afresh.
    let watch =
        restored.try_etcdctl(&["get", "/registry/namespaces/default", &format!("--rev={revision}")], None);
    assert!(String::from_utf8_lossy(&watch.stderr).contains("compacted"), "{watch:?}");
    restored.settle();
}

#[test]
fn a_file_from_etcdctl_is_inspected_verified_and_restored_without_a_configuration() {
    let cluster = Cluster::builder().version("3.5").start();
    fill(&cluster);
    let directory = temporary_directory();
    let file = directory.path().join("saved.db").display().to_string();
    cluster.etcdctl(&["snapshot", "save", &file]);
    holdfast(&["inspect", &file]).exits(0);
    holdfast(&["verify", &file]).exits(0);

    let plan = RestorePlan::members(1);
    let mut arguments = vec!["restore".to_owned(), file.clone()];
    arguments.extend(plan.flags(0));
    holdfast(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
    // A newer etcd takes it as well.
    assert_eq!(plan.boot("3.6", false).keyspace(), cluster.keyspace());
}

#[test]
fn backups_follow_each_other_at_once() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster);
    for _ in 0..3 {
        site.holdfast(&["backup"]).exits(0);
    }
    assert_eq!(site.manifests().len(), 3, "each run has its own backup");
    let list = site.holdfast(&["--output", "json", "list"]).exits(0).json();
    let ids: Vec<String> =
        list.as_array().expect("a list").iter().map(|entry| entry["id"].to_string()).collect();
    assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
}

#[test]
fn a_real_kubernetes_cluster_reads_the_same_everywhere() {
    let directory = temporary_directory();
    for name in ["kubernetes-t1", "kubernetes-t2"] {
        let file = objects::sample(name, directory.path());
        let known = objects::sample_facts(name);
        let facts = holdfast(&["--output", "json", "inspect", &file.display().to_string()]).exits(0).json();
        assert_eq!(facts["hash"], known["etcdutl_status"]["hash"]);
        assert_eq!(facts["hashkv"]["hash"], known["hashkv"]["hash"]);
        assert_eq!(facts["revision"], known["revision"]);
        assert_eq!(facts["live_keys"], known["live_keys"]);
        assert_eq!(facts["live_keys"], known["etcdutl_status"]["totalKey"]);
        assert_eq!(facts["size_bytes"], known["db_size"]);
        assert_eq!(facts["kubernetes"], true);
    }
}

/// Objects, some changed, some deleted, and a compaction, so that a backup has a history.
fn fill(cluster: &Cluster) {
    cluster.fill(objects::kubernetes(8, 12));
    cluster.fill(objects::kubernetes(2, 12));
    cluster.etcdctl(&["del", "--prefix", "/registry/pods/team-5/"]);
    for number in 0..5 {
        cluster.put("/registry/configmaps/default/counter", &number.to_string());
    }
    // Some history goes, some stays.
    cluster.etcdctl(&["compact", &(cluster.revision() - 3).to_string()]);
    cluster.put("/registry/last", "written after the compaction");
    cluster.settle();
}

fn restore(site: &Site, plan: &RestorePlan, index: usize, more: &[&str]) {
    let mut arguments = vec!["restore".to_owned(), "latest".to_owned()];
    arguments.extend(plan.flags(index));
    arguments.extend(more.iter().copied().map(str::to_owned));
    site.holdfast(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
    let directory = plan.data_directory(index);
    assert_eq!(mode(&directory), 0o700);
    for file in files_below(&directory) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

fn only_the_owner_can_read(site: &Site) {
    for file in files_below(&site.store()) {
        assert_eq!(mode(&file) & 0o077, 0, "{} can be read by others", file.display());
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a path is there").permissions().mode() & 0o7777
}

/// `age -d | zstd -d`, as a person without Holdfast would.
fn unpack_with_stock_tools(site: &Site, encrypted: bool, plain: &Path) {
    let packed = site.path("packed.zst");
    let data = site.newest_data();
    if encrypted {
        tools::run(
            tools::program("age").arg("-d").arg("-i").arg(site.identity()).arg("-o").arg(&packed).arg(data),
        );
    } else {
        fs::copy(data, &packed).expect("a file can be copied");
    }
    let out = File::create(plain).expect("a file can be made");
    let status = tools::program("zstd").args(["-q", "-d", "-c"]).arg(packed).stdout(out).status();
    assert!(status.expect("zstd runs").success(), "zstd cannot unpack the backup");
}

/// `etcdutl snapshot status`.
fn status_by_etcd(etcd: &Etcd, file: &Path) -> Value {
    let (name, value) = Etcd::environment();
    let mut command = Command::new(etcd.etcdutl());
    command.env(name, value).args(["snapshot", "status", "--write-out=json"]).arg(file);
    serde_json::from_slice(&tools::run(&mut command)).expect("etcdutl prints JSON")
}

/// `etcdutl snapshot restore`: it compares the sha256 behind the snapshot.
fn etcd_restores(etcd: &Etcd, file: &Path) {
    let directory = temporary_directory();
    let (name, value) = Etcd::environment();
    let mut command = Command::new(etcd.etcdutl());
    command.env(name, value).args(["snapshot", "restore"]).arg(file);
    tools::run(command.arg("--data-dir").arg(directory.path().join("restored")));
}
