//! What one run did: an id, its stages with start, end and outcome, and the verdict they add up to.
//!
//! Every run (backup, verify, restore) is a session. The record at its end is what log, CLI and catalog draw from.

use std::fmt;

use etcd_snapshot::Outcome;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names a run. Random, so that two agents never share one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// A new id.
    pub fn random() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // Each `RandomState` carries keys from the operating system: no more is asked of a name.
        let number = std::hash::RandomState::new().build_hasher().finish();
        Self(format!("{number:016x}"))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One stage of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    /// Its name, e.g. `fetch`.
    pub name: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
}

/// The stages of a run so far.
#[derive(Debug)]
pub struct Session {
    /// The run's id.
    pub id: SessionId,
    /// When it began.
    pub started: Timestamp,
    /// The stages that have ended.
    pub stages: Vec<Stage>,
    clock: Clock,
}

/// Where the time comes from: the outside world in the agent, a constant in tests.
pub type Clock = fn() -> Timestamp;

impl Session {
    /// Begins a run.
    pub fn begin(clock: Clock) -> Self {
        Self { id: SessionId::random(), started: clock(), stages: Vec::new(), clock }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Keeps what a stage that began at `started` came to.
    pub fn ended(&mut self, name: &str, started: Timestamp, outcome: Outcome, summary: String) {
        tracing::info!(session = %self.id, stage = name, %outcome, "{summary}");
        self.stages.push(Stage { name: name.to_owned(), started, ended: self.now(), outcome, summary });
    }
}

/// The verdict over several: one failure fails all; otherwise one that is unknown leaves all unknown.
pub fn worst(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    outcomes.into_iter().fold(Outcome::Passed, |worst, next| match (worst, next) {
        (Outcome::Failed, _) | (_, Outcome::Failed) => Outcome::Failed,
        (Outcome::Inconclusive, _) | (_, Outcome::Inconclusive) => Outcome::Inconclusive,
        _ => Outcome::Passed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_the_unknown_and_the_unknown_outweighs_a_pass() {
        use Outcome::{Failed, Inconclusive, Passed};
        assert_eq!(worst([]), Passed);
        assert_eq!(worst([Passed, Inconclusive]), Inconclusive);
        assert_eq!(worst([Inconclusive, Failed, Passed]), Failed);
    }

    #[test]
    fn ids_differ() {
        assert_ne!(SessionId::random(), SessionId::random());
    }
}
