//! One pass over everything under the prefix: counts by kind and resource, and what is wrong with single objects.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_plugin::kubernetes::{DecodeError, Object, ObjectKey, Stored, is_encrypted, parse};
use holdfast_plugin::{Columns, Error, Finding, Findings, Query, Row, SnapshotView, printable};

use crate::config::{Config, KindRule};

/// What lies under the prefix.
#[derive(Default)]
pub(crate) struct Census {
    /// Keys under the prefix, objects or not.
    pub(crate) keys: u64,
    /// Bytes of their values.
    pub(crate) bytes: u64,
    /// Objects that could be read, by group and kind.
    pub(crate) kinds: BTreeMap<(String, String), Count>,
    /// Objects encrypted at rest, by group (where the key says it) and resource.
    pub(crate) encrypted: BTreeMap<(Option<String>, String), Count>,
    /// Namespaces that exist.
    pub(crate) namespaces: BTreeSet<String>,
    /// Objects of each namespace, whether it exists or not.
    pub(crate) by_namespace: BTreeMap<String, Inhabitants>,
    /// Secrets not encrypted at rest.
    pub(crate) plain_secrets: u64,
    /// Secrets encrypted at rest.
    pub(crate) sealed_secrets: u64,
    /// For each rule about a kind, what counts towards it.
    pub(crate) by_rule: Vec<RuleCount>,
}

/// Objects and the bytes of their values.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

impl Count {
    fn add(&mut self, value: &[u8]) {
        self.objects += 1;
        self.bytes += value.len() as u64;
    }
}

/// The objects of one namespace.
#[derive(Default)]
pub(crate) struct Inhabitants {
    pub(crate) objects: u64,
    /// The key of one of them, to name.
    pub(crate) example: Vec<u8>,
}

/// What counts towards a rule about a kind.
#[derive(Default)]
pub(crate) struct RuleCount {
    /// Objects of the kind, encrypted ones by their resource.
    pub(crate) found: u64,
    /// Encrypted custom resources, of which the key does not tell the kind.
    pub(crate) perhaps: u64,
}

impl Census {
    /// Reads everything under the prefix. What is wrong with single objects goes to `findings`.
    pub(crate) fn take(
        snapshot: &SnapshotView<'_>,
        config: &Config,
        findings: &mut Findings,
    ) -> Result<Census, Error> {
        let by_rule = config.kinds.iter().map(|_| RuleCount::default()).collect();
        let mut census = Census { by_rule, ..Census::default() };
        let prefix = format!("{}/", config.prefix.trim_end_matches('/'));
        let mut rows = snapshot.rows(&Query::prefix(&prefix).columns(Columns::KEYS_AND_VALUES))?;
        while let Some(row) = rows.next_row()? {
            census.add(&row, config, findings);
        }
        Ok(census)
    }

    /// All objects, read or not.
    pub(crate) fn objects(&self) -> u64 {
        self.kinds.values().chain(self.encrypted.values()).map(|count| count.objects).sum()
    }

    fn add(&mut self, row: &Row<'_>, config: &Config, findings: &mut Findings) {
        self.keys += 1;
        self.bytes += row.value.len() as u64;
        let key = ObjectKey::parse(&config.prefix, row.key);
        let is_api_object = key.is_some_and(|key| key.is_api_object());
        if let Some(key) = key.filter(|_| is_api_object) {
            self.add_key(&key, row, config, findings);
        }
        match parse(row.value) {
            Ok(Stored::Object(object)) => {
                if config.decode {
                    judge_place(key.as_ref(), &object, row.key, findings);
                }
                if is_api_object || key.is_none() {
                    self.add_object(&object, row.value, &config.kinds);
                }
            }
            Ok(Stored::Encrypted(_)) => {
                if let Some(key) = key.filter(|_| is_api_object) {
                    self.add_encrypted(&key, row.value, &config.kinds);
                }
            }
            Ok(Stored::Unknown) if config.decode => findings.push(unknown(row.key, is_api_object)),
            Err(error) if config.decode => findings.push(broken(row.key, &error)),
            Ok(Stored::Unknown) | Err(_) => {}
        }
    }

    /// What the key alone tells, whatever the value is like.
    fn add_key(&mut self, key: &ObjectKey<'_>, row: &Row<'_>, config: &Config, findings: &mut Findings) {
        if let Some(namespace) = key.namespace {
            if let Some(inhabitants) = self.by_namespace.get_mut(namespace) {
                inhabitants.objects += 1;
            } else {
                let inhabitants = Inhabitants { objects: 1, example: row.key.to_vec() };
                self.by_namespace.insert(namespace.to_owned(), inhabitants);
            }
        }
        match (key.group, key.resource) {
            (None, "namespaces") => {
                self.namespaces.insert(key.name.to_owned());
            }
            (None, "secrets") if is_encrypted(row.value) => self.sealed_secrets += 1,
            (None, "secrets") => {
                self.plain_secrets += 1;
                if let Some(severity) = config.secrets_encrypted.severity() {
                    let place = key.namespace.unwrap_or_default();
                    let message = format!("Secret `{place}/{}` is not encrypted at rest", key.name);
                    findings.push(Finding::new(severity, "secret-not-encrypted", message).key(row.key));
                }
            }
            _ => {}
        }
    }

    fn add_object(&mut self, object: &Object<'_>, value: &[u8], rules: &[KindRule]) {
        let kind = (object.group().to_owned(), object.kind.to_string());
        self.kinds.entry(kind).or_default().add(value);
        for (rule, count) in rules.iter().zip(&mut self.by_rule) {
            let counts = rule.kind == object.kind
                && rule.api_version.as_ref().is_none_or(|version| *version == object.api_version)
                && rule.namespace.as_ref().is_none_or(|namespace| *namespace == object.namespace);
            count.found += u64::from(counts);
        }
    }

    fn add_encrypted(&mut self, key: &ObjectKey<'_>, value: &[u8], rules: &[KindRule]) {
        let resource = (key.group.map(str::to_owned), key.resource.to_owned());
        self.encrypted.entry(resource).or_default().add(value);
        for (rule, count) in rules.iter().zip(&mut self.by_rule) {
            let same_namespace =
                rule.namespace.as_ref().is_none_or(|namespace| key.namespace == Some(namespace));
            // The keys of most built-in kinds do not say the group: only a group that is there can differ.
            let same_group = key.group.is_none() || rule.group().is_none_or(|group| key.group == Some(group));
            if same_namespace && same_group {
                if key.resource == rule.resource {
                    count.found += 1;
                } else if key.group.is_some() {
                    count.perhaps += 1;
                }
            }
        }
    }
}

/// An object must say of itself what its key says.
fn judge_place(key: Option<&ObjectKey<'_>>, object: &Object<'_>, row_key: &[u8], findings: &mut Findings) {
    let what = || {
        let namespace = if object.namespace.is_empty() { "" } else { &format!("{}/", object.namespace) };
        printable(format!("{} {namespace}{}", object.kind, object.name).as_bytes())
    };
    let finding = match key {
        Some(key) if !key.is_api_object() || key.agrees_with(object) => return,
        Some(_) => {
            let message = format!("`{}` holds `{}`", printable(row_key), what());
            Finding::error("object-misplaced", message)
        }
        None => {
            let message = format!(
                "`{}` is not built like the key of an object and holds `{}`",
                printable(row_key),
                what()
            );
            Finding::warning("key-unusual", message)
        }
    };
    findings.push(finding.key(row_key));
}

fn unknown(key: &[u8], is_api_object: bool) -> Finding {
    let finding = if is_api_object {
        let message = format!("`{}` is neither protobuf nor JSON nor encrypted", printable(key));
        Finding::error("object-broken", message)
    } else {
        Finding::info("key-unusual", format!("`{}` does not hold an object", printable(key)))
    };
    finding.key(key)
}

fn broken(key: &[u8], error: &DecodeError) -> Finding {
    Finding::error("object-broken", format!("`{}` does not decode: {error}", printable(key))).key(key)
}
