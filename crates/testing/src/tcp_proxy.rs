//! In: a server. Out: the same over a line that breaks as a test wishes. Never here: a look at what the bytes mean.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to one connection. Those after the last that is planned pass.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    /// Hand on everything.
    Pass,
    /// Hang up after so many bytes from the client.
    CutUp(usize),
    /// Hang up after so many bytes from the server.
    CutDown(usize),
    /// Take what comes and say nothing.
    BlackHole,
    /// Every piece takes this long in transit.
    Delay(Duration),
}

/// A proxy that runs until the process ends.
#[derive(Clone)]
pub struct TcpProxy {
    /// Where it listens.
    pub address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
    /// Bytes from the server that were handed on.
    pub down_bytes: Arc<AtomicUsize>,
    /// How many connections there were.
    pub connections: Arc<AtomicUsize>,
    /// Connections with a lower number are frozen.
    frozen: Arc<AtomicUsize>,
}

impl TcpProxy {
    /// Starts one in front of `server`; `plan` has a line for each connection.
    pub fn start(server: SocketAddr, plan: &[Line]) -> TcpProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = TcpProxy {
            address: listener.local_addr().unwrap(),
            open: Arc::default(),
            down_bytes: Arc::default(),
            connections: Arc::default(),
            frozen: Arc::default(),
        };
        let (accepting, plan) = (proxy.clone(), plan.to_vec());
        // It ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = accepting.connections.fetch_add(1, Ordering::SeqCst);
                accepting.serve(client, server, number, plan.get(number).copied().unwrap_or(Line::Pass));
            }
        });
        proxy
    }

    /// From now on, the connections that are open carry nothing and stay open.
    pub fn freeze(&self) {
        self.frozen.store(self.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Closes every connection.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, client: TcpStream, server: SocketAddr, number: usize, line: Line) {
        self.open.lock().unwrap().push(client.try_clone().unwrap());
        if matches!(line, Line::BlackHole) {
            thread::spawn(move || io::copy(&mut &client, &mut io::sink()));
            return;
        }
        let Ok(server) = TcpStream::connect(server) else { return };
        self.open.lock().unwrap().push(server.try_clone().unwrap());
        let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let delay = if let Line::Delay(delay) = line { delay } else { Duration::ZERO };
        let up = Direction {
            from: client.try_clone().unwrap(),
            to: server.try_clone().unwrap(),
            left: if let Line::CutUp(bytes) = line { bytes } else { usize::MAX },
            delay,
            number,
            frozen: Arc::clone(&self.frozen),
            counter: Arc::default(),
        };
        let down = Direction {
            from: server,
            to: client,
            left: if let Line::CutDown(bytes) = line { bytes } else { usize::MAX },
            delay,
            number,
            frozen: Arc::clone(&self.frozen),
            counter: Arc::clone(&self.down_bytes),
        };
        thread::spawn(move || up.copy());
        thread::spawn(move || down.copy());
    }
}

/// What one end sends to the other.
struct Direction {
    from: TcpStream,
    to: TcpStream,
    left: usize,
    delay: Duration,
    number: usize,
    frozen: Arc<AtomicUsize>,
    counter: Arc<AtomicUsize>,
}

impl Direction {
    fn copy(mut self) {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = self.from.read(&mut buffer) {
            thread::sleep(self.delay);
            if self.number < self.frozen.load(Ordering::SeqCst) {
                continue;
            }
            let count = count.min(self.left);
            self.left -= count;
            self.counter.fetch_add(count, Ordering::SeqCst);
            if self.to.write_all(&buffer[..count]).is_err() || self.left == 0 {
                break;
            }
        }
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it is sent, on every connection.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || io::copy(&mut &client, &mut &client));
            }
        });
        address
    }

    /// What comes back of `hello` before the connection ends, or pauses for a fifth of a second.
    fn echoed(client: &TcpStream) -> Vec<u8> {
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut client = client;
        let _ = client.write_all(b"hello");
        let (mut back, mut buffer) = (Vec::new(), [0; 16]);
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            back.extend_from_slice(&buffer[..count]);
        }
        back
    }

    #[test]
    fn each_connection_breaks_as_planned_and_later_ones_pass() {
        let plan = [Line::Pass, Line::CutDown(3), Line::BlackHole, Line::Delay(Duration::from_millis(1))];
        let proxy = TcpProxy::start(echo(), &plan);
        for (expected, total) in [("hello", 5), ("hel", 8), ("", 8), ("hello", 13), ("hello", 18)] {
            let client = TcpStream::connect(proxy.address).unwrap();
            assert_eq!(String::from_utf8_lossy(&echoed(&client)), expected);
            assert_eq!(proxy.down_bytes.load(Ordering::SeqCst), total);
        }
        assert_eq!(proxy.connections.load(Ordering::SeqCst), plan.len() + 1);
    }

    #[test]
    fn a_server_gets_no_more_than_was_planned() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = TcpProxy::start(listener.local_addr().unwrap(), &[Line::CutUp(2)]);
        // Whether an answer would still come back is chance: the proxy hangs up both ways.
        (&TcpStream::connect(proxy.address).unwrap()).write_all(b"hello").unwrap();
        let mut server = listener.accept().unwrap().0;
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut received = Vec::new();
        assert!(server.read_to_end(&mut received).is_ok(), "the connection ends");
        assert_eq!(received, b"he");
    }

    #[test]
    fn a_frozen_connection_stays_open_and_a_cut_one_ends() {
        let proxy = TcpProxy::start(echo(), &[]);
        let client = TcpStream::connect(proxy.address).unwrap();
        assert_eq!(echoed(&client), b"hello");
        proxy.freeze();
        assert_eq!(echoed(&client), b"");
        // One that comes later is not frozen.
        assert_eq!(echoed(&TcpStream::connect(proxy.address).unwrap()), b"hello");
        proxy.cut();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!((&client).read(&mut [0]), Ok(0)), "it has ended");
    }
}
