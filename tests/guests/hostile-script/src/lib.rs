//! A script that does what no script should: its config says what.

wit_bindgen::generate!({
    path: ["../../../wit/host-0.1.0", "../../../wit/script-0.1.0"],
    world: "holdfast:script/script",
    generate_all,
});

use exports::holdfast::script::plugin::{Description, Guest as Plugin};
use exports::holdfast::script::run::{Error, Guest as Run, Outcome, Report};
use holdfast::script::database::{self, Database, Query, Transaction, Watch};

struct Hostile;
export!(Hostile);

impl Plugin for Hostile {
    fn describe() -> Description {
        Description {
            name: "hostile-script".into(),
            version: "1.0.0".into(),
            summary: "does what no script should".into(),
            config_schema: r#"{"type": "object"}"#.into(),
            wants: vec![],
            attributes: vec![],
        }
    }
}

impl Run for Hostile {
    fn run(database: &Database, context: Vec<(String, String)>, config: String) -> Result<Report, Error> {
        let what = word(&config, "do");
        let code = match what.as_str() {
            "pass" => None,
            "fail" => return Ok(report(Outcome::Failed, "said no")),
            "panic" => panic!("no reason at all"),
            "context" => return Ok(told(context)),
            // What another step wrote is here, or is not.
            "mark" => database.put(b"/mark", b"was here", 0).err(),
            "marked" => {
                let found = database.get(b"/mark").map_err(raise)?.is_some();
                return Ok(report(Outcome::Passed, if found { "marked" } else { "clean" }));
            }
            // Waits for changes that nobody makes.
            "endless-watch" => {
                let watch = database.watch(&Query::new()).map_err(raise)?;
                while watch.next(1, u32::MAX).is_ok() {}
                None
            }
            // Watches its own writes, and never reads what it is told.
            "deaf-watch" => {
                let _watches: Vec<Watch> =
                    (0..16).map(|_| database.watch(&Query::new())).collect::<Result<_, _>>().map_err(raise)?;
                flood(database)
            }
            "flood" => flood(database),
            // Does not take no for an answer.
            "deaf-flood" => loop {
                flood(database);
            },
            "giant" => database.put(b"/giant", &vec![1; 3 << 20], 0).err(),
            "enormous" => database.put(b"/enormous", &vec![1; 24 << 20], 0).err(),
            "long-key" => database.put(&vec![b'k'; 128 << 10], b"", 0).err(),
            "leases" => many(|| database.grant(1000)),
            "watches" => many(|| database.watch(&Query::new())),
            "cursors" => many(|| database.open(&Query::new())),
            "transactions" => many(|| {
                let transaction = Transaction::new();
                for part in 0..400_u32 {
                    transaction.put("success", &part.to_be_bytes(), &[0; 64 << 10], 0)?;
                }
                Ok(transaction)
            }),
            "parts" => {
                let transaction = Transaction::new();
                many(|| transaction.get("success", b"/a"))
            }
            // A handle of its own making.
            "forged-handle" => {
                // SAFETY: that there is no such handle is what is tried.
                let watch = unsafe { Watch::from_handle(4711) };
                watch.next(1, 1).err()
            }
            "foreign-lease" => database.lease(4711).time_to_live().err(),
            "empty-key" => database.put(b"", b"", 0).err(),
            "no-branch" => Transaction::new().put("maybe", b"/a", b"", 0).err(),
            "future" => {
                let query = Query::new();
                query.at(i64::MAX);
                database.open(&query).err()
            }
            "sleep" => loop {
                std::thread::sleep(std::time::Duration::from_secs(3600));
            },
            "loop" => loop {
                std::hint::black_box(0);
            },
            "delete-all" => database.delete(&Query::new()).err(),
            // Everything that is read comes over here.
            "read-all" => {
                let cursor = database.open(&Query::new()).map_err(raise)?;
                let (mut rows, mut bytes) = (0, 0);
                loop {
                    let batch = cursor.next(u32::MAX, u32::MAX).map_err(raise)?;
                    if batch.key_ends.is_empty() {
                        return Ok(report(Outcome::Passed, &format!("{rows} rows, {bytes} bytes")));
                    }
                    rows += batch.key_ends.len();
                    bytes += batch.keys.len() + batch.values.len();
                }
            }
            // Large rows among small ones, written here and read back.
            "large-rows" => {
                for row in 0..40_u8 {
                    let size = if row % 4 == 0 { 1 << 20 } else { 10 };
                    database.put(&[b'/', row], &vec![row; size], 0).map_err(raise)?;
                }
                None
            }
            other => return Err(Error { code: "config".into(), message: format!("what is `{other}`?") }),
        };
        Ok(match code {
            Some(error) => report(Outcome::Inconclusive, &format!("{}: {}", error.code, error.message)),
            None => report(Outcome::Passed, "done"),
        })
    }
}

/// Writes until it is told to stop.
fn flood(database: &Database) -> Option<database::Error> {
    let value = vec![7; 1 << 20];
    (0_u32..100_000).find_map(|number| database.put(&number.to_be_bytes(), &value, 0).err())
}

/// Does something over and over, and keeps what it gets.
fn many<T>(mut make: impl FnMut() -> Result<T, database::Error>) -> Option<database::Error> {
    let mut kept = Vec::new();
    loop {
        match make() {
            Ok(one) => kept.push(one),
            Err(error) => return Some(error),
        }
    }
}

fn raise(error: database::Error) -> Error {
    Error { code: error.code, message: error.message }
}

fn report(outcome: Outcome, summary: &str) -> Report {
    Report { outcome, summary: summary.into(), findings: vec![], measurements: vec![], attributes: vec![] }
}

fn told(context: Vec<(String, String)>) -> Report {
    let pairs: Vec<String> = context.iter().map(|(name, value)| format!("{name}={value}")).collect();
    report(Outcome::Passed, &pairs.join(" "))
}

/// The value of a string in flat JSON.
fn word(config: &str, name: &str) -> String {
    let key = format!("\"{name}\":\"");
    let Some(at) = config.find(&key) else { return String::new() };
    config[at + key.len()..].split('"').next().unwrap_or_default().to_owned()
}
