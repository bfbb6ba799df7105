//! What a notifier is told, and what not: a schedule that fails every minute is one problem, not sixty messages an hour.
//!
//! Pure: the notifier, what it was told so far, an event, the time.

use std::time::Duration;

use jiff::Timestamp;

use super::queue::{Memory, Told, older};
use super::{Event, Kind, Notifier, Status};

/// Problems that one notifier knows of. Of more, the one that was told longest ago is forgotten.
const MOST_PROBLEMS: usize = 1000;

/// Whether a notifier is told of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It is told this.
    Tell(Event),
    /// It did not ask for it.
    NotWanted,
    /// It was told of the same not long ago.
    Held,
}

/// Decides on one event, and remembers it.
pub fn decide(notifier: &Notifier, memory: &mut Memory, event: &Event, now: Timestamp) -> Decision {
    let wanted = notifier.when.includes(event.kind);
    let told = match &event.status {
        Status::Once if wanted => event.clone(),
        Status::Once => return Decision::NotWanted,
        Status::Firing { problem } => {
            if !wanted && !wants_end_of(notifier, event.kind) {
                return Decision::NotWanted;
            }
            let known = memory.problems.get_mut(problem);
            let same =
                known.filter(|known| known.kind == event.kind && !older(known.at, now, notifier.remind));
            if let Some(known) = same {
                known.held += 1;
                return Decision::Held;
            }
            let known = memory.problems.get(problem);
            let held = known.map_or(0, |known| known.held);
            let since = known.map_or(event.time, |known| known.since);
            memory.problems.insert(problem.clone(), Told { kind: event.kind, since, at: now, held: 0 });
            forget(memory);
            if !wanted {
                return Decision::NotWanted;
            }
            counted(event.clone(), held).maybe("since", (since != event.time).then_some(since))
        }
        Status::Resolved { problem } => {
            let Some(known) = memory.problems.remove(problem) else { return Decision::NotWanted };
            let was_told = notifier.when.includes(known.kind) && notifier.resolved;
            if !was_told && !wanted {
                return Decision::NotWanted;
            }
            counted(event.clone(), known.held)
                .attribute("resolves", known.kind)
                .attribute("since", known.since)
        }
    };
    let dropped = std::mem::take(&mut memory.dropped_untold);
    Decision::Tell(told.maybe("dropped", (dropped > 0).then_some(dropped)))
}

/// Whether it asked for the end of such problems, without their beginning.
fn wants_end_of(notifier: &Notifier, kind: Kind) -> bool {
    kind.resolved().is_some_and(|resolved| notifier.when.includes(resolved))
}

fn counted(event: Event, held: u64) -> Event {
    event.maybe("repeated", (held > 0).then_some(held))
}

fn forget(memory: &mut Memory) {
    while memory.problems.len() > MOST_PROBLEMS {
        let oldest =
            memory.problems.iter().min_by_key(|(_, told)| told.at).map(|(problem, _)| problem.clone());
        let Some(oldest) = oldest else { return };
        memory.problems.remove(&oldest);
    }
}

/// The longest a notifier lets a far end make it wait.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The wait after the first failure, and the longest that grows from it.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const SLOWEST: Duration = Duration::from_mins(15);

/// How long to wait after so many failures; longer if the far end asks for it.
pub fn wait_after(attempts: u32, asked: Option<Duration>) -> Duration {
    let grown = FIRST_WAIT.saturating_mul(3_u32.saturating_pow(attempts.saturating_sub(1))).min(SLOWEST);
    grown.max(asked.unwrap_or_default().min(LONGEST_WAIT))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::{Means, Pattern, When};
    use super::*;
    use crate::config::Granted;

    pub(in crate::notify) fn notifier(when: &[&str]) -> Notifier {
        Notifier {
            name: "oncall".to_owned(),
            when: When(when.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect()),
            means: Means::Plugin {
                plugin: "slack".to_owned(),
                config: json!({}),
                granted: Granted::default(),
            },
            remind: Duration::from_hours(6),
            resolved: true,
            give_up_after: Duration::from_hours(24),
            per_hour: 60,
        }
    }

    fn time(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minutes).expect("a time")
    }

    fn failed(minutes: i64) -> Event {
        Event::new(Kind::BackupFailed, "prod", time(minutes), "no backup").firing("backup")
    }

    fn over(minutes: i64) -> Event {
        Event::new(Kind::BackupResolved, "prod", time(minutes), "a backup").resolved("backup")
    }

    fn told(decision: Decision) -> Event {
        match decision {
            Decision::Tell(event) => event,
            other => panic!("it is not told: {other:?}"),
        }
    }

    #[test]
    fn a_problem_is_told_once_then_again_after_a_while_then_its_end() {
        let (notifier, mut memory) = (notifier(&["backup.failed"]), Memory::default());
        told(decide(&notifier, &mut memory, &failed(0), time(0)));
        for minute in 1..360 {
            assert_eq!(decide(&notifier, &mut memory, &failed(minute), time(minute)), Decision::Held);
        }
        let reminder = told(decide(&notifier, &mut memory, &failed(360), time(360)));
        assert_eq!(reminder.attributes["repeated"], "359");
        assert_eq!(reminder.attributes["since"], time(0).to_string());
        let end = told(decide(&notifier, &mut memory, &over(400), time(400)));
        assert_eq!(end.attributes["resolves"], "backup.failed");
        assert_eq!(decide(&notifier, &mut memory, &over(401), time(401)), Decision::NotWanted, "once");
        told(decide(&notifier, &mut memory, &failed(402), time(402)));
    }

    #[test]
    fn what_gets_worse_is_told_at_once() {
        let (notifier, mut memory) = (notifier(&["verify.*"]), Memory::default());
        let event = |kind, minute| Event::new(kind, "prod", time(minute), "x").firing("verify");
        told(decide(&notifier, &mut memory, &event(Kind::VerifyInconclusive, 0), time(0)));
        told(decide(&notifier, &mut memory, &event(Kind::VerifyFailed, 1), time(1)));
        assert_eq!(decide(&notifier, &mut memory, &event(Kind::VerifyFailed, 2), time(2)), Decision::Held);
    }

    #[test]
    fn the_end_of_what_was_not_told_is_not_told() {
        let mut memory = Memory::default();
        assert_eq!(decide(&notifier(&["verify.*"]), &mut memory, &failed(0), time(0)), Decision::NotWanted);
        assert_eq!(decide(&notifier(&["verify.*"]), &mut memory, &over(1), time(1)), Decision::NotWanted);
        let silent = Notifier { resolved: false, ..notifier(&["backup.failed"]) };
        told(decide(&silent, &mut memory, &failed(2), time(2)));
        assert_eq!(decide(&silent, &mut memory, &over(3), time(3)), Decision::NotWanted);
        // Who asks for ends alone gets ends alone.
        let ends = notifier(&["*.resolved"]);
        assert_eq!(decide(&ends, &mut memory, &failed(4), time(4)), Decision::NotWanted);
        told(decide(&ends, &mut memory, &over(5), time(5)));
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nothing() {
        let (notifier, mut memory) = (notifier(&["backup.*"]), Memory::default());
        told(decide(&notifier, &mut memory, &failed(600), time(600)));
        told(decide(&notifier, &mut memory, &failed(0), time(0)));
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let waits: Vec<u64> = (1..=8).map(|attempts| wait_after(attempts, None).as_secs()).collect();
        assert_eq!(waits, [5, 15, 45, 135, 405, 900, 900, 900]);
        assert_eq!(wait_after(1, Some(Duration::from_secs(30))), Duration::from_secs(30));
        assert_eq!(wait_after(1, Some(Duration::from_hours(99))), LONGEST_WAIT);
        assert_eq!(wait_after(u32::MAX, None), SLOWEST);
    }
}
