//! The agent under a chain of plugins that do their worst, side by side: backups are made on the schedule, another plugin is right all
//! along, and memory comes back.

use std::fmt::Write as _;
use std::fs;

use holdfast_tests::cluster::free_port;
use holdfast_tests::site::files_below;
use holdfast_tests::{Cluster, Site, scrape, tools, wait};
use serde_json::Value;

/// Backups that are waited for, each of a minute of its own.
const BACKUPS: usize = 4;
/// The memory that one of the plugins may have, and fills in each run.
const HOARD: &str = "\"128MiB\"";
/// Room for what the allocator keeps. A single hoard that stays is more.
const SLACK_BYTES: u64 = 96 << 20;
/// Longer than any wait of the test: what has to end by another limit gets all the time there is.
const LONG: &str = "\"10m\"";

/// What a plugin does, its limit, how each of its calls has to end, and the bound that held.
struct Attempt {
    plugin: &'static str,
    does: &'static str,
    limit: (&'static str, &'static str),
    ends: &'static str,
    bound: &'static str,
}

const ATTEMPTS: [Attempt; 5] = [
    Attempt {
        plugin: "looping",
        does: "loop",
        limit: ("cpu", "\"500ms\""),
        ends: "timeout",
        bound: "processor time",
    },
    Attempt {
        plugin: "hoarder",
        does: "memory",
        limit: ("memory", HOARD),
        ends: "out-of-memory",
        bound: "summed memory",
    },
    Attempt {
        plugin: "chatter",
        does: "endless-log",
        limit: ("host_calls", "10000"),
        ends: "denied",
        bound: "host calls; log volume",
    },
    Attempt {
        plugin: "flooder",
        does: "endless-output",
        limit: ("cpu", "\"500ms\""),
        ends: "timeout",
        bound: "processor time; log volume",
    },
    Attempt {
        plugin: "sleeper",
        does: "sleep",
        limit: ("timeout", "\"3s\""),
        ends: "timeout",
        bound: "wall time",
    },
];

/// What another plugin says beside them: of a rule that holds, and of one that does not.
const RIGHT: &str = r#"{ plugin = "required-keys", config = { rules = [{ key = "/app/leader", value = { equals = "node-1" } }] } }"#;
const WRONG: &str = r#"{ plugin = "required-keys", config = { rules = [{ prefix = "/app/v1/", most = 3 }] }, on_error = "warn" }"#;

fn site(cluster: &Cluster, metrics: u16) -> Site {
    let mut site = Site::of(cluster)
        .plugins(&["required-keys"])
        .set("backup", "schedule", "\"* * * * *\"")
        .set("metrics", "listen", &format!("\"127.0.0.1:{metrics}\""));
    let mut steps = vec![RIGHT.to_owned(), WRONG.to_owned()];
    for Attempt { plugin, does, limit: (name, value), .. } in ATTEMPTS {
        let table = format!("plugin.{plugin}");
        site = site.guest_as("hostile", plugin).set(&table, "timeout", LONG).set(&table, name, value);
        steps.push(format!(
            "{{ plugin = \"{plugin}\", config = {{ do = \"{does}\" }}, on_error = \"warn\" }}"
        ));
    }
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    site.chain("sanity", &steps)
        .set("chain.sanity", "order", "\"side-by-side\"")
        .set("chain.sanity", "timeout", "\"30m\"")
        .set("plugin.required-keys", "timeout", LONG)
}

/// The minute of the day that a backup was made in, by its manifest.
fn minute(manifest: &Value) -> u32 {
    let id = manifest["id"].as_str().expect("a backup has an id");
    let number = |from: usize| id[from..from + 2].parse::<u32>().expect("an id begins with a time");
    number(9) * 60 + number(11)
}

fn resident_bytes(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is told");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes << 10
}

fn step(record: &Value, index: usize) -> (&str, &str) {
    let text = |name: &str| record["steps"][index][name].as_str().unwrap_or_default();
    (text("outcome"), text("error"))
}

#[test]
fn hostile_plugins_cost_the_agent_no_backup_and_no_memory() {
    let cluster = Cluster::builder().start();
    cluster.put("/app/leader", "node-1");
    for index in 0..4 {
        cluster.put(&format!("/app/v1/{index}"), "old");
    }
    let port = free_port();
    let site = site(&cluster, port);
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line("backed up and proved");
    let before = resident_bytes(agent.id());
    for count in 2..=BACKUPS {
        agent.wait_for_lines("backed up and proved", count);
    }
    let after = wait::until("the memory of the first run's end", || {
        Some(resident_bytes(agent.id())).filter(|bytes| *bytes < before + SLACK_BYTES)
    });

    // Each minute between the first and the last has its backup.
    let minutes: Vec<u32> = site.manifests().iter().map(minute).collect();
    assert!(minutes.len() >= BACKUPS, "{minutes:?}");
    assert!(minutes.windows(2).all(|pair| (pair[0] + 1) % (24 * 60) == pair[1]), "{minutes:?}");
    assert!(!agent.log().contains("skipped"), "{}", agent.log());

    // In each of the runs: the other plugin is right, and each of these ends by its own bound.
    let records: Vec<Value> = files_below(&site.store().join("records"))
        .iter()
        .map(|file| serde_json::from_slice(&fs::read(file).expect("a record")).expect("JSON"))
        .collect();
    assert!(records.len() >= BACKUPS, "{records:?}");
    for record in &records {
        assert_eq!(record["outcome"], "passed", "{record:#}");
        assert_eq!((step(record, 0), step(record, 1)), (("passed", ""), ("failed", "")), "{record:#}");
        for (index, attempt) in ATTEMPTS.iter().enumerate() {
            let ended = step(record, index + 2);
            assert_eq!(ended, ("inconclusive", attempt.ends), "{}: {record:#}", attempt.plugin);
        }
    }
    let scraped = scrape::get(port, "/metrics", "").expect("the agent answers");
    let mut table = String::new();
    for Attempt { plugin, does, limit: (name, value), ends, bound } in ATTEMPTS {
        let words = [format!("plugin=\"{plugin}\""), format!("outcome=\"{ends}\"")];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let calls: f64 = scraped.values("holdfast_plugin_calls_total", &words).iter().sum();
        assert!(calls >= BACKUPS as f64, "{plugin}: {calls} calls ended in `{ends}`");
        let limit = format!("{name} = {value}");
        writeln!(table, "{does:<16} {limit:<22} {ends:<14} {calls:>3} calls   {bound}").expect("text");
    }
    tools::tell(&format!(
        "{table}{} backups in {} minutes; resident: {} MiB after the first, {} MiB after the last",
        minutes.len(),
        minutes.len(),
        before >> 20,
        after >> 20
    ));
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    site.has_no_leftovers();
}
