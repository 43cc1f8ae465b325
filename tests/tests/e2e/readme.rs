//! README's walk from the farm to the fleet, run exactly as it is printed.

use isomer_tests::{Ran, binaries, has_program, program, root, scratch, skip};
use std::fs;

/// The block of commands under README's heading `heading`.
fn block(heading: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {heading}\n")).expect("README has the heading");
    let (_, block) = section.split_once("\n```sh\n").expect("the section has a block of commands");
    block.split_once("```").expect("the block ends").0.to_owned()
}

/// Runs the walk in a network of its own, where port 5000 of this machine is a registry that starts empty.
fn walk(commands: &str) -> Option<Ran> {
    let directory = scratch();
    let path = directory.path();
    let guest = root().join("tests/guests/sha256.wasm");
    let release = format!(
        "[release]\nname = 'acme-plugins'\nversion = '1.4.0'\ncounter = 7\ntargets = ['x86-64-v2', 'neoverse-n1', \
         'pulley64']\n[[module]]\nname = 'resize'\npath = '{}'\n",
        guest.display()
    );
    fs::write(path.join("isomer.toml"), release).unwrap();
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
    let Some(ran) = walk(&commands) else { return };
    assert_eq!(ran.code(), 0, "{ran}");
    // What `run` printed: the digest of the line that was piped into it, twice.
    let digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  -\n";
    assert_eq!(ran.stdout().matches(digest).count(), 1, "{ran}");
    assert!(ran.stdout().contains("resize:1.4.0 is active"), "{ran}");
}
