//! The rate limit: a bucket that fills with time and is emptied by bytes.

use std::time::{Duration, Instant};

/// How much may come at once after a pause.
const BURST: Duration = Duration::from_millis(200);

/// Holds a flow of bytes to a rate.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When everything taken so far is paid for. In the past: there is credit, of a burst at most.
    paid_at: Option<Instant>,
}

impl Pace {
    /// `bytes_per_second` of 0 counts as 1: a limit, not a stop.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_at: None }
    }

    /// Takes `bytes` at `now` and tells how long to wait before going on.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        let credit_from = now.checked_sub(BURST).unwrap_or(now);
        let from = self.paid_at.map_or(credit_from, |paid_at| paid_at.max(credit_from));
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let paid_at = from + cost;
        self.paid_at = Some(paid_at);
        paid_at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time() {
        let mut pace = Pace::new(1000);
        let start = Instant::now();
        let mut now = start;
        for _ in 0..100 {
            now += pace.take(100, now);
        }
        // 10 000 bytes at 1000 a second, less the burst at the beginning.
        assert_eq!(now - start + BURST, Duration::from_secs(10));
    }

    #[test]
    fn a_pause_gives_one_burst_and_no_more() {
        let mut pace = Pace::new(1000);
        let start = Instant::now() + Duration::from_secs(1);
        pace.take(100, start);
        let later = start + Duration::from_hours(1);
        assert_eq!(pace.take(200, later), Duration::ZERO);
        assert_eq!(pace.take(100, later), Duration::from_millis(100));
    }
}
