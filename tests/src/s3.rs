//! A real S3 server on loopback, versitygw over a folder of its own. Its buckets are folders, so that a test can look at
//! what lies in them, and take them away.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::certificates::{Authority, Validity};
use crate::cluster::{free_port, temporary_directory};
use crate::process::Process;
use crate::{tools, wait};

/// The key that every server of the tests knows.
pub const ACCESS_KEY: &str = "AKIAHOLDFASTTESTS";
/// Its secret.
pub const SECRET_KEY: &str = "secret-of-the-holdfast-tests";
/// The server's region.
pub const REGION: &str = "eu-test-1";
/// Attempts at a start: another program may take a port that was free a moment ago.
const ATTEMPTS: usize = 3;

/// A running server.
pub struct Server {
    process: Process,
    directory: TempDir,
    port: u16,
    authority: Option<Authority>,
}

impl Server {
    /// A server without TLS, or nothing, said loudly, where there is no versitygw.
    pub fn start() -> Option<Server> {
        Server::start_as(false)
    }

    /// A server with a certificate of an authority of its own.
    pub fn start_with_tls() -> Option<Server> {
        Server::start_as(true)
    }

    fn start_as(tls: bool) -> Option<Server> {
        let program = program()?;
        for _ in 0..ATTEMPTS {
            if let Some(server) = Server::try_start(&program, tls) {
                return Some(server);
            }
        }
        panic!("the S3 server finds no free port");
    }

    fn try_start(program: &Path, tls: bool) -> Option<Server> {
        let directory = temporary_directory();
        let port = free_port();
        let (data, versions) = (directory.path().join("data"), directory.path().join("versions"));
        let metadata = directory.path().join("metadata");
        for folder in [&data, &versions, &metadata] {
            fs::create_dir(folder).expect("a folder can be made");
        }
        let mut command = Command::new(program);
        command.args(["--port", &format!("127.0.0.1:{port}"), "--access", ACCESS_KEY]);
        command.args(["--secret", SECRET_KEY, "--region", REGION, "--keep-alive"]);
        let authority = tls.then(|| Authority::new(&directory.path().join("authority")));
        if let Some(authority) = &authority {
            let identity = authority.issue("s3", Validity::Valid);
            command.arg("--cert").arg(identity.certificate).arg("--key").arg(identity.key);
        }
        // Not every file system has extended attributes: what is known of an object goes into files.
        command
            .arg("posix")
            .arg("--sidecar")
            .arg(&metadata)
            .arg("--versioning-dir")
            .arg(&versions)
            .arg(&data);
        let log = directory.path().join("s3.log");
        let mut server =
            Server { process: Process::start("versitygw", &mut command, &log), directory, port, authority };
        let up = wait::until("the S3 server", || {
            if server.process.has_ended() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
        });
        // Whoever took the port may have answered.
        (up && !server.process.has_ended()).then_some(server)
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Whether it speaks TLS.
    pub fn has_tls(&self) -> bool {
        self.authority.is_some()
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of its authority.
    ///
    /// # Panics
    /// Of a server without TLS.
    pub fn ca(&self) -> PathBuf {
        self.authority.as_ref().expect("the server has TLS").certificate()
    }

    /// Makes a bucket.
    pub fn bucket(&self, name: &str) -> PathBuf {
        let folder = self.folder(name);
        fs::create_dir(&folder).expect("a bucket can be made");
        folder
    }

    /// The folder that a bucket is.
    pub fn folder(&self, bucket: &str) -> PathBuf {
        self.directory.path().join("data").join(bucket)
    }

    /// Every object of a bucket by its key, and the parts of uploads under way.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        let folder = self.folder(bucket);
        let files = crate::site::files_below(&folder);
        let keys = files.iter().filter_map(|file| file.strip_prefix(&folder).ok());
        keys.map(|key| key.display().to_string()).collect()
    }

    /// The process, to pause it or to end it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Every request so far, a line each.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Writes the two keys to files in `directory`, and returns their paths.
    pub fn keys_in(directory: &Path) -> (PathBuf, PathBuf) {
        let (id, secret) = (directory.join("access-key-id"), directory.join("secret-access-key"));
        fs::write(&id, format!("{ACCESS_KEY}\n")).expect("a file can be written");
        fs::write(&secret, format!("{SECRET_KEY}\n")).expect("a file can be written");
        (id, secret)
    }
}

fn program() -> Option<PathBuf> {
    let found = tools::find("versitygw", "--version");
    if found.is_none() {
        tools::skip("no S3 server is installed: run `tools/install.sh s3`");
    }
    found
}
