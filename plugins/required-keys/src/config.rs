//! What the operator may ask for. The types that serde reads (`Raw…`) say what can be written; the types that the
//! verifier works on cannot hold a rule that makes no sense.

use regex_lite::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

/// The config of a `required-keys` step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What must hold. All rules are checked, and each that does not hold is told.
    #[schemars(with = "Vec<RawRule>", length(min = 1))]
    pub rules: Vec<Rule>,
    /// How many findings of one kind are named before the rest is only counted.
    #[serde(default = "default_max_findings")]
    pub max_findings: u32,
}

fn default_max_findings() -> u32 {
    100
}

/// One thing that must hold.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawRule")]
pub struct Rule {
    /// What the operator calls it.
    pub name: Option<String>,
    /// What it is about.
    pub subject: Subject,
    /// What the key's value, or each value under the prefix, must be like.
    pub value: Option<ValueRule>,
    /// What it means when it does not hold.
    pub severity: Level,
}

/// What a rule is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Subject {
    /// One key.
    Key {
        /// The key.
        key: String,
        /// It must not be there.
        absent: bool,
    },
    /// All keys that begin alike.
    Prefix {
        /// How they begin.
        prefix: String,
        /// At least so many must be there.
        least: u64,
        /// No more than so many may be there.
        most: Option<u64>,
    },
}

/// What it means when a rule does not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A warning: the verification passes.
    Warn,
    /// The verification fails.
    #[default]
    Fail,
}

/// What a value must be like: all conditions must hold.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawValueRule")]
pub struct ValueRule {
    /// The conditions, at least one.
    pub conditions: Vec<Condition>,
}

/// One thing that a value must be like.
#[derive(Debug)]
pub enum Condition {
    /// Exactly this.
    Equals(String),
    /// Begins with this.
    Prefix(String),
    /// Ends with this.
    Suffix(String),
    /// Has this in it.
    Contains(String),
    /// Is matched by this expression somewhere.
    Matches(Regex),
    /// Has at least so many bytes.
    LeastBytes(u64),
    /// Has no more than so many bytes.
    MostBytes(u64),
}

impl Condition {
    /// Whether a value is like that.
    pub fn holds(&self, value: &[u8]) -> bool {
        match self {
            Condition::Equals(text) => value == text.as_bytes(),
            Condition::Prefix(text) => value.starts_with(text.as_bytes()),
            Condition::Suffix(text) => value.ends_with(text.as_bytes()),
            Condition::Contains(text) => contains(value, text.as_bytes()),
            // Bytes that are not UTF-8 become U+FFFD each, so an expression finds the text in a protobuf too.
            Condition::Matches(expression) => expression.is_match(&String::from_utf8_lossy(value)),
            Condition::LeastBytes(bytes) => value.len() as u64 >= *bytes,
            Condition::MostBytes(bytes) => value.len() as u64 <= *bytes,
        }
    }

    /// The key in the config that says it.
    pub fn name(&self) -> &'static str {
        match self {
            Condition::Equals(_) => "equals",
            Condition::Prefix(_) => "prefix",
            Condition::Suffix(_) => "suffix",
            Condition::Contains(_) => "contains",
            Condition::Matches(_) => "matches",
            Condition::LeastBytes(_) => "least_bytes",
            Condition::MostBytes(_) => "most_bytes",
        }
    }

    /// What to say when it does not hold. Names neither the value nor what was expected of it: either may be a secret.
    pub fn reason(&self) -> String {
        match self {
            Condition::Equals(_) => "is not what `equals` says".to_owned(),
            Condition::Prefix(_) => "does not begin with what `prefix` says".to_owned(),
            Condition::Suffix(_) => "does not end with what `suffix` says".to_owned(),
            Condition::Contains(_) => "does not contain what `contains` says".to_owned(),
            Condition::Matches(_) => "does not match what `matches` says".to_owned(),
            Condition::LeastBytes(bytes) => format!("has fewer than {bytes} bytes"),
            Condition::MostBytes(bytes) => format!("has more than {bytes} bytes"),
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle)
}

/// A rule: a `key` or a `prefix`, and what must hold of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rule", extend("oneOf" = [{"required": ["key"]}, {"required": ["prefix"]}]))]
struct RawRule {
    /// What to call the rule in messages and measurements.
    name: Option<String>,
    /// A key that must be there.
    #[schemars(length(min = 1))]
    key: Option<String>,
    /// With `key`: it must not be there.
    #[serde(default)]
    absent: bool,
    /// How keys begin of which some must be there. End it with the separator: `/registry/secrets` would count
    /// `/registry/secretstores/...` too.
    #[schemars(length(min = 1))]
    prefix: Option<String>,
    /// With `prefix`: at least so many keys. 1 unless said, and 0 when only `most` is said.
    least: Option<u64>,
    /// With `prefix`: no more than so many keys; 0 for none at all.
    most: Option<u64>,
    /// What the key's value, or each value under the prefix, must be like.
    #[schemars(with = "Option<RawValueRule>")]
    value: Option<ValueRule>,
    /// `fail` (the verification fails) unless said, or `warn`.
    #[serde(default)]
    severity: Level,
}

/// What a value must be like: all that is said must hold. Values are bytes; the texts here are their UTF-8.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ValueRule", extend("minProperties" = 1))]
struct RawValueRule {
    /// Exactly this.
    equals: Option<String>,
    /// Begins with this.
    prefix: Option<String>,
    /// Ends with this.
    suffix: Option<String>,
    /// Has this in it.
    contains: Option<String>,
    /// Is matched by this regular expression, anywhere unless it has `^` and `$`.
    matches: Option<String>,
    /// Has at least so many bytes.
    least_bytes: Option<u64>,
    /// Has no more than so many bytes.
    most_bytes: Option<u64>,
}

impl TryFrom<RawRule> for Rule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Rule, String> {
        let subject = match (raw.key, raw.prefix) {
            (Some(key), None) => {
                if raw.least.is_some() || raw.most.is_some() {
                    return Err(
                        "`least` and `most` count keys under a `prefix`; for one `key` say `absent = true` \
                                if it must not be there"
                            .to_owned(),
                    );
                }
                if raw.absent && raw.value.is_some() {
                    return Err("a key that must be `absent` has no `value`".to_owned());
                }
                Subject::Key { key: not_empty("key", key)?, absent: raw.absent }
            }
            (None, Some(prefix)) => {
                if raw.absent {
                    return Err("`absent` is for a `key`; for a `prefix` say `most = 0`".to_owned());
                }
                let least = raw.least.unwrap_or(u64::from(raw.most.is_none()));
                if let Some(most) = raw.most.filter(|most| least > *most) {
                    return Err(format!("`least` is {least}, more than `most`, which is {most}"));
                }
                Subject::Prefix { prefix: not_empty("prefix", prefix)?, least, most: raw.most }
            }
            (Some(_), Some(_)) => {
                return Err("names both a `key` and a `prefix`; make it two rules".to_owned());
            }
            (None, None) => return Err("names neither a `key` nor a `prefix`".to_owned()),
        };
        Ok(Rule { name: raw.name, subject, value: raw.value, severity: raw.severity })
    }
}

fn not_empty(name: &str, text: String) -> Result<String, String> {
    if text.is_empty() { Err(format!("`{name}` is empty")) } else { Ok(text) }
}

impl TryFrom<RawValueRule> for ValueRule {
    type Error = String;

    fn try_from(raw: RawValueRule) -> Result<ValueRule, String> {
        let expression = raw.matches.map(|text| {
            Regex::new(&text).map_err(|error| format!("`matches` is not a regular expression: {error}"))
        });
        let conditions: Vec<Condition> = [
            raw.equals.map(Condition::Equals),
            raw.prefix.map(Condition::Prefix),
            raw.suffix.map(Condition::Suffix),
            raw.contains.map(Condition::Contains),
            expression.transpose()?.map(Condition::Matches),
            raw.least_bytes.map(Condition::LeastBytes),
            raw.most_bytes.map(Condition::MostBytes),
        ]
        .into_iter()
        .flatten()
        .collect();
        if conditions.is_empty() {
            return Err("says nothing of the value".to_owned());
        }
        Ok(ValueRule { conditions })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Subject};
    use holdfast_plugin::parse_config;

    fn problem(rule: &str) -> String {
        let json = format!(r#"{{"rules": [{{"prefix": "/a/"}}, {rule}]}}"#);
        parse_config::<Config>(&json).expect_err("the rule is wrong").to_string()
    }

    #[test]
    fn counts_have_sensible_defaults() {
        let json =
            r#"{"rules": [{"prefix": "/a/"}, {"prefix": "/a/", "most": 9}, {"prefix": "/a/", "least": 0}]}"#;
        let config: Config = parse_config(json).expect("the config is right");
        let counts: Vec<_> = config.rules.into_iter().map(|rule| rule.subject).collect();
        let expected = [(1, None), (0, Some(9)), (0, None)].map(|(least, most)| Subject::Prefix {
            prefix: "/a/".to_owned(),
            least,
            most,
        });
        assert_eq!(counts, expected);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused_with_their_place() {
        let wrong = [
            (r#"{"least": 1}"#, "`rules[1]`: names neither a `key` nor a `prefix`"),
            (
                r#"{"key": "/a", "prefix": "/a"}"#,
                "`rules[1]`: names both a `key` and a `prefix`; make it two rules",
            ),
            (r#"{"key": ""}"#, "`rules[1]`: `key` is empty"),
            (
                r#"{"prefix": "/a", "absent": true}"#,
                "`rules[1]`: `absent` is for a `key`; for a `prefix` say `most = 0`",
            ),
            (
                r#"{"prefix": "/a", "least": 3, "most": 2}"#,
                "`rules[1]`: `least` is 3, more than `most`, which is 2",
            ),
            (r#"{"key": "/a", "value": {}}"#, "`rules[1].value`: says nothing of the value"),
            (
                r#"{"key": "/a", "absent": true, "value": {"equals": "x"}}"#,
                "`rules[1]`: a key that must be `absent` has no `value`",
            ),
            (
                r#"{"key": "/a", "value": {"equal": "x"}}"#,
                "`rules[1].value`: unknown key `equal`: did you mean `equals`?",
            ),
            (r#"{"prefix": "/a", "lest": 3}"#, "`rules[1]`: unknown key `lest`: did you mean `least`?"),
            (
                r#"{"prefix": "/a", "severity": "error"}"#,
                "`rules[1].severity`: unknown variant `error`, expected `warn` or `fail`",
            ),
        ];
        for (rule, expected) in wrong {
            assert_eq!(problem(rule), expected);
        }
        assert!(problem(r#"{"key": "/a", "least": 2}"#).contains("say `absent = true`"));
        let expression = problem(r#"{"key": "/a", "value": {"matches": "("}}"#);
        assert!(
            expression.starts_with("`rules[1].value`: `matches` is not a regular expression: "),
            "{expression}"
        );
    }

    #[test]
    fn the_schema_says_what_a_rule_needs() {
        let schema: serde_json::Value =
            serde_json::from_str(&holdfast_plugin::config_schema::<Config>()).expect("the schema is JSON");
        assert_eq!(schema["required"], serde_json::json!(["rules"]));
        assert_eq!(schema["properties"]["rules"]["minItems"], 1);
        assert_eq!(schema["$defs"]["Rule"]["oneOf"].as_array().map(Vec::len), Some(2));
        assert_eq!(schema["$defs"]["Rule"]["additionalProperties"], false);
        assert_eq!(schema["$defs"]["ValueRule"]["minProperties"], 1);
    }
}
