//! A forward proxy on loopback, as a company has one: requests with a whole URL, and tunnels (`CONNECT`). It asks for a
//! password, and alone knows where a name leads: whatever host is asked for, it is one port on loopback.

use std::fmt::Write as _;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::listener::Listener;
use crate::relay::{Request, head_lines};

/// The user that every proxy knows, and the password.
pub const USER: &str = "proxy-user";
/// See [`USER`].
pub const PASSWORD: &str = "proxy-password";
/// Both, as the header has them.
const AUTHORIZATION: &str = "Basic cHJveHktdXNlcjpwcm94eS1wYXNzd29yZA==";

struct Shared {
    server: u16,
    asked: Mutex<Vec<String>>,
}

/// A running proxy.
pub struct Proxy {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Every name leads to this port on loopback.
    pub fn to(server: u16) -> Proxy {
        let shared = Arc::new(Shared { server, asked: Mutex::default() });
        let served = Arc::clone(&shared);
        let listener = Listener::start(move |client| serve(&served, client));
        Proxy { listener, shared }
    }

    /// Its URL, with user and password.
    pub fn url(&self) -> String {
        format!("http://{USER}:{PASSWORD}@127.0.0.1:{}", self.listener.port())
    }

    /// Its URL, for whom it lets nobody through.
    pub fn url_without_password(&self) -> String {
        self.listener.endpoint()
    }

    /// What it was asked for so far: `GET http://host/path`, `CONNECT host:443`.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().expect("no proxy has panicked").clone()
    }
}

fn serve(shared: &Shared, mut client: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let Some(lines) = head_lines(&mut reader)? else { return Ok(()) };
    let request = Request::of(&lines, 0);
    let asked = format!("{} {}", request.method, request.target);
    shared.asked.lock().expect("no proxy has panicked").push(asked);
    if request.header("proxy-authorization") != Some(AUTHORIZATION) {
        return client.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        );
    }
    let server = TcpStream::connect(("127.0.0.1", shared.server))?;
    if request.method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        return join(reader, client, server);
    }
    // From `GET http://host/path` to `GET /path`.
    let path = request.target.splitn(4, '/').nth(3).unwrap_or_default();
    let mut head = format!("{} /{path} HTTP/1.1\r\n", request.method);
    for (name, value) in &request.headers {
        if !["connection", "proxy-authorization", "proxy-connection"].contains(&name.to_lowercase().as_str())
        {
            // Writing into a string does not fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    head.push_str("Connection: close\r\n\r\n");
    (&server).write_all(head.as_bytes())?;
    join(reader, client, server)
}

/// Passes bytes on in both directions until both have ended.
fn join(
    mut from_client: impl Read + Send + 'static,
    mut client: TcpStream,
    mut server: TcpStream,
) -> io::Result<()> {
    let mut to_server = server.try_clone()?;
    let going = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    // It has nothing more to read.
    let _ = going.join();
    Ok(())
}
