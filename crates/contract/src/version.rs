//! The version of wasmtime in this build, and what of a version loaders compare.

/// The exact version of wasmtime in this build, `48.0.8`.
pub const ENGINE_VERSION: &str = wasmtime_environ::VERSION;

/// The part of [`ENGINE_VERSION`] that artifacts carry and loaders compare, `48`.
pub fn engine_major() -> &'static str {
    major(ENGINE_VERSION)
}

/// The major of a version of wasmtime, which is all that loaders compare.
///
/// ```
/// assert_eq!(isomer_contract::major("48.0.8"), "48");
/// ```
pub fn major(version: &str) -> &str {
    version.split_once('.').map_or(version, |(major, _)| major)
}
