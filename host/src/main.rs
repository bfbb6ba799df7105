//! The process: TLS provider, logs, async runtime; then one command, its error and its exit code.

use std::process::ExitCode;

use clap::Parser;
use holdfast::cli::{self, Cli, LogFormat};
use holdfast::memory;
use holdfast::printer;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Threads for async work. It is all waiting for the network; what computes runs on the blocking pool.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    memory::keep_little();
    let cli = Cli::parse();
    if let Err(error) = start_logs(&cli) {
        printer::message(format_args!("error: {error}"));
        return ExitCode::from(2);
    }
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        printer::message("error: another TLS provider is installed already");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(cli::run(cli));
            // A thread that hangs in a dead mount shall not keep the process.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error).context("async runtime cannot start")),
    };
    outcome.unwrap_or_else(|error| cli::failure::report(&error))
}

/// Logs go to standard error. `HOLDFAST_LOG` (`debug`, `holdfast=trace,h2=debug`) overrides what the flags say.
fn start_logs(cli: &Cli) -> Result<(), String> {
    let filter = match std::env::var("HOLDFAST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(&directives)
            .map_err(|error| format!("`HOLDFAST_LOG` is `{directives}`: {error}"))?,
        _ => EnvFilter::new(cli.log_filter()),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match cli.global.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(printer::colour())).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(())
}
