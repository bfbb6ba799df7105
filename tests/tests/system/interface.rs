//! The command line and the configuration, as people and scripts meet them.

use std::fs;

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::{Cluster, Site, objects};

#[test]
fn every_command_that_prints_facts_speaks_json() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(2, 5));
    let site = Site::of(&cluster).encrypted().plugins(&["required-keys"]).chain(
        "sanity",
        &[
            "{ integrity = {} }",
            r#"{ plugin = "required-keys", config = { rules = [{ prefix = "/registry/pods/" }] } }"#,
        ],
    );
    let id = site.holdfast(&["--output", "json", "backup"]).exits(0).json()["id"].clone();
    let id = id.as_str().expect("a backup has an id");
    let target = site.path("restored").display().to_string();
    let file = objects::sample("kubernetes-t1", &site.path("plugins")).display().to_string();
    let commands: [&[&str]; 10] = [
        &["list"],
        &["show", "latest"],
        &["show", id],
        &["verify", "latest"],
        &["restore", "latest", "--data-dir", &target],
        &["inspect", &file],
        &["get", "latest", "--kind", "namespace"],
        &["keys", "latest"],
        &["plugin", "list"],
        &["config", "check"],
    ];
    for command in commands {
        let output = site.holdfast(&[&["--output", "json"], command].concat());
        output.exits(0);
        // One document on standard output, nothing beside it.
        assert!(!output.json().is_null(), "{output}");
        assert!(!site.leaks(&output.stdout) && !site.leaks(&output.stderr), "a secret was printed: {output}");
    }
}

#[test]
fn what_is_wrong_in_a_configuration_is_told_at_once_and_in_its_place() {
    let directory = temporary_directory();
    let file = directory.path().join("holdfast.toml");
    let lines = [
        "[cluster]",
        "name = \"test\"",
        "endpoint = [\"http://127.0.0.1:2379\"]",
        "[backup]",
        "stores = [\"lokal\"]",
        "schedule = \"every day\"",
        "stall_timeout = \"soon\"",
        "[store.local.directory]",
        "path = \"/tmp/nowhere\"",
    ];
    fs::write(&file, lines.join("\n")).expect("a file can be written");
    let file = file.display().to_string();
    // Asked whether it is good, the answer is no; asked to use it, it cannot be done.
    let commands: [(&[&str], i32); 2] = [(&["config", "check"], 1), (&["backup"], 2)];
    for (arguments, code) in commands {
        let output = holdfast_tests::site::holdfast(&[&["--config", &file], arguments].concat());
        output.exits(code).says(&[
            "endpoint",
            "endpoints",
            "lokal",
            "every day",
            "soon",
            "did you mean",
            "^^^",
        ]);
        for line in [3, 5, 6, 7] {
            assert!(
                output.stderr.contains(&format!("{file}:{line}:")),
                "line {line} is not named by {output}"
            );
        }
        assert_eq!(output.stdout, "", "{output}");
    }
}

#[test]
fn a_configuration_that_is_not_there() {
    holdfast_tests::site::holdfast(&["--config", "/nowhere/holdfast.toml", "backup"])
        .exits(2)
        .explains(&["/nowhere/holdfast.toml"]);
}

#[test]
fn secrets_come_from_a_file_or_a_variable_and_are_never_printed() {
    let cluster = Cluster::builder().auth(true).start();
    let site = Site::of(&cluster);
    site.backup();
    let verbose = site.holdfast(&["-vvv", "backup"]);
    verbose.exits(0);
    assert!(!site.leaks(&verbose.stdout) && !site.leaks(&verbose.stderr), "the password is in the log");

    let by_variable = Site::with_endpoints(&cluster.endpoints()).set("cluster", "username", "\"root\"").set(
        "cluster",
        "password_env",
        "\"HOLDFAST_TEST_PASSWORD\"",
    );
    let mut command = by_variable.command(&["-vvv", "backup"]);
    command.env("HOLDFAST_TEST_PASSWORD", holdfast_tests::cluster::PASSWORD);
    let output = holdfast_tests::site::finish(&mut command);
    output.exits(0);
    assert!(!by_variable.leaks(&output.stderr), "the password is in the log");
    by_variable.holdfast(&["backup"]).exits(2).explains(&["HOLDFAST_TEST_PASSWORD"]);
}
