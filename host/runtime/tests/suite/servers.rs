//! HTTP servers for the guests' requests, in the clear and over TLS, and a proxy: real connections, and answers of every kind.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Any port of this machine alone.
const LOOPBACK: &str = "127.0.0.1:0";

/// What a server does with each request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes, then the end of the connection.
    Bytes(String),
    /// A body without an end.
    Endless,
    /// Nothing, for ever.
    Silence,
    /// A head, then nothing.
    HeadOnly,
}

impl Answer {
    pub(crate) fn ok() -> Answer {
        Answer::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".into())
    }

    pub(crate) fn redirect(to: &str) -> Answer {
        Answer::Bytes(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"))
    }
}

/// A server, on a loopback address unless it says another. Ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: Answer) -> Server {
        Server::at(LOOPBACK, answer).await
    }

    /// A server on another address of this machine.
    pub(crate) async fn at(address: &str, answer: Answer) -> Server {
        Server::speaking(address, answer, None).await
    }

    /// A server that speaks TLS with this certificate.
    pub(crate) async fn with_tls(answer: Answer, certificate: Certificate) -> Server {
        let Certificate { chain, key } = certificate;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .expect("a certificate and its key");
        Server::speaking(LOOPBACK, answer, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn speaking(address: &str, answer: Answer, tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, seen, tls) = (answer.clone(), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answer, &seen).await,
                        // A client that does not like the certificate goes away here.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answer, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Server { address, heads, task }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The heads of the requests that came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request's head. None: the client went away.
async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer, seen: &Mutex<Vec<String>>) {
    let Some(head) = head_of(&mut stream).await else { return };
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    match answer {
        Answer::Bytes(bytes) => {
            // The body of the request is left unread, as many servers do.
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.shutdown().await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let chunk = vec![b'x'; 64 << 10];
            while stream.write_all(&chunk).await.is_ok() {}
        }
        Answer::Silence => std::future::pending().await,
        Answer::HeadOnly => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await;
            std::future::pending::<()>().await;
        }
    }
}

/// A certificate with what proves it, and its key.
pub(crate) struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// An authority of one's own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its own certificate, as a file has it.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_until(names, 2100)
    }

    /// One that ends with this year.
    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Certificate {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

/// A proxy that makes the connections that CONNECT asks for, whatever their names, to one address. Ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move { tunnel(stream, to, &seen).await });
            }
        });
        Proxy { address, heads, task }
    }

    /// The heads of the requests that came; what went through the tunnels is not seen.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tunnel(mut client: TcpStream, to: SocketAddr, seen: &Mutex<Vec<String>>) {
    let Some(head) = head_of(&mut client).await else { return };
    let asks_for_a_tunnel = head.starts_with("CONNECT ");
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    if asks_for_a_tunnel && client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
