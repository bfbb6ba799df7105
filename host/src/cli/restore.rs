//! `holdfast restore`: a data directory that etcd starts on, or one for each member.

mod commands;
mod known;
mod plan;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use etcd_snapshot::Facts;
use etcd_snapshot::restore::Plan;
use serde::Serialize;

use super::Context;
use super::agent::stop_on_signals;
use super::failure::FailureExt;
use super::notices;
use super::open::{self, Need, Sources};
use super::target::{PointArgs, Target};
use crate::atomic;
use crate::catalog::Manifest;
use crate::config::Config;
use crate::notify::news;
use crate::restore::against::Expected;
use crate::restore::bump::{self, Bump, Choice};
use crate::restore::room::{self, Place, Sizes, Source};
use crate::restore::{self, Permissions, RestoreFailure};
use crate::session::SessionId;
use crate::source::{self, Found};

/// Restore a backup, or a snapshot file, into new etcd data directories
///
/// Fetches the backup, decrypts, unpacks and checks it, and writes the database, the WAL and the raft snapshot of a new
/// cluster. No etcd binary is needed. The directories appear whole or not at all. The flags are those of `etcdutl snapshot restore`, and
/// some more. Either run it once on each member's machine, with the same `--initial-cluster` and
/// `--initial-cluster-token` (`--print-commands` prints the lines), or write all members at once with `--all-members`.
///
/// A copy that is damaged, or whose store is away, is passed over for the next store's. A file that fails its integrity check
/// is refused unless `--force` says otherwise, and so is a restore that the disk has no room for.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast restore latest --data-dir /var/lib/etcd --dry-run
      the plan, what was checked, and the time and space it takes; writes nothing

  holdfast restore latest --data-dir /var/lib/etcd
      one member, on its own

  holdfast restore latest --data-dir /var/lib/etcd --print-commands \\
      --initial-cluster a=https://10.0.0.1:2380,b=https://10.0.0.2:2380,c=https://10.0.0.3:2380
      what to run on each of three machines

  holdfast restore latest --all-members /srv/restored \\
      --initial-cluster a=https://10.0.0.1:2380,b=https://10.0.0.2:2380,c=https://10.0.0.3:2380
      all three here: /srv/restored/a, /srv/restored/b, /srv/restored/c

  holdfast restore snapshot.db --data-dir /tmp/look --verify-against 20261121T030000Z-48213
      a file, if it is the snapshot of that backup; without --verify-against no configuration is needed")]
pub struct Args {
    /// The id of a backup, `latest`, or a snapshot file
    #[arg(value_name = "ID|latest|FILE", default_value = "latest")]
    pub backup: Target,
    /// By time or revision.
    #[command(flatten)]
    pub point: PointArgs,
    /// The data directory to write; it must not be there yet, or be empty
    #[arg(long, value_name = "DIR", required_unless_present = "all_members")]
    pub data_dir: Option<PathBuf>,
    /// Write the data directory of every member of `--initial-cluster` below this one, by its name
    #[arg(long, value_name = "DIR", requires = "initial_cluster", conflicts_with_all = ["data_dir", "name", "initial_advertise_peer_urls"])]
    pub all_members: Option<PathBuf>,
    /// A directory of its own for the WAL; within the data directory otherwise. With `--all-members`, one below it for each
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// The name of this member
    #[arg(long, default_value = "default")]
    pub name: String,
    /// All members of the new cluster [default: this member at its advertised peer URLs]
    #[arg(long, value_name = "NAME=URL,...")]
    pub initial_cluster: Option<String>,
    /// The token of the new cluster, the same for all its members [default: a fresh one, so that no old member can join]
    #[arg(long, value_name = "TOKEN")]
    pub initial_cluster_token: Option<String>,
    /// The peer URLs of this member
    #[arg(long, value_name = "URL,...", value_delimiter = ',', default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: Vec<String>,
    /// Raise the revision by this much, so that watchers never see it go backwards; `auto` works it out from the newest
    /// revision that the stores or living members know of, `none` leaves it [default: auto for Kubernetes' keys, else none]
    #[arg(long, value_name = "N|auto|none")]
    pub bump_revision: Option<Choice>,
    /// Mark all revisions up to the raised one as compacted, so that watchers start afresh; `auto` always does
    #[arg(long)]
    pub mark_compacted: bool,
    /// Clear the alarms that stand in the backup (no space, corruption)
    #[arg(long)]
    pub clear_alarms: bool,
    /// Take out users, roles and authentication, for a cluster whose passwords are lost
    #[arg(long)]
    pub strip_auth: bool,
    /// Write a defragmented database instead of a copy
    #[arg(long)]
    pub compact: bool,
    /// Do not ask for a sha256 behind the snapshot: for a database file copied from a data directory
    #[arg(long)]
    pub skip_hash_check: bool,
    /// Restore although the integrity check failed
    #[arg(long)]
    pub force: bool,
    /// Refuse any other snapshot than the one that a backup (by its id), a manifest, a proof, or the output of `holdfast inspect`
    /// describes
    #[arg(long, value_name = "ID|FILE")]
    pub verify_against: Option<Target>,
    /// Fetch and check, tell the plan, the time and the space, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the command to run on each member's machine, and write nothing
    #[arg(long, requires = "initial_cluster", conflicts_with_all = ["all_members", "dry_run", "name", "initial_advertise_peer_urls"])]
    pub print_commands: bool,
    /// The store to read from, and no other; else the first that has it whole
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// A file with the age identity (secret key) that decrypts it, besides those of `decrypt.identity_files`. May be given more than once
    #[arg(long, short, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// Which backup is restored, and at which revision the cluster will start.
#[derive(Debug, Serialize)]
struct Origin {
    /// None for a file.
    backup: Option<String>,
    /// None for a file.
    store: Option<String>,
    /// How `auto` came to its amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    bump: Option<Bump>,
}

/// What is printed: which backup, and what became of it.
#[derive(Debug, Serialize)]
struct Restored {
    #[serde(flatten)]
    origin: Origin,
    #[serde(flatten)]
    report: restore::Report,
}

/// What a dry run prints.
#[derive(Debug, Serialize)]
struct Rehearsed {
    #[serde(flatten)]
    origin: Origin,
    cluster_id: String,
    token: String,
    snapshot_revision: i64,
    /// By how much the revision would be raised; 0 for not at all.
    bump_revision: u64,
    live_keys: u64,
    members: Vec<plan::Planned>,
    /// `append` or `compact`.
    method: &'static str,
    integrity: etcd_snapshot::Integrity,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Vec<restore::against::Comparison>>,
    cautions: Vec<String>,
    space: Vec<Place>,
    /// What it took here to fetch and unpack the backup.
    fetch_ms: u64,
    /// What it took here to check it.
    check_ms: u64,
    /// About what writing will take; none if the disk could not be tried.
    about_write_ms: Option<u64>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let restored = Box::pin(restore(args, context)).await;
    if !args.dry_run && !args.print_commands {
        tell(args, &restored, context).await;
    }
    restored
}

/// Tells those who want to know. A restore needs no configuration, and one that cannot be read tells nobody.
async fn tell(args: &Args, restored: &Result<ExitCode>, context: &Context) {
    let Ok(config) = Config::load(&context.config_path) else { return };
    let place = args.all_members.as_ref().or(args.data_dir.as_ref());
    let place = place.map(|place| place.display().to_string()).unwrap_or_default();
    let events = notices::events(&config, context, |origin| {
        let error = restored.as_ref().err().map(|error| format!("{error:#}"));
        vec![news::of_restore(origin, &args.backup.to_string(), error.as_deref().map_or(Ok(&place), Err))]
    });
    notices::tell(&config, events, None, context).await;
}

async fn restore(args: &Args, context: &Context) -> Result<ExitCode> {
    let args = &Args { backup: args.point.or(&args.backup), ..args.clone() };
    // A plan that cannot be carried out is refused before anything is fetched.
    plan::check_bump(args)?;
    let mut plans = plan::plans(args)?;
    if args.print_commands {
        return commands::run(args, &plans, context).await;
    }
    Plan::validate_all(&plans)?;
    if let (None, [plan]) = (&args.all_members, &*plans) {
        plan.check_advertised(&args.initial_advertise_peer_urls)?;
    }
    let sources = Sources::new(context, &args.backup, args.store.as_deref(), &args.identity, Need::Help)?;
    let cancel = stop_on_signals()?;
    let found = open::unless_stopped(&cancel, sources.find(&args.backup, context)).await??;
    let expected = open::unless_stopped(&cancel, expected(args, &sources, context)).await??;
    let mut foreseen = None;
    if let Some(found) = &found {
        note_latest(args, found, &plans, context);
        let places = room::places(&plans, sizes_of(&found.entry.manifest), Source::ToCome);
        room::refuse_short(&places)?;
        foreseen = Some(places);
    }

    // Beside the last target: what is unpacked there is moved into it.
    let beside = plans.last().map_or(Path::new("."), |plan| atomic::parent(&plan.data_dir)).to_owned();
    let name = SessionId::random().to_string();
    let lasts = !args.dry_run && !args.compact;
    let place = source::Place { directory: &beside, name: &name, lasts };
    let began = Instant::now();
    let fetching = sources.fetch(&args.backup, found, place, context);
    let mut opened = open::answered(open::unless_stopped(&cancel, fetching).await?)?;
    let fetching_took = began.elapsed();
    let missing_hash = args.skip_hash_check || opened.has_no_hash();
    let allowed = Permissions { missing_hash, failed_integrity: args.force };
    let ahead = if args.dry_run { &[] } else { &*plans };
    let checked = restore::check(&opened.file, allowed, expected.as_ref(), ahead).await;
    let checked = answered(checked)?;

    let facts = &checked.inspection.facts;
    let seen = known::Asked { sources: &sources, found: opened.found.as_ref(), file: opened.file.path() };
    let worked_out = raise(args, &mut plans, facts, &seen, context).await?;
    let path = opened.file.path();
    let lies = if opened.file.is_own() { Source::Own(path) } else { Source::Theirs(path) };
    let places = room::places(&plans, sizes_in(facts), lies);
    // The copy under way has taken its room already.
    if !checked.is_being_copied() {
        room::refuse_short(&places)?;
    }
    let cautions = plans.first().map(|plan| restore::cautions(facts, plan)).unwrap_or_default();
    let origin = Origin {
        backup: opened.found.as_ref().map(|found| found.entry.manifest.id.to_string()),
        store: opened.found.as_ref().map(|found| found.named.name.clone()),
        bump: worked_out,
    };
    if args.dry_run {
        // Of a backup, with the room that it was unpacked to here, and is unpacked to again.
        let places = foreseen.unwrap_or(places);
        let about = about(&plans, facts, &places).await;
        let rehearsed = Rehearsed {
            origin,
            cluster_id: format!("{:016x}", plans[0].ids()?.0),
            token: plans[0].token.clone(),
            snapshot_revision: facts.revision,
            bump_revision: plans[0].bump_revision.unwrap_or(0),
            live_keys: facts.live_keys,
            members: plan::planned(&plans)?,
            method: if args.compact { "compact" } else { "append" },
            integrity: checked.inspection.integrity.clone(),
            compared: checked.compared.clone(),
            cautions,
            space: places,
            fetch_ms: millis(fetching_took),
            check_ms: millis(checked.took),
            about_write_ms: about.map(millis),
        };
        context.printer.show(&rehearsed, |printer| show::rehearsed(printer, &rehearsed));
        return Ok(ExitCode::SUCCESS);
    }
    opened.file.written_out().await?;
    let report = answered(restore::write(checked, plans).await)?;
    let restored = Restored { origin, report };
    context.printer.show(&restored, |printer| show::restored(printer, &restored));
    for caution in &cautions {
        context.printer.warn(caution);
    }
    show::findings(&context.printer, &restored.report.integrity);
    Ok(ExitCode::SUCCESS)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn answered<T>(result: Result<T, RestoreFailure>) -> Result<T> {
    match result {
        Err(error) if error.is_answer() => Err(error).answer_is_no(),
        other => Ok(other?),
    }
}

/// `latest` may be another backup on the next machine, a minute later.
fn note_latest(args: &Args, found: &Found, plans: &[Plan], context: &Context) {
    let elsewhere = args.all_members.is_none() && plans.iter().any(|plan| plan.initial_cluster.len() > 1);
    if elsewhere && args.backup == Target::Latest {
        let id = &found.entry.manifest.id;
        context.printer.warn(format_args!(
            "`latest` is `{id}` now: restore the other members from the same, `holdfast restore {id} …`"
        ));
    }
}

fn sizes_of(manifest: &Manifest) -> Sizes {
    Sizes { unpacked_bytes: manifest.plain.size_bytes, ..sizes_in(&manifest.facts) }
}

fn sizes_in(facts: &Facts) -> Sizes {
    Sizes { image_bytes: facts.image_bytes, in_use_bytes: facts.in_use_bytes, unpacked_bytes: 0 }
}

/// What the snapshot has to be, as `--verify-against` says.
async fn expected(args: &Args, sources: &Sources, context: &Context) -> Result<Option<Expected>> {
    let Some(against) = &args.verify_against else { return Ok(None) };
    if let Target::File(path) = against {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        return Ok(Some(Expected::read(&path.display().to_string(), &bytes)?));
    }
    let config = match &sources.config {
        Some(_) => None,
        None => Some(context.config()?),
    };
    let config = sources.config.as_ref().or(config.as_ref()).context("there is no configuration")?;
    let stores = super::list::selected_stores(config, None)?;
    let found = open::find(&stores, against, context).await?;
    Ok(Some(Expected::manifest(&found.entry.manifest)))
}

/// Puts the bump into the plans, and tells how it came about where it was worked out.
async fn raise(
    args: &Args,
    plans: &mut [Plan],
    facts: &Facts,
    asked: &known::Asked<'_>,
    context: &Context,
) -> Result<Option<Bump>> {
    // The mark alone asks for both, and the amount is left to be found.
    let usual = if facts.kubernetes || args.mark_compacted { Choice::Auto } else { Choice::By(0) };
    let (by, worked_out) = match args.bump_revision.unwrap_or(usual) {
        Choice::By(by) => (by, None),
        Choice::Auto => {
            let seen = known::revisions(asked, facts, context).await;
            let bump = bump::work_out(facts.revision, &seen, (context.now)());
            one_amount_for_all(args, plans, &bump)?;
            (bump.by, Some(bump))
        }
    };
    for plan in plans {
        (plan.bump_revision, plan.mark_compacted) = (Some(by).filter(|by| *by > 0), by > 0);
    }
    Ok(worked_out)
}

/// Members that start at different revisions hold different data for good: each run of its own must be told the amount.
fn one_amount_for_all(args: &Args, plans: &[Plan], bump: &Bump) -> Result<()> {
    let several = plans.first().is_some_and(|plan| plan.initial_cluster.len() > 1);
    if !several || args.all_members.is_some() || args.print_commands || args.dry_run {
        return Ok(());
    }
    let refused: Result<()> = Err(anyhow!(
        "the revision of this keyspace has to be raised, by the same amount on each of several members, and none is given"
    ));
    refused.hint(format!(
        "give all of them `--bump-revision {} --mark-compacted`; `--print-commands` prints the line for each machine, and \
         `--bump-revision none` leaves the revision as it is",
        bump.by
    ))
}

/// About how long writing takes, by a short trial on the first disk.
async fn about(plans: &[Plan], facts: &Facts, places: &[Place]) -> Option<Duration> {
    let place = places.first()?.clone();
    let bytes: u64 = plans.iter().map(|plan| sizes_in(facts).database_bytes(plan)).sum();
    // Where blocks are shared, less is written than there is in the end.
    let bytes = bytes.min(places.iter().map(|place| place.needed_bytes).sum());
    let directory: &Path = &place.directory;
    let directory = directory.to_owned();
    let tried = tokio::task::spawn_blocking(move || room::throughput(&directory, place.needed_bytes));
    tried.await.ok().flatten().map(|rate| room::duration(bytes, rate))
}
