//! Signed backups: what is not signed by a key that counts is no backup, and minisign itself says so too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::site::{backups_in, finish, holdfast, quoted_path};
use holdfast_tests::{Cluster, Site, tools};
use serde_json::Value;

/// Makes a pair of keys on this machine; the public one is returned.
fn new_key(site: &Site, name: &str) -> String {
    let file = site.path(name);
    holdfast(&["key", "signing", &file.display().to_string(), "--no-password"]).exits(0);
    let public = fs::read_to_string(site.path(&format!("{name}.pub"))).expect("a public key was written");
    public.lines().nth(1).expect("a key has two lines").to_owned()
}

fn signing(site: Site, name: &str) -> Site {
    let file = quoted_path(&site.path(name));
    site.set("signing", "key_file", &file)
}

fn trusting(site: Site, public: &str) -> Site {
    site.set("trust", "keys", &format!("[\"{public}\"]"))
}

/// A machine that signs, and trusts nobody else.
fn signed(cluster: &Cluster) -> Site {
    let site = Site::of(cluster);
    let public = new_key(&site, "signing.key");
    trusting(signing(site, "signing.key"), &public)
}

fn id_of(manifest: &Value) -> String {
    manifest["id"].as_str().expect("an id").to_owned()
}

fn newest_folder(site: &Site) -> PathBuf {
    backups_in(&site.store()).pop().expect("there is a backup")
}

/// A copy of a backup's folder under an id that sorts behind all others.
fn plant(site: &Site, folder: &Path, edit: impl Fn(String) -> String) -> String {
    let from = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let id = "29990101T000000Z-9".to_owned();
    let there = folder.with_file_name(&id);
    fs::create_dir(&there).expect("a folder can be made");
    for file in fs::read_dir(folder).expect("a folder") {
        let file = file.expect("an entry").path();
        let text = fs::read_to_string(&file).expect("text");
        let text = if file.extension().is_some_and(|end| end == "json") {
            edit(text.replace(&from, &id))
        } else {
            text
        };
        fs::write(there.join(file.file_name().expect("a name")), text).expect("a file can be written");
    }
    assert!(site.store().join("backups").join(&id).exists());
    id
}

#[test]
fn minisign_itself_verifies_what_was_signed() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let site = signed(&cluster);
    let id = id_of(&site.backup());
    site.holdfast(&["verify"]).exits(0);
    site.holdfast(&["check", "--read-data"]).exits(0);
    if tools::stock("minisign").is_none() {
        return;
    }
    let manifest = newest_folder(&site).join("manifest.json");
    let verified = finish(
        tools::program("minisign")
            .args(["-V", "-p"])
            .arg(site.path("signing.key.pub"))
            .arg("-m")
            .arg(&manifest),
    );
    assert!(verified.exits(0).stdout.contains(&format!("backup:{id}")), "{verified}");
}

#[test]
fn what_is_planted_or_altered_is_refused_and_never_the_latest() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let site = signed(&cluster);
    let good = id_of(&site.backup());
    let folder = newest_folder(&site);

    // With a signature over another manifest.
    let planted = plant(&site, &folder, |text| text);
    let list = site.holdfast(&["list"]);
    list.exits(2).says(&["is refused", "is not over these bytes"]);
    assert!(list.stdout.lines().any(|line| line.contains(&planted) && line.contains("REFUSED")), "{list}");
    let rows = site.holdfast(&["list", "--output", "json"]).exits(2).json();
    assert_eq!(
        (&rows[0]["id"], &rows[1]["refused"]),
        (&Value::from(good.clone()), &Value::from(true)),
        "{rows}"
    );
    let shown = site.holdfast(&["show", "latest", "--output", "json"]).exits(0).json();
    assert_eq!(shown["manifest"]["id"], good.as_str());
    site.holdfast(&["verify", "latest"]).exits(0).says(&["passed over"]);
    let shown = site.holdfast(&["show", "--at", "2999-06-01T00:00:00Z", "--output", "json"]).exits(0).json();
    assert_eq!(shown["manifest"]["id"], good.as_str());
    let data = site.path("restored").display().to_string();
    for command in [&["verify", &planted][..], &["restore", &planted, "--data-dir", &data]] {
        site.holdfast(command).exits(1).explains(&["is refused"]);
    }
    assert!(!site.path("restored").exists());
    let check = site.holdfast(&["check"]);
    assert!(check.exits(1).stdout.contains(&planted), "{check}");

    // Without one: whoever trusts nobody in particular is taken in.
    let there = site.store().join("backups").join(&planted);
    fs::remove_file(there.join("manifest.json.minisig")).expect("it is there");
    site.holdfast(&["verify", &planted]).exits(1).explains(&["is not signed"]);
    let gullible = site.holdfast(&["list", "--output", "json"]);
    assert_eq!(gullible.exits(2).json()[0]["id"], good.as_str());
    fs::remove_dir_all(&there).expect("a folder can be removed");
    site.holdfast(&["list"]).exits(0);

    // Altered where it lies: other data, with digests that fit.
    let manifest = folder.join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, text.replacen("\"live_keys\": ", "\"live_keys\": 1", 1))
        .expect("a file can be written");
    site.holdfast(&["verify", &good]).exits(1).explains(&["is not over these bytes"]);
    site.holdfast(&["verify", "latest"]).exits(1).explains(&["is refused"]);
}

#[test]
fn a_store_that_lost_its_newest_backup_is_told() {
    let cluster = Cluster::builder().start();
    let site = signed(&cluster);
    cluster.put("/a", "1");
    let old = id_of(&site.backup());
    cluster.put("/a", "2");
    site.backup();
    let (newest, away) = (newest_folder(&site), site.path("away"));
    fs::rename(&newest, &away).expect("a folder can be moved");
    site.holdfast(&["verify", "latest"]).exits(1).explains(&["was rolled back", &old]);
    site.holdfast(&["list"]).exits(2).says(&["was rolled back"]);
    let check = site.holdfast(&["check"]);
    assert!(check.exits(1).stdout.contains("was rolled back"), "{check}");
    // Who knows what he wants gets it.
    site.holdfast(&["verify", &old]).exits(0);
    fs::rename(&away, &newest).expect("a folder can be moved");
    site.holdfast(&["verify", "latest"]).exits(0);

    // The next backup says so as well, and only the next.
    fs::rename(&newest, &away).expect("a folder can be moved");
    cluster.put("/a", "3");
    let backup = site.holdfast(&["backup"]);
    assert!(backup.exits(1).stdout.contains("is gone from store `local`"), "{backup}");
    site.holdfast(&["verify", "latest"]).exits(0);
}

#[test]
fn backups_older_than_the_signing_are_signed_by_hand() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let site = Site::of(&cluster);
    let id = id_of(&site.backup());
    let (first, second) = (new_key(&site, "first.key"), new_key(&site, "second.key"));
    let site = trusting(signing(site, "first.key"), &first);
    site.holdfast(&["verify", &id]).exits(1).explains(&["is not signed"]);
    let signed = site.holdfast(&["sign", "--all", "--output", "json"]).exits(0).json();
    assert_eq!(signed[0]["backup"], id.as_str());
    site.holdfast(&["verify", &id]).exits(0);
    assert_eq!(site.holdfast(&["sign", &id, "--output", "json"]).exits(0).json(), serde_json::json!([]));
    // The key is replaced: what the old one signed is signed once more.
    let site = trusting(signing(site, "second.key"), &second);
    site.holdfast(&["verify", &id]).exits(1).explains(&["not trusted here"]);
    site.holdfast(&["sign", &id]).exits(0);
    site.holdfast(&["verify", &id]).exits(0);
    site.has_no_leftovers();

    // Nobody writes what he would refuse.
    let site = signing(site, "first.key");
    site.holdfast(&["backup"]).exits(2).explains(&["is not one of `trust.keys`", &first]);
    site.holdfast(&["config", "check"]).exits(1).says(&["is not one of `trust.keys`"]);
}

/// Takes a backup away as somebody does who can write into the store, and leaves nothing of it.
fn take_away(store: &Path, id: &str) {
    for folder in ["backups", "records"] {
        fs::remove_dir_all(store.join(folder).join(id)).expect("it is there");
    }
}

fn ids(site: &Site, store: &str) -> Vec<String> {
    let rows = site.holdfast(&["list", "--store", store, "--output", "json"]);
    let rows = rows.json();
    let rows = rows.as_array().expect("rows").iter().filter(|row| row["revision"].is_i64());
    let mut ids: Vec<String> = rows.map(id_of).collect();
    ids.reverse();
    ids
}

/// A backup of something that was not there before.
fn next(cluster: &Cluster, site: &Site, value: usize) -> String {
    cluster.put("/a", &value.to_string());
    site.holdfast(&["backup"]).exits(0);
    id_of(&site.newest_manifest())
}

/// All that looks for what is missing finds nothing.
fn is_whole(site: &Site) {
    for command in [&["list"][..], &["check"], &["verify"]] {
        let output = site.holdfast(command);
        output.exits(0);
        assert!(!output.to_string().contains("is not there"), "{output}");
    }
}

#[test]
fn a_middle_backup_that_was_taken_away_is_told_from_one_that_retention_removed() {
    let cluster = Cluster::builder().start();
    let site = signed(&cluster).set("retention", "last", "4");
    for value in 0..5 {
        next(&cluster, &site, value);
        site.holdfast(&["prune"]).exits(0);
        is_whole(&site);
    }
    let there = ids(&site, "local");
    assert_eq!(there.len(), 4);
    // The inventory that explains it, and who vouches for that, can be read without Holdfast.
    let inventories = fs::read_dir(site.store().join("inventory")).expect("inventories").count();
    assert!(inventories >= 2, "{inventories}");

    take_away(&site.store(), &there[1]);
    let between = format!("backup {} is not there, between {} and {}", there[1], there[0], there[2]);
    let told = [between.as_str(), "taken away, or lost", "hint: another store may have it"];
    site.holdfast(&["list"]).exits(2).says(&told);
    let rows = site.holdfast(&["list", "--output", "json"]).exits(2).json();
    assert_eq!(
        (&rows[3]["backup"], &rows[3]["kind"]),
        (&Value::from(there[1].clone()), &Value::from("missing"))
    );
    let check = site.holdfast(&["check"]);
    assert!(check.exits(1).stdout.contains(&between), "{check}");
    // It speaks against the store, not against the backups that are there.
    let verify = site.holdfast(&["verify"]);
    assert!(verify.exits(0).stdout.contains(&between), "{verify}");
    assert!(site.newest_record().to_string().contains("backup-missing"));

    // What comes later does not explain it away: not a backup, not a removal, not a machine that sees the store for the first time.
    next(&cluster, &site, 6);
    site.holdfast(&["prune"]).exits(0);
    site.holdfast(&["list"]).exits(2).says(&[&there[1], "taken away, or lost"]);
    let public = fs::read_to_string(site.path("signing.key.pub")).expect("a key");
    let other = trusting(Site::of(&cluster), public.lines().nth(1).expect("two lines")).set(
        "store.local.directory",
        "path",
        &quoted_path(&site.store()),
    );
    other.holdfast(&["list"]).exits(2).says(&[&there[1]]);
    other.holdfast(&["check"]).exits(1);

    // Somebody who has the key says that it is well.
    other.holdfast(&["sign", "--gone", "--all"]).exits(2).explains(&["no key to sign with"]);
    let gone = site.holdfast(&["sign", "--gone", "--all", "--output", "json"]).exits(0).json();
    assert_eq!(gone, serde_json::json!([{ "backup": there[1], "store": "local" }]));
    is_whole(&site);
    is_whole(&other);
}

#[test]
fn stores_with_different_histories_miss_nothing() {
    let cluster = Cluster::builder().start();
    let site = signed(&cluster).set("retention", "last", "4");
    let other = quoted_path(&site.path("other"));
    let first = next(&cluster, &site, 0);
    next(&cluster, &site, 1);
    // A second store, with rules of its own: it begins in the middle, and gets what was before.
    let site = site
        .set("store.other.directory", "path", &other)
        .set("store.other.retention", "last", "2")
        .set("backup", "stores", "[\"local\", \"other\"]")
        .set("backup", "require", "\"any\"");
    for value in 2..4 {
        next(&cluster, &site, value);
        is_whole(&site);
        site.holdfast(&["prune"]).exits(0);
        is_whole(&site);
    }
    assert_eq!((ids(&site, "local").len(), ids(&site, "other").len()), (4, 2));

    // Each is away for a run.
    for (value, store) in [(4, "other"), (5, "store"), (6, "other")] {
        let (here, away) = (site.path(store), site.path("away"));
        fs::rename(&here, &away).expect("a folder can be moved");
        cluster.put("/a", &value.to_string());
        site.holdfast(&["backup"]).exits(0);
        let _ = fs::remove_dir_all(&here);
        fs::rename(&away, &here).expect("a folder can be moved");
        is_whole(&site);
        if value == 5 {
            // Both have now what the other lacks, and nothing was brought yet: the newest of either was seen.
            cluster.put("/a", "55");
            site.holdfast(&["backup"]).exits(0);
            is_whole(&site);
        }
    }
    site.holdfast(&["sync"]).exits(0);
    is_whole(&site);
    site.holdfast(&["prune"]).exits(0);
    is_whole(&site);
    let all: BTreeSet<String> = ids(&site, "local").into_iter().collect();
    assert!(!all.contains(&first) && ids(&site, "other").iter().all(|id| all.contains(id)));

    // Encrypted anew: the links hold.
    let site = site.encrypted();
    site.holdfast(&["rekey", "--all"]).exits(0);
    is_whole(&site);
    next(&cluster, &site, 7);
    site.holdfast(&["prune"]).exits(0);
    is_whole(&site);

    // And what is taken away from one of them is told of that one.
    let there = ids(&site, "local");
    take_away(&site.path("store"), &there[1]);
    site.holdfast(&["list", "--store", "other"]).exits(0);
    site.holdfast(&["list", "--store", "local"]).exits(2).says(&[&there[1]]);
}

#[test]
fn without_the_key_a_removal_is_unexplained_and_nobody_is_accused() {
    let cluster = Cluster::builder().start();
    let site = signed(&cluster);
    for value in 0..4 {
        next(&cluster, &site, value);
    }
    let public = fs::read_to_string(site.path("signing.key.pub")).expect("a key");
    let away = Site::of(&cluster);
    let dr = quoted_path(&away.path("dr"));
    let away = trusting(away, public.lines().nth(1).expect("two lines"))
        .set("store.local.directory", "path", &quoted_path(&site.store()))
        .set("store.dr.directory", "path", &dr)
        .set("store.dr.retention", "last", "2");
    // A store that only this machine fills, and prunes.
    let away = away.set("store.dr.retention", "last", "3");
    away.holdfast(&["sync", "--from", "local", "--to", "dr"]).exits(0);
    away.holdfast(&["list", "--store", "dr"]).exits(0).says(&["nothing signed says why"]);
    let away = away.set("store.dr.retention", "last", "2");
    away.holdfast(&["prune", "--store", "dr"]).exits(0).says(&["no signing key"]);
    let check = away.holdfast(&["check", "--store", "dr", "--output", "json"]).exits(0).json();
    assert_eq!(check[0]["missing"][0]["kind"], "unexplained", "{check:#}");

    // The other's store: there removals are signed for, and this one is not.
    let away = away.set("retention", "last", "3");
    away.holdfast(&["prune", "--store", "local"]).exits(0);
    away.holdfast(&["list", "--store", "local"]).exits(2).says(&["taken away, or lost"]);
    site.holdfast(&["sign", "--gone", "--all"]).exits(0);
    away.holdfast(&["list", "--store", "local"]).exits(0);
}

#[test]
fn the_inventory_of_another_store_explains_nothing() {
    let cluster = Cluster::builder().start();
    let site = signed(&cluster);
    let other = quoted_path(&site.path("other"));
    let site = site
        .set("store.other.directory", "path", &other)
        .set("store.local.retention", "last", "1")
        .set("backup", "stores", "[\"local\", \"other\"]");
    for value in 0..3 {
        next(&cluster, &site, value);
    }
    site.holdfast(&["prune"]).exits(0);
    is_whole(&site);
    // The store that keeps all is made to look like the one that keeps one.
    let there = ids(&site, "other");
    for id in &there[..2] {
        take_away(&site.path("other"), id);
    }
    fs::remove_dir_all(site.path("other/inventory")).expect("it is there");
    site.holdfast(&["list"]).exits(2).says(&["has no signed inventory any more"]);
    fs::create_dir(site.path("other/inventory")).expect("a folder can be made");
    for file in fs::read_dir(site.store().join("inventory")).expect("inventories") {
        let file = file.expect("an entry").path();
        let name = file.file_name().expect("a name");
        fs::copy(&file, site.path("other/inventory").join(name)).expect("a file can be copied");
    }
    let lost = ["has the inventory of another store", "hint: "];
    site.holdfast(&["list"]).exits(2).says(&lost);
    assert!(site.holdfast(&["check"]).exits(1).stdout.contains(lost[0]));
    let site = site.set("store.other.retention", "last", "1");
    site.holdfast(&["prune", "--store", "other"]).exits(2).says(&lost[..1]);
    // The other is whole, and backups go on. Those of one second were moved ahead, to seconds that are over then.
    site.holdfast(&["list", "--store", "local"]).exits(0);
    std::thread::sleep(std::time::Duration::from_secs(4));
    next(&cluster, &site, 9);
}
