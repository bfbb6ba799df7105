//! The buckets beside the records: that each item decodes, and that what they say fits together.

use std::collections::BTreeSet;

use super::collector::{Collector, fault};
use crate::bolt::{Bucket, LeafItem, printable};
use crate::codes::{self, Code};
use crate::facts::{Alarm, Member};
use crate::finding::{Finding, Severity};
use crate::proto::{AlarmMessage, LeaseMessage, RoleMessage, UserMessage};
use crate::schema::{self, ConfState, DowngradeJson, MemberJson, Version};

/// The newest minor version of etcd whose files are known here.
pub(super) const NEWEST_KNOWN: (u32, u32) = (3, 7);

/// What the buckets say.
#[derive(Debug, Default)]
pub(super) struct StoreFacts<'a> {
    pub(super) storage_version: Option<Version>,
    pub(super) cluster_version: Option<Version>,
    pub(super) consistent_index: Option<u64>,
    pub(super) term: Option<u64>,
    pub(super) alarms: Vec<Alarm>,
    pub(super) members: Vec<Member>,
    pub(super) leases: u64,
    pub(super) auth_enabled: bool,
    pub(super) has_meta: bool,
    conf_state: Option<ConfState>,
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    removed: BTreeSet<u64>,
    users: Vec<UserMessage<'a>>,
    roles: BTreeSet<&'a [u8]>,
}

impl StoreFacts<'_> {
    /// The lowest minor version of etcd that can serve the file.
    pub(super) fn etcd_version(&self) -> String {
        match self.storage_version.max(self.cluster_version) {
            Some(version) => version.minor_text(),
            None if self.term.is_some() || self.conf_state.is_some() => "3.5".to_owned(),
            None => "3.4".to_owned(),
        }
    }

    /// Whether members have come or gone since the cluster was made. A restore empties the list of removed members and
    /// makes no learner, but leaves raft's old voters in `meta`; the next change of members writes them anew.
    fn members_changed(&self) -> bool {
        !self.removed.is_empty() || !self.learners.is_empty()
    }
}

/// Checks one bucket's items; `key` is its name, `name` the same to show.
pub(super) fn check<'a>(
    key: &[u8],
    name: &str,
    bucket: &Bucket<'a>,
    findings: &Collector,
    store: &mut StoreFacts<'a>,
) {
    let check = match std::str::from_utf8(key) {
        Ok(schema::META) => meta as ItemCheck<'a>,
        Ok(schema::LEASE) => lease as ItemCheck<'a>,
        Ok(schema::ALARM) => alarm as ItemCheck<'a>,
        Ok(schema::AUTH) => auth as ItemCheck<'a>,
        Ok(schema::AUTH_USERS) => user as ItemCheck<'a>,
        Ok(schema::AUTH_ROLES) => role as ItemCheck<'a>,
        Ok(schema::CLUSTER) => cluster as ItemCheck<'a>,
        Ok(schema::MEMBERS) => member as ItemCheck<'a>,
        Ok(schema::MEMBERS_REMOVED) => removed as ItemCheck<'a>,
        _ => {
            let message = format!("no known etcd makes the bucket `{name}`; it is kept");
            findings.report(Finding::new(&codes::BUCKET_UNKNOWN, message).bucket(name));
            return;
        }
    };
    store.has_meta |= key == schema::META.as_bytes();
    for item in bucket.items() {
        match item {
            Ok(item) => {
                if let Err((code, message)) = check(&item, store) {
                    let finding = Finding::new(code, message).bucket(name).key(item.key);
                    findings.report(finding.page(item.page).offset(item.offset));
                }
            }
            Err(error) => return findings.report(fault(name, &error)),
        }
    }
}

type Problem = (&'static Code, String);

/// Checks one item, and notes what it says.
type ItemCheck<'a> = fn(&LeafItem<'a>, &mut StoreFacts<'a>) -> Result<(), Problem>;

fn problem<T>(code: &'static Code, message: impl Into<String>) -> Result<T, Problem> {
    Err((code, message.into()))
}

/// No counter gets here: at a million steps a second it takes nine years. A server with an index this high would skip
/// every entry of its log.
const HIGHEST_COUNT: u64 = 1 << 48;

/// A counter of 8 bytes, big-endian.
fn number(item: &LeafItem<'_>, code: &'static Code) -> Result<u64, Problem> {
    match item.value.try_into().map(u64::from_be_bytes) {
        Ok(number) if number < HIGHEST_COUNT => Ok(number),
        Ok(number) => problem(code, format!("the value {number} is higher than can be reached")),
        Err(_) => problem(code, format!("the value has {} bytes, not 8", item.value.len())),
    }
}

fn version(item: &LeafItem<'_>) -> Result<Version, Problem> {
    match Version::parse(item.value) {
        Some(version) => Ok(version),
        None => problem(&codes::VERSION_VALUE, format!("`{}` is not a version", printable(item.value))),
    }
}

/// What etcd writes as JSON takes a few hundred bytes. Decoded, forged JSON takes many times its length in memory.
const MAX_JSON_BYTES: usize = 1 << 16;

fn json<'v, T: serde::Deserialize<'v>>(item: &LeafItem<'v>, code: &'static Code) -> Result<T, Problem> {
    if item.value.len() > MAX_JSON_BYTES {
        return problem(code, format!("the value has {} bytes, more than etcd writes", item.value.len()));
    }
    serde_json::from_slice(item.value)
        .map_err(|error| (code, format!("the value is not the JSON it should be: {error}")))
}

fn meta<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    match item.key {
        b"consistent_index" => store.consistent_index = Some(number(item, &codes::META_VALUE)?),
        b"term" => store.term = Some(number(item, &codes::META_VALUE)?),
        b"confState" => {
            let state: ConfState = json(item, &codes::META_VALUE)?;
            known(&state.unknown)?;
            store.conf_state = Some(state);
        }
        b"storageVersion" => store.storage_version = Some(version(item)?),
        b"scheduledCompactRev" | b"finishedCompactRev" => {
            if let Err(error) = schema::compact_revision(item) {
                return problem(&codes::META_VALUE, error.to_string());
            }
        }
        _ => return problem(&codes::META_UNKNOWN, "no known etcd writes this item; it is kept"),
    }
    Ok(())
}

/// etcd's `MaxLeaseTTL`, in seconds.
const LONGEST_LEASE: i64 = 9_000_000_000;

fn known(unknown: &schema::Unknown) -> Result<(), Problem> {
    match unknown.first_key_value() {
        None => Ok(()),
        Some((field, _)) => {
            let message = format!("no known etcd writes the field `{}`; it is kept", field.escape_debug());
            problem(&codes::META_UNKNOWN, message)
        }
    }
}

fn lease<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    store.leases += 1;
    let Ok(id) = item.key.try_into().map(i64::from_be_bytes) else {
        return problem(&codes::LEASE_VALUE, format!("the key has {} bytes, not 8", item.key.len()));
    };
    match LeaseMessage::decode(item.value) {
        None => problem(&codes::LEASE_VALUE, "the value is not a lease"),
        Some(lease) if lease.id != id => {
            problem(&codes::LEASE_VALUE, format!("the lease says its id is {:x}, its key {id:x}", lease.id))
        }
        Some(lease) if !(1..=LONGEST_LEASE).contains(&lease.ttl) || lease.remaining_ttl < 0 => {
            problem(&codes::LEASE_VALUE, format!("the lease lives {} seconds", lease.ttl))
        }
        Some(_) => Ok(()),
    }
}

fn alarm<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    let Some(alarm) = AlarmMessage::decode(item.key).filter(|_| item.value.is_empty()) else {
        return problem(&codes::ALARM_VALUE, "the item is not an alarm");
    };
    let kind = match alarm.alarm {
        1 => "NOSPACE".to_owned(),
        2 => "CORRUPT".to_owned(),
        other => other.to_string(),
    };
    let member_id = format!("{:x}", alarm.member_id);
    let message = format!("the alarm {kind} of member {member_id} stands");
    store.alarms.push(Alarm { member_id, alarm: kind });
    problem(&codes::ALARM_STANDING, message)
}

fn auth<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    match (item.key, item.value) {
        (b"authEnabled", [0 | 1]) => store.auth_enabled = item.value == [1],
        (b"authEnabled", _) => return problem(&codes::AUTH_VALUE, "the value is neither 0 nor 1"),
        (b"authRevision", _) => drop(number(item, &codes::AUTH_VALUE)?),
        _ => return problem(&codes::META_UNKNOWN, "no known etcd writes this item; it is kept"),
    }
    Ok(())
}

fn user<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    match UserMessage::decode(item.value) {
        Some(user) if user.name == item.key => {
            store.users.push(user);
            Ok(())
        }
        Some(_) => problem(&codes::USER_VALUE, "the user's name is not that of its key"),
        None => problem(&codes::USER_VALUE, "the value is not a user"),
    }
}

fn role<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    match RoleMessage::decode(item.value) {
        Some(role) if role.name == item.key => {
            store.roles.insert(role.name);
            Ok(())
        }
        Some(_) => problem(&codes::ROLE_VALUE, "the role's name is not that of its key"),
        None => problem(&codes::ROLE_VALUE, "the value is not a role"),
    }
}

fn cluster<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    match item.key {
        b"clusterVersion" => store.cluster_version = Some(version(item)?),
        b"downgrade" => {
            let downgrade: DowngradeJson = json(item, &codes::VERSION_VALUE)?;
            if downgrade.enabled {
                let message =
                    format!("a downgrade to {} was under way", downgrade.target_version.escape_debug());
                return problem(&codes::DOWNGRADE, message);
            }
        }
        _ => return problem(&codes::META_UNKNOWN, "no known etcd writes this item; it is kept"),
    }
    Ok(())
}

fn member_id(key: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(key).ok()?;
    let id = u64::from_str_radix(text, 16).ok()?;
    (format!("{id:x}") == text).then_some(id)
}

fn member<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    let Some(id) = member_id(item.key) else {
        return problem(&codes::MEMBER_VALUE, "the key is not a member's id");
    };
    let member: MemberJson = json(item, &codes::MEMBER_VALUE)?;
    if member.id != id {
        return problem(
            &codes::MEMBER_VALUE,
            format!("the member says its id is {:x}, its key {id:x}", member.id),
        );
    }
    let unknown = known(&member.unknown);
    let urls = member.peer_urls.iter().chain(&member.client_urls);
    let bad_url = urls.filter(|url| !is_url(url)).map(|url| url.escape_debug().to_string()).next();
    if member.is_learner { &mut store.learners } else { &mut store.voters }.insert(id);
    store.members.push(Member {
        id: format!("{id:x}"),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        is_learner: member.is_learner,
    });
    unknown?;
    if let Some(url) = bad_url {
        return problem(&codes::MEMBER_VALUE, format!("`{url}` is not a URL that etcd takes"));
    }
    if member.is_learner {
        return problem(&codes::MEMBER_LEARNER, format!("member {id:x} is a learner"));
    }
    Ok(())
}

fn is_url(url: &str) -> bool {
    let schemes = ["http", "https", "unix", "unixs"];
    url.split_once("://").is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
}

fn removed<'a>(item: &LeafItem<'a>, store: &mut StoreFacts<'a>) -> Result<(), Problem> {
    let Some(id) = member_id(item.key) else {
        return problem(&codes::MEMBER_VALUE, "the key is not a member's id");
    };
    store.removed.insert(id);
    Ok(())
}

/// What the buckets say, held against each other.
pub(super) fn check_together(store: &StoreFacts<'_>, has_records: bool, findings: &Collector) {
    let report = |code, bucket, message: String| findings.report(Finding::new(code, message).bucket(bucket));
    // etcd 3.4 writes it with the first change only.
    if store.has_meta && has_records && store.consistent_index.is_none() {
        report(
            &codes::META_MISSING,
            schema::META,
            "the index of the last entry applied is missing".to_owned(),
        );
    }
    check_versions(store, findings);
    check_members(store, findings);
    check_auth(store, findings);
}

fn check_versions(store: &StoreFacts<'_>, findings: &Collector) {
    let report = |code, bucket, message: String| findings.report(Finding::new(code, message).bucket(bucket));
    let version = store.cluster_version.max(store.storage_version);
    if store.term.is_none() && version.is_some_and(|version| version.minor() >= (3, 5)) {
        report(
            &codes::TERM_MISSING,
            schema::META,
            "the term of the last entry applied is missing".to_owned(),
        );
    }
    if let (Some(cluster), Some(storage)) = (store.cluster_version, store.storage_version)
        && cluster.minor() > storage.minor()
    {
        let message = format!("the cluster is at {cluster}, its storage at {storage}");
        report(&codes::VERSION_ORDER, schema::CLUSTER, message);
    }
    if let Some(newest) = store.storage_version.max(store.cluster_version)
        && newest.minor() > NEWEST_KNOWN
    {
        let message = format!("the file was written by etcd {newest}; what is new in it was not checked");
        report(&codes::VERSION_NEWER, schema::META, message);
    }
}

fn check_members(store: &StoreFacts<'_>, findings: &Collector) {
    let hex = |ids: &BTreeSet<u64>| ids.iter().map(|id| format!("{id:x}")).collect::<Vec<_>>().join(" ");
    for id in store.removed.iter().filter(|id| store.voters.contains(id) || store.learners.contains(id)) {
        let message = format!("member {id:x} is both present and removed");
        findings.report(Finding::new(&codes::MEMBER_ZOMBIE, message).bucket(schema::MEMBERS_REMOVED));
    }
    let Some(conf_state) = &store.conf_state else { return };
    if store.members.is_empty() {
        return;
    }
    let voters: BTreeSet<u64> =
        conf_state.voters.iter().chain(&conf_state.voters_outgoing).copied().collect();
    let learners: BTreeSet<u64> =
        conf_state.learners.iter().chain(&conf_state.learners_next).copied().collect();
    for (what, members, raft) in
        [("voters", &store.voters, &voters), ("learners", &store.learners, &learners)]
    {
        if members != raft {
            let (severity, why) = if store.members_changed() {
                (Severity::Warning, "although members have been added or removed")
            } else {
                (Severity::Info, "which is normal after a restore, until a member is next added or removed")
            };
            let message = format!("raft's {what} are not those of the members, {why}");
            findings.report(
                Finding::new(&codes::CONF_STATE_DIFFERS, message)
                    .severity(severity)
                    .bucket(schema::META)
                    .values(hex(members), hex(raft)),
            );
        }
    }
}

fn check_auth(store: &StoreFacts<'_>, findings: &Collector) {
    const ROOT: &[u8] = b"root";
    for user in &store.users {
        // `root` is built in: etcd grants it whether or not it was added.
        for role in user.roles().filter(|role| *role != ROOT && !store.roles.contains(role)) {
            let message = format!("the user has the role `{}`, which does not exist", printable(role));
            findings.report(
                Finding::new(&codes::ROLE_MISSING, message).bucket(schema::AUTH_USERS).key(user.name),
            );
        }
    }
    let is_root = |user: &UserMessage<'_>| user.name == ROOT && user.roles().any(|role| role == ROOT);
    if store.auth_enabled && !store.users.iter().any(is_root) {
        let message = "users must log in, but there is no user `root` with the role `root`";
        findings.report(Finding::new(&codes::AUTH_WITHOUT_ROOT, message).bucket(schema::AUTH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The severities of what is found when `members` has voter 1 and raft has voters 7, 8 and 9.
    fn severities(change: impl FnOnce(&mut StoreFacts<'_>)) -> Vec<Severity> {
        let member = |id: &str| Member {
            id: id.to_owned(),
            name: String::new(),
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
            is_learner: false,
        };
        let mut store = StoreFacts {
            conf_state: serde_json::from_str(r#"{"voters":[7,8,9],"auto_leave":false}"#).ok(),
            members: vec![member("1")],
            voters: [1].into(),
            ..StoreFacts::default()
        };
        change(&mut store);
        let findings = Collector::new(10);
        check_members(&store, &findings);
        let integrity = findings.into_integrity();
        assert!(integrity.findings.iter().all(|it| it.code == codes::CONF_STATE_DIFFERS.name));
        integrity.findings.iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn old_voters_are_normal_only_until_members_change() {
        assert_eq!(severities(|_| {}), [Severity::Info], "as a restore leaves it");
        assert_eq!(severities(|store| store.removed = [5].into()), [Severity::Warning]);
        assert_eq!(
            severities(|store| store.learners = [2].into()),
            [Severity::Warning, Severity::Warning],
            "voters and learners"
        );
        assert_eq!(severities(|store| store.voters = [7, 8, 9].into()), []);
    }
}
