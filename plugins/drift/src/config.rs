//! What may go, and what may not.

use schemars::JsonSchema;
use serde::Deserialize;

/// The step's config.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// How many percent of its keys a group may lose.
    #[serde(default = "keys_fall_percent")]
    #[schemars(range(max = 100))]
    pub keys_fall_percent: u64,
    /// How many percent of its bytes a group may lose.
    #[serde(default = "bytes_fall_percent")]
    #[schemars(range(max = 100))]
    pub bytes_fall_percent: u64,
    /// Groups that had fewer keys are not judged: of few, one is many percent.
    #[serde(default = "least_keys")]
    pub least_keys: u64,
    /// Kubernetes resources that come and go: `events`, or `metrics.k8s.io/pods` with their group. They count in no sum.
    #[serde(default = "ignore")]
    pub ignore: Vec<String>,
    /// Namespaces that may vanish. A `*` at the end stands for any ending: `preview-*`.
    #[serde(default)]
    pub may_vanish: Vec<String>,
    /// Where Kubernetes keeps its objects: the API server's `--etcd-prefix`.
    #[serde(default = "registry")]
    pub registry: String,
    /// How many findings of one kind are named before the rest is only counted.
    #[serde(default = "max_findings")]
    pub max_findings: u32,
}

impl Config {
    /// Whether this namespace may be gone.
    pub(crate) fn may_vanish(&self, namespace: &str) -> bool {
        self.may_vanish.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => namespace.starts_with(beginning),
            None => namespace == pattern,
        })
    }
}

fn keys_fall_percent() -> u64 {
    20
}

fn bytes_fall_percent() -> u64 {
    50
}

fn least_keys() -> u64 {
    10
}

fn ignore() -> Vec<String> {
    ["events", "leases"].map(str::to_owned).to_vec()
}

fn registry() -> String {
    "/registry".to_owned()
}

fn max_findings() -> u32 {
    100
}
