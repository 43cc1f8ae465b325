//! In: a directory. Out: the suites of others that are in it, as their repositories lay them out. Nothing of these
//! repositories is in this one: users make the checkouts with git.

use crate::suite::{Script, Setting, scripts_in, settings_in_header};
use crate::wasi::{Program, programs_in};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// A suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `wasi-testsuite`, with the programs that its branch `prod/testsuite-base` holds.
    Wasi,
    /// wasmtime's own scripts.
    Wasmtime,
    /// The component model's scripts.
    ComponentModel,
}

impl Kind {
    /// The suite's name: that of its file in `expected`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Wasi => "wasi-testsuite",
            Kind::Wasmtime => "wasmtime",
            Kind::ComponentModel => "component-model",
        }
    }

    /// Where the suite is in a checkout.
    fn path(self) -> &'static str {
        match self {
            Kind::Wasi => "tests/rust/testsuite",
            Kind::Wasmtime => "tests/misc_testsuite",
            Kind::ComponentModel => "test/values",
        }
    }
}

/// A suite on disk.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Which.
    pub kind: Kind,
    /// The checkout's root.
    pub directory: PathBuf,
}

impl Checkout {
    /// The suite whose checkout `directory` is.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn find(directory: &Path) -> Result<Checkout> {
        let kinds = [Kind::Wasi, Kind::Wasmtime, Kind::ComponentModel];
        match kinds.into_iter().find(|kind| directory.join(kind.path()).is_dir()) {
            Some(kind) => Ok(Checkout { kind, directory: directory.to_owned() }),
            None => bail!(
                "{}: expected a checkout of wasi-testsuite (branch prod/testsuite-base, with {}), wasmtime (with {}) or \
                 component-model (with {}), found none of these directories",
                directory.display(),
                kinds[0].path(),
                kinds[1].path(),
                kinds[2].path()
            ),
        }
    }

    /// Its scripts; none for programs.
    ///
    /// # Errors
    /// When a file cannot be read, or says of itself what is not understood.
    pub fn scripts(&self) -> Result<Vec<Script>> {
        match self.kind {
            Kind::Wasi => Ok(Vec::new()),
            Kind::Wasmtime => {
                scripts_in(&self.directory.join("tests/misc_testsuite"), |_, text| settings_in_header(text))
            }
            Kind::ComponentModel => scripts_in(&self.directory.join("test"), |name, _| Ok(of_component_model(name))),
        }
    }

    /// Its programs; none for scripts.
    ///
    /// # Errors
    /// When a file cannot be read, or says what is not understood.
    pub fn programs(&self) -> Result<Vec<Program>> {
        match self.kind {
            Kind::Wasi => programs_in(&self.directory.join("tests")),
            Kind::Wasmtime | Kind::ComponentModel => Ok(Vec::new()),
        }
    }
}

/// What the suite's README enables for wasmtime.
fn of_component_model(name: &str) -> Vec<Setting> {
    const PROPOSALS: [&str; 6] =
        ["async-stackful", "fixed-length-lists", "implements", "map", "more-async-builtins", "threading"];
    let proposal = |name: &str| Setting::proposal(&format!("component-model-{name}"));
    let memory64 = name.ends_with("memory64.wast").then(|| proposal("memory64"));
    PROPOSALS.into_iter().map(proposal).chain(memory64).collect()
}
