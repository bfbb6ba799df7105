//! `holdfast diff`: how two snapshots, or one at two revisions, differ.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use etcd_snapshot::{KeyValue, LiveKeys};
use kubernetes_objects::{Keys, Object, ObjectKey};
use serde::Serialize;
use serde_json::Value;

use super::failure::FailureExt;
use super::look::{DecryptArgs, NEWEST, ObjectArgs, SourceArgs, View, printable, select};
use super::target::Target;
use super::{Context, answer};
use crate::look::compare::{Change, Comparison, compare};
use crate::look::fields::{FieldChange, differences, hide_secrets};
use crate::look::value::{Content, Form, read};
use crate::printer::{Align, Printer, Table};

/// A longer value of a field is cut in text.
const SHOWN_CHARACTERS: usize = 200;
/// Keys whose fields are shown at once: what is more is not read by people, and would take much memory.
const MAX_SHOWN: usize = 100_000;

/// Show how two backups or snapshot files differ, or one at two revisions
///
/// Which keys were added, removed and changed, summed up by kind, namespace and prefix; with `--keys` each of them, with `--fields`
/// each field of an object that changed. The values of Secrets are hidden unless `--show-secrets` is given.
///
/// Exits 0 when they are the same, 1 when they differ.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast diff 20261121T030000Z-48213 latest
  holdfast diff at:2026-11-20T02:00:00Z latest          what changed since that time
  holdfast diff monday.db tuesday.db --kind deployment --namespace web --fields
  holdfast diff snapshot.db --revision 1641             what came since that revision
  holdfast diff snapshot.db --revision 1641 --to-revision 1700 --keys")]
pub struct Args {
    /// The id of a backup, `latest`, `at:TIME` or `revision:N` for the nearest backup at that point or before, or a snapshot file: the
    /// state before
    #[arg(value_name = "A: ID|latest|FILE")]
    pub before: Target,
    /// The state after; the first, at another revision, otherwise
    #[arg(value_name = "B: ID|latest|FILE", required_unless_present_any = ["revision", "to_revision"])]
    pub after: Option<Target>,
    /// The first at this revision; at its newest otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub revision: Option<i64>,
    /// The second at this revision; at its newest otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub to_revision: Option<i64>,
    /// Only keys that begin with this
    #[arg(long, conflicts_with_all = ["kind", "namespace", "name"])]
    pub prefix: Option<String>,
    /// List the keys that differ
    #[arg(long)]
    pub keys: bool,
    /// List them with the fields that differ
    #[arg(long)]
    pub fields: bool,
    /// Show the values of Secrets
    #[arg(long, help_heading = "Kubernetes")]
    pub show_secrets: bool,
    /// Show fields that only the API server writes as well: managed fields, resource versions
    #[arg(long, help_heading = "Kubernetes")]
    pub full: bool,
    /// Which objects.
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// What decrypts them.
    #[command(flatten)]
    pub decrypt: DecryptArgs,
    /// Where from.
    #[command(flatten)]
    pub from: SourceArgs,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let secrets = args.decrypt.keys()?;
    let first = View::open(&args.before, &args.from, 1, context).await?;
    let second = match &args.after {
        Some(after) if *after != args.before => Some(View::open(after, &args.from, 2, context).await?),
        _ => None,
    };
    let one_file = second.is_none();
    let second = second.as_ref().unwrap_or(&first);
    let asked = [args.revision.unwrap_or(NEWEST), args.to_revision.unwrap_or(NEWEST)];
    let revisions = [first.revision(asked[0])?, second.revision(asked[1])?];
    let (before, after) = (first.live_at(asked[0])?, second.live_at(asked[1])?);
    let selection = select(&args.objects.wanted(args.prefix.as_deref()), &[&before, &after])?;
    let comparison = compare(&before, &after, &selection, one_file);
    let states = States { args, secrets: &secrets, before: &before, after: &after };
    let report = Report {
        before: Subject { subject: &first.name, revision: revisions[0] },
        after: Subject { subject: &second.name, revision: revisions[1] },
        ..states.report(&comparison)?
    };
    context.printer.show(&report, |printer| print(printer, &report));
    Ok(answer(comparison.changes.is_empty()))
}

/// What is printed as JSON.
#[derive(Default, Serialize)]
struct Report<'a> {
    before: Subject<'a>,
    after: Subject<'a>,
    #[serde(flatten)]
    total: Counts,
    same: u64,
    /// Of the same: written again in between.
    rewritten: u64,
    by_kind: BTreeMap<String, Counts>,
    by_namespace: BTreeMap<String, Counts>,
    by_prefix: BTreeMap<String, Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<ChangedKey>>,
}

#[derive(Default, Serialize)]
struct Subject<'a> {
    subject: &'a str,
    revision: i64,
}

#[derive(Default, Clone, Copy, Serialize)]
struct Counts {
    added: u64,
    removed: u64,
    changed: u64,
}

impl Counts {
    fn count(&mut self, change: Change) {
        match change {
            Change::Added(_) => self.added += 1,
            Change::Removed(_) => self.removed += 1,
            Change::Changed(..) => self.changed += 1,
        }
    }
}

#[derive(Serialize)]
struct ChangedKey {
    key: String,
    change: &'static str,
    /// Revision of the last change before, and after.
    before_revision: Option<i64>,
    after_revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<FieldChange>>,
    /// Why there are no fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

struct States<'a> {
    args: &'a Args,
    secrets: &'a Keys,
    before: &'a LiveKeys<'a>,
    after: &'a LiveKeys<'a>,
}

impl States<'_> {
    fn report(&self, comparison: &Comparison) -> Result<Report<'static>> {
        let mut report =
            Report { same: comparison.same, rewritten: comparison.rewritten, ..Report::default() };
        let listed = self.args.keys || self.args.fields;
        let differ = comparison.changes.len();
        if self.args.fields && differ > MAX_SHOWN {
            let many: Result<()> = Err(anyhow!("the fields of {differ} keys are too many to show"));
            many.hint(
                "choose with `--kind`, `--namespace`, `--name` or `--prefix`, or list the keys with `--keys`",
            )?;
        }
        let mut keys = Vec::new();
        for change in &comparison.changes {
            let key = match change {
                Change::Removed(position) | Change::Changed(position, _) => self.before.key(*position),
                Change::Added(position) => self.after.key(*position),
            };
            report.total.count(*change);
            let object = ObjectKey::parse(&self.args.objects.etcd_prefix, key);
            add(&mut report.by_prefix, prefix_of(key, object.as_ref()), *change);
            if let Some(object) = &object {
                add(&mut report.by_kind, object.resource_name().to_string(), *change);
                let namespace = object.namespace.unwrap_or("(none)");
                add(&mut report.by_namespace, namespace.to_owned(), *change);
            }
            if listed {
                keys.push(self.changed_key(key, object.as_ref(), *change));
            }
        }
        report.keys = listed.then_some(keys);
        Ok(report)
    }

    fn changed_key(&self, key: &[u8], object: Option<&ObjectKey<'_>>, change: Change) -> ChangedKey {
        let old = match change {
            Change::Removed(position) | Change::Changed(position, _) => Some(self.before.entry(position)),
            Change::Added(_) => None,
        };
        let new = match change {
            Change::Added(position) | Change::Changed(_, position) => Some(self.after.entry(position)),
            Change::Removed(_) => None,
        };
        let (mut fields, mut note) = (None, None);
        if let (true, Some(old), Some(new)) = (self.args.fields, &old, &new) {
            match self.fields(object, old, new) {
                Ok(found) => fields = Some(found),
                Err(why) => note = Some(why),
            }
        }
        ChangedKey {
            key: printable(key),
            change: match change {
                Change::Added(_) => "added",
                Change::Removed(_) => "removed",
                Change::Changed(..) => "changed",
            },
            before_revision: old.map(|entry| entry.mod_revision),
            after_revision: new.map(|entry| entry.mod_revision),
            fields,
            note,
        }
    }

    /// The fields that differ, or why they cannot be told.
    fn fields(
        &self,
        object: Option<&ObjectKey<'_>>,
        old: &KeyValue<'_>,
        new: &KeyValue<'_>,
    ) -> Result<Vec<FieldChange>, String> {
        let open = |entry: &KeyValue<'_>| {
            let Content { bytes, form } = read(self.secrets, entry.key, entry.value, entry.mod_revision);
            match form {
                Form::Object(object) => Ok((self.comparable(*object), false)),
                Form::Encrypted(error) => Err(error.to_string()),
                Form::Broken(error) => Err(error.to_string()),
                Form::Text => Ok((Value::String(String::from_utf8_lossy(&bytes).into_owned()), true)),
                Form::Binary => Err(format!("{} bytes that are not text", bytes.len())),
            }
        };
        let ((old, old_is_text), (new, _)) = (open(old)?, open(new)?);
        let mut changes = differences(&old, &new);
        let is_secret = object.is_some_and(|object| object.kind == Some("Secret"))
            || [&old, &new].iter().any(|value| value["kind"] == "Secret");
        if is_secret && !self.args.show_secrets {
            hide_secrets(&mut changes);
        }
        if old_is_text {
            for change in changes.iter_mut().filter(|change| change.path.is_empty()) {
                "value".clone_into(&mut change.path);
            }
        }
        Ok(changes)
    }

    fn comparable(&self, object: Object) -> Value {
        let mut json = object.json;
        if !self.args.full
            && let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
        json
    }
}

fn add(table: &mut BTreeMap<String, Counts>, name: String, change: Change) {
    table.entry(name).or_default().count(change);
}

/// The key up to the resource of its object, or else up to the first slash within it.
fn prefix_of(key: &[u8], object: Option<&ObjectKey<'_>>) -> String {
    let names = object
        .map_or(0, |object| object.name.len() + object.namespace.map_or(0, |namespace| namespace.len() + 1));
    if names > 0 {
        return printable(key.get(..key.len() - names).unwrap_or(key));
    }
    let slash = key.iter().skip(1).position(|byte| *byte == b'/');
    slash.map_or_else(|| "(none)".to_owned(), |place| printable(key.get(..place + 2).unwrap_or(key)))
}

fn print(printer: &Printer, report: &Report<'_>) {
    let mut facts = Table::facts();
    for (name, state) in [("before", &report.before), ("after", &report.after)] {
        facts.fact(name, format_args!("{} at revision {}", state.subject, state.revision));
    }
    printer.table(&facts);
    let Counts { added, removed, changed } = report.total;
    let again = if report.rewritten > 0 {
        format!(", {} of them written again with the same value", report.rewritten)
    } else {
        String::new()
    };
    printer.line(format_args!(
        "{added} added, {removed} removed, {changed} changed; {} the same{again}",
        report.same
    ));
    for (name, counts) in
        [("kind", &report.by_kind), ("namespace", &report.by_namespace), ("prefix", &report.by_prefix)]
    {
        if !counts.is_empty() {
            printer.blank();
            printer.table(&summary(name, counts));
        }
    }
    let Some(keys) = &report.keys else { return };
    if !keys.is_empty() {
        printer.blank();
    }
    printer.stream(|out| keys.iter().try_for_each(|key| print_key(out, key)));
}

fn print_key(out: &mut dyn Write, key: &ChangedKey) -> io::Result<()> {
    let sign = match key.change {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    };
    writeln!(out, "{sign} {}", key.key)?;
    for change in key.fields.iter().flatten() {
        let (before, after) = (cut(change.before.as_ref()), cut(change.after.as_ref()));
        writeln!(out, "    {}: {before} -> {after}", change.path)?;
    }
    match (&key.note, &key.fields) {
        (Some(note), _) => writeln!(out, "    ({note})"),
        (None, Some(fields)) if fields.is_empty() => {
            writeln!(out, "    (only fields that the API server writes for itself; `--full` shows them)")
        }
        _ => Ok(()),
    }
}

fn summary(name: &str, counts: &BTreeMap<String, Counts>) -> Table {
    let columns =
        [(name, Align::Left), ("added", Align::Right), ("removed", Align::Right), ("changed", Align::Right)];
    let mut table = Table::new(columns);
    for (name, counts) in counts {
        let number = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
        table.row([name.clone(), number(counts.added), number(counts.removed), number(counts.changed)]);
    }
    table
}

/// A value on one line; `-` where there is none.
fn cut(value: Option<&Value>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}
