//! Guests that take what the server holds for them and does not count as their memory.

use isomer_testing::http_client::request;
use isomer_tests::served::{Served, compile, serve};
use isomer_tests::{guest, isomer_run, scratch, wait_until};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Serves `hoarder` with these keys of the route's limits.
fn start(limits: &str) -> Served {
    let directory = scratch();
    compile(&[guest("hoarder")], directory.path());
    let settings = directory.path().join("serve.toml");
    let module = directory.path().join("hoarder.served.cwasm");
    let text = format!(
        "addresses = [\"127.0.0.1:0\"]\n[[route]]\nmodule = \"{}\"\n[route.limits]\n{limits}\n",
        module.display()
    );
    fs::write(&settings, text).unwrap();
    serve(isomer_run().line("serve --allow-unsigned -f").arg(&settings), directory)
}

/// The most memory that it had.
fn peak_bytes(served: &Served) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", served.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn what_the_server_holds_for_a_guest_is_bounded() {
    // An instance has as many handles as `max-handles` says, and a large field of 128 KiB behind each.
    for (path, most) in [("/fields", 192 << 20), ("/bodies", 96 << 20)] {
        let served = start("");
        assert_eq!(served.get("/").text(), "served\n");
        let before = peak_bytes(&served);
        let response = served.get(path);
        assert_eq!(response.status, 500, "{path}: {}\n{}", response.text(), served.log());
        let grown = peak_bytes(&served) - before;
        assert!(grown < most, "{path}: {grown} bytes");
        assert_eq!(served.get("/").text(), "served\n");
    }
}

#[test]
fn requests_that_are_given_up_leave_no_instances_to_be_made() {
    // As many instances as these, and two.
    const REQUESTS: usize = 4;
    let served = start(&format!("requests = {REQUESTS}\nrequest-time = \"20s\""));
    for number in 0..REQUESTS + 2 {
        assert_eq!(served.get("/work-on").text(), "served\n", "{number}: {}", served.log());
    }
    for _ in 0..3 {
        let given_up: Vec<_> = (0..REQUESTS).map(|_| served.send("GET", "/", &[], b"")).collect();
        thread::sleep(Duration::from_millis(300));
        drop(given_up);
    }
    let begun = Instant::now();
    wait_until("others are refused", || served.get("/").status == 503);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}\n{}", begun.elapsed(), served.log());
    // Clients do not fill the log with that.
    let mut connection = served.connect();
    for number in 0..100 {
        connection.send(request("GET", "/", &[], b"")).unwrap();
        assert_eq!(connection.receive().unwrap().status, 503, "{number}");
    }
    served.wait_for_log(" more requests without an instance are not shown");
    assert!(served.log().matches("no instance of ").count() < 100, "{}", served.log());
}

#[test]
fn what_may_have_no_content_has_none() {
    let served = start("");
    for status in [204, 205, 304] {
        let mut connection = served.send("GET", &format!("/content/{status}"), &[("Connection", "close")], b"");
        let all = String::from_utf8(connection.until_closed().unwrap()).unwrap();
        assert!(all.starts_with(&format!("HTTP/1.1 {status} ")) && all.ends_with("\r\n\r\n"), "{all}");
        assert!(status == 304 || !all.contains("content-length: 5"), "{all}");
    }
    assert_eq!(served.get("/content/200").text(), "bytes");
}
