use super::*;
use crate::etcd::Status;

fn answer(member_id: u64, leader: u64) -> Answer {
    Answer {
        endpoint: format!("http://m{member_id}:2379"),
        status: Status {
            cluster_id: 9,
            member_id,
            revision: 100,
            version: "3.6.14".to_owned(),
            storage_version: Some("3.6.0".to_owned()),
            db_size_bytes: 1000,
            db_in_use_bytes: 500,
            quota_bytes: Some(10_000),
            leader,
            raft_index: 5000,
            raft_applied_index: 5000,
            raft_term: 2,
            is_learner: false,
            alarms: Vec::new(),
            complaints: Vec::new(),
        },
        members: Ok((1..=3).map(member).collect()),
        read: Ok(()),
        certificates: Vec::new(),
        round_trip_ms: 1,
    }
}

fn member(id: u64) -> Member {
    Member { id, name: format!("m{id}"), client_urls: vec![format!("http://m{id}:2379")], is_learner: false }
}

fn three() -> Vec<Answer> {
    vec![answer(1, 1), answer(2, 1), answer(3, 1)]
}

fn judge(answers: &[Answer], errors: &[EtcdError], policy: &Policy) -> (Vec<u64>, Vec<PreflightFinding>) {
    let view = View { answers, errors, policy, now: Timestamp::UNIX_EPOCH };
    let (endpoints, _) = order(&view);
    let found = findings(&view, &endpoints);
    (endpoints.iter().map(|endpoint| endpoint.member_id.0).collect(), found)
}

fn checks(found: &[PreflightFinding]) -> Vec<(Check, Effect)> {
    found.iter().map(|finding| (finding.check, finding.action)).collect()
}

fn failure(endpoint: &str) -> EtcdError {
    crate::etcd::EtcdError {
        endpoint: endpoint.to_owned(),
        attempt: crate::etcd::Attempt::Status,
        cause: crate::etcd::Cause::Refused,
    }
}

#[test]
fn followers_come_before_the_leader() {
    let (order, found) = judge(&three(), &[], &Policy::default());
    assert_eq!(order, [2, 3, 1]);
    assert_eq!(found, []);
}

#[test]
fn a_dead_member_is_a_warning_and_not_a_stop() {
    let (order, found) = judge(&three()[..2], &[failure("http://m3:2379")], &Policy::default());
    assert_eq!(order, [2, 1]);
    assert_eq!(checks(&found), [(Check::UnhealthyMember, Effect::Warned), (Check::NoQuorum, Effect::Told)]);
    assert!(found[1].message.contains("2 of 3 voters"));
}

#[test]
fn laggards_come_after_the_leader() {
    let mut answers = three();
    answers[1].status.raft_applied_index = 10;
    let (order, found) = judge(&answers, &[], &Policy::default());
    assert_eq!(order, [3, 1, 2]);
    assert_eq!(checks(&found), [(Check::Lag, Effect::Warned)]);
    assert!(found[0].message.starts_with("member `m2` is 4990 entries behind"));
}

#[test]
fn a_corrupt_member_comes_last() {
    let mut answers = three();
    for answer in &mut answers {
        answer.status.alarms = vec![Alarm { member_id: MemberId(2), alarm: "CORRUPT".to_owned() }];
    }
    let policy = Policy { alarm: Action::Stop, ..Policy::default() };
    let (order, found) = judge(&answers, &[], &policy);
    assert_eq!(order, [3, 1, 2]);
    assert_eq!(checks(&found), [(Check::Alarm, Effect::Stops)], "told once, whoever knows of it");
}

#[test]
fn a_learner_is_asked_only_when_alone() {
    let mut answers = three();
    answers[2].status.is_learner = true;
    for answer in &mut answers {
        if let Ok(members) = &mut answer.members {
            members[2].is_learner = true;
        }
    }
    let (order, found) = judge(&answers, &[], &Policy::default());
    assert_eq!(order, [2, 1]);
    assert_eq!(checks(&found), [(Check::Learner, Effect::Told)]);

    let (order, found) = judge(&answers[2..], &[], &Policy::default());
    assert_eq!(order, [3]);
    assert!(checks(&found).contains(&(Check::Learner, Effect::Warned)), "{found:?}");
    assert!(checks(&found).contains(&(Check::NoQuorum, Effect::Warned)), "{found:?}");
}

#[test]
fn every_stop_tells_a_way_on() {
    let mut answers = three();
    answers[2].status.is_learner = true;
    for answer in &mut answers {
        answer.status.alarms = vec![Alarm { member_id: MemberId(2), alarm: "NEWER".to_owned() }];
        if let Ok(members) = &mut answer.members {
            members[2].is_learner = true;
        }
    }
    let stop = |policy: Policy| {
        let (_, found) = judge(&answers, &[], &policy);
        assert!(found.iter().any(|finding| finding.action == Effect::Stops), "{found:?}");
        super::super::way_on(&found)
    };
    let ignore = Policy { alarm: Action::Ignore, ..Policy::default() };
    assert_eq!(
        stop(Policy { learner: Action::Stop, ..ignore }),
        "promote it with `etcdctl member promote` once it has caught up, or remove it; or set `learner = \"warn\"` in \
         `[preflight]` to back up all the same"
    );
    assert_eq!(
        stop(Policy { alarm: Action::Stop, ..Policy::default() }),
        "set `alarm = \"warn\"` in `[preflight]` to back up all the same"
    );
    let both = stop(Policy { alarm: Action::Stop, learner: Action::Stop, ..Policy::default() });
    assert!(both.contains("`alarm = \"warn\"` and `learner = \"warn\"`"), "{both}");
}

#[test]
fn a_lost_quorum_is_one_finding() {
    let mut answers = three();
    for answer in &mut answers {
        answer.status.leader = 0;
        answer.read = Err(failure(&answer.endpoint));
    }
    let (order, found) = judge(&answers, &[], &Policy::default());
    assert_eq!(order, [1, 2, 3]);
    assert_eq!(checks(&found), [(Check::NoQuorum, Effect::Warned)]);
}

#[test]
fn two_endpoints_of_one_member_count_once() {
    let mut answers = three();
    answers[1].status.member_id = 1;
    let view =
        View { answers: &answers, errors: &[], policy: &Policy::default(), now: Timestamp::UNIX_EPOCH };
    let (endpoints, unusable) = order(&view);
    assert_eq!(endpoints.len(), 2);
    assert_eq!(unusable[0].reason, "it leads to the same member as `http://m1:2379`");
}

#[test]
fn members_that_are_not_configured_are_told() {
    let (_, found) = judge(&three()[..2], &[], &Policy::default());
    assert_eq!(checks(&found), [(Check::Endpoints, Effect::Told)]);
    assert_eq!(found[0].hint.as_deref(), Some("add `http://m3:2379` to `endpoints`"));
}

#[test]
fn quota_and_versions() {
    let mut answers = three();
    answers[0].status.db_size_bytes = 8_000;
    answers[1].status.version = "3.5.33".to_owned();
    let (_, found) = judge(&answers, &[], &Policy::default());
    assert_eq!(checks(&found), [(Check::Quota, Effect::Warned), (Check::VersionSkew, Effect::Warned)]);
    answers[0].status.db_size_bytes = 7_999;
    answers[1].status.version = "3.6.13".to_owned();
    let (_, found) = judge(&answers, &[], &Policy::default());
    assert_eq!(
        checks(&found),
        [(Check::VersionSkew, Effect::Told)],
        "patches differ while a cluster is restarted"
    );
}

#[test]
fn certificates_near_their_end() {
    let ends = |days: i64| Certificate {
        subject: "CN=etcd".to_owned(),
        issuer: "CN=ca".to_owned(),
        not_before: Timestamp::UNIX_EPOCH,
        not_after: Timestamp::from_second(days * 86_400).unwrap(),
    };
    let policy = Policy::default();
    let judge = |days| client_certificate(&Ok(ends(days)), &policy, Timestamp::from_second(86_400).unwrap());
    assert!(judge(23).is_none());
    let finding = judge(22).unwrap();
    assert_eq!(finding.message, "the client certificate (`CN=etcd`) ends in 21 days, on 1970-01-23");
    assert!(judge(0).unwrap().message.ends_with("has expired on 1970-01-01"));
}
