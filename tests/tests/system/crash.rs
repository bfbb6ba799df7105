//! `kill -9` at any moment: the store never tells a lie, and the next run sweeps what was left.

use std::time::Instant;

use holdfast_tests::{Cluster, Site, objects, wait};

/// Moments of a run at which it is killed.
const MOMENTS: u32 = 24;
/// Runs that are started for that at most: one that ends before its moment is made up for.
const ATTEMPTS: u32 = 10 * MOMENTS;

#[test]
fn killed_at_any_moment() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::ballast(6 << 20, 64 << 10));
    let site = Site::of(&cluster)
        .encrypted()
        .chain("sanity", &["{ integrity = {} }", "{ agreement = {}, on_error = \"warn\" }"]);
    // How long a run takes here tells where its moments are; nothing is judged by it.
    let start = Instant::now();
    site.backup();
    let mut whole_run = start.elapsed();

    let (mut killed, mut attempts) = (0, 0);
    while killed < MOMENTS && attempts < ATTEMPTS {
        let moment = attempts % MOMENTS;
        attempts += 1;
        // Another revision, so that each run's backup has a name of its own.
        cluster.put("/moment", &attempts.to_string());
        let start = Instant::now();
        let mut backup = site.start(&["backup"]);
        if wait::within(whole_run * moment / MOMENTS, || backup.has_ended().then_some(())).is_none() {
            backup.kill();
            killed += 1;
        } else {
            // Faster than the one before, as on a machine that had other work then: the moments move closer together.
            whole_run = whole_run.min(start.elapsed());
        }
        site.has_no_committed_lie();
    }
    assert!(killed >= MOMENTS, "only {killed} of {attempts} runs were killed");

    cluster.put("/moment", "the last");
    let manifest = site.backup();
    assert_eq!(manifest["facts"]["revision"], cluster.revision());
    site.has_no_leftovers();
    site.holdfast(&["list"]).exits(0);
    site.holdfast(&["verify", "latest"]).exits(0);
}

#[test]
fn the_scratch_file_of_a_killed_run_is_swept_and_one_in_use_is_not() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::ballast(8 << 20, 64 << 10));
    let slow = Site::of(&cluster).set("backup", "rate_limit", "\"1MiB\"");
    let large = |site: &Site| {
        site.scratch_files().into_iter().any(|file| file.metadata().is_ok_and(|m| m.len() > 65536))
    };
    let mut backup = slow.start(&["backup"]);
    wait::until("a scratch file to grow", || large(&slow).then_some(()));
    backup.kill();
    assert!(large(&slow), "the killed run left its scratch file");

    // Another run of the same machine, full speed this time.
    let slow = slow.set("backup", "rate_limit", "\"1GiB\"");
    slow.backup();
    slow.has_no_leftovers();
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::ballast(8 << 20, 64 << 10));
    let site = Site::of(&cluster).set("backup", "rate_limit", "\"4MiB\"");
    let mut first = site.start(&["backup"]);
    wait::until("the first run to be under way", || {
        assert!(!first.has_ended(), "{}", first.log());
        (!site.scratch_files().is_empty()).then_some(())
    });
    let second = site.holdfast(&["backup"]);
    assert!(first.wait().success(), "{}", first.log());
    // The second either waited its turn, was refused, or worked beside the first; none of these may harm.
    if second.code != Some(0) {
        second.exits(2).explains(&[]);
    }
    site.has_no_committed_lie();
    site.has_no_leftovers();
}
