//! What can be applied: an object without the traces of the cluster and the moment that it was taken from.

use serde_json::{Map, Value, json};

use crate::object::Object;

/// What the server sets in the metadata. The references to owners are among them: they name uids, and the garbage collector
/// of a cluster that has no owner of that uid deletes the object.
const SET_BY_THE_SERVER: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The one kind that is stored in a version that no server of today serves.
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition");

/// The labels by which a job knows its pods: made from its uid and its name when it is created, unless it says that its
/// selector is its own (`pkg/registry/batch/job/strategy.go`, `generateSelector`). Those of another job are refused.
const SET_ON_JOBS: [&str; 4] =
    ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];

impl Object {
    /// The object for `kubectl apply`, on this cluster or a new one: without `status` and without what the server sets in the
    /// metadata. A `CustomResourceDefinition` is stored as `v1beta1`, which can no longer be applied, and becomes `v1`; a `Job`
    /// loses the selector that the server made for it.
    #[must_use]
    pub fn applicable(&self) -> Value {
        let mut json = self.json.clone();
        if (self.api_version(), self.kind()) == DEFINITIONS {
            upgrade_definition(&mut json);
        }
        if let Some(object) = json.as_object_mut() {
            object.remove("status");
            if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
                for name in SET_BY_THE_SERVER {
                    metadata.remove(name);
                }
            }
        }
        if (self.api_version(), self.kind()) == ("batch/v1", "Job") {
            remove_selector(&mut json);
        }
        remove_empty_times(&mut json);
        json
    }
}

/// Templates within objects have metadata of their own, whose time of creation shows as null.
fn remove_empty_times(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::Object(metadata)) = object.get_mut("metadata")
                && metadata.get("creationTimestamp").is_some_and(Value::is_null)
            {
                metadata.remove("creationTimestamp");
            }
            object.values_mut().for_each(remove_empty_times);
        }
        Value::Array(list) => list.iter_mut().for_each(remove_empty_times),
        _ => {}
    }
}

fn remove_selector(job: &mut Value) {
    let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    spec.remove("selector");
    for place in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = job.pointer_mut(place).and_then(Value::as_object_mut) {
            labels.retain(|name, _| !SET_ON_JOBS.contains(&name.as_str()));
        }
    }
}

/// From `v1beta1` to `v1`: apiextensions-apiserver `pkg/apis/apiextensions/v1/conversion.go`, and what the validation of `v1`
/// asks for beyond it.
fn upgrade_definition(json: &mut Value) {
    json["apiVersion"] = Value::from("apiextensions.k8s.io/v1");
    let Some(spec) = json.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let version = spec.remove("version");
    let schema = spec.remove("validation");
    let columns = spec.remove("additionalPrinterColumns");
    let shared = [
        ("subresources", spec.remove("subresources")),
        ("selectableFields", spec.remove("selectableFields")),
    ];
    // Absent means true in `v1beta1`, and `v1` says the same in the schema.
    let keeps_unknown_fields = spec.remove("preserveUnknownFields") != Some(Value::Bool(false));
    let no_versions = spec.get("versions").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if let (true, Some(version)) = (no_versions, version) {
        spec.insert("versions".to_owned(), json!([{ "name": version, "served": true, "storage": true }]));
    }
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten().filter_map(Value::as_object_mut) {
        for (name, value) in &shared {
            if let Some(value) = value {
                version.insert((*name).to_owned(), value.clone());
            }
        }
        if let Some(schema) = &schema {
            version.insert("schema".to_owned(), schema.clone());
        }
        upgrade_schema(version, keeps_unknown_fields);
        if let Some(columns) = &columns {
            version.insert("additionalPrinterColumns".to_owned(), columns.clone());
        }
        let columns = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
        for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(path) = column.remove("JSONPath") {
                column.insert("jsonPath".to_owned(), path);
            }
        }
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        upgrade_conversion(conversion);
    }
}

fn upgrade_schema(version: &mut Map<String, Value>, keeps_unknown_fields: bool) {
    let has_schema = version.get("schema").is_some_and(|schema| schema["openAPIV3Schema"].is_object());
    if !has_schema {
        let any =
            json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
        version.insert("schema".to_owned(), any);
    } else if keeps_unknown_fields && let Some(schema) = version.get_mut("schema") {
        schema["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] = Value::Bool(true);
    }
}

fn upgrade_conversion(conversion: &mut Map<String, Value>) {
    let client = conversion.remove("webhookClientConfig");
    let versions = conversion.remove("conversionReviewVersions");
    if conversion.get("strategy").and_then(Value::as_str) == Some("Webhook") {
        let mut webhook = Map::new();
        webhook.extend(client.map(|client| ("clientConfig".to_owned(), client)));
        let versions = versions.unwrap_or_else(|| json!(["v1beta1"]));
        webhook.insert("conversionReviewVersions".to_owned(), versions);
        conversion.insert("webhook".to_owned(), Value::Object(webhook));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::object::Object;

    fn applicable(json: &serde_json::Value) -> serde_json::Value {
        Object::decode(json.to_string().as_bytes()).unwrap().applicable()
    }

    #[test]
    fn traces_of_the_cluster_go() {
        let stored = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "shop", "namespace": "web", "labels": {"app": "shop"}, "annotations": {"a": "b"},
                "finalizers": ["x"], "uid": "1", "resourceVersion": "2", "generation": 3, "selfLink": "/",
                "creationTimestamp": "2026-11-21T03:10:35Z", "managedFields": [{}], "ownerReferences": [{"uid": "9"}],
                "deletionTimestamp": "2026-11-21T03:10:35Z", "deletionGracePeriodSeconds": 0
            },
            "spec": {"template": {"metadata": {"creationTimestamp": null, "labels": {"app": "shop"}}}},
            "status": {"replicas": 1}
        });
        let expected = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "shop", "namespace": "web", "labels": {"app": "shop"}, "annotations": {"a": "b"},
                "finalizers": ["x"]
            },
            "spec": {"template": {"metadata": {"labels": {"app": "shop"}}}}
        });
        assert_eq!(applicable(&stored), expected);
    }

    #[test]
    fn jobs_get_a_new_selector_unless_it_is_their_own() {
        let job = |spec: serde_json::Value| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}, "spec": spec});
        let labels = json!({
            "app": "shop", "controller-uid": "8ed9", "job-name": "migrate",
            "batch.kubernetes.io/controller-uid": "8ed9", "batch.kubernetes.io/job-name": "migrate"
        });
        let selector = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "8ed9"}});
        let stored = job(json!({"selector": selector, "template": {"metadata": {"labels": labels}}}));
        let expected = job(json!({"template": {"metadata": {"labels": {"app": "shop"}}}}));
        assert_eq!(applicable(&stored), expected);
        let own = job(
            json!({"manualSelector": true, "selector": selector, "template": {"metadata": {"labels": labels}}}),
        );
        assert_eq!(applicable(&own), own);
    }

    #[test]
    fn definitions_become_v1() {
        let stored = json!({
            "apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "tenants.ops.example"},
            "spec": {
                "group": "ops.example", "version": "v1", "scope": "Cluster",
                "names": {"plural": "tenants", "kind": "Tenant"},
                "validation": {"openAPIV3Schema": {"type": "object"}},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Age", "type": "date", "JSONPath": ".metadata.creationTimestamp"}],
                "versions": [{"name": "v1", "served": true, "storage": true}, {"name": "v2", "served": true, "storage": false}],
                "conversion": {
                    "strategy": "Webhook", "webhookClientConfig": {"url": "https://convert.example"},
                    "conversionReviewVersions": ["v1"]
                },
                "preserveUnknownFields": false
            },
            "status": {"storedVersions": ["v1"]}
        });
        let version = |name: &str, storage: bool| {
            json!({
                "name": name, "served": true, "storage": storage, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
            })
        };
        let expected = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "tenants.ops.example"},
            "spec": {
                "group": "ops.example", "scope": "Cluster", "names": {"plural": "tenants", "kind": "Tenant"},
                "versions": [version("v1", true), version("v2", false)],
                "conversion": {
                    "strategy": "Webhook",
                    "webhook": {"clientConfig": {"url": "https://convert.example"}, "conversionReviewVersions": ["v1"]}
                }
            }
        });
        assert_eq!(applicable(&stored), expected);
    }

    #[test]
    fn old_definitions_get_the_schema_that_v1_asks_for() {
        let stored = json!({
            "apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition", "metadata": {"name": "a.b"},
            "spec": {"group": "b", "version": "v1", "names": {"plural": "a", "kind": "A"}}
        });
        let any =
            json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": any}]);
        assert_eq!(applicable(&stored)["spec"]["versions"], versions);
    }
}
