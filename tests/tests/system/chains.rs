//! What a chain names is looked at before it is needed: plugins of a kind that proves nothing, and the etcd that a drill boots.

use holdfast_tests::site::finish;
use holdfast_tests::tools::Etcd;
use holdfast_tests::{Cluster, Site};

/// The 29th of February: not today.
const NEVER: &str = "\"0 0 29 2 *\"";
const STARTED: &str = "the agent has started";
const REFUSED: &str = "the changed configuration is refused";
const RESTORE: &str = "{ restore = { boot = true } }";

/// Where these words stand in the configuration, as diagnostics name it.
fn line_of(site: &Site, words: &str) -> String {
    let text = std::fs::read_to_string(site.config()).expect("the configuration can be read");
    let line = text.lines().position(|line| line.contains(words)).expect("the words are in it") + 1;
    format!("holdfast.toml:{line}:")
}

#[test]
fn a_step_that_names_a_notifier_or_a_store_is_refused_where_it_stands() {
    for (plugin, kind, belongs) in [
        ("webhook", "which is a notifier", "`plugin = \"webhook\"` in a table [notify.NAME]"),
        ("webdav", "which is a store", "`name = \"webdav\"` in a table [store.NAME.plugin]"),
    ] {
        let step = format!("{{ plugin = \"{plugin}\" }}");
        let site = Site::with_endpoints(&["http://127.0.0.1:1"])
            .plugins(&[plugin])
            .set("backup", "schedule", NEVER)
            .chain("sanity", &["{ integrity = {} }", &step]);
        let place = line_of(&site, &step);
        let said = [kind, belongs, &place, "a step of chain `sanity`"];
        site.holdfast(&["config", "check"]).exits(1).says(&said);
        // The agent would find out at its first backup, and does not wait for it.
        site.holdfast(&["agent"]).exits(2).says(&said);
    }
}

#[test]
fn an_agent_keeps_its_configuration_when_the_next_one_names_a_notifier_as_a_step() {
    let site = Site::with_endpoints(&["http://127.0.0.1:1"])
        .plugins(&["webhook"])
        .set("backup", "schedule", NEVER)
        .chain("sanity", &["{ integrity = {} }"]);
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line(STARTED);
    let step = "{ plugin = \"webhook\" }";
    let site = site.chain("sanity", &["{ integrity = {} }", step]);
    let line = line_of(&site, step).split(':').nth(1).expect("a line").to_owned();
    agent.hang_up();
    agent.wait_for_line(REFUSED);
    let told = agent.wait_for_line("which is a notifier");
    assert!(told.contains(&format!("line={line}")) && told.contains("[notify.NAME]"), "{told}");
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn the_etcd_of_a_drill_is_looked_for_before_the_drill() {
    let etcd = Etcd::version("3.6");
    let site = Site::with_endpoints(&["http://127.0.0.1:1"]).chain("drill", &["{ integrity = {} }", RESTORE]);
    let site = site.set("boot", "program", &format!("\"{}\"", etcd.server().display()));
    let sound = site.holdfast(&["config", "check"]);
    assert!(!sound.exits(0).stderr.contains("boots an etcd"), "{sound}");

    for (program, reason) in [("/nowhere/etcd", "there is no `/nowhere/etcd`"), ("/bin/true", "is no etcd")] {
        let site = Site::with_endpoints(&["http://127.0.0.1:1"])
            .chain("drill", &["{ integrity = {} }", RESTORE])
            .set("boot", "program", &format!("\"{program}\""));
        let place = line_of(&site, "program = ");
        let said = ["chain `drill` boots an etcd, and", reason, &place, "never pass"];
        site.holdfast(&["config", "check"]).exits(1).says(&said);
        // One that nobody boots is nobody's concern.
        let idle = site.chain("drill", &["{ integrity = {} }", "{ restore = {} }"]);
        idle.holdfast(&["config", "check"]).exits(0);
    }

    // A name that nobody wrote may be there where the agent runs.
    let site = site.unset("boot", "program");
    let place = line_of(&site, RESTORE);
    let checked = finish(site.command(&["config", "check"]).env("PATH", "/nowhere"));
    checked.exits(0).says(&["warning", "there is no `etcd` on PATH", &place]);
    // A script boots one as well.
    let script = "{ plugin = \"smoke\" }";
    let site = site.plugins(&["smoke"]).chain("drill", &[script]);
    let place = line_of(&site, script);
    let checked = finish(site.command(&["config", "check"]).env("PATH", "/nowhere"));
    checked.exits(0).says(&["warning", "there is no `etcd` on PATH", &place]);
}

#[test]
fn an_agent_without_an_etcd_for_drills_says_so_and_makes_its_backups() {
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let site = Site::of(&cluster)
        .set("backup", "schedule", "\"* * * * *\"")
        .set("boot", "program", "\"/nowhere/etcd\"")
        .chain("drill", &[RESTORE]);
    let mut agent = site.start(&["agent"]);
    let told = agent.wait_for_line("chain `drill` boots an etcd, and there is no `/nowhere/etcd`");
    assert!(told.contains("line="), "{told}");
    agent.wait_for_line("backed up, but not proved");
    assert_eq!(site.newest_record()["outcome"], "inconclusive");

    // What is asked of it anew is held against what is there.
    agent.hang_up();
    agent.wait_for_line(REFUSED);
    let site = site.unset("boot", "program").chain("drill", &["{ integrity = {} }"]);
    agent.hang_up();
    agent.wait_for_line("the configuration is reloaded");
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    site.has_no_leftovers();
}
