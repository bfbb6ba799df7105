//! Where events are posted, and in which form.

use std::collections::BTreeMap;

use holdfast_plugin::{NotifyError, secrets};
use schemars::JsonSchema;
use serde::Deserialize;

/// The notifier's config.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// Where events are posted to.
    pub url: Option<String>,
    /// The name of a secret that holds the URL, for one that nobody else may know.
    pub url_secret: Option<String>,
    /// How the event is laid out.
    #[serde(default)]
    pub mode: Mode,
    /// Further headers of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The name of a secret that is sent as a bearer token.
    pub token_secret: Option<String>,
    /// The name of a secret that requests are signed with: any text, or `whsec_` and its base64.
    pub signature_secret: Option<String>,
}

/// The two modes of CloudEvents over HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The whole event is the body.
    #[default]
    Structured,
    /// The body is the event's data, and the rest is in headers.
    Binary,
}

impl Config {
    /// The URL, wherever it is.
    pub(crate) fn url(&self) -> Result<String, NotifyError> {
        match (&self.url, &self.url_secret) {
            (Some(url), None) => Ok(url.clone()),
            (None, Some(name)) => Ok(secrets::get(name)?.trim().to_owned()),
            (None, None) => Err(NotifyError::config("neither `url` nor `url_secret` says where to post to")),
            (Some(_), Some(_)) => Err(NotifyError::config("both `url` and `url_secret` are given: keep one")),
        }
    }
}
