//! `holdfast sync`: every store gets what it missed.

use std::process::ExitCode;

use anyhow::Result;

use super::Context;
use super::agent::stop_on_signals;
use super::list::selected_stores;
use super::notices;
use crate::notify::news;
use crate::printer::{Align, Table};
use crate::sync::{self, Target};
use crate::units;

/// Bring each store the backups that it missed
///
/// Copies backups that one store has and another has not, as they are stored: no key is needed. Digests are compared on
/// the way and read back, the manifest is written last, and a copy that was interrupted goes on where it stopped. What
/// the retention rules of the target would remove is not brought. Of backups that both have, the proofs and pins that one
/// lacks are brought as well. A backup that `rekey` has encrypted anew elsewhere comes in its new form; its earlier data stays until
/// `rekey` or `prune` takes it away, and is told of.
///
/// Exits 2 when something could not be brought.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast sync                                 all stores get what any has
  holdfast sync --from local --to dr            only this way
  holdfast sync --to new --output json | jq '.[].copied'")]
pub struct Args {
    /// Only what this store has
    #[arg(long, value_name = "NAME")]
    pub from: Option<String>,
    /// Only into this store
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let sources = selected_stores(&config, args.from.as_deref())?;
    // Without a name: where backups go to. Other stores are only read.
    let targets = selected_stores(&config, args.to.as_deref())?;
    let targets =
        targets.into_iter().filter(|named| args.to.is_some() || config.backup.stores.contains(&named.name));
    let signing = config.signing_key_if_any()?;
    let cancel = stop_on_signals()?;
    let mut all = Vec::new();
    for named in targets.filter(|named| args.from.as_ref() != Some(&named.name)) {
        let target =
            Target { policy: config.retention.of(&named.name), named: &named, signing: signing.as_ref() };
        let synced = sync::sync(&target, &sources, (context.now)(), context.progress.as_ref(), &cancel);
        all.push(synced.await);
    }
    context.printer.show(&all, |printer| {
        let columns =
            [("store", Align::Left), ("backup", Align::Left), ("from", Align::Left), ("sent", Align::Right)];
        let mut table = Table::new(columns);
        for synced in &all {
            for copied in &synced.copied {
                table.row([
                    synced.store.clone(),
                    copied.backup.to_string(),
                    copied.from.clone(),
                    units::format_size(copied.sent_bytes),
                ]);
            }
        }
        let documents: u64 = all.iter().map(|synced| synced.documents).sum();
        if table.is_empty() && documents == 0 {
            printer.note("no store lacks anything that it could be brought");
        } else if !table.is_empty() {
            printer.table(&table);
        }
        for synced in all.iter().filter(|synced| synced.documents > 0) {
            printer.line(format_args!(
                "{}: {} of backups that it had",
                synced.store,
                units::counted(synced.documents, "document")
            ));
        }
        for synced in &all {
            for copied in &synced.copied {
                for path in &copied.earlier_data {
                    printer.note(format_args!(
                        "{}: {} is there as it was packed anew, and `{path}`, its earlier data, is there still, for those who could read \
                         it before: `holdfast rekey` on a machine that reads it takes it away, or the next `holdfast prune`",
                        synced.store, copied.backup
                    ));
                }
            }
        }
        for synced in all.iter().filter(|synced| !synced.not_wanted.is_empty()) {
            let count = synced.not_wanted.len();
            printer
                .note(format_args!("{}: {count} backups its retention rules would not keep", synced.store));
        }
    });
    let mut complete = true;
    for synced in &all {
        for error in &synced.errors {
            complete = false;
            context.printer.warn(format_args!("store `{}`: {error}", synced.store));
        }
    }
    let events = notices::events(&config, context, |origin| {
        all.iter().flat_map(|synced| news::of_sync(origin, synced)).collect()
    });
    notices::tell(&config, events, None, context).await;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
