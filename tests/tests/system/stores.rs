//! Several stores: one that is away misses a backup and gets it later; which must have it is the operator's word.

use std::fs;

use holdfast_tests::{Cluster, Site, site};
use serde_json::{Value, json};

fn two_stores(cluster: &Cluster) -> Site {
    let site = Site::of(cluster);
    let other = site::quoted_path(&site.path("other"));
    site.set("backup", "stores", "[\"local\", \"other\"]").set("store.other.directory", "path", &other)
}

#[test]
fn what_a_store_missed_it_gets_with_the_next_run() {
    let cluster = Cluster::builder().start();
    let site = two_stores(&cluster);
    site.backup();
    // As a mount that is away: a file stands where the folder was.
    let (other, away) = (site.path("other"), site.path("away"));
    fs::rename(&other, &away).expect("a folder can be renamed");
    fs::write(&other, "").expect("a file can be written");
    cluster.put("/while", "it was away");
    let missed = site.holdfast(&["backup", "--output", "json"]).exits(1).json();
    assert_eq!(
        (&missed["stores"][0]["committed"], &missed["stores"][1]["committed"]),
        (&json!(true), &json!(false))
    );

    // Where one is enough, or the other is not asked for, the run has not failed.
    for (require, code) in [("\"any\"", 0), ("[\"local\"]", 0), ("[\"other\"]", 1), ("\"all\"", 1)] {
        cluster.put("/require", require);
        let path = site::quoted_path(&other);
        let site = Site::of(&cluster)
            .set("backup", "stores", "[\"local\", \"other\"]")
            .set("store.other.directory", "path", &path)
            .set("backup", "require", require);
        site.holdfast(&["backup"]).exits(code).says(&["this store misses the backup"]);
    }

    fs::remove_file(&other).expect("a file can be removed");
    fs::rename(&away, &other).expect("a folder can be renamed");
    cluster.put("/after", "it is back");
    site.holdfast(&["backup"]).exits(0).says(&["brought 1 backups that it had missed"]);
    let listed = site.holdfast(&["list", "--output", "json"]).exits(0).json();
    let stores: Vec<&Value> = listed.as_array().expect("rows").iter().map(|row| &row["stores"]).collect();
    assert_eq!(stores, [&json!(["local", "other"]), &json!(["local", "other"]), &json!(["local", "other"])]);
    site.holdfast(&["check", "--read-data"]).exits(0);
}

#[test]
fn a_store_is_filled_from_another_without_a_key() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster).encrypted();
    for number in 0..2 {
        cluster.put("/backup", &number.to_string());
        site.backup();
    }
    fs::remove_file(site.identity()).expect("the key can be taken away");
    let other = site::quoted_path(&site.path("other"));
    let site = site.set("store.other.directory", "path", &other).set("decrypt", "identity_files", "[]");
    let synced =
        site.holdfast(&["sync", "--from", "local", "--to", "other", "--output", "json"]).exits(0).json();
    assert_eq!(synced[0]["copied"].as_array().map(Vec::len), Some(2), "{synced:#}");
    let files = |store: &str| {
        let root = site.path(store);
        let below = |file: &std::path::PathBuf| {
            (file.strip_prefix(&root).expect("below").to_owned(), fs::read(file).expect("a file"))
        };
        site::files_below(&root).iter().map(below).collect::<Vec<_>>()
    };
    let repository = |all: Vec<(std::path::PathBuf, Vec<u8>)>| {
        all.into_iter().filter(|(path, _)| !path.ends_with("repository.json")).collect::<Vec<_>>()
    };
    assert!(repository(files("store")) == repository(files("other")), "the copy is another");
    let again = site.holdfast(&["sync", "--to", "other", "--output", "json"]).exits(0).json();
    assert_eq!(again[0]["copied"], json!([]));
}

#[test]
fn a_backup_is_found_by_time_and_by_revision() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster);
    for number in 0..2 {
        cluster.put("/backup", &number.to_string());
        site.backup();
    }
    let manifests = site.manifests();
    let (id, revision) =
        (&manifests[0]["id"], manifests[1]["facts"]["revision"].as_i64().expect("a revision") - 1);
    let shown = site.holdfast(&["show", "--revision", &revision.to_string(), "--output", "json"]);
    assert_eq!(&shown.exits(0).says(&["0 revisions earlier"]).json()["manifest"]["id"], id);
    let shown = site.holdfast(&["show", "--at", "2999-01-01T00:00:00Z", "--output", "json"]).exits(0).json();
    assert_eq!(shown["manifest"]["id"], manifests[1]["id"]);
    site.holdfast(&["verify", "--at", "2001-01-01T00:00:00Z"])
        .exits(1)
        .explains(&["no backup at that point"]);
    site.holdfast(&["verify", "--revision", &(revision + 1).to_string()]).exits(0);
    site.holdfast(&["show", "latest", "--at", "2999-01-01T00:00:00Z"]).exits(2);
}
