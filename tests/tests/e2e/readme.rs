//! README's walk from the farm to the fleet, run exactly as it is printed.

use isomer_tests::served::alter;
use isomer_tests::{Ran, binaries, has_program, program, root, scratch, skip};
use std::fs;
use std::path::Path;

/// The first block of commands under README's heading `heading`.
fn block(heading: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {heading}\n")).expect("README has the heading");
    let (_, block) = section.split_once("\n```sh\n").expect("the section has a block of commands");
    block.split_once("```").expect("the block ends").0.to_owned()
}

/// The manifest of a release with one module.
fn manifest(version: &str, counter: u32, module: &str, path: &Path) -> String {
    format!(
        "[release]\nname = 'acme-plugins'\nversion = '{version}'\ncounter = {counter}\ntargets = ['x86-64-v2', \
         'neoverse-n1', 'pulley64']\n[[module]]\nname = '{module}'\npath = '{}'\n",
        path.display()
    )
}

/// Runs the walk in a directory that is prepared for it, and in a network of its own, where port 5000 of this machine is a
/// registry that starts empty.
fn walk(prepare: impl FnOnce(&Path), commands: &str) -> Option<Ran> {
    let directory = scratch();
    let path = directory.path();
    prepare(path);
    let registry = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: \
         {}/data}}}}\nhttp: {{addr: '127.0.0.1:5000'}}\n",
        path.display()
    );
    fs::write(path.join("registry.yml"), registry).unwrap();
    fs::write(path.join("walk"), format!("set -euo pipefail\n{commands}")).unwrap();
    let script = "ip link set lo up; docker-registry serve registry.yml >/dev/null 2>&1 & \
                  until (: </dev/tcp/127.0.0.1/5000) 2>/dev/null; do sleep 0.05; done; exec bash walk";
    let unshare = ["--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !program("unshare").args(unshare).arg("true").run().output.status.success() {
        skip("walk", "this user cannot make a network namespace");
        return None;
    }
    let search = format!("{}:{}", binaries().display(), std::env::var("PATH").unwrap_or_default());
    let walk = program("unshare").args(unshare).args(["bash", "-c", script]).dir(path).env("PATH", search);
    Some(walk.env("ISOMER_STORE", path.join("store")).env("DOCKER_CONFIG", path).run())
}

#[test]
fn the_walk_from_farm_to_fleet_works_as_printed() {
    if !has_program("docker-registry") {
        return skip("walk", "docker-registry is not installed");
    }
    let commands = block("From farm to fleet");
    let count = commands.lines().filter(|line| line.contains("isomer")).count();
    assert!((6..10).contains(&count), "{count} commands");
    let prepare = |path: &Path| {
        let release = manifest("1.4.0", 7, "resize", &root().join("tests/guests/sha256.wasm"));
        fs::write(path.join("isomer.toml"), release).unwrap();
    };
    let Some(ran) = walk(prepare, &commands) else { return };
    assert_eq!(ran.code(), 0, "{ran}");
    // What `run` printed: the digest of the line that was piped into it, twice.
    let digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  -\n";
    assert_eq!(ran.stdout().matches(digest).count(), 1, "{ran}");
    assert!(ran.stdout().contains("resize:1.4.0 is active"), "{ran}");
}

/// Two releases of a server, which a client tells from each other.
fn two_versions(path: &Path) {
    for (counter, version, line) in [(1, "1.0.0", "first\n"), (2, "1.1.0", "later\n")] {
        let module = path.join(format!("{version}.wasm"));
        fs::write(&module, alter("proxy", &[("hello\n", line)])).unwrap();
        fs::write(path.join(format!("{version}.toml")), manifest(version, counter, "hello", &module)).unwrap();
    }
}

/// What the farm has done before, and a client that asks again and again until it is told to stop.
const BEFORE: &str = r#"
isomer keygen -o farm-2026 >&2
for version in 1.0.0 1.1.0; do
    isomer release -f $version.toml -o $version --sign farm-2026.key >&2
    isomer push $version localhost:5000/acme --plain-http >&2
done
says() { until [ "$(curl --silent localhost:8080/hello)" = "$1" ]; do sleep 0.05; done; }
ask() { while [ ! -e stop ]; do curl --silent --fail localhost:8080/hello || echo "lost: $?"; done; }
"#;

#[test]
fn a_server_is_upgraded_and_rolled_back_as_printed() {
    for name in ["docker-registry", "curl"] {
        if !has_program(name) {
            return skip("walk", &format!("{name} is not installed"));
        }
    }
    let block = block("Serving HTTP");
    let commands: Vec<_> = block.lines().collect();
    let [pull, serve, upgrade, list, rollback] = commands[..] else { panic!("five commands, not {commands:?}") };
    // Between the commands, what a person waits for.
    let script = format!(
        "{BEFORE}{pull}\n{serve}\nserver=$!\nsays first\nask > asked & client=$!\n{upgrade}\nsays later\n{list}\n{rollback}\n\
         says first\ntouch stop\nwait $client\nkill $server\nwait $server\nsort asked | uniq -c\n"
    );
    let Some(ran) = walk(two_versions, &script) else { return };
    assert_eq!(ran.code(), 0, "{ran}");
    let live: Vec<_> = ran.stdout().lines().filter(|line| line.contains("  yes, live  ")).map(str::to_owned).collect();
    assert!(matches!(&live[..], [row] if row.starts_with("hello:1.1.0 ")), "{ran}");
    let asked = |line: &str| ran.stdout().lines().any(|found| found.trim_start().ends_with(&format!(" {line}")));
    assert!(asked("first") && asked("later") && !ran.stdout().contains("lost: "), "{ran}");
}
