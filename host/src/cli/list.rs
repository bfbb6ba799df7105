//! `holdfast list`: the backups of the repository.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use etcd_snapshot::Outcome;
use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::failure::FailureExt;
use crate::agent;
use crate::catalog::{self, BackupId, CatalogError, Entry, Gap, GapKind, Record, Trigger};
use crate::config::Config;
use crate::pipeline::store::{NamedStore, with_causes};
use crate::pipeline::{inventory, known_stores};
use crate::printer::{Align, Table};
use crate::units;

/// List the backups in the stores
///
/// Newest first: when it was made, at which revision, how large it is, and what its latest proof said. What cannot be read is told
/// on standard error, and at the end of the JSON as entries with an `error`; the exit code is 2 then. With `keys` in `[trust]`, what none
/// of them has signed is REFUSED (in JSON `refused`), as it is by every other command; and a backup that is gone although no retention rule removed it is told as
/// missing, with those between which it was (in JSON an entry with `kind`, `after` and `before`).
///
/// What was read of a bucket's manifests and proofs is remembered in `backup.scratch`, and read again only where the bucket lists
/// another object than then. Only this command goes by it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast list
  holdfast list --store local
  holdfast list --since 2026-11-01T00:00:00Z --outcome failed
  holdfast list --output json | jq -r '.[0].id'     the id of the newest")]
pub struct Args {
    /// Only what lies in this store
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// Only those begun at this time or later, such as 2026-11-20T02:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// Only those begun before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,
    /// Only those whose latest proof ended so
    #[arg(long, value_enum, value_name = "OUTCOME")]
    pub outcome: Option<Verdict>,
    /// Only those of this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Read every manifest and proof anew, and leave aside what is remembered of a bucket's
    #[arg(long)]
    pub no_cache: bool,
}

/// How the latest proof ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verdict {
    /// The backup is good.
    Passed,
    /// It is not.
    Failed,
    /// It could not be decided.
    Inconclusive,
    /// There was none.
    Never,
}

impl Verdict {
    fn is_of(self, proof: Option<Outcome>) -> bool {
        let expected = match self {
            Self::Passed => Some(Outcome::Passed),
            Self::Failed => Some(Outcome::Failed),
            Self::Inconclusive => Some(Outcome::Inconclusive),
            Self::Never => None,
        };
        proof == expected
    }
}

impl Args {
    fn asks_for(&self, row: &Row) -> bool {
        self.since.is_none_or(|since| row.time >= since)
            && self.until.is_none_or(|until| row.time < until)
            && self.outcome.is_none_or(|verdict| verdict.is_of(row.proof))
            && self.cluster.as_ref().is_none_or(|cluster| row.cluster == *cluster)
    }
}

/// One backup, whichever stores hold it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    time: Timestamp,
    cluster: String,
    revision: i64,
    live_keys: u64,
    size_bytes: u64,
    stored_bytes: u64,
    encryption: String,
    stores: Vec<String>,
    /// Stores that were read, that backups go to, and that have not got it: they missed it, or their rules removed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacked_by: Vec<String>,
    /// Verdict of the newest proof; none if it was never proved.
    proof: Option<Outcome>,
    proved_at: Option<Timestamp>,
    /// What proved it: its own run or a later proof, and the chains.
    proved_by: Option<String>,
}

/// What is told in JSON: backups, the newest first; then what cannot be read.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Item {
    Backup(Row),
    Missing(Missing),
    Unreadable(Unreadable),
}

/// A backup that should be in a store and is not.
#[derive(Debug, Serialize)]
struct Missing {
    store: String,
    #[serde(flatten)]
    gap: Gap,
    error: String,
}

/// A backup, one of its documents, or a whole store that cannot be read.
#[derive(Debug, Serialize)]
struct Unreadable {
    /// None for a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    stores: Vec<String>,
    /// The object; none for a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// Whether it was read, and is not trusted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refused: bool,
    /// Of a store: when this machine last reached it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reached: Option<Timestamp>,
    error: String,
}

impl Unreadable {
    fn new(named: &NamedStore, error: &CatalogError) -> Self {
        // The id is the second part of the name: `backups/<id>/manifest.json`.
        let id = error.object().and_then(|object| object.split('/').nth(1));
        Self {
            id: id.and_then(|id| id.parse::<BackupId>().ok()).map(|id| id.to_string()),
            stores: vec![named.name.clone()],
            object: error.object().map(str::to_owned),
            refused: matches!(error, CatalogError::Untrusted { .. } | CatalogError::Misplaced { .. }),
            last_reached: None,
            error: with_causes(error),
        }
    }
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let stores = selected_stores(&config, args.store.as_deref())?;
    let mut rows = std::collections::BTreeMap::new();
    let (mut unreadable, mut missing) = (Vec::new(), Vec::new());
    let (mut in_doubt, mut readable, mut read) = (false, false, Vec::new());
    let listings =
        futures::future::join_all(stores.iter().map(|named| agent::listed(&config, named, args.no_cache)));
    for (named, listing) in stores.iter().zip(listings.await) {
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => {
                let last_reached = known_stores::last_reached(&config.backup.scratch, named.store.as_ref());
                let since = last_reached.map_or_else(String::new, |time| {
                    format!(" (last reached {})", time.strftime("%Y-%m-%d %H:%M:%SZ"))
                });
                context.printer.warn(format_args!(
                    "store `{}` cannot be read{since}: {}",
                    named.name,
                    with_causes(&error)
                ));
                if let Some(hint) = error.hint() {
                    context.printer.message(format_args!("hint: {hint}"));
                }
                // A place that was never used may be one that is not used yet.
                let unused = matches!(&error, CatalogError::Store(error) if error.is_missing_place())
                    && !known_stores::is_known(&config.backup.scratch, named.store.as_ref());
                in_doubt |= !unused;
                unreadable.push(Unreadable { last_reached, ..Unreadable::new(named, &error) });
                continue;
            }
        };
        readable = true;
        known_stores::reached(&config.backup.scratch, named.store.as_ref(), (context.now)());
        read.push(named.name.clone());
        if let Err(error) = known_stores::refuse_rolled_back(named, &listing) {
            context.printer.warn(format_args!("store `{}`: {error}", named.name));
            if let Some(hint) = error.hint() {
                context.printer.message(format_args!("hint: {hint}"));
            }
            in_doubt = true;
            unreadable.push(Unreadable::new(named, &error));
        }
        match inventory::gaps(named, &listing).await {
            Ok(gaps) => {
                for gap in gaps {
                    context.printer.warn(format_args!("store `{}`: {gap}", named.name));
                    in_doubt |= gap.kind == GapKind::Missing;
                    missing.push(Missing { store: named.name.clone(), error: gap.to_string(), gap });
                }
            }
            Err(error) => {
                context.printer.warn(format_args!("store `{}`: {}", named.name, with_causes(&error)));
                if let Some(hint) = error.hint() {
                    context.printer.message(format_args!("hint: {hint}"));
                }
                in_doubt = true;
                unreadable.push(Unreadable::new(named, &error));
            }
        }
        for error in &listing.unreadable {
            context.printer.warn(format_args!(
                "passed over in store `{}`: {}",
                named.name,
                with_causes(error)
            ));
            in_doubt = true;
            unreadable.push(Unreadable::new(named, error));
        }
        for orphan in &listing.orphans {
            context.printer.note(format_args!(
                "no manifest names `{}` in store `{}`: a run under way, or what a killed one left for the next to sweep",
                orphan.path, named.name
            ));
        }
        for entry in listing.entries {
            add(&mut rows, named, entry);
        }
    }
    let hints: BTreeSet<&str> = missing.iter().map(|missing| missing.gap.kind.hint()).collect();
    for hint in hints {
        context.printer.message(format_args!("hint: {hint}"));
    }
    let some_unreadable = !unreadable.is_empty() || !missing.is_empty();
    let wanted: Vec<String> = read.into_iter().filter(|store| config.backup.stores.contains(store)).collect();
    for row in rows.values_mut() {
        row.lacked_by = wanted.iter().filter(|store| !row.stores.contains(store)).cloned().collect();
    }
    say_what_stores_lack(&wanted, &rows, context);
    let backups = rows.into_values().rev().filter(|row| args.asks_for(row)).map(Item::Backup);
    let items: Vec<Item> = backups
        .chain(missing.into_iter().map(Item::Missing))
        .chain(unreadable.into_iter().map(Item::Unreadable))
        .collect();
    context.printer.show(&items, |printer| {
        let columns = [
            ("id", Align::Left),
            ("time", Align::Left),
            ("revision", Align::Right),
            ("keys", Align::Right),
            ("size", Align::Right),
            ("stored", Align::Right),
            ("stores", Align::Left),
            ("proof", Align::Left),
        ];
        let mut table = Table::new(columns);
        for item in &items {
            let row = match item {
                Item::Backup(row) => row,
                Item::Unreadable(Unreadable { id: Some(id), stores, refused: true, .. }) => {
                    let [time, revision, keys, size, stored] = ["-"; 5].map(str::to_owned);
                    let stores = stores.join(",");
                    let cells = [id.clone(), time, revision, keys, size, stored, stores];
                    table.row(cells.into_iter().chain(["REFUSED".to_owned()]));
                    continue;
                }
                Item::Unreadable(_) | Item::Missing(_) => continue,
            };
            let proof = match (row.proof, row.proved_at) {
                (Some(outcome), Some(time)) => {
                    let by = row.proved_by.as_deref().unwrap_or_default();
                    format!("{outcome} {} {by}", time.strftime("%Y-%m-%d %H:%M"))
                }
                _ => "never".to_owned(),
            };
            table.row([
                row.id.clone(),
                row.time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
                row.revision.to_string(),
                row.live_keys.to_string(),
                units::format_size(row.size_bytes),
                units::format_size(row.stored_bytes),
                row.stores.join(","),
                proof,
            ]);
        }
        if table.is_empty() && !some_unreadable {
            printer.note("there are no backups yet; make one with `holdfast backup`");
        } else if !table.is_empty() {
            printer.table(&table);
        }
    });
    Ok(if in_doubt || !readable { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// Of each store that lacks backups which others have: how many it has, and up to which.
fn say_what_stores_lack(
    stores: &[String],
    rows: &std::collections::BTreeMap<catalog::BackupId, Row>,
    context: &Context,
) {
    for store in stores {
        let held: Vec<&Row> = rows.values().filter(|row| row.stores.contains(store)).collect();
        let missed_since = rows.values().rev().take_while(|row| row.lacked_by.contains(store)).count();
        if held.len() == rows.len() {
            continue;
        }
        let newest = match missed_since {
            0 => String::new(),
            count => format!(", and not the newest {count}"),
        };
        let (held, all) = (held.len(), rows.len());
        context.printer.note(format_args!("store {store} has {held} of {all} backups{newest}"));
    }
}

fn add(rows: &mut std::collections::BTreeMap<catalog::BackupId, Row>, named: &NamedStore, entry: Entry) {
    let proof = entry.last_record().map(|record| (record.outcome, record.ended, proved_by(record)));
    let manifest = entry.manifest;
    let row = rows.entry(manifest.id.clone()).or_insert_with(|| Row {
        id: manifest.id.to_string(),
        time: manifest.started,
        cluster: manifest.cluster.name,
        revision: manifest.facts.revision,
        live_keys: manifest.facts.live_keys,
        size_bytes: manifest.plain.size_bytes,
        stored_bytes: manifest.stored.size_bytes,
        encryption: manifest.pack.encryption,
        stores: Vec::new(),
        lacked_by: Vec::new(),
        proof: None,
        proved_at: None,
        proved_by: None,
    });
    row.stores.push(named.name.clone());
    if let Some((outcome, time, by)) = proof
        && row.proved_at.is_none_or(|proved| proved < time)
    {
        (row.proof, row.proved_at, row.proved_by) = (Some(outcome), Some(time), Some(by));
    }
}

/// `backup: sanity`, `verify: deep+keys`: what set the proof off, and its chains.
fn proved_by(record: &Record) -> String {
    let mut chains: Vec<&str> = record.steps.iter().map(|step| step.chain.as_str()).collect();
    chains.dedup();
    let trigger = match record.trigger {
        Trigger::Backup => "backup",
        Trigger::Verify => "verify",
    };
    format!("{trigger}: {}", chains.join("+"))
}

/// The stores that a command looks in: the one named, or all.
pub(super) fn selected_stores(config: &Config, name: Option<&str>) -> Result<Vec<NamedStore>> {
    Ok(agent::stores(config, &names_of(config, name)?))
}

/// The names of these.
pub(super) fn names_of(config: &Config, name: Option<&str>) -> Result<Vec<String>> {
    let all = agent::store_names(config).into_iter();
    let names: Vec<String> = all.filter(|known| name.is_none_or(|name| name == *known)).collect();
    if names.is_empty() {
        let known: Vec<&str> = config.stores.keys().map(String::as_str).collect();
        let missing: Result<()> =
            Err(anyhow!("there is no store `{}` in the configuration", name.unwrap_or_default()));
        missing.hint(format!("it has: {}", known.join(", ")))?;
    }
    Ok(names)
}
