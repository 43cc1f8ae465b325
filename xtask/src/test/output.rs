//! A `cargo test` whose output is shown and read. In: the command. Out: how many tests passed, failed and were ignored,
//! and how long each test binary ran. Never here: a judgement of a test.

use super::times::Times;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, pipe};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the binaries report.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
}

/// Whether it succeeded.
pub(super) fn run(mut test: Command, counts: &mut Counts, times: &mut Times) -> Result<bool> {
    // One pipe, so that cargo's lines and those of the tests come in their order.
    let (reader, writer) = pipe()?;
    let begun = Instant::now();
    let mut child =
        test.stdout(writer.try_clone()?).stderr(writer).spawn().with_context(|| format!("could not start {test:?}"))?;
    // With it goes this process's end for writing.
    drop(test);
    let (mut binary, mut running) = (String::new(), Duration::ZERO);
    for line in BufReader::new(reader).lines() {
        let line = line?;
        println!("{line}");
        if let Some(name) = binary_of(&line) {
            binary = name;
        }
        if let Some((result, took)) = result_of(&line) {
            counts.passed += result.passed;
            counts.failed += result.failed;
            counts.ignored += result.ignored;
            running += took;
            times.add(&binary, took);
        }
    }
    let status = child.wait()?;
    times.add("building tests", begun.elapsed().saturating_sub(running));
    Ok(status.success())
}

/// The name of the test binary that cargo says it runs.
fn binary_of(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(package) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{package} (examples in documentation)"));
    }
    let (_, path) = line.strip_prefix("Running ")?.rsplit_once('(')?;
    let (name, _hash) = path.rsplit('/').next()?.trim_end_matches(')').rsplit_once('-')?;
    Some(name.to_owned())
}

/// What a binary reports at its end.
fn result_of(line: &str) -> Option<(Counts, Duration)> {
    let result = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let part = result.split([';', '.']).find(|part| part.trim().ends_with(word));
        part.and_then(|part| part.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let took = result.rsplit_once("finished in ").and_then(|(_, text)| text.strip_suffix('s')?.parse::<f64>().ok());
    let counts = Counts { passed: number("passed"), failed: number("failed"), ignored: number("ignored") };
    Some((counts, Duration::from_secs_f64(took.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_and_libtest_are_understood() {
        let running = "     Running tests/e2e/main.rs (target/debug/deps/e2e-0123456789abcdef)";
        assert_eq!(binary_of(running).as_deref(), Some("e2e"));
        let unit = "     Running unittests src/lib.rs (target/debug/deps/isomer_contract-0123456789abcdef)";
        assert_eq!(binary_of(unit).as_deref(), Some("isomer_contract"));
        assert_eq!(binary_of("   Doc-tests isomer_trust").as_deref(), Some("isomer_trust (examples in documentation)"));
        assert_eq!(binary_of("test store::links::a ... ok"), None);
        let result =
            "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 4.50s";
        let expected = Counts { passed: 12, failed: 1, ignored: 2 };
        assert_eq!(result_of(result), Some((expected, Duration::from_millis(4500))));
    }
}
