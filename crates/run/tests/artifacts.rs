//! Artifacts that upstream's `wasmtime compile` made (`artifacts/make.sh`), through the library.
//!
//! Those for Pulley run on any little-endian machine; what the others do depends on the machine, and the tests hold
//! one answer against another instead of writing them down.

use isomer_contract::{Arch, Digest, Host, Requirements, check, engine_config};
use isomer_run::guest::{self, Call, Guest, GuestError, Outcome};
use isomer_run::{Code, Expected, LoadError, Loaded, SealedBytes, VerifyError, host, load, verify};
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

fn loaded(name: &str) -> Loaded {
    let bytes = artifact(name);
    let sealed = SealedBytes::copy(&bytes[..], u64::MAX).expect("memfds work where tests run");
    load(verify(sealed, Expected::Digest(Digest::of(&bytes))).expect("the right digest")).expect("it runs here")
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

fn call(loaded: &Loaded, text: &str, words: &[&str]) -> Result<Outcome, GuestError> {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    guest::run(loaded, &Guest { invoke: Some(Call::new(text.to_owned(), words)), ..Guest::default() })
}

fn returned(outcome: Result<Outcome, GuestError>) -> Vec<String> {
    match outcome {
        Ok(Outcome::Returned(results)) => results,
        other => panic!("{other:?}"),
    }
}

#[cfg(target_endian = "little")]
#[test]
fn a_reactor_is_initialized_before_it_is_called() {
    let loaded = loaded("pulley64");
    assert!(matches!(loaded.code, Code::Module(_)));
    assert_eq!(returned(call(&loaded, "add", &["1", "2"])), ["103"]);
    assert_eq!(returned(call(&loaded, "add(1, -2)", &[])), ["99"]);
    assert_eq!(returned(call(&loaded, "_initialize", &[])), [""; 0]);
}

#[cfg(target_endian = "little")]
#[test]
fn exits_and_traps_are_outcomes() {
    let loaded = loaded("pulley64");
    assert!(matches!(call(&loaded, "exit", &["42"]), Ok(Outcome::Exited(42))));
    // WASI reserves the codes from 126 on.
    assert!(matches!(call(&loaded, "exit", &["126"]), Err(GuestError::Failed(_))));
    match call(&loaded, "trap", &[]) {
        Ok(Outcome::Trapped(error)) => assert_eq!(error.downcast_ref(), Some(&wasmtime::Trap::MemoryOutOfBounds)),
        other => panic!("{other:?}"),
    }
}

#[cfg(target_endian = "little")]
#[test]
fn wrong_calls_name_what_is_there() {
    let loaded = loaded("pulley64");
    let message = |text: &str, words: &[&str]| call(&loaded, text, words).expect_err("a wrong call").to_string();
    assert_eq!(message("ad", &[]), "it exports no function `ad`; it exports _initialize, add, exit, trap");
    assert_eq!(message("add", &["1"]), "cannot call `add`: it takes (i32, i32), 2 arguments; not 1");
    assert_eq!(message("add", &["1", "one"]), "cannot call `add`: `one` is no value of type i32");
    let command = guest::run(&loaded, &Guest::default()).expect_err("no `_start`").to_string();
    assert_eq!(command, "it is a library: it exports no function `_start`; it exports add, exit, trap");
}

#[cfg(target_endian = "little")]
#[test]
fn components_are_called_in_wave_or_in_words() {
    let loaded = loaded("component-pulley64");
    assert_eq!(returned(call(&loaded, "add(1, 2)", &[])), ["3"]);
    assert_eq!(returned(call(&loaded, "add", &["1", "2"])), ["3"]);
    for name in ["echo", "test:fixture/api@1.2.3#echo", "test:fixture/api/echo@1.2.3"] {
        assert_eq!(returned(call(&loaded, name, &["a b"])), ["\"a b\""]);
        assert_eq!(returned(call(&loaded, &format!("{name}(\"a b\")"), &[])), ["\"a b\""]);
    }
    assert!(matches!(call(&loaded, "add(1", &[]), Err(GuestError::Arguments { .. })));
    assert!(matches!(call(&loaded, "add", &["-1", "2"]), Err(GuestError::Arguments { .. })));
    assert!(matches!(call(&loaded, "none", &[]), Err(GuestError::NoSuchExport { .. })));
}
