//! Why a job has no artifact, and what would help.

use crate::codegen::CodegenError;
use isomer_contract::{Digest, Hinted, Size};
use std::time::Duration;

/// Why a job has no artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobFailure {
    /// The compiler says so.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// It took longer than it may.
    #[error("the compiler was stopped after {}, the time limit of a job", show(*.limit))]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// It wanted more memory than it may have.
    #[error("the compiler wanted more than {limit} of memory, the limit of a job")]
    Memory {
        /// The limit.
        limit: Size,
    },
    /// The compiler went too deep.
    #[error("the compiler's stack of {limit} overflowed")]
    StackOverflow {
        /// The stack's size.
        limit: Size,
    },
    /// The worker process died of a signal that somebody else sent: a person, or the system when memory ran out.
    #[error("the worker process was killed from outside (signal {signal})")]
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// The worker process died of a bug.
    #[error("the compiler crashed: {how}{}", said(.stderr))]
    Crashed {
        /// The signal or exit code.
        how: String,
        /// The end of what the process said.
        stderr: String,
    },
    /// There is no worker to ask.
    #[error("cannot start a worker process: {0}")]
    NoWorker(String),
    /// A remote did not do it.
    #[error("{problem}")]
    Remote {
        /// What it said, or what became of it.
        problem: String,
        /// What would help.
        hint: Option<String>,
    },
    /// A remote is away, or refuses everything: no other job fares better there.
    #[error("the remote farm is lost: {problem}")]
    RemoteLost {
        /// What it said, or what became of it.
        problem: String,
        /// What would help.
        hint: String,
    },
    /// A remote sent something that cannot be the job's artifact.
    #[error("the remote sent something else: {problem}")]
    RemoteArtifact {
        /// What it is.
        problem: String,
    },
    /// A remote's artifact is not the one that this machine makes.
    #[error("the remote's artifact has digest {found}, the one that was made here {expected}")]
    RemoteLied {
        /// The remote's.
        found: Digest,
        /// Ours.
        expected: Digest,
    },
    /// Somebody asked to stop.
    #[error("it was interrupted")]
    Interrupted,
    /// Another job failed, and no more were wanted after that.
    #[error("it was not tried, for another one failed")]
    NotTried,
}

fn said(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() { String::new() } else { format!("; its last words were: {text}") }
}

/// A duration as `--job-timeout` takes it.
fn show(duration: Duration) -> String {
    const UNITS: [(&str, u128); 3] = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let milliseconds = duration.as_millis();
    let unit = UNITS.iter().find(|(_, size)| milliseconds.is_multiple_of(*size) && milliseconds > 0);
    unit.map_or_else(|| format!("{milliseconds}ms"), |(name, size)| format!("{}{name}", milliseconds / size))
}

impl JobFailure {
    /// Whether no other job may begin: somebody asked to stop, or there is nobody left to do it.
    pub fn ends_all(&self) -> bool {
        matches!(self, JobFailure::Interrupted | JobFailure::RemoteLost { .. })
    }

    /// A word for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            JobFailure::Codegen(CodegenError::Configuration { .. }) => "configuration",
            JobFailure::Codegen(CodegenError::Compile(_)) => "compile",
            JobFailure::Codegen(CodegenError::Panicked(_)) => "panic",
            JobFailure::Codegen(CodegenError::Differs { .. }) => "differs",
            JobFailure::Timeout { .. } => "timeout",
            JobFailure::Memory { .. } => "memory",
            JobFailure::StackOverflow { .. } => "stack-overflow",
            JobFailure::Killed { .. } => "killed",
            JobFailure::Crashed { .. } => "crash",
            JobFailure::NoWorker(_) => "no-worker",
            JobFailure::Remote { .. } => "remote",
            JobFailure::RemoteLost { .. } => "remote-lost",
            JobFailure::RemoteArtifact { .. } => "remote-artifact",
            JobFailure::RemoteLied { .. } => "remote-lied",
            JobFailure::Interrupted => "interrupted",
            JobFailure::NotTried => "not-tried",
        }
    }
}

impl Hinted for JobFailure {
    fn hint(&self) -> Option<String> {
        Some(match self {
            JobFailure::Codegen(error) => return error.hint(),
            JobFailure::Timeout { .. } => "if it is worth the wait, give it more with --job-timeout".to_owned(),
            JobFailure::Memory { .. } => "if the machine has it, give it more with --job-memory".to_owned(),
            JobFailure::StackOverflow { .. } => {
                "the module nests too deeply: split its largest function or component".to_owned()
            }
            JobFailure::Killed { .. } => {
                "if the system ran out of memory, use fewer --jobs or a lower --job-memory".to_owned()
            }
            JobFailure::Crashed { .. } => "this is a bug; please report it with the module".to_owned(),
            JobFailure::NoWorker(_) => "the system's limits on processes or memory may be in the way".to_owned(),
            JobFailure::Remote { hint, .. } => return hint.clone(),
            JobFailure::RemoteLost { hint, .. } => hint.clone(),
            JobFailure::RemoteArtifact { .. } => {
                "its workers or its cache damage results, or run another program: with --remote-exec, \
                 --remote-skip-cache replaces what the cache has"
                    .to_owned()
            }
            JobFailure::RemoteLied { .. } => {
                "believe nothing that this remote holds before you know who wrote it; --distrust 100% compares all"
                    .to_owned()
            }
            JobFailure::Interrupted | JobFailure::NotTried => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_as_they_are_typed() {
        for (milliseconds, text) in [(500, "500ms"), (90_000, "90s"), (300_000, "5m"), (3_600_000, "1h"), (0, "0ms")] {
            assert_eq!(show(Duration::from_millis(milliseconds)), text);
        }
    }
}
