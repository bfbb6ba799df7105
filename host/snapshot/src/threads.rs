//! Work shared between the machine's cores, with scoped threads alone.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this wait for memory, not for a core.
const MAX_THREADS: usize = 16;

/// Threads worth starting.
pub(crate) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS)
}

/// Runs `work` for 0, 1, … `count - 1` at once, one thread each, and gives the results in that order.
pub(crate) fn map<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if count == 1 {
        return vec![work(0)];
    }
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|index| scope.spawn(move || work(index))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Runs `work` for each of `count` pieces on `threads` threads, which take the next piece when they are done with one.
/// Results come in the order of the pieces.
pub(crate) fn map_pieces<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    /// Pieces taken at once, so that neighbours in the file stay on one thread.
    const STRIDE: usize = 4;
    let next = AtomicUsize::new(0);
    let parts = map(threads.clamp(1, count.max(1)), |_| {
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(STRIDE, Ordering::Relaxed);
            if start >= count {
                return done;
            }
            done.extend((start..count.min(start + STRIDE)).map(|piece| (piece, work(piece))));
        }
    });
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    for (piece, result) in parts.into_iter().flatten() {
        results[piece] = Some(result);
    }
    results.into_iter().flatten().collect()
}
