//! `holdfast sign`: signatures for backups that have none of a key that counts.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::Context;
use super::failure::FailureExt;
use super::list::names_of;
use super::target::SelectionArgs;
use crate::agent;
use crate::catalog::{self, BackupId, CatalogError};
use crate::config::Config;
use crate::pipeline::inventory::{self, Signer};
use crate::pipeline::single_flight::SingleFlight;
use crate::pipeline::store::{NamedStore, with_causes};
use crate::printer::{Align, Table};
use crate::session::SessionId;
use crate::signing::SigningKey;
use crate::store::StoreError;

/// Sign backups that are there already
///
/// Adds the signature of the key in `[signing]` to backups that were made before there was one, or that another key has signed: beside
/// what they have, which stays. You vouch for them: look first that they are what they should be (`holdfast check --read-data`,
/// `holdfast verify ID`, before `keys` stands in `[trust]`).
///
/// With `--gone` it is about backups that `list` and `check` tell as missing: what is named is signed for as gone.
///
/// Exits 2 when one could not be signed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\\
Examples:
  holdfast sign --all                           after [signing] was added to the configuration
  holdfast sign 20261121T030000Z-48213
  holdfast sign --all --store dr
  holdfast sign --all --gone                    what is missing was removed on purpose")]
pub struct Args {
    /// Which of them.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Sign that backups which are missing are gone on purpose: they are not told as missing any more
    #[arg(long)]
    pub gone: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Signed {
    backup: BackupId,
    store: String,
    signature: String,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let names = names_of(&config, args.selection.store.as_deref())?;
    let Some(key) = config.signing_key()? else {
        return Err(anyhow!("there is no key to sign with"))
            .hint("give `key_file` in [signing]; `holdfast key signing FILE` makes one");
    };
    let _flight = SingleFlight::acquire(&config.backup.scratch)?;
    if args.gone {
        return sign_gone(args, &config, &names, &key, context).await;
    }
    let (mut signed, mut failed, mut found) = (Vec::new(), false, false);
    // Whoever signed them: else nothing that needs a signature could be read.
    for named in agent::any_stores(&config, &names) {
        let ids = match ids(args, &named).await {
            Ok(ids) => ids,
            Err(error) => {
                failed = true;
                context.printer.warn(format_args!("store `{}`: {}", named.name, with_causes(&error)));
                continue;
            }
        };
        for id in ids {
            match sign(&config, &named, &id, &key).await {
                Ok(None) => found = true,
                Ok(Some(one)) => {
                    found = true;
                    signed.push(one);
                }
                Err(error) => {
                    failed = true;
                    context
                        .printer
                        .warn(format_args!("`{id}` in store `{}` was not signed: {error:#}", named.name));
                }
            }
        }
    }
    context.printer.show(&signed, |printer| {
        let mut table =
            Table::new([("store", Align::Left), ("backup", Align::Left), ("signature", Align::Left)]);
        for one in &signed {
            table.row([one.store.clone(), one.backup.to_string(), one.signature.clone()]);
        }
        if table.is_empty() {
            printer.note("nothing lacks a signature of this key");
        } else {
            printer.table(&table);
        }
    });
    if !found && !failed && !args.selection.all {
        return Err(anyhow!("there is no such backup"))
            .hint("`holdfast list` shows what is there")
            .answer_is_no();
    }
    Ok(if failed { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// A backup that was signed for as gone.
#[derive(Serialize)]
struct Gone {
    backup: BackupId,
    store: String,
}

async fn sign_gone(
    args: &Args,
    config: &Config,
    names: &[String],
    key: &SigningKey,
    context: &Context,
) -> Result<ExitCode> {
    if config.trust.is_none() {
        return Err(anyhow!("nothing is missing where nothing is trusted: there are no `keys` in [trust]"))
            .hint("name the public half of the signing key there");
    }
    let session = SessionId::random();
    let signer = Signer { key, session: &session, now: (context.now)() };
    let (mut all, mut failed) = (Vec::new(), false);
    for named in agent::stores(config, names) {
        match inventory::accept(&named, signer, |id| args.selection.asks_for(id)).await {
            Ok(gone) => {
                all.extend(gone.into_iter().map(|backup| Gone { backup, store: named.name.clone() }));
            }
            Err(error) => {
                failed = true;
                context.printer.warn(format_args!("store `{}`: {}", named.name, with_causes(&error)));
                if let Some(hint) = error.hint() {
                    context.printer.message(format_args!("hint: {hint}"));
                }
            }
        }
    }
    context.printer.show(&all, |printer| {
        for one in &all {
            printer.line(format_args!("{}: {} is signed for as gone", one.store, one.backup));
        }
        if all.is_empty() && !failed {
            printer.note("nothing that was asked for is missing");
        }
    });
    Ok(if failed { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// The backups in a store that are asked for.
async fn ids(args: &Args, named: &NamedStore) -> Result<Vec<BackupId>, CatalogError> {
    let there = catalog::ids(named.store.as_ref()).await?;
    Ok(there.into_iter().filter(|id| args.selection.asks_for(id)).collect())
}

/// Signs the edition that counts. None when there is nothing to do.
async fn sign(
    config: &Config,
    named: &NamedStore,
    id: &BackupId,
    key: &SigningKey,
) -> Result<Option<Signed>> {
    let store = named.store.as_ref();
    let Some(manifest) = catalog::manifest(store, id).await? else { return Ok(None) };
    let earlier = config.trust.as_ref().map(|trust| trust.clusters.as_slice()).unwrap_or_default();
    let cluster = &manifest.cluster.name;
    if *cluster != config.cluster.name && !earlier.contains(cluster) {
        return Err(anyhow!("it is of cluster `{cluster}`"))
            .hint("sign it where that cluster is configured, or name it in `clusters` of [trust]");
    }
    if catalog::is_signed_by(store, &manifest, key.public()).await? {
        return Ok(None);
    }
    match catalog::sign(store, &manifest, key).await {
        Ok(signature) => Ok(Some(Signed {
            backup: id.clone(),
            store: named.name.clone(),
            signature: signature.to_string(),
        })),
        Err(CatalogError::Store(StoreError::Exists { path })) => {
            Err(anyhow!("`{path}` is there, and is no good signature")).hint("remove it, and sign again")
        }
        Err(error) => Err(error.into()),
    }
}
