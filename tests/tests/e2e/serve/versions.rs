//! Versions that become active while a server runs: which one answers, and how that is seen.

use crate::hardened;
use isomer_testing::http_client::{get, request};
use isomer_tests::confined::{Confinement, ControlGroup, Deny};
use isomer_tests::served::{Exchange, FAULTY, Load, ONE, Served, TWO, Versions, alter, serve};
use isomer_tests::{has_program, program, scratch, skip, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

/// Less than a server waits between two looks at a store whose changes are reported to it.
const AT_ONCE: Duration = Duration::from_secs(5);

/// How many descriptors of inotify a server has.
fn inotify_count(served: &Served) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", served.id())).unwrap();
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.unwrap().path()).ok());
    links.filter(|link| link.as_os_str() == "anon_inode:inotify").count()
}

#[test]
fn what_becomes_active_is_served_at_once() {
    let versions = Versions::new();
    let served = versions.serve("");
    served.wait_for_version("first");
    wait_until("it has inotify", || inotify_count(&served) == 1);
    for (version, line) in [(TWO, "later"), (ONE, "first"), (TWO, "later")] {
        versions.activate(version);
        let begun = Instant::now();
        served.wait_for_version(line);
        assert!(begun.elapsed() < AT_ONCE, "{:?}\n{}", begun.elapsed(), served.log());
    }
    versions.call("rollback hello").ok();
    served.wait_for_version("first");
}

#[test]
fn without_inotify_the_store_is_looked_at_again_and_again() {
    let no_inotify = Confinement::Deny(Deny::always(libc::SYS_inotify_init1, libc::EMFILE));
    let versions = Versions::new();
    let call = versions.call("-v serve --addr 127.0.0.1:0 --watch hello").confined(no_inotify);
    let served = serve(call, scratch());
    served.wait_for_version("first");
    served.wait_for_log("active versions are looked for at intervals");
    assert_eq!(inotify_count(&served), 0);
    versions.activate(TWO);
    served.wait_for_version("later");
}

#[test]
fn without_watch_a_version_stays() {
    let versions = Versions::new();
    let served = serve(versions.call("serve --addr 127.0.0.1:0 hello"), scratch());
    versions.activate(TWO);
    thread::sleep(Duration::from_secs(1));
    served.wait_for_version("first");
}

#[test]
fn list_shows_which_version_is_live() {
    let versions = Versions::new();
    assert_eq!(versions.live(), [""; 0]);
    let served = versions.serve("");
    assert_eq!(versions.live(), [ONE]);
    let other = serve(versions.call(&format!("serve --addr 127.0.0.1:0 hello:{FAULTY}")), scratch());
    assert_eq!(versions.live(), [ONE, FAULTY]);
    versions.activate(TWO);
    served.wait_for_version("later");
    assert_eq!(versions.live(), [TWO, FAULTY]);
    let table = versions.call("list").ok().stdout();
    let row = |version: &str| table.lines().find(|line| line.contains(&format!("hello:{version}"))).unwrap().to_owned();
    assert!(row(TWO).contains("  yes, live  ") && row(FAULTY).contains("  live  "), "{table}");
    assert!(!row(ONE).contains("live"), "{table}");
    // However a server ends.
    served.signal("KILL");
    drop(served);
    assert_eq!(versions.live(), [FAULTY]);
    drop(other);
    assert_eq!(versions.live(), [""; 0]);
}

#[test]
fn a_version_that_fails_its_health_request_is_not_served() {
    let versions = Versions::new();
    let served = versions.serve("--health /echo");
    versions.activate(FAULTY);
    served.wait_for_log("its health request `/echo` is not answered with success");
    served.wait_for_version("first");
    assert_eq!(versions.live(), [ONE]);
    // Another one is served, and the same one again when it is tried again and does no better.
    versions.activate(TWO);
    served.wait_for_version("later");
    versions.activate(FAULTY);
    wait_until("it is refused again", || served.log().matches("its health request `/echo`").count() == 2);
    served.wait_for_version("later");
    // What is wrong with it does not pass.
    assert!(!served.log().contains("tried again"), "{}", served.log());
}

#[test]
fn the_first_version_is_asked_too() {
    let versions = Versions::new();
    versions.activate(FAULTY);
    let refused = versions.call("serve --addr 127.0.0.1:0 --health /echo hello").fails();
    let unhealthy = "its health request `/echo` is not answered with success: ";
    assert!(refused.stderr().contains("error: cannot serve `hello` at `/`"), "{refused}");
    assert!(refused.stderr().contains(unhealthy) && !refused.stderr().contains("Serving HTTP on"), "{refused}");
    // And each time that the settings are read again.
    let file = versions.path().join("serve.toml");
    let settings = |version: &str| {
        let route = format!("module = 'hello:{version}'\nhealth = '/echo'");
        fs::write(&file, format!("addresses = ['127.0.0.1:0']\n[[route]]\n{route}\n")).unwrap();
    };
    settings(ONE);
    let served = serve(versions.call("serve -f serve.toml"), scratch());
    settings(FAULTY);
    served.signal("HUP");
    served.wait_for_log("the settings stay as they are");
    served.wait_for_log(unhealthy);
    served.wait_for_version("first");
}

#[test]
fn a_version_that_was_refused_for_lack_of_memory_is_tried_again() {
    let test = "a_version_that_was_refused_for_lack_of_memory_is_tried_again";
    if !has_program("prlimit") {
        return skip(test, "prlimit is not installed");
    }
    let versions = Versions::new();
    let served = versions.serve("");
    served.wait_for_version("first");
    let limit = |address_space: String| {
        program("prlimit").arg(format!("--pid={}", served.id())).arg(format!("--as={address_space}:")).ok();
    };
    // What it has now, and room for requests, but not for another pool or memory.
    limit((served.address_space_bytes() + (256 << 20)).to_string());
    versions.activate(TWO);
    served.wait_for_log("; it is tried again in 1 s");
    served.wait_for_log("; it is tried again in 2 s");
    served.wait_for_version("first");
    limit("unlimited".to_owned());
    served.wait_for_version("later");
}

/// A component with more bytes in it: as a module that it does not instantiate.
fn with_data(mut component: Vec<u8>, size_bytes: usize) -> Vec<u8> {
    let module = hardened::with_data(size_bytes);
    // A section of a core module.
    component.push(1);
    let mut left = module.len();
    while left >= 0x80 {
        component.push((left % 0x80) as u8 | 0x80);
        left /= 0x80;
    }
    component.push(left as u8);
    [component, module].concat()
}

#[test]
fn a_version_that_its_control_group_has_no_room_for_is_tried_again() {
    let test = "a_version_that_its_control_group_has_no_room_for_is_tried_again";
    let group = match ControlGroup::with_memory_bytes_max(1 << 30) {
        Ok(group) => group,
        Err(reason) => return skip(test, &reason),
    };
    const LARGE: &str = "4.0.0";
    let versions = Versions::new();
    versions.add(LARGE, &with_data(alter("proxy", &[("hello\n", "large\n")]), 16 << 20));
    let active = versions.store().join("active/hello.json");
    versions.activate(LARGE);
    let large = fs::read(&active).unwrap();
    versions.activate(ONE);
    // What others can write is not mapped, but copied into memory; nor does `activate` write there.
    fs::set_permissions(versions.store(), fs::Permissions::from_mode(0o777)).unwrap();
    let call = versions.call("serve --addr 127.0.0.1:0 --watch --key farm.pub hello").confined(group.confinement());
    let served = serve(call, scratch());
    served.wait_for_version("first");
    // Half of the copy fits.
    group.set_max(served.anonymous_bytes() + (10 << 20)).unwrap();
    let next = active.with_extension("next");
    fs::write(&next, large).unwrap();
    fs::rename(&next, &active).unwrap();
    served.wait_for_log("a control group leaves too little memory");
    served.wait_for_log("; it is tried again in ");
    served.wait_for_version("first");
    group.set_max(1 << 30).unwrap();
    served.wait_for_version("large");
}

#[test]
fn a_version_that_becomes_active_while_another_is_loaded_is_served_once() {
    let versions = Versions::new();
    let served = versions.serve("");
    // Which one is active changes while it is read which one is.
    for _ in 0..60 {
        versions.activate(TWO);
        versions.activate(ONE);
    }
    served.wait_for_version("first");
    let log = served.log();
    let label = |line: &str, key: &str| {
        let rest = line.split_once(key).unwrap_or_else(|| panic!("{log}")).1;
        rest.split('"').next().unwrap().to_owned()
    };
    let switches = || log.lines().filter(|line| line.contains(" switched"));
    assert!(switches().count() > 0, "{log}");
    for line in switches() {
        assert_ne!(label(line, "from=\""), label(line, "to=\""), "{log}");
    }
}

#[test]
fn a_version_is_compared_with_one_that_does_well() {
    let versions = Versions::new();
    let texts = [("hello\n", "worse\n"), ("/echo", "/trap"), ("/trap", "/echo")];
    versions.add("4.0.0", &alter("proxy", &texts));
    let served = versions.serve("--probation 60s");
    let echo = || {
        let mut connection = served.connect();
        let _ = connection.send(request("POST", "/echo", &[], b"there and back"));
        connection.receive().is_ok_and(|response| response.status == 200)
    };
    assert!((0..20).all(|_| echo()), "{}", served.log());
    versions.activate(FAULTY);
    served.wait_for_log("to=\"hello:3.0.0");
    // Too few requests to judge it by.
    assert!(!(0..5).any(|_| echo()), "{}", served.log());
    versions.activate("4.0.0");
    served.wait_for_log("to=\"hello:4.0.0");
    wait_until("it is switched back", || {
        echo();
        served.log().contains("switched back")
    });
    served.wait_for_version("first");
}

#[test]
fn a_health_response_is_read_to_its_end() {
    let versions = Versions::new();
    // One that is long is read, and the guest writes all of it.
    let served = serve(versions.call("serve --addr 127.0.0.1:0 --health /download/3000000 hello"), scratch());
    served.wait_for_version("first");
    assert!(!served.log().contains("a guest failed"), "{}", served.log());
    // One that begins well and is cut off is no success.
    let refused = versions.call("serve --addr 127.0.0.1:0 --health /trap-within hello").fails();
    assert!(refused.stderr().contains("its health request `/trap-within` is not answered with success"), "{refused}");
    // One that does not end has no more time than a response has to begin.
    let refused = versions.call("serve --addr 127.0.0.1:0 --timeout 1s --health /stall hello").fails();
    assert!(refused.stderr().contains("its health request `/stall` is not answered with success"), "{refused}");
}

#[test]
fn a_live_version_is_not_collected() {
    let versions = Versions::new();
    let served = serve(versions.call("serve --addr 127.0.0.1:0 hello"), scratch());
    versions.activate(TWO);
    let removed = versions.call("gc --keep 0").ok().stdout();
    assert!(!removed.contains(&format!("hello:{ONE} ")), "{removed}");
    assert_eq!(versions.live(), [ONE]);
    // Another server can be started with it.
    let other = serve(versions.call(&format!("serve --addr 127.0.0.1:0 hello:{ONE}")), scratch());
    other.wait_for_version("first");
    drop((served, other));
    let removed = versions.call("gc --keep 0").ok().stdout();
    assert!(removed.contains(&format!("hello:{ONE} ")), "{removed}");
}

#[test]
fn a_version_that_fails_more_often_is_switched_back() {
    let versions = Versions::new();
    let served = versions.serve("--probation 60s");
    for number in 0..20 {
        let response = served.send("POST", "/echo", &[], b"there and back").receive().unwrap();
        assert_eq!(response.status, 200, "{number}: {}", served.log());
    }
    versions.activate(FAULTY);
    served.wait_for_version("wrong");
    wait_until("it is switched back", || {
        let mut connection = served.connect();
        let _ = connection.send(request("POST", "/echo", &[], b"there and back"));
        let _ = connection.receive();
        served.log().contains("switched back")
    });
    served.wait_for_version("first");
    assert_eq!(versions.live(), [ONE]);
    // It stays so, although the store's active version is the other one still.
    thread::sleep(Duration::from_secs(1));
    served.wait_for_version("first");
    // After a rollback, the operator may try it again.
    versions.call("rollback hello").ok();
    thread::sleep(Duration::from_secs(1));
    versions.activate(FAULTY);
    served.wait_for_version("wrong");
}

#[test]
fn a_version_that_fails_as_often_stays() {
    let versions = Versions::new();
    let served = versions.serve("--probation 60s");
    let half = |served: &Served| {
        for _ in 0..10 {
            assert_eq!(served.get("/status/500").status, 500);
            assert_eq!(served.get("/hello").status, 200);
        }
    };
    half(&served);
    versions.activate(TWO);
    // A request that asks for it would count as one that the version before has answered.
    served.wait_for_log("to=\"hello:2.0.0");
    half(&served);
    // Twice as long as between two looks.
    thread::sleep(Duration::from_secs(1));
    served.wait_for_version("later");
    assert!(!served.log().contains("switched back"), "{}", served.log());
}

#[test]
fn clients_that_go_away_say_nothing_about_a_version() {
    let versions = Versions::new();
    let served = versions.serve("--probation 60s --status-addr 127.0.0.1:0");
    served.wait_for_version("first");
    versions.activate(TWO);
    served.wait_for_version("later");
    let status = served.status_address();
    let wait_for = |line: &str| {
        wait_until(line, || get(status, "/metrics").unwrap().text().lines().any(|found| found == line));
    };
    // Far more than what switches back a version that fails.
    let clients: Vec<_> = (0..40).map(|_| served.send("GET", "/never", &[], b"")).collect();
    wait_for("isomer_running_requests{route=\"/\"} 40");
    drop(clients);
    wait_for("isomer_refused_total{route=\"/\",reason=\"client-gone\"} 40");
    wait_for("isomer_responses_total{route=\"/\",status=\"500\"} 0");
    // Twice as long as between two looks.
    thread::sleep(Duration::from_secs(1));
    served.wait_for_version("later");
    assert!(!served.log().contains("switched back"), "{}", served.log());
}

#[test]
fn a_switch_loses_no_request() {
    let versions = Versions::new();
    let served = versions.serve("");
    let load = Load::with(served.address, 8, false, |number| match number % 2 {
        0 => Exchange::get("/hello", &["first\n", "later\n"]),
        _ => Exchange::echo(&format!("request {number}")),
    });
    load.wait_for(100);
    for (version, line) in [(TWO, "later"), (ONE, "first"), (TWO, "later")] {
        versions.activate(version);
        served.wait_for_version(line);
        load.wait_for(100);
    }
    assert_eq!(load.stop(), Vec::<String>::new(), "{}", served.log());
}

/// Serves `hello` as a settings file with these keys of the route says.
fn with_settings(versions: &Versions, route: &str) -> Served {
    fs::write(versions.path().join("serve.toml"), format!("[[route]]\nmodule = \"hello\"\n{route}\n")).unwrap();
    serve(versions.call("serve --addr 127.0.0.1:0 --key farm.pub -f serve.toml"), scratch())
}

#[test]
fn a_reload_asks_for_health_as_a_switch_does() {
    let versions = Versions::new();
    let served = with_settings(&versions, "health = \"/echo\"");
    versions.activate(FAULTY);
    served.signal("HUP");
    served.wait_for_log("the settings stay as they are");
    assert!(served.log().contains("its health request `/echo` is not answered with success"), "{}", served.log());
    served.wait_for_version("first");
    versions.activate(TWO);
    served.signal("HUP");
    served.wait_for_version("later");
}

#[test]
fn a_version_that_a_reload_brings_is_on_probation() {
    let versions = Versions::new();
    let served = with_settings(&versions, "probation = \"60s\"");
    versions.activate(FAULTY);
    served.signal("HUP");
    served.wait_for_version("wrong");
    // What it is on survives a reload, and a flood of them is one.
    for _ in 0..50 {
        served.signal("HUP");
    }
    let fail = || {
        let mut connection = served.connect();
        let _ = connection.send(request("POST", "/echo", &[], b"there and back"));
        let _ = connection.receive();
        served.log().contains("switched back")
    };
    wait_until("it is switched back", fail);
    served.wait_for_version("first");
    let reloads = served.log().matches("the settings were read again").count();
    assert!(reloads < 50, "{reloads}");
    assert_eq!(versions.live(), [ONE]);
}

#[test]
fn settings_that_cannot_be_read_keep_none_out_that_can() {
    let versions = Versions::new();
    let served = with_settings(&versions, "");
    let file = versions.path().join("serve.toml");
    let text = fs::read(&file).unwrap();
    for cannot in ["a pipe that no process writes to", "half of the file", "no file"] {
        fs::remove_file(&file).unwrap();
        match cannot {
            "no file" => {}
            "half of the file" => fs::write(&file, &text[..text.len() / 2]).unwrap(),
            _ => drop(program("mkfifo").arg(&file).ok()),
        }
        let unchanged = || served.log().matches("the settings stay as they are").count();
        let before = unchanged();
        served.signal("HUP");
        wait_until(cannot, || unchanged() > before);
        served.wait_for_version("first");
        let _ = fs::remove_file(&file);
        fs::write(&file, &text).unwrap();
    }
    versions.activate(TWO);
    served.signal("HUP");
    served.wait_for_version("later");
}
