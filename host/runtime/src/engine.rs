//! The one compiler and executor that all plugins share, and the clock that interrupts them.
//!
//! What plugins do not need is switched off here: 64-bit memories, threads (not even compiled in), garbage-collected
//! types, the asynchronous component ABI. Every function that a guest runs checks an epoch counter at loop heads and
//! calls; a ticker thread advances it, but only while a call is under way, so an idle agent has no timer.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::{Config, EngineWeak};

/// One step of the epoch clock: the longest that a busy plugin keeps a thread before it yields.
const TICK: Duration = Duration::from_millis(10);
/// Room for the guest's own calls. Overflow is a trap, not a fault.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// The whole stack of a guest's fiber: the guest's part and what host functions need above it.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// The engine with its ticker. Cheap to clone; the ticker ends with the last clone.
#[derive(Clone)]
pub(crate) struct Engine {
    inner: wasmtime::Engine,
    ticker: Arc<Ticker>,
}

impl Engine {
    /// # Errors
    /// When this machine cannot run compiled code (unknown processor, no executable memory) or start a thread.
    pub(crate) fn new() -> wasmtime::Result<Engine> {
        let inner = wasmtime::Engine::new(&config())?;
        let ticker = Ticker::start(inner.weak())?;
        Ok(Engine { inner, ticker: Arc::new(ticker) })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Keeps the epoch clock running until dropped. Every call of a guest holds one.
    pub(crate) fn running(&self) -> Running {
        self.ticker.shared.enter();
        Running { shared: Arc::clone(&self.ticker.shared) }
    }

    /// Distinguishes compiled code of other versions, targets and settings.
    pub(crate) fn compatibility(&self) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(self.inner.precompile_compatibility_hash())
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES);
    config
}

/// A call is under way.
pub(crate) struct Running {
    shared: Arc<TickerState>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

struct Ticker {
    shared: Arc<TickerState>,
}

impl Ticker {
    fn start(engine: EngineWeak) -> wasmtime::Result<Ticker> {
        let shared = Arc::new(TickerState::default());
        let state = Arc::clone(&shared);
        thread::Builder::new().name("plugin-epochs".into()).spawn(move || {
            while state.wait_for_work() {
                thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else { break };
                engine.increment_epoch();
            }
        })?;
        Ok(Ticker { shared })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

#[derive(Default)]
struct TickerState {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    calls: usize,
    closed: bool,
}

impl TickerState {
    /// Nothing under this lock can panic half-way, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) {
        let mut work = self.lock();
        work.calls += 1;
        if work.calls == 1 {
            self.changed.notify_all();
        }
    }

    fn leave(&self) {
        let mut work = self.lock();
        work.calls = work.calls.saturating_sub(1);
    }

    /// Sleeps while no call is under way. False: the engine is gone.
    fn wait_for_work(&self) -> bool {
        let mut work = self.lock();
        while work.calls == 0 && !work.closed {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        !work.closed
    }
}
