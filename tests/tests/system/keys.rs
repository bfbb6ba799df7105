//! Who can read backups: machines that only write them, passphrases, and old backups for new keys.

use std::fs;
use std::path::Path;

use holdfast_tests::site::{finish, new_identity, quoted_path, sha256};
use holdfast_tests::{Cluster, Site, tools};
use serde_json::{Value, json};

/// A machine that writes for a key which it has not got: that lies at the path returned.
fn keyless(cluster: &Cluster) -> (Site, std::path::PathBuf) {
    let site = Site::of(cluster).encrypted();
    let key = site.path("elsewhere.key");
    fs::rename(site.identity(), &key).expect("a file can be moved");
    (site.set("decrypt", "identity_files", "[]"), key)
}

/// Another machine on the same store, with this identity.
fn reader(cluster: &Cluster, site: &Site, key: &Path) -> Site {
    Site::of(cluster).set("store.local.directory", "path", &quoted_path(&site.store())).set(
        "decrypt",
        "identity_files",
        &format!("[{}]", quoted_path(key)),
    )
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).expect("a file can be written");
}

#[test]
fn a_machine_without_a_key_makes_backups_that_are_proved_and_says_what_it_cannot_prove() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let (site, key) = keyless(&cluster);
    let report = site.holdfast(&["backup", "--output", "json"]).exits(0).json();
    assert_eq!((&report["outcome"], &report["stores"][0]["committed"]), (&json!("passed"), &json!(true)));
    site.holdfast(&["config", "check"]).exits(0).says(&["can write backups but not read them"]);
    let check = site.holdfast(&["check", "--read-data", "--output", "json"]).exits(0).json();
    assert_eq!((&check[0]["read"], &check[0]["unpacked"]), (&json!(1), &json!(0)));

    // What lies there was compared, what is in it was not looked at: neither is taken for the other.
    let verify = site.holdfast(&["verify", "--output", "json"]);
    verify.exits(1).says(&["content could not be proved here", "--identity"]);
    let record = verify.json();
    assert_eq!(record["outcome"], "inconclusive");
    let steps = record["steps"].as_array().expect("steps");
    assert_eq!((&steps[0]["step"], &steps[0]["outcome"]), (&json!("read back"), &json!("passed")));
    assert!(steps.len() > 1 && steps[1..].iter().all(|step| step["outcome"] == "inconclusive"), "{record:#}");
    assert_eq!(site.newest_record()["outcome"], "inconclusive");
    let nowhere = site.path("restored").display().to_string();
    site.holdfast(&["restore", "--data-dir", &nowhere]).explains(&["no identity was given"]);

    let other = reader(&cluster, &site, &key);
    other.holdfast(&["verify"]).exits(0);
    let rows = site.holdfast(&["list", "--output", "json"]).exits(0).json();
    assert_eq!(rows[0]["proof"], "passed");

    flip(&site.newest_data());
    site.holdfast(&["verify"]).exits(1).explains(&["is damaged in"]);
    assert_eq!(site.newest_record()["outcome"], "failed");
}

#[test]
fn a_passphrase_opens_what_it_closed() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let site = Site::of(&cluster);
    let (first, second) = (site.path("first"), site.path("second"));
    fs::write(&first, "correct horse battery staple\n").expect("a file can be written");
    fs::write(&second, "another one\n").expect("a file can be written");
    let site = site.set("backup.pack", "passphrase_file", &quoted_path(&first));
    let manifest = site.backup();
    assert_eq!(manifest["pack"]["recipients"], json!(["passphrase"]));
    assert!(fs::read(site.newest_data()).expect("data").starts_with(b"age-encryption.org/v1\n-> scrypt "));
    site.holdfast(&["verify"]).exits(0);

    // A new passphrase: the old one still opens what it closed, for whoever has it, and then nothing needs it any more.
    let site = site.set("backup.pack", "passphrase_file", &quoted_path(&second));
    site.holdfast(&["verify"]).exits(1).says(&["another passphrase opens the backup"]);
    let old = first.display().to_string();
    site.holdfast(&["verify", "--passphrase-file", &old]).exits(0);
    site.holdfast(&["rekey", "--all"]).exits(2).says(&["another passphrase opens the backup"]);
    site.holdfast(&["rekey", "--all", "--passphrase-file", &old]).exits(0);
    site.holdfast(&["verify"]).exits(0);
    let again = site.holdfast(&["rekey", "--all", "--output", "json"]).exits(0).json();
    assert_eq!(again[0]["done"], "current");
    // Both at once is not what age does.
    let site = site.encrypted();
    site.holdfast(&["list"]).exits(2).says(&["both recipients and a passphrase"]);
}

#[test]
fn old_backups_are_made_readable_to_new_keys_and_to_nobody_else() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster);
    let signing = site.path("signing.key").display().to_string();
    site.holdfast(&["key", "signing", &signing, "--no-password"]).exits(0);
    let public = fs::read_to_string(site.path("signing.key.pub")).expect("a key");
    let public = public.lines().nth(1).expect("a key has two lines").to_owned();
    let other = quoted_path(&site.path("other"));
    let site = site
        .set("signing", "key_file", &format!("\"{signing}\""))
        .set("trust", "keys", &format!("[\"{public}\"]"))
        .set("backup", "stores", "[\"local\", \"other\"]")
        .set("store.other.directory", "path", &other);
    // One that is not encrypted, one for the old key.
    cluster.put("/a", "1");
    site.backup();
    let site = site.encrypted();
    cluster.put("/a", "2");
    site.backup();
    let new = site.path("new.key");
    let recipient = new_identity(&new);
    let recipients = site.path("recipients");
    fs::write(&recipients, format!("# who restores\n\n{recipient}\n")).expect("a file can be written");
    let site = site.set("backup.pack", "recipients", "[]").set(
        "backup.pack",
        "recipients_files",
        &format!("[{}]", quoted_path(&recipients)),
    );

    let dry = site.holdfast(&["rekey", "--all", "--dry-run", "--output", "json"]).exits(0).json();
    assert_eq!(dry.as_array().map(Vec::len), Some(4), "{dry:#}");
    let did = site.holdfast(&["rekey", "--all", "--output", "json"]).exits(0).json();
    let done: Vec<&Value> = did.as_array().expect("rows").iter().map(|row| &row["done"]).collect();
    assert_eq!(done, ["encrypted", "brought", "encrypted", "brought"], "{did:#}");
    assert!(site.scratch_files().iter().all(|file| !file.to_string_lossy().contains("intent")));

    // With the new key alone.
    let site = site.set("decrypt", "identity_files", &format!("[{}]", quoted_path(&new)));
    site.holdfast(&["check", "--read-data"]).exits(0);
    for store in ["local", "other"] {
        site.holdfast(&["verify", "--store", store]).exits(0);
    }
    for store in ["store", "other"] {
        let data = fs::read_dir(site.path(store).join("data")).expect("data").count();
        assert_eq!(data, 2, "old data was left in {store}");
    }
    cluster.put("/a", "3");
    site.holdfast(&["backup"]).exits(0);

    // The stock tools agree.
    let folder = site.backups().remove(0);
    let edition: Value =
        serde_json::from_slice(&fs::read(folder.join("manifest-2.json")).expect("an edition")).expect("JSON");
    let data = site.store().join(edition["stored"]["path"].as_str().expect("a path"));
    let plain = site.path("plain.db");
    let packed = tools::run(tools::program("age").args(["-d", "-i"]).arg(&new).arg(&data));
    fs::write(site.path("plain.zst"), packed).expect("a file can be written");
    tools::run(tools::program("zstd").args(["-d", "-q", "-o"]).arg(&plain).arg(site.path("plain.zst")));
    assert_eq!(edition["plain"]["sha256"], sha256(&fs::read(&plain).expect("a file")));
    if tools::stock("minisign").is_some() {
        let mut minisign = tools::program("minisign");
        minisign.args(["-V", "-P", &public, "-m"]).arg(folder.join("manifest-2.json"));
        finish(&mut minisign).exits(0);
    }
}
