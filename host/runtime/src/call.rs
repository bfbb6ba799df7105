//! One call of a guest: a fresh store, every limit set, and whatever happens told apart.
//!
//! A store is never used twice: nothing leaks from one call to the next, and a guest that trapped could not be called
//! again anyway. Four bounds hold at the same time, because each misses something that another sees: epochs stop a guest
//! that computes, the wall clock one that waits, processor time one that alternates, and counters one that asks too much.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::sync::Semaphore;
use wasmtime::component::{ResourceTable, ResourceTableError};
use wasmtime::{FrameInfo, Store, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::capability::database::Allowance;
use crate::capability::http::{HttpOptions, HttpState};
use crate::capability::state::StateFolder;
use crate::engine::Engine;
use crate::error::{CallError, CallErrorKind};
use crate::grants::{Denial, Grants, Redactor};
use crate::ledger::Ledger;
use crate::limits::{self, Limits, MemoryLimiter};
use crate::output::{Output, Source};
use crate::pace::Pace;
use crate::text;

/// Names kept of a trap's call stack.
const BACKTRACE_FRAMES: usize = 12;
/// How much of a guest's own last words goes into the error's message.
const LAST_WORDS_BYTES: usize = 500;
/// Random bytes that one call of WASI may ask for.
const RANDOM_BYTES: u64 = 1 << 20;
/// What data handed over in one call may take in the host, for each byte of the report's limit: a short string costs
/// more than its bytes.
const CALL_DATA_FACTOR: u64 = 4;

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallStats {
    /// Wall time.
    pub elapsed: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// The most memory that the guest had at one time, in bytes.
    pub peak_memory_bytes: u64,
    /// Rows of the snapshot handed to the guest.
    pub rows: u64,
    /// Bytes of keys and values handed to the guest.
    pub bytes: u64,
    /// Calls of host functions.
    pub host_calls: u64,
    /// Lines of log and output passed on.
    pub log_lines: u64,
    /// Lines dropped over the log limit.
    pub log_lines_dropped: u64,
    /// HTTP requests that were granted.
    pub http_requests: u64,
    /// Bytes of their bodies.
    pub http_sent_bytes: u64,
    /// Bytes of the bodies of the answers.
    pub http_received_bytes: u64,
    /// How often something was asked for that is not granted.
    pub denied: u64,
}

/// What surrounds all calls of all plugins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    /// How HTTP requests leave.
    pub(crate) http: Arc<HttpOptions>,
    /// Where state is kept, if any is.
    pub(crate) state_folder: Option<PathBuf>,
    /// Where calls are counted.
    pub(crate) ledger: Ledger,
}

/// What one call may reach beyond its input. The default is nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    /// What is granted, and wanted by the plugin.
    pub(crate) grants: Grants,
    pub(crate) outside: Outside,
}

/// What a guest's host functions work on.
pub(crate) struct CallState {
    pub(crate) table: ResourceTable,
    pub(crate) output: Output,
    pub(crate) meter: Meter,
    pub(crate) grants: Grants,
    pub(crate) http: HttpState,
    pub(crate) state: StateFolder,
    pub(crate) pace: Pace,
    pub(crate) database: Allowance,
    /// Who may have a snapshot's rows gathered on another thread: one cursor at a time.
    pub(crate) read_ahead: Arc<Semaphore>,
    wasi: WasiCtx,
    memory: MemoryLimiter,
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Counts what a guest asks of the host.
pub(crate) struct Meter {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Processor time that was spent for the guest on other threads.
    pub(crate) cpu_elsewhere: Duration,
    host_calls: u64,
    host_calls_limit: u64,
    pub(crate) denials: Denials,
}

impl Meter {
    /// Counts one host call.
    ///
    /// # Errors
    /// When there were too many; the guest ends with it.
    pub(crate) fn host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.host_calls_limit {
            return Err(Stop::HostCalls(self.host_calls_limit).into());
        }
        Ok(())
    }
}

/// Different refusals of one call that are kept; the others are only counted.
const DENIALS: usize = 32;

/// What was asked for in one call and refused. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Denials(Arc<Mutex<Refused>>);

#[derive(Default)]
struct Refused {
    kept: Vec<Denial>,
    count: u64,
}

impl Denials {
    pub(crate) fn add(&self, denial: Denial) {
        let mut refused = self.lock();
        refused.count += 1;
        let same = |known: &&mut Denial| (&known.asked, &known.reason) == (&denial.asked, &denial.reason);
        if let Some(known) = refused.kept.iter_mut().find(same) {
            known.times += 1;
        } else if refused.kept.len() < DENIALS {
            refused.kept.push(denial);
        }
    }

    fn last(&self) -> Option<Denial> {
        self.lock().kept.last().cloned()
    }

    /// Those that were kept, and how many there were.
    fn taken(&self) -> (Vec<Denial>, u64) {
        let mut refused = self.lock();
        (std::mem::take(&mut refused.kept), refused.count)
    }

    /// Every change under this lock is whole at each point where it could panic, so a poisoned one is still usable.
    fn lock(&self) -> MutexGuard<'_, Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a guest by the host's will.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("used up its processor time ({0:?})")]
    Cpu(Duration),
    #[error("used up its time ({0:?})")]
    WallClock(Duration),
    #[error("moved no bytes for {0:?}")]
    Stalled(Duration),
    #[error("made more than {0} host calls")]
    HostCalls(u64),
    #[error("handed over a filter of {0} bytes; at most {1} are allowed")]
    Filter(usize, usize),
}

/// How a call ended, and what it used.
pub(crate) struct Finished<R> {
    pub(crate) result: Result<R, CallError>,
    pub(crate) stats: CallStats,
    pub(crate) stderr: String,
    pub(crate) denied: Vec<Denial>,
    /// For the words in `result`, which are still as the guest wrote them.
    pub(crate) redactor: Redactor,
}

impl<R> Finished<R> {
    /// A call that was not made.
    pub(crate) fn refused(error: CallError) -> Finished<R> {
        Finished {
            result: Err(error),
            stats: CallStats::default(),
            stderr: String::new(),
            denied: Vec::new(),
            redactor: Redactor::default(),
        }
    }
}

/// A guest's work on its store.
pub(crate) type Work<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// Runs `work` on a fresh store under `limits`, with nothing within reach but `reach`. `plugin` names it in logs.
pub(crate) async fn run<R>(
    engine: &Engine,
    plugin: &str,
    limits: &Limits,
    reach: Reach,
    work: impl for<'a> FnOnce(&'a mut Store<CallState>) -> Work<'a, R>,
) -> Finished<R> {
    let started = Instant::now();
    let mut cpu = Duration::ZERO;
    let redactor = reach.grants.redactor();
    let mut store = new_store(engine, plugin, limits, reach, redactor.clone());
    let running = engine.running();
    let pace = store.data().pace.clone();
    let ended = within_time(work(&mut store), limits, &pace, &mut cpu).await;
    drop(running);

    let state = store.into_data();
    let written = state.output.finish();
    let (http_requests, http_sent_bytes, http_received_bytes) = state.http.used();
    let result = ended.map_err(|error| explain(&error, &state, limits, &written.stderr));
    let (denied, times_denied) = state.meter.denials.taken();
    let stats = CallStats {
        elapsed: started.elapsed(),
        cpu: cpu + state.meter.cpu_elsewhere,
        peak_memory_bytes: state.memory.peak_bytes(),
        rows: state.meter.rows,
        bytes: state.meter.bytes,
        host_calls: state.meter.host_calls,
        log_lines: written.lines,
        log_lines_dropped: written.dropped,
        http_requests,
        http_sent_bytes,
        http_received_bytes,
        denied: times_denied,
    };
    Finished { result, stats, stderr: written.stderr, denied, redactor }
}

fn new_store(
    engine: &Engine,
    plugin: &str,
    limits: &Limits,
    reach: Reach,
    redactor: Redactor,
) -> Store<CallState> {
    let Reach { grants, outside } = reach;
    let output = Output::new(plugin, limits.log_bytes, redactor);
    let denials = Denials::default();
    let pace = Pace::default();
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles as usize);
    let wasi = WasiCtx::builder()
        .stdout(output.stream(Source::Stdout))
        .stderr(output.stream(Source::Stderr))
        .max_random_size(RANDOM_BYTES)
        .build();
    let state = CallState {
        table,
        output,
        meter: Meter {
            rows: 0,
            bytes: 0,
            cpu_elsewhere: Duration::ZERO,
            host_calls: 0,
            host_calls_limit: limits.host_calls,
            denials: denials.clone(),
        },
        http: HttpState::new(grants.allow().clone(), outside.http, limits, denials, pace.clone()),
        pace,
        state: StateFolder::new(outside.state_folder.as_deref(), plugin),
        database: Allowance::default(),
        read_ahead: Arc::new(Semaphore::new(1)),
        grants,
        wasi,
        memory: MemoryLimiter::new(limits.memory_bytes),
    };
    let mut store = Store::new(engine.wasmtime(), state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(call_data_bytes(limits) as usize);
    store.set_max_component_handles(limits.handles as usize);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
    store
}

fn call_data_bytes(limits: &Limits) -> u64 {
    limits.report_bytes.saturating_mul(CALL_DATA_FACTOR).max(limits::CALL_DATA_BYTES)
}

/// Drives `work` until it ends or its wall or processor time is over. A guest that computes yields at every tick of the
/// epoch clock, so both are seen within two ticks.
async fn within_time<R>(
    work: Work<'_, R>,
    limits: &Limits,
    pace: &Pace,
    cpu: &mut Duration,
) -> wasmtime::Result<R> {
    let mut work = pin!(work);
    let (mut moves, mut before_move) = (pace.moves(), Duration::ZERO);
    let metered = std::future::poll_fn(|context| {
        let before = thread_cpu_time();
        let polled = work.as_mut().poll(context);
        *cpu += thread_cpu_time().saturating_sub(before);
        if limits.stall.is_some() && pace.moves() != moves {
            (moves, before_move) = (pace.moves(), *cpu);
        }
        match polled {
            Poll::Pending if cpu.saturating_sub(before_move) > limits.cpu => {
                Poll::Ready(Err(Stop::Cpu(limits.cpu).into()))
            }
            other => other,
        }
    });
    let moving = async {
        tokio::select! {
            ended = metered => ended,
            () = pace.stalled(limits.stall) => {
                Err(Stop::Stalled(limits.stall.unwrap_or_default()).into())
            }
        }
    };
    match tokio::time::timeout(limits.timeout, moving).await {
        Ok(ended) => ended,
        Err(_) => Err(Stop::WallClock(limits.timeout).into()),
    }
}

/// The processor time of the thread that asks.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Says in which way a guest ended, most telling evidence first.
fn explain(error: &wasmtime::Error, state: &CallState, limits: &Limits, stderr: &str) -> CallError {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return explain_stop(stop);
    }
    let full = matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full));
    if full || mentions(error, "handle limit exceeded") {
        let message = format!("holds more than {} open handles at once", limits.handles);
        return CallError::new(CallErrorKind::OutOfMemory, "handles", message);
    }
    if mentions(error, "fuel allocated for hostcalls") {
        let message = format!("handed over more than {} bytes in one call", call_data_bytes(limits));
        return CallError::new(CallErrorKind::Rejected, "call-data", message);
    }
    let backtrace = backtrace(error);
    let (code, what) = match describe_trap(error) {
        ("memory-out-of-bounds", _) if recurses(&backtrace) => {
            ("stack-overflow", "trapped (it calls itself until its stack is full)".to_owned())
        }
        described => described,
    };
    let mut explained = if let Some(wanted) = state.memory.refused() {
        let message = format!("needed {wanted} bytes of memory; its limit is {}", limits.memory_bytes);
        CallError::new(CallErrorKind::OutOfMemory, "memory", message)
    } else if let Some(denied) = state.meter.denials.last() {
        CallError::new(
            CallErrorKind::Denied,
            denied.grant,
            format!("{what} after it was denied {}: {}", denied.asked, denied.reason),
        )
    } else {
        CallError::new(CallErrorKind::Trap, code, what)
    };
    if let Some(words) = last_words(stderr) {
        explained.message = format!("{}: {words}", explained.message);
    }
    explained.backtrace = backtrace;
    explained
}

fn explain_stop(stop: &Stop) -> CallError {
    let (kind, code) = match stop {
        Stop::Cpu(_) => (CallErrorKind::Timeout, "cpu"),
        Stop::WallClock(_) => (CallErrorKind::Timeout, "wall-clock"),
        Stop::Stalled(_) => (CallErrorKind::Timeout, "stalled"),
        Stop::HostCalls(_) => (CallErrorKind::Denied, "host-calls"),
        Stop::Filter(..) => (CallErrorKind::Rejected, "call-data"),
    };
    CallError::new(kind, code, stop.to_string())
}

/// The engine has no type for these errors, only words.
fn mentions(error: &wasmtime::Error, words: &str) -> bool {
    !error.is::<Trap>() && error.chain().any(|cause| cause.to_string().contains(words))
}

fn describe_trap(error: &wasmtime::Error) -> (&'static str, String) {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return ("exit", format!("ended itself with exit status {}", exit.0));
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        // A number that is no handle of this call, or one of another kind.
        let code = if mentions(error, "handle") { "bad-handle" } else { "host" };
        return (
            code,
            format!("was stopped: {}", text::one_line(&error.root_cause().to_string(), LAST_WORDS_BYTES)),
        );
    };
    let code = match trap {
        Trap::StackOverflow => "stack-overflow",
        Trap::UnreachableCodeReached => "unreachable",
        Trap::MemoryOutOfBounds => "memory-out-of-bounds",
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => "bad-call",
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => "arithmetic",
        Trap::CannotEnterComponent | Trap::CannotLeaveComponent => "reentrance",
        Trap::Interrupt => "interrupt",
        _ => "bad-value",
    };
    (code, format!("trapped ({})", trap.to_string().trim_start_matches("wasm trap: ")))
}

/// What a guest said last on standard error: a panic's message and place, else the last line.
fn last_words(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().filter(|line| !line.trim().is_empty());
    while let Some(line) = lines.next() {
        if let Some((_, place)) = line.split_once("panicked at ") {
            let message = lines.next().unwrap_or("panicked");
            let words = format!("{message} (at {})", place.trim_end_matches(':'));
            return Some(text::one_line(&words, LAST_WORDS_BYTES));
        }
    }
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(text::one_line(last.trim(), LAST_WORDS_BYTES))
}

fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    backtrace
        .frames()
        .iter()
        .take(BACKTRACE_FRAMES)
        .map(|frame| text::one_line(&function_name(frame), 200))
        .collect()
}

fn function_name(frame: &FrameInfo) -> String {
    let name = frame.func_name().unwrap_or("?");
    // The alternate form leaves out the hash.
    format!("{:#}", rustc_demangle::demangle(name))
}

/// Languages keep a second stack in linear memory. When that one is full first, the engine sees a write below its memory.
fn recurses(backtrace: &[String]) -> bool {
    let distinct: BTreeSet<&String> = backtrace.iter().collect();
    backtrace.len() == BACKTRACE_FRAMES && distinct.len() <= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        let stderr = "warming up\n\nthread '<unnamed>' (1) panicked at src/lib.rs:3:9:\nno such key\nnote: run with \
                      `RUST_BACKTRACE=1`\n";
        assert_eq!(last_words(stderr).as_deref(), Some("no such key (at src/lib.rs:3:9)"));
        assert_eq!(last_words("one\ntwo\n\n").as_deref(), Some("two"));
        assert_eq!(last_words("\n"), None);
    }
}
