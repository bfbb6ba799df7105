//! What stays and what goes, by example and by property.

use proptest::prelude::*;

use super::*;

fn policy() -> Policy {
    Policy {
        last: None,
        periods: BTreeMap::new(),
        timezone: TimeZone::UTC,
        max_age: None,
        max_size_bytes: None,
        orphan_grace: Duration::from_hours(24),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn candidate(time: &str) -> Candidate {
    Candidate {
        id: BackupId::new(at(time), 7),
        stored_bytes: 10,
        proof: Proof::Passed,
        pinned: None,
        locked_until: None,
        needs: Vec::new(),
    }
}

/// The times of the backups that stay, oldest first.
fn kept(candidates: &[Candidate], policy: &Policy, now: &str) -> Vec<String> {
    let mut decisions = plan(candidates, policy, at(now));
    decisions.reverse();
    let kept = decisions.into_iter().filter(|decision| decision.keep);
    kept.map(|decision| decision.id.time().to_string()).collect()
}

fn hours(from: &str, count: i64) -> Vec<Candidate> {
    let from = at(from);
    (0..count)
        .map(|hour| {
            candidate(&from.saturating_add(jiff::SignedDuration::from_hours(hour)).unwrap().to_string())
        })
        .collect()
}

#[test]
fn without_rules_everything_stays() {
    let decisions = plan(&hours("2026-11-01T00:30:00Z", 50), &policy(), at("2026-11-21T00:00:00Z"));
    assert!(decisions.iter().all(|decision| decision.keep && decision.reasons.contains(&Reason::NoRule)));
}

#[test]
fn rules_count_periods_that_have_backups() {
    let mut rules = policy();
    rules.last = Some(2);
    rules.periods = BTreeMap::from([(Period::Daily, 2), (Period::Weekly, 2)]);
    // Sunday 8 to Wednesday 11 November, then a gap, then one on Saturday 21.
    let mut backups = hours("2026-11-08T22:30:00Z", 50);
    backups.push(candidate("2026-11-21T02:00:00Z"));
    assert_eq!(
        kept(&backups, &rules, "2026-11-21T03:00:00Z"),
        ["2026-11-10T23:30:00Z", "2026-11-21T02:00:00Z"]
    );
    let decisions = plan(&backups, &rules, at("2026-11-21T03:00:00Z"));
    let why: Vec<String> = decisions.iter().take(3).map(Decision::why).collect();
    assert_eq!(
        why,
        [
            "newest proved, last 2, daily 2026-11-21, weekly 2026-W47",
            "last 2, daily 2026-11-10, weekly 2026-W46",
            "no rule counts it",
        ]
    );
}

#[test]
fn days_begin_where_the_operator_lives() {
    let mut rules = policy();
    rules.periods = BTreeMap::from([(Period::Daily, 2)]);
    let backups = ["2026-11-19T22:30:00Z", "2026-11-19T23:30:00Z", "2026-11-20T22:30:00Z"].map(candidate);
    assert_eq!(
        kept(&backups, &rules, "2026-11-21T00:00:00Z"),
        ["2026-11-19T23:30:00Z", "2026-11-20T22:30:00Z"]
    );
    rules.timezone = TimeZone::get("Europe/Berlin").unwrap();
    assert_eq!(
        kept(&backups, &rules, "2026-11-21T00:00:00Z"),
        ["2026-11-19T22:30:00Z", "2026-11-20T22:30:00Z"],
        "23:30 UTC is the next day in Berlin"
    );
}

#[test]
fn the_hour_that_a_clock_change_repeats_counts_twice() {
    let mut rules = policy();
    rules.periods = BTreeMap::from([(Period::Hourly, 3)]);
    rules.timezone = TimeZone::get("Europe/Berlin").unwrap();
    // 02:30 summer time, 02:30 winter time, 03:30 winter time.
    let backups = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"].map(candidate);
    assert_eq!(kept(&backups, &rules, "2026-10-26T00:00:00Z").len(), 3);
}

#[test]
fn a_good_backup_stands_for_its_period() {
    let mut rules = policy();
    rules.periods = BTreeMap::from([(Period::Daily, 2)]);
    let mut backups = ["2026-11-19T01:00:00Z", "2026-11-19T02:00:00Z", "2026-11-20T02:00:00Z"].map(candidate);
    backups[1].proof = Proof::Failed;
    assert_eq!(
        kept(&backups, &rules, "2026-11-21T00:00:00Z"),
        ["2026-11-19T01:00:00Z", "2026-11-20T02:00:00Z"]
    );
    backups[0].proof = Proof::Failed;
    assert_eq!(
        kept(&backups, &rules, "2026-11-21T00:00:00Z"),
        ["2026-11-19T02:00:00Z", "2026-11-20T02:00:00Z"],
        "when all are bad the newest stands for the period"
    );
}

#[test]
fn a_bad_backup_takes_no_place_among_the_last() {
    let mut rules = policy();
    rules.last = Some(2);
    let mut backups = hours("2026-11-20T00:00:00Z", 4);
    backups[2].proof = Proof::Failed;
    assert_eq!(kept(&backups, &rules, "2026-11-21T00:00:00Z").len(), 3);
}

#[test]
fn caps_spare_what_is_guarded() {
    let mut rules = policy();
    rules.max_age = Some(Duration::from_hours(24));
    let mut backups = hours("2026-11-01T00:00:00Z", 3);
    backups[0].pinned = Some(Pinned { reason: Some("before the upgrade".to_owned()), until: None });
    let decisions = plan(&backups, &rules, at("2026-11-21T00:00:00Z"));
    let why: Vec<(bool, String)> = decisions.iter().map(|one| (one.keep, one.why())).collect();
    assert_eq!(
        why,
        [
            (true, "newest proved, no rule counts backups (although: older than 1d)".to_owned()),
            (false, "older than 1d (although: no rule counts backups)".to_owned()),
            (
                true,
                "pinned (before the upgrade), no rule counts backups (although: older than 1d)".to_owned()
            ),
        ]
    );
    rules.max_age = None;
    rules.max_size_bytes = Some(25);
    assert_eq!(
        kept(&backups, &rules, "2026-11-21T00:00:00Z"),
        ["2026-11-01T00:00:00Z", "2026-11-01T02:00:00Z"]
    );
}

#[test]
fn pins_and_locks_end() {
    let mut rules = policy();
    rules.last = Some(1);
    let mut backups = hours("2026-11-01T00:00:00Z", 3);
    let until = at("2026-11-20T00:00:00Z");
    backups[0].pinned = Some(Pinned { reason: None, until: Some(until) });
    backups[1].locked_until = Some(until);
    assert_eq!(kept(&backups, &rules, "2026-11-19T00:00:00Z").len(), 3);
    assert_eq!(kept(&backups, &rules, "2026-11-20T00:00:00Z"), ["2026-11-01T02:00:00Z"]);
}

#[test]
fn what_others_build_on_stays_and_goes_with_them() {
    let mut rules = policy();
    rules.last = Some(1);
    let mut backups = hours("2026-11-01T00:00:00Z", 4);
    backups[3].needs = vec![backups[2].id.clone()];
    backups[2].needs = vec![backups[0].id.clone()];
    assert_eq!(
        kept(&backups, &rules, "2026-11-21T00:00:00Z"),
        ["2026-11-01T00:00:00Z", "2026-11-01T02:00:00Z", "2026-11-01T03:00:00Z"]
    );
    backups[3].needs.clear();
    assert_eq!(kept(&backups, &rules, "2026-11-21T00:00:00Z"), ["2026-11-01T03:00:00Z"]);
}

prop_compose! {
    fn any_candidate()(
        hour in 0_i64..2000,
        stored_bytes in 0_u64..100,
        proof in prop_oneof![1 => Just(Proof::Failed), 1 => Just(Proof::Unknown), 4 => Just(Proof::Passed)],
        pinned in proptest::option::weighted(0.1, proptest::option::of(0_i64..2500)),
        locked in proptest::option::weighted(0.1, 0_i64..2500),
        needs in proptest::collection::vec(0_usize..40, 0..2),
    ) -> (i64, u64, Proof, Option<Option<i64>>, Option<i64>, Vec<usize>) {
        (hour, stored_bytes, proof, pinned, locked, needs)
    }
}

fn hour(hour: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + 3600 * hour).unwrap()
}

prop_compose! {
    /// Backups of three months; some build on older ones.
    fn any_store()(raw in proptest::collection::vec(any_candidate(), 0..40), chains in any::<bool>()) -> Vec<Candidate> {
        let mut store: Vec<Candidate> = raw.iter().enumerate().map(|(index, (at, stored_bytes, proof, pinned, locked, _))| Candidate {
            id: BackupId::new(hour(*at), index as i64),
            stored_bytes: *stored_bytes,
            proof: *proof,
            pinned: pinned.map(|until| Pinned { reason: None, until: until.map(hour) }),
            locked_until: locked.map(hour),
            needs: Vec::new(),
        }).collect();
        let ids: Vec<BackupId> = store.iter().map(|candidate| candidate.id.clone()).collect();
        for (candidate, (.., needs)) in store.iter_mut().zip(&raw) {
            if chains {
                candidate.needs = needs.iter().filter_map(|index| ids.get(*index)).filter(|id| **id < candidate.id).cloned().collect();
            }
        }
        store
    }
}

prop_compose! {
    fn any_policy()(
        last in proptest::option::of(1_u32..10),
        periods in proptest::collection::btree_map(proptest::sample::select(&Period::ALL[..]), 1_u32..6, 0..4),
        max_age in proptest::option::of(1_u64..2000),
        max_size_bytes in proptest::option::of(1_u64..2000),
        zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"]),
    ) -> Policy {
        Policy {
            last,
            periods,
            timezone: TimeZone::get(zone).unwrap(),
            max_age: max_age.map(Duration::from_hours),
            max_size_bytes,
            orphan_grace: Duration::from_hours(24),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever the store and the rules: what must not go does not go.
    #[test]
    fn nothing_that_is_needed_goes(store in any_store(), policy in any_policy(), now in 0_i64..2500) {
        let now = hour(now);
        let decisions = plan(&store, &policy, now);
        prop_assert_eq!(decisions.len(), store.len(), "each backup is decided on, once");
        let kept: BTreeSet<&BackupId> = decisions.iter().filter(|one| one.keep).map(|one| &one.id).collect();
        let newest = store.iter().max_by_key(|candidate| &candidate.id);
        let newest_proved = store.iter().filter(|one| one.proof == Proof::Passed).max_by_key(|one| &one.id);
        if let Some(proved) = newest_proved {
            prop_assert!(kept.contains(&proved.id), "the newest proved backup went");
        }
        if let Some(newest) = newest {
            prop_assert!(kept.contains(&newest.id), "the newest backup went");
            if newest.proof != Proof::Passed {
                prop_assert_eq!(kept.len(), store.len(), "something went after a run that was not proved");
            }
        }
        for candidate in &store {
            let pinned = candidate.pinned.as_ref().is_some_and(|pin| pin.until.is_none_or(|until| until > now));
            let locked = candidate.locked_until.is_some_and(|until| until > now);
            if pinned || locked || candidate.id.time() > now {
                prop_assert!(kept.contains(&candidate.id), "a guarded backup went: {:?}", candidate);
            }
            if kept.contains(&candidate.id) {
                for base in &candidate.needs {
                    prop_assert!(kept.contains(base), "the base of a kept backup went: {:?}", candidate);
                }
            }
        }
        for decision in &decisions {
            prop_assert!(!decision.reasons.is_empty(), "no reason is told: {:?}", decision);
        }
    }

    /// What stays stays: a second run right after the first removes nothing more. Caps on size and age aside, time alone
    /// removes nothing either.
    #[test]
    fn a_second_run_finds_nothing_to_do(store in any_store(), policy in any_policy(), now in 0_i64..2500) {
        let now = hour(now);
        let kept: BTreeSet<BackupId> =
            plan(&store, &policy, now).into_iter().filter(|one| one.keep).map(|one| one.id).collect();
        let rest: Vec<Candidate> = store.into_iter().filter(|one| kept.contains(&one.id)).collect();
        let again = plan(&rest, &policy, now);
        let gone: Vec<_> = again.iter().filter(|one| !one.keep).collect();
        prop_assert!(gone.is_empty(), "{:?}", gone);
    }
}
