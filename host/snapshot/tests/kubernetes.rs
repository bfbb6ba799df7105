//! The engine against snapshots of a real Kubernetes cluster, and what etcd's own tools said of them.

mod support;

use etcd_snapshot::{CheckOptions, Outcome, hash, inspect};
use support::{facts, open};

const SNAPSHOTS: [&str; 2] = ["kubernetes-t1", "kubernetes-t2"];

#[test]
fn facts_are_those_of_etcds_tools() {
    for name in SNAPSHOTS {
        let (file, said) = (open(name), facts(name));
        let found = inspect(&file, &CheckOptions::default());
        assert_eq!(found.integrity.outcome, Outcome::Passed, "{name}: {:?}", found.integrity.findings);
        assert!(found.integrity.findings.is_empty(), "{name}: {:?}", found.integrity.findings);
        let status = &said["etcdutl_status"];
        assert_eq!(found.facts.hash, status["hash"], "{name}");
        assert_eq!(found.facts.revision, status["revision"], "{name}");
        assert_eq!(found.facts.live_keys, status["totalKey"], "{name}");
        assert_eq!(found.facts.image_bytes, status["totalSize"], "{name}");
        assert_eq!(found.facts.storage_version.as_deref(), status["version"].as_str(), "{name}");
        assert_eq!(found.facts.size_bytes, said["db_size"], "{name}");
        assert_eq!(found.facts.hashkv.hash, said["hashkv"]["hash"], "{name}");
        assert_eq!(found.facts.hashkv.compact_revision, said["hashkv"]["compact_revision"], "{name}");
        assert_eq!(found.facts.etcd_version.as_deref(), Some("3.6"));
        assert!(found.facts.kubernetes);
    }
}

#[test]
fn hashes_alone_agree_with_the_inspection() {
    for name in SNAPSHOTS {
        let (file, said) = (open(name), facts(name));
        assert_eq!(hash::status_hash(file.snapshot()).unwrap(), said["etcdutl_status"]["hash"]);
        assert_eq!(hash::hash_kv(file.snapshot(), 0, None).unwrap().hash, said["hashkv"]["hash"]);
    }
}

#[test]
fn live_keys_are_those_of_the_server() {
    for name in SNAPSHOTS {
        let (file, said) = (open(name), facts(name));
        let live = file.live().unwrap();
        assert_eq!(live.len(), said["live_keys"]);
        assert!(live.iter().zip(live.iter().skip(1)).all(|(a, b)| a.key < b.key));
        for (prefix, count) in said["count_by_prefix"].as_object().unwrap() {
            let prefix = format!("{prefix}/");
            assert_eq!(live.prefix(prefix.as_bytes()).len(), *count, "{prefix}");
        }
        for position in [0, live.len() / 2, live.len() - 1] {
            let entry = live.entry(position);
            assert_eq!(live.get(entry.key), Some(entry));
            assert_eq!(live.lower_bound(entry.key), position);
            assert_eq!(live.metadata(position).value_len, entry.value.len());
        }
        assert_eq!(live.get(b"/no/such/key"), None);
    }
}

#[test]
fn every_live_key_has_the_revisions_the_server_listed() {
    for name in SNAPSHOTS {
        let (file, truth) = (open(name), support::truth(name));
        let live = file.live().unwrap();
        let keys = truth["keys"].as_array().unwrap();
        assert_eq!(live.len(), keys.len());
        for said in keys {
            let found = live.get(said["key"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!(found.create_revision, said["create_revision"]);
            assert_eq!(found.mod_revision, said["mod_revision"]);
            assert_eq!(found.version, said["version"]);
        }
    }
}
