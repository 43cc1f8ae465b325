//! Artifacts that upstream's `wasmtime compile` made (`artifacts/make.sh`), through the library.
//!
//! Those for Pulley run on any little-endian machine; what the others do depends on the machine, and the tests hold
//! one answer against another instead of writing them down.

use isomer_contract::{Arch, Digest, Host, Requirements, check, engine_config};
use isomer_runtime::{Expected, LoadError, SealedBytes, VerifyError, host, load, verify};
use std::path::Path;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

fn artifact(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/artifacts").join(format!("{name}.cwasm.zst"));
    let compressed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::decode_all(&compressed[..]).expect("a zstd frame")
}

fn names() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/artifacts");
    let files = std::fs::read_dir(dir).expect("beside this file");
    let names = files.map(|file| file.expect("readable").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<String> = names.filter_map(|name| name.strip_suffix(".cwasm.zst").map(str::to_owned)).collect();
    names.sort();
    assert!(names.len() > 20);
    names
}

fn here() -> Host {
    host::here().expect("tests run where wasmtime has native code")
}

/// What wasmtime itself says, asked with the engine that fits best.
#[allow(unsafe_code)]
fn wasmtime_loads(bytes: &[u8], requirements: Option<&Requirements>) -> bool {
    let config = requirements.and_then(|requirements| engine_config(requirements).ok()).unwrap_or_default();
    let Ok(engine) = Engine::new(&config) else { return false };
    // SAFETY: wasmtime made these bytes, and nothing of them is run.
    unsafe { Module::deserialize(&engine, bytes).is_ok() || Component::deserialize(&engine, bytes).is_ok() }
}

#[test]
fn check_agrees_with_wasmtime_on_this_machine() {
    let host = here();
    let mut loading = 0;
    for name in names() {
        let bytes = artifact(&name);
        let requirements = Requirements::of_artifact(&bytes).ok();
        let ours = requirements.as_ref().is_some_and(|requirements| check(requirements, &host).is_empty());
        let theirs = wasmtime_loads(&bytes, requirements.as_ref());
        // There wasmtime takes every extension for present.
        if host.arch != Arch::Riscv64 || ours {
            assert_eq!(ours, theirs, "{name}: isomer says {ours}, wasmtime {theirs}");
        }
        loading += usize::from(ours);
    }
    assert!(loading >= 2, "at least Pulley's load everywhere");
}

#[test]
fn load_refuses_what_check_refuses_and_nothing_else() {
    let host = here();
    for name in names() {
        let sealed = SealedBytes::copy(&artifact(&name)[..], u64::MAX).expect("memfds work where tests run");
        let Ok(artifact) = verify(sealed, Expected::AnyArtifact) else { continue };
        let mismatches = check(artifact.requirements(), &host);
        match load(artifact) {
            Ok(_) => assert_eq!(mismatches, [], "{name}"),
            Err(LoadError::Mismatch(found)) => assert_eq!(mismatches, found, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn one_flipped_bit_anywhere_is_another_digest_and_no_panic() {
    let bytes = artifact("x86-64");
    let expected = Digest::of(&bytes);
    // Every byte of the metadata, and of the rest a sample.
    for index in (0..bytes.len()).step_by(7).chain(0..512).chain(bytes.len() - 2048..bytes.len()) {
        let mut altered = bytes.clone();
        altered[index] ^= 1 << (index % 8);
        let _ = Requirements::of_artifact(&altered);
        let sealed = SealedBytes::copy(&altered[..], u64::MAX).expect("memfds work where tests run");
        let error = verify(sealed, Expected::Digest(expected)).expect_err("another digest");
        assert!(matches!(error, VerifyError::OtherDigest { .. }), "byte {index}: {error}");
    }
    for length in (0..bytes.len()).step_by(61) {
        assert!(Requirements::of_artifact(&bytes[..length]).is_err(), "cut after {length} bytes");
    }
}
