//! In: the text of an `isomer.toml`. Out: a [`ReleaseManifest`], what a release is to hold, or the first problem with
//! its line. Files are not opened here.

use crate::targets::ALL;
use isomer_contract::Hinted;
use serde::de::{self, Expected, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// The manifest's file name by default.
pub const DEFAULT_NAME: &str = "isomer.toml";

/// What a release is to hold. Paths are relative to the manifest's directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseManifest {
    /// The release as a whole.
    pub release: ReleaseSection,
    /// Its modules.
    #[serde(default, rename = "module")]
    pub modules: Vec<ModuleSection>,
}

/// `[release]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSection {
    /// Its name, for people and signatures.
    pub name: String,
    /// The version of every module in it.
    pub version: String,
    /// Larger in each release than in all before, or 0: signatures hold it, and servers compare it.
    #[serde(default, deserialize_with = "counter")]
    pub counter: u64,
    /// Shipped profiles, profile files, or `all`.
    pub targets: Vec<String>,
}

/// `[[module]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleSection {
    /// What `isomer-run` calls it; the file's stem unless it is given.
    pub name: Option<String>,
    /// A core module, a component, or text.
    pub path: PathBuf,
    /// Instead of the release's.
    pub targets: Option<Vec<String>>,
}

/// A problem with its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseManifestError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if known.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(String),
    /// Not TOML, or not a manifest's keys and types.
    #[error("{0}")]
    Toml(String),
    /// No module.
    #[error("missing [[module]]: a release holds at least one")]
    NoModules,
    /// Nothing to compile for.
    #[error("`targets` of {0} is empty")]
    NoTargets(String),
    /// Two modules of one name.
    #[error("two modules are called `{name}`: {} and {}", .first.display(), .second.display())]
    DuplicateModule {
        /// The name.
        name: String,
        /// The first file.
        first: PathBuf,
        /// The second file.
        second: PathBuf,
    },
    /// A name that registries do not take.
    #[error(
        "the module name `{0}` is no OCI repository name: lower-case letters and digits, with `.`, `_` or `-` between"
    )]
    ModuleName(String),
    /// A release's name that no tool could show or store.
    #[error("the release's name `{}` is none: letters and digits, with `.`, `_`, `-`, `/` or a space between", .0.escape_debug())]
    ReleaseName(String),
    /// A version that registries do not take.
    #[error(
        "the version `{0}` is no OCI tag: letters, digits, `.`, `_` and `-`, at most 100, not starting with `.` or `-`"
    )]
    Version(String),
    /// A path without a file name.
    #[error("`{}` names no file", .0.display())]
    NoFileName(PathBuf),
}

impl Hinted for ReleaseManifestError {
    fn hint(&self) -> Option<String> {
        match &self.problem {
            Problem::Read(_) if self.path.as_os_str() == DEFAULT_NAME => Some("name the manifest".to_owned()),
            Problem::Read(_) => Some("check the path".to_owned()),
            Problem::Toml(_) => None,
            Problem::NoModules => Some("add `[[module]]` and `path = \"app.wasm\"`".to_owned()),
            Problem::NoTargets(_) => Some(format!("name profiles, or `targets = [\"{ALL}\"]`")),
            Problem::DuplicateModule { .. } => Some("give one of them a `name`".to_owned()),
            Problem::ModuleName(name) => {
                let fits: String =
                    name.to_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).collect::<Vec<_>>().join("-");
                let fits = fits.trim_matches('-').to_owned();
                is_module_name(&fits).then(|| format!("give it a name: `name = \"{fits}\"`"))
            }
            Problem::Version(_) => Some("semantic versions without `+` are tags: `1.4.0`".to_owned()),
            Problem::ReleaseName(_) => Some("name it, for example, `name = \"acme-plugins\"`".to_owned()),
            Problem::NoFileName(_) => None,
        }
    }
}

impl fmt::Display for ReleaseManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.problem),
            None => write!(f, "{}: {}", self.path.display(), self.problem),
        }
    }
}

impl std::error::Error for ReleaseManifestError {}

impl ModuleSection {
    /// The given name, or the file's stem.
    pub fn name(&self) -> String {
        let stem = || self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.name.clone().unwrap_or_else(stem)
    }
}

impl ReleaseManifest {
    /// Parses and checks the text of the manifest at `path`.
    ///
    /// # Errors
    /// The first problem, with its line if known.
    pub fn parse(path: &Path, text: &str) -> Result<ReleaseManifest, ReleaseManifestError> {
        let error = |line, problem| ReleaseManifestError { path: path.to_owned(), line, problem };
        let manifest: ReleaseManifest = toml::from_str(text).map_err(|toml| {
            let line =
                toml.span().map(|span| 1 + text.as_bytes()[..span.start].iter().filter(|b| **b == b'\n').count());
            error(line, Problem::Toml(toml.message().to_owned()))
        })?;
        manifest.check().map_err(|problem| error(None, problem))?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Problem> {
        if !is_release_name(&self.release.name) {
            return Err(Problem::ReleaseName(self.release.name.clone()));
        }
        if !is_version(&self.release.version) {
            return Err(Problem::Version(self.release.version.clone()));
        }
        if self.release.targets.is_empty() {
            return Err(Problem::NoTargets("[release]".to_owned()));
        }
        if self.modules.is_empty() {
            return Err(Problem::NoModules);
        }
        let mut names: BTreeSet<String> = BTreeSet::new();
        for module in &self.modules {
            let name = module.name();
            if module.path.file_stem().is_none() {
                return Err(Problem::NoFileName(module.path.clone()));
            }
            if !is_module_name(&name) {
                return Err(Problem::ModuleName(name));
            }
            if module.targets.as_ref().is_some_and(Vec::is_empty) {
                return Err(Problem::NoTargets(format!("the module `{name}`")));
            }
            if !names.insert(name.clone()) {
                let first = self.modules.iter().find(|other| other.name() == name).expect("the name was inserted");
                return Err(Problem::DuplicateModule { name, first: first.path.clone(), second: module.path.clone() });
            }
        }
        Ok(())
    }
}

/// Reports what a manifest may hold, not what Rust's types do.
fn counter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Counter;
    impl Visitor<'_> for Counter {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from 0 to {}", u64::MAX)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
            self.visit_i128(number.into())
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_i128<E: de::Error>(self, number: i128) -> Result<u64, E> {
            u64::try_from(number)
                .map_err(|_| E::custom(format!("`counter` is {number}, expected {}", &self as &dyn Expected)))
        }
    }
    deserializer.deserialize_u64(Counter)
}

/// What people and signatures call a release by; it names no file.
fn is_release_name(name: &str) -> bool {
    let edges = name.starts_with(char::is_alphanumeric) && name.ends_with(char::is_alphanumeric);
    edges && name.len() <= 128 && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ' '))
}

/// A path component of a repository name, as the OCI distribution specification has it.
fn is_module_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let edges = name.starts_with(inner) && name.ends_with(inner);
    edges && name.len() <= 128 && name.chars().all(|c| inner(c) || matches!(c, '.' | '_' | '-'))
}

/// A tag, with room for the suffix of the plain Wasm's.
fn is_version(version: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    version.starts_with(first)
        && version.len() <= 100
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ReleaseManifest, String> {
        ReleaseManifest::parse(Path::new("isomer.toml"), text).map_err(|error| error.to_string())
    }

    const HEAD: &str = "[release]\nname = 'r'\nversion = '1.0.0'\ntargets = ['all']\n";

    #[test]
    fn names_default_to_the_stem() {
        let manifest = parse(&format!("{HEAD}[[module]]\npath = 'modules/resize.wasm'\n")).unwrap();
        assert_eq!(manifest.modules[0].name(), "resize");
    }

    #[test]
    fn each_problem_names_its_location() {
        let cases = [
            ("", "isomer.toml:1: missing field `release`"),
            (&format!("{HEAD}[[module]]\npath = 'a.wasm'\ntarget = ['x']\n"), "isomer.toml:7: unknown field `target`"),
            (HEAD, "isomer.toml: missing [[module]]"),
            (
                &format!("{HEAD}[[module]]\npath='a/x.wasm'\n[[module]]\npath='b/x.wasm'\n"),
                "two modules are called `x`",
            ),
            (&format!("{HEAD}[[module]]\npath='My App.wasm'\n"), "the module name `My App`"),
            (&HEAD.replace("1.0.0", "1.0+x"), "the version `1.0+x`"),
            (
                &format!("{HEAD}counter = -1"),
                "5: `counter` is -1, expected a whole number from 0 to 18446744073709551615",
            ),
            (&format!("{HEAD}counter = 99999999999999999999"), "`counter` is 99999999999999999999, expected a whole"),
            (&format!("{HEAD}counter = '1'"), "invalid type: string \"1\", expected a whole number from 0 to"),
            (&HEAD.replace("name = 'r'", "name = \"../\\u0007\""), "the release's name `../\\u{7}`"),
            (&HEAD.replace("['all']", "[]"), "`targets` of [release] is empty"),
        ];
        for (text, expected) in cases {
            let found = parse(text).unwrap_err();
            assert!(found.contains(expected), "{found}\nshould contain\n{expected}");
        }
    }
}
