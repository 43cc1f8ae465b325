//! Results that an attacker wrote, in the cache of a real `buildbox-casd`: none ends in a signed release.

use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use insta::assert_snapshot;
use isomer_testing::casd::Casd;
use isomer_tests::{Call, contents, copy, guest, isomer, scratch, snapshot_settings};
use prost::Message;
use reapi::ActionResult;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const TARGETS: [&str; 2] = ["x86-64-v3", "pulley64"];

/// A farm that has done two jobs, and a project that wants them.
struct Poisoned {
    casd: Casd,
    directory: TempDir,
    /// The results of `numbers` by target, as the farm made them.
    results: BTreeMap<&'static str, (PathBuf, Vec<u8>)>,
    /// The artifact of `numbers` for x86-64-v3.
    artifact: Vec<u8>,
    right: BTreeMap<PathBuf, Vec<u8>>,
}

impl Poisoned {
    fn new(test: &str) -> Option<Poisoned> {
        let casd = Casd::start(test)?;
        let directory = scratch();
        fs::copy(guest("numbers"), directory.path().join("numbers.wasm")).unwrap();
        let manifest =
            format!("[release]\nname='r'\nversion='1.0.0'\ntargets={TARGETS:?}\n[[module]]\npath='numbers.wasm'\n");
        fs::write(directory.path().join("isomer.toml"), manifest).unwrap();
        let mut results = BTreeMap::new();
        for target in TARGETS {
            let before = casd.results();
            let line = format!("compile numbers.wasm -t {target} -o {target} --remote-exec {}", casd.url());
            isomer().line(&line).dir(directory.path()).ok();
            let new = casd.results().into_iter().find(|path| !before.contains(path)).expect("a new result");
            results.insert(target, (new.clone(), fs::read(new).unwrap()));
        }
        isomer().line("release -o right").dir(directory.path()).ok();
        let right = contents(&directory.path().join("right"));
        let artifact = fs::read(directory.path().join("x86-64-v3")).unwrap();
        Some(Poisoned { casd, directory, results, artifact, right })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn result(&self, target: &str) -> ActionResult {
        ActionResult::decode(self.results[target].1.as_slice()).unwrap()
    }

    /// Makes the cache say this of `numbers` for x86-64-v3.
    fn say(&self, result: &ActionResult) {
        fs::write(&self.results["x86-64-v3"].0, result.encode_to_vec()).unwrap();
    }

    /// Makes the cache say that this is the artifact, which has the digest that it should have.
    fn offer(&self, artifact: &[u8]) {
        let mut result = self.result("x86-64-v3");
        let size_bytes = i64::try_from(artifact.len()).unwrap();
        result.output_files[0].digest = Some(reapi::Digest { hash: self.casd.put(artifact), size_bytes });
        self.say(&result);
    }

    fn mend(&self) {
        let (path, bytes) = &self.results["x86-64-v3"];
        fs::write(path, bytes).unwrap();
        self.casd.put(&self.artifact);
    }

    fn release(&self, more: &str) -> Call {
        let line = format!("release --no-cache -o dist {more} {}", self.casd.url());
        isomer().line(&line).dir(self.path())
    }

    /// What was written has the right bytes.
    #[track_caller]
    fn is_right(&self, case: &str) {
        assert_eq!(contents(&self.path().join("dist")), self.right, "{case}");
        fs::remove_dir_all(self.path().join("dist")).unwrap();
    }

    /// The farm's answer ends the release; the cache's costs a warning and the time to do the job here.
    #[track_caller]
    fn is_refused(&self, case: &str, poison: impl Fn()) {
        let mut settings = snapshot_settings();
        settings.add_filter(r"127\.0\.0\.1:\d+", "[ADDRESS]");
        settings.add_filter(r"\b[0-9a-f]{64}/\d+", "[BLOB]");
        poison();
        let ran = self.release("--remote-exec").fails();
        settings.bind(|| assert_snapshot!(format!("poison_{case}"), ran.stderr()));
        assert!(!self.path().join("dist").exists(), "{ran}");
        // The farm can be told to do it again.
        self.release("--remote-skip-cache --remote-exec").ok();
        self.is_right(case);
        poison();
        let ran = self.release("--remote-cache").ok();
        settings.bind(|| assert_snapshot!(format!("poison_{case}_cache"), ran.stderr()));
        self.is_right(case);
        self.mend();
    }

    /// What cannot be a result is none: the job is done.
    #[track_caller]
    fn is_ignored(&self, case: &str, poison: impl Fn()) {
        for how in ["--remote-exec", "--remote-cache"] {
            poison();
            let ran = self.release(how).ok();
            assert_eq!(ran.stderr(), "", "{case}: {ran}");
            self.is_right(case);
        }
        self.mend();
    }
}

#[test]
fn remote_outputs_that_are_not_the_artifact_are_refused() {
    let Some(farm) = Poisoned::new("remote_outputs_that_are_not_the_artifact_are_refused") else { return };
    farm.release("--remote-exec").ok();
    farm.is_right("nothing is wrong yet");
    let artifact = &farm.artifact;
    let pulley = fs::read(farm.path().join("pulley64")).unwrap();
    farm.is_refused("other_target", || farm.offer(&pulley));
    farm.is_refused("cut", || farm.offer(&artifact[..artifact.len() / 2]));
    farm.is_refused("empty", || farm.offer(b""));
    farm.is_refused("wasm", || farm.offer(&fs::read(guest("numbers")).unwrap()));
    // What the artifact says of itself; in the code only a comparison finds it.
    let mut flipped = artifact.clone();
    let triple = artifact.windows(6).position(|window| window == b"x86_64").expect("it says what it is for");
    flipped[triple] ^= 1;
    farm.is_refused("flipped", || farm.offer(&flipped));
    // Bytes that are not those that their name says.
    let mut damaged = artifact.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let hash = farm.casd.put(artifact);
    let blob = farm.casd.blob(&hash);
    fs::write(&blob, &damaged).unwrap();
    let ran = farm.release("--remote-exec").fails();
    assert!(ran.stderr().contains("digest mismatch"), "{ran}");
    assert!(!farm.path().join("dist").exists(), "{ran}");
    let ran = farm.release("--remote-cache").ok();
    assert!(ran.stderr().contains("digest mismatch"), "{ran}");
    farm.is_right("damaged blob");
}

#[test]
fn invalid_cached_results_count_as_missing() {
    let Some(farm) = Poisoned::new("invalid_cached_results_count_as_missing") else { return };
    let failed = ActionResult { exit_code: 1, ..farm.result("x86-64-v3") };
    farm.is_ignored("a cached failure", || farm.say(&failed));
    let killed = ActionResult { exit_code: 137, output_files: Vec::new(), ..ActionResult::default() };
    farm.is_ignored("a cached death", || farm.say(&killed));
    let without = ActionResult { output_files: Vec::new(), ..farm.result("x86-64-v3") };
    farm.is_ignored("no output", || farm.say(&without));
    let mut elsewhere = farm.result("x86-64-v3");
    elsewhere.output_files[0].path = "../artifact.cwasm".to_owned();
    farm.is_ignored("another output", || farm.say(&elsewhere));
    let hash = farm.result("x86-64-v3").output_files[0].digest.clone().unwrap().hash;
    farm.is_ignored("an output that is gone", || {
        let _ = fs::remove_file(farm.casd.blob(&hash));
    });
}

#[test]
fn distrust_detects_wrong_code_with_right_metadata() {
    let Some(farm) = Poisoned::new("distrust_detects_wrong_code_with_right_metadata") else { return };
    let line = "compile other.wat -t x86-64-v3 -o other";
    fs::write(farm.path().join("other.wat"), "(module (func (export \"_start\")))").unwrap();
    isomer().line(line).dir(farm.path()).ok();
    farm.offer(&fs::read(farm.path().join("other")).unwrap());
    for how in ["--remote-exec", "--remote-cache"] {
        let ran = farm.release(&format!("--distrust 100% {how}")).fails();
        let mut settings = snapshot_settings();
        settings.add_filter(r"127\.0\.0\.1:\d+", "[ADDRESS]");
        settings.add_filter("the remote (cache|farm) grpc", "the remote [KIND] grpc");
        settings.bind(|| assert_snapshot!("poison_other_code", ran.stderr()));
        assert!(!farm.path().join("dist").exists(), "{ran}");
    }
}

/// One poisoned answer was in the local cache for ever, as if this machine had compiled it.
#[test]
fn a_remote_answer_is_still_known_as_one_in_the_local_cache() {
    let Some(farm) = Poisoned::new("a_remote_answer_is_still_known_as_one_in_the_local_cache") else { return };
    let path = farm.path();
    fs::write(path.join("other.wat"), "(module (func (export \"_start\")))").unwrap();
    isomer().line("compile other.wat -t x86-64-v3 -o other").dir(path).ok();
    isomer().line("keygen -o key").dir(path).ok();
    farm.offer(&fs::read(path.join("other")).unwrap());
    let url = farm.casd.url();
    let call = |cache: &str, line: &str| isomer().line(line).dir(path).env("ISOMER_CACHE", path.join(cache));
    // Who neither signs nor distrusts takes what the remote says.
    let ran = call("cache", &format!("release -o dist --json --remote-cache {url}")).ok();
    let taken = contents(&path.join("dist"));
    assert_ne!(taken, farm.right, "{ran}");
    let maker = serde_json::json!({"kind": "remote-cache", "url": url});
    assert!(ran.json()["cells"].as_array().unwrap().iter().all(|cell| cell["maker"] == maker), "{ran}");
    let info = call("cache", "cache info --json").ok().json();
    assert_eq!(info["remotes"], serde_json::json!([{"maker": maker, "jobs": 2}]));

    // Afterwards, without the remote: from the cache, or from the release.
    for line in [
        "release -o again --distrust 100%",
        "release -o again --sign key.key",
        "release -o dist --no-cache --distrust 100%",
        "release -o dist --no-cache --sign key.key",
        &format!("release -o again --sign key.key --remote-cache {url}"),
        &format!("compile numbers.wasm -t x86-64-v3 -o again.cwasm --distrust 100% --remote-cache {url}"),
    ] {
        copy(&path.join("cache"), &path.join("copy"));
        let ran = call("copy", line).fails();
        let lie = format!("the artifact of the remote cache {url} has the digest ");
        assert!(ran.stderr().contains(&lie), "{line}: {ran}");
        assert!(!path.join("again").exists() && !path.join("again.cwasm").exists(), "{line}: {ran}");
        assert_eq!(contents(&path.join("dist")), taken, "{line}: {ran}");
        if !line.contains("--no-cache") && !line.contains("--remote-cache") {
            // What was compiled for the comparison has replaced it.
            call("copy", "release -o mended --sign key.key").ok();
            fs::remove_dir_all(path.join("mended")).unwrap();
        }
        fs::remove_dir_all(path.join("copy")).unwrap();
    }
    let mut settings = snapshot_settings();
    settings.add_filter(r"127\.0\.0\.1:\d+", "[ADDRESS]");
    settings.bind(|| assert_snapshot!("poison_sign", call("cache", "sign dist --key key.key").fails().stderr()));
    // With the remote trusted by name, its results are signed.
    call("cache", &format!("sign dist --key key.key --trust-remote {url}")).ok();
    call("cache", &format!("release -o trusting --sign key.key --trust-remote {url}")).ok();
}

/// With nothing poisoned, a signature costs a comparison, and that is told; or a name.
#[test]
fn what_a_remote_made_is_compared_before_it_is_signed() {
    let Some(farm) = Poisoned::new("what_a_remote_made_is_compared_before_it_is_signed") else { return };
    isomer().line("keygen -o key").dir(farm.path()).ok();
    let url = farm.casd.url();
    let release = |output: &str, more: &str| {
        let line = format!("release --no-cache --json -o {output} --sign key.key {more}");
        isomer().line(&line).dir(farm.path()).ok()
    };
    for how in ["--remote-cache", "--remote-exec"] {
        let ran = release("compared", &format!("{how} {url}"));
        assert!(ran.stderr().contains("is compiled locally too and compared"), "{ran}");
        assert!(ran.json()["cells"].as_array().unwrap().iter().all(|cell| cell["maker"].is_null()), "{ran}");
        let ran = release("trusted", &format!("{how} {url} --trust-remote {url}"));
        assert!(!ran.stderr().contains("is compiled locally too"), "{ran}");
        assert!(ran.json()["cells"].as_array().unwrap().iter().all(|cell| cell["maker"]["url"] == url), "{ran}");
        for output in ["compared", "trusted"] {
            isomer().line(&format!("inspect {output}")).dir(farm.path()).ok();
            fs::remove_dir_all(farm.path().join(output)).unwrap();
        }
    }
}
