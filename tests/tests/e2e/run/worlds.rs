//! Commands and reactors of every version of WASI, and calls of their exports.

use super::run;

#[test]
fn a_command_of_wasi_0_3_runs_and_its_failure_is_an_exit_code() {
    run("p3.cwasm").ok();
    run("p3.epoch.cwasm").ok();
    let failed = run("p3-fails.cwasm").run();
    assert_eq!((failed.code(), failed.stdout(), failed.stderr()), (1, String::new(), String::new()));
}

#[test]
fn a_reactor_is_initialized_alone_or_before_a_call() {
    let ran = run("reactor.cwasm").ok();
    assert_eq!((ran.stdout(), ran.stderr()), (String::new(), String::new()));
    assert_eq!(run("--invoke get reactor.cwasm").ok().stdout(), "42\n");
}

#[test]
fn a_preloaded_module_is_linked_under_its_name() {
    assert_eq!(run("--preload math=lib.cwasm --invoke quad user.cwasm 5").ok().stdout(), "20\n");
    let missing = run("--invoke quad user.cwasm 5").fails();
    assert!(missing.stderr().contains("math.double (function)"), "{missing}");
    let other = run("--preload math=keyvalue.cwasm --invoke quad user.cwasm 5").fails();
    assert!(other.stderr().contains("it is a component"), "{other}");
    let untrusted = isomer_tests::isomer_run().line("run --preload math=lib.cwasm user.cwasm").dir(super::guests());
    let untrusted = untrusted.fails();
    assert!(untrusted.stderr().contains("no basis to trust"), "{untrusted}");
}

#[test]
fn arguments_begin_with_the_name_that_was_chosen() {
    let words = |line: &str| run(line).ok().stdout().split_terminator('\0').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words("show.cwasm a --dir"), ["show.cwasm", "a", "--dir"]);
    assert_eq!(words("--argv0 other show.cwasm a"), ["other", "a"]);
}
