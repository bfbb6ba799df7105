//! How a restore, and the rehearsal of one, are printed for people.

use std::time::Duration;

use etcd_snapshot::{Integrity, codes};

use super::{Origin, Rehearsed, Restored};
use crate::printer::{Printer, Table};
use crate::restore::against::Comparison;
use crate::units::{counted, format_duration, format_size};

pub(super) fn restored(printer: &Printer, restored: &Restored) {
    let report = &restored.report;
    let mut facts = Table::facts();
    origin(&mut facts, &restored.origin);
    for member in &report.members {
        if let [_] = &*report.members {
            facts.fact("data directory", member.data_dir.display());
            facts.fact("member id", &member.member_id);
        } else {
            facts.fact(
                "member",
                format_args!("{} ({}) in `{}`", member.name, member.member_id, member.data_dir.display()),
            );
        }
        if let Some(wal_dir) = &member.wal_dir {
            facts.fact("wal directory", wal_dir.display());
        }
    }
    facts.fact("cluster id", &report.cluster_id);
    facts.fact("token", &report.token);
    facts.fact("revision", revisions(report.snapshot_revision, report.revision));
    facts.fact("live keys", report.live_keys);
    facts.fact("written", format_size(report.bytes_written));
    checks(&mut facts, &report.integrity, report.compared.as_deref());
    printer.table(&facts);
}

pub(super) fn rehearsed(printer: &Printer, rehearsed: &Rehearsed) {
    let mut facts = Table::facts();
    origin(&mut facts, &rehearsed.origin);
    for member in &rehearsed.members {
        facts.fact(
            "member",
            format_args!(
                "{} ({}) at {}, to `{}`",
                member.name,
                member.member_id,
                member.peer_urls.join(","),
                member.data_dir.display()
            ),
        );
        if let Some(wal_dir) = &member.wal_dir {
            facts.fact("wal directory", wal_dir.display());
        }
    }
    facts.fact("cluster id", &rehearsed.cluster_id);
    facts.fact("token", &rehearsed.token);
    let raised = rehearsed
        .snapshot_revision
        .saturating_add(i64::try_from(rehearsed.bump_revision).unwrap_or(i64::MAX));
    facts.fact("revision", revisions(rehearsed.snapshot_revision, raised));
    facts.fact("live keys", rehearsed.live_keys);
    facts.fact(
        "method",
        if rehearsed.method == "compact" {
            "written anew without free space"
        } else {
            "a copy, edited at its end"
        },
    );
    checks(&mut facts, &rehearsed.integrity, rehearsed.compared.as_deref());
    for place in &rehearsed.space {
        let free = place.free_bytes.map_or_else(|| "an unknown amount".to_owned(), format_size);
        facts.fact(
            "space",
            format_args!(
                "{} of {free} free at `{}`",
                format_size(place.needed_bytes),
                place.directory.display()
            ),
        );
    }
    let took = |ms: u64| format_duration(Duration::from_millis(ms));
    facts.fact(
        "time",
        format_args!(
            "{} to fetch and {} to check, as just now; {} to write",
            took(rehearsed.fetch_ms),
            took(rehearsed.check_ms),
            rehearsed
                .about_write_ms
                .map_or_else(|| "not known how long".to_owned(), |ms| format!("about {}", took(ms)))
        ),
    );
    printer.table(&facts);
    for caution in &rehearsed.cautions {
        printer.warn(caution);
    }
    findings(printer, &rehearsed.integrity);
    printer.note("nothing was written");
}

/// What the integrity check found, but for what is told in other words.
pub(super) fn findings(printer: &Printer, integrity: &Integrity) {
    for finding in integrity.findings.iter().filter(|finding| finding.code != codes::ALARM_STANDING.name) {
        printer.note(format_args!("{}: {} ({})", finding.severity, finding.message, finding.code));
    }
}

fn origin(facts: &mut Table, origin: &Origin) {
    if let (Some(backup), Some(store)) = (&origin.backup, &origin.store) {
        facts.fact("backup", format!("{backup} from store {store}"));
    }
    if let Some(bump) = &origin.bump {
        facts.fact("bump", bump);
    }
}

fn revisions(snapshot: i64, start: i64) -> String {
    if start > snapshot { format!("{snapshot}, raised to {start}") } else { start.to_string() }
}

fn checks(facts: &mut Table, integrity: &Integrity, compared: Option<&[Comparison]>) {
    let findings = counted(integrity.findings.len() as u64, "finding");
    facts.fact("integrity", format!("{}, {findings}", integrity.outcome));
    if let Some(compared) = compared {
        let what: Vec<&str> = compared.iter().map(|it| it.what).collect();
        facts.fact("as expected", what.join(", "));
    }
}
