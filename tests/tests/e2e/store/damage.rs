//! Damaged stores: what is damaged, what only cannot be read, and how it is mended.

use super::{artifact_from, installed_from, is_root, isomer_run_path, remove, replace, settings};
use insta::assert_snapshot;
use isomer_tests::farm::{BUNDLE, Farm};
use isomer_tests::forge;
use isomer_tests::{copy_program, has_program, program, skip};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

#[test]
fn a_damaged_version_does_not_block_other_commands() {
    let _settings = settings();
    let farm = Farm::with_store();
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
        session += &format!("$ isomer-run {line}\n{}\n", farm.session(line));
    }
    assert_snapshot!("store_damaged", session);
}

#[test]
fn a_damaged_active_version_can_be_rolled_back() {
    let _settings = settings();
    for name in ["index.json", "install.json", "blobs"] {
        let farm = Farm::with_store();
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
        assert!(kept.stderr().contains("it stays: pull it again, or collect what is damaged"), "{kept}");
        assert!(kept.stdout() == "0 B removed\n" && farm.files() == before, "{name}: {kept}");
        farm.call("rollback sha256").ok();
        farm.runs("run sha256");
        // Nor does a way back lead there.
        assert!(farm.call("activate sha256:1.2.0").fails().stderr().contains("hint:"));
        assert!(farm.call("rollback sha256").fails().stderr().contains("is still installed and intact"));
        farm.runs("run sha256");
        farm.call("gc --damaged --dry-run").ok();
        farm.call("gc --damaged").ok();
        assert!(!installed.exists() && farm.files().len() < before.len());
        farm.runs("run sha256");
        farm.call("gc --keep 0").ok();
    }
    // Removed while it was active: nothing is, until one is activated.
    let farm = Farm::with_store();
    let installed = fs::read_dir(farm.store().join("installed")).unwrap().next().unwrap().unwrap().path();
    farm.call("pull oci-dir:new:sha256 --key one.pub").ok();
    fs::write(installed.join("index.json"), "").unwrap();
    let mut session = String::new();
    for line in ["run sha256", "gc --damaged", "run sha256", "rollback sha256", "activate sha256", "run sha256"] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.session(line));
    }
    assert_snapshot!("store_damaged_active", session);
}

#[test]
fn an_unreadable_active_record_removes_nothing() {
    let _settings = settings();
    let farm = Farm::with_store();
    fs::write(farm.store().join("active/sha256.json"), "x").unwrap();
    let before = farm.files();
    let mut session = String::new();
    for line in ["list", "run sha256", "rollback sha256", "gc --damaged", "gc --keep 0 --damaged"] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.session(line));
    }
    assert_eq!(farm.files(), before);
    farm.runs("run sha256:1.1.0");
    for line in ["activate sha256:1.1.0", "run sha256"] {
        session += &format!("$ isomer-run {line}\n{}\n", farm.session(line));
    }
    assert_snapshot!("store_active_malformed", session);
    // As a pull does that activates; whatever is there instead of the file.
    for line in ["activate sha256", "pull oci-dir:old:sha256 --key one.pub --activate"] {
        remove(&farm.store().join("active/sha256.json"));
        fs::create_dir_all(farm.store().join("active/sha256.json/deep")).unwrap();
        let printed = farm.call(line).ok();
        assert!(
            printed
                .stderr()
                .contains("it is a directory, expected a file; there is no earlier version to roll back to"),
            "{printed}"
        );
        farm.runs("run sha256");
    }
}

#[test]
fn a_damaged_installation_is_replaced_by_the_next_pull() {
    let farm = Farm::with_store();
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

#[test]
fn running_out_of_descriptors_is_not_damage() {
    let farm = Farm::with_store();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    let before = farm.files();
    for files in 4..=12 {
        for line in
            ["gc --damaged", "gc --keep 0 --damaged --dry-run", "rollback sha256", "list", "activate sha256:1.2.0"]
        {
            let limited = format!("ulimit -n {files}; exec \"$0\" {line}");
            let ran = program("sh").args(["-c", &limited]).arg(isomer_run_path());
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
fn unreadable_files_are_not_damage() {
    let test = "unreadable_files_are_not_damage";
    let farm = Farm::with_store();
    farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
    let artifact = artifact_from(&farm, "new");
    copy_program(&isomer_run_path(), &farm.path().join("isomer-run"));
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_other = |line: &str| {
        let call = program("setpriv").line("--reuid 65534 --regid 65534 --clear-groups ./isomer-run");
        call.line(line).dir(farm.path()).env("ISOMER_STORE", farm.store()).run()
    };
    if !is_root() || !has_program("setpriv") || as_other("list").code() != 0 {
        return skip(test, "it takes root, and setpriv, to become another user");
    }
    let chown = Command::new("chown").args(["-R", "65534:65534"]).arg(farm.store()).status().unwrap();
    assert!(chown.success());
    let before = farm.files();
    let unreadable = [installed_from(&farm, "old").join("install.json"), installed_from(&farm, "old").join("blobs")];
    for path in unreadable {
        let mode = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        for line in ["gc --damaged", "gc --keep 0 --damaged", "rollback sha256", "list"] {
            let ran = as_other(line);
            assert!(ran.code() == 1 && ran.stderr().contains("Permission denied"), "{line}: {ran}");
            assert!(!ran.stderr().contains("pull") && !ran.stderr().contains("gc --damaged"), "{line}: {ran}");
        }
        fs::set_permissions(&path, mode).unwrap();
        assert_eq!(farm.files(), before);
    }
    fs::set_permissions(&artifact, fs::Permissions::from_mode(0o000)).unwrap();
    let ran = as_other("run sha256");
    assert!(ran.stderr().contains("must be able to read") && !ran.stderr().contains("pull it again"), "{ran}");
}

#[test]
fn a_version_is_complete_only_with_every_file_it_runs_from() {
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
            let farm = Farm::with_store();
            farm.call("pull oci-dir:new:sha256 --key one.pub --activate").ok();
            breaks(&farm);
            farm
        };
        let farm = broken();
        let before = farm.files();
        let back = farm.call("rollback sha256").fails();
        assert!(back.stderr().contains("is still installed and intact"), "{name}: {back}");
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
fn naming_a_damaged_version_does_not_select_another() {
    let farm = Farm::with_store();
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
