//! What the binaries are made of: no compiler in `isomer-run`, one version and one feature list of wasmtime.

use isomer_tests::{program, root};

/// Features that add the compiler, and change nothing else.
const ONLY_COMPILERS: [&str; 4] = ["all-arch", "cranelift", "incremental-cache", "parallel-compilation"];

fn tree(line: &str) -> String {
    program(env!("CARGO")).line(line).dir(root()).ok().stdout()
}

#[test]
fn isomer_run_links_no_compiler() {
    let run = tree("tree --locked --package isomer-run --edges normal --prefix none");
    assert!(run.contains("wasmtime v48."), "{run}");
    for compiler in [
        "cranelift-codegen ",
        "cranelift-frontend ",
        "wasmtime-internal-cranelift ",
        "wasmtime-internal-winch ",
        "isomer-compile ",
    ] {
        assert!(!run.lines().any(|line| line.starts_with(compiler)), "isomer-run links {compiler}");
    }
    let compile = tree("tree --locked --package isomer --edges normal --prefix none");
    assert!(
        compile.lines().any(|line| line.starts_with("cranelift-codegen ")),
        "the check above looks for the right name"
    );
}

/// What the library of the run side must do without: an embedder brings its own, or wants none.
const NOT_FOR_EMBEDDERS: [&str; 11] = [
    "clap ",
    "cranelift-codegen ",
    "hyper ",
    "indicatif ",
    "isomer-registry ",
    "isomer-terminal ",
    "reqwest ",
    "rustls ",
    "tokio ",
    "tracing-subscriber ",
    "wasmtime-wasi ",
];

#[test]
fn the_runtime_library_links_nothing_that_an_embedder_does_not_need() {
    let links = |package: &str, name: &str| {
        let tree = tree(&format!("tree --locked --package {package} --edges normal --prefix none"));
        tree.lines().any(|line| line.starts_with(name))
    };
    for name in NOT_FOR_EMBEDDERS {
        assert!(!links("isomer-runtime", name), "isomer-runtime links {name}");
    }
    for name in NOT_FOR_EMBEDDERS.into_iter().filter(|name| *name != "cranelift-codegen ") {
        assert!(links("isomer-run", name), "the check above looks for the right name: {name}");
    }
    for name in ["clap ", "isomer-registry ", "isomer-terminal ", "reqwest ", "tokio ", "wasmtime-wasi "] {
        assert!(!links("isomer-store", name), "isomer-store links {name}");
    }
}

#[test]
fn both_sides_have_the_same_wasmtime() {
    let features = |package: &str| {
        let tree =
            tree(&format!("tree --locked --package {package} --edges normal --prefix none --format {{p}}|{{f}}"));
        let line =
            tree.lines().find(|line| line.starts_with("wasmtime v")).unwrap_or_else(|| panic!("{tree}")).to_owned();
        let (version, features) = line.split_once('|').unwrap();
        let features: Vec<_> = features.trim_end_matches(" (*)").split(',').map(str::to_owned).collect();
        (version.to_owned(), features)
    };
    let ((compile, mut with_compiler), (run, mut without)) = (features("isomer"), features("isomer-run"));
    assert_eq!(compile, run);
    with_compiler.retain(|feature| !ONLY_COMPILERS.contains(&feature.as_str()));
    // What only adds conversions.
    without.retain(|feature| feature != "anyhow");
    assert_eq!(with_compiler, without);
}
