//! What plugins remember of older backups: the memo of each, from the newest older backup that was proved.
//!
//! It lies in the records beside the backups, so it is there wherever the backup is, needs no key to be read, and an old backup
//! is judged against what was before it, not against what came after.

use std::collections::{BTreeMap, BTreeSet};

use etcd_snapshot::Outcome;

use super::store::{NamedStore, with_causes};
use crate::catalog::{self, BackupId, Entry};

/// Memos by the plugin's name.
#[derive(Debug, Default)]
pub struct Remembered {
    memos: BTreeMap<String, Memo>,
    /// Why some stores could not be asked.
    unknown: Option<String>,
}

#[derive(Debug)]
struct Memo {
    backup: BackupId,
    text: String,
}

impl Remembered {
    /// Asks the stores for what these plugins remember of backups older than this one. Without plugins no store is asked.
    pub async fn of(stores: &[NamedStore], backup: &BackupId, plugins: &BTreeSet<&str>) -> Self {
        let mut remembered = Self::default();
        if plugins.is_empty() {
            return remembered;
        }
        for named in stores {
            match catalog::list(named.store.as_ref()).await {
                Ok(listing) => {
                    for error in listing.unreadable {
                        remembered.missed(&named.name, &error);
                    }
                    for entry in listing.entries.iter().filter(|entry| entry.manifest.id < *backup) {
                        remembered.take(entry, plugins);
                    }
                }
                Err(error) => remembered.missed(&named.name, &error),
            }
        }
        remembered
    }

    fn missed(&mut self, store: &str, error: &catalog::CatalogError) {
        let reason = format!("store `{store}`: {}", with_causes(error));
        tracing::warn!(reason, "what plugins remember of older backups may be incomplete");
        self.unknown.get_or_insert(reason);
    }

    fn take(&mut self, entry: &Entry, plugins: &BTreeSet<&str>) {
        // A later proof counts for more than an earlier one: a backup that fails now is nothing to go by. One that came to no
        // verdict says nothing.
        let newest = entry.records.iter().rev().find(|record| record.outcome != Outcome::Inconclusive);
        if newest.is_none_or(|record| record.outcome != Outcome::Passed) {
            return;
        }
        let backup = &entry.manifest.id;
        let passed = entry.records.iter().rev().filter(|record| record.outcome == Outcome::Passed);
        for step in passed.flat_map(|record| &record.steps) {
            let Some(text) = step.memo.as_ref().filter(|_| plugins.contains(step.step.as_str())) else {
                continue;
            };
            let known = self.memos.get(&step.step);
            if known.is_none_or(|memo| memo.backup < *backup) {
                let memo = Memo { backup: backup.clone(), text: text.clone() };
                self.memos.insert(step.step.clone(), memo);
            }
        }
    }

    /// What is told to this plugin.
    pub fn context(&self, plugin: &str) -> Vec<(String, String)> {
        let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match (self.memos.get(plugin), &self.unknown) {
            (Some(memo), _) => {
                vec![entry("previous-backup", &memo.backup.to_string()), entry("previous-memo", &memo.text)]
            }
            (None, Some(reason)) => vec![entry("previous-unknown", reason)],
            (None, None) => Vec::new(),
        }
    }
}
