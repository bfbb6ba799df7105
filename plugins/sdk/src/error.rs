//! Why a verifier could not do its work.

use crate::config::ConfigError;

/// The snapshot could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadError {
    /// `damaged`, `compacted`, `future` or `limit`, as the agent says it.
    pub code: String,
    /// For a person.
    pub message: String,
}

impl ReadError {
    /// An error with one of the agent's codes.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> ReadError {
        ReadError { code: code.into(), message: message.into() }
    }
}

/// A verifier's answer when it could not answer. The agent counts it as neither passed nor failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// `config`, `snapshot`, or one of the plugin's own: stable, lower case, with dashes.
    pub code: String,
    /// For a person: the thing, then the reason. Never a secret's value.
    pub message: String,
}

impl Error {
    /// An error with a code of the plugin's own.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Error {
        Error { code: code.into(), message: message.into() }
    }

    /// The config does not say something usable.
    pub fn config(message: impl Into<String>) -> Error {
        Error::new("config", message)
    }

    /// The snapshot could not be read.
    pub fn snapshot(message: impl Into<String>) -> Error {
        Error::new("snapshot", message)
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        Error::snapshot(format!("{} ({})", error.message, error.code))
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Error {
        Error::config(error.to_string())
    }
}
