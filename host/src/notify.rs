//! Telling people what happened: events, who wants which, and how they get there.
//!
//! ```text
//! a run's report ─▶ news ─▶ events ─▶ admission ─▶ a queue on disk ─▶ delivery ─▶ a plugin, or email
//!                                     per notifier: wanted?            backoff, rate,
//!                                     told already? over?              until too old
//! ```
//!
//! Nothing here can hold up or fail what it tells of: events go into a queue, one small file each, and whoever runs next delivers
//! what the one before left there. A notifier that hangs, traps or refuses costs itself only.

pub mod admission;
pub mod delivery;
pub mod email;
mod event;
mod kind;
pub mod news;
pub mod queue;

use std::time::Duration;

pub use event::{Event, Status};
pub use kind::{Kind, Pattern, When};

use crate::config::Granted;

/// `[notify.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Notifier {
    /// Its name.
    pub name: String,
    /// What it is told.
    pub when: When,
    /// How that gets there.
    pub means: Means,
    /// A problem that stands is told of again after so long.
    pub remind: Duration,
    /// Whether the end of a problem is told, that it was told of.
    pub resolved: bool,
    /// An event that could not be delivered is given up after so long.
    pub give_up_after: Duration,
    /// The most events an hour; the others wait.
    pub per_hour: u32,
}

/// How an event gets to where it is meant to go.
#[derive(Debug, Clone, PartialEq)]
pub enum Means {
    /// Through a plugin.
    Plugin {
        /// Its name.
        plugin: String,
        /// What is passed to it; an empty object when nothing is said.
        config: serde_json::Value,
        /// What it may reach.
        granted: Granted,
    },
    /// By email.
    Email(Box<email::Options>),
}

impl Means {
    /// What people call it: the plugin's name, or `email`.
    pub fn name(&self) -> &str {
        match self {
            Self::Plugin { plugin, .. } => plugin,
            Self::Email(_) => "email",
        }
    }

    /// The plugin, when it is one.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Plugin { plugin, .. } => Some(plugin),
            Self::Email(_) => None,
        }
    }
}
