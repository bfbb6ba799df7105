//! Whether a call that moves bytes still moves them.
//!
//! How long an upload takes depends on its size, so it has no limit of its own; standing still has one. What is waited for on
//! this side, such as a backup that is only being made, is nobody's standing still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Looks at the pace in one time of patience: standing still is noticed within a quarter more of it.
const LOOKS: u32 = 4;

/// How a call gets on. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    moves: AtomicU64,
    waiting: AtomicUsize,
}

/// While it lives, the call waits for this side.
pub(crate) struct Waiting(Pace);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.moved();
        self.0.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pace {
    /// Bytes have moved.
    pub(crate) fn moved(&self) {
        self.0.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// How often they have so far.
    pub(crate) fn moves(&self) -> u64 {
        self.0.moves.load(Ordering::Relaxed)
    }

    pub(crate) fn waiting(&self) -> Waiting {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Returns once nothing has moved for so long. Without a patience it never does.
    pub(crate) async fn stalled(&self, patience: Option<Duration>) {
        let Some(patience) = patience else { return std::future::pending().await };
        let (mut last, mut still) = (self.moves(), 0);
        loop {
            tokio::time::sleep(patience / LOOKS).await;
            let now = self.moves();
            if now != last || self.0.waiting.load(Ordering::Relaxed) > 0 {
                (last, still) = (now, 0);
                continue;
            }
            still += 1;
            if still > LOOKS {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn standing_still_counts_and_waiting_for_us_does_not() {
        let pace = Pace::default();
        pace.stalled(Some(PATIENCE)).await;
        let goes_on = |patience| tokio::time::timeout(10 * PATIENCE, pace.stalled(patience));
        let waiting = pace.waiting();
        assert!(goes_on(Some(PATIENCE)).await.is_err(), "it waits for us");
        drop(waiting);
        assert!(goes_on(None).await.is_err(), "nobody asked for a limit");
        pace.stalled(Some(PATIENCE)).await;
    }
}
