//! The plugins under test, built once for all tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::tools;

/// The file of a built plugin: "required-keys".
///
/// # Panics
/// When there is no such plugin.
pub fn built(name: &str) -> PathBuf {
    let file = directory().join(format!("{name}.wasm"));
    assert!(file.exists(), "there is no built plugin `{name}` in {}", directory().display());
    file
}

/// A plugin that the tests of the plugin host are made with, and that nobody else wants: "rogue", "hostile-script".
///
/// # Panics
/// When it does not build.
pub fn guest(name: &str) -> PathBuf {
    static BUILDING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let target = tools::target_directory().join("guests");
    let guest = ["host/runtime/tests/guests", "tests/guests"]
        .map(|folder| tools::root().join(folder).join(name))
        .into_iter()
        .find(|guest| guest.is_dir())
        .unwrap_or_else(|| panic!("there is no guest `{name}`"));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-wasip2", "--target-dir"]);
    command.arg(&target).current_dir(guest).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    tools::run(&mut command);
    target.join("wasm32-wasip2/release").join(format!("{}.wasm", name.replace('-', "_")))
}

/// Such a plugin that calls itself something else.
///
/// # Panics
/// When the name has not as many letters as its own.
pub fn renamed(name: &str, other: &str) -> Vec<u8> {
    assert_eq!(name.len(), other.len(), "what is written over its name keeps all offsets");
    let mut bytes = std::fs::read(guest(name)).expect("the guest was built");
    let mut at = 0;
    while let Some(next) = bytes[at..].windows(name.len()).position(|part| part == name.as_bytes()) {
        at += next;
        bytes[at..at + name.len()].copy_from_slice(other.as_bytes());
    }
    bytes
}

/// A plugin that was built against a released version of the contract, and lies beside the tests of the plugin host as it was then:
/// "script-0.1.0".
pub fn frozen(name: &str) -> PathBuf {
    tools::root().join("host/runtime/tests/fixtures").join(format!("{name}.wasm"))
}

/// Where the built plugins are: `HOLDFAST_PLUGINS`, or where `plugins/build.sh` is told to put them.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        if let Some(path) = std::env::var_os("HOLDFAST_PLUGINS") {
            return PathBuf::from(path);
        }
        let directory = tools::target_directory().join("plugins");
        let status = Command::new(tools::root().join("plugins/build.sh"))
            .arg(&directory)
            .stdin(Stdio::null())
            .status();
        assert!(status.expect("plugins/build.sh runs").success(), "the plugins do not build");
        directory
    })
}
