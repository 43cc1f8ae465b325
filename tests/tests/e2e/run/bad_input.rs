//! What a person may get wrong: every message once, as it is read.

use super::{run, settings};
use insta::assert_snapshot;
use isomer_tests::{isomer, native::native, scratch};
use std::fs;

#[test]
fn options_that_cannot_be_meant_are_refused_with_what_can() {
    let _settings = settings();
    let mut session = String::new();
    for line in [
        "--dir d:/d show.cwasm",
        "--dir d::/d:readonly show.cwasm",
        "--dir a::b::c show.cwasm",
        "--allow-net 10.0.0.1/8 show.cwasm",
        "--allow-net 10.0.0.0/33 show.cwasm",
        "--allow-net tcp:443 show.cwasm",
        "--allow-net https://example.com show.cwasm",
        "--allow-http https://example.com/path show.cwasm",
        "--timeout 30 show.cwasm",
        "--max-memory 1GB show.cwasm",
        "--frozen-clock 12:00 show.cwasm",
        "--profile vtune show.cwasm",
        "--preload math show.cwasm",
        "-S nn show.cwasm",
        "-S threads show.cwasm",
        "-S inherit-envs show.cwasm",
        "-S inherit-stdin=n show.cwasm",
        "-W simd show.cwasm",
        "-W fuel=x show.cwasm",
        "-O pooling-total-memories=4 show.cwasm",
        "-O opt-level=2 show.cwasm",
    ] {
        let ran = run(line).misused();
        session += &format!("$ isomer-run run {line}\n{}\n", ran.shown(super::guests()));
    }
    for line in [
        "--dir nowhere show.cwasm",
        "--dir show.cwasm show.cwasm",
        "--dir .::/d --dir /::/d:ro show.cwasm",
        "--env-file nowhere show.cwasm",
        "--stdin nowhere show.cwasm",
        "--stdout nowhere/file show.cwasm",
        "--max-stack 1B show.cwasm",
        "-f nowhere.toml show.cwasm",
        "--profile guest spin.cwasm",
    ] {
        let ran = run(line).fails();
        session += &format!("$ isomer-run run {line}\n{}\n", ran.shown(super::guests()));
    }
    assert_snapshot!("run_bad_input", session);
}

#[test]
fn a_file_names_the_line_and_the_nearest_key() {
    let _settings = settings();
    let directory = scratch();
    let mut session = String::new();
    for text in [
        "timeout = '30s'\nmax-memry = '1MiB'\n",
        "timeout = 30\n",
        "\n\nallow-net = ['10.0.0.1/8']\n",
        "dir = [{ host = '.', mode = 'ro' }]\n",
        "env = 'A=1'\n",
        "[module]\nname = 'x'\n",
        "timeout = '1s'\ntimeout = '2s'\n",
    ] {
        let file = directory.path().join("run.toml");
        fs::write(&file, text).unwrap();
        let ran = run(&format!("-f {} show.cwasm", file.display())).fails();
        session += &format!("{text}{}\n", ran.shown(directory.path()));
    }
    assert_snapshot!("run_bad_file", session);
}

#[test]
fn calling_a_component_that_serves_http_is_answered_with_serve() {
    let directory = scratch();
    let text = r#"(component (component $c) (instance $i (instantiate $c))
        (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#;
    fs::write(directory.path().join("handler.wat"), text).unwrap();
    let line = format!("compile handler.wat -t {} -o handler.cwasm", native().baseline);
    isomer().line(&line).dir(directory.path()).ok();
    let path = directory.path().join("handler.cwasm");
    let ran = run(path.to_str().unwrap()).fails();
    assert!(ran.stderr().contains("hint: `isomer-run serve` answers HTTP requests with it"), "{ran}");
    let ran = run(&format!("--invoke handle {}", path.display())).fails();
    assert!(ran.stderr().contains("`isomer-run serve`"), "{ran}");
}
