//! Bad input, and what a person sees: exit code, `error:`, cause and `hint:`, snapshot by snapshot
//! (`INSTA_UPDATE=always cargo xtask test --no-lints errors` rewrites them). Nothing half-written may be left behind.

use insta::assert_snapshot;
use isomer_tests::{Ran, SECONDS, guest, isomer, isomer_run, scratch, snapshot_settings_with};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A directory with the files that the cases below want.
struct Case {
    directory: TempDir,
}

impl Case {
    fn new() -> Case {
        Case { directory: scratch() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Case {
        fs::write(self.path().join(name), content).unwrap();
        self
    }

    fn guest(self, name: &str, guest_name: &str) -> Case {
        let content = fs::read(guest(guest_name)).unwrap();
        self.file(name, content)
    }

    /// Compiles `file` for `target`, as `file`'s stem with `.cwasm`.
    fn artifact(self, guest_name: &str, target: &str, name: &str) -> Case {
        isomer().arg("compile").arg(guest(guest_name)).args(["-t", target, "-o"]).arg(self.path().join(name)).ok();
        self
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `isomer LINE` in the directory fails and leaves no file behind.
    #[track_caller]
    fn isomer(&self, line: &str) -> String {
        let before = self.files();
        let ran = isomer().line(line).dir(self.path()).run();
        // The snapshot has the code: 1, or 2 for a command line that is invalid.
        assert!(matches!(ran.code(), 1 | 2), "{ran}");
        assert_eq!(self.files(), before, "{ran}");
        self.shown(&ran)
    }

    /// `isomer-run LINE` in the directory fails.
    #[track_caller]
    fn isomer_run(&self, line: &str) -> String {
        let before = self.files();
        let ran = isomer_run().line(line).dir(self.path()).run();
        // The snapshot has the code: 1, or 2 for a command line that is invalid.
        assert!(matches!(ran.code(), 1 | 2), "{ran}");
        assert_eq!(self.files(), before, "{ran}");
        self.shown(&ran)
    }

    #[track_caller]
    fn shown(&self, ran: &Ran) -> String {
        let shown = ran.shown(self.path());
        assert!(shown.contains("error:"), "{shown}");
        assert!(!shown.contains("panicked"), "{shown}");
        shown
    }
}

fn settings() -> insta::internals::SettingsBindDropGuard {
    snapshot_settings_with(&[(r"\.isomer-\w+\.tmp", "[TEMPORARY]"), SECONDS]).bind_to_scope()
}

#[test]
fn compile_inputs() {
    let _settings = settings();
    let wasm = fs::read(guest("numbers")).unwrap();
    let mut flipped = wasm.clone();
    // The size of the first section.
    flipped[9] ^= 0x40;
    let case = Case::new().file("cut.wasm", &wasm[..wasm.len() / 2]).file("flipped.wasm", flipped).artifact(
        "numbers",
        "x86-64-v3",
        "done.cwasm",
    );
    for name in ["cut.wasm", "flipped.wasm", "done.cwasm"] {
        let snapshot = format!("compile_input_{}", name.replace('.', "_"));
        assert_snapshot!(snapshot, case.isomer(&format!("compile {name} -t x86-64-v3 -o out.cwasm")));
    }
}

#[test]
fn compile_one_bad_input_does_not_stop_the_others() {
    let _settings = settings();
    let case =
        Case::new().guest("good.wasm", "traps").file("bad.wasm", "").file("worse.wat", "(module (func (i32.add)))");
    let ran = isomer().line("compile bad.wasm good.wasm worse.wat -t x86-64-v1 --jobs 1").dir(case.path()).fails();
    assert!(case.path().join("good.x86-64-v1.cwasm").exists(), "{ran}");
    assert_snapshot!("compile_some_bad", case.shown(&ran));
    let json = isomer().line("compile bad.wasm none.wasm -t x86-64-v1 --json").dir(case.path()).fails().json();
    assert_eq!((&json[0]["input"], &json[0]["status"]), (&"bad.wasm".into(), &"unreadable".into()), "{json}");
    assert_eq!(json[1]["input"], "none.wasm", "{json}");
    assert_eq!(json[1]["reason"], "cannot read `none.wasm`: No such file or directory (os error 2)", "{json}");
}

#[test]
fn compile_outputs() {
    let _settings = settings();
    let case = Case::new().guest("a.wasm", "traps");
    fs::create_dir(case.path().join("sub")).unwrap();
    fs::copy(guest("numbers"), case.path().join("sub/a.wasm")).unwrap();
    // It takes no room, and no time.
    fs::File::create(case.path().join("huge.wasm")).unwrap().set_len(5 << 30).unwrap();
    for (name, line) in [
        ("input_is_huge", "compile huge.wasm -t x86-64-v1"),
        ("two_targets_one_file", "compile a.wasm -t x86-64-v1 -t x86-64-v2 -o out.cwasm"),
        ("same_stem", "compile a.wasm sub/a.wasm -t x86-64-v1"),
        ("output_is_input", "compile a.wasm -t x86-64-v1 -o ./a.wasm"),
        ("output_is_directory", "compile a.wasm -t x86-64-v1 -o sub"),
        ("output_in_no_directory", "compile a.wasm -t x86-64-v1 -o no/such/out.cwasm"),
        ("output_is_full", "compile a.wasm -t x86-64-v1 -o /dev/full"),
        ("out_dir_is_file", "compile a.wasm -t x86-64-v1 --out-dir a.wasm"),
        ("no_target", "compile a.wasm"),
        ("many_jobs", "compile a.wasm -t x86-64-v1 -j 100000"),
        ("output_is_dash", "compile a.wasm -t x86-64-v1 -o -"),
        ("input_is_dash", "compile - -t x86-64-v1"),
    ] {
        assert_snapshot!(format!("compile_output_{name}"), case.isomer(line));
    }
    assert_eq!(fs::read(case.path().join("a.wasm")).unwrap(), fs::read(guest("traps")).unwrap());
}

#[test]
fn modules_that_cannot_be_compiled() {
    let _settings = settings();
    let legacy = "(module (tag $t) (func (export \"run\") try throw $t catch $t end))";
    let case = Case::new()
        .file("legacy.wat", legacy)
        .file("custom-page-sizes.wat", "(module (memory 1 (pagesize 1)))")
        .file("two.wat", "(module (memory 1 (pagesize 1)) (func (param i64 i64 i64 i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))")
        .file("no-simd.toml", "inherits = 'x86-64-v3'\n[wasm]\nsimd = false\nrelaxed-simd = false")
        .guest("simd.wasm", "matmul")
        .guest("threads.wasm", "threads");
    for (name, line) in [
        ("legacy_exceptions", "compile legacy.wat -t x86-64-v3,neoverse-n1"),
        ("off_by_default", "compile custom-page-sizes.wat -t x86-64-v3"),
        ("two_proposals", "compile two.wat -t x86-64-v3"),
        ("switched_off", "compile simd.wasm -t no-simd.toml"),
        ("simd_on_riscv64", "compile simd.wasm -t riscv64gc"),
        ("threads_on_pulley", "compile threads.wasm -t pulley64,pulley64be"),
    ] {
        assert_snapshot!(format!("inexpressible_{name}"), case.isomer(line));
    }
}

/// What lies beside a user's profile never changes what a shipped one means.
#[test]
fn shipped_profiles_inherit_from_shipped_ones() {
    let epochs = "triple = 'x86_64-unknown-linux-gnu'\n[wasm]\nepoch-interruption = true";
    let case = Case::new().file("x86-64-v1.toml", epochs).file("edge.toml", "inherits = 'x86-64-v3'");
    let digest = |name: &str| {
        isomer().line("targets show").arg(name).arg("--json").dir(case.path()).ok().json()["digest"].clone()
    };
    assert_eq!(digest("edge.toml"), digest("x86-64-v3"));
    assert_ne!(digest("x86-64-v1.toml"), digest("x86-64-v1"));
    // One's own file is what one's own profile inherits from.
    let case = case.file("own.toml", "inherits = 'x86-64-v1'");
    let own = isomer().line("targets show own.toml --json").dir(case.path()).ok().json();
    assert_eq!(
        own["digest"],
        isomer().line("targets show x86-64-v1.toml --json").dir(case.path()).ok().json()["digest"]
    );
}

/// Notes about the shipped profiles are not printed for a file of one's own.
#[test]
fn targets_check_reports_only_the_given_file() {
    let case = Case::new()
        .file("own.toml", "description = 'a box'\ninherits = 'x86-64-v3'\nisa = ['avxvnni']")
        .file("twin.toml", "inherits = 'x86-64-v3'");
    let checked = |file: &str| isomer().line("targets check").arg(file).dir(case.path()).ok().stdout();
    assert_eq!(checked("own.toml").lines().count(), 1, "{}", checked("own.toml"));
    assert!(checked("own.toml").starts_with("1 valid profile: "));
    assert!(
        checked("twin.toml").contains("twin: the same effective settings as x86-64-v3"),
        "{}",
        checked("twin.toml")
    );
    // A shipped one under its own name has no double, and a directory without any is a mistake.
    fs::create_dir_all(case.path().join("copied")).unwrap();
    fs::create_dir_all(case.path().join("empty")).unwrap();
    let shipped = isomer_tests::root().join("targets/x86-64-v3.toml");
    fs::copy(shipped, case.path().join("copied/x86-64-v3.toml")).unwrap();
    assert_eq!(checked("copied").lines().count(), 1, "{}", checked("copied"));
    let _settings = settings();
    assert_snapshot!("targets_check_nothing", case.isomer("targets check empty"));
}

#[test]
fn releases_that_are_not_written() {
    let _settings = settings();
    let head = "[release]\nname = 'r'\nversion = '1.0.0'\ntargets = ['x86-64-v1']\n";
    let module = "[[module]]\npath = 'a.wasm'\n";
    let case =
        Case::new().guest("a.wasm", "traps").file("legacy.wat", "(module (tag $t) (func try throw $t catch $t end))");
    fs::write(case.path().join("isomer.toml"), format!("{head}{module}[[module]]\npath = 'legacy.wat'\n")).unwrap();
    assert_snapshot!("manifest_refused_module", case.isomer("release --jobs 1"));
    let other = Case::new().guest("a.wasm", "traps").file("isomer.toml", format!("{head}{module}"));
    fs::create_dir(other.path().join("full")).unwrap();
    fs::write(other.path().join("full/precious.txt"), "mine").unwrap();
    assert_snapshot!("release_into_other_directory", other.isomer("release -o full"));
    assert_eq!(fs::read(other.path().join("full/precious.txt")).unwrap(), b"mine");
    assert_snapshot!("release_into_file", other.isomer("release -o a.wasm"));
    std::os::unix::fs::symlink("nowhere", other.path().join("link")).unwrap();
    assert_snapshot!("release_into_link", other.isomer("release -o link"));
    fs::create_dir(other.path().join("torn")).unwrap();
    fs::write(other.path().join("torn/index.json"), "{").unwrap();
    assert_snapshot!("release_into_torn", other.isomer("release -o torn"));
    // A plan of what would be refused is none.
    for name in ["full", "a.wasm", "link", "torn"] {
        let refused = other.isomer(&format!("release -o {name}"));
        for line in ["plan", "release --check-reproducible"] {
            assert_eq!(other.isomer(&format!("{line} -o {name}")), refused, "{line} {name}");
        }
    }
}

#[test]
fn inspect_of_a_cut_artifact() {
    let _settings = settings();
    let case = Case::new().artifact("numbers", "x86-64-v3", "a.cwasm");
    let bytes = fs::read(case.path().join("a.cwasm")).unwrap();
    fs::write(case.path().join("cut.cwasm"), &bytes[..bytes.len() / 3]).unwrap();
    assert_snapshot!("inspect_cut_cwasm", case.isomer("inspect cut.cwasm"));
}

#[test]
fn check_and_run_artifacts() {
    let _settings = settings();
    let case = Case::new()
        .artifact("sha256", "x86-64-v1", "v1.cwasm")
        .artifact("numbers", "x86-64-v1", "library.cwasm")
        .artifact("sha256", "neoverse-v2", "arm.cwasm")
        .artifact("adder", "x86-64-v1", "component.cwasm")
        .guest("a.wasm", "sha256")
        .file("empty.cwasm", "")
        .file("text.cwasm", "hello");
    let bytes = fs::read(case.path().join("v1.cwasm")).unwrap();
    fs::write(case.path().join("cut.cwasm"), &bytes[..bytes.len() - 1000]).unwrap();
    fs::write(case.path().join("other-engine.cwasm"), with_engine_version(&bytes)).unwrap();
    for (name, line) in [
        ("check_missing", "check missing.cwasm"),
        ("check_empty", "check empty.cwasm"),
        ("check_text", "check text.cwasm"),
        ("check_wasm", "check ./a.wasm"),
        ("check_cut", "check cut.cwasm"),
        ("check_other_engine", "check other-engine.cwasm"),
        ("check_other_architecture", "check arm.cwasm"),
        ("run_missing", "run --allow-unsigned missing.cwasm"),
        ("run_wasm", "run --allow-unsigned ./a.wasm"),
        ("run_cut", "run --allow-unsigned cut.cwasm"),
        ("run_other_engine", "run --allow-unsigned other-engine.cwasm"),
        ("run_other_architecture", "run --allow-unsigned arm.cwasm"),
        ("run_untrusted", "run v1.cwasm"),
        (
            "run_wrong_digest",
            "run --digest sha256:0000000000000000000000000000000000000000000000000000000000000000 v1.cwasm",
        ),
        ("run_not_a_digest", "run --digest sha256:123 v1.cwasm"),
        ("run_library", "run --allow-unsigned library.cwasm"),
        ("run_no_export", "run --allow-unsigned --invoke nothing library.cwasm"),
        ("run_bad_argument", "run --allow-unsigned --invoke mix library.cwasm one two"),
        ("run_few_arguments", "run --allow-unsigned --invoke mix library.cwasm 1"),
        ("run_component_no_export", "run --allow-unsigned --invoke nothing() component.cwasm"),
        ("run_component_library", "run --allow-unsigned component.cwasm"),
        ("run_missing_dir", "run --allow-unsigned --dir nowhere v1.cwasm"),
    ] {
        assert_snapshot!(name, case.isomer_run(line));
    }
}

/// The artifact as version 49 of the engine would mark it.
fn with_engine_version(bytes: &[u8]) -> Vec<u8> {
    let at = bytes.windows(4).position(|window| window == b"\0\x0248").expect("the engine section holds its version");
    let mut changed = bytes.to_vec();
    changed[at + 3] = b'9';
    changed
}

#[test]
fn hosts() {
    let _settings = settings();
    let case = Case::new()
        .artifact("sha256", "x86-64-v4", "a.cwasm")
        .file("nothing.json", "")
        .file("list.json", "[]")
        .file("typo.json", r#"{"arch": "x86_64", "os": "linux", "isa": ["sse42"]}"#)
        .file("key.json", r#"{"arch": "x86_64", "os": "linux", "isa": [], "cores": 4}"#)
        .file("arch.json", r#"{"arch": "mips", "os": "linux", "isa": []}"#)
        .file("pulley.json", r#"{"arch": "pulley64", "os": "unknown", "isa": []}"#)
        .file("v2.json", r#"{"arch": "x86_64", "os": "linux", "isa": ["fxsr", "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cmpxchg16b"]}"#)
        .file("windows.json", r#"{"arch": "x86_64", "os": "windows", "isa": ["fxsr", "sse", "sse2"]}"#)
        .file("older.json", r#"{"arch": "x86_64", "os": "linux", "isa": ["fxsr", "sse", "sse2"], "engine": "47.0.1"}"#);
    for name in ["missing", "nothing", "list", "typo", "key", "arch", "pulley", "v2", "windows", "older"] {
        let line = format!("check a.cwasm --host {name}.json");
        assert_snapshot!(format!("host_{name}"), case.isomer_run(&line));
    }
}
