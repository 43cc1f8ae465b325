//! In: a [`VerifiedArtifact`]. Out: an engine and the module or component in it. Never here: an artifact mapped before
//! this machine's CPU was probed for every extension that it requires.
//!
//! The last gate before foreign code: the CPU is probed here, for whichever host the artifact was chosen.

use crate::engine::{self, EngineMismatch};
use crate::executable::{CodePermission, CodeSource, MappedCode, code_permission};
use crate::host;
use crate::probe::ProbeError;
use crate::profiler::{Profiler, ProfilerError};
use crate::sealed::TOO_LITTLE_MEMORY;
use crate::system::{DeniedCall, check_calls};
use crate::verify::{Bytes, VerifiedArtifact};
use isomer_contract::artifact::CodeSection;
use isomer_contract::{Digest, EngineConfigError, Hinted, Kind, Mismatch, Requirements, chain, check, engine_config};
use isomer_file::memory::{self, HEADROOM_BYTES};
use isomer_file::system::{errno, is_out_of_memory};
use rustix::fs::{PROC_SUPER_MAGIC, statfs};
use rustix::io::Errno;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::component::Component;
use wasmtime::{Config, Engine, EngineWeak, Module};

/// Code that is ready to be instantiated.
#[derive(Clone)]
pub enum Code {
    /// A core module.
    Module(Module),
    /// A component.
    Component(Component),
}

/// An artifact in an engine that it can be instantiated in.
#[derive(Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// Shared with every other artifact of equal requirements that the same [`Loader`] loaded.
    pub engine: Engine,
    /// The code.
    pub code: Code,
    /// What it requires, and this machine has.
    pub requirements: Requirements,
    /// The profile that it was compiled for, where a release declares it.
    pub target: Option<String>,
}

/// Why a verified artifact does not load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// This machine's CPU cannot be probed.
    #[error("cannot tell what this machine can run")]
    Probe(#[from] ProbeError),
    /// This machine lacks what the artifact requires; every mismatch.
    #[error("the artifact does not run on this machine: {}", list(.0))]
    Mismatch(Vec<Mismatch>),
    /// No engine of this build can be configured as the artifact requires.
    #[error("no engine of this build loads the artifact")]
    Config(#[from] EngineConfigError),
    /// The engine is configured in a way with which the artifact does not load, by [`Loader::configure`] or by the caller
    /// of [`load_into`]; every setting that can be read from it.
    #[error("the engine is not configured as the artifact requires: {}", list(.0))]
    EngineMismatch(Vec<EngineMismatch>),
    /// The system denies what wasmtime cannot do without.
    #[error(transparent)]
    Denied(#[from] DeniedCall),
    /// There is no file for the profiler.
    #[error(transparent)]
    Profiler(#[from] ProfilerError),
    /// Wasmtime creates no such engine on this machine.
    #[error("wasmtime cannot create the engine that the artifact requires")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A control group would end this process for a copy of the artifact.
    #[error(
        "a control group leaves too little memory for a copy of the artifact: {} MiB of {} MiB",
        .available_bytes >> 20, .needed_bytes >> 20
    )]
    Memory {
        /// What it leaves, in bytes.
        available_bytes: u64,
        /// What a copy takes, in bytes.
        needed_bytes: u64,
        /// The same, as an error of the system.
        source: std::io::Error,
    },
    /// Wasmtime does not accept the artifact.
    #[error("wasmtime does not load the artifact")]
    Deserialize(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Wasmtime panicked over it, with this message: it is not wasmtime's output.
    #[error("the artifact is damaged: it makes wasmtime panic")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn list(reasons: &[impl fmt::Display]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Hinted for LoadError {
    fn hint(&self) -> Option<String> {
        match self {
            LoadError::Denied(_) => Some("allow it in the seccomp profile".to_owned()),
            LoadError::Profiler(error) => error.hint(),
            LoadError::Engine(error) if is_out_of_memory(error.as_ref()) => Some(
                "raise the limit on address space (`ulimit -v`), or compile for a profile with a smaller \
                 `memory-reservation` and `gc-heap-reservation`"
                    .to_owned(),
            ),
            LoadError::Memory { .. } => Some(
                "raise the limit (memory.max); none is copied where `/proc` is mounted and no map is written for `perf`"
                    .to_owned(),
            ),
            LoadError::Deserialize(_) | LoadError::Damaged(_) => Some("fetch or compile it again".to_owned()),
            LoadError::EngineMismatch(_) => Some(
                "leave these settings to the loader, or compile the module for a profile that states the engine's"
                    .to_owned(),
            ),
            LoadError::Probe(_) | LoadError::Mismatch(_) | LoadError::Config(_) | LoadError::Engine(_) => None,
        }
    }
}

type Configure = Box<dyn Fn(&mut Config) + Send + Sync>;

/// Loads artifacts, those of equal requirements into one engine, so that they can be linked with each other and share a
/// pool of instances.
///
/// A loader keeps no engine alive: an engine is dropped with the last [`Loaded`], module, component or store that uses
/// it, and created again when the next artifact requires it.
///
/// [`Loader::load`] reads files and maps memory and starts no thread and no executor: it works inside an asynchronous
/// runtime as well as outside, and there is best called where blocking is allowed.
///
/// ```
/// use isomer_runtime::Loader;
/// use wasmtime::{InstanceAllocationStrategy, PoolingAllocationConfig};
///
/// let loader = Loader::new().configure(|config| {
///     let mut pool = PoolingAllocationConfig::new();
///     pool.total_core_instances(100).total_memories(100);
///     config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
///     config.max_wasm_stack(256 << 10);
/// });
/// # let _ = loader;
/// ```
#[derive(Default)]
pub struct Loader {
    profiler: Profiler,
    configure: Vec<Configure>,
    engines: Mutex<BTreeMap<Digest, EngineWeak>>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").finish_non_exhaustive()
    }
}

impl Loader {
    /// A loader whose engines are configured from the artifacts' requirements alone.
    pub fn new() -> Loader {
        Loader::default()
    }

    /// Changes the configuration of every engine that this loader makes, after the artifact's requirements were applied:
    /// the allocation strategy, stack sizes, a profiler, host memory, and whatever else artifacts do not require. Where
    /// several such functions are given, they are applied in order.
    ///
    /// A change with which the artifact would not load makes [`Loader::load`] fail with every such setting by name
    /// ([`LoadError::EngineMismatch`]). `Config::wasm_backtrace_details`, `Config::operator_cost` and
    /// `Config::module_version` cannot be read back from an engine: these fail as [`LoadError::Deserialize`], with
    /// wasmtime's own message.
    ///
    /// In a pool, no memory may be larger than the artifact's `memory-reservation`: where that is less than 4 GiB,
    /// `PoolingAllocationConfig::max_memory_size` must say so.
    #[must_use]
    pub fn configure(mut self, configure: impl Fn(&mut Config) + Send + Sync + 'static) -> Loader {
        self.configure.push(Box::new(configure));
        self
    }

    /// Writes the addresses of a guest's functions for a profiler. The file is new: one that an earlier process of this
    /// number left is removed, and so is one that an engine of this process wrote for the same profiler and that was made
    /// without this loader. Wasmtime's other profilers are set by [`Loader::configure`].
    #[must_use]
    pub fn profiler(self, profiler: Profiler) -> Loader {
        Loader { profiler, ..self }
    }

    /// Loads an artifact on this machine.
    ///
    /// # Errors
    /// When this machine lacks anything that the artifact requires, the engine is configured against its requirements,
    /// or wasmtime does not accept it.
    pub fn load(&self, artifact: VerifiedArtifact) -> Result<Loaded, LoadError> {
        check_machine(artifact.requirements())?;
        let engine = self.engine(artifact.requirements())?;
        load_mapped(&engine, artifact, self.profiler)
    }

    fn engine(&self, requirements: &Requirements) -> Result<Engine, LoadError> {
        let key = engine_key(requirements);
        // A panic in `configure` leaves the map as it was.
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&key).and_then(EngineWeak::upgrade) {
            return Ok(engine);
        }
        let mut config = engine_config(requirements)?;
        if maps_code(requirements) {
            config.with_custom_code_memory(Some(Arc::new(MappedCode)));
        }
        if self.profiler != Profiler::None {
            self.profiler.create_file()?;
            config.profiler(self.profiler.strategy());
        }
        self.configure.iter().for_each(|configure| configure(&mut config));
        let engine = Engine::new(&config).map_err(|error| self.engine_error(error))?;
        check_engine(requirements, &engine)?;
        engines.retain(|_, engine| engine.upgrade().is_some());
        engines.insert(key, engine.weak());
        Ok(engine)
    }

    /// Why there is no engine: of what wasmtime does for one, the system refuses memory, or what the profiler needs.
    fn engine_error(&self, error: wasmtime::Error) -> LoadError {
        let error: Box<dyn std::error::Error + Send + Sync> = error.into();
        let refused = chain(error.as_ref()).find_map(errno);
        match refused {
            Some(refused) if refused != Errno::NOMEM && self.profiler != Profiler::None => {
                LoadError::Profiler(self.profiler.map_error(error))
            }
            _ => LoadError::Engine(error),
        }
    }
}

/// Loads an artifact into an engine of the caller's.
///
/// The engine is used as it is: where memory that was writable must not become executable (`PR_SET_MDWE`, systemd's
/// `MemoryDenyWriteExecute=`), [`Loader`] gives its engines a code memory that maps native code executable at once, which
/// cannot be added to an existing engine. There, this function loads Pulley's bytecode only.
///
/// # Errors
/// When this machine lacks anything that the artifact requires; when the engine is configured differently, with every
/// such setting that can be read from it (see [`Loader::configure`] for those that cannot); when wasmtime does not
/// accept the artifact.
pub fn load_into(engine: &Engine, artifact: VerifiedArtifact) -> Result<Loaded, LoadError> {
    check_machine(artifact.requirements())?;
    check_engine(artifact.requirements(), engine)?;
    load_mapped(engine, artifact, Profiler::None)
}

/// What an engine's configuration is made of: artifacts that differ in nothing else share one. Extensions are checked
/// against the CPU, and modules and components live side by side.
fn engine_key(requirements: &Requirements) -> Digest {
    let Requirements { arch, tunables, recorded, wasm_features, .. } = requirements;
    Digest::of_json(&(arch, tunables, recorded, wasm_features))
}

fn check_machine(requirements: &Requirements) -> Result<(), LoadError> {
    let mismatches = check(requirements, &host::here()?);
    if !mismatches.is_empty() {
        return Err(LoadError::Mismatch(mismatches));
    }
    Ok(check_calls()?)
}

fn check_engine(requirements: &Requirements, engine: &Engine) -> Result<(), LoadError> {
    let mismatches = engine::mismatches(requirements, engine);
    if mismatches.is_empty() { Ok(()) } else { Err(LoadError::EngineMismatch(mismatches)) }
}

fn load_mapped(engine: &Engine, artifact: VerifiedArtifact, profiler: Profiler) -> Result<Loaded, LoadError> {
    let VerifiedArtifact { bytes, requirements, target } = artifact;
    let code_source = code_source(&bytes, &requirements)?;
    let copied =
        profiler == Profiler::PerfMap || requirements.kind == Kind::Component && reopened(bytes.file()).is_none();
    if copied {
        check_memory(bytes.bytes().len() as u64)?;
    }
    // An engine and bytes in memory that nothing changes: a panic leaves nothing half done that is used again.
    let map = AssertUnwindSafe(|| map(engine, &bytes, requirements.kind, profiler));
    let code = match code_source {
        Some(source) => source.during(|| catch_unwind(map)),
        None => catch_unwind(map),
    };
    let code = code.map_err(|panic| LoadError::Damaged(message(&*panic).into()))?;
    let code = code.map_err(|error| LoadError::Deserialize(error.into()))?;
    Ok(Loaded { engine: engine.clone(), code, requirements, target })
}

/// Whether the control group leaves room for another copy of the artifact.
fn check_memory(needed_bytes: u64) -> Result<(), LoadError> {
    match memory::available_bytes() {
        Some(available_bytes) if available_bytes < needed_bytes + HEADROOM_BYTES => {
            let source = memory::refusal(TOO_LITTLE_MEMORY);
            Err(LoadError::Memory { available_bytes, needed_bytes, source })
        }
        _ => Ok(()),
    }
}

/// Whether native code becomes executable here only by mapping it from its file.
fn maps_code(requirements: &Requirements) -> bool {
    !requirements.arch.is_pulley() && code_permission() == CodePermission::Map
}

/// Where native code is to be mapped from, if that is the only way in which it becomes executable here.
fn code_source(bytes: &Bytes, requirements: &Requirements) -> Result<Option<CodeSource>, LoadError> {
    if !maps_code(requirements) {
        return Ok(None);
    }
    let deserialize = |error: Box<dyn std::error::Error + Send + Sync>| LoadError::Deserialize(error);
    let section = CodeSection::of_artifact(bytes.bytes()).map_err(|error| deserialize(error.into()))?;
    let Some(CodeSection { offset_bytes, branch_protection }) = section else { return Ok(None) };
    let file = bytes.file().try_clone().map_err(|error| deserialize(error.into()))?;
    Ok(Some(CodeSource { file, offset_bytes, branch_protection }))
}

/// A panic's message.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it gave no reason").to_owned()
}

#[allow(unsafe_code)]
fn map(engine: &Engine, bytes: &Bytes, kind: Kind, profiler: Profiler) -> wasmtime::Result<Code> {
    let copied = profiler == Profiler::PerfMap;
    Ok(match kind {
        // SAFETY: the caller holds a `VerifiedArtifact`: these bytes are wasmtime's own output, as a trusted digest or the
        // user attests. wasmtime copies them.
        Kind::Module if copied => Code::Module(unsafe { Module::deserialize(engine, bytes.bytes()) }?),
        Kind::Module => {
            let file = bytes.file().try_clone()?;
            // SAFETY: as above. The file is sealed, or cannot be changed by any user that is not trusted
            // (`VerifiedArtifact::assume_hashed`): what is mapped is what was hashed, now and later.
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

/// A path that opens `file` again, which wasmtime maps components from; none where `/proc` is not procfs.
fn reopened(file: &File) -> Option<String> {
    const DESCRIPTORS: &str = "/proc/self/fd";
    let is_procfs = statfs(DESCRIPTORS).is_ok_and(|found| found.f_type as u64 == PROC_SUPER_MAGIC as u64);
    let path = format!("{DESCRIPTORS}/{}", file.as_raw_fd());
    (is_procfs && File::open(&path).is_ok()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_the_system_refuses_is_found_behind_any_number_of_errors() {
        let hint = |errno: Errno| {
            let wrapped = std::io::Error::other(std::io::Error::from(errno));
            LoadError::Engine(wasmtime::Error::from(wrapped).context("no pool").into()).hint()
        };
        assert!(hint(Errno::NOMEM).is_some_and(|hint| hint.contains("`ulimit -v`")));
        assert_eq!(hint(Errno::PERM), None);
    }
}
