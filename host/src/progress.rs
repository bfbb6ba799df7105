//! How far a long step has come, for people who watch.
//!
//! A step reports to the [`Progress`] it is handed; whether that draws a bar or says nothing is the caller's business.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Listens to one step at a time. `start` is called before the first `advance`, `finish` after the last; a step that
/// begins anew (another member is asked) calls `start` again.
pub trait Progress: Send + Sync {
    /// A step begins. `total_bytes` when it is known beforehand.
    fn start(&self, stage: &str, total_bytes: Option<u64>);
    /// This many more bytes are done.
    fn advance(&self, bytes: u64);
    /// The step has ended, well or not.
    fn finish(&self);
}

/// Says nothing: for the agent, for pipes and for `--quiet`.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _stage: &str, _total_bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
}

/// A bar on standard error with bytes, rate and time left.
#[derive(Debug)]
pub struct Terminal {
    bar: ProgressBar,
}

impl Terminal {
    /// A bar that is drawn once the first step starts.
    pub fn new() -> Self {
        Self { bar: ProgressBar::hidden() }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Terminal {
    fn start(&self, stage: &str, total_bytes: Option<u64>) {
        let template = match total_bytes {
            Some(_) => "{msg:>10} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
            None => "{msg:>10} {spinner} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.reset();
        self.bar.set_length(total_bytes.unwrap_or(0));
        self.bar.set_message(stage.to_owned());
        self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn finish(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }
}
