//! A real Prometheus Alertmanager on loopback.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{free_port, temporary_directory};
use crate::process::Process;
use crate::{tools, wait};

/// A running Alertmanager.
pub struct Alertmanager {
    _process: Process,
    _directory: TempDir,
    port: u16,
}

impl Alertmanager {
    /// Starts one, or nothing, said loudly, where it is not installed.
    pub fn start() -> Option<Alertmanager> {
        // Debian calls it by the longer name.
        let names = ["alertmanager", "prometheus-alertmanager"];
        let Some(program) = names.iter().find_map(|name| tools::find(name, "--version")) else {
            tools::skip("Alertmanager is not installed: run `tools/install.sh alertmanager`");
            return None;
        };
        let directory = temporary_directory();
        let config = directory.path().join("alertmanager.yml");
        fs::write(&config, "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n")
            .expect("a file can be written");
        let port = free_port();
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
        let process =
            Process::start("alertmanager", &mut command, &directory.path().join("alertmanager.log"));
        let running = Alertmanager { _process: process, _directory: directory, port };
        wait::until("the Alertmanager", || running.get("/-/ready").filter(|answer| answer.contains(" 200 ")));
        Some(running)
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The alerts that stand.
    pub fn alerts(&self) -> Vec<Value> {
        let answer = self.get("/api/v2/alerts?active=true").expect("it answers");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("no list ({error}): {answer}"))
    }

    /// The whole answer to a GET.
    fn get(&self, target: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // Of an older version, so that the body comes in one piece.
        write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}
