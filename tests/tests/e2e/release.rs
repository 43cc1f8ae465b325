//! A release: the same bytes everywhere, nothing done twice, and other tools read it.

use isomer_tests::{
    Ran, contents, examples, guest, has_program, isomer, isomer_run, program, release_examples, root, scratch, skip,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of the release in `directory` with the digest of its bytes; not the lock of a test that writes there now.
fn files(directory: &Path) -> BTreeMap<PathBuf, String> {
    let files = contents(directory).into_iter().filter(|(path, _)| !path.starts_with(".isomer-staging"));
    files.map(|(path, bytes)| (path, hex::encode(Sha256::digest(bytes)))).collect()
}

fn release(manifest: &Path, output: &Path, more: &[&str]) -> Ran {
    isomer().arg("release").arg("-f").arg(manifest).arg("-o").arg(output).args(more).run()
}

fn compiled(cells: &Value) -> usize {
    cells["cells"].as_array().unwrap().iter().filter(|cell| cell["compiled"] == true).count()
}

#[test]
fn the_same_bytes_in_another_directory_and_with_another_number_of_threads() {
    let other = scratch();
    let ran = release(&root().join("isomer.toml"), &other.path().join("deep/er"), &["--jobs", "1"]);
    assert_eq!(ran.code(), 0, "{ran}");
    let (here, there) = (files(examples()), files(&other.path().join("deep/er")));
    assert!(here.len() > 100, "{here:?}");
    assert_eq!(here, there);
}

#[test]
fn running_it_again_compiles_nothing_and_changes_nothing() {
    let directory = scratch();
    release_examples(directory.path());
    let before = files(directory.path());
    let again = release(&root().join("isomer.toml"), directory.path(), &["--json"]).json();
    assert_eq!(compiled(&again), 0, "{again}");
    assert_eq!(again["written"], true);
    assert_eq!(files(directory.path()), before);
}

/// A manifest over two modules, in a directory that a test may change.
fn small(directory: &Path, targets: &str) -> PathBuf {
    for name in ["numbers", "matmul"] {
        let to = directory.join(format!("{name}.wasm"));
        if !to.exists() {
            fs::copy(guest(name), to).unwrap();
        }
    }
    let manifest = directory.join("isomer.toml");
    let modules = "[[module]]\npath = 'numbers.wasm'\n[[module]]\npath = 'matmul.wasm'\n";
    fs::write(&manifest, format!("[release]\nname = 'r'\nversion = '1.0.0'\ntargets = {targets}\n{modules}")).unwrap();
    manifest
}

#[test]
fn only_what_changed_is_compiled_and_the_result_is_as_if_made_anew() {
    let directory = scratch();
    let (path, output) = (directory.path(), directory.path().join("dist"));
    let fresh = |manifest: &Path, name: &str| {
        let output = path.join(name);
        release(manifest, &output, &[]);
        files(&output)
    };
    let wide = "['x86-64-v2', 'x86-64-v3', 'x86-64-v4', 'znver4', 'neoverse-n1', 'pulley64']";
    let manifest = small(path, wide);
    let first = release(&manifest, &output, &["--json"]).json();
    // Of twelve cells: numbers' v4 and Zen 4 and matmul's Zen 4 are predicted to come out as others.
    assert_eq!(compiled(&first), 9);

    // A module changes: only its cells.
    let mut wasm = fs::read(path.join("numbers.wasm")).unwrap();
    wasm.extend([0, 5, 4, b'n', b'o', b't', b'e']);
    fs::write(path.join("numbers.wasm"), &wasm).unwrap();
    let second = release(&manifest, &output, &["--json"]).json();
    assert_eq!(compiled(&second), 4, "{second}");
    assert_eq!(files(&output), fresh(&manifest, "fresh-2"));

    // The variant that stood for others leaves: one of those is compiled to stand for itself.
    let manifest = small(path, "['x86-64-v2', 'x86-64-v4', 'znver4', 'neoverse-n1', 'pulley64']");
    let third = release(&manifest, &output, &["--json"]).json();
    assert!(compiled(&third) <= 2, "{third}");
    assert_eq!(files(&output), fresh(&manifest, "fresh-3"));

    // It comes back.
    let manifest = small(path, wide);
    let fourth = release(&manifest, &output, &["--json"]).json();
    assert!(compiled(&fourth) <= 2, "{fourth}");
    assert_eq!(files(&output), fresh(&manifest, "fresh-4"));

    // Stored another way: nothing is compiled.
    let fifth = release(&manifest, &output, &["--json", "--compression", "none"]).json();
    assert_eq!(compiled(&fifth), 0, "{fifth}");
    assert_eq!(
        isomer_run().line("run --allow-unsigned --invoke clz32").arg(&output).line("numbers 1").ok().stdout(),
        "31\n"
    );
}

#[test]
fn predictions_match_the_compiler() {
    let all = scratch();
    let ran = release(&root().join("isomer.toml"), all.path(), &["--verify-collapse", "--json"]);
    assert_eq!(ran.code(), 0, "{ran}");
    let json = ran.json();
    let predicted =
        |json: &Value| json["cells"].as_array().unwrap().iter().filter(|cell| cell["predicted"] == true).count();
    let right = predicted(&release(&root().join("isomer.toml"), examples(), &["--json"]).json());
    assert!(right > 50, "predictions spare hardly anything: {right}");
    assert_eq!(json["predictions"]["right"], right);
    assert_eq!(json["predictions"]["wrong"], Value::Array(Vec::new()));
    assert_eq!(files(all.path()), files(examples()), "the same release whether predictions are used or not");
}

/// A prediction in an earlier release is no measurement: what it was made for is compiled when it has to stand alone.
#[test]
fn predictions_are_never_reported_as_measured() {
    let directory = scratch();
    let output = directory.path().join("dist");
    let manifest = small(directory.path(), "['x86-64-v3', 'x86-64-v4', 'sapphire-rapids']");
    release(&manifest, &output, &[]);
    let text = contents(&output).into_values().filter(|bytes| bytes.starts_with(b"{"));
    let marks: usize = text.map(|bytes| String::from_utf8(bytes).unwrap().matches(r#""predicted":true"#).count()).sum();
    let json = release(&manifest, &output, &["--json"]).json();
    let predicted = json["cells"].as_array().unwrap().iter().filter(|cell| cell["predicted"] == true).count();
    assert!(predicted > 0 && marks == predicted, "{marks}: {json}");
    // All is compiled that was not: nothing of the earlier release passes for it.
    let json = release(&manifest, &output, &["--json", "--verify-collapse"]).json();
    assert_eq!((compiled(&json), &json["predictions"]["right"]), (predicted, &Value::from(predicted)), "{json}");
}

#[test]
fn a_damaged_blob_is_rebuilt() {
    let directory = scratch();
    let manifest = small(directory.path(), "['x86-64-v3', 'pulley64']");
    let output = directory.path().join("dist");
    release(&manifest, &output, &[]);
    let before = files(&output);
    let (largest, _) = before.iter().max_by_key(|(path, _)| fs::metadata(output.join(path)).unwrap().len()).unwrap();
    let mut bytes = fs::read(output.join(largest)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(output.join(largest), bytes).unwrap();
    let again = release(&manifest, &output, &[]);
    assert_eq!(again.code(), 0, "{again}");
    assert!(again.stderr().contains("warning:"), "{again}");
    assert_eq!(files(&output), before);
}

#[test]
fn a_failed_cell_leaves_the_old_release_as_it_was() {
    let directory = scratch();
    let manifest = small(directory.path(), "['x86-64-v3', 'pulley64']");
    let output = directory.path().join("dist");
    release(&manifest, &output, &[]);
    let before = files(&output);
    fs::write(directory.path().join("matmul.wasm"), b"\0asm\x01\0\0\0\x0a\x01").unwrap();
    let failed = release(&manifest, &output, &[]);
    assert_eq!(failed.code(), 1, "{failed}");
    assert_eq!(files(&output), before);
}

#[test]
fn equal_code_is_stored_once_under_the_narrowest_requirements() {
    let json = isomer().arg("inspect").arg(examples()).arg("--json").ok().json();
    let module = json.as_array().unwrap().iter().find(|module| module["reference"] == "numbers:0.1.0").unwrap();
    let variants = module["variants"].as_array().unwrap();
    let serves = |target: &str| -> Vec<String> {
        let variant = variants.iter().find(|variant| variant["config"]["target"] == target);
        let served =
            variant.unwrap_or_else(|| panic!("{target} is not shipped"))["config"]["serves"].as_array().unwrap();
        served.iter().map(|served| served["target"].as_str().unwrap().to_owned()).collect()
    };
    // Scalar code has no use for AVX-512 or for Arm's dot products.
    let v3 = serves("x86-64-v3");
    assert!(
        ["x86-64-v4", "icelake-server", "znver4", "sapphire-rapids"]
            .iter()
            .all(|name| v3.contains(&(*name).to_owned())),
        "{v3:?}"
    );
    // Every target is served exactly once.
    let all: Vec<_> =
        variants.iter().flat_map(|variant| serves(variant["config"]["target"].as_str().unwrap())).collect();
    assert_eq!(all.len(), 20, "{all:?}");
}

#[test]
fn inexpressible_cells_are_reported_and_left_out() {
    let again = release_examples(examples()).stdout();
    assert!(
        again.contains("uses SIMD; Cranelift generates it for riscv64 only with the vector extension `v`"),
        "{again}"
    );
    assert!(again.contains("uses threads; Pulley cannot access shared memory"), "{again}");
    assert!(again.contains("threads: pulley64, pulley64be"), "{again}");
}

#[test]
fn sha256sum_agrees() {
    let ran = program("sha256sum").line("--check --strict --quiet SHA256SUMS").dir(examples()).ok();
    assert_eq!(ran.stdout(), "");
    let listed = fs::read_to_string(examples().join("SHA256SUMS")).unwrap().lines().count();
    assert_eq!(listed + 1, files(examples()).len(), "every file but SHA256SUMS itself is listed");
}

#[test]
fn skopeo_reads_and_copies_it() {
    if !has_program("skopeo") {
        return skip("skopeo_reads_and_copies_it", "skopeo is not installed");
    }
    let copy = scratch();
    let json = isomer().arg("inspect").arg(examples()).arg("--json").ok().json();
    for module in json.as_array().unwrap() {
        let reference = module["reference"].as_str().unwrap();
        let source = format!("oci:{}:{reference}", examples().display());
        let raw = program("skopeo").args(["inspect", "--raw", &source]).ok();
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&raw.output.stdout)));
        assert_eq!(digest, module["digest"], "{reference}");
        let index = raw.json();
        assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
        let target = format!("oci:{}:{reference}", copy.path().display());
        program("skopeo").args(["copy", "--quiet", "--all", "--preserve-digests", &source, &target]).ok();
        let copied = program("skopeo").args(["inspect", "--raw", &target]).ok();
        assert_eq!(copied.output.stdout, raw.output.stdout, "{reference}");
        let wasm = format!("{source}-wasm");
        let manifest = program("skopeo").args(["inspect", "--raw", &wasm]).ok().json();
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json", "{reference}");
        assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm", "{reference}");
    }
    // The copy is a release like any other.
    let ran = isomer_run().line("run --allow-unsigned").arg(copy.path()).arg("sha256").stdin("abc").ok();
    assert!(ran.stdout().starts_with("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), "{ran}");
}
