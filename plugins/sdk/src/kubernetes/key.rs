//! Which object a key is for.
//!
//! `PREFIX/RESOURCE[/NAMESPACE]/NAME` for most built-in kinds, `PREFIX/GROUP/RESOURCE[/NAMESPACE]/NAME` for custom
//! resources and for the groups that the API server itself adds (`apiregistration.k8s.io`, `apiextensions.k8s.io`).
//! A group always has a dot and a built-in resource never has one, which tells the two apart. Some resources are stored
//! under an older name; the list is Kubernetes' `SpecialDefaultResourcePrefixes`
//! (`pkg/kubeapiserver/default_storage_factory_builder.go`).

use super::Object;

/// What the API calls it, and what it is stored under.
const STORED_UNDER_ANOTHER_NAME: [(&str, &str); 6] = [
    ("endpoints", "services/endpoints"),
    ("ingresses", "ingress"),
    ("nodes", "minions"),
    ("podsecuritypolicies", "podsecuritypolicy"),
    ("replicationcontrollers", "controllers"),
    ("services", "services/specs"),
];

/// What the API server keeps for itself beside the objects: allocation bitmaps and the leases of its replicas. These
/// are encoded like objects and have no name of their own.
const NOT_OBJECTS: [&str; 3] = ["masterleases", "peerserverleases", "ranges"];

/// A key taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey<'a> {
    /// The API group, where the key says it; most built-in kinds' keys do not.
    pub group: Option<&'a str>,
    /// The resource as the API calls it, e.g. `nodes` for what is stored under `minions`.
    pub resource: &'a str,
    /// The namespace; `None` for kinds of the whole cluster.
    pub namespace: Option<&'a str>,
    /// The object's name.
    pub name: &'a str,
}

impl<'a> ObjectKey<'a> {
    /// Takes a key under `prefix` (`/registry` unless the API server was told otherwise) apart. `None` when the key is
    /// not under the prefix or not built as an object's key is.
    pub fn parse(prefix: &str, key: &'a [u8]) -> Option<ObjectKey<'a>> {
        let key = std::str::from_utf8(key).ok()?;
        let path = key.strip_prefix(prefix.trim_end_matches('/'))?.strip_prefix('/')?;
        let (first, rest) = path.split_once('/')?;
        let (group, stored, rest) = if first.contains('.') {
            let (resource, rest) = rest.split_once('/')?;
            (Some(first), resource, rest)
        } else {
            match rest.split_once('/') {
                // The one case in which a resource is stored under two segments.
                Some(("specs" | "endpoints", names)) if first == "services" => {
                    (None, &path[..path.len() - names.len() - 1], names)
                }
                _ => (None, first, rest),
            }
        };
        let (namespace, name) = match rest.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, rest),
        };
        let is_whole = !stored.is_empty() && namespace != Some("") && !name.is_empty() && !name.contains('/');
        is_whole.then_some(ObjectKey { group, resource: api_name(group, stored), namespace, name })
    }

    /// Whether an object of the API lies under this key. The API server keeps some things of its own beside them.
    pub fn is_api_object(&self) -> bool {
        self.group.is_some() || !NOT_OBJECTS.contains(&self.resource)
    }

    /// Whether the object says of itself what its key says: the same namespace, the same name.
    pub fn agrees_with(&self, object: &Object<'_>) -> bool {
        self.namespace.unwrap_or_default() == object.namespace && self.name == object.name
    }

    /// Whether this key is for an object of that kind, going by the resource alone: the only way to count objects that
    /// are encrypted. `group` is the kind's API group, where it is known.
    pub fn is_of_kind(&self, kind: &str, group: Option<&str>) -> bool {
        let same_group = match (self.group, group) {
            (Some(key), Some(kind)) => key == kind,
            _ => true,
        };
        same_group && self.resource == resource_of(kind)
    }
}

fn api_name<'a>(group: Option<&str>, stored: &'a str) -> &'a str {
    let names = STORED_UNDER_ANOTHER_NAME.iter();
    match names.filter(|_| group.is_none()).find(|(_, known)| *known == stored) {
        Some((name, _)) => name,
        None => stored,
    }
}

/// The resource of a kind, e.g. `networkpolicies` of `NetworkPolicy`: its plural in lower case, by the rules of English
/// that Kubernetes itself goes by when it guesses. A custom resource may have been given another plural.
pub fn resource_of(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    if kind == "endpoints" {
        return kind;
    }
    // apimachinery `pkg/api/meta/restmapper.go`, UnsafeGuessKindToResource.
    if kind.ends_with('s') || kind.ends_with('x') || kind.ends_with("ch") || kind.ends_with("sh") {
        return format!("{kind}es");
    }
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ObjectKey, resource_of};

    fn parse(key: &str) -> Option<(Option<&str>, &str, Option<&str>, &str)> {
        let key = ObjectKey::parse("/registry", key.as_bytes())?;
        Some((key.group, key.resource, key.namespace, key.name))
    }

    #[test]
    fn keys_are_taken_apart() {
        assert_eq!(parse("/registry/pods/web/a-1"), Some((None, "pods", Some("web"), "a-1")));
        assert_eq!(parse("/registry/namespaces/web"), Some((None, "namespaces", None, "web")));
        assert_eq!(parse("/registry/minions/node.one"), Some((None, "nodes", None, "node.one")));
        assert_eq!(parse("/registry/services/specs/web/a"), Some((None, "services", Some("web"), "a")));
        assert_eq!(parse("/registry/services/endpoints/web/a"), Some((None, "endpoints", Some("web"), "a")));
        assert_eq!(parse("/registry/ingress/web/a"), Some((None, "ingresses", Some("web"), "a")));
        assert_eq!(
            parse("/registry/controllers/web/a"),
            Some((None, "replicationcontrollers", Some("web"), "a"))
        );
        assert_eq!(
            parse("/registry/ops.example/tenants/acme"),
            Some((Some("ops.example"), "tenants", None, "acme"))
        );
        assert_eq!(
            parse("/registry/ops.example/ingress/web/a"),
            Some((Some("ops.example"), "ingress", Some("web"), "a"))
        );
        assert_eq!(
            parse("/registry/apiregistration.k8s.io/apiservices/v1.apps"),
            Some((Some("apiregistration.k8s.io"), "apiservices", None, "v1.apps"))
        );
        assert_eq!(
            parse("/registry/clusterroles/system:node"),
            Some((None, "clusterroles", None, "system:node"))
        );
    }

    #[test]
    fn other_keys_are_not_objects() {
        for key in [
            "/other/pods/a/b",
            "/registryx/pods/a",
            "/registry/pods",
            "/registry/pods/",
            "/registry//a/b",
            "/registry/pods//b",
            "/registry/pods/a/b/c",
            "/registry/ops.example/tenants",
            "/registry/ops.example/tenants/",
            "compact_rev_key",
        ] {
            assert_eq!(parse(key), None, "{key}");
        }
        assert_eq!(ObjectKey::parse("/registry", b"/registry/pods/a/\xff"), None);
        assert!(ObjectKey::parse("/", b"/pods/a/b").is_some());
        assert!(ObjectKey::parse("/registry/", b"/registry/pods/a/b").is_some());
    }

    #[test]
    fn the_servers_own_keys_are_told_apart() {
        for key in ["/registry/ranges/serviceips", "/registry/masterleases/192.0.2.10"] {
            let key = ObjectKey::parse("/registry", key.as_bytes()).expect("is well formed");
            assert!(!key.is_api_object());
        }
        let custom = ObjectKey::parse("/registry", b"/registry/a.example/ranges/x").expect("is well formed");
        assert!(custom.is_api_object());
    }

    #[test]
    fn resources_are_found_by_kind() {
        let expected = [
            ("Secret", "secrets"),
            ("NetworkPolicy", "networkpolicies"),
            ("Ingress", "ingresses"),
            ("IngressClass", "ingressclasses"),
            ("IPAddress", "ipaddresses"),
            ("Gateway", "gateways"),
            ("Endpoints", "endpoints"),
            ("EndpointSlice", "endpointslices"),
            ("StorageClass", "storageclasses"),
        ];
        for (kind, resource) in expected {
            assert_eq!(resource_of(kind), resource);
        }
        let node = ObjectKey::parse("/registry", b"/registry/minions/a").expect("is well formed");
        assert!(node.is_of_kind("Node", Some("")));
        let tenant = ObjectKey::parse("/registry", b"/registry/a.example/tenants/a").expect("is well formed");
        assert!(tenant.is_of_kind("Tenant", Some("a.example")));
        assert!(tenant.is_of_kind("Tenant", None));
        assert!(!tenant.is_of_kind("Tenant", Some("b.example")));
    }
}
