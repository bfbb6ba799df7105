//! Which object a key is for.
//!
//! ```text
//! PREFIX/RESOURCE[/NAMESPACE]/NAME          most built-in kinds
//! PREFIX/GROUP/RESOURCE[/NAMESPACE]/NAME    custom resources, CustomResourceDefinitions and APIServices
//! ```
//! A group that stands in a key has a dot and no built-in resource's name has one, which tells the two apart. Services and
//! Endpoints have a resource of two segments, `services/specs` and `services/endpoints`.

use std::fmt;

use crate::resource::built_in;

/// What an API server's keys begin with, unless it was given another `--etcd-prefix`.
pub const DEFAULT_PREFIX: &str = "/registry";

/// What the API server keeps for itself beside the objects: allocation bitmaps and the leases of its replicas. These are
/// encoded like objects and have no name of their own.
const NOT_OBJECTS: [&str; 3] = ["masterleases", "peerserverleases", "ranges"];

/// A key taken apart. Parsing reads the key alone and allocates nothing, so it suits a million keys.
///
/// ```
/// use kubernetes_objects::{DEFAULT_PREFIX, ObjectKey};
///
/// let key = ObjectKey::parse(DEFAULT_PREFIX, b"/registry/deployments/web/shop").expect("it is an object's key");
/// assert_eq!((key.kind, key.group), (Some("Deployment"), Some("apps")));
/// assert_eq!((key.namespace, key.name), (Some("web"), "shop"));
/// assert_eq!(key.resource_name().to_string(), "deployments.apps");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey<'a> {
    /// The API group, empty for the core group; `None` for a resource that is not known.
    pub group: Option<&'a str>,
    /// The resource as the API calls it, e.g. `nodes` for what is stored under `minions`.
    pub resource: &'a str,
    /// The kind, of built-in resources. That of a custom resource stands in its value, and in its `CustomResourceDefinition`.
    pub kind: Option<&'static str>,
    /// The namespace; `None` for kinds of the whole cluster.
    pub namespace: Option<&'a str>,
    /// The object's name.
    pub name: &'a str,
}

impl<'a> ObjectKey<'a> {
    /// Takes a key under `prefix` (see [`DEFAULT_PREFIX`]; a slash at its end makes no difference) apart. `None` when the key is
    /// not under the prefix or not built as an object's key is.
    pub fn parse(prefix: &str, key: &'a [u8]) -> Option<Self> {
        let path = key.strip_prefix(prefix.trim_end_matches('/').as_bytes())?.strip_prefix(b"/")?;
        let path = std::str::from_utf8(path).ok()?;
        let (first, behind) = path.split_once('/')?;
        let has_group = first.contains('.');
        let two_segments = has_group
            || (first == "services" && (behind.starts_with("specs/") || behind.starts_with("endpoints/")));
        let (stored, names) = if two_segments {
            let (second, names) = behind.split_once('/')?;
            (path.get(..first.len() + 1 + second.len())?, names)
        } else {
            (first, behind)
        };
        let (namespace, name) = match names.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, names),
        };
        let is_whole = !first.is_empty()
            && !stored.ends_with('/')
            && namespace != Some("")
            && !name.is_empty()
            && !name.contains('/');
        if !is_whole {
            return None;
        }
        let (group, resource, kind) = match built_in(stored) {
            Some(known) => (Some(known.group), known.plural, Some(known.kind)),
            None if has_group => (Some(first), stored.get(first.len() + 1..)?, None),
            None => (None, stored, None),
        };
        Some(Self { group, resource, kind, namespace, name })
    }

    /// Whether an object of the API lies under this key. The API server keeps some things of its own beside them.
    pub fn is_api_object(&self) -> bool {
        self.group.is_some() || !NOT_OBJECTS.contains(&self.resource)
    }

    /// Resource and group as `kubectl` writes them: `pods`, `deployments.apps`, `tenants.ops.example`. Keys of one kind have the
    /// same, keys of two kinds never.
    pub fn resource_name(&self) -> ResourceName<'a> {
        ResourceName { resource: self.resource, group: self.group.unwrap_or_default() }
    }
}

/// A resource with its group, see [`ObjectKey::resource_name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName<'a> {
    /// The resource, e.g. `deployments`.
    pub resource: &'a str,
    /// The group, e.g. `apps`; empty for the core group and where it is not known.
    pub group: &'a str,
}

impl fmt::Display for ResourceName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(formatter, ".{}", self.group) }
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_PREFIX, ObjectKey};

    /// Resource with group, kind, namespace, name.
    fn parse(key: &str) -> Option<(String, &str, &str, &str)> {
        let key = ObjectKey::parse(DEFAULT_PREFIX, key.as_bytes())?;
        let kind = key.kind.unwrap_or_default();
        Some((key.resource_name().to_string(), kind, key.namespace.unwrap_or("-"), key.name))
    }

    #[test]
    fn keys_are_taken_apart() {
        let expected = [
            ("/registry/pods/web/a-1", "pods", "Pod", "web", "a-1"),
            ("/registry/namespaces/web", "namespaces", "Namespace", "-", "web"),
            ("/registry/minions/node.one", "nodes", "Node", "-", "node.one"),
            ("/registry/services/specs/web/a", "services", "Service", "web", "a"),
            ("/registry/services/endpoints/web/a", "endpoints", "Endpoints", "web", "a"),
            ("/registry/ingress/web/a", "ingresses.networking.k8s.io", "Ingress", "web", "a"),
            ("/registry/controllers/web/a", "replicationcontrollers", "ReplicationController", "web", "a"),
            ("/registry/ops.example/tenants/acme", "tenants.ops.example", "", "-", "acme"),
            ("/registry/ops.example/ingress/web/a", "ingress.ops.example", "", "web", "a"),
            (
                "/registry/apiregistration.k8s.io/apiservices/v1.apps",
                "apiservices.apiregistration.k8s.io",
                "APIService",
                "-",
                "v1.apps",
            ),
            (
                "/registry/clusterroles/system:node",
                "clusterroles.rbac.authorization.k8s.io",
                "ClusterRole",
                "-",
                "system:node",
            ),
            ("/registry/tomorrows/web/a", "tomorrows", "", "web", "a"),
        ];
        for (key, resource, kind, namespace, name) in expected {
            assert_eq!(parse(key), Some((resource.to_owned(), kind, namespace, name)), "{key}");
        }
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
            "/registry/pods/a/",
            "/registry/pods/a/b/c",
            "/registry/ops.example/tenants",
            "/registry/ops.example/tenants/",
            "/registry/ops.example//a",
            "/registry/services/specs/",
            "/registry/",
            "/registry",
            "compact_rev_key",
            "",
        ] {
            assert_eq!(parse(key), None, "{key}");
        }
        assert_eq!(ObjectKey::parse(DEFAULT_PREFIX, b"/registry/pods/a/\xff"), None);
    }

    #[test]
    fn other_prefixes_are_taken() {
        for (prefix, key) in [
            ("/", "/pods/a/b"),
            ("/registry/", "/registry/pods/a/b"),
            ("/kubernetes.io", "/kubernetes.io/pods/a/b"),
            ("clusters/one", "clusters/one/pods/a/b"),
        ] {
            let key = ObjectKey::parse(prefix, key.as_bytes()).expect("it is under the prefix");
            assert_eq!((key.kind, key.namespace, key.name), (Some("Pod"), Some("a"), "b"));
        }
    }

    #[test]
    fn the_servers_own_keys_are_told_apart() {
        for key in ["/registry/ranges/serviceips", "/registry/masterleases/192.0.2.10"] {
            let key = ObjectKey::parse(DEFAULT_PREFIX, key.as_bytes()).expect("is well formed");
            assert!(!key.is_api_object());
        }
        let custom =
            ObjectKey::parse(DEFAULT_PREFIX, b"/registry/a.example/ranges/x").expect("is well formed");
        assert!(custom.is_api_object());
    }
}
