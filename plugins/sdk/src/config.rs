//! A plugin's config: from the JSON that the agent hands over to the author's type.
//!
//! Two things are done for every plugin, so that no author has to remember them. A key that the type does not know is
//! refused, with its place and the closest known one: a misspelt rule that is silently ignored is a check that never
//! runs. And every error says where in the config it is. Both go by the JSON Schema that the type derives.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fmt;

/// Nested deeper than this, a config is refused. A schema may refer to itself, so there is a bound to give.
const MAX_DEPTH: usize = 32;

/// For a verifier that has nothing to configure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, e.g. `rules[2].least`; empty for the config as a whole.
    pub path: String,
    /// What.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(formatter, "`{}`: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}

/// A config that does not say something usable, with everything that was found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConfigError {
    /// What is wrong, in the order of the config. Never empty.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    fn one(path: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { problems: vec![Problem { path: path.into(), message: message.into() }] }
    }
}

/// The JSON Schema (2020-12) of a config type, closed: what it does not name may not be there, and nothing is `null`.
/// Empty for a type that has nothing to say, such as [`NoConfig`].
pub fn schema<T: JsonSchema>() -> String {
    let schema = closed_schema::<T>();
    let says_nothing = schema.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty)
        && ["$ref", "allOf", "anyOf", "oneOf"].iter().all(|keyword| schema.get(keyword).is_none());
    if says_nothing { String::new() } else { schema.to_string() }
}

/// Reads a config from its JSON. Nothing and `null` are an empty table, as in a step that has no `config`.
///
/// # Errors
/// All unknown keys at once; failing that, the first value that is not what the type asks for.
pub fn parse<T: DeserializeOwned + JsonSchema>(json: &str) -> Result<T, ConfigError> {
    let value = match json.trim() {
        "" | "null" => Value::Object(Map::new()),
        text => serde_json::from_str(text)
            .map_err(|error| ConfigError::one("", format!("the config is not JSON: {error}")))?,
    };
    if !value.is_object() {
        return Err(ConfigError::one("", "the config is not a table"));
    }
    let schema = closed_schema::<T>();
    let mut problems = Vec::new();
    find_unknown_keys(&schema, &[&schema], &value, &mut Vec::new(), &mut problems);
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        // serde_path_to_error calls the top `.`, and what it cannot place `?`.
        let path = path.trim_matches(|character| character == '.' || character == '?');
        ConfigError::one(path, error.inner().to_string())
    })
}

fn closed_schema<T: JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    close(&mut schema, 0);
    schema
}

/// Keywords whose schemas describe the same value as the schema that they stand in.
const IN_PLACE: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Closes every object that is described but left open, and takes away `null`.
fn close(schema: &mut Value, depth: usize) {
    let Some(object) = schema.as_object_mut() else { return };
    if depth > MAX_DEPTH {
        return;
    }
    forget_null(object);
    let has_properties = object.contains_key("properties");
    let is_combined = IN_PLACE.iter().any(|keyword| object.contains_key(*keyword));
    let is_said = object.contains_key("additionalProperties") || object.contains_key("unevaluatedProperties");
    if has_properties && !is_said {
        // A combined object's keys are spread over several schemas, and only `unevaluatedProperties` sees them all.
        let keyword = if is_combined { "unevaluatedProperties" } else { "additionalProperties" };
        object.insert(keyword.to_owned(), Value::Bool(false));
    }
    for (keyword, inner) in object.iter_mut() {
        let inner: Vec<&mut Value> = match (keyword.as_str(), inner) {
            ("properties" | "$defs", Value::Object(inner)) => inner.values_mut().collect(),
            ("items" | "additionalProperties", inner) => vec![inner],
            ("prefixItems", Value::Array(inner)) => inner.iter_mut().collect(),
            // Parts of an object that has keys of its own must stay open: each would refuse the others' keys.
            (keyword, Value::Array(inner)) if IN_PLACE.contains(&keyword) && !has_properties => {
                inner.iter_mut().collect()
            }
            _ => continue,
        };
        for schema in inner {
            close(schema, depth + 1);
        }
    }
}

/// Configs are written in TOML, which has no `null`: what may be left out is left out. An optional value is then
/// described, and complained about, as what it is.
fn forget_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &mut types[..] {
            let only = only.take();
            schema.insert("type".to_owned(), only);
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(parts)) = schema.get_mut("anyOf") {
        parts.retain(|part| part.get("type").is_none_or(|name| name != "null"));
        // Of two alternatives one is left: it is what the value is.
        if let [Value::Object(only)] = &mut parts[..]
            && only.keys().all(|keyword| keyword == "$ref")
        {
            let only = std::mem::take(only);
            schema.remove("anyOf");
            schema.extend(only);
        }
    }
}

/// What the schemas of one value say of it together, whatever they are combined with.
#[derive(Default)]
struct Shape<'a> {
    properties: Vec<(&'a str, &'a Value)>,
    items: Vec<&'a Value>,
    additional: Vec<&'a Value>,
    is_closed: bool,
}

impl<'a> Shape<'a> {
    fn of(root: &'a Value, schemas: &[&'a Value]) -> Shape<'a> {
        let mut shape = Shape::default();
        for schema in schemas {
            shape.add(root, schema, 0);
        }
        shape
    }

    fn add(&mut self, root: &'a Value, schema: &'a Value, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str)
            && let Some(target) = root.pointer(target.trim_start_matches('#'))
        {
            self.add(root, target, depth + 1);
        }
        for keyword in IN_PLACE {
            for part in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                self.add(root, part, depth + 1);
            }
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            self.properties.push((name, property));
        }
        self.items.extend(schema.get("items"));
        self.items.extend(schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten());
        for keyword in ["additionalProperties", "unevaluatedProperties"] {
            match schema.get(keyword) {
                Some(Value::Bool(false)) => self.is_closed = true,
                Some(other) => self.additional.push(other),
                None => {}
            }
        }
    }
}

/// Finds the keys that no schema of their table knows.
fn find_unknown_keys<'a>(
    root: &'a Value,
    schemas: &[&'a Value],
    value: &Value,
    path: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) {
    if path.len() > MAX_DEPTH {
        return;
    }
    let shape = Shape::of(root, schemas);
    match value {
        Value::Object(table) => {
            for (name, inner) in table {
                let mut known: Vec<&Value> = shape
                    .properties
                    .iter()
                    .filter(|(property, _)| property == name)
                    .map(|(_, schema)| *schema)
                    .collect();
                if known.is_empty() {
                    known.clone_from(&shape.additional);
                }
                if known.is_empty() && shape.is_closed {
                    problems.push(unknown_key(path, name, &shape));
                    continue;
                }
                path.push(if path.is_empty() { name.clone() } else { format!(".{name}") });
                find_unknown_keys(root, &known, inner, path, problems);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                path.push(format!("[{index}]"));
                find_unknown_keys(root, &shape.items, inner, path, problems);
                path.pop();
            }
        }
        _ => {}
    }
}

fn unknown_key(path: &[String], name: &str, shape: &Shape<'_>) -> Problem {
    let mut known: Vec<&str> = shape.properties.iter().map(|(property, _)| *property).collect();
    known.sort_unstable();
    known.dedup();
    // Half of the letters may be wrong: closer than that, a suggestion helps more than it misleads.
    let closest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), *known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 2)
        .min();
    let advice = match closest {
        Some((_, closest)) => format!("did you mean `{closest}`?"),
        None if known.is_empty() => "no key is known here".to_owned(),
        None => format!("known are `{}`", known.join("`, `")),
    };
    Problem { path: path.concat(), message: format!("unknown key `{name}`: {advice}") }
}

#[cfg(test)]
mod tests {
    use super::{NoConfig, closed_schema, parse, schema};
    use schemars::JsonSchema;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Config {
        rules: Vec<Rule>,
        #[serde(default)]
        depth: u8,
        #[serde(default)]
        labels: BTreeMap<String, Label>,
        #[serde(flatten)]
        common: Common,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Rule {
        prefix: String,
        #[serde(default)]
        value: Option<Match>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    enum Match {
        Equals(String),
        Between { low: i64, high: i64 },
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Label {
        text: String,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
    struct Common {
        #[serde(default)]
        strict: bool,
    }

    fn problem(json: &str) -> String {
        parse::<Config>(json).expect_err("the config is wrong").to_string()
    }

    #[test]
    fn a_config_is_read_into_its_type() {
        let json = r#"{"rules": [{"prefix": "/a", "value": {"between": {"low": 1, "high": 2}}}],
            "labels": {"any": {"text": "x"}}, "strict": true}"#;
        let config: Config = parse(json).expect("the config is right");
        assert_eq!(config.rules[0].value, Some(Match::Between { low: 1, high: 2 }));
        assert_eq!(config.labels["any"].text, "x");
        assert!(config.common.strict);
    }

    #[test]
    fn unknown_keys_are_told_all_at_once_with_the_closest_name() {
        let json = r#"{"rulez": [], "rules": [{"prefix": "/a"}, {"prefx": "/b", "value": {"equal": "x"}}],
            "labels": {"any": {"txet": "x"}}, "strictly": 1, "zzzzzzzz": 2}"#;
        let expected = [
            "`labels.any`: unknown key `txet`: did you mean `text`?",
            "`rules[1]`: unknown key `prefx`: did you mean `prefix`?",
            "`rules[1].value`: unknown key `equal`: did you mean `equals`?",
            "unknown key `rulez`: did you mean `rules`?",
            "unknown key `strictly`: did you mean `strict`?",
            "unknown key `zzzzzzzz`: known are `depth`, `labels`, `rules`, `strict`",
        ];
        assert_eq!(problem(json), expected.join("; "));
    }

    #[test]
    fn wrong_values_say_where_they_are() {
        let json = r#"{"rules": [{"prefix": "/a", "value": {"between": {"low": "x", "high": 2}}}]}"#;
        assert_eq!(problem(json), r#"`rules[0].value.between.low`: invalid type: string "x", expected i64"#);
        assert_eq!(problem(r#"{"depth": 1}"#), "missing field `rules`");
        assert_eq!(problem("[]"), "the config is not a table");
        assert!(problem("{").starts_with("the config is not JSON: "));
    }

    #[test]
    fn a_verifier_without_config_has_no_schema() {
        assert_eq!(schema::<NoConfig>(), "");
        for nothing in ["", "null", "{}"] {
            assert_eq!(parse::<NoConfig>(nothing), Ok(NoConfig {}));
        }
        let error = parse::<NoConfig>(r#"{"a": 1}"#).expect_err("nothing is known");
        assert_eq!(error.to_string(), "unknown key `a`: no key is known here");
    }

    #[test]
    fn the_schema_is_closed_everywhere() {
        let schema = closed_schema::<Config>();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["additionalProperties"], false);
        for name in ["Rule", "Label"] {
            assert_eq!(schema["$defs"][name]["additionalProperties"], false, "{name}");
        }
    }

    #[test]
    fn an_optional_value_is_described_as_what_it_is() {
        #[derive(Deserialize, JsonSchema)]
        #[expect(dead_code, reason = "only its schema is of interest")]
        struct Optional {
            /// How many.
            count: Option<u32>,
            /// Which.
            label: Option<Label>,
            #[serde(default)]
            text: Option<String>,
        }
        let schema = closed_schema::<Optional>();
        let properties = &schema["properties"];
        assert_eq!(properties["count"]["type"], "integer");
        assert_eq!(properties["label"]["$ref"], "#/$defs/Label");
        assert_eq!(properties["label"]["description"], "Which.");
        assert_eq!(properties["label"].get("anyOf"), None);
        assert_eq!(properties["text"], serde_json::json!({ "type": "string" }));
        assert!(!schema.to_string().contains("null"));
    }

    /// A type that contains itself has a schema without end.
    #[derive(Debug, Deserialize, JsonSchema)]
    struct Tree {
        #[serde(default)]
        #[expect(dead_code, reason = "only its schema is of interest")]
        children: Vec<Tree>,
    }

    #[test]
    fn a_type_that_contains_itself_ends() {
        assert!(parse::<Tree>(r#"{"children": [{"children": []}]}"#).is_ok());
        let error = parse::<Tree>(r#"{"children": [{"child": []}]}"#).expect_err("one is misspelt");
        assert_eq!(error.to_string(), "`children[0]`: unknown key `child`: did you mean `children`?");
    }
}
