//! A verification record: what a proof of one backup came to. Added beside the backup, never rewritten.

use std::collections::BTreeMap;

use etcd_snapshot::{Finding, Outcome};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupId;
use crate::session::SessionId;

/// The format written here.
pub const RECORD_FORMAT: &str = "holdfast-record/1";

/// What set a verification off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The backup run itself, on the file as etcd sent it.
    Backup,
    /// `holdfast verify`, on what lies in the store.
    Verify,
}

/// What one step of a chain came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepRecord {
    /// The chain it belongs to.
    pub chain: String,
    /// `integrity`, `agreement`, `continuity`, `restore` or the plugin's name.
    pub step: String,
    /// The plugin's own version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_version: Option<String>,
    /// SHA-256 of the plugin's bytes, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_sha256: Option<String>,
    /// The step's verdict.
    pub outcome: Outcome,
    /// Whether it was not run because of what happened before it. It is inconclusive then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Whether it is of a restore drill: an etcd is booted on the restored backup for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drill: bool,
    /// Whether the verdict counts for the chain's (`on_error = "fail"`), or is only told (`"warn"`).
    pub counts: bool,
    /// One line for people.
    pub summary: String,
    /// Why a plugin gave no verdict: `error`, `trap`, `timeout`, `out-of-memory`, `denied` or `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Numbers the plugin measured: name, value, unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measured>,
    /// What the plugin wants to be told when it judges a newer backup. Only it reads this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
    /// What the plugin's call used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
    /// Wall time.
    pub elapsed_ms: u64,
}

/// What the call of a plugin used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Used {
    /// Processor time.
    pub cpu_ms: u64,
    /// Most linear memory at once.
    pub peak_memory_bytes: u64,
    /// Rows handed over.
    pub rows: u64,
    /// Bytes handed over.
    pub bytes: u64,
    /// Calls of the host.
    pub host_calls: u64,
    /// HTTP requests made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub http_requests: u64,
    /// How often something was asked for that is not granted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub denied: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A number that a plugin measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// What.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what unit.
    pub unit: String,
    /// Further facts by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// One verification of one backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_FORMAT`].
    pub format: String,
    /// The backup.
    pub backup: BackupId,
    /// The run.
    pub session: SessionId,
    /// What set it off.
    pub trigger: Trigger,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The verdict.
    pub outcome: Outcome,
    /// The steps, in order.
    pub steps: Vec<StepRecord>,
}
