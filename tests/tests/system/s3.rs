//! Backups in a real S3 server: made, listed, proved, restored; side by side with a directory; broken off.

use std::fs;

use holdfast_tests::relay::{Fault, Relay};
use holdfast_tests::s3::Server;
use holdfast_tests::{Cluster, Site, objects, wait};

const BUCKET: &str = "etcd-backups";

/// The parts of uploads that were neither completed nor aborted, where versitygw keeps them.
fn uploads(server: &Server) -> Vec<String> {
    server.objects(BUCKET).into_iter().filter(|key| key.contains(".sgwtmp")).collect()
}

#[test]
fn a_backup_goes_to_s3_and_comes_back() {
    let Some(server) = Server::start_with_tls() else { return };
    server.bucket(BUCKET);
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(20, 50));
    let site = Site::of(&cluster).encrypted().bucket(&server, BUCKET, false);
    site.holdfast(&["config", "check"]).exits(0);
    site.holdfast(&["backup"]).exits(0);
    let list = site.holdfast(&["list", "--output", "json"]);
    list.exits(0);
    assert!(list.stdout.contains("remote"), "{list}");
    site.holdfast(&["verify", "latest"]).exits(0);
    let target = site.path("restored");
    site.holdfast(&["restore", "latest", "--data-dir", &target.display().to_string()]).exits(0);
    assert!(target.join("member/snap/db").exists());
    assert_eq!(uploads(&server), Vec::<String>::new(), "parts of uploads are left");
    assert!(site.backups().is_empty(), "a store that is not named got a backup");
}

#[test]
fn a_bucket_that_vanishes_takes_nothing_from_the_other_store() {
    let Some(server) = Server::start() else { return };
    let bucket = server.bucket(BUCKET);
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(3, 10));
    let site = Site::of(&cluster).bucket(&server, BUCKET, true);
    site.holdfast(&["backup"]).exits(0);
    assert_eq!(site.manifests().len(), 1);
    fs::remove_dir_all(bucket).expect("a bucket can be taken away");
    let second = site.holdfast(&["backup"]);
    second.exits(1).says(&["remote", "there is no such bucket"]);
    assert_eq!(site.manifests().len(), 2, "the store that works misses the backup: {second}");
    site.has_no_committed_lie();
    let check = site.holdfast(&["config", "check"]);
    check.exits(1).says(&["there is no such bucket", "hint: make the bucket"]);
}

#[test]
fn what_a_killed_run_uploaded_is_taken_away_by_the_next() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let cluster = Cluster::builder().start();
    // Several parts of 5 MiB, packed.
    cluster.fill(objects::ballast(24 << 20, 64 << 10));
    let relay = Relay::to(server.port(), |request| {
        if request.is_part() && request.target.contains("partNumber=2") {
            Fault::Silence
        } else {
            Fault::None
        }
    });
    let site = Site::of(&cluster).remote(&relay.endpoint(), BUCKET, false);
    let mut backup = site.start(&["backup"]);
    wait::until("the second part", || {
        relay.requests().iter().any(|request| request.target.contains("partNumber=2")).then_some(())
    });
    wait::until("the first part to lie in the bucket", || (!uploads(&server).is_empty()).then_some(()));
    backup.kill();
    assert!(!uploads(&server).is_empty(), "the killed run left its upload");
    let site = site.remote(&server.endpoint(), BUCKET, false);
    site.holdfast(&["backup"]).exits(0);
    assert_eq!(uploads(&server), Vec::<String>::new(), "the upload of the killed run is left");
    site.holdfast(&["verify", "latest"]).exits(0);
}
