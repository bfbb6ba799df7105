//! `holdfast check`: is everything there that a store should hold, and is it what was written?

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Result;
use etcd_snapshot::Outcome;

use super::Context;
use super::agent::stop_on_signals;
use super::list::selected_stores;
use crate::catalog::GapKind;
use crate::check::{self, Checked, Order, Reading};
use crate::printer::{Align, Printer, Table};
use crate::session::worst;

/// Check that the stores hold what was written to them
///
/// Reads each manifest, and looks that its data is there and of the right size; with `--read-data` or `--sample` reads the data
/// as well, through the very path that a restore takes: fetched, decrypted where the identity is known, unpacked, both
/// digests compared. Tells of damage whether it happened in storage or when the backup was made, when the backup was last
/// good, which other store has it, what the damaged ones have in common, and whether they become more. What was seen is
/// noted in the store, and a damaged backup is marked as a failed proof marks it.
///
/// With `keys` in `[trust]`, it says as well which backups are gone that no retention rule removed, and between which they were.
///
/// Exits 0 when all is well, 1 when something is damaged or missing, 2 when something could not be looked at.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast check                                manifests, and is the data there?
  holdfast check --read-data                    read all of it
  holdfast check --sample 10%                   a tenth, what was not read for longest first: ten runs read all
  holdfast check --store dr --read-data --output json | jq '.[].damaged'")]
pub struct Args {
    /// Read the data of every backup
    #[arg(long, conflicts_with = "sample")]
    pub read_data: bool,
    /// Read the data of so many in a hundred, those first that were not read for longest
    #[arg(long, value_name = "PERCENT")]
    pub sample: Option<Percent>,
    /// Only this store
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// A file with an age identity (secret key), besides those of `decrypt.identity_files`. May be given more than once
    #[arg(long, short, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// More than 0 and at most 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(f64);

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
        number
            .filter(|percent| *percent > 0.0 && *percent <= 100.0)
            .map(Self)
            .ok_or("expected 0 to 100 %, such as `10%`")
    }
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let stores = selected_stores(&config, args.store.as_deref())?;
    let identities = context.identities(Some(&config), &args.identity)?;
    let reading = match args.sample {
        _ if args.read_data => Reading::All,
        Some(Percent(percent)) => Reading::Sample(percent),
        None => Reading::None,
    };
    let cancel = stop_on_signals()?;
    let order =
        Order { reading, identities: &identities, clock: context.now, progress: context.progress.as_ref() };
    let mut all = Vec::new();
    for named in &stores {
        all.push(check::check(named, &order, &cancel).await);
    }
    check::compare(&mut all);
    context.printer.show(&all, |printer| {
        for checked in &all {
            print(checked, printer);
        }
    });
    for checked in &all {
        if checked.missing.iter().any(|gap| gap.kind == GapKind::Missing) {
            context.printer.message(format_args!("hint: {}", GapKind::Missing.hint()));
        }
        for error in &checked.errors {
            context.printer.warn(format_args!("store `{}`: {error}", checked.store));
        }
        if let Some(hint) = hint(checked) {
            context.printer.message(format_args!("hint: {hint}"));
        }
    }
    Ok(match worst(all.iter().map(Checked::outcome)) {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::from(1),
        Outcome::Inconclusive => ExitCode::from(2),
    })
}

/// What a person can do about damage.
fn hint(checked: &Checked) -> Option<String> {
    let store = &checked.store;
    let first = checked.damaged.iter().find_map(|damage| Some((damage, damage.good_in.first()?)));
    match first {
        Some((damage, other)) => Some(format!(
            "restore from `{other}` meanwhile (`--store {other}`). Once the cause is known: take `backups/{id}/` out of `{store}` by hand, and \
             `holdfast sync --from {other} --to {store}` brings it whole; likewise the others that are good there",
            id = damage.backup
        )),
        None if checked.damaged.is_empty() => None,
        None => Some(format!(
            "no other store of this check has what is damaged in `{store}` (without `--store` all are checked): take a backup now, and see to the \
             cause before the next is damaged too"
        )),
    }
}

fn print(checked: &Checked, printer: &Printer) {
    let Checked { store, backups, read, unpacked, damaged, .. } = checked;
    let columns = [
        ("store", Align::Left),
        ("id", Align::Left),
        ("damage", Align::Left),
        ("last good", Align::Left),
        ("good in", Align::Left),
    ];
    let mut table = Table::new(columns);
    for damage in damaged {
        let good_in = if damage.good_in.is_empty() { "-".to_owned() } else { damage.good_in.join(",") };
        table.row([
            store.clone(),
            damage.backup.to_string(),
            damage.kind.text().to_owned(),
            damage.last_good.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            good_in,
        ]);
    }
    if !table.is_empty() {
        printer.table(&table);
    }
    for damage in damaged {
        printer.line(format_args!("{store}: {}: {}", damage.backup, damage.detail));
    }
    for pattern in &checked.patterns {
        printer.line(format_args!("{store}: {pattern}"));
    }
    if !damaged.is_empty() {
        printer.line(format_args!("{store}: {}", checked.trend));
    }
    for document in &checked.bad_documents {
        printer.line(format_args!("{store}: {document}"));
    }
    for gap in &checked.missing {
        printer.line(format_args!("{store}: {gap}"));
    }
    for orphan in &checked.orphans {
        printer
            .line(format_args!("{store}: no backup names `{}` ({} bytes)", orphan.path, orphan.size_bytes));
    }
    let orphans = checked.orphans.len();
    // Nobody may take a number for a fact that was not looked for.
    let orphans = if checked.orphans_known {
        format!("{orphans} orphans")
    } else {
        "orphans not told while a manifest cannot be read".to_owned()
    };
    printer.line(format_args!(
        "{store}: {backups} backups, {read} read, {unpacked} of them unpacked; {} damaged, {} missing, {} bad documents, {orphans}: {}",
        damaged.len(),
        checked.missing.len(),
        checked.bad_documents.len(),
        checked.outcome()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents() {
        for (text, percent) in [("10%", 10.0), ("0.5", 0.5), ("100 %", 100.0)] {
            assert_eq!(text.parse(), Ok(Percent(percent)), "{text}");
        }
        for text in ["", "0%", "101%", "-1%", "many", "NaN"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
