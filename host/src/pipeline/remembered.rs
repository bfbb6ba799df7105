//! What plugins remember of older backups: the memo of each, from the newest older backup that was proved.
//!
//! It lies in the records beside the backups, so it is there wherever the backup is, needs no key to be read, and an old backup
//! is judged against what was before it, not against what came after.

use std::collections::{BTreeMap, BTreeSet};

use etcd_snapshot::Outcome;

use super::store::{NamedStore, with_causes};
use crate::catalog::{self, BackupId, CatalogError, Record};

/// Backups whose proofs are read at once.
const AT_ONCE: usize = 8;

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
            match catalog::ids(named.store.as_ref()).await {
                Ok(ids) => {
                    let older: Vec<BackupId> = ids.range(..backup.clone()).rev().cloned().collect();
                    remembered.look_back(named, &older, plugins).await;
                }
                Err(error) => remembered.missed(&named.name, &error),
            }
        }
        remembered
    }

    fn missed(&mut self, store: &str, error: &CatalogError) {
        let reason = format!("store `{store}`: {}", with_causes(error));
        tracing::warn!(reason, "what plugins remember of older backups may be incomplete");
        self.unknown.get_or_insert(reason);
    }

    /// From the newest on, until every plugin has its memo, or only older ones are left than another store gave: of thousands
    /// of backups the proofs of a few are read.
    async fn look_back(&mut self, named: &NamedStore, older: &[BackupId], plugins: &BTreeSet<&str>) {
        let store = named.store.as_ref();
        for some in older.chunks(AT_ONCE) {
            let wanted = |backup: &BackupId, plugin: &str| {
                self.memos.get(plugin).is_none_or(|memo| memo.backup < *backup)
            };
            if !some.iter().any(|id| plugins.iter().any(|plugin| wanted(id, plugin))) {
                return;
            }
            let reads = some.iter().map(|id| catalog::readable_records(store, id));
            for (id, read) in some.iter().zip(futures::future::join_all(reads).await) {
                match read {
                    Ok((records, unreadable)) => {
                        for error in &unreadable {
                            self.missed(&named.name, error);
                        }
                        self.take(named, id, &records, plugins).await;
                    }
                    Err(error) => self.missed(&named.name, &error),
                }
            }
        }
    }

    async fn take(
        &mut self,
        named: &NamedStore,
        backup: &BackupId,
        records: &[Record],
        plugins: &BTreeSet<&str>,
    ) {
        // A later proof counts for more than an earlier one: a backup that fails now is nothing to go by. One that came to no
        // verdict says nothing.
        let newest = records.iter().rev().find(|record| record.outcome != Outcome::Inconclusive);
        if newest.is_none_or(|record| record.outcome != Outcome::Passed) {
            return;
        }
        let mut memos: BTreeMap<&str, &str> = BTreeMap::new();
        let passed = records.iter().rev().filter(|record| record.outcome == Outcome::Passed);
        for step in passed.flat_map(|record| &record.steps) {
            let known = self.memos.get(&step.step);
            if let Some(text) = &step.memo
                && plugins.contains(step.step.as_str())
                && known.is_none_or(|memo| memo.backup < *backup)
            {
                memos.entry(&step.step).or_insert(text);
            }
        }
        if memos.is_empty() {
            return;
        }
        // What is not trusted, or not there any more, is nothing to go by either.
        match catalog::manifest(named.store.as_ref(), backup).await {
            Ok(Some(_)) => {
                for (plugin, text) in memos {
                    let memo = Memo { backup: backup.clone(), text: text.to_owned() };
                    self.memos.insert(plugin.to_owned(), memo);
                }
            }
            Ok(None) => {}
            Err(error) => self.missed(&named.name, &error),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::testing::{Repository, record, repository};
    use crate::store::fault::{Fault, FaultStore};

    fn id(number: usize) -> String {
        format!("202601{:02}T000000Z-{number}", number + 1)
    }

    /// A backup whose proof ended so, and whose plugins left these memos.
    async fn backup(repository: &Repository, number: usize, outcome: Outcome, memos: &[(&str, &str)]) {
        repository.backup(&id(number), Outcome::Inconclusive).await;
        let mut record = record(&id(number), 10, outcome);
        record.steps = memos
            .iter()
            .map(|(plugin, memo)| {
                let step = serde_json::json!({
                    "chain": "a", "step": plugin, "outcome": "passed", "counts": true, "summary": "", "memo": memo, "elapsed_ms": 1
                });
                serde_json::from_value(step).unwrap()
            })
            .collect();
        catalog::add_record(&repository.store, &record).await.unwrap();
    }

    async fn remembered(stores: &[NamedStore], number: usize) -> Remembered {
        let plugins = BTreeSet::from(["drift", "census"]);
        Remembered::of(stores, &id(number).parse().unwrap(), &plugins).await
    }

    fn told(remembered: &Remembered, plugin: &str) -> Option<(String, String)> {
        let context = remembered.context(plugin);
        (context.len() == 2).then(|| (context[0].1.clone(), context[1].1.clone()))
    }

    #[tokio::test]
    async fn the_newest_older_proof_counts_and_no_more_is_read_than_it_takes() {
        let repository = repository();
        backup(&repository, 0, Outcome::Passed, &[("census", "old")]).await;
        for number in 1..26 {
            backup(
                &repository,
                number,
                Outcome::Passed,
                &[("drift", &number.to_string()), ("census", "new")],
            )
            .await;
        }
        backup(&repository, 26, Outcome::Failed, &[("drift", "of a failure")]).await;
        backup(&repository, 27, Outcome::Passed, &[("drift", "of itself")]).await;
        let counting = Arc::new(FaultStore::new(Arc::new(repository.store.clone()), Fault::Once, 0));
        let stores = [crate::pipeline::named("a", Arc::clone(&counting) as _)];
        let newest = remembered(&stores, 27).await;
        assert_eq!(told(&newest, "drift"), Some((id(25), "25".to_owned())));
        assert_eq!(told(&newest, "census"), Some((id(25), "new".to_owned())));
        // Names of backups, the records of eight, each with two, and a few manifests.
        assert!(counting.calls() <= 1 + 8 * 3 + 8 * 2, "{} calls", counting.calls());
        assert_eq!(told(&remembered(&stores, 1).await, "census"), Some((id(0), "old".to_owned())));
        assert_eq!(told(&remembered(&stores, 1).await, "drift"), None);
        assert!(remembered(&stores, 0).await.context("drift").is_empty());
    }

    #[tokio::test]
    async fn a_record_that_is_damaged_hides_no_other_and_is_told_where_nothing_else_is_known() {
        let repository = repository();
        backup(&repository, 0, Outcome::Passed, &[("drift", "kept")]).await;
        let damaged = format!("records/{}/20990101T000000.000Z-0000000000000000.json", id(0));
        repository.put(&damaged, b"{ torn").await;
        let stores = [crate::pipeline::named("a", Arc::new(repository.store.clone()))];
        let found = remembered(&stores, 5).await;
        assert_eq!(told(&found, "drift"), Some((id(0), "kept".to_owned())));
        assert_eq!(found.context("census")[0].0, "previous-unknown");
    }
}
