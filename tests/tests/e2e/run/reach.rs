//! Servers that a guest reaches by `wasi:http` and `wasi:tls`: those that are allowed, over connections that really are made.

use super::run;
use crate::destinations::Server;
use isomer_testing::certificates::Certificates;
use isomer_tests::{Ran, scratch};
use std::fs;

#[test]
fn http_requests_go_to_what_is_allowed_alone() {
    let server = Server::plain();
    let call = |options: &str, host: &str| {
        let port = server.port;
        let line = format!("{options} client.cwasm http http://{host}:PORT/").replace("PORT", &port.to_string());
        run(&line).run()
    };
    for (options, host) in [
        ("--allow-http http://127.0.0.1:PORT", "127.0.0.1"),
        ("--allow-http 127.0.0.0/8:PORT", "127.0.0.1"),
        ("--allow-http localhost:PORT --allow-http 127.0.0.1:PORT", "localhost"),
        ("-S http", "127.0.0.1"),
    ] {
        let before = server.accepted();
        let ran = call(options, host);
        assert_eq!((ran.code(), ran.stdout()), (0, "200\nhello\n".to_owned()), "{options}: {ran}");
        assert_eq!(server.accepted(), before + 1);
    }
    let before = server.accepted();
    for (options, host, reason) in [
        ("", "127.0.0.1", "an HTTP request to `127.0.0.1` was denied: no outgoing HTTP is granted"),
        ("--allow-http http://127.0.0.1:1", "127.0.0.1", "was denied: no rule allows it"),
        ("--allow-http https://127.0.0.1:PORT", "127.0.0.1", "was denied: no rule allows it"),
        // A name that resolves to an address of this machine.
        ("--allow-http localhost:PORT", "localhost", "is not public, and no rule names it"),
        // The network is another grant.
        ("--allow-net *", "127.0.0.1", "no outgoing HTTP is granted"),
    ] {
        let ran = call(options, host);
        assert_eq!(ran.code(), 1, "{options}: {ran}");
        assert!(ran.stdout().starts_with("http: error") && ran.stderr().contains(reason), "{options}: {ran}");
    }
    assert_eq!(server.accepted(), before);
}

#[test]
fn https_requests_need_a_certificate_that_this_machine_trusts() {
    let certificates = Certificates::new();
    let server = Server::tls(&certificates);
    let call = || run(&format!("--allow-http 127.0.0.1:{0} client.cwasm http https://127.0.0.1:{0}/", server.port));
    let ran = call().env("SSL_CERT_FILE", certificates.path("ca.pem")).ok();
    assert_eq!(ran.stdout(), "200\nhello\n");
    let ran = call().env("SSL_CERT_FILE", certificates.path("client.pem")).run();
    assert!(ran.code() == 1 && ran.stdout().starts_with("http: error"), "{ran}");
}

#[test]
fn a_file_of_ca_certificates_is_trusted_beside_the_system_s() {
    let certificates = Certificates::new();
    let server = Server::tls(&certificates);
    let ca = certificates.path("ca.pem");
    fs::write(certificates.path("run.toml"), format!("ca-cert = 'ca.pem'\nallow-http = '127.0.0.1:{}'", server.port))
        .unwrap();
    let call =
        |options: &str| {
            let url = format!("https://127.0.0.1:{}/", server.port);
            run(&format!("{options} --allow-tls --allow-http 127.0.0.1:{0} --allow-net 127.0.0.1:{0}", server.port))
                .args(["client.cwasm", "http", &url])
        };
    let option = format!("--ca-cert {}", ca.display());
    for options in [&option, &format!("-f {}", certificates.path("run.toml").display())] {
        assert_eq!(call(options).ok().stdout(), "200\nhello\n", "{options}");
    }
    let refused = call("").run();
    assert!(refused.code() == 1 && refused.stdout().starts_with("http: error"), "{refused}");
    let bad = call("--ca-cert missing.pem").fails();
    assert!(bad.stderr().contains("cannot read CA certificates from `missing.pem`"), "{bad}");
    let tls = format!(
        "{option} --allow-tls --allow-net 127.0.0.1:{0} client.cwasm tls 127.0.0.1 {0} farm.example",
        server.port
    );
    assert_eq!(run(&tls).ok().stdout(), "received hello\n");
}

#[test]
fn tls_needs_a_grant_a_connection_and_a_certificate_of_that_name() {
    let certificates = Certificates::new();
    let server = Server::tls(&certificates);
    let directory = scratch();
    let file = directory.path().join("run.toml");
    fs::write(&file, format!("allow-tls = true\nallow-net = '127.0.0.1:{}'", server.port)).unwrap();
    let call = |options: &str, ca: &str, name: &str| -> Ran {
        let line =
            format!("{options} client.cwasm tls 127.0.0.1 PORT {name}").replace("PORT", &server.port.to_string());
        run(&line).env("SSL_CERT_FILE", certificates.path(ca)).run()
    };
    let from_file = format!("-f {}", file.display());
    for options in ["--allow-tls --allow-net 127.0.0.1:PORT", "-S tls,inherit-network", &from_file] {
        let ran = call(options, "ca.pem", "farm.example");
        assert_eq!((ran.code(), ran.stdout()), (0, "received hello\n".to_owned()), "{options}: {ran}");
    }
    let granted = "--allow-tls --allow-net 127.0.0.1:PORT";
    for (options, ca, name, told, warned) in [
        ("--allow-net 127.0.0.1:PORT", "ca.pem", "farm.example", "tls: ", "no TLS is granted"),
        ("--allow-tls", "ca.pem", "farm.example", "connect: error", "opening a TCP socket was denied"),
        (
            "--allow-tls --allow-net 127.0.0.1:1",
            "ca.pem",
            "farm.example",
            "connect: error",
            "was denied: no rule allows it",
        ),
        (granted, "ca.pem", "other.example", "not valid for name", ""),
        (granted, "client.pem", "farm.example", "invalid peer certificate", ""),
        (granted, "ca.pem", "no..name", "invalid server name", ""),
    ] {
        let ran = call(options, ca, name);
        assert_eq!(ran.code(), 1, "{options} {name}: {ran}");
        assert!(ran.stdout().contains(told) && ran.stderr().contains(warned), "{options} {name}: {ran}");
    }
}

#[test]
fn tls_of_wasi_0_3_needs_the_same() {
    let certificates = Certificates::new();
    let server = Server::tls(&certificates);
    let ca = certificates.path("ca.pem");
    let call = |options: &str, name: &str| -> Ran {
        let line = format!("{options} tls-client.cwasm 127.0.0.1 PORT {name}");
        run(&line.replace("PORT", &server.port.to_string()).replace("CA", &ca.display().to_string())).run()
    };
    let granted = "--allow-tls --allow-net 127.0.0.1:PORT --ca-cert CA";
    let ran = call(granted, "farm.example");
    assert_eq!((ran.code(), ran.stdout()), (0, "received hello\n".to_owned()), "{ran}");
    for (options, name, told, warned) in [
        ("--allow-net 127.0.0.1:PORT --ca-cert CA", "farm.example", "tls: ", "no TLS is granted"),
        ("--allow-tls --ca-cert CA", "farm.example", "socket: error", "opening a TCP socket was denied"),
        ("--allow-tls --allow-net 127.0.0.1:1", "farm.example", "connect: error", "was denied: no rule allows it"),
        ("--allow-tls --allow-net 127.0.0.1:PORT", "farm.example", "tls: ", ""),
        (granted, "other.example", "tls: ", ""),
        (granted, "no..name", "tls: ", ""),
    ] {
        let ran = call(options, name);
        assert_eq!(ran.code(), 1, "{options} {name}: {ran}");
        assert!(ran.stdout().contains(told) && ran.stderr().contains(warned), "{options} {name}: {ran}");
    }
}
