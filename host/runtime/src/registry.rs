//! The plugins that can be called, and the state of every file in their folder.
//!
//! A [`Registry`] is a value: it never changes. A run takes one at its start and keeps it, so that a backup is never
//! judged by two versions of the same plugin.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::plugin::Plugin;

/// All plugins at one moment.
#[derive(Debug, Default)]
pub struct Registry {
    pub(crate) directory: PathBuf,
    pub(crate) plugins: BTreeMap<String, Arc<Plugin>>,
    pub(crate) states: BTreeMap<String, PluginState>,
    pub(crate) problem: Option<Rejection>,
}

impl Registry {
    /// The plugin of that name.
    ///
    /// # Errors
    /// Why there is none, with what there is instead.
    pub fn plugin(&self, name: &str) -> Result<Arc<Plugin>, Unavailable> {
        if let Some(plugin) = self.plugins.get(name) {
            return Ok(Arc::clone(plugin));
        }
        let reason = match self.states.get(name) {
            Some(PluginState { rejection: Some(rejection), file, .. }) => {
                UnavailableReason::Rejected { file: file.clone(), rejection: rejection.clone() }
            }
            Some(PluginState { condition: Condition::Compiling, .. }) => UnavailableReason::Compiling,
            _ => UnavailableReason::Missing {
                directory: self.directory.clone(),
                known: self.plugins.keys().cloned().collect(),
                closest: closest(name, self.states.keys()),
                problem: self.problem.clone(),
            },
        };
        Err(Unavailable { name: name.to_owned(), reason })
    }

    /// All plugins that can be called, by name.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.plugins.values()
    }

    /// The state of each plugin file, by name.
    pub fn states(&self) -> &BTreeMap<String, PluginState> {
        &self.states
    }

    /// Why the folder as a whole could not be looked at, if it could not. What was loaded before stays.
    pub fn problem(&self) -> Option<&Rejection> {
        self.problem.as_ref()
    }
}

/// The state of one plugin file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginState {
    /// Which of the four it is.
    pub condition: Condition,
    /// The file.
    pub file: PathBuf,
    /// The version that is called, if any.
    pub live: Option<LiveVersion>,
    /// Why the file as it is now is not the one that is called.
    pub rejection: Option<Rejection>,
}

/// Where a plugin file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The file as it is now is being made ready; an older version may be live meanwhile.
    Compiling,
    /// The file as it is now is called.
    Live,
    /// The file as it is now was refused; the version before is called.
    Stale,
    /// The file was refused and nothing is called.
    Rejected,
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Condition::Compiling => "compiling",
            Condition::Live => "live",
            Condition::Stale => "stale",
            Condition::Rejected => "rejected",
        })
    }
}

/// The version of a plugin that is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LiveVersion {
    /// The plugin's own version.
    pub version: String,
    /// SHA-256 of the component, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Why a file or folder was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The end of a sentence that begins with the file.
    pub reason: String,
    /// What to do, where we know.
    pub hint: Option<String>,
}

/// There is no plugin of that name to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The name that was asked for.
    pub name: String,
    /// Why.
    pub reason: UnavailableReason,
}

/// Why a plugin cannot be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnavailableReason {
    /// No file has that name.
    Missing {
        /// The plugin folder.
        directory: PathBuf,
        /// Names of the plugins that can be called.
        known: Vec<String>,
        /// A name that was perhaps meant.
        closest: Option<String>,
        /// Why the folder could not be looked at, if that is why.
        problem: Option<Rejection>,
    },
    /// The file was refused.
    Rejected {
        /// The file.
        file: PathBuf,
        /// Why.
        rejection: Rejection,
    },
    /// The file is being compiled for the first time.
    Compiling,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.reason {
            UnavailableReason::Missing { problem: Some(problem), .. } => {
                write!(formatter, "plugin `{name}` is not there: {}", problem.reason)
            }
            UnavailableReason::Missing { directory, .. } => {
                write!(formatter, "there is no plugin `{name}` in `{}`", directory.display())
            }
            UnavailableReason::Rejected { file, rejection } => {
                write!(formatter, "plugin `{name}` was refused: `{}` {}", file.display(), rejection.reason)
            }
            UnavailableReason::Compiling => write!(formatter, "plugin `{name}` is still being compiled"),
        }
    }
}

impl std::error::Error for Unavailable {}

impl Unavailable {
    /// What to do, where we know.
    pub fn hint(&self) -> Option<String> {
        match &self.reason {
            UnavailableReason::Missing { problem: Some(problem), .. } => problem.hint.clone(),
            UnavailableReason::Missing { closest: Some(closest), .. } => {
                Some(format!("did you mean `{closest}`?"))
            }
            UnavailableReason::Missing { directory, known, .. } if known.is_empty() => {
                Some(format!("copy `{}.wasm` to `{}`", self.name, directory.display()))
            }
            UnavailableReason::Missing { known, .. } => {
                Some(format!("the plugins there are: {}", known.join(", ")))
            }
            UnavailableReason::Rejected { rejection, .. } => rejection.hint.clone(),
            UnavailableReason::Compiling => Some("try again in half a minute".into()),
        }
    }

    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        self.reason == UnavailableReason::Compiling
    }
}

/// The name in a file's name, if it is a plugin's: `required_keys.wasm` holds `required-keys`.
pub(crate) fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".wasm")?;
    (!stem.is_empty() && !name.starts_with('.')).then(|| stem.replace('_', "-"))
}

/// The known name with the fewest edits, if they are few for its length.
pub(crate) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    known
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= candidate.len().max(name.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate.clone())
}

/// Levenshtein distance in bytes; names are ASCII.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_plugin_is_told_with_what_was_perhaps_meant() {
        let state = |file: &str| PluginState {
            condition: Condition::Live,
            file: file.into(),
            live: None,
            rejection: None,
        };
        let registry = Registry {
            directory: "/etc/holdfast/plugins".into(),
            states: [("required-keys".to_owned(), state("required_keys.wasm"))].into(),
            ..Registry::default()
        };
        let error = registry.plugin("requird-keys").expect_err("there is none");
        assert_eq!(error.to_string(), "there is no plugin `requird-keys` in `/etc/holdfast/plugins`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `required-keys`?"));
        let error = registry.plugin("drift").expect_err("there is none");
        assert_eq!(error.hint().as_deref(), Some("copy `drift.wasm` to `/etc/holdfast/plugins`"));
    }

    #[test]
    fn only_visible_wasm_files_are_plugins() {
        let stem = |name: &str| stem(Path::new(name));
        assert_eq!(stem("/p/required_keys.wasm").as_deref(), Some("required-keys"));
        for other in [".hidden.wasm", "x.wasm.tmp", "x.wasm.part", "x.cwasm", "..data", ".wasm", "readme.md"]
        {
            assert_eq!(stem(other), None, "{other}");
        }
    }
}
