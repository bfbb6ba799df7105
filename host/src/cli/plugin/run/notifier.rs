//! A notifier on an author's machine: sample events go in, and what arrives at the far end is shown.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use holdfast_runtime::{
    CallError, CallErrorKind, Denial, NotifyReceipt, NotifyRun, Plugin, PluginHost, Ready,
};
use serde::Serialize;

use super::super::super::Context;
use super::super::super::failure::FailureExt as _;
use super::super::settings::{self, Case};
use super::listener::{Arrival, Listener};
use super::{Args, Used, again_and_again, denied, used};
use crate::config::Config;
use crate::notify::news::{self, Origin};
use crate::notify::{Event, Kind, delivery};
use crate::printer::Printer;

/// What an author sees first: something begins, and it ends.
const USUAL: [Kind; 2] = [Kind::BackupFailed, Kind::BackupResolved];

/// What is printed as JSON, once for each time that it ran.
#[derive(Serialize)]
struct Ran<'a> {
    plugin: &'a str,
    version: &'a str,
    sha256: &'a str,
    cached: bool,
    load_ms: f64,
    events: Vec<Told<'a>>,
}

/// One event and what became of it.
#[derive(Serialize)]
struct Told<'a> {
    /// Where the config comes from.
    config: &'a str,
    kind: Kind,
    /// `delivered`, or the kind of the error.
    outcome: String,
    receipt: Option<&'a NotifyReceipt>,
    error: Option<&'a CallError>,
    may_pass: bool,
    retry_after_seconds: Option<u64>,
    stderr: &'a str,
    denied: &'a [Denial],
    used: Used,
    /// What arrived at the listener meanwhile.
    arrived: &'a [Arrival],
}

/// One call, as it was made.
struct Made<'a> {
    case: &'a Case,
    event: Event,
    run: NotifyRun,
    arrived: Vec<Arrival>,
}

/// Runs the command for a notifier.
pub(super) async fn run(
    args: &Args,
    config: Option<&Config>,
    host: &PluginHost,
    context: &Context,
) -> Result<ExitCode> {
    let kinds = kinds(args)?;
    let listener = match args.listen {
        Some(address) => Some(Listener::start(address, args.answer).await?),
        None => None,
    };
    if let Some(listener) = &listener {
        context.printer.note(format_args!("listening at http://{}", listener.address()));
    }
    let once = async || once(args, &kinds, config, host, listener.as_ref(), context).await;
    again_and_again(args, context, once).await
}

fn kinds(args: &Args) -> Result<Vec<Kind>> {
    if args.event.is_empty() {
        return Ok(USUAL.to_vec());
    }
    let named = |name: &String| {
        Kind::named(name)
            .ok_or_else(|| anyhow!("there is no event `{name}`"))
            .hint("`holdfast notify kinds` lists them")
    };
    args.event.iter().map(named).collect()
}

async fn once(
    args: &Args,
    kinds: &[Kind],
    config: Option<&Config>,
    host: &PluginHost,
    listener: Option<&Listener>,
    context: &Context,
) -> Result<ExitCode> {
    let examination = super::super::examine(host, &args.file).await?;
    let Ready { plugin, cached, elapsed } = super::super::ready(examination)?;
    let cases = settings::cases(&args.settings, plugin.name(), config)?;
    let cluster = config.map_or("test", |config| config.cluster.name.as_str());
    let mut all = Vec::new();
    for case in &cases {
        for &kind in kinds {
            let event = news::sample(&Origin::here(cluster, (context.now)()), kind);
            let run = plugin.notify(&delivery::notice(&event, 0), &case.config, &case.grants).await;
            let arrived = listener.map(Listener::take).unwrap_or_default();
            all.push(Made { case, event, run, arrived });
        }
    }
    let ran = Ran {
        plugin: plugin.name(),
        version: plugin.version(),
        sha256: plugin.sha256(),
        cached,
        load_ms: super::milliseconds(elapsed),
        events: all.iter().map(told).collect(),
    };
    context.printer.show(&ran, |printer| {
        for one in &ran.events {
            print(printer, &plugin, one);
        }
    });
    Ok(ExitCode::from(all.iter().map(|made| code(&made.run)).max().unwrap_or(2)))
}

fn code(run: &NotifyRun) -> u8 {
    match &run.result {
        Ok(_) => 0,
        Err(error) if error.kind == CallErrorKind::Error => 1,
        Err(_) => 2,
    }
}

fn told<'a>(made: &'a Made<'a>) -> Told<'a> {
    let Made { case, event, run, arrived } = made;
    Told {
        config: &case.origin,
        kind: event.kind,
        outcome: match &run.result {
            Ok(_) => "delivered".to_owned(),
            Err(error) => error.kind.to_string(),
        },
        receipt: run.result.as_ref().ok(),
        error: run.result.as_ref().err(),
        may_pass: run.may_pass,
        retry_after_seconds: run.retry_after.map(|wait| wait.as_secs()),
        stderr: &run.stderr,
        denied: &run.denied,
        used: Used::from(&run.stats),
        arrived,
    }
}

fn print(printer: &Printer, plugin: &Plugin, one: &Told<'_>) {
    printer.line(format_args!("{} {}, {}: `{}`", plugin.name(), plugin.version(), one.config, one.kind));
    if let Some(receipt) = one.receipt {
        printer.line(format_args!("delivered: {}", receipt.summary));
        for (name, value) in &receipt.attributes {
            printer.line(format_args!("  {name}: {value}"));
        }
    }
    if let Some(error) = one.error {
        printer.line(format_args!("{} ({}): {}", one.outcome, error.code, error.message));
        for function in &error.backtrace {
            printer.line(format_args!("  at {function}"));
        }
        for line in one.stderr.lines() {
            printer.line(format_args!("  stderr: {line}"));
        }
        let again = if one.may_pass { "would try again" } else { "would not try again" };
        match one.retry_after_seconds {
            Some(seconds) => printer.line(format_args!("  the agent {again}, after {seconds} s at least")),
            None => printer.line(format_args!("  the agent {again}")),
        }
        if let Some(hint) = error.hint() {
            printer.line(format_args!("  hint: {hint}"));
        }
    }
    denied(printer, one.denied);
    for arrival in one.arrived {
        printer.line(format_args!("  arrived: {} {}", arrival.method, arrival.target));
        for (name, value) in &arrival.headers {
            printer.line(format_args!("    {name}: {value}"));
        }
        for line in arrival.body.lines() {
            printer.line(format_args!("    | {line}"));
        }
    }
    printer.blank();
    used(printer, plugin, &one.used);
}
