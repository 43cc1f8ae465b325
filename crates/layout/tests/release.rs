//! Releases written, read back, and copied by skopeo. In: artifacts of arbitrary bytes, since
//! this crate knows nothing of code.

mod sample;

use isomer_contract::manifest::Blob;
use isomer_contract::{Digest, Hinted, one_line};
use isomer_layout::{Compression, Count, Layout, LayoutError, Wasm, WriteError, Writer};
use sample::{Sample, files, read_artifact, write_release};
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

#[test]
fn a_written_release_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let summary = write_release(dir.path());
    let layout = Layout::open(dir.path()).unwrap();
    let references: Vec<_> = layout.modules().iter().map(|entry| entry.reference.as_str()).collect();
    assert_eq!(references, ["clock:0.2.0-rc.1", "sort:0.1.0"]);
    assert_eq!(summary.modules[1].reference, "sort:0.1.0");

    let module = layout.module("sort").unwrap();
    assert_eq!(module, layout.module("sort:0.1.0").unwrap());
    assert_eq!((module.name.as_str(), module.reference.as_str()), ("sort", "sort:0.1.0"));
    assert_eq!(module.digest, summary.modules[1].digest);
    assert_eq!(module.wasm.unwrap().manifest, summary.modules[1].wasm);
    assert_eq!(module.annotations["org.opencontainers.image.version"], "0.1.0");
    let targets: Vec<_> = module.variants.iter().map(|variant| variant.target.as_str()).collect();
    assert_eq!(targets, ["neoverse-n1", "pulley64", "x86-64-v3"]);
    assert_eq!(layout.wasm(&module).unwrap().unwrap(), sample::MODULE);

    for (variant, Sample { config, artifact, .. }) in module.variants.iter().zip(sample::sort()) {
        let manifest = layout.manifest(variant).unwrap();
        assert_eq!(manifest.config, config);
        assert_eq!(variant.requirements, config.requirements);
        let mut bytes = Vec::new();
        layout.open_artifact(&manifest).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, artifact);
        // In one buffer of the right size, and byte by byte.
        let mut reader = layout.open_artifact(&manifest).unwrap();
        assert_eq!(reader.size_bytes(), artifact.len() as u64);
        let mut exact = vec![0; artifact.len()];
        reader.read_exact(&mut exact).unwrap();
        assert_eq!(exact, artifact);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        let mut reader = layout.open_artifact(&manifest).unwrap();
        let mut by_byte = Vec::new();
        while reader.by_ref().take(1).read_to_end(&mut by_byte).unwrap() != 0 {}
        assert_eq!(by_byte, artifact);
    }
}

/// The files and documents byte for byte. `BLESS=1` rewrites the golden file.
#[test]
fn the_layout_on_disk_is_golden() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    let mut found = String::new();
    for (path, bytes) in files(dir.path()) {
        let text = String::from_utf8(bytes.clone()).ok().filter(|text| text.starts_with('{') || path == "SHA256SUMS");
        match text {
            Some(text) => found.push_str(&format!("== {path}\n{}\n", text.trim_end())),
            // zstd's bytes may change with its version; the layers' digests in the documents say so.
            None => found.push_str(&format!("== {path}\n{} bytes\n", bytes.len())),
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-layout.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &found).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert!(found == expected, "the layout differs from {}; BLESS=1 rewrites it\n{found}", golden.display());
}

#[test]
fn the_same_input_gives_the_same_bytes_anywhere() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_release(a.path());
    let writer = Writer::open(&b.path().join("deeper/dist")).unwrap();
    // Other order of everything.
    let mut modules = sample::released(&writer, Compression::Zstd);
    modules.reverse();
    modules.iter_mut().for_each(|module| module.variants.reverse());
    writer.finish(&sample::identity(), modules).unwrap();
    assert_eq!(files(a.path()), files(&b.path().join("deeper/dist")));
}

#[test]
fn a_second_release_reuses_everything() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_release(dir.path());
    assert_eq!((first.reused, first.removed), (Count::default(), Count::default()));
    let before = files(dir.path());
    let inodes = || -> Vec<u64> {
        use std::os::unix::fs::MetadataExt as _;
        before.keys().map(|path| fs::metadata(dir.path().join(path)).unwrap().ino()).collect()
    };
    let inodes_before = inodes();
    let second = write_release(dir.path());
    assert_eq!(second.modules, first.modules);
    assert_eq!((second.written, second.reused, second.removed), (Count::default(), first.written, Count::default()));
    assert_eq!(files(dir.path()), before);
    assert_eq!(inodes(), inodes_before, "files were rewritten");
}

#[test]
fn a_kept_layer_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    let layout = Layout::open(dir.path()).unwrap();
    let manifest = layout.manifest(&layout.module("sort").unwrap().variants[0]).unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    writer.keep(manifest.layer).unwrap();
    drop(writer);
    flip(&dir.path().join("blobs/sha256").join(manifest.layer.blob.digest.hex()), 20);
    let writer = Writer::open(dir.path()).unwrap();
    assert!(matches!(writer.keep(manifest.layer), Err(LayoutError::Digest { .. })));
    // Adding it again mends it.
    let modules = sample::released(&writer, Compression::Zstd);
    writer.finish(&sample::identity(), modules).unwrap();
    assert!(read_artifact(&layout, "sort", "neoverse-n1").is_ok());
}

#[test]
fn unreferenced_blobs_are_removed_and_foreign_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    let old = Layout::open(dir.path()).unwrap();
    fs::write(dir.path().join("README"), b"mine").unwrap();
    fs::write(dir.path().join("blobs/sha256/notes"), b"mine too").unwrap();
    let stray = dir.path().join("blobs/sha256").join(Digest::of(b"stray").hex());
    fs::write(&stray, b"stray").unwrap();

    let writer = Writer::open(dir.path()).unwrap();
    let mut modules = sample::released(&writer, Compression::Zstd);
    modules.retain(|module| module.name.as_str() == "sort");
    modules[0].variants.pop();
    let summary = writer.finish(&sample::identity(), modules).unwrap();
    assert!(summary.removed.blobs > 5, "{summary:?}");
    assert!(!stray.exists());
    assert_eq!(fs::read(dir.path().join("README")).unwrap(), b"mine");
    assert_eq!(fs::read(dir.path().join("blobs/sha256/notes")).unwrap(), b"mine too");
    let named = Layout::open(dir.path()).unwrap();
    assert_eq!(named.module("sort").unwrap().variants.len(), 2);
    // One who still has the old index learns what happened.
    let error = old.module("clock").unwrap_err();
    assert!(matches!(error, LayoutError::MissingBlob { .. }), "{error}");
    assert!(error.hint().unwrap().contains("replaced"));
}

#[test]
fn uncompressed_layers_are_the_artifacts() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    let modules = sample::released(&writer, Compression::None);
    writer.finish(&sample::identity(), modules).unwrap();
    let Sample { config, artifact, .. } = sample::sort().remove(0);
    let blob = dir.path().join("blobs/sha256").join(config.artifact.digest.hex());
    assert_eq!(fs::read(&blob).unwrap(), artifact);
    let layout = Layout::open(dir.path()).unwrap();
    assert_eq!(read_artifact(&layout, "sort", "neoverse-n1").unwrap(), artifact);
    flip(&blob, artifact.len() - 1);
    assert!(matches!(read_artifact(&layout, "sort", "neoverse-n1"), Err(LayoutError::Digest { .. })));
    // The last bytes never come out, even of a read that wants no end.
    let manifest = layout.manifest(&layout.module("sort").unwrap().variants[0]).unwrap();
    let mut bytes = vec![0; artifact.len()];
    assert!(layout.open_artifact(&manifest).unwrap().read_exact(&mut bytes).is_err());
}

#[test]
fn sha256sum_agrees() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    let output = Command::new("sha256sum").args(["-c", "--strict", "SHA256SUMS"]).current_dir(&dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = fs::read_to_string(dir.path().join("SHA256SUMS")).unwrap().lines().count();
    assert_eq!(lines, files(dir.path()).len() - 1);
}

#[test]
fn unknown_and_ambiguous_names_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path()).unwrap();
    let mut modules = sample::released(&writer, Compression::Zstd);
    let mut newer = modules[0].clone();
    newer.version = "0.2.0".parse().unwrap();
    modules.push(newer);
    writer.finish(&sample::identity(), modules).unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let check = |name: &str, message: &str, hint: Option<&str>| {
        let error = layout.module(name).unwrap_err();
        assert_eq!(error.to_string().replace(&dir.path().display().to_string(), "DIR"), message);
        assert_eq!(error.hint().as_deref(), hint);
    };
    check(
        "sort",
        "`DIR` holds several versions of `sort`: sort:0.1.0, sort:0.2.0",
        Some("name the version too, for example `sort:0.1.0`"),
    );
    let all = "clock:0.2.0-rc.1, sort:0.1.0, sort:0.2.0";
    check("clok", &format!("`DIR` holds no module `clok`, only {all}"), Some("did you mean `clock`?"));
    check("sort:0.3.0", &format!("`DIR` holds no module `sort:0.3.0`, only {all}"), Some("did you mean `sort:0.1.0`?"));
    let first = Some("name one of them, for example `clock:0.2.0-rc.1`");
    check("\x1b[2J", &format!("`DIR` holds no module `\\u{{1b}}[2J`, only {all}"), first);
    assert_eq!(layout.module("sort:0.2.0").unwrap().variants.len(), 3);
}

#[test]
fn a_directory_that_is_not_a_release_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let check = |path: &Path, expected: &str| {
        let error = Layout::open(path).unwrap_err();
        let text = one_line(&error).replace(&dir.path().display().to_string(), "DIR");
        assert!(text.contains(expected), "{text}");
        error
    };
    let error = check(dir.path(), "`DIR` is not a release: it has no `oci-layout`");
    assert!(error.hint().is_some());
    check(&dir.path().join("none"), "cannot read `DIR/none`: No such file");
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    check(&dir.path().join("oci-layout"), "it is a file, not a directory");
    check(dir.path(), "it has no `index.json`");
    fs::write(dir.path().join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    check(dir.path(), "`DIR/oci-layout` has imageLayoutVersion `2.0.0`, expected `1.0.0`");
    fs::write(dir.path().join("oci-layout"), "{").unwrap();
    check(dir.path(), "`DIR/oci-layout` is malformed: EOF");
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert_eq!(Layout::open(dir.path()).unwrap().modules(), []);
    fs::write(dir.path().join("index.json"), r#"{"schemaVersion":1,"manifests":[]}"#).unwrap();
    check(dir.path(), "`DIR/index.json` is malformed: its schemaVersion is 1, expected 2");
    fs::write(dir.path().join("index.json"), "[".repeat(100_000)).unwrap();
    check(dir.path(), "`DIR/index.json` is malformed");
    fs::write(dir.path().join("index.json"), vec![b' '; (4 << 20) + 1]).unwrap();
    check(dir.path(), "`DIR/index.json` has 4194305 bytes, expected at most 4194304");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_directory_of_others_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let check = |expected: &str| {
        let before = files(dir.path());
        let error = Writer::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(files(dir.path()), before);
        error
    };
    fs::write(dir.path().join("thesis.txt"), b"").unwrap();
    let error = check("it holds `thesis.txt` and no `index.json`");
    assert!(matches!(error, WriteError::NotOurs { .. }) && error.hint().is_some());
    fs::write(dir.path().join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    check("another tool wrote");
    fs::write(dir.path().join("index.json"), "{}").unwrap();
    check("malformed");
    let error = check("malformed");
    assert!(error.hint().unwrap().contains("empty this one"));
    let error = Writer::open(&dir.path().join("thesis.txt")).unwrap_err();
    assert!(matches!(&error, WriteError::NoDirectory { found: "a file", .. }), "{error}");
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    let error = Writer::open(&dir.path().join("link")).unwrap_err();
    assert!(matches!(&error, WriteError::NoDirectory { .. }), "{error}");
    assert!(Writer::open(&dir.path().join("thesis.txt/dist")).is_err());
}

#[test]
fn links_in_place_of_the_blobs_are_refused() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_release(dir.path());
    fs::rename(dir.path().join("blobs"), elsewhere.path().join("blobs")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("blobs"), dir.path().join("blobs")).unwrap();
    assert!(matches!(Writer::open(dir.path()), Err(WriteError::Layout(LayoutError::FileType { .. }))));
    let error = Layout::open(dir.path()).unwrap().module("sort").unwrap_err();
    assert!(matches!(error, LayoutError::FileType { .. }), "{error}");
}

#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Writer::open(dir.path()).unwrap();
    let error = Writer::open(dir.path()).unwrap_err();
    assert!(matches!(error, WriteError::Locked { .. }), "{error}");
    first.add_blob(b"something").unwrap();
    drop(first);
    write_release(dir.path());
}

#[test]
fn contradictions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&Writer, &mut Vec<isomer_layout::ReleasedModule>), expected: &str| {
        let writer = Writer::open(dir.path()).unwrap();
        let mut modules = sample::released(&writer, Compression::Zstd);
        change(&writer, &mut modules);
        let error = writer.finish(&sample::identity(), modules).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(&|_, modules| modules.push(modules[0].clone()), "holds `sort:0.1.0` twice");
    check(
        &|_, modules| {
            let mut clash = modules[0].clone();
            clash.version = "0.1.0-wasm".parse().unwrap();
            modules.push(clash);
        },
        "holds `sort:0.1.0-wasm` twice",
    );
    check(
        &|_, modules| {
            let variant = modules[0].variants[0].clone();
            modules[0].variants.push(variant);
        },
        "holds the variant `neoverse-n1` of `sort` twice",
    );
    check(&|_, modules| modules[0].variants[0].0.module = "other".to_owned(), "is of another module");
    check(&|_, modules| modules[0].variants[0].0.triple = "potato".to_owned(), "has the triple `potato`");
    check(&|_, modules| modules[0].variants[0].1.blob = Blob::of(b"?"), "neither added nor kept");
    check(
        &|writer, modules| {
            let wasm: Wasm = writer.add_wasm(b"\0asm\x01\0\0\0other").unwrap();
            modules[0].wasm = wasm;
        },
        "from another WebAssembly",
    );
    let writer = Writer::open(dir.path()).unwrap();
    assert!(matches!(writer.add_wasm(b"\0asm\x0d\0\x01\0\xff"), Err(WriteError::Wasm(_))));
}

/// Debian's skopeo reads the layout, and copies it with its digests.
#[test]
fn skopeo_keeps_the_digests() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        return isomer_testing::skip("skopeo_keeps_the_digests", "skopeo is not installed");
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let summary = write_release(from.path());
    let skopeo = |args: &[&str]| {
        let output = Command::new("skopeo").arg("--insecure-policy").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    for module in &summary.modules {
        let [source, target] = [&from, &to].map(|dir| format!("oci:{}:{}", dir.path().display(), module.reference));
        assert_eq!(Digest::of(&skopeo(&["inspect", "--raw", &source])), module.digest);
        assert_eq!(Digest::of(&skopeo(&["inspect", "--raw", &format!("{source}-wasm")])), module.wasm);
        skopeo(&["copy", "--all", &source, &target]);
        assert_eq!(Digest::of(&skopeo(&["inspect", "--raw", &target])), module.digest);
    }
    let (layout, copy) = (Layout::open(from.path()).unwrap(), Layout::open(to.path()).unwrap());
    assert_eq!(copy.modules(), layout.modules());
    for entry in layout.modules() {
        let module = layout.module(&entry.name).unwrap();
        assert_eq!(copy.module(&entry.name).unwrap(), module);
        assert_eq!(copy.wasm(&module).unwrap(), layout.wasm(&module).unwrap());
        for variant in &module.variants {
            let read = |layout| read_artifact(layout, &entry.name, &variant.target).unwrap();
            assert_eq!(read(&copy), read(&layout));
        }
    }
    // The copy is skopeo's: isomer does not write over it.
    assert!(matches!(Writer::open(to.path()), Err(WriteError::NotOurs { .. })));
}
