//! In: a [`VerifiedArtifact`]. Out: an engine and the module or component in it.
//!
//! The last gate before foreign code: this machine is asked for every extension that the artifact needs by our own
//! probe, whoever chose it and for whichever host.

use crate::host;
use crate::probe::ProbeError;
use crate::verify::{Bytes, VerifiedArtifact};
use isomer_contract::{EngineConfigError, Hinted, Kind, Mismatch, Requirements, check, engine_config};
use std::os::fd::AsRawFd;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Code that is ready to be instantiated.
#[derive(Clone)]
pub enum Code {
    /// A core module.
    Module(Module),
    /// A component.
    Component(Component),
}

/// An artifact in an engine that was made for it.
#[derive(Clone)]
pub struct Loaded {
    /// Configured as the artifact requires. Another artifact with equal requirements loads in it, too.
    pub engine: Engine,
    /// The code.
    pub code: Code,
    /// What it needs, and this machine has.
    pub requirements: Requirements,
    /// The profile that it was compiled for, where a release says so.
    pub target: Option<String>,
}

/// Why a verified artifact does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This machine can't be asked what it has.
    #[error("cannot tell what this machine can run")]
    Probe(#[from] ProbeError),
    /// This machine lacks what it needs; every mismatch.
    #[error("the artifact does not run on this machine")]
    Mismatch(Vec<Mismatch>),
    /// No engine can be configured so.
    #[error(transparent)]
    Config(#[from] EngineConfigError),
    /// Wasmtime makes no such engine here.
    #[error("wasmtime cannot make the engine that the artifact needs")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Wasmtime does not take the artifact.
    #[error("wasmtime does not load the artifact")]
    Deserialize(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Hinted for LoadError {
    fn hint(&self) -> Option<String> {
        match self {
            LoadError::Engine(_) => {
                Some("an address space limit (`ulimit -v`) may be too small for the memories it reserves".to_owned())
            }
            LoadError::Deserialize(_) => {
                Some("fetch or compile it again; if it is whole, this system may forbid executable mappings".to_owned())
            }
            LoadError::Probe(_) | LoadError::Mismatch(_) | LoadError::Config(_) => None,
        }
    }
}

/// Loads an artifact on this machine.
///
/// # Errors
/// When this machine lacks anything that the artifact needs, or wasmtime does not take it.
pub fn load(artifact: VerifiedArtifact) -> Result<Loaded, LoadError> {
    let VerifiedArtifact { bytes, requirements, target } = artifact;
    let mismatches = check(&requirements, &host::here()?);
    if !mismatches.is_empty() {
        return Err(LoadError::Mismatch(mismatches));
    }
    let config = engine_config(&requirements)?;
    let engine = Engine::new(&config).map_err(|error| LoadError::Engine(error.into()))?;
    let code = map(&engine, &bytes, requirements.kind).map_err(|error| LoadError::Deserialize(error.into()))?;
    Ok(Loaded { engine, code, requirements, target })
}

#[allow(unsafe_code)]
fn map(engine: &Engine, bytes: &Bytes, kind: Kind) -> wasmtime::Result<Code> {
    Ok(match kind {
        Kind::Module => {
            let file = bytes.file().try_clone()?;
            // SAFETY: the caller holds a `VerifiedArtifact`: these bytes are wasmtime's own output, on the word of a
            // digest or of the user. The file is sealed, or one that only those can change who are believed: what is
            // mapped is what was hashed, now and later.
            Code::Module(unsafe { Module::deserialize_open_file(engine, file) }?)
        }
        Kind::Component => {
            let path = format!("/proc/self/fd/{}", bytes.file().as_raw_fd());
            // SAFETY: as above. The path is another name of the same file for as long as `bytes` lives.
            Code::Component(unsafe { Component::deserialize_file(engine, path) }?)
        }
    })
}
