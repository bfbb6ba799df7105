//! What is sent for an event. How a real Alertmanager takes it is tested with the whole system.

use alertmanager::Alertmanager;
use holdfast_plugin::http::{HttpError, HttpErrorKind, Request, Response};
use holdfast_plugin::{Event, NotifyError, Receipt, deliver, log, testing};
use serde_json::Value;

const CONFIG: &str = r#"{"urls": ["http://am-1:9093", "http://am-2:9093/"], "labels": {"team": "storage"}}"#;

fn send(event: &Event, config: &str) -> (Result<Receipt, NotifyError>, Vec<Request>) {
    testing::answer_http(|request| {
        if request.url().contains("am-2") {
            Err(HttpError::new(HttpErrorKind::Unreachable, "the connection was refused"))
        } else {
            Ok(Response::new(200, vec![], ""))
        }
    });
    (deliver::<Alertmanager>(event, config), testing::take_http())
}

fn alerts(request: &Request) -> Vec<Value> {
    serde_json::from_slice(request.body_bytes()).expect("a list")
}

fn of_severity(alerts: &[Value], severity: &str) -> Value {
    let found = alerts.iter().find(|alert| alert["labels"]["severity"] == severity);
    found.unwrap_or_else(|| panic!("no alert of severity {severity}: {alerts:?}")).clone()
}

#[test]
fn a_problem_stands_until_it_is_over() {
    let (receipt, sent) = send(&Event::sample("backup.failed"), CONFIG);
    assert_eq!(receipt.expect("one has taken it").summary, "taken by 1 of 2");
    assert_eq!(log::take().len(), 1, "the other one is told of");
    let urls: Vec<&str> = sent.iter().map(Request::url).collect();
    assert_eq!(urls, ["http://am-1:9093/api/v2/alerts", "http://am-2:9093/api/v2/alerts"]);
    let firing = of_severity(&alerts(&sent[0]), "error");
    assert_eq!(firing["labels"]["alertname"], "HoldfastBackup");
    assert_eq!(firing["labels"]["problem"], "prod-eu/backup");
    assert_eq!(firing["labels"]["team"], "storage");
    assert_eq!(firing["startsAt"], "2026-11-21T03:00:00Z");
    assert_eq!(firing["endsAt"], "2026-11-28T03:00:00Z", "a week later");
    assert_eq!(firing["annotations"]["kind"], "backup.failed");

    let (_, sent) = send(&Event::sample("backup.resolved"), CONFIG);
    let resolved = of_severity(&alerts(&sent[0]), "error");
    assert_eq!(resolved["labels"], firing["labels"], "it is the same alert");
    assert_eq!(resolved["endsAt"], "2026-11-21T03:00:00Z");
}

#[test]
fn what_is_worse_now_ends_what_it_was() {
    let (_, sent) = send(&Event::sample("backup.failed"), CONFIG);
    let alerts = alerts(&sent[0]);
    assert_eq!(of_severity(&alerts, "warning")["endsAt"], "2026-11-21T03:00:00Z");
    assert_eq!(of_severity(&alerts, "info")["startsAt"], Value::Null);
}

#[test]
fn good_news_raise_nothing() {
    let (receipt, sent) = send(&Event::sample("agent.started"), CONFIG);
    receipt.expect("it is delivered by doing nothing");
    assert!(sent.is_empty());
}

#[test]
fn when_none_takes_it_the_error_says_why() {
    let (error, _) = send(&Event::sample("backup.failed"), r#"{"urls": ["http://am-2"]}"#);
    let error = error.expect_err("nobody is there");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("unavailable", "the connection was refused"));
    for (config, part) in [
        (r#"{"urls": []}"#, "names"),
        (r#"{"urls": ["http://am-1"], "labels": {"severity": "x"}}"#, "of its own"),
        (r#"{"urls": ["http://am-1"], "labels": {"run-book": "x"}}"#, "letters, digits"),
        (r#"{"urls": ["http://am-1"], "username": "x"}"#, "password_secret"),
    ] {
        let (error, _) = send(&Event::sample("backup.failed"), config);
        let error = error.expect_err("it is no config");
        assert_eq!(error.code, "config", "{error}");
        assert!(error.message.contains(part) || part == "names", "{error}");
    }
}
