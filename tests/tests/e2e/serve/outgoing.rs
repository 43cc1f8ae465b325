//! HTTP requests that guests of a server send.

use crate::destinations::Server;
use isomer_testing::certificates::Certificates;
use isomer_testing::http_client::{Connection, Response, request};
use isomer_tests::served::{Served, artifact, serve};
use isomer_tests::{isomer_run, scratch};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// `error-code`s of wasi:http, by their index.
const DESTINATION_IP_PROHIBITED: &str = "error-code 4\n";
const HTTP_REQUEST_DENIED: &str = "error-code 15\n";
const CONNECTION_LIMIT_REACHED: &str = "error-code 11\n";
const HTTP_RESPONSE_BODY_SIZE: &str = "error-code 28\n";

/// A server that counts its connections, and answers every request on them with its path.
struct Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || answer(stream));
            }
        });
        Upstream { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: std::net::TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        head.clear();
        let redirect = if path == "/redirect" { "Location: /elsewhere\r\n" } else { "" };
        let status = if redirect.is_empty() { "200 OK" } else { "302 Found" };
        let answer = format!("HTTP/1.1 {status}\r\n{redirect}Content-Length: {}\r\n\r\n{path}", path.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn start(options: &str) -> Served {
    start_guest("proxy", options)
}

fn start_guest(guest: &str, options: &str) -> Served {
    let call = isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0").line(options);
    serve(call.arg(artifact(guest)), scratch())
}

#[track_caller]
fn fetch(served: &Served, authority: &str, path: &str) -> Response {
    fetch_url(served, &format!("http://{authority}{path}"))
}

#[track_caller]
fn fetch_url(served: &Served, url: &str) -> Response {
    let mut connection = served.connect();
    connection.send(request("GET", "/fetch", &[("x-fetch", url)], b"")).unwrap();
    connection.receive().unwrap_or_else(|error| panic!("{error}\n{}", served.log()))
}

#[test]
fn an_address_that_is_not_public_must_be_named_itself() {
    let upstream = Upstream::start();
    let port = upstream.address.port();
    // A rule for a name allows what it resolves to, if that is public.
    let served = start(&format!("--allow-http http://localhost:{port}"));
    let refused = fetch(&served, &format!("localhost:{port}"), "/a");
    assert_eq!((refused.status, refused.text().as_str()), (502, DESTINATION_IP_PROHIBITED), "{}", served.log());
    served.wait_for_log("is not public, and no rule names it");
    // Other spellings of the address are no rule's.
    for host in ["127.0.0.1", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let refused = fetch(&served, &format!("{host}:{port}"), "/a");
        assert_ne!(refused.status, 200, "{host}: {}", refused.text());
    }
    assert_eq!(upstream.connections(), 0, "{}", served.log());

    let served = start(&format!("--allow-http http://localhost:{port} --allow-http http://127.0.0.1:{port}"));
    assert_eq!(fetch(&served, &format!("localhost:{port}"), "/a").text(), "/a", "{}", served.log());
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn what_no_rule_allows_is_denied_and_no_redirect_is_followed() {
    let (upstream, other) = (Upstream::start(), Upstream::start());
    let served = start(&format!("--allow-http http://{}", upstream.address));
    let denied = fetch(&served, &other.address.to_string(), "/a");
    assert_eq!((denied.status, denied.text().as_str()), (502, HTTP_REQUEST_DENIED), "{}", served.log());
    assert_eq!(other.connections(), 0);
    let redirect = fetch(&served, &upstream.address.to_string(), "/redirect");
    assert_eq!((redirect.status, redirect.text().as_str()), (302, "/redirect"), "{}", served.log());
}

#[test]
fn connections_are_kept_within_their_limit() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let directory = scratch();
    let file = directory.path().join("serve.toml");
    let settings = format!(
        "addresses = ['127.0.0.1:0']\n[[route]]\nmodule = '{}'\n[route.grants]\nallow-http = ['http://{}', 'http://{}']\n\
         [route.outgoing]\nconnections = 1\nconnect-time = '300ms'\nresponse-size = 20\n",
        artifact("proxy").display(),
        one.address,
        two.address
    );
    fs::write(&file, settings).unwrap();
    let served = serve(isomer_run().line("serve --allow-unsigned -f").arg(&file), scratch());
    for _ in 0..5 {
        assert_eq!(fetch(&served, &one.address.to_string(), "/kept").text(), "/kept", "{}", served.log());
    }
    assert_eq!(one.connections(), 1);
    // The only one is kept for another server.
    let refused = fetch(&served, &two.address.to_string(), "/a");
    assert_eq!((refused.status, refused.text().as_str()), (502, CONNECTION_LIMIT_REACHED), "{}", served.log());
    assert_eq!(two.connections(), 0);
    // A body beyond its limit is cut, or refused where its size is known before.
    let long = format!("/{}", "x".repeat(30));
    let cut = fetch(&served, &one.address.to_string(), &long);
    assert!(cut.text() == HTTP_RESPONSE_BODY_SIZE || cut.text().len() <= 20, "{}", cut.text());
}

#[test]
fn https_requests_need_a_certificate_of_a_trusted_ca() {
    let certificates = Certificates::new();
    let server = Server::tls(&certificates);
    let (ca, other) = (certificates.path("ca.pem"), certificates.path("client.pem"));
    let origin = format!("https://127.0.0.1:{}", server.port);
    let url = format!("{origin}/");
    for guest in ["proxy", "service"] {
        let allowed = format!("--allow-http {origin} --ca-cert {}", ca.display());
        let served = start_guest(guest, &allowed);
        let answer = fetch_url(&served, &url);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello\n"), "{guest}: {}", served.log());
        // A certificate of another CA, and a rule of another scheme.
        for options in [
            format!("--allow-http {origin}"),
            format!("--allow-http {origin} --ca-cert {}", other.display()),
            allowed.replace("https:", "http:"),
        ] {
            let served = start_guest(guest, &options);
            let refused = fetch_url(&served, &url);
            assert_eq!(refused.status, 502, "{guest} {options}: {}", refused.text());
        }
    }
    let file = certificates.path("serve.toml");
    let settings = format!(
        "addresses = ['127.0.0.1:0']\nca-cert = ['ca.pem']\n[[route]]\nmodule = '{}'\n[route.grants]\nallow-http = ['{origin}']\n",
        artifact("proxy").display()
    );
    fs::write(&file, settings).unwrap();
    let served = serve(isomer_run().line("serve --allow-unsigned -f").arg(&file), scratch());
    assert_eq!(fetch_url(&served, &url).text(), "hello\n", "{}", served.log());
}

#[test]
fn ca_certificates_are_read_before_anything_listens() {
    let call = isomer_run().line("serve --allow-unsigned --allow-http https://api.example --ca-cert missing.pem");
    let ran = call.arg(artifact("proxy")).fails();
    assert!(ran.stderr().contains("cannot read CA certificates from `missing.pem`"), "{ran}");
    assert!(!ran.stderr().contains("Serving HTTP on"), "{ran}");
}

#[test]
fn a_guest_that_is_denied_much_hides_no_denial_of_its_neighbours() {
    let directory = scratch();
    let settings = directory.path().join("serve.toml");
    let module = artifact("proxy");
    let routes = ["", "host = \"neighbour.example\""]
        .map(|host| format!("[[route]]\n{host}\nmodule = \"{}\"\n", module.display()));
    fs::write(&settings, format!("addresses = [\"127.0.0.1:0\"]\n{}", routes.concat())).unwrap();
    let served = serve(isomer_run().line("serve --allow-unsigned -f").arg(&settings), directory);
    let fetch = |connection: &mut Connection, host: &str, url: &str| {
        connection.send(format!("GET /fetch HTTP/1.1\r\nHost: {host}\r\nx-fetch: {url}\r\n\r\n")).unwrap();
        assert_eq!(connection.receive().unwrap().text(), HTTP_REQUEST_DENIED);
    };
    let mut flooding = served.connect();
    for number in 0..50 {
        fetch(&mut flooding, "any", &format!("http://flood-{number}.example/"));
    }
    let long = "n".repeat(400);
    fetch(&mut served.connect(), "neighbour.example", &format!("http://{long}/"));
    // A name as long as a guest likes is cut, and the reason is not.
    served.wait_for_log(&format!("`{}…` was denied: no outgoing HTTP is granted", &long[..255]));
    // How many there were is told without another one.
    served.wait_for_log(" more denials are not shown");
    let shown = served.log().matches("flood-").count();
    assert!(shown < 50, "{}", served.log());
}
