//! Getting events out of the queue to where they are meant to go.
//!
//! Each notifier has a queue and a delivery of its own: one that hangs holds up nobody else. Events are tried in the order in which
//! they came, but one that fails waits by itself; only what is about the same problem waits with it, so that no end
//! overtakes its beginning.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use holdfast_runtime::{CallStats, Denial, Notice, Registry};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::admission::wait_after;
use super::queue::{Memory, Queue, RATE_WINDOW, Waiting, older};
use super::{Event, Means, Notifier, email};
use crate::pipeline::store::with_causes;
use crate::session::Clock;

/// The longest time between two looks at a queue: a command may have left something there.
const LOOK: Duration = Duration::from_secs(5);

/// Gives the plugins as they are now.
pub type Plugins = Arc<dyn Fn() -> Arc<Registry> + Send + Sync>;

/// One attempt, and how it ended.
#[derive(Debug, Serialize)]
pub struct Attempt {
    /// What the far end said, or why it has not got the event.
    pub result: Result<Receipt, Undelivered>,
    /// What a plugin's call used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

/// The far end has taken an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// One line.
    pub summary: String,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
}

/// An event was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{message}")]
pub struct Undelivered {
    /// For programs: the kind of the failure, and the plugin's own code where there is one.
    pub code: String,
    /// For a person.
    pub message: String,
    /// What to do, where we know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether trying again may help.
    pub may_pass: bool,
    /// How long to wait at least, as the far end asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Undelivered {
    /// It may do better later.
    pub fn later(code: &str, message: impl Into<String>) -> Undelivered {
        Undelivered {
            code: code.to_owned(),
            message: message.into(),
            hint: None,
            may_pass: true,
            retry_after: None,
        }
    }

    /// It never will.
    pub fn never(code: &str, message: impl Into<String>) -> Undelivered {
        Undelivered { may_pass: false, ..Undelivered::later(code, message) }
    }

    /// With a next step.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Undelivered {
        self.hint = hint;
        self
    }
}

/// What a plugin's call was, and used.
#[derive(Debug, Serialize)]
pub struct Call {
    /// The plugin's own version.
    pub version: String,
    /// Its digest.
    pub sha256: String,
    /// What the call used.
    pub used: CallStats,
    /// What it asked for and was refused.
    pub denied: Vec<Denial>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

/// Tries to deliver one event, once.
pub async fn attempt(
    notifier: &Notifier,
    event: &Event,
    attempts_before: u32,
    registry: &Registry,
) -> Attempt {
    match &notifier.means {
        Means::Plugin { plugin, config, granted } => {
            let plugin = match registry.plugin(plugin) {
                Ok(plugin) => plugin,
                // It may be put there yet.
                Err(error) => {
                    let result = Err(Undelivered::later("rejected", error.to_string()).hint(error.hint()));
                    return Attempt { result, call: None };
                }
            };
            let grants = match granted.read() {
                Ok(grants) => grants,
                Err(error) => {
                    let result = Err(Undelivered::later("secret", with_causes(&error)).hint(error.hint()));
                    return Attempt { result, call: None };
                }
            };
            let run = plugin.notify(&notice(event, attempts_before), config, &grants).await;
            let result = match run.result {
                Ok(receipt) => Ok(Receipt { summary: receipt.summary, attributes: receipt.attributes }),
                Err(error) => Err(Undelivered {
                    code: format!("{}/{}", error.kind, error.code),
                    hint: error.hint().map(str::to_owned).or_else(|| hint_of(&run.denied)),
                    message: error.message,
                    may_pass: run.may_pass,
                    retry_after: run.retry_after,
                }),
            };
            let call = Call {
                version: plugin.version().to_owned(),
                sha256: plugin.sha256().to_owned(),
                used: run.stats,
                denied: run.denied,
                stderr: run.stderr,
            };
            Attempt { result, call: Some(call) }
        }
        Means::Email(options) => Attempt { result: email::send(options, event).await, call: None },
    }
}

fn hint_of(denied: &[Denial]) -> Option<String> {
    denied.iter().find_map(|denial| denial.hint.clone())
}

/// The event as plugins see it.
pub fn notice(event: &Event, attempts_before: u32) -> Notice {
    let mut attributes = event.facts();
    attributes.push(("attempt".to_owned(), (attempts_before + 1).to_string()));
    Notice {
        id: event.id.clone(),
        time: event.time.to_string(),
        kind: event.kind.name().to_owned(),
        severity: event.severity().to_string(),
        summary: event.summary.clone(),
        cluster: event.cluster.clone(),
        cloudevent: event.cloudevent().to_string(),
        attributes,
    }
}

/// What one pass over a queue came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Events that were delivered.
    pub delivered: usize,
    /// Events that are still there.
    pub waiting: usize,
    /// When the first of them is due; none when nothing waits.
    pub next: Option<Timestamp>,
    /// Another process is at it.
    pub busy: bool,
}

/// Delivers what is due, until nothing is or `cancel`.
pub async fn deliver_due(
    notifier: &Notifier,
    queue: &Queue,
    plugins: &Plugins,
    clock: Clock,
    cancel: &CancellationToken,
) -> io::Result<Pass> {
    let mut pass = Pass::default();
    let Some(_turn) = blocking(queue, Queue::turn).await? else {
        pass.waiting = blocking(queue, Queue::waiting).await?.len();
        pass.busy = pass.waiting > 0;
        return Ok(pass);
    };
    loop {
        let (waiting, memory) = blocking(queue, |queue| Ok((queue.waiting()?, queue.memory()?))).await?;
        pass.waiting = waiting.len();
        let now = clock();
        let one = match next(notifier, &waiting, &memory, now) {
            Next::Nothing => {
                pass.next = None;
                return Ok(pass);
            }
            Next::At(time) => {
                pass.next = Some(time);
                return Ok(pass);
            }
            Next::Due(index) => waiting[index].clone(),
        };
        // A clock that was set back makes nothing old.
        let is_old = one.item.queued <= now && older(one.item.queued, now, notifier.give_up_after);
        if is_old && one.item.attempts > 0 {
            let why = one.item.last_error.clone().unwrap_or_default();
            tracing::error!(notifier = notifier.name, event = %one.item.event.kind, attempts = one.item.attempts, reason = why, "a notification is given up: it could not be delivered in time");
            blocking(queue, move |queue| queue.give_up(&one, &why, now)).await?;
            continue;
        }
        let registry = plugins();
        let trying = attempt(notifier, &one.item.event, one.item.attempts, &registry);
        let attempt = tokio::select! {
            attempt = trying => attempt,
            () = cancel.cancelled() => return Ok(pass),
        };
        if settle(notifier, queue, one, attempt, clock()).await? {
            pass.delivered += 1;
        }
    }
}

/// Takes an attempt's outcome into the queue. Says whether the event was delivered.
async fn settle(
    notifier: &Notifier,
    queue: &Queue,
    one: Waiting,
    attempt: Attempt,
    now: Timestamp,
) -> io::Result<bool> {
    let (name, event, attempts) = (&notifier.name, one.item.event.kind, one.item.attempts + 1);
    match attempt.result {
        Ok(receipt) => {
            tracing::info!(notifier = name, %event, attempts, answer = receipt.summary, "notified");
            blocking(queue, move |queue| queue.delivered(&one, now)).await?;
            Ok(true)
        }
        Err(error) if error.may_pass => {
            let wait = wait_after(attempts, error.retry_after);
            tracing::warn!(notifier = name, %event, attempts, code = error.code, reason = error.message, hint = error.hint, again_in = ?wait, "not notified yet");
            let due = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok());
            let due = due.unwrap_or(Timestamp::MAX);
            blocking(queue, move |queue| queue.put_off(&one, due, &error.message, now)).await?;
            Ok(false)
        }
        Err(error) => {
            tracing::error!(notifier = name, %event, attempts, code = error.code, reason = error.message, hint = error.hint, "not notified, and not tried again");
            blocking(queue, move |queue| queue.give_up(&one, &error.message, now)).await?;
            Ok(false)
        }
    }
}

/// What the agent says to a delivery.
#[derive(Debug, Clone)]
pub struct Signals {
    /// Something was queued.
    pub wake: Arc<Notify>,
    /// Nothing more will be queued: deliver what is due, and end.
    pub last: CancellationToken,
    /// End now.
    pub give_up: CancellationToken,
}

/// Delivers as long as the agent lives.
pub async fn follow(notifier: Notifier, queue: Queue, plugins: Plugins, clock: Clock, signals: Signals) {
    let Signals { wake, last, give_up } = signals;
    loop {
        // Looked at before the queue is: a pass that begins after it sees all that was queued.
        let is_last = last.is_cancelled();
        let next = match deliver_due(&notifier, &queue, &plugins, clock, &give_up).await {
            Ok(pass) => pass.next,
            Err(error) => {
                tracing::error!(notifier = notifier.name, %error, "the queue of notifications cannot be used");
                None
            }
        };
        if is_last || give_up.is_cancelled() {
            return;
        }
        let until = next.and_then(|next| Duration::try_from(next.duration_since(clock())).ok());
        let sleep = until.unwrap_or(LOOK).min(LOOK).max(Duration::from_millis(50));
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
            () = last.cancelled() => {}
            () = give_up.cancelled() => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Due(usize),
    At(Timestamp),
    Nothing,
}

/// Which of the waiting is tried now, or when the first will be.
fn next(notifier: &Notifier, waiting: &[Waiting], memory: &Memory, now: Timestamp) -> Next {
    let mut held: BTreeSet<&str> = BTreeSet::new();
    let mut first: Option<Timestamp> = None;
    let mut due = None;
    for (index, one) in waiting.iter().enumerate() {
        // Of a problem only the first is looked at.
        let free = one.item.event.status.problem().is_none_or(|problem| held.insert(problem));
        if !free {
            continue;
        }
        // A clock that was set back must not make an event wait for the time that it was before.
        let is_due = one.item.due <= now || one.item.queued > now;
        if is_due {
            due = Some(index);
            break;
        }
        first = Some(first.map_or(one.item.due, |first| first.min(one.item.due)));
    }
    let Some(due) = due else { return first.map_or(Next::Nothing, Next::At) };
    let recent = memory.recent.iter().filter(|time| !older(**time, now, RATE_WINDOW));
    let recent: Vec<&Timestamp> = recent.collect();
    if recent.len() < notifier.per_hour as usize {
        return Next::Due(due);
    }
    let window = SignedDuration::try_from(RATE_WINDOW).unwrap_or(SignedDuration::MAX);
    let free = recent[recent.len() - notifier.per_hour as usize].checked_add(window);
    Next::At(free.unwrap_or(Timestamp::MAX))
}

/// Does the queue's work where it may wait for the disk.
async fn blocking<T: Send + 'static>(
    queue: &Queue,
    work: impl FnOnce(&Queue) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let queue = queue.clone();
    tokio::task::spawn_blocking(move || work(&queue)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::admission::tests::notifier;
    use super::super::queue::Item;
    use super::*;

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    fn waiting(event: Event, queued: i64, due: i64) -> Waiting {
        Waiting::of(Item { due: time(due), ..Item::new(event, time(queued)) })
    }

    fn event(kind: Kind, problem: Option<&str>) -> Event {
        let event = Event::new(kind, "prod", time(0), "x");
        match problem {
            Some(problem) if kind.name().ends_with("resolved") => event.resolved(problem),
            Some(problem) => event.firing(problem),
            None => event,
        }
    }

    #[test]
    fn an_end_waits_for_its_beginning_and_others_do_not() {
        let queue = [
            waiting(event(Kind::BackupFailed, Some("backup")), 0, 60),
            waiting(event(Kind::BackupResolved, Some("backup")), 1, 1),
            waiting(event(Kind::AgentStarted, None), 2, 2),
        ];
        let (notifier, memory) = (notifier(&["*"]), Memory::default());
        assert_eq!(next(&notifier, &queue, &memory, time(3)), Next::Due(2));
        assert_eq!(next(&notifier, &queue[..2], &memory, time(3)), Next::At(time(60)));
        assert_eq!(next(&notifier, &queue[..2], &memory, time(60)), Next::Due(0));
        assert_eq!(next(&notifier, &queue[1..], &memory, time(60)), Next::Due(0));
        assert_eq!(next(&notifier, &[], &memory, time(60)), Next::Nothing);
    }

    #[test]
    fn more_than_so_many_an_hour_wait() {
        let queue = [waiting(event(Kind::AgentStarted, None), 0, 0)];
        let notifier = Notifier { per_hour: 2, ..notifier(&["*"]) };
        let memory = Memory { recent: [time(0), time(10), time(20)].into(), ..Memory::default() };
        assert_eq!(next(&notifier, &queue, &memory, time(30)), Next::At(time(3610)));
        assert_eq!(next(&notifier, &queue, &memory, time(3610)), Next::Due(0));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_waiting() {
        let queue = [waiting(event(Kind::AgentStarted, None), 5000, 6000)];
        assert_eq!(next(&notifier(&["*"]), &queue, &Memory::default(), time(0)), Next::Due(0));
    }
}
