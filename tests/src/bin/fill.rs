//! Fills an etcd with a Kubernetes-shaped key space, for measurements and tests:
//! `cargo run --release --package holdfast-tests --bin fill -- --endpoints http://127.0.0.1:2379 --megabytes 700`.
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::process::ExitCode;

use clap::Parser;
use holdfast_tests::{filling, tools};

/// Fill an etcd with objects as a busy Kubernetes cluster keeps them: history, deleted keys and free pages included
#[derive(Parser)]
struct Arguments {
    /// Members to write to, as in `http://127.0.0.1:2379`; the first one's size is looked at
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// How large the database is to be, in million bytes; a member takes 2 GB unless its quota is raised
    #[arg(long, value_name = "N", required_unless_present = "keys", conflicts_with = "keys")]
    megabytes: Option<u64>,
    /// How many keys with small values to write instead, each once
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filled = match (arguments.keys, arguments.megabytes) {
        (Some(keys), _) => filling::put_keys(&arguments.endpoints, keys).await,
        (None, megabytes) => filling::fill(&arguments.endpoints, megabytes.unwrap_or_default()).await,
    };
    match filled {
        Ok(filled) => {
            println!(
                "{} bytes, {} live keys after {} changes, revision {}, compacted at {}",
                filled.database_bytes,
                filled.live_keys,
                filled.changes,
                filled.revision,
                filled.compact_revision
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            tools::tell(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}
