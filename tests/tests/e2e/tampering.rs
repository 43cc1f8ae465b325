//! Bytes that changed after they were made: a release or an artifact is either what its digest says, or refused.

use isomer_tests::forge::{self, digest};
use isomer_tests::native::native;
use isomer_tests::{Ran, guest, isomer, isomer_run, scratch};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A release of one module for this kind of machine and the interpreter, with a way to run it.
struct Release {
    directory: tempfile::TempDir,
}

impl Release {
    fn new(compression: &str) -> Release {
        let directory = scratch();
        let manifest = directory.path().join("isomer.toml");
        let targets = "['x86-64-v1', 'aarch64', 'riscv64gc', 'z14', 'pulley64']";
        let module = format!("[[module]]\npath = '{}'\n", guest("sha256").display());
        fs::write(&manifest, format!("[release]\nname = 'r'\nversion = '1.0.0'\ntargets = {targets}\n{module}"))
            .unwrap();
        let release = Release { directory };
        isomer()
            .arg("release")
            .arg("-f")
            .arg(manifest)
            .arg("-o")
            .arg(release.path())
            .args(["--compression", compression])
            .ok();
        release
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("dist")
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.path().join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    fn run(&self) -> Ran {
        isomer_run().line("run --allow-unsigned").arg(self.path()).arg("sha256").stdin("abc").run()
    }

    fn json(&self, path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn replace_manifest(&self, change: impl Fn(&mut Value, &mut Value, &mut Value)) {
        forge::native_variant(&self.path(), change);
    }
}

#[track_caller]
fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code(), 1, "{ran}");
    assert!(ran.stderr().starts_with("error:"), "{ran}");
    assert!(ran.stdout().is_empty(), "{ran}");
    for word in words {
        assert!(ran.stderr().contains(word), "no `{word}`: {ran}");
    }
}

#[test]
fn the_unmodified_release_runs() {
    for compression in ["zstd", "none"] {
        let ran = Release::new(compression).run();
        assert!(ran.stdout().starts_with("ba7816bf"), "{ran}");
    }
}

#[test]
fn every_file_that_a_run_reads_is_checked() {
    for compression in ["zstd", "none"] {
        let release = Release::new(compression);
        let root = release.json(&release.path().join("index.json"));
        let index = root["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let native = release.json(&release.blob(&index))["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .find(|m| m["platform"]["architecture"] == native().oci)
            .unwrap()["digest"]
            .as_str()
            .unwrap()
            .to_owned();
        let manifest = release.json(&release.blob(&native));
        let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
        for digest in [index, native, config, layer] {
            let path = release.blob(&digest);
            let original = fs::read(&path).unwrap();
            let hex = digest.strip_prefix("sha256:").unwrap();
            let flipped = |at: usize| {
                let mut bytes = original.clone();
                bytes[at] ^= 1;
                bytes
            };
            for bytes in [flipped(0), flipped(original.len() / 2), flipped(original.len() - 1)] {
                fs::write(&path, bytes).unwrap();
                refused(&release.run(), &[hex]);
            }
            fs::write(&path, &original[..original.len() - 1]).unwrap();
            refused(&release.run(), &[hex]);
            fs::write(&path, [&original[..], b" "].concat()).unwrap();
            refused(&release.run(), &[hex]);
            fs::write(&path, "").unwrap();
            refused(&release.run(), &[hex]);
            fs::remove_file(&path).unwrap();
            refused(&release.run(), &[hex]);
            // The right bytes through a symbolic link could be other bytes a moment later.
            let elsewhere = release.directory.path().join("elsewhere");
            fs::write(&elsewhere, &original).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
            refused(&release.run(), &[hex]);
            fs::remove_file(&path).unwrap();
            fs::write(&path, &original).unwrap();
        }
        assert_eq!(release.run().code(), 0);
    }
}

#[test]
fn a_forged_index_is_detected() {
    type Change = fn(&mut Value, &mut Value, &mut Value);
    let lies: [(&str, Change); 8] = [
        ("a smaller layer", |_, manifest, _| manifest["layers"][0]["size"] = 17.into()),
        ("a larger layer", |_, manifest, _| manifest["layers"][0]["size"] = 99_999_999_u64.into()),
        ("another algorithm", |_, manifest, _| manifest["layers"][0]["digest"] = "sha512:00".into()),
        ("a path", |_, manifest, _| manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd".into()),
        ("another artifact", |_, _, config| config["artifact"]["digest"] = digest(b"other").into()),
        ("a smaller artifact", |_, _, config| config["artifact"]["size-bytes"] = 4096.into()),
        ("weaker needs in the config", |_, _, config| config["requirements"]["kind"] = "component".into()),
        ("other needs in the index", |descriptor, _, _| {
            let text = descriptor["annotations"]["dev.isomer.requirements"]
                .as_str()
                .unwrap()
                .replace("\"linux\"", "\"linux\" ");
            let text = text.replace("\"fuel\":false", "\"fuel\":true");
            descriptor["annotations"]["dev.isomer.requirements"] = text.into();
        }),
    ];
    for (what, lie) in lies {
        let release = Release::new("zstd");
        release.replace_manifest(lie);
        let ran = release.run();
        assert_eq!(ran.code(), 1, "{what}: {ran}");
        assert!(ran.stderr().starts_with("error:"), "{what}: {ran}");
    }
}

#[test]
fn forged_requirements_are_detected() {
    // Index and config agree with each other, and the artifact requires more than they say.
    let release = Release::new("zstd");
    let wider = release.directory.path().join("wider.cwasm");
    isomer().arg("compile").arg(guest("sha256")).args(["-t", native().wider, "-o"]).arg(&wider).ok();
    let bytes = fs::read(&wider).unwrap();
    let other = digest(&bytes);
    fs::write(release.blob(&other), &bytes).unwrap();
    release.replace_manifest(|_, manifest, config| {
        let blob = serde_json::json!({"digest": other, "size-bytes": bytes.len()});
        config["artifact"] = blob;
        manifest["layers"][0]["digest"] = other.clone().into();
        manifest["layers"][0]["size"] = bytes.len().into();
        manifest["layers"][0]["mediaType"] = "application/vnd.isomer.cwasm.v1".into();
    });
    refused(&release.run(), &["isa"]);
}

#[test]
fn a_pinned_artifact_loads_whole_or_not_at_all() {
    let directory = scratch();
    let path = directory.path().join("a.cwasm");
    isomer().arg("compile").arg(guest("sha256")).args(["-t", native().baseline, "-o"]).arg(&path).ok();
    let original = fs::read(&path).unwrap();
    let pinned = digest(&original);
    let run = || isomer_run().args(["run", "--digest", &pinned]).arg(&path).stdin("abc").run();
    assert_eq!(run().code(), 0);
    // Every 64 bytes of the header and sections would take hours; a spread over the whole file does.
    let step = original.len() / 60;
    for at in (0..original.len()).step_by(step) {
        let mut bytes = original.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, bytes).unwrap();
        refused(&run(), &[]);
        fs::write(&path, &original[..at]).unwrap();
        refused(&run(), &[]);
    }
}

#[test]
fn damaged_artifacts_never_make_the_tools_panic() {
    let directory = scratch();
    let path = directory.path().join("a.cwasm");
    isomer().arg("compile").arg(guest("adder")).args(["-t", "neoverse-n1", "-o"]).arg(&path).ok();
    let original = fs::read(&path).unwrap();
    let engine = original.windows(4).position(|window| window == b"\0\x0248").unwrap();
    // The header, the engine section, and the section table at the end are what the tools parse.
    let spots = (0..64).chain(engine..engine + 200).chain(original.len() - 400..original.len());
    for at in spots.step_by(3) {
        let mut bytes = original.clone();
        bytes[at] ^= 0x81;
        fs::write(&path, bytes).unwrap();
        for ran in [isomer().arg("inspect").arg(&path).run(), isomer_run().arg("check").arg(&path).run()] {
            assert!(matches!(ran.code(), 0 | 1), "{at}: {ran}");
            assert!(!ran.stderr().contains("panicked"), "{at}: {ran}");
        }
    }
}
