//! In: modules and profiles. Out: what one call of `isomer compile` makes of each pair: an artifact, or why there is
//! none.

use crate::profiles::Profile;
use anyhow::{Context, Result};
use isomer_tests::isomer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What was made.
pub struct Artifacts {
    directory: tempfile::TempDir,
    /// By the module's file and the profile: status and reason.
    cells: BTreeMap<(String, String), (String, String)>,
}

/// What a module came to for a profile.
#[derive(Debug)]
pub enum Made {
    /// This file.
    Artifact(PathBuf),
    /// Not valid, or not expressible.
    Refused(String),
    /// The compiler's own fault.
    Failed(String),
}

/// Compiles every module, by its file's name, for every profile.
pub fn compile(modules: &BTreeMap<String, Vec<u8>>, profiles: &[Profile]) -> Result<Artifacts> {
    let directory = tempfile::tempdir()?;
    let mut call = isomer().arg("compile").arg("--json").arg("--out-dir").arg(directory.path());
    for (file, bytes) in modules {
        let path = directory.path().join(file);
        fs::write(&path, bytes)?;
        call = call.arg(path);
    }
    for profile in profiles {
        let file = directory.path().join(&profile.name).with_extension("toml");
        match &profile.text {
            Some(text) => {
                // Names have dots where extensions have none.
                fs::write(&file, text)?;
                call = call.arg("-t").arg(file);
            }
            None => call = call.arg("-t").arg(&profile.name),
        }
    }
    let ran = call.run();
    let printed: Value = serde_json::from_slice(&ran.output.stdout).with_context(|| ran.to_string())?;
    let text = |cell: &Value, key: &str| cell[key].as_str().unwrap_or_default().to_owned();
    let cells = printed.as_array().context("no list")?.iter().map(|cell| {
        let input = PathBuf::from(text(cell, "input"));
        let file = input.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ((file, text(cell, "target")), (text(cell, "status"), text(cell, "reason")))
    });
    Ok(Artifacts { cells: cells.collect(), directory })
}

impl Artifacts {
    /// What became of it.
    pub fn of(&self, file: &str, profile: &Profile) -> Made {
        let Some((status, reason)) = self.cells.get(&(file.to_owned(), profile.name.clone())) else {
            return Made::Refused("it cannot be read".to_owned());
        };
        match status.as_str() {
            "compiled" => Made::Artifact(self.path(file, profile)),
            "refused" | "not-expressible" => Made::Refused(reason.clone()),
            _ => Made::Failed(reason.clone()),
        }
    }

    /// Where its artifact is, if it has one.
    pub fn path(&self, file: &str, profile: &Profile) -> PathBuf {
        let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.directory.path().join(format!("{stem}.{}.cwasm", profile.name))
    }
}
