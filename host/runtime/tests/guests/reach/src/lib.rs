//! A verifier that reaches for what its config names: HTTP, secrets, state. What it gets becomes its report.
//!
//! Built against `holdfast:host@0.1.1`; `hostile` beside it is built against 0.1.0.

wit_bindgen::generate!({
    inline: "
        package test:reach;
        world reach {
            include holdfast:verifier/verifier@0.1.0;
            import holdfast:host/secrets@0.1.1;
            import holdfast:host/state@0.1.1;
        }
    ",
    path: [
        "../../../../../wit/snapshot-0.1.0",
        "../../../../../wit/host-0.1.0",
        "../../../../../wit/host-0.1.1",
        "../../../../../wit/verifier-0.1.0",
    ],
    world: "test:reach/reach",
    generate_all,
});

use exports::holdfast::verifier::plugin::{Description, Guest as Plugin};
use exports::holdfast::verifier::verify::{Error, Finding, Guest as Verify, Measurement, Outcome, Report};
use holdfast::host0_1_0::log;
use holdfast::host0_1_1::{secrets, state};
use holdfast::snapshot::reader::Snapshot;
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;
use wasip2::random::random;

struct Reach;
export!(Reach);

impl Plugin for Reach {
    fn describe() -> Description {
        Description {
            name: "reach".into(),
            version: "1.0.0".into(),
            summary: "reaches for what its config names".into(),
            config_schema: r#"{"type": "object"}"#.into(),
            wants: ["http = [\"*\"]", "secrets = [\"token\", \"unset\"]", "state = [\"seen\"]"].map(str::to_owned).to_vec(),
            attributes: vec![],
        }
    }
}

impl Verify for Reach {
    fn verify(_: &Snapshot, _: Vec<(String, String)>, config: String) -> Result<Report, Error> {
        let text = |name: &str| word(&config, name);
        match text("do").as_str() {
            "request" => Ok(report(request(&config, &text("authority"))?)),
            "many-requests" => {
                for _ in 0..number(&config, "n") {
                    request(&config, &text("authority"))?;
                }
                Ok(report(String::new()))
            }
            // As an HTTP library would: the next request goes where the answer says.
            "follow" => {
                let first = request(&config, &text("authority"))?;
                let to = first.split("location ").nth(1).unwrap_or_default();
                let authority = to.trim_start_matches("http://").split('/').next().unwrap_or_default();
                Ok(report(request(&config, authority)?))
            }
            "denied-and-panic" => {
                let error = request(&config, &text("authority")).expect_err("it is refused");
                panic!("no answer: {}", error.message)
            }
            "secret" => match secrets::get(&text("name")) {
                Ok(value) => Ok(report(format!("{} bytes", value.len()))),
                Err(error) => Err(Error { code: error.code, message: error.message }),
            },
            "smuggle" => Ok(report(smuggle())),
            "pollables" => {
                let hour = 3_600_000_000_000;
                let kept: Vec<_> = (0..number(&config, "n")).map(|_| monotonic_clock::subscribe_duration(hour)).collect();
                Ok(report(kept.len().to_string()))
            }
            "randomness" => Ok(report(random::get_random_bytes(number(&config, "n")).len().to_string())),
            "tell" => tell(&text("how")),
            "state" => keep(&text("store"), &text("op"), &text("key"), &text("value")),
            other => Err(Error { code: "config".into(), message: format!("do not know `{other}`") }),
        }
    }
}

fn report(summary: String) -> Report {
    Report { outcome: Outcome::Passed, summary, findings: vec![], measurements: vec![], attributes: vec![] }
}

fn failed(error: ErrorCode) -> Error {
    Error { code: "http".into(), message: format!("{error:?}") }
}

fn broken(what: &str) -> Error {
    Error { code: "http".into(), message: what.into() }
}

/// The status, the size of the body, and where a redirect leads.
fn request(config: &str, authority: &str) -> Result<String, Error> {
    let fields = Fields::new();
    for index in 0..number(config, "headers") {
        let value = vec![b'x'; number(config, "header-bytes").max(1) as usize];
        fields.append(&format!("x-{index}"), &value).map_err(|error| broken(&format!("{error:?}")))?;
    }
    let request = OutgoingRequest::new(fields);
    let scheme = match word(config, "scheme").as_str() {
        "https" => Scheme::Https,
        "" | "http" => Scheme::Http,
        other => Scheme::Other(other.into()),
    };
    request.set_scheme(Some(&scheme)).map_err(|()| broken("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| broken("authority"))?;
    let path = word(config, "path");
    request.set_path_with_query(Some(if path.is_empty() { "/" } else { &path })).map_err(|()| broken("path"))?;
    let bytes = number(config, "body-bytes");
    let method = match word(config, "method").as_str() {
        "CONNECT" => Method::Connect,
        _ if bytes > 0 => Method::Post,
        _ => Method::Get,
    };
    request.set_method(&method).map_err(|()| broken("method"))?;
    let options = RequestOptions::new();
    if number(config, "patience-ms") > 0 {
        let patience = Some(number(config, "patience-ms") * 1_000_000);
        options.set_first_byte_timeout(patience).map_err(|()| broken("option"))?;
        options.set_between_bytes_timeout(patience).map_err(|()| broken("option"))?;
    }
    let body = request.body().map_err(|()| broken("body"))?;
    let answer = outgoing_handler::handle(request, Some(options)).map_err(failed)?;
    // A write that fails is explained by the answer.
    let sent = send(&body, bytes);
    let finished = OutgoingBody::finish(body, None);
    answer.subscribe().block();
    let response = answer.get().expect("it is ready").expect("it is asked for once").map_err(failed)?;
    if !sent || finished.is_err() {
        return Err(broken("the request was not sent whole"));
    }
    let location = response.headers().get("location");
    let location =
        location.first().map(|to| format!(" location {}", String::from_utf8_lossy(to))).unwrap_or_default();
    let body = response.consume().map_err(|()| broken("no body"))?;
    Ok(format!("{} {}{location}", response.status(), receive(&body)?))
}

/// Tries to put a second request, another host or another length into one. What got in is told.
fn smuggle() -> String {
    let mut taken = vec![];
    for (name, value) in [
        ("x", "a\r\nhost: evil.example"),
        ("x", "a\nb"),
        ("x\r\nhost", "evil.example"),
        ("host", "evil.example"),
        ("connection", "upgrade"),
        ("transfer-encoding", "chunked"),
        ("proxy-authorization", "Basic eDp5"),
        ("upgrade", "h2c"),
    ] {
        if Fields::new().append(name, value.as_bytes()).is_ok() {
            taken.push(name.escape_debug().to_string());
        }
    }
    for text in ["/ HTTP/1.1\r\nhost: evil.example\r\n\r\n", "/a b\r\n"] {
        if OutgoingRequest::new(Fields::new()).set_path_with_query(Some(text)).is_ok() {
            taken.push("path".to_owned());
        }
    }
    for text in ["a.example\r\nx: y", "a.example/../b", "a.example:80:81", " a.example"] {
        if OutgoingRequest::new(Fields::new()).set_authority(Some(text)).is_ok() {
            taken.push("authority".to_owned());
        }
    }
    if taken.is_empty() { "nothing was taken".to_owned() } else { format!("taken: {}", taken.join(", ")) }
}

fn send(body: &OutgoingBody, mut bytes: u64) -> bool {
    let Ok(stream) = body.write() else { return false };
    while bytes > 0 {
        let part = bytes.min(4096);
        if stream.blocking_write_and_flush(&vec![b'x'; part as usize]).is_err() {
            return false;
        }
        bytes -= part;
    }
    true
}

fn receive(body: &IncomingBody) -> Result<u64, Error> {
    let stream = body.stream().map_err(|()| broken("no stream"))?;
    let mut bytes = 0;
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(part) => bytes += part.len() as u64,
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(broken(&format!("after {bytes} bytes: {}", error.to_debug_string())));
            }
        }
    }
}

/// Tells a secret in some way.
fn tell(how: &str) -> Result<Report, Error> {
    let value = secrets::get("token").map_err(|error| Error { code: error.code, message: error.message })?;
    match how {
        "log" => {
            log::write("warn", &format!("the token is {value}"));
            println!("the token is {value}");
            eprintln!("the token is {value}");
            Ok(report("told".into()))
        }
        "error" => Err(Error { code: value.clone(), message: format!("401 for {value}") }),
        "panic" => panic!("cannot use {value}"),
        _ => Ok(Report {
            summary: format!("used {value}"),
            findings: vec![Finding {
                severity: "info".into(),
                code: value.clone(),
                message: format!("used {value}"),
                key: Some(value.clone().into_bytes()),
                attributes: vec![("token".into(), value.clone())],
            }],
            measurements: vec![Measurement {
                name: value.clone(),
                value: 1.0,
                unit: value.clone(),
                attributes: vec![(value.clone(), value.clone())],
            }],
            attributes: vec![("memo".into(), value.clone()), ("token".into(), value)],
            outcome: Outcome::Passed,
        }),
    }
}

fn keep(store: &str, op: &str, key: &str, value: &str) -> Result<Report, Error> {
    let from = |error: state::Error| Error { code: error.code, message: error.message };
    let summary = match op {
        "set" => state::set(store, key, value.as_bytes()).map(|()| "set".to_owned()),
        "delete" => state::delete(store, key).map(|()| "deleted".to_owned()),
        "keys" => state::keys(store).map(|keys| keys.join(" ")),
        _ => state::get(store, key)
            .map(|value| value.map_or("none".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())),
    };
    summary.map(report).map_err(from)
}

/// The text after `"name":`; the tests write plain JSON without escapes.
fn word(config: &str, name: &str) -> String {
    let marker = format!("\"{name}\":\"");
    let Some(start) = config.find(&marker) else { return String::new() };
    config[start + marker.len()..].split('"').next().unwrap_or_default().to_owned()
}

fn number(config: &str, name: &str) -> u64 {
    let marker = format!("\"{name}\":");
    let Some(start) = config.find(&marker) else { return 0 };
    let rest = &config[start + marker.len()..];
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}
