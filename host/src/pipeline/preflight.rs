//! Is the cluster fit to be backed up, and whom do we ask?
//!
//! Every endpoint is asked at once, each on its own connection. What is found is told, warned of or stops the run, as the
//! [`Policy`] says; the endpoints come out in the order in which the snapshot is tried.

mod judge;
mod room;

use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use room::free_bytes;

use crate::etcd::{Alarm, Certificate, Cluster, Connection, EtcdError, Member, MemberId, Status};

/// What to do about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Note it and say no more.
    Ignore,
    /// Warn, and go on.
    #[default]
    Warn,
    /// Do not take the backup.
    Stop,
}

/// What to do about each kind of finding, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A member that does not answer or is not well.
    pub unhealthy_member: Action,
    /// No member could read through the quorum.
    pub no_quorum: Action,
    /// `NOSPACE` or `CORRUPT` is raised.
    pub alarm: Action,
    /// The cluster has a learner, or only a learner can be asked.
    pub learner: Action,
    /// A member is more than `max_lag` entries behind.
    pub lag: Action,
    /// The database is past `quota_percent` of its quota.
    pub quota: Action,
    /// The scratch directory has no room for the snapshot.
    pub disk_space: Action,
    /// A certificate ends within `certificate_days`.
    pub certificate: Action,
    /// Members run different minor versions.
    pub version_skew: Action,
    /// Raft entries that a member may be behind.
    pub max_lag: u64,
    /// Part of the quota that may be used.
    pub quota_percent: u8,
    /// Days that a certificate should still hold.
    pub certificate_days: u32,
    /// Free space wanted for the scratch file, in percent of the database.
    pub free_space_percent: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            unhealthy_member: Action::Warn,
            no_quorum: Action::Warn,
            alarm: Action::Warn,
            learner: Action::Ignore,
            lag: Action::Warn,
            quota: Action::Warn,
            disk_space: Action::Stop,
            certificate: Action::Warn,
            version_skew: Action::Warn,
            max_lag: 1000,
            quota_percent: 80,
            certificate_days: 21,
            // The database grows while it is fetched.
            free_space_percent: 110,
        }
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Health of the members.
    UnhealthyMember,
    /// The quorum.
    NoQuorum,
    /// Alarms.
    Alarm,
    /// Learners.
    Learner,
    /// How far members are behind.
    Lag,
    /// Headroom of the quota.
    Quota,
    /// Room for the scratch file.
    DiskSpace,
    /// Time left on certificates.
    Certificate,
    /// Different versions.
    VersionSkew,
    /// Endpoints and members that do not match. Only ever told.
    Endpoints,
}

impl Check {
    /// The key in `[preflight]` that says what becomes of its findings; none for what is only told.
    pub fn policy_key(self) -> Option<&'static str> {
        Some(match self {
            Self::UnhealthyMember => "unhealthy_member",
            Self::NoQuorum => "no_quorum",
            Self::Alarm => "alarm",
            Self::Learner => "learner",
            Self::Lag => "lag",
            Self::Quota => "quota",
            Self::DiskSpace => "disk_space",
            Self::Certificate => "certificate",
            Self::VersionSkew => "version_skew",
            Self::Endpoints => return None,
        })
    }
}

/// What becomes of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Noted in the manifest.
    Told,
    /// Warned of.
    Warned,
    /// No backup is taken.
    Stops,
}

impl From<Action> for Effect {
    fn from(action: Action) -> Self {
        match action {
            Action::Ignore => Self::Told,
            Action::Warn => Self::Warned,
            Action::Stop => Self::Stops,
        }
    }
}

/// Something found before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightFinding {
    /// Which check found it.
    pub check: Check,
    /// What becomes of it.
    pub action: Effect,
    /// What was found.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An endpoint that answered, and how its member is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointHealth {
    /// The endpoint, as configured.
    pub endpoint: String,
    /// The member behind it.
    pub member_id: MemberId,
    /// Its name, when the member list tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Leader, follower or learner.
    pub role: Role,
    /// Whether it knows a leader, reads through the quorum and is not called corrupt.
    pub healthy: bool,
    /// Server version.
    pub version: String,
    /// Storage version, since 3.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<String>,
    /// Its newest revision.
    pub revision: i64,
    /// Raft entries behind the leader, when the leader answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Size of the database file.
    pub db_size_bytes: u64,
    /// Bytes in use in it.
    pub db_in_use_bytes: u64,
    /// The quota, told since 3.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Time its status took.
    pub round_trip_ms: u64,
    /// When the first of the server's certificates ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<Timestamp>,
}

/// What a member is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Leads.
    Leader,
    /// Votes.
    Follower,
    /// Only learns.
    Learner,
}

/// An endpoint that cannot be asked for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusableEndpoint {
    /// The endpoint, as configured.
    pub endpoint: String,
    /// Why.
    pub reason: String,
}

/// What preflight found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preflight {
    /// The cluster.
    #[serde(with = "cluster_id")]
    pub cluster_id: u64,
    /// Whom to ask for the snapshot, best first: healthy followers, the leader, then the less well. Learners only when
    /// there is nobody else.
    pub endpoints: Vec<EndpointHealth>,
    /// The others, and why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<UnusableEndpoint>,
    /// What was found.
    pub findings: Vec<PreflightFinding>,
    /// Server version of the endpoint asked first.
    pub server_version: String,
    /// Size of the largest database among the endpoints: about what will come.
    pub expected_size_bytes: u64,
    /// The quota, when a member told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Members of the cluster, learners included; 0 when no member list came.
    pub members: u64,
    /// Voting members of the cluster.
    pub voters: u64,
}

impl Preflight {
    /// Whether the cluster has one member, learners included, and that is the one we reach.
    pub fn is_of_one(&self) -> bool {
        self.members == 1 && self.endpoints.len() == 1
    }

    /// The version that this member runs.
    pub fn version_of(&self, member_id: u64) -> String {
        let member = self.endpoints.iter().find(|endpoint| endpoint.member_id.0 == member_id);
        member.map_or_else(|| self.server_version.clone(), |member| member.version.clone())
    }
}

/// Why no backup can be taken.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// No endpoint answered.
    #[error("{}", no_answer(.0))]
    NoAnswer(Vec<EtcdError>),
    /// The endpoints belong to different clusters.
    #[error("the endpoints belong to different clusters: {}", .0.join(", "))]
    SeveralClusters(Vec<String>),
    /// A finding that the policy stops at.
    #[error("{}", stopping(.0))]
    Stopped(Box<Preflight>),
}

impl PreflightError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoAnswer(errors) => errors.iter().find_map(EtcdError::hint),
            Self::SeveralClusters(_) => {
                Some("name the members of one cluster only in `endpoints`".to_owned())
            }
            Self::Stopped(preflight) => Some(way_on(&preflight.findings)),
        }
    }

    /// Whether the same run may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer(errors) => errors.iter().any(EtcdError::is_transient),
            Self::SeveralClusters(_) => false,
            Self::Stopped(_) => true,
        }
    }
}

/// What one endpoint said. `status` comes first; the rest is only there when it did.
struct Answer {
    endpoint: String,
    status: Status,
    members: Result<Vec<Member>, EtcdError>,
    read: Result<(), EtcdError>,
    certificates: Vec<Certificate>,
    round_trip_ms: u64,
}

/// Looks at every member and orders them.
///
/// `scratch` is where the snapshot will be written: a directory, there or not.
///
/// # Errors
/// Nobody answers, the endpoints belong to several clusters, or the policy stops at a finding.
pub async fn preflight(
    cluster: &Cluster,
    policy: &Policy,
    scratch: &Path,
    now: Timestamp,
) -> Result<Preflight, PreflightError> {
    let asked = futures::future::join_all(cluster.connections().iter().map(ask)).await;
    let mut answers = Vec::with_capacity(asked.len());
    let mut errors = Vec::new();
    for answer in asked {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(error) => errors.push(error),
        }
    }
    if answers.is_empty() {
        return Err(PreflightError::NoAnswer(errors));
    }
    let cluster_id = one_cluster(&answers)?;
    let view = judge::View { answers: &answers, errors: &errors, policy, now };
    let (endpoints, unusable) = judge::order(&view);
    let mut findings = judge::findings(&view, &endpoints);
    let expected_size_bytes = endpoints.iter().map(|endpoint| endpoint.db_size_bytes).max().unwrap_or(0);
    findings.extend(room::disk_space(scratch, expected_size_bytes, policy));
    if let Some(certificate) = cluster.client_certificate() {
        findings.extend(judge::client_certificate(&certificate, policy, now));
    }
    let preflight = Preflight {
        cluster_id,
        server_version: endpoints.first().map(|endpoint| endpoint.version.clone()).unwrap_or_default(),
        quota_bytes: endpoints.iter().find_map(|endpoint| endpoint.quota_bytes),
        members: view.members().len() as u64,
        voters: judge::voters(&view),
        endpoints,
        unusable,
        findings,
        expected_size_bytes,
    };
    if preflight.findings.iter().any(|finding| finding.action == Effect::Stops) {
        return Err(PreflightError::Stopped(Box::new(preflight)));
    }
    Ok(preflight)
}

async fn ask(connection: &Connection) -> Result<Answer, EtcdError> {
    let started = Instant::now();
    let status = connection.status().await?;
    let round_trip_ms = started.elapsed().as_millis() as u64;
    let quorum_read = async {
        // A learner does not serve such reads.
        if status.is_learner { Ok(()) } else { connection.read_through_quorum().await }
    };
    let (members, read, certificates) =
        futures::future::join3(connection.member_list(), quorum_read, connection.server_certificates()).await;
    Ok(Answer {
        endpoint: connection.endpoint().to_owned(),
        status,
        members,
        read,
        // The connection works, so the handshake did; at worst the days left are not told.
        certificates: certificates.unwrap_or_default(),
        round_trip_ms,
    })
}

fn one_cluster(answers: &[Answer]) -> Result<u64, PreflightError> {
    let first = answers[0].status.cluster_id;
    if answers.iter().all(|answer| answer.status.cluster_id == first) {
        return Ok(first);
    }
    let each = |answer: &Answer| format!("`{}` to `{}`", answer.endpoint, MemberId(answer.status.cluster_id));
    Err(PreflightError::SeveralClusters(answers.iter().map(each).collect()))
}

fn no_answer(errors: &[EtcdError]) -> String {
    match errors {
        [only] => only.to_string(),
        several => {
            let reasons = told_once(several.iter().map(|error| (error.to_string(), error.reason())));
            format!("none of the {} endpoints can be used: {reasons}", several.len())
        }
    }
}

/// Joins messages, or tells what they have in common when that is the same for all. Each comes in full and without its
/// endpoint.
pub(super) fn told_once(messages: impl Iterator<Item = (String, String)>) -> String {
    let (full, bare): (Vec<String>, Vec<String>) = messages.unzip();
    match bare.first() {
        Some(first) if bare.iter().all(|other| other == first) => first.clone(),
        _ => full.join("; "),
    }
}

fn stopping(preflight: &Preflight) -> String {
    let stops = preflight.findings.iter().filter(|finding| finding.action == Effect::Stops);
    let messages: Vec<&str> = stops.map(|finding| finding.message.as_str()).collect();
    format!("preflight stops the backup: {}", messages.join("; "))
}

/// What to mend, and which keys make a warning of it.
fn way_on(findings: &[PreflightFinding]) -> String {
    let stops = || findings.iter().filter(|finding| finding.action == Effect::Stops);
    let mut keys: Vec<String> = Vec::new();
    for key in stops().filter_map(|finding| finding.check.policy_key()) {
        let setting = format!("`{key} = \"warn\"`");
        if !keys.contains(&setting) {
            keys.push(setting);
        }
    }
    let relax = format!("set {} in `[preflight]` to back up all the same", keys.join(" and "));
    match stops().find_map(|finding| finding.hint.as_ref()) {
        Some(mend) => format!("{mend}; or {relax}"),
        None => relax,
    }
}

/// The cluster's id in the same form as a member's.
mod cluster_id {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::etcd::MemberId;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        MemberId(*id).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        MemberId::deserialize(deserializer).map(|id| id.0)
    }
}
