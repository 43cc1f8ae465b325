//! Clients that send requests without a pause, on connections that stay open. In: where to, what to send and which answers are
//! right. Out: how many were answered, and each fault. Never here: a request that is sent again after its answer had begun.

use isomer_testing::http_client::{Connection, Response, request};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// A request, and what is wrong with its answer.
pub struct Exchange {
    /// The request.
    pub request: Vec<u8>,
    /// The bodies of which the answer has one, with the status 200.
    pub bodies: Vec<Vec<u8>>,
}

impl Exchange {
    /// `GET path`, answered by one of these.
    pub fn get(path: &str, bodies: &[&str]) -> Exchange {
        let bodies = bodies.iter().map(|body| body.as_bytes().to_vec()).collect();
        Exchange { request: request("GET", path, &[], b""), bodies }
    }

    /// `POST /echo` of this text.
    pub fn echo(text: &str) -> Exchange {
        Exchange { request: request("POST", "/echo", &[], text.as_bytes()), bodies: vec![text.as_bytes().to_vec()] }
    }

    fn is_right(&self, response: &Response) -> bool {
        response.status == 200 && response.complete && self.bodies.contains(&response.body)
    }
}

/// Clients that go on until they are told to stop.
pub struct Load {
    stopped: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Clients of a server that may end: `GET /sleep/5`.
    pub fn start(address: SocketAddr, clients: usize) -> Load {
        Load::with(address, clients, true, |_| Exchange::get("/sleep/5", &["slept\n"]))
    }

    /// Clients that send what `exchange` gives for a number that is each time another; of a server that may end, or not.
    pub fn with(
        address: SocketAddr,
        clients: usize,
        may_end: bool,
        exchange: impl Fn(usize) -> Exchange + Send + Sync + 'static,
    ) -> Load {
        let (stopped, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (exchange, number) = (Arc::new(exchange), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (stopped, answered) = (Arc::clone(&stopped), Arc::clone(&answered));
            let (exchange, number) = (Arc::clone(&exchange), Arc::clone(&number));
            thread::spawn(move || {
                let next = || exchange(number.fetch_add(1, Ordering::Relaxed));
                Client { address, may_end, stopped: &stopped, answered: &answered, faults: Vec::new() }.run(next)
            })
        };
        let clients = (0..clients).map(client).collect();
        Load { stopped, answered, clients }
    }

    /// Waits until so many more requests are answered, for as long as any are.
    #[track_caller]
    pub fn wait_for(&self, answered: usize) {
        let (mut last, wanted) = (self.answered(), self.answered() + answered);
        while last < wanted {
            crate::wait_until("requests are answered", || self.answered() > last);
            last = self.answered();
        }
    }

    /// How many requests have been answered.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it, and gives what went wrong.
    pub fn stop(self) -> Vec<String> {
        self.stopped.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

struct Client<'a> {
    address: SocketAddr,
    /// Whether no process need listen any more.
    may_end: bool,
    stopped: &'a AtomicBool,
    answered: &'a AtomicUsize,
    faults: Vec<String>,
}

impl Client<'_> {
    /// A request that was sent is answered whole; a connection may end before one is sent.
    fn run(mut self, next: impl Fn() -> Exchange) -> Vec<String> {
        while !self.is_stopped() && self.faults.len() < 10 {
            match Connection::open(self.address) {
                Ok(connection) => self.use_up(connection, &next),
                // The listener is closed.
                Err(error) if self.may_end && error.kind() == ErrorKind::ConnectionRefused => break,
                Err(error) => {
                    self.faults.push(format!("connect: {error}"));
                    break;
                }
            }
        }
        self.faults
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn use_up(&mut self, mut connection: Connection, next: impl Fn() -> Exchange) {
        let mut is_first = true;
        while !self.is_stopped() {
            let exchange = next();
            if let Err(error) = connection.send(&exchange.request) {
                if is_first && !self.may_end {
                    self.faults.push(format!("the first request of a connection cannot be sent: {error}"));
                }
                return;
            }
            match connection.receive() {
                Ok(response) if exchange.is_right(&response) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if response.header("connection") == Some("close") {
                        return;
                    }
                }
                Ok(response) => self.faults.push(format!("{response:?}")),
                // An idle connection may be closed while the next request is on its way, as RFC 9112 says in section 9.3.1;
                // a client tries that again.
                Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                    if is_first && !self.is_stopped() && Connection::open(self.address).is_ok() {
                        self.faults.push(format!("the first request of a connection: {error}"));
                    }
                    return;
                }
                Err(error) => return self.faults.push(error.to_string()),
            }
            is_first = false;
        }
    }
}
