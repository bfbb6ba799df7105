//! `holdfast notify kinds`: what can be told.

use std::process::ExitCode;

use etcd_snapshot::Severity;
use serde::Serialize;

use super::super::Context;
use crate::notify::Kind;
use crate::printer::{Align, Table};

/// List the kinds of events that there are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast notify kinds
  holdfast notify kinds --output json | jq -r '.[] | select(.severity == \"error\").kind'")]
pub struct Args {}

#[derive(Serialize)]
struct Described {
    kind: Kind,
    severity: Severity,
    doc: &'static str,
}

/// Runs the command.
pub fn run(_args: &Args, context: &Context) -> ExitCode {
    let kinds: Vec<Described> =
        Kind::all().map(|kind| Described { kind, severity: kind.severity(), doc: kind.doc() }).collect();
    context.printer.show(&kinds, |printer| {
        let columns = [("kind", Align::Left), ("severity", Align::Left), ("", Align::Left)];
        let mut table = Table::new(columns);
        for Described { kind, severity, doc } in &kinds {
            table.row([kind.name(), &severity.to_string(), doc]);
        }
        printer.table(&table);
    });
    ExitCode::SUCCESS
}
