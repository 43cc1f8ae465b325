//! `tests/guests/guests.toml`: what each guest is called with, and what must come out, wherever it runs.

use crate::foreign::{Machine, Program};
use crate::{Call, Ran, root};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;

#[derive(Deserialize)]
struct Table {
    guest: Vec<Guest>,
}

/// A guest.
#[derive(Deserialize)]
pub struct Guest {
    /// Its file's stem.
    pub name: String,
    /// How it is called.
    pub kind: String,
    /// With what.
    pub cases: Vec<Case>,
}

/// A call, and what comes out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    invoke: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    dir: Option<String>,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    exit: i32,
    trap: Option<String>,
    #[serde(default)]
    frames: Vec<String>,
}

/// All of them.
pub fn guests() -> Vec<Guest> {
    let text = fs::read_to_string(root().join("tests/guests/guests.toml")).expect("it is checked in");
    toml::from_str::<Table>(&text).expect("it is a table").guest
}

impl Case {
    /// Runs it on `machine`; `what` are the arguments that name the artifact.
    pub fn run(&self, machine: &Machine, what: &[&str]) -> Ran {
        self.call(machine, what).run()
    }

    /// The call that [`Case::run`] makes.
    pub fn call(&self, machine: &Machine, what: &[&str]) -> Call {
        let isomer = machine.has(Program::Run);
        let call = machine.call(if isomer { Program::Run } else { Program::Upstream }).arg("run");
        let mut call =
            call.arg(if isomer { "--allow-unsigned" } else { "--allow-precompiled" }).stdin(self.stdin.clone());
        if let Some(directory) = &self.dir {
            call = call.arg("--dir").arg(format!("{}::.", root().join("tests/guests").join(directory).display()));
        }
        for (name, value) in &self.env {
            call = call.arg("--env").arg(format!("{name}={value}"));
        }
        if let Some(export) = &self.invoke {
            call = call.arg("--invoke").arg(export);
        }
        call.args(what).args(&self.args)
    }

    /// What is wrong with it, if anything.
    pub fn fault(&self, ran: &Ran) -> Option<String> {
        let stderr = ran.stderr();
        if ran.stdout() != self.stdout {
            return Some(format!("expected to print {:?}: {ran}", self.stdout));
        }
        if ran.code() != self.exit {
            return Some(format!("expected the exit code {}: {ran}", self.exit));
        }
        if let Some(trap) = self.trap.as_ref().filter(|trap| !stderr.contains(trap.as_str())) {
            return Some(format!("no trap `{trap}`: {ran}"));
        }
        // Innermost first; others may lie between.
        let mut left = stderr.as_str();
        for frame in &self.frames {
            let Some(at) = left.find(&format!("!{frame}")) else { return Some(format!("no frame {frame}: {ran}")) };
            left = &left[at + 1..];
        }
        None
    }
}
