//! Exchanges whose bodies go piece by piece.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    FutureIncomingResponse, IncomingBody, IncomingResponse, OutgoingBody, RequestOptions,
};
use wasip2::io::streams::{InputStream, StreamError};

use super::{failed, head, receive};
use crate::http::stream::UploadError;
use crate::http::{HttpError, HttpErrorKind, Request, Response, Url};

const READ_BYTES: u64 = 256 << 10;

pub(crate) fn upload<E>(
    request: &Request,
    url: &Url<'_>,
    next: &mut dyn FnMut() -> Result<Vec<u8>, E>,
) -> Result<Response, UploadError<E>> {
    let (answer, body) = begin(request, url).map_err(UploadError::Http)?;
    // Dropped without `finish`, as on every way out before it, the body breaks off the request.
    let whole = write(&body, &answer, next).map_err(UploadError::Source)?;
    let whole = if whole {
        OutgoingBody::finish(body, None).is_ok()
    } else {
        drop(body);
        false
    };
    let response = answered(&answer).map_err(UploadError::Http)?;
    if !whole && response.status() < 300 {
        let message = "the server says that all is well, and has not taken all of the request";
        return Err(UploadError::Http(HttpError::new(HttpErrorKind::Unreachable, message)));
    }
    receive(&response, request.most_bytes()).map_err(UploadError::Http)
}

pub(crate) fn download(request: &Request, url: &Url<'_>) -> Result<(Response, Incoming), HttpError> {
    let (answer, body) = begin(request, url)?;
    // A write that fails is explained by the answer.
    let _ = super::write(&body, request.body_bytes());
    let _ = OutgoingBody::finish(body, None);
    let response = answered(&answer)?;
    let headers = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let head = Response::new(response.status(), headers, Vec::new());
    let body = response.consume().map_err(|()| no_body())?;
    let stream = body.stream().map_err(|()| no_body())?;
    Ok((head, Incoming { stream, _body: body }))
}

/// A body on its way. The stream goes before what it comes from.
pub(crate) struct Incoming {
    stream: InputStream,
    _body: IncomingBody,
}

impl Incoming {
    pub(crate) fn read(&mut self) -> Result<Vec<u8>, HttpError> {
        loop {
            match self.stream.blocking_read(READ_BYTES) {
                // Nothing yet is not the end.
                Ok(part) if part.is_empty() => {}
                Ok(part) => return Ok(part),
                Err(StreamError::Closed) => return Ok(Vec::new()),
                Err(StreamError::LastOperationFailed(error)) => {
                    let message = format!("the answer broke off: {}", error.to_debug_string());
                    return Err(HttpError::new(HttpErrorKind::Unreachable, message));
                }
            }
        }
    }
}

fn begin(request: &Request, url: &Url<'_>) -> Result<(FutureIncomingResponse, OutgoingBody), HttpError> {
    let outgoing = head(request, url)?;
    let options = RequestOptions::new();
    if let Some(timeout) = request.timeout() {
        let nanoseconds = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let _ = options.set_connect_timeout(nanoseconds);
        let _ = options.set_first_byte_timeout(nanoseconds);
        let _ = options.set_between_bytes_timeout(nanoseconds);
    }
    let body = outgoing.body().map_err(|()| no_body())?;
    let answer = outgoing_handler::handle(outgoing, Some(options)).map_err(|code| failed(&code))?;
    Ok((answer, body))
}

/// Writes all that comes. False: the server takes no more, or has answered before it had all.
fn write<E>(
    body: &OutgoingBody,
    answer: &FutureIncomingResponse,
    next: &mut dyn FnMut() -> Result<Vec<u8>, E>,
) -> Result<bool, E> {
    let Ok(stream) = body.write() else { return Ok(false) };
    let (ready, come) = (stream.subscribe(), answer.subscribe());
    loop {
        let piece = next()?;
        if piece.is_empty() {
            // Not flushed: the stream is closed for a server that has taken all that was announced, as for one that
            // takes no more, and the answer tells the two apart.
            return Ok(true);
        }
        // Only now: who has answered with the last piece in hand has answered to all of it.
        if come.ready() {
            return Ok(false);
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let Ok(room) = stream.check_write() else { return Ok(false) };
            if room == 0 {
                ready.block();
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if stream.write(now).is_err() {
                return Ok(false);
            }
            rest = later;
        }
    }
}

fn answered(answer: &FutureIncomingResponse) -> Result<IncomingResponse, HttpError> {
    answer.subscribe().block();
    answer
        .get()
        .and_then(Result::ok)
        .ok_or_else(|| HttpError::new(HttpErrorKind::Other, "there is no answer"))?
        .map_err(|code| failed(&code))
}

fn no_body() -> HttpError {
    HttpError::new(HttpErrorKind::Other, "there is no body to read or write")
}
