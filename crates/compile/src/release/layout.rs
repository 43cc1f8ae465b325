//! The directory of a release as the build engine's sink, and the modules that name what it holds. In: artifacts. Out:
//! layers of an OCI image layout.

use crate::build::{FetchError, NewArtifact, Sink, StoreError};
use crate::cache::{Cache, Entry};
use crate::matrix::{Cell, Finished, Location, Matrix, Origin, State, Stored};
use crate::release_manifest::ReleaseManifest;
use crate::{Module, VERSION, passes};
use isomer_contract::manifest::{SCHEMA, Served, VariantConfig};
use isomer_contract::{ENGINE_VERSION, one_line};
use isomer_layout::{Compression, Layer, Layout, Manifest, ReleasedModule, WriteError, Writer};

/// A release in the making.
pub(super) struct LayoutSink<'a> {
    pub(super) writer: &'a Writer,
    pub(super) compression: Compression,
}

impl Sink for LayoutSink<'_> {
    fn store(&self, _cell: usize, artifact: &NewArtifact<'_>) -> Result<Stored, StoreError> {
        let NewArtifact { bytes, blob, packed } = artifact;
        let layer = match packed {
            Some((layer, packed)) if self.compression == layer.compression => {
                self.writer.add_packed(*packed, *layer).map(|()| *layer)
            }
            _ => self.writer.add_layer(*bytes, self.compression, *blob),
        };
        Ok(Stored { artifact: *blob, layer: layer.map_err(StoreError::Build)? })
    }

    fn fetch(&self, _cell: usize, cache: &Cache, entry: &Entry) -> Result<Stored, FetchError> {
        let damaged = |error: &(dyn std::error::Error + 'static)| FetchError::Damaged(one_line(error));
        let layer = if self.compression == entry.layer().compression {
            let file = cache.open_layer(entry).map_err(|error| damaged(&error))?;
            self.writer.add_packed(file, entry.layer()).map(|()| entry.layer()).map_err(|error| match error {
                error @ WriteError::PackedLayer { .. } => damaged(&error),
                error => FetchError::Store(StoreError::Build(error)),
            })?
        } else {
            let bytes = cache.read_artifact(entry).map_err(|error| damaged(&error))?;
            let added = self.writer.add_layer(bytes.as_slice(), self.compression, entry.artifact);
            added.map_err(|error| FetchError::Store(StoreError::Build(error)))?
        };
        Ok(Stored { artifact: entry.artifact, layer })
    }
}

impl LayoutSink<'_> {
    /// Keeps a layer of the earlier release, stored again where another compression is wanted. The error is for people.
    pub(super) fn keep(&self, layout: &Layout, manifest: &Manifest) -> Result<Layer, String> {
        if manifest.layer.compression == self.compression {
            let kept = self.writer.keep(manifest.layer);
            return kept.map(|()| manifest.layer).map_err(|error| one_line(&error));
        }
        let artifact = layout.open_artifact(manifest).map_err(|error| one_line(&error))?;
        let added = self.writer.add_layer(artifact, self.compression, manifest.config.artifact);
        added.map_err(|error| one_line(&error))
    }

    /// The modules with the variants that are shipped.
    pub(super) fn modules(
        &self,
        matrix: &Matrix<'_>,
        manifest: &ReleaseManifest,
    ) -> Result<Vec<ReleasedModule>, WriteError> {
        let representatives = matrix.representatives();
        let module = |(index, module): (usize, &Module)| {
            let shipped = (0..matrix.cells.len())
                .filter(|cell| matrix.cells[*cell].module == index && representatives[*cell] == Some(*cell));
            let variants = shipped.map(|cell| variant(matrix, cell, &representatives)).collect();
            Ok(ReleasedModule {
                name: manifest.modules[index].name.clone(),
                version: manifest.release.version.clone(),
                wasm: self.writer.add_wasm(&module.input.wasm)?,
                variants,
            })
        };
        matrix.modules.iter().enumerate().map(module).collect()
    }
}

fn variant(matrix: &Matrix<'_>, index: usize, representatives: &[Option<usize>]) -> (VariantConfig, Layer) {
    let cell = &matrix.cells[index];
    let State::Finished(Finished { code, location: Location::Sink(Stored { artifact, layer }), .. }) = cell.state()
    else {
        unreachable!("what is shipped is in the sink");
    };
    let represented = (0..matrix.cells.len()).filter(|cell| representatives[*cell] == Some(index));
    let served = represented.map(|cell| {
        let cell = &matrix.cells[cell];
        let predicted = matches!(cell.state(), State::Finished(Finished { origin: Origin::Predicted { .. }, .. }));
        let priority = cell.profile.priority;
        Served { target: cell.profile.name.clone(), profile: cell.profile.digest(), job: cell.job, predicted, priority }
    });
    let mut serves: Vec<_> = served.collect();
    serves.sort_by(|a, b| a.target.cmp(&b.target));
    let Cell { module, profile, requirements, .. } = cell;
    let Module { name, input, .. } = &matrix.modules[*module];
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
        code_generation: profile.code_generation(),
        compat: requirements.compat(),
        needs: matrix.needs[*module],
    };
    (config, *layer)
}
