//! What is typed behind `isomer-run run`, and by whom: a script's author writes options and a module, others fill in the
//! guest's arguments, and anyone may have put files into the current directory.

use insta::assert_snapshot;
use isomer_tests::farm::Farm;
use isomer_tests::native::native;
use isomer_tests::{guest, isomer, isomer_run, scratch, snapshot_settings};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

#[test]
fn all_that_follows_the_module_is_the_guests() {
    let directory = scratch();
    let artifact = directory.path().join("component.cwasm");
    isomer().arg("compile").arg(guest("component")).args(["-t", native().baseline, "-o"]).arg(&artifact).ok();
    let words = ["--dir=/", "--env", "HOME", "--", "-v", "--help", "--allow-unsigned", "-1"];
    let ran = isomer_run().line("run --allow-unsigned").arg(&artifact).args(words).ok();
    let expected: String = (1..).zip(words).map(|(index, word)| format!("argument {index}: {word}\n")).collect();
    assert_eq!(ran.stdout(), format!("{expected}stdin: 0 lines, 0 words, 0 bytes\n"));
}

#[test]
fn the_guest_is_not_given_what_its_arguments_name() {
    let farm = Farm::with_store();
    // `--dir=/` is a file's name to the guest, which has none of that name.
    let ran = farm.call("run sha256 --dir=/").fails();
    assert!(ran.stderr().contains("--dir=/"), "{ran}");
    let ran = farm.call("run --allow-unsigned old/ sha256 --dir=/ /etc/hostname").fails();
    assert!(ran.stdout().is_empty(), "{ran}");
}

#[test]
fn an_option_behind_the_module_is_pointed_out() {
    let _settings = snapshot_settings().bind_to_scope();
    let farm = Farm::with_store();
    for (name, line) in [
        ("operands_option_behind_release", "run old/ sha256 --allow-unsigned"),
        ("operands_option_behind_directory", "run old/ --allow-unsigned sha256"),
        ("operands_option_behind_file", "run ./missing.cwasm --digest=sha256:12"),
    ] {
        assert_snapshot!(name, farm.call(line).fails().shown(farm.path()));
    }
}

#[test]
fn nothing_in_the_current_directory_is_taken_for_an_installed_module() {
    let _settings = snapshot_settings().bind_to_scope();
    let farm = Farm::with_store();
    farm.put("sha256", "not what was installed");
    farm.runs("run sha256");
    farm.call("check sha256").ok();
    farm.call("verify sha256 --key one.pub").ok();
    fs::remove_file(farm.path().join("sha256")).unwrap();
    fs::create_dir(farm.path().join("sha256")).unwrap();
    farm.runs("run sha256");
    farm.call("select sha256").ok();
    // What is meant as a path is written as one.
    for (name, line) in [
        ("operands_directory", "run --allow-unsigned old sha256"),
        ("operands_directory_verify", "verify old --key one.pub"),
        ("operands_file", "check one.pub"),
    ] {
        assert_snapshot!(name, farm.call(line).fails().shown(farm.path()));
    }
    farm.call("verify old/ --key one.pub").ok();
    farm.call("run --allow-unsigned ./old sha256").ok();
}

#[test]
fn a_variable_that_is_not_utf_8_is_named() {
    let _settings = snapshot_settings().bind_to_scope();
    let farm = Farm::with_store();
    let call = farm.call("run --env ODD sha256").env("ODD", OsStr::from_bytes(b"a\xff"));
    assert_snapshot!("operands_variable", call.fails().shown(farm.path()));
    let call = farm.call("run --config-var").arg(OsStr::from_bytes(b"odd=\xff")).arg("sha256");
    assert!(call.misused().stderr().contains("expected UTF-8, found `odd=\u{fffd}`"));
    let call = farm.isomer("compile -t").arg(OsStr::from_bytes(b"odd\xff")).arg("numbers.wasm");
    assert!(call.misused().stderr().contains("expected UTF-8, found `odd\u{fffd}`"));
}
