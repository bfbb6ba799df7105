//! An HTTP server for one who writes a store: it keeps objects in memory for as long as the command runs, and speaks what projects of
//! `holdfast plugin new --kind store` speak.
//!
//! | request | answer |
//! | --- | --- |
//! | `PUT PATH` with `If-None-Match: *` | 201; 412 when there is one already |
//! | `GET PATH`, whole or with `Range: bytes=A-B` | 200, 206; 416 when the range lies behind the end |
//! | `HEAD PATH` | 200 with size and tag |
//! | `DELETE PATH` | 204, whether there was one or not |
//! | `GET FOLDER/?prefix=…&after=…&limit=…` | `{"objects": [{"path": …, "size_bytes": …}], "next": …}` |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The largest object, and all of them together: what an author tries fits, and what runs wild does not fill his machine.
const OBJECT_BYTES: usize = 64 << 20;
const ROOM_BYTES: usize = 256 << 20;
/// Objects on a page of a listing.
const PAGE: usize = 1000;

type Kept = Mutex<BTreeMap<String, Bytes>>;
type Answer = Response<Full<Bytes>>;

/// A server that keeps objects until this value goes.
pub(super) struct Objects {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Objects {
    pub(super) async fn start(address: SocketAddr) -> Result<Objects> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen at `{address}`"))?;
        let address = listener.local_addr()?;
        Ok(Objects { address, serving: tokio::spawn(serve(listener)) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener) {
    let kept = Arc::<Kept>::default();
    // Dropped with this future, which closes them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&kept)));
                }
                Err(error) => tracing::warn!(%error, "a connection could not be taken"),
            },
        }
    }
}

async fn converse(stream: TcpStream, kept: Arc<Kept>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let kept = Arc::clone(&kept);
        async move { Ok::<_, Infallible>(answer(&kept, request).await) }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection broke off");
    }
}

async fn answer(kept: &Kept, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    match (&head.method, path.ends_with('/')) {
        (&Method::PUT, false) => put(kept, path, &head.headers, body).await,
        (&Method::GET | &Method::HEAD, false) => get(kept, path, &head.headers),
        (&Method::DELETE, false) => {
            lock(kept).remove(path);
            said(StatusCode::NO_CONTENT, "")
        }
        (&Method::GET, true) => list(kept, path, head.uri.query().unwrap_or_default()),
        _ => said(StatusCode::METHOD_NOT_ALLOWED, "there is PUT, GET, HEAD and DELETE"),
    }
}

async fn put(kept: &Kept, path: &str, headers: &HeaderMap, body: Incoming) -> Answer {
    if headers.get(IF_NONE_MATCH).is_none_or(|value| value != "*") {
        return said(StatusCode::PRECONDITION_REQUIRED, "a PUT has `If-None-Match: *`: nothing is replaced");
    }
    // Whole or not at all: a body that breaks off leaves nothing.
    let object = match Limited::new(body, OBJECT_BYTES).collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return said(StatusCode::PAYLOAD_TOO_LARGE, "an object may have 64 MiB here");
        }
        Err(error) => {
            tracing::debug!(%error, path, "an object did not arrive whole");
            return said(StatusCode::BAD_REQUEST, "the body broke off");
        }
    };
    let mut kept = lock(kept);
    if kept.contains_key(path) {
        return said(StatusCode::PRECONDITION_FAILED, "there is one already");
    }
    if kept.values().map(Bytes::len).sum::<usize>() + object.len() > ROOM_BYTES {
        return said(StatusCode::INSUFFICIENT_STORAGE, "all objects together may have 256 MiB here");
    }
    kept.insert(path.to_owned(), object);
    said(StatusCode::CREATED, "")
}

fn get(kept: &Kept, path: &str, headers: &HeaderMap) -> Answer {
    let Some(object) = lock(kept).get(path).cloned() else {
        return said(StatusCode::NOT_FOUND, "there is no such object");
    };
    let size = object.len();
    let range = headers.get(RANGE).and_then(|value| range(value.to_str().ok()?, size));
    let answer = Response::builder()
        .header(ACCEPT_RANGES, "bytes")
        .header(ETAG, format!("\"{:08x}\"", crc32c::crc32c(&object)));
    let answer = match range {
        None => answer.header(CONTENT_LENGTH, size).body(Full::new(object)),
        Some((start, end)) if start < end => answer
            .status(StatusCode::PARTIAL_CONTENT)
            .header(CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1))
            .body(Full::new(object.slice(start..end))),
        Some(_) => answer
            .status(StatusCode::RANGE_NOT_SATISFIABLE)
            .header(CONTENT_RANGE, format!("bytes */{size}"))
            .body(Full::default()),
    };
    answer.expect("its headers are good ones")
}

/// `bytes=5-9` or `bytes=5-`, of an object of this size: where it begins and ends. What is another kind of range is none, as HTTP allows.
fn range(header: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let end = if last.is_empty() { size } else { last.parse::<usize>().ok()?.saturating_add(1).min(size) };
    Some((first, end))
}

fn list(kept: &Kept, folder: &str, query: &str) -> Answer {
    let asked = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name)
    };
    let text = |name: &str| asked(name).map_or("", |(_, value)| value);
    let limit = text("limit").parse().map_or(PAGE, |limit: usize| limit.clamp(1, PAGE));
    let (prefix, after) = (format!("{folder}{}", text("prefix")), format!("{folder}{}", text("after")));
    let kept = lock(kept);
    let mut found = kept
        .range::<String, _>((Bound::Excluded(after), Bound::Unbounded))
        .filter(|(path, _)| path.starts_with(&prefix))
        .map(|(path, object)| (&path[folder.len()..], object.len()));
    let page: Vec<(&str, usize)> = found.by_ref().take(limit).collect();
    let next = found.next().and(page.last()).map(|(path, _)| path);
    let objects: Vec<_> =
        page.iter().map(|(path, size)| json!({ "path": path, "size_bytes": size })).collect();
    said(StatusCode::OK, json!({ "objects": objects, "next": next }).to_string())
}

fn said(status: StatusCode, words: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(words.into()));
    *answer.status_mut() = status;
    answer
}

fn lock(kept: &Kept) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_with_the_object() {
        for (header, size, expected) in [
            ("bytes=2-4", 10, Some((2, 5))),
            ("bytes=2-", 10, Some((2, 10))),
            ("bytes=2-99", 10, Some((2, 10))),
            ("bytes=10-12", 10, Some((10, 10))),
            ("bytes=-5", 10, None),
            ("lines=2-4", 10, None),
        ] {
            assert_eq!(range(header, size), expected, "{header}");
        }
    }

    #[tokio::test]
    async fn a_listing_goes_on_behind_its_last_object() {
        let kept = Kept::default();
        for path in ["/b/a-b", "/b/a/b", "/b/a", "/c/a"] {
            lock(&kept).insert(path.to_owned(), Bytes::from_static(b"x"));
        }
        let page = async |query: &str| {
            let body = list(&kept, "/b/", query).into_body().collect().await.unwrap().to_bytes();
            let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let paths = page["objects"].as_array().unwrap().iter().map(|object| object["path"].to_string());
            (paths.collect::<String>(), page["next"].as_str().map(str::to_owned))
        };
        assert_eq!(
            page("prefix=a&after=&limit=2").await,
            ("\"a\"\"a-b\"".to_owned(), Some("a-b".to_owned()))
        );
        assert_eq!(page("prefix=a&after=a-b&limit=2").await, ("\"a/b\"".to_owned(), None));
        assert_eq!(page("prefix=x").await, (String::new(), None));
    }
}
