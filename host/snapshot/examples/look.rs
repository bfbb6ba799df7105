//! Looks into snapshots without a restore, and tells how long it took:
//!
//! ```console
//! $ cargo run --release --example look -- get FILE KEY [REVISION]
//! $ cargo run --release --example look -- keys FILE PREFIX [REVISION]
//! $ cargo run --release --example look -- history FILE KEY
//! $ cargo run --release --example look -- diff OLDER NEWER
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::cmp::Ordering;
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use etcd_snapshot::SnapshotFile;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let started = Instant::now();
    let looked = match arguments[..] {
        ["get", file, key] => get(file, key, "0"),
        ["get", file, key, revision] => get(file, key, revision),
        ["keys", file, prefix] => keys(file, prefix, "0"),
        ["keys", file, prefix, revision] => keys(file, prefix, revision),
        ["history", file, key] => history(file, key),
        ["diff", older, newer] => diff(older, newer),
        _ => {
            eprintln!("usage: look get|keys|history FILE KEY|PREFIX [REVISION], or look diff OLDER NEWER");
            return ExitCode::from(2);
        }
    };
    eprintln!("{:.3} s", started.elapsed().as_secs_f64());
    match looked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// One key is found among the records, without an index of all keys.
fn get(file: &str, key: &str, revision: &str) -> Result<bool, Box<dyn Error>> {
    let file = SnapshotFile::open(file.as_ref())?;
    let revision = match revision.parse()? {
        0 => file.snapshot().revision()?,
        revision => revision,
    };
    let changes = file.history(key.as_bytes())?;
    let found = changes.at(revision);
    if let Some(record) = found {
        println!("{}", record.key_value.value.escape_ascii());
    }
    Ok(found.is_some())
}

fn keys(file: &str, prefix: &str, revision: &str) -> Result<bool, Box<dyn Error>> {
    let file = SnapshotFile::open(file.as_ref())?;
    let live = file.live_at(revision.parse()?)?;
    let positions = live.prefix(prefix.as_bytes());
    for position in positions.clone() {
        println!("{}", live.key(position).escape_ascii());
    }
    Ok(!positions.is_empty())
}

fn history(file: &str, key: &str) -> Result<bool, Box<dyn Error>> {
    let file = SnapshotFile::open(file.as_ref())?;
    let changes = file.history(key.as_bytes())?;
    for life in changes.generations() {
        for record in life {
            let what = if record.tombstone { "deleted" } else { "put" };
            println!("{} {what}, version {}", record.revision, record.key_value.version);
        }
    }
    Ok(!changes.records().is_empty())
}

/// Both indexes side by side: what has the same modification revision in the same cluster was not changed.
fn diff(older: &str, newer: &str) -> Result<bool, Box<dyn Error>> {
    let (older, newer) = (SnapshotFile::open(older.as_ref())?, SnapshotFile::open(newer.as_ref())?);
    let (old, new) = (older.live()?, newer.live()?);
    let (mut left, mut right, mut changes) = (0, 0, 0);
    while left < old.len() || right < new.len() {
        let order = match (left < old.len(), right < new.len()) {
            (true, true) => old.key(left).cmp(new.key(right)),
            (true, false) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let same = order == Ordering::Equal && old.metadata(left) == new.metadata(right);
        if !same {
            let (sign, key) = match order {
                Ordering::Less => ('-', old.key(left)),
                Ordering::Greater => ('+', new.key(right)),
                Ordering::Equal => ('~', new.key(right)),
            };
            println!("{sign} {}", key.escape_ascii());
            changes += 1;
        }
        left += usize::from(order != Ordering::Greater);
        right += usize::from(order != Ordering::Less);
    }
    Ok(changes == 0)
}
