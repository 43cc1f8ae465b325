//! The architectures, by their names and by the target triples that mean them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use target_lexicon::{Aarch64Architecture, Architecture, Riscv64Architecture, Triple};

/// An architecture that wasmtime generates code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// AMD64, Intel 64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// Armv8-A and Armv9-A in AArch64 state.
    Aarch64,
    /// RV64, at least RV64G.
    Riscv64,
    /// z/Architecture, at least z14.
    S390x,
    /// Wasmtime's portable bytecode, little-endian with 64-bit pointers.
    Pulley64,
    /// Wasmtime's portable bytecode, big-endian with 64-bit pointers.
    Pulley64be,
}

impl Arch {
    /// Every architecture, in the order of this enum.
    pub const ALL: [Arch; 6] =
        [Arch::X86_64, Arch::Aarch64, Arch::Riscv64, Arch::S390x, Arch::Pulley64, Arch::Pulley64be];

    /// The name as Rust, target-lexicon and our files write it.
    pub const fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
            Arch::Riscv64 => "riscv64",
            Arch::S390x => "s390x",
            Arch::Pulley64 => "pulley64",
            Arch::Pulley64be => "pulley64be",
        }
    }

    /// Bytecode that any machine of the right byte order interprets; such architectures have no rows in the table.
    pub const fn is_pulley(self) -> bool {
        matches!(self, Arch::Pulley64 | Arch::Pulley64be)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The string names none of [`Arch::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownArch(pub String);

impl fmt::Display for UnknownArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Arch::ALL.map(Arch::name).join(", ");
        write!(f, "unknown architecture {:?}, expected one of {known}", self.0)
    }
}

impl std::error::Error for UnknownArch {}

impl FromStr for Arch {
    type Err = UnknownArch;

    /// Exactly the spelling of [`Arch::name`].
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Arch::ALL.into_iter().find(|arch| arch.name() == name).ok_or_else(|| UnknownArch(name.to_owned()))
    }
}

impl Arch {
    /// The architecture of `triple`, or none when wasmtime 48 generates no code for it.
    pub fn of(triple: &Triple) -> Option<Arch> {
        match triple.architecture {
            Architecture::X86_64 => Some(Arch::X86_64),
            Architecture::Aarch64(Aarch64Architecture::Aarch64) => Some(Arch::Aarch64),
            // The loader compares the sub-architecture too: `riscv64` and `riscv64gc` do not load each other's code.
            Architecture::Riscv64(Riscv64Architecture::Riscv64gc) => Some(Arch::Riscv64),
            Architecture::S390x => Some(Arch::S390x),
            Architecture::Pulley64 => Some(Arch::Pulley64),
            Architecture::Pulley64be => Some(Arch::Pulley64be),
            _ => None,
        }
    }
}
