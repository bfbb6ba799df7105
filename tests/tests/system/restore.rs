//! What stands around a restore: the plan told beforehand, the revision raised, all members at once, the wrong file and the full
//! disk refused, and the next store when a copy is bad.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use holdfast_tests::cluster::{RestorePlan, temporary_directory};
use holdfast_tests::disk::Disk;
use holdfast_tests::site::{finish, holdfast, quoted_path};
use holdfast_tests::{Cluster, Output, Site, objects};
use serde_json::Value;

const WEEK_OF_HEADROOM: i64 = 1_000_000_000;

fn restore_json(site: &Site, arguments: &[&str]) -> Value {
    site.holdfast(&[&["--output", "json", "restore"], arguments].concat()).exits(0).json()
}

/// Facts of a restored database.
fn inspected(data_directory: &Path) -> Value {
    let database = data_directory.join("member/snap/db").display().to_string();
    holdfast(&["--output", "json", "inspect", &database, "--allow-missing-hash"]).exits(0).json()
}

fn entries(directory: &Path) -> Vec<String> {
    let read = fs::read_dir(directory).expect("a folder can be read");
    let mut names: Vec<String> =
        read.map(|entry| entry.expect("it is there").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_rehearsal_tells_all_and_writes_nothing() {
    let directory = temporary_directory();
    let file = objects::sample("kubernetes-t1", directory.path()).display().to_string();
    let known = objects::sample_facts("kubernetes-t1");
    let target = directory.path().join("restored");
    let arguments = ["restore", &file, "--data-dir", &target.display().to_string(), "--dry-run"];
    let plan = holdfast(&[&["--output", "json"], &arguments[..]].concat()).exits(0).json();
    assert_eq!(entries(directory.path()), ["kubernetes-t1.db"], "a rehearsal left something");

    assert_eq!(plan["integrity"]["outcome"], "passed", "{plan}");
    assert_eq!(plan["snapshot_revision"], known["revision"]);
    assert_eq!(plan["live_keys"], known["live_keys"]);
    assert!(plan["bump_revision"].as_i64() >= Some(WEEK_OF_HEADROOM), "{plan}");
    assert_eq!(plan["members"][0]["name"], "default");
    let space = &plan["space"][0];
    assert!(space["needed_bytes"].as_u64() > Some(64_000_000), "{plan}");
    assert!(space["free_bytes"].as_u64() >= space["needed_bytes"].as_u64(), "{plan}");
    assert!(plan["check_ms"].is_u64() && plan["fetch_ms"].is_u64() && plan["token"].is_string(), "{plan}");
    let told = holdfast(&arguments);
    assert!(told.exits(0).says(&["nothing was written"]).stdout.contains("about "), "{told}");

    holdfast(&[&arguments[..4], &["--compact", "--clear-alarms"]].concat()).exits(0);
    assert!(target.join("member/snap/db").exists());
}

#[test]
fn the_revision_of_kubernetes_is_raised_unless_told_otherwise() {
    let directory = temporary_directory();
    let file = objects::sample("kubernetes-t1", directory.path()).display().to_string();
    let revision = objects::sample_facts("kubernetes-t1")["revision"].as_i64().expect("a revision");
    let restore = |name: &str, more: &[&str]| {
        let target = directory.path().join(name).display().to_string();
        holdfast(&[&["--output", "json", "restore", &file, "--data-dir", &target], more].concat())
    };
    let raised = restore("raised", &[]).exits(0).json();
    assert!(raised["revision"].as_i64() >= Some(revision + WEEK_OF_HEADROOM), "{raised}");
    assert_eq!(raised["snapshot_revision"], revision);
    assert_eq!(raised["bump"]["newest_revision"], revision);
    // Marked as compacted as well, or a watcher would not be told.
    let restored = inspected(&directory.path().join("raised"));
    assert_eq!(restored["scheduled_compact_revision"], raised["revision"]);

    for (name, none) in [("none", "none"), ("zero", "0")] {
        let kept = restore(name, &["--bump-revision", none]);
        assert_eq!(kept.exits(0).json()["revision"], revision);
        kept.says(&["not raised"]);
    }
    restore("given", &["--bump-revision", "1000", "--mark-compacted"]).exits(0);
    assert_eq!(inspected(&directory.path().join("given"))["revision"], revision + 1000);
    restore("half", &["--bump-revision", "1000"]).exits(2).explains(&["compacted"]);
    restore("half", &["--bump-revision", "none", "--mark-compacted"]).exits(2).explains(&["bumped"]);
    restore("half", &["--bump-revision", "some"]).exits(2).says(&["some", "auto"]);

    // Each of several machines would come to an amount of its own.
    let several = ["--name", "a", "--initial-cluster", "a=http://localhost:2380,b=http://localhost:2390"];
    let several = [&several[..], &["--initial-cluster-token", "t"]].concat();
    restore("half", &several).exits(2).explains(&["same amount", "--bump-revision 1", "--print-commands"]);
    assert!(!directory.path().join("half").exists());
}

#[test]
fn the_raise_starts_above_what_any_backup_or_member_has_seen() {
    let mut cluster = Cluster::builder().start();
    cluster.put("/registry/a", "1");
    let site = Site::of(&cluster);
    let first = site.backup();
    cluster.fill(objects::kubernetes(1, 3));
    let second = site.backup();
    cluster.put("/registry/last", "unsaved");
    let (id, newest) = (first["id"].as_str().expect("an id"), cluster.revision());
    let bump = |name: &str| {
        let target = site.path(name).display().to_string();
        restore_json(&site, &[id, "--data-dir", &target])
    };
    let alive = bump("alive");
    assert_eq!(alive["bump"]["newest_revision"], newest, "{alive}");
    assert!(alive["bump"]["seen_by"].as_str().expect("a source").starts_with("member "), "{alive}");
    assert_eq!(alive["revision"], newest + WEEK_OF_HEADROOM);

    cluster.kill();
    let alone = bump("alone");
    assert_eq!(alone["bump"]["newest_revision"], second["facts"]["revision"], "{alone}");
    let seen_by = alone["bump"]["seen_by"].as_str().expect("a source");
    assert!(seen_by.contains(second["id"].as_str().expect("an id")), "{alone}");
}

#[test]
fn all_members_at_once_form_a_cluster_with_raised_revision_and_without_passwords() {
    let cluster = Cluster::builder().auth(true).start();
    cluster.fill(objects::kubernetes(1, 3));
    let (before, revision) = (cluster.keyspace(), cluster.revision());
    let site = Site::of(&cluster);
    site.backup();

    let plan = RestorePlan::members(3);
    let flags = plan.all_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let restored = restore_json(&site, &[&["latest", "--strip-auth"], &*flags].concat());
    assert_eq!(restored["members"].as_array().expect("members").len(), 3, "{restored}");
    let start = restored["revision"].as_i64().expect("a revision");
    assert!(start >= revision + WEEK_OF_HEADROOM);
    for index in 0..3 {
        let facts = inspected(&plan.data_directory(index));
        assert_eq!((&facts["auth_enabled"], &facts["revision"]), (&Value::Bool(false), &start.into()));
    }
    let restored = plan.boot("3.6", false);
    assert_eq!(restored.keyspace(), before);
    restored.put("/registry/after", "no password asked");
    assert_eq!(restored.revision(), start + 1);
}

#[test]
fn the_commands_for_each_machine_form_a_cluster() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(1, 3));
    let before = cluster.keyspace();
    let site = Site::of(&cluster);
    let id = site.backup()["id"].as_str().expect("an id").to_owned();

    let plan = RestorePlan::members(3);
    let initial_cluster = plan.initial_cluster();
    let arguments =
        ["latest", "--print-commands", "--initial-cluster", &initial_cluster, "--data-dir", "/var/lib/etcd"];
    let text = site.holdfast(&[&["restore"], &arguments[..]].concat());
    assert!(text.exits(0).stdout.contains("# on the machine of member `r1`\nholdfast restore "), "{text}");
    let commands = restore_json(&site, &arguments);
    for (index, command) in commands.as_array().expect("commands").iter().enumerate() {
        let words = command["command"].as_array().expect("words").iter();
        let words: Vec<String> = words.map(|word| word.as_str().expect("a word").to_owned()).collect();
        assert_eq!(words[..3], ["holdfast", "restore", &id]);
        let target = plan.data_directory(index).display().to_string();
        let words: Vec<&str> = words[1..]
            .iter()
            .map(|word| if word == "/var/lib/etcd" { &target } else { word.as_str() })
            .collect();
        site.holdfast(&words).exits(0);
    }
    let restored = plan.boot("3.6", false);
    assert_eq!(restored.keyspace(), before);
    restored.put("/registry/after", "it takes writes");
    restored.settle();
}

#[test]
fn another_snapshot_than_the_one_described_is_refused() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let site = Site::of(&cluster);
    let first = site.backup();
    cluster.put("/a", "2");
    site.backup();
    let id = first["id"].as_str().expect("an id");
    let manifest = site.backups()[0].join("manifest.json").display().to_string();
    let file = site.path("look.json");
    let shown = site.holdfast(&["--output", "json", "show", id]);
    fs::write(&file, &shown.stdout).expect("a file can be written");
    let shown = file.display().to_string();
    let target = site.path("restored").display().to_string();
    for against in [id, &manifest, &shown] {
        let arguments = ["--data-dir", &target, "--verify-against", against];
        let refused = site.holdfast(&[&["restore", "latest"], &arguments[..]].concat());
        refused.exits(1).explains(&["revision", "sha256", against]);
        assert!(!Path::new(&target).exists(), "{refused}");
        let restored = restore_json(&site, &[&[id], &arguments[..]].concat());
        let compared = restored["compared"].as_array().expect("comparisons");
        assert!(compared.iter().any(|it| it["what"] == "sha256" && it["equal"] == true), "{restored}");
        fs::remove_dir_all(&target).expect("it was restored");
    }
    let refused = site.holdfast(&[
        "restore",
        "--data-dir",
        &target,
        "--verify-against",
        &site.config().display().to_string(),
    ]);
    refused.exits(2).explains(&["holdfast.toml"]);
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_written() {
    let Some(disk) = Disk::mount(32 << 20) else { return };
    let cluster = Cluster::builder().start();
    cluster.put("/small", "value");
    let site = Site::of(&cluster);
    site.backup();
    let target = disk.path().join("restored").display().to_string();
    for more in [&[][..], &["--dry-run"]] {
        let refused = site.holdfast(&[&["restore", "latest", "--data-dir", &target], more].concat());
        refused.exits(2).explains(&["space", &target]);
        assert_eq!(disk.files().len(), 0, "{refused}");
    }
    // A log elsewhere leaves enough here.
    let wal = site.path("wal").display().to_string();
    site.holdfast(&["restore", "latest", "--data-dir", &target, "--wal-dir", &wal]).exits(0);
    assert_eq!(entries(Path::new(&wal)).len(), 1);
}

#[test]
fn what_a_killed_restore_left_goes_with_the_next() {
    let directory = temporary_directory();
    let file = objects::sample("kubernetes-t1", directory.path()).display().to_string();
    let dead = directory.path().join(".etcd.holdfast-restore-0123abcd/member/snap");
    fs::create_dir_all(&dead).expect("a folder can be made");
    let target = directory.path().join("etcd").display().to_string();
    holdfast(&["restore", &file, "--data-dir", &target]).exits(0);
    assert_eq!(entries(directory.path()), ["etcd", "kubernetes-t1.db"]);
}

/// A site with two stores, each with the same backup.
fn two_stores(cluster: &Cluster) -> Site {
    let site = Site::of(cluster);
    let second = site.path("second");
    let site = site.set("store.second.directory", "path", &quoted_path(&second)).set(
        "backup",
        "stores",
        "[\"local\", \"second\"]",
    );
    site.backup();
    site
}

#[test]
fn a_copy_that_is_damaged_or_away_is_passed_over_for_the_next() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(1, 5));
    let site = two_stores(&cluster);
    let data = site.newest_data();
    let bytes = fs::read(&data).expect("there is data");
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 0x40;
    let passes_over = |output: &Output| {
        output.exits(0).says(&["warning", "store `local`", "store `second`"]);
    };
    for (name, content) in [("damaged", Some(&damaged)), ("gone", None)] {
        match content {
            Some(content) => fs::write(&data, content).expect("a file can be written"),
            None => fs::remove_file(&data).expect("a file can be removed"),
        }
        let target = site.path(name).display().to_string();
        passes_over(&site.holdfast(&["restore", "latest", "--data-dir", &target]));
        // The verdict on the bad copy stays with it.
        passes_over(&site.holdfast(&["verify", "latest"]));
        assert_eq!(site.newest_record()["outcome"], "failed");
        // A store that is named is the one that is meant.
        let target = site.path("refused").display().to_string();
        for command in [&["verify", "latest"][..], &["restore", "latest", "--data-dir", &target]] {
            site.holdfast(&[command, &["--store", "local"]].concat()).exits(1).explains(&[]);
        }
    }
    // With no copy left that is good, there is no answer but no.
    let second = site.path("second");
    for file in holdfast_tests::site::files_below(&second.join("data")) {
        fs::remove_file(file).expect("a file can be removed");
    }
    site.holdfast(&["verify", "latest"]).exits(1).explains(&["second"]);
}

#[test]
fn flags_and_files_that_do_not_fit_are_told() {
    let directory = temporary_directory();
    let file = objects::sample("kubernetes-t1", directory.path()).display().to_string();
    let target = directory.path().join("restored").display().to_string();
    holdfast(&["verify", &file, "--store", "local"]).exits(2).explains(&["--store", &file]);
    holdfast(&["restore", &file, "--data-dir", &target, "--store", "local"]).exits(2).explains(&["--store"]);

    // A plain file needs no configuration: a broken one is told and does not stop its restore.
    let broken = directory.path().join("broken.toml");
    fs::write(&broken, "[cluster\n").expect("a file can be written");
    let broken = broken.display().to_string();
    let restored = holdfast(&["--config", &broken, "restore", &file, "--data-dir", &target]);
    restored.exits(0).says(&["broken.toml", "going on without it"]);
    // What is proved is said by the configuration, so there it counts.
    holdfast(&["--config", &broken, "verify", &file]).exits(2);

    // A variable that is set to nothing is not set.
    let mut command = std::process::Command::new(holdfast_tests::tools::holdfast());
    command.args(["verify", &file]).env("HOLDFAST_CONFIG", "");
    finish(&mut command).exits(0);
}

#[test]
fn a_store_that_takes_no_records_does_not_change_the_verdict() {
    let Some(disk) = Disk::mount(16 << 20) else { return };
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let site =
        Site::of(&cluster).set("store.local.directory", "path", &quoted_path(&disk.path().join("store")));
    site.holdfast(&["backup"]).exits(0);
    disk.make_read_only();
    site.holdfast(&["verify", "latest"]).exits(0).says(&["warning", "could not be recorded", "local"]);
}

#[test]
fn an_identity_that_others_can_read_is_told() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let site = Site::of(&cluster).encrypted();
    site.backup();
    let verify = site.holdfast(&["verify", "latest"]);
    assert!(!verify.exits(0).stderr.contains("chmod"), "{verify}");
    fs::set_permissions(site.identity(), fs::Permissions::from_mode(0o644)).expect("a mode can be set");
    site.holdfast(&["verify", "latest"]).exits(0).says(&["age.key", "chmod 600"]);
}
