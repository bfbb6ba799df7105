//! When a run is due: cron patterns, always in UTC so that a clock change neither skips nor doubles a backup.
//!
//! Pure: the caller says what time it is.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A cron pattern of five fields (minute, hour, day of month, month, day of week) or a nickname such as `@daily`.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pattern: String,
    cron: Cron,
}

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It is not a cron pattern.
    #[error("`{pattern}` is not a cron pattern: {reason}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No date matches it, such as 30 February.
    #[error("`{pattern}` never comes")]
    Never {
        /// What was given.
        pattern: String,
    },
}

impl ScheduleError {
    /// How a pattern should look.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Pattern { .. } => "five fields: minute, hour, day of month, month, day of week, in UTC; \
                                     `0 * * * *` is hourly, `30 3 * * *` daily at 03:30"
                .to_owned(),
            Self::Never { .. } => "no date has this day of month in this month".to_owned(),
        })
    }
}

impl Schedule {
    /// Reads a pattern, and makes sure that it will ever be due.
    pub fn parse(pattern: &str) -> Result<Self, ScheduleError> {
        let cron = parse(pattern).map_err(|error| {
            let reason = faulty_field(pattern).unwrap_or_else(|| reason(&error));
            ScheduleError::Pattern { pattern: pattern.to_owned(), reason }
        })?;
        let schedule = Self { pattern: pattern.to_owned(), cron };
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { pattern: pattern.to_owned() }),
        }
    }

    /// The first time strictly after `now` at which a run is due. `None` only at the end of all calendars.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.to_zoned(TimeZone::UTC);
        self.cron.find_next_occurrence(&now, false).ok().map(|due| due.timestamp())
    }

    /// The pattern in words: `At 03:30.`
    pub fn describe(&self) -> String {
        self.cron.describe().trim_end_matches('.').to_owned()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.pattern)
    }
}

fn parse(pattern: &str) -> Result<Cron, croner::errors::CronError> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(pattern)
}

/// Which field is wrong, and why: each is tried alone. `None` when there are not five of them, or each is sound alone.
fn faulty_field(pattern: &str) -> Option<String> {
    const NAMES: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    if fields.len() != NAMES.len() {
        return None;
    }
    fields.iter().enumerate().find_map(|(position, field)| {
        let mut alone = ["*"; NAMES.len()];
        alone[position] = field;
        let error = parse(&alone.join(" ")).err()?;
        Some(format!("{} `{field}`: {}", NAMES[position], reason(&error)))
    })
}

/// The library's message in our style: no prefix, lowercase start, no full stop.
fn reason(error: &croner::errors::CronError) -> String {
    use croner::errors::CronError;
    let text = match error {
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text.clone(),
        CronError::EmptyPattern => "it is empty".to_owned(),
        other => other.to_string(),
    };
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match letters.next() {
        // `CronPattern` and the like keep their capitals.
        Some(first) if !letters.as_str().starts_with(|c: char| c.is_uppercase()) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pattern: &str, after: &str) -> String {
        Schedule::parse(pattern).unwrap().next_after(after.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn next_is_strictly_after() {
        assert_eq!(next("0 * * * *", "2026-11-21T03:00:00Z"), "2026-11-21T04:00:00Z");
        assert_eq!(next("0 * * * *", "2026-11-21T02:59:59.999Z"), "2026-11-21T03:00:00Z");
        assert_eq!(next("*/15 * * * *", "2026-11-21T03:14:59Z"), "2026-11-21T03:15:00Z");
        assert_eq!(next("30 3 * * 1", "2026-11-21T00:00:00Z"), "2026-11-23T03:30:00Z");
        assert_eq!(next("0 0 29 2 *", "2026-11-21T00:00:00Z"), "2028-02-29T00:00:00Z");
        assert_eq!(next("@daily", "2026-11-21T00:00:00Z"), "2026-11-22T00:00:00Z");
    }

    /// The night a clock goes forward or back in Europe or America has as many runs as any other.
    #[test]
    fn is_utc() {
        assert_eq!(next("30 2 * * *", "2026-03-29T00:00:00Z"), "2026-03-29T02:30:00Z");
        assert_eq!(next("30 1 * * *", "2026-10-25T01:30:00Z"), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn bad_patterns() {
        for pattern in ["", "hourly", "61 * * * *", "* * * *", "0 0 0 * * *", "0 0 * * 9", "* * * * * * *"] {
            let error = Schedule::parse(pattern).unwrap_err();
            assert!(matches!(error, ScheduleError::Pattern { .. }), "{pattern}: {error}");
            assert!(error.hint().is_some());
        }
        assert_eq!(Schedule::parse("0 0 30 2 *").unwrap_err().to_string(), "`0 0 30 2 *` never comes");
    }

    #[test]
    fn in_words() {
        assert_eq!(Schedule::parse("30 3 * * *").unwrap().describe(), "At 03:30");
    }
}
