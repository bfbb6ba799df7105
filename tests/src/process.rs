//! A process that a test started: it can be paused, resumed and killed, and ends with the value that stands for it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How much of a log a failed test shows.
const LOG_TAIL_LINES: usize = 12;
const LOG_LINE_CHARACTERS: usize = 300;

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
