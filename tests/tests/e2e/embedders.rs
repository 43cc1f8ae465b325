//! Programs that embed wasmtime in its default configuration: what `check --config` says of an artifact, and what they do.
//! The Python program is the one in `docs/embedders.md`.

use isomer_testing::python;
use isomer_tests::native::native;
use isomer_tests::{Ran, guest, isomer, isomer_run, program, root, scratch, skip, upstream};
use std::fs;
use std::path::{Path, PathBuf};

/// The newest of this major on PyPI.
const WASMTIME_PY: &str = "wasmtime==48.0.0";

/// The directory of wasmtime-py.
fn wasmtime_py() -> Result<PathBuf, String> {
    let directory = root().join("target/tools").join(WASMTIME_PY.replace("==", "-py-"));
    python::install(&["--no-deps", "--only-binary", ":all:", WASMTIME_PY], &directory)?;
    Ok(directory)
}

/// The program in the page, as it is printed.
fn snippet() -> String {
    let page = fs::read_to_string(root().join("docs/embedders.md")).unwrap();
    let (_, block) = page.split_once("```python\n").expect("the page has a program");
    block.split_once("```").expect("the program ends").0.to_owned()
}

/// Runs the page's program with another artifact instead of the page's.
fn python(packages: &Path, directory: &Path, artifact: &str) -> Ran {
    let program_text = snippet();
    assert_eq!(program_text.matches(PAGE).count(), 1, "the page names its artifact");
    let interpreter = python::interpreter().unwrap();
    let call = program(interpreter).args(["-c", &program_text.replace(PAGE, artifact)]);
    call.env("PYTHONPATH", packages).dir(directory).run()
}

/// What the page's program loads.
const PAGE: &str = "numbers.x86-64-v3+default.cwasm";

fn compile(directory: &Path, module: &str, overlays: &str) -> String {
    let target = format!("{}{overlays}", native().baseline);
    isomer().arg("compile").arg(guest(module)).args(["-t", &target, "--out-dir"]).arg(directory).ok();
    let sorted = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let prefix = format!("{module}.{}", native().baseline);
    let mut found: Vec<_> = sorted
        .filter(|name| name.starts_with(&prefix) && name.matches('+').count() == overlays.matches('+').count())
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// What the check says is what the embedder does.
#[test]
fn python_loads_what_the_check_says_it_loads() {
    let packages = match wasmtime_py() {
        Ok(packages) => packages,
        Err(error) => {
            return skip(
                "python_loads_what_the_check_says_it_loads",
                &format!("wasmtime-py is not installed: {error}"),
            );
        }
    };
    for (overlays, loads) in [
        ("", false),
        ("+default", true),
        ("+portable-collector", true),
        ("+epoch", false),
        ("+portable-collector+fuel", false),
        ("+debug+portable-collector", false),
    ] {
        let directory = scratch();
        let artifact = compile(directory.path(), "numbers", overlays);
        let path = directory.path().join(&artifact);
        let checked = isomer_run().arg("check").arg(&path).args(["--config", "c-api"]).run();
        assert_eq!(checked.code(), i32::from(!loads), "{artifact}: {checked}");
        let ran = python(&packages, directory.path(), &artifact);
        assert_eq!(ran.code(), i32::from(!loads), "{artifact}: {ran}");
        if loads {
            assert_eq!(ran.stdout(), "8\n", "{artifact}");
        }
    }
    let directory = scratch();
    let artifact = compile(directory.path(), "adder", "+default");
    let load =
        "import sys, wasmtime, wasmtime.component as c; c.Component.deserialize_file(wasmtime.Engine(), sys.argv[1])";
    let call = program(python::interpreter().unwrap()).args(["-c", load, &artifact]);
    call.env("PYTHONPATH", &packages).dir(directory.path()).ok();
}

#[test]
fn one_artifact_loads_into_every_engine_of_default_configuration() {
    let directory = scratch();
    let artifact = compile(directory.path(), "sha256", "+default");
    let path = directory.path().join(&artifact);
    let checked = isomer_run().arg("check").arg(&path).args(["--config", "default"]).ok();
    for embedder in ["the Rust crate", "the C API"] {
        assert!(checked.stdout().contains(embedder), "{checked}");
    }
    let ours = isomer_run().line("run --allow-unsigned").arg(&path).stdin("abc").ok();
    assert!(ours.stdout().starts_with("ba7816bf"), "{ours}");
    let Some(wasmtime) = upstream() else {
        return skip(
            "one_artifact_loads_into_every_engine_of_default_configuration",
            "upstream's wasmtime is not installed",
        );
    };
    let theirs = program(wasmtime).args(["run", "--allow-precompiled"]).arg(&path).stdin("abc").ok();
    assert!(theirs.stdout().starts_with("ba7816bf"), "{theirs}");
}

#[test]
fn the_check_names_every_setting_and_the_overlay_that_helps() {
    let directory = scratch();
    let artifact = compile(directory.path(), "sha256", "+epoch+fuel");
    let check = |options: &[&str]| isomer_run().dir(directory.path()).arg("check").arg(&artifact).args(options).run();
    assert_eq!(check(&[]).code(), 0, "it loads here");
    let ran = check(&["--config", "default"]);
    assert_eq!(ran.code(), 1, "{ran}");
    for words in ["the C API", "`collector` is copying", "`fuel` is true", "`epoch-interruption` is true", "+default"] {
        assert!(ran.stderr().contains(words), "no {words}: {ran}");
    }
    let json = check(&["--config", "default", "--json"]);
    assert_eq!(json.code(), 1);
    let json = json.json();
    assert_eq!((&json["loads"], &json["embedders"][0]["loads"]), (&true.into(), &false.into()), "{json}");
    let ran = check(&["--config", "ruby"]);
    assert!(ran.code() == 2 && ran.stderr().contains("expected `default`, `rust` or `c-api`"), "{ran}");
    // A module that uses GC has no form without a collector.
    let ran = isomer().dir(directory.path()).arg("compile").arg(guest("gc")).args(["-t", "x86-64-v3+default"]).fails();
    assert!(ran.stderr().contains("leave out the overlay `default`"), "{ran}");
}
