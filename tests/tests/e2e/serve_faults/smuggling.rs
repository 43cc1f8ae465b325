//! Requests that two servers in a row could cut apart in two ways: the one is refused, or the connection ends after it, so
//! that nothing that follows is taken for a request.

use isomer_tests::served::Served;

/// Heads whose framing is ambiguous or invalid; what follows each is a request if its body is taken to be empty.
const AMBIGUOUS: [&str; 17] = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Content-Length: 0\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 0\r\n",
    "Content-Length: 0, 5\r\n",
    "Content-Length: +0\r\n",
    "Content-Length: -0\r\n",
    "Content-Length: 0x0\r\n",
    "Content-Length: 0 0\r\n",
    "Content-Length:\r\n",
    "Content-Length : 0\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked, gzip\r\n",
    "Transfer-Encoding : chunked\r\n",
    "X: y\r\n Content-Length: 5\r\n",
];

const SMUGGLED: &str = "GET /status/418 HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn an_ambiguous_request_smuggles_none() {
    let served = Served::start("proxy");
    for framing in AMBIGUOUS {
        let mut connection = served.connect();
        let head = format!("POST /ignore HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n");
        connection.send(format!("{head}0\r\n\r\n{SMUGGLED}")).unwrap();
        let all = connection.until_closed().unwrap();
        let all = String::from_utf8_lossy(&all);
        assert!(!all.contains("HTTP/1.1 418"), "{framing:?} smuggles:\n{all}");
        assert!(all.matches("HTTP/1.1 ").count() <= 1, "{framing:?} is answered more than once:\n{all}");
    }
    served.serves_others();
}

#[test]
fn an_invalid_chunk_smuggles_none() {
    let served = Served::start("proxy");
    for chunks in [
        "x\r\n\r\n",
        "-1\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhelloworld\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "5;a=b\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
    ] {
        let mut connection = served.connect();
        let head = "POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        connection.send(format!("{head}{chunks}{SMUGGLED}")).unwrap();
        let all = connection.until_closed().unwrap();
        let all = String::from_utf8_lossy(&all);
        assert!(!all.contains("HTTP/1.1 418"), "{chunks:?} smuggles:\n{all}");
    }
    served.serves_others();
}

#[test]
fn valid_framing_of_every_kind_keeps_the_connection() {
    let served = Served::start("proxy");
    let mut connection = served.connect();
    for (framing, body, length) in [
        ("", "", "0\n"),
        ("Content-Length: 5\r\n", "hello", "5\n"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", "5\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", "5\n"),
        ("Transfer-Encoding: chunked\r\n", "5;name=value\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n", "5\n"),
        ("transfer-encoding: Chunked\r\n", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "5\n"),
    ] {
        connection.send(format!("POST /length HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{body}")).unwrap();
        let response = connection.receive().unwrap_or_else(|error| panic!("{framing:?}: {error}"));
        assert_eq!((response.status, response.text().as_str()), (200, length), "{framing:?}");
    }
}
