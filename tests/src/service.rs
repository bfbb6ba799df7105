//! A small HTTP service on loopback whose answers a test writes: what a cloud has beside its stores, and nobody can have at home
//! (an instance's metadata, a token service).

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

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
    over: AtomicBool,
}

/// A running service.
pub struct Service {
    port: u16,
    shared: Arc<Shared>,
}

impl Service {
    /// Starts one; `answer` gives each call's status and body.
    pub fn start(answer: impl Fn(&Call) -> (u16, String) + Send + Sync + 'static) -> Service {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            calls: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if served.over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), shared) = (client, Arc::clone(&served)) else { continue };
                // A client that goes away is its own business.
                thread::spawn(move || drop(serve(&shared, client)));
            }
        });
        Service { port, shared }
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("no service has panicked").clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the listener up, which then ends.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
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
