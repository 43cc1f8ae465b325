//! Proof by disassembly that a profile's artifacts contain the instructions of its level, and none that it lacks.

use iced_x86::{CpuidFeature, Decoder, DecoderOptions};
use isomer_tests::{guest, has_program, isomer, program, scratch, skip};
use object::{Object, ObjectSection};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The guests whose code the extensions change: scalar, SIMD, relaxed SIMD, atomics; and vector operations that only
/// AVX-512 has in one instruction.
const PROBES: [&str; 5] = ["numbers", "matmul", "relaxed-dot", "threads", "vectors"];

const VECTORS: &str = r#"(module
  (func (export "mul") (param v128 v128) (result v128) (i64x2.mul (local.get 0) (local.get 1)))
  (func (export "abs") (param v128) (result v128) (i64x2.abs (local.get 0)))
  (func (export "shift") (param v128 i32) (result v128) (i64x2.shr_s (local.get 0) (local.get 1)))
  (func (export "convert") (param v128) (result v128) (f32x4.convert_i32x4_u (local.get 0)))
  (func (export "count") (param v128) (result v128) (i8x16.popcnt (local.get 0)))
  (func (export "shuffle") (param v128 v128) (result v128)
    (i8x16.shuffle 0 17 2 19 4 21 6 23 8 25 10 27 12 29 14 30 (local.get 0) (local.get 1))))"#;

/// The code of all probes that `target` can express.
fn text_of(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = scratch();
    let vectors = directory.path().join("vectors.wat");
    fs::write(&vectors, VECTORS).unwrap();
    let inputs = PROBES.map(|probe| if probe == "vectors" { vectors.clone() } else { guest(probe) });
    // riscv64gc cannot express SIMD, so the call may fail; what it wrote is what counts.
    isomer().arg("compile").args(&inputs).args(["-t", target, "--out-dir"]).arg(directory.path()).run();
    let text = |probe: &str| {
        let artifact = fs::read(directory.path().join(format!("{probe}.{target}.cwasm"))).ok()?;
        let elf = object::read::elf::ElfFile64::<object::Endianness>::parse(artifact.as_slice()).unwrap();
        Some((probe.to_owned(), elf.section_by_name(".text").unwrap().data().unwrap().to_vec()))
    };
    let found: Vec<_> = PROBES.into_iter().filter_map(text).collect();
    assert!(found.iter().any(|(probe, _)| probe == "numbers"), "{target} compiled nothing");
    found
}

/// What `isomer targets show` says the profile may use, by isomer's names.
fn isa_of(target: &str) -> BTreeSet<String> {
    let shown = isomer().line(&format!("targets show {target} --json")).ok().json();
    let names = shown["isa"].as_array().unwrap();
    names.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

/// isomer's name for what iced says an instruction needs, or none for the baseline.
fn x86_extension(feature: CpuidFeature) -> Option<&'static str> {
    Some(match feature {
        CpuidFeature::SSE3 => "sse3",
        CpuidFeature::SSSE3 => "ssse3",
        CpuidFeature::SSE4_1 => "sse4.1",
        CpuidFeature::SSE4_2 => "sse4.2",
        CpuidFeature::POPCNT => "popcnt",
        CpuidFeature::CMPXCHG16B => "cmpxchg16b",
        CpuidFeature::AVX => "avx",
        CpuidFeature::AVX2 => "avx2",
        CpuidFeature::FMA => "fma",
        CpuidFeature::BMI1 => "bmi1",
        CpuidFeature::BMI2 => "bmi2",
        CpuidFeature::LZCNT => "lzcnt",
        CpuidFeature::AVX_VNNI => "avxvnni",
        CpuidFeature::AVX512F => "avx512f",
        CpuidFeature::AVX512VL => "avx512vl",
        CpuidFeature::AVX512DQ => "avx512dq",
        CpuidFeature::AVX512_VBMI => "avx512vbmi",
        CpuidFeature::AVX512_BITALG => "avx512bitalg",
        CpuidFeature::AVX512_VNNI => "avx512vnni",
        CpuidFeature::INTEL8086
        | CpuidFeature::INTEL186
        | CpuidFeature::INTEL286
        | CpuidFeature::INTEL386
        | CpuidFeature::INTEL486
        | CpuidFeature::X64
        | CpuidFeature::CMOV
        | CpuidFeature::CX8
        | CpuidFeature::FPU
        | CpuidFeature::FXSR
        | CpuidFeature::MULTIBYTENOP
        | CpuidFeature::SSE
        | CpuidFeature::SSE2 => return None,
        other => panic!("no row for {other:?}"),
    })
}

/// The extensions that the instructions in `text` need, each with one instruction that does.
fn x86_extensions(text: &[u8]) -> BTreeSet<&'static str> {
    let decoder = Decoder::with_ip(64, text, 0, DecoderOptions::NONE);
    // Constants lie between functions; what does not decode is one of those.
    let features = decoder.into_iter().filter(|instruction| !instruction.is_invalid());
    features.flat_map(|instruction| instruction.cpuid_features().iter().copied().filter_map(x86_extension)).collect()
}

#[test]
fn x86_64_levels_use_their_own_instructions_and_no_others() {
    // What each level must be seen to use in these probes, which Cranelift's presets of the same names did not.
    let levels: [(&str, &[&str]); 7] = [
        ("x86-64-v1", &[]),
        ("x86-64-v2", &["ssse3", "sse4.1", "popcnt"]),
        ("x86-64-v3", &["avx", "avx2", "bmi1", "bmi2", "fma", "lzcnt"]),
        ("x86-64-v4", &["avx512f", "avx512vl", "avx512dq"]),
        ("icelake-server", &["avx512bitalg", "avx512vbmi"]),
        ("sapphire-rapids", &["avx512vl"]),
        ("znver4", &["avx512bitalg", "avx512vbmi"]),
    ];
    for (target, expected) in levels {
        let used: BTreeSet<&str> = text_of(target).iter().flat_map(|(_, text)| x86_extensions(text)).collect();
        let allowed = isa_of(target);
        let foreign: Vec<_> = used.iter().filter(|name| !allowed.contains(**name)).collect();
        assert!(foreign.is_empty(), "{target} uses {foreign:?}, which it does not name");
        let absent: Vec<_> = expected.iter().filter(|name| !used.contains(**name)).collect();
        assert!(absent.is_empty(), "{target} does not use {absent:?}; it uses {used:?}");
    }
}

/// The mnemonics that objdump of the architecture finds in the probes of `target`.
fn mnemonics(objdump: &str, machine: &str, target: &str) -> BTreeSet<String> {
    let directory = scratch();
    let mut found = BTreeSet::new();
    for (probe, text) in text_of(target) {
        let file = directory.path().join(probe);
        fs::write(&file, text).unwrap();
        let listing = disassemble(objdump, machine, &file);
        // "   0:	d503233f 	paciasp" or "   0:	e3 10 ... 	lg	%r1,0(%r2)"
        let mnemonic = |line: &str| Some(line.split('\t').nth(2)?.split_whitespace().next()?.to_owned());
        found.extend(listing.lines().filter_map(mnemonic));
    }
    found
}

fn disassemble(objdump: &str, machine: &str, file: &Path) -> String {
    program(objdump).line(&format!("-D -b binary -m {machine}")).arg(file).ok().stdout()
}

#[track_caller]
fn expect(target: &str, found: &BTreeSet<String>, used: &[&str], unused: &[&str]) {
    for name in used {
        assert!(found.contains(*name), "{target} does not use {name}: {found:?}");
    }
    for name in unused {
        assert!(!found.contains(*name), "{target} uses {name}");
    }
}

#[test]
fn aarch64_uses_lse_and_dot_products_where_the_profile_has_them() {
    const OBJDUMP: &str = "aarch64-linux-gnu-objdump";
    if !has_program(OBJDUMP) {
        return skip(
            "aarch64_uses_lse_and_dot_products_where_the_profile_has_them",
            "aarch64-linux-gnu-objdump is not installed",
        );
    }
    let (lse, exclusive, dot) = (["ldaddal", "casal", "ldclral"], ["ldaxr", "stlxr"], ["sdot"]);
    let base = mnemonics(OBJDUMP, "aarch64", "aarch64");
    expect("aarch64", &base, &exclusive, &[&lse[..], &dot, &["usdot"]].concat());
    let n1 = mnemonics(OBJDUMP, "aarch64", "neoverse-n1");
    expect("neoverse-n1", &n1, &[&lse[..], &dot].concat(), &["usdot", "smmla"]);
}

#[test]
fn s390x_uses_z15_and_z17_instructions_where_the_profile_has_them() {
    const OBJDUMP: &str = "s390x-linux-gnu-objdump";
    if !has_program(OBJDUMP) {
        return skip(
            "s390x_uses_z15_and_z17_instructions_where_the_profile_has_them",
            "s390x-linux-gnu-objdump is not installed",
        );
    }
    // Byte-reversing vector loads and select are z15's.
    let z15_only = ["vlbrq", "vlbrg", "vlbrf", "selgr", "selr", "ncrk", "nngrk", "nogrk", "ocrk"];
    let z14 = mnemonics(OBJDUMP, "s390:64-bit", "z14");
    expect("z14", &z14, &["vl"], &z15_only);
    let z15 = mnemonics(OBJDUMP, "s390:64-bit", "z15");
    assert!(z15_only.iter().any(|name| z15.contains(*name)), "z15 uses none of {z15_only:?}: {z15:?}");
    // CLZG and CTZG (z17, RRE format, opcodes B968 and B969): too new for Debian's objdump, so by their encoding.
    let counts = |target: &str| {
        let halfwords = |text: &[u8]| {
            text.chunks_exact(4).any(|word| word[0] == 0xb9 && matches!(word[1], 0x68 | 0x69) && word[2] == 0)
        };
        text_of(target).iter().any(|(_, text)| (0..2).any(|offset| halfwords(&text[offset * 2..])))
    };
    assert!(counts("z17"), "z17 uses neither clzg nor ctzg");
    assert!(!counts("z15"), "z15 uses clzg or ctzg");
}

/// RISC-V instructions by the extension that they belong to, from the unprivileged specification's opcode tables.
fn riscv_extension(word: u32) -> Option<&'static str> {
    let (opcode, funct3, funct7) = (word & 0x7f, (word >> 12) & 7, word >> 25);
    match (opcode, funct3, funct7) {
        // vsetvli and vsetivli, without which no vector instruction does anything. Others of that opcode are left
        // away because constants between functions can look like them.
        (0x57, 7, _) => Some("v"),
        (0x33 | 0x3b, 2 | 4 | 6, 0x10) | (0x3b, 0, 0x04) => Some("zba"),
        (0x33, 4 | 6 | 7, 0x20) | (0x33, 4..=7, 0x05) => Some("zbb"),
        (0x33 | 0x3b, 1 | 5, 0x30) => Some("zbb"),
        (0x13 | 0x1b, 1, 0x30) => Some("zbb"),
        (0x33, 1, 0x14 | 0x24 | 0x34) | (0x33, 5, 0x24) => Some("zbs"),
        (0x33, 5 | 7, 0x07) => Some("zicond"),
        _ => None,
    }
}

fn riscv_extensions(text: &[u8]) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while let Some(low) = text.get(at..at + 2) {
        // The two lowest bits tell a compressed instruction of 16 bits from one of 32.
        if low[0] & 3 != 3 {
            at += 2;
            continue;
        }
        let Some(word) = text.get(at..at + 4) else { break };
        found.extend(riscv_extension(u32::from_le_bytes(word.try_into().unwrap())));
        at += 4;
    }
    found
}

#[test]
fn riscv64_uses_vectors_and_address_generation_where_the_profile_has_them() {
    let levels: [(&str, &[&str]); 3] =
        [("riscv64gc", &[]), ("rva22u64", &["zba", "zbb"]), ("rva23u64", &["v", "zba", "zbb", "zicond"])];
    for (target, expected) in levels {
        let used: BTreeSet<&str> = text_of(target).iter().flat_map(|(_, text)| riscv_extensions(text)).collect();
        let allowed = isa_of(target);
        let foreign: Vec<_> = used.iter().filter(|name| !allowed.contains(**name)).collect();
        assert!(foreign.is_empty(), "{target} uses {foreign:?}, which it does not name");
        let absent: Vec<_> = expected.iter().filter(|name| !used.contains(**name)).collect();
        assert!(absent.is_empty(), "{target} does not use {absent:?}; it uses {used:?}");
    }
}
