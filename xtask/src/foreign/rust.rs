//! A Rust compiler with a foreign architecture's standard library: the one in use where it has it, else the one of
//! Debian's next release, whose `libstd-rust-dev` comes for every architecture. Unpacked, not installed.

use super::{FOREIGN, Foreign};
use crate::debian::{Apt, unpack};
use anyhow::{Context, Result, ensure};
use isomer_testing::root;
use isomer_testing::shell::{first_line, read, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release that Debian works on: its compiler is a month or two old.
const SUITE: &str = "forky";

/// `rustc` for the architecture; none where cargo's own will do.
pub(super) fn compiler_for(foreign: &Foreign, directory: &Path) -> Result<Option<PathBuf>> {
    let library = read(Command::new("rustc").args(["--print", "target-libdir", "--target", foreign.triple]))?;
    if Path::new(library.trim()).is_dir() {
        return Ok(None);
    }
    let rustc = directory.join("rust/rustc");
    if !rustc.exists() {
        install(directory)?;
    }
    check_version(&rustc)?;
    Ok(Some(rustc))
}

fn install(directory: &Path) -> Result<()> {
    let architectures: Vec<_> = ["amd64"].into_iter().chain(FOREIGN.iter().map(|foreign| foreign.debian)).collect();
    let apt = Apt::with(&directory.join("apt-rust"), &[(SUITE, &architectures)])?;
    let shown = read(apt.call("apt-cache").args(["show", "libstd-rust-dev:amd64"]))?;
    let library = shown.lines().find_map(|line| {
        let depends = line.strip_prefix("Depends: ")?;
        depends.split(", ").map(|one| one.split(' ').next().unwrap_or(one)).find(|one| one.starts_with("libstd-rust-"))
    });
    let library = library.with_context(|| format!("Debian {SUITE}'s libstd-rust-dev names no libstd-rust"))?;
    let mut packages = vec!["rustc:amd64".to_owned()];
    packages.extend(architectures.iter().map(|arch| format!("libstd-rust-dev:{arch}")));
    // What the compiler links with, its C library too; nothing that configures a system.
    let needless = ["debconf", "libc-gconv", "libc6-udeb", "perl"];
    let needed = apt.closure(&format!("{library}:amd64"))?.into_iter();
    let needed = needed.filter(|name| !needless.iter().any(|other| name.starts_with(other)));
    packages.extend(needed.map(|name| format!("{name}:amd64")));
    let files = apt.download(&packages)?;
    let (partial, whole) = (directory.join("rust.partial"), directory.join("rust"));
    let _ = fs::remove_dir_all(&partial);
    files.iter().try_for_each(|file| unpack(file, &partial))?;
    let start = partial.join("rustc");
    fs::write(&start, START)?;
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755))?;
    fs::rename(&partial, &whole).with_context(|| format!("could not rename the download to {}", whole.display()))?;
    // 80 MB that are not needed again.
    fs::remove_dir_all(directory.join("apt-rust"))?;
    run(Command::new(whole.join("rustc")).arg("--version").stdout(std::process::Stdio::null()))
}

/// The compiler brings its own C library: that of the machine is older.
const START: &str = r#"#!/bin/sh
usr=$(cd "$(dirname "$0")" && pwd)/usr
libraries=$usr/lib/x86_64-linux-gnu
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" --argv0 rustc "$usr/bin/rustc" --sysroot "$usr" "$@"
"#;

/// Whether it builds this workspace.
fn check_version(rustc: &Path) -> Result<()> {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml"))?.parse()?;
    let needed = manifest["workspace"]["package"]["rust-version"].as_str().context("the workspace says its Rust")?;
    let printed = first_line(Command::new(rustc).arg("--version"))?;
    let found = printed.split(' ').nth(1).unwrap_or_default();
    let numbers = |version: &str| version.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>();
    ensure!(numbers(found)? >= numbers(needed)?, "Debian {SUITE} has Rust {found}; expected {needed} or later");
    Ok(())
}
