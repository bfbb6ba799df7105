//! Which keys are meant: those with a prefix, or the objects of a kind, a namespace, a name.

use std::ops::Range;

use etcd_snapshot::LiveKeys;
use kubernetes_objects::{NamedResource, Object, ObjectKey, built_in_called};

/// Where the definitions of custom resources lie behind the server's prefix.
const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// What was asked for. Without any of it, all keys are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Keys that begin with this.
    pub prefix: Option<Vec<u8>>,
    /// A kind of Kubernetes objects, by any of its names.
    pub kind: Option<String>,
    /// Objects in this namespace.
    pub namespace: Option<String>,
    /// Objects of this name.
    pub name: Option<String>,
    /// What the API server's keys begin with.
    pub etcd_prefix: String,
}

/// Why that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No built-in kind and no custom resource has this name.
    #[error("there is no kind `{kind}` in Kubernetes or among the custom resources of this snapshot")]
    UnknownKind {
        /// As it was asked for.
        kind: String,
    },
    /// Objects of the kind have no namespace.
    #[error("`{kind}` is a kind of the whole cluster: it has no namespace")]
    NotNamespaced {
        /// The kind.
        kind: String,
    },
}

impl SelectError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownKind { .. } => {
                "`holdfast diff` and `holdfast keys` name the kinds there are; `--etcd-prefix` if the API server has another than `/registry`"
                    .to_owned()
            }
            Self::NotNamespaced { .. } => "leave `--namespace` out".to_owned(),
        })
    }
}

/// The keys that are meant: some prefixes, sorted and apart from each other, and a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    prefixes: Vec<Vec<u8>>,
    namespace: Option<String>,
    name: Option<String>,
    etcd_prefix: String,
}

impl Selection {
    /// Finds out what was asked for. `states` are what the custom resources are looked up in.
    pub fn new(wanted: &Wanted, states: &[&LiveKeys<'_>]) -> Result<Self, SelectError> {
        let server = wanted.etcd_prefix.trim_end_matches('/');
        let mut prefixes = match (&wanted.kind, &wanted.prefix) {
            (Some(kind), _) => {
                let resources = resources(kind, server, states)?;
                if wanted.namespace.is_some() && resources.iter().all(|resource| !resource.namespaced) {
                    return Err(SelectError::NotNamespaced { kind: kind.clone() });
                }
                let place = |resource: &NamedResource| match (&wanted.namespace, resource.namespaced) {
                    (Some(namespace), true) => format!("{server}/{}/{namespace}/", resource.stored),
                    _ => format!("{server}/{}/", resource.stored),
                };
                resources.iter().map(|resource| place(resource).into_bytes()).collect()
            }
            (None, Some(prefix)) => vec![prefix.clone()],
            (None, None) if wanted.namespace.is_some() || wanted.name.is_some() => {
                vec![format!("{server}/").into_bytes()]
            }
            (None, None) => vec![Vec::new()],
        };
        prefixes.sort_unstable();
        prefixes.dedup_by(|later, kept| later.starts_with(kept));
        Ok(Self {
            prefixes,
            namespace: wanted.namespace.clone(),
            name: wanted.name.clone(),
            etcd_prefix: server.to_owned(),
        })
    }

    /// The prefixes, sorted; no two of them have keys in common.
    pub fn prefixes(&self) -> &[Vec<u8>] {
        &self.prefixes
    }

    /// Whether a key with one of the prefixes is meant.
    pub fn takes(&self, key: &[u8]) -> bool {
        if self.namespace.is_none() && self.name.is_none() {
            return true;
        }
        ObjectKey::parse(&self.etcd_prefix, key).is_some_and(|key| {
            self.namespace.as_deref().is_none_or(|namespace| key.namespace == Some(namespace))
                && self.name.as_deref().is_none_or(|name| key.name == name)
        })
    }

    /// Where in the keys those that are meant can lie.
    pub fn ranges(&self, live: &LiveKeys<'_>) -> Vec<Range<usize>> {
        self.prefixes.iter().map(|prefix| live.prefix(prefix)).collect()
    }

    /// The positions of the keys that are meant, in key order; backwards too.
    pub fn positions<'s>(&'s self, live: &'s LiveKeys<'_>) -> impl DoubleEndedIterator<Item = usize> + 's {
        self.ranges(live).into_iter().flatten().filter(|position| self.takes(live.key(*position)))
    }
}

/// The resources of this name: built in, or else defined by somebody.
fn resources(kind: &str, server: &str, states: &[&LiveKeys<'_>]) -> Result<Vec<NamedResource>, SelectError> {
    let mut found = built_in_called(kind);
    let prefix = format!("{server}/{DEFINITIONS}/");
    for live in states {
        let definitions = live.prefix(prefix.as_bytes()).filter_map(|position| {
            // One that cannot be read defines nothing that could be asked for.
            NamedResource::defined_by(&Object::decode(live.entry(position).value).ok()?)
        });
        found.extend(definitions.filter(|resource| resource.is_called(kind)));
    }
    if found.is_empty() { Err(SelectError::UnknownKind { kind: kind.to_owned() }) } else { Ok(found) }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use etcd_snapshot::SnapshotFile;

    use super::{SelectError, Selection, Wanted};

    /// A snapshot of a real cluster, by the name of its file.
    pub(in crate::look) fn open(name: &str) -> SnapshotFile {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/data/{name}.db.zst"));
        SnapshotFile::from_bytes(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap()
    }

    fn wanted(kind: &str, namespace: &str, name: &str) -> Wanted {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let etcd_prefix = "/registry".to_owned();
        Wanted { prefix: None, kind: some(kind), namespace: some(namespace), name: some(name), etcd_prefix }
    }

    fn select(wanted: &Wanted) -> Result<Vec<String>, SelectError> {
        let file = open("kubernetes-t2");
        let live = file.live().unwrap();
        let selection = Selection::new(wanted, &[&live])?;
        let keys = selection
            .positions(&live)
            .map(|position| String::from_utf8_lossy(live.key(position)).into_owned());
        Ok(keys.collect())
    }

    #[test]
    fn kinds_namespaces_and_names_select() {
        let expected = "/registry/services/specs/default/kubernetes";
        assert_eq!(select(&wanted("svc", "default", "kubernetes")).unwrap(), [expected]);
        assert_eq!(select(&wanted("services", "", "kubernetes")).unwrap(), [expected]);
        let all = select(&wanted("Namespace", "", "")).unwrap();
        assert!(all.contains(&"/registry/namespaces/web".to_owned()) && all.len() > 5, "{all:?}");
        let plan = select(&wanted("backupplan", "monitoring", "plan-006")).unwrap();
        assert_eq!(plan, ["/registry/ops.sample.example/backupplans/monitoring/plan-006"]);
        let web = select(&wanted("", "web", "")).unwrap();
        assert!(web.len() > 50 && web.iter().all(|key| key.contains("/web/")), "{web:?}");
        assert_eq!(select(&wanted("secret", "web", "no-such")).unwrap(), [""; 0]);
        let count = open("kubernetes-t2").live().unwrap().len();
        assert_eq!(select(&wanted("", "", "")).unwrap().len(), count);
    }

    #[test]
    fn what_means_nothing_is_told() {
        let unknown = SelectError::UnknownKind { kind: "tenantz".to_owned() };
        assert_eq!(select(&wanted("tenantz", "", "")), Err(unknown));
        let cluster = SelectError::NotNamespaced { kind: "node".to_owned() };
        assert_eq!(select(&wanted("node", "web", "")), Err(cluster));
    }

    #[test]
    fn prefixes_within_each_other_are_read_once() {
        let mut selection = Selection::new(&wanted("", "", ""), &[]).unwrap();
        assert_eq!(selection.prefixes(), [b""]);
        selection =
            Selection::new(&Wanted { prefix: Some(b"/a".to_vec()), ..Wanted::default() }, &[]).unwrap();
        assert_eq!(selection.prefixes(), [b"/a"]);
    }
}
