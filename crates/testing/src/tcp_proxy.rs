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
    /// Every piece takes this long on its way.
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
        let up = Way {
            from: client.try_clone().unwrap(),
            to: server.try_clone().unwrap(),
            left: if let Line::CutUp(bytes) = line { bytes } else { usize::MAX },
            delay,
            number,
            frozen: Arc::clone(&self.frozen),
            counter: Arc::default(),
        };
        let down = Way {
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

struct Way {
    from: TcpStream,
    to: TcpStream,
    left: usize,
    delay: Duration,
    number: usize,
    frozen: Arc<AtomicUsize>,
    counter: Arc<AtomicUsize>,
}

impl Way {
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
