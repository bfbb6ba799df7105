//! `holdfast plugin list`: what is in a plugin folder, and can it be used?

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use holdfast_runtime::{Condition, Plugin, PluginHost, PluginState, Signature};
use serde::Serialize;

use super::super::{Context, answer};
use super::{refused, user_cache};
use crate::agent;
use crate::printer::{Align, Table};
use crate::units::format_size;

/// List the plugins in a plugin folder, and whether each can be used
///
/// Loads each file as the agent would: digest and pin, imports, description. A file that cannot be used is listed with the reason.
/// Without a folder, it is the one of the configuration.
///
/// Exits 1 when one of them cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin list
  holdfast plugin list ./plugins
  holdfast plugin list --output json | jq -r '.[].name'")]
pub struct Args {
    /// The folder to look into, in place of the configuration's
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// One plugin file, as printed.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    #[serde(flatten)]
    state: &'a PluginState,
    /// What it does, by its own word; none when it cannot be called.
    summary: Option<&'a str>,
    /// What is known of its signature.
    signature: Option<&'a Signature>,
    /// Grants that it would like.
    wants: &'a [String],
    /// The most memory that a call may use.
    memory_bytes: Option<u64>,
    /// The longest that a call may take.
    timeout_ms: Option<u64>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let options = match &args.directory {
        None => agent::host_options(&context.config()?.plugins),
        Some(directory) => {
            let config = context.config_if_any()?;
            let mut options = config.map(|config| agent::host_options(&config.plugins)).unwrap_or_default();
            options.directory.clone_from(directory);
            options.cache_directory = user_cache();
            options
        }
    };
    let directory = options.directory.clone();
    let host = PluginHost::start(options)?;
    host.scan().await;
    let registry = host.registry();
    if let Some(problem) = registry.problem() {
        return Err(refused(&directory, problem, 2).context("the plugin folder cannot be looked at"));
    }
    let plugins: Vec<_> = registry.plugins().collect();
    let rows: Vec<Row<'_>> =
        registry.states().iter().map(|(name, state)| row(name, state, find(&plugins, name))).collect();
    context.printer.show(&rows, |printer| {
        if rows.is_empty() {
            printer.note(format_args!("there are no plugins in `{}`", directory.display()));
        } else {
            printer.table(&table(&rows));
        }
    });
    Ok(answer(rows.iter().all(|row| row.state.condition == Condition::Live)))
}

fn find<'a>(plugins: &[&'a Arc<Plugin>], name: &str) -> Option<&'a Arc<Plugin>> {
    plugins.iter().find(|plugin| plugin.name() == name).copied()
}

fn row<'a>(name: &'a str, state: &'a PluginState, plugin: Option<&'a Arc<Plugin>>) -> Row<'a> {
    let timeout_ms = |plugin: &Arc<Plugin>| u64::try_from(plugin.limits().timeout.as_millis()).ok();
    Row {
        name,
        state,
        summary: plugin.map(|plugin| plugin.description().summary.as_str()),
        signature: plugin.map(|plugin| plugin.signature()),
        wants: plugin.map(|plugin| plugin.description().wants.as_slice()).unwrap_or_default(),
        memory_bytes: plugin.map(|plugin| plugin.limits().memory_bytes),
        timeout_ms: plugin.and_then(timeout_ms),
    }
}

/// The key's id, when it is trusted.
fn signer(signature: &Signature) -> String {
    match signature {
        Signature::Trusted { key, .. } => key.clone(),
        Signature::Missing => "no".to_owned(),
        Signature::Unknown { .. } => "by an unknown key".to_owned(),
        Signature::Invalid { .. } => "not good".to_owned(),
    }
}

fn table(rows: &[Row<'_>]) -> Table {
    /// Digits of a digest that are shown; JSON has all of them.
    const DIGEST_DIGITS: usize = 12;
    let columns =
        ["plugin", "state", "version", "sha256", "signed", "memory", "what"].map(|name| (name, Align::Left));
    let mut table = Table::new(columns);
    for row in rows {
        let live = row.state.live.as_ref();
        let told = match &row.state.rejection {
            Some(rejection) => match &rejection.hint {
                Some(hint) => format!("{} ({hint})", rejection.reason),
                None => rejection.reason.clone(),
            },
            None => row.summary.unwrap_or_default().to_owned(),
        };
        table.row([
            row.name.to_owned(),
            row.state.condition.to_string(),
            live.map_or_else(String::new, |live| live.version.clone()),
            live.map_or_else(String::new, |live| live.sha256.chars().take(DIGEST_DIGITS).collect()),
            row.signature.map_or_else(String::new, signer),
            row.memory_bytes.map_or_else(String::new, format_size),
            told,
        ]);
    }
    table
}
