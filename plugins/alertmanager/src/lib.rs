//! Notifier `alertmanager`: an alert for each problem, resolved when the problem is over.
//!
//! Speaks Alertmanager's API v2. An alert is known by its labels: these come from the problem's name and stay the same from
//! its beginning to its end. Alertmanager takes an alert for over when nobody repeats it, so each carries a time until which it stands.

mod alert;
mod config;

pub use config::Config;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_plugin::http::Request;
use holdfast_plugin::{Event, Notifier, NotifyError, Receipt, export_notifier, log, secrets};

/// The longest wait for an Alertmanager: to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The notifier.
pub struct Alertmanager;

impl Notifier for Alertmanager {
    const NAME: &'static str = "alertmanager";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Raises and resolves alerts in Prometheus Alertmanager";
    const WANTS: &'static [&'static str] = &[r#"http = ["*"]"#, r#"secrets = ["*"]"#];
    type Config = Config;

    /// Each instance of a cluster is told: they share what they notified of, not the alerts. One that takes it is enough.
    fn notify(event: &Event, config: Config) -> Result<Receipt, NotifyError> {
        let alerts = alert::alerts(event, &config)?;
        if alerts.is_empty() {
            return Ok(Receipt::new("nothing to raise: it is over, and nothing was wrong"));
        }
        if config.urls.is_empty() {
            return Err(NotifyError::config("`urls` is empty: name at least one Alertmanager"));
        }
        let authorization = authorization(&config)?;
        let mut taken = 0;
        let mut failed = None;
        for (index, url) in config.urls.iter().enumerate() {
            let mut request = Request::post(format!("{}/api/v2/alerts", url.trim_end_matches('/')))
                .json(&alerts)?
                .within(PATIENCE);
            if let Some(authorization) = &authorization {
                request = request.header("authorization", authorization);
            }
            let answered = request.send().map_err(NotifyError::from);
            match answered.and_then(|answer| NotifyError::check(&answer)) {
                Ok(()) => taken += 1,
                Err(error) => {
                    log::warn(format!("Alertmanager {} did not take it: {error}", index + 1));
                    failed = Some(worse(failed, error));
                }
            }
        }
        match failed {
            Some(error) if taken == 0 => Err(error),
            _ => Ok(Receipt::new(format!("taken by {taken} of {}", config.urls.len()))),
        }
    }
}

export_notifier!(Alertmanager);

/// Of two errors the one that may pass: as long as one instance may take it, it is tried again.
fn worse(before: Option<NotifyError>, error: NotifyError) -> NotifyError {
    match before {
        Some(before) if before.code == "unavailable" => before,
        _ => error,
    }
}

fn authorization(config: &Config) -> Result<Option<String>, NotifyError> {
    match (&config.token_secret, &config.username, &config.password_secret) {
        (None, None, None) => Ok(None),
        (Some(name), None, None) => Ok(Some(format!("Bearer {}", secrets::get(name)?.trim()))),
        (None, Some(username), Some(name)) => {
            let login = format!("{username}:{}", secrets::get(name)?.trim());
            Ok(Some(format!("Basic {}", STANDARD.encode(login))))
        }
        _ => Err(NotifyError::config("give either `token_secret`, or `username` and `password_secret`")),
    }
}
