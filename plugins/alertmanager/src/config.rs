//! Where the Alertmanagers are, and what their alerts carry.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// The notifier's config.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// Where the Alertmanagers are, e.g. `http://alertmanager.example.org:9093`: all instances of a cluster, with `--web.route-prefix` if it has one.
    pub urls: Vec<String>,
    /// Labels that every alert gets, for routing.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations that every alert gets, e.g. the URL of a runbook.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// How many hours an alert stands when nobody repeats it and nobody ends it.
    #[serde(default = "hold_hours")]
    #[schemars(range(min = 1, max = 8760))]
    pub hold_hours: u32,
    /// The name of a secret that is sent as a bearer token.
    pub token_secret: Option<String>,
    /// The name that is sent with a password.
    pub username: Option<String>,
    /// The name of a secret that holds the password.
    pub password_secret: Option<String>,
}

/// A week: longer than it takes for the next backup to show how things are.
fn hold_hours() -> u32 {
    168
}
