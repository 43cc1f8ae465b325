//! The server's store: what is pulled, what is run from it, and what an attacker can do to a source or to the store.
//! Snapshots show what a person sees (`INSTA_UPDATE=always cargo xtask test --no-lints store` rewrites them).

use isomer_tests::farm::Farm;
use isomer_tests::users::is_root;
use isomer_tests::{NATIVE_TARGET, NOW, snapshot_settings_with};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

mod lifecycle;

mod links;
mod permissions;
mod provenance;
mod races;
mod records;
mod served;
mod sources;
mod trust;

mod crashes;
mod damage;

mod messages;

fn settings() -> insta::internals::SettingsBindDropGuard {
    snapshot_settings_with(&[
        (r"\b[0-9a-f]{64}\b", "[HEX]"),
        (r"store/tmp/\.tmp\w+", "store/tmp/[TEMPORARY]"),
        NOW,
        (r"hashed it at [\dTZ:.-]+", "hashed it at [TIME]"),
        NATIVE_TARGET,
        (r"\b\d{5,} bytes", "[N] bytes"),
        (r"\b\d{5,}\b  ", "[N]  "),
        (r"wasmtime 48[.\d]*", "wasmtime [ENGINE]"),
        // Records hold times, which end in as few digits as they need.
        (r"[\d.]+ KiB ((would be )?removed)", "[SIZE] $1"),
        (r#"-bytes": [1-9]\d*"#, r#"-bytes": [N]"#),
    ])
    .bind_to_scope()
}

fn isomer_run_path() -> PathBuf {
    isomer_tests::binaries().join("isomer-run")
}

/// The directory of what is installed from `release` with the module `sha256`.
fn installed_from(farm: &Farm, release: &str) -> PathBuf {
    let digest = farm.index_of(release, "sha256")["digest"].as_str().unwrap().replace("sha256:", "");
    farm.store().join("installed").join(digest)
}

/// The artifact of what is installed from `release`.
fn artifact_from(farm: &Farm, release: &str) -> PathBuf {
    let rows = farm.call("list --json").ok().json();
    let digest = farm.index_of(release, "sha256")["digest"].clone();
    let row = rows.as_array().unwrap().iter().find(|row| row["digest"] == digest).unwrap().clone();
    let hex = row["artifact"].as_str().unwrap().replace("sha256:", "");
    farm.store().join("artifacts").join(format!("{hex}.cwasm"))
}

fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

fn add_to_mode(path: &Path, more: u32) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(mode | more)).unwrap();
}

fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::rename(new, path).unwrap();
}
