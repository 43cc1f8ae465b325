//! Guests that fail, over real sockets.

use isomer_testing::http_client::{Response, request};
use isomer_tests::frames::{Http2, kind};
use isomer_tests::guests::guests;
use isomer_tests::native::native;
use isomer_tests::served::{Served, Setup};
use isomer_tests::{guest, isomer, isomer_run, scratch, wait_until};
use std::fs;
use std::time::{Duration, Instant};

/// The request's name in the text of an answer that the server gave itself.
#[track_caller]
fn request_id(response: &Response) -> String {
    let text = response.text();
    let id = text.split_once("(request ").and_then(|(_, rest)| rest.split_once(')'));
    id.unwrap_or_else(|| panic!("no request is named in {text:?}")).0.to_owned()
}

/// Requires that the answer has this status, and that the log has a line with the request's name and these words.
#[track_caller]
fn failed(served: &Served, response: &Response, status: u16, why: &str) {
    assert_eq!(response.status, status, "{}\n{}", response.text(), served.log());
    let id = request_id(response);
    let is_reported = |log: &str| log.split("\nwarning: ").any(|line| line.contains(&id) && line.contains(why));
    wait_until(&format!("the log says {why:?} of {id}"), || is_reported(&served.log()));
}

#[test]
fn each_request_of_the_table_is_answered_as_upstream_answers_it() {
    for guest in guests().into_iter().filter(|guest| !guest.requests.is_empty()) {
        let served = Served::start(if guest.name == "proxy" { "proxy" } else { "service" });
        for wanted in &guest.requests {
            let mut connection = served.connect();
            connection.send(wanted.bytes()).unwrap();
            let response = connection.receive().unwrap_or_else(|error| panic!("{}: {error}", wanted.path));
            let fault = wanted.fault(&response);
            assert_eq!(fault, None, "{} {}\n{}", guest.name, wanted.path, served.log());
            if let Some(trap) = &wanted.trap {
                failed(&served, &response, 500, trap);
            }
        }
    }
}

#[test]
fn a_guest_that_spins_is_interrupted() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let spinning: Vec<_> = (0..8).map(|_| served.send("GET", "/spin", &[], b"")).collect();
        served.serves_others();
        for mut connection in spinning {
            failed(&served, &connection.receive().unwrap(), 504, "no response within the time for it");
        }
        served.serves_others();
    }
}

#[test]
fn a_guest_that_never_answers_is_given_up() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let begun = Instant::now();
        let mut waiting = served.send("GET", "/never", &[], b"");
        served.serves_others();
        failed(&served, &waiting.receive().unwrap(), 504, "no response within the time for it");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_guest_that_stops_within_a_response_cuts_it() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let mut stalled = served.send("GET", "/stall", &[], b"");
        served.serves_others();
        let response = stalled.receive().unwrap();
        assert_eq!((response.status, response.text().as_str(), response.complete), (200, "begun\n", false));
        served.wait_for_log("the guest stopped writing the response's body");
    }
}

#[test]
fn a_trap_within_a_response_cuts_it() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let response = served.get("/trap-within");
        // The trap may come before the head has been sent.
        let is_cut = response.status == 200 && !response.complete;
        assert!(is_cut || response.status == 500, "{guest}: {response:?}\n{}", served.log());
        served.wait_for_log("unreachable");
        served.serves_others();
    }
}

#[test]
fn a_trap_in_one_request_of_a_shared_instance_is_reported_for_all_of_them() {
    let served = Setup { guest: "service", ..Setup::default() }.start();
    let mut sleeping = served.send("GET", "/sleep/500", &[], b"");
    let trapped = served.get("/trap");
    failed(&served, &trapped, 500, "unreachable");
    // Where it was in the same instance, the report of the trap names it, too.
    let response = sleeping.receive().unwrap();
    match response.status {
        200 => assert_eq!(response.text(), "slept\n"),
        _ => failed(&served, &response, 500, "unreachable"),
    }
    served.serves_others();
}

#[test]
fn a_trap_is_reported_with_the_guests_functions() {
    let served = Served::start("proxy");
    failed(&served, &served.get("/recurse"), 500, "call stack exhausted");
    assert!(served.log().contains("recurse"), "{}", served.log());
}

#[test]
fn a_guest_that_takes_all_memory_is_refused_more() {
    for guest in ["proxy", "service"] {
        let instance = "max-memory = \"64MiB\"".to_owned();
        let served = Setup { guest, instance, ..Setup::default() }.start();
        let response = served.get("/allocate");
        let text = response.text();
        let mib: u64 =
            text.trim().strip_suffix(" MiB").and_then(|mib| mib.parse().ok()).unwrap_or_else(|| panic!("{text}"));
        assert!((32..64).contains(&mib), "{text}\n{}", served.log());
        served.serves_others();
    }
}

#[test]
fn a_guest_that_takes_all_handles_is_ended() {
    let served = Served::start("proxy");
    let response = served.get("/handles");
    assert_eq!(response.status, 500, "{}", served.log());
    assert!(served.memory_bytes() < 512 << 20, "{} bytes", served.memory_bytes());
    served.serves_others();
}

#[test]
fn what_a_guest_prints_is_logged_within_a_rate() {
    let served = Served::start("proxy");
    assert_eq!(served.get("/log/2").text(), "logged\n");
    served.wait_for_log("line 1 of a guest");
    let mut flooding: Vec<_> = (0..4).map(|_| served.send("GET", "/flood", &[], b"")).collect();
    for _ in 0..5 {
        served.serves_others();
    }
    for connection in &mut flooding {
        failed(&served, &connection.receive().unwrap(), 504, "no response within the time for it");
    }
    assert!(served.log().len() < 1 << 20, "{} bytes of log", served.log().len());
    served.serves_others();
}

#[test]
fn a_wrong_content_length_is_never_a_whole_response() {
    let served = Served::start("proxy");
    let mut short = served.send("GET", "/content-length/short", &[], b"");
    match short.receive() {
        Ok(response) => assert!(response.status == 500 || !response.complete, "{response:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
    }
    let mut long = served.send("GET", "/content-length/long", &[], b"");
    if let Ok(response) = long.receive() {
        assert!(response.body.len() <= 10, "{response:?}");
        // What was too much is not the beginning of another response.
        assert_eq!(long.until_closed().unwrap(), b"");
    }
    served.serves_others();
}

#[test]
fn a_body_that_the_guest_ignores_confuses_no_later_request() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        for size in [10, 100_000, 3_000_000] {
            let mut connection = served.connect();
            let mut sender = connection.socket().try_clone().unwrap();
            // The client may be cut off while it still sends.
            let sending = std::thread::spawn(move || {
                let _ = std::io::Write::write_all(&mut sender, &request("POST", "/ignore", &[], &vec![b'x'; size]));
                let _ = std::io::Write::write_all(&mut sender, &request("GET", "/hello", &[], b""));
            });
            match connection.receive() {
                Ok(response) => {
                    assert_eq!((response.status, response.text().as_str()), (200, "ignored\n"));
                    if let Ok(next) = connection.receive() {
                        assert_eq!((next.status, next.text().as_str()), (200, "hello\n"), "after {size} bytes");
                    }
                }
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "after {size} bytes"),
            }
            drop(connection);
            sending.join().unwrap();
        }
        served.serves_others();
    }
}

#[test]
fn a_hundred_megabytes_are_echoed_in_little_memory() {
    const SIZE: usize = 100 << 20;
    for guest in ["proxy", "service"] {
        let route = "request-size = \"128MiB\"\ntotal-time = \"120s\"".to_owned();
        let served = Setup { guest, route, ..Setup::default() }.start();
        served.serves_others();
        let before = served.memory_bytes();
        let mut connection = served.connect();
        let mut sender = connection.socket().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            std::io::Write::write_all(
                &mut sender,
                &request("POST", "/echo", &[("Connection", "close")], &vec![b'x'; SIZE]),
            )
        });
        let response = connection.receive().unwrap();
        sending.join().unwrap().unwrap();
        assert_eq!((response.status, response.body.len(), response.complete), (200, SIZE, true), "{}", served.log());
        assert!(response.body.iter().all(|byte| *byte == b'x'));
        let grown = served.memory_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes more");
    }
}

#[test]
fn an_interim_status_is_no_response() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        for status in [100, 101, 103, 199] {
            let path = format!("/status/{status}");
            let response = served.get(&path);
            assert_eq!((response.status, response.text().starts_with("500: the guest failed")), (500, true), "{path}");
            let mut client = Http2::open(served.address, &[]).unwrap();
            client.get(1, &path).unwrap();
            let answer = client.until(|frame| frame.stream == 1).unwrap();
            // `:status: 500` has an index of its own.
            assert_eq!((answer.kind, answer.payload.first()), (kind::HEADERS, Some(&0x8e)), "{path}");
        }
        served.wait_for_log("no response: 101 is the status of an interim one");
        // What has no content has none in either version.
        for status in [204, 205, 304] {
            let mut connection = served.send("GET", &format!("/status/{status}"), &[("Connection", "close")], b"");
            let all = String::from_utf8(connection.until_closed().unwrap()).unwrap();
            assert!(all.starts_with(&format!("HTTP/1.1 {status} ")) && all.ends_with("\r\n\r\n"), "{all}");
            assert!(!all.contains("chunked"), "{all}");
        }
        served.serves_others();
    }
}

/// Code without epochs cannot be interrupted: it ends with the process.
#[test]
fn a_health_request_that_spins_does_not_hold_the_start() {
    let directory = scratch();
    isomer()
        .arg("compile")
        .arg(guest("proxy"))
        .args(["-t", native().baseline, "-o"])
        .arg(directory.path().join("a.cwasm"))
        .ok();
    let settings = "addresses = ['127.0.0.1:0']\n[[route]]\nmodule = './a.cwasm'\nhealth = '/spin'\n[route.limits]\n\
                    request-time = '1s'\n";
    fs::write(directory.path().join("serve.toml"), settings).unwrap();
    let begun = Instant::now();
    let refused = isomer_run().dir(directory.path()).line("serve --allow-unsigned -f serve.toml").fails();
    assert!(refused.stderr().contains("its health request `/spin` is not answered with success"), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
