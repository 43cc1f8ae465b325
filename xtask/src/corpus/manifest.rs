//! In: `tests/corpus.toml`. Out: the modules of the corpus, where each comes from, and what is expected of it. Never here: a
//! registry, a compiler.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;

/// corpus.toml; its first lines say what each field means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) package: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    pub(super) registry: Registry,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) sha256: String,
    #[allow(dead_code, reason = "for people")]
    license: String,
    pub(super) module: Vec<Module>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Registry {
    Npm,
    Pypi,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) kind: Kind,
    #[serde(default)]
    #[allow(dead_code, reason = "for people: the bytes say it to programs")]
    needs: Vec<String>,
    #[allow(dead_code, reason = "for people")]
    note: String,
    #[serde(default)]
    pub(super) heavy: bool,
    pub(super) expect: Expect,
    #[serde(default)]
    #[allow(dead_code, reason = "for those who want to run one; here they are only compiled")]
    cases: Vec<Case>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Module,
    Component,
}

/// How the module is run as a WASI command: the same fields as in tests/guests/guests.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "see Module::cases")]
pub(super) struct Case {
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    exit: i32,
}

/// What `isomer compile` must make of a module.
#[derive(Deserialize, PartialEq, Debug)]
#[serde(try_from = "String")]
pub(super) enum Expect {
    /// An artifact for every target but those that cannot express it.
    Compiles,
    /// For no target, because of this proposal.
    Refused(String),
}

impl TryFrom<String> for Expect {
    type Error = String;

    fn try_from(text: String) -> Result<Expect, String> {
        match text.split_once(": ") {
            None if text == "compiles" => Ok(Expect::Compiles),
            Some(("refused", proposal)) => Ok(Expect::Refused(proposal.to_owned())),
            _ => Err(format!("`expect` is {text:?}, not \"compiles\" or \"refused: PROPOSAL\"")),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Compiles => f.write_str("compiles"),
            Expect::Refused(proposal) => write!(f, "refused: {proposal}"),
        }
    }
}

pub(super) fn read_manifest() -> Result<Manifest> {
    let path = isomer_testing::root().join("tests").join("corpus.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| format!("could not read {}", path.display()))?;
    let mut names = BTreeSet::new();
    for module in manifest.package.iter().flat_map(|package| &package.module) {
        ensure!(names.insert(&module.name), "{}: two modules are named {}", path.display(), module.name);
    }
    Ok(manifest)
}

pub(super) fn directory() -> PathBuf {
    isomer_testing::root().join("target").join("corpus")
}

pub(super) fn file_of(module: &Module) -> PathBuf {
    directory().join(format!("{}.wasm", module.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_well_formed() {
        let manifest = read_manifest().unwrap();
        for package in &manifest.package {
            assert_eq!(hex::decode(&package.sha256).unwrap().len(), 32, "{}", package.name);
            for module in &package.module {
                assert_eq!(hex::decode(&module.sha256).unwrap().len(), 32, "{}", module.name);
                assert!(module.heavy || module.bytes <= 20_000_000, "{} is over 20 MB, not `heavy`", module.name);
            }
        }
    }
}
