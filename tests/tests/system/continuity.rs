//! A backup follows on from the one before it, or says that it does not; a store whose disk is away is not begun anew.

use std::fs;

use holdfast_tests::disk::Disk;
use holdfast_tests::site::quoted_path;
use holdfast_tests::{Cluster, Site, objects};
use serde_json::Value;

fn step(record: &Value) -> Value {
    let steps = record["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["step"] == "continuity").expect("the default chain has the step").clone()
}

#[test]
fn a_backup_is_compared_with_the_one_before() {
    let mut cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(1, 3));
    let site = Site::of(&cluster);
    let first = site.backup();
    assert_eq!(first["continuity"]["outcome"], "passed", "{first}");
    assert!(first["continuity"]["previous"].is_null());
    cluster.put("/registry/more", "1");
    let second = site.backup();
    assert_eq!(
        (&second["continuity"]["outcome"], &second["continuity"]["previous"]),
        (&"passed".into(), &first["id"])
    );

    // A member that joins is told.
    cluster.add_learner();
    cluster.put("/registry/more", "2");
    let third = site.backup();
    assert_eq!(third["continuity"]["findings"][0]["code"], "members-changed", "{third}");
    assert_eq!(third["continuity"]["outcome"], "passed");
    let id = third["id"].as_str().expect("an id");
    let proof = step(&site.holdfast(&["--output", "json", "verify", id]).exits(0).json());
    assert_eq!(
        (&proof["outcome"], &proof["findings"][0]["code"]),
        (&"passed".into(), &"members-changed".into())
    );

    // An integrity check takes time, whenever it was made.
    let record = site.newest_record();
    let integrity = &record["steps"].as_array().expect("steps")[0];
    assert!(integrity["step"] == "integrity" && integrity["elapsed_ms"].is_u64(), "{record}");
}

/// Writes other facts into a manifest, as if another state had been backed up then.
fn rewrite(site: &Site, index: usize, change: impl FnOnce(&mut Value)) {
    let path = site.backups()[index].join("manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it is JSON");
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).expect("it can be written");
}

#[test]
fn an_older_state_and_another_cluster_fail_their_proof() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(1, 3));
    let site = Site::of(&cluster);
    site.backup();
    rewrite(&site, 0, |manifest| manifest["facts"]["revision"] = 1_000_000.into());
    let report = site.holdfast(&["--output", "json", "backup"]).exits(1).json();
    let proof = step(&report["verification"]);
    assert_eq!(
        (&proof["outcome"], &proof["findings"][0]["code"]),
        (&"failed".into(), &"revision-lower".into())
    );
    assert_eq!(site.newest_manifest()["continuity"]["outcome"], "failed");
    // It is told once: the next one follows on from this one.
    cluster.put("/registry/more", "1");
    site.holdfast(&["backup"]).exits(0);

    rewrite(&site, 1, |manifest| manifest["cluster"]["id"] = "00000000000000aa".into());
    let record = site.holdfast(&["--output", "json", "verify", "latest"]).exits(1).json();
    assert_eq!(step(&record)["findings"][0]["code"], "cluster-changed", "{record}");
    // Where the one before cannot be read, an older one is compared with, and that is told.
    fs::write(site.backups()[1].join("manifest.json"), "{").expect("it can be written");
    rewrite(&site, 0, |manifest| manifest["facts"]["revision"] = 2.into());
    let record = site.holdfast(&["--output", "json", "verify", "latest"]).exits(0).json();
    assert_eq!(step(&record)["findings"][0]["code"], "previous-unreadable", "{record}");
}

#[test]
fn a_store_whose_disk_is_away_is_not_begun_anew() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let site = Site::of(&cluster);
    let mount_point = site.path("disk");
    fs::create_dir(&mount_point).expect("a folder can be made");
    let site = site.set("store.local.directory", "path", &quoted_path(&mount_point));
    site.holdfast(&["backup"]).exits(0);
    // What is left of an unmounted disk is an empty folder.
    let away = site.path("unmounted");
    fs::rename(&mount_point, &away).expect("it is there");
    fs::create_dir(&mount_point).expect("a folder can be made");
    for command in ["backup", "list"] {
        let output = site.holdfast(&[command]);
        output.exits(2).says(&["is empty now", "mounted", "known/"]);
        assert_eq!(fs::read_dir(&mount_point).expect("it is there").count(), 0, "{output}");
    }
    let listed = site.holdfast(&["--output", "json", "list"]).exits(2).json();
    assert!(listed[0]["error"].is_string() && listed[0]["stores"][0] == "local", "{listed}");

    // And where not even the folder is left, it is not made in the place of a mount point that is gone.
    fs::remove_dir(&mount_point).expect("it is empty");
    site.holdfast(&["list"]).exits(2).says(&["mounted"]);
    site.holdfast(&["verify", "latest"]).exits(2).explains(&["mounted"]);
    site.holdfast(&["backup"]).exits(2).explains(&["mounted"]);
    let below = site.path("nowhere").join("backups");
    let elsewhere = Site::of(&cluster).set("store.local.directory", "path", &quoted_path(&below));
    elsewhere.holdfast(&["backup"]).exits(2).explains(&["nowhere", "mounted"]);
    assert!(!site.path("nowhere").exists());

    fs::remove_dir(&mount_point).unwrap_or_default();
    fs::rename(&away, &mount_point).expect("it is there");
    site.holdfast(&["backup"]).exits(0);
    let listed = site.holdfast(&["--output", "json", "list"]).exits(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_backup_is_looked_into_by_its_id() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(2, 4));
    let site = Site::of(&cluster).encrypted();
    let id = site.backup()["id"].as_str().expect("an id").to_owned();
    let look = site.holdfast(&["--output", "json", "inspect", "latest", "--top", "3"]).exits(0).json();
    assert_eq!((&look["backup"], &look["store"]), (&Value::from(id.as_str()), &"local".into()));
    let kinds = look["details"]["kinds"]["largest"].as_array().expect("kinds");
    assert!(kinds.iter().any(|kind| kind["name"] == "secrets" && kind["keys"] == 16), "{look}");
    let text = site.holdfast(&["inspect", &id, "--details", "--quick"]);
    assert!(text.exits(0).stdout.contains("/registry/secrets/"), "{text}");
    assert_eq!(
        site.scratch_files().iter().filter(|file| file.to_string_lossy().contains("inspect")).count(),
        0
    );
    site.holdfast(&["inspect", "20200101T000000Z-7"]).exits(1).explains(&["20200101T000000Z-7"]);
    // A disk without room for the unpacked file is told as one.
    let Some(disk) = Disk::mount(8 << 10) else { return };
    let site = site.set("backup", "scratch", &quoted_path(&disk.path().join("scratch")));
    site.holdfast(&["inspect", "latest"]).exits(2).explains(&["scratch"]);
}
