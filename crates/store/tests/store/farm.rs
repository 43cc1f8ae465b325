//! A farm and a server. In: artifacts that upstream's `wasmtime compile` made. Out: signed releases of one module, sources
//! that offer them, and a store.

use crate::machine;
use isomer_contract::artifact::Artifact;
use isomer_contract::isa::{self, Arch};
use isomer_contract::manifest::{Blob, SCHEMA, Served, VariantConfig};
use isomer_contract::{Demand, Digest, Host, Needs};
use isomer_layout::{
    Compression, FoundSignatures, Identity, Layout, LocalSource, ReleasedModule, Requested, Source, SourceError, Writer,
};
use isomer_runtime::{Signers, Trust};
use isomer_store::{Pulled, Store, StoreError, Wanted};
use isomer_trust::{Algorithm, Build, Builder, Bundle, Policy, Release, SigningKey, Statement, TrustedKey};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// An empty module.
const WASM: &[u8] = b"\0asm\x01\0\0\0";

/// An artifact among those of `isomer-runtime`'s tests.
pub(crate) fn artifact(name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../run/tests/artifacts");
    let compressed = fs::read(directory.join(format!("{name}.cwasm.zst"))).expect("it is in the repository");
    zstd::decode_all(&compressed[..]).expect("it is a zstd frame")
}

/// What signs releases of a module.
pub(crate) struct Farm {
    key: SigningKey,
    module: &'static str,
}

/// A release in a directory.
pub(crate) struct Released {
    dir: TempDir,
    module: &'static str,
    /// The digest of the module's index.
    pub(crate) index: Digest,
}

impl Farm {
    /// One of the module `sum`.
    pub(crate) fn new() -> Farm {
        Farm::of("sum")
    }

    pub(crate) fn of(module: &'static str) -> Farm {
        Farm { key: SigningKey::generate(Algorithm::Ed25519).expect("there is randomness"), module }
    }

    /// Trusts this farm's key alone.
    pub(crate) fn trust(&self) -> Trust {
        self.trust_as("farm")
    }

    /// Trusts this farm's key alone, under the name `name`.
    pub(crate) fn trust_as(&self, name: &str) -> Trust {
        let policy = Policy::of_keys([TrustedKey::new(name, self.key.public_key())]);
        Trust::Signed(Box::new(Signers::of(policy)))
    }

    /// A release of `MODULE:VERSION`, unsigned. `variants` are names of targets with those of [`artifact`]s.
    pub(crate) fn release_unsigned(&self, version: &str, counter: u64, variants: &[(&str, &str)]) -> Released {
        let dir = tempfile::tempdir().expect("there is room");
        let writer = Writer::open(dir.path()).expect("it is empty");
        let wasm = writer.add_wasm(WASM).expect("there is room");
        let variants = variants.iter().map(|(target, name)| {
            let bytes = artifact(name);
            let config = config(self.module, target, &bytes);
            let layer = writer.add_layer(&bytes[..], Compression::Zstd, config.artifact).expect("there is room");
            (config, layer)
        });
        let variants = variants.collect();
        let (name, version) = (self.module.parse().expect("a name"), version.parse().expect("a version"));
        let module = ReleasedModule { name, version, wasm, variants };
        let identity =
            Identity { name: "acme".parse().expect("a name"), version: module.version.clone(), counter, part: None };
        let summary = writer.finish(&identity, vec![module]).expect("it is consistent");
        Released { index: summary.modules[0].digest, dir, module: self.module }
    }

    /// As [`Farm::release_unsigned`], signed.
    pub(crate) fn release(&self, version: &str, counter: u64, variants: &[(&str, &str)]) -> Released {
        let released = self.release_unsigned(version, counter, variants);
        let release =
            Release { name: "acme".parse().expect("a name"), version: version.parse().expect("a version"), counter };
        let build = Build {
            targets: BTreeMap::new(),
            passes: Vec::new(),
            engine: "48.0.8".to_owned(),
            isomer: "0.1.0".to_owned(),
            not_compiled: Default::default(),
        };
        let statement = Statement {
            subjects: [(format!("{}:{version}", self.module), released.index)].into(),
            release,
            build,
            inputs: BTreeMap::new(),
            builder: Builder { id: "https://farm.example".to_owned(), version: BTreeMap::new() },
            finished_on: None,
        };
        let bundle = Bundle::sign(&statement, &self.key).to_json();
        let writer = Writer::open(released.dir.path()).expect("it is a release");
        writer.sign(bundle.as_bytes(), &[released.index]).expect("there is room");
        released
    }

    /// A release with one variant, which runs on [`host`].
    pub(crate) fn release_of(&self, version: &str, counter: u64, name: &str) -> Released {
        let target = if name.starts_with("pulley") { "pulley64" } else { "x86-64-v1" };
        self.release(version, counter, &[(target, name)])
    }
}

fn config(module: &str, target: &str, bytes: &[u8]) -> VariantConfig {
    let artifact = Artifact::read(bytes).expect("it is an artifact");
    let served = Served {
        target: target.to_owned(),
        profile: Digest::of(b"profile"),
        job: Digest::of(target.as_bytes()),
        predicted: false,
        priority: 0,
    };
    VariantConfig {
        schema: SCHEMA,
        module: module.to_owned(),
        wasm: Blob::of(WASM),
        artifact: Blob::of(bytes),
        code: artifact.code_digest(),
        target: target.to_owned(),
        triple: artifact.triple.clone(),
        serves: vec![served],
        passes: Vec::new(),
        engine: "48.0.8".to_owned(),
        isomer: "0.1.0".to_owned(),
        compat: artifact.requirements.compat(),
        requirements: artifact.requirements,
        code_generation: BTreeMap::new(),
        needs: Needs::default(),
    }
}

impl Released {
    /// The digest of its signature's bundle.
    pub(crate) fn bundle(&self) -> Digest {
        let layout = Layout::open(self.dir.path()).expect("it is a release");
        let signatures = layout.signature_documents(self.index).expect("they are whole");
        Digest::of(&signatures[0].bundle)
    }

    /// The manifest of its first variant.
    pub(crate) fn manifest(&self) -> Vec<u8> {
        let layout = Layout::open(self.dir.path()).expect("it is a release");
        let module = layout.module(self.module).expect("it has it");
        fs::read(self.blob(module.variants[0].manifest)).expect("it is whole")
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.dir.path().join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn source(&self) -> Offered {
        let layout = Layout::open(self.dir.path()).expect("it is a release");
        let local = LocalSource::new(layout, Some(self.module), "oci-dir:dist".to_owned());
        let local = local.expect("it has one module");
        Offered { local, index: None, requested: None, cut: None, resumed_at: AtomicU64::new(0) }
    }
}

/// A release as a source offers it that fails, or is asked for something else.
pub(crate) struct Offered {
    local: LocalSource,
    /// What is offered instead of the index.
    pub(crate) index: Option<Vec<u8>>,
    /// What is requested instead of the module and version that it holds.
    pub(crate) requested: Option<(Option<&'static str>, Option<&'static str>)>,
    /// After so many bytes of a layer, the transfer fails so.
    pub(crate) cut: Option<(u64, ErrorKind)>,
    /// How many bytes an earlier transfer had left.
    pub(crate) resumed_at: AtomicU64,
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.local, f)
    }
}

impl Source for Offered {
    fn requested(&self) -> Requested<'_> {
        self.requested.map_or_else(|| self.local.requested(), |(module, tag)| Requested { module, tag })
    }

    fn index(&self) -> Result<Vec<u8>, SourceError> {
        self.index.clone().map_or_else(|| self.local.index(), Ok)
    }

    fn manifest(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        self.local.manifest(blob)
    }

    fn document(&self, blob: Blob) -> Result<Vec<u8>, SourceError> {
        self.local.document(blob)
    }

    fn layer(&self, blob: Blob, file: &mut File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), SourceError> {
        self.resumed_at.store(file.metadata().expect("it is open").len(), Ordering::Relaxed);
        self.local.layer(blob, file, on_bytes)?;
        let Some((size_bytes, kind)) = self.cut else { return Ok(()) };
        file.set_len(size_bytes).expect("it is open for writing");
        let (message, source) = ("the transfer ended".to_owned(), io::Error::from(kind));
        Err(SourceError { message, hint: None, source: Some(source.into()) })
    }

    fn signatures(&self, index: Blob) -> Result<FoundSignatures, SourceError> {
        self.local.signatures(index)
    }
}

/// A server's store, in a directory of its own.
pub(crate) struct Server {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
}

impl Server {
    pub(crate) fn new() -> Server {
        Server::of(machine::directory())
    }

    pub(crate) fn of(dir: TempDir) -> Server {
        let store = Store::create(&dir.path().join("store")).expect("it is empty");
        Server { dir, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("store").join(name)
    }

    /// The names in a directory of the store, sorted.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(name)) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("it is read").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    pub(crate) fn artifact_path(&self, name: &str) -> PathBuf {
        self.path(&format!("artifacts/{}.cwasm", Digest::of(&artifact(name)).hex()))
    }

    /// Pulls the best variant for [`host`].
    pub(crate) fn pull(&self, source: &dyn Source, trust: &Trust) -> Result<Pulled, StoreError> {
        self.pull_as(source, trust, None, false)
    }

    /// Pulls and activates it.
    pub(crate) fn activate(&self, source: &dyn Source, trust: &Trust) -> Pulled {
        self.pull_as(source, trust, None, true).expect("it is trusted")
    }

    pub(crate) fn pull_as(
        &self,
        source: &dyn Source,
        trust: &Trust,
        target: Option<&str>,
        activate: bool,
    ) -> Result<Pulled, StoreError> {
        pull(&self.store, source, trust, target, activate)
    }

    /// The reference of the active version.
    pub(crate) fn active(&self) -> String {
        self.store.find("sum").expect("a version is active").module().reference.clone()
    }
}

/// Pulls the variant for `target`, or else the best one for [`host`].
pub(crate) fn pull(
    store: &Store,
    source: &dyn Source,
    trust: &Trust,
    target: Option<&str>,
    activate: bool,
) -> Result<Pulled, StoreError> {
    let (host, demand) = (host(), Demand::default());
    store.pull(source, &Wanted { trust, host: &host, demand: &demand, target, activate }, &|_| ())
}

/// A machine with every extension of x86-64.
pub(crate) fn host() -> Host {
    Host {
        arch: Arch::X86_64,
        os: "linux".to_owned(),
        cpu: None,
        isa: isa::all(Arch::X86_64).map(|row| row.name.to_owned()).collect(),
        native_code: true,
        engine: "48.0.8".to_owned(),
    }
}

/// Changes one byte of a file that is read-only.
pub(crate) fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("it exists");
    let index = bytes.len() / 2;
    bytes[index] ^= 1;
    overwrite(path, &bytes);
}

/// Writes to a file that is read-only.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::write(path, bytes).expect("it is ours");
}

/// Whether this machine's records of what it hashed count for files in `dir`: root alone can change them, and they lie on
/// the same disk as the records.
pub(crate) fn records_count(dir: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|it| it.dev()).ok();
    let is_roots = |path: &Path| {
        fs::metadata(path).is_ok_and(|it| it.uid() == 0 && (it.mode() & 0o022 == 0 || it.mode() & 0o1000 != 0))
    };
    // ext4, XFS, Btrfs, tmpfs: `linux/magic.h`.
    let kinds = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994_u32];
    let kind = rustix::fs::statfs(dir).map(|it| it.f_type as u32);
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    dir.ancestors().all(is_roots)
        && device(dir) == device("/var/lib".as_ref())
        && kind.is_ok_and(|kind| kinds.contains(&kind))
        && users.split_whitespace().eq(["0", "0", "4294967295"])
}
