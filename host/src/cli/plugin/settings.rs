//! With which config and grants an author runs a plugin: those given by hand, or those of the steps and notifiers that name it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use holdfast_runtime::{AddressRange, Allow, Grants, HttpPattern, is_store_name};
use serde_json::{Map, Value};

use super::super::failure::FailureExt as _;
use crate::config::{Config, Granted, StepKind};
use crate::notify::Means;
use crate::secret::SecretSource;

/// No honest config of one step is that large.
const CONFIG_BYTES: u64 = 1 << 20;

/// The plugin's own config.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// The plugin's config, a TOML or JSON file. Without it: that of each step of the configuration that names the plugin, or else none
    #[arg(long, value_name = "FILE")]
    pub plugin_config: Option<PathBuf>,
    /// What it is granted, as TOML: `http = ["https://a.example"]`. In place of what the configuration grants. May be repeated
    #[arg(long, value_name = "TOML")]
    pub allow: Vec<String>,
    /// A secret that `--allow` may name, and the file that holds it. May be repeated
    #[arg(long, value_name = "NAME=FILE")]
    pub secret: Vec<String>,
}

/// One config, and where it comes from.
pub(super) struct Case {
    /// The file, `chain.NAME.steps[0]`, `notify.NAME`, or `no config`.
    pub(super) origin: String,
    /// As the plugin is given it.
    pub(super) config: Value,
    /// What the plugin may reach.
    pub(super) grants: Grants,
}

/// The configs that a plugin is to run with; at least one.
pub(super) fn cases(args: &SettingsArgs, plugin: &str, config: Option<&Config>) -> Result<Vec<Case>> {
    let given = granted(args)?;
    let read_grants = |granted: &Granted| granted.read().hint("`--secret NAME=FILE` gives another one");
    if let Some(file) = &args.plugin_config {
        let grants = read_grants(&given.unwrap_or_default())?;
        return Ok(vec![Case { origin: file.display().to_string(), config: read(file)?, grants }]);
    }
    let mut cases = Vec::new();
    for (chain, content) in config.map(|config| &config.chains).into_iter().flatten() {
        for (index, step) in content.steps.iter().enumerate() {
            let StepKind::Plugin { name, config, granted } = &step.kind else { continue };
            if name == plugin {
                let grants = read_grants(given.as_ref().unwrap_or(granted))?;
                let origin = format!("chain.{chain}.steps[{index}]");
                cases.push(Case { origin, config: config.clone(), grants });
            }
        }
    }
    for notifier in config.map(|config| config.notifiers.values()).into_iter().flatten() {
        let Means::Plugin { plugin: name, config, granted } = &notifier.means else { continue };
        if name == plugin {
            let grants = read_grants(given.as_ref().unwrap_or(granted))?;
            let origin = format!("notify.{}", notifier.name);
            cases.push(Case { origin, config: config.clone(), grants });
        }
    }
    if cases.is_empty() {
        let grants = read_grants(&given.unwrap_or_default())?;
        cases.push(Case { origin: "no config".to_owned(), config: Value::Object(Map::new()), grants });
    }
    Ok(cases)
}

/// The grants that are given by hand, if any are.
pub(super) fn granted(args: &SettingsArgs) -> Result<Option<Granted>> {
    if args.allow.is_empty() {
        return match args.secret.first() {
            None => Ok(None),
            Some(_) => Err(anyhow!("`--secret` is given without `--allow`"))
                .hint("name it there: `--allow 'secrets = [\"NAME\"]'`"),
        };
    }
    let mut granted = Granted { allow: allow(&args.allow)?, ..Granted::default() };
    for text in &args.secret {
        let (name, file) =
            text.split_once('=').ok_or_else(|| anyhow!("`--secret {text}` is not NAME=FILE"))?;
        granted.secrets.insert(name.to_owned(), SecretSource::File(file.into()));
    }
    if let Some(name) = granted.allow.secrets.iter().find(|name| !granted.secrets.contains_key(*name)) {
        return Err(anyhow!("there is no secret `{name}`")).hint(format!("add `--secret {name}=FILE`"));
    }
    Ok(Some(granted))
}

/// Reads an `allow` table, its keys spread over some texts.
fn allow(texts: &[String]) -> Result<Allow> {
    let mut allow = Allow::default();
    for text in texts {
        let table: toml::Table = text
            .parse()
            .with_context(|| format!("`--allow {text}` is not TOML"))
            .hint("write a key of the `allow` table: `--allow 'http = [\"https://a.example\"]'`")?;
        for (key, value) in &table {
            let values = value.as_array().into_iter().flatten().map(|value| value.as_str());
            for value in values {
                let value = value.ok_or_else(|| anyhow!("`{key}` of `--allow` is no list of strings"))?;
                grant(&mut allow, key, value)?;
            }
        }
    }
    Ok(allow)
}

fn grant(allow: &mut Allow, key: &str, value: &str) -> Result<()> {
    match key {
        "http" => {
            let pattern = HttpPattern::parse(value).map_err(|error| {
                let hint = error.advice().unwrap_or("it is `scheme://host:port`").to_owned();
                (anyhow!("`{value}` {error}"), hint)
            });
            match pattern {
                Ok(pattern) => allow.http.push(pattern),
                Err((error, hint)) => return Err(error).hint(hint),
            }
        }
        "http_addresses" => {
            let range = AddressRange::parse(value).map_err(|error| anyhow!("`{value}` {error}"))?;
            allow.http_addresses.push(range);
        }
        "secrets" => {
            allow.secrets.insert(value.to_owned());
        }
        "state" if is_store_name(value) => {
            allow.state.insert(value.to_owned());
        }
        "state" => return Err(anyhow!("`{value}` cannot be the name of a plugin's state")),
        other => {
            return Err(anyhow!("`{other}` cannot be granted"))
                .hint("what can be granted: `http`, `http_addresses`, `secrets`, `state`");
        }
    }
    Ok(())
}

pub(super) fn read(file: &Path) -> Result<Value> {
    let shown = file.display();
    let mut text = String::new();
    File::open(file)
        .and_then(|opened| opened.take(CONFIG_BYTES).read_to_string(&mut text))
        .with_context(|| format!("`{shown}` cannot be read"))?;
    let value: Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).with_context(|| format!("`{shown}` is not JSON"))?
    } else {
        let table: toml::Table = text.parse().with_context(|| format!("`{shown}` is not TOML"))?;
        json(toml::Value::Table(table))
    };
    if value.is_object() {
        return Ok(value);
    }
    Err(anyhow!("`{shown}` holds no table")).hint("write what would stand in the step's `config = { … }`")
}

/// As the configuration's own tables become JSON: dates as their text.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Boolean(value) => Value::from(value),
        toml::Value::Integer(value) => Value::from(value),
        toml::Value::Float(value) => Value::from(value),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(name, value)| (name, json(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_by_hand_are_read_as_strictly_as_those_of_a_config() {
        let args = |allow: &[&str], secret: &[&str]| SettingsArgs {
            plugin_config: None,
            allow: allow.iter().map(|&text| text.to_owned()).collect(),
            secret: secret.iter().map(|&text| text.to_owned()).collect(),
        };
        let good =
            granted(&args(&["http = [\"http://127.0.0.1:80\"]", "secrets = [\"a\"]"], &["a=/dev/null"]));
        let good = good.unwrap().unwrap();
        assert_eq!(good.allow.to_string(), "allow = { http = [\"http://127.0.0.1\"], secrets = [\"a\"] }");
        assert!(granted(&args(&[], &[])).unwrap().is_none());
        for (allow, secret) in [
            (&["htpp = [\"x\"]"][..], &[][..]),
            (&["http = [\"x\"]"], &[]),
            (&["http"], &[]),
            (&["secrets = [\"a\"]"], &[]),
            (&["state = [\"../x\"]"], &[]),
            (&["state = [1]"], &[]),
            (&[], &["a=/dev/null"]),
        ] {
            assert!(granted(&args(allow, secret)).is_err(), "{allow:?}");
        }
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            read(&file)
        };
        let toml = written("a.toml", "at_least = 3\n[[rules]]\nprefix = \"/a\"\n").unwrap();
        let json = written("a.json", r#" {"at_least": 3, "rules": [{"prefix": "/a"}]}"#).unwrap();
        assert_eq!(toml, json);
        assert_eq!(written("empty.toml", "").unwrap(), Value::Object(Map::new()));
        let date = written("date.toml", "since = 2026-11-21\n").unwrap();
        assert_eq!(date, serde_json::json!({ "since": "2026-11-21" }));
        for wrong in ["{", "= 3", "3"] {
            assert!(written("wrong", wrong).is_err(), "{wrong}");
        }
    }
}
