//! The agent: the schedule, one run at a time, hot reload of plugins, a clean stop.

use std::fs;

use holdfast_tests::{Cluster, Site, objects, wait};

const EVERY_MINUTE: &str = "\"* * * * *\"";
const STARTED: &str = "the agent has started";
const STOPPED: &str = "the agent has stopped";
const NAMESPACE_EXISTS: &str =
    r#"{ plugin = "required-keys", config = { rules = [{ key = "/registry/namespaces/default" }] } }"#;

#[test]
fn a_plugin_that_appears_is_used_by_the_next_run_and_a_bad_one_takes_nothing_away() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(2, 5));
    let site = Site::of(&cluster)
        .set("backup", "schedule", EVERY_MINUTE)
        .chain("sanity", &["{ integrity = {} }", NAMESPACE_EXISTS]);
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line(STARTED);

    // The plugin is not there: the backup is kept, and not called proved.
    agent.wait_for_line("backed up, but not proved");
    assert_eq!(site.newest_record()["outcome"], "inconclusive");
    assert!(site.newest_record().to_string().contains("required-keys"), "{}", site.newest_record());

    site.install_plugin("required-keys", "required-keys");
    agent.wait_for_line("plugin loaded");
    agent.wait_for_line("backed up and proved");
    assert_eq!(site.newest_record()["outcome"], "passed");

    // A file that is no plugin: the good one stays in use.
    fs::write(site.path("plugins/.new"), "no component at all").expect("a file can be written");
    fs::rename(site.path("plugins/.new"), site.path("plugins/required-keys.wasm"))
        .expect("a file can be renamed");
    let refused = agent.wait_for_line("plugin refused");
    assert!(refused.contains("required-keys") && refused.contains("still_live"), "{refused}");
    agent.wait_for_lines("backed up and proved", 2);
    assert_eq!(site.manifests().len(), 3);

    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    assert!(agent.log().contains(STOPPED), "{}", agent.log());
    site.has_no_leftovers();
}

#[test]
fn a_run_that_is_due_while_another_is_under_way_is_skipped_and_counted() {
    let cluster = Cluster::builder().start();
    // More than what is on its way when etcd is paused: gRPC sends some 8 MiB ahead.
    cluster.fill(objects::ballast(24 << 20, 64 << 10));
    let site = Site::of(&cluster)
        .set("backup", "schedule", EVERY_MINUTE)
        .set("backup", "rate_limit", "\"1MiB\"")
        .set("backup", "stall_timeout", "\"10m\"");
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line(STARTED);
    wait::until("a run to be under way", || {
        site.scratch_files()
            .into_iter()
            .any(|file| file.metadata().is_ok_and(|m| m.len() > 1 << 20))
            .then_some(())
    });
    cluster.pause();
    let skipped = agent.wait_for_line("the run before is still under way");
    assert!(skipped.contains("skipped=1"), "{skipped}");

    // A person who asks for a backup now is told who is at it.
    site.holdfast(&["backup"]).exits(2).explains(&[&agent.id().to_string()]);

    // Stopped in the middle of a stream that does not move: what was under way is undone.
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    assert_eq!(site.backups().len(), 0);
    site.has_no_leftovers();
    cluster.resume();
    site.set("backup", "rate_limit", "\"1GiB\"").backup();
}

#[test]
fn a_changed_configuration_is_taken_up_whole_or_not_at_all() {
    const REFUSED: &str = "the changed configuration is refused";
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(2, 5));
    // The 29th of February: not today.
    let site = Site::of(&cluster).set("backup", "schedule", "\"0 0 29 2 *\"");
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line(STARTED);

    // A word that means nothing: the line is named.
    let site = site.set("backup", "schedule", "\"every now and then\"");
    agent.hang_up();
    agent.wait_for_lines(REFUSED, 1);
    let told = agent.wait_for_line("every now and then");
    assert!(told.contains("holdfast.toml") && told.contains("line="), "{told}");

    // Sound by itself, but a step names a plugin that is not there.
    let site = site
        .set("backup", "schedule", EVERY_MINUTE)
        .chain("sanity", &["{ integrity = {} }", NAMESPACE_EXISTS]);
    agent.hang_up();
    agent.wait_for_lines(REFUSED, 2);

    // Everything is there, in a folder that the agent did not know.
    let plugins = site.path("more-plugins");
    fs::create_dir(&plugins).expect("a folder can be made");
    let site = site.set("plugins", "directory", &format!("{:?}", plugins.display().to_string()));
    fs::copy(holdfast_tests::plugins::built("required-keys"), plugins.join("required-keys.wasm"))
        .expect("a plugin can be copied");
    agent.hang_up();
    agent.wait_for_line("the configuration is reloaded");
    agent.wait_for_line("backed up and proved");
    assert!(site.newest_record().to_string().contains("required-keys"), "{}", site.newest_record());

    // The new folder is followed, and the old one is not.
    fs::remove_file(plugins.join("required-keys.wasm")).expect("a file can be removed");
    agent.wait_for_line("plugin unloaded");
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn an_agent_that_waits_stops_at_once() {
    let cluster = Cluster::builder().start();
    // The 29th of February: not today.
    let site = Site::of(&cluster).set("backup", "schedule", "\"0 0 29 2 *\"");
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line(STARTED);
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    assert_eq!(site.backups().len(), 0);
}

#[test]
fn an_agent_needs_a_schedule() {
    let cluster = Cluster::builder().start();
    Site::of(&cluster).holdfast(&["agent"]).exits(2).explains(&["schedule"]);
}
