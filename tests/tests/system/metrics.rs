//! What the agent tells Prometheus: on real etcd, with real plugins, checked by Prometheus' own tool.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use holdfast_tests::cluster::free_port;
use holdfast_tests::scrape::{self, Answer};
use holdfast_tests::{Cluster, Process, Site, objects, plugins, tools, wait};

const EVERY_MINUTE: &str = "\"* * * * *\"";
/// The 29th of February: not today.
const NEVER: &str = "\"0 0 29 2 *\"";
const NAMESPACE_EXISTS: &str =
    r#"{ plugin = "required-keys", config = { rules = [{ key = "/registry/namespaces/default" }] } }"#;

fn listening(site: Site, port: u16) -> Site {
    site.set("metrics", "listen", &format!("\"127.0.0.1:{port}\""))
}

fn started(site: &Site) -> Process {
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line("the agent has started");
    agent
}

/// What Prometheus' own tool says to an exposition; nothing when it is not installed.
fn promtool(answer: &Answer) {
    let Some(tool) = tools::find("promtool", "--version") else {
        return tools::skip("`promtool` is not installed: `tools/install.sh promtool`");
    };
    let mut check = std::process::Command::new(tool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    check.stdin.take().expect("a pipe").write_all(answer.body.as_bytes()).expect("promtool reads");
    let said = check.wait_with_output().expect("promtool ends");
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.trim().is_empty(), "{text}\n{}", answer.body);
}

#[test]
fn a_scrape_tells_of_runs_stores_and_plugins() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(2, 5));
    let port = free_port();
    let site = listening(Site::of(&cluster), port)
        .set("backup", "schedule", EVERY_MINUTE)
        .set("retention", "last", "1")
        .plugins(&["required-keys"])
        .chain(
            "sanity",
            &["{ integrity = {} }", NAMESPACE_EXISTS, "{ plugin = \"drift\", on_error = \"warn\" }"],
        );
    // What was there before the agent counts for its times.
    site.backup();
    let mut agent = started(&site);
    let before = scrape::until(port, "a look into the store", |answer| {
        answer.value("holdfast_store_backups{store=\"local\"}") == Some(1.0)
    });
    assert!(before.value("holdfast_backup_last_success_timestamp_seconds").is_some_and(|time| time > 1.7e9));
    promtool(&before);
    assert_eq!(before.value("holdfast_plugin_state{plugin=\"drift\",state=\"missing\"}"), Some(1.0));
    let unready = scrape::get(port, "/readyz", "").expect("an answer");
    assert_eq!(unready.status, 503, "{unready:?}");
    assert!(unready.body.contains("there is no plugin `drift`"), "{unready:?}");
    assert_eq!(scrape::get(port, "/healthz", "").expect("an answer").status, 200);

    site.install_plugin("drift", "drift");
    agent.wait_for_line("plugin loaded");
    agent.wait_for_line("backed up and proved");
    agent.wait_for_line("pruned");
    let after = scrape::until(port, "the run and the look after it", |answer| {
        answer.value("holdfast_backups_total{outcome=\"passed\"}").is_some_and(|count| count >= 1.0)
            && answer.value("holdfast_store_backups{store=\"local\"}") == Some(1.0)
    });
    promtool(&after);
    assert_eq!(scrape::get(port, "/readyz", "").expect("an answer").status, 200);
    let sha256 =
        holdfast_tests::site::sha256(&fs::read(plugins::built("required-keys")).expect("it is there"));
    let of_plugin = format!("{{plugin=\"required-keys\",sha256=\"{sha256}\"");
    let passed = format!("holdfast_plugin_calls_total{of_plugin},outcome=\"passed\"}}");
    assert!(after.value(&passed).is_some_and(|count| count >= 1.0), "{}", after.body);
    assert_eq!(after.value(&passed.replace("passed", "trap")), Some(0.0));
    for family in [
        "plugin_call_seconds_total",
        "plugin_cpu_seconds_total",
        "plugin_peak_memory_bytes",
        "plugin_host_calls_total",
    ] {
        let value = after.value(&format!("holdfast_{family}{of_plugin}}}"));
        assert!(value.is_some_and(|value| value > 0.0), "{family}: {value:?}");
    }
    // It looks keys up; the other one reads all of them.
    let rows = after.values("holdfast_plugin_read_rows_total", &["plugin=\"drift\""]);
    assert!(rows.iter().any(|rows| *rows > 0.0), "{rows:?}");
    assert_eq!(after.value("holdfast_plugin_state{plugin=\"drift\",state=\"live\"}"), Some(1.0));
    assert_eq!(after.value("holdfast_plugin_reloads_total{plugin=\"drift\",result=\"loaded\"}"), Some(1.0));
    assert!(!after.values("holdfast_plugin_measurement", &["plugin=\"drift\"", "step=\"3\""]).is_empty());
    let manifest = site.newest_manifest();
    let bytes = |series| after.value(series).map(|bytes| bytes as u64);
    assert_eq!(
        bytes("holdfast_store_stored_bytes{store=\"local\"}"),
        manifest["stored"]["size_bytes"].as_u64()
    );
    assert!(
        after.value("holdfast_retention_removed_backups_total{store=\"local\"}").is_some_and(|it| it >= 1.0)
    );
    assert_eq!(after.value("holdfast_store_up{store=\"local\"}"), Some(1.0));
    assert!(!after.values("holdfast_backup_stage_duration_seconds", &["stage=\"fetch\""]).is_empty());
    assert!(after.value("holdfast_backup_plain_bytes").is_some_and(|bytes| bytes > 0.0));
    let proved = after.value("holdfast_backup_last_proved_timestamp_seconds").expect("it was proved");
    let due = after.value("holdfast_schedule_next_run_timestamp_seconds").expect("it is scheduled");
    assert!(due > proved && due % 60.0 == 0.0, "{due} after {proved}");

    // The other text, for who asks for it.
    let open = scrape::get(
        port,
        "/metrics",
        "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n",
    );
    let open = open.expect("an answer");
    assert!(open.head.contains("application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"));

    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody listens any more");
}

#[test]
fn digests_that_are_replaced_do_not_pile_up() {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::kubernetes(1, 2));
    let port = free_port();
    let site =
        listening(Site::of(&cluster), port).set("backup", "schedule", NEVER).plugins(&["required-keys"]);
    let mut agent = started(&site);
    let built = fs::read(plugins::built("required-keys")).expect("it is there");
    for number in 1..=8_u8 {
        // A custom section more: another digest, the same plugin.
        let section = [0, 3, 1, b'n', number];
        let other = [built.as_slice(), &section].concat();
        fs::write(site.path("plugins/.new"), &other).expect("a file can be written");
        fs::rename(site.path("plugins/.new"), site.path("plugins/required-keys.wasm")).expect("renamed");
        let sha256 = holdfast_tests::site::sha256(&other);
        scrape::until(port, "the new version", |answer| {
            !answer.values("holdfast_plugin_info", &[&sha256]).is_empty()
        });
    }
    let answer = scrape::get(port, "/metrics", "").expect("an answer");
    promtool(&answer);
    let told = answer.values("holdfast_plugin_peak_memory_bytes", &["plugin=\"required-keys\""]).len();
    assert_eq!(told, 4, "{}", answer.body);
    assert_eq!(answer.values("holdfast_plugin_info", &["plugin=\"required-keys\""]), [1.0]);
    let loaded = "holdfast_plugin_reloads_total{plugin=\"required-keys\",result=\"loaded\"}";
    assert_eq!(answer.value(loaded), Some(9.0));

    fs::write(site.path("plugins/.new"), "no component").expect("a file can be written");
    fs::rename(site.path("plugins/.new"), site.path("plugins/required-keys.wasm")).expect("renamed");
    scrape::until(port, "the refusal", |answer| {
        answer.value("holdfast_plugin_state{plugin=\"required-keys\",state=\"stale\"}") == Some(1.0)
            && answer.value(&loaded.replace("loaded", "rejected")) == Some(1.0)
    });
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn a_changed_address_is_taken_or_refused_whole() {
    let cluster = Cluster::builder().start();
    let (first, second) = (free_port(), free_port());
    let site = listening(Site::of(&cluster), first).set("backup", "schedule", NEVER);
    let mut agent = started(&site);
    assert_eq!(scrape::get(first, "/healthz", "").expect("an answer").status, 200);

    // Somebody else has the port: the old one is served on, and the rest of the change is not taken either.
    let taken = TcpListener::bind(("127.0.0.1", second)).expect("the port is free");
    let site = listening(site, second).set("backup", "schedule", EVERY_MINUTE);
    agent.hang_up();
    agent.wait_for_line("the changed configuration is refused");
    let told = agent.wait_for_line("metrics cannot be served");
    assert!(told.contains("line=") && told.contains(&second.to_string()), "{told}");
    let answer = scrape::get(first, "/metrics", "").expect("an answer");
    assert_eq!(answer.value("holdfast_config_reloads_total{result=\"refused\"}"), Some(1.0));
    assert!(answer.values("holdfast_backups_total", &[]).iter().all(|count| *count == 0.0));

    drop(taken);
    let site = site.set("backup", "schedule", NEVER);
    agent.hang_up();
    agent.wait_for_line("the configuration is reloaded");
    let answer = scrape::get(second, "/metrics", "").expect("an answer");
    assert_eq!(answer.value("holdfast_config_reloads_total{result=\"taken\"}"), Some(1.0), "counts go on");
    assert!(scrape::get(first, "/healthz", "").is_err(), "nobody listens any more");

    let _site = site.unset("metrics", "listen");
    agent.hang_up();
    agent.wait_for_lines("the configuration is reloaded", 2);
    wait::until("nobody to listen", || TcpStream::connect(("127.0.0.1", second)).is_err().then_some(()));
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn an_address_that_cannot_be_had_is_told_at_the_start() {
    let cluster = Cluster::builder().start();
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = taken.local_addr().expect("an address").port();
    let site = listening(Site::of(&cluster), port).set("backup", "schedule", NEVER);
    site.holdfast(&["agent"]).exits(2).explains(&[
        "metrics cannot be served",
        &port.to_string(),
        "metrics.listen",
    ]);
}

#[test]
fn readers_who_dawdle_shout_or_come_in_crowds_hold_up_nobody() {
    let cluster = Cluster::builder().start();
    let port = free_port();
    let site = listening(Site::of(&cluster), port).set("backup", "schedule", NEVER);
    let mut agent = started(&site);

    // More connections than are served at a time, each with half a request.
    let idle: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").expect("sent");
            stream
        })
        .collect();
    assert_eq!(scrape::get(port, "/metrics", "").expect("an answer, once they are given up").status, 200);
    for mut stream in idle {
        // Closed, perhaps after a word about it: it ends.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }

    let many = "X-A: b\r\n".repeat(200);
    assert_eq!(scrape::get(port, "/metrics", &many).expect("an answer").status, 431);
    let long = format!("X-A: {}\r\n", "b".repeat(64 << 10));
    // Closed while it still shouts, or told so.
    assert!(scrape::get(port, "/metrics", &long).map_or(true, |answer| answer.status == 431));
    assert_eq!(
        scrape::ask(port, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n")
            .expect("an answer")
            .status,
        405
    );
    assert_eq!(scrape::get(port, "/", "").expect("an answer").status, 404);
    assert!(scrape::ask(port, "\u{0}\u{1}no http\r\n\r\n").map_or(true, |answer| answer.status == 400));
    let answer = scrape::get(port, "/metrics", "").expect("an answer");
    assert_eq!(answer.status, 200);
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn the_example_alerts_are_sound_and_about_families_that_there_are() {
    let path = tools::root().join("examples/prometheus-alerts.yaml");
    let rules = fs::read_to_string(&path).expect("the example is there");
    let page = fs::read_to_string(tools::root().join("host/docs/metrics.md")).expect("the page is there");
    let words = rules.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let families: Vec<&str> = words.filter(|word| word.starts_with("holdfast_")).collect();
    assert!(families.len() > 10, "{families:?}");
    for family in families {
        assert!(page.contains(&format!("| `{family}` |")), "`{family}` is no family");
    }
    let Some(tool) = tools::find("promtool", "--version") else {
        return tools::skip("`promtool` is not installed: `tools/install.sh promtool`");
    };
    tools::run(std::process::Command::new(tool).args(["check", "rules"]).arg(path));
}
