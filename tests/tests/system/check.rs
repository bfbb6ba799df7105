//! `holdfast check`: what a store holds, looked at closely.

use std::fs;

use holdfast_tests::{Cluster, Site, site};

#[test]
fn a_check_tells_where_damage_is_since_when_and_who_has_it_whole() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster).encrypted();
    let other = site::quoted_path(&site.path("other"));
    let site =
        site.set("backup", "stores", "[\"local\", \"other\"]").set("store.other.directory", "path", &other);
    for number in 0..3 {
        cluster.put("/backup", &number.to_string());
        site.backup();
    }
    let whole = site.holdfast(&["check", "--read-data", "--output", "json"]).exits(0).json();
    for store in 0..2 {
        assert_eq!((&whole[store]["read"], &whole[store]["unpacked"]), (&3.into(), &3.into()), "{whole:#}");
    }
    site.holdfast(&["check", "--sample", "10%"]).exits(0);

    let data = site.newest_data();
    let mut bytes = fs::read(&data).expect("there is data");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&data, &bytes).expect("a file can be written");
    // Of the right size: without reading nothing is seen.
    site.holdfast(&["check"]).exits(0);
    let checked = site.holdfast(&["check", "--read-data", "--output", "json"]).exits(1).json();
    let id = site.newest_manifest()["id"].clone();
    let damage = &checked[0]["damaged"][0];
    assert_eq!((&damage["backup"], &damage["kind"]), (&id, &"storage".into()), "{checked:#}");
    assert_eq!(damage["good_in"], serde_json::json!(["other"]));
    assert_eq!(checked[0]["trend"]["code"], "spreading");
    assert_eq!(checked[1]["damaged"], serde_json::json!([]));
    let told = site.holdfast(&["check", "--store", "local", "--read-data"]);
    assert!(told.stdout.contains("changed in storage") && told.stdout.contains("one backup of 3"), "{told}");

    // A backup that was found damaged counts as not proved.
    let listed = site.holdfast(&["list", "--store", "local", "--output", "json"]).exits(0).json();
    assert_eq!(listed[0]["proof"], "failed");

    fs::remove_file(&data).expect("a file can be removed");
    let gone = site.holdfast(&["check", "--output", "json"]).exits(1).json();
    assert_eq!(gone[0]["damaged"][0]["kind"], "missing", "{gone:#}");
}
