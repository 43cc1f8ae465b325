//! Forms of one target: metered, debugging and plain ones beside each other, and which of them a server runs.

use isomer_tests::native::native;
use isomer_tests::{guest, isomer, isomer_run, scratch};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Writes `isomer.toml` into `directory` and the release that it describes into `dist`, and returns what `isomer` printed on
/// standard error.
fn release(directory: &Path, targets: &str, module: &str) -> String {
    let (baseline, guest) = (native().baseline, guest("numbers"));
    let text = format!(
        "[release]\nname = 'forms'\nversion = '1.0.0'\ntargets = {targets}\n[[module]]\npath = '{}'\n{module}",
        guest.display()
    );
    fs::write(directory.join("isomer.toml"), text.replace("NATIVE", baseline)).unwrap();
    isomer().dir(directory).args(["release", "--no-cache"]).ok().stderr()
}

/// What `select` answers in `directory`.
fn select(directory: &Path, options: &[&str]) -> Value {
    isomer_run().dir(directory).args(["select", "dist/", "numbers", "--json"]).args(options).ok().json()
}

fn target(selection: &Value) -> String {
    selection["chosen"]["target"].as_str().expect("something is chosen").to_owned()
}

/// The reason why the variant for `target` was not chosen.
fn outranked(selection: &Value, target: &str) -> String {
    let rejected = selection["rejected"].as_array().expect("a list");
    let found = rejected.iter().find(|form| form["target"] == target).unwrap_or_else(|| panic!("{selection}"));
    found["outranked"].as_str().unwrap_or_else(|| panic!("{selection}")).to_owned()
}

#[test]
fn a_server_gets_the_form_that_keeps_what_it_asks_for() {
    let directory = scratch();
    let dir = directory.path();
    let native = native().baseline;
    release(dir, "['NATIVE', 'pulley64']", "limits = ['none', 'epoch', 'fuel']\n");
    let plain = select(dir, &[]);
    assert_eq!(target(&plain), native);
    assert_eq!(outranked(&plain, &format!("{native}+epoch")), format!("compatible, but {native} has no epoch checks"));
    assert_eq!(outranked(&plain, &format!("{native}+fuel")), format!("compatible, but {native} has no fuel counting"));
    assert_eq!(target(&select(dir, &["--limit", "deadline"])), format!("{native}+epoch"));
    assert_eq!(target(&select(dir, &["--limit", "fuel"])), format!("{native}+fuel"));
    // Overlays in any order, and forms that a server names.
    assert_eq!(target(&select(dir, &["--target", "pulley64+epoch"])), "pulley64+epoch");
    let both = isomer_run().dir(dir).args(["select", "dist/", "numbers", "--limit", "deadline,fuel"]).fails();
    assert!(both.stderr().contains(&format!("release the module for `{native}+epoch+fuel` too")), "{both}");
    for form in [native.to_owned(), format!("{native}+epoch"), format!("{native}+fuel"), "pulley64+fuel".to_owned()] {
        let run = ["run", "--allow-unsigned", "--target", &form, "--invoke", "popcnt32", "dist/", "numbers", "255"];
        let ran = isomer_run().dir(dir).args(run).ok();
        assert_eq!(ran.stdout(), "8\n", "{form}: {ran}");
    }
    let unknown = isomer_run()
        .dir(dir)
        .args(["run", "--allow-unsigned", "--target", "pulley64+epohc", "dist/", "numbers"])
        .fails();
    assert!(unknown.stderr().contains("did you mean `pulley64+epoch`?"), "{unknown}");
}

#[test]
fn a_store_keeps_the_form_for_each_limit_beside_the_fastest_one() {
    let directory = scratch();
    let dir = directory.path();
    let native = native().baseline;
    release(dir, "['NATIVE']", "limits = ['none', 'epoch']\n");
    let store = dir.join("store");
    let call = |words: &[&str]| isomer_run().dir(dir).env("ISOMER_STORE", &store).args(words).run();
    let pull = |options: &[&str]| call(&[&["pull", "oci-dir:dist", "--allow-unsigned", "--json"], options].concat());
    let targets = |json: &Value| -> Vec<String> {
        json.as_array().unwrap().iter().map(|row| row["target"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(targets(&pull(&["--activate"]).json()), [native]);
    let missing = call(&["select", "numbers", "--limit", "deadline"]);
    assert!(missing.stderr().contains("isomer-run pull oci-dir:dist --limit deadline"), "{missing}");
    assert_eq!(targets(&pull(&["--limit", "deadline"]).json()), [native.to_owned(), format!("{native}+epoch")]);
    let chosen = |options: &[&str]| target(&call(&[&["select", "numbers", "--json"], options].concat()).json());
    assert_eq!((chosen(&[]), chosen(&["--limit", "deadline"])), (native.to_owned(), format!("{native}+epoch")));
    let failed = pull(&["--limit", "fuel"]);
    assert!(failed.code() == 1 && failed.stderr().contains("release the module for"), "{failed}");
    let not_installed = call(&["run", "--target", "pulley64", "numbers"]);
    assert!(not_installed.stderr().contains("--target pulley64"), "{not_installed}");
}

/// README's profile with epochs beside the plain one that it inherits from.
#[test]
fn a_slower_profile_is_chosen_only_by_who_asks_for_it() {
    let directory = scratch();
    let dir = directory.path();
    let native = native().baseline;
    let profile = |name: &str, text: &str| fs::write(dir.join(format!("{name}.toml")), text).unwrap();
    // First by name, and with the highest priority.
    let edge = format!("inherits = '{native}'\npriority = 100\n[wasm]\nepoch-interruption = true\n");
    profile("a-edge-box", &edge);
    release(dir, "['a-edge-box.toml', 'NATIVE']", "");
    let selection = select(dir, &[]);
    assert_eq!(target(&selection), native);
    assert!(outranked(&selection, "a-edge-box").contains("epoch checks"), "{selection}");
    let form = &selection["rejected"][0];
    assert_eq!((&form["costs"], &form["priority"]), (&json!(["epoch-interruption"]), &json!(100)), "{selection}");
    assert_eq!(target(&select(dir, &["--limit", "deadline"])), "a-edge-box");
    assert_eq!(target(&select(dir, &["--target", "a-edge-box"])), "a-edge-box");
    let text = isomer_run().dir(dir).args(["select", "dist/", "numbers", "--explain"]).ok().stdout();
    assert!(text.contains("has no epoch checks"), "{text}");
    let text = isomer().dir(dir).args(["inspect", "dist/"]).ok().stdout();
    assert!(text.contains("; with epoch checks; priority 100"), "{text}");
    // What only the code generator saw is in the index, too.
    profile("a-edge-box", &format!("inherits = '{native}'\n[optimize]\nopt-level = 'none'\n"));
    release(dir, "['a-edge-box.toml', 'NATIVE']", "");
    assert!(outranked(&select(dir, &[]), "a-edge-box").contains("unoptimized code"));
}

#[test]
fn a_priority_decides_between_equals_and_recompiles_nothing() {
    let directory = scratch();
    let dir = directory.path();
    let native = native().baseline;
    let profile = |name: &str, priority: &str| {
        let text = format!("inherits = '{native}'\n{priority}\n[optimize]\nmemory-init-cow = false\n");
        fs::write(dir.join(format!("{name}.toml")), text).unwrap();
    };
    profile("b-own", "");
    let warned = release(dir, "['b-own.toml', 'NATIVE']", "");
    let expected = format!("only the names of b-own and {native} decide which is chosen");
    assert!(warned.contains(&expected), "{warned}");
    let planned = isomer().dir(dir).arg("plan").ok();
    assert!(planned.stderr().contains(&expected), "{planned}");
    let loser = if native < "b-own" { "b-own" } else { native };
    assert!(outranked(&select(dir, &[]), loser).contains("comes first by name"));

    profile("b-own", "priority = 1");
    let json = isomer().dir(dir).args(["release", "--no-cache", "--json"]).ok();
    assert_eq!(json.stderr(), "", "the priority decides");
    let cells = json.json()["cells"].clone();
    assert!(cells.as_array().unwrap().iter().all(|cell| cell["compiled"] == false), "{cells}");
    let selection = select(dir, &[]);
    assert_eq!(target(&selection), "b-own");
    assert!(outranked(&selection, native).contains("has the priority 1, not 0"), "{selection}");

    profile("b-own", "priority = 9999");
    let ran = isomer().dir(dir).arg("plan").fails();
    assert!(
        ran.stderr().contains("b-own.toml:2: `priority` is 9999; expected a whole number from -1000 to 1000"),
        "{ran}"
    );
}

#[test]
fn a_release_holds_forms_of_overlays_of_ones_own() {
    let directory = scratch();
    let dir = directory.path();
    let overlay = dir.join("overlays/deadline.toml");
    fs::create_dir(dir.join("overlays")).unwrap();
    fs::write(&overlay, "description = 'ours'\n[wasm]\nepoch-interruption = true\n").unwrap();
    release(dir, "['NATIVE', 'NATIVE+overlays/deadline.toml']", "");
    let form = format!("{}+deadline", native().baseline);
    assert_eq!(target(&select(dir, &[])), native().baseline);
    assert_eq!(target(&select(dir, &["--limit", "deadline"])), form);
    let run = ["run", "--allow-unsigned", "--target", &form, "--invoke", "popcnt32", "dist/", "numbers", "255"];
    assert_eq!(isomer_run().dir(dir).args(run).ok().stdout(), "8\n");
    fs::write(&overlay, "[wasm]\nepoch-interuption = true\n").unwrap();
    let refused = isomer().dir(dir).args(["release", "--no-cache"]).fails();
    let message = "overlays/deadline.toml:2: unknown key `epoch-interuption` in [wasm]";
    assert!(refused.stderr().contains(message), "{refused}");
    assert!(refused.stderr().contains("did you mean `epoch-interruption`?"), "{refused}");
}

/// Predictions and equal code work within each set of limits, and never across.
#[test]
fn limits_multiply_forms_and_not_compilations() {
    let directory = scratch();
    let dir = directory.path();
    let module = format!("[[module]]\npath = '{}'\nlimits = ['none', 'epoch']\n", guest("tail-call").display());
    let head = "[release]\nname = 'forms'\nversion = '1.0.0'\ntargets = ['x86-64-v3', 'x86-64-v4', 'icelake-server']\n";
    fs::write(dir.join("isomer.toml"), format!("{head}{module}")).unwrap();
    let json = isomer().dir(dir).args(["release", "--json", "--verify-collapse"]).ok().json();
    assert_eq!(json["predictions"]["wrong"], json!([]), "{json}");
    let cells = json["cells"].as_array().unwrap();
    let served = |target: &str| {
        let cell = cells.iter().find(|cell| cell["target"] == target).unwrap_or_else(|| panic!("{target}: {json}"));
        cell["by"].as_str().map(str::to_owned)
    };
    for (target, by) in [
        ("x86-64-v3", None),
        ("x86-64-v4", Some("x86-64-v3")),
        ("icelake-server", Some("x86-64-v3")),
        ("x86-64-v3+epoch", None),
        ("x86-64-v4+epoch", Some("x86-64-v3+epoch")),
        ("icelake-server+epoch", Some("x86-64-v3+epoch")),
    ] {
        assert_eq!(served(target).as_deref(), by, "{target}");
    }
    // A target may be named by its alias, with overlays in any order, and by what its form serves.
    let shown = isomer().args(["targets", "show", "x86-64-v4", "--json"]).ok().json();
    let isa = shown["isa"].as_array().unwrap().iter().map(|row| row["name"].clone());
    let isa: Vec<_> = isa.chain(["fxsr", "sse", "sse2"].map(Value::from)).collect();
    fs::write(dir.join("host.json"), json!({"arch": "x86_64", "os": "linux", "isa": isa}).to_string()).unwrap();
    for (asked, expected) in [
        ("haswell", "x86-64-v3"),
        ("haswell+epoch", "x86-64-v3+epoch"),
        ("skylake-avx512+epoch", "x86-64-v3+epoch"),
        ("icelake-server", "x86-64-v3"),
    ] {
        let options = ["select", "dist/", "tail-call", "--json", "--host", "host.json", "--target", asked];
        assert_eq!(target(&isomer_run().dir(dir).args(options).ok().json()), expected, "{asked}");
    }
}
