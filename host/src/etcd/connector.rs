//! Dialling: name, connection, TLS handshake, each with the reason when it fails.
//!
//! This stands where the gRPC library's own connector would, for three reasons: the cause of a failure is kept in words
//! instead of being folded into a "transport error"; certificates and keys are read at every connection; and the socket is
//! read in large pieces, which matters for a snapshot stream (rustls reads 4 KiB at a time, h2 a frame of 16 KiB).

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::Certificate;
use super::endpoint::{Address, Endpoint};
use super::errors::Cause;
use super::tls::{Prepared, prepare};
use super::{Options, Tls};

/// How much of the socket is read at once.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// How long a server may take to tell whether it accepts our certificate; one that tells nothing costs this much.
const ACCEPTANCE: Duration = Duration::from_millis(500);

/// What is known of the connections of one endpoint. Shared with the connections themselves, which note why they broke.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    tls: Option<Tls>,
    dial_timeout: Duration,
    failure: Mutex<Option<Cause>>,
    peer: Mutex<Option<Peer>>,
}

/// The certificates that the server showed, its own first, and when.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) chain: Vec<Certificate>,
    pub(super) seen: Instant,
}

impl Shared {
    pub(super) fn new(endpoint: Endpoint, options: &Options) -> Self {
        Self {
            endpoint,
            tls: options.tls.clone(),
            dial_timeout: options.dial_timeout,
            failure: Mutex::new(None),
            peer: Mutex::new(None),
        }
    }

    pub(super) fn dial_timeout(&self) -> Duration {
        self.dial_timeout
    }

    /// Why the newest connection could not be made, or broke.
    pub(super) fn failure(&self) -> Option<Cause> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The common name of the client certificate that is shown here. Reads its file: for errors only.
    pub(super) fn client_common_name(&self) -> Option<String> {
        let (path, _) = self.tls.as_ref().filter(|_| self.endpoint.is_secure())?.identity.as_ref()?;
        Certificate::common_name(path)
    }

    /// What the server showed at the newest handshake.
    pub(super) fn peer(&self) -> Option<Peer> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the TLS files, so that a bad one is told before anything is dialled.
    pub(super) async fn check_files(self: &Arc<Self>) -> Result<(), Cause> {
        if !self.endpoint.is_secure() {
            return Ok(());
        }
        self.prepare().await.map(|_| ())
    }

    async fn prepare(self: &Arc<Self>) -> Result<Prepared, Cause> {
        let shared = Arc::clone(self);
        match tokio::task::spawn_blocking(move || prepare(&shared.endpoint, shared.tls.as_ref())).await {
            Ok(prepared) => prepared.map_err(Cause::TlsFile),
            Err(error) => Err(Cause::Tls(error.to_string())),
        }
    }

    fn replace_failure(&self, cause: Option<Cause>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    fn note_failure(&self, cause: Cause) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        // What follows a TLS alert is a closed connection; the alert is the reason.
        if !failure.as_ref().is_some_and(Cause::is_tls) {
            *failure = Some(cause);
        }
    }

    fn note_peer(&self, chain: Vec<Certificate>) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Peer { chain, seen: Instant::now() });
    }
}

/// Opens a connection. On failure the cause is noted in `shared` as well.
pub(super) async fn dial(shared: Arc<Shared>) -> Result<Wire, Cause> {
    let result = dial_endpoint(&shared).await;
    // Not before: while this dial is under way, another request may still have to tell why the one before failed.
    shared.replace_failure(result.as_ref().err().cloned());
    result
}

async fn dial_endpoint(shared: &Arc<Shared>) -> Result<Wire, Cause> {
    let started = Instant::now();
    let limit = shared.dial_timeout;
    // Before dialling: a bad file needs no network to be found.
    let prepared = if shared.endpoint.is_secure() { Some(shared.prepare().await?) } else { None };
    let socket = tokio::time::timeout(limit, open(shared.endpoint.address()))
        .await
        .map_err(|_| Cause::DialTimeout(limit))??;
    let socket = BufReader::with_capacity(READ_BUFFER_BYTES, socket);
    let Some(prepared) = prepared else {
        let shared = Arc::clone(shared);
        return Ok(Wire { io: Box::new(socket), shared, client: None, early: Bytes::new(), heard: false });
    };
    let client = prepared.client.map(|(path, certificate)| (path.display().to_string(), certificate));
    let handshake = TlsConnector::from(prepared.config).connect(prepared.server_name, socket);
    let mut stream = tokio::time::timeout(limit.saturating_sub(started.elapsed()), handshake)
        .await
        .map_err(|_| Cause::HandshakeTimeout(limit))?
        .map_err(|error| tls_cause(&error, shared, client.as_ref()))?;
    let early = accepted(&mut stream).await.map_err(|error| tls_cause(&error, shared, client.as_ref()))?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    shared.note_peer(chain.iter().filter_map(Certificate::from_der).collect());
    Ok(Wire { io: Box::new(stream), shared: Arc::clone(shared), client, early, heard: true })
}

/// Waits until the server has taken our certificate, or has refused it with a word.
///
/// With TLS 1.3 the handshake ends on our side before the server has looked at the certificate. If we went on and sent
/// the first request, a refusal would reset the connection, and the word that tells why could be lost with it. A server
/// that accepts sends a session ticket or its first bytes, which are handed back.
async fn accepted(stream: &mut TlsStream<BufReader<Socket>>) -> io::Result<Bytes> {
    if stream.get_ref().1.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return Ok(Bytes::new());
    }
    let mut space = [0; 4096];
    let first = std::future::poll_fn(|context| {
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if stream.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(Bytes::new())),
            Poll::Pending => Poll::Pending,
        }
    });
    tokio::time::timeout(ACCEPTANCE, first).await.unwrap_or_else(|_| Ok(Bytes::new()))
}

async fn open(address: &Address) -> Result<Socket, Cause> {
    match address {
        Address::Unix(path) => open_unix(path).await,
        Address::Tcp { host, port } => {
            let unknown = |reason: String| Cause::UnknownHost { host: host.clone(), reason };
            let addresses = tokio::net::lookup_host((host.as_str(), *port))
                .await
                .map_err(|error| unknown(resolver_words(&error)))?;
            let mut failure = unknown("it has no address".to_owned());
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => {
                        // Requests are small and wait for an answer: Nagle's algorithm would only delay them.
                        stream.set_nodelay(true).map_err(|error| Cause::Unreachable(error.to_string()))?;
                        return Ok(Socket::Tcp(stream));
                    }
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        failure = Cause::Refused;
                    }
                    Err(error) => failure = Cause::Unreachable(in_words(&error)),
                }
            }
            Err(failure)
        }
    }
}

async fn open_unix(path: &Path) -> Result<Socket, Cause> {
    UnixStream::connect(path).await.map(Socket::Unix).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Cause::NoSocket,
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        _ => Cause::Unreachable(in_words(&error)),
    })
}

/// An I/O error in lower case, without the `(os error 113)` behind it.
pub(super) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let bare = text.split(" (os error").next().unwrap_or(&text);
    bare.to_lowercase()
}

/// The resolver's answer without its preamble.
fn resolver_words(error: &io::Error) -> String {
    let text = in_words(error);
    text.strip_prefix("failed to lookup address information: ").map_or_else(|| text.clone(), str::to_owned)
}

fn tls_cause(error: &io::Error, shared: &Shared, client: Option<&(String, Certificate)>) -> Cause {
    let name =
        shared.tls.as_ref().and_then(|tls| tls.server_name.as_deref()).unwrap_or(shared.endpoint.host());
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls) => Cause::from_rustls(rustls, name, client.map(|(path, facts)| (path.as_str(), facts))),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Cause::ClosedAtOnce,
        None => Cause::Tls(in_words(error)),
    }
}

/// A socket of either kind.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open connection that notes in [`Shared`] why it broke.
pub(super) struct Wire {
    io: Box<dyn Io>,
    shared: Arc<Shared>,
    /// Path and facts of the client certificate shown. With TLS 1.3 its refusal comes after the handshake.
    client: Option<(String, Certificate)>,
    /// What came before the connection was handed over.
    early: Bytes,
    /// Whether the first bytes have been looked at. Only done without TLS.
    heard: bool,
}

impl Wire {
    /// A server that refuses our certificate says so and hangs up. Whoever writes next sees the closed connection only,
    /// so the last word is read here.
    fn read_last_word(&mut self, context: &mut Context<'_>, written: &io::Error) {
        let mut space = [0; 64];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut *self.io).poll_read(context, &mut buffer) {
            Poll::Ready(Err(error)) => self.broke(&error),
            _ => self.broke(written),
        }
    }

    fn broke(&self, error: &io::Error) {
        let inner = error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        let cause = if inner {
            tls_cause(error, &self.shared, self.client.as_ref())
        } else {
            Cause::Lost { received: None, reason: in_words(error) }
        };
        self.shared.note_failure(cause);
    }

    /// Tells a TLS server or some other protocol by its first bytes, when we speak plainly.
    fn hear(&mut self, first: &[u8]) {
        self.heard = true;
        if first.starts_with(&[0x15, 0x03]) {
            self.shared.note_failure(Cause::WantsTls);
        } else if first.starts_with(b"HTTP/1.") {
            let line = first.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let line = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            // Go's own words when a plain request comes to a port that speaks TLS.
            if first.windows(12).any(|window| window == b"HTTPS server") {
                self.shared.note_failure(Cause::WantsTls);
            } else {
                self.shared.note_failure(Cause::NotEtcd(format!("it answers `{line}`")));
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let length = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.io).poll_read(context, buffer);
        match &polled {
            Poll::Ready(Err(error)) => self.broke(error),
            Poll::Ready(Ok(())) => {
                let read = buffer.filled().get(before..).unwrap_or_default();
                if read.is_empty() && buffer.remaining() > 0 {
                    let reason = "closed by the server".to_owned();
                    let cause = Cause::Lost { received: None, reason };
                    self.shared.note_failure(if self.heard { cause } else { Cause::ClosedAtOnce });
                } else if !self.heard {
                    self.hear(read);
                }
            }
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.io).poll_write(context, bytes);
        if let Poll::Ready(Err(error)) = &polled {
            self.read_last_word(context, error);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.io).poll_flush(context);
        if let Poll::Ready(Err(error)) = &polled {
            self.read_last_word(context, error);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.io).poll_write_vectored(context, slices);
        if let Poll::Ready(Err(error)) = &polled {
            self.read_last_word(context, error);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// The connector handed to the gRPC channel.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<Shared>);

impl tower::Service<http::Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = Cause;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    /// The address is not taken from the URI: it is always the endpoint's own.
    fn call(&mut self, _uri: http::Uri) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { dial(shared).await.map(TokioIo::new) })
    }
}
