//! Servers that forbid what programs usually may: code in memory that was writable, system calls, threads, address space,
//! memory, large files. What can run there runs; what cannot is an error that names its cause, never a panic.

use isomer_tests::confined::{Confinement, ControlGroup, Deny};
use isomer_tests::farm::{ABC, Farm};
use isomer_tests::foreign::Machine;
use isomer_tests::guests::{self, guests};
use isomer_tests::native::{native, pulley};
use isomer_tests::{Call, NATIVE_TARGET, guest, isomer, isomer_run, scratch, skip, snapshot_settings_with};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A guest, compiled once for all tests.
fn artifact(name: &str, target: &str) -> PathBuf {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let directory = MADE.get_or_init(|| {
        let directory = scratch();
        let modules: Vec<_> = guests().iter().map(|entry| guest(&entry.name)).collect();
        let targets = format!("{},{}", native().baseline, pulley());
        // Pulley has no threads, so one cell fails; the others are written.
        isomer().arg("compile").args(&modules).args(["-t", &targets, "--out-dir"]).arg(directory.path()).run();
        directory
    });
    let path = directory.path().join(format!("{name}.{target}.cwasm"));
    assert!(path.is_file(), "{}", path.display());
    path
}

/// `isomer-run run` of that artifact, with `abc` as input.
fn run(name: &str, target: &str) -> Call {
    isomer_run().args(["run", "--allow-unsigned"]).arg(artifact(name, target)).stdin("abc")
}

/// Whether that can be taken from a process here; a line in the log of skipped tests if not.
fn available(test: &str, confinements: &[Confinement]) -> bool {
    let reason = confinements.iter().find_map(Confinement::unavailable);
    if let Some(reason) = &reason {
        skip(test, reason);
    }
    reason.is_none()
}

/// What a person sees, with what differs from machine to machine replaced.
#[track_caller]
fn shown(call: Call) -> String {
    let ran = call.fails();
    assert!(!ran.stderr().contains("panicked"), "{ran}");
    assert_eq!(ran.code(), 1, "{ran}");
    ran.shown(Path::new("/nowhere"))
}

fn settings() -> insta::internals::SettingsBindDropGuard {
    snapshot_settings_with(&[
        NATIVE_TARGET,
        (r"pulley64(be)?", "[PULLEY]"),
        (r"/\S*/isomer-test-\w+", "[DIR]"),
        (r"0x[0-9a-f]+", "[ADDRESS]"),
        (r"\d+ MiB", "[N] MiB"),
    ])
    .bind_to_scope()
}

fn write_xor_execute() -> [Vec<Confinement>; 2] {
    [vec![Confinement::MemoryDenyWriteExecute], vec![Confinement::Deny(Deny::executable_protection())]]
}

/// No memory becomes executable, whichever way.
fn no_executable_memory() -> Vec<Confinement> {
    vec![Confinement::Deny(Deny::executable_protection()), Confinement::Deny(Deny::executable_mapping())]
}

fn under(call: Call, confinements: &[Confinement]) -> Call {
    confinements.iter().cloned().fold(call, Call::confined)
}

#[test]
fn native_code_runs_where_writable_memory_never_becomes_executable() {
    for confinements in write_xor_execute() {
        if !available("native_code_runs_where_writable_memory_never_becomes_executable", &confinements) {
            continue;
        }
        for entry in guests() {
            let artifact = artifact(&entry.name, native().baseline);
            for case in &entry.cases {
                let call = guests::call(case, &Machine::here(), &[artifact.to_str().unwrap()]);
                assert_eq!(
                    guests::fault(case, &under(call, &confinements).run()),
                    None,
                    "{} {confinements:?}",
                    entry.name
                );
            }
        }
    }
}

#[test]
fn an_installed_module_is_mapped_executable_at_once() {
    let farm = Farm::with_store();
    for confinements in write_xor_execute() {
        if available("an_installed_module_is_mapped_executable_at_once", &confinements) {
            assert!(under(farm.call("run sha256"), &confinements).ok().stdout().contains(ABC));
        }
    }
}

#[test]
fn the_ladder_goes_down_to_pulley_where_no_code_becomes_executable() {
    let denied = no_executable_memory();
    if !available("the_ladder_goes_down_to_pulley_where_no_code_becomes_executable", &denied) {
        return;
    }
    let _settings = settings();
    let farm = Farm::unsigned();
    let host = under(isomer_run().line("host --json"), &denied).ok().json();
    assert_eq!(host["native-code"], false, "{host}");
    let ran = under(farm.call("run --allow-unsigned dist/ sha256"), &denied).ok();
    assert!(ran.stdout().contains(ABC), "{ran}");
    insta::assert_snapshot!("hardened_steps_down", ran.shown(farm.path()));
    let required = format!("run --allow-unsigned --require {} dist/ sha256", pulley());
    assert!(under(farm.call(&required), &denied).ok().stdout().contains(ABC));
    let refused = format!("run --allow-unsigned --require {} dist/ sha256", native().baseline);
    insta::assert_snapshot!("hardened_native_required", shown(under(farm.call(&refused), &denied)));
    insta::assert_snapshot!("hardened_native_only", shown(under(run("sha256", native().baseline), &denied)));
    // A recorded host answers the same elsewhere.
    farm.put("host.json", host.to_string());
    let selected = farm.call("select --host host.json dist/ sha256").ok();
    assert!(selected.stdout().starts_with("pulley64"), "{selected}");
}

#[test]
fn pulley_asks_for_no_executable_memory() {
    let denied = no_executable_memory();
    if available("pulley_asks_for_no_executable_memory", &denied) {
        for name in ["sha256", "component"] {
            under(run(name, pulley()), &denied).ok();
        }
    }
}

#[test]
fn a_denied_system_call_is_an_error() {
    let _settings = settings();
    let calls = [
        ("memfd_create", libc::SYS_memfd_create),
        ("munmap", libc::SYS_munmap),
        ("sigaltstack", libc::SYS_sigaltstack),
        ("fcntl", libc::SYS_fcntl),
        ("epoll_create1", libc::SYS_epoll_create1),
        ("epoll_ctl", libc::SYS_epoll_ctl),
        ("eventfd2", libc::SYS_eventfd2),
    ];
    for (name, call) in calls {
        let denied = Confinement::Deny(Deny::always(call, libc::EPERM));
        if available("a_denied_system_call_is_an_error", std::slice::from_ref(&denied)) {
            insta::assert_snapshot!(
                format!("hardened_denied_{name}"),
                shown(run("sha256", native().baseline).confined(denied))
            );
        }
    }
}

#[test]
fn an_installed_module_needs_no_memory_file() {
    let farm = Farm::with_store();
    if !fs::metadata(farm.path()).is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0) {
        return skip("an_installed_module_needs_no_memory_file", "only root's store is mapped");
    }
    for errno in [libc::EPERM, libc::ENOSYS] {
        let denied = Confinement::Deny(Deny::always(libc::SYS_memfd_create, errno));
        let ran = farm.call("run --explain sha256").confined(denied).run();
        // Where the directory of tests is one that others can write, the artifact is copied and that is refused.
        if ran.stderr().contains("copied") || ran.code() != 0 {
            return skip("an_installed_module_needs_no_memory_file", "the directory for tests protects nothing");
        }
        assert!(ran.stdout().contains(ABC), "{ran}");
    }
}

#[test]
fn a_guest_reads_its_input_where_no_thread_can_be_started() {
    let denied = [Deny::always(libc::SYS_clone3, libc::EAGAIN), Deny::always(libc::SYS_clone, libc::EAGAIN)];
    let denied: Vec<_> = denied.into_iter().map(Confinement::Deny).collect();
    if available("a_guest_reads_its_input_where_no_thread_can_be_started", &denied) {
        for name in ["sha256", "component"] {
            under(run(name, native().baseline), &denied).ok();
        }
    }
    for name in ["sha256", "component"] {
        run(name, native().baseline).env("RUST_MIN_STACK", "99999999999999").ok();
    }
}

#[test]
fn a_registry_is_not_reached_where_no_thread_can_be_started() {
    let group = match ControlGroup::with_processes_max(1) {
        Ok(group) => group,
        Err(reason) => return skip("a_registry_is_not_reached_where_no_thread_can_be_started", &reason),
    };
    let _settings = settings();
    let store = scratch();
    let pull =
        isomer_run().line("pull --plain-http --allow-unsigned 127.0.0.1:9/sha256:1.0.0 --store").arg(store.path());
    insta::assert_snapshot!("hardened_pull_without_threads", shown(pull.confined(group.confinement())));
}

#[test]
fn too_little_address_space_is_named_with_the_keys_of_profiles() {
    let _settings = settings();
    let limit = |mib: u64| Confinement::Limit { resource: libc::RLIMIT_AS, value: mib << 20 };
    insta::assert_snapshot!("hardened_address_space", shown(run("sha256", native().baseline).confined(limit(3072))));
    // With the keys that the hint names.
    let directory = scratch();
    let small = format!(
        "description = 'small'\ninherits = '{}'\n[optimize]\n{}",
        native().baseline,
        ["memory-reservation", "memory-reservation-for-growth", "memory-guard-size"]
            .map(|key| format!("{key} = '0'\n"))
            .concat()
    );
    fs::write(directory.path().join("small.toml"), small).unwrap();
    let compile = isomer().arg("compile").arg(guest("sha256")).line("-t small.toml -o small.cwasm");
    compile.dir(directory.path()).ok();
    let small = isomer_run().line("run --allow-unsigned small.cwasm").dir(directory.path()).stdin("abc");
    assert!(small.confined(limit(256)).ok().stdout().contains(ABC));
}

#[test]
fn a_limit_on_file_sizes_is_an_error() {
    let _settings = settings();
    let limit = Confinement::Limit { resource: libc::RLIMIT_FSIZE, value: 4096 };
    insta::assert_snapshot!("hardened_file_size", shown(run("sha256", native().baseline).confined(limit)));
}

#[test]
fn a_guest_reads_its_input_where_no_other_process_is_allowed() {
    let test = "a_guest_reads_its_input_where_no_other_process_is_allowed";
    match ControlGroup::with_processes_max(1) {
        Ok(group) => {
            assert!(run("sha256", native().baseline).confined(group.confinement()).ok().stdout().contains(ABC))
        }
        Err(reason) => skip(test, &reason),
    }
}

#[test]
fn an_artifact_larger_than_its_control_group_is_an_error_unless_it_is_installed() {
    let test = "an_artifact_larger_than_its_control_group_is_an_error_unless_it_is_installed";
    let group = match ControlGroup::with_memory_bytes_max(40 << 20) {
        Ok(group) => group,
        Err(reason) => return skip(test, &reason),
    };
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.put("large.wasm", with_data(45 << 20));
    farm.manifest(&format!("['{}']", native().baseline), &["large"]);
    farm.isomer("release -o dist").ok();
    farm.isomer(&format!("compile large.wasm -t {} -o large.cwasm", native().baseline)).ok();
    for line in ["run --allow-unsigned large.cwasm", "run --allow-unsigned dist/ large"] {
        let name = format!("hardened_memory_{}", if line.contains("dist") { "release" } else { "file" });
        insta::assert_snapshot!(name, shown(farm.call(line).confined(group.confinement())));
    }
    insta::assert_snapshot!(
        "hardened_memory_check",
        shown(farm.call("check large.cwasm").confined(group.confinement()))
    );
    insta::assert_snapshot!(
        "hardened_memory_inspect",
        shown(farm.isomer("inspect large.cwasm").confined(group.confinement()))
    );
    let compile = farm.isomer(&format!("compile large.wasm -t {}", native().baseline));
    let refused = compile.confined(group.confinement()).fails();
    for expected in ["large.wasm` has 45 MiB, and a control group leaves this process ", "(memory.max)"] {
        assert!(refused.stderr().contains(expected), "{refused}");
    }
    farm.call("pull --allow-unsigned --activate oci-dir:dist:large").ok();
    let ran = farm.call("run --explain large").confined(group.confinement()).run();
    if ran.stderr().contains("because it could be changed") {
        return skip(test, "the directory for tests protects nothing");
    }
    assert_eq!(ran.code(), 0, "{ran}");
}

#[test]
fn a_worker_that_its_control_group_ends_is_reported_as_that() {
    let group = match ControlGroup::with_memory_bytes_max(48 << 20) {
        Ok(group) => group,
        Err(reason) => return skip("a_worker_that_its_control_group_ends_is_reported_as_that", &reason),
    };
    let farm = Farm::with_modules();
    // Once in this process and several times in the worker.
    farm.put("large.wasm", with_data(16 << 20));
    let compile = farm.isomer(&format!("compile large.wasm -t {}", native().baseline));
    let failed = compile.confined(group.confinement()).fails();
    for expected in [
        "the kernel killed the worker process: its control group has no memory left (memory.max is 48MiB)",
        "hint: raise the group's limit (memory.max), or use fewer --jobs",
    ] {
        assert!(failed.stderr().contains(expected), "{failed}");
    }
}

/// A command with so many bytes of data, none of which is 0.
pub(crate) fn with_data(size_bytes: usize) -> Vec<u8> {
    let pages = size_bytes.div_ceil(64 << 10);
    let head = format!("(module (memory {pages}) (func (export \"_start\")) (data (i32.const 0) \"");
    let text = [head.as_bytes(), &vec![b'x'; size_bytes], b"\"))"].concat();
    wat::parse_bytes(&text).expect("it is a module").into_owned()
}

#[test]
fn an_artifact_that_wasmtime_panics_over_is_damaged() {
    let _settings = settings();
    let directory = scratch();
    let mut bytes = fs::read(artifact("sha256", native().baseline)).unwrap();
    // A byte further on, unwind information begins at no page.
    let header = section_header(&bytes, ".eh_frame");
    let offset = header + 24;
    let moved = u64::from_ne_bytes(bytes[offset..offset + 8].try_into().unwrap()) + 1;
    bytes[offset..offset + 8].copy_from_slice(&moved.to_ne_bytes());
    bytes[header + 48..header + 56].copy_from_slice(&1u64.to_ne_bytes());
    fs::write(directory.path().join("damaged.cwasm"), bytes).unwrap();
    let call = isomer_run().line("run --allow-unsigned damaged.cwasm").dir(directory.path()).stdin("abc");
    insta::assert_snapshot!("hardened_panic", shown(call));
}

/// Where the header of a section is in an ELF file of this machine's byte order.
fn section_header(bytes: &[u8], name: &str) -> usize {
    use object::{Object, ObjectSection};
    let file = object::File::parse(bytes).unwrap();
    let index = file.section_by_name(name).unwrap().index().0;
    let headers = u64::from_ne_bytes(bytes[40..48].try_into().unwrap()) as usize;
    headers + 64 * index
}
