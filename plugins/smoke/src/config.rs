//! What the operator can say.

use schemars::JsonSchema;
use serde::Deserialize;

/// The step's `config` table. All of it may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Where it writes. Each run takes a part of its own below, and leaves nothing there.
    pub prefix: String,
    /// Whether the count and the hash of the backup's keys are compared; otherwise it only works with the database.
    pub compare: bool,
    /// How long a change may take until a watch tells of it.
    #[schemars(range(min = 1, max = 600))]
    pub watch_seconds: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config { prefix: "/holdfast-smoke/".to_owned(), compare: true, watch_seconds: 10 }
    }
}
