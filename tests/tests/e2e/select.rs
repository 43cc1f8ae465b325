//! `host`, `select` and `check`: the answer for this machine and for recorded ones.

use isomer_tests::{examples, guest, host, isomer, isomer_run, scratch};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn host_file(directory: &Path, host: &Value) -> String {
    let path = directory.join("host.json");
    fs::write(&path, host.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What a host with these extensions beyond the architecture's baseline runs of `module`.
fn choice(arch: &str, baseline: &[&str], isa: &[&str], module: &str) -> String {
    let directory = scratch();
    let host = json!({"arch": arch, "os": "linux", "isa": ([baseline, isa].concat())});
    let file = host_file(directory.path(), &host);
    let ran = isomer_run().arg("select").arg(examples()).args([module, "--json", "--host", &file]).ok();
    ran.json()["chosen"]["target"].as_str().unwrap_or_else(|| panic!("{ran}")).to_owned()
}

const X86: [&str; 3] = ["fxsr", "sse", "sse2"];
const V2: [&str; 6] = ["cmpxchg16b", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"];
const V3: [&str; 6] = ["avx", "avx2", "bmi1", "bmi2", "fma", "lzcnt"];
const V4: [&str; 3] = ["avx512f", "avx512dq", "avx512vl"];

#[test]
fn each_x86_level_selects_its_own_variant() {
    let x86 = |isa: &[&[&str]]| choice("x86_64", &X86, &isa.concat(), "matmul");
    assert_eq!(x86(&[]), "x86-64-v1");
    assert_eq!(x86(&[&["sse3", "popcnt"]]), "x86-64-v1");
    assert_eq!(x86(&[&V2]), "x86-64-v2");
    assert_eq!(x86(&[&V2, &V3]), "x86-64-v3");
    // Nothing in it gains from v4, whose form is v3's; Ice Lake's counts bits in vectors.
    assert_eq!(x86(&[&V2, &V3, &V4]), "x86-64-v3");
    assert_eq!(x86(&[&V2, &V3, &V4, &["avx512bitalg", "avx512vbmi", "avx512vnni"]]), "icelake-server");
    // AVX-512 masked but for its foundation, as some hypervisors do: by what is there, never by the CPU's name.
    assert_eq!(x86(&[&V2, &V3, &["avx512f"]]), "x86-64-v3");
    let arm = |isa: &[&str]| choice("aarch64", &["fp", "neon"], isa, "threads");
    assert_eq!(arm(&[]), "aarch64");
    assert_eq!(arm(&["lse"]), "aarch64");
    assert!(["apple-m1", "neoverse-n1"].contains(&arm(&["lse", "fp16", "dotprod"]).as_str()));
}

#[test]
fn a_host_without_a_native_variant_gets_pulley() {
    // z13: the architecture without z14's baseline.
    assert_eq!(choice("s390x", &["vector"], &[], "sha256"), "pulley64be");
    let riscv = ["m", "a", "f", "d", "zicsr", "zifencei"];
    assert_eq!(choice("riscv64", &riscv, &[], "sha256"), "pulley64");
    assert_eq!(choice("riscv64", &riscv, &["zca", "zcd"], "sha256"), "riscv64gc");
    // SIMD has no form for riscv64 without vectors; the interpreter has one.
    assert_eq!(choice("riscv64", &riscv, &["zca", "zcd"], "matmul"), "pulley64");
}

#[test]
fn explain_names_every_variant_and_every_reason() {
    let directory = scratch();
    let host = json!({"arch": "x86_64", "os": "linux", "isa": ([&X86[..], &V2].concat())});
    let file = host_file(directory.path(), &host);
    let ran = isomer_run().arg("select").arg(examples()).args(["matmul", "--explain", "--host", &file]).ok();
    let text = ran.stdout();
    for word in ["x86-64-v2", "avx2", "avx512vl", "x86-64-v1", "neoverse-n1", "aarch64", "s390x", "pulley64be"] {
        assert!(text.contains(word), "no {word}: {ran}");
    }
    let json = isomer_run().arg("select").arg(examples()).args(["matmul", "--json", "--host", &file]).ok().json();
    let variants = isomer().arg("inspect").arg(examples()).arg("--json").ok().json();
    let matmul = variants.as_array().unwrap().iter().find(|module| module["reference"] == "matmul:0.1.0").unwrap();
    assert_eq!(json["rejected"].as_array().unwrap().len() + 1, matmul["variants"].as_array().unwrap().len(), "{json}");
}

#[test]
fn no_variant_at_all_is_an_error_with_every_reason() {
    let directory = scratch();
    let host = json!({"arch": "s390x", "os": "linux", "isa": ["vector"]});
    let file = host_file(directory.path(), &host);
    // Threads: Pulley has no form, and z13 lacks what z14 has.
    let ran = isomer_run().arg("select").arg(examples()).args(["threads", "--host", &file]).fails();
    for word in ["error:", "z14", "vector-enhancements-1", "x86-64-v1"] {
        assert!(ran.stderr().contains(word), "no {word}: {ran}");
    }
}

#[test]
fn require_turns_a_step_down_into_an_error() {
    let directory = scratch();
    let host = json!({"arch": "x86_64", "os": "linux", "isa": ([&X86[..], &V2, &V3].concat())});
    let file = host_file(directory.path(), &host);
    let select = |target: &str| {
        isomer_run().arg("select").arg(examples()).args(["matmul", "--host", &file, "--require", target]).run()
    };
    assert_eq!(select("x86-64-v3").code(), 0);
    assert_eq!(select("x86-64-v4").code(), 0, "v3's form serves it");
    let ran = select("icelake-server");
    assert_eq!(ran.code(), 1, "{ran}");
    assert!(ran.stderr().contains("avx512"), "{ran}");
    // A scalar module is served by v3's form everywhere above it.
    let served =
        isomer_run().arg("select").arg(examples()).args(["numbers", "--host", &file, "--require", "x86-64-v4"]).run();
    assert_eq!(served.code(), 0, "{served}");
}

#[test]
fn the_host_file_of_this_machine_gives_the_answer_of_this_machine() {
    let directory = scratch();
    let file = host_file(directory.path(), &host());
    for module in ["sha256", "matmul", "threads"] {
        let here = isomer_run().arg("select").arg(examples()).args([module, "--json"]).ok().json();
        let there = isomer_run().arg("select").arg(examples()).args([module, "--json", "--host", &file]).ok().json();
        assert_eq!(here, there);
    }
}

#[test]
fn check_names_every_mismatch_at_once() {
    let directory = scratch();
    let artifact = directory.path().join("a.cwasm");
    isomer().arg("compile").arg(guest("matmul")).args(["-t", "x86-64-v4", "-o"]).arg(&artifact).ok();
    let host = json!({"arch": "x86_64", "os": "linux", "isa": ([&X86[..], &V2].concat()), "engine": "49.0.0"});
    let file = host_file(directory.path(), &host);
    let ran = isomer_run().arg("check").arg(&artifact).args(["--host", &file]).fails();
    let printed = ran.stdout() + &ran.stderr();
    for name in V3.iter().chain(&V4).chain(&["wasmtime 48"]) {
        assert!(printed.contains(name), "no {name}: {ran}");
    }
    assert!(printed.contains("hint"), "{ran}");
}

#[test]
fn this_machine_is_not_taken_for_more_than_the_kernel_says() {
    if !cfg!(target_arch = "x86_64") {
        return isomer_tests::skip("this_machine_is_not_taken_for_more_than_the_kernel_says", "no x86-64 machine");
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags: Vec<_> = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap().split_whitespace().collect();
    let host = host();
    let isa: Vec<_> = host["isa"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let spelled = [
        ("sse3", "pni"),
        ("sse4.1", "sse4_1"),
        ("sse4.2", "sse4_2"),
        ("cmpxchg16b", "cx16"),
        ("lzcnt", "abm"),
        ("avxvnni", "avx_vnni"),
        ("avx512vnni", "avx512_vnni"),
        ("avx512bitalg", "avx512_bitalg"),
    ];
    for name in &isa {
        let kernel = spelled.iter().find(|(ours, _)| ours == name).map_or(*name, |(_, kernel)| *kernel);
        assert!(flags.contains(&kernel), "{name}: the kernel does not list {kernel}");
    }
}
