//! Several stores: one that is away misses a backup and gets it later; which must have it is the operator's word.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_tests::relay::{Fault, Relay};
use holdfast_tests::s3::Server;
use holdfast_tests::{Cluster, Site, site};
use serde_json::{Value, json};

const BUCKET: &str = "etcd-backups";

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

/// A network that swallows packets, a server that has hung: it accepts, and never answers.
#[test]
fn a_store_that_never_answers_holds_up_nobody() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let silent = Arc::new(AtomicBool::new(true));
    let is_silent = Arc::clone(&silent);
    let relay =
        Relay::to(
            server.port(),
            move |_| {
                if is_silent.load(Ordering::SeqCst) { Fault::Silence } else { Fault::None }
            },
        );
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster)
        .remote(&relay.endpoint(), BUCKET, true)
        .set("store.remote", "timeout", "\"2s\"")
        .set("backup", "require", "[\"local\"]");
    let made = site.holdfast(&["backup", "--output", "json"]);
    made.exits(0).says(&["this store misses the backup", "gave no answer within 2 s"]);
    let report = made.json();
    assert_eq!(report["stores"][0], json!({"store": "local", "committed": true}), "{report:#}");
    assert_eq!(report["stores"][1]["committed"], false, "{report:#}");
    let told = report["stores"][1]["error"].as_str().expect("a reason");
    assert!(told.contains("gave no answer within 2 s"), "{told}");
    site.has_no_leftovers();
    site.holdfast(&["check", "--store", "local", "--read-data"]).exits(0);

    let list = site.holdfast(&["list", "--output", "json"]);
    let rows = list.exits(2).json();
    assert_eq!((&rows[0]["id"], &rows[0]["stores"]), (&report["id"], &json!(["local"])), "{rows:#}");
    assert_eq!(rows[1]["stores"], json!(["remote"]), "{rows:#}");
    assert!(rows[1]["error"].as_str().is_some_and(|error| error.contains("gave no answer")), "{rows:#}");
    // Where it must have the backup, the run has failed, and the other store has it all the same.
    let strict = site.set("backup", "require", "\"all\"");
    cluster.put("/strict", "yes");
    strict.holdfast(&["backup"]).exits(1);
    assert_eq!(strict.manifests().len(), 2);

    // The agent keeps its schedule: run after run, none skipped.
    let site = strict.set("backup", "require", "[\"local\"]").set("backup", "schedule", "\"* * * * *\"");
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line("backed up and proved");
    agent.wait_for_lines("backed up and proved", 2);
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    assert!(!agent.log().contains("the run before is still under way"), "{}", agent.log());
    assert!(agent.log().contains("gave no answer within 2 s"), "{}", agent.log());

    // It answers again, and gets what it missed.
    silent.store(false, Ordering::SeqCst);
    let site = site.set("store.remote", "timeout", "\"2m\"");
    let missed = site.manifests().len();
    cluster.put("/after", "it is back");
    site.holdfast(&["backup"]).exits(0).says(&[&format!("brought {missed} backups that it had missed")]);
    let rows = site.holdfast(&["list", "--output", "json"]).exits(0).json();
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), missed + 1);
    assert!(rows.iter().all(|row| row["stores"] == json!(["local", "remote"])), "{rows:#?}");
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

    // Wherever an id is taken.
    let (revision, at) = (revision.to_string(), "at:2999-01-01T00:00:00Z");
    let inspected = site.holdfast(&["inspect", "--revision", &revision, "--output", "json"]).exits(0).json();
    assert_eq!(&inspected["backup"], id);
    let pinned = site.holdfast(&["pin", "--revision", &revision, "--output", "json"]).exits(0).json();
    assert_eq!((&pinned["backup"], &pinned["pinned"]), (id, &json!(true)));
    let unpinned = site.holdfast(&["unpin", "--at", "2999-01-01T00:00:00Z", "--output", "json"]);
    assert_eq!(unpinned.exits(0).json()["backup"], manifests[1]["id"]);
    site.holdfast(&["pin"]).exits(2);
    let before = format!("revision:{revision}");
    for (subject, value) in [(before.as_str(), "0"), (at, "1")] {
        let got = site.holdfast(&["get", subject, "/backup", "--output", "raw"]);
        assert_eq!(got.exits(0).stdout, value, "{got}");
    }
    assert_eq!(site.holdfast(&["keys", at, "--count"]).exits(0).stdout, "1\n");
    site.holdfast(&["diff", &before, at, "--keys"]).exits(1);
    site.holdfast(&["diff", at, "latest"]).exits(0);
    site.holdfast(&["get", "at:noon", "/backup"]).exits(2).says(&["is not a time"]);
}
