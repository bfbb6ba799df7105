//! From protobuf to the JSON that the API server would show of it.
//!
//! Every field of a message's type is looked at, not just those that were stored: what is missing shows as Go's zero value unless
//! its field leaves that out. So the JSON is the same as Kubernetes' own, `"resources":{}` and all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::error::DecodeError;
use crate::forms;
use crate::schema::{Field, Form, Message, Schema};
use crate::wire::{Content, WireField, last, numbered, packed};

/// Messages within messages. JSON schemas nest deepest; those of real definitions stay below 40.
const MAX_DEPTH: usize = 200;
/// What any object may hold beside [`VALUES_PER_BYTE`].
const FREE_VALUES: usize = 100_000;
/// Two bytes can be an empty message whose type has many fields, so a short value could ask for a lot of memory.
const VALUES_PER_BYTE: usize = 4;

/// Decodes the messages of one object.
pub(crate) struct Decoder {
    schema: &'static Schema,
    depth: usize,
    values_left: usize,
    /// Fields that the schema does not have: written by a newer Kubernetes, or a much older one.
    pub(crate) unknown_fields: usize,
}

/// What came out, and whether JSON may leave it out.
struct Built {
    value: Value,
    /// Go's zero value.
    is_zero: bool,
    /// Empty as `omitempty` has it: structs never are.
    is_empty: bool,
}

impl Built {
    /// Numbers, texts and flags: empty when zero.
    fn plain(value: Value, is_zero: bool) -> Self {
        Self { value, is_zero, is_empty: is_zero }
    }

    /// Lists, maps and bytes; `None` is Go's nil.
    fn many(value: Option<Value>, len: usize) -> Self {
        Self { is_zero: value.is_none(), is_empty: len == 0, value: value.unwrap_or_default() }
    }

    /// Structs, whatever JSON makes of them.
    fn structure(value: Value, is_zero: bool) -> Self {
        Self { value, is_zero, is_empty: false }
    }
}

impl Decoder {
    /// For a value of so many bytes.
    pub(crate) fn new(schema: &'static Schema, value_len: usize) -> Self {
        let values_left = value_len.saturating_mul(VALUES_PER_BYTE).saturating_add(FREE_VALUES);
        Self { schema, depth: 0, values_left, unknown_fields: 0 }
    }

    /// The JSON of a message whose fields these are.
    pub(crate) fn object(
        &mut self,
        message: &Message,
        fields: &[WireField<'_>],
    ) -> Result<Map<String, Value>, DecodeError> {
        Ok(self.fields_of(message, fields, 0)?.0)
    }

    /// The metadata alone, of a message that is not known.
    pub(crate) fn metadata(&mut self, fields: &[WireField<'_>]) -> Result<Value, DecodeError> {
        Ok(self.one(&Form::Message(self.schema.metadata()), last(fields, 1))?.value)
    }

    fn fields_of(
        &mut self,
        message: &Message,
        fields: &[WireField<'_>],
        offset: usize,
    ) -> Result<(Map<String, Value>, bool), DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::Protobuf { offset, reason: "messages are nested too deeply" });
        }
        self.depth += 1;
        let mut object = Map::new();
        let mut is_zero = true;
        let mut known = 0;
        for field in &message.fields {
            let found = numbered(fields, field.number);
            known += found.len();
            is_zero &= self.add(&mut object, field, found, offset)?;
        }
        self.unknown_fields += fields.len() - known;
        self.depth -= 1;
        Ok((object, is_zero))
    }

    /// Adds a field to the object, if JSON shows it. Tells whether it is zero.
    fn add(
        &mut self,
        object: &mut Map<String, Value>,
        field: &Field,
        found: &[WireField<'_>],
        offset: usize,
    ) -> Result<bool, DecodeError> {
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or(DecodeError::Protobuf { offset, reason: "it unfolds to too many fields" })?;
        let built = if field.pointer && found.is_empty() {
            Built::many(None, 0)
        } else {
            let built = self.field(&field.form, found)?;
            if field.pointer { Built { is_zero: false, is_empty: false, ..built } } else { built }
        };
        match (field.name, built.value) {
            (None, Value::Object(inner)) => object.extend(inner),
            (None, _) => {}
            (Some(name), value) => {
                let left_out = field.omit_empty && built.is_empty || field.omit_zero && built.is_zero;
                if !left_out {
                    object.insert(name.to_owned(), value);
                }
            }
        }
        Ok(built.is_zero)
    }

    fn field(&mut self, form: &Form, found: &[WireField<'_>]) -> Result<Built, DecodeError> {
        match form {
            Form::List(element) => self.list(element, found),
            Form::Map(element) => self.map(element, found),
            form => self.one(form, found.last()),
        }
    }

    fn list(&mut self, element: &Form, found: &[WireField<'_>]) -> Result<Built, DecodeError> {
        let mut list = Vec::with_capacity(found.len());
        for field in found {
            match (element, field.content) {
                // Kubernetes does not pack its lists of numbers; protobuf allows it.
                (Form::Int | Form::Bool, Content::Bytes(bytes)) => {
                    for bits in packed(bytes, field.offset)? {
                        let number = WireField { content: Content::Number(bits), ..*field };
                        list.push(self.element(element, Some(&number))?);
                    }
                }
                _ => list.push(self.element(element, Some(field))?),
            }
        }
        let len = list.len();
        Ok(Built::many((!found.is_empty()).then_some(Value::Array(list)), len))
    }

    fn map(&mut self, element: &Form, found: &[WireField<'_>]) -> Result<Built, DecodeError> {
        let mut map = Map::new();
        for field in found {
            let entry = field.message()?;
            let key = last(&entry, 1).map(WireField::text).transpose()?.unwrap_or_default();
            map.insert(key, self.element(element, last(&entry, 2))?);
        }
        let len = map.len();
        Ok(Built::many((!found.is_empty()).then_some(Value::Object(map)), len))
    }

    /// A value in a list or map, where nothing is nil.
    fn element(&mut self, form: &Form, field: Option<&WireField<'_>>) -> Result<Value, DecodeError> {
        let value = self.one(form, field)?.value;
        Ok(match form {
            Form::Bytes if value.is_null() => Value::String(String::new()),
            Form::Items(_) if value.is_null() => Value::Array(Vec::new()),
            _ => value,
        })
    }

    fn one(&mut self, form: &Form, field: Option<&WireField<'_>>) -> Result<Built, DecodeError> {
        let number = || field.map_or(Ok(0), WireField::number);
        let text = || field.map_or_else(|| Ok(String::new()), WireField::text);
        let message = || field.map_or_else(|| Ok(Vec::new()), WireField::message);
        let offset = field.map_or(0, |field| field.offset);
        Ok(match form {
            Form::Bool => Built::plain(Value::Bool(number()? != 0), number()? == 0),
            Form::String => {
                let text = text()?;
                let is_empty = text.is_empty();
                Built::plain(Value::String(text), is_empty)
            }
            Form::Int => Built::plain(Value::from(number()?.cast_signed()), number()? == 0),
            Form::Double => {
                let double = f64::from_bits(number()?);
                Built::plain(forms::double(double), double == 0.0)
            }
            Form::Bytes => {
                let bytes = field.map(WireField::bytes).transpose()?;
                let len = bytes.map_or(0, <[u8]>::len);
                Built::many(bytes.map(|bytes| Value::String(BASE64.encode(bytes))), len)
            }
            Form::List(_) | Form::Map(_) => {
                let found: Vec<WireField<'_>> = field.copied().into_iter().collect();
                return self.field(form, &found);
            }
            Form::Items(element) => return self.list(element, numbered(&message()?, 1)),
            Form::Message(place) => {
                let message_of = self.schema.message(*place);
                let (object, is_zero) = self.fields_of(message_of, &message()?, offset)?;
                Built::structure(Value::Object(object), is_zero)
            }
            Form::Quantity => {
                let quantity = forms::quantity(&message()?)?;
                let is_zero = !quantity.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
                Built::structure(Value::String(quantity), is_zero)
            }
            Form::Duration => {
                let nanoseconds = forms::signed(&message()?, 1)?;
                Built::structure(Value::String(forms::duration(nanoseconds)), nanoseconds == 0)
            }
            Form::Time | Form::MicroTime => {
                let with_fraction = matches!(form, Form::MicroTime);
                let time = forms::time(&message()?, with_fraction, offset)?;
                let is_zero = time.is_none();
                Built::structure(time.map(Value::String).unwrap_or_default(), is_zero)
            }
            Form::IntOrString => {
                let fields = message()?;
                Built::structure(forms::int_or_string(&fields)?, fields.is_empty())
            }
            Form::RawJson => {
                let value = forms::raw_json(&message()?, &mut self.unknown_fields)?;
                let is_zero = value.is_null();
                Built::structure(value, is_zero)
            }
            Form::SchemaOrArray(place) => self.schema_or(&message()?, *place, 1, |_, fields, this| {
                let schemas = numbered(fields, 2);
                Ok(match this.list(&Form::Message(*place), schemas)? {
                    Built { is_empty: true, .. } => None,
                    built => Some(built.value),
                })
            })?,
            Form::SchemaOrStrings(place) => self.schema_or(&message()?, *place, 1, |_, fields, this| {
                Ok(match this.list(&Form::String, numbered(fields, 2))? {
                    Built { is_empty: true, .. } => None,
                    built => Some(built.value),
                })
            })?,
            Form::SchemaOrBool(place) => {
                self.schema_or(&message()?, *place, 2, |has_schema, fields, _| {
                    let allows = forms::signed(fields, 1)? != 0;
                    Ok((!has_schema).then_some(Value::Bool(allows)))
                })?
            }
        })
    }

    /// What `other` gives, or else the schema in a field, or null.
    fn schema_or(
        &mut self,
        fields: &[WireField<'_>],
        place: usize,
        number: u64,
        other: impl FnOnce(bool, &[WireField<'_>], &mut Self) -> Result<Option<Value>, DecodeError>,
    ) -> Result<Built, DecodeError> {
        let schema = last(fields, number);
        let value = match (other(schema.is_some(), fields, self)?, schema) {
            (Some(value), _) => value,
            (None, Some(_)) => self.one(&Form::Message(place), schema)?.value,
            (None, None) => Value::Null,
        };
        Ok(Built::structure(value, fields.is_empty()))
    }
}
