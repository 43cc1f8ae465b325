//! A server as systemd starts it: sockets that listen before it does, and messages about how it is.

use isomer_testing::http_client::{Connection, request};
use isomer_tests::served::{artifact, serve};
use isomer_tests::{Call, has_program, isomer_run, program, scratch, skip, wait_until};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

fn proxy() -> Call {
    isomer_run().line("serve --allow-unsigned").arg(artifact("proxy"))
}

#[test]
fn sockets_of_the_parent_are_served_and_outlive_the_server() {
    let directory = scratch();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = directory.path().join("hello.sock");
    let unix: OwnedFd = UnixListener::bind(&path).unwrap().into();
    let address = tcp.local_addr().unwrap();
    let tcp: OwnedFd = tcp.into();
    for _ in 0..2 {
        // It is sent before there is a server, and answered by it.
        let mut early = Connection::open(address).unwrap();
        early.send(request("GET", "/hello", &[], b"")).unwrap();
        let served = serve(proxy().with_sockets(&[&tcp, &unix]), scratch());
        assert_eq!(served.address, address);
        assert_eq!(early.receive().unwrap().text(), "hello\n");
        let mut local = UnixStream::connect(&path).unwrap();
        local.write_all(&request("GET", "/hello", &[("Connection", "close")], b"")).unwrap();
        let mut answer = String::new();
        local.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nhello\n"), "{answer}");
        served.signal("TERM");
        let (ran, log) = served.wait();
        assert_eq!(ran.code(), 0, "{log}");
        assert!(path.exists(), "its path is its owner's");
    }
}

#[test]
fn sockets_of_another_process_are_not_taken() {
    let served = serve(proxy().line("--addr 127.0.0.1:0").env("LISTEN_FDS", "1").env("LISTEN_PID", "1"), scratch());
    served.serves_others();
    assert_eq!(served.log().matches("Serving HTTP on").count(), 1, "{}", served.log());
}

#[test]
fn systemd_activates_it() {
    if !has_program("systemd-socket-activate") {
        return skip("systemd_activates_it", "systemd-socket-activate is not installed");
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let server = isomer_tests::binaries().join("isomer-run");
    let activate = program("systemd-socket-activate").args(["-l", &format!("127.0.0.1:{port}")]).arg(server);
    let running = activate.line("serve --allow-unsigned").arg(artifact("proxy")).start();
    wait_until("it listens", || Connection::open(address).is_ok());
    assert_eq!(isomer_testing::http_client::get(address, "/hello").unwrap().text(), "hello\n");
    // It has become the server.
    running.signal("TERM");
    let ran = running.wait();
    assert_eq!(ran.code(), 0, "{ran}");
}

#[test]
fn systemd_is_told_when_it_serves_and_when_it_ends() {
    let directory = scratch();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let receive = || {
        let mut message = [0; 4096];
        let size = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..size]).into_owned()
    };
    let served = serve(proxy().line("--addr 127.0.0.1:0").env("NOTIFY_SOCKET", &path), scratch());
    assert_eq!(receive(), "READY=1");
    served.serves_others();
    served.signal("TERM");
    assert_eq!(receive(), "STOPPING=1");
    assert_eq!(served.wait().0.code(), 0);
    // One that cannot be served is never ready.
    let failed =
        isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0 no-such.cwasm").env("NOTIFY_SOCKET", &path);
    failed.fails();
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 16]).is_err());
}
