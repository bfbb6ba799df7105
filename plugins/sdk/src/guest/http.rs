//! One HTTP exchange through `wasi:http`.

pub(crate) mod stream;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::http::{HttpError, HttpErrorKind, Method, Request, Response, Url};

/// What one write of a stream takes at most.
const CHUNK_BYTES: usize = 4096;
const READ_BYTES: u64 = 64 << 10;

pub(crate) fn send(request: &Request, url: &Url<'_>) -> Result<Response, HttpError> {
    let outgoing = head(request, url)?;
    let options = RequestOptions::new();
    if let Some(timeout) = request.timeout() {
        let nanoseconds = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        // Each of the three may be refused; the limits of the call hold anyway.
        let _ = options.set_connect_timeout(nanoseconds);
        let _ = options.set_first_byte_timeout(nanoseconds);
        let _ = options.set_between_bytes_timeout(nanoseconds);
    }
    let body = outgoing.body().map_err(|()| unsent("the body"))?;
    let answer = outgoing_handler::handle(outgoing, Some(options)).map_err(|code| failed(&code))?;
    // A write that fails is explained by the answer.
    let sent = write(&body, request.body_bytes());
    let finished = OutgoingBody::finish(body, None);
    answer.subscribe().block();
    let response = answer
        .get()
        .and_then(Result::ok)
        .ok_or_else(|| HttpError::new(HttpErrorKind::Other, "there is no answer"))?
        .map_err(|code| failed(&code))?;
    if !sent || finished.is_err() {
        // Who answers before he has heard all may have said why: an answer counts more than the end of the body.
        if response.status() < 400 {
            return Err(HttpError::new(HttpErrorKind::Unreachable, "the request was not sent whole"));
        }
    }
    receive(&response, request.most_bytes())
}

fn head(request: &Request, url: &Url<'_>) -> Result<OutgoingRequest, HttpError> {
    let fields = Fields::new();
    for (name, value) in request.headers() {
        fields.append(name, value.as_bytes()).map_err(|_| {
            HttpError::new(HttpErrorKind::Request, format!("`{name}` cannot be a header of a request"))
        })?;
    }
    // Not every server takes a body without its length.
    if !request.body_bytes().is_empty() && request.header_value("content-length").is_none() {
        let length = request.body_bytes().len().to_string();
        fields.append("content-length", &length.into_bytes()).map_err(|_| unsent("the length"))?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let scheme = if url.secure { Scheme::Https } else { Scheme::Http };
    outgoing.set_scheme(Some(&scheme)).map_err(|()| unsent("the scheme"))?;
    outgoing.set_authority(Some(url.authority)).map_err(|()| unsent("the host"))?;
    outgoing.set_path_with_query(Some(&url.path_with_query)).map_err(|()| unsent("the path"))?;
    outgoing.set_method(&method(request.method())).map_err(|()| unsent("the method"))?;
    Ok(outgoing)
}

fn method(method: &Method) -> WasiMethod {
    match method.name() {
        "GET" => WasiMethod::Get,
        "HEAD" => WasiMethod::Head,
        "POST" => WasiMethod::Post,
        "PUT" => WasiMethod::Put,
        "DELETE" => WasiMethod::Delete,
        "OPTIONS" => WasiMethod::Options,
        "PATCH" => WasiMethod::Patch,
        other => WasiMethod::Other(other.to_owned()),
    }
}

fn write(body: &OutgoingBody, bytes: &[u8]) -> bool {
    let Ok(stream) = body.write() else { return false };
    bytes.chunks(CHUNK_BYTES).all(|chunk| stream.blocking_write_and_flush(chunk).is_ok())
}

fn receive(response: &IncomingResponse, most_bytes: usize) -> Result<Response, HttpError> {
    let status = response.status();
    let headers = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let body =
        response.consume().map_err(|()| HttpError::new(HttpErrorKind::Other, "the answer has no body"))?;
    let bytes = read(&body, most_bytes)?;
    Ok(Response::new(status, headers, bytes))
}

fn read(body: &IncomingBody, most_bytes: usize) -> Result<Vec<u8>, HttpError> {
    let stream =
        body.stream().map_err(|()| HttpError::new(HttpErrorKind::Other, "the answer has no body"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(part) => bytes.extend_from_slice(&part),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                let message =
                    format!("the answer broke off after {} bytes: {}", bytes.len(), error.to_debug_string());
                return Err(HttpError::new(HttpErrorKind::Unreachable, message));
            }
        }
        if bytes.len() > most_bytes {
            let message = format!("the answer has more than {most_bytes} bytes");
            return Err(HttpError::new(HttpErrorKind::TooLarge, message));
        }
    }
}

fn unsent(what: &str) -> HttpError {
    HttpError::new(HttpErrorKind::Request, format!("{what} of the request is refused"))
}

fn failed(code: &ErrorCode) -> HttpError {
    let (kind, message) = match code {
        ErrorCode::HttpRequestDenied => (HttpErrorKind::Denied, "the request is not granted".to_owned()),
        ErrorCode::DestinationIpProhibited => {
            (HttpErrorKind::Denied, "the host has an address that is not granted".to_owned())
        }
        ErrorCode::DnsError(_) | ErrorCode::DnsTimeout => {
            (HttpErrorKind::Unreachable, "the host's name is not known".to_owned())
        }
        ErrorCode::ConnectionRefused => (HttpErrorKind::Unreachable, "the connection was refused".to_owned()),
        ErrorCode::ConnectionTimeout => (HttpErrorKind::Timeout, "the connection took too long".to_owned()),
        ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionReadTimeout => {
            (HttpErrorKind::Timeout, "the answer took too long".to_owned())
        }
        ErrorCode::TlsCertificateError => {
            (HttpErrorKind::Tls, "the host's certificate is not trusted".to_owned())
        }
        ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => {
            (HttpErrorKind::Tls, "TLS could not be agreed on".to_owned())
        }
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
            (HttpErrorKind::Request, "the request is malformed".to_owned())
        }
        other => (HttpErrorKind::Unreachable, format!("there was no answer: {other:?}")),
    };
    HttpError::new(kind, message)
}
