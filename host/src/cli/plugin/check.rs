//! `holdfast plugin check`: what is this file, and would an agent take it?

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use holdfast_runtime::{Allow, Examination, Import, Kind, Plugin, Rejection, Setting, Signature};
use serde::Serialize;

use super::super::{Context, answer};
use crate::printer::{Align, Printer, Table};
use crate::units::format_size;

/// Look into a plugin file: what it is, what it asks for, and whether an agent would take it
///
/// Shows its kind and versions, its size, digest and signature, each interface that it imports and exports, the grants that it would like, and
/// what its config may hold. Nothing of the file runs but its description of itself, in the sandbox and under the limits of the
/// agent. Pins, trusted keys and limits are those of the configuration, where there is one.
///
/// Exits 0 when an agent would take it, 1 when it would not, 2 when the file cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin check target/wasm32-wasip2/release/service_accounts.wasm
  holdfast plugin check required-keys.wasm --output json | jq .config_schema")]
pub struct Args {
    /// The component, `NAME.wasm`
    pub file: PathBuf,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    /// Whether an agent would take it from where it lies.
    accepted: bool,
    kind: Option<&'static str>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    summary: Option<&'a str>,
    size_bytes: u64,
    sha256: &'a str,
    signature: &'a Signature,
    imports: &'a [Import],
    exports: &'a [String],
    wants: &'a [String],
    /// The `allow` table that grants all of it.
    allow: Option<String>,
    attributes: &'a [(String, String)],
    settings: &'a [Setting],
    config_schema: Option<serde_json::Value>,
    /// Why it is no plugin.
    refused: Option<&'a Rejection>,
    /// Why an agent would not take the file from where it lies.
    untrusted: Option<&'a Rejection>,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let config = context.config_if_any()?;
    let host = super::host_for(config.as_ref(), super::user_cache())?;
    let examination = super::examine(&host, &args.file).await?;
    let settings = examination.plugin.as_ref().map(|ready| ready.plugin.settings()).unwrap_or_default();
    let checked = checked(&examination, &settings);
    context.printer.show(&checked, |printer| print(printer, &checked));
    Ok(answer(checked.accepted))
}

fn checked<'a>(examination: &'a Examination, settings: &'a [Setting]) -> Checked<'a> {
    let plugin = examination.plugin.as_ref().ok().map(|ready| ready.plugin.as_ref());
    let description = plugin.map(Plugin::description);
    Checked {
        file: examination.file.display().to_string(),
        accepted: examination.plugin.is_ok() && examination.untrusted.is_none(),
        kind: examination.kind.map(Kind::name),
        name: description.map(|description| description.name.as_str()),
        version: description.map(|description| description.version.as_str()),
        summary: description.map(|description| description.summary.as_str()),
        size_bytes: examination.size_bytes,
        sha256: &examination.sha256,
        signature: &examination.signature,
        imports: &examination.imports,
        exports: &examination.exports,
        wants: description.map(|description| description.wants.as_slice()).unwrap_or_default(),
        allow: plugin.and_then(|plugin| plugin.wants().missing(&Allow::default())),
        attributes: description.map(|description| description.attributes.as_slice()).unwrap_or_default(),
        settings,
        config_schema: description
            .and_then(|description| serde_json::from_str(&description.config_schema).ok()),
        refused: examination.plugin.as_ref().err(),
        untrusted: examination.untrusted.as_ref(),
    }
}

fn print(printer: &Printer, checked: &Checked<'_>) {
    let mut facts = Table::facts();
    facts.fact("file", &checked.file);
    facts.fact("size", format_size(checked.size_bytes));
    facts.fact("sha256", checked.sha256);
    facts.fact("signed", checked.signature);
    facts.fact("kind", checked.kind.unwrap_or("none that this agent calls"));
    if let (Some(name), Some(version)) = (checked.name, checked.version) {
        facts.fact("name", name);
        facts.fact("version", version);
        facts.fact("what", checked.summary.unwrap_or_default());
        facts.fact("grants", checked.allow.as_deref().unwrap_or("none needed"));
    }
    for (name, value) in checked.attributes {
        facts.fact(name, value);
    }
    printer.table(&facts);
    interfaces(printer, checked);
    config(printer, checked);
    printer.blank();
    for problem in [checked.refused, checked.untrusted].into_iter().flatten() {
        printer.line(format_args!("refused: it {}", problem.reason));
        if let Some(hint) = &problem.hint {
            printer.line(format_args!("  hint: {hint}"));
        }
    }
    if checked.accepted {
        printer.line("ok: an agent takes it");
    }
}

/// WASI comes from the language, with nothing granted but HTTP where it is; only what is not served of it is worth a line.
fn interfaces(printer: &Printer, checked: &Checked<'_>) {
    let mut table = Table::new([("interface", Align::Left), ("", Align::Left), ("served", Align::Left)]);
    let mut wasi = 0;
    for import in checked.imports {
        match &import.refused {
            None if import.name.starts_with("wasi:") => wasi += 1,
            None => table.row([import.name.as_str(), "imports", "yes"]),
            Some(reason) => table.row([import.name.as_str(), "imports", &format!("no: {reason}")]),
        }
    }
    if wasi > 0 {
        table.row([&format!("{wasi} of WASI 0.2"), "imports", "yes; HTTP where it is granted, nothing else"]);
    }
    for export in checked.exports {
        table.row([export.as_str(), "exports", ""]);
    }
    if !table.is_empty() {
        printer.blank();
        printer.table(&table);
    }
}

fn config(printer: &Printer, checked: &Checked<'_>) {
    if checked.settings.is_empty() {
        return;
    }
    let columns = ["config key", "type", "needed", "default", "meaning"].map(|name| (name, Align::Left));
    let mut table = Table::new(columns);
    for setting in checked.settings {
        table.row([
            setting.key.as_str(),
            &setting.kind,
            if setting.required { "yes" } else { "" },
            setting.default.as_deref().unwrap_or_default(),
            &setting.summary,
        ]);
    }
    printer.blank();
    printer.table(&table);
}
