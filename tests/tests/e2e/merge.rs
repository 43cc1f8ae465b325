//! Releases that were made in parts, or for two engines, and joined.

use insta::assert_snapshot;
use isomer_tests::farm::{Farm, compiled, settings};
use isomer_tests::forge::{self, digest};
use isomer_tests::{contents, guest, isomer};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A part of a release is not accepted as the whole, and does not replace it.
fn assert_part_stays_a_part(farm: &Farm) {
    let before = ["whole", "part-1"].map(|name| contents(&farm.path().join(name)));
    let whole = farm.isomer("release --shard 1/3 -o whole").fails();
    assert_snapshot!("shard_into_whole", farm.shown(&whole));
    std::os::unix::fs::symlink("part-1", farm.path().join("link")).unwrap();
    let merge = |output: &str| farm.shown(&farm.isomer("merge part-1 part-2 part-3 -o").arg(output).fails());
    assert_snapshot!("merge_into_part", merge("link/."));
    assert!(merge("part-1").contains("the output `part-1` is also the input `part-1`"));
    assert_snapshot!("push_part", farm.shown(&farm.isomer("push part-1 127.0.0.1:1/acme").fails()));
    let inspected = farm.isomer("inspect part-1").ok().stdout();
    assert!(inspected.starts_with("part 1 of 3 of r 1.0.0; `isomer merge` joins the parts\n"), "{inspected}");
    let json = farm.isomer("inspect part-1 --json").ok().json();
    assert_eq!(json[0]["part"], json!({"number": 1, "count": 3}));
    assert_eq!(farm.isomer("inspect whole --json").ok().json()[0]["part"], Value::Null);
    assert_eq!(before, ["whole", "part-1"].map(|name| contents(&farm.path().join(name))));
    // The other way is the way that parts are for: what one machine has done is kept.
    farm.isomer("release -o part-3").ok();
}

#[test]
fn shards_join_to_the_bytes_that_one_machine_makes() {
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['all']", &["numbers", "matmul", "traps"]);
    farm.isomer("release --no-cache -o whole").ok();
    let mut jobs = 0;
    for number in 1..=3 {
        let line = format!("release --no-cache --json --shard {number}/3 -o part-{number}");
        jobs += compiled(&farm.isomer(&line).ok().json());
    }
    let planned = farm.isomer("plan --json --no-cache -o none").ok().json();
    assert_eq!(jobs, planned["jobs"].as_array().unwrap().len(), "each job is done once");
    farm.isomer("merge part-3 part-1 part-2 -o joined").ok();
    let whole = contents(&farm.path().join("whole"));
    assert_eq!(contents(&farm.path().join("joined")), whole);
    // Again, into the same directory, and a second time out of the cache.
    farm.isomer("merge part-1 part-2 part-3 -o joined").ok();
    assert_eq!(contents(&farm.path().join("joined")), whole);

    let ran = farm.isomer("merge part-1 part-3 -o missing").fails();
    assert_snapshot!("merge_missing", farm.shown(&ran));
    assert_snapshot!("merge_missing_two", farm.shown(&farm.isomer("merge part-3 -o missing").fails()));
    let other = ["--counter 4", "--compression none"].map(|option| {
        farm.isomer(&format!("release --shard 2/3 -o differs {option}")).ok();
        farm.shown(&farm.isomer("merge part-1 differs part-3 -o missing").fails())
    });
    assert_snapshot!("merge_other_counter", other[0]);
    assert_eq!(other[0], other[1]);
    farm.manifest("['x86-64-v3']", &["numbers"]);
    farm.isomer("release --no-cache --shard 2/3 -o other").ok();
    let ran = farm.isomer("merge part-1 other part-3 -o missing").fails();
    assert_snapshot!("merge_other_plan", farm.shown(&ran));
    let ran = farm.isomer("merge part-1 part-2 part-3 none -o missing").fails();
    assert_snapshot!("merge_no_release", farm.shown(&ran));
    let ran = farm.isomer("release --shard 4/3 -o missing").misused();
    assert_snapshot!("shard_malformed", farm.shown(&ran));
    assert!(!farm.path().join("missing").exists());
    isomer().line("keygen -o key").dir(farm.path()).env("ISOMER_PASSPHRASE", "secret").ok();
    assert_part_stays_a_part(&farm);
    let sign = isomer().line("sign part-1 --key key.key").dir(farm.path()).env("ISOMER_PASSPHRASE", "secret").fails();
    assert_snapshot!("sign_part", farm.shown(&sign));
}

/// Makes a release say of itself that wasmtime 47 made it.
fn pretend_older(directory: &Path) {
    let read = |descriptor: &Value| forge::read(&forge::blob(directory, &descriptor["digest"]));
    let put = |document: &Value, descriptor: &mut Value| {
        forge::put(directory, document.to_string().as_bytes(), descriptor);
    };
    let mut root = forge::read(&directory.join("index.json"));
    for module in root["manifests"].as_array_mut().unwrap() {
        if module["mediaType"] != "application/vnd.oci.image.index.v1+json" {
            continue;
        }
        let mut index = read(module);
        for descriptor in index["manifests"].as_array_mut().unwrap() {
            if descriptor["annotations"]["dev.isomer.engine"].is_null() {
                continue;
            }
            let mut manifest = read(descriptor);
            let mut config = read(&manifest["config"]);
            config["engine"] = json!("47.0.0");
            config["requirements"]["engine"] = json!("47");
            let all = &config["requirements"];
            let compared = json!([
                all["engine"],
                all["kind"],
                all["arch"],
                all["os"],
                all["isa"],
                all["tunables"],
                all["wasm-features"],
                {}
            ]);
            config["compat"] = json!(digest(compared.to_string().as_bytes()));
            descriptor["annotations"]["dev.isomer.engine"] = json!("wasmtime 47.0.0");
            descriptor["annotations"]["dev.isomer.compat"] = config["compat"].clone();
            descriptor["annotations"]["dev.isomer.requirements"] = json!(config["requirements"].to_string());
            put(&config, &mut manifest["config"]);
            put(&manifest, descriptor);
        }
        put(&index, module);
    }
    fs::write(directory.join("index.json"), root.to_string()).unwrap();
}

#[test]
fn releases_of_two_engines_join_and_each_server_finds_its_own() {
    let _settings = settings();
    let farm = Farm::with_modules();
    farm.manifest("['x86-64-v1', 'x86-64-v3', 'pulley64']", &["numbers"]);
    for output in ["new", "old"] {
        farm.isomer("release -o").arg(output).ok();
    }
    pretend_older(&farm.path().join("old"));
    farm.isomer("merge old new -o both").ok();
    let json = farm.isomer("inspect both --json").ok().json();
    let variants = json[0]["variants"].as_array().unwrap();
    let of = |engine: &str| variants.iter().filter(|variant| variant["config"]["engine"] == engine).count();
    assert_eq!(of("47.0.0"), of("48.0.8"), "{json}");
    assert_eq!(of("47.0.0") + of("48.0.8"), variants.len());

    let mut host = isomer_tests::host();
    let chosen = |host: &Value| {
        farm.put("host.json", host.to_string());
        let select = isomer_tests::isomer_run().line("select both numbers --host host.json --json");
        select.dir(farm.path()).ok().json()["chosen"]["engine"].clone()
    };
    let ours = chosen(&host);
    host["engine"] = json!("47.0.0");
    let theirs = chosen(&host);
    assert_ne!(ours, theirs);

    // Releases are not merged where they have different modules of the same name.
    farm.put("numbers.wasm", fs::read(guest("traps")).unwrap());
    farm.isomer("release -o third").ok();
    let ran = farm.isomer("merge new third -o missing").fails();
    assert_snapshot!("merge_other_module", farm.shown(&ran));
}
