//! An HTTP relay on loopback in front of a real server. It writes down the head of every request, and breaks those that a
//! test picks: answers in the server's place, cuts what goes or comes, loses the answer, or falls silent.
//!
//! It knows just enough HTTP/1.1 for that: each connection carries one request.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use crate::listener::Listener;

/// Longest head of a request, or an answer.
const MAX_HEAD_BYTES: u64 = 64 << 10;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Request {
    /// Counted from 0, over all requests.
    pub index: usize,
    /// `PUT`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header lines, as they came.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value; names are in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Is it a part of an upload?
    pub fn is_part(&self) -> bool {
        self.method == "PUT" && self.target.contains("partNumber=")
    }

    /// Does it complete an upload?
    pub fn is_completion(&self) -> bool {
        self.method == "POST" && self.target.contains("uploadId=")
    }

    /// Is it an object in one request?
    pub fn is_whole(&self) -> bool {
        self.method == "PUT" && !self.target.contains("partNumber=")
    }

    /// Does it ask for bytes of an object?
    pub fn is_range(&self) -> bool {
        self.method == "GET" && self.header("range").is_some()
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    None,
    /// The server never sees it; this is answered.
    Answer(u16, String),
    /// The server gets so many bytes of its body, then both connections end.
    CutRequest(u64),
    /// So many bytes of the answer come, its head included, then the connection ends.
    CutAnswer(u64),
    /// The answer's head comes and so many bytes of its body, then the connection ends.
    CutBody(u64),
    /// The server does it, but its answer is lost.
    LoseAnswer,
    /// Nothing comes back until the client gives up.
    Silence,
}

impl Fault {
    /// An error as S3 words it.
    pub fn error(status: u16, code: &str) -> Fault {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>said by the relay</Message></Error>"
        );
        Fault::Answer(status, body)
    }
}

type Pick = dyn Fn(&Request) -> Fault + Send + Sync;

struct Shared {
    server: u16,
    pick: Box<Pick>,
    requests: Mutex<Vec<Request>>,
}

/// A running relay.
pub struct Relay {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Relay {
    /// Relays to a port on loopback; `pick` says what happens to each request.
    pub fn to(server: u16, pick: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Relay {
        let shared = Arc::new(Shared { server, pick: Box::new(pick), requests: Mutex::default() });
        let served = Arc::clone(&shared);
        let listener = Listener::start(move |client| relay(&served, client));
        Relay { listener, shared }
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        self.listener.endpoint()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no relay has panicked").clone()
    }
}

fn relay(shared: &Shared, client: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    let Some(request) = read_head(&mut reader, shared)? else { return Ok(()) };
    let length = request.body_bytes();
    let fault = (shared.pick)(&request);
    if let Fault::Silence = fault {
        // Until the client gives up.
        io::copy(&mut reader, &mut io::sink())?;
        return Ok(());
    }
    if request.header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if let Fault::Answer(status, body) = &fault {
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        // A client believes the date of an answer, and signs by it from then on: it is told only where that is the point.
        let date = if body.contains("Skewed") { "Date: Fri, 01 Jan 2010 00:00:00 GMT\r\n" } else { "" };
        let body = if request.method == "HEAD" { "" } else { body };
        return write!(
            client,
            "HTTP/1.1 {status} Fault\r\nConnection: close\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n{date}x-amz-request-id: RELAY\r\n\r\n{body}",
            body.len()
        );
    }
    let mut server = TcpStream::connect(("127.0.0.1", shared.server))?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        if !["connection", "expect"].contains(&name.to_lowercase().as_str()) {
            // Writing into a string does not fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    head.push_str("Connection: close\r\n\r\n");
    server.write_all(head.as_bytes())?;
    if request.is_chunked() {
        pass_chunks(&mut reader, &mut server)?;
    } else {
        let sent = if let Fault::CutRequest(most) = fault { length.min(most) } else { length };
        io::copy(&mut (&mut reader).take(sent), &mut server)?;
    }
    match fault {
        Fault::CutRequest(_) => {
            server.shutdown(Shutdown::Both)?;
            client.shutdown(Shutdown::Both)
        }
        Fault::LoseAnswer => {
            io::copy(&mut server, &mut io::sink())?;
            client.shutdown(Shutdown::Both)
        }
        Fault::CutAnswer(most) => {
            io::copy(&mut server.take(most), &mut client)?;
            client.shutdown(Shutdown::Both)
        }
        Fault::CutBody(most) => {
            let mut server = BufReader::new(server);
            let head = head_lines(&mut server)?.unwrap_or_default().join("\r\n");
            client.write_all(format!("{head}\r\n\r\n").as_bytes())?;
            io::copy(&mut server.take(most), &mut client)?;
            client.shutdown(Shutdown::Both)
        }
        _ => {
            io::copy(&mut server, &mut client)?;
            client.shutdown(Shutdown::Write)
        }
    }
}

/// Passes on a body of unknown length, chunk by chunk, to its end.
fn pass_chunks(reader: &mut BufReader<TcpStream>, server: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if reader.take(MAX_HEAD_BYTES).read_line(&mut line)? == 0 {
            return server.shutdown(Shutdown::Both);
        }
        server.write_all(line.as_bytes())?;
        let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        // With the line's end behind each chunk; behind the last one nothing else comes.
        let passed = io::copy(&mut (&mut *reader).take(size + 2), server)?;
        if passed < size + 2 {
            return server.shutdown(Shutdown::Both);
        }
        if size == 0 {
            return Ok(());
        }
    }
}

/// Reads a request up to its body, and writes it down. None when the client sent nothing.
fn read_head(reader: &mut BufReader<TcpStream>, shared: &Shared) -> io::Result<Option<Request>> {
    let Some(lines) = head_lines(reader)? else { return Ok(None) };
    let mut requests = shared.requests.lock().expect("no relay has panicked");
    let request = Request::of(&lines, requests.len());
    requests.push(request.clone());
    Ok(Some(request))
}

impl Request {
    pub(crate) fn of(lines: &[String], index: usize) -> Request {
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Request { index, method: method.to_owned(), target: target.to_owned(), headers }
    }

    /// Whether the length of its body is not said beforehand.
    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    /// Bytes of its body.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// The lines of a head, without the empty one at its end. None when nothing came.
pub(crate) fn head_lines(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    let mut limited = reader.take(MAX_HEAD_BYTES);
    loop {
        let mut line = String::new();
        if limited.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(lines));
        }
        lines.push(line.to_owned());
    }
}
