//! Lines that break, hang, crawl or lead nowhere.

use crate::client::{blob, casd, connect, options};
use crate::tool::action;
use isomer_remote::{Cancel, Deadlines, Options, Remote, RemoteError, Stage};
use isomer_testing::grpc_proxy::{GrpcProxy, Verdict};
use isomer_testing::tcp_proxy::{Line, TcpProxy};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

fn refusal(options: &Options) -> RemoteError {
    match Remote::connect(options, &Cancel::new()) {
        Ok(_) => panic!("it connected"),
        Err(error) => error,
    }
}

#[test]
fn an_upload_survives_a_line_that_is_cut() {
    let Some(casd) = casd() else { return };
    let proxy = TcpProxy::start(casd.address(), &[Line::CutUp(1 << 20), Line::CutUp(6 << 20), Line::CutUp(100)]);
    let remote = connect(&options(proxy.address));
    let large = blob(8 << 20);
    remote.upload(std::slice::from_ref(&large)).unwrap();
    assert!(proxy.connections.load(Ordering::SeqCst) >= 4);
    let direct = connect(&options(casd.address()));
    assert_eq!(direct.download(&BTreeSet::from([large.digest()])).unwrap()[&large.digest()], large.bytes());
}

/// Each cut costs what was under way, not what had arrived.
#[test]
fn a_download_goes_on_where_it_was_cut() {
    let Some(casd) = casd() else { return };
    let large = blob(12 << 20);
    connect(&options(casd.address())).upload(std::slice::from_ref(&large)).unwrap();
    let proxy =
        TcpProxy::start(casd.address(), &[Line::CutDown(4 << 20), Line::CutDown(4 << 20), Line::CutDown(3 << 20)]);
    let remote = connect(&options(proxy.address));
    assert_eq!(remote.download(&BTreeSet::from([large.digest()])).unwrap()[&large.digest()], large.bytes());
    assert!(proxy.connections.load(Ordering::SeqCst) >= 4);
    let bytes = proxy.down_bytes.load(Ordering::SeqCst);
    assert!(bytes < 18 << 20, "{bytes} bytes for a blob of {}", large.bytes().len());
}

#[test]
fn an_execution_is_taken_up_by_its_name() {
    let Some(casd) = casd() else { return };
    let watcher = GrpcProxy::start(casd.address(), |_| Verdict::Forward);
    let line = TcpProxy::start(watcher.address, &[]);
    let remote = connect(&options(line.address));
    let action = action("sleep 3000 result", &["result"]).build().unwrap();
    let mut stages = Vec::new();
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while watcher.calls("Execute") == 0 {
                thread::sleep(Duration::from_millis(20));
            }
            for _ in 0..2 {
                thread::sleep(Duration::from_millis(700));
                line.cut();
            }
        });
        remote.execute(&action, |stage| stages.push(stage)).unwrap()
    });
    assert_eq!(outcome.outputs["result"].bytes, b"awake");
    assert_eq!(watcher.calls("Execute"), 1, "it was executed twice");
    assert!(watcher.calls("WaitExecution") >= 2);
    assert!(stages.iter().any(|stage| matches!(stage, Stage::Retrying { .. })), "{stages:?}");
}

/// casd hangs up on clients that ask too often whether it is alive.
#[test]
fn an_impatient_keepalive_does_no_harm() {
    let Some(casd) = casd() else { return };
    let mut options = options(casd.address());
    options.keepalive = Some(Duration::from_millis(300));
    let action = action("sleep 4000 result", &["result"]).build().unwrap();
    let mut stages = Vec::new();
    let outcome = connect(&options).execute(&action, |stage| stages.push(stage)).unwrap();
    assert_eq!(outcome.outputs["result"].bytes, b"awake");
    let complained = |stage: &Stage| matches!(stage, Stage::Retrying { reason } if reason.contains("Too many pings"));
    assert!(stages.iter().any(complained), "{stages:?}");
}

/// The peer is gone without a word, in the middle of an action: without keepalive it would never be noticed.
#[test]
fn a_dead_connection_is_noticed_by_keepalive() {
    let Some(casd) = casd() else { return };
    let proxy = TcpProxy::start(casd.address(), &[]);
    let mut options = options(proxy.address);
    options.keepalive = Some(Duration::from_millis(500));
    options.deadlines.connect = Duration::from_secs(1);
    let remote = connect(&options);
    let action = action("sleep 2000 result", &["result"]).build().unwrap();
    let mut stages = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(1000));
            proxy.freeze();
        });
        remote.execute(&action, |stage| stages.push(stage)).unwrap();
    });
    assert!(stages.iter().any(|stage| matches!(stage, Stage::Retrying { .. })), "{stages:?}");
}

#[test]
fn a_slow_line_is_only_slow() {
    let Some(casd) = casd() else { return };
    let proxy = TcpProxy::start(casd.address(), &[Line::Delay(Duration::from_millis(2)); 8]);
    let remote = connect(&options(proxy.address));
    let action = action("sleep 10 result", &["result"]).build().unwrap();
    assert_eq!(remote.execute(&action, |_| ()).unwrap().outputs["result"].bytes, b"awake");
}

#[test]
fn an_unreachable_remote_is_an_error() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refusal(&options(free));
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("grpc://{free}: cannot be reached: ")), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.hint().unwrap().starts_with("check the address and that the remote runs"));
}

#[test]
fn a_name_that_does_not_exist() {
    let mut options = Options::new("grpc://no-such-host.invalid:1");
    options.retry.attempts_max = 2;
    let error = refusal(&options);
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
}

#[test]
fn a_silent_server_times_out() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = TcpProxy::start(closed, &[Line::BlackHole; 20]);
    let mut options = options(proxy.address);
    options.deadlines.connect = Duration::from_millis(300);
    options.retry.attempts_max = 3;
    let begun = Instant::now();
    let error = refusal(&options);
    assert!(matches!(error, RemoteError::TooManyRetries { attempts: 3, .. }), "{error}");
    assert!(error.to_string().contains("no answer within 0.3 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // A shorter total deadline ends it earlier.
    options.deadlines = Deadlines { total: Duration::from_millis(500), ..Deadlines::default() };
    let begun = Instant::now();
    let error = refusal(&options);
    assert!(matches!(error, RemoteError::Unreachable { .. }) && error.is_outage(), "{error}");
    assert!(error.to_string().ends_with("no answer about its capabilities within 0.5 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn another_protocol_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut options = options(address);
    options.retry.attempts_max = 3;
    let error = refusal(&options);
    assert!(matches!(error, RemoteError::Disconnected { .. }), "{error}");
}

#[test]
fn invalid_addresses_are_refused() {
    for (url, reason) in [
        ("farm:8980", "it has no scheme"),
        ("ftp://farm", "`ftp://` is neither grpc:// nor grpcs://"),
        ("grpc://farm:8980/main", "expected host and port alone; an instance name is an option of its own"),
        ("grpc://", "it has no host"),
        ("grpc://farm:99999", "`99999` is not a valid port, expected a number from 1 to 65535"),
        ("grpc://a b", ""),
        ("grpc://user:secret@farm", "expected host and port alone; an instance name is an option of its own"),
    ] {
        let error = refusal(&Options::new(url));
        assert!(matches!(error, RemoteError::Options { .. }), "{error}");
        assert!(error.to_string().ends_with(reason), "{error}");
    }
}

#[test]
fn services_may_have_an_address_each() {
    let Some(casd) = casd() else { return };
    let [blobs, results, execution] = [(); 3].map(|()| GrpcProxy::start(casd.address(), |_| Verdict::Forward));
    let mut options = options(blobs.address);
    options.action_cache = format!("grpc://{}", results.address);
    options.execution = Some(format!("grpc://{}/", execution.address));
    let remote = connect(&options);
    let action = action("sleep 1 result", &["result"]).build().unwrap();
    remote.execute(&action, |_| ()).unwrap();
    assert!(remote.get_result(&action).unwrap().is_some());
    assert_eq!([&blobs, &results, &execution].map(|proxy| proxy.calls("GetCapabilities")), [1, 1, 1]);
    assert_eq!([&blobs, &results, &execution].map(|proxy| proxy.calls("Execute")), [0, 0, 1]);
    assert_eq!([&blobs, &results, &execution].map(|proxy| proxy.calls("GetActionResult")), [0, 1, 0]);
    assert_eq!(results.calls("FindMissingBlobs") + execution.calls("FindMissingBlobs"), 0);
}

#[test]
fn a_cache_alone_executes_nothing() {
    let Some(casd) = casd() else { return };
    let mut options = options(casd.address());
    options.execution = None;
    let error = connect(&options).execute(&action("forget", &[]).build().unwrap(), |_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::NoExecution { .. }), "{error}");
}
