//! Releases whose writing ends early: dropped, killed, on a full disk. The release before is whole, or the new one.

mod sample;

use isomer_contract::Digest;
use isomer_contract::manifest::Blob;
use isomer_layout::{Compression, Layout, LayoutError, WriteError, Writer};
use sample::{files, read_artifact, write_release};
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

/// Each way to stop before the end leaves what was there.
#[test]
fn an_abandoned_release_leaves_no_trace() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("dist");
    let abandon = || {
        let writer = Writer::open(&dir).unwrap();
        writer.add_blob(b"something new").unwrap();
        // An artifact that is not the promised one.
        let expected = Blob::of(b"promised");
        for wrong in [&b"promisee"[..], b"promise", b"promised!"] {
            for compression in [Compression::None, Compression::Zstd] {
                let error = writer.add_layer(wrong, compression, expected).unwrap_err();
                assert!(matches!(error, WriteError::Artifact { .. }), "{error}");
            }
        }
        // A disk that fails while it is read.
        let failing = (&b"promi"[..]).chain(Failing);
        let error = writer.add_layer(failing, Compression::Zstd, expected).unwrap_err();
        assert!(matches!(error, WriteError::Io { .. }), "{error}");
        writer
    };
    drop(abandon());
    assert!(!dir.exists());
    write_release(&dir);
    let before = files(&dir);
    drop(abandon());
    assert_eq!(files(&dir), before);
    // One that fails at its end.
    let writer = abandon();
    let mut modules = sample::released(&writer, Compression::Zstd);
    modules[0].variants[0].0.compat = Digest::of(b"");
    assert!(matches!(writer.finish(&sample::identity(), modules), Err(WriteError::Inconsistent { .. })));
    assert_eq!(files(&dir), before);
}

struct Failing;

impl std::io::Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the disk is gone"))
    }
}

/// A run that was killed, as by a power failure, ran no destructor.
#[test]
fn a_killed_release_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let killed = Writer::open(dir.path()).unwrap();
    killed.add_blob(b"half of a release").unwrap();
    let copy = tempfile::tempdir().unwrap();
    let output = Command::new("cp").arg("-a").arg(dir.path()).arg(copy.path().join("dist")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    drop(killed);
    let dir = copy.path().join("dist");
    assert!(dir.join(".isomer-staging/lock").exists());
    fs::write(dir.join(".isomer-staging/.isomer-123.tmp"), b"half a layer").unwrap();
    assert!(matches!(Layout::open(&dir), Err(LayoutError::NotALayout { .. })));
    // One more that fails does not make the directory a stranger's.
    drop(Writer::open(&dir).unwrap());
    let summary = write_release(&dir);
    let fresh = tempfile::tempdir().unwrap();
    write_release(fresh.path());
    assert_eq!(files(&dir), files(fresh.path()));
    assert_eq!(summary.reused.blobs, 0);
}

/// A disk that fills up at any point: an error that names a file, and the old release as it was. The disk is a tmpfs
/// of its own in a mount namespace of this test's.
#[test]
fn a_full_disk_leaves_the_old_release() {
    const DIR: &str = "ISOMER_TEST_FULL_DISK";
    let Some(dir) = std::env::var_os(DIR) else {
        let dir = tempfile::tempdir().unwrap();
        let may = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs"]).arg(dir.path()).output();
        if !may.is_ok_and(|output| output.status.success()) {
            return isomer_testing::skip("a_full_disk_leaves_the_old_release", "unshare can't mount a tmpfs here");
        }
        let output = Command::new("unshare")
            .args(["-rm", "sh", "-ec", r#"mount -t tmpfs -o size=1m tmpfs "$1"; exec "$2" --exact "$3""#, "sh"])
            .arg(dir.path())
            .arg(std::env::current_exe().unwrap())
            .arg("a_full_disk_leaves_the_old_release")
            .env(DIR, dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let dir = Path::new(&dir).join("dist");
    write_release(&dir);
    let before = files(&dir);
    let filler = dir.join("filler");
    let mut failures = 0;
    for left_kib in (0..500).step_by(4) {
        let _ = fs::remove_file(&filler);
        // As much as there is; then some of it is given back.
        let mut file = fs::File::create(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 1024]).is_ok() {}
        file.set_len(file.metadata().unwrap().len().saturating_sub(left_kib << 10)).unwrap();
        let attempt = || {
            let writer = Writer::open(&dir)?;
            let mut modules = Vec::new();
            for module in sample::sources() {
                modules.push(module.release(&writer, Compression::None)?);
            }
            writer.finish(&sample::identity(), modules)
        };
        match attempt() {
            Ok(_) => break,
            Err(error) => {
                assert!(error.to_string().contains("dist"), "{error}");
                assert!(matches!(&error, WriteError::Io { .. }), "{error}");
                failures += 1;
            }
        }
        fs::remove_file(&filler).unwrap();
        assert!(!dir.join(".isomer-staging").exists());
        // A failure after the rename of the new index does not undo it.
        if files(&dir)["index.json"] == before["index.json"] {
            assert_eq!(files(&dir), before, "{left_kib} KiB were left");
        }
    }
    assert!(failures > 20, "{failures}");
}

/// Kills a process that writes two releases in turn, at any moment, many times: the directory always holds one of the two,
/// complete.
#[test]
fn a_kill_at_any_moment_leaves_a_whole_release() {
    const DIR: &str = "ISOMER_TEST_RELEASE_FOREVER";
    if let Some(dir) = std::env::var_os(DIR) {
        for compression in [Compression::Zstd, Compression::None].into_iter().cycle() {
            let writer = Writer::open(Path::new(&dir)).unwrap();
            let modules = sample::released(&writer, compression);
            writer.finish(&sample::identity(), modules).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    for round in 0..30_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_kill_at_any_moment_leaves_a_whole_release"])
            .env(DIR, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 + round * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        for sample in sample::sort() {
            assert_eq!(read_artifact(&layout, "sort", &sample.config.target).unwrap(), sample.artifact);
        }
        assert_eq!(layout.wasm(&layout.module("clock").unwrap()).unwrap().unwrap(), sample::COMPONENT);
    }
    write_release(dir.path());
    let fresh = tempfile::tempdir().unwrap();
    write_release(fresh.path());
    assert_eq!(files(dir.path()), files(fresh.path()));
}

/// While the documents are written, a reader sees the old release; `index.json` is what switches.
#[test]
fn the_old_release_is_whole_until_the_new_index_is_there() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    let writer = Writer::open(dir.path()).unwrap();
    let modules = sample::released(&writer, Compression::None);
    let layout = Layout::open(dir.path()).unwrap();
    for sample in sample::sort() {
        assert_eq!(read_artifact(&layout, "sort", &sample.config.target).unwrap(), sample.artifact);
    }
    // The switch cannot be made: a directory has the name. Everything else is undone.
    let before = files(dir.path()).len();
    fs::rename(dir.path().join("index.json"), dir.path().join("index.json.old")).unwrap();
    fs::create_dir(dir.path().join("index.json")).unwrap();
    let error = writer.finish(&sample::identity(), modules).unwrap_err();
    assert!(error.to_string().contains("index.json"), "{error}");
    fs::remove_dir(dir.path().join("index.json")).unwrap();
    fs::rename(dir.path().join("index.json.old"), dir.path().join("index.json")).unwrap();
    assert!(files(dir.path()).len() < before);
    for sample in sample::sort() {
        assert_eq!(read_artifact(&layout, "sort", &sample.config.target).unwrap(), sample.artifact);
    }
}
