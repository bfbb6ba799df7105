//! Notifications: from what a run came to, through the queue and the plugins that ship, to a far end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_tests::alertmanager::Alertmanager;
use holdfast_tests::service::{Call, Service};
use holdfast_tests::site::{files_below, quoted, quoted_path};
use holdfast_tests::tools::Etcd;
use holdfast_tests::{Cluster, Site, plugins, tools, wait};
use serde_json::Value;

/// The 29th of February: not today.
const NEVER: &str = "\"0 0 29 2 *\"";

/// Adds a notifier that posts to this URL through the plugin `webhook`.
fn hook(site: Site, name: &str, url: &str, when: &str) -> Site {
    let table = format!("notify.{name}");
    let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
    site.plugins(&["webhook"])
        .set(&table, "plugin", "\"webhook\"")
        .set(&table, "when", when)
        .set(&table, "config", &format!("{{ url = {} }}", quoted(url)))
        .set(&table, "allow", &format!("{{ http = [{}] }}", quoted(&host)))
}

fn secret(site: Site, name: &str, value: &str) -> Site {
    let file = site.path(name);
    fs::write(&file, format!("{value}\n")).expect("a file can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("the owner may");
    site.set(&format!("secret.{name}"), "file", &quoted_path(&file))
}

fn body(call: &Call) -> Value {
    serde_json::from_str(&call.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", call.body))
}

fn kinds(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|call| body(call)["data"]["kind"].as_str().expect("a kind").to_owned()).collect()
}

fn header<'a>(call: &'a Call, name: &str) -> &'a str {
    let found = call.request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or_else(|| panic!("no header `{name}` in {call:?}"), |(_, value)| value.as_str())
}

#[test]
fn a_failure_its_repetitions_and_its_end_are_two_messages() {
    let cluster = Cluster::builder().start();
    let far_end = Service::start(|_| (200, String::new()));
    let site = hook(Site::of(&cluster), "hook", &format!("{}/in", far_end.endpoint()), "[\"backup.*\"]");
    site.holdfast(&["config", "check"]).exits(0);
    let told = site.holdfast(&["backup"]);
    told.exits(0).says(&["notifier hook: told of 1 event"]);
    assert_eq!(kinds(&far_end.calls()), ["backup.succeeded"]);
    let event = body(&far_end.calls()[0]);
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["data"]["attributes"]["backup-id"], site.newest_manifest()["id"]);
    assert!(event["data"]["details"]["stages"].as_array().is_some_and(|stages| stages.len() > 3), "{event}");

    // Nobody is there: three runs fail, and one message says so.
    let away =
        site.set("cluster", "endpoints", "[\"http://127.0.0.1:1\"]").set("cluster", "dial_timeout", "\"1s\"");
    for _ in 0..3 {
        away.holdfast(&["backup"]).exits(2);
    }
    let calls = far_end.calls();
    assert_eq!(kinds(&calls), ["backup.succeeded", "backup.failed"]);
    let failed = body(&calls[1]);
    assert_eq!(failed["data"]["attributes"]["problem"], "test/backup");
    assert_eq!(failed["data"]["attributes"]["status"], "firing");
    assert!(
        failed["data"]["attributes"]["error"].as_str().is_some_and(|error| error.contains("127.0.0.1:1")),
        "{failed}"
    );

    let endpoints: Vec<String> = cluster.endpoints().iter().map(|one| quoted(one.as_ref())).collect();
    let back = away.set("cluster", "endpoints", &format!("[{}]", endpoints.join(", ")));
    back.holdfast(&["backup"]).exits(0);
    let calls = far_end.calls();
    assert_eq!(kinds(&calls)[2..], ["backup.resolved", "backup.succeeded"]);
    let resolved = body(&calls[2]);
    assert_eq!(resolved["data"]["attributes"]["problem"], "test/backup");
    assert_eq!(resolved["data"]["attributes"]["resolves"], "backup.failed");
    assert_eq!(resolved["data"]["attributes"]["repeated"], "2");
}

/// A drill has kinds of its own beside the proof's, and each chain its own problem.
#[test]
fn a_drill_that_passes_fails_cannot_run_and_recovers_is_told() {
    let etcd = Etcd::version("3.6");
    let cluster = Cluster::builder().start();
    cluster.put("/a", "1");
    let far_end = Service::start(|_| (200, String::new()));
    let url = format!("{}/in", far_end.endpoint());
    let restore = "{ restore = { boot = true } }";
    let script = |does: &str| format!("{{ plugin = \"hostile-script\", config = {{ do = \"{does}\" }} }}");
    let program = format!("\"{}\"", etcd.server().display());
    let site = hook(Site::of(&cluster), "hook", &url, "[\"drill.*\"]")
        .guest("hostile-script")
        .set("boot", "program", &program)
        .chain("drill", &["{ integrity = {} }", restore, &script("pass")]);
    site.holdfast(&["config", "check"]).exits(0);
    site.holdfast(&["backup"]).exits(0);
    let calls = far_end.calls();
    assert_eq!(kinds(&calls), ["drill.passed"]);
    let passed = body(&calls[0]);
    assert_eq!(passed["data"]["attributes"]["backup-id"], site.newest_manifest()["id"]);
    assert_eq!(passed["data"]["attributes"]["chain"], "drill");
    assert_eq!(passed["data"]["details"]["steps"].as_array().map(Vec::len), Some(3), "{passed}");

    // Twice the same trouble is one message.
    let site = site.chain("drill", &["{ integrity = {} }", restore, &script("fail")]);
    for _ in 0..2 {
        site.holdfast(&["backup"]).exits(1);
    }
    let calls = far_end.calls();
    assert_eq!(kinds(&calls)[1..], ["drill.failed"]);
    let failed = body(&calls[1]);
    let attributes = &failed["data"]["attributes"];
    assert_eq!(
        (&attributes["problem"], &attributes["status"]),
        (&"test/drill/drill".into(), &"firing".into())
    );
    assert_eq!(
        (&attributes["chain"], &attributes["stage"], &attributes["plugin"], &attributes["error"]),
        (&"drill".into(), &"hostile-script".into(), &"hostile-script".into(), &"said no".into())
    );
    assert_eq!((&failed["severity"], &failed["type"]), (&"error".into(), &"holdfast.drill.failed".into()));

    // Another trouble with the same drill: nothing boots.
    let site = site.set("boot", "program", "\"/nowhere/etcd\"");
    site.holdfast(&["backup"]).exits(1);
    let calls = far_end.calls();
    assert_eq!(kinds(&calls)[2..], ["drill.inconclusive"]);
    let attributes = &body(&calls[2])["data"]["attributes"];
    assert_eq!(
        (&attributes["problem"], &attributes["stage"]),
        (&"test/drill/drill".into(), &"restore".into())
    );

    // A proof without a drill says nothing of it.
    let site = site.chain("sanity", &["{ integrity = {} }", "{ restore = {} }"]);
    site.holdfast(&["backup"]).exits(0);
    assert_eq!(far_end.calls().len(), 3);

    // It is over with the next drill that passes, of whichever backup.
    let site = site
        .set("boot", "program", &program)
        .chain("drill", &["{ integrity = {} }", restore, &script("pass")]);
    site.holdfast(&["verify", "latest"]).exits(0);
    let calls = far_end.calls();
    let mut told = kinds(&calls)[3..].to_vec();
    told.sort();
    assert_eq!(told, ["drill.passed", "drill.resolved"]);
    let resolved = calls.iter().map(body).find(|event| event["data"]["kind"] == "drill.resolved");
    let attributes = &resolved.expect("it is among them")["data"]["attributes"];
    assert_eq!(attributes["problem"], "test/drill/drill");
    assert_eq!(attributes["resolves"], "drill.inconclusive");

    // One that does not get as far as a restore is no silence either.
    let data = site.newest_data();
    let mut bytes = fs::read(&data).expect("the data can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&data, bytes).expect("the data can be written");
    site.holdfast(&["verify", "latest"]).exits(1);
    let calls = far_end.calls();
    assert_eq!(kinds(&calls)[5..], ["drill.inconclusive"]);
    assert_eq!(body(&calls[5])["data"]["attributes"]["chain"], "drill");
}

/// A drill that is due and for which no backup can be had is no silence.
#[test]
fn a_scheduled_drill_that_does_not_come_about_is_told() {
    let far_end = Service::start(|_| (200, String::new()));
    let url = format!("{}/in", far_end.endpoint());
    let site = hook(Site::with_endpoints(&["http://127.0.0.1:1"]), "hook", &url, "[\"drill.*\"]")
        .set("backup", "schedule", NEVER)
        .chain("drill", &["{ restore = { boot = true } }"])
        .set("[verify]", "schedule", "\"* * * * *\"")
        .set("[verify]", "chain", "\"drill\"");
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line("not verified");
    let calls = wait::until("the event", || Some(far_end.calls()).filter(|calls| !calls.is_empty()));
    assert_eq!(kinds(&calls), ["drill.inconclusive"]);
    let attributes = &body(&calls[0])["data"]["attributes"];
    assert_eq!((&attributes["problem"], &attributes["chain"]), (&"test/drill/drill".into(), &"drill".into()));
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn what_cannot_be_delivered_waits_on_disk_and_goes_when_it_can() {
    let cluster = Cluster::builder().start();
    let open = Arc::new(AtomicBool::new(false));
    let door = Arc::clone(&open);
    let far_end = Service::start(move |_| {
        if door.load(Ordering::Relaxed) { (200, String::new()) } else { (503, "closed".to_owned()) }
    });
    let site = hook(Site::of(&cluster), "hook", &format!("{}/in", far_end.endpoint()), "[\"backup.*\"]");
    // The backup is none the worse for it.
    site.holdfast(&["backup"]).exits(0).says(&["1 event could not be delivered yet"]);
    let queue = site.scratch().join("notify/hook");
    for file in files_below(&queue) {
        let mode = fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(fs::metadata(&queue).expect("it is there").permissions().mode() & 0o777, 0o700);
    let listed = site.holdfast(&["notify", "list", "--output", "json"]).exits(0).json();
    assert_eq!(listed[0]["waiting"][0]["kind"], "backup.succeeded", "{listed}");
    assert!(
        listed[0]["waiting"][0]["last_error"].as_str().is_some_and(|why| why.contains("503")),
        "{listed}"
    );
    let first = header(&far_end.calls()[0], "content-length").to_owned();

    // The agent finds it in the queue, and delivers it under the same id.
    open.store(true, Ordering::Relaxed);
    let site = site.set("backup", "schedule", NEVER);
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line("notified");
    let calls = far_end.calls();
    let last = calls.last().expect("a call");
    assert_eq!(body(last)["id"], body(&calls[0])["id"]);
    assert_eq!(header(last, "content-length"), first, "the same event, byte for byte");
    // It leaves the queue last, so that a crash tells twice and not never.
    let listed = wait::until("an empty queue", || {
        let listed = site.holdfast(&["notify", "list", "--output", "json"]).exits(0).json();
        (listed[0]["waiting"] == serde_json::json!([])).then_some(listed)
    });
    assert_eq!(listed[0]["delivered"], 1);
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn notifiers_that_misbehave_cost_nobody_else_anything() {
    const TOKEN: &str = "hunter2-hunter2-hunter2";
    let cluster = Cluster::builder().start();
    let far_end = Service::start(|_| (200, String::new()));
    let mut site = hook(Site::of(&cluster), "zz-good", &format!("{}/in", far_end.endpoint()), "[\"*\"]");
    fs::copy(plugins::guest("rogue"), site.path("plugins/rogue.wasm")).expect("a plugin can be copied");
    fs::set_permissions(site.path("plugins/rogue.wasm"), fs::Permissions::from_mode(0o644))
        .expect("the owner may");
    site = secret(site, "token", TOKEN).set("plugin.rogue", "timeout", "\"2s\"").set(
        "backup",
        "schedule",
        "\"* * * * *\"",
    );
    for what in ["sleep", "spin", "trap", "flood", "devour", "bury", "leak", "refuse"] {
        let table = format!("notify.{what}");
        site = site
            .set(&table, "plugin", "\"rogue\"")
            .set(&table, "when", "[\"*\"]")
            .set(&table, "config", &format!("{{ do = {} }}", quoted(what)))
            .set(&table, "allow", "{ secrets = [\"token\"] }");
    }
    let mut agent = site.start(&["agent"]);
    agent.wait_for_line("backed up and proved");
    wait::until("the good notifier", || {
        let kinds = kinds(&far_end.calls());
        (kinds.contains(&"agent.started".to_owned()) && kinds.contains(&"backup.succeeded".to_owned()))
            .then_some(())
    });
    // Each of the others ended in its own way, and waits or was given up.
    for part in
        ["timeout/wall-clock", "call-data", "trap/unreachable", "out-of-memory/memory", "error/refused"]
    {
        agent.wait_for_line(part);
    }
    agent.terminate();
    assert!(agent.wait().success(), "{}", agent.log());
    assert!(!agent.log().contains(TOKEN), "the secret is in the log");
    for file in files_below(&site.scratch().join("notify")) {
        let text = String::from_utf8_lossy(&fs::read(&file).expect("it can be read")).into_owned();
        assert!(!text.contains(TOKEN), "the secret is in {}", file.display());
    }
    let listed = site.holdfast(&["notify", "list", "--output", "json"]).exits(0).json();
    let of = |name: &str| {
        let found = listed.as_array().into_iter().flatten().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}` in {listed}")).clone()
    };
    assert!(of("refuse")["given_up"].as_u64().is_some_and(|count| count > 0), "{listed}");
    assert!(of("trap")["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty()), "{listed}");
    assert_eq!(of("zz-good")["given_up"], 0);
}

#[test]
fn a_webhook_is_signed_so_that_others_can_tell() {
    const KEY: &str = "a-key-of-the-holdfast-tests";
    let far_end = Service::start(|_| (204, String::new()));
    let url = format!("{}/in?x=1", far_end.endpoint());
    let site = hook(Site::with_endpoints(&["http://127.0.0.1:2379"]), "hook", &url, "[\"*\"]");
    let site = secret(site, "hook_key", KEY)
        .set(
            "notify.hook",
            "config",
            &format!("{{ url = {}, signature_secret = \"hook_key\" }}", quoted(&url)),
        )
        .set(
            "notify.hook",
            "allow",
            &format!("{{ http = [{}], secrets = [\"hook_key\"] }}", quoted(&far_end.endpoint())),
        );
    let tested = site.holdfast(&["notify", "test", "hook", "--event", "verify.failed"]);
    assert!(tested.exits(0).stdout.contains("answered 204"), "{tested}");
    assert!(!tested.to_string().contains(KEY), "{tested}");
    let calls = far_end.calls();
    let call = &calls[0];
    assert_eq!(call.request.target, "/in?x=1");
    let (id, time) = (header(call, "webhook-id"), header(call, "webhook-timestamp"));
    // Checked by what another program makes of it.
    let script = "import sys,hmac,hashlib,base64\n\
                  k,i,t=sys.argv[1:4]\n\
                  m=(i+'.'+t+'.').encode()+sys.argv[4].encode()\n\
                  print('v1,'+base64.b64encode(hmac.new(k.encode(),m,hashlib.sha256).digest()).decode())";
    let expected = tools::run(Command::new("python3").args(["-c", script, KEY, id, time, &call.body]));
    assert_eq!(header(call, "webhook-signature"), String::from_utf8_lossy(&expected).trim());
    let event = body(call);
    assert_eq!(event["data"]["attributes"]["test"], "true");
}

#[test]
fn slack_and_pagerduty_get_what_they_ask_for() {
    const HOOK: &str = "/services/T0/B0/hunter2hunter2";
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let far_end = Service::start(|call| match call.request.target.as_str() {
        HOOK => (200, "ok".to_owned()),
        "/v2/enqueue" => (202, r#"{"status":"success","dedup_key":"holdfast/test/test/backup"}"#.to_owned()),
        _ => (404, "no such thing".to_owned()),
    });
    let base = far_end.endpoint();
    let grants = |name: &str| format!("{{ http = [{}], secrets = [{}] }}", quoted(&base), quoted(name));
    let site = Site::with_endpoints(&["http://127.0.0.1:2379"]).plugins(&["slack", "pagerduty"]);
    let site = secret(site, "slack_url", &format!("{base}{HOOK}"));
    let site = secret(site, "pagerduty_key", KEY)
        .set("notify.chat", "plugin", "\"slack\"")
        .set("notify.chat", "config", "{ url_secret = \"slack_url\" }")
        .set("notify.chat", "allow", &grants("slack_url"))
        .set("notify.pager", "plugin", "\"pagerduty\"")
        .set("notify.pager", "config", &format!("{{ url = {} }}", quoted(&format!("{base}/v2/enqueue"))))
        .set("notify.pager", "allow", &grants("pagerduty_key"));
    site.holdfast(&["config", "check"]).exits(0);
    for name in ["chat", "pager"] {
        for kind in ["backup.failed", "backup.resolved"] {
            let tested = site.holdfast(&["notify", "test", name, "--event", kind]);
            assert!(tested.exits(0).stdout.contains("delivered"), "{tested}");
            assert!(!tested.to_string().contains("hunter2") && !tested.to_string().contains(KEY), "{tested}");
        }
    }
    let calls = far_end.calls();
    assert!(body(&calls[0])["text"].as_str().is_some_and(|text| text.contains("[test]")));
    let (trigger, resolve) = (body(&calls[2]), body(&calls[3]));
    assert_eq!((&trigger["event_action"], &resolve["event_action"]), (&"trigger".into(), &"resolve".into()));
    assert_eq!(trigger["dedup_key"], resolve["dedup_key"]);
    assert_eq!(trigger["routing_key"], KEY);

    // What is not granted is refused here, told with the line that would grant it, and not tried again.
    let site = site.set("notify.chat", "allow", "{ secrets = [\"slack_url\"] }");
    let refused = site.holdfast(&["notify", "test", "chat"]);
    for part in ["not delivered", "denied", "would not try again", "hint"] {
        assert!(refused.exits(1).stdout.contains(part), "`{part}` is missing in {refused}");
    }
    // A kind of plugin that tells nobody.
    let site = site.plugins(&["required-keys"]).set("notify.chat", "plugin", "\"required-keys\"");
    site.holdfast(&["config", "check"]).exits(1).says(&["is a verifier, not a notifier"]);
    site.holdfast(&["notify", "test", "nobody"]).exits(2).explains(&["there is no notifier `nobody`"]);
}

#[test]
fn a_real_alertmanager_holds_an_alert_until_it_is_over() {
    let Some(alertmanager) = Alertmanager::start() else { return };
    let cluster = Cluster::builder().start();
    let url = alertmanager.endpoint();
    let site = Site::of(&cluster)
        .plugins(&["alertmanager"])
        .set("notify.alerts", "plugin", "\"alertmanager\"")
        .set(
            "notify.alerts",
            "config",
            &format!("{{ urls = [{}], labels = {{ team = \"storage\" }} }}", quoted(&url)),
        )
        .set("notify.alerts", "allow", &format!("{{ http = [{}] }}", quoted(&url)));
    site.holdfast(&["config", "check"]).exits(0);
    let endpoints: Vec<String> = cluster.endpoints().iter().map(|one| quoted(one.as_ref())).collect();
    let site =
        site.set("cluster", "endpoints", "[\"http://127.0.0.1:1\"]").set("cluster", "dial_timeout", "\"1s\"");
    site.holdfast(&["backup"]).exits(2);
    let alerts = wait::until("an alert", || Some(alertmanager.alerts()).filter(|alerts| !alerts.is_empty()));
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["labels"]["alertname"], "HoldfastBackup");
    assert_eq!(alerts[0]["labels"]["severity"], "error");
    assert_eq!(alerts[0]["labels"]["team"], "storage");
    assert_eq!(alerts[0]["status"]["state"], "active");
    assert!(alerts[0]["annotations"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{alerts:?}");
    let site = site.set("cluster", "endpoints", &format!("[{}]", endpoints.join(", ")));
    site.holdfast(&["backup"]).exits(0);
    wait::until("the end of the alert", || alertmanager.alerts().is_empty().then_some(()));
    assert_eq!(
        site.holdfast(&["notify", "list", "--output", "json"]).exits(0).json()[0]["problems"],
        serde_json::json!([])
    );
}

#[test]
fn an_author_sees_what_arrives() {
    let site = Site::with_endpoints(&["http://127.0.0.1:2379"]).plugins(&["webhook"]);
    let file = site.path("plugins/webhook.wasm").display().to_string();
    let check = site.holdfast(&["plugin", "check", &file]);
    for part in ["notifier", "holdfast:notifier/notify@0.1.0", "signature_secret"] {
        assert!(check.exits(0).stdout.contains(part), "`{part}` is missing in {check}");
    }
    let port = holdfast_tests::cluster::free_port();
    let config = site.path("hook.toml");
    fs::write(&config, format!("url = \"http://127.0.0.1:{port}/in\"\nmode = \"binary\"\n"))
        .expect("it can be written");
    let (address, config) = (format!("127.0.0.1:{port}"), config.display().to_string());
    let allow = format!("http = [\"http://{address}\"]");
    let run = |more: &[&str]| {
        let base =
            ["plugin", "run", &file, "--plugin-config", &config, "--allow", &allow, "--listen", &address];
        site.holdfast(&[&base[..], more].concat())
    };
    let shown = run(&[]);
    for part in [
        "delivered: answered 200",
        "arrived: POST /in",
        "ce-type: holdfast.backup.failed",
        "\"kind\":\"backup.resolved\"",
    ] {
        assert!(shown.exits(0).stdout.contains(part), "`{part}` is missing in {shown}");
    }
    let busy = run(&["--answer", "503", "--event", "store.unreachable", "--output", "json"]);
    let event = &busy.exits(1).json()["events"][0];
    assert_eq!(
        (event["outcome"].as_str(), event["may_pass"].as_bool()),
        (Some("error"), Some(true)),
        "{busy}"
    );
    assert_eq!(event["arrived"][0]["method"], "POST");
    run(&["--event", "backup.exploded"]).exits(2).explains(&["there is no event `backup.exploded`"]);
}
