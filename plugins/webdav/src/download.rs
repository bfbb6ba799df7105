//! Bytes from the server.

use holdfast_plugin::http::stream::{self, Download};
use holdfast_plugin::store::{Sink, StoreError};

use crate::server::Server;

/// What the server says besides the file.
const WORDS_BYTES: usize = 64 << 10;

/// Hands a file, or a range of it, to `into`.
pub(crate) fn get(
    server: &Server,
    path: &str,
    start: u64,
    end: Option<u64>,
    into: &mut dyn Sink,
) -> Result<(), StoreError> {
    // A compressed answer would have other bytes and another length.
    let mut request = server.request("GET", path).header("accept-encoding", "identity");
    if start > 0 || end.is_some() {
        let last = end.map(|end| end.saturating_sub(1).to_string()).unwrap_or_default();
        request = request.header("range", format!("bytes={start}-{last}"));
    }
    let answer = stream::download(&request)?;
    let tag = answer.header("etag").unwrap_or_default().to_owned();
    match answer.status() {
        200 => {
            let size_bytes = match answer.header("content-length").and_then(|length| length.parse().ok()) {
                Some(length) => length,
                None => size(server, path)?,
            };
            into.begin(size_bytes, &tag)?;
            let wanted = end.unwrap_or(size_bytes).min(size_bytes).saturating_sub(start);
            // The server knows no ranges, or none was asked for.
            hand_on(answer, start.min(size_bytes), wanted, into)
        }
        206 => {
            let (first, size_bytes) =
                answer.header("content-range").and_then(content_range).ok_or_else(|| {
                    StoreError::new("server", "the server answers with a part, and does not say which")
                })?;
            if first != start {
                let message =
                    format!("the server was asked for bytes from {start} on, and answers from {first} on");
                return Err(StoreError::new("server", message));
            }
            into.begin(size_bytes, &tag)?;
            let wanted = end.unwrap_or(size_bytes).min(size_bytes).saturating_sub(start);
            hand_on(answer, 0, wanted, into)
        }
        // The range lies behind the file's end.
        416 => into.begin(size(server, path)?, &tag),
        404 | 410 => Err(StoreError::not_found(path)),
        _ => Err(StoreError::answered(&answer.whole(WORDS_BYTES)?)),
    }
}

/// `bytes 5-9/100`: the first byte of the part, and the size of the whole.
fn content_range(header: &str) -> Option<(u64, u64)> {
    let (range, size) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, size.trim().parse().ok()?))
}

fn size(server: &Server, path: &str) -> Result<u64, StoreError> {
    let found = server.look(path)?.ok_or_else(|| StoreError::not_found(path))?;
    found
        .size_bytes
        .ok_or_else(|| StoreError::new("server", format!("the server does not say how large `{path}` is")))
}

/// Hands on `wanted` bytes of an answer, behind the first `skip`.
fn hand_on(mut answer: Download, skip: u64, wanted: u64, into: &mut dyn Sink) -> Result<(), StoreError> {
    let (mut skip, mut left) = (skip, wanted);
    while left > 0 {
        let piece = answer.read()?;
        if piece.is_empty() {
            return Err(StoreError::unavailable(format!("the server's answer ends {left} bytes early")));
        }
        let passed = skip.min(piece.len() as u64);
        skip -= passed;
        let bytes = &piece[passed as usize..];
        let bytes = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        left -= bytes.len() as u64;
        if !bytes.is_empty() {
            into.write(bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn a_part_says_where_it_begins() {
        assert_eq!(content_range("bytes 5-9/100"), Some((5, 100)));
        for wrong in ["bytes */100", "bytes 5-9/*", "5-9/100", "bytes 5/100", ""] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
