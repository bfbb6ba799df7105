//! Notifier `webhook`: posts each event as a CloudEvent, signed.
//!
//! The body is the event as the agent hands it over, byte for byte. A signature follows Standard Webhooks: HMAC-SHA256 over
//! id, time and body, so that the far end can tell who sent it, and refuse what was recorded and sent again.

mod config;
mod message;
mod signature;

pub use config::{Config, Mode};
pub use signature::Signer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_plugin::{Event, Notifier, NotifyError, Receipt, export_notifier, secrets};

/// The longest wait for the far end: to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The notifier.
pub struct Webhook;

impl Notifier for Webhook {
    const NAME: &'static str = "webhook";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Posts events as CloudEvents to a URL, signed if wanted";
    const WANTS: &'static [&'static str] = &[r#"http = ["*"]"#, r#"secrets = ["*"]"#];
    type Config = Config;

    fn notify(event: &Event, config: Config) -> Result<Receipt, NotifyError> {
        let url = config.url()?;
        let mut request = message::request(&url, event, config.mode)?;
        for (name, value) in &config.headers {
            request = request.header(name, value);
        }
        if let Some(name) = &config.token_secret {
            request = request.header("authorization", format!("Bearer {}", secrets::get(name)?));
        }
        if let Some(name) = &config.signature_secret {
            let signer = Signer::new(&secrets::get(name)?).map_err(NotifyError::config)?;
            let seconds = seconds_since_epoch();
            let signature = signer.sign(&event.id, seconds, request.body_bytes());
            request = request
                .header("webhook-id", &event.id)
                .header("webhook-timestamp", seconds.to_string())
                .header("webhook-signature", signature);
        }
        let answer = request.within(PATIENCE).send()?;
        NotifyError::check(&answer)?;
        Ok(Receipt::new(format!("answered {}", answer.status())))
    }
}

export_notifier!(Webhook);

/// When the request is sent, which is not when the event happened: the far end refuses what is too old.
fn seconds_since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
