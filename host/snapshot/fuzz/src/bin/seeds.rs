//! `seeds TARGET DIRECTORY`: writes what a target begins with.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, directory] = &arguments[..] else {
        eprintln!("usage: seeds TARGET DIRECTORY");
        return ExitCode::from(2);
    };
    match etcd_snapshot_fuzz::write_seeds(name, directory.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write to `{directory}`: {error}");
            ExitCode::from(2)
        }
    }
}
