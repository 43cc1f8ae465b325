//! The bytes of artifacts. In: small modules in `golden/`, every shipped profile. Out: the digests in
//! `golden/artifacts.toml`, or what has changed.
//!
//! A job's digest does not hold the version of isomer but `CODEGEN_REVISION`. A change of the output that
//! does not raise it lets caches and releases keep artifacts of the old code generation. `BLESS=1` writes the digests again, once it is
//! raised (or wasmtime is of another version, which is part of a job's digest by itself).

use isomer_compile::express::express;
use isomer_compile::job::CODEGEN_REVISION;
use isomer_compile::{Analysis, Compiler, Input};
use isomer_contract::profile::shipped_names;
use isomer_contract::{Digest, ENGINE_VERSION, Profile};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// `artifacts.toml`
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Golden {
    codegen_revision: u32,
    engine: String,
    /// The digest of each artifact, by module and profile.
    artifacts: BTreeMap<String, BTreeMap<String, String>>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The artifact of each module for each shipped profile that can express it.
fn compile_all() -> BTreeMap<String, BTreeMap<String, String>> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let inputs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "wat"));
    let digests = |input: &Input| {
        let analysis = Analysis::of(&input.wasm);
        let profiles: Vec<_> = shipped_names().map(|name| Profile::shipped(name).unwrap()).collect();
        let digest = |profile: &Profile| {
            express(&analysis, profile).unwrap().ok()?;
            let compiled = Compiler::new(profile).unwrap().compile(input).unwrap();
            Some((profile.name.clone(), Digest::of(compiled.bytes()).to_string()))
        };
        profiles.par_iter().filter_map(digest).collect()
    };
    inputs.map(|path| Input::read(&path).unwrap()).map(|input| (input.name.clone(), digests(&input))).collect()
}

#[test]
fn artifacts_change_only_with_the_codegen_revision() {
    let path = directory().join("artifacts.toml");
    let artifacts = compile_all();
    let golden: Option<Golden> = fs::read_to_string(&path).ok().map(|text| toml::from_str(&text).unwrap());
    let is_new =
        |golden: &Golden| (golden.codegen_revision, golden.engine.as_str()) != (CODEGEN_REVISION, ENGINE_VERSION);
    if std::env::var_os("BLESS").is_some() {
        let keeps = |golden: &Golden| {
            let digests = |name: &String| artifacts.get(name);
            let same = |name, target, digest| digests(name).and_then(|of| of.get(target)) == Some(digest);
            golden.artifacts.iter().all(|(name, of)| of.iter().all(|(target, digest)| same(name, target, digest)))
        };
        let allowed = golden.as_ref().is_none_or(|golden| is_new(golden) || keeps(golden));
        assert!(allowed, "an artifact has changed: raise CODEGEN_REVISION in src/job.rs first");
        let new = Golden { codegen_revision: CODEGEN_REVISION, engine: ENGINE_VERSION.to_owned(), artifacts };
        return fs::write(path, toml::to_string(&new).unwrap()).unwrap();
    }
    let golden = golden.expect("tests/golden/artifacts.toml is checked in");
    assert!(!is_new(&golden), "write the new digests with BLESS=1");
    for (module, digests) in &artifacts {
        for (target, digest) in digests {
            let expected = golden.artifacts.get(module).and_then(|digests| digests.get(target));
            assert_eq!(
                Some(digest),
                expected,
                "the artifact of {module} for {target} has changed: raise CODEGEN_REVISION in src/job.rs, then BLESS=1"
            );
        }
    }
    assert_eq!(artifacts, golden.artifacts, "the modules and targets are those of the file");
}
