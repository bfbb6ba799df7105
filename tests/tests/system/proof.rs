//! Proof by plugins: what passes, what fails, and what cannot be said.

use std::fs;

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::{Cluster, Site, objects};

/// A cluster with the content of a real Kubernetes cluster.
fn kubernetes() -> Cluster {
    let directory = temporary_directory();
    Cluster::builder().snapshot(&objects::sample("kubernetes-t2", directory.path())).start()
}

#[test]
fn a_real_kubernetes_cluster_is_proved_by_both_plugins() {
    let cluster = kubernetes();
    let site = Site::of(&cluster).encrypted().plugins(&["required-keys", "kubernetes"]).chain(
        "sanity",
        &[
            "{ integrity = {} }",
            // One member alone has nobody to agree with.
            "{ agreement = {}, on_error = \"warn\" }",
            r#"{ plugin = "required-keys", config = { rules = [{ key = "/registry/namespaces/kube-system" }, { prefix = "/registry/pods/", least = 100 }] } }"#,
            r#"{ plugin = "kubernetes", config = { namespaces = ["default", "kube-system"] } }"#,
        ],
    );
    let output = site.holdfast(&["backup"]);
    output.exits(0);
    let record = site.newest_record();
    assert_eq!(record["outcome"], "passed", "{record}");
    let steps = record["steps"].as_array().expect("a record has steps");
    assert_eq!(steps.len(), 4);
    for step in steps.iter().filter(|step| step["step"] != "agreement") {
        assert_eq!(step["outcome"], "passed", "{step}");
    }
    // Which code spoke is part of the proof.
    assert!(steps[2]["plugin_sha256"].as_str().is_some_and(|digest| digest.len() == 64), "{}", steps[2]);

    site.holdfast(&["verify", "latest"]).exits(0);
    let list = site.holdfast(&["plugin", "list"]);
    let said = format!("{}{}", list.exits(0).stdout, list.stderr);
    assert!(said.contains("required-keys") && said.contains("kubernetes"), "{list}");
    site.holdfast(&["config", "check"]).exits(0);
}

#[test]
fn a_failed_proof_keeps_the_backup_marks_it_and_names_the_check() {
    let cluster = kubernetes();
    let site = Site::of(&cluster).plugins(&["required-keys"]).chain(
        "sanity",
        &[
            "{ integrity = {} }",
            r#"{ plugin = "required-keys", config = { rules = [{ prefix = "/registry/unobtainium/", least = 1 }] } }"#,
        ],
    );
    let output = site.holdfast(&["backup"]);
    output.exits(1);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("required-keys") && said.contains("/registry/unobtainium/"), "{output}");
    assert_eq!(site.manifests().len(), 1, "the backup is kept");
    assert_eq!(site.newest_record()["outcome"], "failed");
    site.has_no_leftovers();

    let list = site.holdfast(&["list"]);
    assert!(list.exits(0).stdout.contains("failed"), "the mark is missing in {list}");
    site.holdfast(&["verify", "latest"]).exits(1);

    // The same step, told to warn only: told, but it does not count.
    let site = site.chain(
        "sanity",
        &[
            "{ integrity = {} }",
            r#"{ plugin = "required-keys", on_error = "warn", config = { rules = [{ prefix = "/registry/unobtainium/", least = 1 }] } }"#,
        ],
    );
    let output = site.holdfast(&["verify", "latest"]);
    output.exits(0);
    assert!(format!("{}{}", output.stdout, output.stderr).contains("required-keys"), "{output}");
}

#[test]
fn a_plugin_that_is_not_there() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let site = Site::of(&cluster).plugins(&["required-keys"]).chain(
        "sanity",
        &["{ integrity = {} }", r#"{ plugin = "required-kyes", config = { rules = [{ key = "/a" }] } }"#],
    );
    let check = site.holdfast(&["config", "check"]);
    assert_ne!(check.code, Some(0), "{check}");
    check.explains(&["required-kyes", "required-keys"]);

    // The data is safe first; then it is said that nobody looked.
    let backup = site.holdfast(&["backup"]);
    backup.exits(1);
    assert!(format!("{}{}", backup.stdout, backup.stderr).contains("required-kyes"), "{backup}");
    assert_eq!(site.manifests().len(), 1);
    assert_eq!(site.newest_record()["outcome"], "inconclusive");
}

#[test]
fn a_file_that_is_no_plugin_and_a_config_that_no_plugin_takes() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let site = Site::of(&cluster)
        .chain("sanity", &[r#"{ plugin = "required-keys", config = { rules = [{ key = "/a" }] } }"#]);
    fs::write(site.path("plugins/required-keys.wasm"), "no component at all").expect("a file can be written");
    let check = site.holdfast(&["config", "check"]);
    assert_ne!(check.code, Some(0), "{check}");
    check.explains(&["required-keys"]);
    site.holdfast(&["backup"]).exits(1);
    assert_eq!(site.newest_record()["outcome"], "inconclusive");

    let site = site
        .plugins(&["required-keys"])
        .chain("sanity", &[r#"{ plugin = "required-keys", config = { ruels = [] } }"#]);
    let check = site.holdfast(&["config", "check"]);
    assert_ne!(check.code, Some(0), "{check}");
    check.says(&["required-keys", "ruels", "did you mean `rules`", "hint: "]);
}

#[test]
fn a_plugin_pinned_to_another_file_is_not_run() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "b");
    let site = Site::of(&cluster)
        .plugins(&["required-keys"])
        .set("plugin.required-keys", "sha256", &format!("\"{}\"", "0".repeat(64)))
        .chain("sanity", &[r#"{ plugin = "required-keys", config = { rules = [{ key = "/a" }] } }"#]);
    site.holdfast(&["backup"]).exits(1);
    let record = site.newest_record();
    assert_eq!(record["outcome"], "inconclusive", "{record}");
    assert!(record.to_string().contains("sha256"), "{record}");
}
