//! `skips.toml`: the scripts that are known not to pass, each with its reason. What is not listed must pass, and what
//! is listed must not.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skips {
    /// Its entries.
    pub skip: Vec<Skip>,
}

/// Scripts that do not pass for one reason.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// Why.
    pub reason: String,
    /// The profiles that it is about; all, where there are none.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Which.
    pub scripts: Vec<String>,
}

impl Skips {
    /// The list of this checkout.
    pub fn read() -> Result<Skips> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("skips.toml");
        toml::from_str(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())
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
}
