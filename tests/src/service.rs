//! A small HTTP service on loopback whose answers a test writes: what a cloud has beside its stores, and nobody can have at home
//! (an instance's metadata, a token service).

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use crate::listener::Listener;
use crate::relay::{Request, head_lines};

/// Longest body of a request.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// A request and its body.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its head.
    pub request: Request,
    /// Its body, as text.
    pub body: String,
}

type Answer = dyn Fn(&Call) -> (u16, String) + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    calls: Mutex<Vec<Call>>,
}

/// A running service.
pub struct Service {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Service {
    /// Starts one; `answer` gives each call's status and body.
    pub fn start(answer: impl Fn(&Call) -> (u16, String) + Send + Sync + 'static) -> Service {
        let shared = Arc::new(Shared { answer: Box::new(answer), calls: Mutex::default() });
        let served = Arc::clone(&shared);
        let listener = Listener::start(move |client| serve(&served, client));
        Service { listener, shared }
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        self.listener.endpoint()
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("no service has panicked").clone()
    }
}

fn serve(shared: &Shared, mut client: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let Some(lines) = head_lines(&mut reader)? else { return Ok(()) };
    let request = Request::of(&lines, 0);
    let mut body = String::new();
    reader.take(request.body_bytes().min(MAX_BODY_BYTES)).read_to_string(&mut body)?;
    let call = Call { request, body };
    shared.calls.lock().expect("no service has panicked").push(call.clone());
    let (status, answer) = (shared.answer)(&call);
    write!(
        client,
        "HTTP/1.1 {status} Answer\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         x-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    )
}
