//! The ISA-extension table: one row for every extension that Cranelift can use or always assumes, with its flag,
//! what it implies and how a running machine is asked for it. Pure data and look-ups; nothing here asks a CPU.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

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

/// One row of the table: an ISA extension of one architecture.
#[derive(Debug, PartialEq, Eq)]
pub struct Extension {
    /// Rust's target-feature name where Rust has one (`sse4.1`, `paca`, `miscellaneous-extensions-3`), else the
    /// specification's or LLVM's (`zcd`). Unique within the architecture.
    pub name: &'static str,
    /// The architecture this row belongs to.
    pub arch: Arch,
    /// Cranelift's ISA flag (`has_sse41`); none for a baseline that has no switch.
    pub flag: Option<&'static str>,
    /// Cranelift uses it in every artifact for this architecture, whatever the flags say.
    pub baseline: bool,
    /// Direct implications, names of rows of the same architecture: whoever asks for this must ask for those too.
    pub implies: &'static [&'static str],
    /// How a running machine is asked.
    pub probe: Probe,
    /// What it is and where that is written down.
    pub doc: &'static str,
    /// Other spellings that people type; /proc/cpuinfo's and wasmtime's among them.
    pub aliases: &'static [&'static str],
}

/// How a running machine is asked for an extension, as data; `isomer-run` interprets it.
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

/// Every row of one architecture, in the table's order.
pub fn all(arch: Arch) -> impl Iterator<Item = &'static Extension> {
    TABLE.iter().filter(move |row| row.arch == arch)
}

/// The row with exactly this name; aliases don't count.
pub fn by_name(arch: Arch, name: &str) -> Option<&'static Extension> {
    all(arch).find(|row| row.name == name)
}

/// The row that Cranelift's flag (`has_sse41`) switches on.
pub fn by_flag(arch: Arch, flag: &str) -> Option<&'static Extension> {
    all(arch).find(|row| row.flag == Some(flag))
}

/// The rows that somebody who typed `text` may have meant, by alias, flag, or another spelling: `SSE41`, `has_avx2`,
/// `mie3`. Two rows for RISC-V's `c`, which is `zca` with `zcd`.
pub fn by_alias(arch: Arch, text: &str) -> Vec<&'static Extension> {
    let typed = plain(text);
    all(arch).filter(|row| spellings(row).any(|spelling| plain(spelling) == typed)).collect()
}

/// The rows of *other* architectures with this name or alias, for "`avx2` is an x86_64 extension".
pub fn in_other_arch(arch: Arch, text: &str) -> Vec<&'static Extension> {
    Arch::ALL.into_iter().filter(|&other| other != arch).flat_map(|other| by_alias(other, text)).collect()
}

/// A real extension of this architecture that Cranelift never uses, so that profiles leave it out: the ones people
/// copy from psABI levels, RISC-V profiles and `-march` lists.
pub fn is_unused(arch: Arch, name: &str) -> bool {
    let typed = plain(name);
    UNUSED.iter().any(|(of, names)| *of == arch && names.iter().any(|unused| plain(unused) == typed))
}

/// The set and everything it implies, directly or not. Baseline rows are taken for granted: never added, kept if there.
pub fn closure(arch: Arch, set: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    let mut closed = set.clone();
    let mut left: Vec<&'static str> = set.iter().copied().collect();
    while let Some(name) = left.pop() {
        for implied in implied_switches(arch, name) {
            if closed.insert(implied) {
                left.push(implied);
            }
        }
    }
    closed
}

/// What keeps the set from being closed: each `(extension, implied)` where the first is in the set or follows from it
/// and the second is missing. Those that the set itself asks for come first; empty for a closed set.
pub fn missing_implied(arch: Arch, set: &BTreeSet<&'static str>) -> Vec<(&'static str, &'static str)> {
    let missing = |name| {
        implied_switches(arch, name).filter(|implied| !set.contains(implied)).map(move |implied| (name, implied))
    };
    let closed = closure(arch, set);
    set.iter().chain(closed.difference(set)).copied().flat_map(missing).collect()
}

/// Direct implications that aren't baseline.
fn implied_switches(arch: Arch, name: &str) -> impl Iterator<Item = &'static str> {
    let implies = by_name(arch, name).map_or(&[][..], |row| row.implies);
    implies.iter().copied().filter(move |implied| by_name(arch, implied).is_none_or(|row| !row.baseline))
}

fn spellings(row: &'static Extension) -> impl Iterator<Item = &'static str> {
    let flag = row.flag.into_iter().flat_map(|flag| [flag, flag.strip_prefix("has_").unwrap_or(flag)]);
    [row.name].into_iter().chain(flag).chain(row.aliases.iter().copied())
}

/// Lower case, without the punctuation on which spellings differ.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '.' | '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

/// A row of x86-64. Implications follow the "Detection of …" sections of Intel's SDM volume 1 (12.3, 14.3, 14.5, 14.7,
/// 15.2) and LLVM's X86.td; `cpuid` is leaf, subleaf, register, bit.
const fn x86(
    name: &'static str,
    flag: &'static str,
    implies: &'static [&'static str],
    cpuid: (u32, u32, Register, u8),
    state: XState,
    aliases: &'static [&'static str],
    doc: &'static str,
) -> Extension {
    let (leaf, subleaf, register, bit) = cpuid;
    let probe = Probe::Cpuid { leaf, subleaf, register, bit, state };
    Extension { name, arch: Arch::X86_64, flag: Some(flag), baseline: false, implies, probe, doc, aliases }
}

/// A baseline row without a flag.
const fn baseline(
    arch: Arch,
    name: &'static str,
    implies: &'static [&'static str],
    probe: Probe,
    aliases: &'static [&'static str],
    doc: &'static str,
) -> Extension {
    Extension { name, arch, flag: None, baseline: true, implies, probe, doc, aliases }
}

const fn arm(
    name: &'static str,
    flag: &'static str,
    implies: &'static [&'static str],
    (word, all_of): (u8, &'static [u8]),
    aliases: &'static [&'static str],
    doc: &'static str,
) -> Extension {
    let probe = Probe::Hwcap { word, all_of };
    Extension { name, arch: Arch::Aarch64, flag: Some(flag), baseline: false, implies, probe, doc, aliases }
}

const fn riscv(
    name: &'static str,
    flag: &'static str,
    implies: &'static [&'static str],
    probe: Probe,
    aliases: &'static [&'static str],
    doc: &'static str,
) -> Extension {
    Extension { name, arch: Arch::Riscv64, flag: Some(flag), baseline: false, implies, probe, doc, aliases }
}

/// RV64G: Cranelift has flags for it, on by default, and can't do without.
const fn riscv_g(
    name: &'static str,
    flag: &'static str,
    implies: &'static [&'static str],
    probe: Probe,
    doc: &'static str,
) -> Extension {
    Extension { name, arch: Arch::Riscv64, flag: Some(flag), baseline: true, implies, probe, doc, aliases: &[] }
}

/// `RISCV_HWPROBE_KEY_BASE_BEHAVIOR`, bit `RISCV_HWPROBE_BASE_BEHAVIOR_IMA`.
const fn base_behavior(letter: char) -> Probe {
    Probe::RiscvHwprobe { key: 3, any_of: &[0], hwcap_letter: Some(letter) }
}

/// Bits of `RISCV_HWPROBE_KEY_IMA_EXT_0` (Linux, arch/riscv/include/uapi/asm/hwprobe.h).
const fn ima_ext(any_of: &'static [u8], hwcap_letter: Option<char>) -> Probe {
    Probe::RiscvHwprobe { key: 4, any_of, hwcap_letter }
}

const fn z(
    name: &'static str,
    flag: &'static str,
    implies: &'static [&'static str],
    (number, vector): (u16, bool),
    aliases: &'static [&'static str],
    doc: &'static str,
) -> Extension {
    let probe = Probe::Facility { number, vector };
    Extension { name, arch: Arch::S390x, flag: Some(flag), baseline: false, implies, probe, doc, aliases }
}

const fn z14(name: &'static str, implies: &'static [&'static str], number: u16, doc: &'static str) -> Extension {
    let vector = number >= 129;
    baseline(Arch::S390x, name, implies, Probe::Facility { number, vector }, &[], doc)
}

use Register::{Eax, Ebx, Ecx, Edx};
use XState::{Avx, Avx512};

const fn edx1(bit: u8) -> Probe {
    Probe::Cpuid { leaf: 1, subleaf: 0, register: Edx, bit, state: XState::None }
}

#[rustfmt::skip]
static TABLE: &[Extension] = &[
    // x86-64. The backend assumes SSE2 (cranelift-codegen isa/x64/inst/mod.rs, `fn sse2`). Every rule for AVX2, FMA and
    // AVX-VNNI asks for AVX as well, and AVX-512 is only used in its 128-bit forms, which need AVX512VL.
    baseline(Arch::X86_64, "fxsr", &[], edx1(24), &[], "FXSAVE and FXRSTOR. Intel SDM vol. 2, CPUID.01H:EDX[24]; psABI x86-64 baseline"),
    baseline(Arch::X86_64, "sse", &["fxsr"], edx1(25), &[], "Streaming SIMD Extensions. Intel SDM vol. 2, CPUID.01H:EDX[25]; psABI x86-64 baseline"),
    baseline(Arch::X86_64, "sse2", &["sse"], edx1(26), &[], "SSE2. Intel SDM vol. 2, CPUID.01H:EDX[26]; psABI x86-64 baseline"),
    x86("sse3", "has_sse3", &["sse2"], (1, 0, Ecx, 0), XState::None, &["pni"], "SSE3. Intel SDM vol. 2, CPUID.01H:ECX[0]"),
    x86("ssse3", "has_ssse3", &["sse3"], (1, 0, Ecx, 9), XState::None, &[], "Supplemental SSE3. Intel SDM vol. 2, CPUID.01H:ECX[9]"),
    x86("sse4.1", "has_sse41", &["ssse3"], (1, 0, Ecx, 19), XState::None, &[], "SSE4.1. Intel SDM vol. 2, CPUID.01H:ECX[19]"),
    x86("sse4.2", "has_sse42", &["sse4.1"], (1, 0, Ecx, 20), XState::None, &[], "SSE4.2. Intel SDM vol. 2, CPUID.01H:ECX[20]"),
    x86("popcnt", "has_popcnt", &[], (1, 0, Ecx, 23), XState::None, &[], "POPCNT. Intel SDM vol. 2, CPUID.01H:ECX[23]"),
    x86("cmpxchg16b", "has_cmpxchg16b", &[], (1, 0, Ecx, 13), XState::None, &["cx16"], "CMPXCHG16B. Intel SDM vol. 2, CPUID.01H:ECX[13]"),
    x86("avx", "has_avx", &["sse4.2"], (1, 0, Ecx, 28), Avx, &["avx1"], "AVX. Intel SDM vol. 1, 14.3; CPUID.01H:ECX[28]"),
    x86("avx2", "has_avx2", &["avx"], (7, 0, Ebx, 5), Avx, &[], "AVX2. Intel SDM vol. 1, 14.7; CPUID.(07H,0):EBX[5]"),
    x86("fma", "has_fma", &["avx"], (1, 0, Ecx, 12), Avx, &["fma3"], "FMA3. Intel SDM vol. 1, 14.5.3; CPUID.01H:ECX[12]"),
    x86("bmi1", "has_bmi1", &[], (7, 0, Ebx, 3), XState::None, &["bmi"], "BMI1; an older CPU runs its TZCNT as BSF, wrong without a trap. Intel SDM vol. 2, CPUID.(07H,0):EBX[3]"),
    x86("bmi2", "has_bmi2", &[], (7, 0, Ebx, 8), XState::None, &[], "BMI2. Intel SDM vol. 2, CPUID.(07H,0):EBX[8]"),
    x86("lzcnt", "has_lzcnt", &[], (0x8000_0001, 0, Ecx, 5), XState::None, &["abm"], "LZCNT; an older CPU runs it as BSR, wrong without a trap. Intel SDM vol. 2, CPUID.80000001H:ECX[5]"),
    x86("avxvnni", "has_avx_vnni", &["avx2"], (7, 1, Eax, 4), Avx, &["vnni"], "AVX-VNNI, the VEX forms. Intel SDM vol. 2, CPUID.(07H,1):EAX[4]"),
    x86("avx512f", "has_avx512f", &["avx2", "fma"], (7, 0, Ebx, 16), Avx512, &["avx512"], "AVX-512 Foundation; AVX2 and FMA as in LLVM X86.td. Intel SDM vol. 1, 15.2; CPUID.(07H,0):EBX[16]"),
    x86("avx512vl", "has_avx512vl", &["avx512f"], (7, 0, Ebx, 31), Avx512, &[], "AVX-512 on 128- and 256-bit vectors. Intel SDM vol. 1, 15.4; CPUID.(07H,0):EBX[31]"),
    x86("avx512dq", "has_avx512dq", &["avx512vl"], (7, 0, Ebx, 17), Avx512, &[], "AVX512DQ; VL because Cranelift uses the 128-bit forms only. Intel SDM vol. 1, 15.3; CPUID.(07H,0):EBX[17]"),
    x86("avx512bitalg", "has_avx512bitalg", &["avx512vl"], (7, 0, Ecx, 12), Avx512, &[], "AVX512_BITALG; VL because Cranelift uses the 128-bit forms only. Intel SDM vol. 2, CPUID.(07H,0):ECX[12]"),
    x86("avx512vbmi", "has_avx512vbmi", &["avx512vl"], (7, 0, Ecx, 1), Avx512, &["avx512vbmi1"], "AVX512_VBMI; VL because Cranelift uses the 128-bit forms only. Intel SDM vol. 2, CPUID.(07H,0):ECX[1]"),
    x86("avx512vnni", "has_avx512vnni", &["avx512vl"], (7, 0, Ecx, 11), Avx512, &["vnni"], "AVX512_VNNI; VL because Cranelift uses the 128-bit forms only. Intel SDM vol. 2, CPUID.(07H,0):ECX[11]"),

    // AArch64. HWCAP bits: Linux, arch/arm64/include/uapi/asm/hwcap.h and Documentation/arch/arm64/elf_hwcaps.rst.
    baseline(Arch::Aarch64, "fp", &[], Probe::Hwcap { word: 1, all_of: &[0] }, &["vfp"], "FEAT_FP, scalar floating point. Arm ARM DDI 0487, A2; HWCAP_FP"),
    baseline(Arch::Aarch64, "neon", &["fp"], Probe::Hwcap { word: 1, all_of: &[1] }, &["asimd", "simd", "advsimd"], "FEAT_AdvSIMD. Arm ARM DDI 0487, A2; HWCAP_ASIMD"),
    arm("lse", "has_lse", &[], (1, &[8]), &["atomics"], "FEAT_LSE, Large System Extensions, mandatory from Armv8.1. Arm ARM DDI 0487, A2; HWCAP_ATOMICS"),
    arm("fp16", "has_fp16", &["neon"], (1, &[9, 10]), &["fullfp16", "fphp", "asimdhp"], "FEAT_FP16, scalar and vector half precision. Arm ARM DDI 0487, A2; HWCAP_FPHP, HWCAP_ASIMDHP"),
    arm("dotprod", "has_dotprod", &["neon"], (1, &[20]), &["asimddp", "dp"], "FEAT_DotProd, mandatory from Armv8.4. Arm ARM DDI 0487, A2; HWCAP_ASIMDDP"),
    arm("i8mm", "has_i8mm", &["neon"], (2, &[13]), &[], "FEAT_I8MM, mandatory from Armv8.6. Arm ARM DDI 0487, A2; HWCAP2_I8MM"),
    arm("paca", "has_pauth", &[], (1, &[30]), &["pauth", "pac"], "FEAT_PAuth with address keys, mandatory from Armv8.3; changes code only with return-address signing. Arm ARM DDI 0487, A2; HWCAP_PACA"),

    // RISC-V. "unpriv" is The RISC-V Instruction Set Manual, Volume I.
    riscv_g("m", "has_m", &[], base_behavior('m'), "Integer multiplication and division. RISC-V unpriv, M"),
    riscv_g("a", "has_a", &[], base_behavior('a'), "Atomics. RISC-V unpriv, A"),
    riscv_g("f", "has_f", &["zicsr"], ima_ext(&[0], Some('f')), "Single-precision floating point. RISC-V unpriv, F"),
    riscv_g("d", "has_d", &["f"], ima_ext(&[0], Some('d')), "Double-precision floating point. RISC-V unpriv, D"),
    riscv_g("zicsr", "has_zicsr", &[], base_behavior('i'), "CSR instructions, part of I up to user ISA 2.2, to which hwprobe's base behaviour refers. RISC-V unpriv, Zicsr"),
    riscv_g("zifencei", "has_zifencei", &[], base_behavior('i'), "FENCE.I, in name only: Linux keeps it from programs and Cranelift emits none for Wasm. RISC-V unpriv, Zifencei"),
    riscv("zca", "has_zca", &[], ima_ext(&[43, 1], Some('c')), &["c"], "Compressed instructions without floating point; bit 1 is C, all that kernels before 6.11 report. RISC-V unpriv, Zc*"),
    riscv("zcd", "has_zcd", &["zca", "d"], ima_ext(&[45, 1], Some('c')), &["c"], "Compressed double-precision loads and stores; C includes it where D is. RISC-V unpriv, Zc*"),
    riscv("zcb", "has_zcb", &["zca"], ima_ext(&[44], None), &[], "More compressed instructions. RISC-V unpriv, Zc*"),
    riscv("zba", "has_zba", &[], ima_ext(&[3], None), &[], "Address generation. RISC-V unpriv, Zba"),
    riscv("zbb", "has_zbb", &[], ima_ext(&[4], None), &[], "Basic bit manipulation. RISC-V unpriv, Zbb"),
    riscv("zbs", "has_zbs", &[], ima_ext(&[5], None), &[], "Single-bit instructions. RISC-V unpriv, Zbs"),
    riscv("zbc", "has_zbc", &[], ima_ext(&[7], None), &[], "Carry-less multiplication. RISC-V unpriv, Zbc"),
    riscv("zbkb", "has_zbkb", &[], ima_ext(&[8], None), &[], "Bit manipulation for cryptography. RISC-V unpriv, Zbkb"),
    riscv("zicond", "has_zicond", &[], ima_ext(&[35], None), &[], "Integer conditional operations. RISC-V unpriv, Zicond"),
    riscv("zfa", "has_zfa", &["f"], ima_ext(&[32], None), &[], "Additional floating-point instructions. RISC-V unpriv, Zfa"),
    riscv("zfhmin", "has_zfhmin", &["f"], ima_ext(&[28], None), &[], "Half-precision loads, stores and conversions. RISC-V unpriv, Zfhmin"),
    riscv("zfh", "has_zfh", &["zfhmin"], ima_ext(&[27], None), &[], "Half-precision floating point. RISC-V unpriv, Zfh"),
    // V itself means VLEN >= 128 (Zvl128b), and Cranelift takes 128 for it; so `v` needs no `zvl128b` beside it here.
    // The other way round: each `zvl*` flag alone makes Cranelift use vectors without asking for V, so each needs `v`.
    riscv("v", "has_v", &["d"], Probe::RiscvVector, &["rvv", "zve64d"], "Vector extension 1.0, VLEN at least 128. RISC-V unpriv, V"),
    riscv("zvbb", "has_zvbb", &["v"], ima_ext(&[17], None), &[], "Vector basic bit manipulation. RISC-V unpriv, vector cryptography, Zvbb"),
    riscv("zvfh", "has_zvfh", &["v", "zfhmin"], ima_ext(&[30], None), &[], "Vector half-precision floating point. RISC-V unpriv, Zvfh"),
    riscv("zvl32b", "has_zvl32b", &["v"], Probe::RiscvVectorBits(32), &[], "VLEN at least 32; V because the flag alone turns vector code on in Cranelift. RISC-V unpriv, V, Zvl*"),
    riscv("zvl64b", "has_zvl64b", &["zvl32b"], Probe::RiscvVectorBits(64), &[], "VLEN at least 64. RISC-V unpriv, V, Zvl*"),
    riscv("zvl128b", "has_zvl128b", &["zvl64b"], Probe::RiscvVectorBits(128), &[], "VLEN at least 128, as V has anyway. RISC-V unpriv, V, Zvl*"),
    riscv("zvl256b", "has_zvl256b", &["zvl128b"], Probe::RiscvVectorBits(256), &[], "VLEN at least 256; on a smaller machine results are wrong without a trap. RISC-V unpriv, V, Zvl*"),
    riscv("zvl512b", "has_zvl512b", &["zvl256b"], Probe::RiscvVectorBits(512), &[], "VLEN at least 512. RISC-V unpriv, V, Zvl*"),
    riscv("zvl1024b", "has_zvl1024b", &["zvl512b"], Probe::RiscvVectorBits(1024), &[], "VLEN at least 1024. RISC-V unpriv, V, Zvl*"),
    riscv("zvl2048b", "has_zvl2048b", &["zvl1024b"], Probe::RiscvVectorBits(2048), &[], "VLEN at least 2048. RISC-V unpriv, V, Zvl*"),
    riscv("zvl4096b", "has_zvl4096b", &["zvl2048b"], Probe::RiscvVectorBits(4096), &[], "VLEN at least 4096. RISC-V unpriv, V, Zvl*"),
    riscv("zvl8192b", "has_zvl8192b", &["zvl4096b"], Probe::RiscvVectorBits(8192), &[], "VLEN at least 8192. RISC-V unpriv, V, Zvl*"),
    riscv("zvl16384b", "has_zvl16384b", &["zvl8192b"], Probe::RiscvVectorBits(16384), &[], "VLEN at least 16384. RISC-V unpriv, V, Zvl*"),
    riscv("zvl32768b", "has_zvl32768b", &["zvl16384b"], Probe::RiscvVectorBits(32768), &[], "VLEN at least 32768. RISC-V unpriv, V, Zvl*"),
    riscv("zvl65536b", "has_zvl65536b", &["zvl32768b"], Probe::RiscvVectorBits(65536), &[], "VLEN 65536, the largest there is. RISC-V unpriv, V, Zvl*"),

    // s390x. The backend's baseline is z14 (cranelift-codegen-meta isa/s390x.rs); names as LLVM's SystemZFeatures.td.
    // "PoP" is z/Architecture Principles of Operation, SA22-7832, "Facility Indications". Facility 45 is six at once.
    z14("high-word", &[], 45, "High-word facility. z/Architecture PoP, facility 45"),
    z14("distinct-ops", &[], 45, "Distinct-operands facility. z/Architecture PoP, facility 45"),
    z14("load-store-on-cond", &[], 45, "Load/store-on-condition facility 1. z/Architecture PoP, facility 45"),
    z14("population-count", &[], 45, "Population-count facility. z/Architecture PoP, facility 45"),
    z14("interlocked-access1", &[], 45, "Interlocked-access facility 1. z/Architecture PoP, facility 45"),
    z14("miscellaneous-extensions", &[], 49, "Miscellaneous-instruction-extensions facility 1. z/Architecture PoP, facility 49"),
    z14("load-store-on-cond-2", &["load-store-on-cond"], 53, "Load/store-on-condition facility 2. z/Architecture PoP, facility 53"),
    z14("miscellaneous-extensions-2", &["miscellaneous-extensions"], 58, "Miscellaneous-instruction-extensions facility 2, z14. z/Architecture PoP, facility 58"),
    z14("vector", &[], 129, "Vector facility, z13. z/Architecture PoP, facility 129"),
    z14("vector-enhancements-1", &["vector"], 135, "Vector-enhancements facility 1, z14. z/Architecture PoP, facility 135"),
    z("miscellaneous-extensions-3", "has_mie3", &["miscellaneous-extensions-2"], (61, false), &["mie3"], "Miscellaneous-instruction-extensions facility 3, z15. z/Architecture PoP, facility 61"),
    z("vector-enhancements-2", "has_vxrs_ext2", &["vector-enhancements-1"], (148, true), &["vxrs_ext2", "vxe2", "vxeh2"], "Vector-enhancements facility 2, z15. z/Architecture PoP, facility 148"),
    z("miscellaneous-extensions-4", "has_mie4", &["miscellaneous-extensions-3"], (84, false), &["mie4"], "Miscellaneous-instruction-extensions facility 4, z17. z/Architecture PoP, facility 84"),
    z("vector-enhancements-3", "has_vxrs_ext3", &["vector-enhancements-2"], (198, true), &["vxrs_ext3", "vxe3", "vxeh3"], "Vector-enhancements facility 3, z17. z/Architecture PoP, facility 198"),
];

/// See [`is_unused`].
#[rustfmt::skip]
static UNUSED: &[(Arch, &[&str])] = &[
    (
        Arch::X86_64,
        &[
            "adx", "aes", "avx512bf16", "avx512bw", "avx512cd", "avx512fp16", "avx512ifma", "avx512vbmi2",
            "avx512vpopcntdq", "clflushopt", "clwb", "cmov", "cx8", "f16c", "fpu", "fsgsbase", "gfni", "lahf", "lahf_lm",
            "mmx", "movbe", "osxsave", "pclmulqdq", "rdrand", "rdseed", "sahf", "sha", "sse4a", "vaes", "vpclmulqdq",
            "xsave", "xsavec", "xsaveopt", "xsaves", "amx-tile", "amx-int8", "amx-bf16",
        ],
    ),
    (
        Arch::Aarch64,
        &[
            "aes", "bf16", "bti", "crc", "crc32", "dit", "dpb", "dpb2", "fcma", "fhm", "flagm", "frintts", "jsconv",
            "lor", "lse2", "mte", "pacg", "pan", "pmuv3", "rand", "ras", "rcpc", "rcpc2", "rdm", "sb", "sha2", "sha3",
            "sm4", "sme", "spe", "ssbs", "sve", "sve2", "sve2-bitperm", "vh",
        ],
    ),
    (
        Arch::Riscv64,
        &[
            "b", "i", "h", "za64rs", "zacas", "zawrs", "zbkc", "zbkx", "zcmop", "zic64b", "zicbom", "zicbop", "zicboz",
            "ziccamoa", "ziccif", "zicclsm", "ziccrse", "zicntr", "zihintntl", "zihintpause", "zihpm", "zimop", "zkn",
            "zkr", "zks", "zkt", "zve32f", "zve32x", "zve64f", "zve64x", "zvbc", "zvfhmin", "zvkb", "zvkng", "zvksg",
            "zvkt",
        ],
    ),
    (
        Arch::S390x,
        &[
            "concurrent-functions", "deflate-conversion", "enhanced-sort", "guarded-storage",
            "message-security-assist-extension9", "nnp-assist", "transactional-execution", "vector-packed-decimal",
            "vector-packed-decimal-enhancement",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&'static str]) -> BTreeSet<&'static str> {
        names.iter().copied().collect()
    }

    #[test]
    fn names_and_flags_are_unique_within_an_architecture() {
        for arch in Arch::ALL {
            let names: BTreeSet<_> = all(arch).map(|row| row.name).collect();
            assert_eq!(names.len(), all(arch).count(), "{arch}: a name twice");
            let flags: Vec<_> = all(arch).filter_map(|row| row.flag).collect();
            let unique: BTreeSet<_> = flags.iter().collect();
            assert_eq!(unique.len(), flags.len(), "{arch}: a flag twice");
        }
    }

    #[test]
    fn every_row_can_be_found_and_is_documented_with_a_source() {
        const SOURCES: [&str; 4] = ["Intel SDM vol. ", "Arm ARM DDI 0487", "RISC-V unpriv", "z/Architecture PoP"];
        for row in TABLE {
            assert_eq!(by_name(row.arch, row.name), Some(row));
            assert!(!row.arch.is_pulley(), "{}: Pulley has no extensions", row.name);
            assert!(SOURCES.iter().any(|source| row.doc.contains(source)), "{}: no source in {:?}", row.name, row.doc);
            assert!(row.baseline || row.flag.is_some(), "{}: nothing would ever switch it on", row.name);
            if let Some(flag) = row.flag {
                assert!(flag.starts_with("has_"), "{flag}");
                assert_eq!(by_flag(row.arch, flag), Some(row));
            }
            for spelling in spellings(row) {
                assert!(by_alias(row.arch, spelling).contains(&row), "{spelling} doesn't lead to {}", row.name);
            }
            assert!(!is_unused(row.arch, row.name), "{} is in both tables", row.name);
        }
    }

    #[test]
    fn an_alias_is_no_other_rows_name() {
        for row in TABLE {
            for alias in row.aliases {
                let named = by_name(row.arch, alias).map(|other| other.name);
                assert_eq!(named, None, "alias {alias} of {}", row.name);
                assert!(!is_unused(row.arch, alias), "alias {alias} of {} is in the other table", row.name);
            }
        }
    }

    #[test]
    fn implications_resolve_without_cycles() {
        fn walk(row: &'static Extension, above: &mut Vec<&'static str>) {
            assert!(!above.contains(&row.name), "{}: implied by itself through {above:?}", row.name);
            above.push(row.name);
            for implied in row.implies {
                let implied = by_name(row.arch, implied).unwrap_or_else(|| panic!("{}: no row {implied}", row.name));
                assert!(!row.baseline || implied.baseline, "{} is baseline, {} isn't", row.name, implied.name);
                walk(implied, above);
            }
            above.pop();
        }
        for row in TABLE {
            walk(row, &mut Vec::new());
        }
    }

    #[test]
    fn probes_fit_their_architecture() {
        for row in TABLE {
            let fits = match row.probe {
                Probe::Cpuid { bit, .. } => row.arch == Arch::X86_64 && bit < 32,
                Probe::Hwcap { word, all_of } => {
                    row.arch == Arch::Aarch64 && matches!(word, 1 | 2) && !all_of.is_empty()
                }
                Probe::RiscvHwprobe { any_of, .. } => row.arch == Arch::Riscv64 && !any_of.is_empty(),
                Probe::RiscvVector | Probe::RiscvVectorBits(_) => row.arch == Arch::Riscv64,
                Probe::Facility { number, vector } => row.arch == Arch::S390x && vector == (number >= 129),
            };
            assert!(fits, "{}: {:?}", row.name, row.probe);
        }
    }

    #[test]
    fn closing_a_set_adds_what_cranelift_needs() {
        let closed = closure(Arch::X86_64, &set(&["avx512vnni"]));
        let expected = ["avx512vnni", "avx512vl", "avx512f", "avx2", "fma", "avx", "sse4.2", "sse4.1", "ssse3", "sse3"];
        assert_eq!(closed, set(&expected));
        assert_eq!(missing_implied(Arch::X86_64, &closed), []);
        assert_eq!(closure(Arch::Riscv64, &set(&["zvl128b"])), set(&["v", "zvl32b", "zvl64b", "zvl128b"]));
        assert_eq!(closure(Arch::S390x, &set(&[])), set(&[]));
    }

    #[test]
    fn what_is_missing_says_who_asked() {
        let missing = missing_implied(Arch::X86_64, &set(&["avx2", "sse3", "ssse3"]));
        assert_eq!(missing, [("avx2", "avx"), ("avx", "sse4.2"), ("sse4.2", "sse4.1")]);
        assert_eq!(missing_implied(Arch::Aarch64, &set(&["fp16"])), [], "baseline is taken for granted");
    }

    #[test]
    fn other_spellings_lead_to_the_row() {
        let names = |arch, text| by_alias(arch, text).iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(Arch::X86_64, "SSE41"), ["sse4.1"]);
        assert_eq!(names(Arch::X86_64, "has_avx_vnni"), ["avxvnni"]);
        assert_eq!(names(Arch::X86_64, "avx512_vnni"), ["avx512vnni"]);
        assert_eq!(names(Arch::Aarch64, "pauth"), ["paca"]);
        assert_eq!(names(Arch::Riscv64, "c"), ["zca", "zcd"]);
        assert_eq!(names(Arch::S390x, "mie3"), ["miscellaneous-extensions-3"]);
        assert_eq!(names(Arch::X86_64, "neon"), [""; 0]);
        assert_eq!(in_other_arch(Arch::X86_64, "neon")[0].arch, Arch::Aarch64);
        assert!(is_unused(Arch::X86_64, "movbe") && !is_unused(Arch::Aarch64, "movbe"));
    }

    #[test]
    fn architectures_are_written_as_they_are_read() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse(), Ok(arch));
        }
        let error = "amd64".parse::<Arch>().unwrap_err().to_string();
        assert!(error.contains("\"amd64\"") && error.contains("x86_64, aarch64"), "{error}");
    }
}
