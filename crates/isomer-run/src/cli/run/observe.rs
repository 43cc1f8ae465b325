//! `--profile` and `--coredump`: what is seen of a guest from inside. In: what was typed. Out: profilers, and files that are
//! complete or not there.

use isomer_contract::Hinted;
use isomer_layout::write_private_atomically;
use isomer_runtime::Profiler;
use isomer_terminal::Failure;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which profiler is told which function is where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// perf, by a map in the directory for temporary files.
    PerfMap,
    /// perf, by a jitdump in the current directory.
    JitDump,
    /// None: samples of the guest's stack, for the Firefox profiler.
    Guest(Option<PathBuf>),
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Profile, String> {
        let (name, file) = text.split_once('=').map_or((text, None), |(name, file)| (name, Some(file)));
        match (name, file) {
            ("perfmap", None) => Ok(Profile::PerfMap),
            ("jitdump", None) => Ok(Profile::JitDump),
            ("guest", None) => Ok(Profile::Guest(None)),
            ("guest", Some(file)) if !file.is_empty() => Ok(Profile::Guest(Some(file.into()))),
            ("vtune" | "pulley", _) => {
                Err(format!("`{name}` is not built in; expected `perfmap`, `jitdump` or `guest[=FILE]`"))
            }
            _ => Err("expected `perfmap`, `jitdump` or `guest[=FILE]`".to_owned()),
        }
    }
}

impl Profile {
    /// What the loader does for it.
    pub(super) fn loader(profile: Option<&Profile>) -> Profiler {
        match profile {
            Some(Profile::PerfMap) => Profiler::PerfMap,
            Some(Profile::JitDump) => Profiler::JitDump,
            _ => Profiler::default(),
        }
    }
}

/// Writes `bytes` to `path`, all or nothing, where no other user leads that elsewhere. They hold the guest's memory, or name
/// its functions: other users cannot read them.
pub(super) fn write(what: &str, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_private_atomically(path, |file| file.write_all(bytes))
        .map_err(|error| Failure::because(format!("cannot write {what}"), &error).hint(error.hint()))?;
    tracing::info!("{what} is in `{}`", path.display());
    Ok(())
}
