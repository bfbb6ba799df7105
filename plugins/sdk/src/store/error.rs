//! Why a call of a store could not be done.

use crate::config::ConfigError;
use crate::http::{HttpError, HttpErrorKind, Response};
use crate::secrets::SecretError;
use crate::text;

/// How much of a server's own words is shown.
const DETAIL_CHARACTERS: usize = 300;

fn shown(words: &str) -> String {
    crate::cut(&text::printable(words.trim().as_bytes()), DETAIL_CHARACTERS)
}

/// Why a call could not be done. The agent acts on the code, and shows the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// One of the contract's, or one of the plugin's own: stable, lower case, with dashes.
    pub code: String,
    /// For a person: what happened, to what, and what to do. Never a secret's value.
    pub message: String,
    /// `until`, `retry-after`.
    pub attributes: Vec<(String, String)>,
}

impl StoreError {
    /// An error with a code of the plugin's own. It is final.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> StoreError {
        StoreError { code: code.into(), message: message.into(), attributes: Vec::new() }
    }

    /// No such object.
    pub fn not_found(path: &str) -> StoreError {
        StoreError::new("not-found", format!("there is no `{path}`"))
    }

    /// There is one already.
    pub fn exists(path: &str) -> StoreError {
        StoreError::new("exists", format!("`{path}` is there already"))
    }

    /// A lock keeps the object as it is, until this time (RFC 3339).
    pub fn locked(path: &str, until: &str) -> StoreError {
        StoreError::new("locked", format!("`{path}` is locked until {until}")).attribute("until", until)
    }

    /// No room.
    pub fn full(message: impl Into<String>) -> StoreError {
        StoreError::new("full", message)
    }

    /// Login or rights.
    pub fn denied(message: impl Into<String>) -> StoreError {
        StoreError::new("denied", message)
    }

    /// The bucket, share or folder is not there.
    pub fn missing_place(message: impl Into<String>) -> StoreError {
        StoreError::new("missing-place", message)
    }

    /// The config does not say something usable.
    pub fn config(message: impl Into<String>) -> StoreError {
        StoreError::new("config", message)
    }

    /// It may work another time: the agent tries again, with growing pauses.
    pub fn unavailable(message: impl Into<String>) -> StoreError {
        StoreError::new("unavailable", message)
    }

    /// The body broke off.
    pub fn broken(message: impl Into<String>) -> StoreError {
        StoreError::new("broken", message)
    }

    /// Nobody reads on.
    pub fn closed(message: impl Into<String>) -> StoreError {
        StoreError::new("closed", message)
    }

    /// What a server answered, when it is no success and nothing that the plugin knows better: by its status.
    pub fn answered(answer: &Response) -> StoreError {
        let status = answer.status();
        let words = shown(&answer.text());
        let message = if words.is_empty() {
            format!("the server answers {status}")
        } else {
            format!("the server answers {status}: {words}")
        };
        match status {
            401 | 403 | 407 => StoreError::denied(message),
            507 => StoreError::full(message),
            408 | 423 | 425 | 429 | 500 | 502..=504 => {
                let error = StoreError::unavailable(message);
                match answer.retry_after() {
                    Some(seconds) => error.attribute("retry-after", seconds.to_string()),
                    None => error,
                }
            }
            300..=399 => {
                let to = answer.header("location").unwrap_or("somewhere else");
                let to = shown(to);
                StoreError::config(format!(
                    "the server answers {status} and leads to `{to}`: name that address"
                ))
            }
            _ => StoreError::new("http", message),
        }
    }

    /// With a further fact.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> StoreError {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Whether the same call may do better later.
    pub fn may_pass(&self) -> bool {
        self.code == "unavailable"
    }
}

impl From<HttpError> for StoreError {
    fn from(error: HttpError) -> StoreError {
        match error.kind {
            HttpErrorKind::Request => StoreError::config(error.message),
            HttpErrorKind::Denied => StoreError::denied(error.message),
            // A certificate that is not trusted stays so.
            HttpErrorKind::Tls => StoreError::new("tls", error.message),
            _ if error.may_pass() => StoreError::unavailable(error.message),
            _ => StoreError::new("http", error.message),
        }
    }
}

impl From<SecretError> for StoreError {
    fn from(error: SecretError) -> StoreError {
        StoreError::denied(error.message)
    }
}

impl From<ConfigError> for StoreError {
    fn from(error: ConfigError) -> StoreError {
        StoreError::config(error.to_string())
    }
}
