//! `isomer compile`: what is written where, for many inputs and many targets in one call.

use isomer_tests::{binaries, guest, has_program, isomer, program, scratch, skip};
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
fn equal_jobs_are_compiled_once() {
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
fn one_failed_cell_does_not_stop_the_others() {
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
fn no_progress_is_drawn_without_a_terminal() {
    let directory = scratch();
    let ran = isomer().arg("compile").arg(guest("numbers")).line("-t x86-64-v3").dir(directory.path()).ok();
    assert_eq!(ran.stderr(), "");
    assert!(!ran.stdout().contains('\u{1b}'));
}

/// Containers and chroots may come without it.
#[test]
fn compile_works_where_proc_is_not_mounted() {
    let directory = scratch();
    fs::copy(guest("numbers"), directory.path().join("numbers.wasm")).unwrap();
    // By a relative path: what leads to the workers is resolved against the directory of the start.
    let call = |line: &str| {
        let script = format!("mount -t tmpfs none /proc && cd \"$0\" && exec ./isomer {line}");
        let call = program("unshare").args(["--mount", "--map-root-user", "sh", "-c", &script]);
        call.arg(binaries()).dir(directory.path())
    };
    if !has_program("unshare") || call("--version").run().code() != 0 {
        return skip("compile_works_where_proc_is_not_mounted", "this machine allows no mount namespaces");
    }
    let compile = format!("compile {0}/numbers.wasm -t x86-64-v3 --no-cache -o {0}", directory.path().display());
    call(&format!("{compile}/without.cwasm")).ok();
    isomer().line(&format!("{compile}/with.cwasm")).ok();
    let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
    assert_eq!(read("without.cwasm"), read("with.cwasm"));
    let ran = call(&format!("{compile}/limited.cwasm --job-memory 1GiB")).fails();
    assert!(ran.stderr().contains("a limit on a job's memory needs /proc/self/status"), "{ran}");
}
