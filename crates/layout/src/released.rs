//! In: the modules that a release is to hold. Out: whether they fit together. Never here: a file.

use crate::{Compression, Layer, Wasm, WriteError};
use isomer_contract::manifest::{Blob, VariantConfig};
use isomer_contract::name::{ModuleName, Version};
use std::collections::BTreeSet;

/// A module for [`Writer::finish`](crate::Writer::finish).
#[derive(Clone, Debug)]
pub struct ReleasedModule {
    /// Its name in the release.
    pub name: ModuleName,
    /// Its version; with the name, its reference.
    pub version: Version,
    /// What it was compiled from.
    pub wasm: Wasm,
    /// Its compiled forms, in any order.
    pub variants: Vec<(VariantConfig, Layer)>,
}

/// Checks that the modules can be in one release; `present` tells which blobs exist.
pub(crate) fn check_modules(modules: &[ReleasedModule], present: impl Fn(Blob) -> bool) -> Result<(), WriteError> {
    let mut references = BTreeSet::new();
    for module in modules {
        let ReleasedModule { name, version, wasm, variants } = module;
        for reference in [format!("{name}:{version}"), format!("{name}:{version}-wasm")] {
            if !references.insert(reference.clone()) {
                return Err(WriteError::Duplicate(format!("`{reference}`")));
            }
        }
        let inconsistent = |problem: String| WriteError::Inconsistent { module: name.to_string(), problem };
        if !present(wasm.blob()) {
            return Err(inconsistent("its WebAssembly is not in this directory".to_owned()));
        }
        let mut names = BTreeSet::new();
        for (config, layer) in variants {
            let target = &config.target;
            if !names.insert((target, &config.engine)) {
                return Err(WriteError::Duplicate(format!("the variant `{target}` of `{name}`")));
            }
            let wrong = [
                (config.module != name.as_str(), "is of another module"),
                (config.wasm != wasm.blob(), "was compiled from another WebAssembly"),
                (config.requirements.kind != wasm.kind(), "is of another kind"),
                (config.compat != config.requirements.compat(), "has a wrong compat digest"),
                (
                    layer.compression == Compression::None && layer.blob != config.artifact,
                    "has a layer that is not its artifact",
                ),
                (!present(layer.blob), "has a layer that was neither added nor kept"),
            ];
            if let Some((_, problem)) = wrong.iter().find(|(wrong, _)| *wrong) {
                return Err(inconsistent(format!("the variant `{target}` {problem}")));
            }
        }
    }
    Ok(())
}
