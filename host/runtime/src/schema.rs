//! The JSON Schema by which a plugin describes its config, used to check a config before the plugin sees it.
//!
//! The schema is the word of a stranger and runs in the agent, outside of the sandbox. So it may not refer to anything
//! outside of itself, may not recurse, may not grow beyond a size when its references are written out, and its patterns
//! are matched in linear time. Within these bounds a check costs about the size of the config times the size of the
//! schema.

mod complaint;
mod settings;

use serde_json::Value;

pub use settings::Setting;

/// The schema's text.
const SCHEMA_BYTES: usize = 256 << 10;
/// Levels of nesting, references written out.
const DEPTH: usize = 128;
/// Values in the schema, references written out.
const NODES: u64 = 50_000;
/// Regular expressions in a schema, and the compiled size of each.
const PATTERNS: usize = 64;
const PATTERN_BYTES: usize = 512 << 10;
/// Complaints about one config.
const COMPLAINTS: usize = 20;
/// Keywords that name or follow places in ways that cannot be bounded by looking at the text.
const UNBOUNDED: [&str; 5] =
    ["$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$recursiveAnchor"];

/// What a plugin's config must look like.
#[derive(Debug)]
pub(crate) struct ConfigSchema {
    /// None: the plugin takes no config.
    validator: Option<jsonschema::Validator>,
    /// What the validator was made from, to word its complaints.
    text: Value,
}

impl ConfigSchema {
    /// Reads a schema; empty text means that the plugin takes no config.
    ///
    /// # Errors
    /// One sentence on what is wrong with the schema.
    pub(crate) fn parse(text: &str) -> Result<ConfigSchema, String> {
        if text.trim().is_empty() {
            return Ok(ConfigSchema { validator: None, text: Value::Null });
        }
        if text.len() > SCHEMA_BYTES {
            return Err(format!("it has {} bytes; at most {SCHEMA_BYTES} are allowed", text.len()));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let mut bounds = Bounds { root: &schema, patterns: 0, following: Vec::new() };
        let nodes = bounds.measure(&schema, 0)?;
        if nodes > NODES {
            return Err(format!("it has more than {NODES} values when its references are written out"));
        }
        let patterns = jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES);
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(patterns)
            .build(&schema)
            .map_err(|error| format!("it is not a valid JSON Schema: {error}"))?;
        Ok(ConfigSchema { validator: Some(validator), text: schema })
    }

    /// The keys that a config may have, for people.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        settings::list(&self.text)
    }

    /// Checks a config.
    ///
    /// # Errors
    /// One sentence for each thing that does not fit, with its place. None shows a value of the config: it may be a secret.
    pub(crate) fn check(&self, config: &Value) -> Result<(), Vec<String>> {
        let Some(validator) = &self.validator else {
            let empty = config.is_null() || config.as_object().is_some_and(serde_json::Map::is_empty);
            return if empty { Ok(()) } else { Err(vec!["this plugin takes no config".into()]) };
        };
        let complaints: Vec<String> = validator
            .iter_errors(config)
            .flat_map(|error| complaint::word(&error, &self.text))
            .take(COMPLAINTS)
            .collect();
        if complaints.is_empty() { Ok(()) } else { Err(complaints) }
    }
}

/// Walks a schema as a checker would, references followed.
struct Bounds<'a> {
    root: &'a Value,
    patterns: usize,
    following: Vec<&'a str>,
}

impl<'a> Bounds<'a> {
    /// Counts the values under `schema`, references written out.
    fn measure(&mut self, schema: &'a Value, depth: usize) -> Result<u64, String> {
        if depth > DEPTH {
            return Err(format!("it is nested deeper than {DEPTH} levels"));
        }
        let mut nodes = 1_u64;
        match schema {
            Value::Array(items) => {
                for item in items {
                    nodes += self.measure_within(item, depth, nodes)?;
                }
            }
            Value::Object(members) => {
                for (keyword, value) in members {
                    self.judge_keyword(keyword, value, depth)?;
                    nodes += self.measure_within(value, depth, nodes)?;
                }
                if let Some(Value::String(reference)) = members.get("$ref") {
                    nodes += self.measure_reference(reference, depth)?;
                }
            }
            _ => {}
        }
        Ok(nodes)
    }

    /// Stops as soon as the bound is passed: written out, a small schema can be astronomically large.
    fn measure_within(&mut self, schema: &'a Value, depth: usize, so_far: u64) -> Result<u64, String> {
        let nodes = self.measure(schema, depth + 1)?;
        if so_far + nodes > NODES {
            return Err(format!("it has more than {NODES} values when its references are written out"));
        }
        Ok(nodes)
    }

    fn measure_reference(&mut self, reference: &'a str, depth: usize) -> Result<u64, String> {
        let Some(pointer) =
            reference.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            return Err(format!("it refers to `{reference}`: only `#/…` within the schema is allowed"));
        };
        if self.following.contains(&reference) {
            return Err(format!("`{reference}` refers to itself"));
        }
        let target = self
            .root
            .pointer(&percent_decoded(pointer))
            .ok_or_else(|| format!("`{reference}` refers to nothing"))?;
        self.following.push(reference);
        let nodes = self.measure_within(target, depth, 0);
        self.following.pop();
        nodes
    }

    fn judge_keyword(&mut self, keyword: &str, value: &Value, depth: usize) -> Result<(), String> {
        if UNBOUNDED.contains(&keyword) && !value.is_object() {
            return Err(format!("it uses `{keyword}`, which is not supported; use `$ref`"));
        }
        if keyword == "$id" && value.is_string() && depth > 0 {
            return Err("it has an `$id` below its root, which is not supported".into());
        }
        self.patterns += match (keyword, value) {
            ("pattern", Value::String(_)) => 1,
            ("patternProperties", Value::Object(patterns)) => patterns.len(),
            _ => 0,
        };
        if self.patterns > PATTERNS {
            return Err(format!("it has more than {PATTERNS} patterns"));
        }
        Ok(())
    }
}

/// A fragment may have its characters percent-encoded; a plain one is returned as it is.
fn percent_decoded(pointer: &str) -> String {
    let mut decoded = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = code
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if byte.is_some() {
            rest = &after[2..];
        } else {
            rest = after;
        }
        decoded.push(byte.unwrap_or(first));
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn complaints_name_the_place() {
        let schema = json!({
            "type": "object",
            "properties": { "checks": { "type": "array", "items": { "$ref": "#/$defs/check" } } },
            "additionalProperties": false,
            "$defs": { "check": { "type": "object", "properties": { "min": { "type": "integer" } } } },
        });
        let schema = ConfigSchema::parse(&schema.to_string()).expect("a schema");
        assert_eq!(schema.check(&json!({ "checks": [{ "min": 3 }] })), Ok(()));
        let complaints =
            schema.check(&json!({ "checks": [{ "min": "x" }], "chekcs": 1 })).expect_err("wrong");
        assert_eq!(complaints.len(), 2);
        assert!(complaints.iter().any(|it| it.starts_with("`checks[0].min`: ")), "{complaints:?}");
        assert!(complaints.iter().any(|it| it.contains("chekcs")), "{complaints:?}");
    }

    #[test]
    fn an_empty_schema_takes_no_config() {
        let schema = ConfigSchema::parse("").expect("a schema");
        assert!(schema.check(&json!({})).is_ok());
        assert!(schema.check(&Value::Null).is_ok());
        assert!(schema.check(&json!({ "a": 1 })).is_err());
    }

    #[test]
    fn schemas_that_would_harm_the_agent_are_refused() {
        let doubling: serde_json::Map<String, Value> = (0..20)
            .map(|level| {
                let next = json!({ "$ref": format!("#/$defs/l{}", level + 1) });
                (format!("l{level}"), json!({ "anyOf": [next, next] }))
            })
            .chain([("l20".to_owned(), json!({ "type": "string" }))])
            .collect();
        let many: Vec<Value> = (0..100).map(|i| json!({ "pattern": format!("x{{{i}}}") })).collect();
        for (schema, reason) in [
            (json!({ "$ref": "#" }), "refers to itself"),
            (
                json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
                "refers to itself",
            ),
            (json!({ "$ref": "#/$defs/l0", "$defs": doubling }), "more than 50000 values"),
            (json!({ "$ref": "https://example.com/schema" }), "only `#/…`"),
            (json!({ "$ref": "file:///etc/passwd" }), "only `#/…`"),
            (json!({ "$ref": "#/$defs/none" }), "refers to nothing"),
            (json!({ "$dynamicRef": "#x" }), "$dynamicRef"),
            (json!({ "anyOf": many }), "more than 64 patterns"),
            (json!({ "pattern": "(a+)+\\1" }), "not a valid JSON Schema"),
            (json!({ "pattern": "(\\w{100}){100}" }), "not a valid JSON Schema"),
            (json!({ "type": "strnig" }), "not a valid JSON Schema"),
        ] {
            let error = ConfigSchema::parse(&schema.to_string()).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        assert!(ConfigSchema::parse(&deep).is_err());
        assert!(ConfigSchema::parse("{").expect_err("no JSON").contains("not JSON"));
    }

    #[test]
    fn a_config_with_repeating_text_is_checked_in_linear_time() {
        let schema = ConfigSchema::parse(r#"{"pattern": "^(a|a)*(a|a)*(a|a)*$"}"#).expect("a schema");
        let text = format!("{}b", "a".repeat(20_000));
        assert!(schema.check(&Value::String(text)).is_err());
    }
}
