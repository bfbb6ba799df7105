//! Scripts and chains: restored backups that live, and what scripts may do to them, against real etcd.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::tools::Etcd;
use holdfast_tests::{Cluster, Site, objects, plugins, site, wait};
use serde_json::Value;

const RESTORE: &str = "{ restore = { boot = true } }";
const SMOKE: &str = "{ plugin = \"smoke\" }";

/// A step with the hostile script.
fn hostile(does: &str, more: &str) -> String {
    format!("{{ plugin = \"hostile-script\", config = {{ do = \"{does}\" }}{more} }}")
}

/// A site that boots the etcd of this version.
fn booting(site: Site, etcd: &Etcd) -> Site {
    let program = format!("\"{}\"", etcd.server().display());
    site.set("boot", "program", &program)
}

/// The steps of a record, by what they came to.
fn told(record: &Value) -> Vec<String> {
    let step = |step: &Value| {
        let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
        let how = if step["skipped"] == true { "skipped".to_owned() } else { text("outcome") };
        let error = step["error"].as_str().map(|error| format!(" {error}")).unwrap_or_default();
        format!("{} {how}{error}", text("step"))
    };
    record["steps"].as_array().expect("a record has steps").iter().map(step).collect()
}

fn summary(record: &Value, step: usize) -> &str {
    record["steps"][step]["summary"].as_str().expect("a step has a summary")
}

/// Nothing of a throwaway etcd is left: no process, no folder.
fn nothing_is_left(site: &Site) {
    assert_eq!(folders(site), Vec::<PathBuf>::new(), "folders are left");
    assert_eq!(processes_below(&site.scratch()), Vec::<PathBuf>::new(), "processes are left");
}

fn folders(site: &Site) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(site.scratch()).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("boot-"))
        .map(|entry| entry.path())
        .collect()
}

/// What works in a folder below this one.
fn processes_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .map(|entry| entry.path())
        .collect()
}

fn data(name: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = temporary_directory();
    let file = objects::sample(name, directory.path());
    (directory, file)
}

/// A file's proof by a chain.
fn verified(site: &Site, file: &Path) -> (Value, i32) {
    let output =
        site.holdfast(&["--output", "json", "verify", &file.display().to_string(), "--chain", "drill"]);
    (output.json(), output.code.expect("it ends by itself"))
}

#[test]
fn a_drill_restores_boots_and_smokes_a_backup_of_each_version() {
    for version in ["3.4", "3.5", "3.6", "3.7"] {
        let Some(etcd) = Etcd::find(version) else { continue };
        let cluster = Cluster::builder().version(version).start();
        for index in 0..50 {
            cluster.put(&format!("/registry/secrets/default/s-{index}"), "k8s");
        }
        let revision = cluster.revision();
        cluster.etcdctl(&["compact", &(revision - 10).to_string()]);
        cluster.etcdctl(&["lease", "grant", "600"]);
        let site = booting(Site::of(&cluster).plugins(&["smoke"]), &etcd)
            .chain("drill", &["{ integrity = {} }", "{ restore = {} }", RESTORE, SMOKE, SMOKE]);
        let output = site.holdfast(&["backup"]);
        output.exits(0);
        let record = site.newest_record();
        assert_eq!(
            told(&record),
            ["integrity passed", "restore passed", "restore passed", "smoke passed", "smoke passed"],
            "{version}: {output}"
        );
        assert!(summary(&record, 2).contains(&format!("etcd {version}")), "{record}");
        assert!(summary(&record, 3).contains("keys and their hash are those of the backup"), "{record}");
        assert!(
            record["steps"][2]["measurements"].as_array().is_some_and(|told| told.len() == 2),
            "{record}"
        );
        nothing_is_left(&site);
    }
}

/// A component of the first contract for scripts, as it lies in the tests of the plugin host, works with each etcd.
#[test]
fn a_script_of_the_released_contract_runs_as_it_lies() {
    let (_directory, file) = data("kubernetes-t2");
    let listed = site::holdfast(&["keys", &file.display().to_string()]);
    let keys: Vec<&str> = listed.exits(0).stdout.lines().collect();
    let last = keys.iter().rfind(|key| **key < "/registry/t").expect("it has some");
    let changes = "put a, put b, delete a, delete b, put c, delete c";
    let expected = format!("2072 {} | {last} 5 | {changes}", keys.len());
    for version in ["3.6", "3.7"] {
        let Some(etcd) = Etcd::find(version) else { continue };
        let step = "{ plugin = \"frozen\", config = { prefix = \"/registry/\" } }";
        let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd)
            .frozen("script-0.1.0")
            .chain("drill", &[step]);
        let (record, code) = verified(&site, &file);
        assert_eq!((told(&record), code), (vec!["frozen passed".to_owned()], 0), "{version}: {record}");
        assert_eq!(summary(&record, 0), expected, "{version}");
        let step = &record["steps"][0];
        assert_eq!(step["findings"][0]["message"], r#"{"prefix":"/registry/"}"#, "{record}");
        assert_eq!(step["measurements"][0]["attributes"]["of"], "a scan", "{record}");
        nothing_is_left(&site);
    }
}

#[test]
fn a_cluster_with_authentication_and_an_alarm_is_drilled_all_the_same() {
    let etcd = Etcd::version("3.6");
    let cluster = Cluster::builder().auth(true).start();
    cluster.put("/a", "1");
    let site = booting(Site::of(&cluster).plugins(&["smoke"]), &etcd).chain("drill", &[RESTORE, SMOKE]);
    site.holdfast(&["backup"]).exits(0);
    assert_eq!(told(&site.newest_record()), ["restore passed", "smoke passed"]);
    nothing_is_left(&site);
}

#[test]
fn without_an_etcd_or_with_one_too_old_nothing_passes() {
    let (_directory, file) = data("kubernetes-t2");
    let site = Site::with_endpoints(&["http://127.0.0.1:1"]).plugins(&["smoke"]);
    let site = site.chain("drill", &[RESTORE, SMOKE, "{ integrity = {} }"]);
    let site = site.set("boot", "program", "\"/nowhere/etcd\"");
    let (record, code) = verified(&site, &file);
    assert_eq!(code, 1);
    assert_eq!(told(&record), ["restore inconclusive", "smoke skipped", "integrity passed"]);
    assert!(summary(&record, 0).contains("there is no `/nowhere/etcd`; install etcd"), "{record}");
    assert!(summary(&record, 1).starts_with("skipped: no etcd runs on the restored backup"), "{record}");
    assert_eq!(record["outcome"], "inconclusive");
    let shown = site.holdfast(&["verify", &file.display().to_string(), "--chain", "drill"]);
    assert!(shown.stdout.contains("drill/smoke") && shown.stdout.contains("skipped"), "{shown}");

    let site = site.set("boot", "program", "\"true\"");
    let (record, _) = verified(&site, &file);
    assert!(summary(&record, 0).contains("is no etcd"), "{record}");

    // What etcd 3.6 wrote is not what 3.4 reads.
    if let Some(etcd) = Etcd::find("3.4") {
        let site = booting(site, &etcd);
        let (record, code) = verified(&site, &file);
        assert_eq!((code, told(&record)[0].as_str()), (1, "restore inconclusive"), "{record}");
        assert!(summary(&record, 0).contains("the backup needs 3."), "{record}");
        nothing_is_left(&site);
    }
}

#[test]
fn a_program_that_hangs_or_ends_is_told() {
    let (_directory, file) = data("kubernetes-t2");
    let site = Site::with_endpoints(&["http://127.0.0.1:1"]).chain("drill", &[RESTORE]);
    let ends = site.path("etcd-that-ends");
    fake_etcd(&ends, "echo '{\"msg\":\"failed to recover\",\"error\":\"page 3\"}' >&2; exit 2");
    let site = site.set("boot", "program", &format!("\"{}\"", ends.display()));
    let (record, code) = verified(&site, &file);
    assert_eq!((code, told(&record)), (1, vec!["restore failed".to_owned()]), "{record}");
    assert!(summary(&record, 0).contains("failed to recover: page 3"), "{record}");
    nothing_is_left(&site);

    let hangs = site.path("etcd-that-hangs");
    fake_etcd(&hangs, "exec sleep 600");
    let site = site.set("boot", "program", &format!("\"{}\"", hangs.display()));
    let site = site.set("boot", "timeout", "\"1s\"");
    let (record, _) = verified(&site, &file);
    assert_eq!(told(&record), ["restore inconclusive"], "{record}");
    assert!(summary(&record, 0).contains("did not answer within"), "{record}");
    nothing_is_left(&site);
}

/// A program that tells an etcd's version and does something else when it is started.
fn fake_etcd(path: &Path, body: &str) {
    let text =
        format!("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'etcd Version: 3.7.0'; exit; fi\n{body}\n");
    // Written by another process: a file that this one has open for writing, if only in a child another test is just
    // starting, cannot be executed.
    let written = Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .arg(text)
        .status()
        .expect("sh runs");
    assert!(written.success(), "{}: {written}", path.display());
}

#[test]
fn what_a_restore_refuses_is_not_booted() {
    let (_directory, file) = data("kubernetes-t2");
    let mut bytes = std::fs::read(&file).expect("the file can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, bytes).expect("the file can be written");
    let etcd = Etcd::version("3.6");
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd).plugins(&["smoke"]);
    let site = site.chain("drill", &[RESTORE, SMOKE]);
    let (record, code) = verified(&site, &file);
    assert_eq!((code, told(&record)), (1, vec!["restore failed".to_owned(), "smoke skipped".to_owned()]));
    assert!(summary(&record, 0).starts_with("a restore refuses it"), "{record}");
}

#[test]
fn steps_share_an_etcd_or_ask_for_a_fresh_one() {
    let (_directory, file) = data("kubernetes-t2");
    let etcd = Etcd::version("3.6");
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd).guest("hostile-script");
    let fresh = ", fresh = true";
    let steps = [
        hostile("context", ""),
        hostile("mark", ""),
        hostile("marked", ""),
        hostile("marked", fresh),
        hostile("context", fresh),
    ];
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let site = site.chain("drill", &steps);
    let (record, code) = verified(&site, &file);
    assert_eq!(code, 0, "{record}");
    let marks: Vec<&str> = [2, 3].map(|step| summary(&record, step)).to_vec();
    assert_eq!(marks, ["marked", "clean"]);
    for step in [0, 4] {
        let told = summary(&record, step);
        for part in ["fresh=true", "revision=", "live-keys=", "hash-kv=", "compact-revision="] {
            assert!(told.contains(part), "`{part}` is missing in {told}");
        }
    }
}

#[test]
fn a_step_that_stops_the_chain_is_why_the_others_are_skipped() {
    let (_directory, file) = data("kubernetes-t2");
    let etcd = Etcd::version("3.6");
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd).guest("hostile-script");
    let mut site = Some(site);
    let mut drill = |first: String| {
        let second = hostile("pass", "");
        let steps = [first.as_str(), &second, "{ integrity = {} }"];
        let chained = site.take().expect("it is put back").chain("drill", &steps);
        let (record, code) = verified(&chained, &file);
        nothing_is_left(&chained);
        site = Some(chained);
        (told(&record), record, code)
    };
    let (steps, record, code) = drill(hostile("fail", ", on_error = \"stop\""));
    assert_eq!(steps, ["hostile-script failed", "hostile-script skipped", "integrity skipped"]);
    assert_eq!((code, &record["outcome"]), (1, &Value::from("failed")));
    assert_eq!(summary(&record, 2), "skipped: `hostile-script` before it failed");
    let (steps, record, code) = drill(hostile("panic", ", on_error = \"stop\""));
    assert_eq!(steps, ["hostile-script inconclusive trap", "hostile-script skipped", "integrity skipped"]);
    assert_eq!((code, &record["outcome"]), (1, &Value::from("inconclusive")));
    let (steps, _, code) = drill(hostile("fail", ""));
    assert_eq!((steps[1].as_str(), code), ("hostile-script passed", 1));
    let (steps, record, code) = drill(hostile("fail", ", on_error = \"warn\""));
    assert_eq!((steps[0].as_str(), code), ("hostile-script failed", 0));
    assert_eq!(record["outcome"], "passed");
}

#[test]
fn side_by_side_none_waits_for_one_that_hangs_and_the_chains_time_ends_it() {
    let (_directory, file) = data("kubernetes-t2");
    let etcd = Etcd::version("3.6");
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd)
        .guest("hostile-script")
        .plugins(&["smoke", "required-keys"])
        // Only the chain's own time ends what hangs.
        .set("plugin.hostile-script", "timeout", "\"10m\"");
    let count =
        "{ plugin = \"required-keys\", config = { rules = [{ prefix = \"/registry/\", least = 1 }] } }";
    let hanging = [hostile("sleep", ""), hostile("endless-watch", ""), hostile("loop", "")];
    let [sleeps, watches, loops] = [0, 1, 2].map(|index: usize| hanging[index].as_str());
    let steps = [sleeps, watches, SMOKE, count, loops, RESTORE, "{ integrity = {} }"];
    let site = site.chain("drill", &steps).set("chain.drill", "order", "\"side-by-side\"").set(
        "chain.drill",
        "timeout",
        "\"25s\"",
    );
    let began = Instant::now();
    let (record, code) = verified(&site, &file);
    let hung = "hostile-script inconclusive timeout";
    assert_eq!(
        told(&record),
        [hung, hung, "smoke passed", "required-keys passed", hung, "restore passed", "integrity passed"],
        "{record}"
    );
    assert_eq!((code, &record["outcome"]), (1, &Value::from("inconclusive")));
    // The chain ended because its time was over, and nothing of it goes on: the process is gone as well.
    assert!(began.elapsed() >= Duration::from_secs(25));
    nothing_is_left(&site);

    // In turn, those after the one that hangs are skipped, and say why.
    let steps = [sleeps, SMOKE, "{ integrity = {} }"];
    let site = site.chain("drill", &steps).set("chain.drill", "order", "\"in-turn\"").set(
        "chain.drill",
        "timeout",
        "\"5s\"",
    );
    let (record, _) = verified(&site, &file);
    assert_eq!(told(&record), [hung, "smoke skipped", "integrity skipped"], "{record}");
    assert!(summary(&record, 1).contains("time was used up"), "{record}");
    nothing_is_left(&site);
}

#[test]
fn hostile_scripts_meet_a_bound_and_leave_nothing() {
    let (_directory, file) = data("kubernetes-t2");
    let etcd = Etcd::version("3.6");
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd)
        .guest("hostile-script")
        .plugins(&["smoke"])
        .set("plugin.hostile-script", "timeout", "\"10m\"")
        .set("chain.drill", "timeout", "\"30m\"");
    // What each does, how its step ends, and what is said.
    let cases = [
        ("flood", "inconclusive", "limit: a call may write"),
        ("deaf-watch", "inconclusive", "limit: a call may write"),
        ("giant", "inconclusive", "limit: grpc: received message larger than max"),
        ("enormous", "inconclusive rejected", "handed over more than"),
        ("long-key", "inconclusive rejected", "handed over a filter"),
        ("leases", "inconclusive", "limit: a call may be granted 1000 leases"),
        ("watches", "inconclusive", "limit: a call may have 16 watches open"),
        ("cursors", "inconclusive", "limit: a call may have 16 cursors open"),
        ("transactions", "inconclusive", "limit: transactions may hold"),
        ("parts", "inconclusive", "limit: a transaction may have 512 parts"),
        ("forged-handle", "inconclusive trap", "unknown handle"),
        ("foreign-lease", "inconclusive", "not-found"),
        ("empty-key", "inconclusive", "invalid: a key is never empty"),
        ("no-branch", "inconclusive", "invalid: there is no branch"),
        ("future", "inconclusive", "future"),
        ("panic", "inconclusive trap", "no reason at all"),
        ("large-rows", "passed", "done"),
        ("read-all", "passed", "rows"),
        ("delete-all", "passed", "done"),
    ];
    let fresh = |does: &str| if ["flood", "deaf-watch"].contains(&does) { ", fresh = true" } else { "" };
    let mut steps: Vec<String> = cases.iter().map(|(does, ..)| hostile(does, fresh(does))).collect();
    // What comes after them, on the same etcd, is served well.
    steps.push(SMOKE.to_owned());
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let site = site.chain("drill", &steps);
    let (record, _) = verified(&site, &file);
    let told = told(&record);
    for (index, (does, ends, says)) in cases.iter().enumerate() {
        assert_eq!(told[index], format!("hostile-script {ends}"), "{does}: {}", summary(&record, index));
        assert!(summary(&record, index).contains(says), "{does}: {}", summary(&record, index));
    }
    assert_eq!(told[cases.len()], "smoke passed", "{record}");
    nothing_is_left(&site);
}

#[test]
fn a_script_that_never_returns_ends_by_its_own_limit_and_holds_up_none() {
    let (_directory, file) = data("kubernetes-t2");
    let etcd = Etcd::version("3.6");
    let hanging = ["sleep", "endless-watch", "loop", "deaf-flood"].map(|does| hostile(does, ""));
    let mut steps: Vec<&str> = hanging.iter().map(String::as_str).collect();
    steps.push(SMOKE);
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd)
        .guest("hostile-script")
        .plugins(&["smoke"])
        .set("plugin.hostile-script", "timeout", "\"3s\"")
        .set("plugin.smoke", "timeout", "\"10m\"")
        .chain("drill", &steps)
        .set("chain.drill", "order", "\"side-by-side\"")
        .set("chain.drill", "timeout", "\"30m\"");
    let (record, code) = verified(&site, &file);
    let ended = "hostile-script inconclusive timeout";
    assert_eq!(told(&record), [ended, ended, ended, ended, "smoke passed"], "{record}");
    assert_eq!(code, 1);
    assert!(summary(&record, 0).contains("used up its time"), "{record}");
    nothing_is_left(&site);
}

#[test]
fn what_a_killed_run_left_is_ended_by_the_next() {
    let (_directory, file) = data("kubernetes-t2");
    let etcd = Etcd::version("3.6");
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd)
        .guest("hostile-script")
        .plugins(&["smoke"])
        .set("plugin.hostile-script", "timeout", "\"10m\"");
    let site = site.chain("drill", &[&hostile("sleep", "")]);
    let path = file.display().to_string();
    let mut killed = site.start(&["verify", &path, "--chain", "drill"]);
    wait::until("an etcd runs", || processes_below(&site.scratch()).pop());
    killed.kill();
    assert_eq!(folders(&site).len(), 1, "what was killed could not tidy up");
    let site = site.chain("drill", &[SMOKE]);
    let (record, code) = verified(&site, &file);
    assert_eq!((told(&record), code), (vec!["smoke passed".to_owned()], 0));
    nothing_is_left(&site);

    // One that is told to stop takes its etcd with it.
    let site = site.chain("drill", &[&hostile("sleep", "")]);
    let mut stopped = site.start(&["verify", &path, "--chain", "drill"]);
    wait::until("an etcd runs", || processes_below(&site.scratch()).pop());
    stopped.terminate();
    stopped.wait();
    nothing_is_left(&site);
}

#[test]
fn a_script_is_checked_and_run_by_its_author() {
    let (_directory, file) = data("kubernetes-t2");
    let etcd = Etcd::version("3.6");
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd);
    let smoke = plugins::built("smoke").display().to_string();
    let checked = site.holdfast(&["--output", "json", "plugin", "check", &smoke]).exits(0).json();
    assert_eq!(checked["kind"], "script");
    let path = file.display().to_string();
    let ran =
        site.holdfast(&["--output", "json", "plugin", "run", &smoke, "--snapshot", &path]).exits(0).json();
    let report = &ran["runs"][0]["report"]["summary"];
    assert!(report.as_str().is_some_and(|told| told.contains("are those of the backup")), "{ran}");
    nothing_is_left(&site);
    site.holdfast(&["plugin", "bench", &smoke, "--snapshot", &path])
        .exits(2)
        .explains(&["`smoke` is a script"]);
    site.holdfast(&["plugin", "run", &smoke, "--snapshot", &path, "--integrity-known"])
        .exits(2)
        .explains(&["`smoke` is a script", "leave out `--integrity-known`"]);
    let site = site.set("boot", "program", "\"/nowhere/etcd\"");
    site.holdfast(&["plugin", "run", &smoke, "--snapshot", &path])
        .exits(2)
        .explains(&["there is no restored etcd", "/nowhere/etcd"]);
}

#[test]
fn the_sockets_of_a_deep_scratch_folder_are_reached() {
    let (_directory, file) = data("kubernetes-t2");
    let etcd = Etcd::version("3.6");
    let site = booting(Site::with_endpoints(&["http://127.0.0.1:1"]), &etcd).plugins(&["smoke"]);
    let deep = site.path(&"d".repeat(120));
    let site = site.set("backup", "scratch", &format!("\"{}\"", deep.display()));
    let site = site.chain("drill", &[RESTORE, SMOKE]);
    let (record, code) = verified(&site, &file);
    assert_eq!((told(&record), code), (vec!["restore passed".to_owned(), "smoke passed".to_owned()], 0));
    assert_eq!(processes_below(&deep), Vec::<PathBuf>::new());
}
