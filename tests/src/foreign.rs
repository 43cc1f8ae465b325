//! CPUs that this machine is not: what `cargo xtask foreign` set up, and calls of its programs on a CPU of one's choice.

use crate::{Call, program};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// `foreign.json`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    emulators: BTreeMap<String, PathBuf>,
    runners: BTreeMap<String, Runner>,
    skipped: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Runner {
    sysroot: PathBuf,
    isomer_run: Option<PathBuf>,
    loader: Option<PathBuf>,
    upstream: Option<PathBuf>,
}

/// A program that runs artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `isomer-run`
    Run,
    /// The loader that does not look at the CPU
    Loader,
    /// Upstream's `wasmtime`, which is used where the first could not be built
    Upstream,
}

/// Programs on a CPU.
#[derive(Clone)]
pub struct Machine {
    emulator: Option<(PathBuf, String, Option<PathBuf>)>,
    programs: [Option<PathBuf>; 3],
}

impl Foreign {
    /// What the variable ISOMER_FOREIGN names; nothing where it is not set.
    pub fn read() -> Foreign {
        let Some(path) = std::env::var_os("ISOMER_FOREIGN") else { return Foreign::default() };
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).expect("`cargo xtask foreign` writes it")
    }

    /// A CPU, as QEMU's emulator for `arch` calls it. Else why there is none.
    pub fn machine(&self, arch: &str, cpu: &str) -> Result<Machine, String> {
        let missing = |what: &str| {
            let reason = self.skipped.get("emulators").or(self.skipped.get(what));
            reason.cloned().unwrap_or_else(|| "`cargo xtask foreign` has not been run".to_owned())
        };
        let emulator = self.emulators.get(arch).ok_or_else(|| missing("emulators"))?.clone();
        let (sysroot, programs) = if arch == std::env::consts::ARCH {
            (None, Machine::here().programs)
        } else {
            let runner = self.runners.get(arch).ok_or_else(|| missing(arch))?.clone();
            (Some(runner.sysroot), [runner.isomer_run, runner.loader, runner.upstream])
        };
        Ok(Machine { emulator: Some((emulator, cpu.to_owned(), sysroot)), programs })
    }
}

impl Machine {
    /// This one, as it is.
    pub fn here() -> Machine {
        let own = |name| Some(crate::binary(name)).filter(|path| path.is_file());
        Machine { emulator: None, programs: [own("isomer-run"), own("isomer-loader"), crate::upstream()] }
    }

    /// Whether it has the program.
    pub fn has(&self, program: Program) -> bool {
        self.programs[program as usize].is_some()
    }

    /// A call of the program there.
    pub fn call(&self, which: Program) -> Call {
        let path = self.programs[which as usize].as_ref().unwrap_or_else(|| panic!("no {which:?} here"));
        let Some((emulator, cpu, sysroot)) = &self.emulator else { return program(path) };
        let mut call = program(emulator).args(["-cpu", cpu]);
        if let Some(sysroot) = sysroot {
            call = call.arg("-L").arg(sysroot);
        }
        call.arg(path)
    }
}
