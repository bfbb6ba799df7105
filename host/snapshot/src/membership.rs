//! Members of a cluster as etcd names and stores them: ids and the JSON form.
//!
//! Sources: etcd `server/etcdserver/api/membership/{cluster,member}.go`, `client/pkg/types/id.go`.

use sha1::{Digest, Sha1};

/// The id etcd gives a bootstrap member: SHA-1 over its peer URLs, sorted, and the cluster's token, first 8 bytes.
pub(crate) fn member_id(peer_urls: &[String], token: &str) -> u64 {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let hash = sorted.iter().fold(Sha1::new(), Digest::chain_update);
    first_eight(&hash.chain_update(token).finalize())
}

/// The id etcd gives a bootstrap cluster: SHA-1 over its member ids, ascending, first 8 bytes.
pub(crate) fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut sorted = member_ids.to_vec();
    sorted.sort_unstable();
    let hash = sorted.iter().fold(Sha1::new(), |hash, id| hash.chain_update(id.to_be_bytes()));
    first_eight(&hash.finalize())
}

fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |id, &byte| (id << 8) | u64::from(byte))
}

/// A voting member of a restored cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Voter {
    pub(crate) id: u64,
    pub(crate) name: String,
    /// Sorted, as etcd keeps them.
    pub(crate) peer_urls: Vec<String>,
}

impl Voter {
    /// The member's key in the `members` bucket and in the old store: hex without leading zeros.
    pub(crate) fn hex_id(&self) -> String {
        format!("{:x}", self.id)
    }

    /// The member as Go's `json.Marshal` writes it, for the `members` bucket and the configuration change.
    pub(crate) fn to_json(&self) -> String {
        let (id, urls, name) = (self.id, json_strings(&self.peer_urls), json_string(&self.name));
        format!(r#"{{"id":{id},"peerURLs":{urls},"name":{name}}}"#)
    }

    /// What the old store holds of a member that has not yet started: `{"peerURLs":[…]}`.
    pub(crate) fn raft_attributes(&self) -> String {
        format!(r#"{{"peerURLs":{}}}"#, json_strings(&self.peer_urls))
    }
}

fn json_strings(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| json_string(text)).collect();
    format!("[{}]", texts.join(","))
}

/// A JSON string as Go's `encoding/json` writes it, which also escapes what would be markup in a web page.
pub(crate) fn json_string(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing into a `String` cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ids_are_those_that_etcdutl_computes() {
        let ids = ["http://127.0.0.1:2380", "http://127.0.0.2:2380", "http://127.0.0.3:2380"]
            .map(|url| member_id(&urls(&[url]), "tok"));
        assert_eq!(ids, [0x7140_5583_d3e2_d5ce, 0x6900_051e_73e7_c254, 0x2f2a_f311_a04f_72b2]);
        assert_eq!(cluster_id(&ids), 4_104_851_171_624_068_452);

        let single = member_id(&urls(&["http://127.0.0.1:23800"]), "etcd-cluster");
        assert_eq!(single, 0x2e12_59d4_15f2_a040);
        assert_eq!(cluster_id(&[single]), 324_952_591_200_643_719);
    }

    #[test]
    fn the_order_of_urls_does_not_matter() {
        let (one, other) = (urls(&["http://a:1", "http://b:1"]), urls(&["http://b:1", "http://a:1"]));
        assert_eq!(member_id(&one, "t"), member_id(&other, "t"));
    }

    #[test]
    fn json_escapes_as_go_does() {
        assert_eq!(json_string("a<b>&\"\\\u{1}\n\u{2028}é"), r#""a\u003cb\u003e\u0026\"\\\u0001\n\u2028é""#);
    }

    #[test]
    fn a_hex_id_has_no_leading_zeros() {
        let voter = Voter { id: 0xab, name: "m".into(), peer_urls: urls(&["http://a:1"]) };
        assert_eq!(voter.hex_id(), "ab");
        assert_eq!(voter.to_json(), r#"{"id":171,"peerURLs":["http://a:1"],"name":"m"}"#);
    }
}
