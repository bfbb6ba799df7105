//! From what the members said to an order and to findings. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    Action, Alarm, Answer, Certificate, Check, Effect, EndpointHealth, EtcdError, Member, Policy,
    PreflightFinding, Role, UnusableEndpoint,
};
use crate::etcd::MemberId;
use crate::units::format_size;

/// All that is known when judging.
pub(super) struct View<'a> {
    pub(super) answers: &'a [Answer],
    pub(super) errors: &'a [EtcdError],
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
}

impl View<'_> {
    pub(super) fn members(&self) -> &[Member] {
        self.answers.iter().find_map(|answer| answer.members.as_deref().ok()).unwrap_or_default()
    }

    fn name(&self, id: u64) -> Option<&str> {
        let member = self.members().iter().find(|member| member.id == id)?;
        Some(member.name.as_str()).filter(|name| !name.is_empty())
    }

    /// How a member is called in messages: by its name, or its id.
    fn call(&self, id: u64) -> String {
        self.name(id).map_or_else(|| format!("`{}`", MemberId(id)), |name| format!("`{name}`"))
    }

    fn alarms(&self) -> BTreeSet<&Alarm> {
        self.answers.iter().flat_map(|answer| &answer.status.alarms).collect()
    }

    fn is_corrupt(&self, id: u64) -> bool {
        self.alarms().iter().any(|alarm| alarm.member_id.0 == id && alarm.alarm == "CORRUPT")
    }

    /// The raft index that others are measured by: the leader's, when it answered.
    fn leader_index(&self) -> Option<u64> {
        let leader = self.answers.iter().find(|answer| answer.status.leader == answer.status.member_id)?;
        Some(leader.status.raft_applied_index)
    }
}

/// Voting members, by the member list, or at least those that answered.
pub(super) fn voters(view: &View<'_>) -> u64 {
    match view.members() {
        [] => view.answers.iter().filter(|answer| !answer.status.is_learner).count() as u64,
        members => members.iter().filter(|member| !member.is_learner).count() as u64,
    }
}

/// Whom to ask, best first, and whom not to.
pub(super) fn order(view: &View<'_>) -> (Vec<EndpointHealth>, Vec<UnusableEndpoint>) {
    let mut unusable: Vec<UnusableEndpoint> = Vec::new();
    let mut known: BTreeMap<u64, &str> = BTreeMap::new();
    let mut endpoints = Vec::new();
    for answer in view.answers {
        if let Some(other) = known.get(&answer.status.member_id) {
            let reason = format!("it leads to the same member as `{other}`");
            unusable.push(UnusableEndpoint { endpoint: answer.endpoint.clone(), reason });
        } else {
            known.insert(answer.status.member_id, &answer.endpoint);
            endpoints.push(health(view, answer));
        }
    }
    if endpoints.iter().any(|endpoint| endpoint.role != Role::Learner) {
        endpoints.retain(|endpoint| {
            let learner = endpoint.role == Role::Learner;
            if learner {
                let reason = "its member is a learner".to_owned();
                unusable.push(UnusableEndpoint { endpoint: endpoint.endpoint.clone(), reason });
            }
            !learner
        });
    }
    unusable.extend(
        view.errors.iter().map(|error| UnusableEndpoint {
            endpoint: error.endpoint.clone(),
            reason: error.cause.to_string(),
        }),
    );
    // Stable: among equals the configuration's order holds.
    endpoints.sort_by_key(|endpoint| rank(view, endpoint));
    (endpoints, unusable)
}

fn health(view: &View<'_>, answer: &Answer) -> EndpointHealth {
    let status = &answer.status;
    let role = if status.is_learner {
        Role::Learner
    } else if status.leader == status.member_id {
        Role::Leader
    } else {
        Role::Follower
    };
    EndpointHealth {
        endpoint: answer.endpoint.clone(),
        member_id: MemberId(status.member_id),
        name: view.name(status.member_id).map(str::to_owned),
        role,
        healthy: status.leader != 0 && answer.read.is_ok() && !view.is_corrupt(status.member_id),
        version: status.version.clone(),
        storage_version: status.storage_version.clone(),
        revision: status.revision,
        lag: view.leader_index().map(|index| index.saturating_sub(status.raft_applied_index)),
        db_size_bytes: status.db_size_bytes,
        db_in_use_bytes: status.db_in_use_bytes,
        quota_bytes: status.quota_bytes,
        round_trip_ms: answer.round_trip_ms,
        certificate_not_after: answer.certificates.iter().map(|certificate| certificate.not_after).min(),
    }
}

fn rank(view: &View<'_>, endpoint: &EndpointHealth) -> u8 {
    let lags = endpoint.lag.is_some_and(|lag| lag > view.policy.max_lag);
    match endpoint.role {
        _ if view.is_corrupt(endpoint.member_id.0) => 4,
        _ if !endpoint.healthy => 3,
        _ if lags => 2,
        Role::Leader => 1,
        Role::Follower | Role::Learner => 0,
    }
}

/// Everything worth saying about the members.
pub(super) fn findings(view: &View<'_>, endpoints: &[EndpointHealth]) -> Vec<PreflightFinding> {
    let mut found = Vec::new();
    unhealthy(view, &mut found);
    quorum(view, &mut found);
    alarms(view, &mut found);
    learners(view, endpoints, &mut found);
    lag(view, endpoints, &mut found);
    quota(view, endpoints, &mut found);
    server_certificates(view, &mut found);
    version_skew(view, &mut found);
    unlisted(view, &mut found);
    found
}

fn finding(check: Check, action: impl Into<Effect>, message: String, hint: Option<&str>) -> PreflightFinding {
    PreflightFinding { check, action: action.into(), message, hint: hint.map(str::to_owned) }
}

fn unhealthy(view: &View<'_>, found: &mut Vec<PreflightFinding>) {
    let action = view.policy.unhealthy_member;
    for error in view.errors {
        let hint = error.hint();
        found.push(finding(Check::UnhealthyMember, action, error.to_string(), hint.as_deref()));
    }
    let any_reads = reads(view);
    for answer in view.answers {
        let member = view.call(answer.status.member_id);
        match &answer.read {
            // When nobody reads, that is one finding about the quorum and not one for each member.
            Err(error) if any_reads => {
                let message = format!("member {member} does not decide with the others: {error}");
                found.push(finding(Check::UnhealthyMember, action, message, error.hint().as_deref()));
            }
            _ => {}
        }
        for complaint in answer.status.complaints.iter().filter(|text| !text.contains("no leader")) {
            let message = format!("member {member} reports `{complaint}`");
            found.push(finding(Check::UnhealthyMember, action, message, None));
        }
        // A learner does not tell the members.
        if let Err(error) = &answer.members
            && !answer.status.is_learner
        {
            found.push(finding(Check::UnhealthyMember, action, error.to_string(), error.hint().as_deref()));
        }
    }
    for member in view.members().iter().filter(|member| member.name.is_empty()) {
        let message = format!("member `{}` was added and has never started", MemberId(member.id));
        let hint = "start it, or remove it with `etcdctl member remove`";
        found.push(finding(Check::UnhealthyMember, action, message, Some(hint)));
    }
}

/// Whether some voter read through the quorum.
fn reads(view: &View<'_>) -> bool {
    view.answers.iter().any(|answer| !answer.status.is_learner && answer.read.is_ok())
}

fn quorum(view: &View<'_>, found: &mut Vec<PreflightFinding>) {
    let voters = voters(view);
    let answered = view.answers.iter().filter(|answer| !answer.status.is_learner);
    let alive: BTreeSet<u64> = answered.map(|answer| answer.status.member_id).collect();
    let alive = alive.len() as u64;
    if alive == 0 {
        let message = "only learners answer, so the quorum is not known".to_owned();
        let hint = "name the voting members in `endpoints`";
        found.push(finding(Check::NoQuorum, view.policy.no_quorum, message, Some(hint)));
    } else if !reads(view) {
        let why = view.answers.iter().find_map(|answer| answer.read.as_ref().err());
        let why = why.map(|error| format!(": {}", error.cause)).unwrap_or_default();
        let message = format!("no member reads through the quorum ({alive} of {voters} voters answer){why}");
        let hint = "a snapshot of one member is still possible, and may miss what the others had agreed on";
        found.push(finding(Check::NoQuorum, view.policy.no_quorum, message, Some(hint)));
    } else if view.errors.len() as u64 + alive >= voters && alive == voters / 2 + 1 && voters > alive {
        let message = format!("{alive} of {voters} voters answer: one failure more stops the cluster");
        found.push(finding(Check::NoQuorum, Action::Ignore, message, None));
    }
}

fn alarms(view: &View<'_>, found: &mut Vec<PreflightFinding>) {
    for alarm in view.alarms() {
        let member = view.call(alarm.member_id.0);
        let hint = match alarm.alarm.as_str() {
            "NOSPACE" => {
                Some("compact and defragment, then `etcdctl alarm disarm`; until then etcd takes no writes")
            }
            "CORRUPT" => {
                Some("its data differs from the others': replace the member before you trust a backup of it")
            }
            _ => None,
        };
        let message = format!("alarm `{}` is raised for member {member}", alarm.alarm);
        found.push(finding(Check::Alarm, view.policy.alarm, message, hint));
    }
}

fn learners(view: &View<'_>, endpoints: &[EndpointHealth], found: &mut Vec<PreflightFinding>) {
    for member in view.members().iter().filter(|member| member.is_learner) {
        let message =
            format!("member {} is a learner: it is not asked for the snapshot", view.call(member.id));
        if endpoints.iter().all(|endpoint| endpoint.member_id.0 != member.id) {
            let hint = "promote it with `etcdctl member promote` once it has caught up, or remove it";
            found.push(finding(Check::Learner, view.policy.learner, message, Some(hint)));
        }
    }
    if let Some(learner) = endpoints.first().filter(|endpoint| endpoint.role == Role::Learner) {
        let action = Effect::from(view.policy.learner).max(Effect::Warned);
        let message = format!(
            "only learner {} can be asked for the snapshot: it may be far behind the voters",
            view.call(learner.member_id.0)
        );
        found.push(finding(Check::Learner, action, message, Some("name the voting members in `endpoints`")));
    }
}

fn lag(view: &View<'_>, endpoints: &[EndpointHealth], found: &mut Vec<PreflightFinding>) {
    for endpoint in endpoints {
        if let Some(lag) = endpoint.lag.filter(|lag| *lag > view.policy.max_lag) {
            let member = view.call(endpoint.member_id.0);
            let message = format!(
                "member {member} is {lag} entries behind the leader, more than {}",
                view.policy.max_lag
            );
            found.push(finding(
                Check::Lag,
                view.policy.lag,
                message,
                Some("look at its disk and its network"),
            ));
        }
    }
}

fn quota(view: &View<'_>, endpoints: &[EndpointHealth], found: &mut Vec<PreflightFinding>) {
    for endpoint in endpoints {
        let Some(quota) = endpoint.quota_bytes else { continue };
        let percent = u128::from(endpoint.db_size_bytes) * 100 / u128::from(quota);
        if percent >= u128::from(view.policy.quota_percent) {
            let message = format!(
                "member {} uses {percent} % of its quota: {} of {}, {} of it in use",
                view.call(endpoint.member_id.0),
                format_size(endpoint.db_size_bytes),
                format_size(quota),
                format_size(endpoint.db_in_use_bytes)
            );
            let hint = "compact and defragment, or raise `--quota-backend-bytes`";
            found.push(finding(Check::Quota, view.policy.quota, message, Some(hint)));
        }
    }
}

fn server_certificates(view: &View<'_>, found: &mut Vec<PreflightFinding>) {
    for answer in view.answers {
        let first = answer.certificates.iter().min_by_key(|certificate| certificate.not_after);
        if let Some(certificate) = first {
            let of = format!("the server certificate of `{}`", answer.endpoint);
            found.extend(days_left(&of, certificate, view.policy, view.now));
        }
    }
}

/// Judges the client certificate by its file.
pub(super) fn client_certificate(
    certificate: &Result<Certificate, EtcdError>,
    policy: &Policy,
    now: Timestamp,
) -> Option<PreflightFinding> {
    match certificate {
        Ok(certificate) => days_left("the client certificate", certificate, policy, now),
        Err(error) => Some(finding(
            Check::Certificate,
            policy.certificate,
            error.cause.to_string(),
            error.hint().as_deref(),
        )),
    }
}

fn days_left(
    of: &str,
    certificate: &Certificate,
    policy: &Policy,
    now: Timestamp,
) -> Option<PreflightFinding> {
    let days = certificate.days_left(now);
    if days > i64::from(policy.certificate_days) {
        return None;
    }
    let on = certificate.not_after.strftime("%Y-%m-%d");
    let when = match days {
        ..0 => format!("has expired on {on}"),
        0 => format!("ends within a day, on {on}"),
        1 => format!("ends in 1 day, on {on}"),
        _ => format!("ends in {days} days, on {on}"),
    };
    let message = format!("{of} (`{}`) {when}", certificate.subject);
    Some(finding(Check::Certificate, policy.certificate, message, Some("renew it")))
}

fn version_skew(view: &View<'_>, found: &mut Vec<PreflightFinding>) {
    let minor = |version: &str| version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let minors: BTreeSet<String> = view.answers.iter().map(|answer| minor(&answer.status.version)).collect();
    let versions: BTreeSet<&str> = view.answers.iter().map(|answer| answer.status.version.as_str()).collect();
    if versions.len() < 2 {
        return;
    }
    let each: Vec<String> = view
        .answers
        .iter()
        .map(|answer| format!("{} runs {}", view.call(answer.status.member_id), answer.status.version))
        .collect();
    let action = if minors.len() > 1 { view.policy.version_skew } else { Action::Ignore };
    let message = format!("the members run different versions: {}", each.join(", "));
    found.push(finding(Check::VersionSkew, action, message, Some("finish the upgrade")));
}

/// Members that the cluster has and the configuration does not name.
fn unlisted(view: &View<'_>, found: &mut Vec<PreflightFinding>) {
    let answered: BTreeSet<u64> = view.answers.iter().map(|answer| answer.status.member_id).collect();
    for member in
        view.members().iter().filter(|member| !member.name.is_empty() && !answered.contains(&member.id))
    {
        let silent = view
            .errors
            .iter()
            .any(|error| member.client_urls.iter().any(|url| same_url(url, &error.endpoint)));
        // An endpoint that does not answer may be this member under another address.
        if !silent && view.errors.is_empty() {
            let message = format!(
                "member `{}` is not among the `endpoints`: neither its health nor its agreement is checked",
                member.name
            );
            let hint = member.client_urls.first().map(|url| format!("add `{url}` to `endpoints`"));
            found.push(finding(Check::Endpoints, Action::Ignore, message, hint.as_deref()));
        }
    }
}

fn same_url(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

#[cfg(test)]
mod tests;
