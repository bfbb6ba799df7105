//! How two objects differ, field by field.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// What stands for a value that is not to be seen.
pub const HIDDEN: &str = "(hidden)";

/// A field that differs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldChange {
    /// Where: `spec.template.spec.containers[main].image`.
    pub path: String,
    /// What it was; none if it was not there.
    pub before: Option<Value>,
    /// What it is; none if it is no longer there.
    pub after: Option<Value>,
}

/// The fields that differ, in order of their paths. Lists whose elements have names are compared by name, others by place.
pub fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(before, after, &mut String::new(), &mut found);
    found
}

/// Hides the values of a Secret, and of the annotation in which `kubectl` keeps what was applied.
pub fn hide_secrets(changes: &mut [FieldChange]) {
    for change in changes {
        // A path that ends above them holds them.
        let holds_all = matches!(change.path.as_str(), "" | "metadata");
        let is_secret = holds_all
            || ["data", "stringData", "metadata.annotations"].iter().any(|place| {
                change
                    .path
                    .strip_prefix(place)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            });
        if is_secret {
            for value in [&mut change.before, &mut change.after].into_iter().flatten() {
                *value = Value::from(HIDDEN);
            }
        }
    }
}

fn compare(before: &Value, after: &Value, path: &mut String, found: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => compare_maps(before, after, path, found, push_name),
        (Value::Array(before), Value::Array(after)) => match (by_name(before), by_name(after)) {
            (Some(before_names), Some(after_names)) => {
                let length = found.len();
                compare_maps(&before_names, &after_names, path, found, push_element);
                if found.len() == length {
                    // The same elements in another order.
                    found.push(change(
                        path,
                        Some(&Value::from(before.clone())),
                        Some(&Value::from(after.clone())),
                    ));
                }
            }
            _ => compare_lists(before, after, path, found),
        },
        _ => found.push(change(path, Some(before), Some(after))),
    }
}

fn compare_maps(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    path: &mut String,
    found: &mut Vec<FieldChange>,
    push: fn(&mut String, &str),
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let length = path.len();
        push(path, name);
        match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => compare(before, after, path, found),
            (before, after) => found.push(change(path, before, after)),
        }
        path.truncate(length);
    }
}

fn compare_lists(before: &[Value], after: &[Value], path: &mut String, found: &mut Vec<FieldChange>) {
    for index in 0..before.len().max(after.len()) {
        let length = path.len();
        push_element(path, &index.to_string());
        match (before.get(index), after.get(index)) {
            (Some(before), Some(after)) => compare(before, after, path, found),
            (before, after) => found.push(change(path, before, after)),
        }
        path.truncate(length);
    }
}

fn change(path: &str, before: Option<&Value>, after: Option<&Value>) -> FieldChange {
    FieldChange { path: path.to_owned(), before: before.cloned(), after: after.cloned() }
}

/// The elements by their `name`, when all have one and no two the same.
fn by_name(list: &[Value]) -> Option<Map<String, Value>> {
    let mut named = Map::new();
    for element in list {
        let name = element.get("name")?.as_str()?;
        if named.insert(name.to_owned(), element.clone()).is_some() {
            return None;
        }
    }
    Some(named)
}

fn push_name(path: &mut String, name: &str) {
    let plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !plain {
        // Writing to a string does not fail.
        let _ = write!(path, "[{name:?}]");
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn push_element(path: &mut String, name: &str) {
    path.push('[');
    path.push_str(name);
    path.push(']');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{FieldChange, HIDDEN, differences, hide_secrets};

    fn lines(changes: &[FieldChange]) -> Vec<String> {
        let show = |value: &Option<serde_json::Value>| {
            value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        changes
            .iter()
            .map(|change| format!("{}: {} -> {}", change.path, show(&change.before), show(&change.after)))
            .collect()
    }

    #[test]
    fn fields_are_named_by_their_path() {
        let before = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "a", "tier": "web"}},
            "spec": {"replicas": 1, "containers": [{"name": "main", "image": "a:1"}, {"name": "old", "image": "b"}], "args": ["x", "y"]}
        });
        let after = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "b", "tier": "web"}},
            "spec": {"replicas": 3, "containers": [{"name": "new"}, {"name": "main", "image": "a:2"}], "args": ["x", "z", "w"], "paused": true}
        });
        let expected = [
            r#"metadata.labels["app.kubernetes.io/name"]: "a" -> "b""#,
            r#"spec.args[1]: "y" -> "z""#,
            r#"spec.args[2]: - -> "w""#,
            r#"spec.containers[main].image: "a:1" -> "a:2""#,
            r#"spec.containers[new]: - -> {"name":"new"}"#,
            r#"spec.containers[old]: {"image":"b","name":"old"} -> -"#,
            r"spec.paused: - -> true",
            r"spec.replicas: 1 -> 3",
        ];
        assert_eq!(lines(&differences(&before, &after)), expected);
        assert_eq!(differences(&before, &before), []);
    }

    #[test]
    fn another_order_of_names_is_a_difference() {
        let (before, after) =
            (json!({"a": [{"name": "x"}, {"name": "y"}]}), json!({"a": [{"name": "y"}, {"name": "x"}]}));
        assert_eq!(differences(&before, &after).len(), 1);
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let before = json!({"data": {"a": "aHVudGVyMg=="}, "stringData": {"b": "hunter2"}, "type": "Opaque",
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}, "labels": {"x": "1"}}});
        let after =
            json!({"data": null, "type": "Other", "metadata": {"annotations": {}, "labels": {"x": "2"}}});
        let mut changes = differences(&before, &after);
        hide_secrets(&mut changes);
        let text = lines(&changes).join("\n");
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
        assert!(
            text.contains(HIDDEN)
                && text.contains(r#"type: "Opaque" -> "Other""#)
                && text.contains(r#"labels.x: "1" -> "2""#)
        );
    }
}
