//! `--profile` and `--coredump`: what is seen of a guest from inside. In: what was typed. Out: profilers, and files that are
//! complete or not there.

use isomer_runtime::Profiler;
use isomer_terminal::Failure;
use std::fs;
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
            _ => Profiler::default(),
        }
    }
}

/// Writes `bytes` to `path`, all or nothing.
pub(super) fn write(what: &str, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::because(format!("cannot write {what} to `{}`", path.display()), &error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // What is left of it, if anything was written.
        let _ = fs::remove_file(&partial);
    }
    written.map_err(failed)?;
    tracing::info!("{what} is in `{}`", path.display());
    Ok(())
}
