//! `holdfast keys`: which keys a snapshot has.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use etcd_snapshot::LiveKeys;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use super::look::{NEWEST, ObjectArgs, SourceArgs, View, printable, select};
use super::target::Target;
use super::{Context, answer};

/// List the keys of a backup, or of a snapshot file, without a restore
///
/// Keys in order, all of them or those with a prefix, or those of a kind, a namespace, a name of Kubernetes objects; at the newest
/// revision, or any older one that was not compacted.
///
/// Exits 0 when there are such keys, 1 when there are none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast keys latest /registry/secrets/
  holdfast keys snapshot.db --kind deployment --namespace web --long
  holdfast keys snapshot.db --count --revision 1641
  holdfast keys latest --limit 10 --reverse --output json
  holdfast keys at:2026-11-20T02:00:00Z --count         of the nearest backup at that time or before")]
pub struct Args {
    /// The id of a backup, `latest`, `at:TIME` or `revision:N` for the nearest backup at that point or before, or a snapshot file
    #[arg(value_name = "ID|latest|FILE")]
    pub subject: Target,
    /// Only keys that begin with this
    #[arg(conflicts_with_all = ["kind", "namespace", "name"])]
    pub prefix: Option<String>,
    /// The keys at this revision; the newest otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub revision: Option<i64>,
    /// Show revision, version, lease and size as well
    #[arg(long, short)]
    pub long: bool,
    /// Show so many keys at most
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// From the last key to the first
    #[arg(long)]
    pub reverse: bool,
    /// Only how many there are
    #[arg(long, conflicts_with_all = ["long", "limit", "reverse"])]
    pub count: bool,
    /// Which objects.
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// Where from.
    #[command(flatten)]
    pub from: SourceArgs,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let view = View::open(&args.subject, &args.from, 1, context).await?;
    let revision = view.revision(args.revision.unwrap_or(NEWEST))?;
    let live = view.live_at(args.revision.unwrap_or(NEWEST))?;
    let selection = select(&args.objects.wanted(args.prefix.as_deref()), &[&live])?;
    let count = if selection.prefixes().iter().all(Vec::is_empty) && !args.objects.is_given() {
        live.len()
    } else {
        selection.positions(&live).count()
    };
    let limit = args.limit.unwrap_or(usize::MAX);
    let positions = || -> Box<dyn Iterator<Item = usize> + '_> {
        let all = selection.positions(&live);
        if args.reverse { Box::new(all.rev().take(limit)) } else { Box::new(all.take(limit)) }
    };
    if context.printer.is_json() {
        let shown = if args.count { None } else { Some(Listed { live: &live, positions: &positions }) };
        context.printer.json(&Listing { subject: &view.name, revision, count, keys: shown });
    } else if args.count {
        context.printer.line(count);
    } else {
        context.printer.stream(|out| {
            if args.long {
                writeln!(out, "{:>12} {:>9} {:>16} {:>9}  KEY", "REVISION", "VERSION", "LEASE", "BYTES")?;
            }
            positions().try_for_each(|position| line(out, &live, position, args.long))
        });
        if limit < count {
            context.printer.note(format_args!("{limit} of {count} keys"));
        }
    }
    Ok(answer(count > 0))
}

fn line(out: &mut dyn Write, live: &LiveKeys<'_>, position: usize, long: bool) -> io::Result<()> {
    let key = live.key(position);
    if long {
        let it = live.metadata(position);
        let lease = if it.lease == 0 { "-".to_owned() } else { format!("{:x}", it.lease) };
        write!(out, "{:>12} {:>9} {lease:>16} {:>9}  ", it.mod_revision, it.version, it.value_len)?;
    }
    writeln!(out, "{}", printable(key))
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Listing<'a> {
    subject: &'a str,
    revision: i64,
    /// All that were meant, more than are listed where there is a limit.
    count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Listed<'a>>,
}

/// The keys, written one by one: there can be millions.
struct Listed<'a> {
    live: &'a LiveKeys<'a>,
    positions: &'a dyn Fn() -> Box<dyn Iterator<Item = usize> + 'a>,
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for position in (self.positions)() {
            let it = self.live.metadata(position);
            list.serialize_element(&Row {
                key: &printable(self.live.key(position)),
                create_revision: it.create_revision,
                mod_revision: it.mod_revision,
                version: it.version,
                lease: it.lease,
                size_bytes: it.value_len,
            })?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
    size_bytes: usize,
}
