//! Notifiers: plugins that tell someone what happened.
//!
//! ```
//! use holdfast_plugin::http::{Request, Response};
//! use holdfast_plugin::{Event, Notifier, NotifyError, Receipt, export_notifier, testing};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! /// What the operator writes as `config = { url = "https://chat.example.org/hook" }`.
//! #[derive(Deserialize, JsonSchema)]
//! pub struct Config {
//!     /// Where it is posted to.
//!     url: String,
//! }
//!
//! pub struct Chat;
//!
//! impl Notifier for Chat {
//!     const NAME: &'static str = "chat";
//!     const VERSION: &'static str = "0.1.0";
//!     const SUMMARY: &'static str = "Posts events to a chat";
//!     const WANTS: &'static [&'static str] = &[r#"http = ["https://*"]"#];
//!     type Config = Config;
//!
//!     fn notify(event: &Event, config: Config) -> Result<Receipt, NotifyError> {
//!         let answer = Request::post(config.url).body(event.summary.as_str()).send()?;
//!         NotifyError::check(&answer)?;
//!         Ok(Receipt::new("posted"))
//!     }
//! }
//!
//! export_notifier!(Chat);
//!
//! // The logic runs natively, with answers that a test makes up, so `cargo test` needs no agent.
//! testing::answer_http(|_| Ok(Response::new(200, vec![], "")));
//! let config = r#"{"url": "https://chat.example.org/hook"}"#;
//! holdfast_plugin::deliver::<Chat>(&Event::sample("backup.failed"), config).unwrap();
//! assert_eq!(testing::take_http().len(), 1);
//! ```

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::config::{self, ConfigError};
use crate::http::{HttpError, HttpErrorKind, Response};
use crate::secrets::SecretError;
use crate::state::StateError;
use crate::{Severity, text};

/// Tells someone what happened.
///
/// The agent calls [`Notifier::notify`] once for each attempt to deliver one event, in a fresh instance: what is to be remembered
/// goes into [`crate::state`].
pub trait Notifier {
    /// The plugin's name: lower case, digits and dashes. It must equal the name of the file.
    const NAME: &'static str;
    /// The plugin's own version; `env!("CARGO_PKG_VERSION")` is a good one.
    const VERSION: &'static str;
    /// One sentence on what it does.
    const SUMMARY: &'static str;
    /// Grants it would like, as the TOML of the `allow` table, one a line. Nothing is granted by this.
    const WANTS: &'static [&'static str] = &[];

    /// What the operator may write in the notifier's `config` table; [`crate::NoConfig`] when there is nothing to say.
    type Config: DeserializeOwned + JsonSchema;

    /// Delivers one event. `Ok` says that the far end has taken it.
    fn notify(event: &Event, config: Self::Config) -> Result<Receipt, NotifyError>;
}

/// Lets a notifier deliver an event as the agent would: `config` is the JSON of its config table. This is the way to test it
/// natively.
pub fn deliver<N: Notifier>(event: &Event, config: &str) -> Result<Receipt, NotifyError> {
    let config = config::parse::<N::Config>(config)?;
    N::notify(event, config)
}

/// One thing that happened. Its texts may come from a cluster or a server: escape them as the far end demands.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The same at each attempt to deliver this event to this notifier.
    pub id: String,
    /// When it happened: RFC 3339, UTC.
    pub time: String,
    /// What happened, e.g. `backup.failed`.
    pub kind: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line for a person.
    pub summary: String,
    /// The name of the cluster.
    pub cluster: String,
    /// The whole event as `CloudEvents` 1.0, a JSON object.
    pub cloudevent: String,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
}

/// Where the trouble stands that an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is there.
    Firing,
    /// It is over.
    Resolved,
}

impl Event {
    /// An event for tests: a failed backup of the cluster `prod-eu` for kinds that end in `.failed`, its end for those that
    /// end in `.resolved`, and otherwise something that is over when it has happened.
    pub fn sample(kind: &str) -> Event {
        let area = kind.split('.').next().unwrap_or(kind);
        let (severity, status) = match kind.rsplit('.').next() {
            Some("failed") => (Severity::Error, Some("firing")),
            Some("resolved") => (Severity::Info, Some("resolved")),
            _ => (Severity::Info, None),
        };
        let summary = format!("{kind}: cluster `prod-eu`");
        let mut attributes = vec![
            ("session".to_owned(), "5f0c1d2e3a4b5c6d".to_owned()),
            ("host".to_owned(), "node-1".to_owned()),
            ("attempt".to_owned(), "1".to_owned()),
        ];
        if let Some(status) = status {
            attributes.push(("problem".to_owned(), format!("prod-eu/{area}")));
            attributes.push(("status".to_owned(), status.to_owned()));
        }
        let cloudevent = serde_json::json!({
            "specversion": "1.0",
            "id": "0123456789abcdef",
            "source": "/holdfast/prod-eu",
            "type": format!("holdfast.{kind}"),
            "time": "2026-11-21T03:00:00Z",
            "datacontenttype": "application/json",
            "data": { "kind": kind, "summary": summary, "cluster": "prod-eu" },
        });
        Event {
            id: "0123456789abcdef".to_owned(),
            time: "2026-11-21T03:00:00Z".to_owned(),
            kind: kind.to_owned(),
            severity,
            summary,
            cluster: "prod-eu".to_owned(),
            cloudevent: cloudevent.to_string(),
            attributes,
        }
    }

    /// A fact by its name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What is wrong, in lasting words: the same for a failure, its repetitions and its end. None for an event that is over when
    /// it has happened.
    pub fn problem(&self) -> Option<&str> {
        self.get("problem")
    }

    /// Where the problem stands; none without one.
    pub fn status(&self) -> Option<Status> {
        self.problem()?;
        match self.get("status") {
            Some("resolved") => Some(Status::Resolved),
            _ => Some(Status::Firing),
        }
    }

    /// Whether somebody only tries the notifier out.
    pub fn is_test(&self) -> bool {
        self.get("test") == Some("true")
    }

    /// The summary, fit to be shown on one line, and at most this many characters.
    pub fn headline(&self, most: usize) -> String {
        cut(&text::printable(self.summary.as_bytes()), most)
    }
}

/// The beginning of a text, at most this many characters; an ellipsis says that it was cut.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// The far end has taken the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// One line, e.g. what it answered.
    pub summary: String,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
}

impl Receipt {
    /// A receipt.
    pub fn new(summary: impl Into<String>) -> Receipt {
        Receipt { summary: summary.into(), attributes: Vec::new() }
    }

    /// Adds a fact.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "texts and numbers alike read better without `&`")]
    pub fn attribute(mut self, name: impl Into<String>, value: impl ToString) -> Receipt {
        self.attributes.push((name.into(), value.to_string()));
        self
    }
}

/// The event was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotifyError {
    /// `config` and `refused` are final; `unavailable` and any other are tried again.
    pub code: String,
    /// For a person. Never a secret's value.
    pub message: String,
    /// Seconds to wait at least before the next attempt.
    pub retry_after_seconds: Option<u64>,
}

/// How much of an answer's body is repeated in an error.
const ANSWER_CHARACTERS: usize = 200;

impl NotifyError {
    /// An error with a code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> NotifyError {
        NotifyError { code: code.into(), message: message.into(), retry_after_seconds: None }
    }

    /// The config does not say something usable: final.
    pub fn config(message: impl Into<String>) -> NotifyError {
        NotifyError::new("config", message)
    }

    /// The far end will not take this event, however often it is sent: final.
    pub fn refused(message: impl Into<String>) -> NotifyError {
        NotifyError::new("refused", message)
    }

    /// It may work later.
    pub fn unavailable(message: impl Into<String>) -> NotifyError {
        NotifyError::new("unavailable", message)
    }

    /// Not before so many seconds.
    #[must_use]
    pub fn after(mut self, seconds: Option<u64>) -> NotifyError {
        self.retry_after_seconds = seconds;
        self
    }

    /// Judges an answer by its status: 2xx is taken; 408, 425, 429 and 5xx may do better later, after the time that the answer asks for;
    /// 401, 403, 404 and 410 mean a wrong URL or key; everything else is refused.
    pub fn check(answer: &Response) -> Result<(), NotifyError> {
        if answer.success() {
            return Ok(());
        }
        let status = answer.status();
        let said = cut(text::printable(answer.text().trim().as_bytes()).trim(), ANSWER_CHARACTERS);
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let message = format!("the far end answered {status}{said}");
        Err(match status {
            408 | 425 | 429 | 500.. => NotifyError::unavailable(message).after(answer.retry_after()),
            // Mended in the config; until then each event would be lost, so these are told apart.
            401 | 403 | 404 | 410 => NotifyError::config(message),
            _ => NotifyError::refused(message),
        })
    }
}

impl From<HttpError> for NotifyError {
    fn from(error: HttpError) -> NotifyError {
        match error.kind {
            HttpErrorKind::Request | HttpErrorKind::Denied => NotifyError::config(error.message),
            _ => NotifyError::unavailable(error.message),
        }
    }
}

impl From<ConfigError> for NotifyError {
    fn from(error: ConfigError) -> NotifyError {
        NotifyError::config(error.to_string())
    }
}

impl From<SecretError> for NotifyError {
    fn from(error: SecretError) -> NotifyError {
        NotifyError::config(error.message)
    }
}

impl From<StateError> for NotifyError {
    fn from(error: StateError) -> NotifyError {
        match error.code.as_str() {
            "denied" => NotifyError::config(error.message),
            _ => NotifyError::unavailable(error.message),
        }
    }
}

/// Makes a [`Notifier`] the component's exports. Once in a crate, at its root; on targets other than `wasm32` it is nothing
/// at all, so that tests run natively.
#[macro_export]
macro_rules! export_notifier {
    ($notifier:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::guest::notifier::Component<$notifier>;
            $crate::guest::notifier::bindings::export!(Component with_types_in $crate::guest::notifier::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_whether_to_try_again() {
        let code =
            |status| NotifyError::check(&Response::new(status, vec![], "")).err().map(|error| error.code);
        assert_eq!(code(204), None);
        assert_eq!(code(503).as_deref(), Some("unavailable"));
        assert_eq!(code(404).as_deref(), Some("config"));
        assert_eq!(code(422).as_deref(), Some("refused"));
        let slow = Response::new(429, vec![("retry-after".to_owned(), "30".to_owned())], "slow\x1b down");
        let error = NotifyError::check(&slow).expect_err("too many");
        assert_eq!(error.retry_after_seconds, Some(30));
        assert_eq!(error.message, "the far end answered 429: slow\\x1b down");
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!(cut("schlüssel", 5), "schl…");
        assert_eq!(cut("schl", 4), "schl");
    }

    #[test]
    fn samples_tell_where_a_problem_stands() {
        let failed = Event::sample("backup.failed");
        assert_eq!((failed.problem(), failed.status()), (Some("prod-eu/backup"), Some(Status::Firing)));
        let resolved = Event::sample("backup.resolved");
        assert_eq!((resolved.problem(), resolved.status()), (failed.problem(), Some(Status::Resolved)));
        assert_eq!(Event::sample("agent.started").status(), None);
    }
}
