//! One process takes the port over from another, without a lost request.

use isomer_tests::served::{Exchange, Load, Served, artifact, serve};
use isomer_tests::{isomer_run, scratch};
use std::net::TcpListener;
use std::time::Duration;

/// Ports that are free now.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn start([port, status]: [u16; 2]) -> Served {
    let addresses = format!("--addr 127.0.0.1:{port} --status-addr 127.0.0.1:{status}");
    let call = isomer_run().line("serve --allow-unsigned --reuse-port").line(&addresses);
    serve(call.arg(artifact("proxy")), scratch())
}

#[test]
fn a_port_is_handed_over_under_load() {
    let ports = free_ports();
    let mut serving = start(ports);
    let load = Load::with(serving.address, 16, false, |number| match number % 4 {
        // Clients that come anew are those that a socket can lose.
        0 => closing("/hello", "hello\n"),
        1 => Exchange::get("/sleep/20", &["slept\n"]),
        _ => Exchange::echo(&format!("request {number}")),
    });
    load.wait_for(200);
    for _ in 0..4 {
        let next = start(ports);
        load.wait_for(50);
        serving.signal("TERM");
        let (ran, log) = serving.wait();
        assert_eq!(ran.code(), 0, "{log}");
        load.wait_for(200);
        serving = next;
    }
    assert_eq!(load.stop(), Vec::<String>::new(), "{}", serving.log());
}

/// A request after which the connection is closed.
fn closing(path: &str, body: &str) -> Exchange {
    let request = isomer_testing::http_client::request("GET", path, &[("Connection", "close")], b"");
    Exchange { request, bodies: vec![body.as_bytes().to_vec()] }
}

#[test]
fn a_port_is_handed_back_under_load() {
    let ports = free_ports();
    let serving = start(ports);
    let load = Load::with(serving.address, 8, false, |_| closing("/hello", "hello\n"));
    load.wait_for(200);
    for _ in 0..2 {
        let next = start(ports);
        load.wait_for(50);
        next.signal("TERM");
        let (ran, log) = next.wait();
        assert_eq!(ran.code(), 0, "{log}");
        load.wait_for(200);
    }
    assert_eq!(load.stop(), Vec::<String>::new(), "{}", serving.log());
}

#[test]
fn without_the_option_a_port_has_one_owner() {
    let first = serve(isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0").arg(artifact("proxy")), scratch());
    let address = first.address.to_string();
    for option in ["", "--reuse-port"] {
        let ran = isomer_run().line("serve --allow-unsigned").line(option).args(["--addr", &address]);
        let ran = ran.arg(artifact("proxy")).fails();
        assert!(ran.stderr().contains("another process listens there"), "{option}: {ran}");
    }
    first.serves_others();
}

#[test]
fn without_another_process_the_port_is_closed_in_time() {
    let served = start([0, 0]);
    served.serves_others();
    served.signal("TERM");
    let begun = std::time::Instant::now();
    let (ran, log) = served.wait();
    assert_eq!(ran.code(), 0, "{log}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
