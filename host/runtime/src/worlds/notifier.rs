//! The world `holdfast:notifier/notifier`: describes itself, and delivers one event per call.

use std::time::Duration;

use serde::Serialize;

use crate::bindings::notifier::exports::holdfast::notifier::notify;
use crate::bindings::notifier::{Notifier, NotifierPre};
use crate::call::{self, CallState, CallStats, Finished, Reach};
use crate::engine::Engine;
use crate::error::{CallError, CallErrorKind};
use crate::grants::{Denial, Redactor};
use crate::limits::Limits;
use crate::{report, text};

/// One line of a receipt.
const SUMMARY_BYTES: usize = 1 << 10;
/// What a far end may ask for at most, in seconds; a larger number is a mistake.
const LONGEST_WAIT_SECONDS: u64 = 7 * 24 * 3600;

/// One thing that happened, as a notifier is told it. The contract in `wit/` explains each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same at each attempt to deliver it.
    pub id: String,
    /// RFC 3339.
    pub time: String,
    /// What happened, e.g. `backup.failed`.
    pub kind: String,
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// One line.
    pub summary: String,
    /// The cluster's name.
    pub cluster: String,
    /// The whole event as CloudEvents 1.0 JSON.
    pub cloudevent: String,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
}

/// The far end has taken an event. Every text is bounded and free of control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotifyReceipt {
    /// One line.
    pub summary: String,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
}

/// How one delivery ended.
#[derive(Clone, Debug, Serialize)]
pub struct NotifyRun {
    /// The receipt, or why there is none.
    pub result: Result<NotifyReceipt, CallError>,
    /// Without a receipt: whether trying again may help.
    pub may_pass: bool,
    /// How long to wait at least before that, as the far end asks.
    pub retry_after: Option<Duration>,
    /// What the call used.
    pub stats: CallStats,
    /// The end of what the plugin wrote to standard error, safe to show.
    pub stderr: String,
    /// What it asked for and was refused.
    pub denied: Vec<Denial>,
}

impl NotifyRun {
    /// A call that was not made.
    pub(crate) fn rejected(code: &str, message: impl Into<String>) -> NotifyRun {
        NotifyRun {
            result: Err(CallError::new(CallErrorKind::Rejected, code, message)),
            may_pass: false,
            retry_after: None,
            stats: CallStats::default(),
            stderr: String::new(),
            denied: Vec::new(),
        }
    }
}

/// Lets a plugin deliver an event. `config` is JSON.
pub(crate) async fn notify(
    engine: &Engine,
    notifier: &NotifierPre<CallState>,
    name: &str,
    limits: &Limits,
    reach: Reach,
    notice: &Notice,
    config: String,
) -> NotifyRun {
    let event = lowered(notice);
    let notifier = notifier.clone();
    let finished = call::run(engine, name, limits, reach, |store| {
        Box::pin(async move {
            let instance: Notifier = notifier.instantiate_async(&mut *store).await?;
            instance.holdfast_notifier_notify().call_notify(store, &event, &config).await
        })
    })
    .await;
    let Finished { result, stats, stderr, denied, redactor } = finished;
    let (result, may_pass, retry_after) = match result {
        Ok(Ok(receipt)) => (Ok(accept(receipt, &redactor)), false, None),
        Ok(Err(error)) => {
            let wait = retry_after(&error.attributes);
            let error = report::own_error(error.code, error.message, &redactor);
            let may_pass = !matches!(error.code.as_str(), "config" | "refused");
            (Err(error), may_pass, wait)
        }
        // It may have met something that is not there the next time; the caller gives up in the end.
        Err(error) => (Err(error), true, None),
    };
    NotifyRun { result, may_pass, retry_after, stats, stderr, denied }
}

fn lowered(notice: &Notice) -> notify::Event {
    notify::Event {
        id: notice.id.clone(),
        time: notice.time.clone(),
        kind: notice.kind.clone(),
        severity: notice.severity.clone(),
        summary: notice.summary.clone(),
        cluster: notice.cluster.clone(),
        cloudevent: notice.cloudevent.clone(),
        attributes: notice.attributes.clone(),
    }
}

fn accept(receipt: notify::Receipt, redactor: &Redactor) -> NotifyReceipt {
    let text = |text| redactor.text(text);
    let attributes = receipt.attributes.into_iter().map(|(name, value)| (text(name), text(value)));
    NotifyReceipt {
        summary: text::one_line(&text(receipt.summary), SUMMARY_BYTES),
        attributes: report::bounded_attributes(attributes.collect()),
    }
}

fn retry_after(attributes: &[(String, String)]) -> Option<Duration> {
    let (_, value) = attributes.iter().find(|(name, _)| name == "retry-after")?;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_and_bounded() {
        let asked = |value: &str| retry_after(&[("retry-after".to_owned(), value.to_owned())]);
        assert_eq!(asked("30"), Some(Duration::from_secs(30)));
        assert_eq!(asked("99999999999"), Some(Duration::from_secs(LONGEST_WAIT_SECONDS)));
        for none in ["", "-1", "soon", "1e3", "99999999999999999999999"] {
            assert_eq!(asked(none), None, "{none}");
        }
    }
}
