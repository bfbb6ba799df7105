//! Whatever a hostile component tries, as one table: what it was, how it ended, and which bound held.
//!
//! All of it runs twice in a process of its own, so that its memory can be looked at, while another plugin answers beside
//! each attempt. What is special to single bounds is tried in `calls`, `grants` and `loading`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_snapshot::Outcome;
use holdfast_runtime::{Allow, CallErrorKind, Grants, Limits, Plugin, PluginHost, PluginOptions, VerifyRun};
use serde_json::{Value, json};

use crate::grants::{FACTS, store, to, to_addresses};
use crate::harness::{Setup, hostile, patched, reach, refusal, resident_bytes, subject};
use crate::servers::{Answer, Server};

/// How an attempt has to end.
enum Ends {
    /// As an error of this kind and code.
    Error(CallErrorKind, &'static str),
    /// With a report that passes, and whose summary has these words.
    Answer(&'static str),
    /// With a report that fails.
    Failed,
    /// With the guest's own error, which has one of these words.
    Told(&'static [&'static str]),
}

struct Attempt {
    what: String,
    /// The plugin that does it.
    plugin: &'static str,
    config: Value,
    grants: Grants,
    ends: Ends,
    /// What held.
    bound: &'static str,
}

/// What all of them may use.
fn limits() -> Limits {
    Limits {
        memory_bytes: 16 << 20,
        // A busy machine may be slow by any factor: what has to end by another limit gets all the time there is.
        timeout: Duration::from_mins(30),
        cpu: Duration::from_secs(1),
        host_calls: 10_000,
        log_bytes: 10_000,
        report_bytes: 64 << 10,
        http_requests: 3,
        http_request_bytes: 100_000,
        http_response_bytes: 1 << 20,
        http_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// What the machine's code can do by itself.
fn by_itself() -> Vec<Attempt> {
    use CallErrorKind::{Denied, OutOfMemory, Rejected, Timeout, Trap};
    use Ends::{Answer, Error, Told};
    let rows = [
        ("loop", 0, Error(Timeout, "cpu"), "processor time, by epochs"),
        ("nap-and-loop", 0, Error(Timeout, "cpu"), "processor time, summed over naps"),
        ("memory", 0, Error(OutOfMemory, "memory"), "summed memory"),
        ("try-memory", 0, Told(&["memory"]), "summed memory; the guest may answer the refusal"),
        ("recursion", 0, Error(Trap, "stack-overflow"), "the engine's stack"),
        ("deep-frames", 0, Error(Trap, "stack-overflow"), "the stack in linear memory"),
        ("panic", 0, Error(Trap, "unreachable"), "an instance for each call"),
        ("exit", 0, Error(Trap, "exit"), "an instance for each call"),
        ("exit-well", 0, Error(Trap, "exit"), "an exit is no verdict, whatever its status"),
        ("socket", 0, Error(Denied, "network"), "no sockets"),
        ("udp", 0, Error(Denied, "network"), "no sockets"),
        ("name", 0, Error(Denied, "network"), "no look-ups of names"),
        ("files", 0, Answer("[false, false, false, false, false, false]"), "no folder is open"),
        ("environment", 0, Answer(""), "no variables, arguments or input"),
        ("host-calls", 200_000, Error(Denied, "host-calls"), "host calls"),
        ("endless-log", 0, Error(Denied, "host-calls"), "host calls, log volume"),
        ("endless-output", 0, Error(Timeout, "cpu"), "processor time, length of a line, log volume"),
        ("endless-cursor", 0, Error(Denied, "host-calls"), "host calls"),
        ("flood", 5000, Answer(""), "log volume: what is over is dropped and counted"),
        ("log", 0, Answer(""), "control characters are made visible"),
        ("long-line", 4 << 20, Error(Rejected, "call-data"), "data handed over in one call"),
        ("big-filter", 1_000_000, Error(Rejected, "call-data"), "data handed over in one call"),
        ("greedy-batch", 1 << 20, Answer(" rows"), "rows and bytes of a batch"),
        ("handles", 100_000, Error(OutOfMemory, "handles"), "open handles"),
        ("forged-handle", 57_005, Error(Trap, "bad-handle"), "handles are indices into the call's own table"),
        ("stale-handle", 0, Error(Trap, "bad-handle"), "a handle that was given back is none"),
        ("wrong-handle", 0, Error(Trap, "bad-handle"), "each handle has its type"),
        ("drop-twice", 0, Error(Trap, "bad-handle"), "a handle that was given back is none"),
        ("drop-the-snapshot", 0, Error(Trap, "bad-handle"), "what is lent is not the guest's"),
        ("bad-text", 0, Error(Trap, "host"), "texts are checked for UTF-8"),
        ("bad-pointer", 0, Error(Trap, "host"), "pointers are checked against the memory"),
        ("bad-length", 0, Error(Trap, "host"), "lengths are checked against the memory"),
        ("bad-outcome", 0, Error(Trap, "host"), "numbers of variants are checked"),
        ("huge-report", 100_000, Error(Rejected, "report"), "size of the report"),
        ("huge-report", 4 << 20, Error(Rejected, "call-data"), "data handed over in one call"),
        (
            "giant-list",
            100_000,
            Error(Rejected, "call-data"),
            "data handed over in one call, empty items included",
        ),
        ("giant-findings", 20_000, Error(Rejected, "call-data"), "data handed over in one call"),
        ("giant-memo", 300 << 10, Error(Rejected, "report"), "size of the report"),
        ("many-findings", 1500, Ends::Failed, "findings kept"),
        ("forged-report", 0, Answer("all is well\\r\\u{1b}[1A"), "words, codes and numbers are made safe"),
    ];
    let rows = rows.into_iter().map(|(what, n, ends, bound)| Attempt {
        what: if n > 0 { format!("{what} {n}") } else { what.to_owned() },
        plugin: "hostile",
        config: json!({ "do": what, "n": n }),
        grants: Grants::default(),
        ends,
        bound,
    });
    let slow_scan = Attempt {
        what: "slow-scan".into(),
        plugin: "patient",
        config: json!({ "do": "slow-scan" }),
        grants: Grants::default(),
        ends: Error(Timeout, "cpu"),
        bound: "processor time, in the host's own functions too",
    };
    let sleep = Attempt {
        what: "sleep".into(),
        plugin: "sleeper",
        config: json!({ "do": "sleep" }),
        grants: Grants::default(),
        ends: Error(Timeout, "wall-clock"),
        bound: "wall time",
    };
    let misfit = Attempt {
        what: "a config that it does not know".into(),
        plugin: "hostile",
        config: json!({ "du": "pass" }),
        grants: Grants::default(),
        ends: Error(Rejected, "config"),
        bound: "the config is judged by its schema before the call",
    };
    rows.chain([slow_scan, sleep, misfit]).collect()
}

/// Servers that guests are granted, some as bad as they.
struct World {
    good: Server,
    endless: Server,
    silent: Server,
    stalling: Server,
    redirecting: Server,
}

impl World {
    async fn new() -> World {
        let good = Server::start(Answer::ok()).await;
        let redirect = Answer::redirect(&format!("http://{}/latest/meta-data", good.authority()));
        World {
            endless: Server::start(Answer::Endless).await,
            silent: Server::start(Answer::Silence).await,
            stalling: Server::start(Answer::HeadOnly).await,
            redirecting: Server::start(redirect).await,
            good,
        }
    }

    /// What a guest can try with what it is granted, or not.
    fn attempts(&self) -> Vec<Attempt> {
        use CallErrorKind::{Denied, OutOfMemory, Trap};
        use Ends::{Answer, Error, Told};
        let request = |authority: &str| json!({ "do": "request", "authority": authority });
        let at = |server: &Server| {
            (request(&server.authority()), to(&[&format!("http://{}", server.authority())]))
        };
        let with = |mut config: Value, more: Value| {
            for (name, value) in more.as_object().expect("a table") {
                config[name] = value.clone();
            }
            config
        };
        let mut attempts = self.spellings();
        let mut add = |what: &str, (config, grants): (Value, Grants), ends, bound| {
            attempts.push(Attempt { what: what.to_owned(), plugin: "reach", config, grants, ends, bound });
        };
        let local = format!("localhost:{}", self.good.address.port());
        let to_local = to(&[&format!("http://{local}")]);
        add(
            "a name that leads to this machine",
            (request(&local), to_local),
            Told(&["DestinationIpProhibited"]),
            "what a name leads to is judged, and connected to",
        );
        let (config, grants) = at(&self.redirecting);
        add(
            "a redirect to what is not granted",
            (with(config, json!({ "do": "follow" })), grants),
            Told(&["HttpRequestDenied"]),
            "a redirect is an answer, not a grant",
        );
        add("a body without an end", at(&self.endless), Told(&["body size exceeds"]), "bytes of answers");
        add(
            "a server that says nothing",
            at(&self.silent),
            Told(&["ConnectionReadTimeout"]),
            "wait for an answer",
        );
        add(
            "a body that never comes",
            at(&self.stalling),
            Told(&["ReadTimeout", "read timeout"]),
            "wait between parts",
        );
        let (config, grants) = at(&self.good);
        let add_good = |more: Value| (with(config.clone(), more), grants.clone());
        add(
            "a flood of requests",
            add_good(json!({ "do": "many-requests", "n": 4 })),
            Told(&["ConnectionLimitReached"]),
            "HTTP requests",
        );
        add(
            "a request without an end",
            add_good(json!({ "body-bytes": 10_000_000 })),
            Told(&["HttpRequestBodySize", "not sent whole"]),
            "bytes of requests",
        );
        add(
            "a giant head",
            add_good(json!({ "headers": 100, "header-bytes": 10_000 })),
            Error(Trap, "host"),
            "size of header fields",
        );
        add(
            "a giant path",
            add_good(json!({ "path": format!("/{}", "x".repeat(20_000)) })),
            Told(&["HttpRequestUriTooLong"]),
            "size of a path",
        );
        add(
            "a tunnel",
            add_good(json!({ "method": "CONNECT" })),
            Told(&["HttpRequestMethodInvalid"]),
            "no CONNECT",
        );
        add(
            "another scheme",
            add_good(json!({ "scheme": "https" })),
            Told(&["HttpRequestDenied"]),
            "a grant is for one scheme",
        );
        add(
            "no scheme of the web",
            add_good(json!({ "scheme": "gopher" })),
            Told(&["HttpProtocolError"]),
            "http and https only",
        );
        add(
            "lines and hosts within headers",
            (json!({ "do": "smuggle" }), Grants::default()),
            Answer("nothing was taken"),
            "syntax of fields, paths and authorities",
        );
        add(
            "a break after a refusal",
            (json!({ "do": "denied-and-panic", "authority": "metadata.google.internal" }), Grants::default()),
            Error(Denied, "http"),
            "no grant",
        );
        add(
            "a secret of others",
            (json!({ "do": "secret", "name": "other" }), Grants::default()),
            Told(&["denied"]),
            "no grant",
        );
        let state = |store: &str, value: String| json!({ "do": "state", "store": store, "op": "set", "key": "k", "value": value });
        add(
            "a store above its folder",
            (state("../seen", "x".into()), store("../seen")),
            Told(&["denied"]),
            "names of stores are names",
        );
        add(
            "a giant value",
            (state("seen", "x".repeat(20_000)), store("seen")),
            Told(&["limit"]),
            "size of a value",
        );
        add(
            "clocks without end",
            (json!({ "do": "pollables", "n": 100_000 }), Grants::default()),
            Error(OutOfMemory, "handles"),
            "open handles",
        );
        add(
            "randomness without end",
            (json!({ "do": "randomness", "n": 1_u64 << 30 }), Grants::default()),
            Error(Trap, "host"),
            "random bytes of a call",
        );
        attempts
    }

    /// Addresses that mean this machine, or another host than they seem to.
    fn spellings(&self) -> Vec<Attempt> {
        let port = self.good.address.port();
        let granted = || to_addresses(&["http://127.0.0.1:1", "http://allowed.example"], &[]);
        let spellings = [
            format!("127.0.0.1:{port}"),
            format!("2130706433:{port}"),
            format!("0x7f000001:{port}"),
            format!("0177.0.0.1:{port}"),
            format!("127.1:{port}"),
            format!("[::1]:{port}"),
            format!("[::ffff:127.0.0.1]:{port}"),
            format!("[64:ff9b::7f00:1]:{port}"),
            format!("[2002:7f00:1::]:{port}"),
            format!("LOCALHOST.:{port}"),
            "169.254.169.254".to_owned(),
            "[fd00:ec2::254]".to_owned(),
            format!("allowed.example@127.0.0.1:{port}"),
            format!("127.0.0.1:{port}@allowed.example"),
            "allowed.example.evil.example".to_owned(),
            "allowed.example:81".to_owned(),
        ];
        let attempt = |authority: String| Attempt {
            what: format!("a request to {}", authority.replace(&port.to_string(), "PORT")),
            plugin: "reach",
            config: json!({ "do": "request", "authority": authority }),
            grants: granted(),
            ends: Ends::Told(&["HttpRequestDenied", "HttpRequestUriInvalid", "authority"]),
            bound: "a grant is for one host and port, in one spelling",
        };
        spellings.into_iter().map(attempt).collect()
    }
}

/// Files that must not become plugins: what is in them, and words of the reason.
fn bad_files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = hostile();
    let describing = |how: &str| patched(&[("holdfast-describe=honestly", how)]);
    vec![
        ("a script", b"#!/bin/sh\nrm -rf /\n".to_vec(), "is not a WebAssembly component"),
        ("a module", b"\0asm\x01\0\0\0".to_vec(), "module, not a component"),
        ("an empty component", b"\0asm\x0d\0\x01\0".to_vec(), "is not a plugin"),
        ("a component cut in two", whole[..whole.len() / 2].to_vec(), "component"),
        ("a length that lies", [&whole[..8], &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat(), "component"),
        (
            "a newer contract",
            patched(&[("holdfast:snapshot/reader@0.1.0", "holdfast:snapshot/reader@0.2.0")]),
            "update the agent",
        ),
        (
            "an import of its own",
            patched(&[("holdfast:host/log@0.1.0", "holdfast:host/web@0.1.0")]),
            "does not know",
        ),
        ("describe loops", describing("holdfast-describe=looping_"), "used up its"),
        ("describe panics", describing("holdfast-describe=panicing"), "describe panics"),
        (
            "describe gives a schema without an end",
            describing("holdfast-describe=badschem"),
            "refers to itself",
        ),
        ("describe gives 40 MiB", describing("holdfast-describe=hugetext"), "handed over more than"),
        ("describe lies about its name", patched(&[("hostile", "another")]), "calls itself `another`"),
        ("describe has escapes in its name", patched(&[("hostile", "Hos\x1bile")]), "a name is lower case"),
    ]
}

struct Stage {
    _setup: Setup,
    host: PluginHost,
    good: Arc<Plugin>,
    expected: String,
    /// What ended otherwise than it must.
    amiss: Mutex<Vec<String>>,
}

impl Stage {
    async fn new() -> Stage {
        let options = |limits| PluginOptions { limits, ..PluginOptions::default() };
        let sleeper = Limits { timeout: Duration::from_millis(500), ..limits() };
        let patient = Limits { host_calls: u64::MAX, ..limits() };
        let setup = Setup::new()
            .with("hostile.wasm", &hostile())
            .with("patient.wasm", &patched(&[("hostile", "patient")]))
            .options("patient", options(patient))
            .with("sleeper.wasm", &patched(&[("hostile", "sleeper")]))
            .with("another.wasm", &patched(&[("hostile", "another")]))
            .with("reach.wasm", &reach())
            .options("hostile", options(limits()))
            .options("sleeper", options(sleeper))
            .options("reach", options(limits()))
            .options("another", options(Limits { timeout: Duration::from_mins(30), ..Limits::default() }));
        let host = setup.loaded().await;
        let good = host.registry().plugin("another").expect("it loads");
        let mut stage = Stage { _setup: setup, host, good, expected: String::new(), amiss: Mutex::default() };
        stage.expected = stage.scan().await;
        stage
    }

    /// What the good plugin says.
    async fn scan(&self) -> String {
        let config = json!({ "do": "scan", "n": 100 });
        self.good.verify(subject(), Vec::new(), &config).await.result.expect("a report").summary
    }

    /// Makes the attempt while the good plugin works, and gives how it ended. What is not as it must be is told at the end, all of it.
    async fn meet(&self, attempt: &Attempt) -> String {
        let plugin = self.host.registry().plugin(attempt.plugin).expect("it loads");
        let bad = plugin.verify_inspected(subject(), &FACTS, Vec::new(), &attempt.config, &attempt.grants);
        let (run, said) = tokio::join!(bad, self.scan());
        let what = &attempt.what;
        assert_eq!(said, self.expected, "what another plugin says during `{what}`");
        assert!(run.stats.peak_memory_bytes <= plugin.limits().memory_bytes, "{what}: {:?}", run.stats);
        assert!(run.stats.log_lines <= 400, "{what}: {:?}", run.stats);
        assert!(run.stderr.len() < 40_000 && !run.stderr.contains('\x1b'), "{what}");
        judged(&attempt.ends, &run).unwrap_or_else(|| {
            self.amiss.lock().expect("no panic").push(format!("{what}: {:?}", run.result));
            "ANOTHER END".to_owned()
        })
    }
}

/// How a run ended, if it is as it must.
fn judged(ends: &Ends, run: &VerifyRun) -> Option<String> {
    let safe = |text: &str| !text.contains(['\x1b', '\n']);
    match (ends, &run.result) {
        (Ends::Error(kind, code), Err(error)) => ((error.kind, error.code.as_str()) == (*kind, *code)
            && safe(&error.message))
        .then(|| format!("{kind}: {code}")),
        (Ends::Told(words), Err(error)) => {
            let told = format!("{}: {}", error.code, error.message);
            (error.kind == CallErrorKind::Error && words.iter().any(|word| told.contains(word)))
                .then(|| "error, which it told".to_owned())
        }
        (Ends::Failed, Ok(report)) => (report.outcome == Outcome::Failed
            && report.findings.len() == 1000
            && report.suppressed_findings > 0)
            .then(|| "failed, bounded".to_owned()),
        (Ends::Answer(words), Ok(report)) => (report.outcome == Outcome::Passed
            && report.summary.contains(words)
            && safe(&report.summary)
            && report.findings.len() <= 1000)
            .then(|| "passed, bounded".to_owned()),
        _ => None,
    }
}

/// A handle that one call leaves open is tried by the next, which has none of its own yet.
async fn handle_of_another_call(stage: &Stage) -> String {
    let plugin = stage.host.registry().plugin("hostile").expect("it loads");
    let left = plugin.verify(subject(), Vec::new(), &json!({ "do": "leave-a-handle" })).await;
    let number: u64 = left.result.expect("a report").summary.parse().expect("a number");
    let attempt = Attempt {
        what: "the handle of another call".into(),
        plugin: "hostile",
        config: json!({ "do": "forged-handle", "n": number }),
        grants: Grants::new(Allow::default(), [].into()),
        ends: Ends::Error(CallErrorKind::Trap, "bad-handle"),
        bound: "",
    };
    stage.meet(&attempt).await
}

async fn round(stage: &Stage, world: &World, table: &mut String) -> usize {
    let mut count = 0;
    let mut row = |what: &str, ended: &str, bound: &str| {
        count += 1;
        writeln!(table, "{what:<52} {ended:<26} {bound}").expect("text");
    };
    for attempt in by_itself().into_iter().chain(world.attempts()) {
        let ended = stage.meet(&attempt).await;
        row(&attempt.what, &ended, attempt.bound);
    }
    let ended = handle_of_another_call(stage).await;
    row("the handle of another call", &ended, "handles are indices into the call's own table");
    for (what, bytes, words) in bad_files() {
        let setup = Setup::new().with("hostile.wasm", &bytes);
        let host = setup.host();
        let (report, said) = tokio::join!(host.scan(), stage.scan());
        assert_eq!(said, stage.expected, "what another plugin says during `{what}`");
        let reason = refusal(&report);
        if !reason.contains(words) || reason.contains('\x1b') {
            stage.amiss.lock().expect("no panic").push(format!("{what}: {reason}"));
        }
        assert_eq!(host.registry().plugins().count(), 0);
        row(what, "refused", "what a file is, is known before it is called");
    }
    tampered_entry(stage).await;
    row("a tampered entry of the cache", "compiled again", "each entry carries a digest");
    let (refused, loaded) = mutants(stage).await;
    row(
        &format!("{} mutants of a component", refused + loaded),
        &format!("{refused} refused, {loaded} ran"),
        "validation, then every bound above",
    );
    count
}

/// Native code that somebody put into the cache is not run.
async fn tampered_entry(stage: &Stage) {
    let setup = Setup::with_own_cache().with("hostile.wasm", &hostile());
    setup.host().scan().await;
    let mut entries = fs::read_dir(setup.cache().join("native")).expect("the cache is there");
    let entry = entries.next().expect("one entry").expect("readable").path();
    let mut bytes = fs::read(&entry).expect("readable");
    // Among the code: an instruction that stops, many times.
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xcc);
    fs::write(&entry, &bytes).expect("written");
    let host = setup.host();
    let (report, said) = tokio::join!(host.scan(), stage.scan());
    assert_eq!(said, stage.expected);
    let loaded = matches!(report.events[0].change, holdfast_runtime::Change::Loaded { cached: false, .. });
    assert!(loaded, "{report:?}");
}

/// Numbers from a seed: the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Damages a component in one of the ways in which files go bad, or are made bad.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    if bytes.is_empty() {
        return;
    }
    let at = numbers.below(bytes.len());
    let length = 1 + numbers.below(64.min(bytes.len() - at));
    match numbers.below(6) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << numbers.below(8),
        2 => bytes[at] = numbers.below(256) as u8,
        3 => drop(bytes.drain(at..at + length)),
        4 => {
            let part = bytes[at..at + length].to_vec();
            let to = numbers.below(bytes.len());
            bytes.splice(to..to, part);
        }
        _ => bytes[at..at + length].fill(0xff),
    }
}

/// Loads mutants of a real component and calls those that load: how many were refused, and how many ran, however that ended.
async fn mutants(stage: &Stage) -> (usize, usize) {
    let count = std::env::var("HOLDFAST_MUTANTS").ok().and_then(|it| it.parse().ok()).unwrap_or(40);
    let setup = Setup::with_own_cache()
        .options("hostile", PluginOptions { limits: limits(), ..PluginOptions::default() });
    let host = setup.host();
    let (mut refused, mut loaded) = (0, 0);
    for seed in 1..=count {
        let mut numbers = Numbers(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut bytes = hostile();
        for _ in 0..=numbers.below(3) {
            mutate(&mut bytes, &mut numbers);
        }
        setup.put("hostile.wasm", &bytes);
        let report = host.scan().await;
        assert!(report.problem.is_none(), "{seed}: {report:?}");
        match host.registry().states()["hostile"].rejection {
            Some(_) => refused += 1,
            None => loaded += 1,
        }
        if let Ok(plugin) = host.registry().plugin("hostile") {
            let config = json!({ "do": "scan", "n": 100 });
            let call = plugin.verify(subject(), Vec::new(), &config);
            let (_, said) = tokio::join!(call, stage.scan());
            assert_eq!(said, stage.expected, "what another plugin says during mutant {seed}");
        }
    }
    assert!(refused > 0, "a mutation was noticed");
    (refused, loaded)
}

/// Room for what the allocator keeps and the second round's own work. One leaked call of the first kind would be 16 MiB, and there
/// are a hundred of them in a round.
const SLACK_BYTES: u64 = 96 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "`every_attempt_meets_its_bound` runs it in a process of its own"]
async fn attempts() {
    let (stage, world) = (Stage::new().await, World::new().await);
    let mut table = String::new();
    let count = round(&stage, &world, &mut table).await;
    let before = resident_bytes();
    let amiss = stage.amiss.lock().expect("no panic").join("\n");
    assert!(amiss.is_empty(), "{table}\n{amiss}");
    let mut again = String::new();
    round(&stage, &world, &mut again).await;
    let after = resident_bytes();
    let _ = std::io::stdout().write_all(table.as_bytes());
    let mebibytes = |bytes: u64| bytes >> 20;
    let _ = writeln!(
        std::io::stdout(),
        "{count} attempts, twice; resident: {} MiB after the first round, {} MiB after the second",
        mebibytes(before),
        mebibytes(after)
    );
    assert!(count >= 25);
    assert_eq!(table, again, "the second round ends as the first");
    assert!(after < before + SLACK_BYTES, "memory does not come back: {before}, then {after}");
    // Only what was granted has left: the flood's first three, and the head of the request without an end.
    let heads = world.good.heads();
    assert!((6..=8).contains(&heads.len()), "{heads:?}");
    let host = format!("host: {}\r\n", world.good.authority());
    assert!(heads.iter().all(|head| head.to_lowercase().contains(&host)), "{heads:?}");
}

#[test]
fn every_attempt_meets_its_bound() {
    let own = std::env::current_exe().expect("a test has a file");
    let output = Command::new(own)
        .args(["--exact", "hostile::attempts", "--ignored", "--nocapture"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    let _ = std::io::stderr().write_all(said.as_bytes());
}
