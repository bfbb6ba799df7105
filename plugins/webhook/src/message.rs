//! CloudEvents 1.0 over HTTP: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>

use std::fmt::Write as _;

use holdfast_plugin::http::Request;
use holdfast_plugin::{Event, NotifyError};
use serde_json::{Map, Value};

use crate::Mode;

const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

pub(crate) fn request(url: &str, event: &Event, mode: Mode) -> Result<Request, NotifyError> {
    let request = Request::post(url);
    match mode {
        Mode::Structured => Ok(request.header("content-type", STRUCTURED).body(event.cloudevent.as_bytes())),
        Mode::Binary => {
            let malformed =
                |error: serde_json::Error| NotifyError::refused(format!("the event is not JSON: {error}"));
            let mut members: Map<String, Value> =
                serde_json::from_str(&event.cloudevent).map_err(malformed)?;
            let data = members.remove("data").unwrap_or(Value::Null);
            let content_type = members.remove("datacontenttype");
            let content_type = content_type.as_ref().and_then(Value::as_str).unwrap_or("application/json");
            let request = request.header("content-type", content_type).body(data.to_string());
            Ok(members.into_iter().fold(request, |request, (name, value)| {
                let text = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                request.header(format!("ce-{name}"), percent_encoded(&text))
            }))
        }
    }
}

/// A header holds printable ASCII; the binding has everything else, and what would end a quoted text, percent-encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' | 0..=b' ' | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
            _ => encoded.push(byte as char),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn a_header_holds_ascii_only() {
        assert_eq!(percent_encoded("/holdfast/prod-eu"), "/holdfast/prod-eu");
        assert_eq!(percent_encoded("Euro € 😀\r\n\"%"), "Euro%20%E2%82%AC%20%F0%9F%98%80%0D%0A%22%25");
    }
}
