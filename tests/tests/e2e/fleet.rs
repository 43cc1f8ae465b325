//! A fleet of real servers, one for each file of `tests/hosts`: what the kernel prints there means the extensions that
//! the file says, and `select` finds the form for the best target whose every extension the server has.

use isomer_tests::{examples, isomer, isomer_run, root, scratch};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What the files have an expectation for: a scalar module, one with SIMD, one with threads.
const MODULES: [&str; 3] = ["sha256", "matmul", "threads"];

/// A file of `tests/hosts`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    cpu: String,
    /// Where the facts come from.
    source: String,
    arch: String,
    /// The extensions, by isomer's names.
    isa: BTreeSet<String>,
    /// By module, the best shipped target that the server meets, or `none`. Not the name of a variant: which targets
    /// share one depends on the code that comes out.
    expect: BTreeMap<String, String>,
    /// What the kernel prints, by its own keys (in /proc/cpuinfo), and the register `vlenb`.
    kernel: BTreeMap<String, String>,
}

/// The kernel's words, all of which must be there, and the extensions that they mean.
#[rustfmt::skip]
const MEANING: &[(&str, &[&str], &[&str])] = &[
    ("x86_64", &["fxsr"], &["fxsr"]),
    ("x86_64", &["sse"], &["sse"]),
    ("x86_64", &["sse2"], &["sse2"]),
    ("x86_64", &["pni"], &["sse3"]),
    ("x86_64", &["ssse3"], &["ssse3"]),
    ("x86_64", &["sse4_1"], &["sse4.1"]),
    ("x86_64", &["sse4_2"], &["sse4.2"]),
    ("x86_64", &["popcnt"], &["popcnt"]),
    ("x86_64", &["cx16"], &["cmpxchg16b"]),
    ("x86_64", &["avx"], &["avx"]),
    ("x86_64", &["avx2"], &["avx2"]),
    ("x86_64", &["fma"], &["fma"]),
    ("x86_64", &["bmi1"], &["bmi1"]),
    ("x86_64", &["bmi2"], &["bmi2"]),
    ("x86_64", &["abm"], &["lzcnt"]),
    ("x86_64", &["avx_vnni"], &["avxvnni"]),
    ("x86_64", &["avx512f"], &["avx512f"]),
    ("x86_64", &["avx512vl"], &["avx512vl"]),
    ("x86_64", &["avx512dq"], &["avx512dq"]),
    ("x86_64", &["avx512_bitalg"], &["avx512bitalg"]),
    ("x86_64", &["avx512vbmi"], &["avx512vbmi"]),
    ("x86_64", &["avx512_vnni"], &["avx512vnni"]),
    ("aarch64", &["fp"], &["fp"]),
    ("aarch64", &["asimd"], &["neon"]),
    ("aarch64", &["atomics"], &["lse"]),
    ("aarch64", &["fphp", "asimdhp"], &["fp16"]),
    ("aarch64", &["asimddp"], &["dotprod"]),
    ("aarch64", &["i8mm"], &["i8mm"]),
    ("aarch64", &["paca"], &["paca"]),
    // Part of I until the specification split them off.
    ("riscv64", &["i"], &["zicsr", "zifencei"]),
    ("riscv64", &["m"], &["m"]),
    ("riscv64", &["a"], &["a"]),
    ("riscv64", &["f"], &["f"]),
    ("riscv64", &["d"], &["d"]),
    ("riscv64", &["c", "d"], &["zca", "zcd"]),
    ("riscv64", &["v"], &["v"]),
    ("riscv64", &["zcb"], &["zcb"]),
    ("riscv64", &["zba"], &["zba"]),
    ("riscv64", &["zbb"], &["zbb"]),
    ("riscv64", &["zbs"], &["zbs"]),
    ("riscv64", &["zbc"], &["zbc"]),
    ("riscv64", &["zicond"], &["zicond"]),
    ("riscv64", &["zfa"], &["zfa"]),
    ("riscv64", &["zfhmin"], &["zfhmin"]),
    ("riscv64", &["zfh"], &["zfh"]),
    ("riscv64", &["zvbb"], &["zvbb"]),
    ("riscv64", &["zvfh"], &["zvfh"]),
    ("riscv64", &["vlenb=16"], &["zvl32b", "zvl64b", "zvl128b"]),
    ("riscv64", &["vlenb=32"], &["zvl32b", "zvl64b", "zvl128b", "zvl256b"]),
    ("s390x", &["45"], &["high-word", "distinct-ops", "load-store-on-cond", "population-count", "interlocked-access1"]),
    ("s390x", &["49"], &["miscellaneous-extensions"]),
    ("s390x", &["53"], &["load-store-on-cond-2"]),
    ("s390x", &["58"], &["miscellaneous-extensions-2"]),
    ("s390x", &["61"], &["miscellaneous-extensions-3"]),
    ("s390x", &["84"], &["miscellaneous-extensions-4"]),
    ("s390x", &["129", "vx"], &["vector"]),
    ("s390x", &["135", "vx"], &["vector-enhancements-1"]),
    ("s390x", &["148", "vx"], &["vector-enhancements-2"]),
    ("s390x", &["198", "vx"], &["vector-enhancements-3"]),
];

/// What Cranelift uses of every machine of an architecture, whatever the target.
const BASELINE: &[(&str, &[&str])] = &[
    ("x86_64", &["fxsr", "sse", "sse2"]),
    ("aarch64", &["fp", "neon"]),
    ("riscv64", &["m", "a", "f", "d", "zicsr", "zifencei"]),
    (
        "s390x",
        &[
            "high-word",
            "distinct-ops",
            "load-store-on-cond",
            "population-count",
            "interlocked-access1",
            "miscellaneous-extensions",
            "load-store-on-cond-2",
            "miscellaneous-extensions-2",
            "vector",
            "vector-enhancements-1",
        ],
    ),
];

impl Server {
    /// The interpreter's target.
    fn bytecode(&self) -> &'static str {
        if self.arch == "s390x" { "pulley64be" } else { "pulley64" }
    }

    fn has_baseline(&self) -> bool {
        let (_, baseline) = BASELINE.iter().find(|(arch, _)| *arch == self.arch).expect("each architecture has one");
        baseline.iter().all(|name| self.isa.contains(*name))
    }

    fn runs(&self, arch: &str, needs: &BTreeSet<String>) -> bool {
        arch == self.bytecode() || arch == self.arch && self.has_baseline() && needs.is_subset(&self.isa)
    }

    /// What the kernel prints, in words.
    fn words(&self) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for (key, text) in &self.kernel {
            match (self.arch.as_str(), key.as_str()) {
                ("x86_64", "flags") | ("aarch64", "Features") | ("s390x", "features" | "facilities") => {
                    words.extend(text.split_whitespace().map(str::to_owned));
                }
                ("riscv64", "isa") => {
                    let mut parts = text.strip_prefix("rv64").expect("a 64-bit machine").split('_');
                    words.extend(parts.next().unwrap_or_default().chars().map(String::from));
                    words.extend(parts.map(str::to_owned));
                }
                ("riscv64", "vlenb") => _ = words.insert(format!("vlenb={text}")),
                _ => panic!("{}: no kernel prints `{key}` on {}", self.cpu, self.arch),
            }
        }
        words
    }
}

fn meanings(arch: &str) -> impl Iterator<Item = (&'static [&'static str], &'static [&'static str])> {
    MEANING.iter().filter(move |(of, ..)| *of == arch).map(|(_, words, names)| (*words, *names))
}

/// By file name.
fn fleet() -> BTreeMap<String, Server> {
    let files = fs::read_dir(root().join("tests/hosts")).unwrap().map(|entry| entry.unwrap().path());
    let server = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let server = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name, server)
    };
    files.map(server).collect()
}

#[test]
fn kernel_flags_map_to_the_recorded_extensions() {
    let fleet = fleet();
    assert!(fleet.len() >= 28, "only {} servers", fleet.len());
    for (name, server) in &fleet {
        assert!(!server.cpu.is_empty() && !server.source.is_empty(), "{name}");
        let words = server.words();
        let meant = meanings(&server.arch).filter(|(all, _)| all.iter().all(|word| words.contains(*word)));
        let meant: BTreeSet<String> = meant.flat_map(|(_, names)| names).map(|name| (*name).to_owned()).collect();
        assert_eq!(meant, server.isa, "{name}");
    }
    // A row that no server uses is one that nothing here would find a mistake in.
    for (arch, words, names) in MEANING {
        let used =
            fleet.values().any(|server| server.arch == *arch && names.iter().all(|name| server.isa.contains(*name)));
        assert!(used, "{arch} {words:?}");
    }
    for target in targets() {
        let named: BTreeSet<_> = meanings(&target.arch).flat_map(|(_, names)| names).copied().collect();
        let unnamed: Vec<_> = target.needs.iter().filter(|name| !named.contains(name.as_str())).collect();
        assert!(unnamed.is_empty(), "{}: no kernel's word for {unnamed:?}", target.name);
    }
}

/// A shipped profile.
struct Target {
    name: String,
    arch: String,
    needs: BTreeSet<String>,
}

fn targets() -> Vec<Target> {
    let listed = isomer().line("targets --json").ok().json();
    let target = |target: &Value| {
        let (machine, _) = text(&target["triple"]).split_once('-').expect("a triple");
        // Rust's name of the architecture; the triple of RISC-V names its extensions too.
        let arch = if machine.starts_with("riscv64") { "riscv64" } else { machine };
        Target { name: text(&target["name"]).to_owned(), arch: arch.to_owned(), needs: texts(&target["isa"]) }
    };
    listed.as_array().unwrap().iter().map(target).collect()
}

/// A variant in the example release.
struct Variant {
    target: String,
    arch: String,
    serves: BTreeSet<String>,
    needs: BTreeSet<String>,
}

/// The variants of each module, by manifest.
fn release() -> BTreeMap<String, BTreeMap<String, Variant>> {
    let inspected = isomer().arg("inspect").arg(examples()).arg("--json").ok().json();
    let variant = |variant: &Value| {
        let config = &variant["config"];
        let serves = config["serves"].as_array().unwrap().iter().map(|served| text(&served["target"]).to_owned());
        let requirements = &config["requirements"];
        let variant = Variant {
            target: text(&config["target"]).to_owned(),
            arch: text(&requirements["arch"]).to_owned(),
            serves: serves.collect(),
            needs: texts(&requirements["isa"]),
        };
        (variant, config["module"].clone())
    };
    let mut modules: BTreeMap<String, BTreeMap<String, Variant>> = BTreeMap::new();
    for module in inspected.as_array().unwrap() {
        for entry in module["variants"].as_array().unwrap() {
            let (variant, module) = variant(entry);
            modules.entry(text(&module).to_owned()).or_default().insert(text(&entry["manifest"]).to_owned(), variant);
        }
    }
    modules
}

#[test]
fn every_server_gets_the_best_variant_that_it_runs() {
    let (targets, release, directory) = (targets(), release(), scratch());
    for (name, server) in fleet() {
        let file = directory.path().join("host.json");
        let host = json!({"arch": server.arch, "os": "linux", "cpu": server.cpu, "isa": server.isa});
        fs::write(&file, host.to_string()).unwrap();
        assert_eq!(server.expect.keys().collect::<Vec<_>>(), BTreeSet::from(MODULES).iter().collect::<Vec<_>>());
        for (module, expected) in &server.expect {
            let at = format!("{module} on {name}");
            let variants = &release[module];
            expected_is_best(&at, &server, expected, &targets, variants);
            let select = isomer_run().arg("select").arg(examples()).args([module, "--json", "--host"]).arg(&file);
            check_selection(&at, &server, expected, &select.run().json(), variants);
        }
    }
}

/// The expectation, by the profiles' lists alone: a target that the module was compiled for and the server meets, and
/// no other requires all of that and more.
fn expected_is_best(
    at: &str,
    server: &Server,
    expected: &str,
    targets: &[Target],
    variants: &BTreeMap<String, Variant>,
) {
    let compiled = |target: &&Target| variants.values().any(|variant| variant.serves.contains(&target.name));
    let met = targets.iter().filter(compiled).filter(|target| server.runs(&target.arch, &target.needs));
    let (native, bytecode): (Vec<_>, Vec<_>) = met.partition(|target| target.arch == server.arch);
    let candidates = if native.is_empty() { bytecode } else { native };
    let Some(best) = candidates.iter().find(|target| target.name == expected) else {
        assert!(expected == "none" && candidates.is_empty(), "{at}: {expected} is not among what it could run");
        return;
    };
    for other in &candidates {
        let stronger = other.needs.is_superset(&best.needs) && other.needs != best.needs;
        assert!(!stronger, "{at}: {} is better than {expected}", other.name);
    }
}

/// What `isomer-run select --json` printed, against the expectation and the release.
fn check_selection(at: &str, server: &Server, expected: &str, printed: &Value, variants: &BTreeMap<String, Variant>) {
    let of = |entry: &Value| &variants[text(&entry["manifest"])];
    if expected == "none" {
        assert!(printed["chosen"].is_null(), "{at}: {printed:#}");
    } else {
        assert!(!printed["chosen"].is_null(), "{at}: nothing chosen");
        let chosen = of(&printed["chosen"]);
        assert!(server.runs(&chosen.arch, &chosen.needs), "{at}: {} asks for more than is there", chosen.target);
        let serving = variants.values().find(|variant| variant.serves.contains(expected)).expect("was looked for");
        // Another than the one that serves the target: code came out such that one which uses more of the server does
        // not serve it.
        let as_good = chosen.arch == serving.arch && chosen.needs.len() >= serving.needs.len();
        let target = &chosen.target;
        assert!(chosen.serves.contains(expected) || as_good, "{at}: {target} instead of {expected}");
    }
    let rejected = printed["rejected"].as_array().unwrap();
    assert_eq!(rejected.len() + usize::from(expected != "none"), variants.len(), "{at}");
    for entry in rejected {
        let variant = of(entry);
        let Some(mismatches) = entry["mismatches"].as_array() else {
            assert!(server.runs(&variant.arch, &variant.needs), "{at}: {} outranked, but does not run", variant.target);
            continue;
        };
        if variant.arch != server.arch {
            assert!(!server.runs(&variant.arch, &variant.needs), "{at}: {} would run", variant.target);
            continue;
        }
        let lacking: Vec<_> = mismatches.iter().map(|mismatch| text(&mismatch["needs"])).collect();
        assert!(!lacking.is_empty() && lacking.iter().all(|name| !server.isa.contains(*name)), "{at}: {entry:#}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}")).iter().map(|value| text(value).to_owned()).collect()
}
