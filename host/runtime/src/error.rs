//! How a call of a plugin can end without a report, told apart.

use std::fmt;

use serde::Serialize;

/// Which way a call ended without a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallErrorKind {
    /// The plugin answered that it could not do its work.
    Error,
    /// The plugin stopped in the middle: a panic, a fault, an overflow of the stack, an exit.
    Trap,
    /// The plugin used up its wall time or its processor time.
    Timeout,
    /// The plugin needed more memory, handles or data in one call than it may use.
    OutOfMemory,
    /// The plugin failed after it was refused something that was not granted, or made more host calls than it may.
    Denied,
    /// The call was not made, or its answer was not taken: the config does not fit, the report is too large.
    Rejected,
}

impl fmt::Display for CallErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            CallErrorKind::Error => "error",
            CallErrorKind::Trap => "trap",
            CallErrorKind::Timeout => "timeout",
            CallErrorKind::OutOfMemory => "out-of-memory",
            CallErrorKind::Denied => "denied",
            CallErrorKind::Rejected => "rejected",
        })
    }
}

/// Why a call gave no report. A check that ends so has not passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// The way it ended.
    pub kind: CallErrorKind,
    /// Stable and short. For [`CallErrorKind::Error`] the plugin's own word, else one of ours, e.g. `stack-overflow`,
    /// `unreachable`, `exit`, `bad-handle`, `wall-clock`, `stalled`, `cpu`, `memory`, `handles`, `call-data`, `network`, `http`, `secrets`, `state`, `host-calls`,
    /// `config`, `report`.
    pub code: String,
    /// One sentence, safe to show.
    pub message: String,
    /// The guest's innermost functions when it trapped, where their names are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

impl CallError {
    pub(crate) fn new(kind: CallErrorKind, code: &str, message: impl Into<String>) -> CallError {
        CallError { kind, code: code.to_owned(), message: message.into(), backtrace: Vec::new() }
    }

    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match (self.kind, self.code.as_str()) {
            (CallErrorKind::Timeout, _) => Some("raise `timeout` of this plugin, or let it ask for less"),
            (CallErrorKind::OutOfMemory, "memory") => {
                Some("raise `memory` of this plugin, or let it read in smaller batches")
            }
            (CallErrorKind::Denied, "network") => {
                Some("no plugin has sockets; use a build of it that needs none, or that uses wasi:http")
            }
            (CallErrorKind::Denied, "http" | "secrets" | "state") => {
                Some("if that is meant, grant it in the `allow` of this use")
            }
            (CallErrorKind::Rejected, "config") => {
                Some("compare the step's `config` with the plugin's schema")
            }
            (CallErrorKind::Trap, _) => {
                Some("this is a bug of the plugin; tell its author the message and the standard error")
            }
            _ => None,
        }
    }
}
