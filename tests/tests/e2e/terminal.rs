//! Names that would be obeyed by a terminal, were they printed as they are: of files, modules, sections, profiles and
//! releases. What both programs print shows them and holds no control character; JSON says what they are.

use isomer_tests::{Call, Ran, forge, guest, isomer, isomer_run, scratch};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Clears the screen, sets the title and rings; goes back; writes from right to left; begins another line; and the same
/// for terminals that know the controls of 8 bits.
const HOSTILE: &str = "\x1b[2J\x1b]0;owned\x07\rok\u{202e}txt\u{2066}\nerror: forged\u{9b}31m\u{7f}";

/// Whether a terminal does what the text says.
fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What it printed holds nothing that a terminal obeys, and no line that a name has begun.
#[track_caller]
fn is_harmless(ran: &Ran) {
    for stream in [ran.stdout(), ran.stderr()] {
        let found: Vec<_> = stream.chars().filter(|c| is_obeyed(*c)).collect();
        assert!(found.is_empty(), "{found:?} in {stream:?}");
        assert!(!stream.lines().any(|line| line.starts_with("error: forged")), "{ran}");
    }
}

/// What was escaped can be told from what was not there.
#[track_caller]
fn is_shown(ran: &Ran) {
    is_harmless(ran);
    let text = ran.stdout() + &ran.stderr();
    assert!(text.contains("\\u{1b}[2J") && text.contains("\\u{202e}txt"), "{ran}");
}

fn call(directory: &Path, line: &str) -> Call {
    isomer().line(line).dir(directory)
}

#[test]
fn names_of_files_and_modules() {
    let directory = scratch();
    let name = format!("{HOSTILE}.wasm");
    fs::copy(guest("numbers"), directory.path().join(&name)).unwrap();
    is_shown(&call(directory.path(), "compile -t pulley64,x86-64-v2").arg(&name).ok());
    let ran = call(directory.path(), "compile -t pulley64 --json").arg(&name).ok();
    is_harmless(&ran);
    assert_eq!(ran.json()[0]["module"], HOSTILE, "JSON says what it is");
    let artifact = directory.path().join(format!("{HOSTILE}.pulley64.cwasm"));
    is_shown(&call(directory.path(), "inspect").arg(&artifact).ok());
    is_shown(&call(directory.path(), "inspect").arg(&name).fails());
    is_shown(&isomer_run().line("check").arg(&artifact).ok());
    is_shown(&isomer_run().line("check").arg(directory.path().join(&name)).fails());
    is_shown(&isomer_run().line("run --allow-unsigned").arg(directory.path().join(&name)).fails());
    for stats in ["--stats", "--stats=json"] {
        let call = isomer_run().line("run --allow-unsigned --explain --invoke mix").arg(stats).arg(&artifact);
        let ran = call.line("42 1000").ok();
        is_shown(&ran);
        assert!(stats == "--stats" || ran.stderr().lines().last().unwrap().contains("\\u202etxt"), "{ran}");
    }
    is_shown(&isomer_run().line("list --store").arg(directory.path().join(HOSTILE)).run());
}

#[test]
fn names_of_sections() {
    let directory = scratch();
    let name = directory.path().join("a.cwasm");
    call(directory.path(), "compile -t pulley64 -o a.cwasm").arg(guest("numbers")).ok();
    let mut artifact = fs::read(&name).unwrap();
    // The name of a section that no reader needs, in the table of names.
    let from = b".debug_info\0";
    let hostile = b"\x1b[2J\xe2\x80\xae\rab\0\0";
    let names = artifact.windows(from.len()).rposition(|window| window == from);
    let Some(offset) = names else {
        // The last name in it: the table's own.
        let offset = artifact.windows(10).rposition(|window| window == b".shstrtab\0").unwrap();
        artifact[offset..offset + 9].copy_from_slice(b"\x1b[2J\xe2\x80\xae\ra");
        fs::write(&name, &artifact).unwrap();
        return is_harmless(&call(directory.path(), "inspect a.cwasm").run());
    };
    artifact[offset..offset + from.len()].copy_from_slice(&hostile[..from.len()]);
    fs::write(&name, &artifact).unwrap();
    is_harmless(&call(directory.path(), "inspect a.cwasm").run());
}

#[test]
fn names_and_descriptions_of_profiles() {
    let directory = scratch();
    let profile = toml_string(&format!("{HOSTILE} a profile"));
    let text = format!("description = {profile}\ninherits = 'pulley64'\n");
    fs::write(directory.path().join("p.toml"), text).unwrap();
    is_shown(&call(directory.path(), "targets show p.toml").ok());
    let ran = call(directory.path(), "targets show p.toml --json").ok();
    is_harmless(&ran);
    assert_eq!(ran.json()["description"], format!("{HOSTILE} a profile"));
    let wrong = format!("inherits = {}\n", toml_string(HOSTILE));
    fs::write(directory.path().join("q.toml"), wrong).unwrap();
    is_harmless(&call(directory.path(), "targets check q.toml").fails());
    let key = format!("inherits = 'pulley64'\n{} = 1\n", toml_string(HOSTILE));
    fs::write(directory.path().join("r.toml"), key).unwrap();
    is_harmless(&call(directory.path(), "targets check r.toml").fails());
}

fn toml_string(text: &str) -> String {
    let escaped = text
        .chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c.to_string() } else { format!("\\U{:08X}", u32::from(c)) });
    format!("\"{}\"", escaped.collect::<String>())
}

/// A release whose documents name things so.
#[test]
fn names_in_releases() {
    let directory = scratch();
    let dist = directory.path().join("dist");
    let manifest = format!(
        "[release]\nname = 'r'\nversion = '1.0.0'\ntargets = ['x86-64-v1']\n[[module]]\npath = '{}'\n",
        guest("numbers").display()
    );
    fs::write(directory.path().join("isomer.toml"), manifest).unwrap();
    call(directory.path(), "release --shard 1/1").ok();
    let original = forge::read(&dist.join("index.json"));
    let mut forged = original.clone();
    rename(&mut forged);
    fs::write(dist.join("index.json"), forged.to_string()).unwrap();
    for line in ["inspect dist", "inspect dist --json", "merge dist -o other", "release", "plan", "push dist x.test/y"]
    {
        is_harmless(&call(directory.path(), line).run());
    }
    for line in
        ["select dist/", "verify dist/ --key one.pub", "run --allow-unsigned dist/ numbers", "select dist/ numbers"]
    {
        is_harmless(&isomer_run().line(line).dir(directory.path()).run());
    }
    fs::write(dist.join("index.json"), original.to_string()).unwrap();
    forge::native_variant(&dist, |descriptor, _, config| {
        config["target"] = HOSTILE.into();
        config["engine"] = HOSTILE.into();
        descriptor["annotations"]["dev.isomer.target"] = HOSTILE.into();
        descriptor["annotations"]["dev.isomer.engine"] = HOSTILE.into();
    });
    for line in ["inspect dist", "inspect dist --json", "release"] {
        is_harmless(&call(directory.path(), line).run());
    }
    for line in
        ["select dist/ numbers", "select dist/ numbers --explain", "verify dist/", "run --allow-unsigned dist/ numbers"]
    {
        is_harmless(&isomer_run().line(line).dir(directory.path()).run());
    }
}

/// Puts the hostile name wherever `index.json` says the release's or the module's.
fn rename(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key.starts_with("dev.isomer.") || key == "org.opencontainers.image.ref.name" {
                    if value.is_string() {
                        *value = HOSTILE.into();
                    }
                } else {
                    rename(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(rename),
        _ => {}
    }
}
