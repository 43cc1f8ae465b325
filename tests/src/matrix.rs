//! `tests/matrix.toml`: on which CPU each target is proven. Read by the tests that do so and by the one that holds
//! README.md to it.

use crate::foreign::{Foreign, Machine};
use crate::{host, isomer, isomer_run, root};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

/// A target.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name.
    pub target: String,
    emulator: Option<String>,
    cpu: Option<String>,
    #[serde(default)]
    more: BTreeSet<String>,
    /// CPUs that must be refused.
    #[serde(default)]
    pub lacking: Vec<Lacking>,
    /// The same code on a CPU without the check.
    pub control: Option<Control>,
    why: Option<String>,
}

/// A CPU that lacks something.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lacking {
    emulator: Option<String>,
    /// QEMU's name of it.
    pub cpu: String,
    /// The extensions.
    pub lacks: BTreeSet<String>,
}

/// A call on a CPU that lacks what the code uses.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// QEMU's name of the CPU.
    pub cpu: String,
    /// A file of `tests/controls`.
    pub guest: String,
    /// How the call ends.
    pub ends: Ends,
}

/// How a call ends where the CPU lacks what it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Ends {
    /// The kernel kills the process.
    #[serde(rename = "SIGILL")]
    IllegalInstruction,
    /// wasmtime takes the fault for a trap of the guest.
    #[serde(rename = "wrong trap")]
    WrongTrap,
    /// It returns something else than it should.
    #[serde(rename = "wrong result")]
    WrongResult,
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("tests/matrix.toml")).expect("it is checked in");
    toml::from_str::<Table>(&text).unwrap_or_else(|error| panic!("tests/matrix.toml: {error}")).row
}

/// Those that are wanted: all, or the targets that the variable ISOMER_TARGETS names with commas.
pub fn wanted_rows() -> Vec<Row> {
    let Ok(wanted) = std::env::var("ISOMER_TARGETS") else { return rows() };
    let wanted: Vec<_> = wanted.split(',').collect();
    let found: Vec<_> = rows().into_iter().filter(|row| wanted.contains(&row.target.as_str())).collect();
    assert_eq!(found.len(), wanted.len(), "ISOMER_TARGETS names {wanted:?}, and not each has a row");
    found
}

impl Row {
    /// The CPU, and how it is called in reports; or why there is none.
    pub fn machine(&self, foreign: &Foreign) -> Result<(Machine, String), String> {
        if let (Some(emulator), Some(cpu)) = (&self.emulator, &self.cpu) {
            return Ok((foreign.machine(emulator, cpu)?, format!("qemu-{emulator} -cpu {cpu}")));
        }
        let listed = isomer_run().line("host").ok().stdout();
        let mut words = listed.lines().filter_map(|line| line.split_whitespace().find(|word| *word != "targets"));
        if words.any(|word| word == self.target) {
            let cpu = host()["cpu"].as_str().unwrap_or("this machine").to_owned();
            return Ok((Machine::here(), format!("native: {cpu}")));
        }
        let why = self.why.as_deref().unwrap_or("not emulated");
        Err(format!("{why}, and this machine does not run {}", self.target))
    }

    /// Whether an emulator shows just the target's extensions.
    pub fn is_exact(&self) -> bool {
        self.cpu.is_some()
    }

    /// The extensions that the CPU must show, beyond the architecture's baseline.
    pub fn extensions(&self, of_target: &BTreeSet<String>) -> BTreeSet<String> {
        of_target | &self.more
    }

    /// A CPU that must be refused.
    pub fn lacking_machine(&self, foreign: &Foreign, lacking: &Lacking) -> Result<Machine, String> {
        let emulator = lacking.emulator.as_ref().or(self.emulator.as_ref()).expect("a row names an emulator for it");
        foreign.machine(emulator, &lacking.cpu)
    }

    /// The control's CPU.
    pub fn control_machine(&self, foreign: &Foreign, control: &Control) -> Result<Machine, String> {
        foreign.machine(self.emulator.as_ref().expect("a row with a control names an emulator"), &control.cpu)
    }

    /// Whether it is one that users get.
    pub fn is_shipped(&self) -> bool {
        !self.profile().exists()
    }

    /// Its file, where it is made for the tests.
    pub fn profile(&self) -> std::path::PathBuf {
        root().join("tests/profiles").join(&self.target).with_extension("toml")
    }

    /// As the table in README.md shows it.
    pub fn in_words(&self) -> String {
        let machine = match (&self.emulator, &self.cpu, &self.why) {
            (Some(emulator), Some(cpu), _) => format!("`qemu-{emulator} -cpu {cpu}`"),
            (_, _, Some(why)) => format!("on machines that have it; {why}"),
            _ => "every machine".to_owned(),
        };
        let lacks: BTreeSet<_> = self.lacking.iter().flat_map(|lacking| &lacking.lacks).map(String::as_str).collect();
        let refused = if lacks.is_empty() { "–".to_owned() } else { Vec::from_iter(lacks).join(", ") };
        format!("| `{}` | {machine} | {refused} |\n", self.target)
    }
}

/// The table in README.md.
pub fn table() -> String {
    let rows: String = rows().iter().filter(|row| row.is_shipped()).map(Row::in_words).collect();
    format!("| target | runs every example on | refused without |\n|---|---|---|\n{rows}")
}

/// The extensions of a target beyond its architecture's baseline.
pub fn target_extensions(row: &Row) -> BTreeSet<String> {
    let target = if row.is_shipped() { row.target.clone().into() } else { row.profile().into_os_string() };
    let shown = isomer().line("targets show --json").arg(target).ok().json();
    let extensions = shown["isa"].as_array().expect("extensions are a list").iter();
    extensions.map(|extension| extension["name"].as_str().expect("each has a name").to_owned()).collect()
}
