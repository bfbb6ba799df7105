//! Requests and answers whose bodies are too large to be held: they go piece by piece.
//!
//! Natively they are held all the same, and a test says what is answered ([`crate::testing::answer_http`]).

use super::{HttpError, HttpErrorKind, Request, Response, Url};

/// Why an upload ended without an answer.
#[derive(Debug)]
pub enum UploadError<E> {
    /// There was none.
    Http(HttpError),
    /// The source of the body broke off. The request was broken off with it: no server may take it for whole.
    Source(E),
}

/// Sends a request whose body comes from `next`, piece by piece; an empty one is the end. The request's own body is not sent. A
/// server that answers before it has all is listened to: it may say why it takes no more.
///
/// # Errors
/// When there is no answer, or the source broke off.
pub fn upload<E>(
    request: &Request,
    next: &mut dyn FnMut() -> Result<Vec<u8>, E>,
) -> Result<Response, UploadError<E>> {
    let url = Url::parse(request.url()).map_err(UploadError::Http)?;
    #[cfg(target_arch = "wasm32")]
    return crate::guest::http::stream::upload(request, &url, next);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = url;
        let mut body = Vec::new();
        loop {
            let piece = next().map_err(UploadError::Source)?;
            if piece.is_empty() {
                break;
            }
            body.extend_from_slice(&piece);
        }
        crate::testing::answered(&request.clone().body(body)).map_err(UploadError::Http)
    }
}

/// Sends a request with its own body, and waits for the head of the answer. What the answer holds is then read piece by piece.
///
/// # Errors
/// When there is no answer.
pub fn download(request: &Request) -> Result<Download, HttpError> {
    let url = Url::parse(request.url())?;
    #[cfg(target_arch = "wasm32")]
    let answer = crate::guest::http::stream::download(request, &url)?;
    #[cfg(not(target_arch = "wasm32"))]
    let answer = {
        let _ = url;
        let response = crate::testing::answered(request)?;
        let head = Response::new(response.status(), response.headers.clone(), Vec::new());
        (head, native::Incoming::new(response.body))
    };
    Ok(Download { head: answer.0, body: answer.1 })
}

/// An answer whose body is on its way.
pub struct Download {
    head: Response,
    #[cfg(target_arch = "wasm32")]
    body: crate::guest::http::stream::Incoming,
    #[cfg(not(target_arch = "wasm32"))]
    body: native::Incoming,
}

impl Download {
    /// The status, e.g. 200.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The status and the headers.
    pub fn head(&self) -> &Response {
        &self.head
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// When the answer breaks off. What its head said of its length is not compared with what came.
    pub fn read(&mut self) -> Result<Vec<u8>, HttpError> {
        self.body.read()
    }

    /// The whole answer, with the rest of its body.
    ///
    /// # Errors
    /// When it breaks off, or has more than `most_bytes`.
    pub fn whole(mut self, most_bytes: usize) -> Result<Response, HttpError> {
        let mut body = Vec::new();
        loop {
            let piece = self.read()?;
            if piece.is_empty() {
                break;
            }
            body.extend_from_slice(&piece);
            if body.len() > most_bytes {
                let message = format!("the answer has more than {most_bytes} bytes");
                return Err(HttpError::new(HttpErrorKind::TooLarge, message));
            }
        }
        Ok(Response { body, ..self.head })
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::HttpError;

    const PIECE_BYTES: usize = 64 << 10;

    pub(super) struct Incoming {
        left: Vec<u8>,
    }

    impl Incoming {
        pub(super) fn new(bytes: Vec<u8>) -> Incoming {
            Incoming { left: bytes }
        }

        #[expect(clippy::unnecessary_wraps, reason = "as the agent's")]
        pub(super) fn read(&mut self) -> Result<Vec<u8>, HttpError> {
            let rest = self.left.split_off(self.left.len().min(PIECE_BYTES));
            Ok(std::mem::replace(&mut self.left, rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_go_piece_by_piece() {
        crate::testing::answer_http(|request| Ok(Response::new(200, Vec::new(), request.body_bytes())));
        let mut pieces = vec![vec![7; 100_000], vec![8; 5], Vec::new()].into_iter();
        let request = Request::put("https://a.example/x");
        let sent = upload::<()>(&request, &mut || Ok(pieces.next().expect("it stops at the end")));
        assert_eq!(sent.expect("an answer").body().len(), 100_005);
        let torn = upload(&request, &mut || Err("torn"));
        assert!(matches!(torn, Err(UploadError::Source("torn"))));

        crate::testing::answer_http(|_| Ok(Response::new(206, Vec::new(), vec![7; 100_000])));
        let mut download = download(&Request::get("https://a.example/x")).expect("an answer");
        assert_eq!(download.status(), 206);
        assert_eq!(download.read().expect("a piece").len(), 64 << 10);
        assert_eq!(download.whole(1 << 20).expect("the rest").body().len(), 100_000 - (64 << 10));
    }
}
