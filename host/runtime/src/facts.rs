//! What is known of a snapshot beside its rows, as guests ask for it: by name, as text.

use std::collections::BTreeMap;

/// Facts by their names in the plugin contract.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    by_name: BTreeMap<&'static str, String>,
}

impl Facts {
    /// What the engine found. Numbers are decimal, truths are `true` and `false`; what is unknown is left out.
    pub(crate) fn of(facts: &etcd_snapshot::Facts) -> Facts {
        let mut by_name = BTreeMap::from([
            ("revision", facts.revision.to_string()),
            ("compact-revision", facts.compact_revision.max(0).to_string()),
            ("hash", facts.hash.to_string()),
            ("hashkv", facts.hashkv.hash.to_string()),
            ("live-keys", facts.live_keys.to_string()),
            ("records", facts.records.to_string()),
            ("total-keys", facts.total_keys.to_string()),
            ("size-bytes", facts.size_bytes.to_string()),
            ("image-bytes", facts.image_bytes.to_string()),
            ("in-use-bytes", facts.in_use_bytes.to_string()),
            ("page-size", facts.page_size.to_string()),
            ("consistent-index", facts.consistent_index.to_string()),
            ("leases", facts.leases.to_string()),
            ("members", facts.members.len().to_string()),
            ("alarms", facts.alarms.len().to_string()),
            ("auth-enabled", facts.auth_enabled.to_string()),
            ("kubernetes", facts.kubernetes.to_string()),
        ]);
        let known = [
            ("storage-version", facts.storage_version.clone()),
            ("cluster-version", facts.cluster_version.clone()),
            ("etcd-version", facts.etcd_version.clone()),
            ("term", facts.term.map(|term| term.to_string())),
            ("sha256", facts.sha256.clone()),
        ];
        by_name.extend(known.into_iter().filter_map(|(name, value)| Some((name, value?))));
        Facts { by_name }
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.by_name.get(name).cloned()
    }
}
