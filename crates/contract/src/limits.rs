//! The limits that everything which writes a release and everything which reads one agree on.

/// The largest index, manifest, config or signature bundle, in bytes. 4 MiB is what registries accept as a manifest
/// ([distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-manifests)).
pub const DOCUMENT_SIZE_BYTES_MAX: u64 = 4 << 20;

/// The largest artifact and the largest layer, in bytes: wasmtime locates functions in an artifact by 32-bit offsets
/// (`wasmtime_environ::FunctionLoc`).
pub const ARTIFACT_SIZE_BYTES_MAX: u64 = 4 << 30;

/// The largest WebAssembly, in bytes: wasmparser's limit on a module (`MAX_WASM_MODULE_SIZE`).
pub const WASM_SIZE_BYTES_MAX: u64 = 1 << 30;

/// The most signatures of one module that are read or written.
pub const SIGNATURES_MAX: usize = 64;

/// The largest counter of a release. Every JSON reader keeps a whole number below 2⁵³ exact (RFC 8259, section 6), and
/// a server that has seen a counter refuses lower ones.
pub const COUNTER_MAX: u64 = (1 << 53) - 1;
