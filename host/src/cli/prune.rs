//! `holdfast prune`: which backups stay, and away with the others.

use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::Context;
use super::agent::stop_on_signals;
use super::failure::FailureExt;
use super::list::selected_stores;
use super::notices;
use crate::notify::news;
use crate::pipeline::single_flight::SingleFlight;
use crate::printer::{Align, Table};
use crate::prune::{self, Order, Pruned};
use crate::units;

/// Remove the backups that the retention rules do not keep
///
/// Decides on every backup of every store by the rules in `[retention]`, says of each why it stays or goes, and removes those
/// that go: the manifest first, then what belongs to it. What runs that died left behind goes as well, once it is older
/// than `orphan_grace`. The newest proved backup, pinned backups and locked ones never go; while the newest backup is not
/// proved, nothing does.
///
/// With a key in `[signing]`, what goes is signed for beforehand, so that it can be told from what somebody took away.
///
/// Exits 2 when something could not be read or removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast prune --dry-run                        what would go, and why
  holdfast prune --store dr
  holdfast prune --dry-run --output json | jq -r '.[].removed[]'")]
pub struct Args {
    /// Decide and say why, but remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only this store
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let rules: Vec<_> = selected_stores(&config, args.store.as_deref())?
        .into_iter()
        .filter_map(|named| Some((config.retention.of(&named.name)?.clone(), named)))
        .collect();
    if rules.is_empty() {
        let missing: Result<()> = Err(anyhow!("there are no retention rules in the configuration"));
        missing.hint("add them, e.g. `[retention]` with `last = 24` and `daily = 30`; without rules every backup stays")?;
    }
    let signing = config.signing_key_if_any()?;
    if config.trust.is_some() && signing.is_none() && !args.dry_run {
        context.printer.warn(
            "this machine has no signing key: what it removes will be told as missing, or unexplained, by `list` and `check`",
        );
    }
    let cancel = stop_on_signals()?;
    // Nobody else writes or sweeps meanwhile. A dry run only reads.
    let _flight = if args.dry_run { None } else { Some(SingleFlight::acquire(&config.backup.scratch)?) };
    let mut all = Vec::new();
    for (policy, named) in &rules {
        let order = Order { policy, signing: signing.as_ref(), now: (context.now)(), dry_run: args.dry_run };
        all.push(prune::prune(named, &order, &cancel).await);
    }
    context.printer.show(&all, |printer| {
        for pruned in &all {
            print(pruned, args.dry_run, printer);
        }
    });
    for pruned in &all {
        for unreadable in &pruned.unreadable {
            context.printer.warn(format_args!("left alone in store `{}`: {unreadable}", pruned.store));
        }
        if let Some(error) = &pruned.error {
            context.printer.warn(format_args!("store `{}` was not pruned to the end: {error}", pruned.store));
        }
    }
    if cancel.is_cancelled() {
        context.printer.warn("stopped; what is left is whole, and the next run goes on");
    }
    if !args.dry_run {
        let events = notices::events(&config, context, |origin| {
            all.iter().flat_map(|pruned| news::of_prune(origin, pruned)).collect()
        });
        notices::tell(&config, events, None, context).await;
    }
    let complete = all.iter().all(Pruned::is_complete) && !cancel.is_cancelled();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn print(pruned: &Pruned, dry_run: bool, printer: &crate::printer::Printer) {
    let columns = [
        ("store", Align::Left),
        ("id", Align::Left),
        ("stored", Align::Right),
        ("", Align::Left),
        ("why", Align::Left),
    ];
    let mut table = Table::new(columns);
    for decision in &pruned.backups {
        table.row([
            pruned.store.clone(),
            decision.id.to_string(),
            units::format_size(decision.stored_bytes),
            if decision.keep { "keep" } else { "remove" }.to_owned(),
            decision.why(),
        ]);
    }
    if !table.is_empty() {
        printer.table(&table);
    }
    for path in &pruned.swept {
        printer.line(format_args!("{}: `{path}` belongs to no backup", pruned.store));
    }
    for path in &pruned.young {
        printer.line(format_args!(
            "{}: `{path}` belongs to no backup, and may be of one that is being written: too young to remove",
            pruned.store
        ));
    }
    if !pruned.orphans_known && pruned.error.is_none() {
        printer.line(format_args!(
            "{}: what belongs to no backup is not looked for while a manifest cannot be read: it may name any data",
            pruned.store
        ));
    }
    for path in &pruned.locked {
        printer.line(format_args!("{}: `{path}` is locked still; a later run removes it", pruned.store));
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    printer.line(format_args!(
        "{}: {verb} {} of {} backups and {} abandoned objects, {}",
        pruned.store,
        pruned.removed.len(),
        pruned.backups.len(),
        pruned.swept.len(),
        units::format_size(pruned.freed_bytes)
    ));
}
