//! Objects as YAML, for people and for `kubectl apply`.
//!
//! `kubectl` reads YAML by rules of its own: `yes` and `on` are booleans and `1_000` is a number there, as in YAML 1.1. The
//! emitter quotes every text that either version would take for something else.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

/// What a document begins with; what is left follows in order of its names.
const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// A value as YAML, with a line end behind it. The same as its JSON to all who read both.
pub fn to_yaml(value: &Value) -> String {
    // Long lines stay as they are: folding them helps nobody to compare or copy them.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX, min_fold_chars: usize::MAX };
    let mut text = String::new();
    // Writing to a string does not fail, and JSON has nothing that YAML cannot say.
    let _ = serde_saphyr::to_fmt_writer_with_options(&mut text, &Document(value), options);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A value whose outermost names stand in the order in which people read them.
struct Document<'a>(&'a Value);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(object) = self.0 else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(Some(object.len()))?;
        for name in FIRST {
            if let Some(value) = object.get(name) {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in object.iter().filter(|(name, _)| !FIRST.contains(&name.as_str())) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::to_yaml;

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn an_object_reads_from_its_head() {
        let object = json!({
            "data": {"a": "1", "b": "line\nline\n"}, "metadata": {"name": "x", "labels": {}}, "kind": "ConfigMap",
            "apiVersion": "v1", "binaryData": null, "immutable": true
        });
        let text = to_yaml(&object);
        let expected = "\
apiVersion: v1
kind: ConfigMap
metadata:
  labels: {}
  name: x
binaryData: null
data:
  a: \"1\"
  b: |
    line
    line
immutable: true
";
        assert_eq!(text, expected);
        assert_eq!(read(&text), object);
    }

    /// What YAML 1.1 or 1.2 takes for a boolean, a number, nothing or a merge. Go's YAML, which `kubectl` uses, was seen to read
    /// each of these back as the text it is.
    #[test]
    fn texts_that_read_as_something_else_are_quoted() {
        for text in [
            "yes",
            "Yes",
            "no",
            "on",
            "Off",
            "y",
            "n",
            "N",
            "true",
            "False",
            "null",
            "Null",
            "~",
            "",
            "0",
            "-1",
            "+1",
            "1_000",
            "1_",
            "0x1f",
            "0x_1",
            "0o17",
            "017",
            "0b101",
            "1e3",
            "12e03",
            "1.",
            ".5",
            "-.5",
            ".inf",
            "+.inf",
            ".NaN",
            "=",
            "-",
            "?",
            "- a",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "{a}",
            "[a]",
            " a",
            "a ",
            "---",
            "...",
            "'a'",
            "\"a\"",
            "2001-01-01T00:00:00Z",
            "<<",
        ] {
            for place in [json!(text), json!([text]), json!({ "a": text }), json!({ text: "a" })] {
                let yaml = to_yaml(&place);
                assert_eq!(read(&yaml), place, "{yaml}");
            }
        }
        for text in ["yes", "on", "y", "1_000", "0x1f", "1e3", "null", "~", "017"] {
            assert_eq!(to_yaml(&json!({ "a": text })), format!("a: \"{text}\"\n"));
        }
    }

    #[test]
    fn texts_of_many_lines_and_odd_characters_come_back() {
        let long = "word ".repeat(100) + "end";
        for text in [
            "a\nb",
            "a\nb\n",
            "\na",
            "  a\nb",
            "a \nb\n",
            "\n",
            "a\n\n",
            "a\r\nb",
            "tab\tx",
            "\tx\ny",
            "\u{1}x",
            "\u{7f}",
            "\u{85}x",
            "\u{feff}x",
            "\u{2028}",
            "é",
            "😀",
            "a\u{1b}b\nc",
            "key: |\n  x\n",
            "# a\nb\n",
            "- a\n- b\n",
            "---\na\n",
            "{\"a\":\n1}",
            "\n\n  x\n",
            "x\n  ",
            long.as_str(),
            "a  b\n\n\n  c\n",
        ] {
            for place in [json!(text), json!([text]), json!({ "a": { "b": text, "c": "d" } })] {
                let yaml = to_yaml(&place);
                assert_eq!(read(&yaml), place, "{yaml}");
            }
        }
        assert!(to_yaml(&json!({ "a": long })).lines().count() == 1);
    }
}
