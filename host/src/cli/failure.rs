//! How a failed command tells the user: the error, its causes, and what to do next.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use crate::config::ConfigErrors;
use crate::printer;

/// An error with a next step, or with another exit code than 2. It travels inside an `anyhow::Error` and
/// shows the message of the error that it wraps.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: anyhow::Error,
    /// What to do about it.
    pub hint: Option<String>,
    /// 1 when the answer is no, 2 when it could not be done.
    pub code: u8,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Adds a hint or an exit code to an error on its way up.
pub trait FailureExt<T> {
    /// With a next step for the user.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
    /// With exit code 1: it was done, and the answer is no.
    fn answer_is_no(self) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> FailureExt<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| {
            let mut failure = failure(error.into());
            failure.hint = Some(hint.into());
            anyhow::Error::new(failure)
        })
    }

    fn answer_is_no(self) -> anyhow::Result<T> {
        self.map_err(|error| {
            let mut failure = failure(error.into());
            failure.code = 1;
            anyhow::Error::new(failure)
        })
    }
}

/// The error as a failure; one that is a failure already is kept as it is.
fn failure(error: anyhow::Error) -> Failure {
    error.downcast::<Failure>().unwrap_or_else(|error| Failure { error, hint: None, code: 2 })
}

/// Prints an error with its causes and its hint to standard error, and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    printer::message(render(error, printer::colour()).trim_end());
    ExitCode::from(error.downcast_ref::<Failure>().map_or(2, |failure| failure.code))
}

/// The text that [`report`] prints.
fn render(error: &anyhow::Error, colour: bool) -> String {
    if let Some(ConfigErrors::Invalid(invalid)) = error.downcast_ref::<ConfigErrors>() {
        return invalid.render(colour);
    }
    let (red, bold, cyan, plain) =
        if colour { ("\x1b[1;31m", "\x1b[1m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "", "") };
    let mut text = format!("{red}error{plain}{bold}:{plain} {error}\n");
    let mut previous = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some libraries repeat their cause in their own message.
        if !previous.ends_with(&cause) {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        previous = cause;
    }
    if let Some(hint) = hint_of(error) {
        let _ = writeln!(text, "{cyan}hint{plain}{bold}:{plain} {hint}");
    }
    text
}

/// The next step for the user: the one said by the command, or else by the first error of the chain that knows one.
fn hint_of(error: &anyhow::Error) -> Option<String> {
    /// Asks each of the types named for its `hint()`.
    macro_rules! first_hint {
        ($cause:expr, [$($error:ty),* $(,)?]) => {
            None$(.or_else(|| $cause.downcast_ref::<$error>().and_then(|error| error.hint().map(String::from))))*
        };
    }
    // A failure stands for the error that it wraps, which is not one of its own causes.
    let failure = error.downcast_ref::<Failure>();
    if let Some(hint) = failure.and_then(|failure| failure.hint.clone()) {
        return Some(hint);
    }
    let error = failure.map_or(error, |failure| &failure.error);
    // Errors that know a next step; a new one is added here.
    error.chain().find_map(|cause| {
        first_hint!(
            cause,
            [
                ConfigErrors,
                crate::agent::AgentError,
                crate::agent::JobError,
                crate::catalog::CatalogError,
                crate::look::select::SelectError,
                crate::pack::UnpackError,
                crate::pipeline::BackupError,
                crate::pipeline::inspect::InspectError,
                crate::restore::RestoreFailure,
                crate::restore::against::AgainstError,
                crate::schedule::ScheduleError,
                crate::secret::SecretError,
                crate::signing::SigningError,
                crate::source::SourceError,
                etcd_snapshot::restore::PlanError,
                holdfast_runtime::StartError,
            ]
        )
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn chain_and_hint() {
        let cause: Result<(), _> = Err(anyhow!("connection refused"));
        let error = cause.context("member `a` cannot be reached").hint("is etcd running?").unwrap_err();
        assert_eq!(
            render(&error, false),
            "error: member `a` cannot be reached\n  caused by: connection refused\nhint: is etcd running?\n"
        );
    }

    #[test]
    fn answer_is_no_keeps_the_hint() {
        let error: Result<(), _> = Err(anyhow!("no backup")).hint("run `holdfast backup`").answer_is_no();
        let error = error.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!((failure.code, failure.hint.as_deref()), (1, Some("run `holdfast backup`")));
    }

    #[test]
    fn typed_errors_bring_their_hint() {
        let unset = crate::secret::SecretError::Unset { name: "ETCD_PASSWORD".to_owned() };
        let error = anyhow::Error::new(unset).context("cannot connect");
        assert!(render(&error, false).contains("\nhint: set it where holdfast is started"));
        let answered: Result<(), _> =
            Err(crate::secret::SecretError::Unset { name: "A".to_owned() }).answer_is_no();
        assert!(
            render(&answered.unwrap_err(), false).contains("\nhint: set it"),
            "the hint of a wrapped error was lost"
        );
    }
}
