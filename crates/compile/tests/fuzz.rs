//! What an artifact says of itself, and release manifests, nearly right: no parser panics, and what is refused is
//! refused with words.
//!
//! A few thousand each time. A million take minutes:
//! `ISOMER_FUZZ_RUNS=1000000 cargo test --release -p isomer-compile --test fuzz -- --nocapture`.

use isomer_compile::release_manifest::ReleaseManifest;
use isomer_compile::{Compiler, Input};
use isomer_contract::artifact::Artifact;
use isomer_contract::{Hinted, Profile, Requirements, canonical_json};
use isomer_testing::fuzz::Fuzzer;
use object::{Object as _, ObjectSection as _};
use std::path::Path;

/// What the engine section is made of, and TOML.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x7f",
    b"\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"48",
    b"x86_64-unknown-linux-gnu",
    b"has_avx512f",
    b"[[module]]\n",
    b"[release]\n",
    b"path = ",
    b"\"",
    b"'''",
    b"=",
    b"\n",
    b"[",
    b"]",
    b"targets = [\"all\"]",
    b"-1",
];

/// A small artifact, and where its engine section lies: all the rest are pages of code and padding.
fn artifact(target: &str, text: &str) -> (Vec<u8>, std::ops::Range<usize>) {
    let input = Input::from_bytes(Path::new("m.wat"), "m", text.into()).unwrap();
    let bytes = Compiler::new(&Profile::shipped(target).unwrap()).unwrap().compile(&input).unwrap().into_bytes();
    let file = object::File::parse(&bytes[..]).unwrap();
    let (start, size) = file.section_by_name(".wasmtime.engine").unwrap().file_range().unwrap();
    let range = start as usize..(start + size) as usize;
    (bytes, range)
}

#[test]
fn fuzz_requirements_of_artifacts() {
    for (target, text) in
        [("x86-64-v3", "(module (func (export \"f\")))"), ("z15", "(component)"), ("pulley64", "(module)")]
    {
        let (mut artifact, range) = artifact(target, text);
        let original = artifact[range.clone()].to_vec();
        Fuzzer::new(vec![original], WORDS).run(&format!("engine section, {target}"), 2000, |section| {
            // The file stays as long as it is: what is too long is cut, and behind what is short lie zeros.
            let target = &mut artifact[range.clone()];
            let length = section.len().min(target.len());
            target[..length].copy_from_slice(&section[..length]);
            target[length..].fill(0);
            match Requirements::of_artifact(&artifact) {
                Ok(requirements) => {
                    let again: Requirements = serde_json::from_str(&canonical_json(&requirements)).unwrap();
                    assert_eq!(again, requirements);
                    true
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    let _ = error.hint();
                    false
                }
            }
        });
    }
}

/// The whole file: headers, section table, code.
#[test]
fn fuzz_artifacts() {
    let (artifact, _) = artifact("x86-64-v3", "(module (func (export \"f\")))");
    Fuzzer::new(vec![artifact], WORDS).run("artifact", 2000, |bytes| match Artifact::read(bytes) {
        Ok(artifact) => {
            let _ = artifact.code_digest();
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    });
}

#[test]
fn fuzz_release_manifest() {
    let text = "[release]\nname = \"acme\"\nversion = \"1.4.0\"\ncounter = 7\ntargets = [\"x86-64-v2\", \"all\"]\n\
                [[module]]\npath = \"a/resize.wasm\"\nname = \"resize\"\ntargets = [\"z15\"]\n[[module]]\npath = \"b.wat\"\n";
    Fuzzer::new(vec![text.into()], WORDS).run("isomer.toml", 2000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match ReleaseManifest::parse(Path::new("isomer.toml"), &text) {
            Ok(_) => true,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let _ = error.hint();
                false
            }
        }
    });
}
