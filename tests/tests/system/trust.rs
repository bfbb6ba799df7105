//! Signed backups: what is not signed by a key that counts is no backup, and minisign itself says so too.

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
