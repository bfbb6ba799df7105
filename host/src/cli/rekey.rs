//! `holdfast rekey`: old backups, for those who read new ones.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::Context;
use super::agent::stop_on_signals;
use super::failure::FailureExt;
use super::list::selected_stores;
use super::target::SelectionArgs;
use crate::catalog::{self, BackupId};
use crate::pipeline::store::{NamedStore, with_causes};
use crate::printer::{Align, Table};
use crate::rekey::{self, Done, Order, Rekeyed};
use crate::units;

/// Encrypt old backups to the present recipients
///
/// Backups that others than the recipients (or the passphrase) in [backup.pack] can read, or that are not encrypted, are decrypted and
/// encrypted again on their way from the store and back; no snapshot lies on a disk. What is in them is compared with the
/// manifest's digest, what was written is read back, and a new edition of the manifest, signed when backups are, commits it.
/// Then the old data goes. One store's copy is worked on, the others get the same bytes. What was interrupted goes on with
/// the next run, the newest backups first. A backup that is due meanwhile is not kept waiting for longer than one of these takes.
///
/// Exits 2 when something could not be done.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast rekey --all --dry-run                what others can read, and how much it is
  holdfast rekey --all --identity old.key
  holdfast rekey 20261121T030000Z-48213 --store dr")]
pub struct Args {
    /// Which of them.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// A file with an age identity (secret key) that opens the old backups, besides those of `decrypt.identity_files`. May be given more than once
    #[arg(long, short, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let stores = selected_stores(&config, args.selection.store.as_deref())?;
    let pack = config.backup.pack()?;
    if !pack.is_encrypted() {
        return Err(anyhow!("there is nobody to encrypt to"))
            .hint("give `recipients`, `recipients_files` or `passphrase_file` in [backup.pack]");
    }
    let identities = context.identities(Some(&config), &args.identity)?;
    let signing = config.signing_key()?;
    let cancel = stop_on_signals()?;
    let (ids, mut complete) = ids(args, &stores, context).await;
    if let Some(missing) = args.selection.backups.iter().find(|id| !ids.contains(id)) {
        let answer: Result<ExitCode> = Err(anyhow!("there is no backup `{missing}`"));
        return answer.hint("`holdfast list` shows what is there").answer_is_no();
    }
    let order = Order {
        stores: &stores,
        pack: &pack,
        identities: &identities,
        signing: signing.as_ref(),
        scratch: &config.backup.scratch,
        dry_run: args.dry_run,
        clock: context.now,
        progress: context.progress.as_ref(),
    };
    let all = rekey::rekey(&order, &ids, &cancel).await;
    context.printer.show(&all, |printer| {
        let columns =
            [("backup", Align::Left), ("store", Align::Left), ("", Align::Left), ("written", Align::Right)];
        let mut table = Table::new(columns);
        for one in all.iter().filter(|one| one.done != Done::Current) {
            let size = units::format_size(one.sent_bytes);
            table.row([one.backup.to_string(), one.store.clone(), text(one, args.dry_run).to_owned(), size]);
        }
        if table.is_empty() {
            printer.note("all of them are for the present recipients");
        } else {
            printer.table(&table);
        }
    });
    for one in &all {
        if let Some(error) = &one.error {
            complete = false;
            context.printer.warn(format_args!("backup `{}` in store `{}`: {error}", one.backup, one.store));
        }
    }
    if cancel.is_cancelled() {
        complete = false;
        context.printer.warn("stopped; what is there is whole, and the next run goes on");
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn text(one: &Rekeyed, dry_run: bool) -> &'static str {
    match (one.done, dry_run) {
        (Done::Current, _) => "as it should be",
        (Done::Encrypted, false) => "encrypted anew",
        (Done::Encrypted, true) => "would be encrypted anew",
        (Done::Brought, false) => "brought from another store",
        (Done::Brought, true) => "would be brought from another store",
        (Done::Failed, _) => "FAILED",
    }
}

/// The backups that are asked for, the newest first, and whether every store could be asked.
async fn ids(args: &Args, stores: &[NamedStore], context: &Context) -> (Vec<BackupId>, bool) {
    let mut ids = std::collections::BTreeSet::new();
    let mut complete = true;
    for named in stores {
        match catalog::ids(named.store.as_ref()).await {
            Ok(there) => ids.extend(there),
            Err(error) => {
                complete = false;
                context.printer.warn(format_args!("store `{}`: {}", named.name, with_causes(&error)));
            }
        }
    }
    (ids.into_iter().rev().filter(|id| args.selection.asks_for(id)).collect(), complete)
}
