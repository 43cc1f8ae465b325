//! In: the report's page. Out: whether Chromium renders it and counts in it what the report says. Nothing is fetched:
//! the page needs nothing, and the browser is told to fetch nothing.

use super::report::{Report, State};
use anyhow::{Result, ensure};
use isomer_testing::has_program;
use isomer_testing::shell::{read, run};
use std::path::Path;
use std::process::{Command, Stdio};

/// Its names in Linux distributions.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// The browser, where one is installed.
pub(super) fn find() -> Option<String> {
    NAMES.iter().find(|name| has_program(name)).map(|name| (*name).to_owned())
}

/// Opens the page, takes a picture beside it, and compares what the browser counts with the report.
pub(super) fn check(chromium: &str, page: &Path, report: &Report) -> Result<()> {
    let address = format!("file://{}", page.display());
    let shown =
        read(browser(chromium)?.args(["--dump-dom", "--virtual-time-budget=5000", &address]).stderr(Stdio::null()))?;
    for state in [State::Passed, State::Failed, State::Skipped, State::Inexpressible] {
        let expected = report.count(state);
        let name = super::html::class(state);
        let counted = format!("id=\"counted-{name}\">{expected}<");
        ensure!(
            shown.contains(&counted),
            "Chromium counts other than {expected} cells as {name} in {}",
            page.display()
        );
    }
    let picture = page.with_extension("png");
    let screenshot = format!("--screenshot={}", picture.display());
    run(browser(chromium)?.args(["--window-size=1500,2400", &screenshot, &address]).stderr(Stdio::null()))?;
    let size = std::fs::metadata(&picture)?.len();
    ensure!(size > 10_000, "Chromium's picture of {} has {size} bytes: an empty page", page.display());
    Ok(())
}

fn browser(name: &str) -> Result<Command> {
    let mut command = Command::new(name);
    // As root, which CI often is, Chromium has no sandbox.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::html;
    use crate::prove::report::Cell;

    fn sample() -> Report {
        let states = [State::Passed, State::Passed, State::Failed, State::Skipped, State::Inexpressible];
        let cell = |(number, state): (usize, &State)| Cell {
            target: format!("target-{}", number % 2),
            guest: format!("guest-{number}"),
            on: "<a CPU & its \"name\">".to_owned(),
            state: *state,
            cases: 3,
            reason: (*state != State::Passed).then(|| "because <of> that".to_owned()),
        };
        Report { matrix: states.iter().enumerate().map(cell).collect(), ..Report::default() }
    }

    #[test]
    fn the_report_is_rendered_with_its_numbers() {
        let Some(chromium) = find() else {
            let reason = "no Chromium on this machine";
            println!("skipped: {reason}");
            if let Some(log) = std::env::var_os("ISOMER_SKIP_LOG") {
                use std::io::Write;
                let mut file = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
                writeln!(file, "the_report_is_rendered_with_its_numbers: {reason}").unwrap();
            }
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("report.html");
        let report = sample();
        std::fs::write(&page, html::page(&report)).unwrap();
        check(&chromium, &page, &report).unwrap();
        // And it would say so if they were others.
        let mut wrong = sample();
        wrong.matrix[0].state = State::Failed;
        let error = check(&chromium, &page, &wrong).unwrap_err().to_string();
        assert!(error.contains("Chromium counts other than 1 cells as passed"), "{error}");
    }
}
