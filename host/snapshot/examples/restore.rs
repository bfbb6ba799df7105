//! Restores a snapshot for a cluster of one, checked while it is copied:
//! `cargo run --example restore -- FILE DATA_DIR [--compact]`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use etcd_snapshot::restore::{CopyAhead, Plan, restore_ahead};
use etcd_snapshot::{CheckOptions, Outcome, SnapshotFile, inspect};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (compact, paths): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|it| *it == "--compact");
    let [file, data_dir] = *paths else {
        eprintln!("usage: restore FILE DATA_DIR [--compact]");
        return ExitCode::from(2);
    };
    match run(file, data_dir, !compact.is_empty()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(file: &str, data_dir: &str, compact: bool) -> Result<bool, Box<dyn Error>> {
    let source = Arc::new(SnapshotFile::open(file.as_ref())?);
    let members = Plan::parse_initial_cluster("default=http://localhost:2380")?;
    let plan = Plan { compact, ..Plan::new("default", members, "restored", data_dir.as_ref()) };
    let started = Instant::now();
    let ahead = CopyAhead::begin(Arc::clone(&source), std::slice::from_ref(&plan))?;
    let integrity = inspect(&source, &CheckOptions::default()).integrity;
    let checked = started.elapsed();
    if integrity.outcome != Outcome::Passed {
        println!("{}: nothing was restored", integrity.outcome);
        return Ok(false);
    }
    let restored = restore_ahead(&source, &[plan], ahead)?;
    let bytes: u64 = restored.iter().map(|it| it.bytes_written).sum();
    println!("{bytes} bytes; checked in {checked:.3?}, restored in {:.3?}", started.elapsed());
    Ok(true)
}
