//! `isomer-run run`: what guests are granted, limited to and seen doing, each with a guest that would notice. The guests are
//! `run/guests/*.wat` and three of `tests/guests`, compiled once for all tests.

mod bad_input;
mod grants;
mod limits;
mod observe;
mod reach;
mod worlds;

use isomer_tests::native::native;
use isomer_tests::{Call, isomer, isomer_run, scratch, snapshot_settings};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

const GUESTS: [&str; 23] = [
    "composed",
    "gives-up",
    "grow",
    "handles",
    "keyvalue",
    "lib",
    "p3",
    "p3-fails",
    "random",
    "reactor",
    "recurse",
    "shared",
    "show",
    "spin",
    "table",
    "touch",
    "traps",
    "user",
    "waits",
    "write",
    "client",
    "sha256",
    "tls-client",
];

/// Forms that count or stop: the profile's name, and its key.
const FORMS: [(&str, &str); 2] = [("epoch", "epoch-interruption"), ("fuel", "fuel")];

/// A directory with every guest as `NAME.cwasm`, and some as `NAME.epoch.cwasm` and `NAME.fuel.cwasm`.
fn guests() -> &'static Path {
    static GUESTS_COMPILED: OnceLock<TempDir> = OnceLock::new();
    GUESTS_COMPILED.get_or_init(compile).path()
}

fn compile() -> TempDir {
    let directory = scratch();
    let path = directory.path();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/run/guests");
    for name in GUESTS {
        let from = match name {
            "client" | "sha256" | "tls-client" => isomer_tests::guest(name),
            name => here.join(format!("{name}.wat")),
        };
        one(path, &from, native().baseline, &format!("{name}.cwasm"));
    }
    for (form, key) in FORMS {
        let text = format!("description = \"{form}\"\ninherits = \"{}\"\n[wasm]\n{key} = true\n", native().baseline);
        fs::write(path.join(format!("{form}.toml")), text).unwrap();
        for name in ["spin", "traps", "waits", "p3"] {
            let from = here.join(format!("{name}.wat"));
            one(path, &from, &format!("{form}.toml"), &format!("{name}.{form}.cwasm"));
        }
    }
    directory
}

fn one(directory: &Path, from: &Path, target: &str, to: &str) {
    isomer().arg("compile").arg(from).args(["-t", target, "-o", to]).dir(directory).ok();
}

/// `isomer-run run --allow-unsigned LINE`, where the guests are.
fn run(line: &str) -> Call {
    isomer_run().line("run --allow-unsigned").line(line).dir(guests())
}

fn settings() -> insta::internals::SettingsBindDropGuard {
    let mut settings = snapshot_settings();
    // Addresses in backtraces depend on the target.
    settings.add_filter(r"0x[0-9a-f]+", "[ADDRESS]");
    settings.bind_to_scope()
}
