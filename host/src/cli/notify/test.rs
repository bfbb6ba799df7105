//! `holdfast notify test`: does it arrive?

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::super::failure::FailureExt as _;
use super::super::{Context, answer};
use crate::agent;
use crate::notify::delivery::{self, Attempt};
use crate::notify::news::{self, Origin};
use crate::notify::{Event, Kind, Notifier};
use crate::printer::Printer;
use crate::units::{format_duration, format_size};

/// Send a sample event to a notifier, and say exactly what happened
///
/// The event is marked as a test, goes at once and past the queue, and is tried once. A test of a problem is followed by one of its end
/// with `--event KIND.resolved`: both name the same problem.
///
/// Exits 0 when the far end took it, 1 when it did not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast notify test oncall
  holdfast notify test oncall --event backup.resolved
  holdfast notify test oncall --output json | jq .call.denied")]
pub struct Args {
    /// The notifier: a name of a `[notify.NAME]`
    pub name: String,
    /// The kind of event; the worst that the notifier is told of otherwise
    #[arg(long, value_name = "KIND")]
    pub event: Option<String>,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Tested<'a> {
    notifier: &'a str,
    way: &'a str,
    delivered: bool,
    event: serde_json::Value,
    #[serde(flatten)]
    attempt: &'a Attempt,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let notifier = super::notifier(&config, &args.name)?;
    let kind = match &args.event {
        Some(name) => named(name)?,
        None => worst(notifier),
    };
    if !notifier.when.includes(kind) {
        context.printer.note(format_args!("`{kind}` is not in its `when`: the agent would not tell it"));
    }
    let event = news::sample(&Origin::here(&config.cluster.name, (context.now)()), kind);
    let plugins = match notifier.means.plugin() {
        Some(_) => agent::notifier_plugins(&config).await?,
        None => std::sync::Arc::default(),
    };
    let attempt = delivery::attempt(notifier, &event, 0, &plugins).await;
    let tested = Tested {
        notifier: &notifier.name,
        way: notifier.means.name(),
        delivered: attempt.result.is_ok(),
        event: event.cloudevent(),
        attempt: &attempt,
    };
    context.printer.show(&tested, |printer| print(printer, notifier, &event, &attempt));
    Ok(answer(attempt.result.is_ok()))
}

fn named(name: &str) -> Result<Kind> {
    if let Some(kind) = Kind::named(name) {
        return Ok(kind);
    }
    Err(anyhow!("there is no event `{name}`")).hint("`holdfast notify kinds` lists them")
}

/// The worst thing that it is told of: whoever tries it out wants to see the alarm.
fn worst(notifier: &Notifier) -> Kind {
    // Of equals the first, not the last.
    let worst = notifier
        .when
        .kinds()
        .reduce(|worst, kind| if kind.severity() > worst.severity() { kind } else { worst });
    worst.unwrap_or(Kind::BackupFailed)
}

fn print(printer: &Printer, notifier: &Notifier, event: &Event, attempt: &Attempt) {
    let way = notifier.means.name();
    match &attempt.result {
        Ok(receipt) => {
            printer.line(format_args!("delivered: `{}` through {way}: {}", event.kind, receipt.summary));
            for (name, value) in &receipt.attributes {
                printer.line(format_args!("  {name}: {value}"));
            }
        }
        Err(error) => {
            printer.line(format_args!(
                "not delivered: `{}` through {way}: {} ({})",
                event.kind, error.message, error.code
            ));
            if let Some(hint) = &error.hint {
                printer.line(format_args!("  hint: {hint}"));
            }
            let then = match (error.may_pass, error.retry_after) {
                (false, _) => "the agent would not try again".to_owned(),
                (true, None) => "the agent would try again".to_owned(),
                (true, Some(wait)) => format!("the agent would try again, after {}", format_duration(wait)),
            };
            printer.line(format_args!("  {then}"));
        }
    }
    let Some(call) = &attempt.call else { return };
    printer.line(format_args!("  plugin: {way} {}, sha256 {}", call.version, call.sha256));
    let used = &call.used;
    printer.line(format_args!(
        "  used: {:.1} ms, {} of memory, {} HTTP requests, {} sent, {} received",
        used.elapsed.as_secs_f64() * 1e3,
        format_size(used.peak_memory_bytes),
        used.http_requests,
        format_size(used.http_sent_bytes),
        format_size(used.http_received_bytes),
    ));
    for denial in &call.denied {
        printer.line(format_args!("  denied: {denial}"));
        if let Some(hint) = &denial.hint {
            printer.line(format_args!("    hint: {hint}"));
        }
    }
    for line in call.stderr.lines() {
        printer.line(format_args!("  stderr: {line}"));
    }
}
