//! The process of a throwaway etcd: started in its folder, its log kept to an end, killed when this value goes.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::place::{CLIENT_SOCKET, PEER_SOCKET, Place};
use super::program::Program;
use super::{NAME, PEER_URL};

/// How much of the end of its log is kept.
const LOG_BYTES: usize = 16 << 10;
/// A line of it in a message.
const LINE_BYTES: usize = 500;
/// How long what an ended etcd wrote last may take to arrive. A child of its own could hold the pipe for ever.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A running etcd.
pub(super) struct Process {
    child: Mutex<Child>,
    log: Arc<Mutex<VecDeque<u8>>>,
    /// Its other end goes with the last of the log.
    reads: watch::Receiver<()>,
}

impl Process {
    /// Starts it. It sees nothing of our environment, which may hold secrets and settings of another etcd.
    pub(super) fn start(program: &Program, place: &Place, quota_bytes: u64) -> io::Result<Self> {
        let mut command = Command::new(&program.path);
        command
            .env_clear()
            .current_dir(place.path())
            .args(["--name", NAME, "--data-dir", "data", "--logger", "zap", "--log-level", "warn"])
            .args(["--listen-client-urls", &format!("unix://{CLIENT_SOCKET}")])
            .args(["--advertise-client-urls", &format!("unix://{CLIENT_SOCKET}")])
            .args(["--listen-peer-urls", &format!("unix://{PEER_SOCKET}")])
            .args(["--initial-advertise-peer-urls", PEER_URL])
            .args(["--initial-cluster", &format!("{NAME}={PEER_URL}")])
            .args(["--quota-backend-bytes", &quota_bytes.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if program.takes_unsafe_no_fsync() {
            // What it writes is thrown away.
            command.arg("--unsafe-no-fsync");
        }
        let mut child = command.spawn()?;
        let log: Arc<Mutex<VecDeque<u8>>> = Arc::default();
        let (all_read, reads) = watch::channel(());
        if let Some(mut stderr) = child.stderr.take() {
            let kept = Arc::clone(&log);
            // Ends with the process, which holds the other end.
            std::thread::spawn(move || {
                let mut space = [0; 4096];
                while let Ok(read @ 1..) = stderr.read(&mut space) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend(&space[..read]);
                    let surplus = kept.len().saturating_sub(LOG_BYTES);
                    kept.drain(..surplus);
                }
                drop(all_read);
            });
        }
        Ok(Self { child: Mutex::new(child), log, reads })
    }

    /// How it ended, if it did.
    pub(super) fn ended(&self) -> Option<String> {
        self.child().try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// The end of the log of one that has ended.
    pub(super) async fn last_log(&self) -> String {
        let mut reads = self.reads.clone();
        // Whichever comes first: what has arrived by then is what can be told.
        let _ = tokio::time::timeout(LAST_WORDS, reads.changed()).await;
        self.log()
    }

    /// The end of its log so far, line by line; of lines of JSON the message and the error.
    pub(super) fn log(&self) -> String {
        let bytes: Vec<u8> =
            self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(readable).collect();
        lines.join("\n")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        // Both fail only for one that has ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A line of the log for people.
fn readable(line: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let told = parsed.as_ref().and_then(|line| {
        let message = line.get("msg")?.as_str()?;
        let error = line.get("error").and_then(serde_json::Value::as_str);
        Some(error.map_or_else(|| message.to_owned(), |error| format!("{message}: {error}")))
    });
    let text = told.unwrap_or_else(|| line.to_owned());
    text.chars().filter(|character| !character.is_control()).take(LINE_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log_are_readable() {
        let line = r#"{"level":"fatal","msg":"failed to recover v3 backend","error":"no \u001b[31mbackend"}"#;
        assert_eq!(readable(line), "failed to recover v3 backend: no [31mbackend");
        assert_eq!(readable("panic: \x07page 3"), "panic: page 3");
    }
}
