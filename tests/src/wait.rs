//! Waiting for an event, with a limit.

use std::time::{Duration, Instant};

/// How long anything a test waits for may take on a slow, busy machine: a schedule's next minute is part of it. No test's outcome depends on how much
/// of it was used.
pub const LIMIT: Duration = Duration::from_secs(150);

/// How often the outside world is looked at: it has no event to hand us.
const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `ready` gives a value.
///
/// # Panics
/// When that takes longer than [`LIMIT`]; `what` names the event.
pub fn until<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    match within(LIMIT, ready) {
        Some(value) => value,
        None => panic!("waited {LIMIT:?} in vain for {what}"),
    }
}

/// Waits until `ready` gives a value, or gives up after `limit`.
pub fn within<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(INTERVAL);
    }
}
