//! What a check of a whole store found: one document a check, so that the next one can tell what has changed since.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupId;
use crate::session::SessionId;

/// The format written here.
pub const CHECK_FORMAT: &str = "holdfast-check/1";

/// How closely a backup was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// The manifest was read; its data is there and has the right size.
    Named,
    /// The stored bytes were read and have the right digest.
    Stored,
    /// They were decrypted and unpacked as well, to the file that etcd sent.
    Unpacked,
}

/// One backup in a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Whether nothing was wrong.
    pub good: bool,
    /// How closely it was looked at; while it is good, by this check or one before.
    pub depth: Depth,
    /// When its stored bytes were last read and right: by its own run, a proof, or a check.
    pub last_good: Timestamp,
}

/// One check of one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// [`CHECK_FORMAT`].
    pub format: String,
    /// The command.
    pub session: SessionId,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What was seen.
    pub backups: BTreeMap<BackupId, Seen>,
}
