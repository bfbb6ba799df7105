//! `holdfast show`: all that is known of one backup.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::Context;
use super::list::selected_stores;
use super::open;
use super::report;
use super::target::{PointArgs, Target};
use crate::printer::Table;
use crate::units;

/// Show all that is known of one backup
///
/// Its manifest (where it came from, revision, sizes, digests, how it was packed, what was found before and after) and
/// every proof made since. Nothing is downloaded but these.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast show latest
  holdfast show 20261121T030000Z-48213 --output json")]
pub struct Args {
    /// The id of a backup, or `latest`
    #[arg(value_name = "ID|latest", default_value = "latest")]
    pub backup: Target,
    /// By time or revision.
    #[command(flatten)]
    pub point: PointArgs,
    /// The store to look in; the first that has it otherwise
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config()?;
    let stores = selected_stores(&config, args.store.as_deref())?;
    let target = args.point.or(&args.backup);
    let found = match &target {
        Target::File(path) => {
            bail!("`{}` is no backup id; `holdfast inspect` looks into files", path.display())
        }
        target => open::find(&stores, target, context).await?,
    };
    context.printer.show(&found.entry, |printer| {
        let manifest = &found.entry.manifest;
        let mut facts = Table::facts();
        facts.fact("backup", &manifest.id);
        facts.fact("cluster", format!("{} ({})", manifest.cluster.name, manifest.cluster.id));
        facts.fact("store", &found.named.name);
        facts.fact("begun", manifest.started);
        facts.fact("committed", manifest.committed);
        facts.fact(
            "from",
            format!(
                "{} (member {}, etcd {})",
                manifest.endpoint, manifest.member_id, manifest.server_version
            ),
        );
        facts.fact("revision", manifest.facts.revision);
        facts.fact("compacted at", manifest.facts.compact_revision);
        facts.fact("live keys", manifest.facts.live_keys);
        facts.fact(
            "size",
            format!(
                "{} ({} bytes)",
                units::format_size(manifest.plain.size_bytes),
                manifest.plain.size_bytes
            ),
        );
        facts.fact("sha256", &manifest.plain.sha256);
        facts.fact("hash", format_args!("{}, {:08x}", manifest.facts.hash, manifest.facts.hash));
        facts.fact("object", &manifest.stored.path);
        facts.fact(
            "stored",
            format!(
                "{} ({} bytes)",
                units::format_size(manifest.stored.size_bytes),
                manifest.stored.size_bytes
            ),
        );
        facts.fact("stored sha256", &manifest.stored.sha256);
        let recipients = manifest.pack.recipients.join(", ");
        facts.fact(
            "packed",
            format!(
                "{} {}, encryption {} {recipients}",
                manifest.pack.compression, manifest.pack.level, manifest.pack.encryption
            ),
        );
        facts.fact(
            "integrity",
            format!(
                "{}, {}",
                manifest.integrity.outcome,
                units::counted(manifest.integrity.findings.len() as u64, "finding")
            ),
        );
        facts.fact("agreement", format!("{}: {}", manifest.agreement.outcome, manifest.agreement.summary()));
        if let Some(continuity) = &manifest.continuity {
            facts.fact("continuity", format!("{}: {}", continuity.outcome, continuity.summary()));
        }
        printer.table(&facts);
        for record in &found.entry.records {
            printer.blank();
            report::steps(printer, record);
        }
        if found.entry.records.is_empty() {
            printer.note("it was never proved; `holdfast verify` does");
        }
    });
    Ok(ExitCode::SUCCESS)
}
