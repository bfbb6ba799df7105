//! What does not fit a schema, in words for whoever wrote the config.
//!
//! Places are named as in the config file, unknown keys with what was perhaps meant. Values of the config are never shown:
//! any of them may be a secret, and complaints end in logs.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use crate::registry::closest;

/// Alternatives within alternatives that are looked into for the one that was meant.
const DEPTH: usize = 8;

/// One sentence for each thing that one error is about.
pub(super) fn word(error: &ValidationError<'_>, schema: &Value) -> Vec<String> {
    word_within(error, schema, 0)
}

fn word_within(error: &ValidationError<'_>, schema: &Value, depth: usize) -> Vec<String> {
    let place = place(error.instance_path().as_str());
    let at = |what: String| if place.is_empty() { what } else { format!("`{place}`: {what}") };
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = known_keys(error, schema);
            unexpected.iter().map(|key| at(unknown_key(key, &known))).collect()
        }
        Kind::Required { property } => {
            let key = property.as_str().map_or_else(|| property.to_string(), str::to_owned);
            vec![at(format!("the key `{key}` is missing"))]
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let alternatives = alternatives(error, schema);
            // What may be left out is `null` or a schema: then the complaint is about that schema.
            if let Some(meant) = the_one_beside_null(alternatives)
                && let Some(errors) = context.get(meant).filter(|errors| !errors.is_empty() && depth < DEPTH)
            {
                return errors.iter().flat_map(|inner| word_within(inner, schema, depth + 1)).collect();
            }
            let what = match (required_keys(alternatives), error.kind()) {
                (Some(keys), Kind::AnyOf { .. }) => format!("needs at least one of {keys}"),
                (Some(keys), _) => format!("needs exactly one of {keys}"),
                (None, _) => "fits none of the alternatives".to_owned(),
            };
            vec![at(what)]
        }
        Kind::OneOfMultipleValid { .. } => vec![at(match required_keys(alternatives(error, schema)) {
            Some(keys) => format!("needs exactly one of {keys}, not several"),
            None => "fits more than one of the alternatives".to_owned(),
        })],
        Kind::Not { .. } => vec![at("is of a form that is ruled out".to_owned())],
        Kind::PropertyNames { error } => vec![at(format!("a key of it does not fit: {}", masked(error)))],
        _ => vec![at(masked(error))],
    }
}

/// The checker's own words, without the value.
fn masked(error: &ValidationError<'_>) -> String {
    error.masked_with("the value").to_string()
}

fn unknown_key(key: &str, known: &[&String]) -> String {
    // Letters in another order are the commonest slip, and more than one edit in a short key.
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    let anagram = known.iter().find(|known| letters(known) == letters(key)).map(|known| (*known).clone());
    match anagram.or_else(|| closest(key, known.iter().copied())) {
        Some(meant) => format!("unknown key `{key}`; did you mean `{meant}`?"),
        None if known.is_empty() => format!("unknown key `{key}`"),
        None => {
            let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
            format!("unknown key `{key}`; there are {}", known.join(", "))
        }
    }
}

/// The keys that stand beside the keyword that complained.
fn known_keys<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Vec<&'s String> {
    let path = error.schema_path().as_str();
    let parent = path.rsplit_once('/').and_then(|(parent, _)| schema.pointer(parent));
    let properties = parent.and_then(|parent| parent.get("properties")).and_then(Value::as_object);
    properties.map(|properties| properties.keys().collect()).unwrap_or_default()
}

fn alternatives<'s>(error: &ValidationError<'_>, schema: &'s Value) -> &'s [Value] {
    schema.pointer(error.schema_path().as_str()).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The position of the only alternative that is not `null`.
fn the_one_beside_null(alternatives: &[Value]) -> Option<usize> {
    let is_null = |it: &Value| it.get("type").and_then(Value::as_str) == Some("null");
    let mut others = alternatives.iter().enumerate().filter(|(_, it)| !is_null(it));
    let (position, _) = others.next()?;
    others.next().is_none().then_some(position)
}

/// The keys asked for, when that is all in which the alternatives differ.
fn required_keys(alternatives: &[Value]) -> Option<String> {
    let keys_of = |alternative: &Value| {
        let members = alternative.as_object().filter(|members| members.len() == 1)?;
        let required = members.get("required")?.as_array()?;
        let keys: Option<Vec<String>> =
            required.iter().map(|key| key.as_str().map(|key| format!("`{key}`"))).collect();
        keys.filter(|keys| !keys.is_empty()).map(|keys| keys.join(" with "))
    };
    let keys: Option<Vec<String>> = alternatives.iter().map(keys_of).collect();
    keys.filter(|keys| !keys.is_empty()).map(|keys| keys.join(", "))
}

/// `/checks/0/prefix` as it is written in TOML: `checks[0].prefix`.
fn place(pointer: &str) -> String {
    let mut place = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            place.extend(["[", &part, "]"]);
        } else {
            if !place.is_empty() {
                place.push('.');
            }
            place.push_str(&part);
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ConfigSchema;
    use super::*;

    /// A schema as schemars writes it, with all that is worded here.
    fn complaints(config: &Value) -> Vec<String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "rules": { "type": "array", "items": { "$ref": "#/$defs/Rule" } },
                "login": { "anyOf": [{ "$ref": "#/$defs/Login" }, { "type": "null" }] },
                "either": { "anyOf": [{ "required": ["a", "b"] }, { "required": ["c"] }] },
                "mode": { "oneOf": [{ "type": "integer" }, { "const": "auto" }] },
                "token": { "type": "string", "minLength": 20, "pattern": "^t-" },
            },
            "additionalProperties": false,
            "$defs": {
                "Rule": {
                    "type": "object",
                    "properties": { "key": { "type": "string" }, "prefix": { "type": "string" } },
                    "additionalProperties": false,
                    "oneOf": [{ "required": ["key"] }, { "required": ["prefix"] }],
                },
                "Login": {
                    "type": "object",
                    "properties": { "password": { "type": "string" }, "user": { "type": "string" } },
                    "required": ["user"],
                    "additionalProperties": false,
                },
            },
        });
        let schema = ConfigSchema::parse(&schema.to_string()).expect("a schema");
        schema.check(config).err().unwrap_or_default()
    }

    #[test]
    fn an_unknown_key_is_told_with_what_was_perhaps_meant() {
        assert_eq!(complaints(&json!({ "ruels": [] })), ["unknown key `ruels`; did you mean `rules`?"]);
        assert_eq!(
            complaints(&json!({ "rules": [{ "key": "a", "prefx": "b" }] })),
            ["`rules[0]`: unknown key `prefx`; did you mean `prefix`?"]
        );
        assert_eq!(
            complaints(&json!({ "rules": [{ "key": "a", "zzz": 1 }] })),
            ["`rules[0]`: unknown key `zzz`; there are `key`, `prefix`"]
        );
    }

    #[test]
    fn alternatives_are_told_by_the_keys_they_ask_for() {
        assert_eq!(
            complaints(&json!({ "rules": [{}] })),
            ["`rules[0]`: needs exactly one of `key`, `prefix`"]
        );
        assert_eq!(
            complaints(&json!({ "rules": [{ "key": "a", "prefix": "b" }] })),
            ["`rules[0]`: needs exactly one of `key`, `prefix`, not several"]
        );
        assert_eq!(
            complaints(&json!({ "either": { "a": 1 } })),
            ["`either`: needs at least one of `a` with `b`, `c`"]
        );
        assert_eq!(complaints(&json!({ "mode": "x" })), ["`mode`: fits none of the alternatives"]);
    }

    #[test]
    fn what_may_be_left_out_is_judged_as_what_it_is() {
        assert_eq!(
            complaints(&json!({ "login": { "pasword": "x" } })),
            [
                "`login`: unknown key `pasword`; did you mean `password`?",
                "`login`: the key `user` is missing"
            ]
        );
    }

    #[test]
    fn no_complaint_shows_a_value() {
        for config in [
            json!({ "token": "hunter2" }),
            json!({ "rules": "hunter2" }),
            json!({ "rules": ["hunter2"] }),
            json!({ "rules": [{ "key": 1, "prefix": "hunter2", "x": "hunter2" }] }),
            json!({ "login": { "password": ["hunter2"] } }),
            json!({ "login": "hunter2" }),
            json!({ "mode": "hunter2" }),
            json!("hunter2"),
        ] {
            let complaints = complaints(&config);
            assert!(!complaints.is_empty(), "{config} fits");
            assert!(!complaints.concat().contains("hunter2"), "{complaints:?}");
        }
    }
}
