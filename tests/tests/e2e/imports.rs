//! What modules import, and what components export that are no commands: `check` and `inspect` list it, `run` names what
//! it does not provide, and the advice fits.

use insta::assert_snapshot;
use isomer_tests::native::native;
use isomer_tests::{guest, isomer, isomer_run, scratch, snapshot_settings_with};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// `(name, text)` of small modules and components.
const MODULES: [(&str, &str); 10] = [
    ("env", r#"(module (import "env" "log" (func)) (import "wasi_snapshot_preview1" "fd_write" (func)))"#),
    ("preview2", r#"(module (import "wasi_snapshot_preview2" "fd_write" (func)) (func (export "_start")))"#),
    ("nn", r#"(component (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" (instance)) {run})"#),
    ("threads", r#"(module (import "wasi" "thread-spawn" (func (param i32) (result i32))) (func (export "_start")))"#),
    ("config", r#"(component (import "wasi:config/store@0.2.0-draft" (instance)) {run})"#),
    ("p3", r#"(component (import "wasi:cli/environment@0.3.0-rc-2025-09-16" (instance)) {run})"#),
    ("interface", r#"(component (import "wasi:io/tubes@0.2.0" (instance)) {run})"#),
    (
        "handler",
        r#"(component (component $c) (instance $i (instantiate $c))
        (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#,
    ),
    (
        "draft",
        r#"(component (component $c) (instance $i (instantiate $c))
        (export "wasi:cli/run@0.2.0-rc-2023-11-10" (instance $i)))"#,
    ),
    (
        "run4",
        r#"(component (component $c) (instance $i (instantiate $c)) (export "wasi:cli/run@0.4.0" (instance $i)))"#,
    ),
];
/// An instance under the name of a command's interface.
const RUN: &str = r#"(component $c) (instance $i (instantiate $c)) (export "wasi:cli/run@0.2.0" (instance $i))"#;

fn compiled() -> TempDir {
    let directory = scratch();
    for (name, text) in MODULES {
        fs::write(directory.path().join(format!("{name}.wat")), text.replace("{run}", RUN)).unwrap();
        compile(&directory.path().join(format!("{name}.wat")), directory.path(), name);
    }
    for name in ["sha256", "component", "numbers"] {
        compile(&guest(name), directory.path(), name);
    }
    directory
}

fn compile(module: &Path, directory: &Path, name: &str) {
    isomer()
        .arg("compile")
        .arg(module)
        .args(["-t", native().baseline, "-o"])
        .arg(directory.join(format!("{name}.cwasm")))
        .ok();
}

fn settings() -> insta::internals::SettingsBindDropGuard {
    snapshot_settings_with(&[(r": (module|component) for .*, wasmtime \d+", ": $1 for [PLATFORM]")]).bind_to_scope()
}

#[test]
fn run_names_what_is_missing_and_what_is_no_command() {
    let _settings = settings();
    let directory = compiled();
    for (name, _) in MODULES {
        let ran = isomer_run().line("run --allow-unsigned").arg(format!("{name}.cwasm")).dir(directory.path()).fails();
        assert_snapshot!(format!("imports_run_{name}"), ran.shown(directory.path()));
    }
}

#[test]
fn check_and_inspect_list_the_imports() {
    let _settings = settings();
    let directory = compiled();
    let mut session = String::new();
    for name in ["sha256", "component", "numbers", "env", "nn", "interface"] {
        let line = format!("check {name}.cwasm");
        let ran = isomer_run().line(&line).dir(directory.path()).ok();
        session += &format!("$ isomer-run {line}\n{}", ran.stdout());
    }
    assert_snapshot!("imports_check", session);
    let json = isomer_run().line("check env.cwasm --json").dir(directory.path()).ok().json();
    assert_eq!(
        json["imports"],
        serde_json::json!([
            {"module": "env", "name": "log", "provided": false},
            {"module": "wasi_snapshot_preview1", "name": "fd_write", "provided": true},
        ])
    );
    for name in ["env", "nn"] {
        let text = isomer().arg("inspect").arg(format!("{name}.cwasm")).dir(directory.path()).ok().stdout();
        let (_, imports) = text.split_once("\nimports\n").unwrap_or_else(|| panic!("{text}"));
        let imports = imports.split("\n\n").next().unwrap();
        assert_snapshot!(format!("imports_inspect_{name}"), imports);
    }
    let json = isomer().line("inspect nn.cwasm --json").dir(directory.path()).ok().json();
    assert_eq!(json["imports"], serde_json::json!([{"name": "wasi:nn/tensor@0.2.0-rc-2024-10-28", "provided": false}]));
}
