//! Lines for the agent's log, under the plugin's name.
//!
//! For what an operator may want to know while a verifier runs. What the verifier found belongs in the report. Natively
//! the lines are kept for the test that wants to look at them ([`take`]).

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Only when looking for a fault in the plugin.
    Debug,
    /// Worth a line.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

impl Level {
    /// The level's name in the agent's interface.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Writes one line. Long lines are cut by the agent, and past a volume limit lines are dropped and counted.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::guest::bindings::holdfast::host::log::write(level.name(), message);
    #[cfg(not(target_arch = "wasm32"))]
    native::LINES.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

/// Writes one line at [`Level::Debug`].
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

/// Writes one line at [`Level::Info`].
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message.as_ref());
}

/// Writes one line at [`Level::Warn`].
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message.as_ref());
}

/// Writes one line at [`Level::Error`].
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message.as_ref());
}

/// The lines written on this thread since the last call. Native builds only, for tests.
#[cfg(not(target_arch = "wasm32"))]
pub fn take() -> Vec<(Level, String)> {
    native::LINES.take()
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;

    thread_local! {
        pub(super) static LINES: RefCell<Vec<(super::Level, String)>> = const { RefCell::new(Vec::new()) };
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, info, take, warn};

    #[test]
    fn a_test_can_read_what_was_logged() {
        info("one");
        warn(String::from("two"));
        assert_eq!(take(), [(Level::Info, "one".to_owned()), (Level::Warn, "two".to_owned())]);
        assert!(take().is_empty());
    }
}
