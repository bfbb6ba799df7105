//! Backups in a store that is a plugin, with a real WebDAV server behind it: made, listed, checked, brought to another store and
//! back, pruned, restored; side by side with a directory; broken off.

use std::fs;

use holdfast_tests::relay::{Fault, Relay, Request};
use holdfast_tests::webdav::Server;
use holdfast_tests::{Cluster, Site, objects, wait};

const FOLDER: &str = "etcd";

/// What uploads left that did not end.
fn uploads(server: &Server) -> Vec<String> {
    server.files(FOLDER).into_iter().filter(|file| file.starts_with(".uploads/")).collect()
}

fn manifests(server: &Server) -> usize {
    server.files(FOLDER).iter().filter(|file| file.ends_with("/manifest.json")).count()
}

#[test]
fn a_backup_goes_to_a_plugin_and_comes_back() {
    let Some(server) = Server::start_with_tls() else { return };
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(20, 50));
    let site = Site::of(&cluster).encrypted().nas(&server, FOLDER, false);
    site.holdfast(&["config", "check"]).exits(0);
    site.holdfast(&["backup"]).exits(0);
    site.holdfast(&["backup"]).exits(0);
    let list = site.holdfast(&["list", "--output", "json"]);
    list.exits(0);
    assert!(list.stdout.contains("\"nas\""), "{list}");
    site.holdfast(&["check", "--read-data", "--store", "nas"]).exits(0);
    site.holdfast(&["verify", "latest"]).exits(0);
    let pruning = site.set("retention", "last", "1");
    pruning.holdfast(&["prune", "--store", "nas"]).exits(0);
    assert_eq!(manifests(&server), 1);
    // To a directory and back: without a key, as it is stored.
    let both = pruning.set("backup", "stores", "[\"local\", \"nas\"]");
    fs::create_dir_all(both.store()).expect("a folder can be made");
    both.holdfast(&["sync", "--from", "nas", "--to", "local"]).exits(0);
    assert_eq!(both.manifests().len(), 1);
    both.has_no_committed_lie();
    fs::remove_dir_all(server.folder(FOLDER)).expect("a share can be taken away");
    fs::create_dir(server.folder(FOLDER)).expect("and be given back");
    both.holdfast(&["sync", "--from", "local", "--to", "nas"]).exits(0);
    assert_eq!(manifests(&server), 1);
    both.holdfast(&["check", "--read-data", "--store", "nas"]).exits(0);
    let target = both.path("restored");
    let target_text = target.display().to_string();
    both.holdfast(&["restore", "latest", "--store", "nas", "--data-dir", &target_text]).exits(0);
    assert!(target.join("member/snap/db").exists());
    assert_eq!(uploads(&server), Vec::<String>::new(), "something of an upload is left");
}

#[test]
fn a_share_that_vanishes_takes_nothing_from_the_other_store() {
    let Some(server) = Server::start() else { return };
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(3, 10));
    let site = Site::of(&cluster).nas(&server, "share/etcd", true);
    fs::create_dir(server.folder("share")).expect("a folder can be made");
    site.holdfast(&["backup"]).exits(0);
    assert_eq!(site.manifests().len(), 1);
    fs::remove_dir_all(server.folder("share")).expect("a share can be taken away");
    let second = site.holdfast(&["backup"]);
    second.exits(1).says(&["nas", "is not there"]);
    assert_eq!(site.manifests().len(), 2, "the store that works misses the backup: {second}");
    site.has_no_committed_lie();
    // So does a plugin that is not there.
    fs::remove_file(site.path("plugins").join("webdav.wasm")).expect("a file can be removed");
    let third = site.holdfast(&["backup"]);
    third.exits(1).says(&["nas", "there is no plugin `webdav`"]);
    assert_eq!(site.manifests().len(), 3, "the store that works misses the backup: {third}");
    let check = site.holdfast(&["config", "check"]);
    check.exits(1).says(&["there is no plugin `webdav`", "hint: copy `webdav.wasm`"]);
}

#[test]
fn what_a_killed_run_uploaded_is_taken_away_by_the_next() {
    let Some(server) = Server::start() else { return };
    let cluster = Cluster::builder().start();
    cluster.fill(objects::ballast(24 << 20, 64 << 10));
    let relay = Relay::to(server.port(), |request| {
        // The upload arrives, and is not moved to its place.
        if request.method == "MOVE" && request.target.contains("-1") && !request.target.contains("probe") {
            Fault::Silence
        } else {
            Fault::None
        }
    });
    let site = Site::of(&cluster).nas(&server, FOLDER, false);
    site.holdfast(&["config", "check"]).exits(0);
    let site = site.nas_at(&relay.endpoint(), FOLDER, false);
    let mut backup = site.start(&["backup"]);
    wait::until("an upload to wait for its place", || {
        let requests = relay.requests();
        let asked = |request: &Request| request.method == "MOVE" && !request.target.contains("probe");
        (requests.iter().any(asked) && !uploads(&server).is_empty()).then_some(())
    });
    backup.kill();
    assert!(!uploads(&server).is_empty(), "the killed run left its upload");
    assert_eq!(manifests(&server), 0, "there is a committed lie");
    let site = site.nas_at(&server.origin(), FOLDER, false);
    site.holdfast(&["backup"]).exits(0);
    site.holdfast(&["check", "--read-data", "--store", "nas"]).exits(0);
    assert_eq!(manifests(&server), 1);
}

#[test]
fn an_author_sees_which_promises_his_store_keeps() {
    let Some(server) = Server::start() else { return };
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster).nas(&server, FOLDER, false);
    let plugin = site.path("plugins/webdav.wasm").display().to_string();
    let check = site.holdfast(&["plugin", "check", &plugin, "--output", "json"]);
    check.exits(0);
    assert_eq!(check.json()["kind"], "store", "{check}");
    let run = site.holdfast(&["plugin", "run", &plugin, "--output", "json"]);
    run.exits(0);
    assert_eq!(run.json()["runs"][0]["kept"], true, "{run}");
    assert_eq!(server.files(FOLDER), Vec::<String>::new(), "something is left");
}
