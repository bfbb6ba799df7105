//! What is sent for an event, and what an answer means.

use holdfast_plugin::http::{HttpError, HttpErrorKind, Request, Response};
use holdfast_plugin::{Event, NotifyError, Receipt, deliver, testing};
use webhook::{Signer, Webhook};

const CONFIG: &str = r#"{"url": "https://hooks.example.org/in"}"#;

fn answered(status: u16, config: &str) -> (Result<Receipt, NotifyError>, Vec<Request>) {
    testing::answer_http(move |_| Ok(Response::new(status, vec![], "no")));
    (deliver::<Webhook>(&Event::sample("backup.failed"), config), testing::take_http())
}

#[test]
fn the_whole_event_is_the_body() {
    let (receipt, sent) = answered(202, CONFIG);
    assert_eq!(receipt.expect("it is taken").summary, "answered 202");
    let [request] = &sent[..] else { panic!("one request: {sent:?}") };
    assert_eq!(request.url(), "https://hooks.example.org/in");
    assert_eq!(request.header_value("content-type"), Some("application/cloudevents+json; charset=utf-8"));
    assert_eq!(request.body_bytes(), Event::sample("backup.failed").cloudevent.as_bytes());
    assert_eq!(request.header_value("webhook-signature"), None);
}

#[test]
fn in_binary_mode_the_body_is_the_data() {
    let (_, sent) = answered(200, r#"{"url": "https://hooks.example.org/in", "mode": "binary"}"#);
    let body: serde_json::Value = serde_json::from_slice(sent[0].body_bytes()).expect("JSON");
    assert_eq!(body["kind"], "backup.failed");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-type", "holdfast.backup.failed"),
        ("ce-source", "/holdfast/prod-eu"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(sent[0].header_value(name), Some(value), "{name}");
    }
    assert_eq!(sent[0].header_value("ce-data"), None);
}

#[test]
fn a_signature_covers_id_time_and_body() {
    testing::set_secret("hook", "a secret of some length");
    let (_, sent) = answered(200, r#"{"url": "https://hooks.example.org/in", "signature_secret": "hook"}"#);
    let value = |name| sent[0].header_value(name).unwrap_or_else(|| panic!("`{name}` is sent"));
    let seconds: u64 = value("webhook-timestamp").parse().expect("seconds");
    let signer = Signer::new("a secret of some length").expect("a sound key");
    let expected = signer.sign(value("webhook-id"), seconds, sent[0].body_bytes());
    assert_eq!(value("webhook-signature"), expected);
    assert_ne!(expected, signer.sign(value("webhook-id"), seconds + 1, sent[0].body_bytes()));
}

#[test]
fn secrets_are_sent_and_not_told() {
    testing::set_secret("where", "https://hooks.example.org/in/hunter2\n");
    testing::set_secret("token", "t0ken");
    let (_, sent) = answered(200, r#"{"url_secret": "where", "token_secret": "token"}"#);
    assert_eq!(sent[0].url(), "https://hooks.example.org/in/hunter2");
    assert_eq!(sent[0].header_value("authorization"), Some("Bearer t0ken"));
}

#[test]
fn an_error_tells_whether_to_try_again() {
    for (status, code) in [(500, "unavailable"), (429, "unavailable"), (410, "config"), (400, "refused")] {
        let (error, _) = answered(status, CONFIG);
        let error = error.expect_err("it is not taken");
        assert_eq!(error.code, code, "{status}");
        assert!(error.message.contains(&status.to_string()), "{error}");
    }
    testing::answer_http(|_| Err(HttpError::new(HttpErrorKind::Unreachable, "the connection was refused")));
    let error = deliver::<Webhook>(&Event::sample("backup.failed"), CONFIG).expect_err("nobody is there");
    assert_eq!(error.code, "unavailable");
}

#[test]
fn a_config_must_say_where() {
    for (config, part) in [
        ("{}", "neither `url` nor `url_secret`"),
        (r#"{"url": "https://a.example", "url_secret": "b"}"#, "keep one"),
        (r#"{"url": "a.example"}"#, "has no scheme"),
        (r#"{"url": "https://a.example", "mod": "binary"}"#, "did you mean `mode`"),
        (r#"{"url_secret": "nowhere"}"#, "`nowhere` is not granted"),
    ] {
        let (error, _) = answered(200, config);
        let error = error.expect_err("it is no config");
        assert_eq!(error.code, "config", "{error}");
        assert!(error.message.contains(part), "`{part}` is missing in `{error}`");
    }
}
