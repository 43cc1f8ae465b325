//! What a server gives its guests and clients, by options or in a settings file, and how that is shown.

use isomer_tests::served::{artifact, serve};
use isomer_tests::{binaries, isomer_run, program, scratch};
use std::fs;

/// `isomer-run serve --explain` with these options and the guest `proxy`.
fn explain(options: &str) -> String {
    let call = isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0 --explain").line(options);
    call.arg(artifact("proxy")).ok().stdout()
}

/// Requires a line with this key and value, and where the value comes from.
#[track_caller]
fn states(explained: &str, setting: &str, origin: &str) {
    let found = explained.lines().any(|line| {
        let (found, comment) = line.split_once(" # ").unwrap_or((line, ""));
        found.trim() == setting && comment == origin
    });
    assert!(found, "{setting} # {origin}\n{explained}");
}

#[test]
fn options_grant_and_limit_what_a_settings_file_does() {
    let directory = scratch();
    let shown = directory.path().display().to_string();
    let options = format!(
        "--dir {shown}::/data:ro --env COLOUR=blue --allow-http http://api.example:8080 --allow-net 10.0.0.0/8:5432 \
         --allow-tls --keyvalue --max-memory 64MiB --max-handles 77 --timeout 1500ms --health /hello --probation 5m"
    );
    let explained = explain(&options);
    for line in [
        format!("the directory {shown} as /data, to read"),
        "the variable COLOUR".to_owned(),
        "requests to http://api.example:8080".to_owned(),
        "the network ".to_owned(),
        "TLS over its connections".to_owned(),
        "a key-value store".to_owned(),
        "health: /hello".to_owned(),
        "probation: 300s".to_owned(),
    ] {
        assert!(explained.contains(&line), "{line}\n{explained}");
    }
    assert!(!explained.contains("blue"), "values of variables may be secrets\n{explained}");
    states(&explained, "max-memory = \"64MiB\"", "stated");
    states(&explained, "max-handles = 77", "stated");
    states(&explained, "request-time = \"1500ms\"", "stated");
    states(&explained, "max-stack = \"512KiB\"", "default");
}

#[test]
fn explain_prints_the_documented_defaults() {
    let explained = explain("");
    assert!(explained.contains("grants: nothing of this machine"), "{explained}");
    assert!(!explained.contains("[route.outgoing]"), "{explained}");
    states(&explained, "max-handles = 1000", "default");
    let outgoing = explain("--allow-http https://api.example");
    for setting in [
        "requests = 64",
        "connections = 256",
        "connect-time = \"10s\"",
        "response-time = \"30s\"",
        "idle-time = \"30s\"",
        "response-size = \"64MiB\"",
    ] {
        states(&outgoing, setting, "default");
    }
    // What is printed is what a settings file may hold.
    let limits: String = outgoing.lines().skip_while(|line| !line.contains("[limits]")).collect::<Vec<_>>().join("\n");
    let tables: Vec<_> = limits.split("\n\n").map(str::trim).filter(|table| table.starts_with('[')).collect();
    assert_eq!(tables.len(), 4, "{outgoing}");
    let (server, routes) = tables.split_first().unwrap();
    let module = artifact("proxy");
    let text = format!("{server}\n[[route]]\nmodule = '{}'\n{}", module.display(), routes.join("\n"));
    let directory = scratch();
    let file = directory.path().join("serve.toml");
    fs::write(&file, text).unwrap();
    let again = isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0 --explain -f").arg(&file).ok();
    states(&again.stdout(), "requests = 256", "default");
}

#[test]
fn a_limit_by_option_holds() {
    let call = isomer_run().line("serve --allow-unsigned --addr 127.0.0.1:0 --max-handles 100 --timeout 1s");
    let served = serve(call.arg(artifact("proxy")), scratch());
    assert_eq!(served.get("/handles").status, 500, "{}", served.log());
    assert_eq!(served.get("/never").status, 504, "{}", served.log());
    served.serves_others();
}

#[test]
fn options_of_a_route_do_not_go_with_a_settings_file() {
    for option in ["--env A=b", "--max-memory 1MiB", "--health /", "--ca-cert ca.pem", "--deadline"] {
        let ran = isomer_run().line("serve -f serve.toml").line(option).misused();
        assert!(ran.stderr().contains("cannot be used with"), "{option}: {ran}");
    }
}

#[test]
fn the_soft_limit_on_descriptors_is_raised() {
    let script = "ulimit -S -n 200 && exec \"$0\" serve --allow-unsigned --addr 127.0.0.1:0 \"$1\"";
    let call = program("sh").args(["-c", script]).arg(binaries().join("isomer-run")).arg(artifact("proxy"));
    let served = serve(call, scratch());
    let limits = fs::read_to_string(format!("/proc/{}/limits", served.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> =
        line.split_whitespace().filter(|word| word.parse::<u64>().is_ok() || *word == "unlimited").collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
}
