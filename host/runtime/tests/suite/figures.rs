//! What a call and a load cost. Run by hand: `cargo test --release -p holdfast-runtime figures -- --ignored --nocapture`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_runtime::{Change, Limits, Registry};
use serde_json::json;

use crate::harness::{Setup, hostile, hostile_under, newer, resident_bytes, run};
use crate::reload::Following;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn figures() {
    let mut table = String::new();
    let mut row = |what: &str, value: String| writeln!(table, "  {what:<52} {value:>10}").expect("text");
    let (_setup, _host, plugin) = hostile_under(Limits::default()).await;
    for (what, config) in [
        ("a call of a warm plugin", json!({ "do": "pass" })),
        ("a scan of 1055 rows by a warm plugin", json!({ "do": "scan", "n": 256 })),
    ] {
        let mut times = Vec::new();
        for _ in 0..500 {
            let started = Instant::now();
            let run = run(&plugin, config.clone()).await;
            times.push(started.elapsed());
            assert!(run.result.is_ok());
        }
        row(what, milliseconds(median(times)));
    }
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let setup = Setup::with_own_cache().with("hostile.wasm", &hostile());
        for times in [&mut first, &mut again] {
            let report = setup.host().scan().await;
            let [event] = report.events.as_slice() else { panic!("one load was expected") };
            let Change::Loaded { elapsed, .. } = event.change else { panic!("it loads") };
            times.push(elapsed);
        }
    }
    row("compiled and loaded", milliseconds(median(first)));
    row("loaded from the cache", milliseconds(median(again)));

    let mut starts = Vec::new();
    let setup = Setup::new().with("hostile.wasm", &hostile());
    for _ in 0..20 {
        let started = Instant::now();
        let host = setup.host();
        host.scan().await;
        starts.push(started.elapsed());
    }
    row("start of the host to live, cached", milliseconds(median(starts)));
    row("rename to live, compiled anew", milliseconds(median(renames().await)));
    for (what, value) in reloads().await {
        row(what, value);
    }
    std::io::stderr().write_all(table.as_bytes()).expect("written");
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

/// From the rename of a plugin that nobody has seen before until it can be called.
async fn renames() -> Vec<Duration> {
    let setup = Setup::with_own_cache().with("hostile.wasm", &hostile());
    let following = Following::start(&setup).await;
    let mut times = Vec::new();
    for number in 0..20_u8 {
        // Another custom section at its end: other bytes, the same plugin.
        let changed = [hostile().as_slice(), &[0, 3, 1, b'n', number]].concat();
        let before = following.host.registry().plugin("hostile").expect("it is there").sha256().to_owned();
        setup.put("hostile.wasm", &changed);
        let is_changed =
            |registry: &Registry| registry.plugin("hostile").is_ok_and(|plugin| plugin.sha256() != before);
        times.push(following.until("the changed one is live", is_changed).await);
    }
    following.stop().await;
    times
}

/// A thousand reloads while calls never pause.
async fn reloads() -> Vec<(&'static str, String)> {
    const RELOADS: usize = 1000;
    let setup = Setup::with_own_cache().with("hostile.wasm", &hostile());
    let host = Arc::new(setup.loaded().await);
    let stop = Arc::new(AtomicBool::new(false));
    let caller = tokio::spawn({
        let (host, stop) = (Arc::clone(&host), Arc::clone(&stop));
        async move {
            let (mut calls, mut lost) = (0_u64, 0_u64);
            while !stop.load(Ordering::Relaxed) {
                let plugin = host.registry().plugin("hostile").expect("always there");
                lost += u64::from(run(&plugin, json!({ "do": "pass" })).await.result.is_err());
                calls += 1;
            }
            (calls, lost)
        }
    });
    let versions = [hostile(), newer()];
    let mut resident = 0;
    let mut times = Vec::new();
    for round in 0..RELOADS {
        setup.put("hostile.wasm", &versions[(round + 1) % 2]);
        let started = Instant::now();
        let report = host.scan().await;
        times.push(started.elapsed());
        assert!(matches!(report.events[0].change, Change::Loaded { .. }), "{report:?}");
        if round == RELOADS / 10 {
            resident = resident_bytes();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (calls, lost) = caller.await.expect("no call panicked");
    let grown = (resident_bytes() as f64 - resident as f64) / f64::from(1 << 20);
    vec![
        ("a reload from the cache, a thousand of them", milliseconds(median(times))),
        ("calls meanwhile", calls.to_string()),
        ("of these lost", lost.to_string()),
        ("resident memory grown in the last 900", format!("{grown:.1} MiB")),
    ]
}
