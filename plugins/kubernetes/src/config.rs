//! What the operator may ask for.

use holdfast_plugin::{Severity, kubernetes::resource_of};
use schemars::JsonSchema;
use serde::Deserialize;

/// The config of a `kubernetes` step. Without any, every object must decode and agree with its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the API server keeps its objects (its `--etcd-prefix`).
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Namespaces that must exist.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Kinds of which objects must exist, in the numbers expected.
    #[serde(default)]
    #[schemars(with = "Vec<RawKindRule>")]
    pub kinds: Vec<KindRule>,
    /// Whether every object must decode, and say of itself what its key says.
    #[serde(default = "default_decode")]
    pub decode: bool,
    /// What it means when a Secret is not encrypted at rest.
    #[serde(default)]
    pub secrets_encrypted: Strictness,
    /// What it means when an object lies in a namespace that does not exist.
    #[serde(default = "default_orphans")]
    pub orphans: Strictness,
    /// How many findings of one kind are named before the rest is only counted.
    #[serde(default = "default_max_findings")]
    pub max_findings: u32,
}

fn default_prefix() -> String {
    "/registry".to_owned()
}

fn default_decode() -> bool {
    true
}

fn default_orphans() -> Strictness {
    Strictness::Warn
}

fn default_max_findings() -> u32 {
    100
}

/// What it means when something does not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strictness {
    /// Nothing: it is not looked at.
    #[default]
    Ignore,
    /// A warning: the verification passes.
    Warn,
    /// The verification fails.
    Fail,
}

impl Strictness {
    /// The severity of what is found; `None` when it is not looked at.
    pub fn severity(self) -> Option<Severity> {
        match self {
            Strictness::Ignore => None,
            Strictness::Warn => Some(Severity::Warning),
            Strictness::Fail => Some(Severity::Error),
        }
    }
}

/// A kind of which objects must exist.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawKindRule")]
pub struct KindRule {
    /// The kind, e.g. `Deployment`.
    pub kind: String,
    /// The resource under which objects of that kind are stored, as the API calls it.
    pub resource: String,
    /// Only this group and version, e.g. `apps/v1`.
    pub api_version: Option<String>,
    /// Only in this namespace.
    pub namespace: Option<String>,
    /// At least so many.
    pub least: u64,
    /// No more than so many.
    pub most: Option<u64>,
    /// How bad it is when that does not hold.
    pub severity: Severity,
}

impl KindRule {
    /// The API group, where the rule says it; empty for the core group.
    pub fn group(&self) -> Option<&str> {
        let version = self.api_version.as_deref()?;
        Some(version.split_once('/').map_or("", |(group, _)| group))
    }

    /// The rule's subject in a message: the kind, and what narrows it down.
    pub fn subject(&self) -> String {
        let mut subject = format!("`{}`", self.kind);
        if let Some(version) = &self.api_version {
            subject = format!("{subject} ({version})");
        }
        if let Some(namespace) = &self.namespace {
            subject = format!("{subject} in namespace `{namespace}`");
        }
        subject
    }
}

/// A kind, and how many objects of it there must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KindRule")]
struct RawKindRule {
    /// The kind as the API spells it, e.g. `Deployment`.
    #[schemars(length(min = 1))]
    kind: String,
    /// Only objects stored at this group and version, e.g. `apps/v1`.
    api_version: Option<String>,
    /// Only objects in this namespace.
    namespace: Option<String>,
    /// At least so many. 1 unless said, and 0 when only `most` is said.
    least: Option<u64>,
    /// No more than so many.
    most: Option<u64>,
    /// `fail` (the verification fails) unless said, or `warn`.
    #[serde(default)]
    severity: RuleSeverity,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum RuleSeverity {
    Warn,
    #[default]
    Fail,
}

impl TryFrom<RawKindRule> for KindRule {
    type Error = String;

    fn try_from(raw: RawKindRule) -> Result<KindRule, String> {
        if raw.kind.is_empty() {
            return Err("`kind` is empty".to_owned());
        }
        let least = raw.least.unwrap_or(u64::from(raw.most.is_none()));
        if let Some(most) = raw.most.filter(|most| least > *most) {
            return Err(format!("`least` is {least}, more than `most`, which is {most}"));
        }
        Ok(KindRule {
            resource: resource_of(&raw.kind),
            kind: raw.kind,
            api_version: raw.api_version,
            namespace: raw.namespace,
            least,
            most: raw.most,
            severity: match raw.severity {
                RuleSeverity::Warn => Severity::Warning,
                RuleSeverity::Fail => Severity::Error,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Strictness};
    use holdfast_plugin::parse_config;

    #[test]
    fn an_empty_config_decodes_everything() {
        let config: Config = parse_config("{}").expect("the config is right");
        assert_eq!(config.prefix, "/registry");
        assert!(config.decode && config.namespaces.is_empty() && config.kinds.is_empty());
        assert_eq!((config.secrets_encrypted, config.orphans), (Strictness::Ignore, Strictness::Warn));
    }

    #[test]
    fn kinds_have_sensible_counts() {
        let json = r#"{"kinds": [{"kind": "Secret"}, {"kind": "Ingress", "most": 3}, {"kind": "Tenant", "least": 2}]}"#;
        let config: Config = parse_config(json).expect("the config is right");
        let rules: Vec<_> =
            config.kinds.iter().map(|rule| (rule.resource.as_str(), rule.least, rule.most)).collect();
        assert_eq!(rules, [("secrets", 1, None), ("ingresses", 0, Some(3)), ("tenants", 2, None)]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let wrong = [
            (r#"{"kinds": [{"kind": ""}]}"#, "`kinds[0]`: `kind` is empty"),
            (
                r#"{"kinds": [{"kind": "A", "least": 2, "most": 1}]}"#,
                "`kinds[0]`: `least` is 2, more than `most`, which is 1",
            ),
            (
                r#"{"kinds": [{"kind": "A", "apiVersion": "v1"}], "namespace": ["a"]}"#,
                "`kinds[0]`: unknown key `apiVersion`: did you mean `api_version`?; \
                 unknown key `namespace`: did you mean `namespaces`?",
            ),
            (
                r#"{"secrets_encrypted": "yes"}"#,
                "`secrets_encrypted`: unknown variant `yes`, expected one of `ignore`, `warn`, `fail`",
            ),
        ];
        for (json, expected) in wrong {
            assert_eq!(parse_config::<Config>(json).expect_err("is wrong").to_string(), expected);
        }
    }
}
