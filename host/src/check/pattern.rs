//! What damaged backups have in common, and whether they become more: what tells a bad disk from a lost key from an intruder.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::{Damage, Kind};
use crate::catalog::{BackupId, Check, Depth, Entry, Manifest, Seen};

/// A trait that all damaged backups share and some others do not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// Of what kind: `recipients`, `member`, `version`.
    pub what: &'static str,
    /// Its value.
    pub value: String,
    /// How many backups of the store have it, damaged or not.
    pub of: usize,
}

/// What the backups of a store have in common that are damaged in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// The way. What differs in it seldom has one cause.
    pub kind: Kind,
    /// How many are damaged.
    pub damaged: usize,
    /// Of how many.
    pub of: usize,
    /// When the first of them was made.
    pub from: Timestamp,
    /// When the last of them was made.
    pub to: Timestamp,
    /// How many backups were made from the first to the last, damaged or not.
    pub made_meanwhile: usize,
    /// When one of them was still good: what befell all of them at once came after.
    pub last_good: Timestamp,
    /// What sets them apart.
    pub shared: Vec<Shared>,
}

/// How the damage moved since the check before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Trend {
    /// There was no check before.
    First,
    /// Nothing new.
    Steady {
        /// The check before.
        since: Timestamp,
    },
    /// What was good then is damaged now.
    Spreading {
        /// The check before.
        since: Timestamp,
        /// How many.
        more: usize,
    },
}

/// To the second, as everywhere for people.
fn second(time: &Timestamp) -> impl fmt::Display {
    time.strftime("%Y-%m-%d %H:%M:%SZ")
}

impl fmt::Display for Trend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => formatter.write_str("no check before this one to compare with"),
            Self::Steady { since } => {
                write!(formatter, "not spreading: nothing new since the check at {}", second(since))
            }
            Self::Spreading { since, more } => {
                let since = second(since);
                write!(
                    formatter,
                    "SPREADING: {more} more than at the check at {since}, which found no damage there"
                )
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, damaged, of, from, to, made_meanwhile, last_good, shared } = self;
        let (kind, from, to, last_good) = (kind.text(), second(from), second(to), second(last_good));
        if *damaged == 1 {
            return write!(
                formatter,
                "{kind}: one backup of {of}, made {from}, good until {last_good} or later"
            );
        }
        write!(formatter, "{kind}: {damaged} backups of {of}, made from {from} to {to}")?;
        if made_meanwhile == damaged {
            formatter.write_str(", and all that were made then")?;
        } else {
            write!(formatter, ", when {made_meanwhile} were made")?;
        }
        write!(formatter, "; one was good until {last_good} or later")?;
        for Shared { what, value, of } in shared {
            write!(formatter, "; all have {what} {value}, ")?;
            if of == damaged {
                formatter.write_str("and no other has")?;
            } else {
                write!(formatter, "as have {of} in all")?;
            }
        }
        Ok(())
    }
}

fn traits(manifest: &Manifest) -> [(&'static str, String); 4] {
    let recipients = if manifest.pack.recipients.is_empty() {
        "none".to_owned()
    } else {
        manifest.pack.recipients.join("+")
    };
    [
        ("recipients", recipients),
        ("member", manifest.member_id.clone()),
        ("version", manifest.holdfast_version.clone()),
        ("cluster", manifest.cluster.name.clone()),
    ]
}

/// What the damaged ones have in common, for each kind of damage that there is.
pub fn patterns(entries: &[Entry], damaged: &[Damage]) -> Vec<Pattern> {
    let kinds: BTreeSet<Kind> = damaged.iter().map(|damage| damage.kind).collect();
    kinds.into_iter().filter_map(|kind| pattern(entries, damaged, kind)).collect()
}

fn pattern(entries: &[Entry], damaged: &[Damage], kind: Kind) -> Option<Pattern> {
    let of_kind = || damaged.iter().filter(|damage| damage.kind == kind);
    let bad: BTreeSet<&BackupId> = of_kind().map(|damage| &damage.backup).collect();
    let (first, last) = (bad.first()?, bad.last()?);
    let last_good = of_kind().map(|damage| damage.last_good).max()?;
    let all: Vec<(&BackupId, [(&'static str, String); 4])> =
        entries.iter().map(|entry| (&entry.manifest.id, traits(&entry.manifest))).collect();
    let mut having: BTreeMap<&(&'static str, String), (usize, usize)> = BTreeMap::new();
    for (id, traits) in &all {
        for one in traits {
            let counts = having.entry(one).or_default();
            counts.0 += usize::from(bad.contains(id));
            counts.1 += 1;
        }
    }
    let telling = having.into_iter().filter(|(_, (with, of))| *with == bad.len() && *of < all.len());
    Some(Pattern {
        kind,
        last_good,
        damaged: bad.len(),
        of: all.len(),
        from: first.time(),
        to: last.time(),
        made_meanwhile: all.iter().filter(|(id, _)| first <= id && id <= last).count(),
        shared: telling.map(|((what, value), (_, of))| Shared { what, value: value.clone(), of }).collect(),
    })
}

/// What is new since the check before. Only what that one looked at as closely can be new.
pub fn trend(now: &BTreeMap<BackupId, Seen>, before: Option<&Check>) -> Trend {
    let Some(before) = before else { return Trend::First };
    let is_new = |(id, seen): &(&BackupId, &Seen)| {
        let then = before.backups.get(id);
        !seen.good && then.is_some_and(|then| then.good && then.depth >= seen.depth.min(Depth::Stored))
    };
    match now.iter().filter(is_new).count() {
        0 => Trend::Steady { since: before.ended },
        more => Trend::Spreading { since: before.ended, more },
    }
}
