//! Which channel, and with what right.

use holdfast_plugin::{NotifyError, secrets};
use schemars::JsonSchema;
use serde::Deserialize;

/// The notifier's config.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The name of a secret that holds the URL of an incoming webhook.
    pub url_secret: Option<String>,
    /// The name of a secret that holds a bot's token, `xoxb-…`, in place of a webhook.
    pub token_secret: Option<String>,
    /// The channel that the bot posts to: its id, or its name.
    pub channel: Option<String>,
    /// Where Slack's Web API is.
    #[serde(default = "api")]
    pub api: String,
    /// Who is called when something is wrong: `<!here>`, `<!channel>`, or `<@U024BE7LH>`.
    pub mention: Option<String>,
}

fn api() -> String {
    "https://slack.com/api".to_owned()
}

/// How a message gets there.
pub(crate) enum Way {
    Hook { url: String },
    Bot { url: String, token: String, channel: String },
}

impl Config {
    pub(crate) fn way(&self) -> Result<Way, NotifyError> {
        match (&self.url_secret, &self.token_secret, &self.channel) {
            (Some(name), None, None) => Ok(Way::Hook { url: secrets::get(name)?.trim().to_owned() }),
            (None, Some(name), Some(channel)) => Ok(Way::Bot {
                url: format!("{}/chat.postMessage", self.api.trim_end_matches('/')),
                token: secrets::get(name)?.trim().to_owned(),
                channel: channel.clone(),
            }),
            _ => Err(NotifyError::config(
                "give either `url_secret`, for an incoming webhook, or `token_secret` and `channel`, for a bot",
            )),
        }
    }
}
