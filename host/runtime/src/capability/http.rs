//! `wasi:http`: requests that leave through our own sender, to the targets that are granted.
//!
//! The interface is always linked, so that a language's HTTP library can be part of a plugin; without a grant each request
//! is refused. Every request is judged by itself, redirects are handed to the guest like any other answer, and what a name
//! resolves to is judged once more before the connection is made, to that very address.

mod body;
mod send;
mod tls;

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderName, Method, Request, Uri};
use wasmtime::component::Linker;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use crate::call::{CallState, Denials};
use crate::grants::{Allow, Denial, HttpPattern, Scheme, Target};
use crate::limits::Limits;
use crate::pace::Pace;
use crate::text;

/// The name of the grant.
pub(crate) const HTTP: &str = "http";

/// Path and query of one request.
const PATH_BYTES: usize = 16 << 10;
/// The header fields of one request or answer, as they lie in the host.
const FIELD_BYTES: usize = 64 << 10;
/// What a guest may hand over of a body at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How much of a target is shown.
const SHOWN_BYTES: usize = 200;

/// Adds the interfaces.
pub(crate) fn add(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

/// How all plugins' requests leave this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// A file of authorities that are trusted beside those of the system.
    pub ca: Option<PathBuf>,
    /// A proxy for all requests but those to `no_proxy`.
    pub proxy: Option<HttpProxy>,
    /// Hosts that are reached directly: `a.example`, or `.example.org` for all below.
    pub no_proxy: Vec<String>,
}

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProxy {
    target: Target,
}

impl HttpProxy {
    /// Reads `http://host:port`.
    ///
    /// # Errors
    /// The end of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<HttpProxy, String> {
        let rest = text.strip_prefix("http://").ok_or("does not begin with `http://`")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        Ok(HttpProxy { target: Target::parse(Scheme::Http, authority)? })
    }
}

impl std::fmt::Display for HttpProxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.target)
    }
}

impl HttpOptions {
    /// The proxy for requests to a host, if there is one.
    fn proxy_for(&self, target: &Target) -> Option<&Target> {
        let host = target.host.to_string();
        let direct = self.no_proxy.iter().any(|entry| {
            let entry = entry.trim_start_matches('*').to_ascii_lowercase();
            if entry.starts_with('.') { host.ends_with(&entry) } else { host == entry }
        });
        self.proxy.as_ref().filter(|_| !direct).map(|proxy| &proxy.target)
    }
}

/// The part of a call's state that is about HTTP.
pub(crate) struct HttpState {
    context: WasiHttpCtx,
    hooks: Hooks,
}

impl HttpState {
    pub(crate) fn new(
        allow: Allow,
        options: Arc<HttpOptions>,
        limits: &Limits,
        denials: Denials,
        pace: Pace,
    ) -> HttpState {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELD_BYTES);
        let traffic = Arc::new(Traffic {
            pace,
            requests: AtomicU64::new(0),
            sent: Budget::new(limits.http_request_bytes),
            received: Budget::new(limits.http_response_bytes),
        });
        let patience = limits.http_timeout;
        let shared = Arc::new(Shared { allow, options, patience, traffic, denials });
        HttpState { context, hooks: Hooks { shared, requests_limit: limits.http_requests } }
    }

    /// Requests made, bytes sent and bytes received.
    pub(crate) fn used(&self) -> (u64, u64, u64) {
        let traffic = &self.hooks.shared.traffic;
        (traffic.requests.load(Ordering::Relaxed), traffic.sent.used(), traffic.received.used())
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http.context, hooks: &mut self.http.hooks, table: &mut self.table }
    }
}

/// What the requests of one call share.
struct Shared {
    allow: Allow,
    options: Arc<HttpOptions>,
    /// Longest wait for a server: for the head of its answer, between parts of its body, and for it to take what is sent.
    patience: Duration,
    traffic: Arc<Traffic>,
    denials: Denials,
}

/// What the requests of one call have used.
struct Traffic {
    pace: Pace,
    requests: AtomicU64,
    sent: Budget,
    received: Budget,
}

/// Bytes that may be moved in one call, all its requests together.
struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    fn new(limit: u64) -> Budget {
        Budget { limit, used: AtomicU64::new(0) }
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// False: that was too much.
    fn take(&self, bytes: u64) -> bool {
        self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.limit
    }
}

impl Shared {
    fn deny(&self, asked: &str, reason: &str, hint: Option<String>) {
        let asked = format!("http to `{}`", text::one_line(asked, SHOWN_BYTES));
        self.denials.add(Denial { grant: HTTP, asked, reason: reason.to_owned(), hint, times: 1 });
    }

    /// Where the request goes, if it may.
    fn admit(&self, uri: &Uri) -> Result<Target, Error> {
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        // Without what stands before an `@`: it may be a password.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let target = Scheme::parse(scheme)
            .ok_or("is neither http nor https")
            .and_then(|scheme| Target::parse(scheme, authority));
        let target = match target {
            Ok(target) => target,
            Err(reason) => {
                self.deny(&format!("{scheme}://{host}"), &format!("the address {reason}"), None);
                return Err(Error::HttpRequestUriInvalid);
            }
        };
        if !self.allow.http.iter().any(|pattern: &HttpPattern| pattern.allows(&target)) {
            let hint = format!("if that is meant, add `\"{target}\"` to `http` in the `allow` of this use");
            self.deny(&target.to_string(), "it is not granted", Some(hint));
            return Err(Error::HttpRequestDenied);
        }
        Ok(target)
    }
}

struct Hooks {
    shared: Arc<Shared>,
    requests_limit: u64,
}

impl Hooks {
    fn admit(&self, request: &Request<WasiBody>) -> Result<Target, Error> {
        let target = self.shared.admit(request.uri())?;
        if *request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > PATH_BYTES) {
            return Err(Error::HttpRequestUriTooLong);
        }
        let before = self.shared.traffic.requests.fetch_add(1, Ordering::Relaxed);
        if before >= self.requests_limit {
            let reason = format!("it made more than {} requests", self.requests_limit);
            self.shared.deny(&target.to_string(), &reason, None);
            return Err(Error::ConnectionLimitReached);
        }
        Ok(target)
    }
}

/// What an exchange gives the guest's side: the answer, and what keeps the connection going until its body is read.
type Exchange = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn set_host_header(&mut self) -> bool {
        // The sender sets it, from the target that was judged.
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchange, Error>> + Send> {
        let admitted = self.admit(&request);
        let shared = Arc::clone(&self.shared);
        Box::new(
            async move { send::exchange(&shared, admitted?, request, options.unwrap_or_default()).await },
        )
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        // A limit of ours that was reached while a body moved.
        let ours = error.source().and_then(|source| source.downcast_ref::<Error>());
        match ours {
            Some(Error::HttpRequestBodySize(size)) => ErrorCode::HttpRequestBodySize(*size),
            _ if error.is_timeout() => ErrorCode::HttpResponseTimeout,
            _ if error.is_incomplete_message() => ErrorCode::HttpResponseIncomplete,
            _ if error.is_closed() || error.is_canceled() => ErrorCode::ConnectionTerminated,
            _ => ErrorCode::HttpProtocolError,
        }
    }

    fn p2_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                ErrorCode::DestinationIpUnroutable
            }
            _ => ErrorCode::DestinationUnavailable,
        }
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        let certificate = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)));
        if certificate { ErrorCode::TlsCertificateError } else { ErrorCode::TlsProtocolError }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_hosts_are_reached_without_the_proxy() {
        let options = HttpOptions {
            proxy: Some(HttpProxy::parse("http://proxy.example:3128").expect("a proxy")),
            no_proxy: vec!["direct.example".into(), ".svc".into(), "*.local".into(), "10.0.0.7".into()],
            ca: None,
        };
        let proxied = |host: &str| {
            let target = Target::parse(Scheme::Https, host).expect("a host");
            options.proxy_for(&target).is_some()
        };
        assert!(proxied("hooks.slack.com") && proxied("indirect.example") && proxied("10.0.0.70"));
        assert!(
            !proxied("Direct.Example")
                && !proxied("a.svc:9093")
                && !proxied("b.local")
                && !proxied("10.0.0.7")
        );
        for bad in ["https://proxy.example", "proxy.example:3128", "http://me:pass@proxy.example", "http://"]
        {
            assert!(HttpProxy::parse(bad).is_err(), "{bad}");
        }
    }
}
