//! The binary from outside, as far as it needs no etcd: exit codes, standard output, standard error.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    // Nothing of whoever runs the tests, so that they see what is tested and nothing else.
    command.env_clear().env("TMPDIR", std::env::temp_dir()).args(arguments).stdin(Stdio::null());
    command
}

fn holdfast(arguments: &[&str]) -> Ended {
    ended(&mut command(arguments))
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A folder with a configuration in it.
fn site(config: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("holdfast.toml");
    fs::write(&file, config).unwrap();
    let file = file.display().to_string();
    (folder, file)
}

const SOUND: &str = r#"
[cluster]
name = "test"
endpoints = ["http://127.0.0.1:2379"]

[backup]
schedule = "0 * * * *"
stores = ["local"]
verify = ["sanity"]
scratch = "scratch"

[store.local.directory]
path = "backups"

[chain.sanity]
steps = [{ integrity = {} }, { agreement = {}, on_error = "warn" }]
"#;

/// A snapshot of a Kubernetes cluster, with what is known of it from another source.
fn snapshot(folder: &Path) -> (PathBuf, Value) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let packed = fs::File::open(data.join("kubernetes-t1.db.zst")).unwrap();
    let file = folder.join("kubernetes-t1.db");
    zstd::stream::copy_decode(packed, fs::File::create(&file).unwrap()).unwrap();
    let facts = fs::read_to_string(data.join("kubernetes-t1.facts.json")).unwrap();
    (file, serde_json::from_str(&facts).unwrap())
}

#[test]
fn a_sound_configuration() {
    let (_folder, file) = site(SOUND);
    let ended = holdfast(&["config", "check", "--config", &file]).exits(0);
    assert!(ended.stdout.starts_with(&format!("ok: `{file}`\n")), "{ended:#?}");
    assert!(ended.stdout.contains("schedule   0 * * * * ("), "{ended:#?}");
    assert_eq!(ended.stderr, "");

    let checked = holdfast(&["config", "check", "-c", &file, "-o", "json"]).exits(0).json();
    assert_eq!(checked["sound"], true);
    assert_eq!(checked["diagnostics"], serde_json::json!([]));
    // The variable names the file as well.
    ended_with_variable(&file);
}

fn ended_with_variable(file: &str) {
    ended(command(&["config", "check"]).env("HOLDFAST_CONFIG", file)).exits(0);
}

#[test]
fn an_unsound_configuration() {
    let (_folder, file) =
        site(&SOUND.replace("endpoints", "endpoint").replace("\"0 * * * *\"", "\"hourly\""));
    let ended = holdfast(&["config", "check", "--config", &file]).exits(1);
    assert_eq!(ended.stdout, "");
    for part in ["did you mean `endpoints`?", ":4:1", "is not a cron pattern", "cannot be used"] {
        assert!(ended.stderr.contains(part), "{part}: {ended:#?}");
    }
    let checked = holdfast(&["config", "check", "--config", &file, "--output", "json"]).exits(1).json();
    assert_eq!(checked["sound"], false);
    let places: Vec<_> = checked["diagnostics"].as_array().unwrap().iter().map(|one| &one["line"]).collect();
    assert_eq!(places, [2, 4, 7], "{checked:#}");

    // Any other command cannot do its work.
    let ended = holdfast(&["list", "--config", &file]).exits(2);
    assert!(ended.stderr.contains("has 3 errors"), "{ended:#?}");
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_configuration_that_is_not_there() {
    for command in [&["config", "check"][..], &["list"], &["backup"], &["plugin", "list"]] {
        let ended = holdfast(&[command, &["--config", "/nowhere/holdfast.toml"]].concat()).exits(2);
        assert!(
            ended.stderr.starts_with("error: configuration `/nowhere/holdfast.toml` cannot be read\n"),
            "{ended:#?}"
        );
        assert!(ended.stderr.contains("\n  caused by: No such file"), "{ended:#?}");
        assert!(ended.stderr.contains("\nhint: "), "{ended:#?}");
    }
}

#[test]
fn files_that_a_configuration_names() {
    let cluster = "endpoints = [\"https://127.0.0.1:2379\"]\nusername = \"root\"\npassword_file = \"password\"\n\
                   tls = { ca = \"ca.crt\", cert = \"cert.crt\", key = \"cert.key\" }";
    let config = SOUND
        .replace("endpoints = [\"http://127.0.0.1:2379\"]", cluster)
        .replace("scratch = \"scratch\"", "pack = { recipients_files = [\"readers\"] }");
    let (folder, file) = site(&format!("{config}[decrypt]\nidentity_files = [\"identity\"]\n"));
    fs::write(folder.path().join("cert.crt"), "not a certificate").unwrap();
    fs::write(folder.path().join("readers"), "# nobody\n").unwrap();
    fs::write(folder.path().join("identity"), "AGE-SECRET-KEY-1TYPO\n").unwrap();
    let ended = holdfast(&["config", "check", "--config", &file]).exits(1);
    for part in [
        "password` cannot be read: No such file",
        "authority `",
        "ca.crt` cannot be used: ",
        "there is no certificate in it",
        "cert.key` cannot be used",
        "readers` holds no recipient",
        "line 1 of identity file `",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {ended:#?}");
    }
    assert!(!ended.stderr.contains("TYPO"), "a secret is shown: {ended:#?}");
}

#[test]
fn files_that_others_may_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, file) =
        site(&SOUND.replace("endpoints =", "username = \"root\"\npassword_file = \"password\"\nendpoints ="));
    let password = folder.path().join("password");
    fs::write(&password, "hunter2\n").unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&password, 0o644);
    mode(Path::new(&file), 0o666);
    let ended = holdfast(&["config", "check", "--config", &file]).exits(0);
    assert!(ended.stderr.contains("may be read by everyone"), "{ended:#?}");
    assert!(ended.stderr.contains("may be written by others"), "{ended:#?}");
    assert!(!format!("{ended:?}").contains("hunter2"), "a secret is shown: {ended:#?}");
    mode(&password, 0o600);
    mode(Path::new(&file), 0o600);
    assert_eq!(holdfast(&["config", "check", "--config", &file]).exits(0).stderr, "");
}

#[test]
fn a_machine_that_only_writes() {
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let (_folder, file) =
        site(&SOUND.replace("scratch =", &format!("pack = {{ recipients = [\"{recipient}\"] }}\nscratch =")));
    let ended = holdfast(&["config", "check", "--config", &file]).exits(0);
    assert!(ended.stderr.contains("this machine can write backups but not read them"), "{ended:#?}");
    assert!(ended.stdout.contains("encrypted  yes"), "{ended:#?}");
}

#[test]
fn inspect_tells_what_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, known) = snapshot(folder.path());
    let file = file.display().to_string();
    // No configuration, none needed.
    let shown = holdfast(&["inspect", &file]).exits(0);
    assert!(shown.stdout.contains("integrity: passed (0 errors"), "{shown:#?}");
    assert_eq!(shown.stderr, "");
    let inspection = holdfast(&["inspect", &file, "--output", "json"]).exits(0).json();
    assert_eq!(inspection["integrity"]["outcome"], "passed");
    for (fact, value) in known.as_object().unwrap() {
        if let Some(found) = inspection.get(fact).filter(|found| found.is_number() && value.is_number()) {
            assert_eq!(found, value, "{fact}");
        }
    }
    assert!(inspection["revision"].as_i64().unwrap() > 1);
}

#[test]
fn inspect_takes_packed_files() {
    let folder = tempfile::tempdir().unwrap();
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/kubernetes-t1.db.zst");
    let mut command = command(&["inspect", &packed.display().to_string()]);
    let shown = ended(command.env("TMPDIR", folder.path())).exits(0);
    assert!(shown.stdout.contains("integrity: passed"), "{shown:#?}");
    let left = walk(folder.path());
    assert!(left.is_empty(), "{left:?}");
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn inspect_tells_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = snapshot(folder.path());
    let sound = fs::read(&file).unwrap();
    let damaged = folder.path().join("damaged.db");
    let name = damaged.display().to_string();
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    fs::write(&damaged, &flipped).unwrap();
    let shown = holdfast(&["inspect", &name]).exits(1);
    assert!(shown.stdout.contains("integrity: failed"), "{shown:#?}");
    assert!(shown.stdout.contains("error: hash-mismatch: "), "{shown:#?}");
    let inspection = holdfast(&["inspect", &name, "--output", "json"]).exits(1).json();
    assert_eq!(inspection["integrity"]["outcome"], "failed");

    for unreadable in [&b"hello"[..], b""] {
        fs::write(&damaged, unreadable).unwrap();
        let shown = holdfast(&["inspect", &name]).exits(2);
        assert!(shown.stderr.starts_with("error: "), "{shown:#?}");
        assert!(shown.stderr.contains("hint: "), "{shown:#?}");
        assert_eq!(shown.stdout, "");
    }

    fs::write(&damaged, &sound[..sound.len() - 32]).unwrap();
    holdfast(&["inspect", &name]).exits(1);
    holdfast(&["inspect", &name, "--allow-missing-hash"]).exits(0);
    holdfast(&["inspect", "/nowhere/snapshot.db"]).exits(2);
}

#[test]
fn generated_texts() {
    let folder = tempfile::tempdir().unwrap();
    let reference = holdfast(&["generate", "config-reference"]).exits(0);
    assert_eq!(reference.stderr, "");
    let file = folder.path().join("holdfast.toml");
    fs::write(&file, &reference.stdout).unwrap();
    holdfast(&["config", "check", "--config", &file.display().to_string()]).exits(0);

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = holdfast(&["generate", "completions", shell]).exits(0);
        assert!(script.stdout.contains("initial-cluster-token"), "{shell}");
    }

    let pages = folder.path().join("man");
    holdfast(&["generate", "man", &pages.display().to_string(), "--quiet"]).exits(0);
    let mut names: Vec<String> =
        walk(&pages).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    for page in ["holdfast.1", "holdfast-backup.1", "holdfast-restore.1", "holdfast-config-check.1"] {
        assert!(names.iter().any(|name| name == page), "{page}: {names:?}");
    }
    let restore = fs::read_to_string(pages.join("holdfast-restore.1")).unwrap();
    assert!(restore.contains("Examples:") && restore.contains("initial\\-cluster"), "{restore}");
    let ended = holdfast(&["generate", "man", "/proc/nowhere"]).exits(2);
    assert!(ended.stderr.contains("hint: "), "{ended:#?}");
}

#[test]
fn what_is_not_there_is_refused() {
    for arguments in [
        &["--frobnicate"][..],
        &["backup", "--frobnicate"],
        &["frobnicate"],
        &["restore", "latest"],
        &["inspect"],
        &["--output", "xml", "list"],
        &["-v", "-q", "list"],
        &["restore", "latest", "--data-dir", "x", "--bump-revision", "-1"],
        &[],
    ] {
        let ended = holdfast(arguments).exits(2);
        assert_eq!(ended.stdout, "", "{arguments:?}");
        let told = ["Usage: holdfast", "try '--help'"].iter().any(|part| ended.stderr.contains(part));
        assert!(told, "{ended:#?}");
    }
    let ended = ended(command(&["list"]).env("HOLDFAST_LOG", "holdfast=loud")).exits(2);
    assert!(ended.stderr.contains("`HOLDFAST_LOG` is `holdfast=loud`"), "{ended:#?}");
}

#[test]
fn every_command_has_help_with_examples() {
    let all = ["backup", "list", "show", "verify", "restore", "inspect", "agent", "generate"];
    let two = [
        ["config", "check"],
        ["plugin", "list"],
        ["generate", "man"],
        ["generate", "completions"],
        ["generate", "config-reference"],
    ];
    for arguments in all.iter().map(|one| vec![*one]).chain(two.iter().map(|two| two.to_vec())) {
        let help = holdfast(&[arguments.as_slice(), &["--help"]].concat()).exits(0).stdout;
        assert!(help.contains("Examples:\n  holdfast "), "{arguments:?}: {help}");
        assert!(help.contains("--config <FILE>"), "{arguments:?}: {help}");
    }
    let version = holdfast(&["--version"]).exits(0).stdout;
    assert_eq!(version, format!("holdfast {}\n", env!("CARGO_PKG_VERSION")));
}

/// A reader that goes away is not an error, and above all no panic.
#[test]
fn output_that_nobody_reads() {
    let mut child = command(&["generate", "completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    // A full disk is one.
    let full = fs::File::options().write(true).open("/dev/full");
    if let Ok(full) = full {
        let output = command(&["generate", "config-reference"]).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with("error: standard output cannot be written\n"), "{stderr}");
    }
}

#[test]
fn a_key_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("age.key");
    let made = holdfast(&["key", "generate", file.to_str().unwrap(), "-o", "json"]).exits(0).json();
    let recipient = made["recipient"].as_str().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        recipient.starts_with("age1") && text.contains(&format!("# public key: {recipient}\n")),
        "{text}"
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let identities = holdfast::pack::read_identities(&file).unwrap();
    assert_eq!(identities[0].recipient().map(|made| made.to_string()).as_deref(), Some(recipient));
    // A key is never replaced.
    holdfast(&["key", "generate", file.to_str().unwrap()]).exits(2);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}
