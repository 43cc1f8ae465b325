//! Work that an earlier call did is taken over only where this user did it: releases, caches and shards that another user,
//! another machine or a remote had a hand in. Each attack here ended in a signed release once.

use insta::assert_snapshot;
use isomer_tests::farm::{Farm, compiled, settings};
use isomer_tests::{OtherUser, Ran, contents, copy, forge, guest, program, scratch, skip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A release of `numbers` into `dist` is due; `right` is what it should be.
struct Attacked {
    farm: Farm,
    right: BTreeMap<PathBuf, Vec<u8>>,
}

impl Attacked {
    fn new() -> Attacked {
        let farm = Farm::with_modules();
        farm.manifest("['x86-64-v2', 'pulley64']", &["numbers"]);
        farm.isomer("keygen -o key").ok();
        farm.isomer("release -o right --no-cache").ok();
        let right = contents(&farm.path().join("right"));
        // The attacker's module, for the same targets.
        farm.put("evil.wasm", fs::read(guest("traps")).unwrap());
        farm.isomer("compile evil.wasm -t x86-64-v2 -o evil.cwasm --no-cache").ok();
        Attacked { farm, right }
    }

    fn path(&self) -> &Path {
        self.farm.path()
    }

    /// Makes `dist` the right release, in which the artifact for x86-64-v2 is the attacker's: every digest is right, and
    /// the job is the one that the victim is about to do.
    fn poison(&self, dist: &Path) {
        let _ = fs::remove_dir_all(dist);
        copy(&self.path().join("right"), dist);
        let evil = fs::read(self.path().join("evil.cwasm")).unwrap();
        let inspected = self.farm.isomer("inspect evil.cwasm --json").ok().json();
        forge::native_variant(dist, |_, manifest, config| {
            config["artifact"] = serde_json::json!({"digest": inspected["digest"], "size-bytes": evil.len()});
            config["code"] = inspected["code"].clone();
            let packed = program("zstd").line("-q -3 -c").arg(self.path().join("evil.cwasm")).ok();
            forge::put(dist, &packed.output.stdout, &mut manifest["layers"][0]);
        });
    }

    /// The release in `dist` is the right one, but for its signature.
    #[track_caller]
    fn is_right(&self, ran: &Ran) {
        let found = contents(&self.path().join("dist"));
        let modules = |contents: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<Value> {
            let index: Value = serde_json::from_slice(&contents[Path::new("index.json")]).unwrap();
            let listed = index["manifests"].as_array().unwrap().clone();
            listed.into_iter().filter(|it| it["annotations"]["dev.isomer.module"] == "numbers").collect()
        };
        assert_eq!(modules(&found), modules(&self.right), "{ran}");
        for (path, bytes) in &self.right {
            if path.starts_with("blobs") {
                assert_eq!(found.get(path), Some(bytes), "{}: {ran}", path.display());
            }
        }
        self.farm.isomer("inspect dist").ok();
    }
}

/// `zstd` packs the attacker's layer.
fn can_forge(test: &str) -> bool {
    let there = isomer_tests::has_program("zstd");
    if !there {
        skip(test, "zstd is not installed");
    }
    there
}

#[test]
fn a_release_takes_nothing_over_that_this_user_did_not_release() {
    if !can_forge("a_release_takes_nothing_over_that_this_user_did_not_release") {
        return;
    }
    let attacked = Attacked::new();
    let dist = attacked.path().join("dist");
    for line in ["release", "release --sign key.key", "release --check-reproducible --sign key.key"] {
        attacked.poison(&dist);
        let ran = attacked.farm.isomer(&format!("{line} --json --no-cache")).ok();
        assert_eq!(compiled(&ran.json()), 2, "{line}: {ran}");
        attacked.is_right(&ran);
    }
    // `plan` says so.
    attacked.poison(&dist);
    let plan = attacked.farm.isomer("plan --why --no-cache").ok();
    assert!(plan.stdout().contains("no record that this user released it"), "{plan}");
    // What this user released is taken over, wherever it was copied.
    let _ = fs::remove_dir_all(&dist);
    copy(&attacked.path().join("right"), &dist);
    let ran = attacked.farm.isomer("release --json --no-cache").ok();
    assert_eq!((compiled(&ran.json()), ran.stderr().as_str()), (0, ""), "{ran}");
    // Without the key that sealed the record it is compiled again.
    let other = scratch();
    let ran = attacked.farm.isomer("release --json --no-cache").env("ISOMER_STATE", other.path().join("state")).ok();
    assert_eq!(compiled(&ran.json()), 2, "{ran}");
    attacked.is_right(&ran);
}

#[test]
fn nothing_is_written_into_or_signed_in_a_directory_of_another_user() {
    let test = "nothing_is_written_into_or_signed_in_a_directory_of_another_user";
    let _settings = settings();
    let Some(mallory) = OtherUser::new() else {
        return skip(test, "it takes root, and setpriv, to become another user");
    };
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v2', 'pulley64']", &["numbers"]);
    // Of this user alone: what other tests have released is recorded.
    let state = scratch();
    let isomer = |line: &str| farm.isomer(line).env("ISOMER_STATE", state.path().join("state"));
    isomer("keygen -o key").ok();
    fs::set_permissions(farm.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let dist = farm.path().join("dist");
    fs::create_dir(&dist).unwrap();
    mallory.own(&dist).unwrap();
    mallory.isomer("release -o dist").dir(farm.path()).ok();
    let before = contents(&dist);
    for (name, line) in [
        ("release", "release --no-cache"),
        ("check_reproducible", "release --no-cache --check-reproducible --sign key.key"),
        ("sign", "sign dist --key key.key"),
        ("sign_trusting_contents", "sign dist --key key.key --trust-contents"),
    ] {
        let ran = isomer(line).fails();
        assert_snapshot!(format!("other_user_{name}"), farm.shown(&ran));
        assert_eq!(contents(&dist), before, "{line}: {ran}");
    }
    // A copy belongs to this user, and is still not this user's work.
    copy(&dist, &farm.path().join("copy"));
    assert_snapshot!("other_user_sign_copy", farm.shown(&isomer("sign copy --key key.key").fails()));
    let ran = isomer("sign copy --key key.key --trust-contents").ok();
    assert!(ran.stdout().starts_with("signed r 1.0.0, counter 0, 1 module, by the key "), "{ran}");
    // For Mallory it is earlier work like any other.
    let ran = mallory.isomer("release --json -o dist").dir(farm.path()).ok();
    assert_eq!(compiled(&ran.json()), 0, "{ran}");
}

/// Every user can compute digests: what makes an entry is the seal.
#[test]
fn a_cache_entry_of_another_key_is_compiled_again() {
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v2', 'pulley64']", &["numbers"]);
    let other = scratch();
    let elsewhere = |line: &str| farm.isomer(line).env("ISOMER_STATE", other.path().join("state"));
    elsewhere("release -o theirs").ok();
    // The files are this user's, as after `cp -r` or `chown`.
    let ran = farm.isomer("release --json").ok();
    assert_eq!(compiled(&ran.json()), 2, "{ran}");
    assert!(ran.stderr().contains("2 results that another key sealed"), "{ran}");
    assert_eq!(contents(&farm.path().join("dist")), contents(&farm.path().join("theirs")));
    // From then on they are this user's own.
    let ran = farm.isomer("release --json -o again").ok();
    assert_eq!((compiled(&ran.json()), ran.stderr().as_str()), (0, ""), "{ran}");

    // An entry that names this user's key, for another artifact of the cache.
    let actions = farm.cached("actions");
    let [mut first, second] = [&actions[0], &actions[1]].map(|path| forge::read(path));
    first["content"]["entry"] = second["content"]["entry"].clone();
    fs::write(&actions[0], first.to_string()).unwrap();
    let ran = farm.isomer("release --json -o forged").ok();
    assert_eq!(compiled(&ran.json()), 1, "{ran}");
    assert!(ran.stderr().contains("is damaged: its seal does not match"), "{ran}");
    assert_eq!(contents(&farm.path().join("forged")), contents(&farm.path().join("theirs")));
}

#[test]
fn functions_of_another_key_are_compiled_again() {
    let farm = Farm::with_modules();
    let other = scratch();
    let line = "compile numbers.wasm -t x86-64-v2 --incremental -o";
    farm.isomer(&format!("{line} theirs")).env("ISOMER_STATE", other.path().join("state")).ok();
    for action in farm.cached("actions") {
        fs::remove_file(action).unwrap();
    }
    let ran = farm.isomer(&format!("{line} ours")).ok();
    assert!(ran.stderr().starts_with("0 of "), "{ran}");
    assert_eq!(fs::read(farm.path().join("theirs")).unwrap(), fs::read(farm.path().join("ours")).unwrap());
}

/// The user's key is lost or exposed: then nothing earlier is trusted, and nothing fails.
#[test]
fn without_a_key_everything_is_compiled() {
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v2', 'pulley64']", &["numbers"]);
    let state = farm.path().join("state");
    let release = |output: &str| farm.isomer("release --json -o").arg(output).env("ISOMER_STATE", &state).ok();
    release("first");
    let key = state.join("seal.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let ran = release("exposed");
    assert_eq!(compiled(&ran.json()), 2, "{ran}");
    assert_snapshot!("no_key_exposed", ran.stderr().replace(&farm.path().display().to_string(), "[DIR]"));
    fs::remove_file(&key).unwrap();
    let ran = release("lost");
    assert_eq!(compiled(&ran.json()), 2, "{ran}");
    assert_eq!(fs::metadata(&key).map(|key| std::os::unix::fs::MetadataExt::mode(&key) & 0o777).unwrap(), 0o600);
    assert_eq!(compiled(&release("again").json()), 0);
    for output in ["exposed", "lost", "again"] {
        assert_eq!(contents(&farm.path().join(output)), contents(&farm.path().join("first")), "{output}");
    }
}

#[test]
fn parts_of_other_machines_are_signed_only_when_they_are_trusted_by_name() {
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v2', 'pulley64']", &["numbers", "matmul"]);
    farm.isomer("keygen -o key").ok();
    let states = [scratch(), scratch()];
    let on = |machine: usize, line: &str| farm.isomer(line).env("ISOMER_STATE", states[machine].path().join("state"));
    on(0, "release --shard 1/2 -o part-1").ok();
    on(1, "release --shard 2/2 -o part-2").ok();
    on(0, "merge part-1 part-2 -o joined").ok();
    assert_snapshot!("sign_parts", farm.shown(&on(0, "sign joined --key key.key").fails()));
    on(0, "sign joined --key key.key --trust-contents").ok();
    // The signature says so.
    let stated =
        |dist: &str| statement(&farm.path().join(dist))["predicate"]["buildDefinition"]["internalParameters"].clone();
    let contents = serde_json::json!({"contents": ["matmul:1.0.0", "numbers:1.0.0"]});
    assert_eq!(stated("joined")["notCompiled"], contents);
    // Parts that this user compiled are as good as a whole.
    on(0, "release --shard 2/2 -o own-2").ok();
    on(0, "merge part-1 own-2 -o own").ok();
    on(0, "sign own --key key.key").ok();
    assert_eq!(stated("own").get("notCompiled"), None);
}

/// What the one signature in a release states.
fn statement(dist: &Path) -> Value {
    let documents = contents(dist).into_values().filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let mut payloads = documents.filter_map(|it| Some(it["dsseEnvelope"]["payload"].as_str()?.to_owned()));
    let decoded = program("base64").arg("-d").stdin(payloads.next().expect("it is signed")).ok();
    serde_json::from_slice(&decoded.output.stdout).expect("a statement is JSON")
}
