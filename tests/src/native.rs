//! What this machine's architecture is called: by isomer's targets and by OCI. Never here: a look at the CPU.

use std::env::consts::ARCH;

/// Names of one architecture.
pub struct Native {
    /// `platform.architecture` in an index.
    pub oci: &'static str,
    /// The target that every such machine runs.
    pub baseline: &'static str,
    /// A target with more extensions.
    pub wider: &'static str,
    /// The target with the newest extensions.
    pub newest: &'static str,
}

/// Those of the architecture that the tests run on.
///
/// # Panics
/// When no shipped target is for it.
pub fn native() -> Native {
    let (oci, baseline, wider, newest) = match ARCH {
        "x86_64" => ("amd64", "x86-64-v1", "x86-64-v3", "sapphire-rapids"),
        "aarch64" => ("arm64", "aarch64", "neoverse-n1", "neoverse-v2"),
        "riscv64" => ("riscv64", "riscv64gc", "rva22u64", "rva23u64"),
        "s390x" => ("s390x", "z14", "z15", "z17"),
        other => panic!("no shipped target is for {other}"),
    };
    Native { oci, baseline, wider, newest }
}

/// The interpreter's target, for this machine's byte order.
pub fn pulley() -> &'static str {
    if cfg!(target_endian = "big") { "pulley64be" } else { "pulley64" }
}
