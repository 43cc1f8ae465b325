//! What the system has no more of: descriptors, disk, room in a file, stack. The error says so, and what to do.

use crate::hardened::with_data;
use insta::assert_snapshot;
use isomer_tests::confined::{Confinement, ControlGroup, Deny};
use isomer_tests::farm::{ABC, Farm};
use isomer_tests::native::native;
use isomer_tests::{Call, NATIVE_TARGET, binaries, guest, has_program, isomer, program, skip, snapshot_settings_with};
use std::path::Path;

fn settings() -> insta::internals::SettingsBindDropGuard {
    snapshot_settings_with(&[
        NATIVE_TARGET,
        (r"/\S*/isomer-test-\w+", "[DIR]"),
        (r"store/tmp/\.tmp\w+", "store/tmp/[TEMPORARY]"),
        (r"\b[0-9a-f]{64}\b", "[HEX]"),
    ])
    .bind_to_scope()
}

fn limit(resource: u32, value: u64) -> Confinement {
    Confinement::Limit { resource, value }
}

/// With a module and an artifact of it.
fn farm() -> Farm {
    let farm = Farm::with_modules();
    farm.manifest("['pulley64']", &["numbers"]);
    isomer()
        .arg("compile")
        .arg(guest("sha256"))
        .args(["-t", native().baseline, "-o"])
        .arg(farm.path().join("a.cwasm"))
        .ok();
    farm
}

#[test]
fn too_few_descriptors_have_a_hint() {
    let _settings = settings();
    let farm = farm();
    farm.isomer("release -o dist").ok();
    // The dynamic linker needs one more than a program starts with.
    for (name, descriptors, call) in [
        ("run", 4, farm.call("run --allow-unsigned a.cwasm")),
        ("event_loop", 5, farm.call("run --allow-unsigned a.cwasm")),
        ("select", 4, farm.call("select dist/ numbers")),
        ("serve", 5, farm.call("serve --allow-unsigned ./a.cwasm")),
        ("inspect", 4, farm.isomer("inspect dist")),
        ("release", 5, farm.isomer("release --no-cache")),
        ("keygen", 4, farm.isomer("keygen -o key")),
    ] {
        let ran = call.confined(limit(libc::RLIMIT_NOFILE, descriptors)).fails();
        assert!(ran.stderr().contains("hint: raise the limit on open files (`ulimit -n`)"), "{name}: {ran}");
        assert_snapshot!(format!("limits_descriptors_{name}"), farm.shown(&ran));
    }
    assert!(!farm.path().join("key.key").exists() && !farm.path().join("key.pub").exists());
}

/// A call of a program by its path in a namespace where the directory `full` of the farm has no room, or is read-only.
fn on_mount(farm: &Farm, options: &str, fill: bool, name: &str, line: &str) -> Call {
    let mount = format!("mount -t tmpfs -o {options} tmpfs full");
    let fill = if fill { "; head -c 1M /dev/zero > full/zero 2>/dev/null" } else { "" };
    let script = format!("{mount}{fill}; exec \"$0\" {line}");
    let call = program("unshare").args(["--mount", "sh", "-c", &script]).arg(binaries().join(name)).dir(farm.path());
    call.env("ISOMER_CACHE", farm.path().join("cache")).stdin("abc")
}

#[test]
fn a_full_or_read_only_disk_has_a_hint() {
    let test = "a_full_or_read_only_disk_has_a_hint";
    if program("unshare").args(["--mount", "true"]).run().code() != 0 {
        return skip(test, "it takes root to mount");
    }
    let _settings = settings();
    let farm = farm();
    std::fs::create_dir(farm.path().join("full")).unwrap();
    let commands = [
        ("isomer", "release", "release -o full/dist"),
        ("isomer", "compile", "compile numbers.wasm -t pulley64 -o full/a.cwasm"),
        ("isomer", "keygen", "keygen -o full/key"),
        ("isomer-run", "stdout", "run --allow-unsigned --stdout full/out a.cwasm"),
        ("isomer-run", "stats", "host --json > full/out"),
    ];
    for (options, fill, kind) in [("size=64k", true, "full"), ("ro", false, "read_only")] {
        for (binary, name, line) in commands {
            if kind == "read_only" && line.contains('>') {
                continue;
            }
            let ran = on_mount(&farm, options, fill, binary, line).run();
            if name == "stdout" && kind == "full" {
                // The file can be made; it is the guest that is told that there is no room.
                continue;
            }
            assert!(ran.code() == 1 && ran.stderr().contains("  hint: "), "{kind} {name}: {ran}");
            assert_snapshot!(format!("limits_{kind}_{name}"), farm.shown(&ran));
        }
    }
}

#[test]
fn a_limit_on_file_sizes_has_a_hint() {
    if !has_program("prlimit") {
        return skip("a_limit_on_file_sizes_has_a_hint", "prlimit is not installed");
    }
    let _settings = settings();
    let farm = farm();
    let pull = farm.isomer("release -o dist").ok();
    assert!(pull.output.status.success());
    for (name, call) in [
        ("compile", farm.isomer("compile matmul.wasm -t pulley64 -o out.cwasm --no-cache")),
        ("pull", farm.call("pull --allow-unsigned oci-dir:dist:numbers")),
    ] {
        let ran = call.confined(limit(libc::RLIMIT_FSIZE, 100)).fails();
        assert!(ran.stderr().contains("hint: raise the limit on file sizes (`ulimit -f`)"), "{name}: {ran}");
        assert_snapshot!(format!("limits_file_size_{name}"), farm.shown(&ran));
    }
}

#[test]
fn a_small_stack_is_enough() {
    let farm = farm();
    let small = || limit(libc::RLIMIT_STACK, 64 << 10);
    let ran = farm.call("run --allow-unsigned a.cwasm").confined(small()).ok();
    assert!(ran.stdout().contains(ABC), "{ran}");
    farm.call("check a.cwasm").confined(small()).ok();
    farm.isomer("release").confined(small()).ok();
    // What a guest or a command line does wrong is told as elsewhere.
    let ran = farm.call("run --allow-unsigned none.cwasm").confined(small()).fails();
    assert!(ran.stderr().contains("does not exist") || ran.stderr().contains("No such file"), "{ran}");
    farm.call("run --none").confined(small()).misused();
    // Without another thread there is no larger one.
    let _settings = settings();
    let denied = [Deny::always(libc::SYS_clone3, libc::EAGAIN), Deny::always(libc::SYS_clone, libc::EAGAIN)];
    let denied: Vec<_> = denied.into_iter().map(Confinement::Deny).collect();
    if let Some(reason) = denied.iter().find_map(Confinement::unavailable) {
        return skip("a_small_stack_is_enough", &reason);
    }
    for (name, call) in [("run", farm.call("run --allow-unsigned a.cwasm")), ("isomer", farm.isomer("inspect a.cwasm"))]
    {
        let call = denied.iter().cloned().fold(call.confined(small()), Call::confined);
        let ran = call.fails();
        assert_snapshot!(format!("limits_stack_{name}"), ran.shown(Path::new("/nowhere")));
    }
}

/// What is only looked at, or is copied once more, is refused where it does not fit; what need not be held is not.
#[test]
fn a_small_control_group_ends_no_process() {
    let test = "a_small_control_group_ends_no_process";
    let group = match ControlGroup::with_memory_bytes_max(40 << 20) {
        Ok(group) => group,
        Err(reason) => return skip(test, &reason),
    };
    let farm = Farm::with_modules();
    farm.put("large.wasm", with_data(45 << 20));
    farm.manifest(&format!("['{}']", native().baseline), &["large"]);
    farm.isomer("keygen -o one").ok();
    farm.isomer("release -o dist --sign one.key").ok();
    farm.isomer(&format!("compile large.wasm -t {} -o large.cwasm", native().baseline)).ok();
    farm.call("pull oci-dir:dist:large --key one.pub --activate").ok();
    for line in [
        "check large.cwasm",
        "run --profile perfmap large",
        "verify --key one.pub dist/ large",
        "verify --key one.pub large",
    ] {
        let ran = farm.call(line).confined(group.confinement()).fails();
        assert!(ran.stderr().contains("leaves too little memory for a copy of the artifact"), "{line}: {ran}");
    }
    farm.call("select dist/ large").confined(group.confinement()).ok();
    farm.call("list --check").confined(group.confinement()).ok();
}
