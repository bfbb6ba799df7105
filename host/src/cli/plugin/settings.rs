//! With which config an author runs a plugin: one from a file, or those of the steps that name it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Map, Value};

use super::super::failure::FailureExt as _;
use crate::config::{Config, StepKind};

/// No honest config of one step is that large.
const CONFIG_BYTES: u64 = 1 << 20;

/// The plugin's own config.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// The plugin's config, a TOML or JSON file. Without it: that of each step of the configuration that names the plugin, or else none
    #[arg(long, value_name = "FILE")]
    pub plugin_config: Option<PathBuf>,
}

/// One config, and where it comes from.
pub(super) struct Case {
    /// The file, `chain.NAME.steps[0]`, or `no config`.
    pub(super) origin: String,
    /// As the plugin is given it.
    pub(super) config: Value,
}

/// The configs that a plugin is to run with; at least one.
pub(super) fn cases(args: &SettingsArgs, plugin: &str, config: Option<&Config>) -> Result<Vec<Case>> {
    if let Some(file) = &args.plugin_config {
        return Ok(vec![Case { origin: file.display().to_string(), config: read(file)? }]);
    }
    let chains = config.map(|config| &config.chains).into_iter().flatten();
    let steps = chains.flat_map(|(chain, content)| {
        content.steps.iter().enumerate().filter_map(move |(index, step)| match &step.kind {
            StepKind::Plugin { name, config } if name == plugin => {
                Some(Case { origin: format!("chain.{chain}.steps[{index}]"), config: config.clone() })
            }
            _ => None,
        })
    });
    let mut cases: Vec<Case> = steps.collect();
    if cases.is_empty() {
        cases.push(Case { origin: "no config".to_owned(), config: Value::Object(Map::new()) });
    }
    Ok(cases)
}

fn read(file: &Path) -> Result<Value> {
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
