//! The house's rules that no other tool checks. In: the files that git knows, and `cargo metadata`. Out: every breach, with
//! the file and the line. Rules: every file says what it is for; documentation names files and items that exist; packages depend on
//! what the architecture allows; no circles of imports inside a crate; libraries name no options and commands, print
//! nothing and keep to their `clippy.toml`; no source is part of two crates.

use anyhow::{Result, bail};
use isomer_testing::root;
use isomer_testing::shell::read;
use packages::Package;
use sources::Crate;
use std::fs;
use std::path::Path;
use std::process::Command;

mod circles;
mod literals;
mod packages;
mod sources;

/// Files of circles that stay, and why. A circle of which every file stands here is not reported; a row that no circle
/// needs is.
const CIRCLES: &[(&[&str], &str)] = &[];

/// Libraries whose hints still name options: their strings are not looked at.
const WORDED_FOR_PROGRAMS: &[&str] = &[];

/// The lint levels of every library: what `clippy.toml` and the standard output are for. Tests may do more.
const LIBRARY_LINTS: &str = "#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, \
                             clippy::print_stderr, clippy::print_stdout))]";

/// The names of the packages that are published, those that others build on first.
pub(crate) fn published() -> Result<Vec<String>> {
    let packages = packages::workspace()?;
    Ok(packages.into_iter().filter(Package::is_published).map(|package| package.name).collect())
}

pub(crate) fn check() -> Result<()> {
    let mut problems = Vec::new();
    for file in read(Command::new("git").arg("ls-files").current_dir(root()))?.lines() {
        let path = root().join(file);
        if file.ends_with(".rs") && path.exists() {
            source(file, &path, &mut problems)?;
        }
        if file.ends_with(".md") && path.exists() {
            links(file, &path, &mut problems)?;
        }
    }
    let mut known = Vec::new();
    for package in packages::workspace()? {
        problems.extend(packages::edges(&package));
        problems.extend(packages::publication(&package));
        modules(&package, &mut known, &mut problems)?;
    }
    for (files, _) in CIRCLES.iter().filter(|row| !known.contains(row)) {
        problems.push(format!("{}: no circle of imports any more: remove it from CIRCLES", files.join(", ")));
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("tidy:\n  {}", problems.join("\n  "))
}

fn source(file: &str, path: &Path, problems: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    if !text.starts_with("//! ") {
        problems.push(format!("{file}: the first line does not say what the file is for"));
    }
    for (number, _) in text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("#[path")) {
        problems.push(format!("{file}:{}: `#[path]` makes one file part of two modules; share a crate", number + 1));
    }
    Ok(())
}

/// Relative links, and paths in backticks that look like files of this repository.
fn links(file: &str, path: &Path, problems: &mut Vec<String>) -> Result<()> {
    const ROOTS: [&str; 5] = ["crates/", "xtask/", "tests/", "targets/", ".ci/"];
    let text = fs::read_to_string(path)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    for (number, line) in text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !target.is_empty() && !target.contains("://") && !directory.join(target).exists() {
                problems.push(format!("{file}:{}: links to {target}, which does not exist", number + 1));
            }
        }
        for named in line.split('`').skip(1).step_by(2) {
            let looks_like_file =
                ROOTS.iter().any(|root| named.starts_with(root)) && !named.contains(['*', ' ', '{', 'N', '…']);
            if looks_like_file && !names_what_exists(named) {
                problems.push(format!("{file}:{}: names {named}, which does not exist", number + 1));
            }
        }
    }
    Ok(())
}

/// Whether a name in documentation, `DIR/FILE` or `DIR/FILE.rs::ITEM`, is that of a file, and of a function, type or constant
/// that the file defines.
fn names_what_exists(named: &str) -> bool {
    let Some((file, item)) = named.split_once("::") else { return root().join(named).exists() };
    let defines = |line: &str| {
        let words: Vec<_> = line.split(|character: char| !character.is_alphanumeric() && character != '_').collect();
        let defines = |word| matches!(word, "fn" | "struct" | "enum" | "trait" | "const" | "type" | "static");
        words.windows(2).any(|pair| defines(pair[0]) && pair[1] == item)
    };
    fs::read_to_string(root().join(file)).is_ok_and(|text| text.lines().any(defines))
}

/// The rules for the modules of a package's libraries, programs and tests.
fn modules(package: &Package, known: &mut Vec<&(&[&str], &str)>, problems: &mut Vec<String>) -> Result<()> {
    for target in &package.targets {
        if target.kind.iter().any(|kind| kind == "custom-build") {
            continue;
        }
        let found = Crate::read(&target.src_path)?;
        for circle in circles::find(&found) {
            let is_of = |row: &&(&[&str], &str)| circle.iter().all(|(file, _)| row.0.contains(&file.as_str()));
            if let Some(row) = CIRCLES.iter().find(is_of) {
                known.push(row);
                continue;
            }
            let steps: Vec<_> = circle.iter().map(|(file, name)| format!("{file} takes {name}")).collect();
            problems.push(format!("a circle of imports: {}", steps.join("; ")));
        }
        if package.is_library() && target.kind.iter().any(|kind| kind == "lib") {
            library(package, &found, problems)?;
        }
    }
    Ok(())
}

fn library(package: &Package, found: &Crate, problems: &mut Vec<String>) -> Result<()> {
    let directory = package.directory();
    let faults = found.modules.values().flat_map(|module| {
        let found = module.literals.iter().filter_map(|literal| Some((literal.line, literals::fault(literal)?)));
        found.map(|(line, fault)| format!("{}:{line}: names {fault}", module.file.display()))
    });
    let faults: Vec<_> = faults.collect();
    match (WORDED_FOR_PROGRAMS.contains(&package.name.as_str()), faults.is_empty()) {
        (true, true) => {
            problems.push(format!("{} names no options any more: remove it from WORDED_FOR_PROGRAMS", package.name))
        }
        (true, false) => {}
        (false, _) => problems.extend(faults),
    }
    let root_file = root().join(&found.modules[&Vec::new()].file);
    let text: String = fs::read_to_string(&root_file)?.split_whitespace().collect();
    let lints: String = LIBRARY_LINTS.split_whitespace().collect();
    if package.name != "isomer-terminal" && !text.contains(&lints) {
        problems.push(format!("{}: lacks {LIBRARY_LINTS}", found.modules[&Vec::new()].file.display()));
    }
    if package.name != "isomer-terminal" && !root().join(&directory).join("clippy.toml").exists() {
        problems.push(format!("{}: no clippy.toml says what the library must never do", directory.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_names_files_and_what_they_define() {
        for named in ["xtask/src/tidy.rs", "xtask/src", "xtask/src/tidy.rs::published", "xtask/src/tidy.rs::CIRCLES"] {
            assert!(names_what_exists(named), "{named}");
        }
        for named in ["xtask/src/untidy.rs", "xtask/src/untidy.rs::check", "xtask/src/tidy.rs::missing"] {
            assert!(!names_what_exists(named), "{named}");
        }
    }
}
