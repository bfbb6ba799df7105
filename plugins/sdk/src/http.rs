//! An HTTP client for plugins: small, blocking, through the agent's own sender.
//!
//! The agent lets a request through when its target is granted (`allow = { http = ["https://host"] }`) and wanted by the
//! plugin; it brings TLS and proxies, follows no redirect, and bounds number, size and time. Natively nothing is sent: a test
//! says what is answered ([`crate::testing::answer_http`]).

pub mod stream;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest answer that is taken, if the request says nothing else.
const MOST_BYTES: usize = 1 << 20;

/// An HTTP method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method(String);

impl Method {
    /// A method by its name, e.g. `PROPFIND`.
    pub fn new(name: impl Into<String>) -> Method {
        Method(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// One request. Made with [`Request::get`] and the like, and filled in by what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    most_bytes: usize,
}

impl Request {
    /// A request of any method.
    pub fn new(method: Method, url: impl Into<String>) -> Request {
        Request {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            most_bytes: MOST_BYTES,
        }
    }

    /// `GET`.
    pub fn get(url: impl Into<String>) -> Request {
        Request::new(Method::new("GET"), url)
    }

    /// `POST`.
    pub fn post(url: impl Into<String>) -> Request {
        Request::new(Method::new("POST"), url)
    }

    /// `PUT`.
    pub fn put(url: impl Into<String>) -> Request {
        Request::new(Method::new("PUT"), url)
    }

    /// `DELETE`.
    pub fn delete(url: impl Into<String>) -> Request {
        Request::new(Method::new("DELETE"), url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    /// With this value as JSON, and the header that says so.
    ///
    /// # Errors
    /// When the value has no form in JSON, e.g. a map whose keys are no texts.
    pub fn json(self, value: &impl Serialize) -> Result<Request, HttpError> {
        let body = serde_json::to_vec(value).map_err(|error| {
            HttpError::new(HttpErrorKind::Request, format!("the request cannot be written as JSON: {error}"))
        })?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// The longest time to connect, to the first byte of the answer, and between two. The call's own limit holds anyway.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }

    /// The longest answer that is taken, in bytes; 1 MiB if not set.
    #[must_use]
    pub fn at_most(mut self, bytes: usize) -> Request {
        self.most_bytes = bytes;
        self
    }

    /// Sends it, and waits for the whole answer. An answer of any status is one; see [`Response::success`].
    ///
    /// # Errors
    /// When there is no answer: not granted, nobody there, too late.
    pub fn send(&self) -> Result<Response, HttpError> {
        let url = Url::parse(&self.url)?;
        #[cfg(target_arch = "wasm32")]
        {
            crate::guest::http::send(self, &url)
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            let _ = url;
            crate::testing::answered(self)
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Where it goes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its headers, in the order in which they were added.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The first header of this name, in any case of letters.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Its body.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "natively nothing is sent"))]
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "natively nothing is sent"))]
    pub(crate) fn most_bytes(&self) -> usize {
        self.most_bytes
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// An answer; names of headers in lower case.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: impl Into<Vec<u8>>) -> Response {
        Response { status, headers, body: body.into() }
    }

    /// The status, e.g. 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is one of success, 200 to 299.
    pub fn success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a value out of JSON.
    ///
    /// # Errors
    /// When it is not what was expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            HttpError::new(HttpErrorKind::Other, format!("the answer is not what was expected: {error}"))
        })
    }

    /// The seconds of a `Retry-After` header; one that names a date is passed over.
    pub fn retry_after(&self) -> Option<u64> {
        self.header("retry-after")?.trim().parse().ok()
    }
}

/// In which way there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// The request itself cannot be sent: its URL, a header.
    Request,
    /// The agent refuses it: its target is not granted.
    Denied,
    /// Nobody is there, or the connection broke.
    Unreachable,
    /// It took too long.
    Timeout,
    /// TLS could not be agreed on, or a certificate is not trusted.
    Tls,
    /// The answer is larger than what is taken.
    TooLarge,
    /// Something else.
    Other,
}

/// Why there is no answer. The message names neither the URL nor a header: either may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// In which way.
    pub kind: HttpErrorKind,
    /// For a person.
    pub message: String,
}

impl HttpError {
    /// An error of this kind.
    pub fn new(kind: HttpErrorKind, message: impl Into<String>) -> HttpError {
        HttpError { kind, message: message.into() }
    }

    /// Whether the same request may do better later.
    pub fn may_pass(&self) -> bool {
        matches!(self.kind, HttpErrorKind::Unreachable | HttpErrorKind::Timeout | HttpErrorKind::Tls)
    }
}

/// The parts of a URL that a request is made of.
#[cfg_attr(not(any(target_arch = "wasm32", test)), expect(dead_code, reason = "natively nothing is sent"))]
pub(crate) struct Url<'a> {
    pub(crate) secure: bool,
    pub(crate) authority: &'a str,
    pub(crate) path_with_query: String,
}

impl<'a> Url<'a> {
    /// Splits a URL. The agent judges the parts by strict rules of its own; here only the shape counts.
    pub(crate) fn parse(url: &'a str) -> Result<Url<'a>, HttpError> {
        let malformed = |why: fmt::Arguments<'_>| {
            HttpError::new(HttpErrorKind::Request, format!("the URL {why}: it is `https://host/path`"))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed(format_args!("has no scheme")))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(malformed(format_args!("is neither `http` nor `https`"))),
        };
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err(malformed(format_args!("has no host")));
        }
        if authority.contains('@') {
            return Err(malformed(format_args!("holds a user or a password")));
        }
        if path.contains(|character: char| character.is_control() || character == ' ') {
            return Err(malformed(format_args!("holds a character that must be written as `%…`")));
        }
        let path_with_query = match path.chars().next() {
            None => "/".to_owned(),
            Some('?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        Ok(Url { secure, authority, path_with_query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split() {
        for (url, secure, authority, path) in [
            ("https://a.example", true, "a.example", "/"),
            ("http://a.example:8080/x/y?z=1#top", false, "a.example:8080", "/x/y?z=1"),
            ("HTTPS://[::1]:9?q", true, "[::1]:9", "/?q"),
        ] {
            let parsed = Url::parse(url).expect("a sound URL");
            assert_eq!(
                (parsed.secure, parsed.authority, parsed.path_with_query.as_str()),
                (secure, authority, path)
            );
        }
        for url in
            ["a.example", "ftp://a.example", "https:///x", "https://u:p@a.example/", "https://a.example/a b"]
        {
            let error = Url::parse(url).err().unwrap_or_else(|| panic!("`{url}` is refused"));
            assert_eq!(error.kind, HttpErrorKind::Request);
            assert!(!error.message.contains("u:p"), "{error}");
        }
    }

    #[test]
    fn what_is_answered_is_what_the_test_says() {
        crate::testing::answer_http(|request| {
            assert_eq!(request.header_value("Content-Type"), Some("application/json"));
            Ok(Response::new(429, vec![("retry-after".to_owned(), "7".to_owned())], r#"{"ok":false}"#))
        });
        let request = Request::post("https://a.example/x").json(&[1, 2]).expect("numbers are JSON");
        let response = request.send().expect("there is an answer");
        assert!(!response.success());
        assert_eq!(response.retry_after(), Some(7));
        assert_eq!(response.json::<serde_json::Value>().expect("it is JSON")["ok"], false);
        assert_eq!(crate::testing::take_http()[0].body_bytes(), b"[1,2]");
    }
}
