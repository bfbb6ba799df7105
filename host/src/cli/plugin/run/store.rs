//! A store: the suite that our own stores pass, on the place that its config names.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use holdfast_runtime::{Plugin, PluginHost, Ready};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::super::{Context, answer};
use super::super::settings;
use super::objects::Objects;
use super::{Args, milliseconds};
use crate::config::{Config, Granted, PluginStoreConfig, StoreConfig};
use crate::printer::{Align, Printer, Table};
use crate::session::SessionId;
use crate::store::contract::{self, Promise};
use crate::store::plugin::{Options, PluginStore};

/// Tries of one call: an author waits for the answer.
const ATTEMPTS: u32 = 3;
/// The defaults of a store's table.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const TRANSFER_TIMEOUT: Duration = Duration::from_hours(2);
const STALE_AFTER: Duration = Duration::from_hours(24);

/// What is printed as JSON.
#[derive(Serialize)]
struct Ran<'a> {
    plugin: &'a str,
    version: &'a str,
    sha256: &'a str,
    runs: Vec<Run>,
}

/// The suite on one config.
#[derive(Serialize)]
struct Run {
    /// Where the config comes from.
    config: String,
    kept: bool,
    promises: Vec<Looked>,
}

#[derive(Serialize)]
struct Looked {
    promise: &'static str,
    kept: bool,
    /// What was seen instead.
    breach: Option<String>,
    hint: Option<String>,
    ms: f64,
}

impl From<Promise> for Looked {
    fn from(promise: Promise) -> Self {
        let breach = promise.result.as_ref().err();
        Self {
            promise: promise.name,
            kept: breach.is_none(),
            breach: breach.map(|breach| crate::pipeline::store::with_causes(breach)),
            hint: breach.and_then(contract::Breach::hint),
            ms: milliseconds(promise.elapsed),
        }
    }
}

/// Runs the suite on each config.
pub(super) async fn run(
    args: &Args,
    config: Option<&Config>,
    host: &PluginHost,
    context: &Context,
) -> Result<ExitCode> {
    let Ready { plugin, .. } = super::super::ready(super::super::examine(host, &args.file).await?)?;
    let objects = match args.listen {
        Some(address) => Some(Objects::start(address).await?),
        None => None,
    };
    if let Some(objects) = &objects {
        context.printer.note(format_args!("keeping objects at http://{}", objects.address()));
    }
    let mut runs = Vec::new();
    for (origin, store) in cases(args, &plugin, config)? {
        let options = options(&origin, config, store);
        let store = PluginStore::new(options, Arc::new(Arc::clone(&plugin)), context.now);
        // What lies in the place already is left alone.
        let within = format!("contract-{}", SessionId::random());
        let promises: Vec<Looked> =
            contract::run(&store, &within).await.into_iter().map(Looked::from).collect();
        runs.push(Run { config: origin, kept: promises.iter().all(|promise| promise.kept), promises });
    }
    let kept = runs.iter().all(|run| run.kept);
    let ran = Ran { plugin: plugin.name(), version: plugin.version(), sha256: plugin.sha256(), runs };
    context.printer.show(&ran, |printer| {
        for run in &ran.runs {
            print(printer, &ran, run);
        }
    });
    Ok(answer(kept))
}

/// The config given by hand, or those of the stores that name the plugin, or else none.
fn cases(args: &Args, plugin: &Plugin, config: Option<&Config>) -> Result<Vec<(String, PluginStoreConfig)>> {
    let given = settings::granted(&args.settings)?;
    let by_hand = |value: Value, granted: Option<Granted>| PluginStoreConfig {
        plugin: plugin.name().to_owned(),
        config: value,
        granted: granted.unwrap_or_default(),
        attempts: ATTEMPTS,
        request_timeout: REQUEST_TIMEOUT,
        stall_timeout: STALL_TIMEOUT,
        stale_after: STALE_AFTER,
    };
    if let Some(file) = &args.settings.plugin_config {
        return Ok(vec![(file.display().to_string(), by_hand(settings::read(file)?, given))]);
    }
    let mut cases = Vec::new();
    for (name, store) in config.map(|config| &config.stores).into_iter().flatten() {
        if let StoreConfig::Plugin(store) = store
            && store.plugin == plugin.name()
        {
            let granted = given.clone().unwrap_or_else(|| store.granted.clone());
            cases.push((format!("store.{name}"), PluginStoreConfig { granted, ..store.as_ref().clone() }));
        }
    }
    if cases.is_empty() {
        cases.push(("no config".to_owned(), by_hand(Value::Object(Map::new()), given)));
    }
    Ok(cases)
}

fn options(origin: &str, config: Option<&Config>, store: PluginStoreConfig) -> Options {
    Options {
        store: origin.strip_prefix("store.").unwrap_or("test").to_owned(),
        cluster: config.map_or_else(|| "test".to_owned(), |config| config.cluster.name.clone()),
        plugin: store.plugin,
        config: store.config,
        allow: store.granted.allow,
        secrets: store.granted.secrets,
        attempts: store.attempts.min(ATTEMPTS),
        request_timeout: store.request_timeout,
        transfer_timeout: TRANSFER_TIMEOUT,
        stall_timeout: store.stall_timeout,
        stale_after: store.stale_after,
    }
}

fn print(printer: &Printer, ran: &Ran<'_>, run: &Run) {
    printer.line(format_args!("{} {}, {}", ran.plugin, ran.version, run.config));
    let columns = [("promise", Align::Left), ("kept", Align::Left), ("time", Align::Right)];
    let mut table = Table::new(columns);
    for promise in &run.promises {
        let kept = if promise.kept { "yes" } else { "NO" };
        table.row([promise.promise, kept, &format!("{:.1} ms", promise.ms)]);
    }
    printer.table(&table);
    for promise in run.promises.iter().filter(|promise| !promise.kept) {
        printer.blank();
        printer.line(format_args!(
            "broken: {}: {}",
            promise.promise,
            promise.breach.as_deref().unwrap_or_default()
        ));
        if let Some(hint) = &promise.hint {
            printer.line(format_args!("  hint: {hint}"));
        }
    }
    printer.blank();
    let broken = run.promises.iter().filter(|promise| !promise.kept).count();
    if broken == 0 {
        printer.line(format_args!("ok: it keeps what every store must, {} promises", run.promises.len()));
    } else {
        printer.line(format_args!("{broken} of {} promises are broken", run.promises.len()));
    }
}
