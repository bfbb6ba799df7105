//! The agent's HTTP endpoint: `/metrics`, `/healthz`, `/readyz`, and nothing else.
//!
//! It answers from memory and waits for nobody: not for a store, a plugin or a run. Connections are few, short and one
//! request long, so that whoever reaches the port cannot hold up the agent, nor for long another reader.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Format, Metrics};

/// Connections at a time. Others wait in the system's queue.
const CONNECTIONS: usize = 16;
/// Longest wait for a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Longest life of a connection, the reading of the answer included.
const WITHIN: Duration = Duration::from_secs(10);
/// A request's head, in bytes and header fields.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// How long to wait when no connection can be taken: no file descriptor is left, say.
const PAUSE: Duration = Duration::from_millis(200);

/// An address that is listened at, and not served yet.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    listener: TcpListener,
}

impl Listening {
    /// Takes the address. Readers that come wait until it is served.
    pub async fn at(address: SocketAddr) -> io::Result<Listening> {
        Ok(Listening { address, listener: TcpListener::bind(address).await? })
    }

    /// Serves until [`Serving::end`].
    pub fn serve(self, metrics: Arc<Metrics>) -> Serving {
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(self.listener, metrics, stop.clone()));
        Serving { address: self.address, stop, task }
    }
}

/// An endpoint that answers.
#[derive(Debug)]
pub struct Serving {
    /// Where.
    pub address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// Closes it, connections included.
    pub async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "serving metrics broke off");
        }
    }
}

async fn serve(listener: TcpListener, metrics: Arc<Metrics>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with this future, which closes them.
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                connections.spawn(async move {
                    let _place = place;
                    // What goes wrong on the way is the reader's business.
                    let _ = tokio::time::timeout(WITHIN, converse(stream, metrics)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a reader of metrics could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, metrics: Arc<Metrics>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&metrics, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer<B>(metrics: &Metrics, request: &Request<B>) -> Response<Full<Bytes>> {
    let paths = ["/metrics", "/healthz", "/readyz"];
    let path = request.uri().path();
    if !paths.contains(&path) {
        let known = format!("there is {}\n", paths.join(", "));
        return text(StatusCode::NOT_FOUND, known);
    }
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n".to_owned());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::of(accept.unwrap_or_default());
            let mut answer = text(StatusCode::OK, metrics::expose(metrics, format, Instant::now()));
            let kind = HeaderValue::from_static(format.content_type());
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        "/healthz" => state(metrics.stuck(Instant::now()).as_slice()),
        _ => state(&metrics.unready()),
    }
}

/// `ok`, or what is not.
fn state(reasons: &[String]) -> Response<Full<Bytes>> {
    if reasons.is_empty() {
        return text(StatusCode::OK, "ok\n".to_owned());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str) -> StatusCode {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        answer(&Metrics::default(), &request).status()
    }

    #[test]
    fn only_three_paths_and_only_reading() {
        assert_eq!(asked("GET", "/metrics?x=y"), StatusCode::OK);
        assert_eq!(asked("HEAD", "/healthz"), StatusCode::OK);
        assert_eq!(asked("GET", "/readyz"), StatusCode::SERVICE_UNAVAILABLE, "nothing is in force yet");
        assert_eq!(asked("POST", "/metrics"), StatusCode::METHOD_NOT_ALLOWED);
        for other in ["/", "/metrics/", "//metrics", "/debug/pprof", "/metrics/../healthz"] {
            assert_eq!(asked("GET", other), StatusCode::NOT_FOUND, "{other}");
        }
    }
}
