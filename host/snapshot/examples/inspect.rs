//! Prints what there is to know of a snapshot file, as JSON: `cargo run --example inspect -- FILE [--quick]`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::process::ExitCode;
use std::time::Instant;

use etcd_snapshot::{CheckOptions, Outcome, SnapshotFile, inspect};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = arguments.iter().find(|argument| !argument.starts_with("--")) else {
        eprintln!("usage: inspect FILE [--quick]");
        return ExitCode::from(2);
    };
    let file = match SnapshotFile::open(path.as_ref()) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let sha256 = !arguments.iter().any(|argument| argument == "--quick");
    let inspection =
        inspect(&file, &CheckOptions { sha256, allow_missing_hash: true, ..CheckOptions::default() });
    eprintln!("checked in {:.3} s", started.elapsed().as_secs_f64());
    if arguments.iter().any(|argument| argument == "--keys") {
        let started = Instant::now();
        let count = file.live().map_or(0, |live| live.len());
        eprintln!("indexed {count} keys in {:.3} s", started.elapsed().as_secs_f64());
    }
    match serde_json::to_string_pretty(&inspection) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("error: {error}"),
    }
    if inspection.integrity.outcome == Outcome::Passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
