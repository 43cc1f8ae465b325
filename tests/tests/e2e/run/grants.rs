//! What a guest may use: nothing by default, and what options or a file name.

use super::{guests, run};
use isomer_tests::{Ran, isomer, native::native, scratch};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// WASI 0.1's `EPERM`.
const NOT_PERMITTED: i32 = 63;

fn shown(ran: &Ran) -> Vec<String> {
    ran.stdout().split_terminator('\0').skip(1).map(str::to_owned).collect()
}

#[test]
fn a_directory_is_written_unless_it_is_read_only() {
    let directory = scratch();
    let path = directory.path().display();
    assert_eq!(run(&format!("--dir {path}::/d:ro touch.cwasm")).run().code(), NOT_PERMITTED);
    assert!(!directory.path().join("f").exists());
    run(&format!("--dir {path}::/d touch.cwasm")).ok();
    assert!(directory.path().join("f").exists());
    let file = directory.path().join("run.toml");
    fs::write(&file, "dir = [{ host = '.', guest = '/d', access = 'read-only' }]").unwrap();
    fs::remove_file(directory.path().join("f")).unwrap();
    assert_eq!(run(&format!("-f {} touch.cwasm", file.display())).run().code(), NOT_PERMITTED);
}

#[test]
fn the_environment_holds_what_was_named_and_nothing_else() {
    let directory = scratch();
    let file = directory.path().join("env");
    fs::write(&file, "# of the service\nA=file\nB=b = c\n").unwrap();
    let call = |line: &str| {
        let call = run(line).env("SECRET", "x").env("LC_ALL", "C").env("LC_TIME", "de");
        shown(&call.ok())
    };
    assert_eq!(call("show.cwasm"), [""; 0]);
    assert_eq!(call("--env SECRET --env UNSET_HERE show.cwasm"), ["SECRET=x"]);
    assert_eq!(call("--inherit-env=LC_* show.cwasm"), ["LC_ALL=C", "LC_TIME=de"]);
    assert!(call("--inherit-env show.cwasm").contains(&"SECRET=x".to_owned()));
    assert!(call("-S inherit-env show.cwasm").contains(&"SECRET=x".to_owned()));
    assert_eq!(call(&format!("--env-file {} --env A=option show.cwasm", file.display())), ["A=option", "B=b = c"]);
    let toml = directory.path().join("run.toml");
    fs::write(&toml, "env = { A = 'toml' }\nenv-file = 'env'\nargv0 = 'named'").unwrap();
    assert_eq!(call(&format!("-f {} show.cwasm", toml.display())), ["A=toml", "B=b = c"]);
}

#[test]
fn standard_streams_are_inherited_null_or_files() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("in"), "abc").unwrap();
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let (input, output) = (path("in").display().to_string(), path("out").display().to_string());
    assert!(run("sha256.cwasm").stdin("abc").ok().stdout().contains(digest));
    assert!(run(&format!("--stdin {input} sha256.cwasm")).ok().stdout().contains(digest));
    let empty = run("--stdin null sha256.cwasm").stdin("abc").ok().stdout();
    assert!(empty.contains("e3b0c442"), "{empty}");
    let ran = run(&format!("--stdout {output} sha256.cwasm")).stdin("abc").ok();
    assert_eq!(ran.stdout(), "");
    assert!(fs::read_to_string(path("out")).unwrap().contains(digest));
    assert_eq!(run("--stdout null sha256.cwasm").stdin("abc").ok().stdout(), "");
}

#[test]
fn a_seed_and_a_frozen_clock_make_runs_equal() {
    let bytes = |line: &str| run(line).ok().output.stdout;
    let fixed = "--random-seed 7 --frozen-clock 2026-01-31T12:00:00Z random.cwasm";
    assert_eq!(bytes(fixed), bytes(fixed));
    let (random, time) = (bytes(fixed)[..16].to_vec(), u64::from_le_bytes(bytes(fixed)[16..24].try_into().unwrap()));
    assert_eq!(time, 1_769_860_800_000_000_000);
    assert_ne!(random, bytes("--random-seed 8 random.cwasm")[..16]);
    assert_ne!(bytes("random.cwasm")[..16], bytes("random.cwasm")[..16]);
    let monotonic = |from: usize| u64::from_le_bytes(bytes(fixed)[from..from + 8].try_into().unwrap());
    assert_eq!(monotonic(32) - monotonic(24), 1000);
}

#[test]
fn a_guest_connects_to_what_is_allowed_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let directory = scratch();
    compile_connect(directory.path(), port);
    let call = |grant: &str| {
        let line = format!("{grant} {}/connect.cwasm", directory.path().display()).replace("PORT", &port.to_string());
        run(&line).run()
    };
    for allowed in [
        "--allow-net 127.0.0.1:PORT",
        "--allow-net tcp:127.0.0.0/8",
        "--allow-net *",
        "--allow-net localhost --allow-net 127.0.0.1",
        "-S inherit-network",
    ] {
        let ran = call(allowed);
        assert_eq!(ran.code(), 0, "{ran}");
    }
    for (denied, reason) in [
        ("", "resolving `localhost` was denied: no rule allows this name"),
        ("", "opening a TCP socket was denied: no rule allows TCP"),
        ("--allow-net udp:127.0.0.1", "resolving `localhost`"),
        ("--allow-net udp:127.0.0.1", "opening a TCP socket was denied: no rule allows TCP"),
        ("--allow-net 127.0.0.1:1", "was denied: no rule allows it"),
        ("--allow-net 10.0.0.0/8", "was denied: no rule allows it"),
        // A name that resolves to an address of this machine's own network.
        ("--allow-net localhost:PORT", "`localhost` is allowed, but it is an address of this network"),
    ] {
        let ran = call(denied);
        assert_eq!(ran.code(), 1, "{ran}");
        assert!(ran.stderr().contains(reason), "{ran}");
    }
}

fn compile_connect(directory: &Path, port: u16) {
    let text = include_str!("guests/connect.wat").replace("{port}", &port.to_string());
    fs::write(directory.join("connect.wat"), text).unwrap();
    let line = format!("compile connect.wat -t {} -o connect.cwasm", native().baseline);
    isomer().line(&line).dir(directory).ok();
}

#[test]
fn configuration_holds_what_was_named_and_nothing_else() {
    let directory = scratch();
    let file = directory.path().join("run.toml");
    fs::write(&file, "config-var = { region = 'eu', zone = 'a' }").unwrap();
    let file = file.display();
    for (options, expected) in [
        ("--config-var region=eu".to_owned(), "eu\n"),
        ("-S config-var=region=eu".to_owned(), "eu\n"),
        (format!("-f {file}"), "eu\n"),
        (format!("-f {file} --config-var region=us"), "us\n"),
    ] {
        assert_eq!(run(&format!("{options} client.cwasm config region")).ok().stdout(), expected, "{options}");
    }
    let unset = run("--config-var zone=a client.cwasm config region").run();
    assert_eq!((unset.code(), unset.stdout()), (1, "not set\n".to_owned()), "{unset}");
}

#[test]
fn the_current_directory_is_what_was_named() {
    let directory = scratch();
    let file = directory.path().join("run.toml");
    fs::write(&file, "cwd = '/from-file'").unwrap();
    for options in ["--cwd /data", "-S cwd=/data", "-S cwd=/other --cwd /data"] {
        assert_eq!(run(&format!("{options} client.cwasm cwd")).ok().stdout(), "/data\n", "{options}");
    }
    assert_eq!(run(&format!("-f {} client.cwasm cwd", file.display())).ok().stdout(), "/from-file\n");
    let unset = run("client.cwasm cwd").run();
    assert_eq!((unset.code(), unset.stdout()), (1, "no current directory\n".to_owned()), "{unset}");
}

#[test]
fn a_key_value_store_is_granted_and_bounded() {
    let code = |line: &str| run(line).run().code();
    assert_eq!(code("keyvalue.cwasm"), 1);
    assert_eq!(code("--keyvalue keyvalue.cwasm"), 0);
    assert_eq!(code("--keyvalue=a=b keyvalue.cwasm"), 0);
    assert_eq!(code("-S keyvalue keyvalue.cwasm"), 0);
    assert_eq!(code("--keyvalue --max-keyvalue 512B keyvalue.cwasm"), 1);
    assert!(guests().exists());
}
