//! A TCP proxy that slows, cuts and resets connections: toxiproxy, in front of a server on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{free_port, temporary_directory};
use crate::process::Process;
use crate::{tools, wait};

const ATTEMPTS: usize = 3;

/// A proxy to one port.
pub struct Toxiproxy {
    _process: Process,
    _directory: TempDir,
    control: u16,
    port: u16,
}

impl Toxiproxy {
    /// A proxy to a port on loopback, or nothing, said loudly, where there is no toxiproxy.
    pub fn to(server: u16) -> Option<Toxiproxy> {
        let program = program()?;
        for _ in 0..ATTEMPTS {
            let directory = temporary_directory();
            let control = free_port();
            let mut command = Command::new(&program);
            command.args(["-host", "127.0.0.1", "-port", &control.to_string()]);
            let mut process =
                Process::start("toxiproxy", &mut command, &directory.path().join("toxiproxy.log"));
            let up = wait::until("toxiproxy", || {
                if process.has_ended() {
                    return Some(false);
                }
                TcpStream::connect(("127.0.0.1", control)).is_ok().then_some(true)
            });
            if !up {
                continue;
            }
            let mut proxy = Toxiproxy { _process: process, _directory: directory, control, port: 0 };
            let upstream = format!("127.0.0.1:{server}");
            let made = proxy.ask(
                "POST",
                "/proxies",
                &json!({
                    "name": "server", "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true,
                }),
            );
            let listen = made["listen"].as_str().and_then(|text| text.rsplit(':').next()?.parse().ok());
            proxy.port = listen.expect("toxiproxy says where it listens");
            return Some(proxy);
        }
        panic!("toxiproxy finds no free port");
    }

    /// The proxy's URL.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Spoils this share of the connections, in a way that toxiproxy knows: `latency`, `bandwidth`, `reset_peer`, `limit_data` …
    /// towards the client (`downstream`) or the server (`upstream`).
    pub fn spoil(&self, kind: &str, stream: &str, share: f64, attributes: &Value) {
        let toxic = json!({
            "name": "toxic", "type": kind, "stream": stream, "toxicity": share, "attributes": attributes,
        });
        self.ask("POST", "/proxies/server/toxics", &toxic);
    }

    /// Connections are good again.
    pub fn heal(&self) {
        self.ask("POST", "/reset", &Value::Null);
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut connection = TcpStream::connect(("127.0.0.1", self.control)).expect("toxiproxy listens");
        write!(
            connection,
            "{method} {path} HTTP/1.0\r\nHost: toxiproxy\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("toxiproxy takes a request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("toxiproxy answers");
        let (head, content) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.contains(" 200 ") || head.contains(" 201 ") || head.contains(" 204 "), "{answer}");
        serde_json::from_str(content).unwrap_or(Value::Null)
    }
}

fn program() -> Option<PathBuf> {
    let found = tools::find("toxiproxy-server", "-version");
    if found.is_none() {
        tools::skip("toxiproxy is not installed: run `tools/install.sh toxiproxy`");
    }
    found
}
