//! What one call can do and how it can end.

use std::sync::Arc;
use std::time::Duration;

use etcd_snapshot::Outcome;
use holdfast_runtime::{CallErrorKind, Grants, Limits};
use serde_json::json;

use crate::harness::{Setup, expect_error, hostile, hostile_under, patched, run, subject};

/// A busy machine may be slow by any factor: what has to end by another limit gets all the time there is.
const HARDLY_EVER: Duration = Duration::from_mins(30);

fn short() -> Limits {
    Limits { timeout: HARDLY_EVER, cpu: Duration::from_millis(200), ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_three_verdicts_are_told_apart() {
    let (_setup, _host, plugin) = hostile_under(Limits::default()).await;
    for (what, outcome) in
        [("pass", Outcome::Passed), ("fail", Outcome::Failed), ("inconclusive", Outcome::Inconclusive)]
    {
        let report = run(&plugin, json!({ "do": what })).await.result.expect("a report");
        assert_eq!(report.outcome, outcome);
        assert_eq!(report.findings.len(), usize::from(what == "fail"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn context_and_config_arrive() {
    let (_setup, _host, plugin) = hostile_under(Limits::default()).await;
    let context = vec![("cluster".to_owned(), "prod-eu".to_owned())];
    let run = plugin.verify(subject(), context.clone(), &json!({ "do": "context" })).await;
    assert_eq!(run.result.expect("a report").attributes, context);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plugins_own_error_is_an_error() {
    let config = json!({ "do": "error" });
    let (_, message) = expect_error(short(), config, CallErrorKind::Error, "config").await;
    assert_eq!(message, "cannot\\nwork \\u{1b}[31mso");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_a_trap_with_its_words() {
    let config = json!({ "do": "panic" });
    let (run, message) = expect_error(short(), config, CallErrorKind::Trap, "unreachable").await;
    assert!(message.contains("no such key (at src/lib.rs:"), "{message}");
    assert!(run.stderr.contains("no such key"), "{}", run.stderr);
    let backtrace = run.result.expect_err("a trap").backtrace;
    assert!(backtrace.iter().any(|frame| frame.contains("panic")), "{backtrace:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_is_a_trap() {
    let (_, message) = expect_error(short(), json!({ "do": "exit" }), CallErrorKind::Trap, "exit").await;
    assert!(message.contains("exit status"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overflow_of_the_stack_is_a_trap() {
    for what in ["recursion", "deep-frames"] {
        let config = json!({ "do": what });
        let (run, _) = expect_error(short(), config, CallErrorKind::Trap, "stack-overflow").await;
        let backtrace = run.result.expect_err("a trap").backtrace;
        assert!(backtrace[0].starts_with("hostile::recurse"), "{backtrace:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_computation_runs_out_of_processor_time() {
    let (run, _) = expect_error(short(), json!({ "do": "loop" }), CallErrorKind::Timeout, "cpu").await;
    assert!(run.stats.cpu >= Duration::from_millis(200), "{:?}", run.stats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_wait_runs_out_of_time() {
    let limits = Limits { timeout: Duration::from_millis(300), ..short() };
    let (run, _) = expect_error(limits, json!({ "do": "sleep" }), CallErrorKind::Timeout, "wall-clock").await;
    assert!(run.stats.cpu < Duration::from_millis(200), "waiting costs nothing: {:?}", run.stats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_between_computations_does_not_evade_the_limits() {
    expect_error(short(), json!({ "do": "nap-and-loop" }), CallErrorKind::Timeout, "cpu").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_finds_nothing_is_interrupted() {
    let limits = Limits { timeout: Duration::from_millis(300), ..Limits::default() };
    expect_error(limits, json!({ "do": "slow-scan" }), CallErrorKind::Timeout, "wall-clock").await;
    expect_error(short(), json!({ "do": "slow-scan" }), CallErrorKind::Timeout, "cpu").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_memory_is_told_as_such() {
    let limits = Limits { memory_bytes: 16 << 20, ..short() };
    let config = json!({ "do": "memory" });
    let (run, message) = expect_error(limits, config, CallErrorKind::OutOfMemory, "memory").await;
    assert!(message.contains("its limit is 16777216"), "{message}");
    let peak = run.stats.peak_memory_bytes;
    assert!((8 << 20..=16 << 20).contains(&peak), "{peak}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_may_answer_a_refusal_of_memory_itself() {
    expect_error(short(), json!({ "do": "try-memory" }), CallErrorKind::Error, "memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_and_names_are_denied() {
    for what in ["socket", "udp", "name"] {
        let config = json!({ "do": what });
        let (_, message) = expect_error(short(), config, CallErrorKind::Denied, "network").await;
        assert!(message.contains("denied access to the network"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_environment_arguments_and_input_are_empty() {
    let (_setup, _host, plugin) = hostile_under(short()).await;
    for what in ["files", "environment"] {
        let report = run(&plugin, json!({ "do": what })).await.result.expect("a report");
        assert_eq!(report.outcome, Outcome::Passed, "{what}: {}", report.summary);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_calls_are_counted_and_bounded() {
    let limits = Limits { host_calls: 1000, ..short() };
    let config = json!({ "do": "host-calls", "n": 1001 });
    expect_error(limits.clone(), config, CallErrorKind::Denied, "host-calls").await;
    let (_setup, _host, plugin) = hostile_under(limits).await;
    let good = run(&plugin, json!({ "do": "host-calls", "n": 1000 })).await;
    assert!(good.result.is_ok());
    assert_eq!(good.stats.host_calls, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaked_handles_and_large_filters_are_bounded() {
    let config = json!({ "do": "handles", "n": 100_000 });
    expect_error(short(), config, CallErrorKind::OutOfMemory, "handles").await;
    let config = json!({ "do": "big-filter", "n": 1_000_000 });
    expect_error(short(), config, CallErrorKind::Rejected, "call-data").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_too_large_is_not_taken() {
    let config = json!({ "do": "huge-report", "n": 2 << 20 });
    expect_error(short(), config, CallErrorKind::Rejected, "report").await;
    let config = json!({ "do": "huge-report", "n": 32 << 20 });
    expect_error(short(), config, CallErrorKind::Rejected, "call-data").await;
    let config = json!({ "do": "long-line", "n": 32 << 20 });
    expect_error(short(), config, CallErrorKind::Rejected, "call-data").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_bounded_and_safe_to_show() {
    let (_setup, _host, plugin) = hostile_under(short()).await;
    let report = run(&plugin, json!({ "do": "many-findings", "n": 1500 })).await.result.expect("a report");
    assert_eq!((report.findings.len(), report.suppressed_findings), (1000, 500));

    let report = run(&plugin, json!({ "do": "forged-report" })).await.result.expect("a report");
    assert_eq!(report.summary, "all is well\\r\\u{1b}[1A\\u{1b}[2K\\u{202e}");
    assert_eq!(report.findings[0].severity, etcd_snapshot::Severity::Error);
    assert_eq!(report.findings[0].code, "x");
    assert_eq!(report.findings[0].message, "a\\nb");
    let names: Vec<&str> = report.measurements.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["good"]);
    assert_eq!(report.measurements[0].attributes[0], ("a\\n".to_owned(), "b\\u{7}".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_words_is_dropped_and_counted() {
    let (_setup, _host, plugin) = hostile_under(Limits { log_bytes: 10_000, ..Limits::default() }).await;
    let flood = run(&plugin, json!({ "do": "flood", "n": 5000 })).await;
    assert!(flood.result.is_ok(), "{flood:?}");
    assert!(flood.stats.log_lines < 300, "{:?}", flood.stats);
    assert_eq!(flood.stats.log_lines + flood.stats.log_lines_dropped, 15_000);
    assert!(flood.stderr.len() < 20_000 && flood.stderr.ends_with("line 4999\n"));
    let logged = run(&plugin, json!({ "do": "log" })).await;
    assert_eq!(logged.stats.log_lines, 4);
    assert_eq!(logged.stderr, "on standard error\\u{1b}]0;title\\u{7}\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_that_does_not_fit_is_not_passed_on() {
    let (_setup, _host, plugin) = hostile_under(short()).await;
    let error = run(&plugin, json!({ "du": "pass" })).await.result.expect_err("no call");
    assert_eq!((error.kind, error.code.as_str()), (CallErrorKind::Rejected, "config"));
    assert!(error.message.contains("`do`"), "{error}");
    assert_eq!(plugin.check_config(&json!({ "do": "pass", "n": "x" })).expect_err("wrong").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_filter_order_limit_and_project() {
    let (_setup, _host, plugin) = hostile_under(Limits::default()).await;
    let report = run(&plugin, json!({ "do": "queries" })).await.result.expect("a report");
    assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Passed, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_sees_every_byte_and_is_counted() {
    let file = subject();
    let live = file.live().expect("readable");
    let entries = (0..live.len()).map(|position| live.entry(position));
    let (mut key_bytes, mut value_bytes, mut sum) = (0, 0, 0_u64);
    for entry in entries {
        key_bytes += entry.key.len();
        value_bytes += entry.value.len();
        sum += entry.value.iter().map(|byte| u64::from(*byte)).sum::<u64>() + entry.mod_revision as u64;
    }
    let (_setup, _host, plugin) = hostile_under(Limits::default()).await;
    for rows in [1, 7, 256, 100_000] {
        let scan = run(&plugin, json!({ "do": "scan", "n": rows })).await;
        let report = scan.result.expect("a report");
        assert_eq!(report.outcome, Outcome::Passed);
        assert_eq!(report.summary, format!("{} {key_bytes} {value_bytes} {sum}", live.len()));
        assert_eq!(scan.stats.rows, live.len() as u64);
        assert_eq!(scan.stats.bytes, (key_bytes + value_bytes) as u64);
    }
    let count = run(&plugin, json!({ "do": "count", "key": "/registry/events/" })).await;
    assert!(count.result.expect("a report").summary.starts_with("237 "));
    assert_eq!((count.stats.rows, count.stats.bytes), (0, 0));
    let get = run(&plugin, json!({ "do": "get", "key": "/registry/namespaces/default" })).await;
    assert!(get.result.expect("a report").summary.starts_with("true "));
    let facts = run(&plugin, json!({ "do": "facts" })).await.result.expect("a report");
    assert_eq!(facts.summary, "1641 0 4456480 None None");
    let inspection = etcd_snapshot::inspect(&file, &etcd_snapshot::CheckOptions::default());
    let config = json!({ "do": "facts" });
    let facts =
        plugin.verify_inspected(file, &inspection.facts, Vec::new(), &config, &Grants::default()).await;
    assert_eq!(facts.result.expect("a report").summary, "1641 0 4456480 Some(\"4145899407\") None");
}

/// One plugin loops on each of the two threads; another one still answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_answer_while_some_loop() {
    let limits = Limits { cpu: Duration::from_secs(3), ..Limits::default() };
    let setup = Setup::new()
        .with("hostile.wasm", &hostile())
        .with("another.wasm", &patched(&[("hostile", "another")]))
        .limits(limits);
    let host = setup.loaded().await;
    let (bad, good) = (host.registry().plugin("hostile"), host.registry().plugin("another"));
    let (bad, good) = (bad.expect("it loads"), good.expect("it loads"));
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let bad = Arc::clone(&bad);
            tokio::spawn(async move { run(&bad, json!({ "do": "loop" })).await })
        })
        .collect();
    for _ in 0..20 {
        assert!(run(&good, json!({ "do": "scan" })).await.result.is_ok());
    }
    assert!(loops.iter().any(|it| !it.is_finished()), "they are still looping");
    for ended in loops {
        let error = ended.await.expect("no panic").result.expect_err("they loop");
        assert_eq!(error.kind, CallErrorKind::Timeout);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_does_not_hold_up_a_single_thread() {
    let limits = Limits { cpu: Duration::from_secs(3), ..Limits::default() };
    let (_setup, _host, plugin) = hostile_under(limits).await;
    // So that the index is there and the call below is nothing but a call.
    run(&plugin, json!({ "do": "pass" })).await;
    let looping = Arc::clone(&plugin);
    let looping = tokio::spawn(async move { run(&looping, json!({ "do": "loop" })).await });
    tokio::task::yield_now().await;
    assert!(run(&plugin, json!({ "do": "pass" })).await.result.is_ok());
    assert!(!looping.is_finished(), "the other still has processor time");
    assert!(looping.await.expect("no panic").result.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_ends() {
    let (_setup, _host, plugin) = hostile_under(Limits::default()).await;
    for what in ["loop", "sleep", "slow-scan"] {
        let call = run(&plugin, json!({ "do": what }));
        assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    }
    assert!(run(&plugin, json!({ "do": "pass" })).await.result.is_ok());
}
