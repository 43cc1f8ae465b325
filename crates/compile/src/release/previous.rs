//! In: the directory of a release. Out: the work that is already done in it, by the digest of its job, and how it was
//! done, by module and target.

use super::Step;
use crate::cache::Cache;
use crate::job::Key;
use crate::why::{Earlier, Why};
use isomer_contract::profile::Effective;
use isomer_contract::{Digest, ENGINE_VERSION, Variant, manifest::VariantConfig};
use isomer_layout::{Layout, LayoutError, Manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The work that a release in a directory holds. Nothing of it is trusted before its digest was checked.
#[derive(Default)]
pub(super) struct Previous {
    layout: Option<Layout>,
    variants: BTreeMap<Digest, Manifest>,
    served: BTreeMap<Digest, Digest>,
    modules: BTreeSet<String>,
    earlier: BTreeMap<(String, String), Earlier>,
    /// What cannot be read: of a module's target, of a module, or of all.
    damaged: BTreeMap<(Option<String>, Option<String>), String>,
}

impl Previous {
    /// Reads what is there. What cannot be read is said through `on_step` and made again.
    pub(super) fn read(directory: &Path, on_step: &mut dyn FnMut(Step<'_>)) -> Previous {
        let mut previous = Previous::default();
        if !directory.join("index.json").exists() {
            return previous;
        }
        if let Err(error) = previous.read_layout(directory, on_step) {
            previous.damage(None, None, &error, on_step);
        }
        previous
    }

    fn read_layout(&mut self, directory: &Path, on_step: &mut dyn FnMut(Step<'_>)) -> Result<(), LayoutError> {
        let layout = Layout::open(directory)?;
        for entry in layout.modules() {
            let name = || Some(entry.name.clone());
            self.modules.insert(entry.name.clone());
            let module = match layout.module(&entry.reference) {
                Ok(module) => module,
                Err(error) => {
                    self.damage(name(), None, &error, on_step);
                    continue;
                }
            };
            for variant in &module.variants {
                match layout.manifest(variant) {
                    Ok(manifest) => self.add(manifest),
                    Err(error) => {
                        on_step(Step::Damaged(error.to_string()));
                        let Variant { serves, .. } = variant;
                        let of = serves.iter().map(|target| ((name(), Some(target.clone())), error.to_string()));
                        self.damaged.extend(of);
                    }
                }
            }
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn damage(
        &mut self,
        module: Option<String>,
        target: Option<String>,
        error: &LayoutError,
        on_step: &mut dyn FnMut(Step<'_>),
    ) {
        on_step(Step::Damaged(error.to_string()));
        self.damaged.insert((module, target), error.to_string());
    }

    fn add(&mut self, manifest: Manifest) {
        let VariantConfig { module, serves, target, code, wasm, passes, engine, isomer, requirements, .. } =
            &manifest.config;
        for served in serves {
            // A guess is no measurement: whoever needs the job's own code makes it.
            if !served.predicted {
                self.served.insert(served.job, *code);
            }
            let earlier = Earlier {
                wasm: wasm.digest,
                profile: served.profile,
                effective: None,
                passes: passes.clone(),
                engine: engine.clone(),
                isomer: isomer.clone(),
                kind: requirements.kind,
                job: served.job,
            };
            let place = (module.clone(), served.target.clone());
            // A merged release has a form for each engine: this one's says most.
            if engine == ENGINE_VERSION || !self.earlier.contains_key(&place) {
                self.earlier.insert(place, earlier);
            }
        }
        let own = serves.iter().find(|served| served.target == *target).map(|served| served.job);
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

    /// Why the job with this key, of `module` for `target`, is not among what was done.
    pub(super) fn why(
        &self,
        module: &str,
        target: &str,
        key: &Key<'_>,
        effective: &Effective,
        cache: Option<&Cache>,
    ) -> Vec<Why> {
        let (module, target) = (module.to_owned(), target.to_owned());
        let places = [(None, None), (Some(module.clone()), None), (Some(module.clone()), Some(target.clone()))];
        if let Some(problem) = places.iter().find_map(|place| self.damaged.get(place)) {
            return vec![Why::Damaged { problem: problem.clone() }];
        }
        if self.layout.is_none() {
            return vec![Why::NothingEarlier];
        }
        if !self.modules.contains(&module) {
            return vec![Why::NewModule];
        }
        let Some(earlier) = self.earlier.get(&(module, target)) else { return vec![Why::NewTarget] };
        let before = cache.and_then(|cache| cache.profile(earlier.profile));
        let why = Earlier { effective: before, ..earlier.clone() }.differences(key, effective);
        if why.is_empty() { vec![Why::OnlyPredicted] } else { why }
    }
}
