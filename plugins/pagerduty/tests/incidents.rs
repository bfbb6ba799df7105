//! What is sent for an event, and what PagerDuty's answers mean.

use holdfast_plugin::http::{Request, Response};
use holdfast_plugin::{Event, NotifyError, Receipt, deliver, testing};
use pagerduty::PagerDuty;
use serde_json::Value;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn send(event: &Event, config: &str, status: u16) -> (Result<Receipt, NotifyError>, Vec<Request>) {
    testing::set_secret("pagerduty_key", format!("{KEY}\n"));
    let answer = r#"{"status": "success", "message": "Event processed", "dedup_key": "k"}"#;
    testing::answer_http(move |_| Ok(Response::new(status, vec![], answer)));
    (deliver::<PagerDuty>(event, config), testing::take_http())
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(request.body_bytes()).expect("JSON")
}

#[test]
fn a_problem_is_one_incident_from_its_beginning_to_its_end() {
    let (receipt, sent) = send(&Event::sample("backup.failed"), "{}", 202);
    assert_eq!(receipt.expect("it is taken").summary, "triggered");
    assert_eq!(sent[0].url(), "https://events.pagerduty.com/v2/enqueue");
    let trigger = body(&sent[0]);
    assert_eq!(trigger["event_action"], "trigger");
    assert_eq!(trigger["routing_key"], KEY);
    assert_eq!(trigger["dedup_key"], "holdfast/prod-eu/backup");
    assert_eq!(trigger["payload"]["severity"], "critical");
    assert_eq!(trigger["payload"]["source"], "node-1");
    assert_eq!(trigger["payload"]["class"], "backup.failed");

    let (receipt, sent) = send(&Event::sample("backup.resolved"), "{}", 202);
    assert_eq!(receipt.expect("it is taken").summary, "resolved");
    let resolve = body(&sent[0]);
    assert_eq!(resolve["event_action"], "resolve");
    assert_eq!(resolve["dedup_key"], trigger["dedup_key"]);
}

#[test]
fn nobody_is_woken_for_good_news() {
    let (receipt, sent) = send(&Event::sample("backup.succeeded"), "{}", 202);
    assert!(receipt.expect("it is delivered").summary.contains("nothing to page for"));
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn what_the_api_bounds_is_bounded() {
    let mut event = Event::sample("backup.failed");
    event.summary = "é".repeat(10_000);
    event.attributes.retain(|(name, _)| name != "problem");
    event.attributes.push(("problem".to_owned(), "ü".repeat(1000)));
    let (_, sent) = send(&event, r#"{"error_severity": "warning"}"#, 202);
    let trigger = body(&sent[0]);
    let characters = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    assert!(characters(&trigger["payload"]["summary"]) <= 1024);
    assert!(characters(&trigger["dedup_key"]) <= 255);
    assert_eq!(trigger["payload"]["severity"], "warning");
}

#[test]
fn an_answer_tells_whether_to_try_again() {
    for (status, code) in [(400, "refused"), (403, "config"), (429, "unavailable"), (500, "unavailable")] {
        let (error, _) = send(&Event::sample("backup.failed"), "{}", status);
        let error = error.expect_err("it is not taken");
        assert_eq!(error.code, code, "{status}");
        assert!(!error.message.contains(KEY), "{error}");
    }
}
