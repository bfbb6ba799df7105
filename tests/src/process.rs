//! A process that a test started: it can be paused, resumed and killed, and ends with the value that stands for it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How much of a log a failed test shows.
const LOG_TAIL_LINES: usize = 12;
const LOG_LINE_CHARACTERS: usize = 300;

/// Longest time for a program that is run to its end: a build may be part of it. What takes longer hangs.
const LONGEST: Duration = Duration::from_mins(15);

/// Runs a command without input to its end, and gives what it wrote.
///
/// # Errors
/// When it cannot be started.
///
/// # Panics
/// When it hangs; it is killed then, and what it wrote is in the message.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = Reading::start(child.stdout.take());
    let stderr = Reading::start(child.stderr.take());
    let Some(status) = wait::within(LONGEST, || child.try_wait().transpose()) else {
        let _ = child.kill();
        let _ = child.wait();
        // Not to its end: a child of the child's may still hold the pipe.
        let (stdout, stderr) = (stdout.so_far(), stderr.so_far());
        panic!("{command:?} has not ended after {LONGEST:?}; it wrote:\n{stdout}{stderr}");
    };
    Ok(Output { status: status?, stdout: stdout.into_whole(), stderr: stderr.into_whole() })
}

/// A pipe that is read on a thread of its own, so that a program that writes much to two of them never waits for us.
struct Reading {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reading {
    fn start(pipe: Option<impl Read + Send + 'static>) -> Reading {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let thread = pipe.map(|mut pipe| {
            thread::spawn(move || {
                let mut chunk = vec![0; 64 << 10];
                while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                    into.lock().expect("nobody panics while holding it").extend_from_slice(&chunk[..length]);
                }
            })
        });
        Reading { bytes, thread }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("nobody panics while holding it")).into_owned()
    }

    fn into_whole(mut self) -> Vec<u8> {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("reading a pipe does not panic");
        }
        std::mem::take(&mut self.bytes.lock().expect("nobody panics while holding it"))
    }
}

/// A running program whose output goes to a file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with standard output and standard error going to the file `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Process {
        let file = File::options().create(true).append(true).open(log).expect("a log file can be made");
        let errors = file.try_clone().expect("a file can be opened twice");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("`{name}` does not start: {error}"));
        Process { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything the program has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until the program has written a line with `text` in it, and returns the line. Fails as soon as the program ends
    /// without it.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        self.wait_for_lines(text, 1).remove(0)
    }

    /// Waits until `count` lines with `text` in them are written, and returns them.
    pub fn wait_for_lines(&mut self, text: &str, count: usize) -> Vec<String> {
        let what = format!("`{text}` in the log of `{}`", self.name);
        wait::until(&what, || {
            let ended = self.has_ended();
            let log = self.log();
            let lines: Vec<String> =
                log.lines().filter(|line| line.contains(text)).take(count).map(str::to_owned).collect();
            if lines.len() == count {
                return Some(lines);
            }
            assert!(!ended, "`{}` ended without saying `{text}`; it said:\n{log}", self.name);
            None
        })
    }

    /// Has the program ended by itself?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked for its state").is_some()
    }

    /// Waits for the program's end.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of `{}`", self.name);
        wait::until(&what, || self.child.try_wait().expect("a child can be asked for its state"))
    }

    /// Stops the program where it is: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused program go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks the program to end, as a service manager does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Tells the program that its configuration has changed.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends the program at once, as a power cut would.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("`{}` cannot be signalled: {error}", self.name));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let mut tail = format!("--- the end of the log of `{}`:", self.name);
            for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                tail.push('\n');
                tail.extend(line.chars().take(LOG_LINE_CHARACTERS));
            }
            crate::tools::tell(&tail);
        }
    }
}
