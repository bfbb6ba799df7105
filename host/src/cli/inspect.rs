//! `holdfast inspect`: what is in a snapshot file, and is it sound?

mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use etcd_snapshot::{Facts, Finding, Inspection, Integrity, Outcome, ReadError, Severity};
use serde::Serialize;

use super::open::{self, Need, Opened, Sources};
use super::target::{PointArgs, Target};
use super::{Context, answer, verify};
use crate::details::Details;
use crate::pipeline::inspect::{Hash, Inspected, inspect};
use crate::printer::{Align, Printer, Table};
use crate::source::{self, Place};
use crate::units::{counted, format_size};

/// Entries of each list of the details.
const DEFAULT_TOP: u16 = 10;
/// Findings shown to people. JSON has as many as the check keeps.
const SHOWN_FINDINGS: usize = 50;

/// Look into a snapshot: its facts, what takes the room, and whether it is sound
///
/// Reads the file in place: revision, hashes, keys, buckets, members, alarms, and every finding of the integrity check with its
/// place. `--details` adds what takes the room: keys by prefix and by Kubernetes kind, the largest and the most often rewritten
/// keys, what a defragmentation would free, the leases. A file is one that etcd sent (`etcdctl snapshot save`), a
/// `member/snap/db`, or one taken out of a store; that one is unpacked first. For files no configuration is needed.
///
/// Exits 0 when it is sound, 1 when it is damaged, 2 when it could not be read as a database at all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast inspect snapshot.db
  holdfast inspect latest --details --top 20
  holdfast inspect --at 2026-11-20T02:00:00Z --details
  holdfast inspect snapshot.db --quick --output json | jq .revision
  holdfast inspect /var/lib/etcd/member/snap/db --allow-missing-hash
  holdfast inspect snapshot.db.zst.age --identity ~/age.key")]
pub struct Args {
    /// A snapshot file, the id of a backup, or `latest`
    #[arg(value_name = "FILE|ID|latest", required_unless_present_any = ["at", "revision"])]
    pub backup: Option<Target>,
    /// By time or revision.
    #[command(flatten)]
    pub point: PointArgs,
    /// Tell what takes the room
    #[arg(long)]
    pub details: bool,
    /// How many of each list of the details; implies them [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub top: Option<u16>,
    /// Leave out the sha256 behind the snapshot, which takes most of the time
    #[arg(long)]
    pub quick: bool,
    /// A missing sha256 behind the snapshot is no error: for files copied from a data directory
    #[arg(long)]
    pub allow_missing_hash: bool,
    /// The store to read from; the first that has it whole otherwise
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// A file with the age identity (secret key) that decrypts it, besides those of `decrypt.identity_files`. May be given more than once
    #[arg(long, short, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// What is printed. Its JSON is a documented format: `docs/inspect.schema.json`.
#[derive(Debug, Serialize)]
struct Look {
    /// None for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
    /// None for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    #[serde(flatten)]
    inspection: Inspection,
    /// When they were asked for, and the keys can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let name = format!("inspect-{}", std::process::id());
    let target = args.point.given().or_else(|| args.backup.clone()).context("no backup is named")?;
    let opened = match (&target, &args.store) {
        // What lies there plain is read where it lies, whatever the configuration may say.
        (Target::File(path), None) if !open::is_packed(path) => {
            let scratch = verify::scratch(None);
            let file = source::open_file(path, &[], Place::passing(&scratch, &name)).await;
            Opened { file: open::answered(file)?, found: None }
        }
        _ => {
            let store = args.store.as_deref();
            let sources = Sources::new(context, &target, store, &args.identity, Need::Help)?;
            let scratch = verify::scratch(sources.config.as_ref());
            sources.open(&target, &scratch, &name, context).await?
        }
    };
    let hash = if args.quick { Hash::Skip } else { opened.hash(args.allow_missing_hash) };
    let inspected = inspect(opened.file.path(), hash).await?;
    let top = args.top.or(args.details.then_some(DEFAULT_TOP));
    let details = match top {
        Some(top) => details(&inspected, top).await.map(Some),
        None => Ok(None),
    };
    let look = Look {
        backup: opened.found.as_ref().map(|found| found.entry.manifest.id.to_string()),
        store: opened.found.as_ref().map(|found| found.named.name.clone()),
        inspection: inspected.inspection,
        details: details.unwrap_or_else(|error| {
            context.printer.warn(format_args!("there are no details: {error}"));
            None
        }),
    };
    context.printer.show(&look, |printer| {
        facts(printer, &look.inspection.facts);
        if let Some(details) = &look.details {
            show::details(printer, details);
        }
        integrity(printer, &look.inspection.integrity);
    });
    Ok(answer(look.inspection.integrity.outcome == Outcome::Passed))
}

async fn details(inspected: &Inspected, top: u16) -> Result<Details, ReadError> {
    let (file, facts) = (Arc::clone(&inspected.file), inspected.inspection.facts.clone());
    let work = move || crate::details::details(&file, &facts, usize::from(top));
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn facts(printer: &Printer, facts: &Facts) {
    let mut table = Table::facts();
    let compacted = revision_or_none(facts.compact_revision);
    let pending = facts.scheduled_compact_revision > facts.compact_revision;
    table.fact("revision", facts.revision);
    table.fact(
        "compacted",
        if pending {
            format!("{compacted}, under way to {}", facts.scheduled_compact_revision)
        } else {
            compacted
        },
    );
    table.fact(
        "keys",
        format_args!("{} live, {} revisions of them and of deleted ones", facts.live_keys, facts.records),
    );
    let free = facts.image_bytes.saturating_sub(facts.in_use_bytes);
    table.fact(
        "size",
        format_args!("{}, of which {} is free", format_size(facts.size_bytes), format_size(free)),
    );
    table.fact(
        "hash",
        format_args!("{}, {:08x} as `etcdutl snapshot status` shows it", facts.hash, facts.hash),
    );
    table.fact("hashkv", format_args!("{} at revision {}", facts.hashkv.hash, facts.hashkv.revision));
    if let Some(sha256) = &facts.sha256 {
        table.fact("sha256", sha256);
    }
    table.fact("trailer", &facts.trailer);
    let unknown = || "not known".to_owned();
    table.fact(
        "etcd",
        facts
            .etcd_version
            .as_ref()
            .map_or_else(unknown, |version| format!("{version} or later can serve it")),
    );
    table.fact("cluster version", facts.cluster_version.clone().unwrap_or_else(unknown));
    table.fact("storage version", facts.storage_version.clone().unwrap_or_else(unknown));
    table.fact(
        "raft index",
        facts.term.map_or_else(
            || facts.consistent_index.to_string(),
            |term| format!("{}, term {term}", facts.consistent_index),
        ),
    );
    table.fact("leases", facts.leases);
    table.fact("authentication", if facts.auth_enabled { "on" } else { "off" });
    table.fact("kubernetes", if facts.kubernetes { "yes" } else { "no" });
    for alarm in &facts.alarms {
        table.fact("alarm", format_args!("{} raised by {}", alarm.alarm, alarm.member_id));
    }
    printer.table(&table);

    let mut buckets = Table::new([
        ("bucket", Align::Left),
        ("items", Align::Right),
        ("keys", Align::Right),
        ("values", Align::Right),
        ("pages", Align::Right),
    ]);
    for bucket in &facts.buckets {
        buckets.row([
            bucket.name.clone(),
            bucket.items.to_string(),
            format_size(bucket.key_bytes),
            format_size(bucket.value_bytes),
            bucket.pages.to_string(),
        ]);
    }
    printer.blank();
    printer.table(&buckets);

    let columns =
        [("member", Align::Left), ("id", Align::Left), ("role", Align::Left), ("peer urls", Align::Left)];
    let mut members = Table::new(columns);
    for member in &facts.members {
        members.row([
            if member.name.is_empty() { "(never started)".to_owned() } else { member.name.clone() },
            member.id.clone(),
            if member.is_learner { "learner" } else { "voter" }.to_owned(),
            member.peer_urls.join(","),
        ]);
    }
    if !members.is_empty() {
        printer.blank();
        printer.table(&members);
    }
}

fn revision_or_none(revision: i64) -> String {
    if revision < 0 { "never".to_owned() } else { format!("up to {revision}") }
}

fn integrity(printer: &Printer, integrity: &Integrity) {
    printer.blank();
    for finding in integrity.findings.iter().take(SHOWN_FINDINGS) {
        printer.line(line_of(finding));
    }
    let hidden = integrity.findings.len().saturating_sub(SHOWN_FINDINGS) as u64;
    let more = hidden + integrity.suppressed;
    if more > 0 {
        let where_to = if hidden > 0 { "; `--output json` shows more of them" } else { "" };
        printer.line(format_args!("and {more} more findings{where_to}"));
    }
    let count =
        |severity| integrity.findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    printer.line(format_args!(
        "integrity: {} ({}, {})",
        integrity.outcome,
        counted(count(Severity::Error), "error"),
        counted(count(Severity::Warning), "warning")
    ));
}

/// A finding in one line: `error: page-twice: … (page 7, bucket `key`)`.
fn line_of(finding: &Finding) -> String {
    let number = |name: &str, value: &Option<u64>| value.map(|value| format!("{name} {value}"));
    let text = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} `{value}`"));
    let places = [
        number("page", &finding.page),
        number("offset", &finding.offset),
        text("bucket", &finding.bucket),
        text("key", &finding.key),
        text("revision", &finding.revision),
        text("expected", &finding.expected),
        text("found", &finding.found),
    ];
    let places: Vec<String> = places.into_iter().flatten().collect();
    let places = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
    format!("{}: {}: {}{places}", finding.severity, finding.code, finding.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_place() {
        let finding: Finding = serde_json::from_value(serde_json::json!({
            "code": "page-id", "severity": "error", "message": "a page says it is another one",
            "page": 7, "bucket": "key", "expected": "7", "found": "9"
        }))
        .unwrap();
        assert_eq!(
            line_of(&finding),
            "error: page-id: a page says it is another one (page 7, bucket `key`, expected `7`, found `9`)"
        );
    }
}
