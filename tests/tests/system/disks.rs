//! Disks that are full or cannot be written.

use std::fs;

use holdfast_tests::disk::Disk;
use holdfast_tests::site::{self, quoted_path};
use holdfast_tests::{Cluster, Site, objects};

const BALLAST_BYTES: usize = 8 << 20;
const SMALL_DISK_BYTES: u64 = 2 << 20;

#[test]
fn a_scratch_disk_that_is_too_small() {
    let Some(disk) = Disk::mount(SMALL_DISK_BYTES) else { return };
    let cluster = Cluster::builder().start();
    cluster.fill(objects::ballast(BALLAST_BYTES, 64 << 10));
    let site = Site::of(&cluster).set("backup", "scratch", &quoted_path(&disk.path().join("scratch")));
    let path = disk.path().display().to_string();

    // Seen before the stream begins …
    site.holdfast(&["backup"]).exits(2).explains(&[&path, "space"]);
    assert_eq!(site.backups().len(), 0);
    // … and if nobody looked, when it is full.
    let site = site.set("preflight", "disk_space", "\"ignore\"");
    site.holdfast(&["backup"]).exits(2).explains(&[&path]);
    assert_eq!(site.backups().len(), 0);
    let left: u64 =
        disk.files().iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
    assert!(left < 4096, "{left} bytes are left in {:?}", disk.files());
}

#[test]
fn a_store_disk_that_fills_up() {
    let Some(disk) = Disk::mount(SMALL_DISK_BYTES) else { return };
    let cluster = Cluster::builder().start();
    cluster.put("/small", "fits");
    let site = Site::of(&cluster).set("store.local.directory", "path", &quoted_path(disk.path()));
    site.holdfast(&["backup"]).exits(0);
    let before = disk.files();

    cluster.fill(objects::ballast(BALLAST_BYTES, 64 << 10));
    site.holdfast(&["backup"]).exits(2).explains(&[&disk.path().display().to_string()]);
    assert_eq!(disk.files(), before, "what did not fit left nothing behind");
    site.has_no_leftovers();
    site.holdfast(&["verify", "latest"]).exits(0);
}

/// A run needs some pages and some names on the disk of its store: it is full at each of them.
#[test]
fn nothing_is_lost_wherever_a_store_disk_is_full() {
    const ROOMY: (u64, u64) = (64 << 20, 10_000);
    const PAGE_BYTES: u64 = 4096;
    let Some(disk) = Disk::mount(ROOMY.0) else { return };
    let cluster = Cluster::builder().start();
    cluster.put("/small", "fits");
    let store = disk.path().join("store");
    let site = Site::of(&cluster).set("store.local.directory", "path", &quoted_path(&store));
    site.holdfast(&["backup"]).exits(0);
    for (what, least) in [("bytes", 3), ("names", 4)] {
        for point in 0.. {
            let before = site::backups_in(&store);
            if what == "bytes" {
                disk.leave(point * PAGE_BYTES, ROOMY.1);
            } else {
                disk.leave(ROOMY.0, point);
            }
            let run = site.holdfast(&["backup"]);
            disk.leave(ROOMY.0, ROOMY.1);
            let checked = site.holdfast(&["check", "--read-data", "--output", "json"]).exits(0).json();
            assert_eq!(checked[0]["orphans"], serde_json::json!([]), "{what} {point}: {checked:#}");
            let after = site::backups_in(&store);
            assert!(after.starts_with(&before), "{what} {point}: a backup is gone");
            let target = site.path(&format!("restored-{what}-{point}"));
            site.holdfast(&["restore", "latest", "--data-dir", &target.display().to_string()]).exits(0);
            if run.code == Some(0) {
                assert!(point >= least, "a run needs no more than {point} {what}");
                break;
            }
            run.exits(2).explains(&["space"]);
            site.holdfast(&["backup"]).exits(0);
        }
    }
}

#[test]
fn a_store_that_cannot_be_written() {
    let cluster = Cluster::builder().start();

    // A file stands where the folder should be.
    let site = Site::of(&cluster);
    fs::write(site.path("file"), "").expect("a file can be written");
    let site_with_file = {
        let path = site.path("file").join("store");
        site.set("store.local.directory", "path", &quoted_path(&path))
    };
    site_with_file.holdfast(&["backup"]).exits(2).explains(&["file/store"]);
    site_with_file.has_no_leftovers();

    // A disk mounted read-only.
    let Some(disk) = Disk::mount(SMALL_DISK_BYTES) else { return };
    disk.make_read_only();
    let site =
        Site::of(&cluster).set("store.local.directory", "path", &quoted_path(&disk.path().join("store")));
    site.holdfast(&["backup"]).exits(2).explains(&[&disk.path().display().to_string()]);
    site.has_no_leftovers();
}

#[test]
fn a_scratch_folder_that_cannot_be_written() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster);
    fs::write(site.path("file"), "").expect("a file can be written");
    let path = site.path("file").join("scratch");
    let site = site.set("backup", "scratch", &quoted_path(&path));
    site.holdfast(&["backup"]).exits(2).explains(&["file/scratch"]);
    assert_eq!(site.backups().len(), 0);
}
