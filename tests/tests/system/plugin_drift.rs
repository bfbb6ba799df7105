//! What has gone since the last proved backup: against real etcd, with encrypted backups that this machine cannot read.

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::{Cluster, Site, objects};

#[test]
fn what_goes_between_two_backups_is_named_until_somebody_has_looked() {
    let directory = temporary_directory();
    let cluster = Cluster::builder().snapshot(&objects::sample("kubernetes-t2", directory.path())).start();
    let drift = |more: &str| format!("{{ plugin = \"drift\"{more} }}");
    let site = Site::of(&cluster)
        .encrypted()
        .plugins(&["drift"])
        .chain("sanity", &["{ integrity = {} }", &drift("")]);
    let summary = |site: &Site| {
        let record = site.newest_record();
        record["steps"][1]["summary"].as_str().expect("a step has a summary").to_owned()
    };
    site.holdfast(&["backup"]).exits(0);
    assert!(summary(&site).starts_with("no earlier proof remembers anything"), "{}", summary(&site));
    let first = site.newest_record()["backup"].clone();
    cluster.put("/registry/configmaps/default/one-more", "k8s");
    site.holdfast(&["backup"]).exits(0);
    assert!(summary(&site).contains(first.as_str().expect("a record has a backup")), "{}", summary(&site));
    let second = site.newest_record()["backup"].as_str().expect("a record has a backup").to_owned();

    // A whole namespace goes, while the whole grows.
    for prefix in ["/registry/namespaces/kube-node-lease", "/registry/secrets/"] {
        cluster.etcdctl(&["del", "--prefix", prefix]);
    }
    for index in 0..40 {
        cluster.put(&format!("/registry/configmaps/default/new-{index}"), "k8s");
    }
    // The next is compared with the same proved one again: what failed is no measure.
    for _ in 0..2 {
        let output = site.holdfast(&["backup"]);
        output.exits(1);
        let said = format!("{}{}", output.stdout, output.stderr);
        for part in ["kube-node-lease", "resource `secrets` fell from", second.as_str()] {
            assert!(said.contains(part), "`{part}` is missing in {output}");
        }
    }
    // An old backup is judged by what was before it.
    let again = site.holdfast(&["--output", "json", "verify", &second]).exits(0).json();
    let said = again["steps"][1]["summary"].as_str().expect("a step has a summary");
    assert!(said.contains(first.as_str().expect("an id is text")), "{again}");

    // Told, and accepted: what is proved now is the new measure.
    let accepting = site.chain("sanity", &["{ integrity = {} }", &drift(", on_error = \"warn\"")]);
    accepting.holdfast(&["backup"]).exits(0);
    let site = accepting.chain("sanity", &["{ integrity = {} }", &drift("")]);
    site.holdfast(&["backup"]).exits(0);
    assert!(summary(&site).starts_with("nothing has gone since"), "{}", summary(&site));
}
