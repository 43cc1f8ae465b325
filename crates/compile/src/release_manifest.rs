//! In: the text of an `isomer.toml`. Out: a [`ReleaseManifest`], what a release is to hold, or the first problem with
//! its line. Files are not opened here.

mod limits;

pub use limits::FormLimits;
pub(crate) use limits::with_limits;

use crate::targets::ALL;
use isomer_contract::limits::COUNTER_MAX;
use isomer_contract::name::{ModuleName, NameError, ReleaseName, Version};
use isomer_contract::{Hinted, line_at};
use limits::form_limits;
use serde::de::{self, Expected, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The manifest's file name by default.
pub const DEFAULT_NAME: &str = "isomer.toml";

/// What a release is to hold. Paths are relative to the manifest's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseManifest {
    /// The release as a whole.
    pub release: ReleaseSection,
    /// Its modules.
    pub modules: Vec<ModuleSection>,
}

/// `[release]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseSection {
    /// Its name, for people and signatures.
    pub name: ReleaseName,
    /// The version of every module in it.
    pub version: Version,
    /// Larger in each release than in all before, at most [`COUNTER_MAX`]: it is signed, and servers compare it. 0
    /// turns that comparison off.
    pub counter: u64,
    /// Shipped profiles, profile files, or `all`.
    pub targets: Vec<String>,
    /// The forms of each target, unless a module states its own.
    pub limits: Vec<FormLimits>,
}

/// `[[module]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSection {
    /// What `isomer-run` calls it; the file's stem unless it is given.
    pub name: ModuleName,
    /// A core module, a component, or text.
    pub path: PathBuf,
    /// Instead of the release's.
    pub targets: Option<Vec<String>>,
    /// Instead of the release's.
    pub limits: Option<Vec<FormLimits>>,
}

/// A manifest as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a manifest")]
struct ManifestText {
    release: ReleaseText,
    #[serde(default, rename = "module")]
    modules: Vec<ModuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table [release]")]
struct ReleaseText {
    name: Spanned<String>,
    version: Spanned<String>,
    #[serde(default, deserialize_with = "counter")]
    counter: u64,
    targets: Spanned<Vec<String>>,
    limits: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[module]]")]
struct ModuleText {
    name: Option<Spanned<String>>,
    path: Spanned<PathBuf>,
    targets: Option<Spanned<Vec<String>>>,
    limits: Option<Vec<Spanned<String>>>,
}

/// A problem with its location.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Not TOML, or not a manifest's keys and types.
    #[error("{0}")]
    Toml(String),
    /// No module.
    #[error("missing [[module]]: a release holds at least one")]
    NoModules,
    /// Nothing to compile for.
    #[error("`targets` of {0} is empty")]
    NoTargets(String),
    /// A form with a limit that does not exist.
    #[error("`limits` names `{name}`; expected `none`, `epoch`, `fuel` or `epoch+fuel`")]
    UnknownLimit {
        /// As typed.
        name: String,
        /// The nearest word.
        nearest: Option<String>,
    },
    /// A form, or a limit of one, that is named twice.
    #[error("`limits` names `{0}` twice")]
    LimitTwice(String),
    /// No form.
    #[error("`limits` of {0} is empty")]
    NoLimits(String),
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
    /// A name or version that is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A path without a file name.
    #[error("`{}` names no file", .0.display())]
    NoFileName(PathBuf),
}

impl Hinted for ReleaseManifestError {
    fn hint(&self) -> Option<String> {
        match &self.problem {
            Problem::Toml(_) => None,
            Problem::NoModules => Some("add `[[module]]` and `path = \"app.wasm\"`".to_owned()),
            Problem::UnknownLimit { nearest, .. } => {
                nearest.as_ref().map(|nearest| format!("did you mean `{nearest}`?"))
            }
            Problem::LimitTwice(_) => Some("name it once".to_owned()),
            Problem::NoLimits(_) => Some("`limits = [\"none\"]` is the default: the plain form alone".to_owned()),
            Problem::NoTargets(_) => Some(format!("name profiles, or `targets = [\"{ALL}\"]`")),
            Problem::DuplicateModule { .. } => Some("give one of them a `name`".to_owned()),
            Problem::Name(error) => {
                error.suggestion().map(|name| format!("give it a name: `name = \"{name}\"`")).or_else(|| error.hint())
            }
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

impl ReleaseManifest {
    /// Parses and checks the text of the manifest at `path`.
    ///
    /// # Errors
    /// The first problem, with its line if known.
    pub fn parse(path: &Path, text: &str) -> Result<ReleaseManifest, ReleaseManifestError> {
        let error = |span: Option<Range<usize>>, problem| ReleaseManifestError {
            path: path.to_owned(),
            line: span.map(|span| line_at(text, span.start)),
            problem,
        };
        let typed: ManifestText =
            toml::from_str(text).map_err(|toml| error(toml.span(), Problem::Toml(toml.message().to_owned())))?;
        let ReleaseText { name, version, counter, targets, limits: of_release } = typed.release;
        let limits = |typed: Option<Vec<Spanned<String>>>, of: &dyn Fn() -> String| match typed {
            Some(typed) => form_limits(typed, of).map(Some).map_err(|(span, problem)| error(span, problem)),
            None => Ok(None),
        };
        let named = |span: Range<usize>| move |problem: NameError| error(Some(span), problem.into());
        let release = ReleaseSection {
            name: name.get_ref().parse().map_err(named(name.span()))?,
            version: version.get_ref().parse().map_err(named(version.span()))?,
            counter,
            targets: non_empty(targets, || "[release]".to_owned())
                .map_err(|(span, problem)| error(Some(span), problem))?,
            limits: limits(of_release, &|| "[release]".to_owned())?.unwrap_or_else(|| vec![FormLimits::default()]),
        };
        if typed.modules.is_empty() {
            return Err(error(None, Problem::NoModules));
        }
        let mut modules: Vec<ModuleSection> = Vec::new();
        for ModuleText { name, path, targets, limits: of_module } in typed.modules {
            let span = name.as_ref().map_or(path.span(), Spanned::span);
            let path = path.into_inner();
            let Some(stem) = path.file_stem() else { return Err(error(Some(span), Problem::NoFileName(path))) };
            let name = name.map_or_else(|| stem.to_string_lossy().into_owned(), Spanned::into_inner);
            let name = ModuleName::try_from(name).map_err(named(span.clone()))?;
            if let Some(first) = modules.iter().find(|other| other.name == name) {
                let (name, first) = (name.to_string(), first.path.clone());
                return Err(error(Some(span), Problem::DuplicateModule { name, first, second: path }));
            }
            let targets = targets.map(|targets| non_empty(targets, || format!("the module `{name}`"))).transpose();
            let targets = targets.map_err(|(span, problem)| error(Some(span), problem))?;
            let limits = limits(of_module, &|| format!("the module `{name}`"))?;
            modules.push(ModuleSection { name, path, targets, limits });
        }
        Ok(ReleaseManifest { release, modules })
    }
}

/// `targets` unless it is empty; `of` names the table that it is in.
fn non_empty(
    targets: Spanned<Vec<String>>,
    of: impl FnOnce() -> String,
) -> Result<Vec<String>, (Range<usize>, Problem)> {
    if targets.get_ref().is_empty() {
        return Err((targets.span(), Problem::NoTargets(of())));
    }
    Ok(targets.into_inner())
}

/// Reports what a manifest may hold, not what Rust's types do.
fn counter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Counter;
    impl Visitor<'_> for Counter {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from 0 to {COUNTER_MAX}")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
            self.visit_i128(number.into())
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            self.visit_i128(number.into())
        }

        fn visit_i128<E: de::Error>(self, number: i128) -> Result<u64, E> {
            let counter = u64::try_from(number).ok().filter(|counter| *counter <= COUNTER_MAX);
            counter.ok_or_else(|| E::custom(format!("`counter` is {number}, expected {}", &self as &dyn Expected)))
        }
    }
    deserializer.deserialize_u64(Counter)
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
        assert_eq!(manifest.modules[0].name.as_str(), "resize");
    }

    #[test]
    fn a_module_states_its_own_limits_or_has_those_of_the_release() {
        let overlays = |text: &str| -> Vec<Vec<&str>> {
            let manifest = parse(text).unwrap();
            let limits = manifest.modules[0].limits.clone().unwrap_or(manifest.release.limits);
            limits.iter().map(|form| form.overlays().collect()).collect()
        };
        let module = "[[module]]\npath = 'a.wasm'\n";
        assert_eq!(overlays(&format!("{HEAD}{module}")), [vec![""; 0]]);
        assert_eq!(overlays(&format!("{HEAD}limits = ['epoch', 'none']\n{module}")), [vec!["epoch"], vec![]]);
        let own = format!("{HEAD}limits = ['epoch']\n{module}limits = ['none', 'fuel+epoch']");
        assert_eq!(overlays(&own), [vec![], vec!["epoch", "fuel"]]);
    }

    /// What is written into a release is read from it again: neither fails after modules were compiled.
    #[test]
    fn names_that_no_release_can_hold_are_refused() {
        let module = "[[module]]\npath = 'a.wasm'\nname = ";
        for (text, expected) in [
            (format!("{HEAD}{module}'a..b'"), "isomer.toml:7: invalid module name `a..b`"),
            (format!("{HEAD}{module}'a__b'"), "isomer.toml:7: invalid module name `a__b`"),
            (format!("{HEAD}{module}'{}'", "a".repeat(101)), "isomer.toml:7: invalid module name `aaaa"),
            (HEAD.replace("1.0.0", "1.0-"), "isomer.toml:3: invalid version `1.0-`"),
            (HEAD.replace("1.0.0", "1.0+x"), "isomer.toml:3: invalid version `1.0+x`"),
            (HEAD.replace("name = 'r'", "name = \"../\\u0007\""), "isomer.toml:2: invalid release name `../\\u{7}`"),
        ] {
            let found = parse(&text).unwrap_err();
            assert!(found.starts_with(expected), "{found}\nshould start with\n{expected}");
        }
    }

    #[test]
    fn each_problem_names_its_location() {
        let cases = [
            ("", "isomer.toml:1: missing field `release`"),
            (&format!("{HEAD}[[module]]\npath = 'a.wasm'\ntarget = ['x']\n"), "isomer.toml:7: unknown field `target`"),
            (HEAD, "isomer.toml: missing [[module]]"),
            (
                &format!("{HEAD}[[module]]\npath='a/x.wasm'\n[[module]]\npath='b/x.wasm'\n"),
                "isomer.toml:8: two modules are called `x`",
            ),
            (&format!("{HEAD}[[module]]\npath='My App.wasm'\n"), "isomer.toml:6: invalid module name `My App`"),
            (&format!("{HEAD}counter = -1"), "5: `counter` is -1, expected a whole number from 0 to 9007199254740991"),
            (&format!("{HEAD}counter = 99999999999999999999"), "`counter` is 99999999999999999999, expected a whole"),
            (&format!("{HEAD}counter = '1'"), "invalid type: string \"1\", expected a whole number from 0 to"),
            (&format!("{HEAD}counter = 9007199254740992"), "5: `counter` is 9007199254740992, expected a whole"),
            (&HEAD.replace("['all']", "[]"), "isomer.toml:4: `targets` of [release] is empty"),
            (
                &format!("{HEAD}[[module]]\npath = 'a.wasm'\nlimits = ['none',\n'epohc']"),
                "isomer.toml:8: `limits` names `epohc`; expected `none`, `epoch`, `fuel` or `epoch+fuel`",
            ),
            (&format!("{HEAD}limits = ['none+epoch']"), "isomer.toml:5: `limits` names `none+epoch`; expected"),
            (
                &format!("{HEAD}limits = ['epoch+fuel', 'fuel+epoch']"),
                "isomer.toml:5: `limits` names `fuel+epoch` twice",
            ),
            (&format!("{HEAD}limits = ['fuel+fuel']"), "isomer.toml:5: `limits` names `fuel+fuel` twice"),
            (&format!("{HEAD}[[module]]\npath = 'a.wasm'\nlimits = []"), "`limits` of the module `a` is empty"),
        ];
        for (text, expected) in cases {
            let found = parse(text).unwrap_err();
            assert!(found.contains(expected), "{found}\nshould contain\n{expected}");
        }
    }
}
