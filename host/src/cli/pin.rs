//! `holdfast pin` and `holdfast unpin`: this backup stays.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Context;
use super::failure::FailureExt;
use super::list::selected_stores;
use super::open;
use super::target::{PointArgs, Target};
use crate::catalog::{BackupId, PIN_FORMAT, Pin, PinAction, pin};
use crate::pipeline::store::with_causes;
use crate::session::SessionId;
use crate::units;

/// Keep a backup whatever the retention rules say
///
/// Notes beside the backup, in every store that holds it, that it stays; `holdfast unpin` takes it back. The backup
/// itself is not touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast pin latest --reason 'before the upgrade to 1.34'
  holdfast pin 20261121T030000Z-48213 --until 2027-06-30
  holdfast pin --at 2026-11-20T02:00:00Z        the nearest backup at that time or before
  holdfast pin latest --until 90d")]
pub struct PinArgs {
    /// The id of a backup, or `latest`
    #[arg(value_name = "ID|latest", required_unless_present_any = ["at", "revision"])]
    pub backup: Option<Target>,
    /// By time or revision.
    #[command(flatten)]
    pub point: PointArgs,
    /// Why, in your words: `holdfast prune` shows it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// When the pin ends by itself: a time (2027-06-30T12:00:00Z), a day (UTC), or a duration from now (90d)
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only in this store
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// Take a pin back: the retention rules decide on the backup again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast unpin 20261121T030000Z-48213
  holdfast unpin latest --store dr")]
pub struct UnpinArgs {
    /// The id of a backup, or `latest`
    #[arg(value_name = "ID|latest", required_unless_present_any = ["at", "revision"])]
    pub backup: Option<Target>,
    /// By time or revision.
    #[command(flatten)]
    pub point: PointArgs,
    /// Only in this store
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// Runs `pin`.
pub async fn pin(args: &PinArgs, context: &Context) -> Result<ExitCode> {
    let now = (context.now)();
    let until = args.until.as_deref().map(|text| moment(text, now)).transpose()?;
    if until.is_some_and(|until| until <= now) {
        let past: Result<()> = Err(anyhow!("`--until` is not in the future"));
        past.hint("give a later time, or `holdfast unpin` to take a pin back")?;
    }
    let word = Word { action: PinAction::Pin, until, reason: args.reason.clone() };
    say(args.point.given().or_else(|| args.backup.clone()), args.store.as_deref(), word, context).await
}

/// Runs `unpin`.
pub async fn unpin(args: &UnpinArgs, context: &Context) -> Result<ExitCode> {
    let word = Word { action: PinAction::Unpin, until: None, reason: None };
    say(args.point.given().or_else(|| args.backup.clone()), args.store.as_deref(), word, context).await
}

struct Word {
    action: PinAction,
    until: Option<Timestamp>,
    reason: Option<String>,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Said {
    backup: BackupId,
    pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    stores: Vec<String>,
}

async fn say(target: Option<Target>, store: Option<&str>, word: Word, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let stores = selected_stores(&config, store)?;
    let target = target.context("no backup is named")?;
    if let Target::File(path) = &target {
        bail!("`{}` is no backup id; only backups can be pinned", path.display());
    }
    let found = open::find(&stores, &target, context).await?;
    let pin = Pin {
        format: PIN_FORMAT.to_owned(),
        backup: found.entry.manifest.id,
        session: SessionId::random(),
        at: (context.now)(),
        action: word.action,
        until: word.until,
        reason: word.reason,
    };
    let mut said = Vec::new();
    let mut missed = false;
    for named in &stores {
        match pin::say_in(named.store.as_ref(), &pin).await {
            Ok(true) => said.push(named.name.clone()),
            Ok(false) => {}
            Err(error) => {
                missed = true;
                context.printer.warn(format_args!(
                    "not noted in store `{}`: {}",
                    named.name,
                    with_causes(&error)
                ));
            }
        }
    }
    let pinned = word.action == PinAction::Pin;
    let said = Said { backup: pin.backup, pinned, until: word.until, stores: said };
    context.printer.show(&said, |printer| {
        let verb = if pinned { "pinned" } else { "unpinned" };
        printer.line(format_args!("{verb} {} in {}", said.backup, said.stores.join(", ")));
    });
    Ok(if missed { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// A time, a day, or a duration from now.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(day) = text.parse::<Date>() {
        return Ok(day.to_zoned(TimeZone::UTC)?.timestamp());
    }
    let from_now = |duration: Duration| now.checked_add(duration).ok();
    units::parse_duration(text)
        .ok()
        .and_then(from_now)
        .ok_or_else(|| anyhow!("`{text}` is neither a time nor a duration"))
        .hint("write it as `2027-06-30T12:00:00Z`, `2027-06-30` or `90d`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_days_and_durations() {
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2027-06-30T12:00:00Z", "2027-06-30T12:00:00Z"),
            ("2027-06-30T12:00:00+02:00", "2027-06-30T10:00:00Z"),
            ("2027-06-30", "2027-06-30T00:00:00Z"),
            ("90d", "2027-02-19T08:00:00Z"),
        ] {
            assert_eq!(moment(text, now).unwrap().to_string(), time, "{text}");
        }
        for text in ["", "tomorrow", "90", "2027-13-01"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
