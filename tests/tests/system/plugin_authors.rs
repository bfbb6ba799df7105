//! The tools for those who write plugins, on the plugins that ship and a real cluster's snapshot.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::site::{Output, finish};
use holdfast_tests::{Process, objects, plugins, tools};
use tempfile::TempDir;

/// An author's machine: no configuration, a plugin, a snapshot.
struct Desk {
    home: TempDir,
    snapshot: PathBuf,
}

impl Desk {
    fn new() -> Desk {
        let home = temporary_directory();
        let snapshot = objects::sample("kubernetes-t1", home.path());
        let desk = Desk { home, snapshot };
        desk.put("required-keys", &fs::read(plugins::built("required-keys")).expect("it is built"));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn put(&self, plugin: &str, bytes: &[u8]) -> PathBuf {
        let file = self.path(&format!("{plugin}.wasm"));
        fs::write(&file, bytes).expect("a file can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("the owner may");
        file
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path(name);
        fs::write(&file, text).expect("a file can be written");
        file
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tools::holdfast());
        // The native code is kept for all these tests, so that each plugin is compiled once.
        command.args(arguments).current_dir(self.home.path()).env("XDG_CACHE_HOME", cache());
        command.env_remove("HOLDFAST_CONFIG");
        command
    }

    fn plugin(&self, arguments: &[&str]) -> Output {
        finish(&mut self.command(&[&["plugin"], arguments].concat()))
    }

    fn snapshot(&self) -> &str {
        self.snapshot.to_str().expect("a path of ours is text")
    }
}

fn cache() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("author-cache");
    fs::create_dir_all(&cache).expect("a folder can be made");
    cache
}

#[test]
fn a_plugin_file_tells_what_it_is() {
    let desk = Desk::new();
    let text = desk.plugin(&["check", "required-keys.wasm"]);
    for part in [
        "verifier",
        "holdfast:snapshot/reader@0.1.0",
        "holdfast:verifier/verify@0.1.0",
        "none needed",
        "rules[].least",
        "array of tables",
        "ok: an agent takes it",
    ] {
        assert!(text.exits(0).stdout.contains(part), "`{part}` is missing in {text}");
    }
    let checked = desk.plugin(&["check", "required-keys.wasm", "--output", "json"]).exits(0).json();
    assert_eq!(checked["name"], "required-keys");
    assert_eq!(
        checked["size_bytes"],
        fs::metadata(desk.path("required-keys.wasm")).expect("it is there").len()
    );
    assert!(checked["settings"].as_array().is_some_and(|settings| settings.len() > 5), "{checked}");
    let digest = checked["sha256"].as_str().expect("a digest").to_owned();

    let pin = desk.plugin(&["pin", "required-keys.wasm"]);
    assert_eq!(pin.exits(0).stdout, format!("[plugin.required-keys]\nsha256 = \"{digest}\"\n"));
    // The same lines are a part of a configuration.
    let list = desk.plugin(&["list", "."]);
    assert!(list.exits(0).stdout.contains(&digest[..12]), "{list}");
}

#[test]
fn a_file_that_an_agent_would_refuse_is_told_with_the_reason() {
    let desk = Desk::new();
    let good = fs::read(desk.path("required-keys.wasm")).expect("it is there");
    desk.put("cut", &good[..good.len() / 2]);
    desk.put("module", b"\0asm\x01\0\0\0");
    desk.put("renamed", &good);
    desk.put("Not_A_Name", &good);
    for (file, reason) in [
        ("cut.wasm", "cut short"),
        ("module.wasm", "not a component"),
        ("renamed.wasm", "rename the file to `required-keys.wasm`"),
        ("Not_A_Name.wasm", "no plugin's name"),
    ] {
        let check = desk.plugin(&["check", file]);
        assert!(check.exits(1).stdout.contains(reason), "`{reason}` is missing in {check}");
        desk.plugin(&["run", file, "--snapshot", desk.snapshot()]).exits(2).says(&["error: "]);
    }
    desk.plugin(&["check", "nowhere.wasm"]).exits(2).says(&["nowhere.wasm"]);

    // What others may write is the author's to run, and no agent's to take.
    let file = desk.path("required-keys.wasm");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("the owner may");
    let check = desk.plugin(&["check", "required-keys.wasm"]);
    assert!(check.exits(1).stdout.contains("chmod go-w"), "{check}");
    let rules = desk.write("rules.toml", "rules = [{ key = \"/registry/namespaces/default\" }]\n");
    let rules = rules.display().to_string();
    desk.plugin(&["run", "required-keys.wasm", "--snapshot", desk.snapshot(), "--plugin-config", &rules])
        .exits(0)
        .says(&["an agent would refuse the file here"]);
}

#[test]
fn a_plugin_runs_as_it_would_in_the_agent() {
    let desk = Desk::new();
    let file = desk.write(
        "rules.toml",
        "[[rules]]\nprefix = \"/registry/pods/\"\nleast = 1\n\n[[rules]]\nkey = \"/registry/unobtainium\"\n",
    );
    let rules = file.display().to_string();
    let run = |more: &[&str]| {
        desk.plugin(&[&["run", "required-keys.wasm", "--snapshot", desk.snapshot()], more].concat())
    };
    let text = run(&["--plugin-config", &rules]);
    for part in ["failed: ", "/registry/unobtainium", "host calls", "memory"] {
        assert!(text.exits(1).stdout.contains(part), "`{part}` is missing in {text}");
    }
    let json = run(&["--plugin-config", &rules, "--output", "json"]).exits(1).json();
    let ran = &json["runs"][0];
    assert_eq!(ran["outcome"], "failed");
    assert!(ran["used"]["host_calls"].as_u64().is_some_and(|calls| calls > 0), "{json}");
    // A config that does not fit is told as the agent tells it, before the plugin sees it.
    fs::write(&file, "ruels = []").expect("a file can be written");
    let refused = run(&["--plugin-config", &rules]);
    assert!(refused.exits(2).stdout.contains("did you mean `rules`"), "{refused}");

    // Limits and configs of a configuration hold here as well.
    let config = desk.write(
        "holdfast.toml",
        r#"
[cluster]
name = "test"
endpoints = ["http://127.0.0.1:2379"]
[backup]
stores = ["local"]
scratch = "scratch"
[store.local.directory]
path = "backups"
[chain.one]
steps = [{ plugin = "required-keys", config = { rules = [{ prefix = "/registry/" }] } }]
[chain.two]
steps = [{ integrity = {} }, { plugin = "required-keys", config = { rules = [{ prefix = "/none/" }] } }]
[plugin.required-keys]
memory = "7MiB"
"#,
    );
    let text = run(&["--config", &config.display().to_string()]);
    for part in ["chain.one.steps[0]", "chain.two.steps[1]", "passed: ", "failed: ", "7.0 MiB"] {
        assert!(text.exits(1).stdout.contains(part), "`{part}` is missing in {text}");
    }
}

#[test]
fn a_snapshot_whose_integrity_is_known_is_not_checked_again() {
    let desk = Desk::new();
    let rules = desk.write("rules.toml", "rules = [{ prefix = \"/registry/pods/\", least = 1 }]\n");
    let mut bytes = fs::read(desk.snapshot()).expect("the snapshot can be read");
    // Only the hash behind the image is wrong, so nothing but a check would see it.
    *bytes.last_mut().expect("there are bytes") ^= 0xff;
    let wrong = desk.write("wrong.db", "");
    fs::write(&wrong, bytes).expect("a file can be written");
    let (rules, wrong) = (rules.display().to_string(), wrong.display().to_string());
    let run = |more: &[&str]| {
        let args = ["run", "required-keys.wasm", "--snapshot", &wrong, "--plugin-config", &rules];
        desk.plugin(&[&args, more].concat())
    };
    assert!(run(&[]).exits(0).stderr.contains("is not sound"));
    assert!(!run(&["--integrity-known"]).exits(0).stderr.contains("is not sound"));
}

#[test]
fn two_snapshots_are_compared_as_two_backups_would_be() {
    let desk = Desk::new();
    desk.put("drift", &fs::read(plugins::built("drift")).expect("it is built"));
    let older = objects::sample("kubernetes-t2", desk.home.path()).display().to_string();
    let compare = |snapshot: &str, previous: &str| {
        desk.plugin(&[
            "run",
            "drift.wasm",
            "--snapshot",
            snapshot,
            "--previous",
            previous,
            "--output",
            "json",
        ])
    };
    let same = compare(&older, &older).exits(0).json();
    let summary = same["runs"][0]["report"]["summary"].as_str().expect("a report has a summary");
    assert!(summary.starts_with("nothing has gone since"), "{same}");
    // The other way round the cluster has shrunk.
    let report = compare(desk.snapshot(), &older);
    let findings = report.json()["runs"][0]["report"]["findings"].as_array().map(Vec::len);
    assert_eq!(report.code == Some(1), findings.is_some_and(|findings| findings > 0), "{report}");
}

#[test]
fn a_saved_plugin_runs_again() {
    let desk = Desk::new();
    let rules = desk.write("rules.toml", "rules = [{ prefix = \"/registry/\" }]\n");
    let shown = rules.display().to_string();
    let arguments =
        ["plugin", "run", "required-keys.wasm", "--snapshot", desk.snapshot(), "--plugin-config", &shown];
    let mut command = desk.command(&[&arguments[..], &["--watch"]].concat());
    let mut process = Process::start("holdfast", &mut command, &desk.path("watch.log"));
    process.wait_for_line("passed: ");
    process.wait_for_line("waiting for");
    desk.write("rules.toml.new", "rules = [{ prefix = \"/none/\" }]\n");
    fs::rename(desk.path("rules.toml.new"), &rules).expect("a file can be renamed");
    process.wait_for_line("failed: ");
    desk.put("required-keys", b"half a file");
    process.wait_for_line("is not a WebAssembly component");
    desk.put("required-keys", &fs::read(plugins::built("required-keys")).expect("it is built"));
    process.wait_for_lines("failed: ", 2);
    process.terminate();
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_plugin_is_measured() {
    let desk = Desk::new();
    let rules =
        desk.write("rules.toml", "rules = [{ prefix = \"/registry/\", value = { prefix = \"k8s\" } }]\n");
    let rules = rules.display().to_string();
    let measured = desk
        .plugin(&[
            "bench",
            "required-keys.wasm",
            "--snapshot",
            desk.snapshot(),
            "--plugin-config",
            &rules,
            "--runs",
            "3",
            "--output",
            "json",
        ])
        .exits(0)
        .json();
    for key in ["compile_ms", "cached_load_ms", "ratio"] {
        assert!(measured[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {measured}");
    }
    assert!(measured["rows"].as_u64().is_some_and(|rows| rows > 0), "{measured}");
}
