//! Which backups stay: rules, pins, and the agent that prunes after a good backup.

use std::collections::BTreeSet;

use holdfast_tests::{Cluster, Site, site};

fn ids(site: &Site) -> Vec<String> {
    site.manifests().iter().map(|manifest| manifest["id"].as_str().expect("an id").to_owned()).collect()
}

fn backups(site: &Site, cluster: &Cluster, count: usize) {
    for number in 0..count {
        cluster.put("/backup", &number.to_string());
        site.backup();
    }
}

#[test]
fn what_the_rules_do_not_keep_goes_and_all_else_stays() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster).encrypted();
    site.holdfast(&["prune"]).exits(2).explains(&["no retention rules"]);
    backups(&site, &cluster, 4);
    let site = site.set("retention", "last", "1");
    let before = ids(&site);
    site.holdfast(&["pin", &before[0], "--reason", "before the upgrade", "--until", "30d"]).exits(0);

    let everything = site::files_below(&site.store());
    let dry = site.holdfast(&["prune", "--dry-run", "--output", "json"]).exits(0).json();
    assert_eq!(site::files_below(&site.store()), everything, "a dry run changed something");
    let decided: Vec<(&str, bool)> = dry[0]["backups"]
        .as_array()
        .expect("decisions")
        .iter()
        .map(|one| (one["reasons"][0]["code"].as_str().expect("a reason"), one["keep"] == true))
        .collect();
    assert_eq!(
        decided,
        [("newest-proved", true), ("not-counted", false), ("not-counted", false), ("pinned", true)],
        "{dry:#}"
    );
    let told = site.holdfast(&["prune", "--dry-run"]);
    assert!(told.stdout.contains("pinned until") && told.stdout.contains("(before the upgrade)"), "{told}");

    site.holdfast(&["prune"]).exits(0);
    assert_eq!(ids(&site), [before[0].clone(), before[3].clone()]);
    site.has_no_committed_lie();
    // Of those that went nothing is left, of those that stay everything.
    let left: BTreeSet<String> = site::files_below(&site.store())
        .iter()
        .map(|file| file.strip_prefix(site.store()).expect("below the store").display().to_string())
        .collect();
    assert_eq!(left.iter().filter(|file| file.starts_with("data/")).count(), 2, "{left:?}");
    let of = |id: &String| left.iter().any(|file| file.contains(&format!("/{id}/")));
    assert_eq!(before.iter().map(of).collect::<Vec<_>>(), [true, false, false, true], "{left:?}");
    for id in [&before[0], &before[3]] {
        site.holdfast(&["verify", id]).exits(0);
    }

    site.holdfast(&["unpin", &before[0]]).exits(0);
    site.holdfast(&["prune"]).exits(0);
    assert_eq!(ids(&site), before[3..]);
    site.holdfast(&["prune"]).exits(0);
    assert_eq!(ids(&site), before[3..]);
}

#[test]
fn a_store_may_have_rules_of_its_own() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster);
    let other = site::quoted_path(&site.path("other"));
    let site =
        site.set("backup", "stores", "[\"local\", \"other\"]").set("store.other.directory", "path", &other);
    backups(&site, &cluster, 3);
    let site = site.set("retention", "last", "1").set("store.other.retention", "last", "2");
    site.holdfast(&["prune"]).exits(0);
    assert_eq!(ids(&site).len(), 1);
    assert_eq!(site::backups_in(&site.path("other")).len(), 2);
}

#[test]
fn the_agent_prunes_after_a_proved_backup() {
    let cluster = Cluster::builder().start();
    let site = Site::of(&cluster).set("retention", "last", "2").set("backup", "schedule", "\"* * * * *\"");
    backups(&site, &cluster, 3);
    let before = ids(&site);
    let mut agent = site.start(&["agent"]);
    let told = agent.wait_for_line(" pruned ");
    assert!(told.contains("removed=2"), "{told}");
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    let left = ids(&site);
    assert!(left.len() >= 2 && left[0] == before[2], "{left:?}");
    site.has_no_committed_lie();
    site.has_no_leftovers();
}
