//! Which backups stay. Pure: the caller says what there is, what the rules are, and what time it is.
//!
//! Rules that count (`last`, `hourly` … `yearly`) say what stays. Caps (`max_age`, `max_size`) say what goes although a rule
//! counts it. Guards outweigh both: the newest proved backup, pins, locks, what another backup builds on, times to come.
//! Nothing at all is removed while the newest backup is not proved: after a run that went wrong every older backup may
//! be the one that is needed.
//!
//! Of a period that has several backups the newest stays, one that is proved before one that is not, one whose proof
//! failed only when there is no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::catalog::BackupId;
use crate::units;

/// How far an id may lie ahead of the clock: of backups made within one second the later take the seconds that follow.
const SMALL_LEAD: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);

/// What to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The newest so many.
    pub last: Option<u32>,
    /// One of each of the newest so many periods that have a backup.
    pub periods: BTreeMap<Period, u32>,
    /// Where days begin.
    pub timezone: TimeZone,
    /// What is older goes.
    pub max_age: Option<Duration>,
    /// The oldest go until the stored objects fit.
    pub max_size_bytes: Option<u64>,
    /// How old an object must be that no manifest names before it counts as left behind, and not as being written.
    pub orphan_grace: Duration,
}

/// A calendar period, from short to long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// An hour of the clock. The one that a clock change repeats counts twice.
    Hourly,
    /// A day.
    Daily,
    /// A week, from Monday (ISO 8601).
    Weekly,
    /// A month.
    Monthly,
    /// A year.
    Yearly,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The period that a moment falls in: `2026-11-21`, `2026-W47`.
    fn of(self, time: Timestamp, timezone: &TimeZone) -> String {
        let format = match self {
            Self::Hourly => "%Y-%m-%d %H:00%:z",
            Self::Daily => "%Y-%m-%d",
            Self::Weekly => "%G-W%V",
            Self::Monthly => "%Y-%m",
            Self::Yearly => "%Y",
        };
        time.to_zoned(timezone.clone()).strftime(format).to_string()
    }
}

/// What is known of a backup's worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// The newest proof that came to a verdict failed, or the stored bytes were found damaged since.
    Failed,
    /// No proof came to a verdict.
    Unknown,
    /// The newest proof that came to a verdict passed.
    Passed,
}

/// One backup, as far as its keeping is concerned.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The backup. Its time is the one that counts.
    pub id: BackupId,
    /// Size of what it holds in the store.
    pub stored_bytes: u64,
    /// Whether it is good.
    pub proof: Proof,
    /// Someone said to keep it.
    pub pinned: Option<Pinned>,
    /// The store refuses its removal until then.
    pub locked_until: Option<Timestamp>,
    /// Backups without which this one is worthless.
    pub needs: Vec<BackupId>,
}

/// A pin that holds now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pinned {
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Why a backup stays or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Reason {
    /// Stays: one of the newest.
    Last {
        /// How many the rule keeps.
        keep: u32,
    },
    /// Stays beside the newest, and takes no good one's place: its proof failed.
    BesideLast {
        /// How many the rule keeps.
        keep: u32,
    },
    /// Stays: the one of its period.
    Period {
        /// The rule.
        rule: Period,
        /// The period.
        period: String,
    },
    /// Stays: no rule counts backups.
    NoRule,
    /// Stays: the newest that is proved.
    NewestProved,
    /// Stays, as all do: the newest backup is not proved.
    NewestUnproved,
    /// Stays: pinned.
    Pinned(Pinned),
    /// Stays: locked in the store.
    Locked {
        /// Until when.
        until: Timestamp,
    },
    /// Stays: another that stays builds on it.
    NeededBy {
        /// The other.
        backup: BackupId,
    },
    /// Stays: its time has not come, so one of two clocks is wrong.
    InFuture,
    /// Goes: no rule counts it.
    NotCounted,
    /// Goes: too old.
    TooOld {
        /// The cap.
        max_age_seconds: u64,
    },
    /// Goes: there is no room.
    OverSize {
        /// The cap.
        max_size_bytes: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last { keep } => write!(formatter, "last {keep}"),
            Self::BesideLast { keep } => write!(formatter, "beside the last {keep}, as its proof failed"),
            Self::Period { rule, period } => write!(formatter, "{} {period}", rule.name()),
            Self::NoRule => formatter.write_str("no rule counts backups"),
            Self::NewestProved => formatter.write_str("newest proved"),
            Self::NewestUnproved => formatter.write_str("newest backup is not proved"),
            Self::Pinned(Pinned { reason, until }) => {
                formatter.write_str("pinned")?;
                if let Some(until) = until {
                    write!(formatter, " until {until}")?;
                }
                reason.as_ref().map_or(Ok(()), |reason| write!(formatter, " ({reason})"))
            }
            // A legal hold.
            Self::Locked { until } if *until == Timestamp::MAX => formatter.write_str("locked without end"),
            Self::Locked { until } => write!(formatter, "locked until {until}"),
            Self::NeededBy { backup } => write!(formatter, "needed by {backup}"),
            Self::InFuture => formatter.write_str("made in the future"),
            Self::NotCounted => formatter.write_str("no rule counts it"),
            Self::TooOld { max_age_seconds } => {
                let age = units::format_duration(Duration::from_secs(*max_age_seconds));
                write!(formatter, "older than {age}")
            }
            Self::OverSize { max_size_bytes } => {
                write!(formatter, "more than {} in all", units::format_size(*max_size_bytes))
            }
        }
    }
}

/// What becomes of one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The backup.
    pub id: BackupId,
    /// Whether it stays.
    pub keep: bool,
    /// Why: every reason there is for it.
    pub reasons: Vec<Reason>,
    /// What spoke for the opposite and was outweighed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overruled: Vec<Reason>,
    /// Size of what it holds in the store.
    pub stored_bytes: u64,
}

impl Decision {
    /// The reasons in one line.
    pub fn why(&self) -> String {
        let join =
            |reasons: &[Reason]| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if self.overruled.is_empty() {
            return join(&self.reasons);
        }
        format!("{} (although: {})", join(&self.reasons), join(&self.overruled))
    }
}

/// Decides on every backup of one store. Newest first: this is the order of removal as well, for what builds on another
/// backup is newer than that.
pub fn plan(candidates: &[Candidate], policy: &Policy, now: Timestamp) -> Vec<Decision> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|one, other| other.id.cmp(&one.id));
    let counted = counted(&sorted, policy);
    let guards = guards(&sorted, now);
    let mut against: Vec<Vec<Reason>> =
        sorted.iter().map(|candidate| too_old(candidate, policy, now)).collect();
    let mut wanted: Vec<bool> = (0..sorted.len())
        .map(|index| !guards[index].is_empty() || (!counted[index].is_empty() && against[index].is_empty()))
        .collect();
    let needed = fit(&sorted, &guards, policy, &mut wanted, &mut against);

    let decide = |(index, candidate): (usize, &&Candidate)| {
        let mut keeping = guards[index].clone();
        keeping.extend(needed[index].iter().map(|backup| Reason::NeededBy { backup: backup.clone() }));
        let keep = !keeping.is_empty() || wanted[index];
        keeping.extend(counted[index].iter().cloned());
        let mut going = std::mem::take(&mut against[index]);
        if counted[index].is_empty() {
            going.insert(0, Reason::NotCounted);
        }
        let (reasons, overruled) = if keep { (keeping, going) } else { (going, keeping) };
        Decision { id: candidate.id.clone(), keep, reasons, overruled, stored_bytes: candidate.stored_bytes }
    };
    sorted.iter().enumerate().map(decide).collect()
}

/// Which rules count each backup; the newest comes first.
fn counted(sorted: &[&Candidate], policy: &Policy) -> Vec<Vec<Reason>> {
    let mut counted = vec![Vec::new(); sorted.len()];
    if policy.last.is_none() && policy.periods.is_empty() {
        return vec![vec![Reason::NoRule]; sorted.len()];
    }
    if let Some(keep) = policy.last {
        // A backup that is known to be bad takes no good one's place.
        let mut left = keep;
        for (index, candidate) in sorted.iter().enumerate() {
            if left == 0 {
                break;
            }
            if candidate.proof == Proof::Failed {
                counted[index].push(Reason::BesideLast { keep });
            } else {
                counted[index].push(Reason::Last { keep });
                left -= 1;
            }
        }
    }
    for (&rule, &keep) in &policy.periods {
        let mut best: Vec<(String, usize)> = Vec::new();
        for (index, candidate) in sorted.iter().enumerate() {
            let period = rule.of(candidate.id.time(), &policy.timezone);
            if let Some((_, chosen)) = best.last_mut().filter(|(last, _)| *last == period) {
                if candidate.proof > sorted[*chosen].proof {
                    *chosen = index;
                }
            } else if best.len() == keep as usize {
                break;
            } else {
                best.push((period, index));
            }
        }
        for (period, index) in best {
            counted[index].push(Reason::Period { rule, period });
        }
    }
    counted
}

/// What holds a backup whatever the rules say.
fn guards(sorted: &[&Candidate], now: Timestamp) -> Vec<Vec<Reason>> {
    let newest_proved = sorted.iter().position(|candidate| candidate.proof == Proof::Passed);
    let held = newest_proved != Some(0);
    let guards_of = |(index, candidate): (usize, &&Candidate)| {
        let mut guards = Vec::new();
        if held {
            guards.push(Reason::NewestUnproved);
        }
        if newest_proved == Some(index) {
            guards.push(Reason::NewestProved);
        }
        let pin = candidate.pinned.as_ref().filter(|pinned| pinned.until.is_none_or(|until| until > now));
        guards.extend(pin.cloned().map(Reason::Pinned));
        let lock = candidate.locked_until.filter(|until| *until > now);
        guards.extend(lock.map(|until| Reason::Locked { until }));
        if candidate.id.time().duration_since(now) > SMALL_LEAD {
            guards.push(Reason::InFuture);
        }
        guards
    };
    sorted.iter().enumerate().map(guards_of).collect()
}

fn too_old(candidate: &Candidate, policy: &Policy, now: Timestamp) -> Vec<Reason> {
    let age = Duration::try_from(now.duration_since(candidate.id.time())).unwrap_or_default();
    let cap = policy.max_age.filter(|max_age| age > *max_age);
    cap.map(|max_age| Reason::TooOld { max_age_seconds: max_age.as_secs() }).into_iter().collect()
}

/// Takes the oldest out of `wanted` until what stays fits. Returns what needs each backup among those that stay.
fn fit(
    sorted: &[&Candidate],
    guards: &[Vec<Reason>],
    policy: &Policy,
    wanted: &mut [bool],
    against: &mut [Vec<Reason>],
) -> Vec<Vec<BackupId>> {
    let mut needed = needs(sorted, wanted);
    let Some(max_size_bytes) = policy.max_size_bytes else { return needed };
    let builds = sorted.iter().any(|candidate| !candidate.needs.is_empty());
    let size = |wanted: &[bool], needed: &[Vec<BackupId>]| -> u64 {
        let stays = |index: &usize| wanted[*index] || !needed[*index].is_empty();
        let sizes = (0..sorted.len()).filter(stays).map(|index| sorted[index].stored_bytes);
        sizes.fold(0, u64::saturating_add)
    };
    let mut total = size(wanted, &needed);
    for index in (0..sorted.len()).rev() {
        if total <= max_size_bytes {
            break;
        }
        if !wanted[index] {
            continue;
        }
        against[index].push(Reason::OverSize { max_size_bytes });
        if !guards[index].is_empty() {
            continue;
        }
        wanted[index] = false;
        if builds {
            needed = needs(sorted, wanted);
            total = size(wanted, &needed);
        } else {
            total = total.saturating_sub(sorted[index].stored_bytes);
        }
    }
    needed
}

/// For each backup those that stay and build on it, directly or through others.
fn needs(sorted: &[&Candidate], wanted: &[bool]) -> Vec<Vec<BackupId>> {
    let mut needed: Vec<BTreeSet<&BackupId>> = vec![BTreeSet::new(); sorted.len()];
    let places: BTreeMap<&BackupId, usize> =
        sorted.iter().enumerate().map(|(index, candidate)| (&candidate.id, index)).collect();
    let mut open: Vec<usize> = (0..sorted.len()).filter(|index| wanted[*index]).collect();
    let mut seen: BTreeSet<usize> = open.iter().copied().collect();
    while let Some(index) = open.pop() {
        for base in sorted[index].needs.iter().filter_map(|base| places.get(base).copied()) {
            needed[base].insert(&sorted[index].id);
            if seen.insert(base) {
                open.push(base);
            }
        }
    }
    needed.into_iter().map(|by| by.into_iter().cloned().collect()).collect()
}

#[cfg(test)]
mod tests;
