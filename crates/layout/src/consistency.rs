//! In: the modules of a release to be. Out: whether they fit together and can be named. Never here: a file.

use crate::sparse::{MODULE_SEPARATORS, VERSION_SEPARATORS};
use crate::writer::ReleasedModule;
use crate::{Compression, WriteError};
use isomer_contract::manifest::Blob;
use std::collections::BTreeSet;

/// That every module can be stated in a release of these modules; `present` tells which blobs are in place.
pub(crate) fn check_modules(modules: &[ReleasedModule], present: impl Fn(Blob) -> bool) -> Result<(), WriteError> {
    let mut references = BTreeSet::new();
    for module in modules {
        let ReleasedModule { name, version, wasm, variants } = module;
        check_name("module name", name, MODULE_SEPARATORS, " or `_`")?;
        check_name("version", version, VERSION_SEPARATORS, ", `_` or `+`")?;
        for reference in [format!("{name}:{version}"), format!("{name}:{version}-wasm")] {
            if !references.insert(reference.clone()) {
                return Err(WriteError::Duplicate(format!("`{reference}`")));
            }
        }
        let inconsistent = |problem: String| WriteError::Inconsistent { module: name.clone(), problem };
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
                (config.module != *name, "is of another module"),
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

const NAME_LENGTH_MAX: usize = 100;

/// Whether [`check_name`] takes it.
pub(crate) fn is_name(text: &str, separators: &str) -> bool {
    let words = text.replace("--", "-");
    let mut words = words.split(|c| separators.contains(c));
    let right = words.all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()));
    right && text.len() <= NAME_LENGTH_MAX
}

/// That `text` can be a part of a reference, by the grammar of the OCI image layout: letters and digits with a single
/// separator, or `--`, between them.
fn check_name(what: &'static str, text: &str, separators: &str, also: &'static str) -> Result<(), WriteError> {
    if is_name(text, separators) {
        return Ok(());
    }
    let found = text.chars().take(NAME_LENGTH_MAX).flat_map(char::escape_debug).collect();
    Err(WriteError::Name { what, found, also })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_a_reference() {
        let is_name = |text: &str| check_name("module name", text, "-._", "").is_ok();
        for right in ["sort", "SHA256", "tfjs-backend-wasm", "a.b_c", "a--b", "1"] {
            assert!(is_name(right), "{right}");
        }
        for wrong in ["", "-a", "a-", "a..b", "a---b", "a:b", "a/b", "..", "ä", "a b", "a\n", &"a".repeat(101)] {
            assert!(!is_name(wrong), "{wrong}");
        }
        assert!(check_name("version", "1.0.0-rc.1+build.5", "-._+", "").is_ok());
    }
}
