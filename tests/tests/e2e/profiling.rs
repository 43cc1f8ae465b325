//! Profilers: `perf` finds the names of a guest's functions, also of an artifact that is copied.

use isomer_tests::native::native;
use isomer_tests::{isomer, isomer_run, scratch, wait_until};
use std::fs;

#[test]
fn perf_is_told_which_function_is_where() {
    let directory = scratch();
    let text = "(module (func $hot_inner (loop (br 0))) (func (export \"_start\") (call $hot_inner)))";
    fs::write(directory.path().join("hot.wat"), text).unwrap();
    isomer().line(&format!("compile hot.wat -t {} -o hot.cwasm", native().baseline)).dir(directory.path()).ok();
    let running = isomer_run().line("run --profile perfmap --allow-unsigned hot.cwasm").dir(directory.path()).start();
    let map = format!("/tmp/perf-{}.map", running.id());
    wait_until("the map names the function", || fs::read_to_string(&map).unwrap_or_default().contains("hot_inner"));
    // `perf` believes the map only for code that no file is behind.
    let maps = fs::read_to_string(format!("/proc/{}/maps", running.id())).unwrap();
    let line = fs::read_to_string(&map).unwrap().lines().find(|line| line.contains("hot_inner")).unwrap().to_owned();
    let address = u64::from_str_radix(line.split(' ').next().unwrap().trim_start_matches("0x"), 16).unwrap();
    let mapping = maps.lines().find(|mapping| {
        let (start, end) = mapping.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        (number(start)..number(end)).contains(&address)
    });
    assert!(mapping.is_some_and(|mapping| mapping.trim_end().ends_with(" 0")), "{mapping:?}");
    running.signal("KILL");
    running.wait();
    fs::remove_file(map).unwrap();
}
