//! Damaged WebAssembly and damaged artifacts: whatever byte is cut or changed, the answer is an error or a module, and
//! never a panic.

use isomer_compile::express::express;
use isomer_compile::inspect::inspect;
use isomer_compile::{Analysis, Compiler, Input};
use isomer_contract::Profile;
use isomer_contract::artifact::Artifact;
use std::path::Path;

/// Uses sections of every kind, and what the pass for riscv64 rewrites.
const MODULE: &str = r#"(module
    (import "m" "f" (func $f (param i32) (result i64)))
    (memory (export "memory") 1) (memory i64 1) (table 2 funcref) (global (mut i32) (i32.const 3)) (tag $t (param i32))
    (func $g (export "g") (param i32) (result i64)
      (memory.copy (i32.const 0) (i32.const 64) (i32.const 32))
      (memory.copy 1 1 (i64.const 0) (i64.const 64) (i64.const 32))
      (drop (i64x2.extract_lane 0 (v128.load (local.get 0))))
      (call $f (i32.add (local.get 0) (i32.const 1))))
    (elem (i32.const 0) $g $f) (data (i32.const 8) "hello") (@custom "x" "y"))"#;

const COMPONENT: &str = r#"(component
    (core module $m (memory 1) (func (export "f") (param i32) (result i32)
      (memory.copy (i32.const 0) (i32.const 64) (i32.const 32)) (local.get 0)))
    (core instance $i (instantiate $m))
    (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f"))))"#;

/// `bytes` cut before every byte, and with every byte changed in three ways.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    let changed = (0..bytes.len()).flat_map(move |at| {
        [0x01, 0x80, 0xff].map(|mask| {
            let mut changed = bytes.to_vec();
            changed[at] ^= mask;
            changed
        })
    });
    cut.chain(changed)
}

#[test]
fn damaged_webassembly_is_refused_or_compiled() {
    let profiles = ["x86-64-v3", "riscv64gc"].map(|name| Profile::shipped(name).unwrap());
    let compilers = profiles.each_ref().map(|profile| Compiler::new(profile).unwrap());
    let (mut refused, mut compiled) = (0, 0);
    for text in [MODULE, COMPONENT] {
        for bytes in damaged(&wat::parse_str(text).unwrap()) {
            let Ok(input) = Input::from_bytes(Path::new("m.wasm"), "m", bytes) else {
                refused += 1;
                continue;
            };
            let analysis = Analysis::of(&input.wasm);
            analysis.needs();
            for (profile, compiler) in profiles.iter().zip(&compilers) {
                match express(&analysis, profile) {
                    Ok(Ok(())) => {
                        compiler.compile(&input).unwrap_or_else(|error| panic!("{error}: {:02x?}", input.wasm));
                        compiled += 1;
                    }
                    Ok(Err(_)) | Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 1000 && compiled > 100, "{refused} refused, {compiled} compiled");
}

#[test]
fn damaged_artifacts_are_read_or_refused() {
    let input = Input::from_bytes(Path::new("m.wat"), "m", MODULE.into()).unwrap();
    let compiler = Compiler::new(&Profile::shipped("x86-64-v3").unwrap()).unwrap();
    let mut artifact = compiler.compile(&input).unwrap().into_bytes();
    // The pages of padding hold nothing to be misread.
    let near = |at: usize| at.saturating_sub(8)..(at + 8).min(artifact.len());
    let interesting: Vec<_> = (0..artifact.len()).filter(|at| artifact[near(*at)].iter().any(|b| *b != 0)).collect();
    let mut refused = 0;
    for at in interesting {
        for mask in [0x01, 0x80, 0xff] {
            artifact[at] ^= mask;
            refused += usize::from(Artifact::read(&artifact).is_err());
            let _ = inspect(&artifact);
            artifact[at] ^= mask;
        }
        refused += usize::from(Artifact::read(&artifact[..at]).is_err());
    }
    assert!(refused > 1000, "{refused} refused");
}
