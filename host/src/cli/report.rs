//! How proofs are printed for people.

use crate::catalog::Record;
use crate::printer::{Align, Printer, Table};

/// Findings of one step that are shown; JSON has them all.
const SHOWN_FINDINGS: usize = 20;

/// A record: one line a step, then what was found.
pub(super) fn steps(printer: &Printer, record: &Record) {
    let mut table = Table::new([
        ("proof", Align::Left),
        ("outcome", Align::Left),
        ("took", Align::Right),
        ("what", Align::Left),
    ]);
    for step in &record.steps {
        let told = if step.counts { "" } else { " (told only)" };
        let error = step.error.as_ref().map(|error| format!("{error}: ")).unwrap_or_default();
        table.row([
            format!("{}/{}", step.chain, step.step),
            if step.skipped { format!("skipped{told}") } else { format!("{}{told}", step.outcome) },
            format!("{} ms", step.elapsed_ms),
            format!("{error}{}", step.summary),
        ]);
    }
    printer.table(&table);
    for step in &record.steps {
        for finding in step.findings.iter().take(SHOWN_FINDINGS) {
            let key = finding.key.as_ref().map(|key| format!(" `{key}`")).unwrap_or_default();
            printer.line(format_args!(
                "  {}: {}: {} ({}){key}",
                step.step, finding.severity, finding.message, finding.code
            ));
        }
        if step.findings.len() > SHOWN_FINDINGS {
            printer.line(format_args!(
                "  {}: {} more findings; `--output json` has them all",
                step.step,
                step.findings.len() - SHOWN_FINDINGS
            ));
        }
    }
    printer.line(format_args!("{} at {} (session {})", record.outcome, record.ended, record.session));
}
