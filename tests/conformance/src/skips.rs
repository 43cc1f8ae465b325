//! The scripts and programs of a suite that are known not to pass, each with its reason: `skips.toml` for the
//! specification's suite, `expected/SUITE.toml` for the others. What is not listed must pass, and what is listed must not.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skips {
    /// Its entries.
    #[serde(default)]
    pub skip: Vec<Skip>,
}

/// What does not pass for one reason.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// Why.
    pub reason: String,
    /// Where upstream is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<String>,
    /// The profiles that it is about; all, where there are none.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Which scripts or programs.
    pub scripts: Vec<String>,
}

impl Skips {
    /// The list of the specification's suite.
    pub fn read() -> Result<Skips> {
        Skips::read_file("skips.toml")
    }

    /// The list of another suite.
    pub fn of(suite: &str) -> Result<Skips> {
        Skips::read_file(&format!("expected/{suite}.toml"))
    }

    fn read_file(name: &str) -> Result<Skips> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Why the script is not expected to pass for the profile.
    pub fn reason(&self, script: &str, profile: &str) -> Option<&str> {
        let about = |skip: &&Skip| {
            let profiles = &skip.profiles;
            (profiles.is_empty() || profiles.iter().any(|name| name == profile))
                && skip.scripts.iter().any(|name| name == script)
        };
        self.skip.iter().find(about).map(|skip| skip.reason.as_str())
    }

    /// The listed names that are not among `names`.
    pub fn unknown(&self, names: &BTreeSet<&str>) -> Vec<&str> {
        let listed = self.skip.iter().flat_map(|skip| &skip.scripts).map(String::as_str);
        listed.filter(|name| !names.contains(name)).collect()
    }
}
