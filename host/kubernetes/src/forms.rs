//! The types of Kubernetes whose JSON is not that of their message: times, quantities, raw JSON and the like.
//!
//! Sources: `MarshalJSON` and `generated.proto` of apimachinery `pkg/apis/meta/v1`, `pkg/api/resource`, `pkg/util/intstr`,
//! `pkg/runtime`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::Value;

use crate::error::DecodeError;
use crate::wire::{WireField, last};

/// A number in a message, 0 when it is not there.
pub(crate) fn signed(fields: &[WireField<'_>], number: u64) -> Result<i64, DecodeError> {
    last(fields, number).map_or(Ok(0), |field| Ok(field.number()?.cast_signed()))
}

fn text(fields: &[WireField<'_>], number: u64) -> Result<String, DecodeError> {
    last(fields, number).map_or_else(|| Ok(String::new()), WireField::text)
}

/// `Quantity`: 1 its text, as the server writes it.
pub(crate) fn quantity(fields: &[WireField<'_>]) -> Result<String, DecodeError> {
    let text = text(fields, 1)?;
    Ok(if text.is_empty() { "0".to_owned() } else { text })
}

/// `Time` and `MicroTime`: 1 seconds since 1970, 2 nanoseconds. An empty message is no time at all.
pub(crate) fn time(
    fields: &[WireField<'_>],
    with_fraction: bool,
    offset: usize,
) -> Result<Option<String>, DecodeError> {
    if fields.is_empty() {
        return Ok(None);
    }
    let nanoseconds = if with_fraction { signed(fields, 2)? / 1000 * 1000 } else { 0 };
    let time = i32::try_from(nanoseconds)
        .ok()
        .and_then(|nanoseconds| Timestamp::new(signed(fields, 1).ok()?, nanoseconds).ok())
        .ok_or(DecodeError::Protobuf { offset, reason: "a time out of range" })?;
    Ok(Some(if with_fraction { format!("{time:.6}") } else { time.to_string() }))
}

/// `IntOrString`: 1 which, 2 the number, 3 the text.
pub(crate) fn int_or_string(fields: &[WireField<'_>]) -> Result<Value, DecodeError> {
    const STRING: i64 = 1;
    Ok(if signed(fields, 1)? == STRING {
        Value::String(text(fields, 3)?)
    } else {
        Value::from(signed(fields, 2)?)
    })
}

/// `RawExtension`, `FieldsV1`, `JSON`: 1 JSON as it was written. What is not JSON is shown as base64 and counted as unknown.
pub(crate) fn raw_json(fields: &[WireField<'_>], unknown_fields: &mut usize) -> Result<Value, DecodeError> {
    let raw = last(fields, 1).map_or(Ok(&[][..]), WireField::bytes)?;
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(raw).unwrap_or_else(|_| {
        *unknown_fields += 1;
        Value::String(BASE64.encode(raw))
    }))
}

/// A float as Go writes it in JSON: whole numbers without a fraction. What JSON cannot hold is null.
pub(crate) fn double(double: f64) -> Value {
    /// Below it every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if double.fract() == 0.0 && double.abs() < EXACT {
        return Value::from(double as i64);
    }
    serde_json::Number::from_f64(double).map_or(Value::Null, Value::Number)
}

/// Nanoseconds as Go's `time.Duration` writes them: `1h0m0.5s`, `1.5ms`, `0s`.
pub(crate) fn duration(nanoseconds: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    if total < SECOND {
        let (unit, name) = match total {
            ..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{name}", with_fraction(total, unit));
    }
    let (hours, minutes) = (total / SECOND / 3600, total / SECOND / 60 % 60);
    let seconds = with_fraction(total % (60 * SECOND), SECOND);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        (_, _) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `1500` in units of 1000 is `1.5`.
fn with_fraction(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{double, duration};

    /// As printed by Go's `time.Duration.String`.
    #[test]
    fn durations_are_written_as_go_does() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (20_000_000_000, "20s"),
            (600_000_000_000, "10m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_405_001_000_000, "1h30m5.001s"),
            (-90_000_000_000, "-1m30s"),
            (-5, "-5ns"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }

    #[test]
    fn floats_are_written_as_go_does() {
        assert_eq!(double(5.0), json!(5));
        assert_eq!(double(-2.5), json!(-2.5));
        assert_eq!(double(f64::NAN), json!(null));
    }
}
