//! `holdfast plugin run`: let a plugin do its work, exactly as the agent would.

mod listener;
mod notifier;
mod objects;
mod store;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use etcd_snapshot::Outcome;
use holdfast_runtime::{CallError, CallStats, Denial, Kind, Plugin, PluginHost, Ready, Report, VerifyRun};
use serde::Serialize;

use super::super::failure::FailureExt as _;
use super::super::{Context, agent};
use super::settings::{self, Case, SettingsArgs};
use super::subject::{Subject, SubjectArgs};
use crate::config::Config;
use crate::printer::{Align, Printer, Table};
use crate::units::{format_duration, format_size};

/// How often `--watch` looks at the files. Fast enough to feel at once; builds replace a file in steps.
const LOOK: Duration = Duration::from_millis(200);

/// Let a plugin do its work, exactly as the agent would
///
/// A verifier judges a snapshot file. A script is given an etcd that is restored from it and thrown away; its program is that of `[boot]` in the
/// configuration, or the one on PATH. A notifier is given sample events; with `--listen` there is an HTTP server on this machine that shows what
/// arrives. A store keeps objects in the place that its config names, and is looked at for every promise that Holdfast's own stores
/// keep; it removes them again. With `--listen` there is an HTTP server on this machine that keeps objects in memory, as new projects of
/// stores ask for them.
///
/// The same sandbox, limits and checks of the config; then what it answered, and what the call used: time, memory, rows, host calls. What
/// the plugin logs and writes to standard error is shown as it comes. Limits are those of `[plugin.NAME]` in the configuration, where
/// there is one.
///
/// Exits 0 when it passed, or delivered everything, 1 when it failed, is inconclusive or did not deliver, 2 when there is no answer: an
/// error, a trap, a limit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin run required-keys.wasm --snapshot snapshot.db --plugin-config rules.toml
  holdfast plugin run target/wasm32-wasip2/release/mine.wasm --snapshot snapshot.db --watch
  holdfast plugin run mine.wasm --snapshot snapshot.db --config holdfast.toml --output json | jq '.runs[].used'
  holdfast plugin run webhook.wasm --plugin-config config.toml --listen 127.0.0.1:8080 --allow 'http = [\"http://127.0.0.1:8080\"]'
  holdfast plugin run mine.wasm --plugin-config config.toml --listen 127.0.0.1:8080 --allow 'http = [\"http://127.0.0.1:8080\"]'
  holdfast plugin run webdav.wasm --plugin-config nas.toml --allow 'http = [\"https://nas.example.org\"]'")]
pub struct Args {
    /// The component, `NAME.wasm`
    pub file: PathBuf,
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// An older snapshot: the plugin judges it first, and is told what it wanted to remember of it, as if that backup had been proved
    #[arg(long, value_name = "FILE")]
    pub previous: Option<PathBuf>,
    /// For a notifier: the kinds of events, in this order; a failed backup and its end otherwise. May be repeated
    #[arg(long, value_name = "KIND")]
    pub event: Vec<String>,
    /// Listen there for HTTP: for a notifier, answer each request and show what arrives; for a store, keep objects in memory
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// For a notifier: the status that the listener answers with
    #[arg(long, value_name = "STATUS", default_value_t = 200, requires = "listen")]
    pub answer: u16,
    /// Run again each time that the component or its config is saved, until stopped
    #[arg(long, short)]
    pub watch: bool,
}

/// What is printed as JSON, once for each time that it ran.
#[derive(Serialize)]
struct Ran<'a> {
    plugin: &'a str,
    version: &'a str,
    sha256: &'a str,
    /// Whether the native code came from the cache.
    cached: bool,
    load_ms: f64,
    runs: Vec<Run<'a>>,
}

/// One call.
#[derive(Serialize)]
struct Run<'a> {
    /// Where the config comes from.
    config: &'a str,
    /// `passed`, `failed`, `inconclusive`, or the kind of the error.
    outcome: String,
    report: Option<&'a Report>,
    error: Option<&'a CallError>,
    stderr: &'a str,
    /// What it asked for and was refused.
    denied: &'a [Denial],
    used: Used,
}

#[derive(Serialize)]
struct Used {
    ms: f64,
    cpu_ms: f64,
    peak_memory_bytes: u64,
    rows: u64,
    bytes: u64,
    host_calls: u64,
    log_lines: u64,
    log_lines_dropped: u64,
    http_requests: u64,
    http_sent_bytes: u64,
    http_received_bytes: u64,
    denied: u64,
}

impl From<&CallStats> for Used {
    fn from(stats: &CallStats) -> Self {
        Self {
            ms: milliseconds(stats.elapsed),
            cpu_ms: milliseconds(stats.cpu),
            peak_memory_bytes: stats.peak_memory_bytes,
            rows: stats.rows,
            bytes: stats.bytes,
            host_calls: stats.host_calls,
            log_lines: stats.log_lines,
            log_lines_dropped: stats.log_lines_dropped,
            http_requests: stats.http_requests,
            http_sent_bytes: stats.http_sent_bytes,
            http_received_bytes: stats.http_received_bytes,
            denied: stats.denied,
        }
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config_if_any()?;
    let host = super::host_for(config.as_ref(), super::user_cache())?;
    match super::examine(&host, &args.file).await?.kind {
        Some(Kind::Notifier) => return notifier::run(args, config.as_ref(), &host, context).await,
        Some(Kind::Store) => return store::run(args, config.as_ref(), &host, context).await,
        _ => {}
    }
    let subject = Subject::open(&args.subject, config.as_ref(), context).await?;
    let previous = match &args.previous {
        Some(file) => {
            let given = SubjectArgs { snapshot: Some(file.clone()), ..args.subject.clone() };
            Some(Subject::open(&given, config.as_ref(), context).await?)
        }
        None => None,
    };
    let subjects = Subjects { subject, previous };
    again_and_again(args, context, async || once(args, config.as_ref(), &host, &subjects, context).await)
        .await
}

/// Runs once, or with `--watch` again each time that something is saved.
async fn again_and_again(
    args: &Args,
    context: &Context,
    once: impl AsyncFn() -> Result<ExitCode>,
) -> Result<ExitCode> {
    if !args.watch {
        return once().await;
    }
    let stop = agent::stop_on_signals()?;
    while !stop.is_cancelled() {
        let seen = saved(args);
        if let Err(error) = once().await {
            super::super::failure::report(&error);
        }
        context.printer.note(format_args!("waiting for `{}` to be saved", args.file.display()));
        while !stop.is_cancelled() && saved(args) == seen {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What changes when one of the files is saved. A file that is away for a moment is none.
fn saved(args: &Args) -> Vec<Option<(u64, u64, i64, i64)>> {
    let look = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    [Some(&args.file), args.settings.plugin_config.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| look(path))
        .collect()
}

/// The snapshot, and an older one.
struct Subjects {
    subject: Subject,
    previous: Option<Subject>,
}

impl Subjects {
    async fn judge(&self, plugin: &Plugin, case: &Case) -> Result<VerifyRun> {
        let Case { config, grants, .. } = case;
        let mut told = self.subject.context();
        if let Some(previous) = &self.previous {
            let run = previous.judge(plugin, previous.context(), config, grants).await?;
            let reported = run.result.map_err(|error| {
                anyhow!("there is no report of the older snapshot: {} ({})", error.message, error.kind)
            })?;
            let memo = reported
                .memo
                .ok_or_else(|| anyhow!("the plugin remembers nothing of the older snapshot"))
                .hint("only plugins that remember something compare; leave out `--previous`")?;
            told.push(("previous-backup".to_owned(), "previous".to_owned()));
            told.push(("previous-memo".to_owned(), memo));
        }
        self.subject.judge(plugin, told, config, grants).await
    }
}

async fn once(
    args: &Args,
    config: Option<&Config>,
    host: &PluginHost,
    subjects: &Subjects,
    context: &Context,
) -> Result<ExitCode> {
    let examination = super::examine(host, &args.file).await?;
    if let Some(untrusted) = &examination.untrusted {
        let hint = untrusted.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        context
            .printer
            .warn(format_args!("an agent would refuse the file here: it {}{hint}", untrusted.reason));
    }
    let Ready { plugin, cached, elapsed } = super::ready(examination)?;
    let cases = settings::cases(&args.settings, plugin.name(), config)?;
    let mut runs: Vec<(&Case, VerifyRun)> = Vec::new();
    for case in &cases {
        runs.push((case, subjects.judge(&plugin, case).await?));
    }
    let ran = Ran {
        plugin: plugin.name(),
        version: plugin.version(),
        sha256: plugin.sha256(),
        cached,
        load_ms: milliseconds(elapsed),
        runs: runs.iter().map(|(case, run)| described(case, run)).collect(),
    };
    context.printer.show(&ran, |printer| {
        for run in &ran.runs {
            print(printer, &plugin, run);
        }
    });
    Ok(ExitCode::from(runs.iter().map(|(_, run)| code(run)).max().unwrap_or(2)))
}

fn code(run: &VerifyRun) -> u8 {
    match &run.result {
        Ok(report) if report.outcome == Outcome::Passed => 0,
        Ok(_) => 1,
        Err(_) => 2,
    }
}

fn described<'a>(case: &'a Case, run: &'a VerifyRun) -> Run<'a> {
    let outcome = match &run.result {
        Ok(report) => report.outcome.to_string(),
        Err(error) => error.kind.to_string(),
    };
    Run {
        config: &case.origin,
        outcome,
        report: run.result.as_ref().ok(),
        error: run.result.as_ref().err(),
        stderr: &run.stderr,
        denied: &run.denied,
        used: Used::from(&run.stats),
    }
}

fn print(printer: &Printer, plugin: &Plugin, run: &Run<'_>) {
    printer.line(format_args!("{} {}, {}", plugin.name(), plugin.version(), run.config));
    if let Some(report) = run.report {
        printer.line(format_args!("{}: {}", run.outcome, report.summary));
        findings(printer, report);
        measurements(printer, report);
    }
    if let Some(error) = run.error {
        printer.line(format_args!("{} ({}): {}", run.outcome, error.code, error.message));
        for function in &error.backtrace {
            printer.line(format_args!("  at {function}"));
        }
        for line in run.stderr.lines() {
            printer.line(format_args!("  stderr: {line}"));
        }
        if let Some(hint) = error.hint() {
            printer.line(format_args!("  hint: {hint}"));
        }
    }
    denied(printer, run.denied);
    printer.blank();
    used(printer, plugin, &run.used);
}

fn denied(printer: &Printer, denied: &[Denial]) {
    for denial in denied {
        let times = if denial.times > 1 { format!(", {} times", denial.times) } else { String::new() };
        printer.line(format_args!("  denied: {denial}{times}"));
        if let Some(hint) = &denial.hint {
            printer.line(format_args!("    hint: {hint}"));
        }
    }
}

fn findings(printer: &Printer, report: &Report) {
    for finding in &report.findings {
        let key = finding.key.as_ref().map(|key| format!(" `{}`", key.escape_ascii())).unwrap_or_default();
        let attributes: Vec<String> =
            finding.attributes.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        printer.line(format_args!(
            "  {}: {} ({}){key}{}",
            finding.severity,
            finding.message,
            finding.code,
            attributes.concat()
        ));
    }
    if report.suppressed_findings > 0 {
        printer.line(format_args!("  and {} more findings", report.suppressed_findings));
    }
}

fn measurements(printer: &Printer, report: &Report) {
    let mut table = Table::new([
        ("measured", Align::Left),
        ("value", Align::Right),
        ("unit", Align::Left),
        ("", Align::Left),
    ]);
    for one in &report.measurements {
        let attributes: Vec<String> =
            one.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        table.row([one.name.clone(), one.value.to_string(), one.unit.clone(), attributes.join(" ")]);
    }
    if !table.is_empty() {
        printer.blank();
        printer.table(&table);
    }
}

fn used(printer: &Printer, plugin: &Plugin, used: &Used) {
    let limits = plugin.limits();
    let columns = [("used", Align::Left), ("", Align::Right), ("of", Align::Left)];
    let mut table = Table::new(columns);
    table.row(["time", &format!("{:.1} ms", used.ms), &format_duration(limits.timeout)]);
    table.row(["processor", &format!("{:.1} ms", used.cpu_ms), &format_duration(limits.cpu)]);
    table.row(["memory", &format_size(used.peak_memory_bytes), &format_size(limits.memory_bytes)]);
    table.row(["rows", &used.rows.to_string(), ""]);
    table.row(["keys and values", &format_size(used.bytes), ""]);
    table.row(["host calls", &used.host_calls.to_string(), &limits.host_calls.to_string()]);
    let dropped = if used.log_lines_dropped > 0 {
        format!("{} dropped", used.log_lines_dropped)
    } else {
        String::new()
    };
    table.row(["log lines", &used.log_lines.to_string(), &dropped]);
    if used.http_requests > 0 {
        let of = limits.http_requests.to_string();
        table.row(["http requests", &used.http_requests.to_string(), &of]);
        let (sent, received) = (used.http_sent_bytes, used.http_received_bytes);
        table.row(["sent", &format_size(sent), &format_size(limits.http_request_bytes)]);
        table.row(["received", &format_size(received), &format_size(limits.http_response_bytes)]);
    }
    printer.table(&table);
}
