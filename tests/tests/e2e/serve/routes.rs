//! Which route a request reaches, where clients and other servers on the way may see that otherwise.

use isomer_testing::http_client::Response;
use isomer_tests::frames::{END_HEADERS, END_STREAM, Http2, head, kind};
use isomer_tests::served::{Served, artifact, serve};
use isomer_tests::{isomer_run, scratch};
use std::fs;

/// `proxy` answers everything, `service` what is below `/admin`, or of the host `api.example`.
fn start() -> Served {
    let directory = scratch();
    let settings = directory.path().join("serve.toml");
    let (proxy, service) = (artifact("proxy"), artifact("service"));
    let text = format!(
        "addresses = [\"127.0.0.1:0\"]\n[[route]]\nmodule = \"{0}\"\n[[route]]\npath = \"/admin\"\nmodule = \"{1}\"\n\
         [[route]]\nhost = \"api.example\"\nmodule = \"{1}\"\n",
        proxy.display(),
        service.display()
    );
    fs::write(&settings, text).unwrap();
    serve(isomer_run().line("serve --allow-unsigned -f").arg(&settings), directory)
}

#[track_caller]
fn ask(served: &Served, target: &str, host: &str, more: &str) -> Response {
    let mut connection = served.connect();
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")).unwrap();
    connection.receive().unwrap_or_else(|error| panic!("{target} of {host}: {error}\n{}", served.log()))
}

#[test]
fn a_path_that_can_be_read_as_another_routes_is_refused() {
    let served = start();
    // Of `proxy` alone.
    assert_eq!(ask(&served, "/headers", "any", "").status, 200);
    for target in ["/x/../admin/y", "/admin/../headers", "//admin", "/%61dmin", "/admin%2fx", "/.%2e/admin"] {
        let response = ask(&served, target, "any", "");
        assert_eq!(response.status, 400, "{target}: {}", response.text());
        assert!(response.text().contains("can be read in more than one way"), "{}", response.text());
        let mut client = Http2::open(served.address, &[]).unwrap();
        client.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", target, &[])).unwrap();
        let answer = client.until(|frame| frame.stream == 1).unwrap();
        // `:status: 400` has an index of its own.
        assert_eq!((answer.kind, answer.payload.first()), (kind::HEADERS, Some(&0x8c)), "{target}");
    }
    // However these are read, one route answers them.
    for target in ["/headers/../x", "/headers%2F", "/headers//"] {
        assert_eq!(ask(&served, target, "any", "").status, 200, "{target}");
    }
    served.serves_others();
}

#[test]
fn a_host_is_the_same_however_it_is_written() {
    let served = start();
    // `service` does not know this path.
    for host in ["api.example", "api.example.", "API.Example", "api.example.:80", "api.example:"] {
        assert_eq!(ask(&served, "/headers", host, "").status, 404, "{host}");
    }
    assert_eq!(ask(&served, "/headers", "www.api.example", "").status, 200);
    for host in ["api.example:abc", "api.example:99999", "api.example:-1"] {
        assert_eq!(ask(&served, "/headers", host, "").status, 400, "{host}");
    }
    let response = ask(&served, "http://any?query", "any", "");
    assert_eq!(response.status, 404, "the path is `/`: {}", response.text());
}

#[test]
fn a_transfer_coding_that_the_guest_cannot_see_is_refused() {
    let served = start();
    let ask = |codings: &str| {
        let mut connection = served.connect();
        let head = format!("POST /length HTTP/1.1\r\nHost: any\r\n{codings}\r\n");
        connection.send(format!("{head}5\r\nhello\r\n0\r\n\r\n")).unwrap();
        connection.receive().unwrap_or_else(|error| panic!("{codings}: {error}"))
    };
    for codings in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let response = ask(codings);
        assert!(matches!(response.status, 400 | 501), "{codings}: {}", response.text());
    }
    assert_eq!(ask("Transfer-Encoding: chunked\r\n").text(), "5\n");
}
