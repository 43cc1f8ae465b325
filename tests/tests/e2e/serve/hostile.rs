//! Guests, clients, neighbours and parents of a server that mean harm: what they reach, and what they leave of it.

use isomer_testing::http_client::{Connection, Response, get, request};
use isomer_tests::frames::{END_STREAM, Frame, Http2, kind};
use isomer_tests::served::{Served, artifact, serve};
use isomer_tests::{binaries, has_program, isomer_run, program, scratch, skip};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Serves `proxy` with these keys of the whole server, of its route, and options.
fn serve_proxy(top: &str, route: &str, options: &str) -> Served {
    let directory = scratch();
    let settings = directory.path().join("serve.toml");
    let module = artifact("proxy");
    let text = format!("{top}\n\n[[route]]\nmodule = \"{}\"\n{route}\n", module.display());
    fs::write(&settings, text).unwrap();
    serve(isomer_run().line("serve --allow-unsigned").line(options).arg("-f").arg(&settings), directory)
}

const ADDRESS: &str = "addresses = [\"127.0.0.1:0\"]";

/// A server on a private address that answers anyone, and counts them.
struct Private {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Private {
    fn start(answer: String) -> Private {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // The same port of the other loopback address, where there is one.
        let listeners = [Some(listener), TcpListener::bind(("::1", port)).ok()];
        let asked = Arc::new(AtomicUsize::new(0));
        for listener in listeners.into_iter().flatten() {
            let (asked, answer) = (Arc::clone(&asked), answer.clone());
            thread::spawn(move || {
                for stream in listener.incoming() {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let mut stream = stream.unwrap();
                    let _ = stream.read(&mut [0; 4096]);
                    let _ = stream.write_all(answer.as_bytes());
                }
            });
        }
        Private { port, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn fetch(served: &Served, url: &str) -> Response {
    let mut connection = served.send("GET", "/fetch", &[("x-fetch", url)], b"");
    connection.receive().unwrap_or_else(|error| panic!("{url}: {error}\n{}", served.log()))
}

#[test]
fn no_name_leads_a_guest_to_a_private_address() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret";
    let private = Private::start(answer.to_owned());
    let port = private.port;
    let named = format!("\"http://localhost:{port}\", \"http://*.example.com:{port}\", \"http://10.0.0.0/8:{port}\"");
    let served = serve_proxy(ADDRESS, &format!("[route.grants]\nallow-http = [{named}]"), "");
    for host in [
        "localhost",
        "LOCALHOST.",
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "a.example.com@127.0.0.1",
        "a.example.com@localhost",
        "10.0.0.1@127.0.0.1",
    ] {
        let response = fetch(&served, &format!("http://{host}:{port}/"));
        assert!(matches!(response.status, 400 | 502), "{host}: {} {}", response.status, response.text());
    }
    for url in
        [format!("http://127.0.0.1:{port}#.example.com:{port}/"), format!("http://localhost:{port}@[::1]:{port}/")]
    {
        let response = fetch(&served, &url);
        assert!(matches!(response.status, 400 | 502), "{url}: {}", response.status);
    }
    assert_eq!(private.asked(), 0, "{}", served.log());
    served.wait_for_log("is not public, and no rule names it");
    served.serves_others();
    // A rule that names the address itself allows it, by that name too.
    let rules = format!("{named}, \"http://127.0.0.1:{port}\"");
    let served = serve_proxy(ADDRESS, &format!("[route.grants]\nallow-http = [{rules}]"), "");
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let response = fetch(&served, &format!("http://{host}:{port}/"));
        assert_eq!((response.status, response.text().as_str()), (200, "secret"), "{host}: {}", served.log());
    }
    assert_eq!(private.asked(), 3);
}

#[test]
fn clients_of_the_status_address_take_no_more_than_a_few_descriptors() {
    let served = serve_proxy(&format!("{ADDRESS}\nstatus-addr = \"127.0.0.1:0\""), "", "");
    served.wait_for_log("Status at http://");
    let log = served.log();
    let address = log.lines().find_map(|line| line.strip_prefix("Status at http://")).unwrap();
    let address: SocketAddr = address.split('/').next().unwrap().parse().unwrap();
    assert_eq!(get(address, "/livez").unwrap().status, 200);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", served.id())).unwrap().count();
    let before = descriptors();
    // Some say nothing, some do not read the answer.
    let clients: Vec<_> = (0..120)
        .map(|number| {
            let mut client = Connection::open(address).unwrap();
            if number % 2 == 0 {
                client.send(request("GET", "/metrics", &[], b"")).unwrap();
            }
            client
        })
        .collect();
    // All are in the system's queue, or accepted, by now.
    thread::sleep(std::time::Duration::from_millis(500));
    assert!(descriptors() <= before + 50, "{before} before, now {}", descriptors());
    served.serves_others();
    // None of them keeps those out that ask whether the server lives, and who is not answered at once takes it for dead.
    let begun = std::time::Instant::now();
    assert_eq!(get(address, "/livez").unwrap().status, 200);
    assert!(begun.elapsed().as_millis() < 1500, "{:?}", begun.elapsed());
    drop(clients);
}

#[test]
fn a_client_writes_nothing_into_the_log_that_a_terminal_obeys() {
    for options in ["--access-log", "--access-log --log-json"] {
        let served = serve_proxy(ADDRESS, "", options);
        let target = "/hello?\u{9b}31m\u{202e}";
        for target in [target, "/\u{9b}31m\u{202e}x", "/%1b[31m"] {
            let mut connection = served.connect();
            connection.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\ntraceparent: \u{9b}\r\n\r\n")).unwrap();
            // Refused or answered: it is in the log either way.
            assert!(connection.receive().is_ok());
        }
        served.get("/last");
        served.wait_for_log("/last");
        let log = served.log();
        assert!(!log.contains(['\u{9b}', '\u{202e}', '\u{1b}']), "{log:?}");
        assert!(options.contains("json") || log.contains("path=\"/%1b[31m\"") || log.contains("/%1b[31m"), "{log}");
    }
}

#[test]
fn a_client_fills_no_log_with_frames_that_a_library_does_not_like() {
    let served = serve_proxy(ADDRESS, "", "");
    let mut client = Http2::open(served.address, &[]).unwrap();
    // Acknowledgements of pings that the server has not sent.
    let flood = Frame::encode(kind::PING, END_STREAM, 0, &[7; 8]).repeat(1000);
    for _ in 0..20 {
        client.send_bytes(&flood).unwrap();
    }
    client.send(kind::PING, 0, 0, &[8; 8]).unwrap();
    client.until(|frame| frame.kind == kind::PING).unwrap();
    served.serves_others();
    let log = served.log();
    assert!(log.lines().count() < 10, "{} lines: {}", log.lines().count(), log.chars().take(1000).collect::<String>());
}

#[test]
fn what_is_no_listening_socket_is_refused_from_the_parent() {
    let test = "what_is_no_listening_socket_is_refused_from_the_parent";
    if !has_program("bash") {
        return skip(test, "bash is not installed");
    }
    let module = artifact("proxy");
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    for (count, open) in [
        (1, "3</dev/null".to_owned()),
        (1, "3<>/dev/udp/127.0.0.1/9".to_owned()),
        (1, format!("3<>/dev/tcp/127.0.0.1/{port}")),
        (900, "3</dev/null".to_owned()),
    ] {
        let script = format!("exec {open}; export LISTEN_PID=$$ LISTEN_FDS={count}; exec \"$@\"");
        let call = program("timeout").args(["20", "bash", "-c", &script, "bash"]).arg(binaries().join("isomer-run"));
        let refused = call.line("serve --allow-unsigned").arg(&module).fails();
        assert!(refused.stderr().starts_with("error: a socket that this process was given"), "{open}: {refused}");
    }
}

#[test]
fn keys_and_certificates_are_regular_files_of_a_bounded_size() {
    let directory = scratch();
    let made = program("mkfifo").arg(directory.path().join("pipe")).run();
    assert_eq!(made.code(), 0, "{made}");
    fs::File::create(directory.path().join("huge")).unwrap().set_len(8 << 30).unwrap();
    let module = artifact("proxy");
    for (file, words) in [("pipe", "a pipe"), ("/dev/zero", "a device"), ("huge", "8589934592 bytes")] {
        fs::write(directory.path().join("serve.toml"), format!("{ADDRESS}\nca-cert = [\"{file}\"]\n[[route]]\nmodule = \"{}\"\n[route.grants]\nallow-http = [\"https://a.example\"]\n", module.display())).unwrap();
        for line in [format!("--tls-cert {file} --tls-key {file} {}", module.display()), "-f serve.toml".to_owned()] {
            let call = program("timeout").arg("20").arg(binaries().join("isomer-run")).line("serve --allow-unsigned");
            let refused = call.line(&line).dir(directory.path()).fails();
            assert!(refused.stderr().contains(words), "{file}: {refused}");
        }
    }
}

#[test]
fn a_server_removes_its_own_socket_alone() {
    let directory = scratch();
    let socket = directory.path().join("socket");
    let addresses = format!("addresses = [\"127.0.0.1:0\", \"unix:{}\"]", socket.display());
    let first = serve_proxy(&addresses, "", "");
    assert!(socket.exists());
    // Its successor has another socket of the same name.
    fs::remove_file(&socket).unwrap();
    let second = serve_proxy(&addresses, "", "");
    first.signal("TERM");
    first.wait();
    assert!(socket.exists());
    // What has the name is not removed, unless it is a socket that no server has any more.
    second.signal("TERM");
    second.wait();
    assert!(!socket.exists());
    fs::write(&socket, "a file").unwrap();
    let line = format!("serve --allow-unsigned --addr unix:{} {}", socket.display(), artifact("proxy").display());
    let refused = isomer_run().line(&line).fails();
    assert_eq!(fs::read(&socket).unwrap(), b"a file", "{refused}");
}
