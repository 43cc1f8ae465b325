//! `isomer compile`: what is written where, for many inputs and many targets in one call.

use isomer_tests::{guest, isomer, scratch};
use std::fs;

#[test]
fn names_are_the_stem_and_the_target() {
    let directory = scratch();
    isomer().arg("compile").arg(guest("numbers")).line("-t x86-64-v3,z15").dir(directory.path()).ok();
    for name in ["numbers.x86-64-v3.cwasm", "numbers.z15.cwasm"] {
        assert!(directory.path().join(name).is_file(), "{name}");
    }
}

/// Targets whose settings are the same cost one compilation and have each their file.
#[test]
fn equal_jobs_are_done_once() {
    let directory = scratch();
    let cells = isomer()
        .arg("compile")
        .arg(guest("numbers"))
        .line("-t icelake-server -t znver4 -t x86-64-v3 --json --out-dir .")
        .dir(directory.path())
        .ok()
        .json();
    let same: Vec<_> = cells.as_array().unwrap().iter().map(|cell| cell["same-as"].as_str()).collect();
    assert_eq!(same, [None, Some("icelake-server"), None]);
    let read = |target: &str| fs::read(directory.path().join(format!("numbers.{target}.cwasm"))).unwrap();
    assert_eq!(read("icelake-server"), read("znver4"));
    assert_ne!(read("icelake-server"), read("x86-64-v3"));
}

/// One bad input, and one target that cannot express another, leave the rest as it would be.
#[test]
fn what_fails_keeps_nothing_else_back() {
    let directory = scratch();
    let ran = isomer()
        .arg("compile")
        .args([guest("numbers"), guest("matmul")])
        .line("missing.wasm -t riscv64gc -t x86-64-v2 --json --out-dir out")
        .dir(directory.path())
        .fails();
    let cells = ran.json();
    let count = |status: &str| cells.as_array().unwrap().iter().filter(|cell| cell["status"] == status).count();
    assert_eq!((count("compiled"), count("not-expressible"), count("unreadable")), (3, 1, 1), "{ran}");
    let mut files: Vec<_> =
        fs::read_dir(directory.path().join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["matmul.x86-64-v2.cwasm", "numbers.riscv64gc.cwasm", "numbers.x86-64-v2.cwasm"]);
}

/// Standard error is no terminal here: no bar, no colour, nothing at all when all is well.
#[test]
fn nothing_is_drawn_where_nobody_looks() {
    let directory = scratch();
    let ran = isomer().arg("compile").arg(guest("numbers")).line("-t x86-64-v3").dir(directory.path()).ok();
    assert_eq!(ran.stderr(), "");
    assert!(!ran.stdout().contains('\u{1b}'));
}
