//! The `.snap` file: raft's snapshot as etcd up to 3.6 reads it on start, with the old v2 store inside.
//!
//! It holds no keys. Servers up to 3.4 take the membership from it, and on 3.5 and 3.6 it makes the raft log begin
//! behind the restored entries: without it a member that joins later is fed the log instead of the database and comes
//! up empty. Content: `snappb.snapshot { crc = 1, data = 2 }`, data = `raftpb.Snapshot { data = 1: the v2 store as JSON,
//! metadata = 2: { conf_state = 1, index = 2, term = 3 } }`. Sources: etcd `server/etcdserver/api/snap/snapshotter.go`,
//! `server/etcdserver/api/v2store/store.go`, `snappb/snap.proto`.

use std::collections::BTreeMap;

use crate::membership::{Voter, json_string};
use crate::wal::ConfState;
use crate::wal::wire::Message;

/// Places in the event history of a v2 store (`v2store/store.go`); etcd refuses a queue of another length.
const HISTORY_CAPACITY: usize = 1000;

/// Go's zero time, the expiry of a node that never expires.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The file's name: `<term, 16 hex digits>-<index, 16 hex digits>.snap`.
pub(crate) fn file_name(term: u64, index: u64) -> String {
    format!("{term:016x}-{index:016x}.snap")
}

/// The file's content for a cluster of `voters`, ascending by id, at raft `index` and `term`.
pub(crate) fn encode(voters: &[Voter], index: u64, term: u64) -> Vec<u8> {
    let conf_state =
        ConfState { voters: voters.iter().map(|voter| voter.id).collect(), learners: Vec::new() };
    let metadata = Message::new().bytes(1, &conf_state.encode()).varint(2, index).varint(3, term).finish();
    let snapshot = Message::new().bytes(1, store_json(voters).as_bytes()).bytes(2, &metadata).finish();
    Message::new().varint(1, u64::from(crc32c::crc32c(&snapshot))).bytes(2, &snapshot).finish()
}

/// The v2 store after the members were created in it, one after the other.
fn store_json(voters: &[Voter]) -> String {
    let count = voters.len();
    // The map orders children by name, as Go does; with ids of different lengths that is not their order as numbers.
    let members: BTreeMap<String, String> =
        (1..).zip(voters).map(|(index, voter)| (voter.hex_id(), member_node(voter, index))).collect();
    let members = directory("/0/members", usize::from(count > 0), &members);
    let members = directory("/0", 0, &BTreeMap::from([("members".to_owned(), members)]));
    let keys = directory("/1", 0, &BTreeMap::new());
    let root = directory("/", 0, &BTreeMap::from([("0".to_owned(), members), ("1".to_owned(), keys)]));
    let events: Vec<String> = (1..).zip(voters).map(|(index, voter)| create_event(voter, index)).collect();
    let history = history_json(&events);
    let stats = stats_json(count);
    format!(
        r#"{{"Root":{root},"WatcherHub":{{"EventHistory":{history}}},"CurrentIndex":{count},"Stats":{stats},"CurrentVersion":2}}"#
    )
}

fn node(path: &str, index: usize, value: &str, children: &str) -> String {
    let (path, value) = (json_string(path), json_string(value));
    format!(
        r#"{{"Path":{path},"CreatedIndex":{index},"ModifiedIndex":{index},"ExpireTime":"{NEVER}","Value":{value},"Children":{children}}}"#
    )
}

fn directory(path: &str, index: usize, children: &BTreeMap<String, String>) -> String {
    let children: Vec<String> =
        children.iter().map(|(name, node)| format!("{}:{node}", json_string(name))).collect();
    node(path, index, "", &format!("{{{}}}", children.join(",")))
}

fn member_node(voter: &Voter, index: usize) -> String {
    let attributes = node(&attributes_path(voter), index, &voter.raft_attributes(), "null");
    let path = format!("/0/members/{}", voter.hex_id());
    directory(&path, index, &BTreeMap::from([("raftAttributes".to_owned(), attributes)]))
}

fn attributes_path(voter: &Voter) -> String {
    format!("/0/members/{}/raftAttributes", voter.hex_id())
}

fn create_event(voter: &Voter, index: usize) -> String {
    let (key, value) = (json_string(&attributes_path(voter)), json_string(&voter.raft_attributes()));
    format!(
        r#"{{"action":"create","node":{{"key":{key},"value":{value},"modifiedIndex":{index},"createdIndex":{index}}}}}"#
    )
}

/// The ring of the newest events. A plan has far fewer members than the ring has places, so it never wraps.
fn history_json(events: &[String]) -> String {
    let (count, first) = (events.len(), usize::from(!events.is_empty()));
    let mut ring: Vec<&str> = events.iter().map(String::as_str).collect();
    ring.resize(HISTORY_CAPACITY, "null");
    format!(
        r#"{{"Queue":{{"Events":[{}],"Size":{count},"Front":0,"Back":{count},"Capacity":{HISTORY_CAPACITY}}},"StartIndex":{first},"LastIndex":{count}}}"#,
        ring.join(",")
    )
}

fn stats_json(created: usize) -> String {
    let counters = [
        ("getsSuccess", 0),
        ("getsFail", 0),
        ("setsSuccess", 0),
        ("setsFail", 0),
        ("deleteSuccess", 0),
        ("deleteFail", 0),
        ("updateSuccess", 0),
        ("updateFail", 0),
        ("createSuccess", created),
        ("createFail", 0),
        ("compareAndSwapSuccess", 0),
        ("compareAndSwapFail", 0),
        ("compareAndDeleteSuccess", 0),
        ("compareAndDeleteFail", 0),
        ("expireCount", 0),
        ("watchers", 0),
    ];
    let counters: Vec<String> = counters.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
    format!("{{{}}}", counters.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::member_id;

    fn voters(token: &str) -> Vec<Voter> {
        let mut voters: Vec<Voter> = (1..=3)
            .map(|number| {
                let peer_urls = vec![format!("http://127.0.0.{number}:2380")];
                Voter { id: member_id(&peer_urls, token), name: format!("m{number}"), peer_urls }
            })
            .collect();
        voters.sort_by_key(|voter| voter.id);
        voters
    }

    /// The length and checksum of the file that `etcdutl` 3.5 and `etcdctl` 3.4 write for the same plan.
    #[test]
    fn the_file_is_the_one_that_etcdutl_writes() {
        let file = encode(&voters("tok"), 3, 1);
        assert_eq!(file.len(), 7563);
        assert_eq!(file[..12], [0x08, 0xb9, 0xaf, 0xda, 0xce, 0x07, 0x12, 0x82, 0x3b, 0x0a, 0xd7, 0x3a]);
    }

    #[test]
    fn the_name_has_term_and_index() {
        assert_eq!(file_name(1, 3), "0000000000000001-0000000000000003.snap");
    }
}
