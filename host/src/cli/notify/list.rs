//! `holdfast notify list`: who is told what, and what waits.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;

use super::super::Context;
use crate::agent;
use crate::notify::queue::{Memory, Waiting};
use crate::printer::{Align, Table};

/// List who is told what, what was delivered, and what waits
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast notify list
  holdfast notify list --output json | jq '.[] | select(.waiting | length > 0)'")]
pub struct Args {}

/// What is printed as JSON.
#[derive(Serialize)]
struct Listed {
    name: String,
    way: String,
    when: String,
    delivered: u64,
    given_up: u64,
    dropped: u64,
    last_delivered: Option<Timestamp>,
    waiting: Vec<Waits>,
    /// Problems that it was told of and that stand.
    problems: Vec<String>,
    last_failure: Option<String>,
}

#[derive(Serialize)]
struct Waits {
    id: String,
    kind: String,
    since: Timestamp,
    attempts: u32,
    due: Timestamp,
    last_error: Option<String>,
}

/// Runs the command.
pub fn run(_args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let mut all = Vec::new();
    for notifier in config.notifiers.values() {
        let queue = agent::queue_of(&config, notifier);
        let unreadable = || format!("the queue of notifier `{}` cannot be read", notifier.name);
        let waiting = queue.waiting().with_context(unreadable)?;
        let memory = queue.memory().with_context(unreadable)?;
        all.push(listed(&notifier.name, notifier.means.name(), &notifier.when.to_string(), &waiting, memory));
    }
    context.printer.show(&all, |printer| {
        let columns = [
            ("name", Align::Left),
            ("by", Align::Left),
            ("when", Align::Left),
            ("delivered", Align::Right),
            ("waiting", Align::Right),
            ("given up", Align::Right),
            ("last delivered", Align::Left),
        ];
        let mut table = Table::new(columns);
        for one in &all {
            table.row([
                one.name.clone(),
                one.way.clone(),
                one.when.clone(),
                one.delivered.to_string(),
                one.waiting.len().to_string(),
                one.given_up.to_string(),
                one.last_delivered.map_or_else(|| "never".to_owned(), |time| format!("{time:.0}")),
            ]);
        }
        if table.is_empty() {
            printer.note("nobody is told anything: there is no `[notify.NAME]` in the configuration");
            return;
        }
        printer.table(&table);
        for one in &all {
            for problem in &one.problems {
                printer.line(format_args!("{}: knows of {problem}", one.name));
            }
            for waits in &one.waiting {
                let why = waits.last_error.as_deref().unwrap_or("not tried yet");
                printer.line(format_args!(
                    "{}: `{}` waits since {:.0}, attempts {}: {why}",
                    one.name, waits.kind, waits.since, waits.attempts
                ));
            }
            if let Some(failure) = &one.last_failure {
                printer.line(format_args!("{}: last failure: {failure}", one.name));
            }
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn listed(name: &str, way: &str, when: &str, waiting: &[Waiting], memory: Memory) -> Listed {
    let waits = |one: &Waiting| Waits {
        id: one.item.event.id.clone(),
        kind: one.item.event.kind.to_string(),
        since: one.item.queued,
        attempts: one.item.attempts,
        due: one.item.due,
        last_error: one.item.last_error.clone(),
    };
    let failure = memory.last_failure;
    Listed {
        name: name.to_owned(),
        way: way.to_owned(),
        when: when.to_owned(),
        delivered: memory.delivered,
        given_up: memory.given_up,
        dropped: memory.dropped,
        last_delivered: memory.last_delivered,
        waiting: waiting.iter().map(waits).collect(),
        problems: memory.problems.into_keys().collect(),
        last_failure: failure
            .map(|failure| format!("{:.0} {}: {}", failure.time, failure.kind, failure.error)),
    }
}
