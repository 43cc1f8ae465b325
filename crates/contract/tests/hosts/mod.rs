//! In: a shipped profile. Out: its requirements, and a machine that just meets them.

#![allow(dead_code, reason = "each test file uses its part")]

use isomer_contract::isa;
use isomer_contract::{Host, Kind, Profile, Requirements};

/// What an artifact for the profile `target` requires.
pub(crate) fn requirements(target: &str) -> Requirements {
    Requirements::of_profile(&Profile::shipped(target).expect("a shipped profile"), Kind::Module)
}

/// A host that has exactly what the profile `target` needs.
pub(crate) fn host(target: &str) -> Host {
    let Requirements { arch, os, isa, .. } = requirements(target);
    let baseline = isa::all(arch).filter(|row| row.baseline).map(|row| row.name.to_owned());
    Host {
        arch,
        os,
        cpu: None,
        isa: isa.into_iter().chain(baseline).collect(),
        native_code: true,
        engine: "48.0.8".to_owned(),
    }
}
