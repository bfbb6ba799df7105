//! Which service is paged, and how loudly.

use holdfast_plugin::Severity;
use schemars::JsonSchema;
use serde::Deserialize;

/// The notifier's config.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The name of a secret that holds the integration key of the service.
    #[serde(default = "routing_key_secret")]
    pub routing_key_secret: String,
    /// Where events go; accounts in the EU have `https://events.eu.pagerduty.com/v2/enqueue`.
    #[serde(default = "url")]
    pub url: String,
    /// What an error counts as.
    #[serde(default)]
    pub error_severity: PagerSeverity,
}

/// PagerDuty's words for how bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PagerSeverity {
    /// Somebody is woken up.
    #[default]
    Critical,
    /// As the service is set up.
    Error,
    /// It can wait.
    Warning,
    /// It is shown, no more.
    Info,
}

impl PagerSeverity {
    fn name(self) -> &'static str {
        match self {
            PagerSeverity::Critical => "critical",
            PagerSeverity::Error => "error",
            PagerSeverity::Warning => "warning",
            PagerSeverity::Info => "info",
        }
    }
}

impl Config {
    pub(crate) fn severity(&self, severity: Severity) -> &'static str {
        match severity {
            Severity::Error => self.error_severity.name(),
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

fn routing_key_secret() -> String {
    "pagerduty_key".to_owned()
}

fn url() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}
