//! The etcd program: found, and asked for its version.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// How long it may take to tell its version.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An etcd that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, like `3.6.16`.
    pub version: String,
    minor: u32,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is nowhere.
    #[error("there is no `{}`{}", name.display(), if is_path(name) { "" } else { " on PATH" })]
    Missing {
        /// What was looked for.
        name: PathBuf,
    },
    /// It does not run, or is no etcd.
    #[error("`{}` is no etcd: {reason}", path.display())]
    NotEtcd {
        /// The program.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
}

impl ProgramError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } => {
                "install etcd, or name its path: `program = \"/usr/local/bin/etcd\"` in [boot]".to_owned()
            }
            Self::NotEtcd { .. } => "name the path of an etcd server in `program` of [boot]".to_owned(),
        })
    }
}

/// Whether it is looked for at one place only.
fn is_path(name: &Path) -> bool {
    name.components().count() > 1
}

impl Program {
    /// Finds a program by its path, or by its name on `PATH`.
    pub async fn find(name: &Path) -> Result<Self, ProgramError> {
        let missing = || ProgramError::Missing { name: name.to_owned() };
        let path = locate(name).ok_or_else(missing)?;
        // Started in another folder.
        let path = std::path::absolute(&path).unwrap_or(path);
        let not = |reason: String| ProgramError::NotEtcd { path: path.clone(), reason };
        let asking = tokio::process::Command::new(&path)
            .arg("--version")
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(TIMEOUT, asking)
            .await
            .map_err(|_| not("it does not tell its version".to_owned()))?
            .map_err(|error| not(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (version, minor) =
            version(&text).ok_or_else(|| not("it does not tell an etcd's version".to_owned()))?;
        Ok(Self { path, version, minor })
    }

    /// Whether it can serve a database that needs this version of etcd, like `3.6`.
    pub(super) fn serves(&self, needed: &str) -> bool {
        // A version that cannot be read is no reason to refuse: etcd itself will say.
        minor(needed).is_none_or(|needed| self.minor >= needed)
    }

    /// `--unsafe-no-fsync` came with 3.5.
    pub(super) fn takes_unsafe_no_fsync(&self) -> bool {
        self.minor >= 5
    }
}

fn locate(name: &Path) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if is_path(name) {
        return Some(name.to_owned()).filter(is_program);
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(is_program)
}

/// Reads `etcd Version: 3.6.16`.
fn version(text: &str) -> Option<(String, u32)> {
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "))?.trim();
    Some((version.to_owned(), minor(version)?))
}

fn minor(version: &str) -> Option<u32> {
    let mut parts = version.split('.');
    if parts.next() != Some("3") {
        return None;
    }
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let program = |text| {
            let (version, minor) = version(text).expect("a version");
            Program { path: "etcd".into(), version, minor }
        };
        let program = program("etcd Version: 3.5.35\nGit SHA: 1\n");
        assert_eq!(program.version, "3.5.35");
        assert!(program.serves("3.5") && program.serves("3.4") && !program.serves("3.6"));
        assert_eq!(version("GNU coreutils 9"), None);
    }

    #[tokio::test]
    async fn what_is_no_etcd_is_told() {
        let missing = Program::find(Path::new("no-etcd-of-this-name")).await.unwrap_err();
        assert!(missing.to_string().ends_with("on PATH"), "{missing}");
        let missing = Program::find(Path::new("/nowhere/etcd")).await.unwrap_err();
        assert_eq!(missing.to_string(), "there is no `/nowhere/etcd`");
        let other = Program::find(Path::new("true")).await.unwrap_err();
        assert!(other.to_string().contains("is no etcd"), "{other}");
    }
}
