//! A store that does whatever its config's `do` says, most of it bad. It keeps nothing: of each object it says that it is there, with
//! the size that `head` of its config says.

use std::hint::black_box;

wit_bindgen::generate!({
    path: ["../../../../../wit/host-0.1.1", "../../../../../wit/store-0.1.0"],
    world: "holdfast:store/store",
    generate_all,
});

use exports::holdfast::store::objects::{Body, Error, Guest as Objects, Object, Page, Sink};
use exports::holdfast::store::plugin::{Description, Guest as Plugin};
use holdfast::host::secrets;

type Facts = Vec<(String, String)>;

struct Keeper;
export!(Keeper);

impl Plugin for Keeper {
    fn describe() -> Description {
        Description {
            name: "keeper".into(),
            version: "1.0.0".into(),
            summary: "keeps nothing, and says what it is told to".into(),
            config_schema: r#"{"type": "object"}"#.into(),
            wants: vec![r#"secrets = ["token"]"#.into()],
            attributes: vec![],
        }
    }
}

impl Objects for Keeper {
    fn features(config: String) -> Result<Vec<String>, Error> {
        Ok(match word(&config, "do").as_str() {
            "not-atomic" => vec!["exclusive".into()],
            "no-ranges" => vec!["atomic".into(), "exclusive".into(), "sweep".into()],
            _ => ["atomic", "exclusive", "ranges", "sweep", "\u{1b}[2J"].map(str::to_owned).to_vec(),
        })
    }

    fn probe(config: String, context: Facts) -> Result<(), Error> {
        match word(&config, "do").as_str() {
            "probe-secret" => {
                let token = secrets::get("token").expect("it is granted");
                eprintln!("using {token}");
                Err(fail("denied", &format!("the server refuses `{token}`")))
            }
            "probe-late" => sleep(),
            "probe-loop" => forever(),
            "probe-unavailable" => unavailable_before(&context, 3),
            "probe-missing" => Err(fail("missing-place", "there is no such share")),
            "probe-exit" => std::process::exit(7),
            "probe-escape" => Err(fail("Own Code\n", "\u{1b}[31mred\u{202e}")),
            _ => Ok(()),
        }
    }

    fn put(config: String, context: Facts, _path: String, body: &Body) -> Result<u64, Error> {
        let read = |bytes: u32| body.read(bytes).map_err(|error| fail(&error.code, &error.message));
        let mut all = 0;
        match word(&config, "do").as_str() {
            "put-unread" => return Ok(0),
            "put-half" => return Ok(read(1000)?.len() as u64),
            "put-trap" => {
                read(1000)?;
                panic!("trapped midway");
            }
            "put-late" => {
                read(1000)?;
                sleep()?;
            }
            "put-loop" => {
                read(1000)?;
                forever()?;
            }
            "put-deaf" => {
                // Takes a broken body for its end.
                while let Ok(piece) = body.read(1 << 20) {
                    if piece.is_empty() {
                        break;
                    }
                    all += piece.len() as u64;
                }
                return Ok(all);
            }
            "put-unavailable" => unavailable_before(&context, 3)?,
            "put-broken-off" => {
                read(1000)?;
                return Err(fail("unavailable", "the connection broke"));
            }
            "put-exists" if attempt(&context) > 1 => return Err(fail("exists", "it is there")),
            "put-exists" => return Err(fail("unavailable", "the answer was lost")),
            "put-greedy" => {
                let piece = read(u32::MAX)?;
                assert!(piece.len() <= 1 << 20, "no piece is larger");
                all += piece.len() as u64;
            }
            _ => {}
        }
        loop {
            let piece = read(64 << 10)?;
            if piece.is_empty() {
                break;
            }
            all += piece.len() as u64;
        }
        Ok(if word(&config, "do") == "put-more" { all + 1 } else { all })
    }

    fn get(
        config: String,
        context: Facts,
        path: String,
        start: u64,
        end: Option<u64>,
        into: &Sink,
    ) -> Result<(), Error> {
        let told = |result: Result<(), holdfast::store::transfer::Error>| {
            result.map_err(|error| fail(&error.code, &error.message))
        };
        let size = number(&config, "size");
        let what = word(&config, "do");
        match what.as_str() {
            "get-nothing" => return Ok(()),
            "get-unbegun" => {
                into.write(b"x").expect_err("it was not begun");
                return Ok(());
            }
            "get-missing" => return Err(fail("not-found", &format!("no {path}"))),
            "get-late" => sleep()?,
            "get-huge-claim" => {
                told(into.begin(u64::MAX, ""))?;
                return told(into.write(b"x"));
            }
            // Another object each time.
            "get-replaced" => {
                told(into.begin(size, &format!("v{}", attempt(&context))))?;
                told(into.write(b"x"))?;
                return Err(fail("unavailable", "the connection broke"));
            }
            "get-resumed" => {
                told(into.begin(size, "v1"))?;
                if start < size / 2 {
                    hand_on(into, start, size / 2)?;
                    return Err(fail("unavailable", "the connection broke"));
                }
                return hand_on(into, start, end.unwrap_or(size).min(size));
            }
            _ => {}
        }
        told(into.begin(size, "v1"))?;
        let end = end.unwrap_or(size).min(size);
        match what.as_str() {
            "get-short" => hand_on(into, start, end.saturating_sub(1)),
            "get-endless" => loop {
                told(into.write(&[7; 4096]))?;
            },
            "get-stuck" => {
                told(into.write(b"x"))?;
                sleep()
            }
            "no-ranges" => hand_on(into, 0, size),
            _ => hand_on(into, start, end),
        }
    }

    fn head(config: String, _context: Facts, path: String) -> Result<Option<Object>, Error> {
        Ok(match word(&config, "do").as_str() {
            "head-none" => None,
            "head-other" => Some(object("another", 1)),
            _ => Some(object(&path, number(&config, "size"))),
        })
    }

    fn list(
        config: String,
        _context: Facts,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page, Error> {
        let page = |paths: &[&str], next: Option<&str>| Page {
            objects: paths.iter().map(|path| object(path, 1)).collect(),
            next: next.map(str::to_owned),
        };
        let turn = after.as_ref().and_then(|after| after.parse::<u64>().ok()).unwrap_or(0);
        Ok(match word(&config, "do").as_str() {
            "list-unsorted" => page(&[&format!("{prefix}b"), &format!("{prefix}a")], None),
            "list-twice" => page(&[&format!("{prefix}a"), &format!("{prefix}a")], None),
            "list-back" => page(&[&format!("{prefix}a")], Some(if turn == 0 { "1" } else { "2" })),
            "list-foreign" => page(&["elsewhere"], None),
            "list-climbing" => page(&[&format!("{prefix}../../etc/passwd")], None),
            "list-escape" => page(&["\u{1b}[2J"], None),
            "list-same" => page(&[&format!("{prefix}a{turn:06}")], Some("1")),
            "list-empty" => page(&[], Some(&(turn + 1).to_string())),
            "list-endless" => {
                let first = turn * u64::from(limit);
                let paths: Vec<String> =
                    (first..first + u64::from(limit)).map(|index| format!("{prefix}{index:020}")).collect();
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                page(&paths, Some(&(turn + 1).to_string()))
            }
            "list-large" => {
                let paths: Vec<String> = (0..=limit).map(|index| format!("{prefix}{index:020}")).collect();
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                page(&paths, None)
            }
            "list-next" => page(&[], Some(&"x".repeat(2000))),
            _ => page(&[&format!("{prefix}a")], None),
        })
    }

    fn delete(config: String, _context: Facts, _path: String) -> Result<(), Error> {
        match word(&config, "do").as_str() {
            "delete-missing" => Err(fail("not-found", "it is not there")),
            "delete-locked" => Err(Error {
                attributes: vec![("until".into(), "2030-01-02T03:04:05Z".into())],
                ..fail("locked", "it is locked")
            }),
            _ => Ok(()),
        }
    }

    fn sweep(_config: String, _context: Facts, _age_seconds: u64) -> Result<u64, Error> {
        Ok(3)
    }
}

/// Bytes that tell where they stand.
fn hand_on(into: &Sink, start: u64, end: u64) -> Result<(), Error> {
    let mut at = start;
    while at < end {
        let until = end.min(at + 5000);
        let bytes: Vec<u8> = (at..until).map(|place| (place % 251) as u8).collect();
        into.write(&bytes).map_err(|error| fail(&error.code, &error.message))?;
        at = until;
    }
    Ok(())
}

fn object(path: &str, size_bytes: u64) -> Object {
    Object { path: path.into(), size_bytes, modified: Some(0), tag: "v1".into(), attributes: vec![] }
}

fn fail(code: &str, message: &str) -> Error {
    Error { code: code.into(), message: message.into(), attributes: vec![] }
}

fn attempt(context: &Facts) -> u64 {
    context.iter().find(|(name, _)| name == "attempt").map_or(0, |(_, value)| value.parse().unwrap_or(0))
}

fn unavailable_before(context: &Facts, wanted: u64) -> Result<(), Error> {
    if attempt(context) < wanted { Err(fail("unavailable", "not yet")) } else { Ok(()) }
}

fn sleep() -> Result<(), Error> {
    std::thread::sleep(std::time::Duration::from_secs(3600));
    Ok(())
}

fn forever() -> Result<(), Error> {
    let mut number = 0_u64;
    loop {
        number = black_box(number.wrapping_add(1));
        if number == u64::MAX {
            return Ok(());
        }
    }
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
