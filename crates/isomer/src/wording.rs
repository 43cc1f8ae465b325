//! What a person at this command line can do about an error: a library's hint, in this program's flags and commands. In: an
//! error. Out: its failure as `isomer-terminal` prints it. Never here: what went wrong; the error itself says that.

use isomer_compile::cache::{CacheError, VARIABLE};
use isomer_compile::executor::{JobFailure, RemoteWarning};
use isomer_compile::release::{MergeError, ReleaseError};
use isomer_compile::release_manifest::{Problem, ReleaseManifestError};
use isomer_compile::signing::SignError;
use isomer_compile::targets::TargetError;
use isomer_contract::profile::{Problem as ProfileProblem, overlay_names};
use isomer_contract::{Hinted, ProfileError};
use isomer_registry::{Problem as RegistryProblem, RegistryError};
use isomer_terminal::Failure;
use isomer_trust::{KeyError, KeyFileError};
use std::error::Error;
use std::io::ErrorKind;

/// An error of a library that has a remedy here.
pub(crate) trait Remedy: Error + Hinted + 'static {
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
            TargetError::Unknown { name, nearest: None } if !overlay_names().any(|overlay| overlay == name) => {
                Some("`isomer targets` lists the shipped profiles; name a file with its `.toml`".to_owned())
            }
            TargetError::Profile(ProfileError {
                problem: ProfileProblem::UnknownKey { nearest: None, .. }, ..
            }) => Some("`isomer targets show NAME` prints every key".to_owned()),
            _ => self.hint(),
        }
    }
}

impl Remedy for ReleaseManifestError {
    fn remedy(&self) -> Option<String> {
        match &self.problem {
            Problem::Toml(_) => Some("`isomer release --help` shows a manifest with every key".to_owned()),
            _ => self.hint(),
        }
    }
}

impl Remedy for ReleaseError {
    fn remedy(&self) -> Option<String> {
        match self {
            ReleaseError::File(error) if error.is_missing() => {
                Some("name the manifest with -f; `isomer release --help` shows one".to_owned())
            }
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
            SignError::NotRecorded { .. } => Some(
                "`isomer release --sign KEY` compiles and signs at once; `--trust-contents` signs what the directory contains"
                    .to_owned(),
            ),
            SignError::Untrusted { makers, .. } => {
                let flags: String =
                    makers.iter().filter_map(|maker| maker.remote()).map(|url| format!(" --trust-remote {url}")).collect();
                Some(format!(
                    "`isomer release --sign KEY` compares them and signs; `{}` signs them without a comparison",
                    flags.trim_start()
                ))
            }
            _ => self.hint(),
        }
    }
}

impl Remedy for CacheError {
    fn remedy(&self) -> Option<String> {
        let named = format!("name another directory with --cache or {VARIABLE}");
        Some(self.hint()?.replace("name another directory", &named))
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
            JobFailure::OutOfMemory { limit: Some(_) } => {
                Some("raise the group's limit (memory.max), or use fewer --jobs".to_owned())
            }
            JobFailure::OutOfMemory { limit: None } => Some("use fewer --jobs, or a lower --job-memory".to_owned()),
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

impl Remedy for RegistryError {
    fn remedy(&self) -> Option<String> {
        let hint = match self {
            RegistryError::PlainHttp(_) => "leave out --plain-http, and give the registry a certificate",
            RegistryError::Transfer { problem, .. } => match &**problem {
                RegistryProblem::TagExists { refusal: None, .. } => {
                    "raise the version, so that every server runs the same under one name; --move-tag moves the tag"
                }
                RegistryProblem::TokenHost { token_host, .. } => {
                    return Some(format!(
                        "if the registry's documentation names it: --token-host {token_host}, or the variable \
                         ISOMER_TOKEN_HOSTS"
                    ));
                }
                problem if problem.is_plain_http_to_tls() => "this registry has TLS: leave out --plain-http",
                problem if problem.is_tls_to_plain_http() => {
                    "a registry without TLS, on this machine only, is reached with --plain-http"
                }
                RegistryProblem::Tls { .. } => "--ca-cert FILE names a CA that is trusted beside the system's",
                _ => return self.hint(),
            },
            _ => return self.hint(),
        };
        Some(hint.to_owned())
    }
}

impl Remedy for KeyFileError {
    fn remedy(&self) -> Option<String> {
        match self {
            KeyFileError::Key { error: KeyError::PassphraseNeeded, .. } => {
                Some("name a file that holds it by `--passphrase-file`, or set ISOMER_PASSPHRASE".to_owned())
            }
            KeyFileError::Key { error: KeyError::UnsupportedAlgorithm { .. } | KeyError::Weak, .. } => {
                Some("make another: `isomer keygen`".to_owned())
            }
            KeyFileError::Io { action: "read", source, .. } if source.kind() == ErrorKind::NotFound => {
                Some("check the path; `isomer keygen` makes keys".to_owned())
            }
            _ => self.hint(),
        }
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
