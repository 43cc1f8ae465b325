//! A release to test with: two modules, one of them a component; four variants.

#![allow(dead_code, reason = "each test file uses its part")]

use isomer_contract::manifest::{Blob, SCHEMA, Served, VariantConfig};
use isomer_contract::{Digest, Kind, Needs, Profile, Requirements};
use isomer_layout::{Compression, Identity, Layout, LayoutError, ReleasedModule, Summary, WriteError, Writer};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

/// An empty module.
pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// `(component (import "wasi:cli/run" (instance)) (export "go" (instance 0)))`, by hand: a type section with an empty
/// instance type, an import of that type, an export of what was imported.
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\
    \x07\x03\x01\x42\0\
    \x0a\x11\x01\0\x0cwasi:cli/run\x05\0\
    \x0b\x08\x01\0\x02go\x05\0\0";

/// A variant before it is released.
pub(crate) struct Sample {
    pub(crate) config: VariantConfig,
    pub(crate) artifact: Vec<u8>,
}

fn sample(module: &str, wasm: &[u8], kind: Kind, target: &str, serves: &[&str], size_bytes: usize) -> Sample {
    let profile = Profile::shipped(target).expect("a shipped profile");
    let isa: &[&str] = match target {
        "neoverse-n1" => &["dotprod", "fp16", "lse"],
        "x86-64-v3" => &["avx2", "bmi1", "bmi2", "fma", "lzcnt"],
        _ => &[],
    };
    // Fixed here, so that the golden layout outlives a new engine and a changed profile.
    let requirements = Requirements {
        engine: "48".to_owned(),
        isa: isa.iter().map(|name| (*name).to_owned()).collect(),
        tunables: BTreeMap::new(),
        recorded: BTreeMap::new(),
        wasm_features: ["simd".to_owned()].into(),
        ..Requirements::of_profile(&profile, kind)
    };
    // Neither constant nor incompressible.
    let artifact: Vec<u8> = (0..size_bytes).map(|i| ((i * i / 97) % 251) as u8 ^ target.as_bytes()[0]).collect();
    let config = VariantConfig {
        schema: SCHEMA,
        module: module.to_owned(),
        wasm: Blob::of(wasm),
        artifact: Blob::of(&artifact),
        code: Digest::of(target.as_bytes()),
        target: target.to_owned(),
        triple: profile.triple.to_string(),
        serves: serves
            .iter()
            .map(|name| Served {
                target: (*name).to_owned(),
                profile: Digest::of(b"profile"),
                job: Digest::of(name.as_bytes()),
                predicted: false,
                priority: 0,
            })
            .collect(),
        engine: "48.0.8".to_owned(),
        isomer: "0.1.0".to_owned(),
        passes: Vec::new(),
        compat: requirements.compat(),
        requirements,
        code_generation: BTreeMap::new(),
        needs: Needs::default(),
    };
    Sample { config, artifact }
}

/// The variants of `sort:0.1.0`, in the order of its index.
pub(crate) fn sort() -> Vec<Sample> {
    let sample = |target, serves: &[&str], size| sample("sort", MODULE, Kind::Module, target, serves, size);
    vec![
        sample("neoverse-n1", &["neoverse-n1"], 300_001),
        sample("pulley64", &["pulley64"], 1),
        sample("x86-64-v3", &["x86-64-v3", "x86-64-v4"], 70_000),
    ]
}

/// The variants of `clock:0.2.0-rc.1`, a component.
pub(crate) fn clock() -> Vec<Sample> {
    vec![sample("clock", COMPONENT, Kind::Component, "x86-64-v3", &["x86-64-v3"], 5000)]
}

/// A module before it is released.
pub(crate) struct Source {
    name: &'static str,
    version: &'static str,
    wasm: &'static [u8],
    variants: Vec<Sample>,
}

/// All modules.
pub(crate) fn sources() -> Vec<Source> {
    vec![
        Source { name: "sort", version: "0.1.0", wasm: MODULE, variants: sort() },
        Source { name: "clock", version: "0.2.0-rc.1", wasm: COMPONENT, variants: clock() },
    ]
}

impl Source {
    /// Adds the module to `writer`.
    pub(crate) fn release(self, writer: &Writer, compression: Compression) -> Result<ReleasedModule, WriteError> {
        let wasm = writer.add_wasm(self.wasm)?;
        let mut variants = Vec::new();
        for Sample { config, artifact } in self.variants {
            let layer = writer.add_layer(&artifact[..], compression, config.artifact)?;
            variants.push((config, layer));
        }
        Ok(ReleasedModule { name: self.name.parse()?, version: self.version.parse()?, wasm, variants })
    }
}

/// Adds everything to `writer`.
pub(crate) fn released(writer: &Writer, compression: Compression) -> Vec<ReleasedModule> {
    sources().into_iter().map(|module| module.release(writer, compression).unwrap()).collect()
}

/// Which release it is.
pub(crate) fn identity() -> Identity {
    Identity { name: "acme".parse().unwrap(), version: "0.1.0".parse().unwrap(), counter: 7, part: None }
}

/// Writes the release to `dir`.
pub(crate) fn write_release(dir: &Path) -> Summary {
    let writer = Writer::open(dir).unwrap();
    let modules = released(&writer, Compression::Zstd);
    writer.finish(&identity(), modules).unwrap()
}

/// All files below `dir` with their bytes, by path.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The artifact of `module` for `target`, through the whole chain of digests.
pub(crate) fn read_artifact(layout: &Layout, module: &str, target: &str) -> Result<Vec<u8>, LayoutError> {
    let module = layout.module(module)?;
    let variant = module.variants.iter().find(|variant| variant.target == target).expect("the target is released");
    let mut bytes = Vec::new();
    match layout.open_artifact(&layout.manifest(variant)?)?.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(*error.into_inner().expect("wraps a LayoutError").downcast().expect("is a LayoutError")),
    }
}

/// Reads everything that the release in `dir` holds, through the whole chain of digests.
pub(crate) fn read_all(dir: &Path) -> Result<Vec<Vec<u8>>, LayoutError> {
    let layout = Layout::open(dir)?;
    let mut all = Vec::new();
    for entry in layout.modules() {
        let module = layout.module(&entry.reference)?;
        all.extend(layout.wasm(&module)?);
        for variant in &module.variants {
            let mut bytes = Vec::new();
            match layout.open_artifact(&layout.manifest(variant)?)?.read_to_end(&mut bytes) {
                Ok(_) => all.push(bytes),
                Err(error) => return Err(unwrap_io(error)),
            }
        }
    }
    Ok(all)
}

pub(crate) fn unwrap_io(error: std::io::Error) -> LayoutError {
    *error.into_inner().expect("wraps a LayoutError").downcast().expect("is a LayoutError")
}
