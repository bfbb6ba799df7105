//! What a plugin's config may hold, as a list for people: one line a key.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::text;

/// Lines of one list; a schema may describe more, and they are of no use to a reader.
const SETTINGS: usize = 200;
/// Tables within tables.
const DEPTH: usize = 12;
const KEY_BYTES: usize = 256;
const KIND_BYTES: usize = 256;
const SUMMARY_BYTES: usize = 512;
/// Values of an enumeration that are named.
const CHOICES: usize = 12;

/// One key of a plugin's config. Every text is bounded and free of control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Where it stands: `rules[].least`.
    pub key: String,
    /// What it may be: `string`, `array of tables`, `"a" or "b"`.
    pub kind: String,
    /// Whether it must be there, where the table around it is.
    pub required: bool,
    /// What holds without it, as JSON.
    pub default: Option<String>,
    /// What it means, by the plugin's own word.
    pub summary: String,
}

/// Lists the keys that `schema` describes.
pub(super) fn list(schema: &Value) -> Vec<Setting> {
    let mut settings = Settings { root: schema, list: Vec::new() };
    settings.members(schema, "", 0);
    settings.list
}

struct Settings<'a> {
    root: &'a Value,
    list: Vec<Setting>,
}

impl<'a> Settings<'a> {
    /// The keys of a table, each followed by what it holds.
    fn members(&mut self, schema: &'a Value, path: &str, depth: usize) {
        let Some(object) = self.resolve(schema).as_object() else { return };
        if depth > DEPTH {
            return;
        }
        for alternative in alternatives(object) {
            self.members(alternative, path, depth + 1);
        }
        let required: Vec<&str> = strings(object.get("required")).collect();
        for (name, value) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.member(value, &key, required.contains(&name.as_str()), depth);
        }
        if let Some(items) = object.get("items") {
            self.members(items, &format!("{path}[]"), depth + 1);
        }
        if let Some(others) = object.get("additionalProperties").filter(|others| others.is_object()) {
            let key = if path.is_empty() { "NAME".to_owned() } else { format!("{path}.NAME") };
            self.member(others, &key, false, depth);
        }
    }

    fn member(&mut self, schema: &'a Value, key: &str, required: bool, depth: usize) {
        // Alternatives may describe the same key again; the first word counts.
        let shown = text::one_line(key, KEY_BYTES);
        if self.list.len() >= SETTINGS || self.list.iter().any(|setting| setting.key == shown) {
            return;
        }
        let target = self.resolve(schema);
        let say = |keyword: &str| schema.get(keyword).or_else(|| target.get(keyword));
        self.list.push(Setting {
            key: shown,
            kind: text::one_line(&self.kind(target, 0), KIND_BYTES),
            required,
            default: say("default")
                .filter(|value| !value.is_null())
                .map(|value| text::one_line(&value.to_string(), KIND_BYTES)),
            summary: say("description")
                .and_then(Value::as_str)
                .map(|summary| {
                    let words: Vec<&str> = summary.split_whitespace().collect();
                    text::one_line(&words.join(" "), SUMMARY_BYTES)
                })
                .unwrap_or_default(),
        });
        self.members(target, key, depth + 1);
    }

    fn kind(&self, schema: &'a Value, depth: usize) -> String {
        let Some(object) = self.resolve(schema).as_object().filter(|_| depth < DEPTH) else {
            return "anything".to_owned();
        };
        if let Some(value) = object.get("const") {
            return value.to_string();
        }
        if let Some(choices) = object.get("enum").and_then(Value::as_array) {
            let named: Vec<String> = choices.iter().take(CHOICES).map(Value::to_string).collect();
            return named.join(" or ");
        }
        let types: Vec<String> = match object.get("type") {
            Some(Value::String(one)) => vec![self.type_name(one, object, depth)],
            Some(Value::Array(several)) => several
                .iter()
                .filter_map(Value::as_str)
                .map(|one| self.type_name(one, object, depth))
                .collect(),
            _ => alternatives(object).map(|alternative| self.kind(alternative, depth + 1)).collect(),
        };
        let mut distinct: Vec<String> = Vec::new();
        for one in types {
            if !distinct.contains(&one) {
                distinct.push(one);
            }
        }
        if distinct.is_empty() { "anything".to_owned() } else { distinct.join(" or ") }
    }

    fn type_name(&self, name: &str, object: &'a Map<String, Value>, depth: usize) -> String {
        match (name, object.get("items")) {
            ("array", Some(items)) => match self.kind(items, depth + 1).as_str() {
                "anything" => "array".to_owned(),
                one @ ("string" | "table" | "integer" | "number" | "boolean") => format!("array of {one}s"),
                other => format!("array of {other}"),
            },
            ("object", _) => "table".to_owned(),
            (other, _) => other.to_owned(),
        }
    }

    /// What a reference leads to. The schema was found to have no circle in them.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..DEPTH {
            let Some(pointer) =
                schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'))
            else {
                return schema;
            };
            let Some(target) = self.root.pointer(&super::percent_decoded(pointer)) else { return schema };
            schema = target;
        }
        schema
    }
}

fn alternatives(object: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .filter_map(|keyword| object.get(keyword))
        .filter_map(Value::as_array)
        .flatten()
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_listed_with_their_places() {
        let schema = json!({
            "type": "object",
            "required": ["rules"],
            "properties": {
                "rules": { "type": "array", "items": { "$ref": "#/$defs/rule" }, "description": "What\n must hold" },
                "mode": { "enum": ["fast", "slow"], "default": "fast" },
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            },
            "$defs": { "rule": {
                "type": "object",
                "oneOf": [{ "required": ["key"] }, { "required": ["prefix"] }],
                "properties": {
                    "key": { "type": "string" },
                    "least": { "type": ["integer", "null"], "description": "red \u{1b}[31m" },
                },
            } },
        });
        let list = list(&schema);
        let shown: Vec<String> = list
            .iter()
            .map(|one| format!("{} {} {} {:?} {}", one.key, one.kind, one.required, one.default, one.summary))
            .collect();
        assert_eq!(
            shown,
            [
                "labels table false None ",
                "labels.NAME string false None ",
                "mode \"fast\" or \"slow\" false Some(\"\\\"fast\\\"\") ",
                "rules array of tables true None What must hold",
                "rules[].key string false None ",
                "rules[].least integer or null false None red \\u{1b}[31m",
            ]
        );
    }

    #[test]
    fn a_schema_that_says_nothing_has_no_keys() {
        for schema in [json!(true), json!({}), json!([]), json!({ "$ref": "#/nowhere" }), Value::Null] {
            assert_eq!(list(&schema), [], "{schema}");
        }
    }
}
