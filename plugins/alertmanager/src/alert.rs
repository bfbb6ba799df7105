//! Alerts of the API v2.

use std::collections::BTreeMap;

use holdfast_plugin::{Event, NotifyError, Severity, Status, printable};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::Config;

/// Names that an alert has from the event; the config may not set them.
const OWN_LABELS: [&str; 4] = ["alertname", "cluster", "problem", "severity"];
/// Facts that become annotations.
const ANNOTATIONS: [&str; 10] =
    ["error", "hint", "backup-id", "store", "stage", "chain", "plugin", "host", "session", "repeated"];

/// One alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<Timestamp>,
    ends_at: Timestamp,
}

/// The alerts that an event sets; none for what was never wrong.
pub(crate) fn alerts(event: &Event, config: &Config) -> Result<Vec<Alert>, NotifyError> {
    if let Some(name) = config.labels.keys().find(|name| OWN_LABELS.contains(&name.as_str())) {
        return Err(NotifyError::config(format!("`labels` sets `{name}`, which every alert has of its own")));
    }
    for (key, names) in [("labels", &config.labels), ("annotations", &config.annotations)] {
        if let Some(name) = names.keys().find(|name| !is_name(name)) {
            return Err(NotifyError::config(format!(
                "`{key}` has `{name}`: a name has letters, digits and `_`, and begins with no digit"
            )));
        }
    }
    let time: Timestamp = event
        .time
        .parse()
        .map_err(|error| NotifyError::refused(format!("the event has no usable time: {error}")))?;
    let own_problem = format!("{}/{}", event.cluster, event.kind);
    let problem = event.problem().unwrap_or(&own_problem);
    let hold = SignedDuration::from_hours(i64::from(config.hold_hours));
    let end = time.checked_add(hold).unwrap_or(Timestamp::MAX);
    let alert = |severity: Severity, starts_at, ends_at| Alert {
        labels: labels(event, problem, severity, config),
        annotations: annotations(event, config),
        starts_at,
        ends_at,
    };
    let all = [Severity::Error, Severity::Warning, Severity::Info];
    Ok(match (event.status(), event.severity) {
        (None, Severity::Info) => Vec::new(),
        // A label that routes is part of an alert's identity: what is worse now, or better, is another alert, and the one before ends.
        (Some(Status::Firing) | None, severity) => all
            .into_iter()
            .map(|one| if one == severity { alert(one, Some(time), end) } else { alert(one, None, time) })
            .collect(),
        (Some(Status::Resolved), _) => all.into_iter().map(|one| alert(one, None, time)).collect(),
    })
}

fn labels(event: &Event, problem: &str, severity: Severity, config: &Config) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    let own = [
        ("alertname", alert_name(event)),
        ("cluster", event.cluster.clone()),
        ("problem", printable(problem.as_bytes())),
        ("severity", severity.name().to_owned()),
    ];
    labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
    labels
}

/// `HoldfastBackup` for all kinds that begin with `backup.`: the failure and its end are the same alert.
fn alert_name(event: &Event) -> String {
    let area = event.kind.split('.').next().unwrap_or_default();
    let mut letters = area.chars().filter(char::is_ascii_alphanumeric);
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    std::iter::once("Holdfast".to_owned()).chain([first.into_iter().chain(letters).collect()]).collect()
}

fn annotations(event: &Event, config: &Config) -> BTreeMap<String, String> {
    let mut annotations = config.annotations.clone();
    let test = if event.is_test() { "[test] " } else { "" };
    annotations.insert("summary".to_owned(), format!("{test}{}", printable(event.summary.as_bytes())));
    annotations.insert("kind".to_owned(), event.kind.clone());
    for name in ANNOTATIONS {
        if let Some(value) = event.get(name) {
            annotations.insert(name.replace('-', "_"), printable(value.as_bytes()));
        }
    }
    annotations
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|character: char| character.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
