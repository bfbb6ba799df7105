//! A listener on loopback that hands each connection to a thread of its own, and ends with the value that stands for it.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A port that is listened on.
pub(crate) struct Listener {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Listener {
    /// Listens on a free port. A connection that breaks is the business of who broke it.
    pub(crate) fn start(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Listener {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let over = Arc::new(AtomicBool::new(false));
        let (ended, serve) = (Arc::clone(&over), Arc::new(serve));
        thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), serve) = (client, Arc::clone(&serve)) else { continue };
                thread::spawn(move || drop(serve(client)));
            }
        });
        Listener { port, over }
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener up, which then ends.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}
