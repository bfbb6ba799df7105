//! An operator's machine: a configuration, a store, a scratch folder, plugins, and the `holdfast` command.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::cluster::{Cluster, PASSWORD, temporary_directory};
use crate::plugins;
use crate::process::{self, Process};
use crate::{s3, tools, webdav};

/// One operator's machine.
pub struct Site {
    directory: TempDir,
    sections: BTreeMap<String, BTreeMap<String, String>>,
    processes: std::cell::Cell<u32>,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// The command, to be shown when a check fails.
    pub command: String,
    /// The exit code; none if it was killed.
    pub code: Option<i32>,
    /// The facts.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Output {
    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another.
    pub fn exits(&self, code: i32) -> &Output {
        assert_eq!(self.code, Some(code), "the exit code of {self}");
        self
    }

    /// Checks that standard error has each of these texts in it, in any case of letters.
    ///
    /// # Panics
    /// When one is missing.
    pub fn says(&self, texts: &[&str]) -> &Output {
        let said = self.stderr.to_lowercase();
        for text in texts {
            assert!(said.contains(&text.to_lowercase()), "`{text}` is missing in what was said by {self}");
        }
        self
    }

    /// Checks that there is one error, and a next step for the reader.
    ///
    /// # Panics
    /// When there is no message, no hint, or the trace of a panic.
    pub fn explains(&self, texts: &[&str]) -> &Output {
        self.says(texts);
        let errors = self.stderr.lines().filter(|line| line.starts_with("error")).count();
        assert_eq!(errors, 1, "the number of errors told by {self}");
        assert!(self.stderr.contains("hint: "), "no next step is told by {self}");
        assert!(!self.stderr.contains("panicked"), "{self} panicked");
        self
    }

    /// What was printed as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}) from {self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "`{}` (exit code {:?})\n--- stdout\n{}\n--- stderr\n{}",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}

impl Site {
    /// A machine whose configuration names this cluster, with one store, no encryption and no verification.
    pub fn of(cluster: &Cluster) -> Site {
        let site = Site::with_endpoints(&cluster.endpoints());
        let mut site = match (cluster.authority(), cluster.client()) {
            (Some(authority), Some(client)) => {
                site.tls(&authority.certificate(), &client.certificate, &client.key)
            }
            _ => site,
        };
        if cluster.has_authentication() {
            site = site.password(PASSWORD);
        }
        site
    }

    /// A machine whose configuration names these endpoints.
    pub fn with_endpoints(endpoints: &[impl AsRef<str>]) -> Site {
        let directory = temporary_directory();
        let site = Site { directory, sections: BTreeMap::new(), processes: std::cell::Cell::new(0) };
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| quoted(endpoint.as_ref())).collect();
        let store = site.store();
        let scratch = site.scratch();
        let (plugins, cache) = (site.path("plugins"), site.path("cache"));
        fs::create_dir(&plugins).expect("a folder can be made");
        site.set("cluster", "name", "\"test\"")
            .set("cluster", "endpoints", &format!("[{}]", endpoints.join(", ")))
            // A busy machine is no dead member.
            .set("cluster", "dial_timeout", "\"20s\"")
            .set("cluster", "request_timeout", "\"20s\"")
            .set("backup", "stores", "[\"local\"]")
            .set("backup", "scratch", &quoted_path(&scratch))
            .set("store.local.directory", "path", &quoted_path(&store))
            .set("plugins", "directory", &quoted_path(&plugins))
            .set("plugins", "cache", &quoted_path(&cache))
    }

    /// Sets one key of the configuration to a TOML value.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Site {
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        fs::write(self.config(), self.text()).expect("a configuration can be written");
        self
    }

    /// Leaves a key of the configuration out.
    #[must_use]
    pub fn unset(mut self, section: &str, key: &str) -> Site {
        self.sections.entry(section.to_owned()).or_default().remove(key);
        fs::write(self.config(), self.text()).expect("a configuration can be written");
        self
    }

    /// TLS with a client's certificate.
    #[must_use]
    pub fn tls(self, authority: &Path, certificate: &Path, key: &Path) -> Site {
        let tls = format!(
            "{{ ca = {}, cert = {}, key = {} }}",
            quoted_path(authority),
            quoted_path(certificate),
            quoted_path(key)
        );
        self.set("cluster", "tls", &tls)
    }

    /// The password of `root`, in a file.
    #[must_use]
    pub fn password(self, password: &str) -> Site {
        let file = self.path("etcd-password");
        fs::write(&file, format!("{password}\n")).expect("a file can be written");
        self.set("cluster", "username", "\"root\"").set("cluster", "password_file", &quoted_path(&file))
    }

    /// Encrypts to a new recipient, whose identity the configuration knows as well.
    #[must_use]
    pub fn encrypted(self) -> Site {
        let identity = self.identity();
        let recipient = new_identity(&identity);
        self.set("backup.pack", "recipients", &format!("[{}]", quoted(&recipient))).set(
            "decrypt",
            "identity_files",
            &format!("[{}]", quoted_path(&identity)),
        )
    }

    /// Keeps backups in a bucket of this server, as the store `remote`, beside the local store or in place of it.
    #[must_use]
    pub fn bucket(self, server: &s3::Server, bucket: &str, beside_local: bool) -> Site {
        let site = self.remote(&server.endpoint(), bucket, beside_local);
        if server.has_tls() { site.set("store.remote.s3", "ca", &quoted_path(&server.ca())) } else { site }
    }

    /// Like [`Site::bucket`], of the server at this URL.
    #[must_use]
    pub fn remote(self, endpoint: &str, bucket: &str, beside_local: bool) -> Site {
        let stores = if beside_local { "[\"local\", \"remote\"]" } else { "[\"remote\"]" };
        self.set("backup", "stores", stores).s3_store("remote", endpoint, bucket, "test")
    }

    /// Keeps backups in a folder of a WebDAV server, by the plugin `webdav`, as the store `nas`: beside the local store or in place of it.
    #[must_use]
    pub fn nas(self, server: &webdav::Server, folder: &str, beside_local: bool) -> Site {
        let site = self.nas_at(&server.origin(), folder, beside_local);
        if server.has_tls() { site.set("plugins", "http_ca", &quoted_path(&server.ca())) } else { site }
    }

    /// Like [`Site::nas`], of the server at this URL.
    #[must_use]
    pub fn nas_at(self, origin: &str, folder: &str, beside_local: bool) -> Site {
        let password = webdav::Server::password_in(self.directory.path());
        let stores = if beside_local { "[\"local\", \"nas\"]" } else { "[\"nas\"]" };
        let config = format!(
            "{{ url = {}, username = {}, password_secret = \"nas\" }}",
            quoted(&format!("{origin}/dav/{folder}")),
            quoted(webdav::USER)
        );
        let allow = format!(
            "{{ http = [{}], http_addresses = [\"127.0.0.0/8\"], secrets = [\"nas\"] }}",
            quoted(origin)
        );
        self.plugins(&["webdav"])
            .set("backup", "stores", stores)
            .set("secret.nas", "file", &quoted_path(&password))
            .set("store.nas.plugin", "name", "\"webdav\"")
            .set("store.nas.plugin", "config", &config)
            .set("store.nas.plugin", "allow", &allow)
    }

    /// Defines a store: a prefix in a bucket of the server at this URL.
    #[must_use]
    pub fn s3_store(self, name: &str, endpoint: &str, bucket: &str, prefix: &str) -> Site {
        let (id, secret) = s3::Server::keys_in(self.directory.path());
        let table = format!("store.{name}.s3");
        self.set(&table, "bucket", &quoted(bucket))
            .set(&table, "prefix", &quoted(prefix))
            .set(&table, "endpoint", &quoted(endpoint))
            .set(&table, "region", &quoted(s3::REGION))
            .set(&table, "access_key_id_file", &quoted_path(&id))
            .set(&table, "secret_access_key_file", &quoted_path(&secret))
            .set(&table, "part_size", "\"5MiB\"")
            // A busy machine is no dead server.
            .set(&table, "connect_timeout", "\"20s\"")
            .set(&table, "request_timeout", "\"60s\"")
            .set(&table, "stall_timeout", "\"60s\"")
    }

    /// A chain of verification steps, each an inline table of TOML, that runs on every backup.
    #[must_use]
    pub fn chain(self, name: &str, steps: &[&str]) -> Site {
        self.set(&format!("chain.{name}"), "steps", &format!("[\n  {},\n]", steps.join(",\n  "))).set(
            "backup",
            "verify",
            &format!("[{}]", quoted(name)),
        )
    }

    /// Puts built plugins into the plugin folder.
    #[must_use]
    pub fn plugins(self, names: &[&str]) -> Site {
        for name in names {
            self.install_plugin(name, name);
        }
        self
    }

    /// Puts a plugin that was made for the tests into the plugin folder.
    #[must_use]
    pub fn guest(self, name: &str) -> Site {
        self.install_file(&plugins::guest(name), name);
        self
    }

    /// The same, under another name, which it calls itself too: one of as many letters, for it is written over its own.
    #[must_use]
    pub fn guest_as(self, guest: &str, name: &str) -> Site {
        let renamed = self.path(&format!("{name}.wasm"));
        fs::write(&renamed, plugins::renamed(guest, name)).expect("a plugin can be written");
        self.install_file(&renamed, name);
        self
    }

    /// Puts a plugin of a released contract into the plugin folder, as `frozen`.
    #[must_use]
    pub fn frozen(self, name: &str) -> Site {
        self.install_file(&plugins::frozen(name), "frozen");
        self
    }

    /// Puts a built plugin into the plugin folder under another name.
    pub fn install_plugin(&self, built: &str, name: &str) {
        self.install_file(&plugins::built(built), name);
    }

    fn install_file(&self, file: &Path, name: &str) {
        // Written beside and renamed, as a careful operator does.
        let temporary = self.path("plugins").join(format!(".{name}.new"));
        fs::copy(file, &temporary).expect("a plugin can be copied");
        fs::rename(&temporary, self.path("plugins").join(format!("{name}.wasm")))
            .expect("a file can be renamed");
    }

    /// A path on this machine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("holdfast.toml")
    }

    /// The directory store.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The folder for snapshots under way.
    pub fn scratch(&self) -> PathBuf {
        self.path("scratch")
    }

    /// The age identity that backups of an encrypting machine open with.
    pub fn identity(&self) -> PathBuf {
        self.path("age.key")
    }

    /// The `holdfast` command with this machine's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tools::holdfast());
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null()).env("NO_COLOR", "1");
        command.env_remove("HOLDFAST_CONFIG").env_remove("RUST_LOG");
        command
    }

    /// Runs `holdfast` to its end.
    pub fn holdfast(&self, arguments: &[&str]) -> Output {
        finish(&mut self.command(arguments))
    }

    /// Starts `holdfast`, to watch it and to interfere.
    pub fn start(&self, arguments: &[&str]) -> Process {
        let number = self.processes.get();
        self.processes.set(number + 1);
        let log = self.path(&format!("holdfast-{number}.log"));
        Process::start("holdfast", &mut self.command(arguments), &log)
    }

    /// Makes a backup that has to succeed, and returns its manifest.
    pub fn backup(&self) -> Value {
        self.holdfast(&["backup"]).exits(0);
        self.newest_manifest()
    }

    /// The folders of backups, committed or not, oldest first.
    pub fn backups(&self) -> Vec<PathBuf> {
        backups_in(&self.store())
    }

    /// The manifests of all committed backups, oldest first.
    pub fn manifests(&self) -> Vec<Value> {
        self.backups().iter().filter_map(|backup| manifest_in(backup)).collect()
    }

    /// The manifest of the newest backup.
    pub fn newest_manifest(&self) -> Value {
        self.manifests().pop().expect("there is a committed backup")
    }

    /// The packed snapshot of the newest backup.
    pub fn newest_data(&self) -> PathBuf {
        data_of(&self.store(), &self.newest_manifest())
    }

    /// The newest verification record.
    pub fn newest_record(&self) -> Value {
        let files = files_below(&self.store().join("records"));
        let newest = files.last().expect("there is a verification record");
        serde_json::from_slice(&fs::read(newest).expect("a record can be read")).expect("a record is JSON")
    }

    /// What is in the scratch folder.
    pub fn scratch_files(&self) -> Vec<PathBuf> {
        files_below(&self.scratch())
    }

    /// Checks that nothing half-written lies about: no scratch file, no backup without a manifest, no data that
    /// no manifest names, no partial file.
    ///
    /// # Panics
    /// When there is.
    pub fn has_no_leftovers(&self) {
        assert_eq!(large(&self.scratch_files()), Vec::<PathBuf>::new(), "scratch files are left");
        for backup in self.backups() {
            assert!(manifest_in(&backup).is_some(), "{} has no manifest", backup.display());
        }
        let named: Vec<PathBuf> =
            self.manifests().iter().map(|manifest| data_of(&self.store(), manifest)).collect();
        for data in files_below(&self.store().join("data")) {
            assert!(named.contains(&data), "no manifest names {}", data.display());
        }
        let partial: Vec<PathBuf> = files_below(&self.store())
            .into_iter()
            .filter(|file| file.to_string_lossy().contains("partial"))
            .collect();
        assert_eq!(partial, Vec::<PathBuf>::new(), "partial files are left");
    }

    /// Checks that every committed backup has its data, whole.
    ///
    /// # Panics
    /// When one has not.
    pub fn has_no_committed_lie(&self) {
        for manifest in self.manifests() {
            let data = fs::read(data_of(&self.store(), &manifest)).expect("a committed backup has its data");
            assert_eq!(manifest["stored"]["size_bytes"], data.len() as u64, "{manifest}");
            assert_eq!(manifest["stored"]["sha256"], sha256(&data), "{manifest}");
        }
    }

    /// Does a text show a secret: the password, or the key that backups open with?
    pub fn leaks(&self, text: &str) -> bool {
        text.contains(PASSWORD) || text.contains("AGE-SECRET-KEY-")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            let _ = writeln!(text, "[{section}]");
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
            text.push('\n');
        }
        text
    }
}

/// Runs `holdfast` without a configuration.
pub fn holdfast(arguments: &[&str]) -> Output {
    let mut command = Command::new(tools::holdfast());
    command.args(arguments).env_remove("HOLDFAST_CONFIG").env_remove("RUST_LOG").env("NO_COLOR", "1");
    finish(&mut command)
}

/// Runs a command to its end, whatever that is.
pub fn finish(command: &mut Command) -> Output {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(text, " {}", argument.to_string_lossy());
    }
    let output = process::output(command).unwrap_or_else(|error| panic!("{text} does not run: {error}"));
    Output {
        command: text,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Every file below a folder, sorted by path.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// The folders of backups in a directory store, committed or not, oldest first.
pub fn backups_in(store: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(store.join("backups")) else { return Vec::new() };
    let mut backups: Vec<PathBuf> =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    backups.sort();
    backups
}

/// Files with more in them than a process id: a lock file may stay.
fn large(files: &[PathBuf]) -> Vec<PathBuf> {
    const LOCK_BYTES: u64 = 256;
    let is_large = |file: &&PathBuf| fs::metadata(file).is_ok_and(|metadata| metadata.len() > LOCK_BYTES);
    files.iter().filter(is_large).cloned().collect()
}

fn manifest_in(backup: &Path) -> Option<Value> {
    let bytes = fs::read(backup.join("manifest.json")).ok()?;
    Some(serde_json::from_slice(&bytes).expect("a manifest is JSON"))
}

fn data_of(store: &Path, manifest: &Value) -> PathBuf {
    store.join(manifest["stored"]["path"].as_str().expect("a manifest names its data"))
}

/// Makes an age identity, and returns its recipient.
pub fn new_identity(file: &Path) -> String {
    let _ = fs::remove_file(file);
    tools::run(tools::program("age-keygen").arg("-o").arg(file));
    let recipient = tools::run(tools::program("age-keygen").arg("-y").arg(file));
    String::from_utf8(recipient).expect("a recipient is text").trim().to_owned()
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text as TOML writes it.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A path as TOML writes it.
pub fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}
