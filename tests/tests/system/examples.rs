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
fn the_configuration_in_the_daemonset_is_sound() {
    let directory = temporary_directory();
    let manifest = fs::read_to_string(tools::root().join("examples/kubernetes/daemonset.yaml"))
        .expect("the example is there");
    // The block below the key, as YAML reads it: up to the first line that stands further left.
    let config: Vec<&str> = manifest
        .lines()
        .skip_while(|line| *line != "  holdfast.toml: |")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.get(4..).unwrap_or_default())
        .collect();
    let authority = holdfast_tests::Authority::new(&directory.path().join("pki"));
    let client = authority.issue("client", holdfast_tests::Validity::Valid);
    let root = directory.path().display();
    fs::create_dir_all(directory.path().join("plugins")).expect("a folder can be made");
    let config = config
        .join("\n")
        .replace("/pki/ca.crt", &authority.certificate().display().to_string())
        .replace("/pki/healthcheck-client.crt", &client.certificate.display().to_string())
        .replace("/pki/healthcheck-client.key", &client.key.display().to_string())
        .replace("/var/lib/holdfast/", &format!("{root}/lib/"))
        .replace("/etc/holdfast/plugins", &format!("{root}/plugins"))
        .replace("\"/tmp/holdfast\"", &format!("\"{root}/cache\""));
    assert!(config.contains("[cluster]"), "no configuration was found in the example:\n{config}");
    let file = directory.path().join("holdfast.toml");
    fs::write(&file, config).expect("a file can be written");
    holdfast(&["--config", &file.display().to_string(), "config", "check"]).exits(0);
}

/// systemd reads a unit without being the system's own service manager; where it is not installed there is no other judge.
#[test]
fn the_unit_is_sound() {
    let verifier = "systemd-analyze";
    if Command::new(verifier).arg("--version").output().is_err() {
        tools::tell("the systemd unit is not judged: systemd-analyze is not installed");
        return;
    }
    let directory = temporary_directory();
    let unit = fs::read_to_string(tools::root().join("examples/systemd/holdfast.service"))
        .expect("the example is there")
        .replace("/usr/local/bin/holdfast", &tools::holdfast().display().to_string());
    let file = directory.path().join("holdfast.service");
    fs::write(&file, unit).expect("a file can be written");
    let output = finish(Command::new(verifier).args(["verify", "--man=no"]).arg(&file));
    output.exits(0);
    // What it does not understand it only remarks upon.
    let said = output.stderr.lines().filter(|line| line.contains("holdfast.service")).count();
    assert_eq!(said, 0, "{output}");
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
