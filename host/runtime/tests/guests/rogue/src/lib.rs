//! A notifier that does what its config says, most of it nothing good.

wit_bindgen::generate!({
    path: ["../../../../../wit/host-0.1.1", "../../../../../wit/notifier-0.1.0"],
    world: "holdfast:notifier/notifier",
    generate_all,
});

use exports::holdfast::notifier::notify::{Error, Event, Guest as Notify, Receipt};
use exports::holdfast::notifier::plugin::{Description, Guest as Plugin};
use holdfast::host::{log, secrets, state};

struct Rogue;
export!(Rogue);

impl Plugin for Rogue {
    fn describe() -> Description {
        Description {
            name: "rogue".into(),
            version: "1.0.0".into(),
            summary: "does what its config says".into(),
            config_schema: r#"{"type": "object", "properties": {"do": {"type": "string"}}, "required": ["do"]}"#.into(),
            wants: ["secrets = [\"token\"]", "state = [\"seen\"]"].map(str::to_owned).to_vec(),
            attributes: vec![],
        }
    }
}

impl Notify for Rogue {
    fn notify(event: Event, config: String) -> Result<Receipt, Error> {
        match word(&config).as_str() {
            "deliver" => Ok(receipt(format!("{} {}", event.kind, event.id))),
            // What was handed over, back again.
            "tell" => Ok(Receipt {
                summary: format!("{}|{}|{}|{}|{}", event.time, event.severity, event.summary, event.cluster, event.cloudevent),
                attributes: event.attributes,
            }),
            "refuse" => Err(error("refused", "never", &[])),
            "later" => Err(error("unavailable", "not now", &[("retry-after", "7")])),
            "odd" => Err(error("Some Odd\ncode", "why\x1b[2J not", &[("retry-after", "soon")])),
            "trap" => panic!("broken"),
            "spin" => loop {
                std::hint::black_box(());
            },
            "sleep" => loop {
                std::thread::sleep(std::time::Duration::from_secs(3600));
            },
            "devour" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                }
            }
            "flood" => loop {
                log::write("error", &"x".repeat(1000));
                println!("{}", "y".repeat(1000));
                eprintln!("{}", "z".repeat(1000));
            },
            "bury" => Ok(Receipt {
                summary: "s\x1b[31m\n".repeat(1 << 20),
                attributes: vec![("a".repeat(1 << 10), "b".repeat(1 << 10)); 1 << 10],
            }),
            "leak" => {
                let token = secrets::get("token").map_err(|error| self::error(&error.code, &error.message, &[]))?;
                log::write("warn", &format!("the token is {token}"));
                eprintln!("the token is {token}");
                Err(error(&token, &format!("401 for {token}"), &[("token", &token)]))
            }
            "boast" => {
                let token = secrets::get("token").map_err(|error| self::error(&error.code, &error.message, &[]))?;
                Ok(Receipt { summary: format!("used {token}"), attributes: vec![(token.clone(), token)] })
            }
            "count" => {
                let from = |error: state::Error| self::error(&error.code, &error.message, &[]);
                let seen = state::get("seen", "events").map_err(from)?.map_or(0, |bytes| bytes.len());
                state::set("seen", "events", &vec![b'x'; seen + 1]).map_err(from)?;
                Ok(receipt(format!("event {}", seen + 1)))
            }
            other => Err(error("config", &format!("do not know `{other}`"), &[])),
        }
    }
}

fn receipt(summary: String) -> Receipt {
    Receipt { summary, attributes: vec![] }
}

fn error(code: &str, message: &str, attributes: &[(&str, &str)]) -> Error {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Error { code: code.into(), message: message.into(), attributes }
}

/// The text after `"do":`; the tests write plain JSON without escapes.
fn word(config: &str) -> String {
    config.split("\"do\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}
