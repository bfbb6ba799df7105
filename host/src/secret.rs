//! Passwords and where they come from.
//!
//! A [`Secret`] can be handed on but not printed: its `Debug` says only that there is one, it has no `Display` and no
//! `Serialize`, and its memory is wiped when it is dropped. The configuration never holds a secret itself, only a
//! [`SecretSource`]; it is read when it is needed, so that a rotated password is picked up by the next run.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

/// The longest secret read from a file. A password file with more in it is some other file, given by mistake.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A value that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value over.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself: for the call that needs it, not for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file whose content, less the line end, is the secret.
    File(PathBuf),
    /// An environment variable of this name.
    Env(String),
}

impl SecretSource {
    /// Reads the secret as it is now.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::File(path) => read_file(path),
            Self::Env(name) => from_variable(name, std::env::var_os(name)),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "file `{}`", path.display()),
            Self::Env(name) => write!(formatter, "environment variable `{name}`"),
        }
    }
}

/// Why a secret could not be read. None of the messages holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be opened or read.
    #[error("secret file `{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("secret from {from} is empty")]
    Empty {
        /// Where it was looked for.
        from: SecretSource,
    },
    /// It is not text.
    #[error("secret from {from} is not UTF-8 text")]
    NotText {
        /// Where it was looked for.
        from: SecretSource,
    },
    /// The file holds more than a secret.
    #[error("secret file `{}` is larger than {MAX_SECRET_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The variable is not in the environment.
    #[error("environment variable `{name}` is not set")]
    Unset {
        /// The variable.
        name: String,
    },
}

impl SecretError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { path, source } => match source.kind() {
                io::ErrorKind::NotFound => {
                    format!(
                        "write the secret into `{}`, readable by this user only (mode 0600)",
                        path.display()
                    )
                }
                io::ErrorKind::PermissionDenied => {
                    format!("let the user that runs holdfast read it: `chown USER {}`", path.display())
                }
                _ => return None,
            },
            Self::Empty { from: SecretSource::File(path) } => {
                format!("write the secret into `{}`", path.display())
            }
            Self::Empty { from: SecretSource::Env(name) } | Self::Unset { name } => {
                format!("set it where holdfast is started, or name a file instead: `export {name}=…`")
            }
            Self::TooLarge { .. } => "the file should hold the secret and nothing else".to_owned(),
            Self::NotText { .. } => return None,
        })
    }
}

fn read_file(path: &PathBuf) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read { path: path.clone(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(failed)?.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(SecretError::TooLarge { path: path.clone() });
    }
    let from = || SecretSource::File(path.clone());
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText { from: from() })?;
    // Editors and `echo` end the file with a line end that is not part of the password; blanks may well be.
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(SecretError::Empty { from: from() });
    }
    Ok(Secret::new(text.to_owned()))
}

fn from_variable(name: &str, value: Option<OsString>) -> Result<Secret, SecretError> {
    let from = || SecretSource::Env(name.to_owned());
    let value = value.ok_or_else(|| SecretError::Unset { name: name.to_owned() })?;
    let value = value.into_string().map_err(|_| SecretError::NotText { from: from() })?;
    if value.is_empty() {
        return Err(SecretError::Empty { from: from() });
    }
    Ok(Secret::new(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, SecretSource) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, content).unwrap();
        (directory, SecretSource::File(path))
    }

    #[test]
    fn is_never_shown() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "Secret(…) Some(\n    Secret(…),\n)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn file_loses_its_line_end_and_nothing_else() {
        let (_keep, source) = file(b" correct horse \r\n");
        assert_eq!(source.read().unwrap().expose(), " correct horse ");
    }

    #[test]
    fn bad_files_are_told_apart() {
        let (keep, source) = file(b"x");
        drop(keep);
        assert!(matches!(source.read(), Err(SecretError::Read { .. })));
        let (_keep, source) = file(b"\n");
        assert!(matches!(source.read(), Err(SecretError::Empty { .. })));
        let (_keep, source) = file(b"\xff\xfe");
        assert!(matches!(source.read(), Err(SecretError::NotText { .. })));
        let (_keep, source) = file(&vec![b'a'; 70_000]);
        assert!(matches!(source.read(), Err(SecretError::TooLarge { .. })));
    }

    #[test]
    fn variable() {
        assert_eq!(from_variable("A", Some("x\n".into())).unwrap().expose(), "x\n");
        assert!(matches!(from_variable("A", Some(OsString::new())), Err(SecretError::Empty { .. })));
        let unset = from_variable("A", None).unwrap_err();
        assert_eq!(unset.to_string(), "environment variable `A` is not set");
        assert!(unset.hint().unwrap().contains("export A=…"));
    }
}
