//! What a check has to say: an outcome, and findings with their places.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bolt::{PageId, printable};
use crate::codes::Code;
use crate::revision::Revision;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All that was asked for was checked, and no error was found.
    Passed,
    /// An error was found.
    Failed,
    /// No error was found, but something could not be checked.
    Inconclusive,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// The file is sound, but something will matter at restore.
    Warning,
    /// The file is damaged, or is not what etcd sent.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing found, with its place as far as there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// From the list in [`crate::codes`]; stable.
    pub code: String,
    /// How much it weighs.
    pub severity: Severity,
    /// For people: what is wrong.
    pub message: String,
    /// The page it lies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// The bucket it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The key it is about: printable ASCII, the rest escaped, cut at 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The revision it is about, `main/sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Byte of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What should be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Finding {
    /// A finding of this kind, without a place.
    pub fn new(code: &Code, message: impl Into<String>) -> Self {
        Self {
            code: code.name.to_owned(),
            severity: code.severity,
            message: cut(message.into()),
            page: None,
            bucket: None,
            key: None,
            revision: None,
            offset: None,
            expected: None,
            found: None,
        }
    }

    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    pub(crate) fn page(mut self, page: PageId) -> Self {
        self.page = Some(page.0);
        self
    }

    pub(crate) fn bucket(mut self, bucket: &str) -> Self {
        self.bucket = Some(bucket.to_owned());
        self
    }

    pub(crate) fn key(mut self, key: &[u8]) -> Self {
        self.key = Some(printable(key));
        self
    }

    pub(crate) fn revision(mut self, revision: Revision) -> Self {
        self.revision = Some(revision.to_string());
        self
    }

    pub(crate) fn offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// With what should be there and what is.
    #[must_use]
    pub fn values(mut self, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        self.expected = Some(cut(expected.to_string()));
        self.found = Some(cut(found.to_string()));
        self
    }
}

/// A text in words of the file's own is no longer than this, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.shrink_to_fit();
        text.push('…');
    }
    text
}
