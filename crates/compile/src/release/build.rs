//! Carries a plan out. In: a matrix, a farm, a cache. Out: every artifact that is shipped, in the release's directory,
//! and the modules that name them.

use super::matrix::{At, Cell, Compiled, Matrix, State, Stored};
use super::{Module, Options, ReleaseError, Step};
use crate::cache::{Cache, CacheError, Entry, pack_entry};
use crate::codegen::{self, check_configurations};
use crate::farm::Farm;
use crate::plan::{Plan, Why};
use crate::schedule::Event;
use crate::{VERSION, passes};
use isomer_contract::ENGINE_VERSION;
use isomer_contract::manifest::{Blob, SCHEMA, Served, VariantConfig};
use isomer_layout::{Compression, Layer, Layout, LayoutError, Manifest, ReleasedModule, WriteError, Writer};
use rayon::prelude::*;
use std::time::Instant;

/// What a build works with.
pub(super) struct Build<'a> {
    pub(super) writer: &'a Writer,
    pub(super) options: Options,
    pub(super) farm: &'a Farm<'a>,
    pub(super) cache: Option<&'a Cache>,
}

/// What became of a job whose artifact is kept.
struct Kept {
    compiled: Compiled,
    /// Whether somebody else had made it before.
    found: bool,
    /// Why the cache has it not.
    trouble: Option<CacheError>,
}

impl Build<'_> {
    /// Does what is to be done for `matrix`, until nothing is left.
    pub(super) fn run(&self, matrix: &mut Matrix<'_>, on_step: &mut dyn FnMut(Step<'_>)) -> Result<(), ReleaseError> {
        loop {
            matrix.fill_in_predicted();
            matrix.recall_alone(self.cache, on_step);
            let plan = matrix.plan();
            if !plan.jobs.is_empty() {
                self.compile(matrix, &plan, on_step)?;
            } else if self.fetch(matrix, on_step)? {
                return Ok(());
            }
        }
    }

    /// Compiles what the plan says.
    fn compile(
        &self,
        matrix: &mut Matrix<'_>,
        plan: &Plan,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), ReleaseError> {
        let jobs: Vec<_> = plan.jobs.iter().map(|cell| matrix.job(*cell)).collect();
        check_configurations(jobs.iter().map(|job| job.profile))?;
        on_step(Step::Planned(jobs.len()));
        let keep = |index: usize, compiled: codegen::Compiled| self.keep(matrix, plan.jobs[index], &compiled);
        let mut begun = vec![Instant::now(); jobs.len()];
        let mut results: Vec<(usize, Result<State, WriteError>)> = Vec::new();
        self.farm.run(&jobs, keep, |event| match event {
            Event::Started(index) => {
                begun[index] = Instant::now();
                on_step(Step::Started(index, &jobs[index].input.name, &jobs[index].profile.name));
            }
            Event::Finished(index, result) => {
                on_step(Step::Finished(index, result.is_err()));
                let state = match result {
                    Err(failure) => Ok(State::Failed(failure)),
                    Ok(Err(error)) => Err(error),
                    Ok(Ok(Kept { compiled, found, trouble })) => {
                        trouble.into_iter().for_each(|error| on_step(Step::CacheTrouble(error)));
                        Ok(State::Compiled(Compiled { took: (!found).then(|| begun[index].elapsed()), ..compiled }))
                    }
                };
                results.push((plan.jobs[index], state));
            }
        });
        for (cell, state) in results {
            matrix.finish(plan, cell, state?, self.farm.fail_fast);
        }
        Ok(())
    }

    /// Keeps an artifact in the release and in the cache, packed once.
    fn keep(&self, matrix: &Matrix<'_>, cell: usize, compiled: &codegen::Compiled) -> Result<Kept, WriteError> {
        let Cell { profile, job, .. } = &matrix.cells[cell];
        let code = compiled.artifact.code_digest();
        let artifact = Blob::of(&compiled.bytes);
        let add = || self.writer.add_layer(compiled.bytes.as_slice(), self.options.compression, artifact);
        let (layer, trouble) = match self.cache {
            None => (add()?, None),
            Some(cache) => {
                let packed = pack_entry(&compiled.bytes, code);
                let (entry, packed) = packed.map_err(|source| WriteError::Io {
                    action: "compress an artifact for",
                    path: self.writer.dir().to_owned(),
                    source,
                })?;
                let kept = cache.put(*job, &entry, &packed).and_then(|()| cache.put_profile(&profile.effective()));
                let layer = if self.options.compression == Compression::Zstd {
                    self.writer.add_packed(packed.as_slice(), entry.layer())?;
                    entry.layer()
                } else {
                    add()?
                };
                (layer, kept.err())
            }
        };
        let at = At::Release(Stored { artifact, layer });
        let found = compiled.found;
        Ok(Kept { compiled: Compiled { code, at, took: None, predicted: false }, found, trouble })
    }

    /// Takes what is shipped and lies in the cache over, and says whether all of it could be.
    fn fetch(&self, matrix: &mut Matrix<'_>, on_step: &mut dyn FnMut(Step<'_>)) -> Result<bool, ReleaseError> {
        let stands_for = matrix.stands_for();
        let Some(cache) = self.cache else { return Ok(true) };
        let wanted: Vec<(usize, Entry)> = (0..matrix.cells.len())
            .filter(|index| stands_for[*index] == Some(*index))
            .filter_map(|index| match &matrix.cells[index].state {
                State::Compiled(Compiled { at: At::Cache(entry), .. }) => Some((index, *entry)),
                _ => None,
            })
            .collect();
        let fetched: Vec<_> = wanted.par_iter().map(|(index, entry)| (*index, self.fetch_one(cache, entry))).collect();
        let mut all = true;
        for (index, fetched) in fetched {
            match (fetched?, &mut matrix.cells[index].state) {
                (Ok(stored), State::Compiled(compiled)) => compiled.at = At::Release(stored),
                (Ok(_), _) => {}
                (Err(problem), state) => {
                    all = false;
                    on_step(Step::Damaged(problem.clone()));
                    *state = State::New(vec![Why::Damaged { problem }]);
                }
            }
        }
        Ok(all)
    }

    /// The inner error is the cache's: it means that the job is done again.
    fn fetch_one(&self, cache: &Cache, entry: &Entry) -> Result<Result<Stored, String>, WriteError> {
        let artifact = entry.artifact;
        let layer = if self.options.compression == Compression::Zstd {
            let file = match cache.open_layer(entry) {
                Ok(file) => file,
                Err(error) => return Ok(Err(error.to_string())),
            };
            match self.writer.add_packed(file, entry.layer()) {
                Ok(()) => entry.layer(),
                Err(error @ WriteError::PackedLayer { .. }) => return Ok(Err(error.to_string())),
                Err(error) => return Err(error),
            }
        } else {
            match cache.read_artifact(entry) {
                Ok(bytes) => self.writer.add_layer(bytes.as_slice(), self.options.compression, artifact)?,
                Err(error) => return Ok(Err(error.to_string())),
            }
        };
        Ok(Ok(Stored { artifact, layer }))
    }

    /// The modules with the variants that are shipped.
    pub(super) fn modules(&self, matrix: &Matrix<'_>) -> Result<Vec<ReleasedModule>, WriteError> {
        let stands_for = matrix.stands_for();
        let module = |(index, module): (usize, &Module)| {
            let shipped = (0..matrix.cells.len())
                .filter(|cell| matrix.cells[*cell].module == index && stands_for[*cell] == Some(*cell));
            let variants = shipped.map(|cell| variant(matrix, cell, &stands_for)).collect();
            Ok(ReleasedModule {
                name: matrix.release.manifest.modules[index].name.clone(),
                version: matrix.release.manifest.release.version.clone(),
                wasm: self.writer.add_wasm(&module.input.wasm)?,
                variants,
            })
        };
        matrix.release.modules.iter().enumerate().map(module).collect()
    }
}

fn variant(matrix: &Matrix<'_>, index: usize, stands_for: &[Option<usize>]) -> (VariantConfig, Layer) {
    let Cell { module, profile, requirements, state, .. } = &matrix.cells[index];
    let State::Compiled(Compiled { code, at: At::Release(Stored { artifact, layer }), .. }) = state else {
        unreachable!("what is shipped was compiled and stored");
    };
    let served = (0..matrix.cells.len()).filter(|cell| stands_for[*cell] == Some(index)).map(|cell| {
        let Cell { profile, job, state, .. } = &matrix.cells[cell];
        let predicted = matches!(state, State::Compiled(Compiled { predicted: true, .. }));
        Served { target: profile.name.clone(), profile: profile.digest(), job: *job, predicted }
    });
    let mut serves: Vec<_> = served.collect();
    serves.sort_by(|a, b| a.target.cmp(&b.target));
    let Module { name, input, .. } = &matrix.release.modules[*module];
    let config = VariantConfig {
        schema: SCHEMA,
        module: name.clone(),
        wasm: input.blob,
        artifact: *artifact,
        code: *code,
        target: profile.name.clone(),
        triple: profile.triple.to_string(),
        serves,
        passes: passes::passes(profile).iter().map(|pass| (*pass).to_owned()).collect(),
        engine: ENGINE_VERSION.to_owned(),
        isomer: VERSION.to_owned(),
        requirements: requirements.clone(),
        compat: requirements.compat(),
        needs: matrix.needs[*module],
    };
    (config, *layer)
}

/// Keeps a layer of the former release, stored anew where another compression is asked for. The error is for people.
pub(super) fn keep(
    writer: &Writer,
    compression: Compression,
    layout: &Layout,
    manifest: &Manifest,
) -> Result<Layer, String> {
    let again = || -> Result<Layer, WriteError> {
        let artifact = layout.open_artifact(manifest)?;
        writer.add_layer(artifact, compression, manifest.config.artifact)
    };
    if manifest.layer.compression == compression {
        let kept: Result<(), LayoutError> = writer.keep(manifest.layer);
        return kept.map(|()| manifest.layer).map_err(|error| error.to_string());
    }
    again().map_err(|error| error.to_string())
}
