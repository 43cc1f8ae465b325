//! In: the directory of a release. Out: the work that is already done in it, by the digest of its job.

use super::Step;
use isomer_contract::{Digest, manifest::VariantConfig};
use isomer_release::{Layout, LayoutError, Manifest};
use std::collections::BTreeMap;
use std::path::Path;

/// The work that a release in a directory holds. Nothing of it is trusted before its digest was checked.
#[derive(Default)]
pub(super) struct Previous {
    layout: Option<Layout>,
    variants: BTreeMap<Digest, Manifest>,
    served: BTreeMap<Digest, Digest>,
}

impl Previous {
    /// Reads what is there. What cannot be read is said through `on_step` and made again.
    pub(super) fn read(directory: &Path, on_step: &mut dyn FnMut(Step<'_>)) -> Previous {
        let mut previous = Previous::default();
        if !directory.join("index.json").exists() {
            return previous;
        }
        if let Err(error) = previous.read_layout(directory, on_step) {
            on_step(Step::Damaged(error.to_string()));
        }
        previous
    }

    fn read_layout(&mut self, directory: &Path, on_step: &mut dyn FnMut(Step<'_>)) -> Result<(), LayoutError> {
        let layout = Layout::open(directory)?;
        for entry in layout.modules() {
            let module = match layout.module(&entry.reference) {
                Ok(module) => module,
                Err(error) => {
                    on_step(Step::Damaged(error.to_string()));
                    continue;
                }
            };
            for variant in &module.variants {
                match layout.manifest(variant) {
                    Ok(manifest) => self.add(manifest),
                    Err(error) => on_step(Step::Damaged(error.to_string())),
                }
            }
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn add(&mut self, manifest: Manifest) {
        let VariantConfig { serves, target, code, .. } = &manifest.config;
        let own = serves.iter().find(|served| served.target == *target).map(|served| served.job);
        self.served.extend(serves.iter().map(|served| (served.job, *code)));
        if let Some(job) = own {
            self.variants.insert(job, manifest);
        }
    }

    /// The code that this job came out as, if it was ever done.
    pub(super) fn code(&self, job: Digest) -> Option<Digest> {
        self.served.get(&job).copied()
    }

    /// The variant that this very job made, if that was shipped.
    pub(super) fn variant(&self, job: Digest) -> Option<(&Layout, &Manifest)> {
        Some((self.layout.as_ref()?, self.variants.get(&job)?))
    }
}
