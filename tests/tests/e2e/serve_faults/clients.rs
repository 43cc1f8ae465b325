//! Clients that fail, or attack, over HTTP/1.1.

use isomer_testing::http_client::{Connection, request};
use isomer_tests::served::{Served, Setup};
use isomer_tests::{skip, wait_until};
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

/// Requires that the connection ends within some seconds: with an answer of this status, or with none.
#[track_caller]
fn ends(connection: &mut Connection, status: u16) {
    let begun = Instant::now();
    let rest = connection.until_closed().unwrap();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || rest.starts_with(&format!("HTTP/1.1 {status} ")), "{rest}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_slow_head_is_cut_off() {
    let served = Served::start("proxy");
    let mut slow = served.connect();
    let mut sender = slow.socket().try_clone().unwrap();
    thread::spawn(move || {
        for byte in request("GET", "/hello", &[("X-Long", &"x".repeat(1000))], b"") {
            thread::sleep(Duration::from_millis(100));
            if sender.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    let mut silent = served.connect();
    served.serves_others();
    ends(&mut slow, 408);
    ends(&mut silent, 408);
}

#[test]
fn a_slow_body_is_given_up() {
    for guest in ["proxy", "service"] {
        let route = "request-time = \"20s\"\nbody-idle-time = \"1s\"".to_owned();
        let served = Setup { guest, route, ..Setup::default() }.start();
        let mut connection = served.connect();
        connection.send("POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nten bytes.").unwrap();
        served.serves_others();
        ends(&mut connection, 408);
        served.wait_for_log("the client stopped sending the request's body");
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let connection = served.send("GET", "/download/1000000000", &[], b"");
        served.serves_others();
        served.wait_for_log("the client stopped reading the response");
        assert!(served.memory_bytes() < 512 << 20, "{} bytes", served.memory_bytes());
        drop(connection);
    }
}

/// A route that serves one request at a time shows whether an earlier one is over.
#[test]
fn the_work_for_a_client_that_went_away_ends() {
    for guest in ["proxy", "service"] {
        let route = "requests = 1\nwaiting = 0\nrequest-time = \"60s\"\nbody-idle-time = \"60s\"".to_owned();
        let served = Setup { guest, route, ..Setup::default() }.start();
        let whole = request("GET", "/never", &[], b"");
        let cut: [&[u8]; 7] = [
            b"",
            b"GET /ne",
            b"GET /never HTTP/1.1\r\nHost: local",
            b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nfive.",
            b"POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfi",
            &whole,
            b"GET /download/100000000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ];
        for reset in [false, true] {
            for sent in cut {
                let mut connection = served.connect();
                connection.send(sent).unwrap();
                // Until the server has it.
                thread::sleep(Duration::from_millis(50));
                if reset {
                    let socket = connection.socket().try_clone().unwrap();
                    isomer_tests::served::reset_on_close(&socket);
                } else {
                    connection.socket().shutdown(Shutdown::Both).unwrap();
                }
                drop(connection);
                let what = String::from_utf8_lossy(sent);
                wait_until(&format!("another request is served after {what:?}"), || served.get("/hello").status == 200);
            }
        }
    }
}

#[test]
fn a_full_route_refuses_and_says_when_to_come_again() {
    let route = "requests = 2\nwaiting = 1\nwaiting-time = \"500ms\"".to_owned();
    let served = Setup { guest: "proxy", route, ..Setup::default() }.start();
    let mut busy: Vec<_> = (0..2).map(|_| served.send("GET", "/sleep/2000", &[], b"")).collect();
    thread::sleep(Duration::from_millis(200));
    let mut waiting = served.send("GET", "/hello", &[], b"");
    thread::sleep(Duration::from_millis(100));
    let refused = served.get("/hello");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // The one that waited has waited for too long.
    assert_eq!(waiting.receive().unwrap().status, 503);
    busy.iter_mut().for_each(|connection| assert_eq!(connection.receive().unwrap().text(), "slept\n"));
    served.serves_others();
}

#[test]
fn garbage_is_refused() {
    let served = Served::start("proxy");
    let long = "x".repeat(100_000);
    let tls_hello = b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03";
    let garbage: [&[u8]; 8] = [
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /hello HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET /he\x01llo HTTP/1.1\r\nHost: localhost\r\n\r\n",
        tls_hello,
        long.as_bytes(),
    ];
    for bytes in garbage {
        let mut connection = served.connect();
        connection.send(bytes).unwrap();
        let rest = connection.until_closed().unwrap();
        let rest = String::from_utf8_lossy(&rest);
        let refused = ["HTTP/1.1 400 ", "HTTP/1.1 414 ", "HTTP/1.1 431 "].iter().any(|begin| rest.starts_with(begin));
        assert!(rest.is_empty() || refused, "{:?}: {rest}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    }
    served.serves_others();
}

#[test]
fn one_host_is_required() {
    let served = Served::start("proxy");
    for (head, status) in [
        ("GET /hello HTTP/1.1\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: one\r\nHost: two\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: one two\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: user@one\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: one\r\n\r\n", 200),
        ("GET http://one/hello HTTP/1.1\r\nHost: one\r\n\r\n", 200),
    ] {
        let mut connection = served.connect();
        connection.send(head).unwrap();
        let response = connection.receive().unwrap();
        assert_eq!(response.status, status, "{head:?}: {}", response.text());
    }
    served.serves_others();
}

#[test]
fn huge_heads_are_refused() {
    let served = Served::start("proxy");
    let many: String = (0..2000).map(|number| format!("X-{number}: x\r\n")).collect();
    for head in [
        format!("GET /hello HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(10_000_000)),
        format!("GET /hello HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(1_000_000)),
    ] {
        let mut connection = served.connect();
        // It may be cut off while it still sends.
        let _ = connection.send(&head);
        match connection.receive() {
            Ok(response) => assert!(matches!(response.status, 400 | 414 | 431), "{response:?}"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}");
            }
        }
    }
    assert!(served.memory_bytes() < 512 << 20, "{} bytes", served.memory_bytes());
    served.serves_others();
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    for guest in ["proxy", "service"] {
        let route = "request-size = \"1000\"".to_owned();
        let served = Setup { guest, route, ..Setup::default() }.start();
        let length = |body: &[u8]| served.send("POST", "/length", &[], body).receive();
        assert_eq!(length(&[b'x'; 1000]).unwrap().text(), "1000\n", "{}", served.log());
        assert_eq!(length(&[b'x'; 1001]).unwrap().status, 413, "{}", served.log());
        // Without a declared length the guest may have answered by then, but it is not given more.
        let mut chunked = served.connect();
        chunked.send("POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..100 {
            if chunked.send(format!("64\r\n{}\r\n", "x".repeat(0x64))).is_err() {
                break;
            }
        }
        let _ = chunked.send("0\r\n\r\n");
        if let Ok(response) = chunked.receive() {
            let counted = response.text().trim().parse::<u64>();
            assert!(
                response.status == 413 || response.status == 500 || counted.is_ok_and(|bytes| bytes <= 1000),
                "{response:?}"
            );
        }
        served.serves_others();
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let mut connection = served.connect();
        let all: Vec<u8> =
            (0..50).flat_map(|number| request("GET", &format!("/download/{number}"), &[], b"")).collect();
        connection.send(&all).unwrap();
        for number in 0..50 {
            let response = connection.receive().unwrap();
            assert_eq!((response.status, response.body.len(), response.complete), (200, number, true));
        }
    }
}

#[test]
fn a_client_may_wait_for_100_continue() {
    let served = Served::start("proxy");
    let mut connection = served.connect();
    connection
        .send("POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(connection.receive().unwrap().status, 100);
    connection.send("four").unwrap();
    assert_eq!(connection.receive().unwrap().text(), "4\n");
}

/// Opens so many connections and keeps them, and requires every now and then that another client is served.
fn open_idle(served: &Served, count: usize) -> Vec<Connection> {
    let mut idle = Vec::new();
    for number in 1..=count {
        idle.push(served.connect());
        if number % 500 == 0 {
            served.serves_others();
        }
    }
    idle
}

#[test]
fn thousands_of_idle_connections_keep_none_out() {
    let limits = "connections = 1000\nheader-time = \"60s\"\nidle-time = \"60s\"".to_owned();
    let served = Setup { guest: "proxy", limits, ..Setup::default() }.start();
    let before = served.memory_bytes();
    let _idle = open_idle(&served, 4000);
    served.serves_others();
    let grown = served.memory_bytes().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more");
}

#[test]
fn ten_thousand_idle_connections_are_kept() {
    const IDLE: usize = 10_000;
    let test = "ten_thousand_idle_connections_are_kept";
    let Some(descriptors) = raise_descriptors() else { return skip(test, "the limit on descriptors cannot be read") };
    // Other tests of this process have descriptors, too.
    if descriptors < 2 * IDLE as u64 {
        return skip(test, &format!("a process has {descriptors} descriptors here, too few for {IDLE} connections"));
    }
    let limits = format!("connections = {}\nheader-time = \"300s\"\nidle-time = \"300s\"", IDLE + 100);
    let served = Setup { guest: "proxy", limits, ..Setup::default() }.start();
    let before = served.memory_bytes();
    let mut idle = open_idle(&served, IDLE);
    let each = served.memory_bytes().saturating_sub(before) / IDLE as u64;
    assert!(each < 16 << 10, "{each} bytes for each connection");
    // None was closed to make room for another, and each still works.
    for connection in idle.iter_mut().step_by(100) {
        connection.send(request("GET", "/hello", &[], b"")).unwrap();
        assert_eq!(connection.receive().unwrap().text(), "hello\n");
    }
    served.serves_others();
    served.signal("TERM");
    let begun = Instant::now();
    let (ran, log) = served.wait();
    assert_eq!(ran.code(), 0, "{log}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Raises this process's limit on descriptors as far as it may. The limit, where it can be read.
#[allow(unsafe_code)]
fn raise_descriptors() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write a `rlimit` that outlives them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return None;
        }
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    Some(limit.rlim_max)
}
