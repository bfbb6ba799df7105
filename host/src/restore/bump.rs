//! By how much is a restored cluster's revision raised, so that no client has seen a higher one?
//!
//! Watchers and informers remember the newest revision they saw. A cluster that goes on from an older one would count up
//! to it again with other changes, and they would miss these without a sign. So it starts above all that anybody can
//! have seen:
//!
//! ```text
//! bump     = newest revision known - the snapshot's revision + headroom
//! headroom = 1,000,000,000 for each week, begun or whole, since that revision was seen
//! ```
//!
//! Known are the revisions of the snapshot, of every backup and record in the stores, and of the members that still
//! answer. A billion a week is etcd's own advice (`op-guide/recovery`): more than 1,600 changes a second, all week.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

/// Revisions that a cluster makes in a week at most.
const HEADROOM_PER_WEEK: u64 = 1_000_000_000;
const WEEK_SECONDS: u64 = 7 * 24 * 60 * 60;

/// What the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Work it out.
    Auto,
    /// By so much; 0 for not at all.
    By(u64),
}

/// Neither a number nor a word that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is `auto`, `none` or a whole number")]
pub struct NoChoice;

impl FromStr for Choice {
    type Err = NoChoice;

    fn from_str(text: &str) -> Result<Self, NoChoice> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::By(0)),
            number => number.parse().map(Self::By).map_err(|_| NoChoice),
        }
    }
}

/// A revision that somebody has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The revision.
    pub revision: i64,
    /// When; none if that is not known.
    pub at: Option<Timestamp>,
    /// Where: `backup 2026…`, `member https://…`.
    pub by: String,
}

/// A bump that was worked out, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bump {
    /// By how much the revision is raised.
    pub by: u64,
    /// The newest revision known.
    pub newest_revision: i64,
    /// Where it was seen.
    pub seen_by: String,
    /// When it was seen.
    pub seen_at: Option<Timestamp>,
    /// What is added for changes since then.
    pub headroom: u64,
}

impl fmt::Display for Bump {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}, to be {} above revision {} of {}",
            self.by, self.headroom, self.newest_revision, self.seen_by
        )
    }
}

/// Works the bump out for a snapshot at `revision`.
pub fn work_out(revision: i64, seen: &[Seen], now: Timestamp) -> Bump {
    // Of several that saw the same revision, the last tells most: nothing was changed until then.
    let newest = seen.iter().max_by_key(|seen| (seen.revision, seen.at));
    let newest_revision = newest.map_or(revision, |seen| seen.revision.max(revision));
    let seen_at = newest.and_then(|seen| seen.at);
    let headroom = HEADROOM_PER_WEEK.saturating_mul(weeks_since(seen_at, now));
    let ahead = u64::try_from(newest_revision.saturating_sub(revision)).unwrap_or(0);
    Bump {
        by: ahead.saturating_add(headroom),
        newest_revision,
        seen_by: newest.map_or_else(|| "the snapshot".to_owned(), |seen| seen.by.clone()),
        seen_at,
        headroom,
    }
}

/// Weeks, begun or whole; one if the time is not known or lies ahead.
fn weeks_since(time: Option<Timestamp>, now: Timestamp) -> u64 {
    let seconds = time.map_or(0, |time| now.duration_since(time).as_secs());
    u64::try_from(seconds).unwrap_or(0) / WEEK_SECONDS + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn seen(revision: i64, time: Option<&str>, by: &str) -> Seen {
        Seen { revision, at: time.map(at), by: by.to_owned() }
    }

    #[test]
    fn it_starts_above_the_newest_that_anybody_saw() {
        let now = at("2026-11-21T12:00:00Z");
        let all = [
            seen(100, Some("2026-11-21T03:00:00Z"), "backup a"),
            seen(900, Some("2026-11-21T09:00:00Z"), "backup b"),
            seen(950, Some("2026-11-21T12:00:00Z"), "member x"),
        ];
        let bump = work_out(100, &all, now);
        assert_eq!((bump.by, bump.newest_revision, &*bump.seen_by), (1_000_000_850, 950, "member x"));
        assert_eq!(work_out(100, &all[..1], now).by, 1_000_000_000);
        assert_eq!(work_out(100, &[], now).by, 1_000_000_000);
    }

    #[test]
    fn the_headroom_grows_with_the_weeks() {
        let now = at("2026-11-21T12:00:00Z");
        for (time, weeks) in [
            (Some("2026-11-21T12:00:00Z"), 1),
            (Some("2026-11-14T12:00:01Z"), 1),
            (Some("2026-11-14T11:59:59Z"), 2),
            (Some("2026-10-21T12:00:00Z"), 5),
            (Some("2027-11-21T12:00:00Z"), 1),
            (None, 1),
        ] {
            let bump = work_out(7, &[seen(7, time, "it")], now);
            assert_eq!(bump.headroom, weeks * 1_000_000_000, "{time:?}");
        }
        // The latest sighting of one revision counts.
        let twice =
            [seen(7, Some("2026-01-01T00:00:00Z"), "old"), seen(7, Some("2026-11-21T00:00:00Z"), "new")];
        assert_eq!(work_out(7, &twice, now).headroom, 1_000_000_000);
    }

    #[test]
    fn choices_are_words_or_numbers() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("none".parse(), Ok(Choice::By(0)));
        assert_eq!("0".parse(), Ok(Choice::By(0)));
        assert_eq!("1000000".parse(), Ok(Choice::By(1_000_000)));
        for wrong in ["", "-1", "1e9", "yes", "Auto"] {
            assert_eq!(wrong.parse::<Choice>(), Err(NoChoice), "{wrong}");
        }
    }
}
