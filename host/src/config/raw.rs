//! What the file says: every value with its place, typed by the key table, nothing judged yet.
//!
//! The file is parsed to a tree of values with spans and walked along the table in `keys`. Whatever is wrong (syntax, unknown
//! keys, wrong types, missing keys) is noted and the walk goes on, so that all of it is told at once. Serde is not
//! used for it: it stops at the first error, and loses the places.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned as TomlSpanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};
use super::keys::{self, Key, Kind, Presence, Table};
use crate::units;

/// A value and where it stands; nowhere if it is a default.
#[derive(Debug, Clone)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) span: Option<Span>,
}

/// A value of the type its [`Kind`] asks for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Texts(Vec<Spanned<String>>),
    Duration(Duration),
    Size(u64),
    Integer(i64),
    Flag(bool),
    Fields(Fields),
    /// Names of the user's, also of tables that are none.
    Named(Vec<(Spanned<String>, Option<Fields>)>),
    List(Vec<Fields>),
    Json(serde_json::Value),
}

/// A table: the values that were sound. What is missing here has been told of, or may be missing.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    /// Its dotted name: `store.local.directory`.
    pub(super) path: String,
    /// Its header, or the whole of it when it is written inline.
    pub(super) span: Option<Span>,
    values: BTreeMap<&'static str, Spanned<Value>>,
    /// Keys that the file gives, sound or not.
    given: Vec<&'static str>,
    /// Whether it gives keys that are not known. One of them may stand for a key that seems to be missing.
    pub(super) has_unknown: bool,
}

/// Makes a getter for one variant of [`Value`].
macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $type:ty) => {
        $(#[$doc])*
        pub(super) fn $name(&mut self, key: &'static str) -> Option<Spanned<$type>> {
            match self.values.remove(key)? {
                Spanned { value: Value::$variant(value), span } => Some(Spanned { value, span }),
                other => {
                    debug_assert!(false, "`{key}` is no {}: {other:?}", stringify!($variant));
                    None
                }
            }
        }
    };
}

impl Fields {
    getter!(/// A string, a path or a choice.
        text, Text, String);
    getter!(texts, Texts, Vec<Spanned<String>>);
    getter!(duration, Duration, Duration);
    getter!(size, Size, u64);
    getter!(integer, Integer, i64);
    getter!(flag, Flag, bool);
    getter!(fields, Fields, Fields);
    getter!(named, Named, Vec<(Spanned<String>, Option<Fields>)>);
    getter!(list, List, Vec<Fields>);
    getter!(json, Json, serde_json::Value);

    /// Whether the file gives the key, be its value sound or not.
    pub(super) fn gives(&self, key: &str) -> bool {
        self.given.contains(&key)
    }

    /// Whether the file gives this key, if it gives any here.
    pub(super) fn gives_only(&self, key: &str) -> bool {
        !self.has_unknown && self.given.iter().all(|given| *given == key)
    }

    /// A table within, which stays to be taken.
    pub(super) fn peek(&self, key: &str) -> Option<&Fields> {
        match self.values.get(key) {
            Some(Spanned { value: Value::Fields(fields), .. }) => Some(fields),
            _ => None,
        }
    }

    /// Where the value of a key stands that has not been taken yet.
    pub(super) fn span_of(&self, key: &str) -> Option<Span> {
        self.values.get(key)?.span.clone()
    }
}

/// Reads a file's text. `places` is filled with the place of each value by its dotted name.
/// `None` when the syntax is wrong: what could be read would only bring errors that follow from it.
pub(super) fn read(
    text: &str,
    problems: &mut Vec<Diagnostic>,
    places: &mut BTreeMap<String, Span>,
) -> Option<Fields> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        syntax_errors(text, &errors, problems);
        return None;
    }
    let mut walk = Walk { problems, places };
    Some(walk.table(&keys::ROOT, "", document.get_ref(), None))
}

/// The errors of the TOML parser: the first of each line, and not many, since it takes a while to find its feet
/// again after one and complains of sound lines meanwhile.
fn syntax_errors(text: &str, errors: &[toml::de::Error], problems: &mut Vec<Diagnostic>) {
    const MOST: usize = 3;
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start.min(text.len()));
    let line = |error: &toml::de::Error| text.get(..start(error)).map(|before| before.matches('\n').count());
    let mut errors: Vec<_> = errors.iter().collect();
    errors.sort_by_key(|error| start(error));
    errors.dedup_by_key(|error| line(error));
    problems.extend(errors.into_iter().take(MOST).map(|error| syntax(text, error)));
}

fn syntax(text: &str, error: &toml::de::Error) -> Diagnostic {
    let message = error.message();
    let problem = Diagnostic::error(format!("not valid TOML: {message}")).at(error.span());
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    if message.starts_with("duplicate key") {
        Diagnostic::error("key is given twice").at(error.span())
    } else if message.contains("must be quoted") && before.trim_end_matches(' ').ends_with('=') {
        problem.hint("a string stands in quotes: `name = \"value\"`")
    } else {
        problem
    }
}

struct Walk<'a> {
    problems: &'a mut Vec<Diagnostic>,
    places: &'a mut BTreeMap<String, Span>,
}

impl Walk<'_> {
    fn table(
        &mut self,
        table: &'static Table,
        path: &str,
        found: &DeTable<'_>,
        span: Option<&Span>,
    ) -> Fields {
        let mut fields = Fields {
            path: path.to_owned(),
            span: span.cloned(),
            values: BTreeMap::new(),
            given: Vec::new(),
            has_unknown: false,
        };
        for (name, value) in found {
            let Some(key) = table.keys.iter().find(|key| key.name == name.get_ref()) else {
                fields.has_unknown = true;
                self.problems.push(unknown_key(table, path, name.get_ref(), name.span()));
                continue;
            };
            fields.given.push(key.name);
            let dotted = join(path, key.name);
            self.places.insert(dotted.clone(), value.span());
            if let Some(sound) = self.value(&key.kind, &dotted, value) {
                fields.values.insert(key.name, Spanned { value: sound, span: Some(value.span()) });
            }
        }
        for key in table.keys.iter().filter(|key| !fields.given.contains(&key.name)) {
            match key.presence {
                Presence::Default(text) => {
                    if let Some(value) = self.default(key, &join(path, key.name), text) {
                        fields.values.insert(key.name, Spanned { value, span: None });
                    }
                }
                Presence::Required(example) => self.problems.push(missing(key, path, example, span.cloned())),
                // Its own keys have their defaults.
                Presence::Usual(_) if matches!(key.kind, Kind::Table(_)) => {
                    if let Some(value) = self.default(key, &join(path, key.name), "{}") {
                        fields.values.insert(key.name, Spanned { value, span: None });
                    }
                }
                Presence::Usual(_) | Presence::Optional(_) | Presence::Instead(_) | Presence::Again(_) => {}
            }
        }
        fields
    }

    /// The default, read in the same way as what users write. It has no place in the file.
    fn default(&mut self, key: &Key, path: &str, text: &str) -> Option<Value> {
        let parsed = DeValue::parse(text);
        debug_assert!(parsed.is_ok(), "default of `{path}`: {parsed:?}");
        let mut places = BTreeMap::new();
        let mut problems = Vec::new();
        let mut walk = Walk { problems: &mut problems, places: &mut places };
        let value = walk.value(&key.kind, path, &parsed.ok()?);
        debug_assert!(problems.is_empty(), "default of `{path}`: {problems:?}");
        self.problems.extend(problems.into_iter().map(|problem| problem.at(None)));
        value.map(without_place)
    }

    fn value(&mut self, kind: &Kind, path: &str, found: &TomlSpanned<DeValue<'_>>) -> Option<Value> {
        let span = found.span();
        match (kind, found.get_ref()) {
            (Kind::Text | Kind::Path, DeValue::String(text)) => self.text(path, text, &span).map(Value::Text),
            (Kind::OneOrMore, DeValue::String(text)) => {
                let value = self.text(path, text, &span)?;
                Some(Value::Texts(vec![Spanned { value, span: Some(span) }]))
            }
            (Kind::Texts | Kind::OneOrMore | Kind::Paths, DeValue::Array(items)) => {
                let mut texts = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.places.insert(path.clone(), item.span());
                    let Some(Value::Text(value)) = self.value(&Kind::Text, &path, item) else { continue };
                    texts.push(Spanned { value, span: Some(item.span()) });
                }
                Some(Value::Texts(texts))
            }
            (Kind::Duration, DeValue::String(text)) => self
                .unit(path, text, span, units::parse_duration, |value| !value.is_zero())
                .map(Value::Duration),
            (Kind::Size, DeValue::String(text)) => {
                self.unit(path, text, span, units::parse_size, |value| *value > 0).map(Value::Size)
            }
            (Kind::Integer(least, most), DeValue::Integer(number)) => {
                let value = i64::from_str_radix(number.as_str(), number.radix()).ok();
                let sound = value.filter(|value| (least..=most).contains(&value));
                if sound.is_none() {
                    let bounds = match *most {
                        i64::MAX => format!("{least} or more"),
                        most => format!("{least} to {most}"),
                    };
                    self.problems.push(
                        Diagnostic::error(format!("`{path}` is out of bounds"))
                            .at(span)
                            .label(format!("expected {bounds}")),
                    );
                }
                sound.map(Value::Integer)
            }
            (Kind::Flag, DeValue::Boolean(value)) => Some(Value::Flag(*value)),
            (Kind::Choice(choices), DeValue::String(text)) => {
                if choices.contains(&text.as_ref()) {
                    return Some(Value::Text(text.to_string()));
                }
                self.problems.push(
                    Diagnostic::error(format!("`{path}` cannot be `{text}`"))
                        .at(span)
                        .label(format!("expected {}", one_of(choices)))
                        .maybe_hint(did_you_mean(text, choices)),
                );
                None
            }
            (Kind::Table(table), DeValue::Table(found)) => {
                Some(Value::Fields(self.table(table, path, found, Some(&span))))
            }
            (Kind::Named(table), DeValue::Table(found)) => Some(Value::Named(self.named(table, path, found))),
            (Kind::Tables(table), DeValue::Array(items)) => {
                let mut list = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.places.insert(path.clone(), item.span());
                    if let Some(Value::Fields(fields)) = self.value(&Kind::Table(table), &path, item) {
                        list.push(fields);
                    }
                }
                Some(Value::List(list))
            }
            (Kind::Json, DeValue::Table(_)) => self.json(path, found).map(Value::Json),
            (kind, other) => {
                self.problems.push(wrong_type(kind, path, other, span));
                None
            }
        }
    }

    fn text(&mut self, path: &str, text: &str, span: &Span) -> Option<String> {
        if text.trim().is_empty() {
            self.problems.push(Diagnostic::error(format!("`{path}` is empty")).at(span.clone()));
            return None;
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            self.problems.push(
                Diagnostic::error(format!(
                    "`{path}` holds the control character {}",
                    control.escape_default()
                ))
                .at(span.clone()),
            );
            return None;
        }
        Some(text.to_owned())
    }

    fn unit<T>(
        &mut self,
        path: &str,
        text: &str,
        span: Span,
        parse: fn(&str) -> Result<T, units::UnitError>,
        positive: fn(&T) -> bool,
    ) -> Option<T> {
        let problem = match parse(text) {
            Ok(value) if positive(&value) => return Some(value),
            Ok(_) => Diagnostic::error(format!("`{path}` must be more than nothing")),
            Err(error) => {
                Diagnostic::error(format!("`{path}` cannot be read: {error}")).maybe_hint(error.hint())
            }
        };
        self.problems.push(problem.at(span));
        None
    }

    fn named(
        &mut self,
        table: &'static Table,
        path: &str,
        found: &DeTable<'_>,
    ) -> Vec<(Spanned<String>, Option<Fields>)> {
        let mut named = Vec::new();
        for (name, value) in found {
            let dotted = join(path, name.get_ref());
            self.places.insert(dotted.clone(), value.span());
            if !is_name(name.get_ref()) {
                self.problems.push(
                    Diagnostic::error(format!("`{}` cannot be a name", name.get_ref().escape_debug()))
                        .at(name.span())
                        .hint("a name has letters, digits, `-` and `_`"),
                );
                continue;
            }
            let fields = match self.value(&Kind::Table(table), &dotted, value) {
                Some(Value::Fields(fields)) => Some(fields),
                _ => None,
            };
            named.push((Spanned { value: name.get_ref().to_string(), span: Some(name.span()) }, fields));
        }
        named
    }

    /// A plugin's configuration: TOML as JSON, dates as their text.
    fn json(&mut self, path: &str, found: &TomlSpanned<DeValue<'_>>) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        let mut refuse = |reason: String| {
            self.problems.push(Diagnostic::error(format!("`{path}` {reason}")).at(found.span()));
            None
        };
        match found.get_ref() {
            DeValue::String(text) => Some(Json::from(text.as_ref())),
            DeValue::Boolean(value) => Some(Json::from(*value)),
            DeValue::Datetime(date) => Some(Json::from(date.to_string())),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(value) => Some(Json::from(value)),
                Err(_) => refuse("is out of bounds".to_owned()),
            },
            DeValue::Float(number) => {
                match number.as_str().parse().ok().and_then(serde_json::Number::from_f64) {
                    Some(value) => Some(Json::Number(value)),
                    None => refuse(format!("cannot be `{}`: JSON has no such number", number.as_str())),
                }
            }
            DeValue::Array(items) => {
                let items = items.iter().enumerate();
                let items: Vec<_> =
                    items.map(|(index, item)| self.json(&format!("{path}[{index}]"), item)).collect();
                items.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
            }
            DeValue::Table(table) => {
                let mut object = serde_json::Map::new();
                let mut sound = true;
                for (name, value) in table {
                    let path = join(path, name.get_ref());
                    self.places.insert(path.clone(), value.span());
                    match self.json(&path, value) {
                        Some(value) => drop(object.insert(name.get_ref().to_string(), value)),
                        None => sound = false,
                    }
                }
                sound.then_some(Json::Object(object))
            }
        }
    }
}

/// Takes away the places within a default: they are not in the user's file.
fn without_place(value: Value) -> Value {
    match value {
        Value::Texts(texts) => {
            Value::Texts(texts.into_iter().map(|text| Spanned { span: None, ..text }).collect())
        }
        Value::Fields(fields) => Value::Fields(Fields { span: None, ..fields }),
        other => other,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn unknown_key(table: &'static Table, path: &str, name: &str, span: Span) -> Diagnostic {
    let shown = name.escape_debug();
    let message = match path {
        "" => format!("unknown key `{shown}`"),
        path => format!("unknown key `{shown}` in `{path}`"),
    };
    let names: Vec<&str> = table.keys.iter().map(|key| key.name).collect();
    let mistaken =
        table.mistaken.iter().find(|(wrong, _)| *wrong == name).map(|(_, hint)| (*hint).to_owned());
    let hint = mistaken
        .or_else(|| home_of(&keys::ROOT, "", name).map(|home| format!("it belongs in `{home}`")))
        .or_else(|| did_you_mean(name, &names))
        .or_else(|| (!names.is_empty()).then(|| format!("known here: {}", list(&names))));
    // Whoever grants something should see what there is to grant.
    let hint = match hint {
        Some(hint) if path.rsplit('.').next() == Some("allow") && !hint.starts_with("known here") => {
            let join = if hint.ends_with('?') { "" } else { ";" };
            Some(format!("{hint}{join} what can be granted is {}", list(&names)))
        }
        hint => hint,
    };
    Diagnostic::error(message).at(span).maybe_hint(hint)
}

/// The table in which a key of this name has its place.
fn home_of(table: &'static Table, path: &str, name: &str) -> Option<String> {
    if !path.is_empty() && table.keys.iter().any(|key| key.name == name) {
        return Some(format!("[{path}]"));
    }
    table.keys.iter().find_map(|key| match key.kind {
        Kind::Table(inner) => home_of(inner, &join(path, key.name), name),
        Kind::Named(inner) => home_of(inner, &format!("{}.NAME", join(path, key.name)), name),
        _ => None,
    })
}

/// What to say when a key that may be missing elsewhere is needed here. `table` is the table that lacks it.
pub(super) fn missing_here(table: &Fields, name: &'static str) -> Diagnostic {
    let found = keys::usual(&table.path, name);
    debug_assert!(found.is_some(), "`{name}` of `{}` is no such key", table.path);
    match found {
        Some((key, example)) => missing(key, &table.path, example, table.span.clone()),
        None => Diagnostic::error(format!("`{name}` is missing in `{}`", table.path)).at(table.span.clone()),
    }
}

fn missing(key: &Key, path: &str, example: &str, span: Option<Span>) -> Diagnostic {
    let name = key.name;
    match key.kind {
        Kind::Table(_) => Diagnostic::error(format!("table `[{}]` is missing", join(path, name))).at(span),
        Kind::Named(_) => {
            let dotted = join(path, name);
            let mut problem = Diagnostic::error(format!("no `[{dotted}.NAME]` is given")).at(span);
            if dotted == "store" {
                problem = problem
                    .hint("add one: `[store.local.directory]` with `path = \"/var/lib/holdfast/backups\"`");
            }
            problem
        }
        _ => {
            // An example of several lines is too much for a hint.
            let example = if example.contains('\n') { "[ … ]" } else { example };
            Diagnostic::error(format!("`{name}` is missing in `{path}`"))
                .at(span)
                .hint(format!("add `{name} = {example}`"))
        }
    }
}

fn wrong_type(kind: &Kind, path: &str, found: &DeValue<'_>, span: Span) -> Diagnostic {
    let expected = match kind {
        Kind::Text | Kind::Path => "a string".to_owned(),
        Kind::Texts | Kind::Paths => "an array of strings".to_owned(),
        Kind::OneOrMore => "a string or an array of strings".to_owned(),
        Kind::Duration => "a duration such as `\"30s\"`".to_owned(),
        Kind::Size => "a size such as `\"64MiB\"`".to_owned(),
        Kind::Integer(..) => "a whole number".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Choice(choices) => one_of(choices),
        Kind::Table(_) | Kind::Named(_) | Kind::Json => "a table".to_owned(),
        Kind::Tables(_) => "an array of tables".to_owned(),
    };
    let article = if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    let problem = Diagnostic::error(format!("`{path}` is {article} {}", found.type_str()))
        .at(span)
        .label(format!("expected {expected}"));
    match (kind, found) {
        (Kind::Texts | Kind::Paths, DeValue::String(_)) => problem.hint("put it in brackets: `[\"…\"]`"),
        (Kind::Duration | Kind::Size, DeValue::Integer(_)) => problem.hint("give it a unit, in quotes"),
        (Kind::Flag, DeValue::String(_)) => problem.hint("leave out the quotes"),
        (Kind::Integer(..), DeValue::String(text)) if text.parse::<i64>().is_ok() => {
            problem.hint("leave out the quotes")
        }
        _ => problem,
    }
}

/// "`a`, `b` or `c`"
fn one_of(choices: &[&str]) -> String {
    match choices {
        [] => "nothing".to_owned(),
        [only] => format!("`{only}`"),
        [first @ .., last] => format!("{} or `{last}`", list(first)),
    }
}

/// "`a`, `b`, `c`"
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The closest of the names there are, if it is close enough to be meant.
pub(super) fn did_you_mean<T: AsRef<str>>(name: &str, known: &[T]) -> Option<String> {
    let bare = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let distance = |known: &str| strsim::damerau_levenshtein(&bare(name), &bare(known));
    let (closest, far) =
        known.iter().map(|known| (known.as_ref(), distance(known.as_ref()))).min_by_key(|(_, far)| *far)?;
    // A third of the word may be wrong, and at least one letter, but not all of it.
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    (far <= allowed && far < name.chars().count()).then(|| format!("did you mean `{closest}`?"))
}

/// Makes a path of what the file says; a relative one starts at the folder of the file.
pub(super) fn path(text: String, folder: &std::path::Path) -> PathBuf {
    let path = PathBuf::from(text);
    if path.is_absolute() { path } else { folder.join(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_names() {
        let known = ["endpoints", "name", "username", "dial_timeout"];
        for (name, meant) in [
            ("endpoint", Some("endpoints")),
            ("nmae", Some("name")),
            ("dialTimeout", Some("dial_timeout")),
            ("user_name", Some("username")),
            ("zone", None),
            ("x", None),
        ] {
            assert_eq!(
                did_you_mean(name, &known),
                meant.map(|meant| format!("did you mean `{meant}`?")),
                "{name}"
            );
        }
    }

    /// Every default and every example of the table is read as what it stands for.
    #[test]
    fn defaults_and_examples_are_sound() {
        fn visit(table: &'static Table, path: &str) {
            for key in table.keys {
                let path = join(path, key.name);
                let (Presence::Required(text)
                | Presence::Usual(text)
                | Presence::Default(text)
                | Presence::Optional(text)
                | Presence::Instead(text)
                | Presence::Again(text)) = key.presence;
                let value = DeValue::parse(text).unwrap_or_else(|error| panic!("{path}: {error}"));
                match key.kind {
                    Kind::Table(inner) | Kind::Named(inner) => visit(inner, &path),
                    _ => {
                        let (mut problems, mut places) = (Vec::new(), BTreeMap::new());
                        let mut walk = Walk { problems: &mut problems, places: &mut places };
                        assert!(walk.value(&key.kind, &path, &value).is_some(), "{path}");
                        assert!(problems.is_empty(), "{path}: {problems:?}");
                    }
                }
            }
        }
        visit(&keys::ROOT, "");
    }
}
