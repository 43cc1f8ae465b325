//! A place where releases are made: modules, a manifest, a cache. Never here: anything that outlives the test.

use super::{Call, Ran, guest, isomer, scratch, snapshot_settings};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with a manifest, modules and a cache.
pub struct Farm {
    directory: TempDir,
}

impl Farm {
    /// With three modules, and nothing in the cache.
    pub fn set_up() -> Farm {
        let farm = Farm { directory: scratch() };
        for name in ["numbers", "matmul", "traps"] {
            farm.put(&format!("{name}.wasm"), fs::read(guest(name)).unwrap());
        }
        farm
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    /// Writes the manifest.
    pub fn manifest(&self, targets: &str, modules: &[&str]) {
        let modules: String = modules.iter().map(|name| format!("[[module]]\npath = '{name}.wasm'\n")).collect();
        let text = format!("[release]\nname = 'r'\nversion = '1.0.0'\ntargets = {targets}\n{modules}");
        self.put("isomer.toml", text);
    }

    /// A call there, with its cache.
    pub fn isomer(&self, line: &str) -> Call {
        isomer().line(line).dir(self.path()).env("ISOMER_CACHE", self.path().join("cache"))
    }

    /// The files of a kind in the cache.
    pub fn cached(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("cache/v1").join(kind)).into_iter().flatten();
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

/// Targets for a manifest.
pub const FOUR: &str = "['x86-64-v2', 'x86-64-v3', 'neoverse-n1', 'pulley64']";

/// How many cells were compiled, as a release says in JSON.
pub fn compiled(json: &Value) -> usize {
    json["cells"].as_array().unwrap().iter().filter(|cell| cell["compiled"] == true).count()
}

/// Snapshots without what differs from run to run.
pub fn settings() -> insta::internals::SettingsBindDropGuard {
    let mut settings = snapshot_settings();
    settings.add_filter(r"\b\d+\.\d\d s\b", "[TIME]");
    // Said every now and then where a machine is slow.
    settings.add_filter(r"(?m)^compiling \d+/\d+ after \d+ s; now .*\n", "");
    // Which file has no room first is chance.
    settings.add_filter(r"v1/\w+/[0-9a-f]{64}(\.json)?", "v1/[FILE]");
    settings.add_filter(r"the group \d+", "the group [GROUP]");
    settings.add_filter(r"changed from [0-9a-f]{12} to [0-9a-f]{12}", "changed from [HEX] to [HEX]");
    settings.bind_to_scope()
}
