//! The house's rules that no other tool checks: every file says what it is for, documentation names files that exist,
//! the crates import only what the architecture allows.

use crate::shell::{read, root};
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A package and the workspace packages that it may depend on.
const EDGES: [(&str, &[&str]); 12] = [
    ("contract", &[]),
    ("layout", &["isomer-contract"]),
    ("terminal", &["isomer-contract"]),
    ("trust", &["isomer-contract"]),
    ("registry", &["isomer-contract", "isomer-layout"]),
    ("remote", &[]),
    ("compile", &["isomer-contract", "isomer-layout", "isomer-remote", "isomer-trust"]),
    (
        "isomer",
        &[
            "isomer-compile",
            "isomer-contract",
            "isomer-layout",
            "isomer-registry",
            "isomer-remote",
            "isomer-terminal",
            "isomer-trust",
        ],
    ),
    ("run", &["isomer-contract", "isomer-layout", "isomer-trust"]),
    ("store", &["isomer-contract", "isomer-layout", "isomer-runtime", "isomer-trust"]),
    ("guest", &["isomer-contract", "isomer-runtime"]),
    (
        "isomer-run",
        &[
            "isomer-contract",
            "isomer-guest",
            "isomer-layout",
            "isomer-registry",
            "isomer-runtime",
            "isomer-store",
            "isomer-terminal",
            "isomer-trust",
        ],
    ),
];

pub(crate) fn check() -> Result<()> {
    let mut problems = Vec::new();
    for file in read(Command::new("git").arg("ls-files").current_dir(root()))?.lines() {
        let path = root().join(file);
        if file.ends_with(".rs") && path.exists() {
            headline(file, &path, &mut problems)?;
        }
        if file.ends_with(".md") && path.exists() {
            links(file, &path, &mut problems)?;
        }
    }
    edges(&mut problems)?;
    if problems.is_empty() {
        return Ok(());
    }
    bail!("tidy:\n  {}", problems.join("\n  "))
}

fn headline(file: &str, path: &Path, problems: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    if !text.starts_with("//! ") {
        problems.push(format!("{file}: the first line does not say what the file is for"));
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
            if looks_like_file && !root().join(named).exists() {
                problems.push(format!("{file}:{}: names {named}, which does not exist", number + 1));
            }
        }
    }
    Ok(())
}

fn edges(problems: &mut Vec<String>) -> Result<()> {
    for (package, allowed) in EDGES {
        let manifest: toml::Table =
            fs::read_to_string(root().join("crates").join(package).join("Cargo.toml"))?.parse()?;
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        let names = dependencies.into_iter().flat_map(|table| table.keys()).filter(|name| name.starts_with("isomer-"));
        for name in names.filter(|name| !allowed.contains(&name.as_str())) {
            problems.push(format!("crates/{package} depends on {name}, which the architecture does not allow"));
        }
    }
    Ok(())
}
