//! The server's store: what is pulled, what is run from it, and what an attacker can do to a source or to the store.
//! Snapshots show what a person sees (`INSTA_UPDATE=always cargo xtask test --no-lints store` rewrites them).

use insta::assert_snapshot;
use isomer_tests::forge::{self, digest};
use isomer_tests::{Call, Ran, contents, copy, guest, isomer, isomer_run, scratch, skip, snapshot_settings};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// What the guest `sha256` says of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Code for any machine that tests run on.
const NATIVE: &str = "['x86-64-v1', 'aarch64', 'riscv64gc', 'z14']";

/// A directory with two signed releases of the modules `sha256` and `sort`, `old` and `new`, the keys `one` and `two`, and
/// room for a store.
struct Farm {
    directory: TempDir,
}

impl Farm {
    fn new() -> Farm {
        static MADE: OnceLock<TempDir> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let directory = scratch();
            let path = directory.path();
            for key in ["one", "two"] {
                isomer().args(["keygen", "-o", key]).dir(path).ok();
            }
            for (name, counter, targets) in [("old", 1, NATIVE), ("new", 2, "['pulley64', 'pulley64be']")] {
                let module = |name| format!("[[module]]\npath = '{}'\n", guest(name).display());
                let modules = module("sha256") + &module("sort");
                let text = format!(
                    "[release]\nname = 'acme'\nversion = '1.{counter}.0'\ncounter = {counter}\ntargets = {targets}\n{modules}"
                );
                fs::write(path.join("isomer.toml"), text).unwrap();
                isomer().args(["release", "--sign", "one.key", "-o", name]).dir(path).ok();
            }
            directory
        });
        let directory = scratch();
        copy(made.path(), directory.path());
        Farm { directory }
    }

    /// With `old` installed and active.
    fn installed() -> Farm {
        let farm = Farm::new();
        farm.call("pull oci-dir:old:sha256 --key one.pub --activate").ok();
        farm
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    fn old(&self) -> PathBuf {
        self.path().join("old")
    }

    fn call(&self, line: &str) -> Call {
        isomer_run().line(line).dir(self.path()).env("ISOMER_STORE", self.store()).stdin("abc")
    }

    fn shown(&self, line: &str) -> String {
        self.call(line).run().shown(self.path())
    }

    #[track_caller]
    fn runs(&self, line: &str) -> Ran {
        let ran = self.call(line).ok();
        assert!(ran.stdout().starts_with(ABC), "{ran}");
        ran
    }

    /// A pull that is refused, and leaves no trace.
    #[track_caller]
    fn refused(&self, line: &str) -> String {
        let before = self.files();
        let ran = self.call(line).run();
        assert_eq!(ran.code(), 1, "{ran}");
        assert!(ran.stdout().is_empty() && ran.stderr().starts_with("error:"), "{ran}");
        assert_eq!(self.files(), before, "{ran}");
        ran.shown(self.path())
    }

    /// What is in the store, but for what each command makes there.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        if !self.store().exists() {
            return Vec::new();
        }
        let own = |path: &Path| path == Path::new("lock") || path == Path::new("store.json");
        contents(&self.store()).into_iter().filter(|(path, _)| !own(path)).collect()
    }

    fn policy(&self, key: &str, rest: &str) {
        let text = format!("[[key]]\nname = 'farm one'\nfile = 'one.pub'\n{key}\n{rest}\n");
        fs::write(self.path().join("trust.toml"), text).unwrap();
    }

    /// The only artifact in the store.
    fn artifact(&self) -> PathBuf {
        let mut artifacts: Vec<_> = fs::read_dir(self.store().join("artifacts")).unwrap().collect();
        assert_eq!(artifacts.len(), 1);
        artifacts.remove(0).unwrap().path()
    }

    fn index_of(&self, release: &str, module: &str) -> Value {
        let index = forge::read(&self.path().join(release).join("index.json"));
        let listed = index["manifests"].as_array().unwrap().iter();
        listed.clone().find(|it| it["annotations"]["dev.isomer.module"] == module).unwrap().clone()
    }
}

fn settings() -> insta::internals::SettingsBindDropGuard {
    let mut settings = snapshot_settings();
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[HEX]");
    settings.add_filter(r"store/tmp/\.tmp\w+", "store/tmp/[TEMPORARY]");
    settings.add_filter(r"it is \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "it is [NOW]");
    settings.add_filter(r"(x86-64-v1|aarch64|riscv64gc|z14)\b", "[NATIVE]");
    settings.add_filter(r"\b\d{5,} bytes", "[N] bytes");
    settings.add_filter(r"\b\d{5,}\b  ", "[N]  ");
    settings.add_filter(r"wasmtime 48[.\d]*", "wasmtime [ENGINE]");
    // Records hold times, which end in as few digits as they need.
    settings.add_filter(r"[\d.]+ KiB ((would be )?removed)", "[SIZE] $1");
    settings.add_filter(r#"-bytes": [1-9]\d*"#, r#"-bytes": [N]"#);
    settings.bind_to_scope()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0)
}

#[test]
fn a_release_is_pulled_activated_replaced_and_taken_back() {
    let _settings = settings();
    let farm = Farm::new();
    let mut session = String::new();
    for line in [
        "list",
        "run sha256",
        "pull oci-dir:old:sha256 --key one.pub",
        "list",
        "run sha256",
        "activate sha256",
        "run sha256",
        "pull oci-dir:old:sha256 --key one.pub",
        "pull oci-dir:new:sha256 oci-dir:new:sort:1.2.0 --key one.pub --activate",
        "list",
        "run sha256",
        "run sha256:1.1.0",
        "rollback sha256",
        "rollback sha256",
        "rollback sort",
        "run sha257",
        "activate sha256:9",
        "gc --keep 0 --dry-run",
        "activate sha256:1.2.0",
        "gc --keep 0",
        "list",
        "rollback sha256",
        "select sha256",
        "check sha256",
        "verify sha256 --key one.pub",
        "verify sha256 --key two.pub",
    ] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.shown(line));
    }
    assert_snapshot!("store_session", session);
}

#[test]
fn a_second_pull_fetches_the_index_alone() {
    let farm = Farm::installed();
    // What is not there cannot be read: the index and its signatures stay.
    let index = farm.index_of("old", "sha256");
    let manifests = forge::read(&forge::blob(&farm.old(), &index["digest"]))["manifests"].clone();
    let mut layers = 0;
    for manifest in manifests.as_array().unwrap() {
        let manifest = forge::read(&forge::blob(&farm.old(), &manifest["digest"]));
        layers += usize::from(fs::remove_file(forge::blob(&farm.old(), &manifest["layers"][0]["digest"])).is_ok());
    }
    assert!(layers > 1);
    let again = farm.call("pull oci-dir:old:sha256 --key one.pub").ok();
    assert!(again.stdout().contains("nothing fetched"), "{again}");
    // An artifact that was damaged is one that is not there.
    fs::remove_file(farm.artifact()).unwrap();
    assert!(farm.refused("pull oci-dir:old:sha256 --key one.pub").contains("is missing"));
}

#[test]
fn an_archive_is_a_layout() {
    let farm = Farm::installed();
    for (archive, options) in [("gnu.tar", "--format=gnu"), ("pax.tar", "--format=pax")] {
        let tar =
            Command::new("tar").args([options, "-C", "old", "-cf", archive, "."]).current_dir(farm.path()).status();
        assert!(tar.unwrap().success());
        let line = format!("pull oci-archive:{archive}:sha256:1.1.0 --key one.pub --store from-{archive} --activate");
        farm.call(&line).ok();
        let mut there = contents(&farm.path().join(format!("from-{archive}")));
        let mut here = contents(&farm.store());
        let differ = |path: &Path| path.ends_with("install.json");
        there.retain(|path, _| !differ(path));
        here.retain(|path, _| !differ(path));
        assert_eq!(there, here);
        farm.runs(&format!("run --store from-{archive} sha256"));
    }
    let _settings = settings();
    assert_snapshot!("store_archive_no_file", farm.shown("pull oci-archive:no.tar:sha256 --key one.pub"));
    assert_snapshot!("store_archive_no_tar", farm.shown("pull oci-archive:one.pub:sha256 --key one.pub"));
    assert_snapshot!("store_no_source", farm.shown("pull dist --key one.pub"));
    assert_snapshot!("store_which_module", farm.shown("pull oci-dir:old --key one.pub"));
}

#[test]
fn nothing_is_fetched_that_no_believed_key_signed() {
    let _settings = settings();
    let farm = Farm::new();
    // No layer is there to be fetched: what is refused is refused before one is asked for.
    for entry in fs::read_dir(farm.old().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read(&path).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            fs::remove_file(path).unwrap();
        }
    }
    let pull = "pull oci-dir:old:sha256";
    assert_snapshot!("store_pull_unsaid", farm.refused(pull));
    assert_snapshot!("store_pull_wrong_key", farm.refused(&format!("{pull} --key two.pub")));
    let other = digest(b"other");
    assert_snapshot!("store_pull_wrong_digest", farm.refused(&format!("{pull} --digest {other}")));
    farm.policy("not-after = 2001-12-31", "");
    assert_snapshot!("store_pull_expired", farm.refused(&format!("{pull} --trust trust.toml")));
    farm.policy("modules = ['sort']", "");
    assert_snapshot!("store_pull_not_allowed", farm.refused(&format!("{pull} --trust trust.toml")));
    let index = farm.index_of("old", "sha256")["digest"].clone();
    farm.policy("", &format!("[revoked]\ndigests = [{index}]"));
    assert_snapshot!("store_pull_revoked", farm.refused(&format!("{pull} --trust trust.toml")));
    farm.policy("", "[minimum-counter]\nacme = 2");
    assert_snapshot!("store_pull_minimum_counter", farm.refused(&format!("{pull} --trust trust.toml")));
    let shown = farm.call("pull oci-dir:old:sha256 --key one.pub").run();
    assert!(shown.code() == 1 && shown.stderr().contains("is missing"), "{shown}");
    // The signatures of `sort`, pointed at this index.
    let sha256 = farm.index_of("old", "sha256");
    let mut root = forge::read(&farm.old().join("index.json"));
    root["manifests"].as_array_mut().unwrap().retain(|it| it["artifactType"] != BUNDLE);
    fs::write(farm.old().join("index.json"), root.to_string()).unwrap();
    assert_snapshot!("store_pull_unsigned", farm.refused(&format!("{pull} --key one.pub")));
    let new = forge::read(&farm.path().join("new/index.json"));
    let theirs = new["manifests"].as_array().unwrap().iter().find(|it| it["artifactType"] == BUNDLE).unwrap();
    let mut manifest = forge::read(&forge::blob(&farm.path().join("new"), &theirs["digest"]));
    manifest["subject"]["digest"] = sha256["digest"].clone();
    manifest["subject"]["size"] = sha256["size"].clone();
    copy(&farm.path().join("new/blobs"), &farm.old().join("blobs"));
    let mut descriptor = theirs.clone();
    forge::put(&farm.old(), manifest.to_string().as_bytes(), &mut descriptor);
    root["manifests"].as_array_mut().unwrap().push(descriptor);
    fs::write(farm.old().join("index.json"), root.to_string()).unwrap();
    assert_snapshot!("store_pull_other_index", farm.refused(&format!("{pull} --key one.pub")));
}

#[test]
fn an_older_release_stays_out_until_an_operator_says_otherwise() {
    let _settings = settings();
    let farm = Farm::new();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    assert_snapshot!("store_replayed", farm.refused("pull oci-dir:old:sha256 --key one.pub"));
    // A counter is of a release, not of a module.
    assert!(farm.refused("pull oci-dir:old:sort --key one.pub").contains("was seen already"));
    farm.call("pull oci-dir:old:sha256 --key one.pub --allow-rollback").ok();
    farm.call("pull oci-dir:old:sort --key one.pub").ok();
    farm.call("pull oci-dir:new:sort --key one.pub").ok();
    assert!(farm.refused("pull oci-dir:old:sort --key one.pub").contains("was seen already"));
    // What is installed may run again, unless a policy says otherwise.
    farm.runs("run sha256:1.1.0 --key one.pub");
    farm.policy("", "[minimum-counter]\nacme = 2");
    assert_snapshot!("store_run_minimum_counter", farm.shown("run sha256:1.1.0 --trust trust.toml"));
}

#[test]
fn what_is_revoked_after_it_was_installed_does_not_run() {
    let _settings = settings();
    let farm = Farm::installed();
    farm.policy("", "");
    farm.runs("run sha256 --trust trust.toml");
    let artifact = farm.artifact();
    let hex = artifact.file_stem().unwrap().to_str().unwrap();
    farm.policy("", &format!("[revoked]\ndigests = ['sha256:{hex}']"));
    assert_snapshot!("store_run_revoked", farm.shown("run sha256 --trust trust.toml"));
    assert_snapshot!("store_run_wrong_key", farm.shown("run sha256 --key two.pub"));
    assert!(farm.call("verify sha256 --trust trust.toml").fails().stderr().contains("is revoked"));
}

#[test]
fn a_source_that_lies_installs_nothing() {
    if !cfg!(target_arch = "x86_64") {
        return skip("a_source_that_lies_installs_nothing", "it forges the variant for amd64");
    }
    let _settings = settings();
    type Change = fn(&Path, &mut Value, &mut Value, &mut Value);
    let lies: [(&str, Change); 9] = [
        ("other_artifact", |_, _, _, config| config["artifact"]["digest"] = digest(b"other").into()),
        ("smaller_artifact", |_, _, _, config| config["artifact"]["size-bytes"] = 17.into()),
        ("larger_artifact", |_, _, _, config| config["artifact"]["size-bytes"] = 400_000_000.into()),
        ("huge_artifact", |_, _, _, config| config["artifact"]["size-bytes"] = (1_u64 << 62).into()),
        ("larger_layer", |_, _, manifest, _| manifest["layers"][0]["size"] = 99_999_999_u64.into()),
        ("huge_layer", |_, _, manifest, _| manifest["layers"][0]["size"] = (1_u64 << 62).into()),
        ("other_module", |_, _, _, config| config["module"] = "sort".into()),
        ("bomb", |dist, _, manifest, _| forge::put(dist, &bomb(0x68), &mut manifest["layers"][0])),
        ("wide_bomb", |dist, _, manifest, _| forge::put(dist, &bomb(0x90), &mut manifest["layers"][0])),
    ];
    for (name, change) in lies {
        let farm = Farm::new();
        forge::native_variant(&farm.old(), |descriptor, manifest, config| {
            change(&farm.old(), descriptor, manifest, config);
        });
        assert_snapshot!(format!("store_lie_{name}"), farm.refused("pull oci-dir:old:sha256 --allow-unsigned"));
    }
    // Index and config agree with each other, and the artifact asks for more than they say.
    let farm = Farm::new();
    let v3 = farm.path().join("v3.cwasm");
    isomer().arg("compile").arg(guest("sha256")).args(["-t", "x86-64-v3", "-o"]).arg(&v3).ok();
    let bytes = fs::read(&v3).unwrap();
    forge::native_variant(&farm.old(), |_, manifest, config| {
        config["artifact"] = json!({"digest": digest(&bytes), "size-bytes": bytes.len()});
        forge::put(&farm.old(), &bytes, &mut manifest["layers"][0]);
        manifest["layers"][0]["mediaType"] = "application/vnd.isomer.cwasm.v1".into();
    });
    assert_snapshot!("store_lie_requirements", farm.refused("pull oci-dir:old:sha256 --allow-unsigned"));
    // The layer of another module.
    let farm = Farm::new();
    let sort = forge::read(&forge::blob(&farm.old(), &farm.index_of("old", "sort")["digest"]));
    let native = sort["manifests"].as_array().unwrap().iter().find(|it| it["platform"]["architecture"] == "amd64");
    let other = forge::read(&forge::blob(&farm.old(), &native.unwrap()["digest"]));
    forge::native_variant(&farm.old(), |_, manifest, _| manifest["layers"] = other["layers"].clone());
    assert!(farm.refused("pull oci-dir:old:sha256 --allow-unsigned").contains("does not decompress"));
}

/// A zstd frame of 40 KB that says nothing of its size, holds 1.2 GB of zeros, and asks for the window `window`.
fn bomb(window: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
    // Blocks of one byte, repeated 128 KiB times.
    frame.extend([0x02, 0x00, 0x10, 0x00].repeat(10_000));
    frame.extend([0x03, 0x00, 0x10, 0x00]);
    frame
}

#[test]
fn every_byte_of_a_source_is_checked() {
    let farm = Farm::new();
    let index = farm.index_of("old", "sha256");
    let chosen = farm.call("select old sha256 --json").ok().json();
    let manifest = json!(chosen["chosen"]["manifest"]);
    let documents = forge::read(&forge::blob(&farm.old(), &manifest));
    for named in [&index["digest"], &manifest, &documents["config"]["digest"], &documents["layers"][0]["digest"]] {
        let path = forge::blob(&farm.old(), named);
        let original = fs::read(&path).unwrap();
        let mut altered = original.clone();
        altered[original.len() / 2] ^= 1;
        for bytes in [&altered[..], &original[1..], &[], &[&original[..], b" "].concat()] {
            fs::write(&path, bytes).unwrap();
            farm.refused("pull oci-dir:old:sha256 --key one.pub");
        }
        fs::remove_file(&path).unwrap();
        let elsewhere = farm.path().join("elsewhere");
        fs::write(&elsewhere, &original).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(farm.refused("pull oci-dir:old:sha256 --key one.pub").contains("a symbolic link"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, &original).unwrap();
    }
    farm.call("pull oci-dir:old:sha256 --key one.pub --activate").ok();
    farm.runs("run sha256");
}

#[test]
fn what_somebody_could_have_changed_is_hashed() {
    let _settings = settings();
    let farm = Farm::installed();
    if is_root() {
        assert_snapshot!("store_explain_protected", farm.runs("run --explain sha256").shown(farm.path()));
    } else {
        skip("what_somebody_could_have_changed_is_hashed (protected)", "only root can protect files from itself");
    }
    let artifact = farm.artifact();
    fs::set_permissions(farm.store().join("artifacts"), fs::Permissions::from_mode(0o775)).unwrap();
    let explained = farm.runs("run --explain sha256").stderr();
    assert!(explained.contains("its group can write `"), "{explained}");
    assert!(explained.contains("copied into sealed memory and hashed there"), "{explained}");
    // By way of a link, too.
    symlink("store", farm.path().join("link")).unwrap();
    let explained = farm.runs("run --explain --store link sha256").stderr();
    assert!(explained.contains("link` is a symbolic link"), "{explained}");

    let original = fs::read(&artifact).unwrap();
    let mut altered = original.clone();
    altered[original.len() / 2] ^= 1;
    replace(&artifact, &altered);
    assert_snapshot!("store_altered", farm.shown("run sha256"));
    assert!(farm.call("verify sha256 --key one.pub").fails().stderr().contains("the artifact has the digest"));
    replace(&artifact, &original[..100]);
    assert_eq!(farm.call("run sha256").run().code(), 1);
    // A pull mends it, where nobody else can write.
    fs::set_permissions(farm.store().join("artifacts"), fs::Permissions::from_mode(0o755)).unwrap();
    farm.call("pull oci-dir:old:sha256 --key one.pub").ok();
    assert_eq!(fs::read(&artifact).unwrap(), original);
    farm.runs("run sha256");
    fs::remove_file(&artifact).unwrap();
    assert_snapshot!("store_artifact_gone", farm.shown("run sha256"));
    symlink("/etc/passwd", &artifact).unwrap();
    assert_snapshot!("store_artifact_link", farm.shown("run sha256"));
}

fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn a_file_replaced_while_it_is_read_is_the_one_or_the_other() {
    let farm = Farm::installed();
    fs::set_permissions(farm.store().join("artifacts"), fs::Permissions::from_mode(0o775)).unwrap();
    let artifact = farm.artifact();
    let original = fs::read(&artifact).unwrap();
    let mut altered = original.clone();
    // The guest's own code: what it would print is another digest.
    altered[original.len() / 2..].fill(0x90);
    let (stop, swapped) = (AtomicBool::new(false), artifact.with_extension("swap"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for bytes in [&altered, &original] {
                    fs::write(&swapped, bytes).unwrap();
                    fs::rename(&swapped, &artifact).unwrap();
                }
            }
        });
        for _ in 0..40 {
            let ran = farm.call("run sha256").run();
            assert!(ran.stdout().starts_with(ABC) || ran.code() == 1 && ran.stdout().is_empty(), "{ran}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_store_that_everybody_can_write_is_no_word() {
    let _settings = settings();
    let farm = Farm::installed();
    fs::set_permissions(farm.store(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_snapshot!("store_open_to_all", farm.shown("run sha256"));
    assert_snapshot!("store_open_to_all_pull", farm.shown("pull oci-dir:new:sha256 --key one.pub"));
    // The signatures say so, whoever can write there.
    let explained = farm.runs("run --explain sha256 --key one.pub").stderr();
    assert!(explained.contains("everybody can write `"), "{explained}");
}

#[test]
fn whatever_the_group_can_write_is_no_word() {
    let _settings = settings();
    let farm = Farm::installed();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    let active = farm.store().join("active");
    let files = [active.join("sha256.json"), installed.join("install.json"), farm.store().join("store.json")];
    for path in [farm.store(), active, farm.store().join("installed"), installed].iter().chain(&files) {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(before.mode() | 0o020)).unwrap();
        let refused = farm.call("run sha256").fails();
        let expected = format!("its group can write `{}`", path.display());
        assert!(refused.stderr().contains(&expected), "{refused}");
        farm.runs("run sha256 --key one.pub");
        fs::set_permissions(path, before).unwrap();
    }
    farm.runs("run sha256");
    fs::set_permissions(farm.store().join("active"), fs::Permissions::from_mode(0o775)).unwrap();
    assert_snapshot!("store_open_to_group", farm.shown("run sha256"));
    assert_snapshot!("store_open_to_group_pull", farm.shown("pull oci-dir:new:sha256 --key one.pub"));
}

#[test]
fn nothing_is_written_where_others_can_write() {
    let farm = Farm::installed();
    let store = farm.store();
    let below = ["active", "installed", "artifacts", "tmp", "partial", "lock", "store.json", "counters.json"];
    for path in std::iter::once(store.clone()).chain(below.map(|name| store.join(name))) {
        let before = fs::metadata(&path).unwrap().permissions();
        for (more, who) in [(0o020, "its group"), (0o002, "everybody")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(before.mode() | more)).unwrap();
            for line in ["pull oci-dir:new:sha256 --key one.pub", "activate sha256", "rollback sha256", "gc --keep 0"] {
                let refused = farm.refused(line);
                let shown = path.display().to_string().replace(&farm.path().display().to_string(), "[DIR]");
                let expected = format!("{who} can write `{shown}`");
                let hint = format!("hint: `chmod go-w {shown}`");
                assert!(refused.contains(&expected) && refused.contains(&hint), "{line}: {refused}");
            }
        }
        fs::set_permissions(&path, before).unwrap();
    }
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let _settings = settings();
    let farm = Farm::installed();
    // Whichever of the two counts, somebody has read the other.
    let counters = farm.store().join("counters.json");
    fs::write(&counters, r#"{"acme":2,"acme":1}"#).unwrap();
    assert_snapshot!("store_counter_twice", farm.refused("pull oci-dir:old:sha256 --key one.pub"));
    farm.runs("run sha256");
    fs::remove_file(counters).unwrap();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    for file in
        [farm.store().join("store.json"), farm.store().join("active/sha256.json"), installed.join("install.json")]
    {
        let text = fs::read_to_string(&file).unwrap();
        let (key, _) = text[1..].split_once(':').unwrap();
        fs::write(&file, format!("{{{key}:\"other\",{}", &text[1..])).unwrap();
        let refused = farm.call("run sha256").fails();
        let expected = format!("the key `{}` stands twice", key.trim_matches('"'));
        assert!(refused.stderr().contains(&expected) && refused.stderr().contains("hint:"), "{refused}");
        fs::write(&file, text).unwrap();
    }
    farm.runs("run sha256");
}

#[test]
fn what_is_done_is_told_to_machines_too() {
    let _settings = settings();
    let farm = Farm::new();
    let mut session = String::new();
    for line in [
        "pull oci-dir:old:sha256 oci-dir:old:sort --key one.pub --activate --json",
        "pull oci-dir:new:sha256 oci-dir:new:nothing --key one.pub --json",
        "pull oci-dir:new:sha256 oci-dir:old:sha256 --key one.pub --json",
        "activate sha256:1.2.0 --json",
        "rollback sha256 --json",
        "activate sha256:1.2.0",
        "gc --keep 0 --dry-run --json",
        "gc --keep 0 --json",
        "gc --keep 0 --json",
    ] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.shown(line));
    }
    assert_snapshot!("store_json", session);
}

#[test]
fn words_that_name_nothing_say_what_was_expected() {
    let _settings = settings();
    let farm = Farm::installed();
    fs::write(farm.path().join("file"), "a file").unwrap();
    let mut session = String::new();
    for line in [
        "pull oci-dir: --key one.pub",
        "pull oci-dir::sha256 --key one.pub",
        "pull oci-archive: --key one.pub",
        "pull oci-dir:nowhere:sha256 --key one.pub",
        "pull oci-dir:old:sha256 --key one.pub --store file",
        "pull oci-dir:old:sha256 --key one.pub --store file/store",
        "list --store file",
        "run sha256 --key two.pub",
        "run sha256:1.1.0 --key two.pub",
        "run sha256 --digest sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "run old sha256 --key two.pub",
        "run old sha256 --digest sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "verify sha256:1.1.0 --key two.pub",
    ] {
        let shown = farm.shown(line);
        assert!(shown.contains("hint:"), "{line}: {shown}");
        session += &format!("$ isomer-run {line}\n{shown}\n");
    }
    assert_snapshot!("store_words", session);
}

#[test]
fn every_step_of_a_link_to_a_store_is_judged() {
    let farm = Farm::installed();
    let open = farm.path().join("open");
    fs::create_dir(&open).unwrap();
    // Two steps: `link` leads to `open/link`, which leads to the store.
    symlink("../store", open.join("link")).unwrap();
    symlink(open.join("link"), farm.path().join("link")).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    farm.runs("run --store link sha256");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = farm.call("run --store link sha256").fails();
    assert!(refused.stderr().contains(&format!("everybody can write `{}`", open.display())), "{refused}");
    let refused = farm.call("pull --store link oci-dir:new:sha256 --key one.pub").fails();
    assert!(refused.stderr().contains("nothing is written to"), "{refused}");
    farm.runs("run --store link sha256 --key one.pub");
    symlink("turn", farm.path().join("turn")).unwrap();
    assert_eq!(farm.call("run --store turn sha256").run().code(), 1);
}

#[test]
fn a_link_inside_a_store_is_refused_before_anything_is_touched() {
    let _settings = settings();
    for name in ["tmp", "partial", "installed", "artifacts", "active"] {
        let farm = Farm::installed();
        let elsewhere = farm.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("theirs/deep")).unwrap();
        fs::write(elsewhere.join("theirs/deep/file"), b"theirs").unwrap();
        let place = farm.store().join(name);
        if place.exists() {
            fs::rename(&place, farm.path().join("moved")).unwrap();
        }
        symlink(&elsewhere, &place).unwrap();
        for line in ["pull oci-dir:new:sha256 --key one.pub", "activate sha256", "rollback sha256", "gc --keep 0"] {
            let refused = farm.call(line).fails();
            assert!(
                refused.stderr().contains(&format!("store/{name}` is malformed: it is a symbolic link")),
                "{refused}"
            );
            assert!(elsewhere.join("theirs/deep/file").exists(), "{line}");
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "{line}");
        }
        if name == "tmp" {
            assert_snapshot!("store_link_inside", farm.shown("gc --keep 0"));
        }
    }
    // A link in there goes, and what it leads to stays.
    let farm = Farm::installed();
    fs::create_dir(farm.path().join("theirs")).unwrap();
    fs::write(farm.path().join("theirs/file"), b"theirs").unwrap();
    fs::create_dir(farm.store().join("tmp/left")).unwrap();
    symlink(farm.path().join("theirs"), farm.store().join("tmp/link")).unwrap();
    symlink(farm.path().join("theirs"), farm.store().join("tmp/left/link")).unwrap();
    symlink(farm.path().join("theirs"), farm.store().join("partial/link")).unwrap();
    // Nor does it wait for whoever would write into this one.
    assert!(Command::new("mkfifo").arg(farm.store().join("partial/fifo")).status().unwrap().success());
    farm.call("gc --keep 0").ok();
    assert_eq!(fs::read_dir(farm.store().join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(farm.store().join("partial")).unwrap().count(), 0);
    assert!(farm.path().join("theirs/file").exists());
    farm.runs("run sha256");
}

#[test]
fn whoever_waits_for_the_lock_says_so() {
    let farm = Farm::installed();
    let path = farm.store().join("lock");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let lock = fs::File::open(&path).unwrap();
    lock.lock().unwrap();
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| farm.call("activate sha256").ok());
        std::thread::sleep(std::time::Duration::from_secs(6));
        lock.unlock().unwrap();
        waiting.join().unwrap()
    });
    let said = format!("waiting for another isomer-run on `{}`", path.display());
    assert!(waiting.stderr().contains(&said), "{waiting}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn another_modules_index_is_not_active() {
    let _settings = settings();
    let farm = Farm::installed();
    farm.call("pull oci-dir:old:sort --key one.pub --activate").ok();
    fs::copy(farm.store().join("active/sort.json"), farm.store().join("active/sha256.json")).unwrap();
    assert_snapshot!("store_active_other_module", farm.shown("run sha256"));
}

#[test]
fn what_is_damaged_is_in_nobodys_way() {
    let _settings = settings();
    let farm = Farm::installed();
    farm.call("pull oci-dir:old:sort --key one.pub").ok();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    let sort = farm.index_of("old", "sort")["digest"].as_str().unwrap().replace("sha256:", "");
    fs::write(farm.store().join("installed").join(sort).join("index.json"), "{").unwrap();
    let listed = farm.call("list").ok();
    assert!(listed.stdout().contains("sha256:1.2.0") && listed.stderr().contains("is damaged"), "{listed}");
    let mut session = String::new();
    for line in [
        "run sha256:1.1.0",
        "rollback sha256",
        "activate sha256:1.2.0",
        "gc --keep 0",
        "gc --damaged --dry-run",
        "gc --damaged",
        "list",
        "gc --keep 0",
    ] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.shown(line));
    }
    assert_snapshot!("store_damaged", session);
}

#[test]
fn a_damaged_active_version_can_be_left() {
    let _settings = settings();
    for name in ["index.json", "install.json", "blobs"] {
        let farm = Farm::installed();
        farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
        let new = farm.index_of("new", "sha256")["digest"].as_str().unwrap().replace("sha256:", "");
        let installed = farm.store().join("installed").join(new);
        match name {
            "blobs" => {
                // The config of its variant: the index and what it says of itself are whole.
                let chosen = farm.call("select new sha256 --json").ok().json()["chosen"]["manifest"].clone();
                let manifest = forge::read(&forge::blob(&installed, &chosen));
                fs::write(forge::blob(&installed, &manifest["config"]["digest"]), "").unwrap();
            }
            _ => fs::write(installed.join(name), "").unwrap(),
        }
        let before = farm.files();
        let kept = farm.call("gc --keep 0").ok();
        assert!(
            kept.stderr().contains("it stays: pull it again, or remove it with `isomer-run gc --damaged`"),
            "{kept}"
        );
        assert!(kept.stdout() == "0 B removed\n" && farm.files() == before, "{name}: {kept}");
        farm.call("rollback sha256").ok();
        farm.runs("run sha256");
        // Nor does a way back lead there.
        assert!(farm.call("activate sha256:1.2.0").fails().stderr().contains("hint:"));
        assert!(farm.call("rollback sha256").fails().stderr().contains("is still installed and whole"));
        farm.runs("run sha256");
        farm.call("gc --damaged --dry-run").ok();
        farm.call("gc --damaged").ok();
        assert!(!installed.exists() && farm.files().len() < before.len());
        farm.runs("run sha256");
        farm.call("gc --keep 0").ok();
    }
    // Removed while it was active: nothing is, until somebody says so.
    let farm = Farm::installed();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    fs::write(installed.join("index.json"), "").unwrap();
    let mut session = String::new();
    for line in ["run sha256", "gc --damaged", "run sha256", "rollback sha256", "activate sha256", "run sha256"] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.shown(line));
    }
    assert_snapshot!("store_damaged_active", session);
}

#[test]
fn what_is_active_may_be_unknown_and_nothing_is_removed_for_that() {
    let _settings = settings();
    let farm = Farm::installed();
    fs::write(farm.store().join("active/sha256.json"), "x").unwrap();
    let before = farm.files();
    let mut session = String::new();
    for line in ["list", "run sha256", "rollback sha256", "gc --damaged", "gc --keep 0 --damaged"] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.shown(line));
    }
    assert_eq!(farm.files(), before);
    farm.runs("run sha256:1.1.0");
    for line in ["activate sha256:1.1.0", "run sha256"] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.shown(line));
    }
    assert_snapshot!("store_active_malformed", session);
    // As a pull does that activates; whatever is there instead of the file.
    for line in ["activate sha256", "pull oci-dir:old:sha256 --key one.pub --activate"] {
        remove(&farm.store().join("active/sha256.json"));
        fs::create_dir_all(farm.store().join("active/sha256.json/deep")).unwrap();
        let said = farm.call(line).ok();
        assert!(said.stderr().contains("it is a directory, expected a file; there is nothing to go back to"), "{said}");
        farm.runs("run sha256");
    }
}

#[test]
fn the_umask_decides_nothing() {
    let farm = Farm::new();
    let pull = |umask: &str, store: &str| {
        let line =
            format!("umask {umask} && exec \"$0\" pull oci-dir:old:sha256 --key one.pub --activate --store {store}");
        let pulled = Command::new("sh").args(["-c", &line]).arg(isomer_run_path()).current_dir(farm.path()).output();
        assert!(pulled.unwrap().status.success());
        let mut left = vec![farm.path().join(store)];
        while let Some(path) = left.pop() {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let name = path.file_name().unwrap();
            let expected = match path.extension().and_then(|it| it.to_str()) {
                _ if path.is_dir() => 0o755,
                _ if name == "lock" => 0o600,
                Some("cwasm") => 0o444,
                _ => 0o644,
            };
            assert_eq!(mode, expected, "{umask}: {}", path.display());
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    };
    pull("077", "closed");
    pull("000", "open");
}

#[test]
fn what_is_no_store_is_left_alone() {
    let _settings = settings();
    let farm = Farm::installed();
    let pull = "pull oci-dir:new:sha256 --key one.pub";
    assert_snapshot!("store_foreign", farm.shown(&format!("{pull} --store old")));
    assert_snapshot!("store_foreign_list", farm.shown("list --store old"));
    for (name, text) in [("newer", "{\"schema\":2}"), ("no_schema", "{}"), ("no_json", "store")] {
        fs::write(farm.store().join("store.json"), text).unwrap();
        for line in [pull, "list", "activate sha256", "rollback sha256", "gc --keep 1", "run sha256"] {
            assert_eq!(farm.call(line).run().code(), 1, "{line}");
        }
        assert_snapshot!(format!("store_schema_{name}"), farm.refused(pull));
    }
    let farm = Farm::installed();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    fs::rename(&installed, farm.path().join("moved")).unwrap();
    symlink(farm.path().join("moved"), &installed).unwrap();
    let active = farm.store().join("active/sha256.json");
    fs::rename(&active, farm.path().join("active.json")).unwrap();
    symlink(farm.path().join("active.json"), &active).unwrap();
    assert_snapshot!("store_link", farm.shown("run sha256"));
    for name in ["../store", "sha256/../..", "", ".", "@", "sha256@", "a:b:c", "sha256:"] {
        let ran = isomer_run().args(["run", "--store"]).arg(farm.store()).arg(name).run();
        assert_eq!(ran.code(), 1, "{ran}");
    }
}

#[test]
fn another_host_is_told_to_pull_again() {
    let _settings = settings();
    let farm = Farm::installed();
    let mut host = isomer_tests::host();
    host["arch"] = (if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" }).into();
    host["isa"] = json!([]);
    fs::write(farm.path().join("other.json"), host.to_string()).unwrap();
    let shown = farm.shown("check sha256 --host other.json");
    assert!(shown.contains("does not load on the host of"), "{shown}");
    assert!(farm.call("select sha256 --host other.json").fails().stderr().contains("no variant of `sha256` runs"));
    // As if this machine were another one than that for which it was pulled.
    let target = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86-64-v1" };
    farm.call("gc --keep 0").ok();
    fs::remove_dir_all(farm.store()).unwrap();
    farm.call(&format!("pull oci-dir:old:sha256 --key one.pub --activate --target {target}")).ok();
    let ran = farm.call("run sha256").fails();
    let hint = "hint: pull the one that does: `isomer-run pull oci-dir:old:sha256`";
    assert!(ran.stderr().contains("no installed variant of `sha256` runs on this machine"), "{ran}");
    assert!(ran.stderr().contains(hint), "{ran}");
    farm.call("pull oci-dir:old:sha256 --key one.pub").ok();
    farm.runs("run sha256");
    assert_snapshot!("store_no_target", farm.refused("pull oci-dir:old:sha256 --key one.pub --target neoverse-n"));
}

#[test]
fn another_user_reads_and_cannot_write() {
    let test = "another_user_reads_and_cannot_write";
    let farm = Farm::installed();
    let binary = Command::new("cp").arg(isomer_run_path()).arg(farm.path().join("isomer-run")).status().unwrap();
    assert!(binary.success());
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = |line: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(farm.path().join("isomer-run"));
        command.args(line.split(' ')).current_dir(farm.path()).env("ISOMER_STORE", farm.store());
        command.output().unwrap()
    };
    if !is_root() || !isomer_tests::has_program("setpriv") || !nobody("list").status.success() {
        return skip(test, "it takes root, and setpriv, to become somebody else");
    }
    let run = nobody("run --explain sha256");
    let explained = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && explained.contains("is mapped from the store"), "{explained}");
    for line in ["pull oci-dir:new:sha256 --key one.pub", "activate sha256", "rollback sha256", "gc --keep 0"] {
        let refused = nobody(line);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains("Permission denied"), "{line}: {said}");
        assert!(said.contains("hint: run it as the user who owns the store"), "{line}: {said}");
    }
    // The store of somebody who is not root: believed as far as its own word goes, no further.
    let chown = |owner: &str| Command::new("chown").args(["-R", owner]).arg(farm.store()).status().unwrap();
    assert!(chown("1234:1234").success());
    let mapped = |line: &str| String::from_utf8_lossy(&nobody(line).stderr).contains("is mapped from the store");
    assert!(mapped("run --explain sha256"));
    assert!(!mapped("run --explain sha256 --key one.pub"));
    // Root takes no lesser user's word, and writes nothing where one decides what is there.
    let before = farm.files();
    let _settings = settings();
    assert_snapshot!("store_of_another_user", farm.shown("run sha256"));
    assert_snapshot!("store_of_another_user_pull", farm.shown("pull oci-dir:new:sha256 --key one.pub"));
    for line in ["activate sha256", "rollback sha256", "gc --keep 0"] {
        assert!(farm.call(line).fails().stderr().contains("nothing is written to"), "{line}");
    }
    assert_eq!(farm.files(), before);
    let explained = farm.runs("run --explain sha256 --key one.pub").stderr();
    assert!(explained.contains("belongs to the user 1234, not to root"), "{explained}");
    assert!(chown("65534:65534").success());
    let explained = nobody("run --explain sha256");
    assert!(String::from_utf8_lossy(&explained.stderr).contains("belongs to the user who runs this"));
}

fn isomer_run_path() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("isomer-run")
}

#[test]
fn a_damaged_installation_is_replaced_by_the_next_pull() {
    let farm = Farm::installed();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    for name in ["index.json", "oci-layout", "install.json"] {
        fs::write(installed.join(name), "").unwrap();
        farm.call("pull oci-dir:old:sha256 --key one.pub").ok();
        farm.runs("run sha256");
    }
    // Counters that are gone are those of what is installed.
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    fs::remove_file(farm.store().join("counters.json")).unwrap();
    assert!(farm.call("pull oci-dir:old:sha256 --key one.pub").fails().stderr().contains("older"));
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

#[test]
fn what_cannot_be_read_is_not_damaged() {
    let farm = Farm::installed();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    let before = farm.files();
    for files in 4..=12 {
        for line in
            ["gc --damaged", "gc --keep 0 --damaged --dry-run", "rollback sha256", "list", "activate sha256:1.2.0"]
        {
            let limited = format!("ulimit -n {files}; exec \"$0\" {line}");
            let ran = isomer_tests::program("sh").args(["-c", &limited]).arg(isomer_run_path());
            let ran = ran.dir(farm.path()).env("ISOMER_STORE", farm.store()).run();
            if ran.code() == 0 {
                assert!(line != "gc --damaged" || ran.stdout().contains("0 B removed"), "{files}: {ran}");
                farm.call("activate sha256:1.2.0").ok();
            } else {
                assert!(ran.stderr().contains("os error 24"), "{files} {line}: {ran}");
                assert!(!ran.stderr().contains("pull it again") && !ran.stderr().contains("damaged"), "{ran}");
            }
            assert_eq!(farm.files(), before, "{files} {line}");
        }
    }
    // A newer isomer-run may know more.
    let record = installed_from(&farm, "old").join("install.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, format!("{{\"mirror\":\"elsewhere\",{}", &text[1..])).unwrap();
    assert!(farm.call("gc --damaged").ok().stdout().contains("0 B removed"));
    farm.call("rollback sha256").ok();
    farm.runs("run sha256");
}

#[test]
fn what_may_not_be_read_is_not_damaged() {
    let test = "what_may_not_be_read_is_not_damaged";
    let farm = Farm::installed();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    let artifact = artifact_from(&farm, "new");
    fs::copy(isomer_run_path(), farm.path().join("isomer-run")).unwrap();
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = |line: &str| {
        let call = isomer_tests::program("setpriv").line("--reuid 65534 --regid 65534 --clear-groups ./isomer-run");
        call.line(line).dir(farm.path()).env("ISOMER_STORE", farm.store()).run()
    };
    if !is_root() || !isomer_tests::has_program("setpriv") || nobody("list").code() != 0 {
        return skip(test, "it takes root, and setpriv, to become somebody else");
    }
    let chown = Command::new("chown").args(["-R", "65534:65534"]).arg(farm.store()).status().unwrap();
    assert!(chown.success());
    let before = farm.files();
    let unreadable = [installed_from(&farm, "old").join("install.json"), installed_from(&farm, "old").join("blobs")];
    for path in unreadable {
        let mode = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        for line in ["gc --damaged", "gc --keep 0 --damaged", "rollback sha256", "list"] {
            let ran = nobody(line);
            assert!(ran.code() == 1 && ran.stderr().contains("Permission denied"), "{line}: {ran}");
            assert!(!ran.stderr().contains("pull") && !ran.stderr().contains("gc --damaged"), "{line}: {ran}");
        }
        fs::set_permissions(&path, mode).unwrap();
        assert_eq!(farm.files(), before);
    }
    fs::set_permissions(&artifact, fs::Permissions::from_mode(0o000)).unwrap();
    let ran = nobody("run sha256");
    assert!(ran.stderr().contains("must be able to read") && !ran.stderr().contains("pull it again"), "{ran}");
}

#[test]
fn a_version_is_whole_with_all_that_it_runs_from() {
    type Breaks = fn(&Farm);
    let cases: [(&str, Breaks); 7] = [
        ("no artifact", |farm| remove(&artifact_from(farm, "old"))),
        ("another size", |farm| replace(&artifact_from(farm, "old"), b"short")),
        ("a directory", |farm| {
            let artifact = artifact_from(farm, "old");
            remove(&artifact);
            fs::create_dir_all(artifact.join("deep")).unwrap();
        }),
        ("a link", |farm| {
            let artifact = artifact_from(farm, "old");
            fs::rename(&artifact, farm.path().join("theirs")).unwrap();
            symlink(farm.path().join("theirs"), artifact).unwrap();
        }),
        ("no manifest", |farm| {
            let chosen = farm.call("select old sha256 --json").ok().json()["chosen"]["manifest"].clone();
            remove(&forge::blob(&installed_from(farm, "old"), &chosen));
        }),
        ("no bundle", |farm| {
            let installed = installed_from(farm, "old");
            let index = forge::read(&installed.join("index.json"));
            let listed = index["manifests"].as_array().unwrap().iter();
            let signature = listed.clone().find(|it| it["artifactType"] == BUNDLE).unwrap();
            let manifest = forge::read(&forge::blob(&installed, &signature["digest"]));
            remove(&forge::blob(&installed, &manifest["layers"][0]["digest"]));
        }),
        ("no record", |farm| remove(&installed_from(farm, "old").join("install.json"))),
    ];
    for (name, breaks) in cases {
        let broken = || {
            let farm = Farm::installed();
            farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
            breaks(&farm);
            farm
        };
        let farm = broken();
        let before = farm.files();
        let back = farm.call("rollback sha256").fails();
        assert!(back.stderr().contains("is still installed and whole"), "{name}: {back}");
        let kept = farm.call("gc --keep 1").ok();
        assert!(
            kept.stderr().contains("; it stays: pull it again") && kept.stdout() == "0 B removed\n",
            "{name}: {kept}"
        );
        for line in ["activate sha256:1.1.0", "select sha256:1.1.0"] {
            let refused = farm.call(line).fails();
            assert!(
                refused.stderr().contains("hint: pull it again; or `isomer-run gc --damaged`"),
                "{name}: {refused}"
            );
            assert!(!refused.stderr().contains("entity not found"), "{name}: {refused}");
        }
        let listed = farm.call("list").ok();
        assert!(listed.stderr().contains("is damaged") && !listed.stdout().contains("1.1.0  yes"), "{name}: {listed}");
        if name == "no artifact" {
            let rows = farm.call("list --json").ok().json();
            let row = rows.as_array().unwrap().iter().find(|row| row["reference"] == "sha256:1.1.0").unwrap().clone();
            assert!(row["damaged"].as_str().unwrap().contains("is missing"), "{row}");
        }
        assert_eq!(farm.files(), before, "{name}");
        farm.call("gc --damaged").ok();
        assert!(!installed_from(&farm, "old").exists(), "{name}");
        assert_eq!(fs::read_dir(farm.store().join("artifacts")).unwrap().count(), 1, "{name}");
        farm.runs("run sha256");
        // It can be mended as well.
        let farm = broken();
        farm.call("pull oci-dir:old:sha256 --key one.pub --allow-rollback --activate").ok();
        farm.runs("run sha256");
        assert!(farm.call("gc --damaged").ok().stdout().contains("0 B removed"), "{name}");
        if name == "a link" {
            assert!(farm.path().join("theirs").is_file());
        }
    }
}

#[test]
fn nobody_launders_what_others_could_write() {
    let _settings = settings();
    let farm = Farm::installed();
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    let active = farm.store().join("active/sha256.json");
    let digest = |release| farm.index_of(release, "sha256")["digest"].as_str().unwrap().to_owned();
    fs::write(&active, json!({ "index": digest("new"), "earlier": [digest("old")] }).to_string()).unwrap();
    add_to_mode(&active, 0o020);
    for line in ["rollback sha256", "gc --keep 0"] {
        assert!(farm.refused(line).contains("hint: `isomer-run activate sha256:VERSION` says anew"), "{line}");
    }
    assert_snapshot!("store_active_not_believed", farm.shown("rollback sha256"));
    assert!(farm.call("run sha256").fails().stderr().contains("its group can write"));
    // Who names a version says it anew, and nothing of what was written before is taken over.
    let said = farm.call("activate sha256:1.1.0").ok();
    assert!(said.stderr().contains("there is nothing to go back to"), "{said}");
    farm.runs("run sha256");
    assert!(farm.call("rollback sha256").fails().stderr().contains("no version of `sha256` that was active before"));
    // How it was installed is on nobody else's word, either.
    for name in ["", "install.json"] {
        farm.call("activate sha256:1.2.0").ok();
        let path = installed_from(&farm, "old").join(name);
        add_to_mode(&path, 0o020);
        for line in ["activate sha256:1.1.0", "rollback sha256"] {
            let refused = farm.refused(line);
            assert!(refused.contains("its group can write") && refused.contains("hint: pull it again"), "{refused}");
        }
        if !name.is_empty() {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("one.pub", "somebody")).unwrap();
        }
        let line = format!("pull oci-dir:old:sha256 --digest {} --activate", digest("old"));
        let said = farm.call(&line).ok();
        assert!(said.stderr().contains("what was installed is replaced"), "{said}");
        let record = forge::read(&installed_from(&farm, "old").join("install.json"));
        assert_eq!(record["word"], "digest");
        farm.runs("run sha256");
    }
}

#[test]
fn another_modules_version_is_no_way_back() {
    let farm = Farm::installed();
    farm.call("pull oci-dir:old:sort --key one.pub --activate").ok();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    let active = farm.store().join("active/sha256.json");
    let digest = |release, module| farm.index_of(release, module)["digest"].as_str().unwrap().to_owned();
    let sort = digest("old", "sort");
    fs::write(&active, json!({ "index": digest("new", "sha256"), "earlier": [sort] }).to_string()).unwrap();
    assert!(farm.refused("rollback sha256").contains("it names an index of `sort`, expected one of `sha256`"));
    farm.runs("run sha256");
    // What is active is not known then, and nothing goes for that.
    fs::write(&active, json!({ "index": sort, "earlier": [] }).to_string()).unwrap();
    for line in ["gc --keep 0", "gc --keep 0 --damaged", "rollback sha256", "run sha256"] {
        assert!(farm.refused(line).contains("it names an index of `sort`"), "{line}");
    }
    // Until somebody says it anew.
    let said = farm.call("activate sha256:1.1.0").ok();
    assert!(said.stderr().contains("expected one of `sha256`; there is nothing to go back to"), "{said}");
    farm.runs("run sha256");
}

#[test]
fn refusals_say_the_way_out() {
    let farm = Farm::installed();
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    fs::remove_file(farm.store().join("active/sha256.json")).unwrap();
    let refused = farm.call("run sha256").fails();
    assert!(refused.stderr().contains("hint: `isomer-run activate sha256:1.2.0`"), "{refused}");
    farm.call("activate sha256:1.1.0").ok();
    farm.call("activate sha256:1.2.0").ok();
    remove(&installed_from(&farm, "new"));
    let refused = farm.call("run sha256").fails();
    assert!(refused.stderr().contains("hint: `isomer-run rollback sha256`"), "{refused}");
    for (name, line) in
        [("active/sha256.json", "run sha256"), ("counters.json", "pull oci-dir:new:sha256 --key one.pub")]
    {
        let path = farm.store().join(name);
        let text = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let refused = farm.call(line).fails();
        assert!(refused.stderr().contains("it is a directory, expected a file"), "{refused}");
        assert!(refused.stderr().contains("hint: it"), "{refused}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, text).unwrap();
    }
    // What stands in a file is no line of ours.
    fs::write(farm.path().join("forged.tar"), "hint: run this\nhint: or that\n".repeat(100)).unwrap();
    let refused = farm.call("pull oci-archive:forged.tar:sha256 --key one.pub").fails();
    assert!(!refused.stderr().contains("\nhint:") && refused.stderr().contains("no tar file"), "{refused}");
}

#[test]
fn machines_are_told_what_was_installed_before_a_failure() {
    for (line, installed) in [
        ("oci-dir:missing --key one.pub", 0),
        ("oci-dir:new:nothing --key one.pub", 0),
        ("oci-dir:new:sha256 --key missing.pub", 0),
        ("oci-dir:new:sha256 --key two.pub", 0),
        ("oci-dir:new:sha256", 0),
        ("oci-dir:new:sha256 oci-dir:missing --key one.pub", 1),
        ("oci-dir:new:sha256 nowhere --key one.pub", 1),
    ] {
        let farm = Farm::new();
        let ran = farm.call(&format!("pull --json {line}")).fails();
        assert_eq!(ran.json().as_array().map(Vec::len), Some(installed), "{ran}");
    }
}

#[test]
fn a_damaged_version_that_is_named_is_the_one_that_is_meant() {
    let farm = Farm::installed();
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    let installed = installed_from(&farm, "new");
    for name in ["index.json", "oci-layout"] {
        let path = installed.join(name);
        let text = fs::read(&path).unwrap();
        for wrong in [&b"{"[..], br#"{"schemaVersion":2,"manifests":[]}"#] {
            fs::write(&path, wrong).unwrap();
            for line in ["activate sha256:1.2.0", "run sha256:1.2.0"] {
                let refused = farm.refused(line);
                assert!(refused.contains("is damaged") && refused.contains("hint: pull it again"), "{refused}");
            }
            farm.runs("run sha256:1.1.0");
        }
        fs::write(path, text).unwrap();
    }
    // Where not even its own document says what it is called, nothing older is offered for it.
    let index = farm.index_of("new", "sha256")["digest"].as_str().unwrap().to_owned();
    fs::write(forge::blob(&installed, &index.into()), "").unwrap();
    fs::write(installed.join("index.json"), "{").unwrap();
    let refused = farm.call("activate sha256:1.2.0").fails().stderr();
    assert!(refused.starts_with("warning: the installed index") && refused.contains("is not installed"), "{refused}");
    assert!(refused.contains("hint: install it with `isomer-run pull`"), "{refused}");
}

#[test]
fn a_store_that_was_not_made_to_its_end_is_none_yet() {
    let farm = Farm::new();
    fs::create_dir_all(farm.store().join("tmp")).unwrap();
    fs::write(farm.store().join("lock"), "").unwrap();
    let refused = farm.call("list").fails().stderr();
    assert!(
        refused.contains("there is no store in") && refused.contains("hint: `isomer-run pull` makes it"),
        "{refused}"
    );
    farm.call("pull oci-dir:old:sha256 --key one.pub --activate").ok();
    farm.runs("run sha256");
}

#[test]
fn what_was_typed_wrong_is_named_with_what_was_meant() {
    let _settings = settings();
    let farm = Farm::new();
    fs::write(farm.path().join("a.tar"), "").unwrap();
    let mut session = String::new();
    for line in [
        "pull oci-archive:old:sha256 --key one.pub",
        "pull oci-dir:a.tar:sha256 --key one.pub",
        "pull oci-dir:old:sha256:9.9 --key one.pub",
        "run old sha256:9.9 --allow-unsigned",
        "run a.tar sha256 --key one.pub",
        "run ./nope sha256 --key one.pub",
        "run ./nope --key one.pub",
        "run old sha256 --env =x",
        "verify old --key isomer.toml",
        "gc",
        "compile a.wasm",
        "complete bash",
    ] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.shown(line));
    }
    assert_snapshot!("store_typed_wrong", session);
}

#[test]
fn whoever_waits_for_a_pipe_says_so() {
    let farm = Farm::new();
    let pipe = farm.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let running = farm.call("run pipe --allow-unsigned").start();
    std::thread::sleep(std::time::Duration::from_secs(4));
    fs::write(&pipe, "no artifact").unwrap();
    let ran = running.wait();
    assert!(ran.stderr().starts_with("warning: waiting for somebody to write into the pipe `pipe`"), "{ran}");
    assert!(ran.code() == 1 && ran.stderr().contains("error: cannot run `pipe`"), "{ran}");
}
