//! What is posted for an event, and what Slack's answers mean.

use holdfast_plugin::http::{Request, Response};
use holdfast_plugin::{Event, NotifyError, Receipt, deliver, testing};
use serde_json::Value;
use slack::Slack;

const HOOK: &str = r#"{"url_secret": "slack_url", "mention": "<!here>"}"#;
const BOT: &str =
    r#"{"token_secret": "slack_token", "channel": "C024BE91L", "api": "https://slack.example/api/"}"#;

fn post(
    event: &Event,
    config: &str,
    status: u16,
    answer: &'static str,
) -> (Result<Receipt, NotifyError>, Vec<Request>) {
    testing::set_secret("slack_url", "https://hooks.slack.com/services/T0/B0/hunter2\n");
    testing::set_secret("slack_token", "xoxb-hunter2");
    testing::answer_http(move |_| Ok(Response::new(status, vec![], answer)));
    (deliver::<Slack>(event, config), testing::take_http())
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(request.body_bytes()).expect("a message is JSON")
}

#[test]
fn a_failure_calls_somebody_and_its_end_calls_nobody() {
    let (receipt, sent) = post(&Event::sample("backup.failed"), HOOK, 200, "ok");
    receipt.expect("it is posted");
    assert_eq!(sent[0].url(), "https://hooks.slack.com/services/T0/B0/hunter2");
    let message = body(&sent[0]);
    assert!(message["text"].as_str().is_some_and(|text| text.ends_with(" <!here>")), "{message}");
    assert_eq!(message["attachments"][0]["color"], "#e01e5a");

    let (_, sent) = post(&Event::sample("backup.resolved"), HOOK, 200, "ok");
    assert!(!body(&sent[0]).to_string().contains("<!here>"));
}

#[test]
fn nothing_in_an_event_becomes_markup() {
    let mut event = Event::sample("backup.failed");
    event.summary = "store <!channel> & <https://evil.example|here>\u{1b}[2J".to_owned();
    event.attributes.push(("error".to_owned(), "<@U1> said no".to_owned()));
    let config = HOOK.replace(r#", "mention": "<!here>""#, "");
    let (_, sent) = post(&event, &config, 200, "ok");
    let text = body(&sent[0]).to_string();
    assert!(text.contains("&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;"), "{text}");
    assert!(!text.contains("<!channel>") && !text.contains("<@U1>") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn an_event_of_any_length_fits() {
    let mut event = Event::sample("backup.failed");
    event.summary = "é".repeat(100_000);
    event.attributes.push(("error".to_owned(), "x".repeat(100_000)));
    let (_, sent) = post(&event, HOOK, 200, "ok");
    let message = body(&sent[0]);
    for block in message["attachments"][0]["blocks"].as_array().expect("blocks") {
        let text = block["text"]["text"].as_str().unwrap_or_default();
        assert!(text.chars().count() <= 3000, "{} characters", text.chars().count());
    }
}

#[test]
fn a_bot_posts_to_its_channel_and_reads_the_answer() {
    let event = Event::sample("verify.failed");
    let (receipt, sent) = post(&event, BOT, 200, r#"{"ok": true, "ts": "1"}"#);
    assert_eq!(receipt.expect("it is posted").summary, "posted to C024BE91L");
    assert_eq!(sent[0].url(), "https://slack.example/api/chat.postMessage");
    assert_eq!(sent[0].header_value("authorization"), Some("Bearer xoxb-hunter2"));
    assert_eq!(body(&sent[0])["channel"], "C024BE91L");
    for (answer, code) in [
        (r#"{"ok": false, "error": "channel_not_found"}"#, "config"),
        (r#"{"ok": false, "error": "ratelimited"}"#, "unavailable"),
        (r#"{"ok": false, "error": "msg_too_long"}"#, "refused"),
    ] {
        let (error, _) = post(&event, BOT, 200, answer);
        assert_eq!(error.expect_err("it is refused").code, code, "{answer}");
    }
}

#[test]
fn a_webhook_says_what_is_wrong_by_its_status() {
    let event = Event::sample("backup.failed");
    for (status, answer, code) in
        [(404, "no_service", "config"), (500, "", "unavailable"), (400, "invalid_blocks", "refused")]
    {
        let (error, _) = post(&event, HOOK, status, answer);
        let error = error.expect_err("it is refused");
        assert_eq!(error.code, code, "{status}");
        assert!(error.message.contains(answer), "{error}");
    }
}

#[test]
fn a_config_names_one_way() {
    for config in
        ["{}", r#"{"token_secret": "slack_token"}"#, r#"{"url_secret": "slack_url", "channel": "C1"}"#]
    {
        let (error, _) = post(&Event::sample("backup.failed"), config, 200, "ok");
        assert_eq!(error.expect_err("it is no config").code, "config", "{config}");
    }
}
