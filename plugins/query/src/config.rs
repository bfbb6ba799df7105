//! What an operator may ask.

use schemars::JsonSchema;
use serde::Deserialize;

/// The step's config.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// What must hold. All are asked, and each that does not hold is told.
    #[schemars(length(min = 1))]
    pub queries: Vec<Question>,
    /// Numbers to keep as metrics.
    #[serde(default)]
    pub measure: Vec<Measure>,
    /// Where Kubernetes keeps its objects: the API server's `--etcd-prefix`, with a slash at its end.
    #[serde(default = "registry")]
    pub registry: String,
}

/// One thing that must hold.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Question {
    /// An expression in CEL that must be true.
    #[schemars(length(min = 1))]
    pub expect: String,
    /// What to call it in messages; the expression itself otherwise.
    #[serde(default)]
    pub name: Option<String>,
    /// What it means when it does not hold.
    #[serde(default)]
    pub severity: Level,
}

impl Question {
    /// What to call it.
    pub(crate) fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.expect)
    }
}

/// A number that the agent keeps.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Measure {
    /// What is measured.
    #[schemars(length(min = 1))]
    pub name: String,
    /// An expression in CEL that gives a number.
    #[schemars(length(min = 1))]
    pub value: String,
    /// In which unit.
    #[serde(default)]
    pub unit: String,
}

/// What it means when something does not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The verification fails.
    #[default]
    Fail,
    /// It is told, no more.
    Warn,
}

fn registry() -> String {
    "/registry/".to_owned()
}
