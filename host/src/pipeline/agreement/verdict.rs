//! From hashes to a verdict. Pure.

use std::collections::{BTreeMap, BTreeSet};

use etcd_snapshot::Outcome;

use super::{EtcdError, HashKv, MemberHash, MemberId, Verdict};

/// What all answers together say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conclusion {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    pub(super) odd_one_out: Option<MemberId>,
}

/// Compares one answer. `expected` holds the file's hash for each compact revision that could be computed.
pub(super) fn judge(
    endpoint: &str,
    answer: Result<HashKv, EtcdError>,
    revision: i64,
    own_compact_revision: i64,
    expected: &BTreeMap<i64, Result<u32, String>>,
) -> MemberHash {
    let unknown = |reason: String| MemberHash {
        member_id: None,
        endpoint: endpoint.to_owned(),
        hash: None,
        compact_revision: None,
        expected: None,
        verdict: Verdict::Unknown,
        reason: Some(reason),
    };
    let hash = match answer {
        Ok(hash) => hash,
        Err(error) => return unknown(error.cause.to_string()),
    };
    let compact_revision = hash.compact_revision;
    let told = |verdict, expected, reason| MemberHash {
        member_id: Some(MemberId(hash.member_id)),
        hash: Some(hash.hash),
        compact_revision: Some(compact_revision),
        expected,
        verdict,
        reason,
        endpoint: endpoint.to_owned(),
    };
    if let Some(other) = hash.hash_revision.filter(|hashed| *hashed != revision) {
        return told(
            Verdict::Unknown,
            None,
            Some(format!("it hashed revision {other} instead of {revision}")),
        );
    }
    match expected.get(&compact_revision) {
        Some(Ok(expected)) if *expected == hash.hash => told(Verdict::Agrees, Some(*expected), None),
        Some(Ok(expected)) => told(Verdict::Differs, Some(*expected), None),
        Some(Err(error)) => {
            told(Verdict::Unknown, None, Some(format!("the snapshot's own hash cannot be computed: {error}")))
        }
        None if compact_revision < own_compact_revision => {
            let reason = format!(
                "it is compacted at {compact_revision} and the snapshot at {own_compact_revision}: it lags behind"
            );
            told(Verdict::Unknown, None, Some(reason))
        }
        None => {
            let reason =
                format!("it has since compacted at {compact_revision}, above the snapshot's revision");
            told(Verdict::Unknown, None, Some(reason))
        }
    }
}

/// Why nothing can be said of a cluster of one.
pub(super) const ALONE: &str = "the cluster has one member: there is nobody to differ from";

/// Draws the conclusion.
pub(super) fn conclude(members: &[MemberHash], voters: Option<&[u64]>, from_member: u64) -> Conclusion {
    let of = |verdict: Verdict| members.iter().filter(move |member| member.verdict == verdict);
    let agreeing: BTreeSet<MemberId> = of(Verdict::Agrees).filter_map(|member| member.member_id).collect();
    let differing: Vec<&MemberHash> = of(Verdict::Differs).collect();
    if !differing.is_empty() {
        return differ(&agreeing, &differing, MemberId(from_member));
    }
    let inconclusive = |reason: String| Conclusion {
        outcome: Outcome::Inconclusive,
        reason: Some(reason),
        odd_one_out: None,
    };
    let total = voters.map_or(members.len(), <[u64]>::len);
    let voices = match voters {
        Some(voters) => voters.iter().filter(|voter| agreeing.contains(&MemberId(**voter))).count(),
        None => agreeing.len(),
    };
    let mut unknown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for member in of(Verdict::Unknown) {
        let reason = member.reason.as_deref().unwrap_or("the reason is not known");
        unknown.entry(reason).or_default().push(format!("`{}`", member.endpoint));
    }
    let unlisted = voters.map_or(0, |voters| voters.len().saturating_sub(members.len()));
    let unlisted = match unlisted {
        0 => None,
        1 => Some("1 voter is not among the endpoints".to_owned()),
        several => Some(format!("{several} voters are not among the endpoints")),
    };
    let left_out: Vec<String> = unknown
        .iter()
        .map(|(reason, endpoints)| format!("{} could not be compared: {reason}", endpoints.join(", ")))
        .chain(unlisted)
        .collect();
    let left_out = Some(left_out.join("; ")).filter(|text| !text.is_empty());
    match (voices, total) {
        (1, 1) => inconclusive(ALONE.to_owned()),
        (voices, total) if voices > total / 2 => {
            Conclusion { outcome: Outcome::Passed, reason: left_out, odd_one_out: None }
        }
        (voices, total) => {
            let counted = format!("{voices} of {total} voters agree, which is no majority");
            inconclusive(left_out.map_or(counted.clone(), |left_out| format!("{counted}: {left_out}")))
        }
    }
}

/// Somebody holds something else. With three voices or more the majority may tell who.
fn differ(agreeing: &BTreeSet<MemberId>, differing: &[&MemberHash], from: MemberId) -> Conclusion {
    let failed = |reason: String, odd_one_out: Option<MemberId>| Conclusion {
        outcome: Outcome::Failed,
        reason: Some(reason),
        odd_one_out,
    };
    let first = differing[0];
    let among_themselves = differing
        .iter()
        .all(|other| (other.hash, other.compact_revision) == (first.hash, first.compact_revision));
    if differing.iter().any(|member| member.member_id == Some(from)) {
        let others = if differing.len() > 1 && among_themselves && agreeing.is_empty() {
            "; all members hold the same, so it is the file that was changed or damaged"
        } else {
            ""
        };
        return failed(
            format!(
                "the member that the snapshot came from, `{from}`, does not hold what the snapshot holds{others}"
            ),
            None,
        );
    }
    if let ([alone], true) = (differing, agreeing.len() > 1) {
        let id = alone.member_id;
        let name = id.map_or_else(|| alone.endpoint.clone(), |id| id.to_string());
        return failed(
            format!(
                "member `{name}` (`{}`) holds other data than the others and the snapshot",
                alone.endpoint
            ),
            id,
        );
    }
    let source_alone = agreeing.len() <= 1 && agreeing.iter().all(|id| *id == from);
    if source_alone && differing.len() > 1 && among_themselves {
        return failed(
            format!("the snapshot came from member `{from}`, which holds other data than all others"),
            Some(from),
        );
    }
    let names: Vec<String> = differing.iter().map(|member| format!("`{}`", member.endpoint)).collect();
    failed(
        format!(
            "members hold different data, and no majority tells who is right: {} differ",
            names.join(", ")
        ),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(id: u64, hash: u32, compact_revision: i64) -> MemberHash {
        let expected = BTreeMap::from([(5, Ok(50)), (7, Ok(70))]);
        let answer =
            HashKv { member_id: id, hash, compact_revision, hash_revision: Some(10), newest_revision: 10 };
        judge(&format!("http://m{id}:1"), Ok(answer), 10, 5, &expected)
    }

    fn silent(id: u64) -> MemberHash {
        let error = EtcdError {
            endpoint: format!("http://m{id}:1"),
            attempt: crate::etcd::Attempt::HashKv,
            cause: crate::etcd::Cause::Refused,
        };
        judge(&format!("http://m{id}:1"), Err(error), 10, 5, &BTreeMap::new())
    }

    fn conclude_three(members: &[MemberHash]) -> Conclusion {
        conclude(members, Some(&[1, 2, 3]), 1)
    }

    #[test]
    fn each_is_compared_at_its_own_compact_revision() {
        assert_eq!(answered(1, 50, 5).verdict, Verdict::Agrees);
        assert_eq!(answered(1, 70, 7).verdict, Verdict::Agrees);
        assert_eq!(answered(1, 50, 7).verdict, Verdict::Differs);
        let lagging = answered(1, 50, 4);
        assert_eq!(lagging.verdict, Verdict::Unknown);
        assert!(lagging.reason.unwrap().ends_with("it lags behind"));
        assert!(answered(1, 50, 11).reason.unwrap().contains("has since compacted at 11"));
    }

    #[test]
    fn all_agree() {
        let conclusion = conclude_three(&[answered(1, 50, 5), answered(2, 70, 7), answered(3, 50, 5)]);
        assert_eq!(conclusion, Conclusion { outcome: Outcome::Passed, reason: None, odd_one_out: None });
    }

    #[test]
    fn a_majority_is_enough_and_says_whom_it_leaves_out() {
        let conclusion = conclude_three(&[answered(1, 50, 5), silent(2), answered(3, 50, 5)]);
        assert_eq!(conclusion.outcome, Outcome::Passed);
        assert_eq!(
            conclusion.reason.as_deref(),
            Some("`http://m2:1` could not be compared: connection refused")
        );
        let conclusion = conclude_three(&[answered(1, 50, 5)]);
        assert_eq!(conclusion.outcome, Outcome::Inconclusive);
        assert_eq!(
            conclusion.reason.as_deref(),
            Some("1 of 3 voters agree, which is no majority: 2 voters are not among the endpoints")
        );
    }

    #[test]
    fn one_member_is_inconclusive_unless_it_differs() {
        let one = conclude(&[answered(1, 50, 5)], Some(&[1]), 1);
        assert_eq!(one.outcome, Outcome::Inconclusive);
        assert!(one.reason.unwrap().starts_with("the cluster has one member"));
        let one = conclude(&[answered(1, 51, 5)], Some(&[1]), 1);
        assert_eq!(one.outcome, Outcome::Failed);
        assert!(one.reason.unwrap().contains("does not hold what the snapshot holds"));
        assert_eq!(conclude(&[silent(1)], None, 1).outcome, Outcome::Inconclusive);
    }

    #[test]
    fn the_odd_one_is_named() {
        let third = conclude_three(&[answered(1, 50, 5), answered(2, 50, 5), answered(3, 51, 5)]);
        assert_eq!((third.outcome, third.odd_one_out), (Outcome::Failed, Some(MemberId(3))));
        let source = conclude_three(&[answered(1, 50, 5), answered(2, 51, 5), answered(3, 51, 5)]);
        assert_eq!((source.outcome, source.odd_one_out), (Outcome::Failed, Some(MemberId(1))));
        let nobody = conclude_three(&[answered(1, 50, 5), answered(2, 51, 5), silent(3)]);
        assert_eq!((nobody.outcome, nobody.odd_one_out), (Outcome::Failed, None));
        assert!(nobody.reason.unwrap().contains("no majority tells who is right: `http://m2:1` differ"));
        let all = conclude_three(&[answered(1, 52, 5), answered(2, 51, 5), answered(3, 53, 5)]);
        assert_eq!((all.outcome, all.odd_one_out), (Outcome::Failed, None));
        let file = conclude_three(&[answered(1, 51, 5), answered(2, 51, 5), answered(3, 51, 5)]);
        assert!(file.reason.unwrap().ends_with("it is the file that was changed or damaged"));
    }
}
