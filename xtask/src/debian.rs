//! Debian packages of other releases and architectures, downloaded and unpacked into a directory of their own: apt is
//! given lists, a state and a cache there, and the system's are never touched.

use anyhow::{Context, Result, ensure};
use isomer_testing::has_program;
use isomer_testing::shell::{first_line, read, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// apt with its own idea of which packages there are.
pub(crate) struct Apt {
    directory: PathBuf,
    architectures: Vec<String>,
}

/// QEMU 10, which Debian 12 has in its backports: in 7.2, the one it came with, every signal that wasmtime handles in
/// `qemu-x86_64` dies or loops, and a reservation of 4 GiB takes a hundred times as long.
const QEMU_SUITE: &str = "bookworm-backports";

/// The emulators' programs by architecture, unpacked on the first call.
pub(crate) fn emulators(directory: &Path, architectures: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let unpacked = directory.join("qemu");
    if !unpacked.exists() {
        let apt = Apt::with(&directory.join("apt-qemu"), &[(QEMU_SUITE, &["amd64"])])?;
        let packages = apt.download(&[format!("qemu-user:amd64/{QEMU_SUITE}")])?;
        let partial = directory.join("qemu.partial");
        let _ = fs::remove_dir_all(&partial);
        packages.iter().try_for_each(|package| unpack(package, &partial))?;
        fs::rename(&partial, &unpacked)?;
    }
    let emulator = |arch: &&str| {
        let path = unpacked.join("usr/bin").join(format!("qemu-{arch}"));
        let version = first_line(Command::new(&path).arg("--version"))?;
        let major = version.split_whitespace().filter_map(|word| word.split('.').next()?.parse::<u32>().ok()).next();
        ensure!(major >= Some(10), "{} says `{version}`; expected 10 or later", path.display());
        Ok(((*arch).to_owned(), path))
    };
    architectures.iter().map(emulator).collect()
}

impl Apt {
    /// Reads the lists of these suites, each for these architectures.
    pub(crate) fn with(directory: &Path, suites: &[(&str, &[&str])]) -> Result<Apt> {
        ensure!(has_program("apt-get"), "no `apt-get` on this machine: it is not a Debian");
        let mirror = mirror()?;
        for part in ["lists/partial", "cache/archives/partial", "state", "sources.d", "packages"] {
            fs::create_dir_all(directory.join(part))?;
        }
        fs::write(directory.join("status"), "")?;
        let source = |(suite, architectures): &(&str, &[&str])| {
            format!(
                "Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nArchitectures: {}\nTargets: Packages\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n",
                architectures.join(" ")
            )
        };
        fs::write(directory.join("sources.d/suites.sources"), suites.iter().map(source).collect::<String>())?;
        let architectures = suites.iter().flat_map(|(_, of)| of.iter().map(|arch| (*arch).to_owned())).collect();
        let apt = Apt { directory: directory.to_owned(), architectures };
        // Suites that move are sometimes read in the middle of a change.
        let update = || run(apt.call("apt-get").arg("update"));
        update().or_else(|_| update())?;
        Ok(apt)
    }

    /// `apt-get` or `apt-cache`, in its own directory.
    pub(crate) fn call(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |key: &str, value: &dyn std::fmt::Display| {
            command.arg("-o").arg(format!("{key}={value}"));
        };
        let directory = self.directory.display();
        option("Dir::Etc::sourcelist", &"/dev/null");
        option("Dir::Etc::sourceparts", &format!("{directory}/sources.d"));
        option("Dir::Etc::preferencesparts", &"/dev/null");
        option("Dir::State", &format!("{directory}/state"));
        option("Dir::State::lists", &format!("{directory}/lists"));
        option("Dir::State::status", &format!("{directory}/status"));
        option("Dir::Cache", &format!("{directory}/cache"));
        option("APT::Architecture", &"amd64");
        self.architectures.iter().for_each(|arch| option("APT::Architectures::", arch));
        option("APT::Sandbox::User", &"root");
        option("APT::Update::Post-Invoke-Success::", &"");
        command.arg("-qq");
        command
    }

    /// Downloads the packages; the files.
    pub(crate) fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let into = self.directory.join("packages");
        run(self.call("apt-get").arg("download").args(packages).current_dir(&into))?;
        let files = packages_in(&into)?;
        ensure!(files.len() >= packages.len(), "{} of {} packages came", files.len(), packages.len());
        Ok(files)
    }

    /// Downloads what apt would install on an empty machine for these, and unpacks it: a system to be entered. No
    /// package's own scripts are run.
    pub(crate) fn unpack_system(&self, packages: &[&str], into: &Path) -> Result<()> {
        let mut install = self.call("apt-get");
        run(install
            .args(["install", "--yes", "--download-only", "--no-install-recommends", "base-files"])
            .args(packages))?;
        let mut files = packages_in(&self.directory.join("cache/archives"))?;
        // `base-files` makes /lib a link to /usr/lib: whatever came before it would make a directory of that.
        files.sort_by_key(|file| {
            !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("base-files_"))
        });
        fs::create_dir_all(into)?;
        files.iter().try_for_each(|file| unpack(file, into))
    }

    /// What the package depends on, and what that does, down to the last: names without an architecture.
    pub(crate) fn closure(&self, package: &str) -> Result<Vec<String>> {
        let mut depends = self.call("apt-cache");
        depends.args(["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks"]);
        let printed = read(depends.args(["--no-replaces", "--no-enhances", package]))?;
        let named = |line: &&str| line.starts_with(|first: char| first.is_ascii_lowercase()) && !line.contains(':');
        let mut names: Vec<_> = printed.lines().filter(named).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn packages_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    Ok(files)
}

/// Where this machine's apt gets its packages from: the other suites lie beside its own.
fn mirror() -> Result<String> {
    let files = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let mirrors = texts.flat_map(|text| text.lines().filter_map(address).collect::<Vec<_>>());
    mirrors.into_iter().next().with_context(|| format!("neither {} names a mirror of Debian", files.join(" nor ")))
}

/// The address in a line of either format of apt's sources.
fn address(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    (first == "URIs:" || first == "deb").then(|| words.find(|word| word.contains("://"))).flatten().map(str::to_owned)
}

/// Unpacks a package into `into`.
pub(crate) fn unpack(package: &Path, into: &Path) -> Result<()> {
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_found_in_both_formats() {
        assert_eq!(address("URIs: http://mirror.example/debian"), Some("http://mirror.example/debian".to_owned()));
        let old = "deb [signed-by=/x.gpg] https://mirror.example/debian bookworm main";
        assert_eq!(address(old), Some("https://mirror.example/debian".to_owned()));
        assert_eq!(address("# deb http://mirror.example/debian bookworm main"), None);
        assert_eq!(address(""), None);
    }
}
