//! As many connections as there may be: who is let in, who makes room, and who is left alone.

use isomer_testing::certificates::Certificates;
use isomer_testing::http_client::{Connection, request};
use isomer_tests::served::{Served, Setup, artifact, serve};
use isomer_tests::{has_program, isomer_run, program, scratch, skip};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

fn with_limits(limits: &str) -> Served {
    Setup { guest: "proxy", limits: limits.to_owned(), ..Setup::default() }.start()
}

/// Less than a client waits for that is let in by another's limit of time.
const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_client_whose_request_is_on_its_way_does_not_make_room() {
    let served = with_limits("connections = 4");
    let _busy: Vec<_> = (0..3).map(|_| served.send("GET", "/sleep/8000", &[], b"")).collect();
    thread::sleep(Duration::from_millis(300));
    for number in 0..8 {
        let mut connection = served.connect();
        // As long as a request takes from another continent.
        thread::sleep(Duration::from_millis(150));
        connection.send(request("GET", "/hello", &[("Connection", "close")], b"")).unwrap();
        let response = connection.receive().unwrap_or_else(|error| panic!("{number}: {error}\n{}", served.log()));
        assert_eq!(response.status, 200, "{number}");
    }
}

#[test]
fn where_no_connection_is_idle_one_ends_with_its_response() {
    for version in [None, Some("--http2-prior-knowledge")] {
        if version.is_some() && !has_program("curl") {
            return skip("where_no_connection_is_idle_one_ends_with_its_response", "curl is not installed");
        }
        let served = with_limits("connections = 2");
        let mut first = served.send("GET", "/sleep/2000", &[], b"");
        thread::sleep(Duration::from_millis(300));
        let _second = served.send("GET", "/sleep/20000", &[], b"");
        thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        match version {
            None => served.serves_others(),
            Some(version) => {
                let curl = program("curl").args(["--silent", "--max-time", "20", version]);
                assert_eq!(curl.arg(format!("http://{}/hello", served.address)).ok().stdout(), "hello\n");
            }
        }
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        let response = first.receive().unwrap();
        assert_eq!((response.status, response.header("connection")), (200, Some("close")), "{response:?}");
    }
}

#[test]
fn a_single_connection_serves_one_address_after_the_other() {
    let directory = scratch();
    let (settings, socket) = (directory.path().join("serve.toml"), directory.path().join("socket"));
    let module = artifact("proxy");
    let text = format!(
        "addresses = [\"127.0.0.1:0\", \"unix:{}\"]\n[limits]\nconnections = 1\n[[route]]\nmodule = \"{}\"\n",
        socket.display(),
        module.display()
    );
    fs::write(&settings, text).unwrap();
    let served = serve(isomer_run().line("serve --allow-unsigned -f").arg(&settings), directory);
    for _ in 0..3 {
        served.serves_others();
        if has_program("curl") {
            let curl = program("curl").args(["--silent", "--max-time", "20", "--unix-socket"]).arg(&socket);
            assert_eq!(curl.arg("http://localhost/hello").ok().stdout(), "hello\n");
        }
    }
}

#[test]
fn clients_that_never_begin_tls_keep_none_out() {
    if !has_program("curl") {
        return skip("clients_that_never_begin_tls_keep_none_out", "curl is not installed");
    }
    let certificates = Certificates::new();
    let directory = scratch();
    let settings = directory.path().join("serve.toml");
    let text = format!(
        "addresses = [\"127.0.0.1:0\"]\ntls-cert = \"{}\"\ntls-key = \"{}\"\n[limits]\nconnections = 4\n\
         header-time = \"60s\"\n[[route]]\nmodule = \"{}\"\n",
        certificates.path("server.pem").display(),
        certificates.path("server.key").display(),
        artifact("proxy").display()
    );
    fs::write(&settings, text).unwrap();
    let served = serve(isomer_run().line("serve --allow-unsigned -f").arg(&settings), directory);
    let mut silent: Vec<_> = (0..8).map(|_| Connection::open(served.address).unwrap()).collect();
    // Some have begun a message of TLS and do not end it.
    silent.iter_mut().step_by(2).for_each(|it| it.send([22, 3, 1, 2, 0]).unwrap());
    let begun = Instant::now();
    for _ in 0..3 {
        let curl = program("curl").args(["--silent", "--max-time", "20", "--cacert"]).arg(certificates.path("ca.pem"));
        assert_eq!(curl.arg(format!("https://{}/hello", served.address)).ok().stdout(), "hello\n");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // Nor does the end of the server wait for them.
    let _silent: Vec<_> = (0..3).map(|_| Connection::open(served.address).unwrap()).collect();
    served.signal("TERM");
    let begun = Instant::now();
    let (ran, log) = served.wait();
    assert_eq!(ran.code(), 0, "{log}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn between_requests_a_connection_is_kept_for_its_idle_time() {
    let served = with_limits("header-time = \"1s\"\nidle-time = \"4s\"");
    let mut connection = served.connect();
    for path in ["/hello", "/status/404", "/hello", "/hello"] {
        connection.send(request("GET", path, &[], b"")).unwrap();
        connection.receive().unwrap_or_else(|error| panic!("{path}: {error}\n{}", served.log()));
        thread::sleep(Duration::from_secs(2));
    }
    // A head that has begun has less time.
    let begun = Instant::now();
    connection.send(b"GET /hel").unwrap();
    let rest = String::from_utf8(connection.until_closed().unwrap()).unwrap();
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408 "), "{rest}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    let mut idle = served.send("GET", "/hello", &[], b"");
    idle.receive().unwrap();
    let begun = Instant::now();
    assert_eq!(String::from_utf8_lossy(&idle.until_closed().unwrap()), "");
    let elapsed = begun.elapsed();
    assert!(elapsed > Duration::from_secs(3) && elapsed < Duration::from_secs(7), "{elapsed:?}");
}

#[test]
fn one_client_that_waits_ends_one_connection() {
    let served = with_limits("connections = 3");
    let mut busy: Vec<_> = (0..3).map(|_| served.send("GET", "/sleep/5000", &[], b"")).collect();
    thread::sleep(Duration::from_millis(300));
    served.serves_others();
    let responses: Vec<_> = busy.iter_mut().map(|connection| connection.receive().unwrap()).collect();
    assert!(responses.iter().all(|response| response.text() == "slept\n"), "{responses:?}");
    let closed = responses.iter().filter(|response| response.header("connection") == Some("close")).count();
    assert_eq!(closed, 1, "{responses:?}");
}

#[test]
fn a_client_that_waits_for_room_is_served_when_the_server_ends() {
    let served = with_limits("connections = 1");
    let mut busy = served.send("GET", "/sleep/5000", &[], b"");
    thread::sleep(Duration::from_millis(300));
    let mut waiting = served.send("GET", "/hello", &[], b"");
    thread::sleep(Duration::from_millis(300));
    served.signal("TERM");
    let response = waiting.receive().unwrap_or_else(|error| panic!("{error}\n{}", served.log()));
    assert_eq!(response.text(), "hello\n");
    assert_eq!(busy.receive().unwrap().text(), "slept\n");
    let (ran, log) = served.wait();
    assert_eq!(ran.code(), 0, "{log}");
}
