//! `--store`: which store a command works on, and how a person is told what is wrong with it.

use super::{select, signers};
use isomer_contract::{Hinted, Mismatch};
use isomer_runtime::SelectError;
use isomer_store::{DEFAULT_STORE, Installed, Store, StoreError};
use isomer_terminal::Failure;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Which store.
#[derive(clap::Args)]
pub(crate) struct Location {
    /// The store, where modules are installed [default: the variable ISOMER_STORE, or /var/lib/isomer]
    #[arg(long = "store", value_name = "DIR")]
    given: Option<PathBuf>,
}

impl Location {
    /// Its directory.
    pub(crate) fn dir(&self) -> PathBuf {
        let variable = || std::env::var_os("ISOMER_STORE").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        self.given.clone().or_else(variable).unwrap_or_else(|| PathBuf::from(DEFAULT_STORE))
    }

    /// The store that is there.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.dir())?)
    }

    /// The module of the store that `operand` names, or none when it is a path. What it is depends on how it is written
    /// and never on the current directory, where another user may have put something of that name: a path has a `/` in
    /// it or ends in `.cwasm`. With `--store`, every operand is a name.
    pub(crate) fn module<'a>(&self, operand: &'a OsStr) -> Option<&'a str> {
        let name = operand.to_str()?;
        let is_path = name.contains('/') || name.ends_with(".cwasm") || [".", ".."].contains(&name);
        (self.given.is_some() || !is_path).then_some(name)
    }

    /// The installed module called `name`.
    pub(crate) fn find(&self, name: &str) -> Result<Installed, Failure> {
        Store::open(&self.dir()).and_then(|store| store.find(name)).map_err(|error| match error {
            StoreError::NoStore { .. } if self.given.is_none() => {
                let failure = Failure::new(format!("`{name}` is not installed")).caused_by(error.to_string());
                failure.hint(as_path(name).or_else(|| error.hint()))
            }
            error => Failure::from(error).hint(as_path(name)),
        })
    }
}

/// How to write what is in the current directory under the name of a module.
fn as_path(name: &str) -> Option<String> {
    let there = Path::new(name).metadata().ok()?;
    let path = if there.is_dir() { format!("{name}/") } else { format!("./{name}") };
    Some(format!("a name without `/` is that of an installed module; what is in this directory is `{path}`"))
}

/// Why a module of `release`, or an installed one, is not to be had.
pub(crate) fn failure(error: StoreError, release: Option<&str>, on: &str) -> Failure {
    match error {
        StoreError::Trust(error) => signers::failure(release, error),
        StoreError::Select(error) => select::failure(&error, on, false),
        StoreError::Layout(error) => Failure::from(error),
        StoreError::Fetch(error) => Failure::from(error),
        StoreError::Source(error) => Failure::from(error),
        error => Failure::from(error),
    }
}

/// Why none of the installed variants will do, where another one of the same module may.
pub(crate) fn not_chosen(error: &SelectError, on: &str, installed: &Installed) -> Failure {
    match error {
        SelectError::NoneRuns { module, rejected, excluded } if excluded.is_empty() => {
            let failure = Failure::new(format!("no installed variant of `{module}` runs {on}"));
            let add = |failure: Failure, (target, mismatches): &(String, Vec<Mismatch>)| {
                let reasons: Vec<_> = mismatches.iter().map(|mismatch| format!("  {mismatch}")).collect();
                failure.caused_by(format!("{target}\n{}", reasons.join("\n")))
            };
            let from = &installed.record().from;
            rejected.iter().fold(failure, add).hint(format!("pull the one that does: `isomer-run pull {from}`"))
        }
        error => select::failure(error, on, false),
    }
}
