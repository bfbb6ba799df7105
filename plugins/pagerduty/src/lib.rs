//! Notifier `pagerduty`: an incident for each problem, resolved when the problem is over.
//!
//! Speaks the Events API v2. The problem's name is the deduplication key, so that repetitions join the incident that is there,
//! and the event that ends the problem ends the incident.

mod config;

pub use config::Config;

use std::time::Duration;

use holdfast_plugin::http::Request;
use holdfast_plugin::{
    Event, Notifier, NotifyError, Receipt, Severity, Status, cut, export_notifier, printable, secrets,
};
use serde_json::{Map, Value, json};

/// The longest wait for PagerDuty: to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the Events API takes.
const SUMMARY_CHARACTERS: usize = 1024;
const KEY_CHARACTERS: usize = 255;
const DETAIL_CHARACTERS: usize = 4096;

/// The notifier.
pub struct PagerDuty;

impl Notifier for PagerDuty {
    const NAME: &'static str = "pagerduty";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Raises and resolves PagerDuty incidents";
    const WANTS: &'static [&'static str] = &[
        r#"http = ["https://events.pagerduty.com", "https://events.eu.pagerduty.com", "*"]"#,
        r#"secrets = ["*"]"#,
    ];
    type Config = Config;

    fn notify(event: &Event, config: Config) -> Result<Receipt, NotifyError> {
        let Some(action) = Action::of(event) else {
            return Ok(Receipt::new("nothing to page for: it is over, and nothing was wrong"));
        };
        let key = secrets::get(&config.routing_key_secret)?;
        let body = body(event, action, key.trim(), &config);
        let answer = Request::post(&config.url).json(&body)?.within(PATIENCE).send()?;
        NotifyError::check(&answer)?;
        let incident = answer.json::<Value>().ok();
        let incident = incident.as_ref().and_then(|answer| answer["dedup_key"].as_str());
        let receipt = Receipt::new(match action {
            Action::Trigger => "triggered",
            Action::Resolve => "resolved",
        });
        Ok(match incident {
            Some(incident) => receipt.attribute("dedup-key", incident),
            None => receipt,
        })
    }
}

export_notifier!(PagerDuty);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Trigger,
    Resolve,
}

impl Action {
    /// None for what nobody needs to be woken for.
    fn of(event: &Event) -> Option<Action> {
        match (event.status(), event.severity) {
            (Some(Status::Resolved), _) => Some(Action::Resolve),
            (None, Severity::Info) => None,
            (Some(Status::Firing) | None, _) => Some(Action::Trigger),
        }
    }
}

fn body(event: &Event, action: Action, routing_key: &str, config: &Config) -> Value {
    // What is no lasting problem is an incident of its own.
    let key = event.problem().unwrap_or(&event.id);
    let key = format!("holdfast/{}", cut(key, KEY_CHARACTERS - "holdfast/".len()));
    let mut body = json!({ "routing_key": routing_key, "dedup_key": key });
    if action == Action::Resolve {
        body["event_action"] = "resolve".into();
        return body;
    }
    let test = if event.is_test() { "[test] " } else { "" };
    let summary = format!("{test}{}", event.headline(SUMMARY_CHARACTERS - 16));
    let details: Map<String, Value> = event
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), cut(&printable(value.as_bytes()), DETAIL_CHARACTERS).into()))
        .collect();
    body["event_action"] = "trigger".into();
    body["client"] = "Holdfast".into();
    body["payload"] = json!({
        "summary": summary,
        "source": event.get("host").unwrap_or(&event.cluster),
        "severity": config.severity(event.severity),
        "timestamp": event.time,
        "component": "etcd",
        "group": event.cluster,
        "class": event.kind,
        "custom_details": details,
    });
    body
}
