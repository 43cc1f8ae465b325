//! What cannot be served, and what a person reads then: before anything listens.

use insta::assert_snapshot;
use isomer_tests::{guest, isomer, isomer_run, scratch, snapshot_settings};
use std::fs;
use tempfile::TempDir;

/// A directory with a command as a component and a core module, compiled.
fn directory() -> TempDir {
    let directory = scratch();
    for name in ["component", "sort"] {
        let output = directory.path().join(format!("{name}.cwasm"));
        isomer().arg("compile").arg(guest(name)).args(["-t", "pulley64", "-o"]).arg(output).ok();
    }
    directory
}

/// `isomer-run serve ARGS` in the directory fails.
#[track_caller]
fn fails(directory: &TempDir, line: &str) -> String {
    let ran = isomer_run().arg("serve").line(line).dir(directory.path()).env("ISOMER_STORE", "no-store").run();
    assert!(matches!(ran.code(), 1 | 2), "{ran}");
    ran.shown(directory.path())
}

#[track_caller]
fn fails_with(directory: &TempDir, settings: &str) -> String {
    fs::write(directory.path().join("serve.toml"), settings).unwrap();
    fails(directory, "--allow-unsigned -f serve.toml")
}

#[test]
fn what_cannot_be_served_is_refused_with_its_reason() {
    let directory = directory();
    snapshot_settings().bind(|| {
        assert_snapshot!("serve_nothing", fails(&directory, ""));
        assert_snapshot!("serve_no_such_module", fails(&directory, "hello"));
        assert_snapshot!("serve_untrusted", fails(&directory, "./component.cwasm"));
        assert_snapshot!("serve_core_module", fails(&directory, "--allow-unsigned ./sort.cwasm"));
        assert_snapshot!("serve_command", fails(&directory, "--allow-unsigned ./component.cwasm"));
        assert_snapshot!("serve_arguments", fails(&directory, "--allow-unsigned ./component.cwasm verbose"));
        assert_snapshot!("serve_address", fails(&directory, "--addr 8080 hello"));
        assert_snapshot!("serve_half_of_tls", fails(&directory, "--tls-cert cert.pem hello"));
        let files = "--allow-unsigned --tls-cert cert.pem --tls-key key.pem ./component.cwasm";
        assert_snapshot!("serve_tls_files", fails(&directory, files));
    });
}

#[test]
fn what_is_wrong_with_a_settings_file_is_named_with_its_line() {
    let directory = directory();
    let route = "[[route]]\nmodule = './component.cwasm'\n";
    snapshot_settings().bind(|| {
        assert_snapshot!("serve_no_settings", fails(&directory, "-f nowhere.toml"));
        assert_snapshot!("serve_no_route", fails_with(&directory, ""));
        assert_snapshot!("serve_unknown_key", fails_with(&directory, &format!("[limits]\nconections = 1\n{route}")));
        let grant = format!("{route}[route.grants]\nalow-http = 'https://api.example'\n");
        assert_snapshot!("serve_unknown_grant", fails_with(&directory, &grant));
        assert_snapshot!("serve_two_routes_alike", fails_with(&directory, &format!("{route}\n{route}")));
        assert_snapshot!("serve_time", fails_with(&directory, &format!("{route}[route.limits]\nrequest-time = 3\n")));
        assert_snapshot!(
            "serve_no_connections",
            fails_with(&directory, &format!("[limits]\nconnections = 0\n{route}"))
        );
        let requests = format!("{route}[route.limits]\nrequests = 9223372036854775807\n");
        assert_snapshot!("serve_too_many_requests", fails_with(&directory, &requests));
        assert_snapshot!("serve_wildcard", fails_with(&directory, &format!("{route}host = '*.example'\n")));
        assert_snapshot!("serve_ambiguous_path", fails_with(&directory, &format!("{route}path = '/a/../b'\n")));
        assert_snapshot!("serve_health_path", fails_with(&directory, &format!("{route}health = '/a b'\n")));
        let missing = format!("{route}[route.grants]\ndir = ['missing::/data']\n");
        assert_snapshot!("serve_missing_directory", fails_with(&directory, &missing));
        assert_snapshot!("serve_deadline", fails_with(&directory, &format!("{route}deadline = true\n")));
    });
}
