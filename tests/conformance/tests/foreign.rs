//! A fixed sample of the specification's scripts on foreign CPUs, under QEMU.

use isomer_conformance::conform::{Counts, conform};
use isomer_conformance::profiles::Profile;
use isomer_conformance::skips::Skips;
use isomer_conformance::suite::scripts;
use isomer_tests::foreign::{Foreign, Program};
use isomer_tests::{proof, skip};

/// Profile, QEMU's emulator and CPU. The second list is for the long run.
const PLACES: [(&str, &str, &str); 4] = [
    ("neoverse-v1", "aarch64", "neoverse-v1"),
    ("riscv64gc", "riscv64", "rv64,v=false"),
    ("z15", "s390x", "max"),
    ("pulley64be", "s390x", "max"),
];
const MORE_PLACES: [(&str, &str, &str); 4] = [
    ("aarch64", "aarch64", "cortex-a72"),
    ("neoverse-n1", "aarch64", "neoverse-n1"),
    ("rva22u64", "riscv64", "rva22u64"),
    ("z14", "s390x", "max,vxeh2=off,minste3=off"),
];

/// Arithmetic, conversions, memory in either order of bytes, control, calls, references.
const SAMPLE: [&str; 24] = [
    "core/i32.wast",
    "core/i64.wast",
    "core/f32.wast",
    "core/f64.wast",
    "core/f32_cmp.wast",
    "core/float_misc.wast",
    "core/conversions.wast",
    "core/endianness.wast",
    "core/memory.wast",
    "bulk-memory/memory_copy.wast",
    "bulk-memory/memory_fill.wast",
    "core/memory_trap.wast",
    "core/address.wast",
    "core/br_table.wast",
    "core/call_indirect.wast",
    "core/global.wast",
    "core/int_exprs.wast",
    "core/select.wast",
    "bulk-memory/table_copy.wast",
    "core/traps.wast",
    "exceptions/try_table.wast",
    "gc/struct.wast",
    "tail-call/return_call.wast",
    "memory64/memory_trap64.wast",
];
/// Where the target has vectors.
const VECTOR_SAMPLE: [&str; 6] = [
    "simd/simd_f32x4_arith.wast",
    "simd/simd_i8x16_arith2.wast",
    "simd/simd_i16x8_extadd_pairwise_i8x16.wast",
    "simd/simd_conversions.wast",
    "simd/simd_lane.wast",
    "simd/simd_load_splat.wast",
];

#[test]
fn the_sample_passes_on_foreign_cpus() {
    let (foreign, skips) = (Foreign::read(), Skips::read().unwrap());
    let long = std::env::var_os("ISOMER_PROVE_ALL").is_some();
    let (mut runs, mut missing) = (Vec::new(), Vec::new());
    for (profile, arch, cpu) in PLACES.iter().chain(MORE_PLACES.iter().filter(|_| long)) {
        let on = format!("qemu-{arch} -cpu {cpu}");
        match foreign.machine(arch, cpu) {
            Ok(machine) if machine.has(Program::Loader) => runs.push((Profile::shipped(profile), machine, on)),
            other => {
                let reason = other.err().unwrap_or_else(|| "the tests' loader could not be built for it".to_owned());
                skip(&format!("the_sample_passes_on_foreign_cpus: {profile}"), &reason);
                missing.push(Counts { reason: Some(reason), ..Counts::of("specification", profile, &on) });
            }
        }
    }
    let sampled = |name: &str| SAMPLE.contains(&name) || VECTOR_SAMPLE.contains(&name);
    let scripts: Vec<_> = scripts().into_iter().filter(|script| sampled(&script.name)).collect();
    assert_eq!(scripts.len(), SAMPLE.len() + VECTOR_SAMPLE.len(), "a script of the sample has another name");
    let mut results = conform("specification", &scripts, &runs, &skips, |script, profile| {
        !(script.name.starts_with("simd/") && WITHOUT_VECTORS.contains(&profile.name.as_str()))
    });
    results.extend(missing);
    proof::record("sample", &results);
    results.iter().for_each(|counts| println!("{counts}"));
    assert!(results.iter().all(|counts| counts.failed.is_empty()), "see above");
    assert!(results.iter().all(|counts| counts.reason.is_some() || counts.passed > 15), "too few scripts for a sample");
}

const WITHOUT_VECTORS: [&str; 2] = ["riscv64gc", "rva22u64"];
