//! Why a job has no artifact, and what would help.

use crate::codegen::CodegenError;
use crate::maker::Maker;
use isomer_contract::{Digest, Hinted, Size};
use std::time::Duration;

/// Why a job has no artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobFailure {
    /// The compiler reports an error.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// It took longer than the time limit of a job.
    #[error("the compiler was stopped after {}, the time limit of a job", show(*.limit))]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// It needed more memory than the limit of a job.
    #[error("the compiler needed more than {limit} of memory, the limit of a job")]
    Memory {
        /// The limit.
        limit: Size,
    },
    /// The compiler recursed too deeply.
    #[error("the compiler's stack of {limit} overflowed")]
    StackOverflow {
        /// The stack's size.
        limit: Size,
    },
    /// The worker process was ended by a signal from another process.
    #[error("the worker process was killed from outside (signal {signal})")]
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// The kernel ended the worker process because memory ran out: a control group's, or the machine's.
    #[error("{}", out_of_memory(*.limit))]
    OutOfMemory {
        /// The limit of the worker's control group; the machine's memory, where it has none.
        limit: Option<Size>,
    },
    /// The worker process crashed, which is a bug.
    #[error("the compiler crashed: {how}{}", quoted(.stderr))]
    Crashed {
        /// The signal or exit code.
        how: String,
        /// The end of its standard error.
        stderr: String,
    },
    /// No worker process can be started.
    #[error("cannot start a worker process: {0}")]
    NoWorker(String),
    /// A remote did not run it.
    #[error("{problem}")]
    Remote {
        /// What the remote reports, or how the connection failed.
        problem: String,
        /// What would help.
        hint: Option<String>,
    },
    /// A remote is unreachable, or rejects every job.
    #[error("the remote farm is lost: {problem}")]
    RemoteLost {
        /// What the remote reports, or how the connection failed.
        problem: String,
        /// What would help.
        hint: Option<String>,
    },
    /// A remote sent bytes that are not the artifact of the job.
    #[error("the remote sent an invalid artifact: {problem}")]
    RemoteArtifact {
        /// What is wrong with it.
        problem: String,
    },
    /// A remote's artifact is not the one that was compiled locally.
    #[error("the artifact of {maker} has the digest {found}, expected {expected} as compiled locally")]
    RemoteDiffers {
        /// The remote.
        maker: Maker,
        /// The remote's.
        found: Digest,
        /// The local one.
        expected: Digest,
    },
    /// The build was asked to stop.
    #[error("it was interrupted")]
    Interrupted,
    /// An earlier job failed, and no more were to start after that.
    #[error("it was not tried, because an earlier job failed")]
    NotTried,
}

fn quoted(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() { String::new() } else { format!("; its standard error ends with: {text}") }
}

fn out_of_memory(limit: Option<Size>) -> String {
    let whose = limit.map_or_else(
        || "the machine has no memory left".to_owned(),
        |limit| format!("its control group has no memory left (memory.max is {limit})"),
    );
    format!("the kernel killed the worker process: {whose}")
}

/// A duration in its largest whole unit, as people type it.
fn show(duration: Duration) -> String {
    const UNITS: [(&str, u128); 3] = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let milliseconds = duration.as_millis();
    let unit = UNITS.iter().find(|(_, size)| milliseconds.is_multiple_of(*size) && milliseconds > 0);
    unit.map_or_else(|| format!("{milliseconds}ms"), |(name, size)| format!("{}{name}", milliseconds / size))
}

impl JobFailure {
    /// Whether no other job may start: the build was asked to stop, or no executor is left.
    pub fn ends_all(&self) -> bool {
        matches!(self, JobFailure::Interrupted | JobFailure::RemoteLost { .. })
    }

    /// A name for machines, in kebab case.
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
            JobFailure::OutOfMemory { .. } => "out-of-memory",
            JobFailure::Crashed { .. } => "crash",
            JobFailure::NoWorker(_) => "no-worker",
            JobFailure::Remote { .. } => "remote",
            JobFailure::RemoteLost { .. } => "remote-lost",
            JobFailure::RemoteArtifact { .. } => "remote-artifact",
            JobFailure::RemoteDiffers { .. } => "remote-lied",
            JobFailure::Interrupted => "interrupted",
            JobFailure::NotTried => "not-tried",
        }
    }
}

impl Hinted for JobFailure {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            JobFailure::Codegen(error) => return error.hint(),
            JobFailure::Remote { hint, .. } | JobFailure::RemoteLost { hint, .. } => return hint.clone(),
            JobFailure::Interrupted | JobFailure::NotTried => return None,
            JobFailure::Timeout { .. } => "raise the time limit of a job",
            JobFailure::Memory { .. } => "raise the memory limit of a job, if the machine has the memory",
            JobFailure::StackOverflow { .. } => "the module nests too deeply: split its largest function or component",
            JobFailure::Killed { .. } => {
                "if the system ran out of memory, run fewer jobs at once or lower the memory limit of a job"
            }
            JobFailure::OutOfMemory { limit: Some(_) } => {
                "raise the group's limit (memory.max), or run fewer jobs at once"
            }
            JobFailure::OutOfMemory { limit: None } => "run fewer jobs at once, or lower the memory limit of a job",
            JobFailure::Crashed { .. } => "this is a bug; please report it with the module",
            JobFailure::NoWorker(_) => "check the system's limits on processes and memory, and that /proc is mounted",
            JobFailure::RemoteArtifact { .. } => {
                "the workers or the cache of the remote damage results, or run another program"
            }
            JobFailure::RemoteDiffers { .. } => "trust nothing that this remote holds until you know who wrote it",
        };
        Some(hint.to_owned())
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
