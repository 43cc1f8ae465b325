//! What to compile for. Profiles to hold against each other leave nothing open: where WebAssembly gives a choice (the
//! bits of a NaN, relaxed vectors) every one of them makes the same.

use crate::random::Numbers;
use crate::suite::Setting;
use isomer_tests::{host, isomer};
use serde_json::Value;
use std::collections::BTreeSet;

/// A profile: its name, and the text of its file where it is none of the shipped ones.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The name.
    pub name: String,
    /// The file.
    pub text: Option<String>,
}

impl Profile {
    /// One that users get.
    pub fn shipped(name: &str) -> Profile {
        Profile { name: name.to_owned(), text: None }
    }

    /// With these settings; unchanged without any.
    pub fn with(&self, settings: &[Setting]) -> Profile {
        if settings.is_empty() {
            return self.clone();
        }
        let Profile { name, .. } = self;
        let mut text = format!("description = \"for a suite\"\ninherits = \"{name}\"\n");
        for table in ["codegen", "wasm"] {
            let own = settings.iter().filter(|setting| setting.table == table);
            let lines: String = own.map(|Setting { key, value, .. }| format!("{key} = {value}\n")).collect();
            text += &format!("[{table}]\n{lines}");
        }
        Profile { name: format!("{name}-with-settings"), text: Some(text) }
    }

    /// With nothing left open.
    pub fn closed(&self) -> Profile {
        let Profile { name, .. } = self;
        let text = format!("description = \"to compare\"\ninherits = \"{name}\"\n{CLOSED}");
        Profile { name: format!("{name}-closed"), text: Some(text) }
    }
}

const CLOSED: &str = "[codegen]\nnan-canonicalization = true\n[wasm]\nrelaxed-simd-deterministic = true\n";

/// The shipped profiles whose artifacts this machine runs without emulation, and the other ones of its architecture.
pub fn of_this_machine() -> (Vec<Profile>, Vec<Profile>) {
    let host = host();
    let has = |name: &Value| host["isa"].as_array().is_some_and(|isa| isa.contains(name));
    let targets = isomer().line("targets --json").ok().json();
    let arch = host["arch"].as_str().expect("a host has an architecture");
    let pulley = if arch == "s390x" { "pulley64be-" } else { "pulley64-" };
    let own = targets.as_array().expect("a list").iter().filter(|target| {
        let triple = target["triple"].as_str().unwrap_or_default();
        triple.starts_with(arch) || triple.starts_with(pulley)
    });
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        own.partition(|target| target["isa"].as_array().is_some_and(|isa| isa.iter().all(has)));
    let profile = |target: &&Value| Profile::shipped(target["name"].as_str().expect("a target has a name"));
    (here.iter().map(profile).collect(), elsewhere.iter().map(profile).collect())
}

/// This machine's extensions.
pub fn extensions_here() -> BTreeSet<String> {
    let host = host();
    let isa = host["isa"].as_array().expect("a host has extensions").iter();
    isa.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// Extensions with what each needs beside it. `isomer` refuses a profile in which that is missing.
const NEEDS: [(&str, &[&str]); 32] = [
    ("sse3", &[]),
    ("ssse3", &["sse3"]),
    ("sse4.1", &["ssse3"]),
    ("sse4.2", &["sse4.1"]),
    ("popcnt", &[]),
    ("cmpxchg16b", &[]),
    ("avx", &["sse4.2"]),
    ("avx2", &["avx"]),
    ("fma", &["avx"]),
    ("bmi1", &[]),
    ("bmi2", &[]),
    ("lzcnt", &[]),
    ("avx512f", &["avx2", "fma"]),
    ("avx512vl", &["avx512f"]),
    ("avx512dq", &["avx512vl"]),
    ("avx512bitalg", &["avx512vl"]),
    ("avx512vbmi", &["avx512vl"]),
    ("avx512vnni", &["avx512vl"]),
    ("avxvnni", &["avx2"]),
    ("lse", &[]),
    ("fp16", &[]),
    ("dotprod", &[]),
    ("i8mm", &[]),
    ("zca", &[]),
    ("zcd", &["zca"]),
    ("zba", &[]),
    ("zbb", &[]),
    ("zbs", &[]),
    ("zicond", &[]),
    ("zfa", &[]),
    ("v", &[]),
    ("zvbb", &["v"]),
];

/// A profile of a random part of `extensions`, with random settings of those that change no result.
pub fn random(triple: &str, extensions: &BTreeSet<String>, seed: u64) -> Profile {
    let mut numbers = Numbers(seed);
    let mut picked: BTreeSet<&str> = BTreeSet::new();
    // Each comes after what it needs.
    for (name, needs) in NEEDS {
        let allowed = extensions.contains(name) && needs.iter().all(|needed| picked.contains(needed));
        if allowed && numbers.below(4) > 0 {
            picked.insert(name);
        }
    }
    let isa = picked.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let mut pick = |of: &[&'static str]| of[numbers.below(of.len())];
    let text = format!(
        "description = \"random\"\ntriple = \"{triple}\"\nisa = [{isa}]\n\
         [optimize]\nopt-level = \"{}\"\nregalloc-algorithm = \"{}\"\nmemory-init-cow = {}\n\
         [codegen]\nnan-canonicalization = true\nheap-access-spectre-mitigation = {}\n\
         [wasm]\nrelaxed-simd-deterministic = true\n",
        pick(&["none", "speed", "speed-and-size"]),
        pick(&["backtracking", "single-pass"]),
        pick(&["true", "false"]),
        pick(&["true", "false"]),
    );
    Profile { name: format!("random-{seed}"), text: Some(text) }
}
