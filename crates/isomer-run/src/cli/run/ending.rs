//! How a guest's end becomes this program's. In: how it ended. Out: results on standard output, the exit code, and on standard
//! error why it did not end well. Never here: anything that runs.

use crate::cli::wording;
use isomer_guest::{Finished, LimitHit, LimitKind, Outcome};
use isomer_terminal::Failure;
use std::process::ExitCode;

/// As timeout(1) has it.
pub(super) const EXIT_TIMEOUT: u8 = 124;
/// The exit code of a process that aborts, 128 + SIGABRT, which `wasmtime run` has for traps.
pub(super) const EXIT_TRAP: u8 = 134;

/// Shows how the guest `name` ended.
pub(super) fn finish(name: &str, target: Option<&str>, finished: &Finished) -> Result<ExitCode, Failure> {
    let guest = || format!("`{name}`{}", target.map(|target| format!(" ({target})")).unwrap_or_default());
    match &finished.outcome {
        Outcome::Returned(results) => {
            isomer_terminal::print(&results.iter().map(|line| format!("{line}\n")).collect::<String>())?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Exited(code) => {
            if let Some(hit) = finished.refused.filter(|_| *code != 0) {
                let option = wording::limit_option(hit.limit);
                tracing::warn!("{} failed after a request of it was refused: {hit} ({option})", guest());
            }
            // What the kernel keeps of any exit code.
            Ok(ExitCode::from((code & 0xff) as u8))
        }
        Outcome::Trapped(error) => {
            let failure = trap(Failure::new(format!("{} trapped", guest())), error);
            match finished.refused {
                Some(hit) => failure
                    .caused_by(format!("an earlier request of it was refused: {hit}"))
                    .hint(wording::limit_hint(hit.limit))
                    .print(),
                None => failure.print(),
            }
            Ok(ExitCode::from(EXIT_TRAP))
        }
        Outcome::Limited { hit, trap: error } => {
            let failure = limited(&guest(), *hit);
            let failure = match error {
                Some(error) if !error.is::<LimitHit>() => trap(failure, error),
                _ => failure,
            };
            failure.hint(wording::limit_hint(hit.limit)).print();
            Ok(ExitCode::from(if hit.limit == LimitKind::Timeout { EXIT_TIMEOUT } else { EXIT_TRAP }))
        }
        other => Err(Failure::new(format!("{} ended in an unknown way: {other:?}", guest()))),
    }
}

fn limited(guest: &str, hit: LimitHit) -> Failure {
    Failure::new(format!("{guest} was ended")).caused_by(hit.to_string())
}

/// The error's chain: where it was executing, then why it trapped. A core dump's own text repeats it.
fn trap(failure: Failure, error: &wasmtime::Error) -> Failure {
    let causes = error.chain().map(ToString::to_string);
    causes.filter(|cause| !cause.starts_with("wasm coredump generated")).fold(failure, Failure::caused_by)
}

/// Ends this process, whose guest cannot be interrupted.
pub(super) fn end_process(name: &str, target: Option<&str>, hit: LimitHit) -> ! {
    let form = target.map(|target| format!(" ({target})")).unwrap_or_default();
    let failure = limited(&format!("`{name}`{form}"), hit)
        .caused_by("it did not stop by itself, so its process is ended")
        .hint(wording::limit_hint(hit.limit));
    let failure = failure.hint(wording::epoch_hint(target));
    failure.print();
    std::process::exit(EXIT_TIMEOUT.into())
}
