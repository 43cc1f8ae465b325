//! What an operator and a machine do to a server under load.

use isomer_testing::http_client::{Connection, request};
use isomer_tests::confined::Confinement;
use isomer_tests::native::native;
use isomer_tests::served::{Load, Served, Setup, serve};
use isomer_tests::{guest, isomer, isomer_run, scratch, wait_until};
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn sigterm_under_load_loses_no_request() {
    for guest in ["proxy", "service"] {
        let served = patient(guest);
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
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let response = slow.receive().unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "slept\n"));
        let (ran, log) = served.wait();
        assert_eq!(ran.code(), 0, "{log}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(load.stop(), Vec::<String>::new(), "{log}");
    }
}

#[test]
fn clients_whom_the_system_has_accepted_are_served_at_the_end() {
    let served = patient("proxy");
    served.signal("STOP");
    let clients: Vec<_> = (0..240).map(|_| served.send("GET", "/hello", &[], b"")).collect();
    served.signal("TERM");
    served.signal("CONT");
    for mut client in clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    let (ran, log) = served.wait();
    assert_eq!(ran.code(), 0, "{log}");
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

/// Requests that take as long as a busy machine makes them.
fn patient(guest: &'static str) -> Served {
    Setup { guest, route: "request-time = \"60s\"".to_owned(), ..Setup::default() }.start()
}

#[test]
fn a_neighbour_is_served_while_others_flood() {
    let served = patient("proxy");
    let load = Load::start(served.address, 64);
    load.wait_for(100);
    for _ in 0..50 {
        served.serves_others();
    }
    assert_eq!(load.stop(), Vec::<String>::new(), "{}", served.log());
}

#[test]
fn memory_stays_flat_under_load() {
    const ROUNDS: usize = 5;
    for guest in ["proxy", "service"] {
        let served = patient(guest);
        let load = Load::start(served.address, 32);
        // How many requests run at once varies with the machine's load, and the memory with that. What is lost with each request
        // is lost in every round.
        let mut grown = Vec::new();
        while grown.last().is_none_or(|grown| *grown >= 2 << 20) {
            assert!(grown.len() < ROUNDS, "{grown:?} bytes more each time");
            let before = served.memory_bytes();
            load.wait_for(2000);
            grown.push(served.memory_bytes().saturating_sub(before));
        }
        assert_eq!(load.stop(), Vec::<String>::new());
    }
}

/// Code without epochs cannot be interrupted. The executor's timers stand still with its threads.
#[test]
fn a_server_ends_in_time_whose_threads_are_all_held_by_guests() {
    let directory = scratch();
    let compile = isomer().arg("compile").arg(guest("proxy")).args(["-t", native().baseline, "-o", "a.cwasm"]);
    compile.dir(directory.path()).ok();
    let settings = "addresses = ['127.0.0.1:0']\n[limits]\ndrain-time = '1s'\n[[route]]\nmodule = './a.cwasm'\n";
    std::fs::write(directory.path().join("serve.toml"), settings).unwrap();
    let call = isomer_run().dir(directory.path()).line("serve --allow-unsigned -f serve.toml");
    let served = serve(call, scratch());
    let threads = std::thread::available_parallelism().unwrap().get();
    let _spinning: Vec<_> = (0..2 * threads).map(|_| served.send("GET", "/spin", &[], b"")).collect();
    let mut waiting = Vec::new();
    wait_until("guests hold all threads", || {
        let mut next = served.send("GET", "/hello", &[], b"");
        next.socket().set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let is_answered = next.receive().is_ok();
        waiting.push(next);
        !is_answered
    });
    served.signal("TERM");
    let begun = Instant::now();
    let (ran, log) = served.wait();
    assert_eq!(ran.code(), 1, "{log}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}\n{log}", begun.elapsed());
}

#[test]
fn a_connection_that_was_accepted_is_answered_at_the_end() {
    // A busy machine may take longer to send the requests than they are waited for.
    let mut unanswered = Vec::new();
    while unanswered.len() < 5 {
        match answered_at_the_end() {
            Ok(()) => return,
            Err(error) => unanswered.push(error),
        }
    }
    panic!("{unanswered:?}");
}

/// Ends a server that has accepted a connection without a request, and one of which half of a request has arrived.
fn answered_at_the_end() -> std::io::Result<()> {
    let served = patient("proxy");
    let mut busy = served.send("GET", "/sleep/1500", &[], b"");
    let mut fresh = served.connect();
    let mut begun = served.send("GET", "/hello", &[], b"");
    assert_eq!(begun.receive()?.status, 200);
    let whole = request("GET", "/hello", &[], b"");
    let (first, rest) = whole.split_at(9);
    begun.send(first)?;
    thread::sleep(Duration::from_millis(300));
    served.signal("TERM");
    wait_until("the listener is closed", || Connection::open(served.address).is_err());
    fresh.send(&whole)?;
    begun.send(rest)?;
    for connection in [&mut fresh, &mut begun] {
        let response = connection.receive()?;
        assert_eq!((response.status, response.text().as_str()), (200, "hello\n"));
        assert_eq!(response.header("connection"), Some("close"));
    }
    assert_eq!(busy.receive()?.text(), "slept\n");
    let (ran, log) = served.wait();
    assert_eq!(ran.code(), 0, "{log}");
    Ok(())
}
