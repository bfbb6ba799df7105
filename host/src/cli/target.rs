//! Which backup is meant: one of the repository by id, its newest, or a file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;

use crate::catalog::BackupId;

/// The flags that ask for a backup by time or revision, in place of an id.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PointArgs {
    /// The newest backup at this time or before, such as 2026-11-20T02:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with_all = ["backup", "revision"])]
    pub at: Option<Timestamp>,
    /// The newest backup at this revision or before
    #[arg(long, value_name = "N", conflicts_with = "backup", value_parser = clap::value_parser!(i64).range(0..))]
    pub revision: Option<i64>,
}

impl PointArgs {
    /// What is asked for: by these flags, or else what stands in place of an id.
    pub fn or(&self, backup: &Target) -> Target {
        self.given().unwrap_or_else(|| backup.clone())
    }

    /// What is asked for by these flags.
    pub fn given(&self) -> Option<Target> {
        self.at.map(Target::At).or(self.revision.map(Target::Revision))
    }
}

/// What stands before a time, or a revision, in place of an id.
const AT: &str = "at:";
const REVISION: &str = "revision:";

/// Which backups are meant: some, or all.
#[derive(Debug, Clone, clap::Args)]
pub struct SelectionArgs {
    /// The ids of backups
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub backups: Vec<BackupId>,
    /// Every backup
    #[arg(long, conflicts_with = "backups")]
    pub all: bool,
    /// Only in this store
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

impl SelectionArgs {
    /// Whether this one is.
    pub fn asks_for(&self, id: &BackupId) -> bool {
        self.all || self.backups.contains(id)
    }
}

/// What stands where a backup is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `latest`: the newest backup of the repository.
    Latest,
    /// `at:2026-11-20T02:00:00Z`: the newest backup begun at this time or before.
    At(Timestamp),
    /// `revision:48213`: the newest backup at this revision or before.
    Revision(i64),
    /// A backup's id: `20261121T030000Z-48213`.
    Id(String),
    /// Anything else is a snapshot file, as etcd sent it.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(time) = text.strip_prefix(AT) {
            let time = time.parse().map_err(|_| {
                format!("`{time}` is not a time such as 2026-11-20T02:00:00Z; a file of this name is meant by `./{text}`")
            })?;
            return Ok(Self::At(time));
        }
        if let Some(revision) = text.strip_prefix(REVISION) {
            let revision = revision.parse().ok().filter(|revision| *revision >= 0).ok_or_else(|| {
                format!("`{revision}` is not a revision; a file of this name is meant by `./{text}`")
            })?;
            return Ok(Self::Revision(revision));
        }
        Ok(match text {
            "latest" => Self::Latest,
            id if is_id(id) => Self::Id(id.to_owned()),
            path => Self::File(PathBuf::from(path)),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::At(time) => time.fmt(formatter),
            Self::Revision(revision) => write!(formatter, "revision {revision}"),
            Self::Id(id) => formatter.write_str(id),
            Self::File(path) => path.display().fmt(formatter),
        }
    }
}

/// `20261121T030000Z-48213`: UTC time, then the revision. A file of such a name is meant by `./20261121T…`.
fn is_id(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let Some((time, revision)) = text.split_once('-') else { return false };
    let Some((date, clock)) = time.strip_suffix('Z').and_then(|time| time.split_once('T')) else {
        return false;
    };
    date.len() == 8 && digits(date) && clock.len() == 6 && digits(clock) && digits(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_apart_by_their_form() {
        let parse = |text: &str| text.parse::<Target>().unwrap();
        assert_eq!(parse("latest"), Target::Latest);
        assert_eq!(parse("20261121T030000Z-48213"), Target::Id("20261121T030000Z-48213".to_owned()));
        let time = "2026-11-20T02:00:00Z";
        assert_eq!(parse(&format!("at:{time}")), Target::At(time.parse().unwrap()));
        assert_eq!(parse("revision:48213"), Target::Revision(48213));
        for bad in ["at:yesterday", "at:", "revision:", "revision:-1", "revision:many"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
        for file in [
            "./at:noon",
            "./latest",
            "snapshot.db",
            "./20261121T030000Z-48213",
            "20261121T030000Z-",
            "20261121T030000-1",
        ] {
            assert_eq!(parse(file), Target::File(PathBuf::from(file)), "{file}");
        }
    }
}
