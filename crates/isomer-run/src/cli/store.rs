//! `--store`: which store a command works on.

use super::wording::{self, Remedy};
use isomer_store::{DEFAULT_STORE, Installed, Store, StoreError};
use isomer_terminal::Failure;
use std::path::{Path, PathBuf};

/// Which store.
#[derive(Default, clap::Args)]
pub(crate) struct Location {
    /// The store, where modules are installed [default: the variable ISOMER_STORE, or /var/lib/isomer]
    #[arg(long = "store", value_name = "DIR", display_order = 800)]
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
        Store::open(&self.dir()).map_err(wording::store)
    }

    #[cfg(test)]
    pub(crate) fn at(dir: PathBuf) -> Location {
        Location { given: Some(dir) }
    }

    /// Whether `--store` names it.
    pub(crate) fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// The installed module called `name`.
    pub(crate) fn find(&self, name: &str) -> Result<Installed, Failure> {
        Store::open(&self.dir()).and_then(|store| store.find(name)).map_err(|error| match error {
            StoreError::NoStore { .. } if self.given.is_none() => {
                let failure = Failure::new(format!("`{name}` is not installed")).caused_by(error.to_string());
                failure.hint(as_path(name).or_else(|| error.remedy()))
            }
            error => wording::store(error).hint(as_path(name)),
        })
    }
}

/// How to write what is in the current directory under the name of a module.
fn as_path(name: &str) -> Option<String> {
    let there = Path::new(name).metadata().ok()?;
    let path = if there.is_dir() { format!("{name}/") } else { format!("./{name}") };
    Some(format!("a name without `/` is that of an installed module; what is in this directory is `{path}`"))
}
