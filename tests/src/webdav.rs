//! A real WebDAV server on loopback over a folder of its own, so that a test can look at what lies in it, and take it away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::certificates::{Authority, Validity};
use crate::cluster::temporary_directory;
use crate::process::Process;
use crate::{tools, wait};

/// The user that every server of the tests knows.
pub const USER: &str = "holdfast";
/// His password: more than a shell or a URL would take.
pub const PASSWORD: &str = "pass:word of the tests&\u{fc}";
/// Where in its URLs the folder begins.
const PREFIX: &str = "/dav";

/// A running server.
pub struct Server {
    process: Process,
    directory: TempDir,
    port: u16,
    authority: Option<Authority>,
}

impl Server {
    /// A server without TLS, or nothing, said loudly, where there is none installed.
    pub fn start() -> Option<Server> {
        Server::start_as(false)
    }

    /// A server with a certificate of an authority of its own.
    pub fn start_with_tls() -> Option<Server> {
        Server::start_as(true)
    }

    fn start_as(tls: bool) -> Option<Server> {
        let program = program()?;
        let directory = temporary_directory();
        let files = directory.path().join("files");
        fs::create_dir(&files).expect("a folder can be made");
        let password = Server::password_in(directory.path());
        let mut command = Command::new(program);
        command.arg("-folder").arg(&files).args(["-user", USER, "-prefix", PREFIX, "-log"]);
        command.arg("-password-file").arg(password);
        let authority = tls.then(|| Authority::new(&directory.path().join("authority")));
        if let Some(authority) = &authority {
            let identity = authority.issue("webdav", Validity::Valid);
            command.arg("-cert").arg(identity.certificate).arg("-key").arg(identity.key);
        }
        let process = Process::start("webdav", &mut command, &directory.path().join("webdav.log"));
        let mut server = Server { process, directory, port: 0, authority };
        server.port = wait::until("the WebDAV server", || {
            assert!(!server.process.has_ended(), "the WebDAV server has ended: {}", server.process.log());
            server.process.log().lines().find_map(|line| line.strip_prefix("127.0.0.1:")?.parse().ok())
        });
        Some(server)
    }

    /// `http://127.0.0.1:PORT`
    pub fn origin(&self) -> String {
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

    /// Where a folder of it lies.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.directory.path().join("files").join(name)
    }

    /// Every file below a folder of it, by its path there.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let folder = self.folder(folder);
        let files = crate::site::files_below(&folder);
        files
            .iter()
            .filter_map(|file| file.strip_prefix(&folder).ok())
            .map(|file| file.display().to_string())
            .collect()
    }

    /// The process, to pause it or to end it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Every request so far, a line each.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Writes the password to a file in `directory`, and returns its path.
    pub fn password_in(directory: &Path) -> PathBuf {
        let file = directory.join("webdav-password");
        fs::write(&file, PASSWORD).expect("a file can be written");
        file
    }
}

fn program() -> Option<PathBuf> {
    let found = tools::find("webdav-server", "-help");
    if found.is_none() {
        tools::skip("no WebDAV server is installed: run `tools/install.sh webdav`");
    }
    found
}
