//! What a store holds for a guest of any world. In: [`Grants`] and [`Limits`]. Out: [`Prepared`], in which directories are
//! open, and from it one [`Host`] for each instance; linkers for what a component or module imports. Never here: anything
//! of this machine that was not granted.
//!
//! ```
//! use isomer_guest::{Grants, Limits, Prepare, Process};
//! use isomer_runtime::{Code, Expected, Loader, SealedBytes, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if cfg!(target_endian = "big") {
//! #     return Ok(());
//! # }
//! # let artifact = zstd::decode_all(std::fs::File::open("../run/tests/artifacts/component-pulley64.cwasm.zst")?)?;
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let sealed = SealedBytes::copy(&artifact[..], 1 << 20)?;
//! let loaded = Loader::new().load(verify(sealed, Expected::AnyArtifact)?)?;
//! let Code::Component(component) = loaded.code else { return Err("expected a component".into()) };
//! let (grants, limits) = (Grants::default(), Limits::default());
//! let environment = [].into();
//! let prepared = Prepare { grants: &grants, environment, limits, allow_blocking: false, route: None }.open()?;
//! let linker = isomer_guest::component_linker(&component)?;
//! let pre = linker.instantiate_pre(&component)?;
//! // For each instance:
//! let host = prepared.host(Process::default(), Box::new(prepared.no_outgoing()));
//! let mut store = prepared.store(component.engine(), host)?;
//! let instance = pre.instantiate_async(&mut store).await?;
//! let add = instance.get_typed_func::<(u32, u32), (u32,)>(&mut store, "add")?;
//! assert_eq!(add.call_async(&mut store, (1, 2)).await?, (3,));
//! # Ok(())
//! # })
//! # }
//! ```

mod clock;
mod keyvalue;
mod linker;
mod lookup;
mod network;
mod outgoing;
mod sockets;
mod tls;

pub use linker::{LinkError, MissingImports, component_linker, module_linker};
pub use network::Network;
pub(crate) use outgoing::BODY_PIECE_SIZE_BYTES;
pub use outgoing::NoOutgoing;

use crate::denials::Denials;
use crate::grants::{Access, Directory, FrozenClock, GrantError, Grants, HttpRule};
use crate::limits::{Limiter, Limits};
use crate::outgoing::{Outgoing, OutgoingLimits, Roots, RootsError};
use keyvalue::KeyValue;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tls::Tls;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, GuestProfiler, Store};
use wasmtime_wasi::cli::{StdinStream, StdoutStream};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};
use wasmtime_wasi_tls::{WasiTlsCtx, WasiTlsCtxBuilder, WasiTlsCtxView, WasiTlsView};

/// Why grants cannot be given on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A directory cannot be opened.
    #[error("cannot open the directory `{}`", .directory.host.display())]
    Directory {
        /// Which.
        directory: Directory,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The CA certificates of servers that guests reach by TLS cannot be read.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// Grants or limits contradict each other.
    #[error(transparent)]
    Contradiction(#[from] GrantError),
}

/// What is to be prepared.
#[derive(Clone, Debug)]
pub struct Prepare<'a> {
    /// What guests are granted.
    pub grants: &'a Grants,
    /// What [`Grants::environment`] gives.
    pub environment: BTreeMap<String, String>,
    /// What each instance may use up.
    pub limits: Limits,
    /// Whether host functions may block the thread that calls an instance, because it does nothing else. With it, no
    /// deadline but that of the code itself holds while one blocks.
    pub allow_blocking: bool,
    /// Whose guests they are, for warnings about what is denied to them.
    pub route: Option<&'a str>,
}

impl Prepare<'_> {
    /// Opens what is granted.
    ///
    /// # Errors
    /// When a directory or a CA certificate cannot be read, or grants contradict each other.
    pub fn open(self) -> Result<Prepared, PrepareError> {
        let Prepare { grants, environment, limits, allow_blocking, route } = self;
        grants.check()?;
        limits.check()?;
        // Reading the system's certificates takes a while, and few guests need them.
        let reaches_by_tls = grants.allow_tls || !grants.allow_http.is_empty();
        let roots = reaches_by_tls.then(|| Roots::load(&grants.ca_certificates)).transpose()?;
        let denials = Denials::of_route(route);
        Ok(Prepared {
            tls: Tls::new(roots.as_ref().filter(|_| grants.allow_tls), denials.clone()),
            allow_http: grants.allow_http.clone(),
            roots,
            filesystem: open(&grants.directories, allow_blocking)?,
            environment: environment.into_iter().collect(),
            network: Arc::new(Network::reporting(grants.allow_net.clone(), denials.clone())),
            config: grants.config.pairs.clone(),
            keyvalue: grants.keyvalue.as_ref().map(|entries| KeyValue::new(&entries.pairs, limits.max_keyvalue)),
            random_seed: grants.random_seed,
            frozen_clock: grants.frozen_clock,
            limits,
            denials,
        })
    }
}

/// Grants that are checked and opened once, for as many instances as are wanted: each gets the same directories, the same
/// key-value store, and handles, memory and random numbers of its own.
pub struct Prepared {
    filesystem: WasiFilesystemCtx,
    environment: Vec<(String, String)>,
    network: Arc<Network>,
    allow_http: Vec<HttpRule>,
    roots: Option<Roots>,
    tls: Tls,
    config: BTreeMap<String, String>,
    keyvalue: Option<KeyValue>,
    random_seed: Option<u64>,
    frozen_clock: Option<FrozenClock>,
    limits: Limits,
    denials: Denials,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What one instance has as a process: arguments and standard streams. By default none, and output goes nowhere.
#[non_exhaustive]
pub struct Process {
    /// `argv`; the first is its name.
    pub arguments: Vec<String>,
    /// The directory that `wasi:cli/environment` names as the current one.
    pub current_dir: Option<String>,
    /// Standard input.
    pub stdin: Box<dyn StdinStream + Sync>,
    /// Standard output.
    pub stdout: Box<dyn StdoutStream + Sync>,
    /// Standard error.
    pub stderr: Box<dyn StdoutStream + Sync>,
}

impl Default for Process {
    fn default() -> Process {
        Process {
            arguments: Vec::new(),
            current_dir: None,
            stdin: Box::new(tokio::io::empty()),
            stdout: Box::new(tokio::io::empty()),
            stderr: Box::new(tokio::io::empty()),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

impl Prepared {
    /// The limits of each instance.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What sends HTTP requests, if any are granted; instances may share it.
    pub fn outgoing(&self, limits: OutgoingLimits) -> Option<Outgoing> {
        let roots = self.roots.as_ref().filter(|_| !self.allow_http.is_empty())?;
        Some(Outgoing::reporting(&self.allow_http, roots, limits, self.denials.clone()))
    }

    /// What denies all HTTP requests.
    pub fn no_outgoing(&self) -> NoOutgoing {
        NoOutgoing::reporting(self.denials.clone())
    }

    /// What is denied to its guests.
    pub(crate) fn denials(&self) -> &Denials {
        &self.denials
    }

    /// What a store holds for one instance. `outgoing` sends its HTTP requests.
    pub fn host(&self, process: Process, outgoing: Box<dyn WasiHttpHooks>) -> Host {
        let Process { arguments, current_dir, stdin, stdout, stderr } = process;
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdin(stdin).stdout(stdout).stderr(stderr).args(&arguments).envs(&self.environment);
        if let Some(directory) = current_dir {
            wasi.initial_cwd(directory);
        }
        if let Some(seed) = self.random_seed {
            wasi.secure_random(StdRng::seed_from_u64(seed));
            wasi.insecure_random(StdRng::seed_from_u64(!seed));
            wasi.insecure_random_seed(u128::from(seed));
        }
        if let Some(frozen) = self.frozen_clock {
            wasi.wall_clock(frozen).monotonic_clock(clock::CountedReadings::default());
        }
        self.network.apply(&mut wasi);
        let mut wasi = wasi.build_p1();
        let WasiCtxView { ctx, table } = wasi.ctx();
        *ctx.filesystem() = self.filesystem.clone();
        if let Some(handles) = self.limits.max_handles {
            table.set_max_capacity(usize::try_from(handles).unwrap_or(usize::MAX));
        }
        Host {
            wasi,
            http: WasiHttpCtx::new(),
            outgoing,
            tls: WasiTlsCtxBuilder::new().provider(Box::new(self.tls.clone())).build(),
            config: self.config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            keyvalue: self.keyvalue.clone(),
            network: self.network.clone(),
            lookups: lookup::Lookups::default(),
            limiter: Limiter::new(&self.limits),
            profiler: None,
        }
    }

    /// A store in which the limits of memory, tables, instances, handles and fuel are in force. Deadlines are the caller's,
    /// by `Store::set_epoch_deadline`, which is set as far away as it can be.
    ///
    /// # Errors
    /// When fuel is limited and the engine's code does not count it.
    pub fn store(&self, engine: &Engine, host: Host) -> wasmtime::Result<Store<Host>> {
        let mut store = Store::new(engine, host);
        store.limiter(|host| &mut host.limiter);
        if let Some(handles) = self.limits.max_handles {
            store.set_max_component_handles(usize::try_from(handles).unwrap_or(usize::MAX));
        }
        if engine.get_consume_fuel() || self.limits.fuel.is_some() {
            // Code that counts fuel gets all there is, unless it is limited.
            store.set_fuel(self.limits.fuel.unwrap_or(u64::MAX))?;
        }
        if engine.get_epoch_interruption() {
            // Wasmtime adds this to the current epoch unchecked: the sum must not wrap.
            store.set_epoch_deadline(u64::MAX / 2);
        }
        Ok(store)
    }
}

fn open(directories: &[Directory], allow_blocking: bool) -> Result<WasiFilesystemCtx, PrepareError> {
    if directories.is_empty() {
        // A context costs system calls for its random numbers.
        return Ok(WasiFilesystemCtx::default());
    }
    let mut wasi = WasiCtxBuilder::new();
    wasi.allow_blocking_current_thread(allow_blocking);
    for directory in directories {
        let permissions = match directory.access {
            Access::ReadOnly => FsPerms::ReadOnly,
            Access::ReadWrite => FsPerms::ReadWrite,
        };
        wasi.preopened_dir(&directory.host, &directory.guest, permissions)
            .map_err(|error| PrepareError::Directory { directory: directory.clone(), source: error.into() })?;
    }
    Ok(wasi.build().filesystem().clone())
}

/// What a store holds for a guest of WASI 0.1, 0.2 or 0.3.
pub struct Host {
    wasi: WasiP1Ctx,
    http: WasiHttpCtx,
    outgoing: Box<dyn WasiHttpHooks>,
    tls: WasiTlsCtx,
    config: WasiConfigVariables,
    keyvalue: Option<KeyValue>,
    network: Arc<Network>,
    lookups: lookup::Lookups,
    limiter: Limiter,
    /// Samples the guest's stack, if it is profiled.
    pub(crate) profiler: Option<Box<GuestProfiler>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl Host {
    /// What the guest uses, and the limit that it reached.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// The handles of what it has open.
    pub fn table(&mut self) -> &mut ResourceTable {
        self.wasi.ctx().table
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut *self.outgoing, table: self.wasi.ctx().table, ctx: &mut self.http }
    }
}

impl WasiTlsView for Host {
    fn tls(&mut self) -> WasiTlsCtxView<'_> {
        WasiTlsCtxView { table: self.wasi.ctx().table, ctx: &mut self.tls }
    }
}
