//! What a plugin is for.

use std::fmt;

use serde::Serialize;

/// The kinds of plugins, each with a world of its own in `wit/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Judges a snapshot.
    Verifier,
    /// Works with a restored database.
    Script,
    /// Tells someone what happened.
    Notifier,
    /// Keeps objects.
    Store,
}

impl Kind {
    /// Every kind that this agent calls.
    pub const ALL: [Kind; 4] = [Kind::Verifier, Kind::Script, Kind::Notifier, Kind::Store];

    /// As it is written in commands and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Verifier => "verifier",
            Kind::Script => "script",
            Kind::Notifier => "notifier",
            Kind::Store => "store",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
