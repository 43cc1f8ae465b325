//! In: a target triple. Out: the architecture whose extensions and code generator it means.

use crate::isa::Arch;
use target_lexicon::{Aarch64Architecture, Architecture, Riscv64Architecture, Triple};

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
