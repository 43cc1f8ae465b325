//! Versions of one module that answers HTTP requests, and a server's store with them. In: what each version answers. Out:
//! calls of `isomer-run` on that store, and a server of it. Never here: a registry.

use super::{Served, alter, profile, serve};
use crate::{Call, copy, isomer, isomer_run, scratch, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The first version, `GET /hello` of which gives `first`.
pub const ONE: &str = "1.0.0";
/// The second, which gives `later`.
pub const TWO: &str = "2.0.0";
/// One that traps at `/echo`, where the others give back what they are sent; it says `wrong`.
pub const FAULTY: &str = "3.0.0";

/// Signed releases of the module `hello`, and a store in which [`ONE`] is active and the others are installed.
pub struct Versions {
    directory: TempDir,
}

impl Default for Versions {
    fn default() -> Versions {
        Versions::new()
    }
}

impl Versions {
    /// Installs all of them.
    pub fn new() -> Versions {
        let versions = Versions::in_releases();
        [FAULTY, TWO, ONE].iter().for_each(|version| versions.pull(version));
        versions
    }

    /// The releases alone; the store is to be made.
    pub fn in_releases() -> Versions {
        static MADE: OnceLock<TempDir> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let directory = scratch();
            release_all(directory.path());
            directory
        });
        let directory = scratch();
        copy(made.path(), directory.path());
        Versions { directory }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// A call of `isomer-run` with the store.
    pub fn call(&self, line: &str) -> Call {
        isomer_run().line(line).dir(self.path()).env("ISOMER_STORE", self.store())
    }

    /// Installs a version and makes it the active one.
    #[track_caller]
    pub fn pull(&self, version: &str) {
        self.call(&format!("pull oci-dir:{version}:hello --key farm.pub --activate")).ok();
    }

    /// Makes one more version, of this module, and installs it, without making it the active one.
    #[track_caller]
    pub fn add(&self, version: &str, module: &[u8]) {
        release(self.path(), version, module);
        self.call(&format!("pull oci-dir:{version}:hello --key farm.pub")).ok();
    }

    /// Makes an installed version the active one.
    #[track_caller]
    pub fn activate(&self, version: &str) {
        self.call(&format!("activate hello:{version}")).ok();
    }

    /// Serves `hello`, and what becomes active of it.
    #[track_caller]
    pub fn serve(&self, options: &str) -> Served {
        let options = format!("serve --addr 127.0.0.1:0 --watch {options} hello");
        serve(self.call(&options), scratch())
    }

    /// The installed artifact of a version.
    pub fn artifact(&self, version: &str) -> PathBuf {
        let rows = self.call("list --json").ok().json();
        let row = rows.as_array().unwrap().iter().find(|row| row["reference"] == format!("hello:{version}"));
        let digest = row.unwrap()["artifact"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        self.store().join("artifacts").join(format!("{digest}.cwasm"))
    }

    /// The versions that `isomer-run list` shows as live, in order.
    pub fn live(&self) -> Vec<String> {
        let rows = self.call("list --json").ok().json();
        let live = rows.as_array().unwrap().iter().filter(|row| row["live"] == true);
        let versions = live.map(|row| row["reference"].as_str().unwrap().trim_start_matches("hello:").to_owned());
        versions.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Served {
    /// Waits until `GET /hello` gives this line.
    #[track_caller]
    pub fn wait_for_version(&self, line: &str) {
        let says = || self.get("/hello").text() == format!("{line}\n");
        wait_until(&format!("the server says {line}:\n{}", self.log()), says);
    }
}

/// Makes the three releases and their key.
fn release_all(directory: &Path) {
    fs::write(directory.join("served.toml"), profile()).unwrap();
    isomer().line("keygen -o farm").dir(directory).ok();
    for (version, texts) in [
        (ONE, &[("hello\n", "first\n")][..]),
        (TWO, &[("hello\n", "later\n")]),
        (FAULTY, &[("hello\n", "wrong\n"), ("/echo", "/trap"), ("/trap", "/echo")]),
    ] {
        release(directory, version, &alter("proxy", texts));
    }
}

/// Makes a release of this module, in the directory that its version names.
fn release(directory: &Path, version: &str, module: &[u8]) {
    fs::write(directory.join("hello.wasm"), module).unwrap();
    let manifest = format!(
        "[release]\nname = 'r'\nversion = '{version}'\ntargets = ['served.toml']\n[[module]]\npath = 'hello.wasm'\n"
    );
    fs::write(directory.join("isomer.toml"), manifest).unwrap();
    isomer().line(&format!("release -o {version} --sign farm.key")).dir(directory).ok();
}
