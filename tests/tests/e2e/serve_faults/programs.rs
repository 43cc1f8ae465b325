//! The HTTP clients that people use.

use isomer_testing::{python, root};
use isomer_tests::served::{Served, Setup, compile, serve};
use isomer_tests::{Call, has_program, isomer_run, program, scratch, skip};
use std::fs;
use std::path::PathBuf;

/// Clients of guests that answer well.
fn serve_guest(guest: &'static str) -> Served {
    Setup { guest, route: "request-size = \"64MiB\"".to_owned(), ..Setup::default() }.start()
}

fn url(served: &Served, path: &str) -> String {
    format!("http://{}{path}", served.address)
}

fn installed(test: &str, name: &str) -> bool {
    let installed = has_program(name);
    if !installed {
        skip(test, &format!("{name} is not installed"));
    }
    installed
}

#[test]
fn curl_speaks_both_versions() {
    if !installed("curl_speaks_both_versions", "curl") {
        return;
    }
    let body = scratch();
    let file = body.path().join("body");
    fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
    for guest in ["proxy", "service"] {
        let served = serve_guest(guest);
        for version in ["--http1.1", "--http2-prior-knowledge", "--http1.0", "--http2"] {
            let curl = || program("curl").args(["--silent", "--show-error", "--max-time", "20", version]);
            let hello = curl().arg("--fail").arg(url(&served, "/hello")).ok();
            assert_eq!(hello.stdout(), "hello\n", "{version}");
            let head = curl().args(["--head", "--write-out", "%{http_code}"]).arg(url(&served, "/hello")).ok();
            assert!(head.stdout().ends_with("200"), "{version}: {head}");
            if version == "--http1.0" {
                continue;
            }
            let data = format!("@{}", file.display());
            let length = curl().args(["--data-binary", &data]).arg(url(&served, "/length")).ok();
            assert_eq!(length.stdout(), "3000000\n", "{version}");
            let echo = curl().args(["--data-binary", &data]).arg(url(&served, "/echo")).ok();
            assert_eq!(echo.output.stdout, fs::read(&file).unwrap(), "{version}");
        }
    }
}

#[test]
fn wrk_counts_no_error() {
    if !installed("wrk_counts_no_error", "wrk") {
        return;
    }
    for guest in ["proxy", "service"] {
        let served = serve_guest(guest);
        let ran = program("wrk").line("-t 1 -c 64 -d 2s").arg(url(&served, "/hello")).ok();
        let shown = ran.stdout();
        assert!(shown.contains("Requests/sec:"), "{shown}");
        assert!(!shown.contains("Non-2xx") && !shown.contains("Socket errors"), "{shown}\n{}", served.log());
        served.serves_others();
    }
}

#[test]
fn h2load_counts_no_error() {
    if !installed("h2load_counts_no_error", "h2load") {
        return;
    }
    for guest in ["proxy", "service"] {
        let served = serve_guest(guest);
        for protocol in ["h2c", "http/1.1"] {
            let protocol = format!("--no-tls-proto={protocol}");
            let ran = program("h2load").arg(protocol).line("-n 2000 -c 8 -m 16").arg(url(&served, "/hello")).ok();
            let shown = ran.stdout();
            assert!(shown.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{shown}\n{}", served.log());
        }
    }
}

const HTTPX: &str = r#"
import httpx, sys
base = sys.argv[1]
for client in (httpx.Client(), httpx.Client(http1=False, http2=True)):
    with client:
        assert client.get(base + "/hello").text == "hello\n"
        body = b"x" * 1_000_000
        assert client.post(base + "/echo", content=body).content == body
        # In chunks, of which no length is known.
        assert client.post(base + "/length", content=iter([b"one", b"two"])).text == "6\n"
        assert client.get(base + "/status/418").status_code == 418
        print(client.get(base + "/hello").http_version)
"#;

#[test]
fn httpx_speaks_both_versions() {
    let packages = root().join("target/tools/httpx-0.28.1");
    if let Err(error) = python::install(&["httpx[http2]==0.28.1"], &packages) {
        return skip("httpx_speaks_both_versions", &format!("httpx cannot be installed: {error}"));
    }
    for guest in ["proxy", "service"] {
        let served = serve_guest(guest);
        let python = program(python::interpreter().unwrap()).env("PYTHONPATH", &packages);
        let ran = python.args(["-c", HTTPX]).arg(url(&served, "")).ok();
        assert_eq!(ran.stdout(), "HTTP/1.1\nHTTP/2\n");
    }
}

const FETCH: &str = r#"
const base = process.argv[1];
const text = async (path, options) => (await fetch(base + path, options)).text();
const all = await Promise.all(Array.from({ length: 50 }, () => text("/hello")));
if (all.some((answer) => answer !== "hello\n")) throw new Error("an answer is another");
const body = "x".repeat(1_000_000);
if ((await text("/echo", { method: "POST", body })) !== body) throw new Error("the echo is another");
async function* pieces() { yield new TextEncoder().encode("one"); yield new TextEncoder().encode("two"); }
const streamed = { method: "POST", body: pieces(), duplex: "half" };
if ((await text("/length", streamed)) !== "6\n") throw new Error("the length is another");
const given_up = AbortSignal.timeout(100);
await text("/sleep/5000", { signal: given_up }).then(() => { throw new Error("it was not given up"); }, () => {});
console.log(await text("/hello"));
"#;

#[test]
fn node_fetches() {
    if !installed("node_fetches", "node") {
        return;
    }
    for guest in ["proxy", "service"] {
        let served = serve_guest(guest);
        let ran = program("node").args(["--input-type=module", "-e", FETCH]).arg(url(&served, "")).ok();
        assert_eq!(ran.stdout(), "hello\n\n");
    }
}

/// A server in a language that brings an interpreter, which `cargo xtask test` builds.
fn language(test: &str, variable: &str) -> Option<PathBuf> {
    let component = std::env::var_os(variable).map(PathBuf::from);
    if component.is_none() {
        skip(test, &format!("{variable} names no component: its tools are not installed"));
    }
    component
}

fn speaks(component: PathBuf) {
    let directory = scratch();
    let stem = component.file_stem().unwrap().to_str().unwrap().to_owned();
    compile(&[component], directory.path());
    let artifact = directory.path().join(format!("{stem}.served.cwasm"));
    let served = serve(serve_call(&artifact), directory);
    served.serves_others();
    let body = vec![b'x'; 1_000_000];
    let mut connection = served.send("POST", "/", &[], &body);
    assert_eq!(connection.receive().unwrap().body, body, "{}", served.log());
    served.serves_others();
}

fn serve_call(artifact: &std::path::Path) -> Call {
    isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0").arg(artifact)
}

#[test]
fn a_server_in_javascript_answers() {
    if let Some(component) = language("a_server_in_javascript_answers", "ISOMER_HTTP_JAVASCRIPT") {
        speaks(component);
    }
}

#[test]
fn a_server_in_python_answers() {
    if let Some(component) = language("a_server_in_python_answers", "ISOMER_HTTP_PYTHON") {
        speaks(component);
    }
}
