//! The name of a backup: `20261121T030000Z-<revision>`. UTC, so that names sort by time.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// What [`TIME_FORMAT`] begins with.
const MINUTE_FORMAT: &str = "%Y%m%dT%H%M";
/// `20261121T030000Z`
const TIME_LENGTH: usize = 16;

/// A timestamp as it stands in ids and in the names of data.
pub(super) fn compact_utc(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime(TIME_FORMAT).to_string()
}

/// A timestamp as it stands in the names of records, to the millisecond: a backup may be proved twice within a second, and
/// the names shall sort by time.
pub(super) fn precise_utc(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

/// Names a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId {
    // In this order, so that ids sort by time first and then by revision as a number.
    time: Timestamp,
    revision: i64,
}

impl BackupId {
    /// The id of a backup begun at `time` (whole seconds count) with this newest revision.
    pub fn new(time: Timestamp, revision: i64) -> Self {
        let time = Timestamp::from_second(time.as_second()).unwrap_or(time);
        Self { time, revision: revision.max(0) }
    }

    /// When the backup began, to the second.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The minute in which the backup began, as its name begins.
    pub fn minute(&self) -> String {
        self.time.to_zoned(TimeZone::UTC).strftime(MINUTE_FORMAT).to_string()
    }

    /// The newest revision in the backup.
    pub fn revision(&self) -> i64 {
        self.revision
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", compact_utc(self.time), self.revision)
    }
}

/// A text that names no backup.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a backup id")]
pub struct InvalidId(String);

impl FromStr for BackupId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId(text.to_owned());
        let time = text.get(..TIME_LENGTH).ok_or_else(invalid)?;
        let revision = text[TIME_LENGTH..].strip_prefix('-').ok_or_else(invalid)?;
        let time = jiff::civil::DateTime::strptime(TIME_FORMAT, time)
            .and_then(|time| time.to_zoned(TimeZone::UTC))
            .map_err(|_| invalid())?
            .timestamp();
        let id = Self { time, revision: revision.parse().map_err(|_| invalid())? };
        // One backup, one name: `+7`, `007` and the like are not ids.
        if id.revision >= 0 && id.to_string() == text { Ok(id) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for BackupId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_sorts_by_time() {
        let id: BackupId = "20261121T030000Z-1641".parse().unwrap();
        assert_eq!(id.to_string(), "20261121T030000Z-1641");
        assert_eq!(id.revision(), 1641);
        assert_eq!(id.time().to_string(), "2026-11-21T03:00:00Z");
        assert!(id < "20261121T030001Z-2".parse().unwrap());
        assert!(id > "20261121T030000Z-999".parse().unwrap());
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "latest",
            "20261121T030000Z",
            "20261121T030000Z-",
            "20261121T030000Z-07",
            "20261121T030000Z-+7",
            "20261121T030000Z--7",
            "20261321T030000Z-7",
            "20261121T030000Z-7/..",
            "x0261121T030000Z-7",
            "äääääääääääääää-7",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "`{text}` was taken");
        }
    }
}
