//! A build farm's directory, and a server's beside it: modules, a manifest, releases, keys, a cache, a store. In: what a
//! test starts from. Out: calls of the two binaries there. Never here: anything that outlives the test.

mod release;
mod server;

use super::{Call, Ran, SECONDS, copy, guest, isomer, isomer_run, scratch, snapshot_settings_with};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The media type of a signature in a release.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What the guest `sha256` prints for `abc`.
pub const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// Targets for a manifest.
pub const FOUR: &str = "['x86-64-v2', 'x86-64-v3', 'neoverse-n1', 'pulley64']";
/// One target for every machine that tests run on.
const NATIVE: &str = "['x86-64-v1', 'aarch64', 'riscv64gc', 'z14']";
/// The interpreter, for either byte order.
const PULLEY: &str = "['pulley64', 'pulley64be']";

/// A directory, with `cache` for the cache and `store` for the store.
pub struct Farm {
    directory: TempDir,
}

impl Farm {
    /// With the modules `numbers`, `matmul` and `traps`.
    pub fn with_modules() -> Farm {
        let farm = Farm { directory: scratch() };
        for name in ["numbers", "matmul", "traps"] {
            farm.put(&format!("{name}.wasm"), fs::read(guest(name)).unwrap());
        }
        farm
    }

    /// With two signed releases of `sha256` and `sort`: `old` is 1.1.0 in native code, `new` is 1.2.0 for Pulley. Both
    /// are signed with the key `one`; there is a key `two`.
    pub fn two_releases() -> Farm {
        static MADE: OnceLock<TempDir> = OnceLock::new();
        Farm::copied(&MADE, |farm| {
            for key in ["one", "two"] {
                farm.isomer(&format!("keygen -o {key}")).ok();
            }
            for (name, counter, targets) in [("old", 1, NATIVE), ("new", 2, PULLEY)] {
                let version = format!("1.{counter}.0");
                farm.put("isomer.toml", manifest(&version, targets, &format!("counter = {counter}\n")));
                farm.isomer(&format!("release --sign one.key -o {name}")).ok();
            }
        })
    }

    /// With two signed releases of `sha256` and `sort` for native code and Pulley: `old` is 0.9.0 with the counter 1, `new`
    /// is 1.0.0 with the counter 2. Both are signed with the key `one`; there is a key `two`, of ECDSA.
    pub fn two_versions() -> Farm {
        static MADE: OnceLock<TempDir> = OnceLock::new();
        Farm::copied(&MADE, |farm| {
            farm.isomer("keygen -o one").ok();
            farm.isomer("keygen -o two --algorithm ecdsa-p256").ok();
            for (name, version, counter) in [("old", "0.9.0", 1), ("new", "1.0.0", 2)] {
                farm.put("isomer.toml", manifest_of_signed(version, &format!("counter = {counter}\n")));
                farm.isomer(&format!("release --sign one.key -o {name}")).ok();
            }
        })
    }

    /// With two releases, and `old`'s `sha256` in the store and active.
    pub fn with_store() -> Farm {
        let farm = Farm::two_releases();
        farm.call("pull oci-dir:old:sha256 --key one.pub --activate").ok();
        farm
    }

    /// With the unsigned release `dist` of `sha256` and `sort`, 1.4.0 with the counter 7, for native code and Pulley; and
    /// the keys `one`, `two` and `three`.
    pub fn unsigned() -> Farm {
        static MADE: OnceLock<TempDir> = OnceLock::new();
        Farm::copied(&MADE, |farm| {
            farm.put("isomer.toml", manifest("1.4.0", &everywhere(), "counter = 7\n"));
            farm.isomer("release").ok();
            farm.isomer("keygen -o one").ok();
            farm.isomer("keygen -o two --algorithm ecdsa-p256").ok();
            farm.isomer("keygen -o three").ok();
        })
    }

    /// The same, signed with the key `one`.
    pub fn signed() -> Farm {
        let farm = Farm::unsigned();
        farm.isomer("sign dist --key one.key").ok();
        farm
    }

    /// With the releases `unsigned` and `dist`, the latter signed with the key `one`, of `numbers` and `matmul`.
    pub fn to_push() -> Farm {
        static MADE: OnceLock<TempDir> = OnceLock::new();
        Farm::copied(&MADE, |farm| {
            let modules: String =
                ["numbers", "matmul"].map(|name| format!("[[module]]\npath = '{}'\n", guest(name).display())).concat();
            let targets = "['x86-64-v2', 'neoverse-n1', 'pulley64']";
            let release = format!("[release]\nname = 'r'\nversion = '1.4.0'\ntargets = {targets}\n{modules}");
            farm.put("isomer.toml", release);
            farm.isomer("keygen -o one").ok();
            farm.isomer("release -o unsigned").ok();
            farm.isomer("release -o dist --sign one.key").ok();
        })
    }

    /// A copy of a directory that is made once for all tests.
    fn copied(made: &'static OnceLock<TempDir>, make: impl FnOnce(&Farm)) -> Farm {
        let made = made.get_or_init(|| {
            let farm = Farm { directory: scratch() };
            make(&farm);
            let _ = fs::remove_dir_all(farm.cache());
            farm.directory
        });
        let farm = Farm { directory: scratch() };
        copy(made.path(), farm.path());
        farm
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    /// Writes a file.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    /// Writes the manifest of a release of modules that lie here.
    pub fn manifest(&self, targets: &str, modules: &[&str]) {
        let modules: String = modules.iter().map(|name| format!("[[module]]\npath = '{name}.wasm'\n")).collect();
        let text = format!("[release]\nname = 'r'\nversion = '1.0.0'\ntargets = {targets}\n{modules}");
        self.put("isomer.toml", text);
    }

    /// Writes `trust.toml`, a policy that trusts the key `one`: `top` stands before the key, `key` is more of it, `rest`
    /// comes after it.
    pub fn policy(&self, top: &str, key: &str, rest: &str) {
        self.put("trust.toml", format!("{top}\n[[key]]\nname = 'farm one'\nfile = 'one.pub'\n{key}\n{rest}\n"));
    }

    /// A call of `isomer` there, with the cache, and without the credentials of the user who runs the tests.
    pub fn isomer(&self, line: &str) -> Call {
        isomer().line(line).dir(self.path()).env("ISOMER_CACHE", self.cache()).env("DOCKER_CONFIG", self.path())
    }

    /// A call of `isomer-run` there, with the store, and `abc` as input.
    pub fn call(&self, line: &str) -> Call {
        let call = isomer_run().line(line).dir(self.path()).env("DOCKER_CONFIG", self.path());
        call.env("ISOMER_STORE", self.store()).stdin("abc")
    }

    /// The files of a kind in the cache.
    pub fn cached(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache().join("v1").join(kind)).into_iter().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with(".tmp-"));
        files.sort();
        files
    }

    /// What a person sees of a call.
    pub fn shown(&self, ran: &Ran) -> String {
        ran.shown(self.path())
    }
}

/// The targets of [`Farm::unsigned`].
fn everywhere() -> String {
    format!("{}, {}", NATIVE.trim_end_matches(']'), PULLEY.trim_start_matches('['))
}

/// The manifest of [`Farm::unsigned`]; `more` is added to its table `[release]`.
pub fn manifest_of_signed(version: &str, more: &str) -> String {
    manifest(version, &everywhere(), more)
}

/// A manifest of `sha256` and `sort`.
fn manifest(version: &str, targets: &str, more: &str) -> String {
    let module = |name| format!("[[module]]\npath = '{}'\n", guest(name).display());
    let modules = module("sha256") + &module("sort");
    format!("[release]\nname = 'acme'\nversion = '{version}'\ntargets = {targets}\n{more}{modules}")
}

/// How many cells were compiled, as a release reports in JSON.
pub fn compiled(json: &Value) -> usize {
    json["cells"].as_array().unwrap().iter().filter(|cell| cell["compiled"] == true).count()
}

/// Snapshots without what differs from run to run.
pub fn settings() -> insta::internals::SettingsBindDropGuard {
    snapshot_settings_with(&[
        SECONDS,
        // Printed every now and then where a machine is slow.
        (r"(?m)^compiling \d+/\d+ after \d+ s; now .*\n", ""),
        // Which file has no room first is chance.
        (r"v1/\w+/[0-9a-f]{64}(\.json)?", "v1/[FILE]"),
        (r"the group \d+", "the group [GROUP]"),
        (r"changed from [0-9a-f]{12} to [0-9a-f]{12}", "changed from [HEX] to [HEX]"),
    ])
    .bind_to_scope()
}
