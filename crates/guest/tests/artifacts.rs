//! Guests in artifacts for Pulley, which any little-endian machine runs (`crates/run/tests/artifacts/make.sh`).
#![cfg(target_endian = "little")]

use isomer_contract::Digest;
use isomer_guest::{Call, Guest, GuestError, Outcome};
use isomer_runtime::{Code, Expected, Loaded, Loader, SealedBytes, verify};
use std::path::Path;

fn artifact(name: &str) -> Vec<u8> {
    let artifacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../run/tests/artifacts");
    let path = artifacts.join(format!("{name}.cwasm.zst"));
    let compressed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::decode_all(&compressed[..]).expect("a zstd frame")
}

fn loaded(name: &str) -> Loaded {
    let bytes = artifact(name);
    let sealed = SealedBytes::copy(&bytes[..], u64::MAX).expect("memfds work where tests run");
    let artifact = verify(sealed, Expected::Digest(Digest::of(&bytes))).expect("the right digest");
    Loader::new().load(artifact).expect("it runs here")
}

fn call(loaded: &Loaded, text: &str, words: &[&str]) -> Result<Outcome, GuestError> {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let mut guest = Guest::new(Vec::new());
    guest.invoke = Some(Call::new(text.to_owned(), words));
    isomer_guest::run(loaded, guest).map(|finished| finished.outcome)
}

fn returned(outcome: Result<Outcome, GuestError>) -> Vec<String> {
    match outcome {
        Ok(Outcome::Returned(results)) => results,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reactor_is_initialized_before_it_is_called() {
    let loaded = loaded("pulley64");
    assert!(matches!(loaded.code, Code::Module(_)));
    assert_eq!(returned(call(&loaded, "add", &["1", "2"])), ["103"]);
    assert_eq!(returned(call(&loaded, "add(1, -2)", &[])), ["99"]);
    assert_eq!(returned(call(&loaded, "_initialize", &[])), [""; 0]);
    let alone = isomer_guest::run(&loaded, Guest::new(Vec::new())).expect("a reactor is initialized");
    assert!(matches!(alone.outcome, Outcome::Returned(results) if results.is_empty()));
}

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

#[test]
fn wrong_calls_name_what_is_there() {
    let loaded = loaded("pulley64");
    let message = |text: &str, words: &[&str]| call(&loaded, text, words).expect_err("a wrong call").to_string();
    assert_eq!(message("ad", &[]), "it exports no function `ad`; it exports _initialize, add, exit, trap");
    assert_eq!(message("add", &["1"]), "cannot call `add`: it takes (i32, i32), 2 arguments; not 1");
    assert_eq!(message("add", &["1", "one"]), "cannot call `add`: `one` is not a value of type i32");
}

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

#[test]
fn a_guest_without_a_deadline_runs_in_an_engine_whose_epoch_is_incremented() {
    let loaded = loaded("pulley64-epoch");
    loaded.engine.increment_epoch();
    assert_eq!(returned(call(&loaded, "add", &["1", "2"])), ["103"]);
}
