//! The message: one line that says it all, and beneath it what helps to mend it.

use holdfast_plugin::{Event, Severity, Status, cut, printable};
use serde_json::{Value, json};

/// Slack refuses a longer text of a block.
const TEXT_CHARACTERS: usize = 2900;
const HEADLINE_CHARACTERS: usize = 500;
const FIELD_CHARACTERS: usize = 400;

/// Facts that are shown, in this order, and what they are called. Slack shows ten fields at most.
const FIELDS: [(&str, &str); 8] = [
    ("backup-id", "Backup"),
    ("store", "Store"),
    ("stage", "Stage"),
    ("chain", "Chain"),
    ("plugin", "Plugin"),
    ("host", "Host"),
    ("session", "Session"),
    ("repeated", "Repeated"),
];

pub(crate) fn message(event: &Event, mention: Option<&str>) -> Value {
    let (icon, colour) = looks(event);
    let test = if event.is_test() { "[test] " } else { "" };
    let headline = escaped(&event.headline(HEADLINE_CHARACTERS));
    let call = match mention {
        Some(mention) if event.severity == Severity::Error && event.status() != Some(Status::Resolved) => {
            format!(" {mention}")
        }
        _ => String::new(),
    };
    let cluster = escaped(&event.cluster);
    let mut blocks = vec![section(&format!("{icon} {test}*{headline}*{call}"))];
    for (name, title) in [("error", "What happened"), ("hint", "What to do")] {
        if let Some(text) = event.get(name) {
            let text = escaped(&cut(&printable(text.as_bytes()), TEXT_CHARACTERS / 2));
            blocks.push(section(&format!("*{title}*\n{text}")));
        }
    }
    let fields: Vec<Value> = FIELDS
        .iter()
        .filter_map(|(name, title)| {
            let text = escaped(&cut(&printable(event.get(name)?.as_bytes()), FIELD_CHARACTERS));
            Some(json!({ "type": "mrkdwn", "text": format!("*{title}*\n{text}") }))
        })
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let foot = format!("`{}` · {cluster} · {}", escaped(&event.kind), escaped(&event.time));
    blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": foot }] }));
    json!({
        // What a notification on a telephone shows.
        "text": format!("{icon} {test}{headline}{call}"),
        "attachments": [{ "color": colour, "blocks": blocks }],
    })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

fn looks(event: &Event) -> (&'static str, &'static str) {
    match (event.status(), event.severity) {
        (Some(Status::Resolved), _) => (":white_check_mark:", "#2eb67d"),
        (_, Severity::Error) => (":red_circle:", "#e01e5a"),
        (_, Severity::Warning) => (":warning:", "#ecb22e"),
        (_, Severity::Info) => (":information_source:", "#36c5f0"),
    }
}

/// In Slack's markup these three begin something: a link, a mention, an entity.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
