//! Servers that a guest reaches by `wasi:http` and `wasi:tls`: those that are allowed, over connections that really are made.

use super::run;
use isomer_testing::certificates::Certificates;
use isomer_tests::{Ran, scratch};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A server of this machine.
struct Server {
    port: u16,
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

    fn plain() -> Server {
        Server::start(|mut stream| answer(&mut stream))
    }

    /// With the certificate `server`.
    fn tls(certificates: &Certificates) -> Server {
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

    fn accepted(&self) -> usize {
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

#[test]
fn http_requests_go_to_what_is_allowed_alone() {
    let server = Server::plain();
    let call = |options: &str, host: &str| {
        let port = server.port;
        let line = format!("{options} client.cwasm http http://{host}:PORT/").replace("PORT", &port.to_string());
        run(&line).run()
    };
    for (options, host) in [
        ("--allow-http http://127.0.0.1:PORT", "127.0.0.1"),
        ("--allow-http 127.0.0.0/8:PORT", "127.0.0.1"),
        ("--allow-http localhost:PORT --allow-http 127.0.0.1:PORT", "localhost"),
        ("-S http", "127.0.0.1"),
    ] {
        let before = server.accepted();
        let ran = call(options, host);
        assert_eq!((ran.code(), ran.stdout()), (0, "200\nhello\n".to_owned()), "{options}: {ran}");
        assert_eq!(server.accepted(), before + 1);
    }
    let before = server.accepted();
    for (options, host, reason) in [
        ("", "127.0.0.1", "an HTTP request to `127.0.0.1` was denied: no outgoing HTTP is granted"),
        ("--allow-http http://127.0.0.1:1", "127.0.0.1", "was denied: no rule allows it"),
        ("--allow-http https://127.0.0.1:PORT", "127.0.0.1", "was denied: no rule allows it"),
        // A name that resolves to an address of this machine.
        ("--allow-http localhost:PORT", "localhost", "is not public, and no rule names it"),
        // The network is another grant.
        ("--allow-net *", "127.0.0.1", "no outgoing HTTP is granted"),
    ] {
        let ran = call(options, host);
        assert_eq!(ran.code(), 1, "{options}: {ran}");
        assert!(ran.stdout().starts_with("http: error") && ran.stderr().contains(reason), "{options}: {ran}");
    }
    assert_eq!(server.accepted(), before);
}

#[test]
fn https_requests_need_a_certificate_that_this_machine_trusts() {
    let certificates = Certificates::new();
    let server = Server::tls(&certificates);
    let call = || run(&format!("--allow-http 127.0.0.1:{0} client.cwasm http https://127.0.0.1:{0}/", server.port));
    let ran = call().env("SSL_CERT_FILE", certificates.path("ca.pem")).ok();
    assert_eq!(ran.stdout(), "200\nhello\n");
    let ran = call().env("SSL_CERT_FILE", certificates.path("client.pem")).run();
    assert!(ran.code() == 1 && ran.stdout().starts_with("http: error"), "{ran}");
}

#[test]
fn tls_needs_a_grant_a_connection_and_a_certificate_of_that_name() {
    let certificates = Certificates::new();
    let server = Server::tls(&certificates);
    let directory = scratch();
    let file = directory.path().join("run.toml");
    fs::write(&file, format!("allow-tls = true\nallow-net = '127.0.0.1:{}'", server.port)).unwrap();
    let call = |options: &str, ca: &str, name: &str| -> Ran {
        let line =
            format!("{options} client.cwasm tls 127.0.0.1 PORT {name}").replace("PORT", &server.port.to_string());
        run(&line).env("SSL_CERT_FILE", certificates.path(ca)).run()
    };
    let from_file = format!("-f {}", file.display());
    for options in ["--allow-tls --allow-net 127.0.0.1:PORT", "-S tls,inherit-network", &from_file] {
        let ran = call(options, "ca.pem", "farm.example");
        assert_eq!((ran.code(), ran.stdout()), (0, "received hello\n".to_owned()), "{options}: {ran}");
    }
    let granted = "--allow-tls --allow-net 127.0.0.1:PORT";
    for (options, ca, name, told, warned) in [
        ("--allow-net 127.0.0.1:PORT", "ca.pem", "farm.example", "tls: ", "no TLS is granted"),
        (
            "--allow-tls --allow-net 127.0.0.1:1",
            "ca.pem",
            "farm.example",
            "connect: error",
            "was denied: no rule allows it",
        ),
        (granted, "ca.pem", "other.example", "not valid for name", ""),
        (granted, "client.pem", "farm.example", "invalid peer certificate", ""),
        (granted, "ca.pem", "no..name", "invalid server name", ""),
    ] {
        let ran = call(options, ca, name);
        assert_eq!(ran.code(), 1, "{options} {name}: {ran}");
        assert!(ran.stdout().contains(told) && ran.stderr().contains(warned), "{options} {name}: {ran}");
    }
}
