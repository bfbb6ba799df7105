//! One request on its way: resolve, judge the address, connect to it, encrypt, exchange.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::{Received, Sent};
use super::{Exchange, Shared, tls};
use crate::grants::{AddressRange, AddressRules, Host, Scheme, Target};

/// Longest wait for a connection, TLS included, when the guest names none or a longer one.
const CONNECT: Duration = Duration::from_secs(10);
/// The head of an answer.
const HEAD_BYTES: usize = 64 << 10;
const HEADERS: usize = 100;
/// A proxy's answer to CONNECT.
const PROXY_HEAD_BYTES: usize = 8 << 10;
/// Who asks, when the guest does not say.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("holdfast/", env!("CARGO_PKG_VERSION")));

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Sends a request to a target that is granted.
pub(super) async fn exchange(
    shared: &Shared,
    target: Target,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Exchange, Error> {
    let connect = within(options.connect_timeout, CONNECT);
    let proxy = shared.options.proxy_for(&target);
    let stream = tokio::time::timeout(connect, connected(shared, &target, proxy))
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Hyper)?;
    // Given up with whoever holds it: the answer's body, or this future.
    let driven = wasmtime_wasi::runtime::spawn(connection);
    let request = addressed(request, &target, proxy.is_some())?;
    let (head, body) = request.into_parts();
    let (body, progress) = Sent::new(body, sends_body(&head), shared.traffic.clone());
    let patience = within(options.first_byte_timeout, shared.patience);
    let response = tokio::select! {
        response = sender.send_request(Request::from_parts(head, body)) => response.map_err(Error::Hyper)?,
        () = progress.server_stalled(patience) => return Err(Error::ConnectionReadTimeout),
    };
    let patience = within(options.between_bytes_timeout, shared.patience);
    let traffic = shared.traffic.clone();
    let response: Response<WasiBody> =
        response.map(|body| Received::new(body, traffic, patience).boxed_unsync());
    // The body that the guest reads says what went wrong with the connection; nothing more is to be told here.
    Ok((response, Box::new(async move { driven.await.or(Ok(())) })))
}

fn within(asked: Option<Duration>, most: Duration) -> Duration {
    asked.map_or(most, |asked| asked.min(most))
}

/// Whether hyper sends a body with this request: with these methods only one whose length or coding is named.
fn sends_body(head: &http::request::Parts) -> bool {
    let is_named = head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING);
    is_named || !matches!(head.method, Method::GET | Method::HEAD | Method::CONNECT)
}

/// The request as it goes over the wire. Only a proxy that passes it on is told the whole address.
fn addressed(
    mut request: Request<WasiBody>,
    target: &Target,
    proxied: bool,
) -> Result<Request<WasiBody>, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri =
        if proxied && target.scheme == Scheme::Http { format!("{target}{path}") } else { path.to_owned() };
    *request.uri_mut() = uri.parse::<Uri>().map_err(|_| Error::HttpRequestUriInvalid)?;
    let host = HeaderValue::from_str(&target.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.entry(USER_AGENT).or_insert(AGENT);
    Ok(request)
}

async fn connected(
    shared: &Shared,
    target: &Target,
    proxy: Option<&Target>,
) -> Result<Box<dyn Transport>, Error> {
    let stream = match proxy {
        // It is the operator's own, wherever it stands; what names lead to is then its business.
        Some(proxy) => {
            let stream = open(&resolve(proxy).await?).await?;
            if target.scheme == Scheme::Https { tunnelled(stream, target).await? } else { stream }
        }
        None => open(&permitted(shared, target).await?).await?,
    };
    match target.scheme {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => {
            let ca = shared.options.ca.clone();
            Ok(Box::new(tls::handshake(stream, &target.host, ca).await?))
        }
    }
}

/// The addresses of the target to which a connection may be made; at least one.
async fn permitted(shared: &Shared, target: &Target) -> Result<Vec<SocketAddr>, Error> {
    let resolved = resolve(target).await?;
    if matches!(target.host, Host::Address(_)) {
        // It was granted as an address.
        return Ok(resolved);
    }
    let (permitted, refused) = judged(resolved, &shared.allow.http_addresses);
    if permitted.is_empty() {
        let (address, kind) = refused.ok_or(Error::DestinationNotFound)?;
        let hint =
            format!("if that is meant, add `http_addresses = [\"{address}\"]` to the `allow` of this use");
        shared.deny(&target.to_string(), &format!("it leads to `{address}`, {kind}"), Some(hint));
        return Err(Error::DestinationIpProhibited);
    }
    Ok(permitted)
}

/// The addresses that may be connected to, and the first of those that may not.
fn judged(
    resolved: Vec<SocketAddr>,
    listed: &[AddressRange],
) -> (Vec<SocketAddr>, Option<(IpAddr, &'static str)>) {
    let rules = AddressRules(listed);
    let mut refused = None;
    let permitted = resolved
        .into_iter()
        .filter(|address| match rules.refuse(address.ip()) {
            None => true,
            Some(kind) => {
                refused.get_or_insert((address.ip(), kind));
                false
            }
        })
        .collect();
    (permitted, refused)
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Error> {
    match &target.host {
        Host::Address(address) => Ok(vec![SocketAddr::new(*address, target.port)]),
        Host::Name(name) => match tokio::net::lookup_host((name.as_str(), target.port)).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(Error::DnsError { rcode: Some(error.to_string()), info_code: None }),
        },
    }
}

/// Connects to the first address that answers.
async fn open(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut failed = Error::DestinationNotFound;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small requests, and nobody sends the second half later.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failed = Error::Connect(error),
        }
    }
    Err(failed)
}

/// Asks a proxy for a connection to the target.
async fn tunnelled(mut stream: TcpStream, target: &Target) -> Result<TcpStream, Error> {
    let to = format!("{}:{}", target.host, target.port);
    let asked = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.map_err(Error::Connect)?;
    let mut head = Vec::new();
    // Byte by byte: what comes after the head belongs to the connection behind it.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES {
            return Err(Error::HttpResponseHeaderSectionSize(None));
        }
        head.push(stream.read_u8().await.map_err(Error::Connect)?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1);
    if status == Some(b"200") { Ok(stream) } else { Err(Error::DestinationUnavailable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 443)).collect()
    }

    /// The name of an attacker may lead to one good address and one bad one, and to others the next time. What is connected
    /// to is among the ones that were judged.
    #[test]
    fn only_judged_addresses_are_connected_to() {
        let (permitted, refused) = judged(addresses(&["169.254.169.254", "1.1.1.1", "::ffff:10.0.0.1"]), &[]);
        assert_eq!(permitted, addresses(&["1.1.1.1"]));
        assert_eq!(refused.map(|(address, _)| address.to_string()).as_deref(), Some("169.254.169.254"));
        let (permitted, _) = judged(addresses(&["127.0.0.1", "::1"]), &[]);
        assert!(permitted.is_empty());
        let listed = [AddressRange::parse("127.0.0.0/8").expect("a range")];
        let (permitted, _) = judged(addresses(&["127.0.0.1", "::1"]), &listed);
        assert_eq!(permitted, addresses(&["127.0.0.1"]));
    }

    #[test]
    fn what_a_guest_calls_its_host_does_not_go_over_the_wire() {
        let body = || http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = || Request::get("https://Hooks.Example:443/a?b=c").body(body()).expect("a request");
        let target = Target::parse(Scheme::Https, "Hooks.Example.:443").expect("a target");
        let sent = addressed(request(), &target, true).expect("it can be sent");
        assert_eq!(
            (sent.uri().to_string().as_str(), &sent.headers()[HOST]),
            ("/a?b=c", &"hooks.example".parse().expect("a value"))
        );
        let target = Target::parse(Scheme::Http, "Hooks.Example:8080").expect("a target");
        let sent = addressed(request(), &target, true).expect("it can be sent");
        assert_eq!(sent.uri().to_string(), "http://hooks.example:8080/a?b=c");
        assert_eq!(sent.headers()[HOST], "hooks.example:8080");
    }
}
