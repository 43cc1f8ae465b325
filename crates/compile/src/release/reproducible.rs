//! In: two directories with the same release, made apart. Out: every difference, by module and target where it is in an
//! artifact, by file where it is elsewhere.

use isomer_contract::Digest;
use isomer_layout::{Layout, LayoutError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What is not the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Difference {
    /// An artifact.
    #[error("the artifact of {module} for {target} is {} and {}", show(.first), show(.second))]
    Artifact {
        /// The module.
        module: String,
        /// The profile.
        target: String,
        /// In the first release, where it is there.
        first: Option<Digest>,
        /// In the second.
        second: Option<Digest>,
    },
    /// Some other file.
    #[error("the file {} is not the same", .0.display())]
    File(PathBuf),
}

fn show(digest: &Option<Digest>) -> String {
    digest.map_or_else(|| "not there".to_owned(), |digest| digest.to_string())
}

/// Every difference between the releases in two directories.
///
/// # Errors
/// When one of them cannot be read.
pub fn differences(first: &Path, second: &Path) -> Result<Vec<Difference>, LayoutError> {
    let (artifacts, others) = (artifacts(first)?, artifacts(second)?);
    let cells: BTreeSet<_> = artifacts.keys().chain(others.keys()).collect();
    let mut found: Vec<_> = cells
        .into_iter()
        .map(|cell| (cell, (artifacts.get(cell).copied(), others.get(cell).copied())))
        .filter(|(_, (first, second))| first != second)
        .map(|((module, target), (first, second))| Difference::Artifact {
            module: module.clone(),
            target: target.clone(),
            first,
            second,
        })
        .collect();
    if found.is_empty() {
        // Nothing explains it: every file by itself.
        let unreadable = |dir: &Path| {
            let file = dir.to_owned();
            move |source| LayoutError::Io { file, source }
        };
        let (files, others) = (files(first).map_err(unreadable(first))?, files(second).map_err(unreadable(second))?);
        let names: BTreeSet<_> = files.keys().chain(others.keys()).collect();
        let different = names.into_iter().filter(|name| files.get(*name) != others.get(*name));
        found.extend(different.map(|name| Difference::File(name.clone())));
    }
    Ok(found)
}

/// The artifact of each module for each target that it is shipped for.
fn artifacts(dir: &Path) -> Result<BTreeMap<(String, String), Digest>, LayoutError> {
    let layout = Layout::open(dir)?;
    let mut artifacts = BTreeMap::new();
    for entry in layout.modules() {
        for variant in &layout.module(&entry.reference)?.variants {
            let digest = layout.manifest(variant)?.config.artifact.digest;
            artifacts.insert((entry.name.clone(), variant.target.clone()), digest);
        }
    }
    Ok(artifacts)
}

/// The digest of every file below `dir`, by its path there.
fn files(dir: &Path) -> io::Result<BTreeMap<PathBuf, Digest>> {
    let mut files = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                let digest = isomer_layout::measure(fs::File::open(&path)?)?.digest;
                files.insert(path.strip_prefix(dir).expect("it is below").to_owned(), digest);
            }
        }
    }
    Ok(files)
}
