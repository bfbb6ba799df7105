//! How Kubernetes encodes its built-in objects: the fields of each message, and what JSON makes of them.
//!
//! `schema.txt` is made by `tools/kubernetes-schema` from the Go types of the published modules. The `.proto` files that are
//! published beside them are generated from the same types, and lack what decides about JSON: whether a field is a pointer and
//! which empty fields are left out.
//!
//! ```text
//! kind APIVERSION KIND MESSAGE
//! message NAME
//! NUMBER JSON-NAME TYPE [FLAGS]     JSON-NAME `-`: the fields of the message stand in the place of the field
//! ```

use std::collections::HashMap;
use std::sync::OnceLock;

const SCHEMA: &str = include_str!("schema.txt");

/// The messages of all kinds.
pub(crate) struct Schema {
    kinds: HashMap<(&'static str, &'static str), usize>,
    messages: Vec<Message>,
    metadata: usize,
}

/// The fields of a message, in the order of the type.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) number: u64,
    /// None where the fields of the message stand in the place of this one.
    pub(crate) name: Option<&'static str>,
    pub(crate) form: Form,
    /// What is there is shown whatever it is; what is not there is null.
    pub(crate) pointer: bool,
    /// Left out when it is empty, as `encoding/json` of Go understands `omitempty`.
    pub(crate) omit_empty: bool,
    /// Left out when all of it is zero: `omitzero`.
    pub(crate) omit_zero: bool,
}

/// What a field holds. Messages are named by their place in the schema.
#[derive(Clone)]
pub(crate) enum Form {
    Bool,
    String,
    Int,
    Double,
    Bytes,
    List(Box<Form>),
    /// By text; an entry's value.
    Map(Box<Form>),
    /// A list that is a message of its own, with the elements as field 1.
    Items(Box<Form>),
    Message(usize),
    Quantity,
    Duration,
    Time,
    MicroTime,
    IntOrString,
    /// JSON in field 1.
    RawJson,
    SchemaOrArray(usize),
    SchemaOrBool(usize),
    SchemaOrStrings(usize),
}

impl Schema {
    /// The schema, read on first use.
    pub(crate) fn get() -> &'static Self {
        static PARSED: OnceLock<Schema> = OnceLock::new();
        PARSED.get_or_init(|| Self::parse(SCHEMA))
    }

    /// The message of a kind.
    pub(crate) fn kind(&self, api_version: &str, kind: &str) -> Option<&Message> {
        self.messages.get(*self.kinds.get(&(api_version, kind))?)
    }

    /// The metadata that every object has as field 1.
    pub(crate) fn metadata(&self) -> usize {
        self.metadata
    }

    pub(crate) fn message(&self, place: usize) -> &Message {
        static NONE: Message = Message { fields: Vec::new() };
        self.messages.get(place).unwrap_or(&NONE)
    }

    fn parse(text: &'static str) -> Self {
        let named = text.lines().filter_map(|line| line.strip_prefix("message "));
        let places: HashMap<&str, usize> = named.enumerate().map(|(place, name)| (name, place)).collect();
        let mut kinds = HashMap::new();
        let mut messages: Vec<Message> = Vec::with_capacity(places.len());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            match *words.as_slice() {
                ["message", _] => messages.push(Message::default()),
                ["kind", api_version, kind, message] => {
                    kinds.extend(places.get(message).map(|place| ((api_version, kind), *place)));
                }
                [number, name, form] => push(&mut messages, &places, [number, name, form, ""]),
                [number, name, form, flags] => push(&mut messages, &places, [number, name, form, flags]),
                _ => {}
            }
        }
        let metadata = places.get("meta/v1.ObjectMeta").copied().unwrap_or(usize::MAX);
        Self { kinds, messages, metadata }
    }
}

/// Adds a field to the newest message. A line of another form is none of this program's schema and is held by a test.
fn push(messages: &mut [Message], places: &HashMap<&str, usize>, words: [&'static str; 4]) {
    let [number, name, form, flags] = words;
    let (Some(message), Ok(number)) = (messages.last_mut(), number.parse()) else { return };
    let Some(form) = parse_form(places, form) else { return };
    message.fields.push(Field {
        number,
        name: (name != "-").then_some(name),
        form,
        pointer: flags.contains('p'),
        omit_empty: flags.contains('e'),
        omit_zero: flags.contains('z'),
    });
}

fn parse_form(places: &HashMap<&str, usize>, text: &str) -> Option<Form> {
    if let Some(element) = text.strip_prefix("[]") {
        return Some(Form::List(Box::new(parse_form(places, element)?)));
    }
    let (form, inner) = text.split_once(':').unwrap_or((text, ""));
    let inner_form = || Some(Box::new(parse_form(places, inner)?));
    let inner_place = || places.get(inner).copied();
    Some(match form {
        "bool" => Form::Bool,
        "string" => Form::String,
        "int" => Form::Int,
        "double" => Form::Double,
        "bytes" => Form::Bytes,
        "map" => Form::Map(inner_form()?),
        "items" => Form::Items(inner_form()?),
        "quantity" => Form::Quantity,
        "duration" => Form::Duration,
        "time" => Form::Time,
        "micro-time" => Form::MicroTime,
        "int-or-string" => Form::IntOrString,
        "raw-extension" | "fields-v1" | "json" => Form::RawJson,
        "schema-or-array" => Form::SchemaOrArray(inner_place()?),
        "schema-or-bool" => Form::SchemaOrBool(inner_place()?),
        "schema-or-strings" => Form::SchemaOrStrings(inner_place()?),
        message => Form::Message(*places.get(message)?),
    })
}

#[cfg(test)]
mod tests {
    use super::{SCHEMA, Schema};

    #[test]
    fn every_line_of_the_schema_is_understood() {
        let schema = Schema::get();
        let count = |word: &str| SCHEMA.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!(schema.kinds.len(), count("kind "));
        assert_eq!(schema.messages.len(), count("message "));
        let fields: usize = schema.messages.iter().map(|message| message.fields.len()).sum();
        assert_eq!(fields, SCHEMA.lines().count() - count("#") - count("kind ") - count("message "));
        assert!(schema.kinds.len() > 100 && fields > 3000);
        assert_eq!(schema.message(schema.metadata()).fields.len(), 15);
    }

    #[test]
    fn field_numbers_are_told_once_a_message() {
        for message in &Schema::get().messages {
            let mut numbers: Vec<u64> = message.fields.iter().map(|field| field.number).collect();
            numbers.sort_unstable();
            assert!(numbers.is_sorted_by(|a, b| a < b));
        }
    }
}
