//! How an extension is probed on a running machine, as data. Never here: a probe; the runtime interprets the data.

/// How an extension is probed on a running machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A CPUID bit, and the register state that the operating system must have enabled in XCR0.
    Cpuid {
        /// EAX on input.
        leaf: u32,
        /// ECX on input.
        subleaf: u32,
        /// Output register that has the bit.
        register: Register,
        /// Bit number, 0 to 31.
        bit: u8,
        /// State the instructions need.
        state: XState,
    },
    /// Bits of Linux' auxiliary vector, all of which must be set.
    Hwcap {
        /// 1: `AT_HWCAP`, 2: `AT_HWCAP2`.
        word: u8,
        /// Bit numbers.
        all_of: &'static [u8],
    },
    /// Bits of a value that Linux' `riscv_hwprobe` gives, one of which must be set.
    RiscvHwprobe {
        /// `RISCV_HWPROBE_KEY_…`.
        key: i64,
        /// Bit numbers.
        any_of: &'static [u8],
        /// Letter in `AT_HWCAP` that answers where the kernel has no `riscv_hwprobe` (before 6.4).
        hwcap_letter: Option<char>,
    },
    /// The vector extension: `riscv_hwprobe` must report it (before that call existed, `AT_HWCAP` could mean the
    /// incompatible draft 0.7.1) and `AT_HWCAP` too (its letter is off where the system keeps vectors from programs).
    RiscvVector,
    /// The vector extension, with vector registers of at least so many bits.
    RiscvVectorBits(u32),
    /// A bit of s390x' STORE FACILITY LIST EXTENDED.
    Facility {
        /// Facility number, counted from the left of the list.
        number: u16,
        /// The instructions use vector registers, so Linux must save those (`HWCAP_S390_VXRS`).
        vector: bool,
    },
}

/// A CPUID output register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the registers are")]
pub enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Register state of x86-64 that the operating system must save, as XCR0 shows (SDM volume 1, 13.3 and 15.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XState {
    /// General-purpose and SSE registers, which every 64-bit system saves.
    None,
    /// XMM and YMM: XCR0 bits 1 and 2.
    Avx,
    /// Those and opmask, ZMM_Hi256, Hi16_ZMM: XCR0 bits 1, 2, 5, 6 and 7.
    Avx512,
}
