//! The ISA extensions: one row for every extension that Cranelift can use or always assumes. A new one is a row here, and
//! a line in the profiles of `targets/` that have it.

use super::Extension;
use super::arch::Arch;
use super::probe::Probe;
use super::probe::Register::{self, Eax, Ebx, Ecx, Edx};
use super::probe::XState::{self, Avx, Avx512};

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

/// RV64G: Cranelift has flags for it, on by default, and cannot do without.
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

const fn edx1(bit: u8) -> Probe {
    Probe::Cpuid { leaf: 1, subleaf: 0, register: Edx, bit, state: XState::None }
}

#[rustfmt::skip]
pub(super) static TABLE: &[Extension] = &[
    // x86-64. The backend assumes SSE2 (cranelift-codegen isa/x64/inst/mod.rs, `fn sse2`). Every rule for AVX2, FMA and
    // AVX-VNNI requires AVX as well, and AVX-512 is only used in its 128-bit forms, which need AVX512VL.
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
pub(super) static UNUSED: &[(Arch, &[&str])] = &[
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
