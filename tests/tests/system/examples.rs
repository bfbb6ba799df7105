//! What lies in `examples/` works as it is written.

use std::fs;
use std::process::Command;

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::site::{finish, holdfast};
use holdfast_tests::{Cluster, Site, tools};

#[test]
fn the_example_configuration_is_sound() {
    // What it names on the operator's machine is put where this test may write.
    let directory = temporary_directory();
    let etc = directory.path().join("etc");
    fs::create_dir_all(etc.join("plugins")).expect("a folder can be made");
    fs::write(etc.join("etcd-password"), "secret\n").expect("a file can be written");
    holdfast_tests::site::new_identity(&etc.join("age.key"));
    let authority = holdfast_tests::Authority::new(&etc.join("pki"));
    authority.issue("client", holdfast_tests::Validity::Valid);
    for name in ["required-keys", "kubernetes"] {
        fs::copy(holdfast_tests::plugins::built(name), etc.join("plugins").join(format!("{name}.wasm")))
            .expect("a plugin can be copied");
    }
    let example =
        fs::read_to_string(tools::root().join("examples/holdfast.toml")).expect("the example is there");
    let root = directory.path().display();
    let example = example
        .replace("/etc/holdfast/", &format!("{root}/etc/"))
        .replace("/var/lib/holdfast/", &format!("{root}/lib/"))
        .replace("/var/cache/holdfast", &format!("{root}/cache"));
    let file = directory.path().join("holdfast.toml");
    fs::write(&file, example).expect("a file can be written");
    holdfast(&["--config", &file.display().to_string(), "config", "check"]).exits(0);
}

#[test]
fn the_quickstart_works_twice() {
    let home = temporary_directory();
    let quickstart = || {
        let mut command = Command::new(tools::root().join("examples/quickstart.sh"));
        command
            .arg("--directory")
            .arg(home.path().join("quickstart"))
            .env("HOLDFAST_BIN", tools::holdfast())
            .env("HOLDFAST_PLUGINS", holdfast_tests::plugins::directory());
        finish(&mut command)
    };
    for _ in 0..2 {
        let output = quickstart();
        output.exits(0);
        for word in ["agreement", "required-keys", "kubernetes", "same keys"] {
            assert!(output.stdout.contains(word), "`{word}` is missing in the report of {output}");
        }
        assert!(home.path().join("quickstart/holdfast.toml").exists());
    }
}

#[test]
fn the_quickstart_takes_a_cluster_that_is_there() {
    let cluster = Cluster::builder().members(3).start();
    cluster.fill(holdfast_tests::objects::kubernetes(3, 10));
    let site = Site::of(&cluster).chain("sanity", &["{ integrity = {} }", "{ agreement = {} }"]);
    let home = temporary_directory();
    let output = finish(
        Command::new(tools::root().join("examples/quickstart.sh"))
            .arg("--config")
            .arg(site.config())
            .arg("--directory")
            .arg(home.path().join("quickstart"))
            .env("HOLDFAST_BIN", tools::holdfast())
            .env("HOLDFAST_PLUGINS", holdfast_tests::plugins::directory()),
    );
    output.exits(0);
    assert!(output.stdout.contains("same keys"), "{output}");
    assert_eq!(site.manifests().len(), 1);
}

#[test]
fn generated_documents_can_be_made() {
    let directory = temporary_directory();
    let bash = holdfast(&["generate", "completions", "bash"]);
    assert!(bash.exits(0).stdout.contains("holdfast"), "{bash}");
    let reference = holdfast(&["generate", "config-reference"]);
    reference.exits(0);
    fs::write(directory.path().join("reference.toml"), &reference.stdout).expect("a file can be written");
    assert!(reference.stdout.contains("[cluster]"), "{reference}");
}

#[test]
fn every_command_has_examples_in_its_help() {
    for command in [
        "backup",
        "list",
        "show",
        "verify",
        "restore",
        "inspect",
        "get",
        "keys",
        "diff",
        "agent",
        "config check",
        "plugin list",
        "plugin check",
        "plugin run",
        "plugin bench",
        "plugin new",
        "plugin pin",
        "plugin keygen",
        "plugin sign",
        "plugin verify",
        "generate man",
        "generate completions",
        "generate config-reference",
    ] {
        let mut words: Vec<&str> = command.split(' ').collect();
        words.push("--help");
        let help = holdfast(&words);
        assert!(help.exits(0).stdout.contains("holdfast"), "{help}");
        assert!(help.stdout.contains("Examples:"), "there are no examples in {help}");
    }
}
