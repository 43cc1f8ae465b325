//! Servers of this machine that guests connect to. In: whether they have TLS. Out: their port, and how many connections they
//! accepted. Never here: a server of ours.

use isomer_testing::certificates::Certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A server of this machine. It answers HTTP with `hello`, and anything else with what it received.
pub(crate) struct Server {
    /// Where it listens, at 127.0.0.1.
    pub(crate) port: u16,
    /// How many connections it accepted.
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// Calls `answer` for each connection.
    fn start(answer: impl Fn(TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                answer(stream.unwrap());
            }
        });
        Server { port, accepted }
    }

    /// Without TLS.
    pub(crate) fn plain() -> Server {
        Server::start(|mut stream| answer(&mut stream))
    }

    /// With the certificate `server`.
    pub(crate) fn tls(certificates: &Certificates) -> Server {
        let chain = CertificateDer::pem_file_iter(certificates.path("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
        Server::start(move |mut stream| {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut session = rustls::Stream::new(&mut connection, &mut stream);
            answer(&mut session);
            session.conn.send_close_notify();
            let _ = session.flush();
        })
    }

    /// How many connections it accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// HTTP to who sends a request of it, and else what was received. A client that ends is no error here.
fn answer(stream: &mut (impl Read + Write)) {
    let mut received = [0; 4096];
    let size = stream.read(&mut received).unwrap_or(0);
    let text = if received.starts_with(b"GET ") {
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n".to_owned()
    } else {
        format!("received {}", String::from_utf8_lossy(&received[..size]))
    };
    let _ = stream.write_all(text.as_bytes());
}
