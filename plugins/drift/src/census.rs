//! What is in a snapshot, counted by groups, and how it is remembered.
//!
//! Groups are the whole, each Kubernetes resource, each namespace, and each resource within each namespace: so a fall that hides
//! in a growing whole still shows in its own group. Keys that are not Kubernetes' are grouped by their first segment.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_plugin::kubernetes::ObjectKey;
use holdfast_plugin::{Query, ReadError, SnapshotView, printable};
use serde::{Deserialize, Serialize};

/// What a memo must say to be read.
const FORMAT: &str = "drift/1";
/// A memo is kept with each proof; one that would be larger leaves out the resources within namespaces.
const MEMO_BYTES: usize = 192 << 10;
/// Groups by first segment of other keys; whoever has more has no such groups.
const OTHER_GROUPS: usize = 200;

/// Keys and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum(pub(crate) u64, pub(crate) u64);

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.0 += 1;
        self.1 += bytes;
    }
}

/// All groups of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Census {
    format: String,
    /// Sums of another prefix or with other resources left out are not to be compared.
    pub(crate) registry: String,
    pub(crate) ignore: Vec<String>,
    pub(crate) whole: Sum,
    /// By resource, with its group where the key says it: `pods`, `acme.io/widgets`.
    pub(crate) resources: BTreeMap<String, Sum>,
    /// Those that have an object of their own.
    pub(crate) namespaces: BTreeSet<String>,
    /// By namespace, then resource. None: they were too many to be remembered.
    pub(crate) within: Option<BTreeMap<String, BTreeMap<String, Sum>>>,
    /// By first segment.
    pub(crate) others: BTreeMap<String, Sum>,
}

impl Census {
    /// Counts a snapshot.
    pub(crate) fn take(
        snapshot: &SnapshotView<'_>,
        registry: &str,
        ignore: &[String],
    ) -> Result<Census, ReadError> {
        let mut census = Census {
            format: FORMAT.to_owned(),
            registry: registry.to_owned(),
            ignore: ignore.to_vec(),
            within: Some(BTreeMap::new()),
            ..Census::default()
        };
        // Values are asked for their length alone, yet they have to cross over; keys alone would tell no bytes.
        let mut rows = snapshot.rows(&Query::all().columns(holdfast_plugin::Columns::KEYS_AND_VALUES))?;
        while let Some(row) = rows.next_row()? {
            census.count(row.key, (row.key.len() + row.value.len()) as u64);
        }
        if census.others.len() > OTHER_GROUPS {
            census.others.clear();
        }
        Ok(census)
    }

    fn count(&mut self, key: &[u8], bytes: u64) {
        let Some(object) = ObjectKey::parse(&self.registry, key) else {
            self.whole.add(bytes);
            self.others.entry(first_segment(key)).or_default().add(bytes);
            return;
        };
        let resource = match object.group {
            Some(group) => format!("{group}/{}", object.resource),
            None => object.resource.to_owned(),
        };
        if self.ignore.contains(&resource) {
            return;
        }
        self.whole.add(bytes);
        if resource == "namespaces" {
            self.namespaces.insert(object.name.to_owned());
        }
        if let (Some(namespace), Some(within)) = (object.namespace, &mut self.within) {
            let resources = within.entry(namespace.to_owned()).or_default();
            resources.entry(resource.clone()).or_default().add(bytes);
        }
        self.resources.entry(resource).or_default().add(bytes);
    }

    /// Sums by namespace, where they are known.
    pub(crate) fn by_namespace(&self) -> BTreeMap<&str, Sum> {
        let sum = |resources: &BTreeMap<String, Sum>| {
            resources.values().fold(Sum::default(), |sum, one| Sum(sum.0 + one.0, sum.1 + one.1))
        };
        self.within
            .iter()
            .flatten()
            .map(|(namespace, resources)| (namespace.as_str(), sum(resources)))
            .collect()
    }

    /// As it is remembered.
    pub(crate) fn memo(&self) -> String {
        // A census of text and numbers always becomes JSON.
        let whole = serde_json::to_string(self).unwrap_or_default();
        if whole.len() <= MEMO_BYTES {
            return whole;
        }
        let smaller = Census { within: None, ..self.clone() };
        serde_json::to_string(&smaller).unwrap_or_default()
    }

    /// What was remembered, if it is of this format.
    pub(crate) fn recall(memo: &str) -> Option<Census> {
        serde_json::from_str::<Census>(memo).ok().filter(|census| census.format == FORMAT)
    }
}

/// `/app/` of `/app/users/1`; keys without a separator are one group.
fn first_segment(key: &[u8]) -> String {
    const SEGMENT_BYTES: usize = 64;
    let skip = usize::from(key.first() == Some(&b'/'));
    match key.iter().skip(skip).position(|byte| *byte == b'/') {
        Some(end) if end <= SEGMENT_BYTES => printable(&key[..=skip + end]),
        _ => "keys without a prefix".to_owned(),
    }
}
