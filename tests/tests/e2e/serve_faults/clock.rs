//! A wall clock that jumps while a server answers requests: by an hour, forward and back. No limit, probation or measured time
//! follows it; the times in the log and in responses do.

use isomer_testing::http_client::get;
use isomer_tests::served::{Exchange, FAULTY, Load, Served, TWO, Versions, serve};
use isomer_tests::{Call, has_program, program, root, scratch, skip, wait_until};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const HOUR_S: i64 = 3600;

/// The wall clock of one program, which no time namespace moves.
struct WallClock {
    directory: TempDir,
    offset: File,
}

impl WallClock {
    /// Right, until it is set. None where its library is not compiled.
    fn new() -> Option<WallClock> {
        let directory = scratch();
        let source = root().join("tests/tests/e2e/serve_faults/clock/jumps.c");
        let compile = program("gcc").line("-shared -fPIC -O2 -Wall -Wextra -Werror -o jumps.so").arg(source);
        if !has_program("gcc") {
            return None;
        }
        compile.dir(directory.path()).ok();
        fs::write(directory.path().join("offset"), 0i64.to_ne_bytes()).unwrap();
        let offset = File::options().write(true).open(directory.path().join("offset")).unwrap();
        Some(WallClock { directory, offset })
    }

    /// Lets a program have it.
    fn of(&self, call: Call) -> Call {
        let path = |name: &str| -> PathBuf { self.directory.path().join(name) };
        call.env("LD_PRELOAD", path("jumps.so")).env("CLOCK_OFFSET", path("offset"))
    }

    /// So many seconds ahead of this machine's from now on.
    fn set(&self, ahead_s: i64) {
        self.offset.write_all_at(&ahead_s.to_ne_bytes(), 0).unwrap();
    }
}

/// How many seconds the last line of the log is ahead of this machine's wall clock.
fn ahead_s(served: &Served) -> i64 {
    let log = served.log();
    let whole = &log[..log.rfind('\n').expect("it has lines")];
    let line: serde_json::Value =
        serde_json::from_str(whole.lines().last().unwrap()).unwrap_or_else(|_| panic!("{log}"));
    since_now_s(line["time"].as_str().unwrap())
}

/// How many seconds the `Date` of the next response is ahead of this machine's wall clock.
fn date_ahead_s(served: &Served) -> i64 {
    let response = served.get("/hello");
    since_now_s(response.header("date").expect("it has a date"))
}

/// How many seconds a time is ahead of this machine's wall clock.
fn since_now_s(time: &str) -> i64 {
    let time = program("date").args(["-d", time, "+%s"]).ok().stdout().trim().parse::<i64>().unwrap();
    time - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

/// The times that the access log has of requests, in milliseconds.
fn logged_ms(log: &str) -> Vec<u64> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["target"] == "access").map(|line| line["ms"].as_u64().unwrap()).collect()
}

/// The sum of all measured times.
fn measured_s(metrics: &str) -> f64 {
    let sums = metrics.lines().filter(|line| line.starts_with("isomer_response_seconds_sum"));
    sums.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[test]
fn nothing_but_dates_follows_a_jump_of_the_wall_clock() {
    let Some(clock) = WallClock::new() else {
        return skip("nothing_but_dates_follows_a_jump_of_the_wall_clock", "gcc is not installed");
    };
    let versions = Versions::new();
    let options = "serve --addr 127.0.0.1:0 --watch --probation 120s --timeout 1s --status-addr 127.0.0.1:0 \
                   --access-log --log-json hello";
    let begun = Instant::now();
    let served = serve(clock.of(versions.call(options)), scratch());
    let status = served.status_address();
    let load = || Load::with(served.address, 2, false, |_| Exchange::get("/hello", &["first\n", "later\n"]));
    let clients = load();
    clients.wait_for(20);
    for ahead in [HOUR_S, -HOUR_S, 0] {
        clock.set(ahead);
        clients.wait_for(20);
        for endless in ["/never", "/spin"] {
            let asked = Instant::now();
            assert_eq!(served.get(endless).status, 504, "{endless}");
            let waited = asked.elapsed();
            assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(20), "{endless}: {waited:?}");
        }
        wait_until("the log has the wall clock's time", || (ahead_s(&served) - ahead).abs() < 60);
        let date = date_ahead_s(&served);
        assert!((date - ahead).abs() < 60, "{date} s, expected {ahead}");
    }
    assert_eq!(clients.stop(), Vec::<String>::new(), "{}", served.log());
    // A probation is not over because of a jump.
    versions.activate(TWO);
    served.wait_for_version("later");
    versions.activate(FAULTY);
    served.wait_for_version("wrong");
    clock.set(HOUR_S);
    // Twice as long as between two looks.
    std::thread::sleep(Duration::from_secs(1));
    wait_until("it is switched back", || {
        let _ = served.send("POST", "/echo", &[], b"there and back").receive();
        served.log().contains("switched back")
    });
    served.wait_for_version("later");
    let clients = load();
    clients.wait_for(20);
    clock.set(-HOUR_S);
    clients.wait_for(20);
    assert_eq!(clients.stop(), Vec::<String>::new(), "{}", served.log());
    let metrics = get(status, "/metrics").unwrap().text();
    let (measured, longest) = (measured_s(&metrics), logged_ms(&served.log()).into_iter().max().unwrap());
    // There were never more than three clients at once.
    let elapsed = begun.elapsed().as_secs_f64();
    assert!(measured > 0.0 && measured < 4.0 * elapsed, "{measured} s in {elapsed} s\n{metrics}");
    assert!(u128::from(longest) <= begun.elapsed().as_millis(), "{longest} ms");
    // It ends as it does at any time.
    served.signal("TERM");
    let (ran, log) = served.wait();
    assert_eq!(ran.code(), 0, "{log}");
}
