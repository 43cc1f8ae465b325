//! What a person may name as a file and what is none: devices, links to them, pipes without a writer, sparse files. Every
//! operand of `isomer` that is a file is refused at once, with its kind or its size, and nothing hangs.

use insta::assert_snapshot;
use isomer_tests::farm::settings;
use isomer_tests::{Call, guest, isomer, program, scratch};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

/// Each kind of file that no operand may be.
const NAMES: [&str; 6] = ["zero", "link", "fifo", "fifo-link", "sparse", "directory"];

fn make(directory: &Path, extension: &str) {
    let path = |name: &str| directory.join(format!("{name}{extension}"));
    symlink("/dev/zero", path("zero")).unwrap();
    symlink(path("zero"), path("link")).unwrap();
    program("mkfifo").arg(path("fifo")).ok();
    symlink(path("fifo"), path("fifo-link")).unwrap();
    File::create(path("sparse")).unwrap().set_len((4 << 30) + 1).unwrap();
    fs::create_dir(path("directory")).unwrap();
}

/// Runs it within a GiB of memory, so that no read without a bound takes the machine down, and within ten seconds.
#[track_caller]
fn refused(call: impl Fn(&str) -> Call, extension: &str, snapshot: &str) {
    let directory = scratch();
    fs::copy(guest("numbers"), directory.path().join("numbers.wasm")).unwrap();
    make(directory.path(), extension);
    let mut shown = String::new();
    for name in NAMES {
        let begun = Instant::now();
        let ran = call(&format!("{name}{extension}")).dir(directory.path()).run();
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}: {ran}");
        assert!([1, 2].contains(&ran.code()), "{name}: {ran}");
        shown += &format!("{name}\n{}\n", ran.shown(directory.path()));
    }
    assert_snapshot!(snapshot, shown);
}

/// `isomer` with no more than this much memory.
fn limited(line: &str) -> Call {
    let binary = isomer_tests::binaries().join("isomer");
    program("prlimit").arg(format!("--data={}", 1_u64 << 30)).arg("timeout").arg("9").arg(binary).line(line)
}

#[test]
fn modules() {
    let _settings = settings();
    refused(|name| limited(&format!("compile {name} -t pulley64 -o out.cwasm")), ".wasm", "user_file_module");
}

#[test]
fn profiles() {
    let _settings = settings();
    refused(|name| limited(&format!("compile numbers.wasm -t {name} -o out.cwasm")), ".toml", "user_file_profile");
    refused(|name| limited(&format!("targets show {name}")), ".toml", "user_file_profile_shown");
}

#[test]
fn manifests() {
    let _settings = settings();
    refused(|name| limited(&format!("release -f {name}")), ".toml", "user_file_manifest");
    refused(|name| limited(&format!("plan -f {name}")), ".toml", "user_file_manifest_planned");
}

#[test]
fn artifacts_to_inspect() {
    let _settings = settings();
    refused(|name| limited(&format!("inspect {name}")), ".cwasm", "user_file_inspect");
}

#[test]
fn headers_and_programs_of_remotes() {
    let _settings = settings();
    let line = "compile numbers.wasm -t pulley64 -o out.cwasm --remote-cache grpc://127.0.0.1:9";
    refused(|name| limited(&format!("{line} --remote-header-file {name}")), "", "user_file_headers");
    refused(|name| limited(&format!("{line} --remote-tool {name}")), "", "user_file_tool");
}

#[test]
fn keys_and_passphrases() {
    let _settings = settings();
    refused(|name| limited(&format!("sign directory --key {name}")), "", "user_file_key");
    refused(|name| limited(&format!("keygen -o new --passphrase-file {name}")), "", "user_file_passphrase");
}

#[test]
fn files_of_a_job() {
    let _settings = settings();
    refused(|name| limited(&format!("job {name} {name} out")), "", "user_file_job");
}

/// Files of settings on a server, where a pipe is waited for: `-f <(generate)`.
#[test]
fn settings_of_a_server() {
    let directory = scratch();
    isomer().arg("compile").arg(guest("sha256")).line("-t pulley64 -o a.cwasm").dir(directory.path()).ok();
    File::create(directory.path().join("sparse")).unwrap().set_len(8 << 30).unwrap();
    fs::write(directory.path().join("latin1"), b"# comment\nA=\xe4\n").unwrap();
    for (file, words) in [
        ("/dev/zero", "`/dev/zero` is a device or socket; expected a file"),
        ("sparse", "`sparse` has more than 1048576 bytes"),
        ("latin1", "`latin1` is not UTF-8: line 2"),
        ("none", "No such file or directory"),
    ] {
        for line in [
            format!("run --allow-unsigned --env-file {file} a.cwasm"),
            format!("run -f {file} a.cwasm"),
            format!("serve -f {file}"),
        ] {
            let call = program("timeout").arg("20").arg(isomer_tests::binaries().join("isomer-run")).line(&line);
            let refused = call.dir(directory.path()).fails();
            assert!(refused.stderr().contains(words), "{line}: {refused}");
        }
    }
}

/// A password manager writes to a pipe: `--passphrase-file <(pass show farm)`.
#[test]
fn a_passphrase_may_come_through_a_pipe() {
    let directory = scratch();
    let line = "echo secret | \"$0\" keygen -o key --passphrase-file /dev/stdin && cat key.key";
    let binary = isomer_tests::binaries().join("isomer");
    let ran = program("sh").arg("-c").arg(line).arg(binary).dir(directory.path()).ok();
    assert!(ran.stdout().contains("ENCRYPTED PRIVATE KEY"), "{ran}");
    isomer().line("keygen -o other").dir(directory.path()).ok();
}
