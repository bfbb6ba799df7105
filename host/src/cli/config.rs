//! `holdfast config check`: is the configuration sound, and is everything there that it names?

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;

use super::{Context, answer};
use crate::agent;
use crate::config::{Config, ConfigErrors, Described, Diagnostic, Severity, Source, probe};
use crate::printer::Table;
use crate::units::{counted, format_duration, format_size};

/// Work with the configuration
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    Check(CheckArgs),
}

/// Check the configuration, and everything that it names
///
/// Reads the file, and tells all that is wrong at once, each with its line and what to do. Then opens what it names: password,
/// certificates and keys, recipients, identities, and plugins, which judge their own `config` against the schema that
/// they describe; and if a chain boots an etcd on restored backups, it is asked for its version. Buckets are asked whether they can be used. Nothing is sent to the cluster, and no store is changed.
///
/// Exits 0 when all is well, 1 when there are errors, 2 when the file could not be read. Warnings change nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast config check
  holdfast config check --config ./holdfast.toml
  holdfast config check --output json | jq -r '.diagnostics[] | \"\\(.line): \\(.message)\"'")]
pub struct CheckArgs {}

/// What is printed as JSON.
#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    sound: bool,
    diagnostics: Vec<Described<'a>>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let ConfigCommand::Check(CheckArgs {}) = args.command;
    let loaded = Config::load(&context.config_path);
    let (source, diagnostics, config) = match loaded {
        Ok(config) => {
            let mut diagnostics = config.warnings.clone();
            diagnostics.extend(probe::probe(&config).await);
            diagnostics.extend(agent::check_plugins(&config).await);
            diagnostics.sort_by_key(|one| one.span.as_ref().map_or(0, |span| span.start));
            (config.source.clone(), diagnostics, Some(config))
        }
        Err(ConfigErrors::Invalid(invalid)) => (invalid.source, invalid.diagnostics, None),
        Err(error) => return Err(error.into()),
    };
    let sound = diagnostics.iter().all(|one| one.severity != Severity::Error);
    if context.printer.is_json() {
        context.printer.json(&Checked {
            file: source.path.display().to_string(),
            sound,
            diagnostics: diagnostics.iter().map(|one| source.describe(one)).collect(),
        });
    } else {
        print(context, &source, &diagnostics);
        match config {
            Some(config) if sound => summary(context, &config),
            _ => context
                .printer
                .message(format_args!("configuration `{}` cannot be used", source.path.display())),
        }
    }
    Ok(answer(sound))
}

fn print(context: &Context, source: &Source, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let text = source.render(diagnostic, context.printer.colour());
        context.printer.message(format_args!("{}\n", text.trim_end()));
    }
}

/// What the configuration comes to, in a few lines.
fn summary(context: &Context, config: &Config) {
    let mut facts = Table::facts();
    let backup = &config.backup;
    facts.fact(
        "cluster",
        format_args!(
            "{}, {}",
            config.cluster.name,
            counted(config.cluster.endpoints().len() as u64, "endpoint")
        ),
    );
    match &backup.schedule {
        Some(schedule) => {
            let next = schedule
                .next_after((context.now)())
                .map_or_else(String::new, |next| format!(", next {next}"));
            facts.fact("schedule", format_args!("{schedule} ({}{next})", schedule.describe()));
        }
        None if backup.stores.is_empty() => facts.fact("schedule", "none, no backups are made here"),
        None => facts.fact("schedule", "none, backups are made by hand"),
    }
    for verify in &config.verify {
        let next = verify.schedule.next_after((context.now)());
        let next = next.map_or_else(String::new, |next| format!(", next {next}"));
        let store = verify.store.as_deref().map_or_else(String::new, |store| format!(" in {store}"));
        let what = format_args!("{}{store}: {}{next}", verify.pick.name(), verify.schedule).to_string();
        facts.fact("verifies", what);
    }
    let stores = if backup.stores.is_empty() { agent::store_names(config) } else { backup.stores.clone() };
    facts.fact("stores", stores.join(", "));
    facts.fact("encrypted", if backup.is_encrypted() { "yes" } else { "no" });
    for name in &backup.verify {
        let Some(chain) = config.chains.get(name) else { continue };
        let steps: Vec<&str> = chain.steps.iter().map(|step| step.kind.name()).collect();
        let steps = format!("{name}: {} within {}", steps.join(", "), format_duration(chain.timeout));
        facts.fact("proof", steps);
    }
    if let Some(rate) = backup.rate_limit {
        facts.fact("rate limit", format_args!("{}/s", format_size(rate)));
    }
    context.printer.line(format_args!("ok: `{}`", config.source.path.display()));
    context.printer.table(&facts);
}
