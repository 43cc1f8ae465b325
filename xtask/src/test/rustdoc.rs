//! rustdoc as `cargo test` calls it. In: its arguments for a library's examples. Out: the documentation in `target/doc`,
//! with warnings denied, then the examples' tests. Never here: `cargo doc`, which would compile every dependency again.

use anyhow::{Context, Result};
use isomer_testing::root;
use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Names the rustdoc that this program stands before.
const VARIABLE: &str = "ISOMER_XTASK_RUSTDOC";

/// What is for tests alone, each with its value.
const FOR_TESTS: [&str; 5] =
    ["--test-args", "--test-builder", "--test-run-directory", "--test-runtool", "--persist-doctests"];

/// Has `test` call this program as rustdoc.
pub(super) fn wrap(test: &mut Command) -> Result<()> {
    let rustdoc = env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into());
    test.env("RUSTDOC", env::current_exe()?).env(VARIABLE, rustdoc);
    Ok(())
}

/// The exit code, if this program was called as rustdoc.
pub(crate) fn called() -> Option<Result<ExitCode>> {
    let rustdoc = env::var_os(VARIABLE)?;
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    Some(document_and_test(&rustdoc, &arguments))
}

fn document_and_test(rustdoc: &OsString, arguments: &[OsString]) -> Result<ExitCode> {
    let call = |arguments: &[OsString]| {
        let mut command = Command::new(rustdoc);
        command.args(arguments).env_remove(VARIABLE);
        let status = command.status().with_context(|| format!("could not start {command:?}"))?;
        anyhow::Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
    };
    if let Some(mut documentation) = documentation(arguments) {
        documentation.extend(["--deny", "warnings", "--out-dir"].map(OsString::from));
        documentation.push(root().join("target/doc").into());
        let code = call(&documentation)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    call(arguments)
}

/// The same call without what is for tests; none if it is not for tests at all.
fn documentation(arguments: &[OsString]) -> Option<Vec<OsString>> {
    if !arguments.iter().any(|argument| argument == "--test") {
        return None;
    }
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        if FOR_TESTS.contains(&text.as_ref()) {
            rest.next();
        } else if text != "--test"
            && text != "--no-run"
            && !FOR_TESTS.iter().any(|it| text.starts_with(&format!("{it}=")))
        {
            kept.push(argument.clone());
        }
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_tests_is_left_out() {
        let arguments = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let tests = "--crate-name a --test src/lib.rs --test-run-directory /a --extern b=/b --test-args=c";
        assert_eq!(documentation(&arguments(tests)), Some(arguments("--crate-name a src/lib.rs --extern b=/b")));
        assert_eq!(documentation(&arguments("-vV")), None);
    }
}
