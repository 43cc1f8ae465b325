//! Artifacts that upstream's `wasmtime compile` made (`artifacts/make.sh`), through the library.
//!
//! Those for Pulley run on any little-endian machine; what the others do depends on the machine, and the tests hold
//! one answer against another instead of writing them down.

use isomer_contract::artifact::Artifact;
use isomer_contract::manifest::{Blob, SCHEMA, VariantConfig};
use isomer_contract::{Arch, Digest, Host, Needs, Requirements, check, engine_config, one_line};
use isomer_runtime::{
    Code, EngineMismatch, Expected, LoadError, Loader, MappedFile, SealedBytes, VerifiedArtifact, VerifyError, host,
    load_into, verify,
};
use std::io::Write;
use std::path::Path;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, Module, PoolingAllocationConfig};

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
fn wasmtime_loads(bytes: &[u8], requirements: Option<&Requirements>) -> bool {
    let config = requirements.and_then(|requirements| engine_config(requirements).ok()).unwrap_or_default();
    Engine::new(&config).is_ok_and(|engine| wasmtime_takes(&engine, bytes))
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
        match Loader::new().load(artifact) {
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
        assert!(matches!(error, VerifyError::DigestMismatch { .. }), "byte {index}: {error}");
    }
    for length in (0..bytes.len()).step_by(61) {
        assert!(Requirements::of_artifact(&bytes[..length]).is_err(), "cut after {length} bytes");
    }
}

fn verified(name: &str) -> VerifiedArtifact {
    let sealed = SealedBytes::copy(&artifact(name)[..], u64::MAX).expect("memfds work where tests run");
    verify(sealed, Expected::AnyArtifact).expect("an artifact")
}

/// What a release would declare of the artifact in `bytes`.
fn declared(bytes: &[u8]) -> VariantConfig {
    let artifact = Artifact::read(bytes).expect("an artifact");
    VariantConfig {
        schema: SCHEMA,
        module: "sum".to_owned(),
        wasm: Blob::of(b"wasm"),
        artifact: Blob::of(bytes),
        code: artifact.code_digest(),
        target: "pulley64".to_owned(),
        triple: artifact.triple,
        serves: Vec::new(),
        passes: Vec::new(),
        engine: "48.0.8".to_owned(),
        isomer: "0.1.0".to_owned(),
        compat: artifact.requirements.compat(),
        requirements: artifact.requirements,
        code_generation: Default::default(),
        needs: Needs::default(),
    }
}

#[test]
fn the_artifact_of_a_variant_is_what_its_release_declares() {
    let bytes = artifact("pulley64");
    let sealed = || SealedBytes::copy(&bytes[..], u64::MAX).expect("memfds work where tests run");
    let config = declared(&bytes);
    let artifact = verify(sealed(), Expected::Variant(&config)).expect("it is what is declared");
    assert_eq!((artifact.target(), artifact.requirements()), (Some("pulley64"), &config.requirements));
    let imports: Vec<_> = artifact.imports().expect("it is whole").into_iter().map(|import| import.name).collect();
    assert_eq!(imports, ["proc_exit"]);
    assert_eq!(verified("pulley64").target(), None);

    let mut other = config.clone();
    other.requirements.isa.insert("avx2".to_owned());
    other.requirements.refused_flags.insert("flag".to_owned(), "on".to_owned());
    let error = verify(sealed(), Expected::Variant(&other)).expect_err("two fields differ");
    assert_eq!(
        error.to_string(),
        "the artifact's requirements are not those that the release declares: `isa`: expected [\"avx2\"], found []; \
         `refused-flags`: expected {\"flag\":\"on\"}, found nothing"
    );
    let other = VariantConfig { artifact: Blob::of(b"other"), ..config };
    let error = verify(sealed(), Expected::Variant(&other)).expect_err("the digest differs");
    assert_eq!(error, VerifyError::DigestMismatch { found: Digest::of(&bytes), expected: Digest::of(b"other") });
}

/// As [`VerifiedArtifact::assume_hashed`], of a file with these bytes.
#[allow(unsafe_code)]
fn assumed(bytes: &[u8], config: &VariantConfig) -> Result<VerifiedArtifact, VerifyError> {
    let mut file = tempfile::tempfile().expect("there is room");
    file.write_all(bytes).expect("there is room");
    // SAFETY: the file has no name, and nothing else writes to it.
    let mapped = unsafe { MappedFile::new(file, bytes.len() as u64) }.expect("it can be mapped");
    // SAFETY: what is wrong is not executed, and the rest is what upstream made.
    unsafe { VerifiedArtifact::assume_hashed(mapped, config) }
}

#[test]
fn a_mapped_artifact_has_the_size_and_the_requirements_that_are_declared() {
    let bytes = artifact("pulley64");
    let config = declared(&bytes);
    let artifact = assumed(&bytes, &config).expect("it is what is declared");
    assert_eq!((artifact.target(), artifact.requirements()), (Some("pulley64"), &config.requirements));
    if cfg!(target_endian = "little") {
        assert!(matches!(Loader::new().load(artifact).expect("it runs here").code, Code::Module(_)));
    }
    let longer = [&bytes[..], b"\0"].concat();
    let error = assumed(&longer, &config).expect_err("it has one byte more");
    let size_bytes = bytes.len() as u64;
    assert_eq!(error, VerifyError::SizeMismatch { found_bytes: size_bytes + 1, expected_bytes: size_bytes });
    let mut other = config;
    other.requirements.engine = "47".to_owned();
    assert!(matches!(assumed(&bytes, &other), Err(VerifyError::RequirementsMismatch(_))));
}

/// The keys of settings that an error names; `target` for the target.
fn keys(error: LoadError) -> Vec<String> {
    let LoadError::EngineMismatch(mismatches) = error else { panic!("{error}") };
    let key = |mismatch| match mismatch {
        EngineMismatch::Target { .. } => "target".to_owned(),
        EngineMismatch::Setting { key, .. } => key,
        EngineMismatch::Proposal { name, .. } => name,
        other => panic!("{other}"),
    };
    mismatches.into_iter().map(key).collect()
}

#[cfg(target_endian = "little")]
#[test]
fn artifacts_of_equal_requirements_share_an_engine_for_as_long_as_one_is_used() {
    let loader = Loader::new();
    let first = loader.load(verified("pulley64")).expect("it runs here");
    let second = loader.load(verified("component-pulley64")).expect("it runs here");
    let other = loader.load(verified("pulley64-epoch")).expect("it runs here");
    assert!(Engine::same(&first.engine, &second.engine), "a module and a component");
    assert!(!Engine::same(&first.engine, &other.engine), "another setting");
    let weak = first.engine.weak();
    drop((first, second));
    assert!(weak.upgrade().is_none(), "the loader keeps no engine alive");
    loader.load(verified("pulley64")).expect("it runs in a new engine");
}

#[cfg(target_endian = "little")]
#[test]
fn a_loader_configures_what_artifacts_do_not_require() {
    let pooled = |config: &mut Config| {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_memories(3).total_core_instances(3).total_tables(3);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool)).max_wasm_stack(64 << 10);
    };
    let loaded = Loader::new().configure(pooled).load(verified("pulley64")).expect("it runs here");
    assert_eq!(loaded.engine.get_max_wasm_stack(), 64 << 10);
    assert_eq!(loaded.engine.get_pooling_config().expect("a pool").get_total_memories(), 3);
}

#[cfg(target_endian = "little")]
#[test]
fn a_change_with_which_artifacts_do_not_load_is_refused_by_every_key() {
    let loader = Loader::new().configure(|config| {
        config.consume_fuel(true).memory_reservation(1 << 30).wasm_tail_call(false);
    });
    let error = loader.load(verified("pulley64")).err().expect("three settings differ");
    assert_eq!(
        error.to_string(),
        "the engine is not configured as the artifact requires: `fuel` (`Config::consume_fuel`): expected false, found \
         true; `memory-reservation` (`Config::memory_reservation`): expected 4294967296, found 1073741824; the proposal \
         `tail-call` (`Config::wasm_features`): expected enabled, found disabled"
    );
    // What cannot be read from an engine, wasmtime itself refuses.
    let loader = Loader::new().configure(|config| {
        config.wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable);
    });
    let error = loader.load(verified("pulley64")).err().expect("a setting differs");
    assert!(matches!(error, LoadError::Deserialize(_)), "{error}");
}

#[cfg(target_endian = "little")]
#[test]
fn an_artifact_loads_into_an_engine_of_the_callers_if_all_is_equal() {
    let artifact = verified("pulley64");
    let engine = Engine::new(&engine_config(artifact.requirements()).expect("possible")).expect("an engine");
    let loaded = load_into(&engine, artifact).expect("the engine is made for it");
    assert!(Engine::same(&loaded.engine, &engine) && matches!(loaded.code, Code::Module(_)));

    let mut config = Config::new();
    config.epoch_interruption(true);
    let engine = Engine::new(&config).expect("an engine for native code");
    let keys = keys(load_into(&engine, verified("pulley64")).err().expect("another engine"));
    for key in ["target", "epoch-interruption", "signals-based-traps", "memory-guard-size"] {
        assert!(keys.iter().any(|it| it == key), "{key}: {keys:?}");
    }
}

/// `load_into` and wasmtime agree: what we find nothing against loads, and the other way round.
#[test]
fn mismatches_agree_with_wasmtime_on_every_pair_of_artifact_and_engine() {
    let host = here();
    let runnable = |name: &String| {
        let requirements = Requirements::of_artifact(&artifact(name)).ok()?;
        check(&requirements, &host).is_empty().then_some(requirements)
    };
    let engine = |name: String| {
        let requirements = runnable(&name)?;
        let engine = Engine::new(&engine_config(&requirements).expect("possible")).expect("an engine");
        Some((name, engine))
    };
    let engines: Vec<_> = names().into_iter().filter_map(engine).collect();
    let (mut loading, mut refused) = (0, 0);
    for name in names().iter().filter(|name| runnable(name).is_some()) {
        for (of, engine) in &engines {
            match load_into(engine, verified(name)) {
                Ok(_) => loading += 1,
                Err(LoadError::EngineMismatch(mismatches)) => {
                    assert!(!wasmtime_takes(engine, &artifact(name)), "{name} in the engine of {of}: {mismatches:?}");
                    refused += 1;
                }
                Err(error) => {
                    panic!("{name} in the engine of {of}: {}", one_line(&error));
                }
            }
        }
    }
    assert!(loading >= engines.len() && refused > 0, "{loading} load, {refused} are refused");
}

#[allow(unsafe_code)]
fn wasmtime_takes(engine: &Engine, bytes: &[u8]) -> bool {
    // SAFETY: wasmtime made these bytes, and nothing of them is run.
    unsafe { Module::deserialize(engine, bytes).is_ok() || Component::deserialize(engine, bytes).is_ok() }
}
