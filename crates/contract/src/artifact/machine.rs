//! In: an architecture. Out: the machine in the ELF header of its artifacts. Never here: what the code in them needs.

use crate::isa::Arch;
use object::elf;
use std::fmt;

/// The machine in an ELF header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) number: u16,
    pub(super) big_endian: bool,
}

impl Machine {
    /// What wasmtime writes. Pulley has no number of its own and goes as RISC-V.
    pub(super) const fn of(arch: Arch) -> Machine {
        let number = match arch {
            Arch::X86_64 => elf::EM_X86_64,
            Arch::Aarch64 => elf::EM_AARCH64,
            Arch::Riscv64 | Arch::Pulley64 | Arch::Pulley64be => elf::EM_RISCV,
            Arch::S390x => elf::EM_S390,
        };
        Machine { number, big_endian: matches!(arch, Arch::S390x | Arch::Pulley64be) }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { number, big_endian } = self;
        write!(f, "machine {number}, {}-endian", if *big_endian { "big" } else { "little" })
    }
}
