//! Notifier `slack`: one message for each event, to a channel.
//!
//! Either through an incoming webhook, whose URL is a secret, or as a bot that may post to any channel it is in.

mod config;
mod message;

pub use config::Config;

use std::time::Duration;

use config::Way;
use holdfast_plugin::http::Request;
use holdfast_plugin::{Event, Notifier, NotifyError, Receipt, export_notifier};
use serde::Deserialize;

/// The longest wait for Slack: to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The notifier.
pub struct Slack;

impl Notifier for Slack {
    const NAME: &'static str = "slack";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Posts events to a Slack channel";
    // Other hosts are those of servers that take the same messages, such as Mattermost.
    const WANTS: &'static [&'static str] = &[r#"http = ["*"]"#, r#"secrets = ["*"]"#];
    type Config = Config;

    fn notify(event: &Event, config: Config) -> Result<Receipt, NotifyError> {
        let mut message = message::message(event, config.mention.as_deref());
        match config.way()? {
            Way::Hook { url } => {
                let answer = Request::post(url).json(&message)?.within(PATIENCE).send()?;
                NotifyError::check(&answer)?;
                Ok(Receipt::new("posted"))
            }
            Way::Bot { url, token, channel } => {
                message["channel"] = channel.as_str().into();
                let request = Request::post(url).json(&message)?;
                let request = request.header("authorization", format!("Bearer {token}")).within(PATIENCE);
                let answer = request.send()?;
                NotifyError::check(&answer)?;
                // It answers 200 whatever became of the message.
                let said: Said = answer.json()?;
                if said.ok { Ok(Receipt::new(format!("posted to {channel}"))) } else { Err(said.error()) }
            }
        }
    }
}

export_notifier!(Slack);

/// The answer of Slack's Web API.
#[derive(Deserialize)]
struct Said {
    ok: bool,
    #[serde(default)]
    error: String,
}

impl Said {
    fn error(&self) -> NotifyError {
        let message = format!("Slack says `{}`", holdfast_plugin::printable(self.error.as_bytes()));
        match self.error.as_str() {
            "ratelimited" | "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
                NotifyError::unavailable(message)
            }
            "channel_not_found" | "not_in_channel" | "is_archived" | "invalid_auth" | "not_authed"
            | "account_inactive" | "token_revoked" | "token_expired" | "missing_scope" => {
                NotifyError::config(message)
            }
            _ => NotifyError::refused(message),
        }
    }
}
