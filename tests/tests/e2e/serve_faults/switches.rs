//! Versions that come and go under load, damaged ones among them, and a server that is killed meanwhile.

use isomer_tests::served::{Exchange, FAULTY, Load, ONE, TWO, Versions};
use isomer_tests::wait_until;
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Damages the code in an artifact, whose size stays.
fn damage(artifact: &Path) {
    let mode = |mode| std::fs::set_permissions(artifact, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let file = File::options().read(true).write(true).open(artifact).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut bytes = [0; 64];
    file.read_exact_at(&mut bytes, middle).unwrap();
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&bytes, middle).unwrap();
    drop(file);
    mode(0o444);
}

#[test]
fn two_hundred_switches_lose_and_confuse_no_request() {
    const SWITCHES: usize = 200;
    let versions = Versions::new();
    let served = versions.serve("--health /hello");
    damage(&versions.artifact(FAULTY));
    let load = Load::with(served.address, 2, false, |number| match number % 2 {
        0 => Exchange::get("/hello", &["first\n", "later\n"]),
        _ => Exchange::echo(&format!("request {number}")),
    });
    load.wait_for(20);
    let mut refused = 0;
    for switch in 0..SWITCHES {
        if switch % 40 == 20 {
            versions.activate(FAULTY);
            refused += 1;
            let reported = || served.log().matches("the active version is not served, the one before is").count();
            wait_until("the damaged version is refused", || reported() >= refused);
        }
        let (version, line) = if switch % 2 == 0 { (TWO, "later") } else { (ONE, "first") };
        versions.activate(version);
        // From now on, no request is answered by another.
        served.wait_for_version(line);
        assert_eq!(served.get("/hello").text(), format!("{line}\n"), "{}", served.log());
    }
    let answered = load.answered();
    assert_eq!(load.stop(), Vec::<String>::new(), "{}", served.log());
    assert!(answered > SWITCHES, "{answered} requests");
    // A version answers before that is in the log, and before the one that it replaces is shown as live no more.
    wait_until("the last switch is in the log", || served.log().matches(" switched").count() >= SWITCHES);
    assert_eq!(served.log().matches(" switched").count(), SWITCHES, "{}", served.log());
    wait_until("the last version alone is live", || versions.live() == [ONE]);
    // What is over is given back.
    let open = || std::fs::read_dir(format!("/proc/{}/fd", served.id())).unwrap().count();
    wait_until("old versions are gone", || open() < 100);
    assert!(served.memory_bytes() < 512 << 20, "{} bytes", served.memory_bytes());
}

#[test]
fn a_server_that_is_killed_within_a_switch_serves_the_active_version_again() {
    let versions = Versions::new();
    for round in 0..12_u64 {
        let served = versions.serve("");
        let (before, version, line) = if round % 2 == 0 { ("first", TWO, "later") } else { ("later", ONE, "first") };
        served.wait_for_version(before);
        versions.activate(version);
        thread::sleep(Duration::from_millis(round * 8));
        served.signal("KILL");
        drop(served);
        assert_eq!(versions.live(), [""; 0]);
        let served = versions.serve("");
        assert_eq!(served.get("/hello").text(), format!("{line}\n"), "{}", served.log());
        assert_eq!(versions.live(), [version]);
    }
    assert_eq!(versions.call("list --check").run().code(), 0);
}
