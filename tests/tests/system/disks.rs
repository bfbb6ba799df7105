//! Disks that are full or cannot be written.

use std::fs;

use holdfast_tests::disk::Disk;
use holdfast_tests::site::quoted_path;
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
