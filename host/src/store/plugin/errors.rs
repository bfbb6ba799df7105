//! Why a store's plugin did not do what it was asked, in words, and what that means for a store.
//!
//! A plugin's words were bounded and freed of secrets by the runtime before they come here.

use std::fmt;
use std::io;
use std::time::Duration;

use holdfast_runtime::{CallErrorKind, Denial, Kind, StoreFailure};
use jiff::Timestamp;

use super::{NoPlugin, PluginStore};
use crate::secret::SecretError;
use crate::store::{ObjectPath, RemoteError, Store, StoreError};

/// A call that gave no answer that can be used.
#[derive(Debug)]
pub(super) struct Failed {
    what: What,
    reason: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
}

/// What is wrong, as far as somebody would act differently on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    NotFound,
    Exists,
    Locked(Timestamp),
    Full,
    MissingPlace,
    /// It may work another time.
    Transient,
    /// It is as it is.
    Final,
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl Failed {
    fn new(what: What, reason: impl Into<String>, hint: Option<String>) -> Self {
        Self { what, reason: reason.into(), hint, retry_after: None }
    }

    /// There is no such plugin, or it was refused, or it is not ready.
    pub(super) fn no_plugin(error: &NoPlugin) -> Self {
        match error {
            NoPlugin::Start(error) => {
                Self::new(What::Final, format!("plugins cannot be run: {error}"), error.hint())
            }
            NoPlugin::Unavailable(error) => {
                let what = if error.is_transient() { What::Transient } else { What::Final };
                Self::new(what, error.to_string(), error.hint())
            }
        }
    }

    /// The plugin does something else.
    pub(super) fn other_kind(plugin: &str, kind: Kind) -> Self {
        let reason = format!("plugin `{plugin}` is a {kind}, not a store");
        Self::new(What::Final, reason, Some("name a plugin that was built for `holdfast:store`".to_owned()))
    }

    /// A secret that it is granted cannot be read.
    pub(super) fn secret(error: &SecretError) -> Self {
        Self::new(What::Final, error.to_string(), error.hint())
    }

    /// It does not promise what every store must.
    pub(super) fn not_atomic(plugin: &str) -> Self {
        let reason = format!(
            "plugin `{plugin}` does not promise `atomic` with this config: an object could be seen before it is whole"
        );
        Self::new(What::Final, reason, Some("its README may tell which config does".to_owned()))
    }

    /// What it said cannot be true.
    pub(super) fn lie(reason: impl Into<String>) -> Self {
        let hint = "this is a bug of the plugin, or of the server behind it; tell the plugin's author";
        Self::new(What::Final, reason, Some(hint.to_owned()))
    }

    /// It handed out less than there is. Perhaps the connection broke.
    pub(super) fn short(reason: impl Into<String>) -> Self {
        Self::new(What::Transient, reason, None)
    }

    /// How a call ended.
    pub(super) fn call(failure: &StoreFailure, denied: &[Denial]) -> Self {
        let error = &failure.error;
        let (code, message) = (error.code.as_str(), error.message.clone());
        // What it was refused explains best what it could not do then.
        let refused = denied.iter().find_map(|denial| denial.hint.clone());
        let hint = refused.or_else(|| error.hint().map(str::to_owned));
        let ended = match error.kind {
            CallErrorKind::Error => return Self::told(failure, hint),
            CallErrorKind::Timeout => What::Transient,
            _ => What::Final,
        };
        let denials: Vec<String> = denied.iter().map(|denial| format!("; denied: {denial}")).collect();
        let reason = format!("the plugin {message} ({}, {code}){}", error.kind, denials.concat());
        Self::new(ended, reason, hint)
    }

    /// What it said itself.
    fn told(failure: &StoreFailure, hint: Option<String>) -> Self {
        let error = &failure.error;
        let (code, message) = (error.code.as_str(), error.message.as_str());
        let until = failure.attribute("until").and_then(|until| until.parse().ok());
        let (what, own_hint) = match code {
            "not-found" => (What::NotFound, None),
            "exists" => (What::Exists, None),
            "locked" => (until.map_or(What::Final, What::Locked), None),
            "full" => (What::Full, None),
            "missing-place" => (What::MissingPlace, None),
            "unavailable" => (What::Transient, None),
            "denied" => {
                (What::Final, Some("look at the login, and at its rights, that the store's table gives"))
            }
            "config" => (
                What::Final,
                Some("look at the store's `config`; `holdfast plugin check FILE` tells what it takes"),
            ),
            _ => (What::Final, None),
        };
        let retry_after = failure.attribute("retry-after").and_then(|seconds| seconds.parse().ok());
        Self {
            retry_after: retry_after.map(Duration::from_secs),
            ..Self::new(what, format!("{message} ({code})"), hint.or_else(|| own_hint.map(str::to_owned)))
        }
    }

    pub(super) fn is_transient(&self) -> bool {
        self.what == What::Transient
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.what == What::NotFound
    }

    pub(super) fn is_exists(&self) -> bool {
        self.what == What::Exists
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// As the store's error about one object.
    pub(super) fn of(self, store: &PluginStore, path: &ObjectPath, action: &'static str) -> StoreError {
        let path = path.to_string();
        match self.what {
            What::NotFound if action == "read" => StoreError::NotFound { path },
            What::Exists if action == "write" => StoreError::Exists { path },
            What::Locked(until) => StoreError::Locked { path, until },
            What::Full => {
                StoreError::Full { path, place: store.describe(), source: io::Error::other(self.reason) }
            }
            _ => self.remote(store, action, format!("`{path}` in {}", store.describe())),
        }
    }

    /// As the store's error about itself.
    pub(super) fn of_place(self, store: &PluginStore, action: &'static str) -> StoreError {
        self.remote(store, action, store.describe())
    }

    fn remote(self, store: &PluginStore, action: &'static str, what: String) -> StoreError {
        if self.what == What::MissingPlace {
            let source = io::Error::new(io::ErrorKind::NotFound, self.reason);
            return StoreError::Unusable { place: store.describe(), source };
        }
        let transient = self.is_transient();
        StoreError::Remote {
            action,
            what,
            source: RemoteError { reason: self.reason, hint: self.hint, transient },
        }
    }

    /// As the end of a stream that had begun.
    pub(super) fn into_io(self) -> io::Error {
        let kind = if self.is_transient() { io::ErrorKind::ConnectionReset } else { io::ErrorKind::Other };
        io::Error::new(kind, self.reason)
    }
}
