//! The snapshot stream, read without copying.
//!
//! A snapshot is the one large thing we ask for, so it does not go through the generated client, which would gather every
//! message in a buffer and then copy its blob out. The frames of the HTTP/2 body are walked instead, and the parts of them
//! that are database bytes are handed on as they are.
//!
//! ```text
//! body            = message*
//! message         = flag u8 (0: not compressed) | length u32 BE | SnapshotResponse
//! SnapshotResponse = 1 header: message | 2 remaining_bytes: varint | 3 blob: bytes | 4 version: string    (protobuf)
//! ```
//! The last message carries the sha256 of all blobs before it (etcd `server/etcdserver/api/v3rpc/maintenance.go`). The file
//! is the plain concatenation of all blobs, that one included.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::client::{Connection, TokenChannel};
use super::errors::{Attempt, Cause, EtcdError};

/// Longest version text that is kept; etcd's are like `3.6.0`.
const MAX_VERSION_BYTES: usize = 64;
/// Longest protobuf varint.
const MAX_VARINT_BYTES: u32 = 10;

/// A snapshot on its way.
#[derive(Debug)]
pub struct SnapshotStream {
    body: Body,
    frame: Bytes,
    parser: Parser,
    connection: Connection,
    received_bytes: u64,
}

impl SnapshotStream {
    pub(super) fn new(body: Body, connection: Connection) -> Self {
        Self { body, frame: Bytes::new(), parser: Parser::default(), connection, received_bytes: 0 }
    }

    /// The next bytes of the file, or `None` at its proper end.
    ///
    /// # Errors
    /// The connection broke, the server gave up, nothing came for as long as `stall_timeout`, or the stream ended short.
    pub async fn next(&mut self, stall_timeout: Duration) -> Result<Option<Bytes>, EtcdError> {
        loop {
            if !self.frame.is_empty() {
                let piece = self.parser.next_piece(&mut self.frame);
                match piece.map_err(|reason| self.fail(Cause::Protocol(reason.to_owned())))? {
                    Some(piece) => {
                        self.received_bytes += piece.len() as u64;
                        return Ok(Some(piece));
                    }
                    None => continue,
                }
            }
            let Ok(frame) = tokio::time::timeout(stall_timeout, self.body.frame()).await else {
                return Err(self.fail(Cause::Stalled { after: stall_timeout, received: self.received_bytes }));
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frame = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.check_end(Status::from_header_map(&trailers))?;
                        return Ok(None);
                    }
                },
                Some(Err(status)) => return Err(self.broken(&status)),
                None => {
                    let reason = "the stream ended without a status".to_owned();
                    return Err(self.fail(Cause::Lost { received: Some(self.received_bytes), reason }));
                }
            }
        }
    }

    /// Bytes of the database, told by the first message; the file is the 32 bytes of its hash longer.
    pub fn database_bytes(&self) -> Option<u64> {
        self.parser.database_bytes
    }

    /// The storage version that the server told, since 3.6.
    pub fn version(&self) -> Option<String> {
        let version = String::from_utf8_lossy(&self.parser.version).into_owned();
        Some(version).filter(|version| !version.is_empty())
    }

    fn check_end(&self, status: Option<Status>) -> Result<(), EtcdError> {
        match status {
            Some(status) if status.code() != tonic::Code::Ok => Err(self.broken(&status)),
            _ if !self.parser.is_between_messages() => {
                Err(self.fail(Cause::Protocol("it ended in the middle of a message".to_owned())))
            }
            _ if self.parser.remaining_bytes > 0 => Err(self.fail(Cause::Lost {
                received: Some(self.received_bytes),
                reason: format!(
                    "the server ended the stream with {} bytes to go",
                    self.parser.remaining_bytes
                ),
            })),
            _ => Ok(()),
        }
    }

    /// A failure in the middle, with the bytes that had come.
    fn broken(&self, status: &Status) -> EtcdError {
        let mut error = self.connection.explain(Attempt::Snapshot, status);
        let reason = match &error.cause {
            Cause::Lost { reason, .. } => Some(reason.clone()),
            // Before the first byte this is an answer to the request and not the end of a stream: nothing was lost.
            Cause::Server(_) if self.received_bytes == 0 && is_refusal(status.code()) => None,
            Cause::Unavailable(message) | Cause::Server(message) => {
                Some(format!("the server said `{message}`"))
            }
            _ => None,
        };
        if let Some(reason) = reason {
            error.cause = Cause::Lost { received: Some(self.received_bytes), reason };
        }
        error
    }

    fn fail(&self, cause: Cause) -> EtcdError {
        self.connection.error(Attempt::Snapshot, cause)
    }
}

/// Whether the server understood the request and will not do it, now or later.
fn is_refusal(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(
        code,
        Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::Unauthenticated
            | Code::NotFound
            | Code::Unimplemented
    )
}

/// Sends the request and waits for the head of the answer.
pub(super) async fn open(mut channel: TokenChannel) -> Result<Body, Status> {
    // An empty `SnapshotRequest`: not compressed, no bytes.
    let message = Body::new(Full::new(Bytes::from_static(&[0; 5])));
    let mut request = Request::new(message);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("/etcdserverpb.Maintenance/Snapshot");
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let channel = channel.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let response = channel.call(request).await.map_err(|error| Status::from_error(Box::new(error)))?;
    if response.status() != http::StatusCode::OK {
        return Err(Status::unimplemented(format!("it answers HTTP status {}", response.status())));
    }
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != tonic::Code::Ok => Err(status),
        _ => Ok(response.into_body()),
    }
}

/// Walks the messages of the body, whatever frames they come in.
#[derive(Debug, Default)]
struct Parser {
    state: State,
    /// Bytes of the current message that have not been walked.
    message_left: u64,
    /// The number being gathered: a length or a varint, and how many of its bytes have come.
    number: u64,
    digits: u32,
    /// What the newest message said is still to come.
    remaining_bytes: u64,
    database_bytes: Option<u64>,
    version: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// Before the flag of a message, or at the end.
    #[default]
    Flag,
    Length,
    Tag,
    /// A varint field of this number.
    Varint(u64),
    /// The length of a length-delimited field of this number.
    FieldLength(u64),
    /// This many bytes left of a length-delimited field of this number.
    Field(u64, u64),
    /// This many bytes left of something of no interest.
    Skip(u64),
}

impl Parser {
    fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Flag)
    }

    /// Takes bytes off `input` until some of them are database bytes, which are returned, or none are left.
    fn next_piece(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, &'static str> {
        while !input.is_empty() {
            match self.state {
                State::Flag => {
                    if input.get_u8() != 0 {
                        return Err("a message is compressed, which was not asked for");
                    }
                    (self.state, self.number, self.digits) = (State::Length, 0, 0);
                }
                State::Length => {
                    self.number = self.number << 8 | u64::from(input.get_u8());
                    self.digits += 1;
                    if self.digits == 4 {
                        self.message_left = self.number;
                        // Zero fields are not sent, so what a message does not say is 0.
                        self.remaining_bytes = 0;
                        self.next_field();
                    }
                }
                State::Tag => {
                    if let Some(tag) = self.varint(input)? {
                        self.state = match tag & 7 {
                            0 => State::Varint(tag >> 3),
                            1 => State::Skip(8),
                            2 => State::FieldLength(tag >> 3),
                            5 => State::Skip(4),
                            _ => return Err("a field has an unknown wire type"),
                        };
                    }
                }
                State::Varint(field) => {
                    if let Some(value) = self.varint(input)? {
                        if field == 2 {
                            self.remaining_bytes = value;
                        }
                        self.next_field();
                    }
                }
                State::FieldLength(field) => {
                    if let Some(length) = self.varint(input)? {
                        if length > self.message_left {
                            return Err("a field is longer than its message");
                        }
                        match field {
                            3 if self.database_bytes.is_none() => {
                                self.database_bytes = self.remaining_bytes.checked_add(length);
                            }
                            // Every message tells the version anew.
                            4 => self.version.clear(),
                            _ => {}
                        }
                        self.state = State::Field(field, length);
                        if length == 0 {
                            self.next_field();
                        }
                    }
                }
                State::Field(field, left) => {
                    let bytes = self.take(input, left);
                    self.state = State::Field(field, left - bytes.len() as u64);
                    if bytes.len() as u64 == left {
                        self.next_field();
                    }
                    match field {
                        3 => return Ok(Some(bytes)),
                        4 => self.keep_version(&bytes),
                        _ => {}
                    }
                }
                State::Skip(left) => {
                    if left > self.message_left {
                        return Err("a field is longer than its message");
                    }
                    let skipped = self.take(input, left).len() as u64;
                    self.state = State::Skip(left - skipped);
                    if skipped == left {
                        self.next_field();
                    }
                }
            }
        }
        Ok(None)
    }

    fn next_field(&mut self) {
        (self.number, self.digits) = (0, 0);
        self.state = if self.message_left == 0 { State::Flag } else { State::Tag };
    }

    fn take(&mut self, input: &mut Bytes, most: u64) -> Bytes {
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
        self.message_left -= length as u64;
        input.split_to(length)
    }

    /// One byte more of a varint; its value once it is whole.
    fn varint(&mut self, input: &mut Bytes) -> Result<Option<u64>, &'static str> {
        if self.message_left == 0 {
            return Err("a message ends in the middle of a number");
        }
        let byte = input.get_u8();
        self.message_left -= 1;
        if self.digits == MAX_VARINT_BYTES {
            return Err("a number is too long");
        }
        self.number |= u64::from(byte & 0x7f).checked_shl(7 * self.digits).unwrap_or(0);
        self.digits += 1;
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        let value = self.number;
        (self.number, self.digits) = (0, 0);
        Ok(Some(value))
    }

    fn keep_version(&mut self, bytes: &[u8]) {
        let room = MAX_VERSION_BYTES - self.version.len();
        self.version.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the server sends it: a header, what remains, the blob, the version and a field of the future.
    fn message(remaining: u64, blob: &[u8], version: &str) -> Vec<u8> {
        let mut body = vec![0x0a, 2, 0x08, 1];
        if remaining > 0 {
            body.push(0x10);
            varint(&mut body, remaining);
        }
        body.push(0x1a);
        varint(&mut body, blob.len() as u64);
        body.extend_from_slice(blob);
        body.push(0x22);
        varint(&mut body, version.len() as u64);
        body.extend_from_slice(version.as_bytes());
        body.extend_from_slice(&[0x79, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(&body);
        framed
    }

    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    fn parse(bytes: &[u8], frame_bytes: usize) -> Result<(Parser, Vec<u8>), &'static str> {
        let mut parser = Parser::default();
        let mut file = Vec::new();
        for frame in bytes.chunks(frame_bytes) {
            let mut frame = Bytes::copy_from_slice(frame);
            while !frame.is_empty() {
                if let Some(piece) = parser.next_piece(&mut frame)? {
                    file.extend_from_slice(&piece);
                }
            }
        }
        Ok((parser, file))
    }

    #[test]
    fn messages_come_whole_whatever_the_frames() {
        let blobs: [Vec<u8>; 3] = [vec![7; 300], vec![9; 200], vec![5; 32]];
        let mut stream = message(200, &blobs[0], "3.6.0");
        stream.extend(message(0, &blobs[1], "3.6.0"));
        stream.extend(message(0, &blobs[2], "3.6.0"));
        for frame_bytes in 1..=stream.len() {
            let (parser, file) = parse(&stream, frame_bytes).unwrap();
            assert_eq!(file, blobs.concat(), "frames of {frame_bytes}");
            assert_eq!(parser.database_bytes, Some(500));
            assert_eq!(parser.remaining_bytes, 0);
            assert_eq!(parser.version, b"3.6.0");
            assert!(parser.is_between_messages());
        }
        let (parser, _) = parse(&stream[..stream.len() - 1], 64).unwrap();
        assert!(!parser.is_between_messages());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let stream = message(200, &[1; 100], "3.5");
        assert!(parse(&[1, 0, 0, 0, 0], 5).is_err(), "compressed");
        assert!(parse(&[0, 0, 0, 0, 1, 0x80], 6).unwrap().0.message_left == 0);
        assert!(parse(&[0, 0, 0, 0, 1, 0x80, 1], 7).is_err(), "a number cut by the end of its message");
        for position in 5..stream.len() {
            for bit in 0..8 {
                let mut damaged = stream.clone();
                damaged[position] ^= 1 << bit;
                // Either outcome is right; the sha256 of the file decides. It must only end.
                let _ = parse(&damaged, 16);
            }
        }
    }
}
