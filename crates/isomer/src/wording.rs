//! What a person at this command line can do about an error: a library's hint, in this program's flags and commands. In: an
//! error. Out: its failure as `isomer-terminal` prints it. Never here: what went wrong; the error itself says that.

use isomer_compile::executor::{JobFailure, RemoteWarning};
use isomer_compile::release::{MergeError, ReleaseError};
use isomer_compile::release_manifest::{DEFAULT_NAME, Problem, ReleaseManifestError};
use isomer_compile::signing::SignError;
use isomer_compile::targets::TargetError;
use isomer_contract::Hinted;
use isomer_terminal::Failure;
use std::error::Error;

/// An error of a library that has a remedy here.
pub(crate) trait Remedy: Error + Hinted {
    /// The hint with flags and commands; the library's own where those add nothing.
    fn remedy(&self) -> Option<String>;
}

/// The error as a person sees it.
pub(crate) fn failure(error: impl Remedy) -> Failure {
    let remedy = error.remedy();
    Failure::of(&error).hint(remedy)
}

impl Remedy for TargetError {
    fn remedy(&self) -> Option<String> {
        match self {
            TargetError::Unknown { nearest: None, .. } => {
                Some("`isomer targets` lists the shipped profiles; name a file with its `.toml`".to_owned())
            }
            _ => self.hint(),
        }
    }
}

impl Remedy for ReleaseManifestError {
    fn remedy(&self) -> Option<String> {
        match &self.problem {
            Problem::Read(_) if self.path.as_os_str() == DEFAULT_NAME => {
                Some("name the manifest with -f; `isomer release --help` shows one".to_owned())
            }
            Problem::Read(_) => Some("check the path; `isomer release --help` shows a manifest".to_owned()),
            Problem::Toml(_) => Some("`isomer release --help` shows a manifest with every key".to_owned()),
            _ => self.hint(),
        }
    }
}

impl Remedy for ReleaseError {
    fn remedy(&self) -> Option<String> {
        match self {
            ReleaseError::Manifest(error) => error.remedy(),
            ReleaseError::Target { source, .. } => source.remedy(),
            ReleaseError::Whole { .. } => {
                Some("name another directory with -o; `isomer merge` joins the parts into this one".to_owned())
            }
            _ => self.hint(),
        }
    }
}

impl Remedy for MergeError {
    fn remedy(&self) -> Option<String> {
        match self {
            MergeError::NoIdentity(_) => Some("name directories that `isomer release` wrote, not copies".to_owned()),
            MergeError::MissingParts { missing, count } => {
                let first = missing.first()?;
                let others = if missing.len() > 1 { ", and the others likewise" } else { "" };
                Some(format!(
                    "`isomer release --shard {first}/{count}` builds part {first}{others}; name all parts here"
                ))
            }
            MergeError::OtherPlan(..) => {
                let same = "manifest, counter, modules, profiles, --compression and version of isomer";
                Some(format!("build every shard with the same {same}"))
            }
            MergeError::OutputIsInput { .. } => Some("name a new directory with -o".to_owned()),
            _ => self.hint(),
        }
    }
}

impl Remedy for SignError {
    fn remedy(&self) -> Option<String> {
        match self {
            SignError::NoIdentity(_) => Some(
                "other tools copy the modules without the release's name: sign it in the directory that `isomer release` \
                 wrote"
                    .to_owned(),
            ),
            SignError::Part(_) => Some("join all parts first, with `isomer merge`".to_owned()),
            _ => self.hint(),
        }
    }
}

impl Remedy for JobFailure {
    fn remedy(&self) -> Option<String> {
        let hint = self.hint();
        let with = |more: &str| hint.as_ref().map_or_else(|| more.to_owned(), |hint| format!("{hint}; {more}"));
        match self {
            JobFailure::Timeout { .. } => Some("raise the limit with --job-timeout".to_owned()),
            JobFailure::Memory { .. } => {
                Some("raise the limit with --job-memory, if the machine has the memory".to_owned())
            }
            JobFailure::Killed { .. } => {
                Some("if the system ran out of memory, use fewer --jobs or a lower --job-memory".to_owned())
            }
            JobFailure::RemoteLost { .. } => {
                Some(with("with --remote-fallback, the remaining jobs run on this machine"))
            }
            JobFailure::RemoteArtifact { .. } => {
                Some(with("with --remote-exec, --remote-skip-cache replaces the cached results"))
            }
            JobFailure::RemoteDiffers { .. } => Some(with("--distrust 100% compares every artifact")),
            _ => hint,
        }
    }
}

/// What is done about the trouble with a remote.
pub(crate) fn consequence(warning: &RemoteWarning) -> &'static str {
    match warning {
        RemoteWarning::FarmLost { .. } => "the remaining jobs run on this machine",
        RemoteWarning::CacheFailed { .. } | RemoteWarning::CacheWrong { .. } => "the job runs on this machine",
        RemoteWarning::CacheLost { .. } => "the build goes on without the remote cache",
        RemoteWarning::CacheFull { .. } => "nothing more is stored in the remote cache this time",
        RemoteWarning::Waiting { .. } => {
            "it has no workers, or other users' jobs come first; --remote-timeout bounds the wait"
        }
        _ => "the build goes on",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_remedy_names_the_flag() {
        let timeout = JobFailure::Timeout { limit: Duration::from_secs(1) };
        assert_eq!(timeout.remedy().as_deref(), Some("raise the limit with --job-timeout"));
        let lost =
            JobFailure::RemoteLost { problem: "no route".to_owned(), hint: Some("check the address".to_owned()) };
        let remedy = lost.remedy().unwrap();
        assert!(remedy.starts_with("check the address; with --remote-fallback, "), "{remedy}");
        assert_eq!(JobFailure::NotTried.remedy(), None);
    }
}
