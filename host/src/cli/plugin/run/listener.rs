//! An HTTP server for one who writes a notifier: it answers everything the same, and keeps what arrived to be shown.
//!
//! It knows as much of HTTP as the requests of plugins need, which the agent's own sender writes: HTTP/1.1, one request a connection,
//! a body of a length that is given, or in chunks.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The longest head and body that are read.
const HEAD_BYTES: u64 = 64 << 10;
const BODY_BYTES: u64 = 4 << 20;
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests that are kept until they are shown.
const MOST: usize = 1000;

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Arrival {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    /// Without what is no text, and without control characters but line ends.
    pub(super) body: String,
}

/// A server that listens until this value goes.
pub(super) struct Listener {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrival>>>,
    serving: JoinHandle<()>,
}

impl Listener {
    pub(super) async fn start(address: SocketAddr, status: u16) -> Result<Listener> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen at `{address}`"))?;
        let address = listener.local_addr()?;
        let arrived = Arc::<Mutex<Vec<Arrival>>>::default();
        let kept = Arc::clone(&arrived);
        let serving = tokio::spawn(async move {
            // One after the other: a plugin waits for each answer.
            while let Ok((stream, _)) = listener.accept().await {
                let served = tokio::time::timeout(PATIENCE, serve(stream, status)).await;
                match served {
                    Ok(Ok(arrival)) => {
                        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        if kept.len() < MOST {
                            kept.push(arrival);
                        }
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "a request did not arrive whole"),
                    Err(_) => tracing::warn!("a request took too long to arrive"),
                }
            }
        });
        Ok(Listener { address, arrived, serving })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What arrived since the last call.
    pub(super) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, status: u16) -> io::Result<Arrival> {
    let (reading, mut writing) = stream.into_split();
    let mut reader = BufReader::new(reading.take(HEAD_BYTES + BODY_BYTES));
    let first = line(&mut reader).await?;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let line = line(&mut reader).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header without a colon"))?;
        headers.push((name.trim().to_lowercase(), shown(value.trim().as_bytes())));
    }
    let header =
        |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        chunks(&mut reader).await?
    } else {
        let length = header("content-length").unwrap_or("0");
        let length: u64 = length.parse().map_err(|_| malformed("a length that is no number"))?;
        exactly(&mut reader, length).await?
    };
    // Kept before it is answered: who has the answer looks for what arrived.
    let arrival =
        Arrival { method: method.to_owned(), target: shown(target.as_bytes()), headers, body: shown(&body) };
    let answer = r#"{"ok":true}"#;
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    writing.write_all(head.as_bytes()).await?;
    writing.write_all(answer.as_bytes()).await?;
    writing.shutdown().await?;
    Ok(arrival)
}

type Reader = BufReader<tokio::io::Take<tokio::net::tcp::OwnedReadHalf>>;

async fn line(reader: &mut Reader) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(HEAD_BYTES).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            String::from_utf8(line).map_err(|_| malformed("a head that is no text"))
        }
        _ => Err(malformed("an end in the middle")),
    }
}

async fn exactly(reader: &mut Reader, length: u64) -> io::Result<Vec<u8>> {
    if length > BODY_BYTES {
        return Err(malformed("a body that is too large"));
    }
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(malformed("an end in the middle")) }
}

async fn chunks(reader: &mut Reader) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(reader).await?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk without its size"))?;
        body.extend(exactly(reader, size).await?);
        if body.len() as u64 > BODY_BYTES {
            return Err(malformed("a body that is too large"));
        }
        // Behind each chunk, and behind the last, which may have trailers.
        while !line(reader).await?.is_empty() {}
        if size == 0 {
            return Ok(body);
        }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the request has {what}"))
}

/// Text that a terminal does not obey.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|character| if character.is_control() && character != '\n' { '\u{fffd}' } else { character })
        .collect()
}
