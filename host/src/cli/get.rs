//! `holdfast get`: what lies under a key.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use etcd_snapshot::KeyValue;
use kubernetes_objects::{Completeness, Keys, to_yaml};
use serde::Serialize;
use serde_json::Value;

use super::Context;
use super::failure::FailureExt;
use super::look::{DecryptArgs, NEWEST, ObjectArgs, SourceArgs, View, printable, select};
use super::target::Target;
use crate::look::value::{Content, Form, read};
use crate::printer::{Align, Output, Table};

/// Get what lies under a key, out of a backup or a snapshot file, without a restore
///
/// An object of Kubernetes is shown as YAML that `kubectl apply` takes: without its status and what the API server sets in the metadata,
/// unless `--full` is given. Anything else is shown as it is. `--output raw` gives the bytes as they are stored, `--output json` the
/// key's revisions as well.
///
/// Exits 0 when there is such a key, 1 when there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast get latest --kind deployment --namespace web --name shop | kubectl apply -f -
  holdfast get snapshot.db /registry/secrets/web/tls --encryption-config enc.yaml
  holdfast get snapshot.db /registry/configmaps/web/settings --history
  holdfast get snapshot.db /registry/configmaps/web/settings --revision 1641 --full
  holdfast get latest some/key --output raw > value
  holdfast get at:2026-11-20T02:00:00Z some/key         from the nearest backup at that time or before")]
pub struct Args {
    /// The id of a backup, `latest`, `at:TIME` or `revision:N` for the nearest backup at that point or before, or a snapshot file
    #[arg(value_name = "ID|latest|FILE")]
    pub subject: Target,
    /// The key
    #[arg(conflicts_with_all = ["kind", "namespace", "name"], required_unless_present_any = ["kind", "namespace", "name"])]
    pub key: Option<String>,
    /// What lay there at this revision; at the newest otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub revision: Option<i64>,
    /// List the key's changes that the snapshot still has
    #[arg(long)]
    pub history: bool,
    /// Show all of an object: status, managed fields, uid, resource version
    #[arg(long, conflicts_with = "history", help_heading = "Kubernetes")]
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
    let keys = args.decrypt.keys()?;
    let view = View::open(&args.subject, &args.from, 1, context).await?;
    if let (Some(key), true) = (&args.key, args.history) {
        return history(&view, key.as_bytes(), args.revision.unwrap_or(NEWEST), context);
    }
    let asked = args.revision.unwrap_or(NEWEST);
    let revision = view.revision(asked)?;
    let found: Vec<KeyValue<'_>> = if let Some(key) = &args.key {
        // One key is found sooner among the records than in an index of all keys.
        let changes = view.readable(view.file.history(key.as_bytes()))?;
        changes.at(revision).map(|record| record.key_value).into_iter().collect()
    } else {
        let live = view.live_at(asked)?;
        let selection = select(&args.objects.wanted(None), &[&live])?;
        selection.positions(&live).map(|position| live.entry(position)).collect()
    };
    match (found.as_slice(), args.history) {
        ([], _) => missing(args, &view, revision),
        ([one], true) => history(&view, one.key, args.revision.unwrap_or(NEWEST), context),
        (several, true) => {
            let error: Result<()> =
                Err(anyhow!("{} objects are meant, and a history is of one key", several.len()));
            error.hint("say which with `--kind`, `--namespace` and `--name`").map(|()| ExitCode::SUCCESS)
        }
        (found, false) => show(args, &keys, found, context),
    }
}

/// There is nothing: exit code 1, with what is known of the key.
fn missing(args: &Args, view: &View, revision: i64) -> Result<ExitCode> {
    let at = format!("in `{}` at revision {revision}", view.name);
    let Some(key) = &args.key else {
        let none: Result<ExitCode> = Err(anyhow!("there is no such object {at}"));
        return none.hint("`holdfast keys` lists what there is").answer_is_no();
    };
    let changes = changes(view, key.as_bytes(), i64::MAX)?;
    let none: Result<ExitCode> = Err(anyhow!("there is no key `{key}` {at}"));
    let hint = match changes.iter().rev().find(|change| change.revision <= revision) {
        Some(change) if change.deleted => {
            format!("it was deleted at revision {}; `--history` lists its changes", change.revision)
        }
        _ if !changes.is_empty() => "it came later; `--history` lists its changes".to_owned(),
        _ => {
            let near = view.live_at(revision)?.prefix(key.as_bytes());
            if near.is_empty() {
                "`holdfast keys` lists what there is".to_owned()
            } else {
                format!("{} keys begin with it; `holdfast keys` lists them", near.len())
            }
        }
    };
    none.hint(hint).answer_is_no()
}

fn show(args: &Args, keys: &Keys, found: &[KeyValue<'_>], context: &Context) -> Result<ExitCode> {
    let printer = &context.printer;
    if context.output == Output::Json {
        let shown: Vec<Shown> = found.iter().map(|entry| Shown::new(entry, keys)).collect();
        match (shown.as_slice(), &args.key) {
            ([one], Some(_)) => printer.json(one),
            _ => printer.json(&shown),
        }
        return Ok(ExitCode::SUCCESS);
    }
    if context.output == Output::Raw {
        let [one] = found else {
            let several: Result<ExitCode> =
                Err(anyhow!("{} objects are meant, and raw bytes are of one key", found.len()));
            return several.hint("say which with `--kind`, `--namespace` and `--name`, or give the key");
        };
        let content = read(keys, one.key, one.value, one.mod_revision);
        printer.stream(|out| out.write_all(&content.bytes));
        return Ok(ExitCode::SUCCESS);
    }
    for (index, entry) in found.iter().enumerate() {
        let text = text_of(args, entry, &read(keys, entry.key, entry.value, entry.mod_revision), context)?;
        if index > 0 {
            printer.line("---");
        }
        printer.text(&text);
    }
    Ok(ExitCode::SUCCESS)
}

/// A value as people read it, its last line ended.
fn text_of(args: &Args, entry: &KeyValue<'_>, content: &Content<'_>, context: &Context) -> Result<String> {
    let key = printable(entry.key);
    let mut text = match &content.form {
        Form::Object(object) => {
            match object.completeness {
                Completeness::Whole => {}
                Completeness::UnknownFields(count) => context.printer.warn(format_args!(
                    "`{key}` has {count} fields that this version of Holdfast does not know; they are left out"
                )),
                Completeness::MetadataOnly => context.printer.warn(format_args!(
                    "`{key}` is a `{}` of `{}`, which this version of Holdfast does not know; only its metadata is shown",
                    object.kind(),
                    object.api_version()
                )),
            }
            to_yaml(&if args.full { object.json.clone() } else { object.applicable() })
        }
        Form::Encrypted(error) => {
            let sealed: Result<String> = Err(anyhow!(error.clone()).context(format!("cannot show `{key}`")));
            return sealed.hint(
                "give the API server's configuration with `--encryption-config FILE`; `--output raw` gives what is stored",
            );
        }
        Form::Broken(error) => {
            let broken: Result<String> = Err(anyhow!(error.clone()).context(format!("cannot read `{key}`")));
            return broken.hint("`--output raw` gives what is stored");
        }
        _ if context.output == Output::Yaml => {
            let other: Result<String> = Err(anyhow!("`{key}` is not an object of Kubernetes"));
            return other.hint("leave `--output yaml` out, or take `--output raw`");
        }
        Form::Text => String::from_utf8_lossy(&content.bytes).into_owned(),
        Form::Binary => {
            context
                .printer
                .note("the value is not text: it is shown escaped; `--output raw` gives the bytes");
            content.bytes.escape_ascii().to_string()
        }
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Shown {
    key: String,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
    size_bytes: usize,
    /// What was stored, decrypted where a key was given.
    value_base64: String,
    /// The same as text, unless it is an object or binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The object, all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Value>,
    /// Why the object is not there, or not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

impl Shown {
    fn new(entry: &KeyValue<'_>, keys: &Keys) -> Self {
        let content = read(keys, entry.key, entry.value, entry.mod_revision);
        let (mut text, mut object, mut unreadable) = (None, None, None);
        match content.form {
            Form::Object(found) => {
                unreadable = match found.completeness {
                    Completeness::Whole => None,
                    Completeness::UnknownFields(count) => Some(format!("{count} fields are not known")),
                    Completeness::MetadataOnly => {
                        Some("the kind is not known: only the metadata is read".to_owned())
                    }
                };
                object = Some(found.json);
            }
            Form::Encrypted(error) => unreadable = Some(error.to_string()),
            Form::Broken(error) => unreadable = Some(error.to_string()),
            Form::Text => text = Some(String::from_utf8_lossy(&content.bytes).into_owned()),
            Form::Binary => {}
        }
        Self {
            key: printable(entry.key),
            create_revision: entry.create_revision,
            mod_revision: entry.mod_revision,
            version: entry.version,
            lease: entry.lease,
            size_bytes: entry.value.len(),
            value_base64: BASE64.encode(&content.bytes),
            text,
            object,
            unreadable,
        }
    }
}

/// One change of a key.
#[derive(Serialize)]
struct KeyChange {
    revision: i64,
    deleted: bool,
    create_revision: i64,
    version: i64,
    lease: i64,
    size_bytes: usize,
}

/// The changes of a key up to a revision, oldest first.
fn changes(view: &View, key: &[u8], up_to: i64) -> Result<Vec<KeyChange>> {
    let history = view.readable(view.file.history(key))?;
    let records = history.records().iter().filter(|record| record.revision.main <= up_to);
    let changes = records.map(|record| KeyChange {
        revision: record.revision.main,
        deleted: record.tombstone,
        create_revision: record.key_value.create_revision,
        version: record.key_value.version,
        lease: record.key_value.lease,
        size_bytes: record.key_value.value.len(),
    });
    Ok(changes.collect())
}

fn history(view: &View, key: &[u8], revision: i64, context: &Context) -> Result<ExitCode> {
    if !matches!(context.output, Output::Text | Output::Json) {
        bail!("a history is text or JSON");
    }
    let changes = changes(view, key, view.revision(revision)?)?;
    if changes.is_empty() {
        let none: Result<ExitCode> =
            Err(anyhow!("there is no change of a key `{}` in `{}`", printable(key), view.name));
        return none.hint("`holdfast keys` lists what there is").answer_is_no();
    }
    context.printer.show(&changes, |printer| {
        let columns = [
            ("revision", Align::Right),
            ("change", Align::Left),
            ("version", Align::Right),
            ("created", Align::Right),
            ("lease", Align::Right),
            ("bytes", Align::Right),
        ];
        let mut table = Table::new(columns);
        for change in &changes {
            let what = match (change.deleted, change.version) {
                (true, _) => "deleted",
                (false, 1) => "created",
                (false, _) => "changed",
            };
            let number = |number: i64| if change.deleted { "-".to_owned() } else { number.to_string() };
            let lease = if change.lease == 0 { "-".to_owned() } else { format!("{:x}", change.lease) };
            table.row([
                change.revision.to_string(),
                what.to_owned(),
                number(change.version),
                number(change.create_revision),
                lease,
                number(change.size_bytes as i64),
            ]);
        }
        printer.table(&table);
    });
    Ok(ExitCode::SUCCESS)
}
