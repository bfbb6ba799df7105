//! One thing that happened, as it is queued and handed on.

use std::collections::BTreeMap;

use etcd_snapshot::Severity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kind::Kind;
use crate::session::SessionId;

/// The longest summary, and the longest text of one fact, in bytes: the words of servers and plugins are in them.
const SUMMARY_BYTES: usize = 1 << 10;
const ATTRIBUTE_BYTES: usize = 4 << 10;
/// The largest details, in bytes of JSON; larger ones are left out.
const DETAILS_BYTES: usize = 48 << 10;

/// One thing that happened. Holds no secrets: it is made of what reports and errors say, which hold none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The same at each attempt to deliver it.
    pub id: String,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// One line for a person.
    pub summary: String,
    /// The operator's name for the cluster.
    pub cluster: String,
    /// Whether it begins or ends a problem.
    #[serde(flatten)]
    pub status: Status,
    /// Further facts by name.
    pub attributes: BTreeMap<String, String>,
    /// What a program may want besides: stages, stores, steps.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// Whether an event begins or ends a problem. A problem is named in lasting words, so that its end finds its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Status {
    /// It is over when it has happened.
    Once,
    /// Something is wrong, perhaps still.
    Firing {
        /// What.
        problem: String,
    },
    /// It is not, any more. To a notifier that was not told that it was wrong, this says nothing.
    Resolved {
        /// What.
        problem: String,
    },
}

impl Status {
    /// The problem, if it is about one.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Once => None,
            Self::Firing { problem } | Self::Resolved { problem } => Some(problem),
        }
    }
}

impl Event {
    /// An event that is over when it has happened.
    pub fn new(kind: Kind, cluster: &str, time: Timestamp, summary: impl AsRef<str>) -> Event {
        Event {
            id: SessionId::random().to_string(),
            time,
            kind,
            summary: one_line(summary.as_ref(), SUMMARY_BYTES),
            cluster: cluster.to_owned(),
            status: Status::Once,
            attributes: BTreeMap::new(),
            details: Value::Null,
        }
    }

    /// Something is wrong: `problem` within the cluster.
    #[must_use]
    pub fn firing(mut self, problem: &str) -> Event {
        self.status = Status::Firing { problem: format!("{}/{problem}", self.cluster) };
        self
    }

    /// It is wrong no more.
    #[must_use]
    pub fn resolved(mut self, problem: &str) -> Event {
        self.status = Status::Resolved { problem: format!("{}/{problem}", self.cluster) };
        self
    }

    /// Adds a fact.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "texts and numbers alike read better without `&`")]
    pub fn attribute(mut self, name: &str, value: impl ToString) -> Event {
        self.attributes.insert(name.to_owned(), one_line(&value.to_string(), ATTRIBUTE_BYTES));
        self
    }

    /// Adds a fact, if there is one.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl ToString>) -> Event {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    /// Adds what a program may want besides.
    #[must_use]
    pub fn details(mut self, details: Value) -> Event {
        if details.to_string().len() <= DETAILS_BYTES {
            self.details = details;
        }
        self
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// All facts by name, as they are handed on: those of the event, and where its problem stands.
    pub fn facts(&self) -> Vec<(String, String)> {
        let mut facts: Vec<(String, String)> =
            self.attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let status = match &self.status {
            Status::Once => None,
            Status::Firing { problem } => Some((problem, "firing")),
            Status::Resolved { problem } => Some((problem, "resolved")),
        };
        if let Some((problem, status)) = status {
            facts.push(("problem".to_owned(), problem.clone()));
            facts.push(("status".to_owned(), status.to_owned()));
        }
        facts
    }

    /// The event as CloudEvents 1.0.
    pub fn cloudevent(&self) -> Value {
        let attributes: serde_json::Map<String, Value> =
            self.facts().into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut data = json!({
            "kind": self.kind,
            "severity": self.severity(),
            "summary": self.summary,
            "cluster": self.cluster,
            "attributes": attributes,
        });
        if !self.details.is_null() {
            data["details"] = self.details.clone();
        }
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "source": format!("/holdfast/{}", self.cluster),
            "type": format!("holdfast.{}", self.kind),
            "time": self.time,
            "datacontenttype": "application/json",
            // An extension: routers filter by attributes of the envelope, not by what is in the data.
            "severity": self.severity(),
            "data": data,
        });
        if let Some(subject) = self.attributes.get("backup-id").map(String::as_str).or(self.status.problem())
        {
            event["subject"] = subject.into();
        }
        event
    }
}

/// One line without control characters, at most so many bytes: what is in it may come from anywhere, and goes everywhere.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    for character in text.trim().chars() {
        if line.len() + character.len_utf8() > most {
            line.push('…');
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let time = "2026-11-21T03:00:00Z".parse().expect("a time");
        Event::new(Kind::BackupFailed, "prod-eu", time, "no backup:\n\x1b[2Jthe disk is full")
            .firing("backup")
            .attribute("session", "5f")
            .details(json!({ "stages": [] }))
    }

    #[test]
    fn a_summary_is_one_line_and_bounded() {
        assert_eq!(event().summary, "no backup:  [2Jthe disk is full");
        let long = Event::new(Kind::BackupFailed, "a", Timestamp::UNIX_EPOCH, "é".repeat(5000));
        assert!(long.summary.len() <= SUMMARY_BYTES + 3 && long.summary.ends_with('…'));
        let large = event().details(json!({ "x": "y".repeat(DETAILS_BYTES) }));
        assert_eq!(large.details, json!({ "stages": [] }), "too large, and left out");
    }

    #[test]
    fn a_cloud_event_has_what_the_specification_demands() {
        let cloud = event().cloudevent();
        for name in ["id", "source", "specversion", "type"] {
            assert!(cloud[name].as_str().is_some_and(|value| !value.is_empty()), "{name}: {cloud}");
        }
        assert_eq!(cloud["specversion"], "1.0");
        assert_eq!(cloud["type"], "holdfast.backup.failed");
        assert_eq!(cloud["subject"], "prod-eu/backup");
        assert_eq!(cloud["time"], "2026-11-21T03:00:00Z");
        assert_eq!(cloud["data"]["attributes"]["status"], "firing");
        // Names of attributes are lower-case letters and digits.
        let names = cloud.as_object().expect("an object").keys();
        assert!(
            names
                .flat_map(|name| name.bytes())
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
    }

    #[test]
    fn what_is_queued_comes_back() {
        let text = serde_json::to_string(&event()).expect("JSON");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("an event"), event_with_id(&event(), &text));
    }

    /// Ids are random, so two events are the same but for theirs.
    fn event_with_id(event: &Event, text: &str) -> Event {
        let id = serde_json::from_str::<Value>(text).expect("JSON")["id"].as_str().expect("an id").to_owned();
        Event { id, ..event.clone() }
    }
}
