//! What the workspace's packages depend on. In: `cargo metadata`. Out: each dependency that the architecture does not
//! allow, whether it is for the code, for tests or for a build script, and what a package lacks to be published. Never
//! here: what dependencies depend on; `tests/tests/e2e/linkage.rs` looks at that.

use anyhow::{Context, Result};
use isomer_testing::root;
use isomer_testing::shell::{cargo, read};
use serde::Deserialize;
use std::path::PathBuf;

/// What a package may depend on and must not.
struct Rule {
    package: &'static str,
    /// The workspace's packages.
    may: &'static [&'static str],
    /// More of them, for its tests.
    tests_may: &'static [&'static str],
    /// Crates from elsewhere that would break what the architecture promises of it.
    never: &'static [&'static str],
}

/// Command lines, and what writes to a terminal.
const TERMINAL: [&str; 6] = ["anstream", "anstyle", "clap", "clap_complete", "indicatif", "tracing-subscriber"];

const TESTING: &str = "isomer-testing";

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { package: "isomer-contract", may: &[], tests_may: &[TESTING], never: &["reqwest", "rustix", "tokio", "wasmtime-wasi"] },
    Rule { package: "isomer-file", may: &["isomer-contract"], tests_may: &[], never: &["reqwest", "tokio", "wasmtime"] },
    Rule { package: "isomer-layout", may: &["isomer-contract", "isomer-file"], tests_may: &[TESTING], never: &["reqwest", "tokio", "wasmtime"] },
    Rule { package: "isomer-trust", may: &["isomer-contract", "isomer-file"], tests_may: &[TESTING], never: &["reqwest", "tokio", "wasmtime"] },
    Rule { package: "isomer-registry", may: &["isomer-contract", "isomer-file", "isomer-layout"], tests_may: &[TESTING], never: &["wasmtime"] },
    Rule { package: "isomer-remote", may: &["isomer-contract", "isomer-file"], tests_may: &[TESTING], never: &["wasmparser", "wasmtime"] },
    Rule { package: "isomer-terminal", may: &["isomer-contract"], tests_may: &[], never: &["wasmtime"] },
    Rule {
        package: "isomer-compile",
        may: &["isomer-contract", "isomer-file", "isomer-layout", "isomer-remote", "isomer-trust"],
        tests_may: &[TESTING],
        never: &["reqwest", "wasmtime-wasi"],
    },
    Rule {
        package: "isomer",
        may: &["isomer-compile", "isomer-contract", "isomer-file", "isomer-layout", "isomer-registry", "isomer-remote", "isomer-terminal", "isomer-trust"],
        tests_may: &[TESTING],
        never: &["wasmtime-wasi"],
    },
    Rule {
        package: "isomer-runtime",
        may: &["isomer-contract", "isomer-file", "isomer-layout", "isomer-trust"],
        tests_may: &[TESTING],
        never: &["reqwest", "tokio", "wasmtime-wasi"],
    },
    Rule {
        package: "isomer-store",
        may: &["isomer-contract", "isomer-file", "isomer-layout", "isomer-runtime", "isomer-trust"],
        tests_may: &[TESTING],
        never: &["reqwest", "tokio", "wasmtime-wasi"],
    },
    Rule { package: "isomer-guest", may: &["isomer-contract", "isomer-file", "isomer-runtime"], tests_may: &[TESTING], never: &["reqwest"] },
    Rule {
        package: "isomer-run",
        may: &[
            "isomer-contract", "isomer-guest", "isomer-layout", "isomer-registry", "isomer-runtime", "isomer-store",
            "isomer-terminal", "isomer-trust",
        ],
        tests_may: &[TESTING],
        never: &["cranelift-codegen"],
    },
    Rule { package: TESTING, may: &[], tests_may: &[], never: &["wasmtime"] },
    Rule { package: "isomer-loader", may: &["isomer-contract", TESTING], tests_may: &[], never: &[] },
    Rule { package: "isomer-tests", may: &[TESTING], tests_may: &[], never: &["wasmtime"] },
    Rule { package: "isomer-conformance", may: &[TESTING, "isomer-tests"], tests_may: &[], never: &["wasmtime"] },
    Rule { package: "xtask", may: &[TESTING], tests_may: &[], never: &["wasmparser", "wasmtime", "wat"] },
    Rule { package: "xtask-guests", may: &[TESTING], tests_may: &[], never: &["wasmtime"] },
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    pub(super) targets: Vec<Target>,
    /// The registries that it may be published to: any when there is no list.
    publish: Option<Vec<String>>,
    description: Option<String>,
    #[serde(default)]
    keywords: Vec<String>,
}

/// What cargo builds of a package.
#[derive(Deserialize)]
pub(super) struct Target {
    pub(super) kind: Vec<String>,
    pub(super) src_path: PathBuf,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or none.
    kind: Option<String>,
    req: String,
    path: Option<PathBuf>,
}

impl Package {
    /// Its directory, from the root of the checkout.
    pub(super) fn directory(&self) -> PathBuf {
        let directory = self.manifest_path.parent().unwrap_or(&self.manifest_path);
        directory.strip_prefix(root()).unwrap_or(directory).to_owned()
    }

    /// Whether it may be published.
    pub(super) fn is_published(&self) -> bool {
        self.publish.is_none()
    }

    /// Whether it is one that others build on: no program, and not for tests.
    pub(super) fn is_library(&self) -> bool {
        self.is_published() && self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "lib"))
    }
}

/// The packages of the workspace.
pub(super) fn workspace() -> Result<Vec<Package>> {
    let mut cargo = cargo();
    cargo.args(["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    let metadata: Metadata = serde_json::from_str(&read(&mut cargo)?).context("cargo metadata")?;
    Ok(metadata.packages)
}

/// What is wrong with a package's dependencies.
pub(super) fn edges(package: &Package) -> Vec<String> {
    let Some(rule) = RULES.iter().find(|rule| rule.package == package.name) else {
        return vec![format!("{} is in no row of RULES in {}", package.name, file!())];
    };
    let mut problems = Vec::new();
    for dependency in &package.dependencies {
        let (name, is_dev) = (dependency.name.as_str(), dependency.kind.as_deref() == Some("dev"));
        let is_ours = dependency.path.is_some();
        let allowed = rule.may.contains(&name) || is_dev && rule.tests_may.contains(&name);
        if is_ours && !allowed {
            let what = if is_dev { "tests of " } else { "" };
            problems.push(format!("{what}{} depend on {name}, which the architecture does not allow", package.name));
        }
        let in_library = package.is_library() && TERMINAL.contains(&name) && package.name != "isomer-terminal";
        if !is_dev && (rule.never.contains(&name) || in_library) {
            problems.push(format!("{} depends on {name}, which the architecture does not allow", package.name));
        }
    }
    problems
}

/// What a package lacks to be published.
pub(super) fn publication(package: &Package) -> Vec<String> {
    if !package.is_published() {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if package.description.is_none() {
        problems.push("description".to_owned());
    }
    if package.keywords.is_empty() {
        problems.push("keywords".to_owned());
    }
    // A dependency for tests may have no version: `cargo package` leaves it out then.
    let unversioned = package.dependencies.iter().filter(|it| it.path.is_some() && it.req == "*");
    problems.extend(
        unversioned.filter(|it| it.kind.as_deref() != Some("dev")).map(|it| format!("a version of {}", it.name)),
    );
    problems.iter().map(|what| format!("{} is published and lacks {what}", package.name)).collect()
}
