//! `holdfast plugin bench`: what a plugin costs.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use holdfast_runtime::{CallStats, Kind, Plugin};
use serde::Serialize;

use super::super::Context;
use super::super::failure::{Failure, FailureExt as _};
use super::run::milliseconds;
use super::settings::{self, Case, SettingsArgs};
use super::subject::{Subject, SubjectArgs};
use crate::config::Config;
use crate::printer::{Align, Printer, Table};
use crate::units::format_size;

/// Measure a plugin: loading, calling, and what it reads
///
/// Compiles it anew and loads it from the cache, calls it many times on the snapshot, and compares with a native scan that reads every key
/// and value of the same file once. Times are of this machine, now; compare them with each other.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin bench required-keys.wasm --snapshot snapshot.db --plugin-config rules.toml
  holdfast plugin bench mine.wasm --snapshot snapshot.db --runs 1000 --output json")]
pub struct Args {
    /// The component, `NAME.wasm`
    pub file: PathBuf,
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How often it is called
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub runs: u32,
}

/// What was measured. Times in milliseconds.
#[derive(Serialize)]
struct Measured {
    plugin: String,
    version: String,
    sha256: String,
    compile_ms: f64,
    cached_load_ms: f64,
    runs: u32,
    call_ms: Spread,
    cpu_ms: Spread,
    /// Of the native scan.
    scan_ms: Spread,
    peak_memory_bytes: u64,
    rows: u64,
    bytes: u64,
    host_calls: u64,
    /// Median call to median scan.
    ratio: f64,
}

#[derive(Serialize)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// Of at least one time.
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |index: usize| times.get(index).copied().map_or(0.0, milliseconds);
        Self { least: at(0), median: at(times.len() / 2), most: at(times.len().saturating_sub(1)) }
    }
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config_if_any()?;
    let subject = Subject::open(&args.subject, config.as_ref(), context).await?;
    let measured = measure(args, config.as_ref(), &subject).await?;
    context.printer.show(&measured, |printer| print(printer, &measured));
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &Args, config: Option<&Config>, subject: &Subject) -> Result<Measured> {
    let cache = tempfile::tempdir().context("there is no place for a cache")?;
    let load = async || {
        let host = super::host_for(config, cache.path().to_owned())?;
        super::ready(super::examine(&host, &args.file).await?)
    };
    let compiled = load().await?;
    let cached = load().await?;
    let plugin = &cached.plugin;
    if plugin.kind() != Kind::Verifier {
        let what =
            format!("`{}` is a {}: its time is that of what it works with", plugin.name(), plugin.kind());
        return Err(anyhow!("{what}"))
            .hint("only verifiers are measured; `holdfast plugin run` tells what a call took");
    }
    let case = settings::cases(&args.settings, plugin.name(), config)?.swap_remove(0);

    let (mut calls, mut processor) = (Vec::new(), Vec::new());
    let mut last = CallStats::default();
    // The first builds the file's index, which every plugin of a run then shares.
    call(plugin, subject, &case).await?;
    for _ in 0..args.runs {
        let started = Instant::now();
        last = call(plugin, subject, &case).await?;
        calls.push(started.elapsed());
        processor.push(last.cpu);
    }
    let scans = args.runs.min(10);
    let scan_ms = Spread::of((0..scans).map(|_| native_scan(subject)).collect::<Result<_>>()?);
    let call_ms = Spread::of(calls);
    Ok(Measured {
        plugin: plugin.name().to_owned(),
        version: plugin.version().to_owned(),
        sha256: plugin.sha256().to_owned(),
        compile_ms: milliseconds(compiled.elapsed),
        cached_load_ms: milliseconds(cached.elapsed),
        runs: args.runs,
        ratio: call_ms.median / scan_ms.median,
        call_ms,
        cpu_ms: Spread::of(processor),
        scan_ms,
        peak_memory_bytes: last.peak_memory_bytes,
        rows: last.rows,
        bytes: last.bytes,
        host_calls: last.host_calls,
    })
}

/// A call must give a report: an error's time says nothing.
async fn call(plugin: &Plugin, subject: &Subject, case: &Case) -> Result<CallStats> {
    let run = subject.judge(plugin, subject.context(), &case.config, &case.grants).await?;
    match run.result {
        Ok(_) => Ok(run.stats),
        Err(error) => {
            let hint = error.hint().map(str::to_owned);
            let error = anyhow!("{} gave no report: {} ({})", plugin.name(), error.message, error.kind);
            Err(Failure { error, hint, code: 2 }.into())
        }
    }
}

/// Reads every byte of every live key and value once.
fn native_scan(subject: &Subject) -> Result<Duration> {
    let live = subject.file.live()?;
    let started = Instant::now();
    let mut sum = 0_u64;
    for entry in live.iter() {
        for bytes in [entry.key, entry.value] {
            sum = bytes.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        }
    }
    black_box(sum);
    Ok(started.elapsed())
}

fn print(printer: &Printer, measured: &Measured) {
    printer.line(format_args!("{} {}", measured.plugin, measured.version));
    let mut table = Table::new([
        ("ms", Align::Left),
        ("least", Align::Right),
        ("median", Align::Right),
        ("most", Align::Right),
    ]);
    let one = |value: f64| format!("{value:.3}");
    table.row(["compile", "", &one(measured.compile_ms), ""]);
    table.row(["load from the cache", "", &one(measured.cached_load_ms), ""]);
    let mut spread = |name: &str, spread: &Spread| {
        table.row([name, &one(spread.least), &one(spread.median), &one(spread.most)]);
    };
    spread(&format!("call ({} of them)", measured.runs), &measured.call_ms);
    spread("processor in a call", &measured.cpu_ms);
    spread("native scan of every key and value", &measured.scan_ms);
    printer.table(&table);
    printer.blank();
    let mut facts = Table::facts();
    facts.fact("call to native scan", format_args!("{:.2}", measured.ratio));
    facts.fact("memory", format_size(measured.peak_memory_bytes));
    facts.fact("rows", measured.rows);
    facts.fact("keys and values", format_size(measured.bytes));
    facts.fact("host calls", measured.host_calls);
    printer.table(&facts);
}
