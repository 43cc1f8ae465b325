//! The cells of a release, modules times profiles, from plan to variants.

use super::previous::Previous;
use super::report::{CellReport, Outcome};
use super::{Module, Options, Release, ReleaseError, Step};
use crate::codegen::{CodegenError, check_configurations, compile};
use crate::collapse::{Form, collapse};
use crate::express::{Inexpressible, Refused, express};
use crate::schedule::{Event, run_jobs};
use crate::{Analysis, Job, VERSION, passes};
use isomer_contract::manifest::{Blob, SCHEMA, Served, VariantConfig};
use isomer_contract::{Digest, ENGINE_VERSION, Needs, Profile, Requirements};
use isomer_release::{Compression, Layer, Layout, LayoutError, Manifest, ReleasedModule, WriteError, Writer};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A module for a profile, and what is known of it so far.
struct Cell<'a> {
    module: usize,
    profile: &'a Profile,
    requirements: Requirements,
    job: Digest,
    state: State,
}

enum State {
    Inexpressible(Inexpressible),
    Refused(Refused),
    /// Nobody has compiled it yet.
    New,
    Failed(CodegenError),
    Compiled(Compiled),
}

/// What is known of an artifact. Where it is not stored, an earlier release had another stand for it.
#[derive(Clone, Copy)]
struct Compiled {
    code: Digest,
    stored: Option<Stored>,
    took: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Stored {
    artifact: Blob,
    layer: Layer,
}

/// All cells of a release, module by module.
pub(super) struct Matrix<'a> {
    release: &'a Release,
    options: Options,
    writer: &'a Writer,
    needs: Vec<Needs>,
    cells: Vec<Cell<'a>>,
}

impl<'a> Matrix<'a> {
    /// The cells, each with the answer to whether it can be compiled at all.
    pub(super) fn plan(release: &'a Release, options: Options, writer: &'a Writer) -> Matrix<'a> {
        let mut needs = Vec::new();
        let mut cells = Vec::new();
        for (index, Module { input, profiles, .. }) in release.modules.iter().enumerate() {
            let analysis = Analysis::of(&input.wasm);
            needs.push(analysis.needs());
            let cell = |profile: &'a Profile| Cell {
                module: index,
                profile,
                requirements: Requirements::of_profile(profile, input.kind),
                job: Job { input, profile }.digest(),
                state: match express(&analysis, profile) {
                    Ok(Ok(())) => State::New,
                    Ok(Err(reason)) => State::Inexpressible(reason),
                    Err(reason) => State::Refused(reason),
                },
            };
            cells.par_extend(profiles.par_iter().map(cell));
        }
        Matrix { release, options, writer, needs, cells }
    }

    /// Takes over what `previous` holds of the work.
    pub(super) fn recall(&mut self, previous: &Previous, on_step: &mut dyn FnMut(Step<'_>)) {
        for cell in &mut self.cells {
            if !matches!(cell.state, State::New) {
                continue;
            }
            let Some(code) = previous.code(cell.job) else { continue };
            let stored = match previous.variant(cell.job) {
                None => None,
                Some((layout, manifest)) => match keep(self.writer, self.options.compression, layout, manifest) {
                    Ok(layer) => Some(Stored { artifact: manifest.config.artifact, layer }),
                    Err(error) => {
                        on_step(Step::Damaged(error));
                        continue;
                    }
                },
            };
            cell.state = State::Compiled(Compiled { code, stored, took: None });
        }
    }

    /// Compiles every cell that is new, and every one that must be shipped and is not stored.
    pub(super) fn compile_missing(&mut self, on_step: &mut dyn FnMut(Step<'_>)) -> Result<(), ReleaseError> {
        let jobs = self.missing();
        check_configurations(jobs.iter().map(|cell| self.cells[*cell].profile))?;
        on_step(Step::Planned(jobs.len()));
        let work = |index: usize| {
            let cell = &self.cells[jobs[index]];
            let begun = Instant::now();
            let input = &self.release.modules[cell.module].input;
            let compiled = match compile(&Job { input, profile: cell.profile }) {
                Ok(compiled) => compiled,
                Err(error) => return Ok(State::Failed(error)),
            };
            let artifact = Blob::of(&compiled.bytes);
            let layer = self.writer.add_layer(compiled.bytes.as_slice(), self.options.compression, artifact)?;
            let (code, stored) = (compiled.artifact.code_digest(), Some(Stored { artifact, layer }));
            Ok(State::Compiled(Compiled { code, stored, took: Some(begun.elapsed()) }))
        };
        let mut results: Vec<(usize, Result<State, WriteError>)> = Vec::new();
        run_jobs(jobs.len(), self.options.parallelism, work, |event| match event {
            Event::Started(index) => {
                let cell = &self.cells[jobs[index]];
                on_step(Step::Started(index, &self.release.modules[cell.module].name, &cell.profile.name));
            }
            Event::Finished(index, result) => {
                on_step(Step::Finished(index));
                results.push((jobs[index], result));
            }
        });
        for (cell, state) in results {
            self.finish(cell, state?);
        }
        Ok(())
    }

    /// The cells to compile: one for each job, the largest modules first so that no long job is left for the end.
    fn missing(&self) -> Vec<usize> {
        let stands_for = self.stands_for();
        let mut jobs = BTreeMap::new();
        for (index, cell) in self.cells.iter().enumerate() {
            let missing = match &cell.state {
                State::New => true,
                State::Compiled(compiled) => compiled.stored.is_none() && stands_for[index] == Some(index),
                State::Inexpressible(_) | State::Refused(_) | State::Failed(_) => false,
            };
            if missing {
                jobs.entry(cell.job).or_insert(index);
            }
        }
        let mut jobs: Vec<_> = jobs.into_values().collect();
        let size = |index: &usize| self.release.modules[self.cells[*index].module].input.wasm.len();
        jobs.sort_by_key(|index| (std::cmp::Reverse(size(index)), *index));
        jobs
    }

    /// Gives the outcome of a job to all cells of that job: profiles of equal effect share one.
    fn finish(&mut self, done: usize, state: State) {
        let job = self.cells[done].job;
        let sharing = (0..self.cells.len()).filter(|index| *index != done && self.cells[*index].job == job);
        for index in sharing.collect::<Vec<_>>() {
            self.cells[index].state = match &state {
                State::Compiled(compiled) => State::Compiled(Compiled { took: None, ..*compiled }),
                State::Failed(error) => State::Failed(error.clone()),
                _ => continue,
            };
        }
        self.cells[done].state = state;
    }

    /// For each compiled cell the one whose artifact is shipped for it.
    fn stands_for(&self) -> Vec<Option<usize>> {
        let mut stands_for = vec![None; self.cells.len()];
        for module in 0..self.release.modules.len() {
            let compiled: Vec<_> = (0..self.cells.len())
                .filter(|index| self.cells[*index].module == module)
                .filter_map(|index| match &self.cells[index].state {
                    State::Compiled(compiled) => Some((index, compiled.code)),
                    _ => None,
                })
                .collect();
            let form = |&(index, code): &(usize, Digest)| {
                let Cell { profile, requirements, .. } = &self.cells[index];
                Form { target: &profile.name, requirements, code }
            };
            let forms: Vec<_> = compiled.iter().map(form).collect();
            for (form, by) in collapse(&forms).into_iter().enumerate() {
                stands_for[compiled[form].0] = Some(compiled[by].0);
            }
        }
        stands_for
    }

    /// What became of each cell.
    pub(super) fn report(&self) -> Vec<CellReport> {
        let stands_for = self.stands_for();
        let outcome = |index: usize, cell: &Cell<'_>| match &cell.state {
            State::Inexpressible(reason) => Outcome::NotExpressible(reason.clone()),
            State::Refused(reason) => Outcome::Refused(reason.clone()),
            State::Failed(error) => Outcome::Failed(error.clone()),
            State::New => unreachable!("every new cell was compiled"),
            State::Compiled(Compiled { stored, took, .. }) => {
                let by = stands_for[index].expect("a compiled cell has one that stands for it");
                match stored {
                    Some(Stored { artifact, layer }) if by == index => Outcome::Shipped {
                        size_bytes: artifact.size_bytes,
                        stored_bytes: layer.blob.size_bytes,
                        took: *took,
                    },
                    _ => Outcome::ServedBy { target: self.cells[by].profile.name.clone(), took: *took },
                }
            }
        };
        let report = |(index, cell): (usize, &Cell<'_>)| CellReport {
            module: self.release.modules[cell.module].name.clone(),
            target: cell.profile.name.clone(),
            outcome: outcome(index, cell),
        };
        self.cells.iter().enumerate().map(report).collect()
    }

    /// The modules with the variants that are shipped.
    pub(super) fn modules(&self) -> Result<Vec<ReleasedModule>, WriteError> {
        let stands_for = self.stands_for();
        let module = |(index, module): (usize, &Module)| {
            let shipped = (0..self.cells.len())
                .filter(|cell| self.cells[*cell].module == index && stands_for[*cell] == Some(*cell));
            let variants = shipped.map(|cell| self.variant(cell, &stands_for)).collect();
            Ok(ReleasedModule {
                name: module.name.clone(),
                version: self.release.manifest.release.version.clone(),
                wasm: self.writer.add_wasm(&module.input.wasm)?,
                variants,
            })
        };
        self.release.modules.iter().enumerate().map(module).collect()
    }

    fn variant(&self, index: usize, stands_for: &[Option<usize>]) -> (VariantConfig, Layer) {
        let Cell { module, profile, requirements, state, .. } = &self.cells[index];
        let State::Compiled(Compiled { code, stored: Some(Stored { artifact, layer }), .. }) = state else {
            unreachable!("what is shipped was compiled and stored");
        };
        let served = (0..self.cells.len()).filter(|cell| stands_for[*cell] == Some(index)).map(|cell| {
            let Cell { profile, job, .. } = &self.cells[cell];
            Served { target: profile.name.clone(), profile: profile.digest(), job: *job }
        });
        let mut serves: Vec<_> = served.collect();
        serves.sort_by(|a, b| a.target.cmp(&b.target));
        let Module { name, input, .. } = &self.release.modules[*module];
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
            needs: self.needs[*module],
        };
        (config, *layer)
    }
}

/// Keeps a layer of the former release, stored anew where another compression is asked for. The error is for people.
fn keep(writer: &Writer, compression: Compression, layout: &Layout, manifest: &Manifest) -> Result<Layer, String> {
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
