//! Backups that were damaged, cannot be opened, or are to be restored where something is already.

use std::fs;
use std::path::Path;

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::site::{holdfast, new_identity};
use holdfast_tests::{Cluster, Output, Site, objects};

fn site_with_a_backup(encrypted: bool) -> Site {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(4, 10));
    let site = Site::of(&cluster);
    let site = if encrypted { site.encrypted() } else { site };
    site.backup();
    site
}

/// A restore that is refused, and writes nothing.
fn restore_is_refused(site: &Site, more: &[&str]) -> Output {
    let target = site.path("restored");
    let target = target.display().to_string();
    let output = site.holdfast(&[&["restore", "latest", "--data-dir", &target], more].concat());
    assert!(matches!(output.code, Some(1 | 2)), "{output}");
    assert!(!Path::new(&target).exists(), "a restore that failed left `{target}`: {output}");
    output
}

fn flip_a_byte(file: &Path, position: usize) {
    let mut bytes = fs::read(file).expect("a file can be read");
    bytes[position] ^= 0x40;
    fs::write(file, bytes).expect("a file can be written");
}

#[test]
fn a_stored_backup_that_was_changed() {
    for encrypted in [false, true] {
        let site = site_with_a_backup(encrypted);
        let data = site.newest_data();
        let length = fs::metadata(&data).expect("there is data").len() as usize;
        flip_a_byte(&data, length / 2);
        let id = site.newest_manifest()["id"].as_str().expect("an id").to_owned();
        site.holdfast(&["verify", "latest"]).exits(1).explains(&[&id]);
        assert_eq!(site.newest_record()["outcome"], "failed");
        restore_is_refused(&site, &[]).explains(&[]);
        site.holdfast(&["list"]).exits(0);
    }
}

#[test]
fn a_stored_backup_that_was_cut_or_is_gone() {
    let site = site_with_a_backup(true);
    let data = site.newest_data();
    let bytes = fs::read(&data).expect("there is data");
    fs::write(&data, &bytes[..bytes.len() / 2]).expect("a file can be written");
    site.holdfast(&["verify", "latest"]).exits(1).explains(&[]);
    restore_is_refused(&site, &[]).explains(&[]);
    fs::remove_file(&data).expect("a file can be removed");
    site.holdfast(&["verify", "latest"]).exits(1).explains(&[]);
    restore_is_refused(&site, &[]).explains(&[]);
}

#[test]
fn a_manifest_that_was_changed() {
    let site = site_with_a_backup(false);
    let manifest = site.backups()[0].join("manifest.json");
    fs::write(&manifest, "{ \"format\": ").expect("a file can be written");
    let list = site.holdfast(&["list"]);
    list.says(&["manifest.json"]);
    assert_ne!(list.code, Some(0), "a damaged manifest is no good news: {list}");
    let listed = site.holdfast(&["--output", "json", "list"]).exits(2).json();
    assert!(listed[0]["error"].as_str().is_some_and(|error| error.contains("manifest.json")), "{listed}");
    let id = site.backups()[0].file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!((&listed[0]["id"], &listed[0]["stores"][0]), (&id.into(), &"local".into()), "{listed}");
    let verify = site.holdfast(&["verify", "latest"]);
    assert_ne!(verify.code, Some(0), "{verify}");
}

#[test]
fn an_identity_that_does_not_open_it() {
    let site = site_with_a_backup(true);
    let wrong = site.path("wrong.key");
    new_identity(&wrong);
    let wrong_text = wrong.display().to_string();
    let site = site.set("decrypt", "identity_files", "[]");
    for more in [vec![], vec!["--identity", wrong_text.as_str()]] {
        let verify = site.holdfast(&[vec!["verify", "latest"], more.clone()].concat());
        verify.exits(1).says(&["identity", "could not be proved here", "hint: "]);
        restore_is_refused(&site, &more).exits(2).explains(&["identity"]);
    }
    let identity = site.identity().display().to_string();
    site.holdfast(&["verify", "latest", "--identity", &identity]).exits(0);

    fs::write(&wrong, "no key at all\n").expect("a file can be written");
    restore_is_refused(&site, &["--identity", &wrong_text]).exits(2).explains(&["wrong.key"]);
    restore_is_refused(&site, &["--identity", "/nowhere/age.key"]).exits(2).explains(&["/nowhere/age.key"]);
}

#[test]
fn a_restore_into_a_folder_that_is_not_empty() {
    let site = site_with_a_backup(false);
    let target = site.path("occupied");
    fs::create_dir(&target).expect("a folder can be made");
    fs::write(target.join("precious"), "data").expect("a file can be written");
    let text = target.display().to_string();
    site.holdfast(&["restore", "latest", "--data-dir", &text]).exits(2).explains(&[&text, "empty"]);
    let left: Vec<_> =
        fs::read_dir(&target).expect("it is there").map(|entry| entry.expect("it is").file_name()).collect();
    assert_eq!(left, ["precious"]);

    fs::remove_file(target.join("precious")).expect("a file can be removed");
    site.holdfast(&["restore", "latest", "--data-dir", &text]).exits(0);
}

#[test]
fn there_is_no_such_backup() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster);
    // A folder that was never made may as well be a disk that is not mounted.
    site.holdfast(&["list"]).exits(2).says(&["store `local`", "mounted"]);
    fs::create_dir(site.store()).expect("a folder can be made");
    site.holdfast(&["list"]).exits(0).says(&["no backups yet"]);
    for command in ["show", "verify"] {
        site.holdfast(&[command, "latest"]).exits(1).explains(&["no backup"]);
        site.holdfast(&[command, "20200101T000000Z-7"]).exits(1).explains(&["20200101T000000Z-7"]);
    }
    restore_is_refused(&site, &[]).exits(1).explains(&["no backup"]);
}

#[test]
fn a_snapshot_file_that_is_damaged() {
    let directory = temporary_directory();
    let good = objects::sample("kubernetes-t1", directory.path());
    let bytes = fs::read(&good).expect("a file can be read");
    let file = directory.path().join("damaged.db");
    let name = file.display().to_string();
    let target = directory.path().join("restored");
    let target_name = target.display().to_string();

    let half = bytes.len() / 2;
    let mut flipped = bytes.clone();
    flipped[half] ^= 0x40;
    let damages: [(&str, Vec<u8>); 4] = [
        ("a flipped bit", flipped),
        ("half a file", bytes[..half].to_vec()),
        ("a text", b"this is not a database\n".repeat(1000)),
        ("nothing", Vec::new()),
    ];
    for (what, content) in damages {
        fs::write(&file, content).expect("a file can be written");
        for command in ["inspect", "verify"] {
            let output = holdfast(&[command, &name]);
            assert!(matches!(output.code, Some(1 | 2)), "{what}: {output}");
            assert!(!output.stderr.contains("panicked"), "{what}: {output}");
        }
        let output = holdfast(&["restore", &name, "--data-dir", &target_name]);
        assert!(matches!(output.code, Some(1 | 2)), "{what}: {output}");
        output.explains(&[]);
        assert!(!target.exists(), "{what} was restored: {output}");
    }
    holdfast(&["inspect", "/nowhere/snapshot.db"]).exits(2).explains(&["/nowhere/snapshot.db"]);

    // A file without the sha256 behind it, as copied from a data directory, is taken by name only.
    fs::write(&file, &bytes[..bytes.len() - 32]).expect("a file can be written");
    let refused = holdfast(&["restore", &name, "--data-dir", &target_name]);
    assert!(matches!(refused.code, Some(1 | 2)), "{refused}");
    refused.explains(&["--skip-hash-check"]);
    holdfast(&["restore", &name, "--data-dir", &target_name, "--skip-hash-check"]).exits(0);
}

/// A backup is asked for by its id when something is wrong: then one bad record must not stand in the way.
#[test]
fn a_damaged_proof_hides_no_backup() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let site = Site::of(&cluster);
    let manifest = site.backup();
    let id = manifest["id"].as_str().expect("an id");
    let folder = site.store().join("records").join(id);
    fs::write(folder.join("20990101T000000.000Z-0000000000000000.json"), "{ torn")
        .expect("a file can be written");
    let shown = site.holdfast(&["show", id, "--output", "json"]);
    assert_eq!(shown.exits(0).json()["records"].as_array().map(Vec::len), Some(1), "{shown}");
    for backup in [id, "latest"] {
        site.holdfast(&["verify", backup]).exits(0).says(&["passed over", "is damaged"]);
    }
}
