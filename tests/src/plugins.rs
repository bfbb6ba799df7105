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
