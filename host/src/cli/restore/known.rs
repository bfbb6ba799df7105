//! Which revisions of the cluster are known, besides the snapshot's own?

use std::path::Path;

use etcd_snapshot::Facts;
use jiff::Timestamp;

use crate::catalog::{self, Manifest};
use crate::cli::Context;
use crate::cli::list::selected_stores;
use crate::cli::open::Sources;
use crate::config::Config;
use crate::etcd::Cluster;
use crate::pipeline::store::with_causes;
use crate::restore::bump::Seen;
use crate::source::Found;

/// What is restored, and where others may know more.
pub(super) struct Asked<'a> {
    pub(super) sources: &'a Sources,
    /// The backup; none for a file.
    pub(super) found: Option<&'a Found>,
    /// The snapshot on local disk.
    pub(super) file: &'a Path,
}

/// All that is known. What cannot be asked is told and left out.
pub(super) async fn revisions(asked: &Asked<'_>, facts: &Facts, context: &Context) -> Vec<Seen> {
    let own = match asked.found {
        Some(found) => {
            let manifest = &found.entry.manifest;
            let by = format!("backup {}", manifest.id);
            Seen { revision: facts.revision, at: Some(manifest.fetched), by }
        }
        // A copied file is no younger than its snapshot.
        None => Seen { revision: facts.revision, at: modified(asked.file), by: "the snapshot".to_owned() },
    };
    let mut seen = vec![own];
    if let Some(config) = &asked.sources.config {
        let of_the_cluster = |manifest: &Manifest| match asked.found {
            Some(found) => manifest.cluster.id == found.entry.manifest.cluster.id,
            None => shares_a_member(facts, |id| manifest.facts.members.iter().any(|member| member.id == id)),
        };
        seen.extend(in_stores(config, of_the_cluster, context).await);
        seen.extend(of_members(config, asked, facts, context).await);
    }
    seen
}

fn modified(file: &Path) -> Option<Timestamp> {
    Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok()
}

/// Whether a file is of a cluster with such members; one that names no members may be.
fn shares_a_member(facts: &Facts, is_there: impl Fn(&str) -> bool) -> bool {
    facts.members.is_empty() || facts.members.iter().any(|member| is_there(&member.id))
}

async fn in_stores(
    config: &Config,
    of_the_cluster: impl Fn(&Manifest) -> bool,
    context: &Context,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    for named in selected_stores(config, None).unwrap_or_default() {
        let listing = match catalog::list(named.store.as_ref()).await {
            Ok(listing) => listing,
            Err(error) => {
                context.printer.warn(format_args!(
                    "store `{}` may know of newer revisions, and cannot be read: {}",
                    named.name,
                    with_causes(&error)
                ));
                continue;
            }
        };
        let entries = listing.entries.iter().filter(|entry| of_the_cluster(&entry.manifest));
        // A record names its backup, and this its revision; it may have outlived it.
        seen.extend(entries.flat_map(|entry| {
            let manifest = &entry.manifest;
            let by = format!("backup {} in store {}", manifest.id, named.name);
            let proofs = entry.records.iter().map(|record| {
                let by = format!("a proof of backup {} in store {}", record.backup, named.name);
                Seen { revision: record.backup.revision(), at: Some(record.backup.time()), by }
            });
            let own = Seen { revision: manifest.facts.revision, at: Some(manifest.fetched), by };
            std::iter::once(own).chain(proofs)
        }));
    }
    seen
}

/// The members that answer. After a disaster that may be none, and what the cluster was asked last is what clients saw.
async fn of_members(config: &Config, asked: &Asked<'_>, facts: &Facts, context: &Context) -> Vec<Seen> {
    let note = |reason: &str| {
        context.printer.note(format_args!("no member was asked for its revision: {reason}"));
        Vec::new()
    };
    if config.cluster.endpoints().is_empty() {
        return note("the configuration names none");
    }
    let options = match config.cluster.etcd() {
        Ok(options) => options,
        Err(error) => return note(&with_causes(&error)),
    };
    let cluster = match Cluster::connect(&options).await {
        Ok(cluster) => cluster,
        Err(error) => return note(&with_causes(&error)),
    };
    let asking = cluster
        .connections()
        .iter()
        .map(|connection| async move { (connection.endpoint().to_owned(), connection.status().await) });
    let mut seen = Vec::new();
    for (endpoint, status) in futures::future::join_all(asking).await {
        match status {
            Ok(status) => {
                let id = format!("{:016x}", status.member_id);
                // A file's cluster need not be the one that is configured here.
                if asked.found.is_some() || shares_a_member(facts, |member| same_id(member, &id)) {
                    let by = format!("member {endpoint}");
                    seen.push(Seen { revision: status.revision, at: Some((context.now)()), by });
                }
            }
            Err(error) => context.printer.note(format_args!("not asked for its revision: {error}")),
        }
    }
    seen
}

/// Ids are written with leading zeros or without.
fn same_id(one: &str, other: &str) -> bool {
    one.trim_start_matches('0') == other.trim_start_matches('0')
}
