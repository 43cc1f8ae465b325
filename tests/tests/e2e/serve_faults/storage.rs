//! Disks that are full and stores that are gone, under a server that runs.

use isomer_testing::http_client::get;
use isomer_tests::served::{Exchange, Load, ONE, TWO, Versions, listens_at};
use isomer_tests::{binaries, program, skip, wait_until};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// A small file system of its own in `path`, gone with this value.
struct Disk<'a>(&'a Path);

impl Disk<'_> {
    fn mount<'a>(path: &'a Path, size: &str) -> Option<Disk<'a>> {
        fs::create_dir(path).unwrap();
        let options = format!("mode=0755,size={size}");
        let mounted = program("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).run();
        (mounted.code() == 0).then_some(Disk(path))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = program("umount").arg("--lazy").arg(self.0).run();
    }
}

#[test]
fn a_full_disk_stops_no_server() {
    let versions = Versions::in_releases();
    let store = versions.store();
    let Some(_disk) = Disk::mount(&store, "4m") else {
        return skip("a_full_disk_stops_no_server", "it takes root and tmpfs to make a small disk");
    };
    versions.pull(ONE);
    // Its log is on the same disk.
    let script = "exec \"$0\" serve --access-log --addr 127.0.0.1:0 --watch hello 2> store/log";
    let server = program("sh").args(["-c", script]).arg(binaries().join("isomer-run"));
    let running = server.dir(versions.path()).env("ISOMER_STORE", &store).start();
    let log = || fs::read_to_string(store.join("log")).unwrap_or_default();
    let mut address = None;
    wait_until("the server listens", || {
        address = log().lines().find_map(|line| listens_at(line)?.parse::<SocketAddr>().ok());
        address.is_some()
    });
    let address = address.unwrap();
    let says = |line: &str| {
        wait_until(&format!("the server says {line}"), || {
            get(address, "/hello").unwrap().text() == format!("{line}\n")
        });
    };
    says("first");
    let filler = store.join("filler");
    let filled = program("sh").args(["-c", "cat /dev/zero > \"$0\""]).arg(&filler).run();
    assert!(filled.code() != 0 && filled.stderr().contains("No space left"), "{filled}");

    let load = Load::with(address, 4, false, |number| Exchange::echo(&format!("request {number}")));
    load.wait_for(50);
    let pull = format!("pull oci-dir:{TWO}:hello --key farm.pub --activate");
    let refused = versions.call(&pull).fails();
    assert!(refused.stderr().contains("what is installed is as it was"), "{refused}");
    load.wait_for(50);
    says("first");

    fs::remove_file(&filler).unwrap();
    versions.call(&pull).ok();
    says("later");
    load.wait_for(50);
    assert_eq!(load.stop(), Vec::<String>::new(), "{}", log());
    running.signal("TERM");
    let ran = running.wait();
    assert_eq!(ran.code(), 0, "{ran}{}", log());
}

#[test]
fn a_store_that_is_gone_for_a_while_stops_no_server() {
    let versions = Versions::new();
    let served = versions.serve("");
    served.wait_for_version("first");
    let load = Load::with(served.address, 4, false, |number| Exchange::echo(&format!("request {number}")));
    let elsewhere = versions.path().join("elsewhere");
    fs::rename(versions.store(), &elsewhere).unwrap();
    load.wait_for(50);
    served.wait_for_version("first");
    // It comes back with another version.
    fs::rename(&elsewhere, versions.store()).unwrap();
    versions.activate(TWO);
    served.wait_for_version("later");

    // What is served stays, also when its files are removed, and a new store is followed.
    fs::remove_dir_all(versions.store()).unwrap();
    load.wait_for(50);
    served.wait_for_version("later");
    versions.pull(ONE);
    served.wait_for_version("first");
    wait_until("it is live in the new store", || versions.live() == [ONE]);
    assert_eq!(load.stop(), Vec::<String>::new(), "{}", served.log());
}
