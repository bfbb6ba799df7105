//! What a call and a load cost. Run by hand: `cargo test --release -p holdfast-runtime figures -- --ignored --nocapture`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use holdfast_runtime::{Change, Limits};
use serde_json::json;

use crate::harness::{Setup, hostile, hostile_under, run, subject};

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn figures() {
    let mut table = String::new();
    let (_setup, _host, plugin) = hostile_under(Limits::default()).await;
    for config in [json!({ "do": "pass" }), json!({ "do": "scan", "n": 256 })] {
        let mut times = Vec::new();
        let mut stats = None;
        for _ in 0..500 {
            let started = Instant::now();
            let run = run(&plugin, config.clone()).await;
            times.push(started.elapsed());
            assert!(run.result.is_ok());
            stats = Some(run.stats);
        }
        writeln!(table, "warm call {config}: {:?}; {:?}", median(times), stats.expect("a call"))
            .expect("text");
    }
    let live = subject().live().expect("readable").len();
    writeln!(table, "the snapshot has {live} live keys").expect("text");

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
    writeln!(table, "first load: {:?}, cached load: {:?}", median(first), median(again)).expect("text");

    let mut starts = Vec::new();
    let setup = Setup::new().with("hostile.wasm", &hostile());
    for _ in 0..20 {
        let started = Instant::now();
        let host = setup.host();
        host.scan().await;
        starts.push(started.elapsed());
    }
    writeln!(table, "start to live, cached: {:?}", median(starts)).expect("text");
    std::io::stderr().write_all(table.as_bytes()).expect("written");
}
