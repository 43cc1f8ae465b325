//! Clients that fail, or attack, over HTTP/2.

use isomer_tests::frames::{END_HEADERS, END_STREAM, Frame, Http2, head, kind};
use isomer_tests::served::{Served, Setup};
use isomer_tests::wait_until;
use std::thread;
use std::time::Duration;

/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn connect(served: &Served, settings: &[(u16, u32)]) -> Http2 {
    Http2::open(served.address, settings).unwrap()
}

/// The window of a connection that no frame has changed.
const WINDOW: u32 = 65_535;

/// Whether it is the head of a response with the status 200, which has an index of its own in HPACK's static table.
fn is_ok(frame: &Frame) -> bool {
    frame.kind == kind::HEADERS && frame.payload.first() == Some(&0x88)
}

#[test]
fn many_streams_share_a_connection() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let mut client = connect(&served, &[]);
        for stream in 0..50 {
            client.get(2 * stream + 1, "/hello").unwrap();
        }
        let mut ended = 0;
        while ended < 50 {
            let frame = client.receive().unwrap();
            assert!(frame.kind != kind::HEADERS || is_ok(&frame), "{frame:?}");
            assert_ne!(frame.kind, kind::RST_STREAM, "{frame:?}");
            ended += usize::from(matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.flags & END_STREAM != 0);
        }
    }
}

/// CVE-2023-44487: streams that are opened and reset, faster than the server ends their work.
#[test]
fn a_rapid_reset_keeps_none_out() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let before = served.memory_bytes();
        let mut client = connect(&served, &[]);
        for stream in 0..20_000 {
            let opened = client.get(2 * stream + 1, "/never");
            if opened.and_then(|()| client.send(kind::RST_STREAM, 0, 2 * stream + 1, &CANCEL)).is_err() {
                break;
            }
            if stream % 5000 == 4999 {
                served.serves_others();
            }
        }
        served.serves_others();
        let grown = served.memory_bytes().saturating_sub(before);
        assert!(grown < 256 << 20, "{grown} bytes more");
    }
}

#[test]
fn a_flood_of_settings_or_pings_keeps_none_out() {
    let served = Served::start("proxy");
    let before = served.memory_bytes();
    for (kind, payload) in [(kind::SETTINGS, &[0, 4, 0, 0, 0x40, 0][..]), (kind::PING, &[0; 8])] {
        let mut client = connect(&served, &[]);
        // Acknowledgements are never read: there are more of them than the system's buffers hold, and the server must not
        // keep them either.
        let flood = Frame::encode(kind, 0, 0, payload).repeat(1000);
        client.socket().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let sent = (0..5000).take_while(|_| client.send_bytes(&flood).is_ok()).count();
        assert!(sent < 5000, "{sent} floods were taken without an answer read");
        served.serves_others();
    }
    let grown = served.memory_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}

/// CVE-2024-27316: a head that never ends.
#[test]
fn an_endless_head_is_refused() {
    let served = Served::start("proxy");
    let before = served.memory_bytes();
    let mut client = connect(&served, &[]);
    client.send(kind::HEADERS, END_STREAM, 1, &head("GET", "/hello", &[])).unwrap();
    let more = head("GET", "/", &[("x-long", &"x".repeat(16_000))]);
    // Fields alone: what begins a head stands before them.
    let more = &more[more.len() - 16_000 - 11..];
    for _ in 0..5000 {
        if client.send(kind::CONTINUATION, 0, 1, more).is_err() {
            break;
        }
    }
    served.serves_others();
    let grown = served.memory_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    client.goaway().unwrap();
}

#[test]
fn a_large_head_is_refused() {
    let served = Served::start("proxy");
    let mut client = connect(&served, &[]);
    let fields: Vec<_> = (0..8).map(|number| (format!("x-{number}"), "x".repeat(8000))).collect();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let block = head("GET", "/hello", &fields);
    let (first, rest) = block.split_at(16_000);
    client.send(kind::HEADERS, END_STREAM, 1, first).unwrap();
    let pieces: Vec<_> = rest.chunks(16_000).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let flags = if index + 1 == pieces.len() { END_HEADERS } else { 0 };
        client.send(kind::CONTINUATION, flags, 1, piece).unwrap();
    }
    // 431, a reset, or the end of the connection.
    let answer = client.until(|frame| frame.stream == 1 || frame.kind == kind::GOAWAY);
    assert!(!answer.is_ok_and(|frame| is_ok(&frame)));
    served.serves_others();
}

#[test]
fn a_client_that_opens_no_window_is_cut_off() {
    for guest in ["proxy", "service"] {
        let served = Served::start(guest);
        let mut client = connect(&served, &[(INITIAL_WINDOW, 0)]);
        client.get(1, "/download/1000000").unwrap();
        let ended = client.until(|frame| frame.kind == kind::RST_STREAM || frame.kind == kind::GOAWAY);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof));
        served.wait_for_log("the client stopped reading the response");
        served.serves_others();
    }
}

#[test]
fn a_client_sends_no_more_ahead_than_a_server_can_hold_for_all_of_them() {
    const AHEAD: u32 = 256 << 10;
    let served = Served::start("proxy");
    let mut client = connect(&served, &[]);
    let mut windows = (WINDOW, WINDOW);
    client.send(kind::SETTINGS, END_STREAM, 0, &[]).unwrap();
    client.send(kind::PING, 0, 0, &[7; 8]).unwrap();
    // What comes before the answer to a ping is all that the server has to say.
    loop {
        let frame = client.receive().unwrap();
        match frame.kind {
            kind::PING => break,
            kind::SETTINGS => {
                let settings =
                    frame.payload.chunks_exact(6).filter(|setting| setting[..2] == INITIAL_WINDOW.to_be_bytes());
                settings.for_each(|setting| windows.1 = u32::from_be_bytes(setting[2..].try_into().unwrap()));
            }
            kind::WINDOW_UPDATE => windows.0 += u32::from_be_bytes(frame.payload.try_into().unwrap()),
            _ => {}
        }
    }
    assert!(windows.0 <= AHEAD && windows.1 <= AHEAD, "{windows:?}");
    // As much as that is taken while no guest reads it.
    let before = served.memory_bytes();
    let fill = || {
        let mut client = connect(&served, &[]);
        client.send(kind::SETTINGS, END_STREAM, 0, &[]).unwrap();
        client.until(|frame| frame.kind == kind::WINDOW_UPDATE).unwrap();
        client.send(kind::HEADERS, END_HEADERS, 1, &head("POST", "/sleep/20000", &[])).unwrap();
        (0..15).for_each(|_| client.send(kind::DATA, 0, 1, &[b'x'; 16_384]).unwrap());
        client
    };
    let clients: Vec<_> = (0..100).map(|_| fill()).collect();
    served.serves_others();
    let each = served.memory_bytes().saturating_sub(before) / clients.len() as u64;
    assert!(each < 512 << 10, "{each} bytes for each");
}

#[test]
fn the_work_for_a_stream_that_was_reset_ends() {
    for guest in ["proxy", "service"] {
        let route = "requests = 1\nwaiting = 0\nrequest-time = \"60s\"".to_owned();
        let served = Setup { guest, route, ..Setup::default() }.start();
        let mut client = connect(&served, &[]);
        client.get(1, "/never").unwrap();
        // Until the server has it: the route is busy with another request otherwise.
        thread::sleep(Duration::from_millis(500));
        wait_until("the route is busy", || served.get("/hello").status == 503);
        client.send(kind::RST_STREAM, 0, 1, &CANCEL).unwrap();
        wait_until("the route is free", || served.get("/hello").status == 200);
    }
}

#[test]
fn frames_that_break_the_rules_end_the_connection() {
    let served = Served::start("proxy");
    let cases: [(&str, Vec<u8>); 7] = [
        ("data on an idle stream", Frame::encode(kind::DATA, 0, 1, b"x")),
        ("an even stream", Frame::encode(kind::HEADERS, END_HEADERS | END_STREAM, 2, &head("GET", "/hello", &[]))),
        ("settings of five bytes", Frame::encode(kind::SETTINGS, 0, 0, &[0; 5])),
        ("a ping of a stream", Frame::encode(kind::PING, 0, 1, &[0; 8])),
        ("a window that overflows", Frame::encode(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("a head that is not HPACK", Frame::encode(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20])),
        ("a frame of 16 MB", [&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1][..], &[0; 1000]].concat()),
    ];
    for (what, bytes) in cases {
        let mut client = connect(&served, &[]);
        client.send_bytes(&bytes).unwrap();
        // A connection error is told by GOAWAY; that of a stream by RST_STREAM.
        let ended = client.until(|frame| frame.kind == kind::GOAWAY || frame.kind == kind::RST_STREAM);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock), "{what}");
        served.serves_others();
    }
}

#[test]
fn fields_that_http2_forbids_are_refused() {
    let served = Served::start("proxy");
    for field in [("connection", "close"), ("transfer-encoding", "chunked"), ("X-Upper", "x"), ("host", "other")] {
        let mut client = connect(&served, &[]);
        let block = head("GET", "/hello", &[field]);
        client.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block).unwrap();
        let answer = client.until(|frame| frame.stream == 1 || frame.kind == kind::GOAWAY);
        let served_it = answer.is_ok_and(|frame| is_ok(&frame));
        assert!(!served_it, "{field:?}");
    }
    served.serves_others();
}
