//! Where a guest's words go: its log lines, standard output and standard error.
//!
//! Everything is cut into lines, freed of secrets, made safe to show and passed to `tracing` under the plugin's name, up to a volume; what
//! is beyond is counted and dropped. The end of standard error is kept besides, for it tells why a guest stopped.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::grants::Redactor;
use crate::text;

/// Longer lines are cut.
const LINE_BYTES: usize = 4 << 10;
/// What a line costs besides its own length, so that empty lines are bounded too.
const LINE_COST_BYTES: u64 = 32;
/// How much of the end of standard error is kept.
const STDERR_BYTES: usize = 16 << 10;
/// How much a guest may write to a stream at once.
const WRITE_BYTES: usize = 64 << 10;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The `log` import.
    Log,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The words of one call. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Output {
    shared: Arc<Mutex<State>>,
}

struct State {
    plugin: String,
    redactor: Redactor,
    budget_bytes: u64,
    lines: u64,
    dropped: u64,
    stdout_line: Vec<u8>,
    stderr_line: Vec<u8>,
    stderr_end: VecDeque<u8>,
    stderr_dropped_bytes: u64,
}

/// What [`Output::finish`] hands over.
pub(crate) struct Written {
    /// The end of standard error, safe to show.
    pub(crate) stderr: String,
    /// Lines passed on.
    pub(crate) lines: u64,
    /// Lines dropped over the volume limit.
    pub(crate) dropped: u64,
}

impl Output {
    pub(crate) fn new(plugin: &str, budget_bytes: u64, redactor: Redactor) -> Output {
        Output {
            shared: Arc::new(Mutex::new(State {
                plugin: plugin.to_owned(),
                redactor,
                budget_bytes,
                lines: 0,
                dropped: 0,
                stdout_line: Vec::new(),
                stderr_line: Vec::new(),
                stderr_end: VecDeque::new(),
                stderr_dropped_bytes: 0,
            })),
        }
    }

    /// One line of the `log` import. Line feeds in it are made visible: one call, one line.
    pub(crate) fn log(&self, level: &str, message: &str) {
        let mut state = self.lock();
        let clean = state.redactor.text(message.to_owned());
        state.emit(Source::Log, level, &clean);
    }

    /// A stream for the guest's standard output or standard error.
    pub(crate) fn stream(&self, source: Source) -> Stream {
        Stream { output: self.clone(), source }
    }

    /// Passes on what has no line feed yet and sums up.
    pub(crate) fn finish(&self) -> Written {
        let mut state = self.lock();
        state.flush(Source::Stdout);
        state.flush(Source::Stderr);
        if state.dropped > 0 {
            tracing::warn!(
                plugin = state.plugin,
                dropped = state.dropped,
                "the plugin wrote more than its log limit; the rest was dropped"
            );
        }
        let mut kept: Vec<u8> = state.stderr_end.iter().copied().collect();
        if state.stderr_dropped_bytes > 0 && state.redactor.has_secrets() {
            // The first line may begin within a secret.
            let end = kept.iter().position(|byte| *byte == b'\n').map_or(kept.len(), |end| end + 1);
            kept.drain(..end);
        }
        let clean = state.redactor.bytes(&kept);
        let mut stderr = text::lines(&String::from_utf8_lossy(&clean), 2 * STDERR_BYTES);
        if state.stderr_dropped_bytes > 0 {
            stderr.insert_str(0, &format!("[{} earlier bytes dropped]\n", state.stderr_dropped_bytes));
        }
        Written { stderr, lines: state.lines, dropped: state.dropped }
    }

    /// Every change under this lock is whole at each point where it could panic, so a poisoned one is still usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, source: Source, bytes: &[u8]) {
        if source == Source::Stderr {
            self.keep_end(bytes);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = piece.ends_with(b"\n");
            let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
            let line = self.partial(source);
            let room = LINE_BYTES.saturating_sub(line.len());
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if ended {
                self.flush_line(source);
            }
        }
    }

    fn partial(&mut self, source: Source) -> &mut Vec<u8> {
        match source {
            Source::Stderr => &mut self.stderr_line,
            Source::Stdout | Source::Log => &mut self.stdout_line,
        }
    }

    fn flush(&mut self, source: Source) {
        if !self.partial(source).is_empty() {
            self.flush_line(source);
        }
    }

    fn flush_line(&mut self, source: Source) {
        let line = std::mem::take(self.partial(source));
        let level = if source == Source::Stderr { "info" } else { "debug" };
        // Before the emission, which does not know that the line was cut.
        let clean =
            if line.len() < LINE_BYTES { self.redactor.bytes(&line) } else { self.redactor.cut_bytes(&line) };
        let clean = String::from_utf8_lossy(&clean).into_owned();
        self.emit(source, level, &clean);
    }

    fn keep_end(&mut self, bytes: &[u8]) {
        let tail = &bytes[bytes.len().saturating_sub(STDERR_BYTES)..];
        self.stderr_end.extend(tail);
        let over = self.stderr_end.len().saturating_sub(STDERR_BYTES);
        self.stderr_end.drain(..over);
        self.stderr_dropped_bytes += (over + bytes.len() - tail.len()) as u64;
    }

    fn emit(&mut self, source: Source, level: &str, line: &str) {
        let cost_bytes = line.len() as u64 + LINE_COST_BYTES;
        if cost_bytes > self.budget_bytes {
            self.dropped += 1;
            return;
        }
        self.budget_bytes -= cost_bytes;
        self.lines += 1;
        let message = text::one_line(line, LINE_BYTES);
        let plugin = self.plugin.as_str();
        let source = match source {
            Source::Log => "log",
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
        };
        match level {
            "debug" => tracing::debug!(plugin, source, "{message}"),
            "warn" => tracing::warn!(plugin, source, "{message}"),
            "error" => tracing::error!(plugin, source, "{message}"),
            _ => tracing::info!(plugin, source, "{message}"),
        }
    }
}

/// One end of a guest's stream. Never blocks, never fails.
#[derive(Clone)]
pub(crate) struct Stream {
    output: Output,
    source: Source,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.lock().write(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.output.lock().write(self.source, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_volume_are_dropped_and_counted() {
        let output = Output::new("noisy", 3 * (LINE_COST_BYTES + 1), Redactor::default());
        for _ in 0..10 {
            output.log("info", "x");
        }
        let written = output.finish();
        assert_eq!((written.lines, written.dropped), (3, 7));
    }

    #[test]
    fn secrets_are_blotted_out_also_where_words_are_cut() {
        let secret = "hunter2hunter2";
        let redactor = || Redactor::new([("token", secret)].into_iter());
        let output = Output::new("talker", 0, redactor());
        let mut stream = output.stream(Source::Stderr);
        // In two writes, as a formatter does it.
        for part in ["it is hunter2", "hunter2!\n"] {
            OutputStream::write(&mut stream, Bytes::from(part)).expect("never fails");
        }
        assert_eq!(output.finish().stderr, "it is [secret token]!\n");

        let output = Output::new("talker", 0, redactor());
        let mut stream = output.stream(Source::Stderr);
        let flood = format!("{}{secret}\nlast words", "x".repeat(20_000));
        // What is kept begins in the middle of the secret.
        let kept = format!("{flood}{}", "y".repeat(STDERR_BYTES - 20));
        OutputStream::write(&mut stream, Bytes::from(kept)).expect("never fails");
        let stderr = output.finish().stderr;
        assert!(!stderr.contains("unter2") && stderr.contains("last words"), "{}", &stderr[..80]);
    }

    #[test]
    fn the_end_of_standard_error_is_kept() {
        let output = Output::new("noisy", 0, Redactor::default());
        let mut stream = output.stream(Source::Stderr);
        for _ in 0..100 {
            OutputStream::write(&mut stream, Bytes::from(vec![b'a'; 1000])).expect("never fails");
        }
        OutputStream::write(&mut stream, Bytes::from_static(b"\nlast \x1b[0m words")).expect("never fails");
        let stderr = output.finish().stderr;
        assert!(stderr.starts_with("[83632 earlier bytes dropped]\n"), "{}", &stderr[..60]);
        assert!(stderr.ends_with("\nlast \\u{1b}[0m words"));
    }
}
