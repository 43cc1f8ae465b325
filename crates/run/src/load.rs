//! In: a [`VerifiedArtifact`]. Out: an engine and the module or component in it.
//!
//! The last gate before foreign code: this machine is asked for every extension that the artifact needs by our own
//! probe, whoever chose it and for whichever host.

use crate::executable::{CodePermission, CodeSource, MappedCode, code_permission};
use crate::host;
use crate::probe::ProbeError;
use crate::system::{DeniedCall, check_calls};
use crate::verify::{Bytes, VerifiedArtifact};
use isomer_contract::artifact::CodeSection;
use isomer_contract::{EngineConfigError, Hinted, Kind, Mismatch, Requirements, check, engine_config};
use rustix::fs::{PROC_SUPER_MAGIC, statfs};
use std::any::Any;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use wasmtime::component::Component;
use wasmtime::{Engine, Module, ProfilingStrategy};

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
    /// The system denies what wasmtime cannot do without.
    #[error(transparent)]
    Denied(#[from] DeniedCall),
    /// Wasmtime makes no such engine here.
    #[error("wasmtime cannot make the engine that the artifact needs")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Wasmtime does not take the artifact.
    #[error("wasmtime does not load the artifact")]
    Deserialize(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Wasmtime panicked over it, with this message: it is no output of wasmtime's.
    #[error("the artifact is damaged: wasmtime panics over it")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Hinted for LoadError {
    fn hint(&self) -> Option<String> {
        match self {
            LoadError::Denied(_) => Some("allow it in the seccomp profile".to_owned()),
            LoadError::Engine(_) => Some(
                "raise the limit on address space (`ulimit -v`), or compile for a profile with a smaller \
                 `memory-reservation` and `gc-heap-reservation`"
                    .to_owned(),
            ),
            LoadError::Deserialize(_) | LoadError::Damaged(_) => Some("fetch or compile it again".to_owned()),
            LoadError::Probe(_) | LoadError::Mismatch(_) | LoadError::Config(_) => None,
        }
    }
}

/// Loads an artifact on this machine.
///
/// # Errors
/// When this machine lacks anything that the artifact needs, or wasmtime does not take it.
pub fn load(artifact: VerifiedArtifact) -> Result<Loaded, LoadError> {
    load_with(artifact, Profiler::None)
}

/// Whether a profiler is told which function is where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profiler {
    /// None is. One that reads symbols finds them in an artifact that is mapped from a store.
    #[default]
    None,
    /// `perf` is, by a file `/tmp/perf-PID.map`. It looks there only for code that no file is behind, so the artifact is
    /// copied once more, which takes as much memory again.
    PerfMap,
}

/// As [`load`], and tells a profiler.
///
/// # Errors
/// As [`load`], or when the profiler's file can't be written.
pub fn load_with(artifact: VerifiedArtifact, profiler: Profiler) -> Result<Loaded, LoadError> {
    let VerifiedArtifact { bytes, requirements, target } = artifact;
    let mismatches = check(&requirements, &host::here()?);
    if !mismatches.is_empty() {
        return Err(LoadError::Mismatch(mismatches));
    }
    check_calls()?;
    let mut config = engine_config(&requirements)?;
    let code_source = code_source(&bytes, &requirements)?;
    if code_source.is_some() {
        config.with_custom_code_memory(Some(Arc::new(MappedCode)));
    }
    if profiler == Profiler::PerfMap {
        config.profiler(ProfilingStrategy::PerfMap);
    }
    let engine = Engine::new(&config).map_err(|error| LoadError::Engine(error.into()))?;
    // An engine and bytes in memory that nothing changes: a panic leaves nothing half done that is looked at again.
    let map = AssertUnwindSafe(|| map(&engine, &bytes, requirements.kind, profiler));
    let code = match code_source {
        Some(source) => source.during(|| catch_unwind(map)),
        None => catch_unwind(map),
    };
    let code = code.map_err(|panic| LoadError::Damaged(message(&*panic).into()))?;
    let code = code.map_err(|error| LoadError::Deserialize(error.into()))?;
    Ok(Loaded { engine, code, requirements, target })
}

/// Where native code is to be mapped from, if that is the one way here in which it becomes executable.
fn code_source(bytes: &Bytes, requirements: &Requirements) -> Result<Option<CodeSource>, LoadError> {
    if requirements.arch.is_pulley() || code_permission() != CodePermission::Map {
        return Ok(None);
    }
    let deserialize = |error: Box<dyn std::error::Error + Send + Sync>| LoadError::Deserialize(error);
    let section = CodeSection::of_artifact(bytes.bytes()).map_err(|error| deserialize(error.into()))?;
    let Some(CodeSection { offset_bytes, branch_protection }) = section else { return Ok(None) };
    let file = bytes.file().try_clone().map_err(|error| deserialize(error.into()))?;
    Ok(Some(CodeSource { file, offset_bytes, branch_protection }))
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it gave no reason").to_owned()
}

#[allow(unsafe_code)]
fn map(engine: &Engine, bytes: &Bytes, kind: Kind, profiler: Profiler) -> wasmtime::Result<Code> {
    let copied = profiler == Profiler::PerfMap;
    Ok(match kind {
        // SAFETY: the caller holds a `VerifiedArtifact`: these bytes are wasmtime's own output, on the word of a digest or of
        // the user. wasmtime copies them.
        Kind::Module if copied => Code::Module(unsafe { Module::deserialize(engine, bytes.bytes()) }?),
        Kind::Module => {
            let file = bytes.file().try_clone()?;
            // SAFETY: as above. The file is sealed, or one that only those can change who are believed: what is mapped is
            // what was hashed, now and later.
            Code::Module(unsafe { Module::deserialize_open_file(engine, file) }?)
        }
        Kind::Component => match reopened(bytes.file()).filter(|_| !copied) {
            // SAFETY: as above. The path is another name of the same file for as long as `bytes` lives.
            Some(path) => Code::Component(unsafe { Component::deserialize_file(engine, path) }?),
            // SAFETY: as above, and wasmtime copies the bytes.
            None => Code::Component(unsafe { Component::deserialize(engine, bytes.bytes()) }?),
        },
    })
}

/// A path that opens `file` again, which wasmtime maps components from; none where `/proc` is missing or something else.
fn reopened(file: &File) -> Option<String> {
    const DESCRIPTORS: &str = "/proc/self/fd";
    let is_procfs = statfs(DESCRIPTORS).is_ok_and(|found| found.f_type as u64 == PROC_SUPER_MAGIC as u64);
    let path = format!("{DESCRIPTORS}/{}", file.as_raw_fd());
    (is_procfs && File::open(&path).is_ok()).then_some(path)
}
