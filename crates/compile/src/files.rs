//! In: modules, each for some profiles, and a path for each artifact. Out: those files, written by the build engine
//! (`build`), and what became of each cell. Never here: a half-written file under its final name.

use crate::Module;
use crate::build::{Build, BuildError, FetchError, NewArtifact, Sink, Step, StoreError};
use crate::cache::{Cache, Entry};
use crate::executor::Runner;
use crate::matrix::{CellReport, Matrix, Sharing, Stored};
use crate::reuse::Reuse;
use isomer_contract::manifest::Blob;
use isomer_layout::{Compression, Layer, write_atomically};
use std::path::PathBuf;

/// Compiles each of `modules` for each of its profiles and writes one file for each of these cells, module by module.
/// `outputs` names the files, in that order.
///
/// A cell that fails keeps no other from being written.
///
/// # Errors
/// When wasmtime rejects the configuration of a profile. Then nothing is compiled.
///
/// # Panics
/// When `outputs` has not one path for each cell.
pub fn compile_to_files(
    modules: &[Module],
    outputs: &[PathBuf],
    runner: &Runner<'_>,
    reuse: Reuse<'_>,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<Vec<CellReport>, BuildError> {
    let mut matrix = Matrix::of(modules, Sharing::Nothing);
    assert_eq!(matrix.cells.len(), outputs.len(), "one path for each cell");
    matrix.recall(None, reuse).into_iter().for_each(|problem| on_step(Step::Damaged(problem)));
    Build { sink: &Files(outputs), runner, reuse }.run(&mut matrix, on_step)?;
    Ok(matrix.report())
}

/// The files of all cells.
struct Files<'a>(&'a [PathBuf]);

impl Files<'_> {
    fn write(&self, cell: usize, bytes: &[u8], artifact: Blob) -> Result<Stored, StoreError> {
        write_atomically(&self.0[cell], |file| file.write_all(bytes)).map_err(StoreError::Cell)?;
        Ok(Stored { artifact, layer: Layer { blob: artifact, compression: Compression::None } })
    }
}

impl Sink for Files<'_> {
    fn store(&self, cell: usize, artifact: &NewArtifact<'_>) -> Result<Stored, StoreError> {
        self.write(cell, artifact.bytes, artifact.blob)
    }

    fn fetch(&self, cell: usize, cache: &Cache, entry: &Entry) -> Result<Stored, FetchError> {
        let bytes = cache.read_artifact(entry).map_err(|error| FetchError::Damaged(error.to_string()))?;
        self.write(cell, &bytes, entry.artifact).map_err(FetchError::Store)
    }
}
