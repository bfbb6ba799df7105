//! The names by which people ask for a kind: `secret`, `deploy`, `Tenant`, `tenants.ops.example`.

use serde_json::Value;

use crate::object::Object;
use crate::resource::{BUILT_IN, Resource};

/// A resource whose objects are kept under a path of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedResource {
    /// What its keys begin with behind the server's prefix, e.g. `services/specs` or `ops.example/tenants`.
    pub stored: String,
    /// Its plural in the API.
    pub plural: String,
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    names: Vec<String>,
}

impl From<&Resource> for NamedResource {
    fn from(resource: &Resource) -> Self {
        let names = [&resource.kind, &resource.plural].into_iter().chain(resource.short);
        Self {
            stored: resource.stored.to_owned(),
            plural: resource.plural.to_owned(),
            group: resource.group.to_owned(),
            kind: resource.kind.to_owned(),
            namespaced: resource.namespaced,
            names: names.map(|name| name.to_ascii_lowercase()).collect(),
        }
    }
}

impl NamedResource {
    /// The resource that a `CustomResourceDefinition` defines.
    pub fn defined_by(definition: &Object) -> Option<Self> {
        let spec = definition.json.get("spec")?;
        let names = spec.get("names")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (group, plural, kind) = (text(&spec["group"])?, text(&names["plural"])?, text(&names["kind"])?);
        let short = names["shortNames"].as_array().into_iter().flatten().filter_map(text);
        let all = [Some(plural.clone()), Some(kind.clone()), text(&names["singular"])].into_iter().flatten();
        Some(Self {
            stored: format!("{group}/{plural}"),
            // Namespaced is the default of the oldest version.
            namespaced: spec["scope"] != "Cluster",
            names: all.chain(short).map(|name| name.to_ascii_lowercase()).collect(),
            plural,
            group,
            kind,
        })
    }

    /// Whether somebody who says this means this resource: its kind, plural, singular or short name, in any case of letters, with
    /// its group behind a dot or without.
    pub fn is_called(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        let with_group = |name: &String| {
            let group = text.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.'));
            group.is_some_and(|group| group == self.group)
        };
        self.names.iter().any(|name| *name == text || with_group(name))
    }
}

/// The built-in resources that somebody who says this means, see [`NamedResource::is_called`].
pub fn built_in_called(text: &str) -> Vec<NamedResource> {
    BUILT_IN.iter().map(NamedResource::from).filter(|resource| resource.is_called(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::{NamedResource, built_in_called};
    use crate::object::Object;

    fn kinds(text: &str) -> Vec<String> {
        built_in_called(text).into_iter().map(|resource| resource.kind).collect()
    }

    #[test]
    fn built_in_kinds_have_many_names() {
        for text in
            ["Deployment", "deployment", "deployments", "deploy", "DEPLOY", "deployments.apps", "deploy.apps"]
        {
            assert_eq!(kinds(text), ["Deployment"], "{text}");
        }
        assert_eq!(kinds("svc"), ["Service"]);
        assert_eq!(kinds("nodes"), ["Node"]);
        assert_eq!(kinds("endpoints"), ["Endpoints"]);
        for text in ["", "minions", "deployments.batch", "deploymentsapps", "tenants"] {
            assert_eq!(kinds(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn definitions_name_their_kind() {
        let definition = br#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"x"},"spec":{
            "group":"ops.example","scope":"Cluster","names":{"plural":"tenants","singular":"tenant","kind":"Tenant","shortNames":["tn"]}}}"#;
        let resource = NamedResource::defined_by(&Object::decode(definition).unwrap()).unwrap();
        assert_eq!((resource.stored.as_str(), resource.namespaced), ("ops.example/tenants", false));
        for text in ["tenants", "Tenant", "tn", "tn.ops.example", "tenant.OPS.example"] {
            assert!(resource.is_called(text), "{text}");
        }
        assert!(!resource.is_called("tenants.other"));
        let empty = br#"{"apiVersion":"v1","kind":"X","spec":{"names":{}}}"#;
        assert_eq!(NamedResource::defined_by(&Object::decode(empty).unwrap()), None);
    }
}
