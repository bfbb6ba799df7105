//! {{summary}}.

use holdfast_plugin::http::Request;
use holdfast_plugin::{Event, Notifier, NotifyError, Receipt, export_notifier, secrets};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// What the operator may write in the notifier's `config`. Doc comments become the descriptions in `holdfast plugin check`.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// Where events are posted to.
    url: String,
    /// The name of a secret that is sent as a bearer token.
    token_secret: Option<String>,
}

/// The notifier.
pub struct Plugin;

impl Notifier for Plugin {
    const NAME: &'static str = "{{name}}";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "{{summary}}";
    // What it would like; the operator grants it in `allow`, or does not.
    const WANTS: &'static [&'static str] = &[r#"http = ["*"]"#, r#"secrets = ["*"]"#];
    type Config = Config;

    fn notify(event: &Event, config: Config) -> Result<Receipt, NotifyError> {
        let message = json!({ "text": event.headline(500), "kind": event.kind, "problem": event.problem() });
        let mut request = Request::post(config.url).json(&message)?;
        if let Some(name) = &config.token_secret {
            request = request.header("authorization", format!("Bearer {}", secrets::get(name)?));
        }
        let answer = request.send()?;
        // Tells what may pass from what is final by the status.
        NotifyError::check(&answer)?;
        Ok(Receipt::new(format!("answered {}", answer.status())))
    }
}

export_notifier!(Plugin);

#[cfg(test)]
mod tests {
    use holdfast_plugin::http::Response;
    use holdfast_plugin::{Event, deliver, testing};

    use super::Plugin;

    const CONFIG: &str = r#"{"url": "https://chat.example.org/hook"}"#;

    #[test]
    fn an_event_is_posted() {
        testing::answer_http(|_| Ok(Response::new(200, vec![], "")));
        deliver::<Plugin>(&Event::sample("backup.failed"), CONFIG).unwrap();
        let sent = testing::take_http();
        assert_eq!(sent[0].url(), "https://chat.example.org/hook");
    }

    #[test]
    fn a_server_that_is_busy_is_tried_again() {
        testing::answer_http(|_| Ok(Response::new(503, vec![], "busy")));
        let error = deliver::<Plugin>(&Event::sample("backup.failed"), CONFIG).unwrap_err();
        assert_eq!(error.code, "unavailable");
    }
}
