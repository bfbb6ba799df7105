//! Where the programs are that the tests use. `tools/install.sh` sets them up.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::process;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie inside the repository")
}

/// The folder of `tools/install.sh`.
pub fn directory() -> PathBuf {
    std::env::var_os("HOLDFAST_TOOLS").map_or_else(|| root().join("target/tools"), PathBuf::from)
}

/// The programs of one etcd version.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// As in "3.6".
    pub version: String,
    directory: PathBuf,
}

impl Etcd {
    /// The etcd of this version ("3.6").
    ///
    /// # Panics
    /// When it is not installed.
    pub fn version(version: &str) -> Etcd {
        Etcd::find(version).unwrap_or_else(|| {
            panic!("etcd {version} is not installed: run `tools/install.sh etcd-{version}`")
        })
    }

    /// The etcd of this version, or nothing, said loudly. In CI that is a failure: there, everything is tested.
    pub fn find(version: &str) -> Option<Etcd> {
        let directory = directory().join(format!("etcd-{version}"));
        if directory.join("etcd").exists() && directory.join("etcdctl").exists() {
            return Some(Etcd { version: version.to_owned(), directory });
        }
        skip(&format!("etcd {version} is not installed: run `tools/install.sh etcd-{version}`"));
        None
    }

    /// The server.
    pub fn server(&self) -> PathBuf {
        self.directory.join("etcd")
    }

    /// The client.
    pub fn etcdctl(&self) -> PathBuf {
        self.directory.join("etcdctl")
    }

    /// The offline tool. Version 3.4 has none, and its etcdctl does the same.
    pub fn etcdutl(&self) -> PathBuf {
        let own = self.directory.join("etcdutl");
        if own.exists() { own } else { self.etcdctl() }
    }

    /// Is it this minor version of etcd 3, or a later one?
    pub fn is_at_least(&self, minor: u32) -> bool {
        self.version.strip_prefix("3.").and_then(|own| own.parse().ok()).is_some_and(|own: u32| own >= minor)
    }

    /// The word that makes the client commands of 3.4 speak version 3 of the protocol.
    pub fn environment() -> (&'static str, &'static str) {
        ("ETCDCTL_API", "3")
    }
}

/// A command found on PATH or in the tools folder's `bin`.
pub fn program(name: &str) -> Command {
    let own = directory().join("bin").join(name);
    Command::new(if own.exists() { own } else { PathBuf::from(name) })
}

/// A stock tool, if it runs here; else nothing, said loudly.
pub fn stock(name: &str) -> Option<Command> {
    // Any ending will do; only one that never began means that it is not there.
    if program(name).arg("-v").stdin(Stdio::null()).output().is_ok() {
        return Some(program(name));
    }
    skip(&format!("`{name}` is not installed: `tools/install.sh {name}`"));
    None
}

/// A program in the tools folder's `bin` or on PATH that takes this option; none when it is in neither.
pub fn find(name: &str, option: &str) -> Option<PathBuf> {
    let own = directory().join("bin").join(name);
    let path = if own.exists() { own } else { PathBuf::from(name) };
    let runs = Command::new(&path).arg(option).output().is_ok_and(|output| output.status.success());
    runs.then_some(path)
}

/// The `holdfast` to test: `HOLDFAST_BIN`, or this workspace's, built once.
pub fn holdfast() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("HOLDFAST_BIN") {
            return PathBuf::from(path);
        }
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--package", "holdfast"])
            .current_dir(root())
            .stdin(Stdio::null())
            .status()
            .expect("cargo can be run");
        assert!(status.success(), "`holdfast` does not build");
        target_directory().join("debug/holdfast")
    })
}

/// Where cargo builds.
pub fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a command to its end.
///
/// # Panics
/// When it fails; its output is in the message.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = process::output(command).unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Says what is not tested, where it cannot be overlooked: past the capture of the test runner, and in the list that
/// `tests/run.sh` ends with.
///
/// # Panics
/// In CI, where nothing may be left out.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    tell(&format!("SKIPPED {test}: {reason}"));
    if let Some(list) = std::env::var_os("HOLDFAST_SKIPPED") {
        let line = format!("{test}: {reason}\n");
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(list)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the list of skipped tests can be written");
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "nothing may be skipped in CI: {reason}");
}

/// Writes a line past the capture of the test runner.
pub fn tell(text: &str) {
    // A closed standard error is nobody's test failure.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
