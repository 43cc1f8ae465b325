//! What an operator and a machine do to a server under load.

use isomer_testing::http_client::Connection;
use isomer_tests::confined::Confinement;
use isomer_tests::served::{Load, Served, Setup};
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn sigterm_under_load_loses_no_request() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let load = Load::start(served.address, 16);
        load.wait_for(200);
        let mut slow = served.send("GET", "/sleep/900", &[], b"");
        let mut idle = served.send("GET", "/hello", &[], b"");
        assert_eq!(idle.receive().unwrap().status, 200);
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        served.signal("TERM");
        // The one that is idle is closed at once, not after its time.
        assert_eq!(idle.until_closed().unwrap(), b"");
        assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
        let response = slow.receive().unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "slept\n"));
        let (ran, log) = served.wait();
        assert_eq!(ran.code(), 0, "{log}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(load.stop(), Vec::<String>::new(), "{log}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let route = "request-time = \"60s\"".to_owned();
    let served = Setup { guest: "proxy", route, ..Setup::default() }.start();
    let mut waiting = served.send("GET", "/never", &[], b"");
    thread::sleep(Duration::from_millis(200));
    served.signal("TERM");
    thread::sleep(Duration::from_millis(200));
    served.signal("TERM");
    let begun = Instant::now();
    let (ran, log) = served.wait();
    assert_ne!(ran.code(), 0, "{log}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}\n{log}", begun.elapsed());
    let _ = waiting.until_closed();
}

#[test]
fn a_drain_has_an_end() {
    let route = "request-time = \"60s\"".to_owned();
    let limits = "drain-time = \"1s\"".to_owned();
    for path in ["/never", "/spin"] {
        let served = Setup { guest: "proxy", limits: limits.clone(), route: route.clone(), ..Setup::default() }.start();
        let mut waiting = served.send("GET", path, &[], b"");
        thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        served.signal("TERM");
        match waiting.receive() {
            Ok(response) => assert_eq!(response.status, 503, "{path}: {}", response.text()),
            Err(error) => {
                assert!(error.kind() == ErrorKind::UnexpectedEof || error.kind() == ErrorKind::ConnectionReset)
            }
        }
        let (ran, log) = served.wait();
        assert_eq!(ran.code(), 1, "{path}: {log}");
        assert!(begun.elapsed() < Duration::from_secs(6), "{path}: {:?}\n{log}", begun.elapsed());
    }
}

#[test]
fn file_descriptors_that_run_out_keep_the_server_up() {
    const FILES: u64 = 128;
    let confinement = Some(Confinement::Limit { resource: libc::RLIMIT_NOFILE, value: FILES });
    let limits = "header-time = \"2s\"".to_owned();
    let served = Setup { guest: "proxy", limits, confinement, ..Setup::default() }.start();
    let idle: Vec<_> = (0..200).filter_map(|_| Connection::open(served.address).ok()).collect();
    // Idle ones make room.
    served.serves_others();
    drop(idle);
    for _ in 0..100 {
        served.serves_others();
    }
}

#[test]
fn a_neighbour_is_served_while_others_flood() {
    let served = Served::start("proxy");
    let load = Load::start(served.address, 64);
    load.wait_for(100);
    for _ in 0..50 {
        served.serves_others();
    }
    assert_eq!(load.stop(), Vec::<String>::new(), "{}", served.log());
}

#[test]
fn memory_stays_flat_under_load() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let load = Load::start(served.address, 32);
        load.wait_for(2000);
        let before = served.memory_bytes();
        load.wait_for(6000);
        let grown = served.memory_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes more than {before}");
        assert_eq!(load.stop(), Vec::<String>::new());
    }
}
