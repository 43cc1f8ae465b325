//! In: the directory of a release. Out: the work that is already done in it, by the digest of its job, and how it was
//! done, by module and target.

use super::Step;
use crate::cache::Cache;
use crate::job::Key;
use crate::maker::Maker;
use crate::records::{Record, Records};
use crate::why::{Earlier, Why};
use isomer_contract::profile::Effective;
use isomer_contract::{Digest, ENGINE_VERSION, Variant, manifest::VariantConfig, one_line};
use isomer_layout::{Layout, LayoutError, Manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The work that a release in a directory holds. Of a module only that counts which this user released, by a sealed
/// record of the digest of its index; and every byte below that is compared with its digest before it is used.
#[derive(Default)]
pub(super) struct Previous {
    layout: Option<Layout>,
    variants: BTreeMap<Digest, Manifest>,
    served: BTreeMap<Digest, Digest>,
    /// Who did each of these jobs.
    makers: BTreeMap<Digest, Maker>,
    /// The modules that this user has no record of.
    unrecorded: BTreeSet<String>,
    modules: BTreeSet<String>,
    earlier: BTreeMap<(String, String), Earlier>,
    /// What cannot be read: of a module's target, of a module, or of all.
    damaged: BTreeMap<(Option<String>, Option<String>), String>,
}

impl Previous {
    /// Reads the release, if there is one. What cannot be read is reported through `on_step` and compiled again.
    pub(super) fn read(directory: &Path, records: Option<&Records>, on_step: &mut dyn FnMut(Step<'_>)) -> Previous {
        let mut previous = Previous::default();
        if !directory.join("index.json").exists() {
            return previous;
        }
        if let Err(error) = previous.read_layout(directory, records, on_step) {
            previous.damage(None, None, &error, on_step);
        }
        previous
    }

    fn read_layout(
        &mut self,
        directory: &Path,
        records: Option<&Records>,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), LayoutError> {
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
            let record = records.and_then(|records| records.find(module.digest));
            if record.is_none() {
                self.unrecorded.insert(entry.name.clone());
            }
            for variant in &module.variants {
                match layout.manifest(variant) {
                    Ok(manifest) => self.add(manifest, record.as_ref()),
                    Err(error) => {
                        on_step(Step::Damaged(one_line(&error)));
                        let Variant { serves, .. } = variant;
                        let of = serves.iter().map(|target| ((name(), Some(target.clone())), one_line(&error)));
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
        on_step(Step::Damaged(one_line(error)));
        self.damaged.insert((module, target), one_line(error));
    }

    fn add(&mut self, manifest: Manifest, record: Option<&Record>) {
        let VariantConfig { module, serves, target, code, wasm, passes, engine, isomer, requirements, .. } =
            &manifest.config;
        for served in serves {
            // A prediction is no measurement: where the job's own code is needed, the job runs.
            if let (Some(record), false) = (record, served.predicted) {
                self.served.insert(served.job, *code);
                self.makers.insert(served.job, record.maker(served.job));
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
            let key = (module.clone(), served.target.clone());
            // A merged release has a form for each engine: this one's says most.
            if engine == ENGINE_VERSION || !self.earlier.contains_key(&key) {
                self.earlier.insert(key, earlier);
            }
        }
        let own = serves.iter().find(|served| served.target == *target).map(|served| served.job);
        if let (Some(job), Some(_)) = (own, record) {
            self.variants.insert(job, manifest);
        }
    }

    /// The code that this job came out as, if it was ever done.
    pub(super) fn code(&self, job: Digest) -> Option<Digest> {
        self.served.get(&job).copied()
    }

    /// Who did this job.
    pub(super) fn maker(&self, job: Digest) -> Maker {
        self.makers.get(&job).cloned().unwrap_or(Maker::Local)
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
        let levels = [(None, None), (Some(module.clone()), None), (Some(module.clone()), Some(target.clone()))];
        if let Some(problem) = levels.iter().find_map(|level| self.damaged.get(level)) {
            return vec![Why::Damaged { problem: problem.clone() }];
        }
        if self.layout.is_none() {
            return vec![Why::NothingEarlier];
        }
        if !self.modules.contains(&module) {
            return vec![Why::NewModule];
        }
        let unrecorded = self.unrecorded.contains(&module);
        let Some(earlier) = self.earlier.get(&(module, target)) else { return vec![Why::NewTarget] };
        let before = cache.and_then(|cache| cache.profile(earlier.profile));
        let why = Earlier { effective: before, ..earlier.clone() }.differences(key, effective);
        match why.is_empty() {
            true if unrecorded => vec![Why::NotRecorded],
            true => vec![Why::OnlyPredicted],
            false => why,
        }
    }
}
