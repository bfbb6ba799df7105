//! What a plugin of any kind says of itself.

use serde::Serialize;

use crate::error::{CallError, CallErrorKind};
use crate::report;
use crate::text;

/// A name fits a file name, a TOML key and a metric label.
const NAME_BYTES: usize = 64;
const VERSION_BYTES: usize = 64;
const SUMMARY_BYTES: usize = 1 << 10;
const WANTS: usize = 64;
const WANT_BYTES: usize = 512;

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Lower case, digits and dashes; equal to the file's stem.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// One sentence on what it does.
    pub summary: String,
    /// JSON Schema of its config; empty when it takes none.
    pub config_schema: String,
    /// Grants that it would like, as TOML lines. Nothing is granted by this.
    pub wants: Vec<String>,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
}

/// A description as the guest gave it.
///
/// Each kind's package has a record of its own for it, so that each has its own versions; they are all the same.
pub(crate) struct RawDescription {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) config_schema: String,
    pub(crate) wants: Vec<String>,
    pub(crate) attributes: Vec<(String, String)>,
}

impl RawDescription {
    /// Bounded, and safe to show.
    ///
    /// # Errors
    /// What is wrong with it, the plugin being the sentence's subject.
    pub(crate) fn accept(self) -> Result<Description, CallError> {
        let refuse = |message: String| Err(CallError::new(CallErrorKind::Rejected, "description", message));
        if !is_name(&self.name) {
            return refuse(format!(
                "calls itself `{}`: a name is lower case, digits and dashes, at most {NAME_BYTES}",
                text::one_line(&self.name, NAME_BYTES)
            ));
        }
        if self.version.trim().is_empty() {
            return refuse("tells no version".into());
        }
        Ok(Description {
            name: self.name,
            version: text::one_line(self.version.trim(), VERSION_BYTES),
            summary: text::one_line(&self.summary, SUMMARY_BYTES),
            config_schema: self.config_schema,
            wants: self.wants.iter().take(WANTS).map(|want| text::one_line(want, WANT_BYTES)).collect(),
            attributes: report::bounded_attributes(self.attributes),
        })
    }
}

/// Lower case, digits and single dashes within.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES
        && name.split('-').all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_files_keys_and_labels() {
        for good in ["query", "required-keys", "a1", "2nd"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a--b", "Query", "a_b", "a/b", "..", "é", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
