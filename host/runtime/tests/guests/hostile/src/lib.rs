//! A verifier that does whatever its config's `do` says, most of it bad.
//!
//! The tests also change its bytes: `VERSION`, `NAME` and `DESCRIBE` are looked for and overwritten, so that one build
//! gives many plugins.

mod forge;

use std::hint::black_box;

wit_bindgen::generate!({
    path: ["../../../../../wit/snapshot-0.1.0", "../../../../../wit/host-0.1.0", "../../../../../wit/verifier-0.1.0"],
    world: "holdfast:verifier/verifier",
    generate_all,
});

use exports::holdfast::verifier::plugin::{Description, Guest as Plugin};
use exports::holdfast::verifier::verify::{Error, Finding, Guest as Verify, Measurement, Outcome, Report};
use holdfast::host::log;
use holdfast::snapshot::reader::{Query, Snapshot};

const NAME: &str = "hostile";
const VERSION: &str = "1.0.0+build-aaaa";
const DESCRIBE: &str = "holdfast-describe=honestly";
const SCHEMA: &str = r#"{
    "type": "object",
    "required": ["do"],
    "properties": {
        "do": { "type": "string" },
        "n": { "type": "integer", "minimum": 0 },
        "key": { "type": "string" }
    },
    "additionalProperties": false
}"#;

struct Hostile;
export!(Hostile);

impl Plugin for Hostile {
    fn describe() -> Description {
        let mut schema = SCHEMA.to_owned();
        match black_box(DESCRIBE).trim_start_matches("holdfast-describe=") {
            "honestly" => {}
            "looping_" => forever(),
            "panicing" => panic!("describe panics"),
            "badschem" => schema = r##"{"$ref": "#"}"##.into(),
            "hugetext" => schema = "x".repeat(40 << 20),
            other => unreachable!("{other}"),
        }
        Description {
            name: black_box(NAME).into(),
            version: black_box(VERSION).into(),
            summary: "does what it is told, most of it bad\x1b[2J".into(),
            config_schema: schema,
            wants: vec![],
            attributes: vec![],
        }
    }
}

impl Verify for Hostile {
    fn verify(subject: &Snapshot, context: Vec<(String, String)>, config: String) -> Result<Report, Error> {
        let n = number(&config);
        match word(&config, "do").as_str() {
            "pass" => Ok(report(Outcome::Passed)),
            "fail" => Ok(Report { findings: vec![finding("it is missing")], ..report(Outcome::Failed) }),
            "inconclusive" => Ok(report(Outcome::Inconclusive)),
            "context" => Ok(Report { attributes: context, ..report(Outcome::Passed) }),
            "error" => Err(Error { code: "config".into(), message: "cannot\nwork \x1b[31mso".into() }),
            "panic" => panic!("no such key"),
            "exit" => std::process::exit(3),
            "exit-well" => std::process::exit(0),
            "loop" => forever(),
            "sleep" => {
                std::thread::sleep(std::time::Duration::from_secs(3600));
                Ok(report(Outcome::Passed))
            }
            "nap-and-loop" => loop {
                // Neither a long wait nor a long computation, for ever.
                std::thread::sleep(std::time::Duration::from_millis(1));
                busy(500_000);
            },
            "memory" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                    black_box(&hoard);
                }
            }
            "try-memory" => {
                let mut hoard: Vec<u8> = Vec::new();
                match hoard.try_reserve_exact(1 << 30) {
                    Ok(()) => Ok(report(Outcome::Passed)),
                    Err(error) => Err(Error { code: "memory".into(), message: error.to_string() }),
                }
            }
            "recursion" => Ok(Report { summary: recurse(n).to_string(), ..report(Outcome::Passed) }),
            "deep-frames" => Ok(Report { summary: recurse_deep(n).to_string(), ..report(Outcome::Passed) }),
            "huge-report" => Ok(Report { summary: "x".repeat(n as usize), ..report(Outcome::Passed) }),
            "many-findings" => Ok(Report {
                findings: (0..n).map(|i| finding(&format!("finding {i}"))).collect(),
                ..report(Outcome::Failed)
            }),
            "forged-report" => Ok(forged()),
            "environment" => Ok(environment()),
            "files" => Ok(files()),
            "socket" => match std::net::TcpStream::connect("127.0.0.1:2379") {
                Ok(_) => Ok(report(Outcome::Passed)),
                Err(error) => panic!("no connection: {error}"),
            },
            "udp" => match std::net::UdpSocket::bind("0.0.0.0:0") {
                Ok(_) => Ok(report(Outcome::Passed)),
                Err(error) => panic!("no socket: {error}"),
            },
            "name" => match std::net::ToSocketAddrs::to_socket_addrs("metadata.google.internal:80") {
                Ok(_) => Ok(report(Outcome::Passed)),
                Err(error) => panic!("no address: {error}"),
            },
            "log" => {
                log::write("warn", "one\x1b[2J\nERROR forged line");
                log::write("nonsense", "unknown level");
                println!("on standard output");
                eprintln!("on standard error\x1b]0;title\x07");
                Ok(report(Outcome::Passed))
            }
            "flood" => {
                for i in 0..n {
                    log::write("info", &format!("line {i}"));
                    println!("line {i}");
                    eprintln!("line {i}");
                }
                Ok(report(Outcome::Passed))
            }
            "long-line" => {
                log::write("info", &"x".repeat(n as usize));
                Ok(report(Outcome::Passed))
            }
            "host-calls" => {
                for _ in 0..n {
                    black_box(subject.revision());
                }
                Ok(report(Outcome::Passed))
            }
            "handles" => {
                let queries: Vec<Query> = (0..n).map(|_| Query::new()).collect();
                black_box(&queries);
                Ok(report(Outcome::Passed))
            }
            "big-filter" => {
                Query::new().prefix(&vec![b'x'; n as usize]);
                Ok(report(Outcome::Passed))
            }
            "slow-scan" => loop {
                // Each call makes the host look at every row.
                let query = Query::new();
                query.key_contains(b"no key contains this");
                black_box(subject.totals(&query).map_err(from_reader)?);
            },
            "scan" => scan(subject, n.max(1) as u32),
            "count" => count(subject, &word(&config, "key")),
            "get" => get(subject, &word(&config, "key")),
            "queries" => queries(subject),
            "facts" => Ok(Report {
                summary: format!(
                    "{} {} {} {:?} {:?}",
                    subject.revision(),
                    subject.compact_revision(),
                    subject.size_bytes(),
                    subject.fact("hash"),
                    subject.fact("nonsense"),
                ),
                ..report(Outcome::Passed)
            }),
            other => forge::act(other, n, subject),
        }
    }
}

fn report(outcome: Outcome) -> Report {
    Report { outcome, summary: String::new(), findings: vec![], measurements: vec![], attributes: vec![] }
}

fn finding(message: &str) -> Finding {
    Finding {
        severity: "error".into(),
        code: "missing".into(),
        message: message.into(),
        key: Some(b"/registry/x".to_vec()),
        attributes: vec![],
    }
}

fn forged() -> Report {
    let measurement = |name: &str, value| Measurement {
        name: name.into(),
        value,
        unit: "s".into(),
        attributes: vec![("a\n".into(), "b\x07".into()); 100],
    };
    Report {
        summary: "all is well\r\x1b[1A\x1b[2K\u{202e}".into(),
        findings: vec![Finding { severity: "fine".into(), code: "../../x\n".into(), ..finding("a\nb") }],
        measurements: vec![
            measurement("nan", f64::NAN),
            measurement("infinite", f64::INFINITY),
            measurement("good", 1.5),
        ],
        ..report(Outcome::Passed)
    }
}

fn environment() -> Report {
    let seen: Vec<String> = std::env::vars().map(|(name, _)| name).chain(std::env::args()).collect();
    let mut input = String::new();
    let read = std::io::stdin().read_line(&mut input).unwrap_or(0);
    let outcome = if seen.is_empty() && read == 0 { Outcome::Passed } else { Outcome::Failed };
    Report { summary: seen.join(" "), ..report(outcome) }
}

fn files() -> Report {
    let tries = [
        std::fs::read("/etc/passwd").is_ok(),
        std::fs::read("../../../../etc/passwd").is_ok(),
        std::fs::read_dir("/").is_ok(),
        std::fs::read_dir(".").is_ok(),
        std::fs::write("/tmp/holdfast-hostile", "x").is_ok(),
        std::fs::read_link("/proc/self/exe").is_ok(),
    ];
    let outcome = if tries.contains(&true) { Outcome::Failed } else { Outcome::Passed };
    Report { summary: format!("{tries:?}"), ..report(outcome) }
}

fn scan(subject: &Snapshot, rows: u32) -> Result<Report, Error> {
    let cursor = subject.open(&Query::new()).map_err(from_reader)?;
    let (mut keys, mut key_bytes, mut value_bytes, mut sum) = (0_u64, 0_u64, 0_u64, 0_u64);
    loop {
        let batch = cursor.next(rows, 256 << 10).map_err(from_reader)?;
        if batch.key_ends.is_empty() {
            break;
        }
        keys += batch.key_ends.len() as u64;
        key_bytes += batch.keys.len() as u64;
        value_bytes += batch.values.len() as u64;
        sum += batch.values.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        sum += batch.mod_revisions.iter().map(|revision| *revision as u64).sum::<u64>();
    }
    let live = subject.live_keys().map_err(from_reader)?;
    let outcome = if live == keys { Outcome::Passed } else { Outcome::Failed };
    Ok(Report { summary: format!("{keys} {key_bytes} {value_bytes} {sum}"), ..report(outcome) })
}

fn count(subject: &Snapshot, prefix: &str) -> Result<Report, Error> {
    let query = Query::new();
    query.prefix(prefix.as_bytes());
    let totals = subject.totals(&query).map_err(from_reader)?;
    let summary = format!("{} {} {}", totals.keys, totals.key_bytes, totals.value_bytes);
    Ok(Report { summary, ..report(Outcome::Passed) })
}

fn get(subject: &Snapshot, key: &str) -> Result<Report, Error> {
    let summary = match subject.get(key.as_bytes()).map_err(from_reader)? {
        Some(found) => format!("{} {} {}", found.key == key.as_bytes(), found.value.len(), found.version),
        None => "none".into(),
    };
    Ok(Report { summary, ..report(Outcome::Passed) })
}

/// Compares what filters, order, limit and columns give with a whole scan.
fn queries(subject: &Snapshot) -> Result<Report, Error> {
    let all = keys(subject, &Query::new())?;
    let mut faults = vec![];
    let mut expect = |what: &str, good: bool| {
        if !good {
            faults.push(what.to_owned());
        }
    };
    expect("sorted", all.is_sorted());

    let query = Query::new();
    query.descending();
    let mut reversed = keys(subject, &query)?;
    reversed.reverse();
    expect("descending", reversed == all);

    let query = Query::new();
    query.limit(3);
    expect("limit", keys(subject, &query)? == all[..3]);
    query.descending();
    expect("last", keys(subject, &query)?.last() == all.get(all.len() - 3));

    let query = Query::new();
    query.range(&all[2], &all[5]);
    expect("range", keys(subject, &query)? == all[2..5]);
    query.range(&all[2], b"");
    expect("open range", keys(subject, &query)? == all[2..]);
    query.prefix(&all[4]);
    expect("prefix in range", keys(subject, &query)?.first() == all.get(4));
    query.range(&all[5], &all[2]);
    expect("empty range", keys(subject, &query)?.is_empty());

    let query = Query::new();
    query.key_contains(b"kube-system");
    let wanted: Vec<_> =
        all.iter().filter(|key| key.windows(11).any(|part| part == b"kube-system")).cloned().collect();
    expect("contains", !wanted.is_empty() && keys(subject, &query)? == wanted);
    expect("totals", subject.totals(&query).map_err(from_reader)?.keys == wanted.len() as u64);

    let query = Query::new();
    query.value_prefix(b"k8s\0");
    query.columns(false, true, false);
    let cursor = subject.open(&query).map_err(from_reader)?;
    let batch = cursor.next(10, 1 << 20).map_err(from_reader)?;
    expect("value prefix", !batch.value_ends.is_empty() && batch.values.starts_with(b"k8s\0"));
    expect("columns", batch.key_ends.is_empty() && batch.mod_revisions.is_empty());

    let query = Query::new();
    query.changed_after(subject.revision());
    expect("changed after the end", keys(subject, &query)?.is_empty());
    query.changed_after(subject.revision() - 1);
    expect("changed last", !keys(subject, &query)?.is_empty());

    let query = Query::new();
    query.columns(false, false, false);
    expect("no columns", keys(subject, &query)?.len() == all.len());

    // Too small for any row: they come one by one.
    let cursor = subject.open(&Query::new()).map_err(from_reader)?;
    let batch = cursor.next(100, 1).map_err(from_reader)?;
    expect("small batch", batch.key_ends.len() == 1 && batch.versions.len() == 1);
    let batch = cursor.next(0, 1 << 20).map_err(from_reader)?;
    expect("zero rows", batch.key_ends.len() == 1 && batch.keys == all[1]);

    let outcome = if faults.is_empty() { Outcome::Passed } else { Outcome::Failed };
    Ok(Report { summary: faults.join(", "), ..report(outcome) })
}

fn keys(subject: &Snapshot, query: &Query) -> Result<Vec<Vec<u8>>, Error> {
    let cursor = subject.open(query).map_err(from_reader)?;
    let mut keys = vec![];
    loop {
        let batch = cursor.next(100, 64 << 10).map_err(from_reader)?;
        if batch.key_ends.is_empty() {
            return Ok(keys);
        }
        let mut start = 0;
        for end in batch.key_ends {
            keys.push(batch.keys[start..end as usize].to_vec());
            start = end as usize;
        }
    }
}

fn from_reader(error: holdfast::snapshot::reader::Error) -> Error {
    Error { code: "snapshot".into(), message: error.message }
}

fn forever() -> ! {
    loop {
        busy(1_000_000);
    }
}

fn busy(rounds: u64) {
    for round in 0..rounds {
        black_box(round);
    }
}

/// Fills the engine's stack: nothing of it lies in linear memory.
#[inline(never)]
fn recurse(n: u64) -> u64 {
    if n == u64::MAX { 0 } else { recurse(n + 1).wrapping_mul(n | 3) ^ n }
}

/// Fills the stack in linear memory, where a local lies whose address is taken.
#[inline(never)]
fn recurse_deep(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    if n == u64::MAX { 0 } else { recurse_deep(black_box(n + 1)) + frame[0] % 2 }
}

/// The text after `"name":`; the tests write plain JSON.
fn word(config: &str, name: &str) -> String {
    let marker = format!("\"{name}\":\"");
    let Some(start) = config.find(&marker) else { return String::new() };
    config[start + marker.len()..].split('"').next().unwrap_or_default().to_owned()
}

fn number(config: &str) -> u64 {
    let Some(start) = config.find("\"n\":") else { return 0 };
    config[start + 4..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}
